"""Schedules made of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Schedule, choices, text


@dataclass(frozen=True)
class scaled(Schedule):
    """A schedule times a number; ``schedule * factor`` makes it.

    Parameters
    ----------
    schedule : Schedule
    factor : float

    Examples
    --------
    >>> from fastopt.schedules import constant
    >>> (constant(0.5) * 3)(0)
    1.5
    """

    schedule: Schedule
    factor: float

    def expression(self, step: str, names: dict[str, Any]) -> str:
        return f"({self.schedule.expression(step, names)} * {text(self.factor)})"


@dataclass(frozen=True)
class warmup(Schedule):
    """A line from `start` to the first value of a schedule, and then that schedule.

    Parameters
    ----------
    schedule : Schedule
        It begins, at its step 0, after the warm-up.
    steps : int
        Steps of the warm-up, at least 1.
    start : float, default 0.0
        Value at step 0.

    Examples
    --------
    >>> from fastopt.schedules import linear_decay
    >>> [warmup(linear_decay(1.0, steps=4), steps=2)(t) for t in range(5)]
    [0.0, 0.5, 1.0, 0.75, 0.5]
    """

    schedule: Schedule
    steps: int
    start: float = 0.0
    _at_least_one = ("steps",)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        slope = text((self.schedule(0) - self.start) / self.steps)
        then = self.schedule.expression(f"({step} - {self.steps!r})", names)
        return choices(step, [self.steps], [f"{text(self.start)} + {slope} * {step}", then])


@dataclass(frozen=True)
class warmup_stable_decay(Schedule):
    """A trapezoid: rise from 0 to `peak`, stay there, fall to `final`; `final` afterwards.

    Parameters
    ----------
    peak : float
    warmup, stable, decay : int
        Steps of the three parts, at least 0.
    final : float, default 0.0

    Notes
    -----
    The schedule of [1]_ with a linear decay.

    References
    ----------
    .. [1] Hu et al., "MiniCPM", 2024, section 4, arXiv:2404.06395.

    Examples
    --------
    >>> [warmup_stable_decay(1.0, warmup=2, stable=3, decay=2)(t) for t in range(8)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """

    peak: float
    warmup: int
    stable: int
    decay: int
    final: float = 0.0
    _nonnegative = ("warmup", "stable", "decay")

    def expression(self, step: str, names: dict[str, Any]) -> str:
        peak, final, falls = text(self.peak), text(self.final), self.warmup + self.stable
        ends = falls + self.decay
        rising = f"{peak} * {step} / {self.warmup!r}"
        falling = f"{final} + {text(self.peak - self.final)} * (({ends!r} - {step}) / {self.decay!r})"
        return choices(step, [self.warmup, falls, ends], [rising, peak, falling, final])


@dataclass(frozen=True)
class join(Schedule):
    """One schedule after another, each from its own step 0 on.

    Parameters
    ----------
    schedules : sequence of Schedule
    boundaries : sequence of int
        Rising steps, from 1 on, at which the next schedule begins; one fewer than schedules.

    Notes
    -----
    optax's ``join_schedules``; torch's ``SequentialLR``.

    Examples
    --------
    >>> from fastopt.schedules import constant, linear_decay
    >>> [join([constant(1.0), linear_decay(1.0, steps=4)], [2])(t) for t in (1, 2, 3)]
    [1.0, 1.0, 0.75]
    """

    schedules: tuple[Schedule, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.schedules:
            self._refuse("schedules", self.schedules, "at least one")
        self._check_rising("boundaries", 0)
        self._check_length("boundaries", len(self.schedules) - 1)

    def expression(self, step: str, names: dict[str, Any]) -> str:
        shifted = [step, *(f"({step} - {boundary!r})" for boundary in self.boundaries)]
        parts = [schedule.expression(t, names) for schedule, t in zip(self.schedules, shifted, strict=True)]
        return choices(step, self.boundaries, parts)
