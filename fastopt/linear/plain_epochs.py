"""Epochs of linear models in Python, for optimizers whose steps the compiled loops do not have, and without a compiler."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..training.loop import regrouping

if TYPE_CHECKING:
    from .objective import Objective


class PlainEpochs:
    """Epochs over rows by the objective's own gradients; its methods are those of the compiled `Epochs`.

    Attributes
    ----------
    values : list of float
        Mean value of each whole epoch.
    """

    is_compiled = False

    def __init__(self, objective: Objective, params: Any, arrays: tuple[Any, ...], optimizer: Any, size: int) -> None:
        self.objective, self.params, self.arrays, self.optimizer, self.size = objective, params, arrays, optimizer, size
        self.rows = arrays[0].shape[0]
        self.regroup = regrouping(params, optimizer)
        self.values: list[float] = []
        self._sums: tuple[int, int, float] = (0, self.rows, 0.0)
        self.pending: Any = None  # The optimizer before a step, its rate, and the sums after it.
        self.order: np.ndarray | None = None
        self.best, self.waited = math.inf, 0

    def begin(self, order: np.ndarray | None, batches: int, rows: int, total: float) -> None:
        """Begin an epoch, or go on with one after so many batches, rows and values."""
        self.order, self.pending, self._sums = order, None, (batches, rows, total)

    @property
    def is_ended(self) -> bool:
        """True at the end of an epoch."""
        return bool(self.sums[1] >= self.rows)

    def run(self, seconds: float) -> None:
        """Run batches until the end of the epoch, or the time is over."""
        end = time.perf_counter() + seconds
        while not self.is_ended:
            batches, rows, total = self.sums
            stop = min(rows + self.size, self.rows)
            taken = slice(rows, stop) if self.order is None else self.order[rows:stop]
            value, grads = self.objective(self.params, *[a[taken] for a in self.arrays])
            if self.objective.has_l1:
                value -= self.objective.squares(self.params["coef"])
            rate: Any = self.optimizer.lr
            self.pending = self.optimizer._progress(), rate, (batches + 1, stop, total + value * (stop - rows))
            self.optimizer.step(grads if self.regroup is None else self.regroup(grads))
            self.settle()
            if time.perf_counter() >= end:
                return

    def settle(self) -> None:
        """Count the step that was begun, if it was made, and bring coefficients nearer to zero."""
        if self.pending is None:
            return
        before, rate, after = self.pending
        now, w = self.optimizer._progress(), self.params["coef"]
        if now == before:
            self.pending = None
            return
        by = w.dtype.type(rate * self.objective.alpha * self.objective.l1_ratio if now[0] > before[0] else 0.0)
        shrunk = np.maximum(w - by, 0) + np.minimum(w + by, 0) if by > 0 else w
        # No signal handler runs between these, which call nothing in Python.
        w[...] = shrunk
        self._sums, self.pending = after, None

    @property
    def sums(self) -> tuple[int, int, float]:
        """Batches, rows and values of the epoch so far."""
        self.settle()
        return self._sums

    def run_epochs(self, rng: np.random.Generator, shuffle: bool, epochs: int, seconds: float, tol: float, patience: int) -> bool:
        """Run whole epochs, until there are so many, or their values have stopped falling, or the time is over."""
        end = time.perf_counter() + seconds
        while not self.is_ended or (len(self.values) < epochs and self.waited < patience):
            if self.is_ended:
                self.begin(rng.permutation(self.rows) if shuffle else None, 0, 0, 0.0)
            self.run(end - time.perf_counter())
            if not self.is_ended:
                return False
            self.end_epoch(tol)
            if time.perf_counter() >= end:
                break
        return len(self.values) >= epochs or self.waited >= patience

    def ending(self) -> float:
        """Return what the value of an epoch has besides those of its rows."""
        return self.objective.penalties(self.params["coef"]) if self.objective.has_l1 else 0.0

    def end_epoch(self, tol: float) -> None:
        """Record the value of an epoch, and compare it with the lowest."""
        value = self.sums[2] / self.rows + self.ending()
        if self.values and not math.isnan(tol):
            self.waited = 0 if value < self.best - tol else self.waited + 1
        self.best = min(self.best, value)
        self.values.append(value)
