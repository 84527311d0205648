"""Ratios of one process, which survive noise and a change of machine: what `asv continuous` watches.

asv takes larger for worse, so that they are times over times: of memory's limit, and of NumPy in place.
"""

import runpy
import statistics
import time
from pathlib import Path

import numpy as np

from .common import LEARNING_RATE, bound, normal

REFERENCES = Path(__file__).parents[2] / "fastopt" / "bench" / "references.py"  # of this checkout: older commits have none
ROUNDS, VISIT = 31, 0.004  # of each function, and seconds of each visit


def visit(function, repeats):
    """Seconds of a call."""
    function()
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats


def ratio(step, other):
    """How many times as long `step` takes as `other`: the median over rounds, in which they take turns."""
    functions = (step, other)
    for function in functions:
        visit(function, 3)
    repeats = [max(1, round(VISIT / max(visit(f, 1), 1e-7))) for f in functions]
    repeats = [max(1, round(VISIT / visit(f, n))) for f, n in zip(functions, repeats, strict=True)]
    rounds = [[visit(f, n) for f, n in zip(functions, repeats, strict=True)] for _ in range(ROUNDS)]
    return statistics.median(ours / others for ours, others in rounds)


# Of each rule: options, and how many arrays it keeps for each parameter.
STATES = {"SGD": ({}, 0), "SGD(momentum=0.9)": ({"momentum": 0.9}, 1), "Adam": ({}, 2), "AdEMAMix": ({}, 3)}


class OfStream:
    """Beside a C loop that reads and writes as much, with next to no arithmetic: 1 is what memory allows."""

    params = (list(STATES), [100_000, 1_000_000, 10_000_000])
    param_names = ("rule", "elements")

    def setup(self, rule, elements):
        options, states = STATES[rule]
        self.step = bound(rule.partition("(")[0], [(elements,)], **options).step
        params, grads = normal([(elements,)]), normal([(elements,)], seed=1)
        arrays = ([np.zeros(elements, np.float32)] for _ in range(states))
        self.once = runpy.run_path(str(REFERENCES))["stream"](grads, params, *arrays)

    def track_time(self, rule, elements):
        return ratio(self.step, self.once)

    track_time.unit = "of the stream's"


class OfNumPy:
    """Beside Adam as NumPy makes it in place, with buffers."""

    params = (10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    param_names = ("elements",)

    def setup(self, elements):
        self.step = bound("Adam", [(elements,)]).step
        params, grads = normal([(elements,)]), normal([(elements,)], seed=1)
        self.adam = runpy.run_path(str(REFERENCES))["numpy_adam"](params, grads, LEARNING_RATE)

    def track_time(self, elements):
        return ratio(self.step, self.adam)

    track_time.unit = "of NumPy's"
