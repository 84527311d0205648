"""LARS."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import ldexp, over_array, scale_by, scale_factor, scale_power, square, velocity, wide


def lars_sums(p, g) -> over_array:
    """Sum the squares of parameter and gradient."""
    return {"param": square(p), "grad": square(g)}


def lars_scalars(
    t, param, param_exponent, grad, grad_exponent, *, lr=1, momentum=0.9, weight_decay=0, trust_coefficient=1e-3, eps=0
):
    """Return the learning rate of an array, or the common one if a norm is zero."""
    decayed = param_exponent if weight_decay > 0 else grad_exponent
    most = decayed if decayed > grad_exponent else grad_exponent
    least = 0.0 if eps > 0 else most
    top = most if most > least else least
    length = ldexp(grad, grad_exponent - top) + weight_decay * ldexp(param, decayed - top) + ldexp(eps, -top)
    both = grad * param
    return {
        "lr": lr,
        "keep": momentum,
        "ratio": 1.0 if both == 0 else scale_factor(trust_coefficient * param / length, param_exponent - top),
        "shift": 1.0 if both == 0 else scale_power(trust_coefficient * param / length, param_exponent - top),
        "decay": weight_decay,
    }


def lars(p, g, buf: velocity, *, lr, keep, ratio: wide, shift: wide, decay):
    """Update by LARS (You et al., 2017, algorithm 1)."""
    buf = keep * buf + lr * scale_by(g + decay * p, ratio, shift)
    return buf, buf


class LARS(Optimizer):
    """LARS: momentum, with learning rates scaled to the norm of each array.

    Parameters
    ----------
    lr
        Factor of the step, without unit: the rule scales it to the norm of each array. Usual: 0.1 to 10.
    momentum
        Decay rate of the buffer. Usual: 0.9.
    weight_decay
        L2 penalty, also part of the ratio. Usual: 0 to 1e-3.
    trust_coefficient
        Factor of the ratio. Usual: 1e-3 to 1e-2.
    eps
        Added to the divisor of the ratio, in the gradient's unit. Usual: 0 to 1e-8.

    Notes
    -----
    ``ratio = trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p) + eps)``, 1 where a norm is zero;
    ``buf = momentum * buf + lr * ratio * (g + weight_decay * p)``, ``p -= buf``.

    References
    ----------
    You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017, algorithm 1, arXiv:1708.03888.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> LARS(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999684, 1.000632])
    """

    arguments = {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "trust_coefficient": 1e-3,
        "eps": 0.0,
    }
    weight_decay_stage = None
    update = staticmethod(lars)
