"""History of a minimisation: what is recorded at each evaluation, printed and drawn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plot import axes_of
from .criteria import Criteria

if TYPE_CHECKING:
    from .minimizer import Minimizer

COLUMNS = ("fun", "gradient", "lr", "seconds")


@dataclass(frozen=True, repr=False)
class History:
    """Record of a minimisation, an entry for each evaluation.

    Attributes
    ----------
    fun, gradient, lr, seconds : ndarray of float64
        Values, the largest element of the projected gradients, learning rates of the next steps (NaN for rules without one), and
        seconds since the beginning.
    """

    fun: np.ndarray
    gradient: np.ndarray
    lr: np.ndarray
    seconds: np.ndarray

    def __repr__(self) -> str:
        return (
            f"History({len(self.fun)} evaluations, fun {self.fun[0]:.6g} to {self.fun[-1]:.6g})" if len(self.fun) else "History()"
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw values and gradients by iterations (extra ``plot``).

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        axes = axes_of(axes)
        axes.plot(self.fun - min(0.0, float(np.nanmin(self.fun))), label="fun, above its lowest" if self.fun.min() < 0 else "fun")
        axes.plot(self.gradient, label="gradient, largest element")
        axes.set(xlabel="iterations", yscale="log")
        axes.legend()
        return axes


class Record:
    """Record of a run, as far as its options ask for one."""

    def __init__(self, criteria: Criteria) -> None:
        self.criteria = criteria
        self.is_wanted = criteria.history or criteria.return_all or bool(criteria.disp)
        self.rows: list[tuple[float, ...]] = []
        self.points: list[np.ndarray] = []
        self.printed = -1.0

    def add(self, m: Minimizer) -> None:
        """Record the point that was judged, unless it has been recorded."""
        nit, now = m.nit, m._judge.progress
        row = (float(now["fun"]), float(now["norm"]), m._rate(), m.seconds)
        if self.criteria.history and len(self.rows) == nit:
            self.rows.append(row)
        if self.criteria.return_all and len(self.points) == nit:
            self.points.append(m._judge.point())
        if self.is_due(nit):
            self.show(nit, row)

    def is_due(self, nit: int) -> bool:
        """Return True if a line is due: each second, or each so many iterations."""
        disp = self.criteria.disp
        if disp is not True:
            return disp is not False and disp > 0 and nit % disp == 0
        due = time.perf_counter() - self.printed >= 1
        self.printed = time.perf_counter() if due else self.printed
        return due

    def show(self, nit: int, row: tuple[float, ...]) -> None:
        """Print a line."""
        fun, norm, rate, seconds = row
        print(f"iteration {nit}  fun {fun:.6g}  gradient {norm:.2g}  lr {rate:.3g}  {seconds:.1f} s", flush=True)

    def end(self, m: Minimizer) -> None:
        """Print the last lines of a run."""
        if self.criteria.disp:
            now = m._judge.progress
            self.show(m.nit, (float(now["fun"]), float(now["norm"]), m._rate(), m.seconds))
            print(m._message(), flush=True)

    def fields(self) -> dict[str, Any]:
        """Return what a result shows of the record."""
        found: dict[str, Any] = {"allvecs": list(self.points)} if self.criteria.return_all else {}
        if self.criteria.history:
            columns = np.array(self.rows, np.float64).reshape(-1, len(COLUMNS)).T
            found["history"] = History(**dict(zip(COLUMNS, columns.copy(), strict=True)))
        return found

    def state(self) -> dict[str, Any]:
        """Return the record for a restart file."""
        points = np.array(self.points) if self.points else None
        return {"rows": np.array(self.rows, np.float64).reshape(-1, len(COLUMNS)), "points": points}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.rows = [tuple(row) for row in state["rows"].tolist()]
        self.points = [] if state["points"] is None else list(state["points"].copy())
