"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from .adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    weight_decay
        Decoupled weight decay, before the rule: ``p *= 1 - lr * weight_decay``. Usual: 1e-4 to 0.1.

    Notes
    -----
    ``p *= 1 - lr * weight_decay``, then Adam's step: the decay does not enter the moments.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdamW(w, lr=0.5, weight_decay=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0.25, 1.25])
    """

    arguments = {**Adam.arguments, "weight_decay": 1e-2}
    conventions = {
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay": 4e-3},
        "optax": {"max_corrected": True, "weight_decay": 1e-4},
    }
    weight_decay_stage = "decoupled"
