"""Rprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from .._optimizer import Optimizer
from ..arithmetic import maximum, minimum, nonnegative, sign, where
from ..domains import ABOVE_ONE, BELOW_ONE, SMALLEST, Domain


def rprop_scalars(
    t,
    *,
    lr=1e-2,
    eta_minus: Annotated[float, Domain(SMALLEST, BELOW_ONE)] = 0.5,
    eta_plus: Annotated[float, Domain(ABOVE_ONE)] = 1.2,
    step_min=1e-6,
    step_max: Annotated[float, Domain(floor="step_min")] = 50,
):
    """The first step's size is the learning rate."""
    return {
        "start": lr if t == 1 else 0.0,
        "down": eta_minus,
        "up": eta_plus,
        "least": step_min,
        "most": step_max,
    }


def rprop(p, g, last, size: nonnegative, *, start, down, up, least, most):
    """Resilient backpropagation, without weight-backtracking (Riedmiller and Braun, 1993; Igel and Huesken, 2000)."""
    agree = sign(g) * last
    factor = where(agree > 0, up, 1) * where(agree < 0, down, 1)
    size = minimum(maximum(factor * maximum(size, start), least), most)
    last = where(agree < 0, 0, g)
    return size * sign(last), last, size


class Rprop(Optimizer):
    """Resilient backpropagation: step sizes by the signs of gradients, which must be exact ones.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
        The first step's size.
    etas : pair of float or schedule, default (0.5, 1.2)
        What a step size is multiplied by where the sign has changed, and where it has not.
    step_sizes : pair of float or schedule, default (1e-6, 50)
        The least and the greatest step.
    {common}

    Notes
    -----
    ``p -= sign(g) * size``; where the sign has changed, the parameter stays for a step.

    References
    ----------
    Riedmiller and Braun, 1993; Igel and Huesken, "Improving the Rprop learning algorithm", 2000, iRprop-.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Rprop(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}
    tuple_arguments: ClassVar[Mapping[str, Any]] = {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")}
    weight_decay_stage = None

    update = staticmethod(rprop)
