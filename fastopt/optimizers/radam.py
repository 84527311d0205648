"""RAdam."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, power, sqrt, velocity, where
from ..domains import fraction, switch


def radam_scalars(t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.999, eps=1e-8, eps_hat: switch = 1):
    """Return the rectification if the variance of the second moment is tractable; otherwise neither is used."""
    correct = 1 - power(beta2, t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * power(beta2, t) / correct
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    step_size = lr / (1 - power(beta1, t))
    return {
        "step_size": step_size * sqrt(rectified * correct) if length > 5 else step_size,
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps if eps_hat else eps * sqrt(correct),
        "adapt": 1.0 if length > 5 else 0.0,
    }


def radam(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, adapt):
    """Update by RAdam (Liu et al., 2020, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return step_size * m / where(adapt > 0, sqrt(v) + eps, 1), m, v


class RAdam(Optimizer):
    """RAdam: Adam that adapts once the variance of its second moment is tractable.

    Parameters
    ----------
    eps_hat
        Add `eps` before the bias correction of the second moment, not after it as optax does.

    Notes
    -----
    ``r_inf = 2 / (1 - beta2) - 1``, ``r = r_inf - 2 * t * beta2 ** t / (1 - beta2 ** t)``; Adam's ``m``, ``v``; up to ``r = 5``
    ``p -= lr * m / (1 - beta1 ** t)``, then Adam's step times
    ``sqrt((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r))``.

    References
    ----------
    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2, arXiv:1908.03265.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> RAdam(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "eps_hat": True,
    }
    conventions = {"optax": {"eps_hat": False}}
    update = staticmethod(radam)
