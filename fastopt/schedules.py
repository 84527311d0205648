"""Schedules: hyperparameters as pure functions of the optimizer's step; the first update is step 0.

A schedule takes a number (fast, without NumPy) or an array of steps and returns the same kind. Any callable of a step can be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    # Importing it takes a quarter of fastopt's own time.
    from numpy.typing import NDArray

__all__ = ["constant", "exponential_decay", "linear_decay"]


class Schedule:
    """Base class of schedules."""

    def __post_init__(self) -> None:
        for name, x in vars(self).items():
            if not isinstance(x, (Real, bool)) or (isinstance(x, bool) and name != "staircase"):
                raise TypeError(f"{type(self).__name__}: {name}={x!r}, expected a number")
            if not isfinite(x):
                raise ValueError(f"{type(self).__name__}: {name}={x!r}, expected a finite number")

    def function(self) -> Callable[[float], float]:
        """Return the schedule as a plain function of a number, which is called in each step."""
        raise NotImplementedError

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.floating | np.integer]) -> NDArray[np.float64]: ...
    def __call__(self, step: float | NDArray[np.floating | np.integer]) -> float | NDArray[np.float64]:
        """Return the value at a step (0, 1, ...), or an array of values at an array of steps."""
        at = self.function()
        if isinstance(step, np.ndarray):
            return np.array([at(float(s)) for s in step.ravel()], np.float64).reshape(step.shape)
        return at(step)


@dataclass(frozen=True)
class constant(Schedule):
    """The same value at every step.

    Parameters
    ----------
    value : float

    Examples
    --------
    >>> constant(0.1)(7)
    0.1
    """

    value: float

    def function(self) -> Callable[[float], float]:
        value = self.value
        return lambda step: value


@dataclass(frozen=True)
class linear_decay(Schedule):
    """Straight line from `initial` at step 0 to `final` at step `steps`; `final` afterwards.

    Parameters
    ----------
    initial : float
    steps : int
        Step at which `final` is reached, at least 1.
    final : float, default 0.0

    Notes
    -----
    With ``final=0``: ``initial * (1 - t / steps)``.

    Examples
    --------
    >>> linear_decay(1.0, steps=4)(1)
    0.75
    """

    initial: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"linear_decay: steps={self.steps}, expected at least 1")

    def function(self) -> Callable[[float], float]:
        fall, steps, final = self.initial - self.final, self.steps, self.final
        return lambda step: final + fall * (1 - step / steps) if step < steps else final


@dataclass(frozen=True)
class exponential_decay(Schedule):
    """Decay by the factor `gamma` every `every` steps.

    Parameters
    ----------
    initial : float
    gamma : float
        Factor, at least 0; at most 1 for a decay.
    every : int, default 1
        Steps in which the value falls by one factor, at least 1.
    staircase : bool, default False
        Fall once after `every` steps instead of evenly.

    Notes
    -----
    At step t: ``initial * gamma**(t / every)``; as a staircase ``initial * gamma**(t // every)``.

    Examples
    --------
    >>> exponential_decay(1.0, 0.5, every=10, staircase=True)(19)
    0.5
    """

    initial: float
    gamma: float
    every: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"exponential_decay: every={self.every}, expected at least 1")
        if self.gamma < 0:
            raise ValueError(f"exponential_decay: gamma={self.gamma}, expected at least 0")

    def function(self) -> Callable[[float], float]:
        initial, gamma, every = self.initial, self.gamma, self.every
        if self.staircase:
            return lambda step: float(initial * gamma ** (step // every))
        return lambda step: float(initial * gamma ** (step / every))
