"""Array options: factors of steps, and bounds, of the parameters' shapes."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import dtypes, layout
from .._arrays.tree import flatten
from .by_name import keys_of
from .names import expected

if TYPE_CHECKING:
    from .parameter import Parameter

PACKAGES = (__name__.partition(".")[0], "scipy")  # Where a warning is never the fault: SciPy calls methods of `scipy_method`.


def per_parameter(
    what: str, value: Any, path: str | None, leaves: Sequence[tuple[str, Any]], usual: float | None, none: float = math.nan
) -> list[Any]:
    """Return a number or array for each parameter of a group, from one number, a tree like the parameters, or patterns of names.

    `usual` is for parameters without any, `none` for None.
    """
    value = none if value is None else value
    names = [name for name, _ in leaves]
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        found: dict[str, Any] = dict.fromkeys(names, value)
    elif isinstance(value, Mapping):
        given = dict(flatten(value)[1])
        found = {**dict.fromkeys(names, usual), **{name: given[key] for name, key in keys_of(given, names, path).items()}}
    else:
        found = dict(flatten(value, path)[1])
        # One array, given as a list.
        if len(leaves) == 1 < len(found) and isinstance(value, (list, tuple)):
            found = {names[0]: array_of(what, value)}
    if set(found) != set(names):
        raise ValueError(f"{what}: for {sorted(found)}, expected a number, or numbers and arrays for {names}")
    return [x if (x := found[name]) is usual else number_or_array(f"{what} of {name!r}", x, a, none) for name, a in leaves]


def number_or_array(what: str, value: Any, a: Any, none: float) -> Any:
    """Return a parameter's option as a float64 array of its shape, or as a float."""
    x = array_of(what, none if value is None else value)
    # A mask of the elements that move.
    x = x.astype(np.float64) if x.dtype == bool and what.startswith("step_scale") else x
    if x.dtype.kind not in "fiu" or (x.ndim and x.shape != a.shape):
        raise ValueError(f"{what}: {x.dtype} of shape {x.shape}, expected a number or an array of shape {a.shape}")
    if np.isnan(x).any():
        raise ValueError(f"{what}: {'None' if value is None else 'NaN'}, expected a number")
    return np.array(x, np.float64) if x.ndim else float(x)


def array_of(what: str, value: Any) -> np.ndarray:
    """Return an array, or raise if there is none of these lists."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{what}: lists of different lengths, expected an array") from None


def own_copy(value: Any) -> Any:
    """Return a private copy of an option of arrays, so that later changes have no effect; SciPy's Bounds become a pair."""
    if hasattr(value, "lb") and hasattr(value, "ub"):
        return tuple(float(x[0]) if np.shape(x) == (1,) else own_copy(x) for x in (value.lb, value.ub))
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("bounds, step_scale, initial_state: a masked array, expected a plain one, which a.filled(x) makes")
    if isinstance(value, np.ndarray):
        copied = value.copy()
        # Writing to it would change no step.
        copied.flags.writeable = False
        return copied
    if isinstance(value, Mapping):
        return {k: own_copy(x) for k, x in value.items()}
    return type(value)(own_copy(x) for x in value) if type(value) in (list, tuple) else layout.on_host(value)


def operands(options: Mapping[str, Any], path: str | None, leaves: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each parameter of a group, the arrays and numbers that stages take from array options."""
    found: list[dict[str, Any]] = [{} for _ in leaves]
    if (factors := options["step_scale"]) is not None:
        for each, (name, _), x in zip(found, leaves, per_parameter("step_scale", factors, path, leaves, 1.0), strict=True):
            if (np.asarray(x) < 0).any() or not np.isfinite(x).all():
                raise ValueError(f"step_scale of {name!r}: {np.min(x)} to {np.max(x)}, expected finite factors of at least 0")
            each["factor"] = x
    if (pair := options["bounds"]) is not None:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(
                "bounds: expected (low, high), of numbers or arrays; for a list b of pairs pass tuple(np.array(b, float).T), "
                "by names ({'w': 0.0}, {'w': 1.0})"
            )
        check_pairs(pair, [name.removeprefix(f"{path}/") for name, _ in leaves])
        low, high = (
            per_parameter(f"bounds, {side}", x, path, leaves, none, none)
            for side, x, none in (("low", pair[0], -math.inf), ("high", pair[1], math.inf))
        )
        for each, (name, a), x, y in zip(found, leaves, low, high, strict=True):
            if not (np.asarray(x) <= y).all():
                raise ValueError(f"bounds of {name!r}: low above high")
            if a.dtype.kind == "c":
                raise TypeError(f"bounds of {name!r}: {a.dtype} has no order, expected a real parameter")
            each["low"], each["high"] = x, y
    return found


def initial_values(given: Any, path: str | None, leaves: Sequence[tuple[str, Any]], known: Collection[str]) -> list[dict[str, Any]]:
    """Return, for each parameter of a group, the first values of its state that were given, by the names of `known`."""
    found: list[dict[str, Any]] = [{} for _ in leaves]
    if given is None:
        return found
    if not isinstance(given, Mapping):
        raise TypeError(f"initial_state: {given!r:.60}, expected a dict of first values by name, such as {{'v': 1.0}}")
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"initial_state: no {key!r}, {expected(key, known)}")
        for each, x in zip(found, per_parameter(f"initial_state, {key}", value, path, leaves, None), strict=True):
            each |= {} if x is None else {key: x}
    return found


def check_pairs(bounds: tuple[Any, Any], names: Sequence[str]) -> None:
    """Raise for bounds of two numbers that could be meant as (low, high) or as a pair for each."""
    if all(type(side) in (tuple, list) and len(side) == 2 and all(x is None or np.ndim(x) == 0 for x in side) for side in bounds):
        (a, b), (c, d) = bounds
        sides, pairs = ([a, b], [c, d]), ([a, c], [b, d])
        if len(names) > 1:
            ways = [f"({dict(zip(names, x, strict=False))}, {dict(zip(names, y, strict=False))})" for x, y in (sides, pairs)]
        elif names[0].isdigit():
            ways = [f"(np.array({sides[0]}), np.array({sides[1]}))", f"scipy.optimize.Bounds({pairs[0]}, {pairs[1]})"]
        else:
            ways = [f"({{{names[0]!r}: np.array({x})}}, {{{names[0]!r}: np.array({y})}})" for x, y in (sides, pairs)]
        what = "which may be (low, high) or a pair for each of two numbers"
        raise ValueError(f"bounds: {bounds}, {what}; expected {ways[0]}, or {ways[1]}")


def between(name: str, operands: Mapping[str, Any], dtype: np.dtype) -> tuple[Any, Any]:
    """Return bounds rounded inward to a dtype, so that none is crossed; equal bounds become the nearest number."""
    low, high = (np.asarray(operands[key], np.float64) for key in ("low", "high"))
    rounded = [np.asarray(dtypes.inward(x, dtype, up=up)) for x, up in ((low, True), (high, False))]
    nearest = np.asarray(dtypes.nearest(low, dtype))
    least, most = (np.where(low == high, nearest, x) for x in rounded)
    if not ((least <= most) & (least < np.inf) & (most > -np.inf)).all():
        raise ValueError(
            f"bounds of {name!r}: no number of {dtype if dtype != dtypes.BFLOAT16 else 'bfloat16'} is between low and high"
        )
    return tuple(x if x.ndim else float(x) for x in (least, most))  # type: ignore[return-value]


def clipped_starts(parameters: Sequence[Parameter]) -> list[tuple[Parameter, np.ndarray]]:
    """Return the parameters that begin outside their bounds, with values inside; warn about them, which may raise."""
    found, outside = [], 0
    for parameter in parameters:
        if "low" in parameter.stage_arrays:
            low, high = (
                parameter.memory.host(parameter.stage_arrays[k])[0 if k in parameter.scalar_arrays else ...]
                for k in ("low", "high")
            )
            value = parameter.memory.host(parameter.value())
            if count := np.count_nonzero((value < low) | (value > high)):
                outside += int(count)
                within = np.where(value < low, low, np.where(value > high, high, value))
                found.append((parameter, within.astype(parameter.real).reshape(parameter.array.shape)))
    if found:
        names = ", ".join(repr(parameter.name) for parameter, _ in found)
        what = f"bounds of {names}: {outside} elements of parameters were outside, and are now on their bounds"
        warnings.warn(what, RuntimeWarning, stacklevel=find_caller())
    return found


def find_caller() -> int:
    """Return the stack level of the call into this package, for a warning."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        frame, level = frame.f_back, level + 1
    return level
