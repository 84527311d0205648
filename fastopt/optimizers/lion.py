"""Lion."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import sign, velocity
from ..domains import fraction


def lion_scalars(t, *, lr=1e-4, beta1: fraction = 0.9, beta2: fraction = 0.99):
    """Return weights of the gradient in the update and in the average."""
    return {"lr": lr, "w1": 1 - beta1, "w2": 1 - beta2}


def lion(p, g, m: velocity, *, lr, w1, w2):
    """Update by Lion (Chen et al., 2023, algorithm 2)."""
    direction = m + w1 * (g - m)
    return lr * sign(direction), m + w2 * (g - m)


class Lion(Optimizer):
    """Lion: the sign of an interpolation between gradient and momentum.

    Parameters
    ----------
    lr
        Learning rate: the change of every element in a step, in the parameter's unit. Usual: 1e-5 to 1e-3, about a tenth of
        Adam's.
    betas
        Weight of the momentum in the update, and its decay rate, in [0, 1). Usual: (0.9, 0.99) to (0.95, 0.98).

    Notes
    -----
    ``p -= lr * sign(beta1 * m + (1 - beta1) * g)``, ``m = beta2 * m + (1 - beta2) * g``.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Lion(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0}
    conventions = {"keras": {"lr": 1e-3}, "optax": {"weight_decay": 1e-3}}
    weight_decay_stage = "decoupled"
    update = staticmethod(lion)
