"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import exp, log
from ..domains import unlimited


def asgd_scalars(t, eta: unlimited = 0, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6):
    """Return the learning rate, which the step before has set; the average begins after step t0."""
    now = lr if t == 1 else eta
    after = lr / exp(alpha * log(1 + lambd * lr * t))
    return {
        "lr": now,
        "decay": lambd * now,
        "share": 1 / (t - 1 - t0) if t - 1 - t0 > 1 else 1.0,
    }, after


def asgd(p, g, average, *, lr, decay, share):
    """Update by averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou, 2010)."""
    move = decay * p + lr * g
    average = average + share * (p - move - average)
    return move, average


class ASGD(Optimizer):
    """Averaged stochastic gradient descent; the averages are in ``average``.

    Parameters
    ----------
    lr
        Learning rate: factor of the gradient, in the parameter's unit divided by the gradient's. Usual: 1e-4 to 1, depending on
        the loss.
    lambd
        Decay of the parameter, and of the learning rate. Usual: 1e-5 to 1e-3.
    alpha
        Exponent of the learning rate's decay. Usual: 0.6 to 1.
    t0
        Step after which averages begin; before, they are the parameters. Usual: after one or more passes over the data.

    Notes
    -----
    ``eta_t = lr / (1 + lambd * lr * (t - 1)) ** alpha``, ``p = p * (1 - lambd * eta_t) - eta_t * g``,
    ``average += (p - average) / max(1, t - 1 - t0)``.

    References
    ----------
    Polyak and Juditsky, 1992, doi:10.1137/0330046; Bottou, "Large-scale machine learning with stochastic gradient descent",
    2010, doi:10.1007/978-3-7908-2604-3_16.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ASGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.49995, 1.99995])
    """

    arguments = {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0}
    minimization_defaults = {"lambd": 0.0}
    update = staticmethod(asgd)

    def _average_of(self, parameter):
        return parameter.shown("average")
