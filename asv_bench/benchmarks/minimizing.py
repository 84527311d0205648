"""Minimisations: microseconds of an iteration beyond the objective, and the cost of a large step count."""

import statistics
import time

from .common import bound

ROUNDS = 21
KINDS = ["", "bounds", "callback"]
COMPILED = ["compiled, 2", "compiled, 10", "compiled, bounds, 10", "many, 10", "many, two threads, 10"]


def seconds(run):
    """Return the seconds of a call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


class Overhead:
    """An iteration of `minimize` around a quadratic of 10 variables in Python, less a call of it; rounds alternate."""

    params = (KINDS,)
    param_names = ("kind",)
    unit = "microseconds"

    def track_iteration(self, kind):
        from fastopt.bench import minimizers

        run, steps = minimizers.minimizing(10, kind)
        calls, count = minimizers.calls(10)
        return 1e6 * statistics.median(seconds(run) / steps - seconds(calls) / count for _ in range(ROUNDS))


class Compiled:
    """An iteration around an objective compiled by numba, which it includes."""

    params = (COMPILED,)
    param_names = ("kind",)
    unit = "nanoseconds"

    def setup(self, kind):
        try:
            import numba  # noqa: F401
        except ImportError:
            raise NotImplementedError from None

    def track_iteration(self, kind):
        from fastopt.bench import minimizers

        name, _, n = kind.rpartition(", ")
        run, steps = minimizers.minimizing(int(n), name)
        run()
        return 1e9 * min(seconds(run) / steps for _ in range(5))


class Counts:
    """A bound step of Adam over 10 elements after many steps, compared with one after ten."""

    params = ([1000, 10**6, 2**30 - 1],)
    param_names = ("steps",)

    def track_ratio(self, steps):
        early, late = (bound("Adam", [(10,)], threads=1) for _ in range(2))

        def visit(optimizer, count):
            optimizer.steps = count
            step = optimizer.step
            begin = time.perf_counter()
            for _ in range(2000):
                step()
            return time.perf_counter() - begin

        return statistics.median(visit(late, steps) / visit(early, 10) for _ in range(ROUNDS))
