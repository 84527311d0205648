"""Rounds of visits to competitors, each in its own process, in random order within a round."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from .works import Work

PATIENCE = 300  # Seconds in which a competitor must answer, or is ended.


class Competitor:
    """A process that times steps on request."""

    def __init__(self, peer: str, threads: int, seconds: float) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self.peer = peer
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process lives
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastopt.bench.timer", peer, str(seconds)],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def ask(self, line: str) -> float:
        """Return the seconds of a step, or None if `line` is a work; raise RuntimeError without an answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        waiting = threading.Timer(PATIENCE, self.process.kill)
        waiting.start()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            found = None
            # Python may print something else while it starts.
            while not isinstance(found, dict):
                found = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            status = self.process.wait()
            self.said.seek(0)
            last = self.said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"bench: the process of {self.peer} ended with exit status {status}: {last}") from None
        finally:
            waiting.cancel()
        if "error" in found:
            raise RuntimeError(f"bench: {self.peer}: {found['error']}")
        return float(found.get("seconds", 0))

    def close(self) -> None:
        """End the process and wait for it."""
        try:
            # Closes its input, whereupon it ends.
            self.process.communicate(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.communicate()
        self.said.close()


def rounds_of(work: Work, competitors: Mapping[str, Competitor], rounds: int) -> tuple[dict[str, list[float]], list[str]]:
    """Return each competitor's seconds in each round, and the messages of those that failed."""
    seconds: dict[str, list[float]] = {peer: [] for peer in ("fastopt", *work.peers) if peer in competitors}
    failed = []

    def ask(peer: str, line: str) -> float:
        try:
            return competitors[peer].ask(line)
        except RuntimeError as error:
            if peer == "fastopt":
                raise
            failed.append(str(error))
            del seconds[peer]
            return 0.0

    for peer in list(seconds):
        ask(peer, json.dumps(work.plain()))
    for _ in range(rounds):
        for peer in random.sample(list(seconds), len(seconds)):
            time = ask(peer, "")
            if peer in seconds:
                seconds[peer].append(time)
    return seconds, failed


def summary(seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return each competitor's median time, and the quartiles of its ratio to fastopt in the same round."""
    found = {}
    for peer, times in seconds.items():
        ratios = [t / ours for t, ours in zip(times, seconds["fastopt"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        found[peer] = {"seconds": statistics.median(times), "ratio": middle, "quartiles": [low, high]}
    return found
