"""Programs of several processes, for ``tests/mpi``: ``python -m mpi4py mpi_run.py WORK FOLDER``."""

import hashlib
import os
import signal
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from mpi4py import MPI

import fastopt as fo
import fastopt.mpi

COMM = MPI.COMM_WORLD
FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else ".")
KINDS = {"float32": (np.float32, {}), "float64": (np.float64, {}), "bfloat16 state": (np.float32, {"state_dtype": "bfloat16"})}


def start(dtype=np.float32, cls=fo.AdamW, microbatches=8, **options):
    rng = np.random.default_rng(0)
    packed = fo.pack({"w": rng.standard_normal((50, 40)).astype(dtype), "b": rng.standard_normal(13).astype(dtype)})
    options = {"lr": 1e-2, "clip_global_norm": 1.0, "nonfinite": "skip", **options}
    return packed, fo.mpi.Sharded(cls, packed, microbatches=microbatches, **options)


def gradients(packed, step, k, infinite=4):
    """Return gradients without sums, whose bits do not depend on where they are computed; one is infinite."""
    grads = {name: np.cos(a * (k + 1) + step).astype(a.dtype) for name, a in packed.tree.items()}
    if (step, k) == (infinite, 3):
        grads["b"][2] = np.inf
    return grads


def train(packed, opt, first, last):
    for step in range(first, last):
        for k in opt.mine:
            opt.add(k, gradients(packed, step, k))
        assert opt.step() == (step != 4)


def agreed(value):
    """Return a value that is the same in all processes."""
    found = COMM.allgather(value)
    assert len(set(found)) == 1, found
    return found[0]


def digest(packed):
    return agreed(hashlib.sha256(packed.flat.tobytes()).hexdigest()[:16])


def say(*words):
    if COMM.rank == 0:
        print(*words, flush=True)


def bits():
    """The parameters after 8 steps, by kind and number of micro-batches."""
    for kind, (dtype, options) in KINDS.items():
        for count in (8, 12):
            packed, opt = start(dtype, microbatches=count, **options)
            train(packed, opt, 0, 8)
            assert (agreed(opt.steps), agreed(opt.optimizer.skipped)) == (7, 1)
            say(kind, count, digest(packed))
    # Sums that follow one another; rules that need arrays whole; several dtypes; sums in any order.
    packed, opt = start(cls=fo.Prodigy, lr=1.0)
    train(packed, opt, 0, 6)
    say("prodigy", 8, digest(packed))
    packed, opt = start(cls=fo.LAMB, whole=True, clip_global_norm=np.inf)
    train(packed, opt, 0, 6)
    say("lamb", 8, digest(packed))
    packed = fo.pack({"w": np.ones(700, np.float32), "v": np.arange(300.0), "h": np.zeros(64, fo.bfloat16)})
    opt = fo.mpi.Sharded(fo.Adam, packed, lr=0.1)
    opt.load(FOLDER / "counted") if (FOLDER / "counted").exists() else opt.save(FOLDER / "counted")
    for k in opt.mine:
        opt.add(k, {"w": np.full(700, 0.1 * k, np.float32), "v": np.cos(np.arange(300.0) + k), "h": np.full(64, k, np.float32)})
    opt.step()
    say("dtypes", opt.microbatches, agreed(hashlib.sha256(b"".join(a.tobytes() for a in packed.flat.values())).hexdigest()[:16]))
    packed, opt = start(microbatches=None, lr=0.1)
    other, fixed = start(microbatches=COMM.size, lr=0.1)
    for each, its in ((opt, packed), (fixed, other)):
        for step in range(2):
            each.add(COMM.rank, its.gather(gradients(its, step, COMM.rank)))
            assert each.step()
    assert np.abs(packed.flat - other.flat).max() < 1e-5 and opt.steps == 2
    # Sums beyond the range of the dtype, where NumPy raises for them: the step is skipped, and no gradient is lost.
    packed, opt = start(microbatches=8)
    with np.errstate(all="raise"):
        for k in opt.mine:
            opt.add(k, np.full(packed.size, 3e38, np.float32))
        assert not opt.step() and agreed(opt.optimizer.skipped) == 1


def save():
    packed, opt = start()
    train(packed, opt, 0, 3)
    opt.save(FOLDER / "run", {"epoch": 5})
    opt.save(FOLDER / "run", {"epoch": 7})  # Of the same step; its files replace the former ones.
    COMM.barrier()
    if COMM.rank == 0:
        assert len(list((FOLDER / "run").glob("*.npz"))) == COMM.size


def small():
    """Models with less than a block for each process, arrays that stay whole, and starts beyond bounds."""
    trees = {
        "scalar": {"s": np.float64(1.0)},
        "few": {"b": np.float64(0.0), "w": np.ones(100)},
        "mixed": {"h": np.zeros(700, fo.bfloat16)},
    }
    trees |= {"matrices": {"a": np.ones((10, 10)), "w": np.ones((40, 50)), "z": np.ones((10, 10))}}
    for name, tree in trees.items():
        for cls, options in ((fo.Adam, {"bounds": (-0.5, 0.5)}), (fo.Muon, {}), (fo.LAMB, {}), (fo.Adafactor, {})):
            packed = fo.pack(tree)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                opt = fo.mpi.Sharded(cls, packed, whole=True, microbatches=4, lr=0.1, **options)
            for step in range(3):
                if step == 2:
                    opt.save(FOLDER / f"small-{COMM.size}")
                    other = fo.mpi.Sharded(cls, fo.pack(packed.tree), whole=True, lr=0.1, **options)
                    other.load(FOLDER / f"small-{COMM.size}")
                    assert agreed(other.steps) == 2 and digest(other.packed) == digest(packed)
                for k in opt.mine:
                    grads = {n: np.cos(np.arange(a.size) + k).reshape(a.shape) for n, a in packed.tree.items()}
                    opt.add(k, {n: g.astype(np.float32) if name == "mixed" else g for n, g in grads.items()})
                assert opt.step()
            say(name, cls.__name__, digest(packed))


def resume():
    packed, opt = start(microbatches="auto")
    packed.flat[...] = -1
    assert opt.load(FOLDER / "run") == {"epoch": 7}
    assert (opt.microbatches, opt.steps) == (8, 3)
    train(packed, opt, 3, 8)
    say(digest(packed))
    # One process reads the same checkpoint, and the divided optimizer an ordinary file.
    whole = fo.pack(packed.tree)
    alone = fo.AdamW(whole, lr=1e-2, clip_global_norm=1.0, nonfinite="skip")
    alone.load(FOLDER / "run")
    alone.save(FOLDER / f"whole-{COMM.rank}.npz")
    packed, opt = start()
    opt.load(FOLDER / f"whole-{COMM.rank}.npz")
    train(packed, opt, 3, 8)
    say(digest(packed))


def refused(call, *kinds):
    """Return what every process says when it raises, and that nothing has changed."""
    try:
        call()
    except kinds as error:
        return str(error)
    raise AssertionError("no error")


def errors():
    """Errors of one process are errors of all, and nothing has changed."""
    packed, opt = start()
    before = digest(packed)
    last = COMM.size - 1
    for k in opt.mine[:-1] if COMM.rank == last else opt.mine:
        opt.add(k, gradients(packed, 0, k))
    said = refused(opt.step, ValueError, RuntimeError)
    assert f"rank {last}" in said and "without micro-batch 7" in said, said
    if COMM.rank == last:
        assert "expected micro-batch 7" in refused(lambda: opt.add(3, packed.flat), ValueError)
        refused(lambda: opt.add(7, {"w": packed.tree["w"]}), ValueError)
        opt.add(7, gradients(packed, 0, 7))
    assert opt.step() and digest(packed) != before
    # A schedule that raises in one process, before anything is exchanged within the step.
    packed, opt = start(lr=(lambda t: 1 / 0) if COMM.rank == last else (lambda t: 0.1))
    for k in opt.mine:
        opt.add(k, gradients(packed, 0, k))
    assert "division by zero" in refused(opt.step, ZeroDivisionError, RuntimeError) and digest(packed) == before and opt.steps == 0
    packed, opt = start(nonfinite="raise")
    for k in opt.mine:
        opt.add(k, gradients(packed, 0, k, infinite=0))
    refused(opt.step, FloatingPointError)
    assert digest(packed) == before
    assert "lr" in refused(lambda: start(lr=-1.0 if COMM.rank == last else 0.1), ValueError, RuntimeError)

    # Errors of a kind that a policy raises, values that no file holds, and what differs between processes.
    def rate(t):
        if COMM.rank == last:
            raise FloatingPointError("overflow")
        return 0.1

    packed, opt = start(lr=rate)
    for k in opt.mine:
        opt.add(k, gradients(packed, 0, k))
    assert "overflow" in refused(opt.step, FloatingPointError, RuntimeError) and opt.steps == 0
    refused(lambda: opt.save(FOLDER / "extra", {"f": lambda: 0}), TypeError, RuntimeError)
    refused(lambda: opt.save(FOLDER / "extra", {"f": defaultdict(lambda: 0)}), Exception)
    if COMM.size > 1:
        for options in ({"nonfinite": ["skip", "raise"]}, {"seed": [1, 2]}, {"cls": [fo.Adam, fo.AdamW]}, {"whole": [(), True]}):
            ((name, values),) = options.items()
            assert "of rank" in refused(
                lambda name=name, x=values[COMM.rank == last]: start(clip_global_norm=np.inf, **{name: x}), ValueError
            )
        assert "options: of rank" in refused(lambda: start(lr=0.1 * (COMM.rank + 1)), ValueError)
        other = fo.pack(np.full(600, float(COMM.rank)))
        assert "parameters: of rank" in refused(lambda: fo.mpi.Sharded(fo.SGD, other, lr=0.1), ValueError)
    assert "microbatches" in refused(lambda: start(microbatches=0), ValueError)
    assert "microbatches" in refused(lambda: start(microbatches="many"), ValueError)
    assert "expected microbatches" in refused(lambda: start(accumulate=2), TypeError)
    refused(lambda: fo.mpi.Sharded(fo.SGD, np.ones(3), lr=0.1), TypeError)
    refused(lambda: opt.load(FOLDER / "missing"), OSError, RuntimeError)
    (FOLDER / "file").write_text("")
    refused(lambda: opt.save(FOLDER / "file"), OSError, RuntimeError)
    packed, opt = start(microbatches=4)
    opt.save(FOLDER / "four")
    packed, opt = start()
    assert "expected 4, as in the checkpoint" in refused(lambda: opt.load(FOLDER / "four"), ValueError, RuntimeError)
    say("done")


def killed():
    """Save without end; the test kills the job at a random moment."""
    packed, opt = start()
    if (FOLDER / "run").exists():
        opt.load(FOLDER / "run")
    say("ready", opt.steps)
    while True:
        train(packed, opt, opt.steps + 10, opt.steps + 11)
        opt.save(FOLDER / "run")


def failing():
    """One process fails outside of a step, by an exception or by a signal; the others wait for it."""
    packed, opt = start()
    train(packed, opt, 0, 2)
    if COMM.rank == COMM.size - 1:
        if sys.argv[3] == "raise":
            raise KeyError("lost")
        os.kill(os.getpid(), signal.SIGKILL)
    train(packed, opt, 2, 4)


{work.__name__: work for work in (bits, small, save, resume, errors, killed, failing)}[sys.argv[1]]()
