"""Callbacks of a training loop: how they are called; early stopping, and a log."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._optimizer import checkpoint, loading
from ..domains import check_bool, is_real, whole

if TYPE_CHECKING:
    from .loop import Run

HOOKS = ("on_begin", "on_batch", "on_epoch", "on_end")
MONITORED = (None, "validation_loss", "loss")


class Callbacks:
    """Callbacks of a run: functions, which are called after each epoch, and objects with some of the methods `HOOKS`."""

    def __init__(self, given: Any) -> None:
        self.all: list[Any] = list(given) if isinstance(given, Sequence) else [given]
        for x in self.all:
            check_callback(x)
        self.with_state = [x for x in self.all if hasattr(x, "state_dict") and hasattr(x, "load_state_dict")]
        self.hooks = {hook: [found for x in self.all if (found := method_of(x, hook)) is not None] for hook in HOOKS}

    def call(self, hook: str, run: Run) -> None:
        """Call a method of each callback; if one ends the run, write down why, after the others."""
        for method in self.hooks[hook]:
            try:
                method(run)
            except StopIteration as error:
                run.history.stopped = str(error) or f"by {type(getattr(method, '__self__', method)).__name__}"

    def state(self) -> list[Any]:
        """Return the states of the callbacks that have one, for a restart file."""
        return [x.state_dict() for x in self.with_state]

    def restore(self, states: Sequence[Any]) -> None:
        """Go on from what `state` returned."""
        for x, state in zip(self.with_state, states, strict=True):
            x.load_state_dict(state)


def check_callback(x: Any) -> None:
    """Raise unless this is a function, or an object with some of the methods `HOOKS` and no others of such names."""
    if isinstance(x, type):
        raise TypeError(f"callbacks: the class {x.__name__}, expected an instance, as {x.__name__}()")
    unknown = [name for name in dir(x) if name.startswith("on_") and name not in HOOKS and callable(getattr(x, name))]
    if unknown:
        raise TypeError(f"callbacks: {type(x).__name__}.{unknown[0]} would never be called, expected among {', '.join(HOOKS)}")
    if not (callable(x) or any(hasattr(x, hook) for hook in HOOKS)):
        raise TypeError(f"callbacks: {x!r:.60}, expected a function of the run, or an object with {', '.join(HOOKS)}")


def method_of(callback: Any, hook: str) -> Callable[[Run], object] | None:
    """Return what of a callback is called at a hook; a plain function is called after each epoch."""
    if any(hasattr(callback, name) for name in HOOKS):
        return getattr(callback, hook, None)
    return callback if hook == "on_epoch" else None


def check_monitor(monitor: Any) -> str | None:
    """Return the name of a value to look at, or raise."""
    if monitor not in MONITORED:
        raise ValueError(f"monitor: {monitor!r}, expected 'validation_loss', 'loss' or None")
    return monitor  # type: ignore[no-any-return]


def monitored(run: Run, monitor: str | None) -> float:
    """Return the value of the last epoch to look at; by default the validation loss, where there is one."""
    history = run.history
    if monitor == "validation_loss" and not history.validation_loss:
        raise ValueError("monitor: 'validation_loss' without validation data, expected fit(..., validation=...) or monitor='loss'")
    return history.loss[-1] if monitor == "loss" or not history.validation_loss else history.validation_loss[-1]


class EarlyStopping:
    """End a run when its loss has stopped falling.

    Parameters
    ----------
    monitor : {None, "validation_loss", "loss"}
        Value of an epoch to look at; by default the validation loss, or the loss without validation.
    patience : int, default 5
        Epochs in a row without improvement that end the run.
    min_delta : float, default 0.0
        Smallest fall that counts.
    restore_best : bool, default True
        At the end of the run, load parameters and the optimizer's state as they were after the best epoch; hyperparameters stay.
        A copy of both is kept.

    Attributes
    ----------
    best : float
        Value of the last epoch that improved by `min_delta`.
    best_epoch : int or None
        That epoch, counted from 0.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; with ``monitor="validation_loss"`` also after the first epoch of a run without one.

    Notes
    -----
    NaN counts as no improvement. A run that is interrupted keeps its last parameters, for a checkpoint goes on from these.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.array([3.0])
    >>> stop = fo.training.EarlyStopping(patience=2)
    >>> history = fo.training.fit(lambda w, x: (w[0] ** 2, 2 * w), w, np.ones(1), fo.SGD(w, lr=1.1), epochs=50, callbacks=stop)
    >>> history.stopped, stop.best_epoch, w
    ('loss has not fallen for 2 epochs', 0, array([-3.6]))
    """

    def __init__(self, monitor: str | None = None, patience: int = 5, min_delta: float = 0.0, restore_best: bool = True) -> None:
        self.monitor = check_monitor(monitor)
        if (number := whole(patience)) is None or number < 1:
            raise ValueError(f"patience: {patience!r}, expected a whole number of at least 1")
        if not (is_real(min_delta) and 0 <= min_delta < math.inf):
            raise ValueError(f"min_delta: {min_delta!r}, expected a finite number of at least 0")
        self.patience, self.min_delta, self.restore_best = number, min_delta, check_bool("restore_best", restore_best)
        self._reset()

    def _reset(self) -> None:
        self.best, self.waited = math.inf, 0
        self.best_epoch: int | None = None
        self._kept: dict[str, Any] | None = None

    def __repr__(self) -> str:
        shown = ("monitor", "patience", "min_delta", "restore_best")
        return f"EarlyStopping({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def on_begin(self, run: Run) -> None:
        """Forget earlier runs."""
        self._reset()

    def on_epoch(self, run: Run) -> None:
        """Take note of an epoch's value; raise StopIteration if it has not improved for too long."""
        value = monitored(run, self.monitor)
        if value < self.best - (self.min_delta if self.best < math.inf else 0.0):
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            self._kept = checkpoint.snapshot(run.optimizer) if self.restore_best else None
            return
        self.waited += 1
        if self.waited >= self.patience:
            name = self.monitor or ("validation_loss" if run.history.validation_loss else "loss")
            raise StopIteration(f"{name.replace('_', ' ')} has not fallen for {self.waited} epochs")

    def on_end(self, run: Run) -> None:
        """Load what was best."""
        if self._kept is not None and self.waited:
            loading.restore(run.optimizer, self._kept)

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback has seen, for a restart file."""
        return {"best": self.best, "waited": self.waited, "best_epoch": self.best_epoch, "kept": self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.best, self.waited, self.best_epoch = float(state["best"]), int(state["waited"]), state["best_epoch"]
        self._kept = state["kept"] if self.restore_best else None


class Log:
    """Write a line of JSON for each epoch.

    Parameters
    ----------
    path : path
        A text file, to which lines are added: what `History.to_dict` has of the epoch, and its number ``epoch``, from 0; null for a
        number that is not finite. ``pandas.read_json(path, lines=True)`` reads it. A run that is resumed first removes the lines
        after its checkpoint.

    Raises
    ------
    OSError
        If the file cannot be written, when the run begins.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._size = 0

    def on_begin(self, run: Run) -> None:
        """Look whether the file can be written."""
        with open(self.path, "ab") as file:
            self._size = file.tell()

    def on_epoch(self, run: Run) -> None:
        """Write a line."""
        row = {"epoch": run.epoch} | {name: values[-1] for name, values in run.history.to_dict().items()}
        text = json.dumps({name: x if math.isfinite(x) else None for name, x in row.items()})
        with open(self.path, "ab") as file:
            file.write(text.encode() + b"\n")
            self._size = file.tell()

    def state_dict(self) -> dict[str, Any]:
        """Return the size of the file in bytes, for a restart file."""
        return {"size": self._size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remove what was written after the restart file."""
        self._size = min(os.path.getsize(self.path), int(state["size"]))
        os.truncate(self.path, self._size)
