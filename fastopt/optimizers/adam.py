"""Adam and AMSGrad."""

from __future__ import annotations

from .._optimizer import CORRECTED, Optimizer
from ..arithmetic import maximum, nonnegative, power, sqrt, velocity
from ..domains import fraction, switch


def adam_scalars(t, *, lr=1e-3, beta1: fraction = 0.9, beta2: fraction = 0.999, eps=1e-8, eps_root=0, eps_hat: switch = 0):
    """Return bias corrections of step t, folded into step size and eps, unless eps is "hat" (section 2, last lines)."""
    correct = 1 - power(beta2, t)
    c2 = sqrt(correct)
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps if eps_hat else eps * c2,
        "root": eps_root * correct,
    }


def adam(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, root):
    """Update by Adam (Kingma and Ba, 2015, algorithm 1)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g  # Not w2 * (g * g), which overflows float32 at 1e20.
    return step_size * m / (sqrt(v + root) + eps), m, v


def amsgrad_scalars(
    t,
    *,
    lr=1e-3,
    beta1: fraction = 0.9,
    beta2: fraction = 0.999,
    eps=1e-8,
    eps_root=0,
    eps_hat: switch = 0,
    max_corrected: switch = 0,
):
    """Return Adam's scalars; with a maximum over corrected moments, nothing is corrected later."""
    correct = 1 - power(beta2, t)
    c2 = 1.0 if max_corrected else sqrt(correct)
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "seen": 1 / correct if max_corrected else 1.0,
        "eps": eps if eps_hat else eps * c2,
        "root": eps_root * c2 * c2,
    }


def amsgrad(p, g, m: velocity, v: nonnegative, vmax: nonnegative, *, step_size, w1, keep, w2, seen, eps, root):
    """Update by AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    vmax = maximum(vmax, seen * v)
    return step_size * m / (sqrt(vmax + root) + eps), m, v, vmax


class Adam(Optimizer):
    """Adam, and AMSGrad: steps by averages of the gradient and of its square.

    Parameters
    ----------
    amsgrad
        Divide by the largest second moment so far.
    eps_hat
        Add `eps` before the bias correction of the second moment, not after it (Keras; "epsilon hat" in the paper).
    max_corrected
        AMSGrad's maximum is over bias-corrected moments (optax).
    uncorrected
        Take the moments as they are, without bias corrections, as for state that has been corrected already.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g * g``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t) + eps_root) + eps)``.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 1, arXiv:1412.6980; Reddi et al., "On the convergence of Adam and beyond", 2018,
    algorithm 2, arXiv:1904.09237.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adam(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "amsgrad": False,
        "eps_root": 0.0,
        "eps_hat": False,
        "max_corrected": False,
        "uncorrected": False,
    }
    minimization_defaults = {"lr": 0.1}
    conventions = {
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay_stage": "decoupled"},
        "optax": {"max_corrected": True},
    }

    def rule(self, options):
        return amsgrad if options["amsgrad"] else adam

    def initial_state(self, options):
        return {"step": CORRECTED} if options.get("uncorrected") else {}
