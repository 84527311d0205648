"""FTRL-proximal."""

from __future__ import annotations

from .._optimizer import Optimizer
from ..arithmetic import copysign, fabs, nonnegative, sqrt, where
from ..domains import NONNEGATIVE, positive, switch


def ftrl_scalars(t, *, lr: positive = 1e-2, beta=1, l1=0, l2=0, l2_doubled: switch = 0):
    """Return the same scalars in every step."""
    return {"rate": 1 / lr, "beta": beta / lr, "l1": l1, "l2": 2 * l2 if l2_doubled else l2}


def ftrl(p, g, z, n2: nonnegative, *, rate, beta, l1, l2):
    """Update by FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1)."""
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
    lr
        Learning rate: factor of the gradient over its root of summed squares, in the parameter's unit. Usual: 1e-3 to 0.5.
    beta
        Added to that root, in the gradient's unit. Usual: 0 to 1.
    l1
        Factor of the sum of absolute values; sets small parameters to 0. Usual: 0 to 1.
    l2
        Factor of half the sum of squares. Usual: 0 to 1.
    initial_accumulator_value : float
        First value of the sum of squared gradients. Usual: 0 to 0.1.
    l2_doubled
        `l2` is the penalty of the square, not of half of it (Keras).

    Notes
    -----
    ``n2 += g * g``, ``z += g - (sqrt(n2) - sqrt(n2_before)) / lr * p``, then ``p = 0`` where ``|z| <= l1``, else
    ``p = (sign(z) * l1 - z) / ((beta + sqrt(n2)) / lr + l2)``. The parameter begins where it is; the paper's begins at 0.

    References
    ----------
    McMahan et al., "Ad click prediction", 2013, algorithm 1, doi:10.1145/2487575.2488200.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> FTRL(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.25, 1.  ])
    """

    arguments = {
        "lr": 1e-2,
        "beta": 1.0,
        "l1": 0.0,
        "l2": 0.0,
        "initial_accumulator_value": 0.0,
        "l2_doubled": False,
    }
    conventions = {
        "keras": {"lr": 1e-3, "beta": 0.0, "initial_accumulator_value": 0.1, "l2_doubled": True},
    }
    weight_decay_stage = None
    update = staticmethod(ftrl)

    def initial_state(self, options):
        return {"n2": NONNEGATIVE.check("initial_accumulator_value", options["initial_accumulator_value"])}
