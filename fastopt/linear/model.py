"""A linear model in training: its parameters, optimizer and history, without the interface of a library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._optimizer import checkpoint
from ..training.history import History
from .objective import Objective

CHUNK = 0.05  # Seconds of a compiled loop until signals are looked at.


@dataclass
class Limits:
    """When training ends.

    Attributes
    ----------
    epochs : int
    tol : float
        Fall of the value that counts, relative to the mean loss at the beginning; NaN never stops.
    patience : int
        Epochs in a row without such a fall that end the training.
    rates : tuple of float
        Factors of the learning rate with which it goes on instead, one after another.
    """

    epochs: int
    tol: float
    patience: int
    rates: tuple[float, ...] = ()


class Best:
    """The lowest validation loss so far, and parameters and optimizer as they were then."""

    def __init__(self, validate: Callable[[], float] | None, tol: float, optimizer: Any) -> None:
        self.validate, self.tol, self.optimizer = validate, 0.0 if math.isnan(tol) else tol, optimizer
        self.losses: list[float] = []
        self.best, self.waited = math.inf, 0
        self.kept: Any = None

    def look(self) -> int:
        """Compute the validation loss after an epoch; return for how many it has not fallen."""
        if self.validate is None:
            return 0
        loss = self.validate()
        self.losses.append(loss)
        self.waited = 0 if loss < self.best - self.tol else self.waited + 1
        if loss < self.best:
            self.best, self.kept = loss, checkpoint.snapshot(self.optimizer)
        return self.waited

    def restore(self) -> None:
        """Load what was best."""
        if self.kept is not None:
            checkpoint.restore(self.optimizer, self.kept)


@dataclass
class Model:
    """Parameters of a linear model and their optimizer.

    Attributes
    ----------
    objective : Objective
    params : dict of arrays
    optimizer : Optimizer
        Of `params`.
    """

    objective: Objective
    params: dict[str, np.ndarray]
    optimizer: Any
    history: History = field(default_factory=History)
    has_converged: bool = False

    @property
    def averages(self) -> Mapping[str, Any]:
        """The averages of the parameters, where the optimizer has some, else the parameters."""
        try:
            return self.optimizer.average  # type: ignore[no-any-return]
        except ValueError:
            return self.params

    def train(
        self,
        arrays: tuple[Any, ...],
        size: int,
        rng: np.random.Generator,
        shuffle: bool,
        limits: Limits,
        validate: Callable[[], float] | None = None,
        report: Callable[[int, float], object] | None = None,
    ) -> None:
        """Train on rows, targets and perhaps weights, in batches of `size`, and record the epochs.

        Parameters
        ----------
        arrays : tuple of arrays
        size : int
        rng : Generator
            Of the orders.
        shuffle : bool
        limits : Limits
        validate : callable, optional
            Returns the validation loss after each epoch, by which training ends then; the best parameters are kept.
        report : callable, optional
            Is called with the number of each epoch, from 1, and its value.
        """
        began, first, self.has_converged = time.perf_counter(), self.optimizer.steps, False
        run = self.objective.epochs(self.params, arrays, self.optimizer, size)
        if not math.isnan(limits.tol):
            limits = replace(limits, tol=limits.tol * abs(self.objective.mean(self.params, *arrays)))
        best = Best(validate, limits.tol, self.optimizer)
        rates, is_watched = list(limits.rates), validate is not None or report is not None
        while len(run.values) < limits.epochs and not self.has_converged:
            count = len(run.values) + 1 if is_watched else limits.epochs
            tol = limits.tol if validate is None else math.nan
            while not run.run_epochs(rng, shuffle, count, CHUNK, tol, limits.patience):
                pass
            if report is not None:
                report(count, run.values[-1])
            if max(best.look(), run.waited) >= limits.patience:
                self.has_converged = not rates
                self.optimizer.lr *= rates.pop(0) if rates else 1
                best.waited = run.waited = 0
        best.restore()
        self._record(run.values, best.losses, first, -(-arrays[0].shape[0] // size), time.perf_counter() - began)

    def _record(self, values: list[float], losses: list[float], first: int, per_epoch: int, seconds: float) -> None:
        """Add the epochs to the history."""
        steps = [first + (k + 1) * per_epoch for k in range(len(values))]
        rate = self.optimizer.groups[0]["lr"] if "lr" in self.optimizer.defaults else math.nan
        rates = [float(rate(step)) for step in steps] if callable(rate) else [float(rate)] * len(steps)
        history = self.history
        history.loss += values
        history.validation_loss += losses
        history.lr += rates
        history.seconds += [seconds / max(len(values), 1)] * len(values)
        history.steps += steps
