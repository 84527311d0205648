"""Schedule-free SGD."""

from __future__ import annotations

from typing import Any

from .._optimizer import Optimizer
from ..arithmetic import start
from ..domains import fraction, switch, unlimited


def schedule_free_sgd_scalars(
    t, weights: unlimited = 0, highest: unlimited = 0, *, lr=1, momentum: fraction = 0.9, warmup=0, warmup_from_zero: switch = 0
):
    """Return the newest point's weight in the average, by squares of the largest learning rates (eq. 23, r = 0)."""
    full = lr * t / warmup if t < warmup else lr
    rate = (lr * (t - 1) / warmup if t - 1 < warmup else lr) if warmup_from_zero else full
    top = full if full > highest else highest
    total = weights + top * top
    share = top * top / total if total > 0 else 0.0
    return {"lr": rate, "share": share, "of_g": rate * (1 - momentum * (1 - share))}, total, top


def schedule_free_sgd(p, g, z: start, *, lr, share, of_g):
    """Update by schedule-free SGD (Defazio et al., 2024, eq. 3-5), at the points where gradients are taken."""
    return share * (p - z) + of_g * g, z - lr * g


class ScheduleFreeSGD(Optimizer):
    """Schedule-free SGD: no schedule, no horizon; evaluate at ``average``.

    Parameters
    ----------
    lr
        Learning rate: factor of the gradient, in the parameter's unit divided by the gradient's. Usual: 0.1 to 10, depending on
        the loss.
    momentum
        Weight of the average in the points where gradients are taken, in [0, 1). Usual: 0.9 to 0.98.
    warmup
        Steps in which the learning rate grows to its value. Usual: 0 to a tenth of all steps.
    warmup_from_zero
        Step t has the rate of t - 1 steps of warm-up, 0 in the first, but the weight of t in the average (optax).

    Notes
    -----
    The parameters are the points ``y`` where gradients are taken: ``z -= lr * g``, ``x += c * (z - x)``,
    ``y = momentum * x + (1 - momentum) * z``, ``c`` the share of the squares of the largest learning rates so far. ``average``
    gives ``x``, the result, as new arrays.

    References
    ----------
    Defazio et al., "The road less scheduled", 2024, eq. 3-5, arXiv:2405.15682, and the authors' package, schedulefree.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ScheduleFreeSGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments = {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "warmup_from_zero": False,
    }
    conventions = {"optax": {"warmup_from_zero": True}}
    share = "momentum"  # The hyperparameter that weights the average where gradients are taken.
    unsupported_options = ("step_scale", "max_step", "trust_ratio", "bounds")
    update: Any = staticmethod(schedule_free_sgd)

    def _average_of(self, parameter):
        """Return the average, from the point where gradients are taken."""
        share = parameter.group.number(self.share, max(self.steps - 1, 0))
        if share == 0:
            raise ValueError(f"average: unknown where {self.share} is 0")
        z, y = parameter.rule_state["z"], parameter.value()
        return parameter.memory.array(z + (y - z) / share, parameter.real)
