"""Objectives: functions of SciPy's protocol as one that returns a value and a gradient, and counts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .box import Box

if TYPE_CHECKING:
    from .minimizer import Minimizer

DIFFERENCES = ("2-point", "3-point", "cs")


def number(fun: Any) -> float:
    """Return the value of an objective as a float, or raise."""
    if isinstance(fun, (tuple, list)) and len(fun) == 2:
        raise TypeError("fun: returned a pair, expected a real number; with jac=True a pair of value and gradient")
    found = np.asarray(fun)
    if found.size != 1 or found.dtype.kind not in "fiub":
        kind = TypeError if fun is None or found.dtype.kind not in "fiub" else ValueError
        raise kind(f"fun: returned {fun!r:.80}, expected a real number")
    return float(found.item())


def vector(jac: Any, x: np.ndarray) -> np.ndarray:
    """Return a gradient as an array like `x`, or raise."""
    try:
        found = np.asarray(jac)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "fiu":
        hint = "; gather(...) of fastopt.pack makes one array" if isinstance(jac, (dict, list, tuple)) else ""
        raise TypeError(f"jac: returned {jac!r:.80}, expected {x.size} real numbers{hint}")
    if found.shape == () and x.size == 1:
        found = found.reshape(1)
    if found.shape != x.shape or isinstance(jac, np.matrix):
        raise ValueError(f"jac: returned shape {np.shape(jac)}, expected {x.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(found, x.dtype)


class Objective:
    """Objective: value and gradient of a function at a point, with counts of its calls.

    Parameters
    ----------
    fun, jac, args
        As in `minimize`.
    box : Box
        Differences stay within it.
    differences : mapping
        Options of differences: ``differences``, ``finite_diff_rel_step`` and ``workers``, as far as they were given.

    Attributes
    ----------
    way : str
        Name of the method that takes a point, and returns value and gradient.
    nfev, njev : int
        Calls of the function and of the gradient.
    """

    def __init__(self, fun: Callable[..., Any], jac: Any, args: Any, box: Box, differences: Mapping[str, Any]) -> None:
        if not callable(fun):
            raise TypeError(f"fun: {fun!r:.80}, expected a function")
        self.fun, self.jac, self.args, self.box = fun, jac, args if isinstance(args, tuple) else (args,), box
        self.nfev = self.njev = 0
        self.way = "of_differences"  # The method that evaluates; an attribute that holds it would be a cycle.
        if differences and ("differences" in differences if isinstance(jac, str) else jac):
            raise ValueError(f"{', '.join(differences)}: given with jac={jac!r:.40}, expected one of them")
        if isinstance(jac, (bool, np.bool_)) and jac:
            self.way = "of_pair"
        elif callable(jac):
            self.way = "of_two"
        else:
            self.differences = differences_of(jac, differences)

    def go_on(self, m: Minimizer) -> None:
        """Count on from a run that was loaded."""
        self.nfev, self.njev = m.nfev, m.njev

    def run(self, m: Minimizer, seconds: float) -> None:
        """Go on with a minimization for so many seconds, at least to the next point."""
        evaluate, point, tell, end = getattr(self, self.way), m._point, m._tell, time.perf_counter() + seconds
        is_timed = seconds < math.inf
        while m._running:
            fun, jac = evaluate(point())
            tell(fun, jac, self.nfev, self.njev)
            if is_timed and time.perf_counter() >= end:
                return

    def of_pair(self, x: np.ndarray) -> tuple[Any, Any]:
        """Return the value and the gradient that one function returns."""
        self.nfev += 1
        self.njev += 1
        found = self.fun(x, *self.args)
        try:
            fun, jac = found
        except (TypeError, ValueError):
            raise TypeError(f"fun: returned {found!r:.80}, expected a pair (value, gradient), since jac=True") from None
        return fun, jac

    def of_two(self, x: np.ndarray) -> tuple[Any, Any]:
        """Return the values of two functions, which get an array each."""
        self.nfev += 1
        self.njev += 1
        other = x.copy()
        return self.fun(x, *self.args), self.jac(other, *self.args)

    def of_differences(self, x: np.ndarray) -> tuple[Any, Any]:
        """Return the value, and SciPy's differences of the function as its gradient; 0 for variables that the bounds fix."""
        from scipy.optimize._numdiff import approx_derivative

        at, low, high = x.copy(), self.box.low, self.box.high
        self.nfev += 1
        fun, jac = number(self.fun(x, *self.args)), np.zeros(x.shape, x.dtype)
        free = slice(None) if low is None or high is None else low < high
        if not np.isfinite(fun) or not at[free].size:
            return fun, jac
        bounds = (-np.inf, np.inf) if low is None or high is None else (low[free], high[free])
        along = partial(value_at, self.fun, self.args, at, free, self.box)
        jac[free], told = approx_derivative(along, at[free], f0=fun, bounds=bounds, full_output=True, **self.differences)
        self.nfev += told["nfev"]
        return fun, jac


def value_at(fun: Callable[..., Any], args: tuple[Any, ...], at: np.ndarray, free: Any, box: Box, y: np.ndarray) -> np.ndarray:
    """Return the value at a point whose free variables are `y`, within the bounds."""
    x = at.astype(y.dtype)
    x[free] = y
    if box.low is not None and not np.iscomplexobj(x):
        x = x.clip(box.low, box.high)  # SciPy's steps to a bound may be rounded beyond it.
    given = fun(x, *args)
    found = np.asarray(given)
    return found.reshape(1) if found.size == 1 and found.dtype.kind == "c" else np.array([number(given)])


def differences_of(jac: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of SciPy's differences, or raise for another `jac`."""
    if not (jac is None or (isinstance(jac, (bool, np.bool_)) and not jac) or (isinstance(jac, str) and jac in DIFFERENCES)):
        raise ValueError(f"jac: {jac!r:.80}, expected a function, True, or one of {', '.join(map(repr, DIFFERENCES))}")
    method = jac or options.get("differences") or "2-point"
    if method not in DIFFERENCES:
        raise ValueError(f"differences: {method!r:.80}, expected one of {', '.join(map(repr, DIFFERENCES))}")
    return {"method": method, "rel_step": options.get("finite_diff_rel_step"), "workers": options.get("workers")}
