"""Schedules that stay, fall, or go from value to value, once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import pi
from typing import Any

from .base import Schedule, choices, text

FEW = 6  # Boundaries that are compared one after another.


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

    def expression(self, step: str, names: dict[str, Any]) -> str:
        return text(self.value)


@dataclass(frozen=True)
class linear_decay(Schedule):
    """Line from `initial` at step 0 to `final` at step `steps`; `final` afterwards.

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
    _at_least_one = ("steps",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        final, fall = text(self.final), text(self.initial - self.final)
        return choices(step, [self.steps], [f"{final} + {fall} * (1 - {step} / {self.steps!r})", final])


@dataclass(frozen=True)
class polynomial_decay(Schedule):
    """Power of a line from `initial` at step 0 to `final` at step `steps`; `final` afterwards.

    Parameters
    ----------
    initial : float
    steps : int
        Step at which `final` is reached, at least 1.
    final : float, default 0.0
    power : float, default 1.0
        At least 0.

    Notes
    -----
    ``final + (initial - final) * (1 - t / steps)**power``. Keras' and optax's, and torch's ``PolynomialLR`` with ``final=0``.

    Examples
    --------
    >>> polynomial_decay(1.0, steps=4, power=2)(2)
    0.25
    """

    initial: float
    steps: int
    final: float = 0.0
    power: float = 1.0
    _at_least_one, _nonnegative = ("steps",), ("power",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        final, fall = text(self.final), text(self.initial - self.final)
        falling = f"{final} + {fall} * (1 - {step} / {self.steps!r}) ** {text(self.power)}"
        return choices(step, [self.steps], [falling, final])


@dataclass(frozen=True)
class cosine_decay(Schedule):
    """Half a cosine from `initial` at step 0 to `final` at step `steps`; `final` afterwards.

    Parameters
    ----------
    initial : float
    steps : int
        Step at which `final` is reached, at least 1.
    final : float, default 0.0

    Notes
    -----
    ``final + (initial - final) * (1 + cos(pi * t / steps)) / 2`` [1]_. torch's ``CosineAnnealingLR`` rises again after `steps`.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983.

    Examples
    --------
    >>> round(cosine_decay(1.0, steps=4)(2), 6)
    0.5
    """

    initial: float
    steps: int
    final: float = 0.0
    _at_least_one = ("steps",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        final, half = text(self.final), text((self.initial - self.final) / 2)
        return choices(step, [self.steps], [f"{final} + {half} * (1 + cos({text(pi / self.steps)} * {step}))", final])


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
    _at_least_one, _nonnegative = ("every",), ("gamma",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        over = "//" if self.staircase else "/"
        return f"({text(self.initial)} * {text(self.gamma)} ** ({step} {over} {self.every!r}))"


@dataclass(frozen=True)
class inverse_time(Schedule):
    """Decay by the inverse of a line.

    Parameters
    ----------
    initial : float
    decay : float
        What the divisor grows by in `every` steps, at least 0.
    every : int, default 1
        At least 1.
    staircase : bool, default False
        Fall once after `every` steps instead of evenly.

    Notes
    -----
    ``initial / (1 + decay * t / every)``, as Keras' ``InverseTimeDecay``. scikit-learn's "optimal" rate is
    ``inverse_time(1 / (alpha * t0), 1 / t0)``.

    Examples
    --------
    >>> inverse_time(1.0, 0.5)(2)
    0.5
    """

    initial: float
    decay: float
    every: int = 1
    staircase: bool = False
    _at_least_one, _nonnegative = ("every",), ("decay",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        over = f"({step} // {self.every!r})" if self.staircase else f"{step} / {self.every!r}"
        return f"({text(self.initial)} / (1 + {text(self.decay)} * {over}))"


@dataclass(frozen=True)
class inverse_sqrt(Schedule):
    """Rise to `peak` in `warmup` steps, then fall with the root of the step (Noam).

    Parameters
    ----------
    peak : float
        Largest value, at step ``warmup - 1``.
    warmup : int
        At least 1.

    Notes
    -----
    ``peak * min((t + 1) / warmup, sqrt(warmup / (t + 1)))``, the schedule of [1]_ with
    ``peak = (width * warmup)**-0.5``.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", 2017, section 5.3, arXiv:1706.03762.

    Examples
    --------
    >>> [inverse_sqrt(1.0, warmup=4)(t) for t in (0, 3, 15)]
    [0.25, 1.0, 0.5]
    """

    peak: float
    warmup: int
    _at_least_one = ("warmup",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        parts = [f"({step} + 1) / {self.warmup!r}", f"sqrt({self.warmup!r} / ({step} + 1))"]
        return f"{text(self.peak)} * {choices(step, [self.warmup], parts)}"


@dataclass(frozen=True)
class inverse_scaling(Schedule):
    """Fall with a power of the step, as scikit-learn's "invscaling".

    Parameters
    ----------
    initial : float
    power : float, default 0.25
        At least 0.

    Notes
    -----
    ``initial / (t + 1)**power``.

    Examples
    --------
    >>> inverse_scaling(1.0, power=0.5)(3)
    0.5
    """

    initial: float
    power: float = 0.25
    _nonnegative = ("power",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        return f"{text(self.initial)} / ({step} + 1) ** {text(self.power)}"


@dataclass(frozen=True)
class multistep(Schedule):
    """Fall by the factor `gamma` at each milestone.

    Parameters
    ----------
    initial : float
    milestones : sequence of int
        Rising steps, from 0 on; the value at a milestone is the new one.
    gamma : float, default 0.1
        At least 0.

    Notes
    -----
    torch's ``MultiStepLR``.

    Examples
    --------
    >>> [multistep(1.0, [10, 20], gamma=0.5)(t) for t in (9, 10, 20)]
    [1.0, 0.5, 0.25]
    """

    initial: float
    milestones: tuple[float, ...]
    gamma: float = 0.1
    _nonnegative = ("gamma",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_rising("milestones")

    def expression(self, step: str, names: dict[str, Any]) -> str:
        return stairs(step, self.milestones, [self.initial * self.gamma**k for k in range(len(self.milestones) + 1)])


@dataclass(frozen=True)
class piecewise_constant(Schedule):
    """One value after another.

    Parameters
    ----------
    boundaries : sequence of int
        Rising steps, from 1 on; the value at a boundary is the next one.
    values : sequence of float
        One more than boundaries.

    Notes
    -----
    Keras' ``PiecewiseConstantDecay`` changes one step after a boundary: give it ``boundaries - 1`` to compare.

    Examples
    --------
    >>> [piecewise_constant([10], [1.0, 0.5])(t) for t in (9, 10)]
    [1.0, 0.5]
    """

    boundaries: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_rising("boundaries", 0)
        self._check_length("values", len(self.boundaries) + 1)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        return stairs(step, self.boundaries, self.values)


@dataclass(frozen=True)
class piecewise_linear(Schedule):
    """Lines from value to value; the last value afterwards.

    Parameters
    ----------
    steps : sequence of int
        Rising steps, from 0 on. Before the first, the value is the first one.
    values : sequence of float
        The value at each of them.

    Examples
    --------
    >>> [piecewise_linear([0, 10, 30], [0.0, 1.0, 0.0])(t) for t in (5, 10, 20, 99)]
    [0.5, 1.0, 0.5, 0.0]
    """

    steps: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_rising("steps")
        self._check_length("values", len(self.steps))
        if not self.steps:
            self._refuse("steps", self.steps, "at least one")

    def expression(self, step: str, names: dict[str, Any]) -> str:
        if len(self.steps) > FEW:
            return super().expression(step, names)
        ends = zip(pairwise(self.values), pairwise(self.steps), strict=True)
        lines = [f"{text(a)} + {text((b - a) / (t - s))} * ({step} - {s!r})" for (a, b), (s, t) in ends]
        return choices(step, self.steps, [text(self.values[0]), *lines, text(self.values[-1])])

    def function(self) -> Callable[[float], float]:
        """Return the schedule as a function, by bisection where there are many lines."""
        if len(self.steps) <= FEW:
            return super().function()
        steps, values = self.steps, tuple(map(float, self.values))
        ends = zip(pairwise(values), pairwise(steps), strict=True)
        slopes = (0.0, *((b - a) / (t - s) for (a, b), (s, t) in ends), 0.0)
        starts, heights = (0.0, *steps), (values[0], *values)

        def at(step: float) -> float:
            k = bisect_right(steps, step)
            return heights[k] + slopes[k] * (step - starts[k])

        return at


def stairs(step: str, boundaries: Sequence[float], values: Sequence[float]) -> str:
    """Return the expression that has the next value from each boundary on."""
    if len(boundaries) > FEW:
        return f"{tuple(map(float, values))!r}[bisect_right({tuple(boundaries)!r}, {step})]"
    return choices(step, boundaries, [*map(text, values)])
