"""Stochastic gradient descent, with momentum and Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer
from ..arithmetic import velocity
from ..domains import real


def sgd_scalars(t, *, lr=1e-3):
    """Nothing changes from step to step."""
    return {"lr": lr}


def sgd(p, g, *, lr):
    """Stochastic gradient descent (Robbins and Monro, 1951)."""
    return lr * g


def momentum_scalars(t, *, lr=1e-3, momentum=0.9, dampening: real = 0, lr_in_velocity=0):
    """The first step starts the buffer with the whole gradient, as torch does."""
    take = 1 - dampening if t > 1 else 1.0
    return {
        "lr": 1.0 if lr_in_velocity else lr,
        "keep": momentum if t > 1 else 0.0,
        "take": take * lr if lr_in_velocity else take,
    }


def momentum(p, g, buf: velocity, *, lr, keep, take):
    """Heavy-ball momentum (Polyak, 1964)."""
    buf = keep * buf + take * g
    return lr * buf, buf


def nesterov_scalars(t, *, lr=1e-3, momentum=0.9, lr_in_velocity=0):
    """As `momentum_scalars`, and the look-ahead's weights."""
    return {
        "keep": momentum if t > 1 else 0.0,
        "take": lr if lr_in_velocity else 1.0,
        "lr": lr,
        "ahead": momentum if lr_in_velocity else lr * momentum,
    }


def nesterov(p, g, buf: velocity, *, keep, take, lr, ahead):
    """Nesterov's momentum in the form of Sutskever et al. (2013)."""
    buf = keep * buf + take * g
    return lr * g + ahead * buf, buf


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's momentum.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    momentum : float or schedule, default 0
        Weight of the buffer; 0 at construction keeps no buffer.
    dampening : float or schedule, default 0
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    nesterov : bool, default False
        Needs a momentum and no dampening.
    lr_in_velocity : bool, default False
        The buffer holds steps, not gradients, which differs where the learning rate changes (Keras).
    {common}

    Notes
    -----
    ``buf = momentum * buf + (1 - dampening) * g`` (the first: ``g``), ``p -= lr * buf``;
    Nesterov: ``p -= lr * (g + momentum * buf)``.

    References
    ----------
    Robbins and Monro, 1951; Polyak, 1964; Sutskever et al., 2013.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "lr_in_velocity": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-2, "lr_in_velocity": True, "weight_decay_stage": "decoupled"},
        "optax": {},
    }

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        if options["nesterov"]:
            if options["momentum"] == 0 or options["dampening"] != 0:
                raise ValueError("nesterov: expected a momentum and no dampening")
            return nesterov
        return sgd if options["momentum"] == 0 else momentum
