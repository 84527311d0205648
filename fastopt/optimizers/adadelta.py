"""Adadelta."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, sqrt
from ..domains import fraction


def adadelta_scalars(t, *, lr=1, rho: fraction = 0.9, eps=1e-6):
    """Return the same scalars in every step."""
    return {"lr": lr, "keep": rho, "w": 1 - rho, "eps": eps}


def adadelta(p, g, v: nonnegative, moved: nonnegative, *, lr, keep, w, eps):
    """Update by Adadelta (Zeiler, 2012, algorithm 1)."""
    v = keep * v + w * g * g
    delta = sqrt(moved + eps) / sqrt(v + eps) * g
    moved = keep * moved + w * delta * delta
    return lr * delta, v, moved


class Adadelta(Optimizer):
    """Adadelta: steps in the units of the parameter.

    Parameters
    ----------
    lr
        Factor of the step, without unit: steps have the parameter's unit by themselves. Usual: 0.1 to 1.
    rho
        Decay rate of the averages of squared gradients and of squared steps, in [0, 1). Usual: 0.9 to 0.95.
    eps
        Added to both averages inside the roots; its root is the size of the first steps. Usual: 1e-8 to 1e-4.

    Notes
    -----
    ``v = rho * v + (1 - rho) * g * g``, ``delta = sqrt(moved + eps) / sqrt(v + eps) * g``,
    ``moved = rho * moved + (1 - rho) * delta * delta``, ``p -= lr * delta``.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1, arXiv:1212.5701.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adadelta(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.996838, 1.003162])
    """

    arguments = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}
    conventions = {
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "weight_decay_stage": "decoupled"},
        "optax": {},
    }
    update = staticmethod(adadelta)
