"""NAdam."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import exp, inf, log, nonnegative, power, sqrt, velocity
from ..domains import fraction, unlimited


def nadam_scalars(
    t,
    product: unlimited = 1,
    *,
    lr=2e-3,
    beta1: fraction = 0.9,
    beta2: fraction = 0.999,
    eps=1e-8,
    momentum_decay: unlimited = 4e-3,
):
    """Return the momentum's schedule, ``0.96**(t * momentum_decay)``, and the product of its values so far."""
    now = beta1 * (1 - 0.5 * exp(t * momentum_decay * log(0.96)))
    ahead = beta1 * (1 - 0.5 * exp((t + 1) * momentum_decay * log(0.96)))
    product = product * now
    c2 = sqrt(1 - power(beta2, t))
    return {
        "of_g": lr * c2 * (1 - now) / (1 - product),
        "of_m": lr * c2 * ahead / (1 - product * ahead),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps * c2,
    }, product


def nadam(p, g, m: velocity, v: nonnegative, *, of_g, of_m, w1, keep, w2, eps):
    """Update by NAdam (Dozat, 2016, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return (of_g * g + of_m * m) / (sqrt(v) + eps), m, v


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum.

    Parameters
    ----------
    momentum_decay
        Speed of the momentum's schedule; infinite: at its end from the start (optax). Usual: 4e-3.

    Notes
    -----
    ``mu_t = beta1 * (1 - 0.96 ** (t * momentum_decay) / 2)``, ``product`` of all so far; Adam's ``m``, ``v``;
    ``p -= lr * ((1 - mu_t) / (1 - product) * g + mu_t1 / (1 - product * mu_t1) * m) / (sqrt(v / (1 - beta2 ** t)) + eps)``.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> NAdam(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.471774, 1.528226])
    """

    arguments = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
    }
    conventions = {
        "keras": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0, "weight_decay_stage": "decoupled"},
        "optax": {"lr": 1e-3, "momentum_decay": inf},
    }
    update = staticmethod(nadam)
