"""Competitors in processes of their own, visited in random order within each round."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .peers import PEERS
from .works import Work

WARM = 0.01  # seconds of steps before those timed: threads that slept need as long to get up to speed
TRIES = 4  # timings, the best of which says how many steps make a visit
IDLE = 0.01  # seconds of sleep, where a work asks for it
AFTER = {"idle": 30, "product": 60}  # steps of a visit, each after something else


class Timer:
    """One competitor's step of one work."""

    def __init__(self, work: Work, peer: str, seconds: float) -> None:
        step = PEERS[peer].step(work)
        self.step, self.steps = step.run, step.steps
        self.product = np.random.default_rng(0).standard_normal((300, 300), np.float32)
        self.before = {"": None, "idle": lambda: time.sleep(IDLE), "product": lambda: self.product @ self.product}[work.before]
        for _ in range(3):
            self.step()
        if self.before and self.steps > 1:
            raise ValueError(f"{peer} has a loop, and no step that something could come before")
        self.repeats = AFTER.get(work.before, 1)
        if self.before is None:
            # The best of some: another process may hold the processor for longer than a step takes.
            while (spent := min(self.time(0) for _ in range(TRIES)) * self.steps * self.repeats) < seconds / 2:
                self.repeats = max(self.repeats + 1, int(self.repeats * min(10, 1.1 * seconds / spent)))

    def time(self, warm: float = WARM) -> float:
        """Seconds a step, on average."""
        step, before, clock = self.step, self.before, time.perf_counter
        spent = 0.0
        if before is None:
            begin = clock()
            while clock() - begin < warm:
                step()
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
    """One competitor's process: a work in JSON from each line, or an empty one for the next time."""
    timer = None
    for line in sys.stdin:
        if line.strip():
            timer = None  # its memory first
            try:
                timer = Timer(Work.of_plain(json.loads(line)), peer, seconds)
                answer: dict[str, Any] = {}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
        else:
            assert timer is not None
            answer = {"seconds": timer.time()}
        print(json.dumps(answer), flush=True)


class Competitor:
    """A process that serves times."""

    def __init__(self, peer: str, threads: int, seconds: float) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastopt.bench.rounds", peer, str(seconds)],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, line: str) -> float:
        """Seconds of a step; of none, where `line` is a work."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while answer := self.process.stdout.readline():
            try:
                found = json.loads(answer)
                break
            except ValueError:  # what a package says when it is imported
                continue
        else:
            raise RuntimeError(f"bench: the process of {self.peer} ended with exit status {self.process.wait()}")
        if "error" in found:
            raise RuntimeError(f"bench: {self.peer}: {found['error']}")
        return float(found.get("seconds", 0))

    def close(self) -> None:
        self.process.communicate()  # closes its input, at which it ends


def rounds_of(work: Work, competitors: Mapping[str, Competitor], rounds: int) -> tuple[dict[str, list[float]], list[str]]:
    """Seconds of each competitor in each round, and what those said that could not take part."""
    taking_part, failed = {}, []
    for peer in ("fastopt", *work.peers):
        if peer not in competitors:
            continue
        try:
            competitors[peer].ask(json.dumps(work.plain()))
            taking_part[peer] = competitors[peer]
        except RuntimeError as error:
            if peer == "fastopt":
                raise
            failed.append(str(error))
    seconds: dict[str, list[float]] = {peer: [] for peer in taking_part}
    for _ in range(rounds):
        for peer in random.sample(list(taking_part), len(taking_part)):
            seconds[peer].append(taking_part[peer].ask(""))
    return seconds, failed


def summary(seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Of each competitor: the median time, and quartiles of its times over fastopt's of the same round."""
    found = {}
    for peer, times in seconds.items():
        ratios = [t / ours for t, ours in zip(times, seconds["fastopt"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        found[peer] = {"seconds": statistics.median(times), "ratio": middle, "quartiles": [low, high]}
    return found


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
