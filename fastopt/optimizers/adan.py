"""Adan."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, power, sqrt, velocity, where
from ..domains import fraction, switch


def adan_scalars(
    t,
    *,
    lr=1e-3,
    beta1: fraction = 0.98,
    beta2: fraction = 0.92,
    beta3: fraction = 0.99,
    eps=1e-8,
    eps_root=0,
    short_look: switch = 0,
):
    """Return bias corrections of step t; the first gradient has no change."""
    correct = 1 - power(beta3, t)
    c3 = sqrt(correct)
    step_size = lr * c3
    ahead = 1 - beta2 if short_look else beta2
    return {
        "of_m": step_size / (1 - power(beta1, t)),
        "of_d": step_size * ahead / (1 - power(beta2, t)),
        "w1": 1 - beta1,
        "w2": 1 - beta2,
        "ahead": ahead,
        "keep": beta3,
        "w3": 1 - beta3,
        "eps": eps * c3,
        "root": eps_root * correct,
        "before": 1.0 if t > 1 else 0.0,
    }


def adan(p, g, m: velocity, d: velocity, v: nonnegative, last, *, of_m, of_d, w1, w2, ahead, keep, w3, eps, root, before):
    """Update by Adan (Xie et al., 2022, algorithm 1, with bias corrections)."""
    change = where(before > 0, g - last, 0)
    look = g + ahead * change
    m = m + w1 * (g - m)
    d = d + w2 * (change - d)
    v = keep * v + w3 * look * look
    return (of_m * m + of_d * d) / (sqrt(v + root) + eps), m, d, v, g


class Adan(Optimizer):
    """Adan: Adam with Nesterov's momentum from changes of the gradient.

    Parameters
    ----------
    betas
        Decay rates of the averages of the gradient, of its change, and of the square of both together, in [0, 1).
        Usual: (0.98, 0.92, 0.99).
    weight_decay
        Decoupled and proximal: ``(p - update) / (1 + lr * weight_decay)``. Usual: 0 to 0.1.
    no_prox
        Decay before the rule instead, ``p *= 1 - lr * weight_decay``.
    short_look
        Look ahead by ``1 - beta2`` of the change, not by ``beta2`` (optax).

    Notes
    -----
    ``d`` averages ``g - g_before``, ``v`` the square of ``g + beta2 * (g - g_before)``, ``m`` the gradient; all are corrected for
    their start, and ``p -= lr * (m + beta2 * d) / (sqrt(v) + eps)``.

    References
    ----------
    Xie et al., "Adan", 2022, algorithm 1, whose betas are one minus these, arXiv:2208.06677; and the authors' code for the bias
    corrections.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adan(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.98, 0.92, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "no_prox": False,
        "eps_root": 0.0,
        "short_look": False,
    }
    conventions = {"optax": {"no_prox": True, "eps_root": 1e-8, "short_look": True}}
    tuple_arguments = {"betas": ("beta1", "beta2", "beta3")}
    weight_decay_stage = "proximal"
    update = staticmethod(adan)

    def choose_weight_decay(self, options):
        return "decoupled" if options["no_prox"] else self.weight_decay_stage
