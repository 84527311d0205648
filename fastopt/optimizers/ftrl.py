"""FTRL-proximal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer
from ..arithmetic import copysign, fabs, nonnegative, sqrt, where
from ..domains import NONNEGATIVE, positive


def ftrl_scalars(t, *, lr: positive = 1e-2, beta=1, l1=0, l2=0, l2_doubled=0):
    """Nothing changes from step to step."""
    return {"rate": 1 / lr, "beta": beta / lr, "l1": l1, "l2": 2 * l2 if l2_doubled else l2}


def ftrl(p, g, z, n2: nonnegative, *, rate, beta, l1, l2):
    """FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1)."""
    before = sqrt(n2)
    n2 = n2 + g * g
    after = sqrt(n2)
    z = z + g - rate * (after - before) * p
    target = where(fabs(z) > l1, (copysign(l1, z) - z) / (rate * after + beta + l2), 0)
    return p - target, z, n2


class FTRL(Optimizer):
    """FTRL-proximal: follow the regularized leader, with exact zeros.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    beta : float or schedule, default 1
    l1, l2 : float or schedule, default 0
        Penalties of the absolute value and of half the square.
    initial_accumulator_value : float, default 0
        Where the sum of squared gradients begins.
    l2_doubled : bool, default False
        `l2` is of the square, not of half of it (Keras).
    {common}

    Notes
    -----
    ``n2 += g * g``, ``z += g - (sqrt(n2) - sqrt(n2_before)) / lr * p``, then ``p = 0`` where ``|z| <= l1``, else
    ``p = (sign(z) * l1 - z) / ((beta + sqrt(n2)) / lr + l2)``. The parameter begins where it is; the paper's begins at 0.

    References
    ----------
    McMahan et al., "Ad click prediction", 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> FTRL(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.25, 1.  ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "beta": 1.0,
        "l1": 0.0,
        "l2": 0.0,
        "initial_accumulator_value": 0.0,
        "l2_doubled": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "beta": 0.0, "initial_accumulator_value": 0.1, "l2_doubled": True},
    }
    weight_decay_stage = None
    update = staticmethod(ftrl)

    def initial_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"n2": NONNEGATIVE.check("initial_accumulator_value", options["initial_accumulator_value"])}
