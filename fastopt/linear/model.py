"""A linear model in training: its parameters, optimizer and history, without the interface of a library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._optimizer import checkpoint, loading
from .._optimizer.state import averages_of
from ..training.history import History
from ..training.loop import CHUNK
from .objective import Objective


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


def scale_of(objective: Objective, value: float, y: np.ndarray) -> float:
    """Return what a fall of the loss is compared with: its value at the beginning, where zero means a perfect fit."""
    if objective.loss == "poisson":
        return float(np.mean(y)) or 1.0
    return 1.0 if objective.loss in ("gamma", "perceptron") else value


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
            loading.restore(self.optimizer, self.kept)


@dataclass
class Model:
    """Parameters of a linear model and their optimizer.

    Attributes
    ----------
    objective : Objective
    params : dict of arrays
    optimizer : Optimizer
        Of `params`.
    lr : float or schedule
        Its learning rate at the beginning.
    chosen : tuple
        What the optimizer was made from.
    """

    objective: Objective
    params: dict[str, np.ndarray]
    optimizer: Any
    lr: Any
    chosen: tuple[Any, ...] = ()
    history: History = field(default_factory=History)
    has_converged: bool = False
    before: int = 0  # Epochs of earlier calls.

    @property
    def averages(self) -> Mapping[str, Any]:
        """The averages of the parameters, where the optimizer has some, else the parameters."""
        found: Mapping[str, Any] | None = averages_of(self.optimizer)
        return self.params if found is None else found

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
        self.before = len(self.history.loss)
        run = self.objective.epochs(self.params, arrays, self.optimizer, size)
        if not math.isnan(limits.tol):
            limits = replace(
                limits, tol=limits.tol * scale_of(self.objective, self.objective.mean(self.params, *arrays), arrays[1])
            )
        best = Best(validate, limits.tol, self.optimizer)
        rates, is_watched = list(limits.rates), validate is not None or report is not None
        while len(run.values) < limits.epochs and not self.has_converged:
            count = len(run.values) + 1 if is_watched else limits.epochs
            tol = limits.tol if validate is None else math.nan
            while not run.run_epochs(rng, shuffle, count, CHUNK, tol, limits.patience):
                pass
            if report is not None:
                report(count, run.values[-1])
            self._record(run.values, first, time.perf_counter() - began)
            began, first = time.perf_counter(), self.optimizer.steps
            if max(best.look(), run.waited) >= limits.patience and not math.isnan(limits.tol):
                self.has_converged = not rates
                if rates:
                    self.optimizer.lr *= rates.pop(0)
                best.waited = run.waited = 0
        best.restore()
        self.history.validation_loss += best.losses

    def _record(self, values: list[float], first: int, seconds: float) -> None:
        """Add the epochs that have ended since `first` steps; each has had the same share of steps and time."""
        history, now = self.history, self.optimizer.steps
        new = values[len(history.loss) - self.before :]
        history.loss += new
        steps = (first + np.arange(1, len(new) + 1) * (now - first) // len(new)).tolist()
        rate = self.optimizer.groups[0]["lr"] if "lr" in self.optimizer.defaults else math.nan
        history.lr += [float(rate(step)) for step in steps] if callable(rate) else [float(rate)] * len(new)
        history.seconds += [seconds / len(new)] * len(new)
        history.steps += steps
