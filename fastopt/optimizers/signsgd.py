"""SignSGD and Signum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer
from ..arithmetic import sign, velocity


def signsgd_scalars(t, *, lr=1e-3):
    """Nothing changes from step to step."""
    return {"lr": lr}


def signsgd(p, g, *, lr):
    """Sign of the gradient (Bernstein et al., 2018, algorithm 1)."""
    return lr * sign(g)


def signum_scalars(t, *, lr=1e-3, momentum=0.9):
    """The newest gradient's weight."""
    return {"lr": lr, "w": 1 - momentum}


def signum(p, g, buf: velocity, *, lr, w):
    """Sign of an average of gradients (Bernstein et al., 2018, algorithm 2)."""
    buf = buf + w * (g - buf)
    return lr * sign(buf), buf


class SignSGD(Optimizer):
    """The sign of the gradient, or with momentum (Signum) of its average.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    momentum : float or schedule, default 0
        Decay rate of the average, below 1; 0 at construction keeps none.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``p -= lr * sign(g)``; Signum: ``buf = momentum * buf + (1 - momentum) * g``, ``p -= lr * sign(buf)``.

    References
    ----------
    Bernstein et al., "signSGD", 2018, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SignSGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return signsgd if options["momentum"] == 0 else signum
