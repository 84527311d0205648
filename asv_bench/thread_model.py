"""A model of spin, wake and bandwidth for 4 to 128 threads, which replays the choice of threads.

``python asv_bench/thread_model.py`` prints it. Durations are those of Adam in float32. A thread computes at `RATE` and reads and
writes `BYTES` an element, from memory if all arrays are larger than the caches; memory saturates at some threads. Threads sleep
after `QUIET` seconds without work; waking, starting and joining them takes longer the more they are. Other processes that hold
processors cost a parallel step the rest of a turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from fastopt._engine import passes

RATE = 3.4e9  # Elements a second of a thread, in cache.
BYTES = 28  # Of an element: three arrays read and written, one read.
CACHE = 2e6  # Bytes of a thread's own cache.
STREAM = 34e9  # Bytes a second of a thread from memory,
SATURATED = 8  # of at most so many threads together.
QUIET = 6e-3
TURN = 18e-3  # Of another process.
GRAIN = 32768

Seconds = Callable[[int], float]


def step(elements: int, threads: int) -> float:
    """Return the seconds of a step with threads that are awake."""
    share = elements / threads
    computed = share / RATE
    streamed = elements * BYTES / (STREAM * min(threads, SATURATED)) if share * BYTES > CACHE else 0.0
    return max(computed, streamed) + (0.7e-6 + 0.02e-6 * threads if threads > 1 else 0.2e-6)


def scenario(elements: int, threads: int, held: Callable[[int], bool]) -> tuple[Seconds, Seconds]:
    """Return the seconds of each step in serial and in parallel; threads sleep first, and again after serial steps."""
    asleep, since = [True], [0.0]

    def serial(_: int) -> float:
        since[0] += step(elements, 1)
        asleep[0] = asleep[0] or since[0] > QUIET
        return step(elements, 1)

    def parallel(k: int) -> float:
        woken = 50e-6 + 5e-6 * threads if asleep[0] else 0.0
        asleep[0], since[0] = False, 0.0
        return step(elements, threads) + woken + (TURN if held(k) else 0.0)

    return serial, parallel


HELD = {
    "idle machine": lambda k: False,
    "held throughout": lambda k: True,
    "held for the first 1000 steps": lambda k: k < 1000,
    "held every 50th step": lambda k: k % 50 == 49,
}


def replay(elements: int, threads: int, held: Callable[[int], bool]) -> tuple[float, float]:
    """Return the chosen threads' time over that of the better of always serial and always parallel, and how many are parallel."""
    steps = max(2000, int(2 / step(elements, 1)))
    chosen, total = passes.simulate(*scenario(elements, threads, held), steps, False)
    _, parallel = scenario(elements, threads, held)
    return total / min(steps * step(elements, 1), sum(parallel(k) for k in range(steps))), sum(chosen) / steps


def cases() -> Iterator[tuple[str, int, int]]:
    """Yield a situation, a number of elements, and the number of threads that such a step may use."""
    for name, elements in itertools.product(HELD, (10_000, 100_000, 10**6, 10**7)):
        for used in sorted({min(threads, max(2, elements // GRAIN)) for threads in (4, 16, 64, 128)}):
            yield name, elements, used


def main() -> None:
    """Print each case."""
    print(f"{'situation':31}{'elements':>11}{'threads':>8}{'serial, us':>12}{'parallel, us':>13}{'chosen / better':>16}")
    for name, elements, threads in cases():
        ratio, share = replay(elements, threads, HELD[name])
        times = f"{1e6 * step(elements, 1):12.1f}{1e6 * step(elements, threads):13.1f}"
        print(f"{name:31}{elements:11,}{threads:8}{times}{ratio:16.2f}  parallel in {share:.0%} of steps")


if __name__ == "__main__":
    main()
