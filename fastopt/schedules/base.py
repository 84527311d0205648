"""Base of schedules: values at steps, products with numbers, dicts, pictures, and checks of arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

if TYPE_CHECKING:
    # Importing it takes a quarter of fastopt's own time.
    from numpy.typing import NDArray

# Classes by name, for `from_dict`.
KINDS: dict[str, type[Schedule]] = {}


class Schedule:
    """Base class of schedules: pure functions of the number of updates so far.

    A subclass is a frozen dataclass whose fields are numbers, words, tuples, and other schedules, as their annotations say. It
    defines `function`.
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
                object.__setattr__(self, name, tuple(x))
                for k, part in enumerate(x):
                    self._check(f"{name}[{k}]", part, inner)
            else:
                self._check(name, x, kind)

    def _check(self, name: str, x: Any, kind: str) -> None:
        """Raise unless a field is what its annotation says."""
        if kind.startswith("Schedule"):
            if not isinstance(x, Schedule):
                self._refuse(name, x, "a schedule of fastopt.schedules", TypeError)
        elif kind == "str":
            if x not in self._words:
                self._refuse(name, x, f"one of {', '.join(map(repr, self._words))}")
        elif kind == "bool":
            if not isinstance(x, (bool, np.bool_)):
                self._refuse(name, x, "True or False", TypeError)
        else:
            self._check_number(name, x)

    def _check_number(self, name: str, x: Any) -> None:
        if not isinstance(x, Real) or isinstance(x, bool):
            self._refuse(name, x, "a number", TypeError)
        if not isfinite(x):
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
        raise NotImplementedError

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.floating | np.integer]) -> NDArray[np.float64]: ...
    def __call__(self, step: float | NDArray[np.floating | np.integer]) -> float | NDArray[np.float64]:
        """Return the value at a step (0, 1, ...), or an array of values at an array of steps."""
        at = self.function()
        if isinstance(step, np.ndarray):
            if step.size and not step.min() >= 0:
                raise ValueError(f"{type(self).__name__}: step {step.min()}, expected steps from 0 on")
            return np.array([at(float(s)) for s in step.ravel()], np.float64).reshape(step.shape)
        if not step >= 0:
            raise ValueError(f"{type(self).__name__}: step {step!r}, expected a step from 0 on")
        return float(at(step))

    def __mul__(self, factor: float) -> Schedule:
        from .combined import scaled

        if not isinstance(factor, Real):
            return NotImplemented
        return scaled(self, factor)

    __rmul__ = __mul__

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
            Where to draw. Default: the current ones.

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
        if axes is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError("plot needs matplotlib: pip install 'fastopt[plot]'") from error
            axes = pyplot.gca()
        at = np.unique(np.linspace(0, steps - 1, min(int(steps), 2000)).round())
        axes.plot(at, self(at), label=type(self).__name__)
        axes.set(xlabel="step", ylabel="value")
        return axes


def plain(x: Any) -> Any:
    """Return a field as JSON holds it."""
    if isinstance(x, Schedule):
        return x.to_dict()
    if isinstance(x, tuple):
        return [plain(part) for part in x]
    x = x.item() if isinstance(x, np.generic) else x
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
