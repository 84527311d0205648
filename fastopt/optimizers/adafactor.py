"""Adafactor."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from .._arrays import layout
from .._optimizer import Optimizer
from ..arithmetic import (
    exp,
    factored_terms,
    ldexp,
    log,
    maximum,
    mean_over_array,
    nonnegative,
    of_columns,
    of_ratios,
    of_rows,
    sqrt,
    square,
)
from ..domains import Domain, nonpositive, positive, switch


def adafactor_terms_scalars(t, *, beta2_decay, eps1, eps_inside):
    """Return the weight of the newest squares (section 7.2)."""
    return {"w": exp(beta2_decay * log(t)), "least": 0.0 if eps_inside else eps1, "more": eps1 if eps_inside else 0.0}


def adafactor_terms(g, *, w, least, more) -> factored_terms:
    """Return squares, whose means over rows and columns are averaged."""
    return {"squares": g * g + more}


def adafactor_sums_scalars(t, *, eps1, eps_inside):
    """Return what keeps the second moment above zero, if nothing was added to the squares."""
    return {"floor": 0.0 if eps_inside else eps1 * eps1}


def adafactor_sums(p, g, col, ratio, *, floor) -> mean_over_array:
    """Sum the squares of the unscaled update and of the parameter."""
    return {"param": square(p), "updates": g * g / maximum(ratio * col, floor)}


def adafactor_scalars(
    t,
    param,
    param_exponent,
    updates,
    *,
    lr=1e-2,
    beta2_decay: nonpositive = -0.8,
    eps1: positive = 1e-7,
    eps2=1e-3,
    d: Annotated[float, Domain(1.0)] = 1,
    eps_inside: switch = 0,
):
    """Return the relative step size times the parameter's size, with updates of bounded length (algorithm 4)."""
    rate = lr if lr < 1 / sqrt(t) else 1 / sqrt(t)
    size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    length = sqrt(updates) / d
    return {
        "step_size": rate * size / (1.0 if length <= 1 else length),
        "floor": 0.0 if eps_inside else eps1 * eps1,
    }


def adafactor(p, g, row: of_rows, col: of_columns, ratio: of_ratios, *, step_size, floor):
    """Update by Adafactor (Shazeer and Stern, 2018, algorithm 4), with a factored second moment."""
    return step_size * g / sqrt(maximum(ratio * col, floor)), row, col, ratio


def adafactor_vector_sums_scalars(t, *, beta2_decay, eps1, eps_inside):
    """Return weights of the second moment, as the rule itself uses them."""
    w = exp(beta2_decay * log(t))
    return {"keep": 1 - w, "w": w, "more": w * eps1 if eps_inside else 0.0, "floor": 0.0 if eps_inside else eps1 * eps1}


def adafactor_vector_sums(p, g, v, *, keep, w, more, floor) -> mean_over_array:
    """Sum as `adafactor_sums`, with the new second moment."""
    v = keep * v + w * g * g + more
    return {"param": square(p), "updates": g * g / maximum(v, floor)}


def adafactor_vector_scalars(
    t,
    param,
    param_exponent,
    updates,
    *,
    lr=1e-2,
    beta2_decay: nonpositive = -0.8,
    eps1: positive = 1e-7,
    eps2=1e-3,
    d: Annotated[float, Domain(1.0)] = 1,
    eps_inside: switch = 0,
):
    """Return the scalars of `adafactor_scalars`, and the weight of the newest square."""
    rate = lr if lr < 1 / sqrt(t) else 1 / sqrt(t)
    size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    length = sqrt(updates) / d
    w = exp(beta2_decay * log(t))
    return {
        "step_size": rate * size / (1.0 if length <= 1 else length),
        "keep": 1 - w,
        "w": w,
        "more": w * eps1 if eps_inside else 0.0,
        "floor": 0.0 if eps_inside else eps1 * eps1,
    }


def adafactor_vector(p, g, v: nonnegative, *, step_size, keep, w, more, floor):
    """Update by Adafactor without factors, for arrays of fewer than two axes (Shazeer and Stern, 2018, algorithm 5)."""
    v = keep * v + w * g * g + more
    return step_size * g / sqrt(maximum(v, floor)), v


class Adafactor(Optimizer):
    """Adafactor: steps relative to the parameter's size, with second moments of rows and columns.

    Parameters
    ----------
    lr
        Largest step relative to the parameter's root mean square. Usual: 1e-3 to 1e-2.
    beta2_decay
        The newest squares have the weight ``t**beta2_decay``; at most 0. Usual: -0.8 to -0.5.
    eps
        Smallest root of a second moment, where None is the machine epsilon (the largest, if a group has several dtypes); and
        smallest root mean square of a parameter. Usual: (None, 1e-3).
    d
        Largest root mean square of the update before scaling, at least 1. Usual: 1 to 2.
    eps_inside
        Add the first `eps`, which must be small then (1e-30), to each squared gradient (Keras, and the paper).

    Notes
    -----
    ``rho = min(lr, 1 / sqrt(t))``, ``w = t ** beta2_decay``. Matrices, of the last two axes, average the means of ``g * g`` over
    their rows and columns, ``row`` and ``col``, with ``w`` as the newest's weight: ``v = row * col / mean(row)``; arrays of fewer
    axes average ``g * g``. ``u = g / sqrt(v)``, ``p -= max(rms(p), eps2) * rho * u / max(1, rms(u) / d)``.
    State of rows and columns has the parameter's precision (float32 for 16 bits), whatever the `state_dtype`.

    References
    ----------
    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018, algorithms 4 and 5,
    arXiv:1804.04235.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones((1, 2))
    >>> Adafactor(w, lr=0.5).step(np.array([[1.0, -2.0]]))
    True
    >>> w.round(6)
    array([[0.5, 1.5]])
    """

    arguments = {
        "lr": 1e-2,
        "beta2_decay": -0.8,
        "eps": (None, 1e-3),
        "d": 1.0,
        "weight_decay": 0.0,
        "eps_inside": False,
    }
    conventions = {
        "keras": {"lr": 1e-3, "eps": (1e-30, 1e-3), "eps_inside": True, "weight_decay_stage": "decoupled"},
    }
    tuple_arguments = {"eps": ("eps1", "eps2")}
    weight_decay_stage = "late_decay"
    update = staticmethod(adafactor)

    def fallback_rule(self, options):
        return adafactor_vector

    def constants(self, options, arrays):
        return {"eps1": max((float(np.finfo(layout.working_dtype(self._memory.view(a))).eps) for a in arrays), default=0.0)}
