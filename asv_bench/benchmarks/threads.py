"""The choice of threads: first steps, steps after a matrix product, and after another process has held a processor."""

import statistics
import subprocess
import sys
import time

import numpy as np

from .common import bound

BUSY = [sys.executable, "-c", "while True: pass"]


def durations(step, count):
    """Return the seconds of each of some steps."""
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        step()
        found.append(time.perf_counter() - begin)
    return found


class FirstSteps:
    """The first steps after the one that touches the state, over as many with the better of one thread and two once warm."""

    params = ([10_000, 100_000, 1_000_000], [20, 200])
    param_names = ("elements", "steps")

    def track_ratio(self, elements, steps):
        found = []
        for _ in range(5):
            warm = [bound("Adam", [(elements,)], threads=threads) for threads in (1, 2)]
            best = min(sum(durations(optimizer.step, 2 * steps)[steps:]) for optimizer in warm)
            step = bound("Adam", [(elements,)]).step
            step()
            found.append(sum(durations(step, steps)) / best)
        return statistics.median(found)


class AfterProduct:
    """A step after a matrix product, whose threads still hold the processors, over one of a single thread."""

    params = (100_000, 1_000_000, 10_000_000)
    param_names = ("elements",)

    def track_ratio(self, elements):
        factor = np.random.default_rng(0).standard_normal((300, 300), np.float32)
        steps = {threads: bound("Adam", [(elements,)], threads=threads).step for threads in (1, None)}
        found = {threads: [] for threads in steps}
        for _ in range(min(500, 10**9 // elements)):
            for threads, step in steps.items():
                factor @ factor
                found[threads] += durations(step, 1)
        return statistics.mean(found[None]) / statistics.mean(found[1])


class AfterAnotherProcess:
    """Seconds until steps take as long as before again, after a process has held a processor for two seconds."""

    params = (200_000, 1_000_000, 10_000_000)
    param_names = ("elements",)
    unit = "s"

    def track_recovery(self, elements):
        step = bound("Adam", [(elements,)]).step
        usual = statistics.median(self.run(step, 1)[1])
        with subprocess.Popen(BUSY) as other:
            self.run(step, 2)
            other.kill()
        begins, seconds = self.run(step, 3)
        few = max(3, int(0.02 / usual))
        for k in range(len(seconds) - few):
            if statistics.median(seconds[k : k + few]) < 1.2 * usual:
                return begins[k] - begins[0]
        return begins[-1] - begins[0]

    @staticmethod
    def run(step, seconds):
        """Return when steps began in this time, and how long each took."""
        begins, found = [], []
        while not begins or begins[-1] - begins[0] < seconds:
            begins.append(time.perf_counter())
            found += durations(step, 1)
        return begins, found


class Roots:
    """A step with square roots by FMA, over one that leaves them to the divider; asv takes larger for worse."""

    params = (["Adam", "RMSprop", "Adagrad"], ["float32", "float64"])
    param_names = ("rule", "dtype")

    def setup(self, rule, dtype):
        try:
            from fastopt._engine import dispatch, roots
        except ImportError:  # An older commit.
            raise NotImplementedError from None
        self.roots, self.table = roots, dispatch.TABLE

    def track_ratio(self, rule, dtype):
        step, found = bound(rule, [(10_000,)], dtype, threads=1).step, []
        for _ in range(20):
            times = {}
            for way in self.roots.WAYS:
                self.roots.select(self.table, way)
                durations(step, 20)
                times[way] = sum(durations(step, 200))
            found.append(times["fma"] / times["divider"])
        self.roots.select(self.table)
        return statistics.median(found)
