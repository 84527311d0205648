"""What rules make of whole matrices, by NumPy's linear algebra."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

SMALL = 300  # rows of a matrix whose half BLAS does not compute faster than all of it


def newton_schulz(x: np.ndarray, values: Mapping[str, float]) -> None:
    """Nearly orthogonalize a matrix in place, as long as its update is to be (Jordan et al., "Muon", 2024).

    Parameters
    ----------
    x : ndarray of float32 or float64, of NumPy or of CuPy, shape (m, n)
    values : mapping
        ``ns1``, ``ns2``, ``ns3``: of the quintic ``ns1 * s + ns2 * s ** 3 + ns3 * s ** 5`` that maps singular values ``s`` towards
        1, ``ns_steps`` times, once the Frobenius norm, at least ``eps``, has been divided by. ``match_rms``: 1 for updates as long
        as AdamW's, ``0.2 * sqrt(max(m, n))`` times as long (Liu et al., 2025, eq. 4); 0 for ``sqrt(max(1, m / n))``.

    Notes
    -----
    Products of a matrix and its own transpose are symmetric, and BLAS computes half of them: two of the three products of a step.
    """
    m, n = x.shape
    a, b, c = (values[name] for name in ("ns1", "ns2", "ns3"))
    real = x.dtype.type
    with np.errstate(all="ignore"):
        wide = normed(x if m <= n else x.T, values["eps"])
        gram, square = (np.empty_like(wide, order="C", shape=(len(wide), len(wide))) for _ in range(2))
        product = np.empty_like(wide)
        for _ in range(int(values["ns_steps"])):
            np.matmul(wide, wide.T, out=gram)
            np.matmul(gram, gram.T if len(gram) > SMALL else gram, out=square)
            square *= real(c)
            gram *= real(b)
            square += gram
            square.reshape(-1)[:: len(wide) + 1] += real(a)  # the diagonal
            np.matmul(square, wide, out=product)
            wide, product = product, wide
        factor = 0.2 * math.sqrt(max(m, n)) if values["match_rms"] else math.sqrt(max(1, m / n))
        np.multiply(wide if m <= n else wide.T, real(factor), out=x)


def normed(x: Any, eps: float) -> Any:
    """Return a matrix over its Frobenius norm, or over `eps` where that is less; on a device without waiting for it."""
    real = x.dtype.type
    if not isinstance(x, np.ndarray):
        top = np.maximum(np.abs(x).max(), np.finfo(x.dtype).tiny)
        x = x / top
        return x / np.maximum(np.sqrt(np.sum(x * x)), real(eps) / top)
    norm = math.sqrt(float(np.vdot(x, x)))
    if norm == math.inf:  # of squares, not yet of numbers
        x = x / real(max(float(x.max()), -float(x.min())))
        norm = math.sqrt(float(np.vdot(x, x)))
    return x / real(max(norm, eps))
