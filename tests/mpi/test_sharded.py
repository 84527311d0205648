"""Optimizers over the processes of MPI: the bits of one process, checkpoints, and failures; trees of micro-batches."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastopt as fo
from fastopt.mpi.batches import TreeSum, subtrees_of

pytest.importorskip("mpi4py")
PROGRAM = Path(__file__).parents[1] / "support" / "mpi_run.py"
EXECUTE = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
several = pytest.mark.skipif(EXECUTE is None, reason="no mpiexec")


def command(ranks, *words):
    return [EXECUTE, "-n", str(ranks), sys.executable, "-m", "mpi4py", str(PROGRAM), *map(str, words)]


def run(ranks, *words, limit=180):
    """Run a program with this many processes, on one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command(ranks, *words), env=environment, capture_output=True, text=True, timeout=limit, check=False)
    return done.returncode, done.stdout, done.stderr[-3000:]


@given(count=st.integers(1, 40), ranks=st.integers(1, 9))
def test_subtrees_add_up_in_one_order(count, ranks):
    """Whatever the ranks add, the sum has the bits of the tree over all; where numbers fit, each rank adds one subtree."""
    alone = TreeSum(count)
    nodes = [node for each in subtrees_of(count, ranks) for node in each]
    assert [k for low, high in nodes for k in range(low, high)] == list(range(count))
    assert max(map(len, subtrees_of(count, ranks))) <= max(1, 2 * (count - 1).bit_length())
    values = np.random.default_rng(count).standard_normal((count, 20))
    for k in range(count):
        alone.add((k, k + 1), [values[k].copy()])
    together = TreeSum(count)
    for low, high in nodes:
        part = TreeSum(count)
        for k in range(low, high):
            part.add((k, k + 1), [values[k].copy()])
        assert [node for node, _ in part.nodes] == [(low, high)]
        together.add((low, high), part.nodes[0][1])
    assert len(together.nodes) == 1 and np.array_equal(together.nodes[0][1], alone.nodes[0][1])
    if count % ranks == 0 and (count // ranks).bit_count() == 1 and count.bit_count() == 1:
        assert all(len(each) == 1 for each in subtrees_of(count, ranks))


@several
def test_the_same_bits_for_any_number_of_processes(tmp_path):
    outputs = []
    for ranks in (1, 2, 3, 4):
        code, said, errors = run(ranks, "bits", tmp_path)
        assert code == 0, errors
        outputs.append(said)
    assert outputs[0].count("\n") == 9 and len(set(outputs)) == 1, outputs


@several
def test_small_models(tmp_path):
    outputs = [run(ranks, "small", tmp_path) for ranks in (1, 2, 4)]
    assert all(code == 0 for code, _, _ in outputs), outputs
    assert outputs[0][1].count("\n") == 16 and len({said for _, said, _ in outputs}) == 1, outputs


@several
def test_a_checkpoint_of_three_processes_is_resumed_by_others(tmp_path):
    code, said, errors = run(3, "save", tmp_path)
    assert code == 0, errors
    found = set()
    for ranks in (1, 2, 4):
        code, said, errors = run(ranks, "resume", tmp_path)
        assert code == 0, errors
        found |= set(said.split())
    packed = fo.pack({"w": np.zeros((50, 40), np.float32), "b": np.zeros(13, np.float32)})
    alone = fo.AdamW(packed, lr=1e-2, clip_global_norm=1.0, nonfinite="skip")
    assert alone.load(tmp_path / "run") == {"epoch": 7} and alone.steps == 3
    code, said, errors = run(2, "bits", tmp_path)
    whole = re.search(r"float32 8 (\w+)", said)[1]
    assert found == {whole}


@several
@pytest.mark.parametrize("ranks", [1, 3])
def test_errors_of_one_are_errors_of_all(ranks, tmp_path):
    code, said, errors = run(ranks, "errors", tmp_path)
    assert code == 0 and "done" in said, errors


@several
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_failure_ends_the_job(how, tmp_path):
    code, _, _ = run(2, "failing", tmp_path, how, limit=60)  # Or they would wait for ever.
    assert code != 0


@several
@pytest.mark.parametrize("times", [4, pytest.param(300, marks=pytest.mark.long)])
def test_kills_lose_no_checkpoint(times, tmp_path):
    """However a job is killed while it saves, the folder has a whole checkpoint, of a step that is no earlier than before."""
    draw, last = random.Random(0), 0
    for _ in range(times):
        with subprocess.Popen(command(2, "killed", tmp_path), stdout=subprocess.PIPE, text=True, start_new_session=True) as job:
            said = job.stdout.readline()
            assert said.startswith("ready") and int(said.split()[1]) >= last, said
            time.sleep(draw.uniform(0.05, 0.6))
            os.killpg(job.pid, signal.SIGKILL)
            job.wait(20)
        if (tmp_path / "run" / "manifest.json").exists():
            packed = fo.pack({"w": np.zeros((50, 40), np.float32), "b": np.zeros(13, np.float32)})
            alone = fo.AdamW(packed, lr=1e-2, clip_global_norm=1.0, nonfinite="skip")
            alone.load(tmp_path / "run")
            assert alone.steps >= last
            last = alone.steps
    assert last > 0


def test_one_process_without_mpiexec():
    """Works in an ordinary program, as a single process, and takes its communicator from the caller."""
    from mpi4py import MPI

    packed = fo.pack(np.ones(600))
    opt = fo.mpi.Sharded(fo.SGD, packed, MPI.COMM_SELF, lr=1.0)
    assert opt.mine == range(4) and opt.microbatches == 4 and opt.span == (0, 600)
    for k in opt.mine:
        opt.add(k, np.full(600, k + 0.5))
    assert opt.step() and np.array_equal(packed.flat, np.full(600, -1.0)) and opt.steps == 1
    opt.lr = 0.5
    assert opt.lr == 0.5 and "4 micro-batches" in repr(opt)
