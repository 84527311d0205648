"""Runs of `fit` that are interrupted and resumed: equal to those that were not, bit for bit."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastopt as fo
from fastopt.training import Checkpoint, EarlyStopping, Log, ReduceOnPlateau, Run, fit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(53, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=53)
EPOCHS, COUNT = 6, 7


class Stop(Exception):
    """End of a process."""


class After:
    """Raises after so many batches, on which a run shall not depend."""

    def __init__(self, batches):
        self.left = batches

    def on_batch(self, run):
        self.left -= 1
        if self.left == 0:
            raise Stop


def loss_and_grad(w, x, y):
    error = x @ w - y
    return np.mean(error**2), 2 * (x.T @ error) / len(error)


def run(path, seed=3, stop=None, optimizer=None, function=loss_and_grad, folder=None, **options):
    """Fit a line with callbacks that have states; return history, optimizer and callback."""
    w = np.zeros(3)
    optimizer = fo.Adam(w, lr=0.05, ema=0.9) if optimizer is None else optimizer(w)
    early = EarlyStopping(patience=2, min_delta=0.05)
    callbacks = [early, ReduceOnPlateau(0.5, patience=0, min_delta=0.5)]
    callbacks += [] if folder is None else [Log(folder / "log")]
    callbacks += [] if stop is None else [After(stop)]
    given = {"epochs": EPOCHS, "batch_size": 8, "seed": seed, "validation": (X[:9], Y[:9]), **options}
    history = fit(function, w, (X, Y), optimizer, callbacks=callbacks, checkpoint=path, resume=path is not None, **given)
    return history, optimizer, early


def same(found, expected):
    """Return True for equal runs."""
    (history, optimizer, early), (other_history, other, other_early) = found, expected
    equal = history == other_history and optimizer.fingerprint() == other.fingerprint() and optimizer.lr == other.lr
    return equal and (early.best, early.best_epoch) == (other_early.best, other_early.best_epoch)


@pytest.mark.parametrize("k", [1, 3, 7, 8, 20, 28, 41])
def test_a_run_that_was_stopped_at_any_batch_goes_on_bit_for_bit(k, tmp_path):
    expected = run(None)
    with pytest.raises(Stop):
        run(tmp_path / "run.npz", stop=k)
    assert same(run(tmp_path / "run.npz"), expected)
    assert same(run(tmp_path / "run.npz"), expected)  # A run that is over stays as it is.


def test_a_run_that_goes_on_for_more_epochs_is_the_longer_run(tmp_path):
    run(tmp_path / "run.npz", epochs=2)
    assert same(run(tmp_path / "run.npz"), run(None))


def test_a_run_that_a_callback_ended_stays_ended(tmp_path):
    history, optimizer, early = run(tmp_path / "run.npz", epochs=60)
    assert history.stopped and early.waited == 2
    assert same(run(tmp_path / "run.npz", epochs=60), (history, optimizer, early))


def test_accumulated_and_skipped_gradients_are_counted(tmp_path):
    def function(w, x, y):
        loss, grads = loss_and_grad(w, x, y)
        return loss, grads * (np.nan if y[0] > 2 else 1.0)

    def optimizer(w):
        return fo.SGD(w, lr=0.05, momentum=0.9, accumulate=3, nonfinite="skip")

    assert (Y > 2).any()
    expected = run(None, optimizer=optimizer, function=function)
    assert expected[1].skipped
    for k in range(1, 30, 4):
        path = tmp_path / f"{k}.npz"
        with pytest.raises(Stop):
            run(path, stop=k, optimizer=optimizer, function=function)
        assert same(run(path, optimizer=optimizer, function=function), expected)


def test_a_generator_of_the_callers_goes_on_too(tmp_path):
    def noisy(rng):
        def function(w, x, y):
            loss, grads = loss_and_grad(w, x, y)
            return loss, grads + rng.normal(size=3)

        return function

    rng = np.random.default_rng(5)
    expected = run(None, seed=rng, function=noisy(rng))
    rng = np.random.default_rng(5)
    with pytest.raises(Stop):
        run(tmp_path / "run.npz", seed=rng, function=noisy(rng), stop=11)
    rng = np.random.default_rng(99)
    assert same(run(tmp_path / "run.npz", seed=rng, function=noisy(rng)), expected)

    def stops(rng, calls):
        whole = noisy(rng)

        def function(w, x, y):
            calls.append(1)
            found = whole(w, x, y)
            if len(calls) == 20:
                raise Stop
            return found

        return function

    rng = np.random.default_rng(5)
    with pytest.raises(Stop):
        run(tmp_path / "within.npz", seed=rng, function=stops(rng, []), validation=None)
    rng = np.random.default_rng(99)
    found = run(tmp_path / "within.npz", seed=rng, function=noisy(rng), validation=None)
    rng = np.random.default_rng(5)
    assert same(found, run(None, seed=rng, function=noisy(rng), validation=None))


def test_an_exception_between_loading_and_the_next_order_changes_no_later_order(tmp_path, monkeypatch):
    expected = run(None)
    with pytest.raises(Stop):
        run(tmp_path / "run.npz", stop=11)

    def stops(self):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Run, "draw", stops)
        run(tmp_path / "run.npz")
    assert same(run(tmp_path / "run.npz"), expected)


def test_hyperparameters_that_a_callback_changed_before_an_exception_are_taken_back(tmp_path):
    class Boom:
        def __init__(self, at):
            self.at = at

        def on_epoch(self, run):
            if run.epoch == self.at:
                raise Stop

    def fitted(path, at):
        w = np.zeros(3)
        optimizer = fo.SGD(w, lr=1e-9)
        callbacks = [ReduceOnPlateau(patience=1, min_delta=0.5), Boom(at)]
        resume = {"checkpoint": path, "resume": path is not None}
        history = fit(loss_and_grad, w, (X, Y), optimizer, epochs=8, batch_size=8, seed=0, callbacks=callbacks, **resume)
        return history, optimizer.lr, optimizer.fingerprint()

    expected = fitted(None, None)
    for at in (2, 4, 6):
        with pytest.raises(Stop):
            fitted(tmp_path / f"{at}.npz", at)
        assert fitted(tmp_path / f"{at}.npz", None) == expected


def test_a_generator_of_another_kind_is_refused(tmp_path):
    run(tmp_path / "run.npz", seed=np.random.default_rng(1), epochs=2)
    made = []

    def optimizer(w):
        made.append(fo.Adam(w, lr=0.05, ema=0.9))
        return made[0]

    with pytest.raises(ValueError, match=r"run\.npz: a generator of PCG64, expected the same kind of seed"):
        run(tmp_path / "run.npz", seed=np.random.Generator(np.random.MT19937(1)), optimizer=optimizer)
    assert made[0].steps == 0


def test_a_seed_that_was_drawn_is_kept(tmp_path):
    with pytest.raises(Stop) as caught:
        run(tmp_path / "run.npz", seed=None, stop=11)
    history, *_ = found = run(tmp_path / "run.npz", seed=None)
    assert history.seed == caught.value.history.seed and same(found, run(None, seed=history.seed))


def test_a_stream_skips_the_batches_that_it_has_had(tmp_path):
    batches = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, 53, 8)]

    def of_stream(path, callbacks=()):
        w = np.zeros(3)
        optimizer = fo.Adam(w, lr=0.05)
        history = fit(
            loss_and_grad, w, batches, optimizer, epochs=3, seed=0, checkpoint=path, resume=bool(path), callbacks=callbacks
        )
        return history, optimizer.fingerprint()

    with pytest.raises(Stop):
        of_stream(tmp_path / "run.npz", After(12))
    assert of_stream(tmp_path / "run.npz") == of_stream(None)


def test_the_log_has_each_epoch_once(tmp_path):
    expected = run(None)
    for k in (3, 11, 22):
        with pytest.raises(Stop):
            run(tmp_path / "run.npz", stop=k, folder=tmp_path)
    (tmp_path / "log").write_text((tmp_path / "log").read_text() + "written after the checkpoint\n")
    assert same(run(tmp_path / "run.npz", folder=tmp_path), expected)
    again = tmp_path / "again.npz"
    (tmp_path / "log").unlink()
    for k in (3, 6, 8):  # Twice after the line of an epoch was written, before its checkpoint.
        with pytest.raises(Stop):
            run(Checkpoint(again, seconds=0.0), stop=k, folder=tmp_path)
    run(again, folder=tmp_path)
    assert [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()] == [f"{k}," for k in range(EPOCHS)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 9}, "batch_size: saved 8, here 9"),
        ({"seed": 4}, "seed: saved 3, here 4"),
        ({"shuffle": False}, "shuffle: saved True, here False"),
        ({"validation": None}, "validation: saved True, here False"),
        (
            {"optimizer": lambda w: fo.Adam(w, lr=0.05, betas=(0.9, 0.5), ema=0.9)},
            r"betas: saved \[0.9, 0.999\], here \[0.9, 0.5\]",
        ),
        ({"optimizer": lambda w: fo.Adam(w, lr=0.04, ema=0.9)}, "lr: saved 0.05, here 0.04"),
        ({"optimizer": lambda w: fo.SGD(w, lr=0.05)}, "saved"),
        ({"stop": 1, "folder": "."}, r"callbacks: saved \['EarlyStopping', 'ReduceOnPlateau'\]"),
    ],
)
def test_a_file_of_another_run_is_refused(change, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("run.npz", epochs=2)
    if "folder" in change:
        change["folder"] = tmp_path
    before = (tmp_path / "run.npz").read_bytes()
    with pytest.raises(ValueError, match=text):
        run("run.npz", **change)
    assert (tmp_path / "run.npz").read_bytes() == before


def test_a_file_that_is_there_is_not_replaced(tmp_path):
    run(tmp_path / "run.npz", epochs=2)
    w = np.zeros(3)
    with pytest.raises(FileExistsError, match=r"expected resume=True to go on, or another path to begin anew"):
        fit(loss_and_grad, w, (X, Y), fo.SGD(w), checkpoint=tmp_path / "run.npz")
    fo.SGD(w).save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"expected one of training\.fit"):
        fit(loss_and_grad, w, (X, Y), fo.SGD(w), checkpoint=tmp_path / "other.npz", resume=True)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer on this system")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # A file that a signal left open.
def test_a_signal_at_any_moment_loses_nothing(tmp_path):
    """Signals come between any two lines of the loop, of callbacks, and of what writes the file."""
    expected = run(None)
    began = time.perf_counter()
    run(Checkpoint(tmp_path / "whole.npz", every=2))
    longest = 1.5 * (time.perf_counter() - began)  # Two of three signals come before a run's end.
    rng = np.random.default_rng(1)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted, finished = 0, 0
    try:
        for k in range(60):
            path = tmp_path / f"{k}.npz"
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-4, longest))
                    found = run(Checkpoint(path, every=2))
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    break
                except KeyboardInterrupt:
                    interrupted += 1
            finished += same(found, expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert finished == 60 and interrupted > 20


PROGRAM = """
import os, random, signal, sys, time
import numpy as np
import fastopt as fo
from fastopt.training import Checkpoint, fit

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3))
y = x @ [1.0, -2.0, 0.5]

def loss_and_grad(w, x, y):
    error = x @ w - y
    return np.mean(error**2), 2 * (x.T @ error) / len(error)

def run(checkpoint):
    w = np.zeros(3)
    optimizer = fo.Adam(w, lr=0.01, threads=1)
    resume = {"checkpoint": checkpoint, "resume": bool(checkpoint)}
    history = fit(loss_and_grad, w, (x, y), optimizer, epochs=25, batch_size=4, seed=1, **resume)
    return history, optimizer.fingerprint()

history, expected = run(None)
started = time.perf_counter()
run(Checkpoint("timed.npz", seconds=0.002))
seconds = time.perf_counter() - started
random.seed(0)
kills = runs = 0
while kills < KILLS:
    runs += 1
    path, behind = f"run{runs}.npz", 0
    while True:
        child = os.fork()
        if child == 0:
            found, fingerprint = run(Checkpoint(path, seconds=0.002))
            os._exit(0 if (fingerprint, found) == (expected, history) else 1)
        time.sleep(random.uniform(0, 0.5 * seconds))
        done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        kills += 1
    if status:
        sys.exit(f"run {runs} ended with {status}")
    assert sorted(name for name in os.listdir() if name.startswith(path)) == [path], os.listdir()
print(kills, runs)
"""


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_run_that_is_killed_200_times_is_that_of_one_that_was_not(tmp_path):
    program = textwrap.dedent(PROGRAM).replace("KILLS", "200")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    kills, runs = map(int, done.stdout.split())
    assert kills >= 200 and runs >= 5
