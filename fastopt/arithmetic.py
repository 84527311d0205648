"""The functions that a rule may call, for NumPy; ``include/scalar.h`` holds their twins for C, with the same bits."""

import math
from typing import Annotated, Any

import numpy as np

inf = math.inf
copysign = np.copysign
fabs = np.abs
sqrt = np.sqrt
where = np.where


def maximum(x, y):
    """Return the larger; NaN where either is NaN; ``y`` where both are equal (zeros of two signs)."""
    return np.where((x > y) | (x != x), x, y)


def minimum(x, y):
    """Return the smaller; NaN where either is NaN; ``y`` where both are equal."""
    return np.where((x < y) | (x != x), x, y)


def sign(x):
    """Return 1 with the sign of ``x``; zeros and NaN as they are."""
    return np.where(np.abs(x) > 0, np.copysign(np.ones_like(x), x), x)


def power(x, n):
    """Return ``x ** n`` for a whole ``n >= 0`` by repeated multiplication: C's pow differs between processors."""
    result = 1.0
    while n > 0:
        if n % 2:
            result = result * x
        x = x * x
        n //= 2
    return result


def exp(x):
    """Return the exponential of a double by + - * / alone, to about one unit in the last place: the C library's differ."""
    if x != x:
        return x
    if x > 710:
        return inf
    if x < -746:
        return 0.0
    n = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    y = 1.0
    for k in range(16, 0, -1):
        y = 1.0 + r * y / k
    half = int(n / 2)
    return ldexp(ldexp(y, half), n - half)


def log(x):
    """Return the natural logarithm of a double, as `exp`."""
    if not x > 0:
        return -inf if x == 0 else math.nan
    if x == inf:
        return x
    m, e = math.frexp(x)
    if m < 0.7071067811865476:
        m, e = 2 * m, e - 1
    s = (m - 1) / (m + 1)
    z, y = s * s, 0.0
    for k in range(25, 0, -2):
        y = y * z + 1.0 / k
    return e * 0.6931471803691238 + (e * 1.9082149292705877e-10 + 2 * s * y)


def ldexp(x, n):
    """Return ``x * 2 ** n`` as C does, which gives infinity where Python's raises."""
    return float(np.ldexp(x, int(n)))


def ceil_log2(x):
    """Return the least whole ``n`` with ``2 ** n >= x``, for a whole ``x >= 1``."""
    return float(math.frexp(x - 0.5)[1])


def scale_factor(x, n):
    """Return ``x * 2 ** n`` over `scale_power`, which keeps it a normal number: both are for `scale_by`."""
    return x if x == 0 or not math.isfinite(x) else ldexp(x, n - _beyond(x, n))


def scale_power(x, n):
    """Return the power of two that `scale_factor` leaves out: 1 but where ``x * 2 ** n`` leaves the range of doubles."""
    return ldexp(1.0, _beyond(x, n))


def _beyond(x, n):
    """Return the exponent of that power of two."""
    if x == 0 or not math.isfinite(x):
        return 0
    e = math.frexp(x)[1] + int(n)
    return min(max(e + 1000 if e < -1000 else e - 1000 if e > 1000 else 0, -1000), 1000)


def scale_by(x, factor, shift):
    """Return ``x * shift * factor``, of a power of two and a factor that are `wide`: a double product, rounded once.

    For floats the factor is taken as the sum of two floats of one sign, 47 bits, where it is in the middle of their range: a fused
    operation then rounds as the double product does, but where that is within 2 ** -47 of the middle between two floats; subnormal
    results may be off by one.
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
    """Return the sum of doubles, rounded to odd: rounded to fewer bits again, it is the exact sum rounded once."""
    total = a + b
    of_b = total - a
    lost = (a - (total - of_b)) + (b - of_b)
    bits = total.view(np.int64)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where((bits & 1 == 0) & ((lost > 0) | (lost < 0)), bits + step, bits).view(np.float64)


def square(x):
    """Mark a term of sums as a square: the scalars function is given the root of the sum, as a number and a power of two.

    ``{"norm": square(g)}`` gives it ``norm`` and ``norm_exponent``: the norm is ``norm * 2 ** norm_exponent``, and neither huge
    nor tiny squares leave the range of doubles.
    """
    return x


# Tags: annotations of a rule's arrays and scalars, and of what a function of sums or terms returns. They are Any for type checkers.
velocity = Annotated[Any, "velocity"]  # State that points where the parameter goes: a bound that stops the parameter stops it too.
nonnegative = Annotated[Any, "nonnegative"]  # State that is never negative.
start = Annotated[Any, "start"]  # State that begins as a copy of the parameter.
scratch = Annotated[Any, "scratch"]  # An array that does not live between steps: terms, and what they became.
of_rows = Annotated[Any, "of_rows"]  # State with one number for each row of a matrix: the average of its terms.
of_columns = Annotated[Any, "of_columns"]  # State with one number for each column of a matrix: the average of its terms.
of_ratios = Annotated[Any, "of_ratios"]  # One number for each row of a matrix: its average over the mean of all rows'.
wide = Annotated[Any, "wide"]  # A scalar that stays a double whatever the arrays hold: an argument of `scale_by`.
over_array = Annotated[Any, "over_array"]  # Sums: each array has its own.
mean_over_array = Annotated[Any, "mean_over_array"]  # Sums: each array has its own, divided by its number of elements.
over_group = Annotated[Any, "over_group"]  # Sums: the arrays of a group have them together.
over_all = Annotated[Any, "over_all"]  # Sums: all arrays of an optimizer have them together.
# Terms whose means over rows and columns are averaged; the last two axes make matrices. Their first scalar is the
# newest's weight, their second the least mean that averages of rows are divided by.
over_lines = Annotated[Any, "over_lines"]
over_matrix = Annotated[Any, "over_matrix"]  # Terms that are a matrix, which a function of matrices changes.

checks = Annotated[Any, "checks"]  # A stage whose sums count what is wrong with a gradient.
accumulates = Annotated[Any, "accumulates"]  # A stage of calls that hold their gradients for a later step.
averages = Annotated[Any, "averages"]  # A stage of the call that makes that step; its own array is empty after it.
measures = Annotated[Any, "measures"]  # A stage that changes nothing: its sums are for the report.
