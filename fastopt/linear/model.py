"""A linear model in training: its parameters, optimizer and history, without the interface of a library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        Fall of the value that counts, relative to that of the first epoch; NaN never stops.
    patience : int
        Epochs in a row without such a fall that end the training.
    """

    epochs: int
    tol: float
    patience: int


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
        began, first = time.perf_counter(), self.optimizer.steps
        run = self.objective.epochs(self.params, arrays, self.optimizer, size)
        if validate is None and report is None:
            while not run.run_epochs(rng, shuffle, limits.epochs, CHUNK, limits.tol, limits.patience):
                pass
            self.has_converged = run.waited >= limits.patience
            losses: list[float] = []
        else:
            losses = self._train_by_epochs(run, rng, shuffle, limits, validate, report)
        self._record(run.values, losses, first, -(-arrays[0].shape[0] // size), time.perf_counter() - began)

    def _train_by_epochs(self, run: Any, rng: Any, shuffle: bool, limits: Limits, validate: Any, report: Any) -> list[float]:
        """Train epoch by epoch; return the validation losses."""
        losses: list[float] = []
        best, waited, kept = math.inf, 0, None
        tol = math.nan if validate is not None else limits.tol
        while len(run.values) < limits.epochs and not self.has_converged:
            count = len(run.values) + 1
            while not run.run_epochs(rng, shuffle, count, CHUNK, tol, limits.patience):
                pass
            if report is not None:
                report(count, run.values[-1])
            if validate is None:
                self.has_converged = run.waited >= limits.patience
                continue
            losses.append(validate())
            least = 0.0 if math.isnan(limits.tol) else limits.tol * abs(losses[0])
            waited = 0 if losses[-1] < best - least else waited + 1
            if losses[-1] < best:
                best, kept = losses[-1], checkpoint.snapshot(self.optimizer)
            self.has_converged = waited >= limits.patience
        if kept is not None:
            checkpoint.restore(self.optimizer, kept)
        return losses

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
