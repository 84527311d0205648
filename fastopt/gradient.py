"""Checks of gradients against differences of the function itself."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._arrays.tree import collect, flatten, listed, unflatten
from .domains import is_real, whole

STEPS = 0.25 * 0.25 ** np.arange(13)  # Of differences, times the size of the parameters.
EPS = 4 * float(np.finfo(np.float64).eps)
PLACES = np.array([-4.1, -3.3, -1.8, -1.2, 0.0, 0.7, 2.2, 2.9, 4.3])  # Uneven, so that rounding is.
ELEMENTS = 64  # Elements of an array that are looked at one by one.


class Line:
    """Function of one number: the value at parameters moved along a direction."""

    def __init__(self, fun: Callable[..., Any], args: Sequence[Any], structure: Any, arrays: Sequence[np.ndarray]) -> None:
        self.fun, self.args, self.structure, self.arrays = fun, args, structure, arrays
        self.is_single = any(a.dtype != np.float64 for a in arrays)

    @functools.cached_property
    def here(self) -> float:
        """Value at the parameters."""
        return float(self.value(0.0, [np.zeros(a.shape) for a in self.arrays]))

    def value(self, t: Any, direction: Sequence[np.ndarray]) -> Any:
        """Return the value at a distance, which may be complex."""
        moved = [np.asarray(a + t * d) for a, d in zip(self.arrays, direction, strict=True)]
        if not isinstance(t, complex):
            moved = [x.astype(a.dtype) for x, a in zip(moved, self.arrays, strict=True)]
        with np.errstate(all="ignore"):
            found = self.fun(unflatten(self.structure, iter(moved)), *self.args)
        return np.asarray(found[0] if isinstance(found, tuple) else found).item()

    def slope(self, direction: Sequence[np.ndarray]) -> tuple[float, float]:
        """Return the derivative along a direction and an estimate of its error.

        By a complex step, if differences agree or end beyond the function's domain: functions such as `numpy.abs` take complex
        numbers and have no derivative there.
        """
        found, error, rise = self.difference(direction)
        exact = self.complex_slope(direction)
        if exact is not None and (not np.isfinite(found) or abs(exact - found) <= 10 * error):
            return exact, 1e-13 * abs(exact) + 8 * float(np.finfo(np.float64).eps) * rise
        return found, error

    def difference(self, direction: Sequence[np.ndarray]) -> tuple[float, float, float]:
        """Return the derivative by central differences of fourth order, its error, and the steepest rise that was seen.

        The step is that with the smallest error: that of the order is estimated by the step before and by second order, that of
        rounding by the noise of the values and the precision of the parameters. An estimate of a smaller step that contradicts
        the best one replaces it: large steps do not see what is narrow.
        """
        before, last, best, steepest = np.nan, np.nan, (np.nan, np.inf), 0.0
        moves = max(float(np.finfo(a.dtype).eps) for a in self.arrays)
        noise_of_values = self.noise(direction, moves)
        for step in STEPS[8 * moves < STEPS]:
            pair = [float(self.value(t, direction)) for t in (step, -step)]
            with np.errstate(all="ignore"):
                simple = (pair[0] - pair[1]) / (2 * step)
                found = (16 * simple - before) / 15  # The step before was four times as long.
                rise = max(abs(f - self.here) for f in pair) / step
                noise = (noise_of_values + EPS * max(map(abs, pair)) + moves * rise) / step
                error = abs(found - last) + abs(found - simple) + noise
            before, last = simple, found
            steepest = max(steepest, rise) if np.isfinite(rise) else steepest
            if error < best[1] or abs(found - best[0]) > 4 * (error + best[1]):
                best = found, error
        return *best, steepest

    def noise(self, direction: Sequence[np.ndarray], moves: float) -> float:
        """Return the rounding error of values, by their scatter at neighbouring points.

        Values that scatter far above double precision, or not at all, were computed in single precision: `is_single`. Their
        scatter is looked at in wider steps, where kinks count as well.
        """
        values, scatter = self.scatter(direction, 1e-6)
        largest = float(np.max(np.abs(values)))
        few = len(set(values.tolist())) < 5 or all(map(is_single, values.tolist()))
        if moves == np.finfo(np.float64).eps and not few and not scatter > 1e-12 * largest:
            return scatter + float(np.finfo(np.float64).smallest_subnormal)
        self.is_single = self.is_single or np.isfinite(largest)
        wider = [self.scatter(direction, spacing)[1] for spacing in (1e-4, 1e-3)]
        return max(0.0, *(x for x in wider if np.isfinite(x)), float(np.finfo(np.float32).eps) * largest)

    def scatter(self, direction: Sequence[np.ndarray], spacing: float) -> tuple[np.ndarray, float]:
        """Return values at neighbouring points, and how far they are from a cubic, which smooth functions hardly are."""
        values = np.array([float(self.value(spacing * k, direction)) if k else self.here for k in PLACES])
        with np.errstate(all="ignore"):
            apart = values - self.here
            if not np.isfinite(apart).all():
                return values, np.nan
            return values, 4 * float(np.max(np.abs(apart - np.polyval(np.polyfit(PLACES, apart, 3), PLACES))))

    def complex_slope(self, direction: Sequence[np.ndarray]) -> float | None:
        """Return the derivative by a complex step, or None where the function takes no complex numbers."""
        if any(a.dtype != np.float64 for a in self.arrays):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = self.value(1e-30j, direction)
        except Exception:  # Whatever a function of real numbers does with complex ones.
            return None
        return found.imag / 1e-30 if isinstance(found, complex) and np.isfinite(found) else None


def is_single(x: float) -> bool:
    """Return True for a number of single precision."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(x)) == x


def check_gradient(
    fun: Callable[..., Any],
    params: Any,
    *args: Any,
    jac: Callable[..., Any] | bool | None = None,
    rtol: float | None = None,
    directions: int = 10,
    seed: int = 0,
) -> float:
    """Check gradients against differences of the function along random directions; raise for the worst element.

    Parameters
    ----------
    fun : callable or compiled objective
        ``fun(params, *args)`` returns a value and the gradients, nested like `params`; with `jac` the value alone.
    params : arrays
        Arrays and numbers, nested in dicts, lists and tuples: where to check. They are not changed. Take a random point: at zeros
        many mistakes do not show.
    *args
        Further arguments, such as a batch of data.
    jac : callable, optional
        ``jac(params, *args)`` returns the gradients.
    rtol : float, optional
        Relative difference that counts as an error. Default: 1e-6, and 1e-3 for values or parameters below float64.
    directions : int, default 10
        Number of random directions in which all arrays are moved together, after two for each array alone.
    seed : int, default 0
        Of the directions.

    Returns
    -------
    float
        The largest relative difference that was found.

    Raises
    ------
    AssertionError
        If a gradient is wrong. The message names the array and the element that differs most, with both numbers.
    TypeError, ValueError
        If the gradients are nested otherwise or have other shapes, or the function is not finite around the parameters.

    Notes
    -----
    Derivatives are central differences, extrapolated, at the step where their error is the smallest, which is estimated and allowed
    for; for float64, where the function takes complex numbers and agrees with them, complex steps [1]_, which are accurate to the
    last digits. The scatter of values tells how exactly they are computed. If a direction differs, the array with the largest
    difference is halved until some elements are left, and those are looked at one by one. Functions must be free of noise; an
    element whose part of the slope is below `rtol` is not seen, unless it is an array by itself.

    References
    ----------
    .. [1] W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
       doi:10.1137/S003614459631241X

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def fun(p):
    ...     return np.sum(p["w"] ** 3), {"w": 3 * p["w"] ** 2}
    >>> bool(fo.check_gradient(fun, {"w": np.array([1.0, 2.0])}) < 1e-9)
    True
    >>> fo.check_gradient(fun, {"w": np.array([1.0, 2.0])}, jac=lambda p: {"w": p["w"] ** 2})
    Traceback (most recent call last):
    AssertionError: gradient of 'w' at (1,): 4, by differences 12
    """
    if (number := whole(directions)) is None or number < 1:
        raise ValueError(f"directions: {directions!r}, expected a whole number of at least 1")
    fun = of_python(fun)
    structure, given = flatten(listed(params))
    arrays = [checked_array(name, a) for name, a in given]
    found = gradients_of(fun, jac, unflatten(structure, iter([a.copy() for a in arrays])), args)
    grads = [checked_gradient(n, g, a) for (n, _), a, g in zip(given, arrays, collect(structure, found), strict=True)]
    line, names = Line(fun, args, structure, arrays), [name for name, _ in given]
    check_tolerance(rtol)
    rng = np.random.default_rng(seed)
    errors = []
    # Each array alone, as a large one would hide a small one; then all together. In the units of the array and of each element.
    for k, sizes in [*((k, s) for k in range(len(arrays)) for s in SIZES), *((-1, SIZES[i % 2]) for i in range(directions))]:
        moved = [rng.standard_normal(a.shape) * (k in (-1, i)) for i, a in enumerate(arrays)]
        direction = [sizes(a.astype(np.float64)) * d for a, d in zip(arrays, moved, strict=True)]
        error, is_wrong = difference(line, direction, grads, rtol)
        errors.append(error)
        if is_wrong:
            raise AssertionError(worst_element(line, direction, names, grads))
    if np.isnan(errors).all():
        raise ValueError("fun: nan or infinite around these parameters, expected a point where gradients can be compared")
    return float(np.nanmax(errors))


def of_python(fun: Any) -> Callable[..., Any]:
    """Return a function, or a compiled objective as one."""
    from .minimization.compiled import compiled

    objective = compiled(fun)
    return fun if objective is None else objective.evaluate


def gradients_of(fun: Callable[..., Any], jac: Any, params: Any, args: Sequence[Any]) -> Any:
    """Return the gradients that are checked, or raise if there are none."""
    if callable(jac):
        return jac(params, *args)
    found = fun(params, *args)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(f"fun: returned {found!r:.80}, expected a pair (value, gradients), or jac=... for them")
    return found[1]


def check_tolerance(rtol: float | None) -> None:
    """Raise for a relative tolerance that is none."""
    if rtol is not None and not (is_real(rtol) and 0 <= rtol < np.inf):
        raise ValueError(f"rtol: {rtol!r}, expected a finite number of at least 0")


def checked_array(name: str, a: Any) -> np.ndarray:
    """Return a parameter as an array, or raise."""
    found = np.asarray(a)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"parameter {name!r}: {found.dtype}, expected an array of real numbers")
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def checked_gradient(name: str, g: Any, a: np.ndarray) -> np.ndarray:
    """Return a gradient in double, zeros for None, or raise."""
    found = np.zeros(a.shape) if g is None else np.asarray(g)
    if found.shape != a.shape or found.dtype.kind not in "fiu":
        raise ValueError(f"gradient of {name!r}: {found.dtype} of shape {found.shape}, expected real numbers of shape {a.shape}")
    return found.astype(np.float64)


def size_of(a: np.ndarray) -> float:
    """Return the size of an array's elements, 1 for zeros."""
    largest = float(np.max(np.abs(a), initial=0.0))
    if not 0 < largest < np.inf:
        return 1.0
    return largest * float(np.sqrt(np.mean(np.square(a.astype(np.float64) / largest))))


SIZES = (size_of, np.abs)


def difference(line: Line, direction: Sequence[np.ndarray], grads: Sequence[np.ndarray], rtol: float | None) -> tuple[float, bool]:
    """Return the relative difference of the slope along a direction, and whether it counts as an error."""
    products = [g * d for g, d in zip(grads, direction, strict=True)]
    mine = float(sum(np.sum(p) for p in products))
    size = float(np.hypot.reduce([np.hypot.reduce(p, axis=None) for p in products]))  # What errors of the elements add up to.
    theirs, error = line.slope(direction)
    rtol = (1e-3 if line.is_single else 1e-6) if rtol is None else rtol
    apart, most = abs(mine - theirs), max(abs(mine), abs(theirs), size)
    if apart == 0:
        return 0.0, False
    relative = 0.0 if apart <= 10 * error else apart / most
    # Beyond the function's domain there is nothing to compare with; that of the elements is nearer.
    unknown = np.isfinite(mine) and not np.isfinite(theirs)
    return np.nan if unknown else relative, not (unknown or apart <= rtol * most + 10 * error)


def worst_element(line: Line, direction: Sequence[np.ndarray], names: Sequence[str], grads: Sequence[np.ndarray]) -> str:
    """Return the message that names the element whose gradient differs most."""
    k = int(np.argmax([part_apart(line, direction, grads, k, 0, a.size) for k, a in enumerate(line.arrays)]))
    low, high = 0, line.arrays[k].size
    while high - low > ELEMENTS:
        middle = (low + high) // 2
        first, second = (part_apart(line, direction, grads, k, *part) for part in ((low, middle), (middle, high)))
        low, high = (low, middle) if first >= second else (middle, high)
    each = []
    for i in range(low, high):
        one = [np.zeros(a.shape) for a in line.arrays]
        one[k].reshape(-1)[i] = size = float(np.abs(direction[k].reshape(-1)[i])) or size_of(line.arrays[k])
        each.append(line.slope(one)[0] / size)
    mine = grads[k].reshape(-1)[low:high]
    # Gradients that are not finite are wrong; differences that are not say nothing.
    apart = np.where(np.isfinite(mine), np.nan_to_num(np.abs(mine - each), nan=-1.0, posinf=-1.0), np.inf)
    worst = int(np.argmax(apart))
    place = tuple(map(int, np.unravel_index(low + worst, line.arrays[k].shape)))
    return f"gradient of {names[k]!r} at {place}: {mine[worst]:.10g}, by differences {each[worst]:.10g}"


def part_apart(line: Line, direction: Sequence[np.ndarray], grads: Sequence[np.ndarray], k: int, low: int, high: int) -> float:
    """Return by how much the slope along some elements of array `k` differs."""
    part = [np.zeros(a.shape) for a in line.arrays]
    part[k].reshape(-1)[low:high] = direction[k].reshape(-1)[low:high]
    apart = abs(float(np.sum(grads[k] * part[k])) - line.slope(part)[0]) if high > low else -1.0
    return apart if np.isfinite(apart) else np.inf
