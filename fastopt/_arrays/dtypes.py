"""Storage formats below 32 bits in NumPy: twins of ``include/scalar.h``, with the same bits.

bfloat16 is stored in arrays of uint16; 8-bit floats in arrays of uint8, whose blocks of 256 share an exponent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._codegen import capacity
from .._codegen.capacity import BLOCK as BLOCK

BFLOAT16 = np.dtype(np.uint16)
FLOAT8 = np.dtype(np.uint8)
NOT_FINITE = 32767  # Exponent of a block that has a NaN.
TAG = {"format": "bfloat16"}
bfloat16 = np.dtype(np.uint16, metadata=TAG)
LINE_FORMATS = {"of_rows": capacity.ROWS, "of_columns": capacity.COLUMNS, "of_ratios": capacity.RATIOS}
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "bfloat16": BFLOAT16,
    "float16": np.dtype(np.float16),
    "float8": FLOAT8,
}


def is_bfloat16(dtype: np.dtype) -> bool:
    """Return True for the bfloat16 of ml_dtypes, and for uint16 with this module's tag."""
    return dtype.kind in "uV" and (dtype.name == "bfloat16" or (dtype == np.uint16 and dict(dtype.metadata or ()) == TAG))


def name_of(dtype: Any) -> Any:
    """Return the name of a dtype of NumPy, ml_dtypes or torch; anything else as it is."""
    if type(dtype).__module__ == "torch":
        return str(dtype).removeprefix("torch.")
    if not isinstance(dtype, (type, np.dtype)):
        return dtype
    found = np.dtype(dtype)
    return "bfloat16" if is_bfloat16(found) else found.name


def format_of(dtype: np.dtype) -> int:
    """Return the kernels' number of a dtype's format. 8-bit floats have none, since their sign decides too."""
    if dtype == BFLOAT16:
        return capacity.BFLOAT16
    return {2: capacity.FLOAT16, 4: capacity.FLOAT32, 8: capacity.FLOAT64}[dtype.itemsize // (2 if dtype.kind == "c" else 1)]


def random(key: int, position: np.ndarray) -> np.ndarray:
    """Return 32 random bits for each position."""
    with np.errstate(over="ignore"):
        x = position.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
        x = (x ^ x >> np.uint32(15)) * np.uint32(0x85EBCA77)
        return np.asarray(x ^ x >> np.uint32(13))


def key_of(key: int, number: int) -> int:
    """Return a key of 32 bits for each number."""
    x = key ^ number * 0x9E3779B1 & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ x >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


def key_of_step(seed: int, count: int) -> int:
    """Return the key of a step's random bits."""
    return key_of(key_of(seed, count & 0xFFFFFFFF), count >> 32)


def widened(a: np.ndarray) -> np.ndarray:
    """Return a copy in the dtype that rules compute in: float32 for 16-bit formats."""
    if a.dtype == BFLOAT16:
        return np.asarray((a.astype(np.uint32) << np.uint32(16)).view(np.float32))
    return a.astype(np.float32 if a.dtype == np.float16 else a.dtype)


def narrowed(x: np.ndarray, dtype: np.dtype, bits: np.ndarray | None = None, nonnegative: bool = False) -> np.ndarray:
    """Round to bfloat16 or float16: to nearest, or stochastically with 32 random bits for each; other dtypes return `x`."""
    if dtype not in (BFLOAT16, np.dtype(np.float16)):
        return x
    u = np.array(x, np.float32, order="C").view(np.uint32).reshape(x.shape)
    one, a = np.uint32(1), u & np.uint32(0x7FFFFFFF)
    with np.errstate(over="ignore"):
        if dtype == BFLOAT16:
            carry = np.uint32(0x7FFF) + (u >> np.uint32(16) & one) if bits is None else bits >> np.uint32(16)
            # Stochastic rounding never carries a finite number to infinity.
            carry = carry if bits is None else np.where(a > 0x7F7F0000, np.uint32(0), carry)
            quiet = np.where(u & np.uint32(0x7FFFFF), np.uint32(0x40), np.uint32(0))
            h = np.where(a < 0x7F800000, (u + carry) >> np.uint32(16), u >> np.uint32(16) | quiet)
            return np.where(nonnegative & (h == 0) & (u != 0), one, h).astype(np.uint16)
        carry = np.uint32(0xFFF) + (a >> np.uint32(13) & one) if bits is None else bits >> np.uint32(19)
        normal = (a + carry - np.uint32(0x38000000)) >> np.uint32(13)
        exponent = a >> np.uint32(23)
        tiny = exponent < 95
        shift = np.where(tiny, np.uint32(31), np.uint32(126) - np.minimum(exponent, np.uint32(112)))
        whole = np.where(tiny, np.uint32(0), a & np.uint32(0x7FFFFF) | np.uint32(0x800000))
        half = (one << (shift - one)) - one + (whole >> shift & one)
        small = (whole + (half if bits is None else bits >> (np.uint32(32) - shift))) >> shift
        h = np.where(a < 0x38800000, small, np.minimum(normal, np.uint32(0x7C00)))
        h = np.where(a <= 0x7F800000, h, np.uint32(0x7E00))
        h = np.where(nonnegative & (h == 0) & (a != 0), one, h)
        return np.asarray((h | u >> np.uint32(16) & np.uint32(0x8000)).astype(np.uint16).view(np.float16))


def blocks_of(flat: np.ndarray) -> np.ndarray:
    """Return a flat array as whole blocks, padded with zeros; a copy."""
    return np.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)


def narrowed8(x: np.ndarray, unsigned: bool, bits: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Encode a flat array of float32 as 8-bit codes and exponents."""
    u = blocks_of(np.ascontiguousarray(x, np.float32).view(np.uint32))
    a = u & np.uint32(0x7FFFFFFF)
    most = 255 if unsigned else 127
    largest = a.max(axis=1, initial=0).astype(np.int64)
    # Infinity, and what would round to it, become the largest number.
    beyond = (largest > 0x7F700000) & (largest <= 0x7F800000)
    largest = np.where(beyond, 0x7F700000, largest)
    exponents = np.where(largest < 0x7F800000, (largest + 0xFFFFF >> 20) - most, NOT_FINITE)
    carry = np.int64(0x7FFFF) if bits is None else blocks_of(bits >> np.uint32(12)).astype(np.int64)
    k = ((a.astype(np.int64) + carry) >> 20) - exponents[:, None]
    if unsigned:
        codes = np.where(k < 1, a > 0, np.minimum(k, 255))
    else:
        codes = np.clip(k, 0, 127) | (u >> np.uint32(24) & np.uint32(128)).astype(np.int64)
    # Any codes would do: zeros make equal states equal bytes.
    codes = np.where(exponents[:, None] == NOT_FINITE, 0, codes)
    return codes.astype(np.uint8).reshape(-1)[: x.size], exponents.astype(np.int16)


def widened8(codes: np.ndarray, exponents: np.ndarray, unsigned: bool) -> np.ndarray:
    """Decode 8-bit codes and exponents to a flat array of float32."""
    c, e = blocks_of(codes).astype(np.uint32), exponents.astype(np.int64)[:, None]
    k = c if unsigned else c & np.uint32(127)
    u = np.where(k > 0, k.astype(np.int64) + e << 20, 0).astype(np.uint32)
    if not unsigned:
        u |= (c & np.uint32(128)) << np.uint32(24)
    return np.where(e == NOT_FINITE, np.uint32(0x7FC00000), u).astype(np.uint32).view(np.float32).reshape(-1)[: codes.size]


def joined(a: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return float32 from bfloat16 and the low bits that it drops."""
    with np.errstate(over="ignore"):
        return ((a.astype(np.uint32) << np.uint32(16)) + low.astype(np.int32).view(np.uint32)).view(np.float32)


def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 as rounded bfloat16 and the low bits that it drops."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    # The low bits of a NaN must not carry into the high ones.
    nan = (u & np.uint32(0x7FFFFFFF)) > 0x7F800000
    u = np.where(nan, (u | np.uint32(0x400000)) & np.uint32(0xFFFF0000), u)
    with np.errstate(over="ignore"):
        high, low = u + np.uint32(0x8000) >> np.uint32(16), u & np.uint32(0xFFFF)
    return high.astype(np.uint16), low.astype(np.uint16).view(np.int16)


def nearest(x: Any, dtype: np.dtype) -> Any:
    """Round numbers to the nearest of a dtype; return them in the dtype that rules compute in."""
    with np.errstate(over="ignore"):
        exact = np.asarray(x, np.float64)
        if dtype.itemsize > 2:
            return exact.astype(dtype)
        return widened(np.asarray(narrowed(np.atleast_1d(exact).astype(np.float32), dtype)).view(dtype)).reshape(exact.shape)


def inward(x: Any, dtype: np.dtype, up: bool) -> np.ndarray:
    """Round bounds to numbers that `dtype` can store, up or down, so that rounding a parameter cannot cross them."""
    with np.errstate(over="ignore"):
        exact = np.asarray(x, np.float64)
        if dtype.itemsize > 2:
            y = exact.astype(dtype)
            beyond = y < exact if up else y > exact
            return np.where(beyond, np.nextafter(y, dtype.type(np.inf if up else -np.inf)), y)
        codes = np.asarray(narrowed(np.atleast_1d(exact).astype(np.float32), dtype)).view(np.uint16)
        y = widened(codes.view(dtype))
        beyond = y < exact if up else y > exact
        grows = (y > 0) if up else (y < 0)
        stepped = np.where(y == 0, 1 if up else 0x8001, np.where(grows, codes + np.uint16(1), codes - np.uint16(1))).astype(
            np.uint16
        )
        y = widened(np.where(beyond, stepped, codes).astype(np.uint16).view(dtype))
    return y.reshape(exact.shape)


def plain(a: Any) -> Any:
    """Return an array with its storage dtype: bfloat16 as uint16."""
    if is_bfloat16(a.dtype):
        return np.ndarray.view(a, np.ndarray).view(np.uint16)
    return a if type(a) is np.ndarray else np.ndarray.view(a, np.ndarray)
