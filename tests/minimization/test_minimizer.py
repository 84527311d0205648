"""Ask and tell; restart files that go on bit for bit; interruptions."""

import itertools
import signal
import subprocess
import sys

import numpy as np
import pytest
from problems import PROBLEMS, rosenbrock

import fastopt as fo

START = np.tile([-1.2, 1.0], 5)
OPTIONS = {"maxiter": 150, "history": True, "return_all": True, "gtol": 1e-6}
FIELDS = ("fun", "success", "status", "message", "nit", "nfev", "njev")


def same(a, b):
    """Compare two results, except for times."""
    assert {k: a[k] for k in FIELDS} == {k: b[k] for k in FIELDS}
    assert a.x.tobytes() == b.x.tobytes() and a.jac.tobytes() == b.jac.tobytes()
    assert a.optimizer.fingerprint() == b.optimizer.fingerprint()
    assert np.array_equal(a.get("allvecs", []), b.get("allvecs", []))
    for name in ("fun", "gradient", "lr") if "history" in a else ():
        assert np.array_equal(getattr(a.history, name), getattr(b.history, name))


@pytest.mark.parametrize("method", ["adam", "schedulefreeadamw", "rprop"])
@pytest.mark.parametrize("name", ["rosenbrock 2", "logistic"])
@pytest.mark.filterwarnings("ignore::scipy.optimize.OptimizeWarning")
def test_asking_and_telling_is_minimizing(method, name):
    fun, x0, bounds = PROBLEMS[name]
    bounds = None if method == "schedulefreeadamw" else bounds
    m = fo.Minimizer(x0, method, bounds, maxiter=50)
    while not m.done:
        x = m.ask()
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        assert np.array_equal(x, m.ask())
        m.tell(*fun(x))
    same(m.result(), fo.minimize(fun, x0, method=method, jac=True, bounds=bounds, options={"maxiter": 50}))
    for call in (m.ask, lambda: m.tell(*fun(x))):
        with pytest.raises(RuntimeError, match=r"the run has ended: (Maximum number of iterations|Optimization)"):
            call()


def test_what_is_told_is_checked():
    m = fo.Minimizer([1.0, 2.0])
    for fun, jac, error in ((1.0, [1.0], ValueError), (None, [1.0, 2.0], TypeError), (1.0, None, TypeError)):
        with pytest.raises(error):
            m.tell(fun, jac)
    assert (m.nit, m.nfev, m.njev) == (0, 0, 0) and m.result().message == "The minimization has not ended."
    m.tell(1.0, [1.0, 1.0])
    assert (m.nit, m.nfev, m.njev) == (1, 1, 1) and m.result().fun == 1 and np.array_equal(m.result().x, [1, 2])


def run(path, stop, **options):
    """Minimize Rosenbrock's function, which raises at a call."""
    calls = itertools.count()

    def fun(x):
        if next(calls) == stop:
            raise KeyboardInterrupt
        return rosenbrock(x)

    checkpoint = None if path is None else fo.training.Checkpoint(path, every=1)
    chosen = {**OPTIONS, **options}
    return fo.minimize(fun, START, jac=True, checkpoint=checkpoint, resume=path is not None, options=chosen)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.9, "returns": "average"},
        {"lr": fo.schedules.cosine_decay(0.2, 100), "clip_norm": 3.0},
        {"ftol": 10.0, "patience": 20},
        {"xtol": 0.05, "patience": 3},
        {"returns": "last"},
        {"lr": lambda t: 0.1 / (1 + t / 50)},
    ],
)
def test_interrupted_runs_go_on_bit_for_bit(tmp_path, options):
    whole = run(None, -1, **options)
    for stop in (0, 1, 7, 40, 43):
        path = tmp_path / f"{stop}.npz"
        if stop < whole.nfev:
            with pytest.raises(KeyboardInterrupt) as told:
                run(path, stop, **options)
            assert told.value.result.nit == stop and not told.value.result.success
        same(run(path, -1, **options), whole)
        same(run(path, 0, **options), whole)  # A run that has ended calls nothing.


def test_a_run_goes_on_beyond_its_limits(tmp_path):
    path = tmp_path / "run.npz"
    for limits in ({"maxiter": 20}, {"maxfun": 30}, {"maxtime": 0.0}, {"maxiter": 31}):
        assert run(path, -1, **limits).status == 1

    def stop(intermediate_result):
        if intermediate_result.nit == 40:
            raise StopIteration

    found = fo.minimize(rosenbrock, START, jac=True, checkpoint=path, resume=True, callback=stop, options=OPTIONS)
    assert (found.status, found.nit) == (99, 40)
    same(run(path, -1), run(None, -1))


def test_files_saved_within_a_callback(tmp_path):
    """The point has been judged, and its step not made."""
    path = tmp_path / "run.npz"
    m = fo.Minimizer(START, callback=lambda x: m.save(path, {"note": "mine"}) if m.nit == 5 else None, **OPTIONS)
    while not m.done:
        m.tell(*rosenbrock(m.ask()))
    other = fo.Minimizer(START, **OPTIONS)
    assert other.load(path) == {"note": "mine"} and other.nit == 6
    while not other.done:
        other.tell(*rosenbrock(other.ask()))
    same(other.result(), m.result())


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    path = tmp_path / "run.npz"
    run(path, -1, maxiter=3)
    m = fo.Minimizer(START, lr=0.2)
    before = m.optimizer.fingerprint(), m._judge.progress.tobytes()
    with pytest.raises(ValueError, match=r"lr: saved 0.1, here 0.2"):
        m.load(path)
    assert before == (m.optimizer.fingerprint(), m._judge.progress.tobytes())


def test_states_of_callbacks_are_saved(tmp_path):
    path = tmp_path / "run.npz"

    def minimize(plateau, checkpoint, maxiter):
        options = {"maxiter": maxiter, "gtol": None, "lr": 0.5}
        return fo.minimize(
            rosenbrock, START, jac=True, callback=plateau, checkpoint=checkpoint, resume=checkpoint is not None, options=options
        )

    def plateau():
        return fo.training.ReduceOnPlateau(patience=4, factor=0.7)

    whole = minimize(plateau(), None, 80)
    assert whole.optimizer.lr < 0.3
    for maxiter in (10, 37, 80):
        found = minimize(plateau(), path, maxiter)
        assert maxiter == 80 or found.nit == maxiter
    same(found, whole)


def test_several_files_are_kept(tmp_path):
    checkpoint = fo.training.Checkpoint(tmp_path / "at-{nit}.npz", every=10, keep=3)
    found = fo.minimize(rosenbrock, START, jac=True, checkpoint=checkpoint, options={"maxiter": 45})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at-30.npz", "at-40.npz", "at-45.npz"]
    (tmp_path / "at-45.npz").unlink()
    between = fo.training.Checkpoint(tmp_path / "at-{nit}.npz", every=10, keep=9)
    fo.minimize(rosenbrock, START, jac=True, checkpoint=between, resume=True, options={"maxiter": 58})
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"at-{n}.npz" for n in (30, 40, 50, 58)]
    for n in (50, 58):
        (tmp_path / f"at-{n}.npz").unlink()
    same(fo.minimize(rosenbrock, START, jac=True, checkpoint=checkpoint, resume=True, options={"maxiter": 45}), found)


PROGRAM = """
import os, sys, time
import numpy as np, fastopt as fo
from scipy.optimize import rosen, rosen_der

def fun(x):
    time.sleep(0.0005)
    return rosen(x), rosen_der(x)

checkpoint = fo.training.Checkpoint("run.npz", every=5)
found = fo.minimize(fun, np.tile([-1.2, 1.0], 5), jac=True, checkpoint=checkpoint, resume=True, options={"maxiter": 400})
print(found.nit, found.nfev, found.x.tobytes().hex(), found.optimizer.fingerprint())
"""


def test_a_killed_process_goes_on(tmp_path):
    def start():
        return subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    for _ in range(3):
        process = start()
        try:
            process.wait(1.2)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    out, _ = start().communicate(timeout=120)
    found = fo.minimize(rosenbrock, START, jac=True, options={"maxiter": 400})
    nit, _, *rest = out.split()
    assert (int(nit), rest) == (found.nit, [found.x.tobytes().hex(), found.optimizer.fingerprint()])


def test_a_signal_at_every_moment_of_tell():
    """Whatever a handler interrupts, the point is told again and the run is that of no interruption."""
    reference = fo.minimize(rosenbrock, START, jac=True, options={"maxiter": 12, "gtol": None})
    for moment in range(60):
        m = fo.Minimizer(START, maxiter=12, gtol=None)
        left = [moment]

        def trace(frame, event, argument, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return trace

        while not m.done:
            x = m.ask()
            sys.settrace(trace if m.nit == 3 else None)
            try:
                m.tell(*rosenbrock(x))
            except KeyboardInterrupt:
                continue
            finally:
                sys.settrace(None)
        assert m.result().x.tobytes() == reference.x.tobytes() and m.nit == 12
        assert m.optimizer.fingerprint() == reference.optimizer.fingerprint()


def test_interrupted_between_judgement_and_the_end(tmp_path):
    """A callback that is interrupted at the last point: the run that goes on still ends with its average."""
    path = tmp_path / "run.npz"

    def minimize(callback, **options):
        return fo.minimize(rosenbrock, START, jac=True, callback=callback, checkpoint=path, resume=True, options=options)

    def interrupt(intermediate_result):
        if intermediate_result.nit == 10:
            raise KeyboardInterrupt

    options = {"ema": 0.9, "returns": "average", "maxiter": 10, "history": True}
    with pytest.raises(KeyboardInterrupt):
        minimize(interrupt, **options)
    same(minimize(lambda x: None, **options), fo.minimize(rosenbrock, START, jac=True, options=options))


def test_no_record_is_lost(tmp_path):
    """An interrupted record of a point loses neither it nor the callback of that point."""
    path, seen = tmp_path / "run.npz", []
    options = {"maxiter": 30, "history": True, "return_all": True, "callback": seen.append}
    m = fo.Minimizer(START, **options)
    add = m._record.add

    def broken(m):
        if m.nit == 5:
            raise KeyboardInterrupt
        add(m)

    m._record.add = broken
    with pytest.raises(KeyboardInterrupt):
        while not m.done:
            m.tell(*rosenbrock(m.ask()))
    m.save(path)
    other = fo.Minimizer(START, **options)
    other.load(path)
    while not other.done:
        other.tell(*rosenbrock(other.ask()))
    assert len(other.result().history.fun) == len(other.result().allvecs) == 31 and len(seen) == 30


def test_a_function_that_fails_at_once_leaves_no_file(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(ZeroDivisionError):
        fo.minimize(lambda x: 1 / 0, START, checkpoint=path)
    assert not path.exists() and fo.minimize(rosenbrock, START, jac=True, checkpoint=path, options={"maxiter": 3}).nit == 3


def test_results_are_copies():
    for options in ({}, {"ema": 0.9, "returns": "average"}, {"returns": "last"}):
        m = fo.Minimizer(START, maxiter=5, **options)
        while not m.done:
            m.tell(*rosenbrock(m.ask()))
        first = m.result()
        first.x[:], first.jac[:] = 99, 99
        assert m.result().x.max() < 10


def test_numbers_of_numpy_as_options(tmp_path):
    path = tmp_path / "run.npz"
    options = {"gtol": np.float64(1e-6), "ftol": np.float32(1e-9), "patience": np.int64(50), "history": np.True_}
    for maxiter in (np.int64(5), np.float64(9)):
        arguments = {"jac": True, "checkpoint": path, "resume": True}
        found = fo.minimize(rosenbrock, START, **arguments, options={**options, "maxiter": maxiter})
        assert found.nit == maxiter


def test_a_file_that_cannot_be_written_hides_no_error(tmp_path):
    class Callback:
        def __call__(self, xk):
            raise KeyboardInterrupt

        def state_dict(self):
            return {"a": object()}

    with pytest.raises(KeyboardInterrupt) as told:
        fo.minimize(rosenbrock, START, jac=True, checkpoint=tmp_path / "run.npz", callback=Callback())
    assert told.value.result.nit == 1 and "checkpoint: not written (TypeError" in told.value.__notes__[0]


def test_errors_are_raised_again(tmp_path):
    """A run that ended with an error for a value that is not finite ends so when it is resumed."""
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="NaN result encountered: the value after 0 iterations"):
            options = {"on_nonfinite": "raise"}
            fo.minimize(lambda x: (np.nan, x), START, jac=True, checkpoint=tmp_path / "run.npz", resume=True, options=options)


def test_a_limit_that_was_judged_and_is_wider_now(tmp_path):
    """Interrupted in the callback at the last point of a limit; the run goes on where the limit is another."""
    path, calls = tmp_path / "run.npz", []

    def callback(xk):
        calls.append(xk)
        if len(calls) == 5:
            raise KeyboardInterrupt

    def minimize(maxiter):
        options = {**OPTIONS, "maxiter": maxiter}
        return fo.minimize(rosenbrock, START, jac=True, callback=callback, checkpoint=path, resume=True, options=options)

    with pytest.raises(KeyboardInterrupt):
        minimize(5)
    same(minimize(60), fo.minimize(rosenbrock, START, jac=True, options={**OPTIONS, "maxiter": 60}))
