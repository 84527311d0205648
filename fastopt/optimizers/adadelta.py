"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, sqrt
from ..domains import fraction


def adadelta_scalars(t, *, lr=1, rho: fraction = 0.9, eps=1e-6):
    """Nothing changes from step to step."""
    return {"lr": lr, "keep": rho, "w": 1 - rho, "eps": eps}


def adadelta(p, g, v: nonnegative, moved: nonnegative, *, lr, keep, w, eps):
    """Adadelta (Zeiler, 2012, algorithm 1)."""
    v = keep * v + w * g * g
    delta = sqrt(moved + eps) / sqrt(v + eps) * g
    moved = keep * moved + w * delta * delta
    return lr * delta, v, moved


class Adadelta(Optimizer):
    """Adadelta: steps in the units of the parameter.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    rho : float or schedule, default 0.9
        Decay rate of the averages of squared gradients and of squared steps.
    eps : float or schedule, default 1e-6
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``v = rho * v + (1 - rho) * g * g``, ``delta = sqrt(moved + eps) / sqrt(v + eps) * g``,
    ``moved = rho * moved + (1 - rho) * delta * delta``, ``p -= lr * delta``.

    References
    ----------
    Zeiler, "ADADELTA", 2012, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adadelta(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.996838, 1.003162])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "weight_decay_stage": "decoupled"},
        "optax": {},
    }
    update = staticmethod(adadelta)
