"""The functions that a rule may call, for NumPy; ``include/scalar.h`` holds their twins for C, with the same bits."""

import numpy as np

copysign = np.copysign
fabs = np.abs
sqrt = np.sqrt
where = np.where


def maximum(x, y):
    """The larger; NaN where either is NaN; ``y`` where both are equal (zeros of two signs)."""
    return np.where((x > y) | (x != x), x, y)


def minimum(x, y):
    """The smaller; NaN where either is NaN; ``y`` where both are equal."""
    return np.where((x < y) | (x != x), x, y)


def sign(x):
    """1 with the sign of ``x``; zeros and NaN as they are."""
    return np.where(np.abs(x) > 0, np.copysign(np.ones_like(x), x), x)


def power(x, n):
    """``x ** n`` for a whole ``n >= 0`` by repeated multiplication: C's pow differs between processors."""
    result = 1.0
    while n > 0:
        if n % 2:
            result = result * x
        x = x * x
        n //= 2
    return result
