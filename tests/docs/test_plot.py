"""Pictures: what is drawn, in one style; what is refused."""

import math

import numpy as np
import pytest

import fastopt as fo
from fastopt import plot

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def closed():
    """Close what a test has drawn, without a screen."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def numbers(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}


def test_losses():
    history = fo.training.History(loss=[3.0, 2.0], validation_loss=[4.0, 2.5])
    axes = fo.plot.losses({"run": history, "other": [2.5, 2.25], "trained": fo.training.History(loss=[5.0])}, optimum=2.0)
    assert numbers(axes) == {"run": [2.0, 0.5], "other": [0.5, 0.25], "trained": [3.0]} and axes.get_yscale() == "log"
    colors = [line.get_color() for line in axes.get_lines()]
    assert colors == list(plot.COLORS[:3]) and [line.get_marker() for line in axes.get_lines()] == list("os^")
    assert fo.plot.losses({"a": [1.0, math.nan, -1.0]}).get_yscale() == "linear"
    assert fo.plot.losses({"a": [1.0]}, axes=axes) is axes


def test_schedules():
    axes = fo.plot.schedules({"linear": fo.schedules.linear_decay(1.0, steps=4), "own": lambda step: 1 / (step + 1)}, 5)
    assert numbers(axes) == {"linear": [1.0, 0.75, 0.5, 0.25, 0.0], "own": [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]}
    assert len(fo.plot.schedules({"x": lambda step: step}, 10**6).get_lines()[0].get_xdata()) == 2000
    assert numbers(fo.plot.schedules({"x": lambda step: 2.0}, 1)) == {"x": [2.0]}


def test_reports():
    w, rows = np.ones(2), []
    optimizer = fo.SGD(w, lr=0.25, norms=True)
    for _ in range(3):
        optimizer.step(w.copy())
        rows.append(optimizer.report(flat=True, per_parameter=True))
    axes = fo.plot.reports(rows)
    assert set(numbers(axes)) == {"gradient norm", "unclipped norm", "update norm"} - (
        set() if "unclipped_norm" in rows[0] else {"unclipped norm"}
    )
    assert numbers(fo.plot.reports(rows, ["lr", "missing"]))["lr"] == [0.25] * 3


def test_what_is_refused():
    with pytest.raises(ValueError, match="histories: 9, expected 1 to 8"):
        fo.plot.losses({str(k): [1.0] for k in range(9)})
    with pytest.raises(TypeError, match="histories: list, expected a dict"):
        fo.plot.losses([[1.0]])
    with pytest.raises(ValueError, match="steps: 0, expected at least 1"):
        fo.plot.schedules({"x": lambda step: 1.0}, 0)
    with pytest.raises(ValueError, match="rows: none"):
        fo.plot.reports([])
    with pytest.raises(ValueError, match="names: 0, expected 1 to 8"):
        fo.plot.reports([{"steps": 1, "lr": 0.1}])
