"""AdaBelief."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, power, sqrt, velocity
from ..domains import fraction


def adabelief_scalars(t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.999, eps=1e-16, eps_root=1e-16):
    """Return bias corrections of step t, folded into step size and eps."""
    c2 = sqrt(1 - power(beta2, t))
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "root": eps_root,
        "eps": eps * c2,
    }


def adabelief(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, root, eps):
    """Update by AdaBelief (Zhuang et al., 2020, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * (g - m) * (g - m) + root
    return step_size * m / (sqrt(v) + eps), m, v


class AdaBelief(Optimizer):
    """AdaBelief: Adam with the gradient's distance from its average instead of its square.

    Parameters
    ----------
    betas
        Decay rates of the averages of the gradient and of its squared distance from that average, in [0, 1). Usual:
        (0.9, 0.999) to (0.95, 0.9999).
    eps_root
        Added to the average of squares in each step, in the unit of the squared gradient. Usual: 1e-16 to 1e-8.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * (g - m) ** 2 + eps_root``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps)``. Defaults are optax's.

    References
    ----------
    Zhuang et al., "AdaBelief optimizer", 2020, algorithm 2, arXiv:2010.07468.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdaBelief(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.444444, 1.555556])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-16,
        "weight_decay": 0.0,
        "eps_root": 1e-16,
    }
    minimization_defaults = {"lr": 0.1}
    conventions = {"optax": {}}
    weight_decay_stage = "decoupled"
    update = staticmethod(adabelief)
