"""Rprop."""

from __future__ import annotations

from typing import Annotated

from .._optimizer import Optimizer
from ..arithmetic import inf, maximum, minimum, nonnegative, sign, where
from ..domains import ABOVE_ONE, BELOW_ONE, SMALLEST, Domain


def rprop_scalars(
    t,
    *,
    lr=1e-2,
    eta_minus: Annotated[float, Domain(SMALLEST, BELOW_ONE)] = 0.5,
    eta_plus: Annotated[float, Domain(ABOVE_ONE)] = 1.2,
    step_min=1e-6,
    step_max: Annotated[float, Domain(0.0, inf, floor="step_min")] = 50,
):
    """Return the learning rate as the first step's size."""
    return {
        "start": lr if t == 1 else 0.0,
        "down": eta_minus,
        "up": eta_plus,
        "least": step_min,
        "most": step_max,
    }


def rprop(p, g, last, size: nonnegative, *, start, down, up, least, most):
    """Update by resilient backpropagation without backtracking (Riedmiller and Braun, 1993; Igel and Huesken, 2000)."""
    agree = sign(g) * last
    factor = where(agree > 0, up, 1) * where(agree < 0, down, 1)
    size = minimum(maximum(factor * where(size > 0, size, start), least), most)
    last = where(agree < 0, 0, g)
    return size * sign(last), last, size


class Rprop(Optimizer):
    """Resilient backpropagation: step sizes by the signs of gradients, which must be free of noise.

    Parameters
    ----------
    lr
        Size of the first step, in the parameter's unit. Usual: 1e-3 to 0.1.
    etas
        Factors of a step size if the sign has changed, and if it has not. Usual: (0.5, 1.2).
    step_sizes
        Smallest and largest step size; the largest may be infinite. Usual: (1e-6, 50). ``initial_state={"size": array}`` gives
        first sizes for each element, in place of the learning rate.

    Notes
    -----
    ``p -= sign(g) * size``; where the sign has changed, the parameter stays for a step.

    References
    ----------
    Riedmiller and Braun, 1993, doi:10.1109/ICNN.1993.298623; Igel and Huesken, "Improving the Rprop learning algorithm", 2000,
    iRprop-.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Rprop(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}
    tuple_arguments = {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")}
    weight_decay_stage = None

    update = staticmethod(rprop)
