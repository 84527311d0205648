"""Bounds and scales of the variables."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._optimizer.array_options import find_caller


@dataclass(frozen=True)
class Box:
    """Box of the variables, and their scale.

    Attributes
    ----------
    low, high : ndarray or None
        Bounds of the variables; None if there are none.
    scale : ndarray or None
        What the optimizer's parameters are multiplied by; None for 1.
    lower, upper : ndarray or None
        Bounds of the optimizer's parameters.
    """

    low: np.ndarray | None
    high: np.ndarray | None
    scale: np.ndarray | None
    lower: np.ndarray | None
    upper: np.ndarray | None

    def variables(self, x: np.ndarray) -> np.ndarray:
        """Return the variables at parameters of the optimizer, a new array."""
        if self.scale is None:
            return x.copy()
        found: np.ndarray = x * self.scale
        return found if self.low is None else found.clip(self.low, self.high)

    def parameters(self, x: np.ndarray) -> np.ndarray:
        """Return the optimizer's parameters at a point, a new array, or raise if the scale makes them infinite."""
        if self.scale is None:
            return x.copy()
        with np.errstate(over="ignore"):
            found: np.ndarray = x / self.scale
        if not np.isfinite(found).all():
            raise ValueError("x_scale: x0 divided by it is infinite, expected the typical sizes of the variables")
        return found

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Return a point moved to the bounds, with a warning if that changes it."""
        clipped = x if self.low is None else np.clip(x, self.low, self.high)
        if not np.array_equal(clipped, x):
            from scipy.optimize import OptimizeWarning

            said = "x0: outside of the bounds, and moved to them"
            warnings.warn(said, OptimizeWarning, stacklevel=find_caller())
        return clipped

    @property
    def is_fixed(self) -> bool:
        """True if the bounds leave no variable free."""
        return self.low is not None and np.array_equal(self.low, self.high)  # type: ignore[arg-type]


def make_box(bounds: Any, scale: Any, x: np.ndarray) -> Box:
    """Return the box of bounds and ``x_scale`` for variables like `x`, or raise."""
    factors = None if scale is None else factors_of(scale, x)
    if bounds is None or (found := limits_of(bounds, x)) is None:
        return Box(None, None, factors, None, None)
    low, high = found
    lower, upper = (low, high) if factors is None else (low / factors, high / factors)
    return Box(low, high, factors, lower, upper)


def factors_of(scale: Any, x: np.ndarray) -> np.ndarray:
    """Return the factors of ``x_scale`` as an array like `x`."""
    try:
        found = np.array(np.broadcast_to(np.asarray(scale, np.float64), x.shape), x.dtype)
    except (TypeError, ValueError):
        raise ValueError(f"x_scale: {scale!r:.80}, expected a positive number, or {x.size} of them") from None
    if not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"x_scale: {scale!r:.80}, expected positive, finite numbers")
    return found


def limits_of(bounds: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return lower and upper bounds as arrays like `x` that lie within those that were given; None if all are infinite."""
    low, high = (limit_array(b, x, infinite) for b, infinite in zip(pair_of(bounds), (-np.inf, np.inf), strict=True))
    for k in zip(*np.nonzero(low > high), strict=True):
        raise ValueError(f"bounds: {low[k]} above {high[k]} for variable {k[-1]}, expected lower <= upper")
    if np.isposinf(low).any() or np.isneginf(high).any():
        raise ValueError("bounds: a lower one of inf or an upper one of -inf, expected room for numbers; None for no bound")
    if np.isneginf(low).all() and np.isposinf(high).all():
        return None
    inner_low, inner_high = low.astype(x.dtype), high.astype(x.dtype)
    # Rounding to fewer bits must not leave the bounds.
    inner_low = np.where(inner_low < low, np.nextafter(inner_low, x.dtype.type(np.inf)), inner_low)
    inner_high = np.where(inner_high > high, np.nextafter(inner_high, x.dtype.type(-np.inf)), inner_high)
    between = np.clip(low, low, high).astype(x.dtype)
    narrow = inner_low > inner_high  # No number of this dtype lies between them.
    return np.where(narrow, between, inner_low), np.where(narrow, between, inner_high)


def pair_of(bounds: Any) -> tuple[Any, Any]:
    """Return lower and upper bounds of SciPy's two forms."""
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        return bounds.lb, bounds.ub
    try:
        pairs = [tuple(pair) for pair in bounds]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"bounds: {bounds!r:.80}, expected a pair (lower, upper) for each variable, or scipy.optimize.Bounds")
    return [low for low, _ in pairs], [high for _, high in pairs]


def limit_array(given: Any, x: np.ndarray, infinite: float) -> np.ndarray:
    """Return bounds of one side in double, with None as no bound."""
    try:
        listed = [infinite if b is None else b for b in given] if isinstance(given, list) else given
        found = np.asarray(listed, np.float64)
        fits = not isinstance(given, list) or found.shape == x.shape[-1:]
        found = np.array(np.broadcast_to(found, x.shape) if fits else found)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != x.shape:
        raise ValueError(f"bounds: {given!r:.80}, expected {x.shape[-1]} numbers, one for each variable")
    if np.isnan(found).any():
        raise ValueError("bounds: NaN, expected numbers, or None for no bound")
    return found
