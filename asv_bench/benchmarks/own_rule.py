"""Adam as a user's rule, whose text is read from this file."""

import fastopt as fo

try:
    from fastopt.arithmetic import nonnegative, power, sqrt, velocity

    rule = fo.rule
# An older commit.
except (ImportError, AttributeError):
    again = None
else:

    @rule
    def again(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, root):
        m = m + w1 * (g - m)
        v = keep * v + w2 * g * g
        return step_size * m / (sqrt(v + root) + eps), m, v

    @again.scalars
    def _(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0):
        correct = 1 - power(beta2, t)
        c2 = sqrt(correct)
        return {
            "step_size": lr * c2 / (1 - power(beta1, t)),
            "w1": 1 - beta1,
            "keep": beta2,
            "w2": 1 - beta2,
            "eps": eps * c2,
            "root": eps_root * correct,
        }
