"""AdEMAMix."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import exp, log, nonnegative, power, sqrt, velocity
from ..domains import fraction


def ademamix_scalars(
    t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.999, beta3: fraction = 0.9999, alpha=5, warmup=0, eps=1e-8
):
    """Return scalars in which alpha and the half-life of the slow average grow evenly during warm-up (eq. 4)."""
    part = t / warmup if t < warmup else 1.0
    fast = log(beta1)
    slow = log(beta3)
    now = exp(fast * slow / ((1 - part) * slow + part * fast)) if part < 1 else beta3
    c2 = sqrt(1 - power(beta2, t))
    return {
        "fast": lr * c2 / (1 - power(beta1, t)),
        "slow": lr * c2 * alpha * part,
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "w3": 1 - (now if now < beta3 else beta3),
        "eps": eps * c2,
    }


def ademamix(p, g, m: velocity, v: nonnegative, m2: velocity, *, fast, slow, w1, keep, w2, w3, eps):
    """Update by AdEMAMix (Pagliardini et al., 2024, algorithm 1)."""
    m = m + w1 * (g - m)
    m2 = m2 + w3 * (g - m2)
    v = keep * v + w2 * g * g
    return (fast * m + slow * m2) / (sqrt(v) + eps), m, v, m2


class AdEMAMix(Optimizer):
    """AdEMAMix: Adam with a fast and a slow average of the gradient.

    Parameters
    ----------
    betas
        Decay rates of the fast average of the gradient, of the average of its square, and of the slow average, in [0,
        1). Usual: (0.9, 0.999, 0.9999).
    alpha
        Weight of the slow average. Usual: 4 to 10.
    warmup
        Steps in which `alpha` and the half-life of the slow average grow to their values. Usual: 0, or all steps of the run.

    Notes
    -----
    ``p -= lr * (m / (1 - beta1 ** t) + alpha * m2) / (sqrt(v / (1 - beta2 ** t)) + eps)``.

    References
    ----------
    Pagliardini, Ablin and Grangier, "The AdEMAMix optimizer", 2024, algorithm 1 and eq. 4, arXiv:2409.03137.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdEMAMix(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.49975, 1.50025])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.999, 0.9999),
        "alpha": 5.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
    }
    conventions = {"optax": {}}
    tuple_arguments = {"betas": ("beta1", "beta2", "beta3")}
    weight_decay_stage = "decoupled"
    update = staticmethod(ademamix)
