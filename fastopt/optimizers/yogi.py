"""Yogi."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, power, sign, sqrt, velocity
from ..domains import NONNEGATIVE, fraction


def yogi_scalars(t, *, lr=1e-2, beta1: fraction = 0.9, beta2: fraction = 0.999, eps=1e-3):
    """Return bias corrections of step t, folded into step size and eps."""
    c2 = sqrt(1 - power(beta2, t))
    return {"step_size": lr * c2 / (1 - power(beta1, t)), "w1": 1 - beta1, "w2": 1 - beta2, "eps": eps * c2}


def yogi(p, g, m: velocity, v: nonnegative, *, step_size, w1, w2, eps):
    """Update by Yogi (Zaheer et al., 2018, algorithm 2)."""
    m = m + w1 * (g - m)
    v = v - w2 * g * g * sign(v - g * g)
    return step_size * m / (sqrt(v) + eps), m, v


class Yogi(Optimizer):
    """Yogi: Adam with a second moment that grows and falls at the same pace.

    Parameters
    ----------
    initial_accumulator_value : float
        First value of both averages. Usual: 1e-6 to 1e-3.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v -= (1 - beta2) * sign(v - g * g) * g * g``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps)``. Defaults are optax's.

    References
    ----------
    Zaheer et al., "Adaptive methods for nonconvex optimization", 2018, algorithm 2,
    https://papers.nips.cc/paper/2018/hash/90365351ccc7437a1309dc64e4db32a3-Abstract.html.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Yogi(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.500744, 1.499685])
    """

    arguments = {
        "lr": 1e-2,
        "betas": (0.9, 0.999),
        "eps": 1e-3,
        "weight_decay": 0.0,
        "initial_accumulator_value": 1e-6,
    }
    minimization_defaults = {"lr": 0.1}
    conventions = {"optax": {}}
    update = staticmethod(yogi)

    def initial_state(self, options):
        return dict.fromkeys(("m", "v"), NONNEGATIVE.check("initial_accumulator_value", options["initial_accumulator_value"]))
