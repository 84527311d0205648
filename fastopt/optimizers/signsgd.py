"""SignSGD and Signum."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import sign, velocity


def signsgd_scalars(t, *, lr=1e-3):
    """Return the same scalars in every step."""
    return {"lr": lr}


def signsgd(p, g, *, lr):
    """Update by the sign of the gradient (Bernstein et al., 2018, algorithm 1)."""
    return lr * sign(g)


def signum_scalars(t, *, lr=1e-3, momentum=0.9):
    """Return the weight of the newest gradient."""
    return {"lr": lr, "w": 1 - momentum}


def signum(p, g, buf: velocity, *, lr, w):
    """Update by the sign of an average of gradients (Bernstein et al., 2018, algorithm 2)."""
    buf = buf + w * (g - buf)
    return lr * sign(buf), buf


class SignSGD(Optimizer):
    """SignSGD: steps by the sign of the gradient, or with momentum (Signum) of its average.

    Parameters
    ----------
    lr
        Learning rate: the change of every element in a step, in the parameter's unit. Usual: 1e-5 to 1e-3.
    momentum
        Decay rate of the average, below 1; 0 at construction keeps none. Usual: 0.9.

    Notes
    -----
    ``p -= lr * sign(g)``; Signum: ``buf = momentum * buf + (1 - momentum) * g``, ``p -= lr * sign(buf)``.

    References
    ----------
    Bernstein et al., "signSGD", 2018, algorithms 1 and 2, arXiv:1802.04434.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SignSGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}
    conventions = {"optax": {}}

    def rule(self, options):
        return signsgd if options["momentum"] == 0 else signum
