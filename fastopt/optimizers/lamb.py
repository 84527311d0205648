"""LAMB: Adam with a trust ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._optimizer import Optimizer
from .adam import adam


class LAMB(Optimizer):
    """LAMB: Adam whose update of each array is as long as the array, times the learning rate.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-6
    weight_decay : float or schedule, default 0
        Decoupled, and inside of the ratio.
    eps_root, eps_hat : as `Adam`
    {common}

    Notes
    -----
    With Adam's update ``u`` before its learning rate: ``r = u + weight_decay * p``, ``p -= lr * norm(p) / norm(r) * r``; where a
    norm is zero, without the ratio. The option ``trust_ratio`` is 1.

    References
    ----------
    You et al., "Large batch optimization for deep learning", 2020, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> LAMB(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "eps_root": 0.0,
        "eps_hat": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}
    option_defaults: ClassVar[Mapping[str, Any]] = {"trust_ratio": 1.0}
    weight_decay_stage = "late_decay"
    update = staticmethod(adam)
