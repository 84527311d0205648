"""References for steps: a compiled loop that is limited by memory, and NumPy in place.

Nothing of fastopt is needed, so that benchmarks of older versions can run this file too.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


def text(states: int) -> str:
    """Return C of a loop that reads a gradient, and reads and writes a parameter and `states` arrays of float."""
    arrays = "".join(f", float *restrict s{k}" for k in range(states))
    moves = "".join(f"s{k}[i] = s{k}[i] + g[i]; " for k in range(states))
    total = " + ".join([f"s{k}[i]" for k in range(states)] or ["g[i]"])
    return (
        f"void stream(int threads, long n, const float *restrict g, float *restrict p{arrays})\n"
        "{\n"
        "    #pragma omp parallel for num_threads(threads)\n"
        f"    for (long i = 0; i < n; i++) {{ {moves}p[i] = p[i] + ({total}) * 1e-9f; }}\n"
        "}\n"
    )


def compiler() -> list[str]:
    """Return the command of the C compiler."""
    return shlex.split(os.environ.get("CC", "cc"))


@functools.cache
def library(states: int) -> ctypes.CDLL:
    """Return the loop, compiled for this processor."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "stream.c"), Path(folder, "stream.so")
        source.write_text(text(states))
        flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
        subprocess.run([*compiler(), *flags, source, "-o", built], check=True, capture_output=True)
        return ctypes.CDLL(str(built))


def stream(sizes: Sequence[int], states: int, threads: int = 0) -> Callable[[], None]:
    """Return a function that passes once over float32 arrays.

    They begin at different places of a page: where all begin at one offset, as large arrays of NumPy do, such a loop takes up to
    twice as long.

    Parameters
    ----------
    sizes : sequence of int
        Elements of each parameter.
    states : int
        State arrays of each parameter.
    threads : int
        0: as many as OpenMP takes.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        Without a C compiler that has OpenMP.
    """
    loaded = library(states)
    count = ctypes.c_int(threads or loaded.omp_get_max_threads())
    kept = []
    for n in sizes:
        raw = [np.zeros(4 * n + 4096, np.uint8) for _ in range(states + 2)]
        starts = [(1088 * k - r.ctypes.data) % 4096 for k, r in enumerate(raw)]
        kept.append([r[start : start + 4 * n].view(np.float32) for r, start in zip(raw, starts, strict=True)])
        kept[-1][0][...] = 1
    calls = [(count, ctypes.c_long(arrays[0].size), *(ctypes.c_void_p(a.ctypes.data) for a in arrays)) for arrays in kept]

    def once(arrays: object = kept) -> None:  # The default keeps the arrays alive.
        for call in calls:
            loaded.stream(*call)

    return once


def numpy_adam(params: Sequence[np.ndarray], grads: Sequence[np.ndarray], lr: float) -> Callable[[], None]:
    """Return Adam's step in place, with buffers for intermediates."""
    parts = [(p, g, *(np.zeros_like(p) for _ in range(4))) for p, g in zip(params, grads, strict=True)]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        c2 = (1 - 0.999**t) ** 0.5
        size = lr * c2 / (1 - 0.9**t)
        for p, g, m, v, x, y in parts:
            m *= 0.9
            m += np.multiply(g, 0.1, out=x)
            v *= 0.999
            np.multiply(g, g, out=x)
            x *= 0.001
            v += x
            np.sqrt(v, out=x)
            x += 1e-8 * c2
            np.divide(m, x, out=y)
            y *= size
            p -= y

    return step


def numpy_rmsprop(params: Sequence[np.ndarray], grads: Sequence[np.ndarray], lr: float) -> Callable[[], None]:
    """Return RMSprop's step in place, with buffers for intermediates."""
    parts = [(p, g, *(np.zeros_like(p) for _ in range(3))) for p, g in zip(params, grads, strict=True)]

    def step() -> None:
        for p, g, v, x, y in parts:
            v *= 0.99
            np.multiply(g, g, out=x)
            x *= 0.01
            v += x
            np.sqrt(v, out=x)
            x += 1e-8
            np.divide(g, x, out=y)
            y *= lr
            p -= y

    return step
