"""Reduction of learning rates when a loss has stopped falling."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isnan
from typing import TYPE_CHECKING, Any

from .._optimizer import Optimizer
from ..domains import is_real, whole
from ..schedules import Schedule
from .callbacks import check_monitor, monitored

if TYPE_CHECKING:
    from .loop import Run


class ReduceOnPlateau:
    """Reduce learning rates when a loss has stopped falling: a callback of `fit` and of `fastopt.minimize`.

    Parameters
    ----------
    factor : float, default 0.1
        What each group's ``lr``, a number or a schedule, is multiplied by; between 0 and 1. Restart files hold the product.
    patience : int, default 10
        Losses in a row that may fail to improve; the next one reduces.
    min_delta : float, default 1e-4
        Smallest fall that counts, relative to the best loss.
    cooldown : int, default 0
        Losses after a reduction that are not looked at, except for the best.
    minimum : float, default 0.0
        Smallest learning rate. A schedule that would fall below it now is left as it is.
    monitor : {None, "validation_loss", "loss"}
        Value of an epoch of `fit` to look at; by default the validation loss, or the loss without validation.

    Notes
    -----
    torch's ``ReduceLROnPlateau``, which compares in the same way. NaN counts as no improvement.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> optimizer = fo.SGD(np.ones(2), lr=1.0)
    >>> plateau = ReduceOnPlateau(factor=0.5, patience=1)
    >>> [plateau.update(optimizer, loss) for loss in (3.0, 2.0, 2.0, 2.0)]
    [False, False, False, True]
    >>> optimizer.lr
    0.5
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        minimum: float = 0.0,
        monitor: str | None = None,
    ) -> None:
        if not (is_real(factor) and 0 < factor < 1):
            raise ValueError(f"factor: {factor!r}, expected a number between 0 and 1")
        for name, x in (("patience", patience), ("cooldown", cooldown)):
            if (number := whole(x)) is None or number < 0:
                raise ValueError(f"{name}: {x!r}, expected a whole number of at least 0")
        for name, value in (("min_delta", min_delta), ("minimum", minimum)):
            if not (is_real(value) and 0 <= value < inf):
                raise ValueError(f"{name}: {value!r}, expected a finite number of at least 0")
        self.factor, self.patience, self.min_delta = factor, patience, min_delta
        self.cooldown, self.minimum, self.monitor = cooldown, minimum, check_monitor(monitor)
        self.best, self.waited, self.cooling = inf, 0, 0

    def __repr__(self) -> str:
        shown = ("factor", "patience", "min_delta", "cooldown", "minimum", "monitor")
        return f"ReduceOnPlateau({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def on_begin(self, run: Run) -> None:
        """Forget earlier runs."""
        self.best, self.waited, self.cooling = inf, 0, 0

    def on_epoch(self, run: Run) -> None:
        """Take note of an epoch's value."""
        self.update(run.optimizer, monitored(run, self.monitor))

    def __call__(self, intermediate_result: Any) -> None:
        """Take note of a value of `fastopt.minimize`."""
        self.update(intermediate_result.optimizer, intermediate_result.fun)

    def update(self, optimizer: Optimizer, loss: float) -> bool:
        """Take note of a loss, and reduce the learning rates if it has not fallen for too long.

        Parameters
        ----------
        optimizer : Optimizer
        loss : float

        Returns
        -------
        bool
            True if a learning rate was reduced.

        Raises
        ------
        TypeError
            If the loss is no number, or a learning rate a function other than `fastopt.schedules`, which has no product. Nothing
            has changed.
        """
        if not hasattr(loss, "__float__"):
            raise TypeError(f"loss: {loss!r:.60}, expected a number")
        for group in optimizer.groups:
            if callable(group["lr"]) and not isinstance(group["lr"], Schedule):
                raise TypeError(f"lr: {group['lr']!r:.60}, expected a number or a schedule of fastopt.schedules")
        if not isnan(loss) and loss < self.best - (self.min_delta * abs(self.best) if self.best < inf else 0):
            self.best, self.waited = float(loss), 0
        else:
            self.waited += 1
        if self.cooling > 0:
            self.cooling, self.waited = self.cooling - 1, 0
        if self.waited <= self.patience:
            return False
        self.cooling, self.waited = self.cooldown, 0
        return any([self.reduce(group, optimizer.steps) for group in optimizer.groups])

    def reduce(self, group: Any, step: int) -> bool:
        """Reduce one group's learning rate; return True if it has become smaller."""
        rate = group["lr"]
        if callable(rate):
            if group.number("lr", step) * self.factor < self.minimum:
                return False
            group["lr"] = rate * self.factor
            return True
        smaller = max(rate * self.factor, self.minimum)
        if smaller >= rate:
            return False
        group["lr"] = smaller
        return True

    def state_dict(self) -> dict[str, float]:
        """Return what the callback has seen, for a restart file."""
        return {"best": self.best, "waited": self.waited, "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` returned."""
        self.best, self.waited, self.cooling = float(state["best"]), int(state["waited"]), int(state["cooling"])
