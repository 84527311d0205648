"""DoG: distance over gradients."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import ldexp, over_group, scale_by, sqrt, square, start, wide
from ..domains import positive, unlimited


def dog_sums(p, g, p0) -> over_group:
    """Sum the squares of the gradient, of the distance from the start, and of the parameter."""
    return {"grads": g * g, "way": square(p - p0), "param": square(p)}


def dog_scalars(
    t,
    grads,
    way,
    way_exponent,
    param,
    param_exponent,
    farthest: unlimited = 0,
    seen: unlimited = 0,
    *,
    lr=1,
    reps_rel: positive = 1e-6,
    eps: positive = 1e-8,
):
    """Return the largest distance so far, divided by the root of all squared gradients so far."""
    first = reps_rel * (1 + ldexp(param, param_exponent))
    far = farthest if farthest > 0 else first
    far_now = ldexp(way, way_exponent) if ldexp(way, way_exponent) > far else far
    total = (seen if farthest > 0 else eps) + grads
    return {"lr": lr * far_now / sqrt(total), "shift": 1}, far_now, total


def dog(p, g, p0: start, *, lr: wide, shift: wide):
    """Update by DoG, distance over gradients (Ivgi et al., 2023, eq. DoG), for all arrays of a group together."""
    return scale_by(g, lr, shift), p0


class DoG(Optimizer):
    """DoG: the learning rate is the distance so far, divided by the root of all squared gradients.

    Parameters
    ----------
    lr
        Factor of the learning rate, which the rule finds itself, without unit. Usual: 1.
    reps_rel
        Length of the first step, divided by one plus the parameters' norm. Usual: 1e-8 to 1e-4.
    eps
        Added to the sum of squared gradients, in its unit. Usual: 1e-8.

    Notes
    -----
    ``p -= lr * far / sqrt(sum of norm(g) ** 2 + eps) * g``, ``far`` the largest ``norm(p - p_start)`` so far; norms are over all
    arrays of a group. Evaluate at an average: the option ``ema``.

    References
    ----------
    Ivgi, Hinder and Carmon, "DoG is SGD's best friend", 2023, eq. DoG and section 5, arXiv:2302.12022.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> DoG(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999999, 1.000002])
    """

    arguments = {"lr": 1.0, "reps_rel": 1e-6, "eps": 1e-8, "weight_decay": 0.0}
    update = staticmethod(dog)
