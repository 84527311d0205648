"""Exact sums over arrays: each block in a fixed order, the blocks exactly, the total rounded once; twin of ``total.h``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._arrays import dtypes

UNIT = 1200  # Exponent of the unit of blocks of huge squares; of tiny ones, negative.
LOWEST = -1074 - UNIT  # Exponent of the lowest bit of any addend.


def folded(blocks: np.ndarray) -> np.ndarray:
    """Sum each block of 256 along the last axis: 16 lanes side by side, then halves of the lanes."""
    rows = blocks.reshape(*blocks.shape[:-1], 16, 16)
    lanes = rows[..., 0, :]
    for i in range(1, 16):
        lanes = lanes + rows[..., i, :]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def folded_squares(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the squares of each block; return the sums and the exponents of their units, which keep them in range."""
    sums, units = folded(blocks * blocks), np.zeros(len(blocks), int)
    usual = (sums >= 2.0**-900) & (sums < 2.0**1000)
    for k in np.flatnonzero(~usual & np.isfinite(blocks).all(-1) & blocks.any(-1)):
        up = sums[k] < 1
        scaled = blocks[k] * (2.0**600 if up else 2.0**-600)
        sums[k], units[k] = folded(scaled * scaled), -UNIT if up else UNIT
    return sums, units


def total(sums: Sequence[float], units: Sequence[int]) -> tuple[float, int]:
    """Return the sum of ``sums * 2**units``, rounded once, as a number and the exponent of its unit."""
    if special := [x for x in sums if not math.isfinite(x)]:
        return float(np.sum(special)), 0
    whole = 0
    for x, unit in zip(sums, units, strict=True):
        m, e = math.frexp(x)
        place = e - 53 + int(unit) - LOWEST
        n = int(math.ldexp(m, 53))
        # Shifting right drops only the zero bits of a subnormal number.
        whole += n << place if place >= 0 else n >> -place
    shift = max(0, abs(whole).bit_length() - 53)
    rounded, rest = divmod(abs(whole), 1 << shift)
    half = (1 << shift) // 2
    rounded += shift > 0 and (rest > half or (rest == half and rounded % 2 == 1))
    return float(-rounded if whole < 0 else rounded), shift + LOWEST


def root(x: float, exponent: int) -> tuple[float, float]:
    """Return the root of ``x * 2**exponent`` as a number in [1, 2) and an exponent."""
    if not (x > 0 and math.isfinite(x)):
        return (x if x == 0 or x > 0 else math.nan), 0.0
    m, e = math.frexp(x)
    exponent += e - 1
    return math.sqrt(2 * m * (1 + exponent % 2)), float((exponent - exponent % 2) // 2)


def reduced(terms: Sequence[np.ndarray], names: Sequence[str], squares: set[str], mean_of: int | None = None) -> dict[str, float]:
    """Return the sums of these terms as a scalars function takes them; means are over `mean_of` elements."""
    found: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for name, x in zip(names, terms, strict=True):
            blocks = dtypes.blocks_of(x)
            sums, units = folded_squares(blocks) if name in squares else (folded(blocks), np.zeros(len(blocks), int))
            number, exponent = total(sums.tolist(), units.tolist())
            if mean_of is not None:
                number = number / mean_of if mean_of else math.nan
            if name in squares:
                found[name], found[f"{name}_exponent"] = root(number, exponent)
            else:
                found[name] = float(np.ldexp(number, exponent))
    return found
