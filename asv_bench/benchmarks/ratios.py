"""Ratios within one process, which survive noise and another machine.

asv takes larger for worse, so that they are times over times: of memory's limit, and of NumPy in place.
"""

import runpy
import statistics
import time
from pathlib import Path

from .common import LEARNING_RATE, bound, normal

# Of this checkout: older commits have none.
REFERENCES = Path(__file__).parents[2] / "fastopt" / "bench" / "references.py"
# Placements of the arrays, visits of each function at each, and seconds of a visit.
PLACES, ROUNDS, VISIT = 4, 12, 0.003


def visit(function, repeats):
    """Return the seconds of a call."""
    function()
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats


def ratio(pair):
    """Return the ratio of the first function's time to the second's: the median over alternating visits."""
    found = []
    for _ in range(PLACES):
        functions = pair()
        repeats = [max(1, round(VISIT / visit(f, max(1, round(VISIT / 3 / visit(f, 1)))))) for f in functions]
        for _ in range(ROUNDS):
            ours, others = (visit(f, n) for f, n in zip(functions, repeats, strict=True))
            found.append(ours / others)
    return statistics.median(found)


# For each rule: options, and the number of arrays for each parameter.
STATES = {"SGD": ({}, 0), "SGD(momentum=0.9)": ({"momentum": 0.9}, 1), "Adam": ({}, 2), "AdEMAMix": ({}, 3)}


class OfStream:
    """One thread, compared with a C loop that reads and writes as much, with next to no arithmetic: out of cache, 1 is what
    memory allows.

    `asv continuous` watches these.
    """

    params = (list(STATES), [100_000, 1_000_000, 10_000_000])
    param_names = ("rule", "elements")
    threads = 1

    def track_time(self, rule, elements):
        options, states = STATES[rule]
        stream = runpy.run_path(str(REFERENCES))["stream"]  # which is compiled once for all places

        def pair():
            step = bound(rule.partition("(")[0], [(elements,)], threads=self.threads, **options).step
            return step, stream([elements], states, self.threads)

        return ratio(pair)

    track_time.unit = "of the stream's"


class OfStreamInParallel(OfStream):
    """Two threads: what the processors share matters as much as the code."""

    threads = 2


class OfNumPy:
    """Compared with Adam in NumPy, in place with buffers; one thread, as NumPy has."""

    params = (10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    param_names = ("elements",)

    def track_time(self, elements):
        numpy_adam = runpy.run_path(str(REFERENCES))["numpy_adam"]

        def pair():
            params, grads = normal([(elements,)]), normal([(elements,)], seed=1)
            return bound("Adam", [(elements,)], threads=1).step, numpy_adam(params, grads, LEARNING_RATE)

        return ratio(pair)

    track_time.unit = "of NumPy's"
