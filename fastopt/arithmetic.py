"""Functions that a rule may call, in NumPy; ``include/scalar.h`` has their twins in C, with the same bits."""

import math
from typing import Annotated, Any

import numpy as np

inf = math.inf
copysign = np.copysign
fabs = np.abs
sqrt = np.sqrt
where = np.where


def maximum(x, y):
    """Return the larger number; NaN if either is NaN; ``y`` if they are equal (zeros of two signs)."""
    return np.where((x > y) | (x != x), x, y)


def minimum(x, y):
    """Return the smaller number; NaN if either is NaN; ``y`` if they are equal."""
    return np.where((x < y) | (x != x), x, y)


def sign(x):
    """Return 1 with the sign of ``x``; zeros and NaN unchanged."""
    return np.where(np.abs(x) > 0, np.copysign(np.ones_like(x), x), x)


def power(x, n):
    """Return ``x**n`` for a whole ``n >= 0`` by repeated multiplication: C's pow differs between libraries."""
    result = 1.0
    while n > 0:
        if n % 2:
            result = result * x
        x = x * x
        n //= 2
    return result


def exp(x: Any) -> Any:
    """Return the exponential of doubles by + - * and powers of two only, to two units in the last place: C libraries differ."""
    with np.errstate(all="ignore"):
        within = np.where(x > 710, 710.0, np.where(x < -746, -746.0, x))
        n = np.rint(within * 1.4426950408889634)
        r = (within - n * 0.6931471803691238) - n * 1.9082149292705877e-10
        r2 = r * r
        r4 = r2 * r2
        a = (1 / 2 + r * (1 / 6)) + r2 * (1 / 24 + r * (1 / 120))
        b = (1 / 720 + r * (1 / 5040)) + r2 * (1 / 40320 + r * (1 / 362880))
        c = (1 / 3628800 + r * (1 / 39916800)) + r2 * (1 / 479001600 + r * (1 / 6227020800))
        y = 1 + (r + r2 * ((a + r4 * b) + (r4 * r4) * c))
        whole = np.where(n == n, n, 0.0).astype(np.int64)
        half = np.fix(whole / 2).astype(np.int64)
        return np.ldexp(np.ldexp(y, half), whole - half)[()]


def log(x: Any) -> Any:
    """Return the natural logarithm of doubles, computed as `exp` is."""
    with np.errstate(all="ignore"):
        m, e = np.frexp(x)
        small = m < 0.7071067811865476
        m, e = np.where(small, 2 * m, m), np.where(small, e - 1.0, e)
        s = (m - 1) / (m + 1)
        z, y = s * s, 0.0
        for k in range(25, 0, -2):
            y = y * z + 1.0 / k
        y = e * 0.6931471803691238 + (e * 1.9082149292705877e-10 + 2 * s * y)
        return np.where(x > 0, np.where(x == inf, x, y), np.where(x == 0, -inf, math.nan))[()]


def log1p(x: Any) -> Any:
    """Return ``log(1 + x)`` of doubles, computed as `exp` is."""
    with np.errstate(all="ignore"):
        y = 1 + x
        far = log(y) + np.where((y == inf) | (y == 0), 0.0, (x - (y - 1)) / y)
        s = x / (2 + x)
        half = 0.5 * x * x
        z = s * s
        z2 = z * z
        z4 = z2 * z2
        a = (2 / 3 + z * (2 / 5)) + z2 * (2 / 7 + z * (2 / 9))
        b = (2 / 11 + z * (2 / 13)) + z2 * (2 / 15 + z * (2 / 17))
        c = (2 / 19 + z * (2 / 21)) + z2 * (2 / 23 + z * (2 / 25))
        d = (2 / 27 + z * (2 / 29)) + z2 * (2 / 31 + z * (2 / 33))
        near = x - (half - s * (half + z * ((a + z4 * b) + (z4 * z4) * (c + z4 * d))))
        return np.where((x < -0.25) | (x > 1), far, near)[()]


def ldexp(x, n):
    """Return ``x * 2**n`` as C does, with infinity where Python raises."""
    return float(np.ldexp(x, int(n)))


def ceil_log2(x):
    """Return the smallest whole ``n`` with ``2**n >= x``, for a whole ``x >= 1``."""
    return float(math.frexp(x - 0.5)[1])


def scale_factor(x, n):
    """Return ``x * 2**n`` divided by `scale_power`, which keeps it a normal number; both are arguments of `scale_by`."""
    return x if x == 0 or not math.isfinite(x) else ldexp(x, n - _beyond(x, n))


def scale_power(x, n):
    """Return the power of two that `scale_factor` leaves out: 1 unless ``x * 2**n`` leaves the range of doubles."""
    return ldexp(1.0, _beyond(x, n))


def _beyond(x, n):
    """Return the exponent of the power of two that `scale_power` returns."""
    if x == 0 or not math.isfinite(x):
        return 0
    e = math.frexp(x)[1] + int(n)
    return min(max(e + 1000 if e < -1000 else e - 1000 if e > 1000 else 0, -1000), 1000)


def scale_by(x, factor, shift):
    """Return ``x * shift * factor``, rounded once from the double product; both scalars are `wide`.

    For floats, a factor in the middle of their range is the sum of two floats of one sign (47 bits). A fused multiply-add then
    rounds like the double product, unless that is within 2**-47 of the middle between two floats; subnormal results may differ by
    one unit.
    """
    with np.errstate(all="ignore"):
        wide_x = np.asarray(x, np.float64)
        if x.dtype != np.float32 or shift != 1 or not 2.0**-100 <= abs(factor) <= 2.0**100:
            return (factor * (shift * wide_x)).astype(x.dtype)
        upper = (np.float64(factor).view(np.uint64) & np.uint64(0xFFFFFFFFE0000000)).view(np.float64)
        lower = np.float32(factor - upper)
        if lower == 0:
            return np.float32(upper) * x
        return _sum_to_odd(upper * wide_x, (lower * x).astype(np.float64)).astype(np.float32)


def _sum_to_odd(a, b):
    """Return the sum of doubles rounded to odd, which rounds to fewer bits like the exact sum."""
    total = a + b
    of_b = total - a
    lost = (a - (total - of_b)) + (b - of_b)
    bits = total.view(np.int64)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where((bits & 1 == 0) & ((lost > 0) | (lost < 0)), bits + step, bits).view(np.float64)


def square(x):
    """Mark a term of sums as a square: the scalars function takes the root of the sum, as a number and a power of two.

    ``{"norm": square(g)}`` gives ``norm`` and ``norm_exponent``, with the norm ``norm * 2**norm_exponent``, so that neither huge
    nor tiny squares leave the range of doubles.
    """
    return x


# Tags are annotations of a rule's arrays and scalars, and of the results of sums and terms. For type checkers they are Any.
velocity = Annotated[Any, "velocity"]  # State that the parameter moves along: a bound that stops the parameter stops it too.
nonnegative = Annotated[Any, "nonnegative"]  # State that is never negative.
start = Annotated[Any, "start"]  # State that begins as a copy of the parameter.
scratch = Annotated[Any, "scratch"]  # An array that does not live between steps: terms, and what becomes of them.
of_rows = Annotated[Any, "of_rows"]  # State with one number for each row of a matrix: the average of its terms.
of_columns = Annotated[Any, "of_columns"]  # State with one number for each column of a matrix: the average of its terms.
of_ratios = Annotated[Any, "of_ratios"]  # One number for each row of a matrix: its average divided by the mean over rows.
wide = Annotated[Any, "wide"]  # A scalar that stays a double for arrays of any precision: an argument of `scale_by`.
over_array = Annotated[Any, "over_array"]  # Sums over each array.
mean_over_array = Annotated[Any, "mean_over_array"]  # Means over each array.
over_group = Annotated[Any, "over_group"]  # Sums over the arrays of each group.
over_all = Annotated[Any, "over_all"]  # Sums over all arrays of an optimizer.
# Terms whose means over rows and columns are averaged; the last two axes make matrices. Their first scalar is the weight of the
# newest mean, their second the smallest mean of rows to divide by.
factored_terms = Annotated[Any, "factored_terms"]
matrix_terms = Annotated[Any, "matrix_terms"]  # Terms that make a matrix, which a function of matrices changes.

checks = Annotated[Any, "checks"]  # A stage whose sums count non-finite elements of a gradient.
accumulates = Annotated[Any, "accumulates"]  # A stage of calls that accumulate gradients for a later step.
averages = Annotated[Any, "averages"]  # A stage of the call that makes that step; it empties its accumulator.
measures = Annotated[Any, "measures"]  # A stage that changes nothing: its sums are for the report.
