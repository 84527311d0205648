"""A competitor's process: ``python -m fastopt.bench.timer peer seconds``."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

from .peers import PEERS
from .works import Work

WARM = 0.01  # Seconds of steps before those timed: sleeping threads need as long to get up to speed.
TRIES = 4  # Timings; the best decides the number of steps in a visit.
IDLE = 0.01  # Seconds of sleep before each step, if a work asks for it.
AWAY = 0.2  # Seconds after which the threads of a matrix product sleep.
AFTER = {"idle": 30, "product": 60, "renew": 60}  # Steps of a visit with something else before each.


class Timer:
    """A competitor's step of one work."""

    def __init__(self, work: Work, peer: str, seconds: float) -> None:
        step = PEERS[peer].step(work)
        self.step, self.steps = step.run, step.steps
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
                answer = {"seconds": timer.time()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
