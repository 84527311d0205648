"""Prodigy."""

from __future__ import annotations

from typing import Annotated

from .._optimizer import Optimizer
from ..arithmetic import fabs, inf, nonnegative, over_group, power, sqrt, start, velocity
from ..domains import Domain, fraction, positive, switch, unlimited


def prodigy_sums_scalars(t, d=0, d_max=0, numerator=0, *, lr, beta1, beta2, d0, use_bias_correction):
    """Return weights of the newest gradient in the sums of the distance."""
    now = d if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    return {"keep3": sqrt(beta2), "push": now / d0 * dlr}


def prodigy_sums(p, g, s, p0, *, keep3, push) -> over_group:
    """Sum the gradient along the way from the start, and the magnitudes of the gradients' sum."""
    return {"along": g * (p0 - p), "length": fabs(keep3 * s + push * g)}


def prodigy_scalars(
    t,
    along,
    length,
    d: unlimited = 0,
    d_max: unlimited = 0,
    numerator=0,
    *,
    lr=1,
    beta1: fraction = 0.9,
    beta2: fraction = 0.999,
    eps=1e-8,
    d0: positive = 1e-6,
    d_coef=1,
    growth_rate: Annotated[float, Domain(1.0, inf)] = inf,
    use_bias_correction: switch = 0,
    weight_decay=0,
):
    """Return the learning rate from the estimate of the distance (algorithm 4)."""
    now = d if d > 0 else d0
    top = d_max if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    total = sqrt(beta2) * numerator + now / d0 * dlr * along
    found = d_coef * total / length if length > 0 else now
    raised = (found if found > now else now) if now == d0 else now
    most = found if found > top else top
    after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    return (
        {
            "lr": dlr if length > 0 else 0.0,
            "keep1": beta1,
            "w1": now * (1 - beta1),
            "keep2": beta2,
            "w2": now * now * (1 - beta2),
            "keep3": sqrt(beta2),
            "push": now / d0 * dlr,
            "eps": after * eps,
            "decay": dlr * weight_decay if length > 0 else 0.0,
        },
        after,
        most,
        total,
    )


def prodigy(p, g, m: velocity, v: nonnegative, s, p0: start, *, lr, keep1, w1, keep2, w2, keep3, push, eps, decay):
    """Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with decoupled weight decay."""
    m = keep1 * m + w1 * g
    v = keep2 * v + w2 * g * g
    s = keep3 * s + push * g
    return lr * m / (sqrt(v) + eps) + decay * p, m, v, s, p0


prodigy_coupled_sums_scalars = prodigy_sums_scalars


prodigy_coupled_sums = prodigy_sums


def prodigy_coupled_scalars(
    t,
    along,
    length,
    d: unlimited = 0,
    d_max: unlimited = 0,
    numerator=0,
    *,
    lr=1,
    beta1: fraction = 0.9,
    beta2: fraction = 0.999,
    eps=1e-8,
    d0: positive = 1e-6,
    d_coef=1,
    growth_rate: Annotated[float, Domain(1.0, inf)] = inf,
    use_bias_correction: switch = 0,
):
    """Return the scalars of `prodigy_scalars` without its decay."""
    now = d if d > 0 else d0
    top = d_max if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    total = sqrt(beta2) * numerator + now / d0 * dlr * along
    found = d_coef * total / length if length > 0 else now
    raised = (found if found > now else now) if now == d0 else now
    most = found if found > top else top
    after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    return (
        {
            "lr": dlr if length > 0 else 0.0,
            "keep1": beta1,
            "w1": now * (1 - beta1),
            "keep2": beta2,
            "w2": now * now * (1 - beta2),
            "keep3": sqrt(beta2),
            "push": now / d0 * dlr,
            "eps": after * eps,
        },
        after,
        most,
        total,
    )


def prodigy_coupled(p, g, m: velocity, v: nonnegative, s, p0: start, *, lr, keep1, w1, keep2, w2, keep3, push, eps):
    """Update by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with weight decay in the gradient."""
    m = keep1 * m + w1 * g
    v = keep2 * v + w2 * g * g
    s = keep3 * s + push * g
    return lr * m / (sqrt(v) + eps), m, v, s, p0


class Prodigy(Optimizer):
    """Prodigy: Adam with a learning rate from an estimate of the distance to the solution.

    Parameters
    ----------
    lr
        Factor of the learning rate, which the rule finds itself, without unit. Usual: 1.
    weight_decay
        Decoupled weight decay, times the learning rate that was found. Usual: 0 to 0.1.
    decoupled_weight_decay
        Otherwise the weight decay is an L2 penalty, added to the gradient.
    d0
        First estimate of the distance, in the parameter's unit. Usual: 1e-8 to 1e-4.
    d_coef
        Factor of later estimates. Usual: 0.5 to 2.
    growth_rate
        Largest factor by which an estimate can grow in a step. Usual: 1.02 to inf.
    use_bias_correction
        Use Adam's bias correction in the learning rate.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * d * g``, ``v = beta2 * v + (1 - beta2) * (d * g) ** 2``,
    ``p -= dlr * m / (sqrt(v) + d * eps)``, where ``dlr = d * lr``. Then ``d = max(d, d_coef * r / sum(abs(s)))``: ``r`` and ``s``
    are sums of ``d * dlr * sum(g * (p0 - p))`` and ``d * dlr * g`` that decay by ``sqrt(beta2)``, and ``p0`` is the start.

    The estimate ``d`` is kept, for all arrays of a group together, in ``state[name]["d"]``.

    References
    ----------
    Mishchenko and Defazio, "Prodigy", 2024, algorithm 4, arXiv:2306.06101, and the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Prodigy(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999997, 1.000003])
    """

    arguments = {
        "lr": 1.0,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": True,
        "d0": 1e-6,
        "d_coef": 1.0,
        "growth_rate": inf,
        "use_bias_correction": False,
    }
    conventions = {"optax": {"use_bias_correction": True}}

    def rule(self, options):
        return prodigy if options["decoupled_weight_decay"] else prodigy_coupled

    def choose_weight_decay(self, options):
        return None if options["decoupled_weight_decay"] else self.weight_decay_stage
