"""LAMB: Adam with a trust ratio."""

from __future__ import annotations

from .._optimizer import Optimizer
from .adam import adam


class LAMB(Optimizer):
    """LAMB: Adam with updates scaled to the norm of each array, times the learning rate.

    Parameters
    ----------
    lr
        Learning rate: size of a step relative to the norm of each array. Usual: 1e-4 to 1e-2.
    weight_decay
        Decoupled weight decay, as part of the update that is scaled. Usual: 0 to 0.1.

    Notes
    -----
    With Adam's update ``u`` before its learning rate: ``r = u + weight_decay * p``, ``p -= lr * norm(p) / norm(r) * r``; where a
    norm is zero, without the ratio. The option ``trust_ratio`` is 1.

    References
    ----------
    You et al., "Large batch optimization for deep learning", 2020, algorithm 2, arXiv:1904.00962.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> LAMB(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "eps_root": 0.0,
        "eps_hat": False,
    }
    conventions = {"optax": {}}
    option_defaults = {"trust_ratio": 1.0}
    weight_decay_stage = "late_decay"
    update = staticmethod(adam)
