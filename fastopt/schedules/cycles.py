"""Schedules that rise and fall, once or again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, floor, log, pi
from typing import Any

from .base import Schedule, choices, text


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Cosines from `initial` to `final` that begin anew, each period `factor` times as long as the one before.

    Parameters
    ----------
    initial : float
    steps : int
        Steps of the first period, at least 1.
    factor : float, default 1
        At least 1.
    final : float, default 0.0

    Notes
    -----
    Period k has ``steps * factor**k`` steps [1]_: torch's ``CosineAnnealingWarmRestarts``, in closed form.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983.

    Examples
    --------
    >>> [round(cosine_restarts(1.0, steps=10, factor=2)(t), 6) for t in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    initial: float
    steps: int
    factor: float = 1.0
    final: float = 0.0
    _at_least_one = ("steps", "factor")

    def expression(self, step: str, names: dict[str, Any]) -> str:
        if self.factor != 1:
            return super().expression(step, names)
        final, half, turn = text(self.final), text((self.initial - self.final) / 2), text(pi / self.steps)
        return f"({final} + {half} * (1 + cos({turn} * ({step} % {self.steps!r}))))"

    def function(self) -> Callable[[float], float]:
        """Return the schedule as a function, which remembers the period of the last step."""
        if self.factor == 1:
            return super().function()
        half, final, steps, factor = (self.initial - self.final) / 2, self.final, self.steps, self.factor
        scale, growth = (factor - 1) / steps, log(factor)
        start, end, turn = 0.0, 0.0, 0.0

        def at(step: float) -> float:
            nonlocal start, end, turn
            if not start <= step < end:
                # The period whose start is not after the step; rounding may be off by one.
                k = floor(log(1 + step * scale) / growth)
                k += int(step >= (factor ** (k + 1) - 1) / scale) - int(step < (factor**k - 1) / scale)
                start, end = (factor**k - 1) / scale, (factor ** (k + 1) - 1) / scale
                turn = pi / (steps * factor**k)
            return final + half * (1 + cos(turn * (step - start)))

        return at


@dataclass(frozen=True)
class one_cycle(Schedule):
    """Rise to `peak`, then fall far below the start; the last value afterwards.

    Parameters
    ----------
    peak : float
        Largest value.
    steps : int
        Steps of both parts, at least 2; the last value is that of step ``steps - 1``.
    warm : float, default 0.3
        Fraction of the steps that rise, between 0 and 1.
    divide : float, default 25
        The first value is ``peak / divide``.
    final_divide : float, default 1e4
        The last value is that over `final_divide`.
    shape : {"cosine", "linear"}, default "cosine"

    Notes
    -----
    torch's ``OneCycleLR``, after [1]_.

    References
    ----------
    .. [1] Smith and Topin, "Super-convergence", 2018, arXiv:1708.07120.

    Examples
    --------
    >>> [round(one_cycle(1.0, steps=10, shape="linear")(t), 6) for t in (0, 1, 2, 9)]
    [0.04, 0.52, 1.0, 4e-06]
    """

    peak: float
    steps: int
    warm: float = 0.3
    divide: float = 25.0
    final_divide: float = 1e4
    shape: str = "cosine"
    _words = ("cosine", "linear")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            self._refuse("steps", self.steps, "at least 2")
        if not 0 <= self.warm <= 1:
            self._refuse("warm", self.warm, "a fraction between 0 and 1")
        for name in ("divide", "final_divide"):
            if not vars(self)[name] > 0:
                self._refuse(name, vars(self)[name], "more than 0")

    def expression(self, step: str, names: dict[str, Any]) -> str:
        first, top, end = self.peak / self.divide, self.warm * self.steps - 1, self.steps - 1
        last = first / self.final_divide
        if not end > top:
            last = self.peak
        parts = [(first, self.peak, f"{step} / {text(top)}")] if top > 0 else []
        parts += [(self.peak, last, f"({step} - {text(top)}) / {text(end - top)}")] if end > top else []
        bent = [f"{text(a)} + {text(b - a)} * {self.bend(x)}" for a, b, x in parts]
        ends = [*([top] if top > 0 and end > top else []), end]
        return choices(step, ends, [*bent, text(last)])

    def bend(self, x: str) -> str:
        """Return the expression that goes from 0 to 1 as `x` does."""
        return f"((1 - cos({text(pi)} * ({x}))) / 2)" if self.shape == "cosine" else f"({x})"


@dataclass(frozen=True)
class cyclic(Schedule):
    """Rise from `low` to `high` and fall back, again and again.

    Parameters
    ----------
    low, high : float
    up : int
        Steps that rise, at least 1.
    down : int, optional
        Steps that fall, at least 1. Default: `up`.
    shape : {"triangular", "triangular2", "exp_range"}, default "triangular"
        Height of the cycles: the same; half of the one before; times ``gamma**t``.
    gamma : float, default 1.0
        At least 0; for "exp_range".

    Notes
    -----
    torch's ``CyclicLR``, after [1]_.

    References
    ----------
    .. [1] Smith, "Cyclical learning rates for training neural networks", 2017, arXiv:1506.01186.

    Examples
    --------
    >>> [cyclic(0.0, 1.0, up=2, down=4)(t) for t in range(7)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    low: float
    high: float
    up: int
    down: int | None = None
    shape: str = "triangular"
    gamma: float = 1.0
    _at_least_one, _nonnegative = ("up", "down"), ("gamma",)
    _words = ("triangular", "triangular2", "exp_range")

    def __post_init__(self) -> None:
        if self.down is None:
            object.__setattr__(self, "down", self.up)
        super().__post_init__()

    def expression(self, step: str, names: dict[str, Any]) -> str:
        down = self.up if self.down is None else self.down
        total = self.up + down
        part = choices(f"(x := {step} % {total!r})", [self.up], [f"x / {self.up!r}", f"({total!r} - x) / {down!r}"])
        powers = {"triangular2": f" * 0.5 ** ({step} // {total!r})", "exp_range": f" * {text(self.gamma)} ** {step}"}
        power = powers.get(self.shape, "")
        return f"({text(self.low)} + {text(self.high - self.low)} * {part}{power})"
