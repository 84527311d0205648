"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer, Parameter
from ..arithmetic import exp, log


def asgd_scalars(t, eta=0, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6):
    """Each step's learning rate is fixed by the one before; the average begins after step t0."""
    now = lr if t == 1 else eta
    after = lr / exp(alpha * log(1 + lambd * lr * t))
    return {
        "lr": now,
        "decay": lambd * now,
        "share": 1 / (t - 1 - t0) if t - 1 - t0 > 1 else 1.0,
    }, after


def asgd(p, g, average, *, lr, decay, share):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou, 2010)."""
    move = decay * p + lr * g
    average = average + share * (p - move - average)
    return move, average


class ASGD(Optimizer):
    """Averaged stochastic gradient descent; the averages are in ``average``.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    lambd : float or schedule, default 1e-4
        Decay of the parameter, and of the learning rate.
    alpha : float or schedule, default 0.75
        Power of the learning rate's decay.
    t0 : float or schedule, default 1e6
        The step after which averages begin; before, they are the parameters.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``eta_t = lr / (1 + lambd * lr * (t - 1)) ** alpha``, ``p = p * (1 - lambd * eta_t) - eta_t * g``,
    ``average += (p - average) / max(1, t - 1 - t0)``.

    References
    ----------
    Polyak and Juditsky, 1992; Bottou, "Large-scale machine learning with stochastic gradient descent", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ASGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.49995, 1.99995])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0}
    update = staticmethod(asgd)

    def _average_of(self, slot: Parameter) -> Any:
        return slot.shown("average")
