"""``python -m fastopt bench``: a step of fastopt beside its peers', each in its own process, as ratios.

Two OpenMP runtimes in one process slow each other, and processors change speed from second to second. So each competitor has a
process, all are visited in random order within a round, and what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo

from .engine import storage

LEARNING_RATE = 1e-9  # repeated updates stay where they are, far from subnormals
WARM = 0.01  # seconds of steps before those timed: threads that slept need as long to get up to speed
MLP = ((784, 256), (256,), (256, 128), (128,), (128, 10), (10,))


@dataclass(frozen=True)
class Work:
    """What is timed: one step with N(0, 1) gradients.

    Attributes
    ----------
    shapes : of the arrays
    peers : names of `PEERS`
    rule : name of an optimizer
    options : of fastopt's optimizer
    dtype : {"float32", "bfloat16"}
        Of parameters and gradients.
    grads : {"bound", "list", "mapping"}
        How fastopt is given the gradients; the peers have their own way.
    schedule : bool
        A learning rate that is a function of the step.
    product : bool
        A 300 x 300 matrix product before each step, not timed, as those have who make gradients with NumPy.
    rows : int
        Rows that each gradient has; 0: all.
    scale : float
        Of the gradients.
    """

    shapes: tuple[tuple[int, ...], ...]
    peers: tuple[str, ...] = ("torch", "numpy")
    rule: str = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    grads: str = "bound"
    schedule: bool = False
    product: bool = False
    rows: int = 0
    scale: float = 1.0


WORKS = {
    "10 elements": Work(((10,),)),
    "1000 elements": Work(((1000,),)),
    "10 elements, schedule": Work(((10,),), schedule=True),
    "1000 elements, schedule": Work(((1000,),), schedule=True),
    "1e4 elements": Work(((10**4,),)),
    "1e5 elements": Work(((10**5,),)),
    "1e6 elements": Work(((10**6,),), ("torch", "numpy", "two threads")),
    "1e7 elements": Work(((10**7,),), ("torch", "numpy", "stream")),
    "1000 arrays of 100, bound": Work(((100,),) * 1000),
    "1000 arrays of 100, list": Work(((100,),) * 1000, grads="list"),
    "1000 arrays of 100, mapping": Work(((100,),) * 1000, grads="mapping"),
    "200 arrays of 10000": Work(((10**4,),) * 200),
    "network, 6 arrays, 235146": Work(MLP),
    "RMSprop, 1e7 elements": Work(((10**7,),), ("torch", "numpy"), rule="RMSprop"),
    **{
        f"{rule}, {n} elements": Work(((int(float(n)),),), ("torch",), rule=rule)
        for rule in ("NAdam", "RAdam", "Adamax", "Adadelta", "Rprop", "ASGD")
        for n in ("1e4", "1e7")
    },
    "bfloat16 state, 1e7": Work(((10**7,),), ("float32",), options={"state_dtype": "bfloat16"}),
    "float8 state, 1e7": Work(((10**7,),), ("float32",), options={"state_dtype": "float8"}),
    "all bfloat16, 1e7": Work(((10**7,),), ("float32", "torch"), dtype="bfloat16"),
    "clip, decay, average, 1e7": Work(((10**7,),), ("torch",), rule="AdamW", options={"clip_global_norm": 1.0, "ema": 0.999}),
    "LAMB, 1e7": Work(((10**7,),), ("float32",), rule="LAMB"),
    "LARS, 1e7": Work(((10**7,),), ("float32",), rule="LARS"),
    "Adafactor, 1000 x 1000": Work(((1000, 1000),), ("float32", "torch"), rule="Adafactor"),
    "Muon, 1000 x 1000": Work(((1000, 1000),), ("torch in float32", "torch"), rule="Muon"),
    "1024 rows of 1e6, lazy": Work(((10**6, 64),), ("torch",), grads="list", rows=1024),
    "1024 rows of 1e6, exact": Work(((10**6, 64),), ("float32",), grads="list", rows=1024, options={"mode": "exact"}),
    "subnormals, flushed, 1e5": Work(((10**5,),), ("float32",), scale=1e-40, options={"flush_subnormals": True}),
    "1e5 after a matrix product": Work(((10**5,),), ("one thread", "two threads", "torch"), product=True),
    "1e6 after a matrix product": Work(((10**6,),), ("one thread", "two threads", "torch"), product=True),
    "1e7 after a matrix product": Work(((10**7,),), ("one thread", "two threads", "torch"), product=True),
}
LARGE = {"1e8 elements": Work(((10**8,),), ("torch", "stream"))}

STREAM = """
void stream(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, long n)
{
    #pragma omp parallel for
    for (long i = 0; i < n; i++) {
        m[i] = m[i] + g[i];
        v[i] = v[i] - g[i];
        p[i] = p[i] + m[i] * 1e-9f;
    }
}
"""


def arrays(work: Work) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Parameters and gradients."""
    rng = np.random.default_rng(0)
    params, grads = ([rng.standard_normal(shape, np.float32) for shape in work.shapes] for _ in range(2))
    return params, [np.float32(work.scale) * g for g in grads]


def rows_of(work: Work) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices and values of some gradients of rows."""
    rng = np.random.default_rng(1)
    ((count, width),) = work.shapes
    return [(rng.integers(0, count, work.rows), rng.standard_normal((work.rows, width), np.float32)) for _ in range(100)]


def stored(work: Work) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `arrays`, in the work's dtype."""
    params, grads = arrays(work)
    if work.dtype == "bfloat16":
        return tuple([storage.narrowed(a, storage.BFLOAT16).view(fo.bfloat16) for a in x] for x in (params, grads))  # type: ignore[return-value]
    return params, grads


def step_of_fastopt(work: Work, threads: int | None = None) -> Callable[[], Any]:
    params, grads = stored(work)
    names = [str(i) for i in range(len(params))]
    tree, given = (dict(zip(names, x, strict=True)) if work.grads == "mapping" else x for x in (params, grads))
    lr = fo.schedules.linear_decay(LEARNING_RATE, 10**12) if work.schedule else LEARNING_RATE
    optimizer: fo.Optimizer = getattr(fo, work.rule)(tree, lr=lr, threads=threads, **work.options)
    if work.rows:
        gradients = itertools.cycle([[fo.RowGradient(indices, values)] for indices, values in rows_of(work)])
        return lambda: optimizer.step(next(gradients))
    if work.grads != "bound":
        return functools.partial(optimizer.step, given)
    optimizer.bind(given)
    return optimizer.step


def step_of_float32(work: Work) -> Callable[[], Any]:
    """Adam of fastopt on float32 arrays with dense gradients, without options."""
    return step_of_fastopt(replace(work, rule="Adam", options={}, dtype="float32", rows=0, scale=1.0))


def step_of_torch(work: Work) -> Callable[[], Any]:
    """torch's optimizer, fused where it has a fused kernel; what are options of fastopt's are its separate calls."""
    import torch

    dtype = getattr(torch, work.dtype)
    params, grads = arrays(work)
    if work.rows:
        (table,) = (torch.nn.Parameter(torch.from_numpy(p)) for p in params)
        sparse = itertools.cycle(
            torch.sparse_coo_tensor(torch.from_numpy(i)[None], torch.from_numpy(v), table.shape, check_invariants=False)
            for i, v in rows_of(work)
        )
        lazy = torch.optim.SparseAdam([table], lr=LEARNING_RATE)

        def sparse_step() -> None:
            table.grad = next(sparse)
            lazy.step()  # type: ignore[no-untyped-call]

        return sparse_step
    tensors = [torch.nn.Parameter(torch.from_numpy(p).to(dtype)) for p in params]
    kept = [torch.from_numpy(g).to(dtype) for g in grads]
    for tensor, g in zip(tensors, kept, strict=True):
        tensor.grad = g
    fused = {"fused": True} if work.rule in ("SGD", "Adam", "AdamW", "Adagrad") else {}
    optimizer: Any = getattr(torch.optim, work.rule)(tensors, lr=LEARNING_RATE, **fused)
    if not work.options:
        return optimizer.step  # type: ignore[no-any-return]
    averages = [t.detach().clone() for t in tensors]

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(tensors, work.options["clip_global_norm"])
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [t.detach() for t in tensors], 1 - work.options["ema"])

    return step


def step_of_torch_in_float32(work: Work) -> Callable[[], Any]:
    """torch's Muon with the products of its matrices in float32."""
    import torch

    torch.Tensor.bfloat16 = torch.Tensor.clone  # type: ignore[method-assign]
    return step_of_torch(work)


def step_of_numpy(work: Work) -> Callable[[], Any]:
    """In place, with buffers for what has no place of its own."""
    params, grads = arrays(work)
    parts = [(p, g, *(np.zeros_like(p) for _ in range(4))) for p, g in zip(params, grads, strict=True)]
    t = 0

    def adam() -> None:
        nonlocal t
        t += 1
        c2 = (1 - 0.999**t) ** 0.5
        size = LEARNING_RATE * c2 / (1 - 0.9**t)
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

    def rmsprop() -> None:
        for p, g, v, _, x, y in parts:
            v *= 0.99
            np.multiply(g, g, out=x)
            x *= 0.01
            v += x
            np.sqrt(v, out=x)
            x += 1e-8
            np.divide(g, x, out=y)
            y *= LEARNING_RATE
            p -= y

    return rmsprop if work.rule == "RMSprop" else adam


def step_of_stream(work: Work) -> Callable[[], Any]:
    """What memory allows: the reads and writes of Adam with next to no arithmetic, compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "stream.c"), Path(folder, "stream.so")
        source.write_text(STREAM)
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", source, "-o", library],
            check=True,
            capture_output=True,
        )
        function = ctypes.CDLL(str(library)).stream
    parts = [(p, g, np.zeros_like(p), np.zeros_like(p)) for p, g in zip(*arrays(work), strict=True)]
    addresses = [[*(ctypes.c_void_p(a.ctypes.data) for a in part), ctypes.c_long(part[0].size)] for part in parts]

    def stream(kept: Any = parts) -> None:
        for address in addresses:
            function(*address)

    return stream


PEERS: dict[str, Callable[[Work], Callable[[], Any]]] = {
    "fastopt": step_of_fastopt,
    "one thread": functools.partial(step_of_fastopt, threads=1),
    "float32": step_of_float32,
    "two threads": functools.partial(step_of_fastopt, threads=2),
    "torch": step_of_torch,
    "torch in float32": step_of_torch_in_float32,
    "numpy": step_of_numpy,
    "stream": step_of_stream,
}


def available() -> list[str]:
    """Peers that this machine can run."""
    from importlib.util import find_spec

    missing = set() if find_spec("torch") else {"torch", "torch in float32"}
    missing |= set() if shutil.which(os.environ.get("CC", "cc")) else {"stream"}
    return [name for name in PEERS if name not in missing]


class Timer:
    """One competitor's step of one work."""

    def __init__(self, work: Work, peer: str, seconds: float) -> None:
        self.step = PEERS[peer](work)
        self.product = np.random.default_rng(0).standard_normal((300, 300), np.float32) if work.product else None
        for _ in range(3):
            self.step()
        if self.product is not None:
            self.repeats = 200
            return
        self.repeats = 1
        while (spent := self.time() * self.repeats) < seconds / 2:
            self.repeats = max(self.repeats + 1, int(self.repeats * min(10, 1.1 * seconds / spent)))

    def time(self) -> float:
        """Seconds a step, on average."""
        step, clock = self.step, time.perf_counter
        if self.product is None:
            begin = clock()
            while clock() - begin < WARM:
                step()
            begin = clock()
            for _ in range(self.repeats):
                step()
            return (clock() - begin) / self.repeats
        spent = 0.0
        for _ in range(self.repeats):
            self.product @ self.product
            begin = clock()
            step()
            spent += clock() - begin
        return spent / self.repeats


def serve() -> None:
    """One competitor's process: a work's name from each line, or an empty one for the next time."""
    peer, seconds = sys.argv[1], float(sys.argv[2])
    timer = None
    for line in sys.stdin:
        name = line.strip()
        if name:
            timer = None  # its memory first
            timer = Timer((WORKS | LARGE)[name], peer, seconds)
            print("ready", flush=True)
        else:
            assert timer is not None
            print(timer.time(), flush=True)


class Competitor:
    """A process that serves times."""

    def __init__(self, peer: str, threads: int, seconds: float) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastopt.bench", peer, str(seconds)],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise RuntimeError(f"bench: the process of {self.peer} ended with exit status {self.process.wait()}")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def rounds_of(name: str, work: Work, competitors: dict[str, Competitor], rounds: int) -> dict[str, list[float]]:
    """Seconds of each competitor in each round."""
    taking_part = {p: competitors[p] for p in ("fastopt", *work.peers) if p in competitors}
    for competitor in taking_part.values():
        competitor.ask(name)
    seconds: dict[str, list[float]] = {peer: [] for peer in taking_part}
    for _ in range(rounds):
        for peer in random.sample(list(taking_part), len(taking_part)):
            seconds[peer].append(float(taking_part[peer].ask("")))
    return seconds


def progress(works: dict[str, Work]) -> Iterable[tuple[str, Work]]:
    try:
        from tqdm import tqdm
    except ImportError:

        def told() -> Iterator[tuple[str, Work]]:
            for name, work in works.items():
                print(f"{name} ...", file=sys.stderr)
                yield name, work

        return told()
    return tqdm(works.items(), leave=False)  # type: ignore[no-any-return]


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Of each competitor: the median time, and quartiles of its times over fastopt's of the same round."""
    found = {}
    for peer, times in seconds.items():
        ratios = [t / ours for t, ours in zip(times, seconds["fastopt"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        found[peer] = {"seconds": statistics.median(times), "ratio": middle, "quartiles": [low, high]}
    return found


def bench(select: str = "", *, rounds: int = 9, threads: int = 2, seconds: float = 0.02, large: bool = False) -> dict[str, Any]:
    """Time the works whose name holds `select`, and print a table.

    Parameters
    ----------
    select : str
    rounds : int
        Visits of each competitor.
    threads : int
        That each may use.
    seconds : float
        That one visit is to last, at least.
    large : bool
        1e8 elements too, which takes 1.6 GB for each competitor.

    Returns
    -------
    dict
        Of each work, of each competitor: ``seconds`` a step, ``ratio`` to fastopt's, and its ``quartiles`` over the rounds.
    """
    works = {name: work for name, work in {**WORKS, **(LARGE if large else {})}.items() if select in name}
    if not works:
        raise ValueError(f"bench: no work's name holds {select!r}, expected part of one of: {', '.join(WORKS | LARGE)}")
    wanted = {peer for work in works.values() for peer in ("fastopt", *work.peers)}
    competitors = {peer: Competitor(peer, threads, seconds) for peer in available() if peer in wanted}
    results = {}
    print(f"{'':28}{'fastopt':>10}   times as long:")
    try:
        for name, work in progress(works):
            results[name] = summary(rounds_of(name, work, competitors, rounds))
            ours = results[name]["fastopt"]["seconds"]
            others = (f"{p} {r['ratio']:.3g} ({r['quartiles'][0]:.3g}-{r['quartiles'][1]:.3g})" for p, r in results[name].items())
            print(f"{name:28}{ours * 1e6:8.2f} us   {', '.join(list(others)[1:])}", flush=True)
    finally:
        for competitor in competitors.values():
            competitor.close()
    return results


def main(arguments: list[str]) -> int:
    """The command line of ``python -m fastopt bench``."""
    import argparse

    parser = argparse.ArgumentParser("python -m fastopt bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("select", nargs="?", default="", help="only works whose name holds this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true", help="1e8 elements too: 1.6 GB a competitor")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    given = parser.parse_args(arguments)
    results = bench(given.select, rounds=given.rounds, threads=given.threads, large=given.large)
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    serve()
