"""Adagrad."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import nonnegative, sqrt
from ..domains import NONNEGATIVE, switch


def adagrad_scalars(t, *, lr=1e-2, lr_decay=0, eps=1e-10, eps_inside: switch = 0):
    """Return the decayed learning rate, and eps inside or outside the root."""
    return {
        "step_size": lr / (1 + (t - 1) * lr_decay),
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
    }


def adagrad(p, g, sum: nonnegative, *, step_size, root, eps):
    """Update by AdaGrad (Duchi et al., 2011, section 1.1, diagonal)."""
    sum = sum + g * g
    return step_size * g / (sqrt(sum + root) + eps), sum


class Adagrad(Optimizer):
    """AdaGrad, diagonal: learning rates that fall with the sum of squared gradients.

    Parameters
    ----------
    lr
        Learning rate: size of the first step, in the parameter's unit. Usual: 1e-3 to 0.5.
    lr_decay
        The learning rate of step t is ``lr / (1 + (t - 1) * lr_decay)``. Usual: 0 to 1e-3.
    initial_accumulator_value : float
        First value of the sum of squared gradients. Usual: 0 to 0.1.
    eps_inside
        Add `eps` inside the root (Keras, optax).

    Notes
    -----
    ``sum`` begins at ``initial_accumulator_value``; ``sum += g * g``,
    ``p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)`` at step t = 1, 2, ...

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12, 2011, section 1.1,
    https://jmlr.org/papers/v12/duchi11a.html.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adagrad(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 1e-2,
        "lr_decay": 0.0,
        "weight_decay": 0.0,
        "initial_accumulator_value": 0.0,
        "eps": 1e-10,
        "eps_inside": False,
    }
    conventions = {
        "keras": {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True, "weight_decay_stage": "decoupled"},
        "optax": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
    }
    update = staticmethod(adagrad)

    def initial_state(self, options):
        return {"sum": NONNEGATIVE.check("initial_accumulator_value", options["initial_accumulator_value"])}
