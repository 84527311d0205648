"""Schedule-free AdamW."""

from __future__ import annotations

from ..arithmetic import nonnegative, power, sqrt, start
from ..domains import fraction, switch, unlimited
from .schedule_free import ScheduleFreeSGD


def schedule_free_adamw_scalars(
    t,
    weights: unlimited = 0,
    highest: unlimited = 0,
    *,
    lr=2.5e-3,
    beta1: fraction = 0.9,
    beta2: fraction = 0.999,
    eps=1e-8,
    weight_decay=0,
    warmup=0,
    warmup_from_zero: switch = 0,
):
    """Return the scalars of `schedule_free_sgd_scalars`, with the second moment's bias correction and the decay."""
    correct = sqrt(1 - power(beta2, t))
    full = lr * t / warmup if t < warmup else lr
    rate = (lr * (t - 1) / warmup if t - 1 < warmup else lr) if warmup_from_zero else full
    top = full if full > highest else highest
    total = weights + top * top
    share = top * top / total if total > 0 else 0.0
    return (
        {
            "lr": rate,
            "share": share,
            "of_d": rate * (1 - beta1 * (1 - share)),
            "correct": correct,
            "keep": beta2,
            "w2": 1 - beta2,
            "eps": eps * correct,
            "decay": weight_decay,
        },
        total,
        top,
    )


def schedule_free_adamw(p, g, v: nonnegative, z: start, *, lr, share, of_d, correct, keep, w2, eps, decay):
    """Update by schedule-free AdamW (Defazio et al., 2024), with the bias correction as in the authors' package."""
    v = keep * v + w2 * g * g
    direction = correct * g / (sqrt(v) + eps) + decay * p
    return share * (p - z) + of_d * direction, v, z - lr * direction


class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-free AdamW: no schedule, no horizon; evaluate at ``average``.

    Parameters
    ----------
    betas
        Weight of the average in the points where gradients are taken, and decay rate of the average of the squared gradient, in
        [0, 1). Usual: (0.9, 0.999) to (0.98, 0.999).
    weight_decay
        Decoupled weight decay, at the points where gradients are taken. Usual: 0 to 0.1.

    Notes
    -----
    As `ScheduleFreeSGD`, with ``g / (sqrt(v / (1 - beta2 ** t)) + eps) + weight_decay * y`` in the place of ``g``.

    References
    ----------
    Defazio et al., "The road less scheduled", 2024, arXiv:2405.15682, and the authors' package, schedulefree, since its version
    1.3: the bias correction of ``v`` is not in the learning rate, as it is in the paper's algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ScheduleFreeAdamW(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 2.5e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "warmup_from_zero": False,
    }
    weight_decay_stage = None
    share = "beta1"
    update = staticmethod(schedule_free_adamw)
