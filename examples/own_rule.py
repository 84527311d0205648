"""Write a rule: Adam with updates of at most the learning rate; ``pip install 'fastopt[compile]'``.

python own_rule.py
"""

import time

import numpy as np

import fastopt as fo
from fastopt.arithmetic import maximum, minimum, nonnegative, power, sqrt, velocity


@fo.rule
def bounded(p, g, m: velocity, v: nonnegative, *, step_size, most, w1, keep, w2, eps):
    """Adam with a bounded update."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return minimum(maximum(step_size * m / (sqrt(v) + eps), -most), most), m, v


@bounded.scalars
def _(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    c2 = sqrt(1 - power(beta2, t))
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "most": lr,
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps * c2,
    }


if __name__ == "__main__":
    fo.testing.check_rule(bounded)  # Compiles it too.
    rng = np.random.default_rng(0)
    w, target = np.zeros(100_000, np.float32), rng.standard_normal(100_000).astype(np.float32)
    opt = fo.optimizer(bounded, {"w": w}, lr=fo.schedules.linear_decay(0.1, steps=200), clip_global_norm=100.0)
    start = time.perf_counter()
    for _ in range(200):
        opt.step({"w": w - target})
    print(f"{opt}\nmean square {np.mean((w - target) ** 2):.2e}, {(time.perf_counter() - start) / 200 * 1e6:.0f} us a step")
    opt.explain("w", 7, float(w[7] - target[7]))
