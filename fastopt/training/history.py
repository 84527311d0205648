"""History of a training loop: an entry for each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..plot import axes_of

FIRST, LAST = 3, 10  # Epochs that a notebook shows.
COLUMNS = ("loss", "validation_loss", "lr", "seconds", "steps")


@dataclass(repr=False, eq=False)
class History:
    """Record of `fit`, an entry for each whole epoch. Two are equal if all but their durations are.

    Attributes
    ----------
    loss : list of float
        Mean of the losses of an epoch's batches, each before its step, weighted by their rows.
    validation_loss : list of float
        Mean loss of the validation data after the epoch; empty without any.
    lr : list of float
        Learning rate of the first group's next step; NaN for rules without one.
    seconds : list of float
        Duration of the epoch, its validation included.
    steps : list of int
        Steps of the optimizer so far.
    seed : int or None
        Seed of the order of rows; None for a generator of the caller's.
    stopped : str or None
        Why a callback ended the run; None if it did not.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seed: int | None = None
    stopped: str | None = None

    def __eq__(self, other: object) -> bool:
        """Compare all but durations; NaN equals NaN."""
        if not isinstance(other, History):
            return NotImplemented
        mine, theirs = ({**x.to_dict(), "seconds": None, "seed": x.seed, "stopped": x.stopped} for x in (self, other))
        return repr(mine) == repr(theirs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def best_epoch(self) -> int | None:
        """Place of the lowest validation loss, or loss without validation; None before the first that is not NaN."""
        values = self.validation_loss or self.loss
        known = [k for k, x in enumerate(values) if not math.isnan(x)]
        return min(known, key=values.__getitem__) if known else None

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epoch)"
        validation = f", validation loss {self.validation_loss[-1]:.6g}" if self.validation_loss else ""
        stopped = f", stopped: {self.stopped}" if self.stopped else ""
        return f"History({len(self.loss)} epochs, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g}{validation}{stopped})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the first and last epochs, and the best one in bold."""
        import html  # Slow to import, for notebooks alone.

        columns = self.to_dict()
        count, best = len(self.loss), self.best_epoch
        shown = [k for k in range(count) if k < FIRST or k >= count - LAST or k == best]
        rows = ["".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("epoch", *columns))]
        for k in shown:
            cells = (str(k + 1), *(f"{column[k]:.6g}" for column in columns.values()))
            rows.append("".join(f"<td>{f'<b>{x}</b>' if k == best else x}</td>" for x in cells))
        return f"<table><caption>{html.escape(repr(self))}</caption>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the lists by name, those that are not empty: what `pandas.DataFrame` takes.

        Returns
        -------
        dict of list
        """
        return {name: list(getattr(self, name)) for name in COLUMNS if getattr(self, name)}

    def plot(self, axes: Any = None) -> Any:
        """Draw the losses by epochs (extra ``plot``).

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        axes = axes_of(axes)
        for name in ("loss", "validation_loss"):
            if values := getattr(self, name):
                axes.plot(range(1, len(values) + 1), values, label=name.replace("_", " "))
        positive = min((x for x in self.loss + self.validation_loss if not math.isnan(x)), default=0.0) > 0
        axes.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
        axes.legend()
        return axes

    def add(self, loss: float, validation: list[float], lr: float, seconds: float, steps: int) -> None:
        """Record an epoch."""
        self.validation_loss += validation
        for column, x in ((self.loss, loss), (self.lr, lr), (self.seconds, seconds), (self.steps, steps)):
            column.append(x)  # type: ignore[arg-type]

    def state(self, epochs: int) -> dict[str, Any]:
        """Return the history of so many epochs for a restart file."""
        return {name: getattr(self, name)[:epochs] for name in COLUMNS} | {"stopped": self.stopped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; raise if that is malformed."""
        columns: dict[str, Sequence[Any]] = {name: state[name] for name in COLUMNS}
        for name, values in columns.items():
            setattr(self, name, [(int if name == "steps" else float)(x) for x in values])
        self.stopped = None if state["stopped"] is None else str(state["stopped"])
