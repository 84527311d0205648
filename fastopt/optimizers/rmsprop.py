"""RMSprop, centered or not, with momentum or without."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import maximum, nonnegative, sqrt, velocity
from ..domains import fraction, switch


def rmsprop_scalars(t, *, lr=1e-2, alpha: fraction = 0.99, eps=1e-8, eps_inside: switch = 0):
    """Return the weight of the newest squared gradient, and eps inside or outside the root."""
    return {
        "lr": lr,
        "keep": alpha,
        "w": 1 - alpha,
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
    }


def rmsprop(p, g, v: nonnegative, *, lr, keep, w, root, eps):
    """Update by RMSprop (Tieleman and Hinton, 2012, lecture 6.5)."""
    v = keep * v + w * g * g
    return lr * g / (sqrt(v + root) + eps), v


rmsprop_centered_scalars = rmsprop_scalars


def rmsprop_centered(p, g, v: nonnegative, mean, *, lr, keep, w, root, eps):
    """Update by RMSprop with the variance (Graves, 2013, eq. 38-45), which rounding must not make negative."""
    v = keep * v + w * g * g
    mean = mean + w * (g - mean)
    return lr * g / (sqrt(maximum(v - mean * mean, 0) + root) + eps), v, mean


def rmsprop_momentum_scalars(
    t, *, lr=1e-2, alpha: fraction = 0.99, eps=1e-8, momentum=0.9, eps_inside: switch = 0, lr_in_velocity: switch = 0
):
    """Return the scalars of `rmsprop_scalars`, and those of a momentum with or without the learning rate."""
    return {
        "lr": 1.0 if lr_in_velocity else lr,
        "keep": alpha,
        "w": 1 - alpha,
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
        "roll": momentum,
        "take": lr if lr_in_velocity else 1.0,
    }


def rmsprop_momentum(p, g, v: nonnegative, buf: velocity, *, lr, keep, w, root, eps, roll, take):
    """Update by RMSprop with heavy-ball momentum over the scaled gradient."""
    v = keep * v + w * g * g
    buf = roll * buf + take * g / (sqrt(v + root) + eps)
    return lr * buf, v, buf


rmsprop_centered_momentum_scalars = rmsprop_momentum_scalars


def rmsprop_centered_momentum(p, g, v: nonnegative, mean, buf: velocity, *, lr, keep, w, root, eps, roll, take):
    """Update by centered RMSprop with momentum (Graves, 2013, eq. 38-45)."""
    v = keep * v + w * g * g
    mean = mean + w * (g - mean)
    buf = roll * buf + take * g / (sqrt(maximum(v - mean * mean, 0) + root) + eps)
    return lr * buf, v, mean, buf


class RMSprop(Optimizer):
    """RMSprop: steps by the root mean square of recent gradients; centered, with momentum, or both.

    Parameters
    ----------
    alpha
        Decay rate of the average of the squared gradient, in [0, 1). Usual: 0.9 to 0.99.
    momentum
        Decay rate of the buffer; 0 at construction keeps none. Usual: 0 or 0.9.
    centered
        Divide by the standard deviation instead of the root mean square.
    eps_inside
        Add `eps` inside the root (Keras, optax).
    lr_in_velocity
        The buffer holds steps instead of gradients, as in `SGD` (Keras, optax).

    Notes
    -----
    ``v = alpha * v + (1 - alpha) * g * g``, ``p -= lr * g / (sqrt(v) + eps)``. Centered: ``mean = alpha * mean + (1 - alpha) * g``,
    and ``v - mean * mean``, at least 0, in the place of ``v``. With momentum: ``buf = momentum * buf + g / (sqrt(v) + eps)``,
    ``p -= lr * buf``.

    References
    ----------
    Tieleman and Hinton, 2012, lecture 6.5, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf; Graves,
    "Generating sequences with recurrent neural networks", 2013, eq. 38-45, arXiv:1308.0850.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> RMSprop(w, lr=0.5, alpha=0.75, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0., 2.])
    """

    arguments = {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
        "eps_inside": False,
        "lr_in_velocity": False,
    }
    conventions = {
        "keras": {
            "lr": 1e-3,
            "alpha": 0.9,
            "eps": 1e-7,
            "eps_inside": True,
            "lr_in_velocity": True,
            "weight_decay_stage": "decoupled",
        },
        "optax": {"alpha": 0.9, "eps_inside": True, "lr_in_velocity": True},
    }

    def rule(self, options):
        if options["momentum"] == 0:
            return rmsprop_centered if options["centered"] else rmsprop
        return rmsprop_centered_momentum if options["centered"] else rmsprop_momentum
