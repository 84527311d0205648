"""A competitor's process: ``python -m fastopt.bench.timer peer seconds``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .peers import PEERS, Step
from .works import Work

WARM = 0.01  # Seconds of steps before those timed: sleeping threads need as long to get up to speed.
TRIES = 4  # Timings; the best decides the number of steps in a visit.
IDLE = 0.01  # Seconds of sleep before each step, if a work asks for it.
AWAY = 0.2  # Seconds after which the threads of a matrix product sleep.
AFTER = {"idle": 30, "product": 60, "renew": 60}  # Steps of a visit with something else before each.
FIRST = {"first 20": 20, "first 200": 200}  # Steps of a visit from construction on.
HELD, RELEASED = 5.0, 0.3  # Seconds for which another process holds a processor, and of the steps that are timed afterwards.
BUSY = [sys.executable, "-c", "while True: pass"]


class Timer:
    """A competitor's step of one work."""

    def __init__(self, work: Work, peer: str, seconds: float) -> None:
        self.prepare: Callable[[], Step] = lambda: PEERS[peer].step(work)
        step = self.prepare()
        self.step, self.steps, self.when = step.run, step.steps, work.before
        if work.before in FIRST or work.before == "held":
            return
        self.product = np.random.default_rng(0).standard_normal((300, 300), np.float32)
        ways = {"": None, "idle": lambda: time.sleep(IDLE), "product": lambda: self.product @ self.product, "renew": step.renew}
        self.before, self.awake = ways[work.before], work.before in ("", "renew")
        if self.before is None and work.before:
            raise ValueError(f"{peer} has no gradients that could be new")
        for _ in range(3):
            self.step()
        if self.before and self.steps > 1:
            raise ValueError(f"{peer} has a loop, and no step that something could come before")
        self.repeats = AFTER.get(work.before, 1)
        if self.before is None:
            # The best of several: another process may hold the processor for longer than a step takes.
            while (spent := min(self.time(0) for _ in range(TRIES)) * self.steps * self.repeats) < seconds / 2:
                self.repeats = max(self.repeats + 1, int(self.repeats * min(10, 1.1 * seconds / spent)))

    def visit(self) -> float:
        """Return the mean seconds of a step of a visit."""
        return (
            self.time_first(FIRST[self.when])
            if self.when in FIRST
            else self.time_released()
            if self.when == "held"
            else self.time()
        )

    def time_first(self, count: int) -> float:
        """Return the mean seconds of the first steps of a new optimizer."""
        step = self.prepare().run
        begin = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - begin) / (count * self.steps)

    def time_released(self) -> float:
        """Return the mean seconds of the steps that follow when another process has let go of a processor."""
        clock = time.perf_counter
        with subprocess.Popen(BUSY) as other:
            begin = clock()
            while clock() - begin < HELD:
                self.step()
            other.kill()
        count, begin = 0, clock()
        while clock() - begin < RELEASED:
            self.step()
            count += 1
        return (clock() - begin) / (count * self.steps)

    def time(self, warm: float = WARM) -> float:
        """Return the mean seconds of a step."""
        step, before, clock = self.step, self.before, time.perf_counter
        spent = 0.0
        begin = clock()
        while self.awake and clock() - begin < warm:
            if before is not None:
                before()
            step()
        if not self.awake:
            time.sleep(AWAY)
        if before is None:
            begin = clock()
            for _ in range(self.repeats):
                step()
            spent = clock() - begin
        else:
            for _ in range(self.repeats):
                before()
                begin = clock()
                step()
                spent += clock() - begin
        return spent / (self.repeats * self.steps)


def serve(peer: str, seconds: float) -> None:
    """Run a competitor's process: each line of input is a work in JSON, or empty for another timing."""
    answers = os.fdopen(os.dup(1), "w")
    # Packages that print must not disturb the answers.
    os.dup2(2, 1)
    timer = None
    for line in sys.stdin:
        try:
            if line.strip():
                timer = None  # Free its memory first.
                timer = Timer(Work.of_plain(json.loads(line)), peer, seconds)
                answer: dict[str, Any] = {}
            else:
                assert timer is not None
                answer = {"seconds": timer.visit()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
