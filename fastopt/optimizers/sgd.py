"""Stochastic gradient descent, with momentum and Nesterov's momentum."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import velocity
from ..domains import real, switch


def sgd_scalars(t, *, lr=1e-3):
    """Return the same scalars in every step."""
    return {"lr": lr}


def sgd(p, g, *, lr):
    """Update by stochastic gradient descent (Robbins and Monro, 1951)."""
    return lr * g


def momentum_scalars(t, *, lr=1e-3, momentum=0.9, dampening: real = 0, lr_in_velocity: switch = 0):
    """Return scalars with which the first step sets the buffer to the whole gradient, as in torch."""
    take = 1 - dampening if t > 1 else 1.0
    return {
        "lr": 1.0 if lr_in_velocity else lr,
        "keep": momentum if t > 1 else 0.0,
        "take": take * lr if lr_in_velocity else take,
    }


def momentum(p, g, buf: velocity, *, lr, keep, take):
    """Update by heavy-ball momentum (Polyak, 1964)."""
    buf = keep * buf + take * g
    return lr * buf, buf


def nesterov_scalars(t, *, lr=1e-3, momentum=0.9, lr_in_velocity: switch = 0):
    """Return the scalars of `momentum_scalars` without dampening, and the weight of the look-ahead."""
    return {
        "keep": momentum if t > 1 else 0.0,
        "take": lr if lr_in_velocity else 1.0,
        "lr": lr,
        "ahead": momentum if lr_in_velocity else lr * momentum,
    }


def nesterov(p, g, buf: velocity, *, keep, take, lr, ahead):
    """Update by Nesterov's momentum in the form of Sutskever et al. (2013)."""
    buf = keep * buf + take * g
    return lr * g + ahead * buf, buf


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's momentum.

    Parameters
    ----------
    lr
        Learning rate: factor of the gradient, in the parameter's unit divided by the gradient's. Usual: 1e-4 to 1, depending on
        the loss.
    momentum
        Decay rate of the buffer; 0 at construction keeps none. Usual: 0.9.
    dampening
        Part of each gradient, after the first, that the buffer leaves out: 0.9 for ``buf = 0.9 * buf + 0.1 * g``. Usual: 0.
    nesterov
        Use Nesterov's momentum, which needs a momentum and no dampening.
    lr_in_velocity
        The buffer holds steps instead of gradients, which differs if the learning rate changes (Keras).
    first_step
        What the first step makes of the buffer: ``"whole"``, the gradient itself (torch); ``"damped"``, as every other step, with
        the buffer's first value, which is 0 unless ``initial_state`` has ``buf``.

    Notes
    -----
    ``buf = momentum * buf + (1 - dampening) * g`` (the first: ``g``, unless `first_step` says otherwise), ``p -= lr * buf``;
    Nesterov: ``p -= lr * (g + momentum * buf)``.

    References
    ----------
    Robbins and Monro, 1951, doi:10.1214/aoms/1177729586; Polyak, 1964, doi:10.1016/0041-5553(64)90137-5; Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013, https://proceedings.mlr.press/v28/sutskever13.html.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments = {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "lr_in_velocity": False,
        "first_step": "whole",
    }
    choices = {"first_step": ("whole", "damped")}
    conventions = {
        "keras": {"lr": 1e-2, "lr_in_velocity": True, "weight_decay_stage": "decoupled"},
        "optax": {},
    }

    def initial_state(self, options):
        if options.get("first_step") == "damped":
            return {"step": 1}
        given = options["initial_state"] or {}
        if "step" not in given and not isinstance(given.get("buf", {}), dict):
            raise ValueError("initial_state: the first step overwrites buf, expected first_step='damped' with it")
        return {}

    def rule(self, options):
        if options["momentum"] == 0 and options.get("first_step", "whole") != "whole":
            raise ValueError(f"first_step: {options['first_step']!r}, expected a momentum with it")
        if options["nesterov"]:
            if options["momentum"] == 0 or options["dampening"] != 0:
                raise ValueError("nesterov: expected a momentum and no dampening")
            return nesterov
        return sgd if options["momentum"] == 0 else momentum
