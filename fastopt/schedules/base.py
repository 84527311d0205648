"""Base of schedules: values at steps, products with numbers, dicts, pictures, and checks of arguments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import cos, isfinite, sqrt
from numbers import Real
from sys import float_info
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from ..plot import axes_of

if TYPE_CHECKING:
    # Importing it takes a quarter of fastopt's own time.
    from numpy.typing import NDArray

LARGEST = float_info.max
DEEPEST = 30  # Parentheses of expressions are limited.
# What expressions may call.
NAMES: Mapping[str, Any] = {"bisect_right": bisect_right, "cos": cos, "sqrt": sqrt}
# Classes by name, for `from_dict`.
KINDS: dict[str, type[Schedule]] = {}


class Schedule:
    """Base class of schedules: pure functions of the number of updates so far.

    A subclass is a frozen dataclass whose fields are numbers, words, tuples, and other schedules, as their annotations say. It
    defines `function` or `expression`.
    """

    # Fields that are at least 1; fields that are at least 0; words that fields may be.
    _at_least_one: ClassVar[Sequence[str]] = ()
    _nonnegative: ClassVar[Sequence[str]] = ()
    _words: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **other: Any) -> None:
        super().__init_subclass__(**other)
        KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        kinds: Mapping[str, str] = type(self).__annotations__
        for name, x in vars(self).copy().items():
            kind = kinds[name]
            if inner := kind.removeprefix("tuple[") * kind.startswith("tuple["):
                if isinstance(x, (str, bytes)) or not hasattr(x, "__len__") or not hasattr(x, "__getitem__"):
                    self._refuse(name, x, "a sequence", TypeError)
                made: Any = tuple(self._checked(f"{name}[{k}]", part, inner) for k, part in enumerate(x))
            else:
                made = self._checked(name, x, kind)
            object.__setattr__(self, name, made)
        if self.depth() > DEEPEST:
            raise ValueError(f"{type(self).__name__}: schedules nested more than {DEEPEST} deep, expected less")

    def _checked(self, name: str, x: Any, kind: str) -> Any:
        """Return a field, numbers as Python's own; raise unless it is what its annotation says."""
        if kind.startswith("Schedule"):
            if not isinstance(x, Schedule):
                self._refuse(name, x, "a schedule of fastopt.schedules, such as constant(0.1)", TypeError)
        elif kind == "str":
            if x not in self._words:
                self._refuse(name, x, f"one of {', '.join(map(repr, self._words))}")
        elif kind == "bool":
            if not isinstance(x, (bool, np.bool_)):
                self._refuse(name, x, "True or False", TypeError)
        else:
            self._check_number(name, x)
            return int(x) if isinstance(x, (int, np.integer)) else float(x)
        return bool(x) if kind == "bool" else x

    def _check_number(self, name: str, x: Any) -> None:
        if not isinstance(x, Real) or isinstance(x, bool):
            self._refuse(name, x, "a number", TypeError)
        # A whole number may be too large for a float.
        if abs(x) > LARGEST if isinstance(x, int) else not isfinite(x):
            self._refuse(name, x, "a finite number")
        for least, names in ((1, self._at_least_one), (0, self._nonnegative)):
            if name in names and x < least:
                self._refuse(name, x, f"at least {least}")

    def _check_rising(self, name: str, least: float = -1) -> None:
        """Raise unless a sequence of steps rises, and begins above `least`."""
        steps = [least, *vars(self)[name]]
        if any(a >= b for a, b in pairwise(steps)):
            self._refuse(name, vars(self)[name], f"rising steps from {int(least) + 1} on")

    def _check_length(self, name: str, count: int) -> None:
        """Raise unless a sequence has this length."""
        if len(found := vars(self)[name]) != count:
            self._refuse(name, found, f"{count} of them")

    def _refuse(self, name: str, x: Any, expected: str, error: type[Exception] = ValueError) -> None:
        raise error(f"{type(self).__name__}: {name}={x!r}, expected {expected}")

    def function(self) -> Callable[[float], float]:
        """Return the schedule as a plain function of a number from 0 on, which is called in each step."""
        if type(self).expression is Schedule.expression:
            raise NotImplementedError
        names = dict(NAMES)
        made: Callable[[float], float] = eval(f"lambda step: {self.expression('step', names)}", names)
        return made

    def expression(self, step: str, names: dict[str, Any]) -> str:
        """Return the schedule as one expression of Python, so that schedules made of others are one function too.

        Parameters
        ----------
        step : str
            An expression of the step.
        names : dict
            What the expression may refer to; functions can be added.
        """
        name = f"function{len(names)}"
        names[name] = self.function()
        return f"{name}({step})"

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.floating | np.integer]) -> NDArray[np.float64]: ...
    def __call__(self, step: float | NDArray[np.floating | np.integer]) -> float | NDArray[np.float64]:
        """Return the value at a step (0, 1, ...), or an array of values at an array of steps."""
        at = self.function()
        step = np.asarray(step) if isinstance(step, (list, tuple)) else step
        if isinstance(step, np.ndarray):
            if step.size and not step.min() >= 0:
                raise ValueError(f"{type(self).__name__}: step {step.min()}, expected steps from 0 on")
            return np.array([at(float(s)) for s in step.ravel()], np.float64).reshape(step.shape)
        if not step >= 0:
            raise ValueError(f"{type(self).__name__}: step {step!r}, expected a step from 0 on")
        return float(at(step if type(step) is int else float(step)))

    def __mul__(self, factor: float) -> Schedule:
        from .combined import scaled

        if not isinstance(factor, Real):
            return NotImplemented
        # Products do not pile up.
        schedule, before = (self.schedule, self.factor) if isinstance(self, scaled) else (self, 1.0)
        return scaled(schedule, before * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Schedule:
        if not isinstance(divisor, Real):
            return NotImplemented
        return self * (1 / divisor)

    # An array times a schedule is an error, not an array of schedules.
    __array_ufunc__ = None

    def depth(self) -> int:
        """Return how deeply schedules are made of others."""
        parts = [x for field in vars(self).values() for x in (field if isinstance(field, tuple) else (field,))]
        return 1 + max((x.depth() for x in parts if isinstance(x, Schedule)), default=0)

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as plain numbers, words, lists and dicts, as JSON holds them; `from_dict` makes it again."""
        return {"name": type(self).__name__, **{name: plain(x) for name, x in vars(self).items()}}

    def plot(self, steps: int, axes: Any = None) -> Any:
        """Draw the values of the first steps.

        Parameters
        ----------
        steps : int
            Number of steps, at least 1.
        axes : matplotlib Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            Without matplotlib (``pip install 'fastopt[plot]'``).
        """
        if steps < 1:
            self._refuse("steps", steps, "at least 1")
        axes = axes_of(axes)
        at = np.unique(np.linspace(0, steps - 1, min(int(steps), 2000)).round())
        axes.plot(at, self(at), label=type(self).__name__)
        axes.set(xlabel="step", ylabel="value")
        return axes


def text(x: float) -> str:
    """Return a number as an operand of an expression, as a float."""
    return f"{float(x)!r}" if x >= 0 else f"({float(x)!r})"


def choices(step: str, boundaries: Sequence[float], parts: Sequence[str]) -> str:
    """Return the expression of the part that the boundaries choose; the next one from each on."""
    chosen = "".join(f"{part} if {step} < {b!r} else " for part, b in zip(parts, boundaries, strict=False))
    return f"({chosen}{parts[-1]})"


def plain(x: Any) -> Any:
    """Return a field as JSON holds it."""
    if isinstance(x, Schedule):
        return x.to_dict()
    if isinstance(x, tuple):
        return [plain(part) for part in x]
    if not isinstance(x, (bool, int, float, str, type(None))):
        raise TypeError(f"schedule: a field of {type(x).__name__}, expected numbers, words, tuples and schedules")
    return x


def from_dict(d: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `Schedule.to_dict` described.

    Parameters
    ----------
    d : mapping
        Its ``"name"`` and its arguments.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        If there is no such schedule, or its arguments do not fit.

    Examples
    --------
    >>> from_dict({"name": "constant", "value": 0.1})
    constant(value=0.1)
    """
    from . import combined, cycles, decay  # noqa: F401 - so that all are known

    name = d.get("name") if isinstance(d, Mapping) else None
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"schedule: no name {name!r}, expected one of {', '.join(sorted(KINDS))}")
    return KINDS[name](**{key: made(x) for key, x in d.items() if key != "name"})


def made(x: Any) -> Any:
    """Return a field from what JSON holds."""
    if isinstance(x, Mapping):
        return from_dict(x)
    return tuple(map(made, x)) if isinstance(x, list) else x
