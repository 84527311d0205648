"""Domains of hyperparameters: annotations of a rule's or stage's keyword arguments, which every caller checks.

Without an annotation, as ``lr`` in ``def rule_scalars(t, *, lr=1e-3, beta: fraction = 0.9)``, the domain is 0 <= lr < infinity.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any

import numpy as np

from ._arrays.tree import check_nesting

FINITE = sys.float_info.max
SMALLEST = sys.float_info.min  # Smallest positive normal number.
BELOW_ONE, ABOVE_ONE = math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)


@dataclass(frozen=True)
class Domain:
    """Closed interval of numbers.

    Attributes
    ----------
    low, high : float
    is_whole : bool
        Whole numbers only.
    is_limit : bool
        The hyperparameter bounds something else; None stands for `high`, no bound.
    is_switch : bool
        True or False, which count as 1 and 0.
    floor : str
        Another hyperparameter that must not exceed this one.
    """

    low: float = 0.0
    high: float = FINITE
    is_whole: bool = False
    is_limit: bool = False
    is_switch: bool = False
    floor: str = ""

    def has(self, x: float) -> bool:
        """Return True for a float in the domain."""
        return self.low <= x <= self.high and not (self.is_whole and x % 1)

    def check(self, name: str, x: Any) -> float:
        """Return a hyperparameter as a float, or raise for one outside the domain."""
        if self.is_switch:
            return float(check_bool(name, x))
        try:
            if isinstance(x, (str, bytes, bool, np.bool_)):
                raise TypeError
            value = self.high if x is None and self.is_limit else float(x)
        except OverflowError:
            value = math.inf
        except (TypeError, ValueError):
            check_nesting({name: x})
            raise TypeError(f"{name}: {x!r}, expected a number or a schedule") from None
        if self.is_whole and value % 1:
            raise ValueError(f"{name}: {value}, expected a whole number")
        if not self.low <= value <= self.high:
            above = {-math.inf: "", -FINITE: "", SMALLEST: "0 < ", ABOVE_ONE: "1 < "}.get(self.low, f"{self.low:g} <= ")
            below = {BELOW_ONE: " < 1", math.inf: "", FINITE: ", a finite number"}.get(self.high, f" <= {self.high:g}")
            number = f"{above}{name}{below}" if self != ANY else "a number"
            raise ValueError(f"{name}: {value}, expected {number}")
        return value


NONNEGATIVE = Domain()
ANY = Domain(-math.inf, math.inf)  # Any number but NaN.
real = Annotated[float, Domain(-FINITE, FINITE)]
positive = Annotated[float, Domain(SMALLEST, FINITE)]
nonpositive = Annotated[float, Domain(-FINITE, 0.0)]
fraction = Annotated[float, Domain(0.0, BELOW_ONE)]
unlimited = Annotated[float, Domain(0.0, math.inf)]
limit = Annotated[float, Domain(0.0, math.inf, is_limit=True)]


switch = Annotated[float, Domain(0.0, 1.0, is_switch=True)]


def check_bool(name: str, value: Any) -> bool:
    """Return True or False, also for 1 and 0, or raise TypeError."""
    is_number = isinstance(value, (bool, np.bool_, int, float, np.number)) or (isinstance(value, np.ndarray) and not value.ndim)
    if not is_number or value not in (0, 1):
        raise TypeError(f"{name}: {value!r}, expected True or False")
    return bool(value)


def check_number(domain: Domain, name: str, x: Any) -> float:
    """Return a hyperparameter of one step as a float, or raise, for a schedule too."""
    if callable(x):
        raise TypeError(f"{name}: {x!r:.60}, expected a number, such as schedule(t - 1)")
    return domain.check(name, x)


def is_real(x: Any) -> bool:
    """Return True for a real number of Python or NumPy; False for True and False."""
    return isinstance(x, Real) and not isinstance(x, bool)


def whole(x: Any) -> int | None:
    """Return a whole number of any type that has ``__index__`` as an int; None for what is none, and for True and False."""
    if isinstance(x, bool) or str(getattr(x, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(x)
    except TypeError:
        return None


def overflow(name: str, step: int, error: OverflowError) -> ValueError:
    """Return the error of a schedule that overflows."""
    return ValueError(f"{name}: its schedule overflows at step {step} ({error}), expected a number")


def domain_of(annotation: Any, default: Domain = NONNEGATIVE) -> Domain:
    """Return the domain of an annotation."""
    found = [x for x in getattr(annotation, "__metadata__", ()) if isinstance(x, Domain)]
    return found[0] if found else default


def check_order(domains: Mapping[str, Domain], values: Mapping[str, float]) -> None:
    """Raise ValueError if a hyperparameter is below its floor."""
    for name, x in values.items():
        low = domains[name].floor if name in domains else ""
        if low in values and values[low] > x:
            raise ValueError(f"{low}: {values[low]:g}, expected at most {name}, {x:g}")


__all__ = ["Domain", "domain_of", "fraction", "limit", "nonpositive", "positive", "real", "switch", "unlimited"]
