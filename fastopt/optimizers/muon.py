"""Muon."""

from __future__ import annotations

from typing import Annotated

from .._optimizer import Optimizer
from ..arithmetic import matrix_terms, scratch, velocity
from ..domains import Domain, fraction, positive, real, switch
from ..matrices import newton_schulz
from .adam import adam

muon_matrix = newton_schulz


def muon_terms_scalars(t, *, momentum, nesterov):
    """Return weights of the gradient in the average, and of both in the matrix to orthogonalize."""
    return {"w": 1 - momentum, "of_buf": momentum if nesterov else 1.0, "of_g": 1 - momentum if nesterov else 0.0}


def muon_terms(g, buf, *, w, of_buf, of_g) -> matrix_terms:
    """Return the average, or Nesterov's look-ahead."""
    return {"direction": of_buf * (buf + w * (g - buf)) + of_g * g}


def muon_scalars(
    t,
    *,
    lr=1e-3,
    momentum: fraction = 0.95,
    nesterov: switch = 1,
    ns1: real = 3.4445,
    ns2: real = -4.775,
    ns3: real = 2.0315,
    eps: positive = 1e-7,
    ns_steps: Annotated[float, Domain(0.0, 99.0, is_whole=True)] = 5,
    match_rms=0,
):
    """Return the weight of the newest gradient; the other hyperparameters are for the terms and the matrix."""
    return {"lr": lr, "w": 1 - momentum}


def muon(p, g, buf: velocity, o: scratch, *, lr, w):
    """Update by Muon (Jordan et al., 2024), with a momentum that has been orthogonalized."""
    return lr * o, buf + w * (g - buf), o


class Muon(Optimizer):
    """Muon: momentum of matrices, orthogonalized; AdamW for arrays without exactly two axes.

    Parameters
    ----------
    lr
        Learning rate: factor of the orthogonal update (`adjust_lr_fn`), in the parameter's unit. Usual: 1e-3 to 0.05.
    momentum
        Decay rate of the average of the gradient, in [0, 1). Usual: 0.9 to 0.98.
    nesterov
        Orthogonalize the look-ahead of the average, ``momentum * buf + (1 - momentum) * g``.
    ns_coefficients
        Coefficients of the quintic polynomial that moves singular values towards 1. Usual: the default.
    eps
        Smallest norm to divide a matrix by. Usual: 1e-7.
    ns_steps
        Number of applications of the polynomial. Usual: 5.
    adjust_lr_fn
        Size of the update of a matrix of shape (m, n): ``sqrt(max(1, m / n))``, or that of AdamW, ``0.2 * sqrt(max(m, n))``.
    betas
        AdamW's decay rates, in [0, 1). Usual: (0.9, 0.95) to (0.9, 0.999).
    adam_eps
        AdamW's `eps`, in the gradient's unit. Usual: 1e-10 to 1e-6.
    orthogonalize
        False, for a group of embeddings or a last layer: AdamW for all its arrays.

    Notes
    -----
    ``buf = momentum * buf + (1 - momentum) * g``, ``p -= lr * length * orthogonalized(buf)``. Products of matrices are NumPy's, in
    the parameter's precision (float32 for 16 bits), so that bits depend on its BLAS and how many threads that has; torch computes
    them in bfloat16. They take memory for three matrices in each step. The kernel of a convolution has four axes: give its view
    ``k.reshape(len(k), -1)`` as the parameter.

    References
    ----------
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon;
    Liu et al., "Muon is scalable for LLM training", 2025, eq. 4, arXiv:2502.16982.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.zeros((2, 2))
    >>> Muon(w, lr=0.5, ns_coefficients=(1.5, -0.5, 0), ns_steps=20).step(np.array([[1.0, 0.0], [0.0, -2.0]]))
    True
    >>> w.round(6)
    array([[-0.5,  0. ],
           [ 0. ,  0.5]])
    """

    arguments = {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "ns_coefficients": (3.4445, -4.775, 2.0315),
        "eps": 1e-7,
        "ns_steps": 5,
        "adjust_lr_fn": "original",
        "betas": (0.9, 0.999),
        "adam_eps": 1e-8,
        "orthogonalize": True,
    }
    tuple_arguments = {"betas": ("beta1", "beta2"), "ns_coefficients": ("ns1", "ns2", "ns3")}
    choices = {"adjust_lr_fn": ("original", "match_rms_adamw")}
    fallback_names = {"eps": "adam_eps"}
    weight_decay_stage = "decoupled"
    update = staticmethod(muon)

    def fallback_rule(self, options):
        return adam

    def uses_fallback(self, options):
        return not options["orthogonalize"]

    def constants(self, options, arrays):
        return {"match_rms": float(options["adjust_lr_fn"] == "match_rms_adamw")}
