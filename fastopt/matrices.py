"""Functions of whole matrices that rules use, by NumPy's linear algebra."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# Rows: below this, BLAS computes all of a symmetric product as fast as half of it.
SMALL = 300


def newton_schulz(x: np.ndarray, values: Mapping[str, float]) -> None:
    """Orthogonalize a matrix approximately, in place, and scale it to the length of its update (Jordan et al., "Muon", 2024).

    Parameters
    ----------
    x : ndarray of float32 or float64, of NumPy or of CuPy, shape (m, n)
    values : mapping
        ``ns1``, ``ns2``, ``ns3``: coefficients of ``ns1 * s + ns2 * s**3 + ns3 * s**5``, which maps singular values ``s`` towards
        1, applied ``ns_steps`` times after division by the Frobenius norm, at least ``eps``. ``match_rms``: 1 scales to the length
        of AdamW's updates, by ``0.2 * sqrt(max(m, n))`` (Liu et al., 2025, eq. 4); 0 by ``sqrt(max(1, m / n))``.

    Notes
    -----
    Products of a matrix with its own transpose are symmetric. BLAS computes half of them, which serves two of three products.
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
            # The diagonal.
            square.reshape(-1)[:: len(wide) + 1] += real(a)
            np.matmul(square, wide, out=product)
            wide, product = product, wide
        factor = 0.2 * math.sqrt(max(m, n)) if values["match_rms"] else math.sqrt(max(1, m / n))
        np.multiply(wide if m <= n else wide.T, real(factor), out=x)


def normed(x: Any, eps: float) -> Any:
    """Return a matrix divided by its Frobenius norm, at least `eps`; on a device without waiting."""
    real = x.dtype.type
    if not isinstance(x, np.ndarray):
        top = np.maximum(np.abs(x).max(), np.finfo(x.dtype).tiny)
        x = x / top
        return x / np.maximum(np.sqrt(np.sum(x * x)), real(eps) / top)
    norm = math.sqrt(float(np.vdot(x, x)))
    # The squares overflow, not the numbers themselves.
    if norm == math.inf:
        x = x / real(max(float(x.max()), -float(x.min())))
        norm = math.sqrt(float(np.vdot(x, x)))
    return x / real(max(norm, eps))
