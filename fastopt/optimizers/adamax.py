"""Adamax."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import fabs, maximum, nonnegative, power, velocity
from ..domains import fraction, switch


def adamax_scalars(t, *, lr=2e-3, beta1: fraction = 0.9, beta2: fraction = 0.999, eps=1e-8, eps_inside: switch = 1):
    """Return the bias correction of the first moment, and eps for each magnitude or for the largest."""
    return {
        "step_size": lr / (1 - power(beta1, t)),
        "w": 1 - beta1,
        "keep": beta2,
        "inner": eps if eps_inside else 0.0,
        "outer": 0.0 if eps_inside else eps,
    }


def adamax(p, g, m: velocity, largest: nonnegative, *, step_size, w, keep, inner, outer):
    """Update by AdaMax (Kingma and Ba, 2015, algorithm 2)."""
    m = m + w * (g - m)
    largest = maximum(keep * largest, fabs(g) + inner)
    return step_size * m / (largest + outer), m, largest


class Adamax(Optimizer):
    """AdaMax: Adam with the largest magnitude so far instead of the second moment.

    Parameters
    ----------
    betas
        Decay rates of the average of the gradient, and of the largest magnitude, in [0, 1). Usual: (0.9, 0.999).
    eps
        Added to the magnitude of the gradient, in its unit. Usual: 1e-16 to 1e-6.
    eps_inside
        Add `eps` to each gradient's magnitude, not to the largest (Keras).

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``largest = max(beta2 * largest, |g| + eps)``,
    ``p -= lr / (1 - beta1 ** t) * m / largest``.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 2, arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adamax(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "eps_inside": True,
    }
    minimization_defaults = {"lr": 0.1}
    conventions = {
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_inside": False, "weight_decay_stage": "decoupled"},
        "optax": {},
    }
    update = staticmethod(adamax)
