"""Steps divided among processes of MPI, timed beside what they replace: ``python asv_bench/scaling [PROCESSES ...]``.

A row is the median over rounds, in which all take their turns: ``fastopt.mpi.Sharded`` with the fixed order of sums, the same in
the MPI library's order, and ``Allreduce`` of gradients before a step over all parameters in each process. Adam in float32, one
thread for each process; the time of adding a gradient to the optimizer's buffers is not counted.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZES = (10**6, 10**7)
ROUNDS = 7


def main(processes: list[str]) -> None:
    """Start one job for each number of processes."""
    execute = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if execute is None:
        raise SystemExit("mpiexec: not found, expected an MPI library, such as pip install mpich mpi4py")
    print(f"{'processes':>9}  {'elements':>10}  {'fixed order':>12}  {'any order':>12}  {'replicated':>12}  fixed order / others")
    for count in processes:
        command = [execute, "-n", count, sys.executable, "-m", "mpi4py", __file__, "--job"]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def job() -> None:
    """Time steps of all sizes, in one of the processes."""
    import numpy as np
    from mpi4py import MPI

    import fastopt as fo
    import fastopt.mpi

    comm = MPI.COMM_WORLD

    def seconds(work: Callable[[], object]) -> float:
        comm.Barrier()
        start = time.perf_counter()
        work()
        comm.Barrier()
        return time.perf_counter() - start

    for n in SIZES:
        grads = np.random.default_rng(comm.rank).standard_normal(n).astype(np.float32)
        total, alone = np.empty_like(grads), np.zeros_like(grads)
        replicated = fo.Adam(alone, lr=1e-3, threads=1)
        divided = [
            fo.mpi.Sharded(fo.Adam, fo.pack(np.zeros(n, np.float32)), lr=1e-3, threads=1, microbatches=count)
            for count in (comm.size, None)
        ]

        def step_of_all(total=total, grads=grads, replicated=replicated) -> None:
            comm.Allreduce(grads, total)
            replicated.step(total, scale=1 / comm.size)

        times: list[list[float]] = [[], [], []]
        for _ in range(ROUNDS + 2):
            for each, optimizer in zip(times, divided, strict=False):
                optimizer.add(comm.rank, grads)
                each.append(seconds(optimizer.step))
            times[2].append(seconds(step_of_all))
        if comm.rank == 0:
            fixed, free, whole = (statistics.median(each[2:]) * 1e3 for each in times)
            ratios = f"{fixed / free:.2f}, {fixed / whole:.2f}"
            print(f"{comm.size:9}  {n:10}  {fixed:9.2f} ms  {free:9.2f} ms  {whole:9.2f} ms  {ratios}", flush=True)


if __name__ == "__main__":
    job() if "--job" in sys.argv else main(sys.argv[1:] or ["1", "2"])
