"""The judge where nothing is compiled: ``judge.pyx`` in NumPy, with the same values."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import objective
from .criteria import EVALUATIONS, GO_ON, GRADIENT, ITERATIONS, NONFINITE, STALLED, STILL, TARGET, start


class Judge:
    """Judge: what is asked after each evaluation at the optimizer's point; see ``judge.pyx``."""

    def __init__(self, optimizer: Any, x: np.ndarray, gradient: np.ndarray, box: Any, criteria: Any) -> None:
        self.optimizer, self.x, self.gradient, self.box, self.criteria = optimizer, x, gradient, box, criteria
        self.jac = gradient if box.scale is None else np.zeros_like(x)
        self.best_x, self.best_jac, self.previous = x.copy(), np.zeros_like(x), x.copy()
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
        criteria, now, moves = self.criteria, self.progress, self.criteria.xtol is not None
        now["fun"], now["judged"] = fun, nit
        if not self.measure() or fun - fun != 0:
            return NONFINITE
        now["best"] = min(fun, float(now["best"]))
        if moves:
            now["still"] = 0 if self.has_moved() or nit == 0 else now["still"] + 1
        stalled = self.has_stalled(fun)
        if criteria.gtol is not None and now["norm"] <= criteria.gtol:
            return GRADIENT
        if fun <= criteria.target:
            return TARGET
        if stalled:
            return STALLED
        if moves and now["still"] >= criteria.patience:
            return STILL
        if nit >= criteria.maxiter:
            return ITERATIONS
        return EVALUATIONS if nfev >= criteria.maxfun else GO_ON

    @np.errstate(all="ignore")
    def measure(self) -> bool:
        """Set the norm of the projected gradient; return False if the gradient is not finite."""
        x, g, box = self.x, self.gradient, self.box
        moved = g
        if box.low is not None:
            to = x - g
            moved = np.where(to < box.lower, x - box.lower, np.where(to > box.upper, x - box.upper, g))
        self.progress["norm"] = np.fmax.reduce(np.abs(moved), initial=0)
        return bool(np.isfinite(g).all())

    def has_moved(self) -> bool:
        """Return True if an element has moved by more than ``xtol``; keep the point as the previous one."""
        found = np.abs(self.x.astype(np.float64) - self.previous) > self.criteria.xtol
        self.previous[...] = self.x
        return bool(found.any())

    def has_stalled(self, fun: float) -> bool:
        """Return True if the mean of a window of values that just ended is not below the mean of the one before."""
        now, criteria = self.progress, self.criteria
        now["total"] += fun * criteria.share
        now["counted"] += 1
        if now["counted"] < criteria.patience:
            return False
        mean, before = float(now["total"]), float(now["before"])
        now["before"], now["total"], now["counted"] = mean, 0, 0
        return criteria.ftol is not None and mean >= before - criteria.ftol * max(1.0, abs(mean))
