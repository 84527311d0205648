"""Criteria: when a minimisation ends, and in which words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..domains import FINITE, check_bool, is_real, whole

# Reasons to end, in the order of `judge.pxd`: status and message.
GO_ON, NONFINITE, GRADIENT, TARGET, STALLED, STILL, ITERATIONS, EVALUATIONS, NO_PROGRESS, SECONDS, CALLBACK = range(11)
EXCEEDED = "Maximum number of {} has been exceeded"
REASONS = {
    GO_ON: (-1, "The minimization has not ended."),
    NONFINITE: (3, "Infinite result encountered."),
    GRADIENT: (0, "Optimization terminated successfully: no element of the projected gradient exceeds gtol."),
    TARGET: (0, "Optimization terminated successfully: the function has reached the target."),
    STALLED: (0, "Optimization terminated successfully: the mean of the function has stopped falling"),
    STILL: (0, "Optimization terminated successfully: no step moved by more than xtol."),
    ITERATIONS: (1, EXCEEDED.format("iterations")),
    EVALUATIONS: (1, EXCEEDED.format("function evaluations")),
    NO_PROGRESS: (2, "The function has not fallen below its first value"),
    SECONDS: (1, EXCEEDED.format("seconds")),
    CALLBACK: (99, "`callback` raised `StopIteration`."),
}

HERE = (GRADIENT, TARGET)  # The point that ended a run for these is the one that is returned.

# Records of the judge, laid out as the structs of `judge.pxd`.
CRITERIA = np.dtype(
    [*((name, "f8") for name in ("gtol", "ftol", "xtol", "target", "maxiter", "maxfun", "share")), ("patience", "i8")]
)
PROGRESS = np.dtype(
    [
        *((name, "f8") for name in ("fun", "best", "first", "norm", "total", "before")),
        *((name, "i8") for name in ("counted", "still", "judged", "reason")),
    ]
)


def start(shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return the progress of runs that begin."""
    found = np.zeros(shape, PROGRESS)
    found["fun"] = found["first"] = found["before"] = math.nan
    found["best"], found["norm"], found["judged"] = math.inf, math.inf, -1
    return found


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Options of a minimisation that are not the optimizer's."""

    maxiter: float | None = 10_000
    maxfun: float | None = None
    maxtime: float | None = None
    gtol: float | None = 1e-5
    ftol: float | None = 1e-9
    patience: int = 100
    xtol: float | None = None
    target: float = -math.inf
    returns: str | None = None
    on_nonfinite: str = "stop"
    disp: bool | int = False
    return_all: bool = False
    history: bool = False

    def __post_init__(self) -> None:
        for name in NAMES:
            if isinstance(getattr(self, name), np.generic):  # Files hold numbers of Python.
                object.__setattr__(self, name, getattr(self, name).item())
        for name in ("maxiter", "maxfun", "maxtime", "gtol", "ftol", "xtol"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0.0, ", or None")
        check_number("target", self.target, -math.inf)
        if not 1 <= (whole(self.patience) or 0) < 2**63:
            raise ValueError(f"patience: {self.patience!r:.40}, expected a whole number of at least 1, below 2**63")
        for name, choices in (("returns", (None, "best", "last", "average")), ("on_nonfinite", ("stop", "raise"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}")
        if not isinstance(self.disp, bool) and ((lines := whole(self.disp)) is None or lines < 0):
            raise ValueError(f"disp: {self.disp!r}, expected True, False or a number of iterations")
        for name in ("return_all", "history"):
            check_bool(name, getattr(self, name))

    @property
    def share(self) -> float:
        """Share of a value in the mean of a window."""
        return 1 / self.patience

    def record(self) -> np.ndarray:
        """Return the criteria as the judge reads them."""
        found = np.zeros((), CRITERIA)
        for name in CRITERIA.names or ():
            none = math.inf if name in ("maxiter", "maxfun") else math.nan
            found[name] = none if getattr(self, name) is None else getattr(self, name)
        return found

    def settings(self) -> dict[str, Any]:
        """Return what a run that goes on must have in common with the one that was saved."""
        limits = ("maxiter", "maxfun", "maxtime", "disp")
        return {name: getattr(self, name) for name in NAMES if name not in limits}


NAMES = tuple(field.name for field in fields(Criteria))


def check_number(name: str, x: Any, low: float, rest: str = "") -> None:
    """Raise unless an option is a number of at least `low`."""
    is_number = is_real(x)
    if not (is_number and x >= low and (x == math.inf or x <= FINITE)):
        least = "a number" if low == -math.inf else f"a number of at least {low:g}"
        raise (ValueError if is_number else TypeError)(f"{name}: {x!r:.40}, expected {least}{rest}")


def message(reason: int, progress: Mapping[str, Any], jac: np.ndarray, method: str, nit: int) -> str:
    """Return the words for the end of a run of a method, and what may do more."""
    words = REASONS[reason][1]
    if reason == NONFINITE:
        bad = np.flatnonzero(~np.isfinite(jac))
        where = f"element {bad[0]} of the gradient" if bad.size and math.isfinite(progress["fun"]) else "the value"
        kind = "NaN" if math.isnan(progress["fun"]) or np.isnan(jac).any() else "Infinite"
        return f"{kind} result encountered: {where} after {nit} iterations ({method}); a smaller lr or x_scale may do more."
    if reason in (STALLED, NO_PROGRESS, ITERATIONS, EVALUATIONS, SECONDS):
        gradient = f"gradient {float(progress['norm']):.1g}"
        return f"{words} ({method}, {gradient}); another lr or x_scale may do more, see docs/choosing.md."
    return words
