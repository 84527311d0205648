"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 1e-2
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    amsgrad : bool, default False
        Divide by the largest second moment so far.
    eps_root : float or schedule, default 0
        Added to the corrected second moment, inside of the root.
    eps_hat : bool, default False
        Add `eps` to the root of the second moment before, not after its bias correction (Keras; "epsilon hat" in the paper).
    max_corrected : bool, default False
        AMSGrad's maximum is over bias-corrected moments (optax).
    {common}

    Notes
    -----
    As `Adam`, whose moments do not see the decay.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdamW(w, lr=0.5, weight_decay=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0.25, 1.25])
    """

    arguments: ClassVar[Mapping[str, Any]] = {**Adam.arguments, "weight_decay": 1e-2}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay": 4e-3},
        "optax": {"max_corrected": True, "weight_decay": 1e-4},
    }
    weight_decay_stage = "decoupled"
