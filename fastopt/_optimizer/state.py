"""State of an optimizer for users: numbers, and arrays in the precision that rules compute in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .names import expected

if TYPE_CHECKING:
    from .optimizer import Optimizer
    from .parameter import Parameter


class ParameterState(MutableMapping[str, Any]):
    """State of one parameter by name.

    ``"step"`` is its step count; carried numbers of the rule have their own names. Arrays are live views; those stored in fewer
    bits are read-only copies in float32. Every entry can be set in place; shape and dtype are
    checked. ``"gathering"`` is True if accumulated gradients wait for the next step.
    """

    __slots__ = ("_owner", "_parameter", "_place")

    def __init__(self, owner: Optimizer, parameter: Parameter, place: int) -> None:
        self._owner, self._parameter, self._place = owner, parameter, place

    def _look(self) -> None:
        """Make the steps that rows are behind before they are read."""
        if self._owner._settings.mode == "exact":
            self._owner._catch_up_unless_at_work()

    def _numbers(self) -> dict[str, Any]:
        from .checkpoint import numbers_of

        return numbers_of(self._parameter, self._owner._backend.counter(self._place))

    def __getitem__(self, name: str) -> Any:
        if name in self._parameter.state_names:
            self._look()
            return self._parameter.shown(name)
        return self._numbers()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, *given: Any, **named: Any) -> None:
        """Set several entries at once; all are checked before the first is written."""
        values = dict(*given, **named)
        if unknown := values.keys() - {*self._numbers(), *self._parameter.state_names}:
            known = ", ".join(map(repr, self))
            raise KeyError(f"state of {self._parameter.name!r}: {min(map(repr, unknown))}, expected one of {known}")
        self._owner._commit(self._changes, values)

    def _changes(self, values: Mapping[str, Any]) -> list[Callable[[], object]]:
        """Return the changes that set entries, or raise."""
        from .checkpoint import counter_of

        parameter, numbers = self._parameter, self._numbers()
        changes = [w for name, x in values.items() if name in parameter.state_names for w in parameter.writes(name, x)]
        if given := {name: x for name, x in values.items() if name in numbers}:
            counted = counter_of(parameter, {**numbers, **given})
            changes += [partial(self._owner._backend.set_counter, self._place, counted)]
        return changes

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"state of {self._parameter.name!r}: {name!r} cannot be deleted, expected another value, or reset()")

    def __iter__(self) -> Iterator[str]:
        return iter([*self._numbers(), *self._parameter.state_names])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return repr(dict(self))


class State(Mapping[str, ParameterState]):
    """State of all parameters by name."""

    __slots__ = ("_owner", "_places")

    def __init__(self, owner: Optimizer, places: Mapping[str, int]) -> None:
        self._owner, self._places = owner, places

    def __getitem__(self, name: str) -> ParameterState:
        if name not in self._places:
            raise KeyError(f"{name!r}: no parameter, {expected(name, self._places)}")
        place = self._places[name]
        return ParameterState(self._owner, self._owner._parameters[place], place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr({name: dict(x) for name, x in self.items()})


def as_numbers(what: str, value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return numbers as an array of this shape and dtype, or raise."""
    x = np.asarray(value)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what}: a masked array, expected a plain one, which a.filled(0) makes")
    if x.dtype.kind not in "fiuc" or (x.dtype.kind == "c" and dtype.kind != "c"):
        raise TypeError(f"{what}: {x.dtype}, expected numbers of {dtype}")
    if x.shape != shape:
        raise ValueError(f"{what}: shape {x.shape}, expected {shape}")
    with np.errstate(all="ignore"):
        stored = x.astype(dtype)
    if np.isinf(stored).any() and not np.array_equal(np.isinf(x), np.isinf(stored)):
        raise ValueError(f"{what}: finite numbers beyond the range of {dtype}, expected others")
    return stored


def averages_of(optimizer: Optimizer) -> Any:
    """Return the averages of the parameters, in the optimizer's structure; None if it keeps none."""
    try:
        return optimizer.average
    except ValueError:
        return None


def rate_of(optimizer: Optimizer) -> float:
    """Return the learning rate of the first group's next step; NaN for rules without one."""
    found = optimizer.lr if "lr" in optimizer.defaults else math.nan
    return float(found[0] if isinstance(found, list) else found)
