"""The judge where nothing is compiled: ``judge.pyx`` in NumPy, with the same values."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import objective
from .criteria import CRITERIA, EVALUATIONS, GO_ON, GRADIENT, ITERATIONS, NO_PROGRESS, NONFINITE, STALLED, STILL, TARGET, start


class Judge:
    """Judge: what is asked after each evaluation at the optimizer's point; see ``judge.pyx``."""

    def __init__(self, optimizer: Any, x: np.ndarray, gradient: np.ndarray, box: Any, criteria: Any) -> None:
        self.optimizer, self.x, self.gradient, self.box, self.criteria = optimizer, x, gradient, box, criteria
        self.jac = gradient if box.scale is None else np.zeros_like(x)
        self.best_x, self.best_jac, self.previous = x.copy(), np.zeros_like(x), x.copy()
        self.limits = dict(zip(CRITERIA.names or (), criteria.record().item(), strict=True))  # NaN switches a tolerance off.
        self.progress = start()

    def point(self) -> np.ndarray:
        """Return the variables at the optimizer's point, an array that is the caller's."""
        return self.box.variables(self.x)  # type: ignore[no-any-return]

    def tell(self, fun: Any, jac: Any, nfev: float) -> int:
        """Take a value and a gradient at the optimizer's point, unless it has been judged; return why the run ends, or 0."""
        now, nit = self.progress, self.optimizer.steps
        if now["judged"] == nit:
            return int(now["reason"])
        value, given = objective.number(fun), objective.vector(jac, self.x)
        self.jac[...] = given
        if self.box.scale is not None:
            np.multiply(self.jac, self.box.scale, self.gradient)
        best = float(now["best"])
        now["reason"] = self.judge(value, nit, nfev)
        if now["best"] < best:
            self.best_x[...], self.best_jac[...] = self.x, self.jac
        return int(now["reason"])

    def judge(self, fun: float, nit: int, nfev: float) -> int:
        """Return why the run ends at this point, if it does."""
        limits, now = self.limits, self.progress
        if now["judged"] < 0:
            now["first"] = fun
        now["fun"], now["judged"] = fun, nit
        if not self.measure() or fun - fun != 0:
            return NONFINITE
        now["best"] = min(fun, float(now["best"]))
        moves = self.criteria.xtol is not None
        if moves:
            now["still"] = 0 if self.has_moved() or nit == 0 else now["still"] + 1
        reasons = {
            GRADIENT: now["norm"] <= limits["gtol"],
            TARGET: fun <= limits["target"],
            STALLED: self.has_stalled(fun),
            STILL: moves and now["still"] >= limits["patience"],
            ITERATIONS: nit >= limits["maxiter"],
            EVALUATIONS: nfev >= limits["maxfun"],
        }
        reason = next((name for name, holds in reasons.items() if holds), GO_ON)
        return NO_PROGRESS if reason == STALLED and not self.has_fallen() else reason

    @np.errstate(all="ignore")
    def measure(self) -> bool:
        """Set the norm of the projected gradient; return False if the gradient is not finite."""
        x, g, box = self.x, self.gradient, self.box
        moved = g
        if box.low is not None:
            moved = np.minimum(np.maximum(g, x - box.upper), x - box.lower)
        self.progress["norm"] = np.fmax.reduce(np.abs(moved), initial=0)
        return bool(np.isfinite(g).all())

    def has_moved(self) -> bool:
        """Return True if an element has moved by more than ``xtol``; keep the point as the previous one."""
        still = np.abs(self.x.astype(np.float64) - self.previous) <= self.limits["xtol"]
        self.previous[...] = self.x
        return bool(~still.all())

    def has_fallen(self) -> bool:
        """Return True if some value is below the first one by the tolerance."""
        first = float(self.progress["first"])
        return float(self.progress["best"]) < first - self.limits["ftol"] * max(1.0, abs(first))  # type: ignore[no-any-return]

    def has_stalled(self, fun: float) -> bool:
        """Return True if the mean of a window of values that just ended is not below the mean of the one before."""
        now, limits = self.progress, self.limits
        now["total"] += fun * limits["share"]
        now["counted"] += 1
        if now["counted"] < limits["patience"]:
            return False
        mean, before = float(now["total"]), float(now["before"])
        now["before"], now["total"], now["counted"] = mean, 0, 0
        return mean >= before - limits["ftol"] * max(1.0, abs(mean))  # type: ignore[no-any-return]
