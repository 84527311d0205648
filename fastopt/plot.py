"""Pictures in one style: losses of several runs, schedules, and reports (extra ``plot``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .extras import imported

__all__ = ["losses", "reports", "schedules"]
# Eight colours that people with any colour vision tell apart (Okabe and Ito, 2008; grey in place of yellow), and eight marks.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a8a")
MARKS = "os^Dv<>P"


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or raise the ImportError that names the extra."""
    return imported("plot", "plot", "matplotlib.pyplot")


def axes_of(given: Any) -> Any:
    """Return the axes to draw on: those that were given, or new ones in this style for None."""
    return styled(pyplot().figure(layout="constrained").add_subplot()) if given is None else given


def styled(axes: Any) -> Any:
    """Give axes colours, marks on every tenth of a line, and a faint grid."""
    axes.set_prop_cycle(color=COLORS, marker=list(MARKS), markevery=[0.1] * len(COLORS), markersize=[4] * len(COLORS))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return axes


def check_lines(what: str, lines: Mapping[str, Any]) -> None:
    """Raise unless there are one to eight lines by name."""
    if not isinstance(lines, Mapping):
        raise TypeError(f"{what}: {type(lines).__name__}, expected a dict of them by name")
    if not 1 <= len(lines) <= len(COLORS):
        raise ValueError(f"{what}: {len(lines)}, expected 1 to {len(COLORS)}: more lines cannot be told apart")


def draw(lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], axes: Any) -> Any:
    """Draw places and numbers by name, on a logarithmic axis if all numbers are positive; return the axes."""
    for name, (places, values) in lines.items():
        axes.plot(places, values, label=name)
    lowest = min((x for _, values in lines.values() for x in values if not math.isnan(x)), default=math.inf)
    axes.set(yscale="log" if lowest > 0 else "linear")
    axes.legend()
    return axes


def losses(histories: Mapping[str, Any], *, optimum: float = 0.0, axes: Any = None) -> Any:
    """Draw the losses of several runs by epochs, on a logarithmic axis where they allow it.

    Parameters
    ----------
    histories : dict
        By name, at most eight: `fastopt.training.History`, of which the validation loss is drawn if there is one, or sequences of
        numbers.
    optimum : float, default 0.0
        Smallest loss possible, which is subtracted: what is left is a line where convergence is linear.
    axes : matplotlib.axes.Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `histories` is no dict, or there are more than eight.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> axes = losses({"SGD": [1.5, 0.6, 0.3], "Adam": [1.5, 0.4, 0.26]}, optimum=0.25)
    >>> axes.get_yscale(), axes.get_ylabel()
    ('log', 'loss above the optimum')
    """
    check_lines("histories", histories)
    lines = {}
    for name, found in histories.items():
        values = [float(x) - optimum for x in (getattr(found, "validation_loss", None) or getattr(found, "loss", found))]
        lines[name] = range(1, len(values) + 1), values
    axes = draw(lines, axes_of(axes))
    axes.set(xlabel="epoch", ylabel="loss above the optimum" if optimum else "loss")
    return axes


def schedules(by_name: Mapping[str, Callable[[Any], Any]], steps: int, *, axes: Any = None) -> Any:
    """Draw schedules over their first steps.

    Parameters
    ----------
    by_name : dict
        At most eight functions of the step, from 0.
    steps : int
    axes : matplotlib.axes.Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `by_name` is no dict, there are more than eight, or `steps` is below 1.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import fastopt as fo
    >>> axes = schedules({"cosine": fo.schedules.cosine_decay(0.1, steps=100)}, 100)
    >>> axes.get_xlabel()
    'step'
    """
    check_lines("by_name", by_name)
    if steps < 1:
        raise ValueError(f"steps: {steps}, expected at least 1")
    axes, count = axes_of(axes), min(int(steps), 2000)
    places = sorted({round(k * (steps - 1) / max(count - 1, 1)) for k in range(count)})
    for name, schedule in by_name.items():
        axes.plot(places, [float(schedule(place)) for place in places], label=name)
    axes.set(xlabel="step", ylabel="value")
    axes.legend()
    return axes


def reports(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None, *, axes: Any = None) -> Any:
    """Draw numbers of steps' reports.

    Parameters
    ----------
    rows : sequence of dict
        ``optimizer.report(flat=True)`` after each step, or after some.
    names : sequence of str, optional
        Which numbers, at most eight. Default: those whose names end in ``norm`` and are not of single parameters.
    axes : matplotlib.axes.Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no row, or no or more than eight names.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> axes = reports([{"steps": 1, "update_norm": 0.5}, {"steps": 2, "update_norm": 0.25}])
    >>> axes.get_yscale()
    'log'
    """
    if not rows:
        raise ValueError("rows: none, expected what report(flat=True) returned after each step")
    found = (
        dict.fromkeys(name for row in rows for name in row if name.endswith("norm") and "/" not in name) if names is None else names
    )
    check_lines("names", dict.fromkeys(found))
    steps = [row["steps"] for row in rows]
    lines = {name.replace("_", " "): (steps, [float(row.get(name, math.nan)) for row in rows]) for name in found}
    axes = draw(lines, axes_of(axes))
    axes.set(xlabel="step")
    return axes
