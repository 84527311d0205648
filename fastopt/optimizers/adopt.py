"""ADOPT."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import maximum, minimum, nonnegative, sqrt, velocity
from ..domains import fraction


def adopt_scalars(t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.9999, eps=1e-6):
    """Return scalars with which the first step only sets the second moment; later ones clip to ``(t - 1)**0.25``."""
    return {
        "lr": lr if t > 1 else 0.0,
        "w1": 1 - beta1 if t > 1 else 0.0,
        "keep": beta2 if t > 1 else 0.0,
        "w2": 1 - beta2 if t > 1 else 1.0,
        "eps": eps,
        "most": sqrt(sqrt(t - 1)),
    }


def adopt(p, g, m: velocity, v: nonnegative, *, lr, w1, keep, w2, eps, most):
    """Update by ADOPT (Taniguchi et al., 2024, algorithm 2)."""
    scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
    m = m + w1 * (scaled - m)
    v = keep * v + w2 * g * g
    return lr * m, m, v


def adopt_decoupled_scalars(t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.9999, eps=1e-6, weight_decay=0):
    """Return the scalars of `adopt_scalars`, and the decay, which begins in the second step."""
    return {
        "lr": lr if t > 1 else 0.0,
        "w1": 1 - beta1 if t > 1 else 0.0,
        "keep": beta2 if t > 1 else 0.0,
        "w2": 1 - beta2 if t > 1 else 1.0,
        "eps": eps,
        "most": sqrt(sqrt(t - 1)),
        "decay": lr * weight_decay if t > 1 else 0.0,
    }


def adopt_decoupled(p, g, m: velocity, v: nonnegative, *, lr, w1, keep, w2, eps, most, decay):
    """Update by ADOPT (Taniguchi et al., 2024, algorithm 2), with decoupled weight decay."""
    scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
    m = m + w1 * (scaled - m)
    v = keep * v + w2 * g * g
    return lr * m + decay * p, m, v


class ADOPT(Optimizer):
    """ADOPT: Adam with a second moment that excludes the newest gradient.

    Parameters
    ----------
    decoupled_weight_decay
        Decoupled weight decay instead of the L2 penalty: ``lr * weight_decay * p`` is part of the update.

    Notes
    -----
    The first step only sets ``v = g * g``, and leaves the parameter as it is. Then
    ``c = clip(g / max(sqrt(v), eps), (t - 1) ** 0.25)``,
    ``m = beta1 * m + (1 - beta1) * c``, ``p -= lr * m``, ``v = beta2 * v + (1 - beta2) * g * g``.

    References
    ----------
    Taniguchi et al., "ADOPT", 2024, algorithm 2, arXiv:2411.02853, and the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ADOPT(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([1., 1.])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.9999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
    }

    def rule(self, options):
        return adopt_decoupled if options["decoupled_weight_decay"] else adopt

    def choose_weight_decay(self, options):
        return None if options["decoupled_weight_decay"] else self.weight_decay_stage
