"""Many problems at once: each has the bits of `minimize`, whatever the others, threads and blocks."""

import ctypes
import itertools
import os
import signal
import subprocess
import threading
import warnings

import numpy as np
import pytest
from c_interface import C_FLAGS
from custom_rules import average

import fastopt as fo
from fastopt.minimization import many

TEXT = """
#include <stddef.h>
#include <math.h>
double wells(size_t n, const double *x, double *grad, void *data, size_t problem)
{
    double sum = 0;
    const double c = (double)(problem % 7) * 0.3;
    for (size_t i = 0; i < n; i++) {
        const double d = x[i] - c;
        sum = sum + (d * d * d * d + d * d * (double)(i + 1));
        grad[i] = 4 * d * d * d + 2 * d * (double)(i + 1);
    }
    return problem == 5 && sum < 1 ? NAN : sum;
}
"""
DOUBLES = ctypes.POINTER(ctypes.c_double)
PROBLEMS, N = 300, 5
CENTRES = (np.arange(PROBLEMS) % 7 * 0.3)[:, None]
START = np.random.default_rng(5).normal(size=(PROBLEMS, N)) * np.linspace(0.1, 3, PROBLEMS)[:, None]
FIELDS = ("x", "fun", "jac", "status", "success", "nit", "nfev", "njev")
ELEMENTWISE = [
    "adabelief",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "asgd",
    "ftrl",
    "lion",
    "muon",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "schedulefreeadamw",
    "schedulefreesgd",
    "sgd",
    "signsgd",
    "yogi",
]


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    (folder / "many.c").write_text(TEXT)
    subprocess.run(["cc", *C_FLAGS, "-shared", "-fPIC", folder / "many.c", "-o", folder / "many.so", "-lm"], check=True)
    library = ctypes.CDLL(str(folder / "many.so"))
    library.wells.restype, library.wells.argtypes = (
        ctypes.c_double,
        [ctypes.c_size_t, DOUBLES, DOUBLES, ctypes.c_void_p, ctypes.c_size_t],
    )
    return library.wells


def one(fun, problem):
    """Return a problem of a compiled objective as a function of Python."""

    def call(x):
        grad = np.zeros_like(x)
        return fun(x.size, x.ctypes.data_as(DOUBLES), grad.ctypes.data_as(DOUBLES), None, problem), grad

    return call


def vectorised(x, c):
    """Return values and gradients of many problems, added up as `one` of them is."""
    d, factor = x - c, np.arange(1.0, x.shape[1] + 1)
    terms = d * d * d * d + d * d * factor
    total = 0.0
    for column in terms.T:
        total = total + column
    return total, 4 * d * d * d + 2 * d * factor


def equal(found, other):
    for name in FIELDS:
        assert np.array_equal(found[name], other[name], equal_nan=True), name


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::scipy.optimize.OptimizeWarning")
@pytest.mark.parametrize("method", ELEMENTWISE)
@pytest.mark.parametrize("bounds", [None, [(-1, 0.35)] * N])
def test_each_is_minimized_by_itself(wells, method, bounds):
    if method.startswith("schedulefree"):
        bounds = None
    options = {"maxiter": 300, "returns": "best"}
    compiled = fo.minimize_many(wells, START, method=method, bounds=bounds, options=options)
    plain = fo.minimize_many(vectorised, START, args=(CENTRES,), method=method, bounds=bounds, options=options)
    for k in (0, 5, 70, 131, 299):
        single = fo.minimize(one(wells, k), START[k], method=method, jac=True, bounds=bounds, options=options)
        found = (compiled,) if k == 5 else (compiled, plain)
        for many_ in found:
            for name in FIELDS:
                assert np.array_equal(many_[name][k], single[name]), (name, k)
    assert bounds is not None or compiled.status[5] in (1, 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ftol": 1.0, "patience": 10, "gtol": None},
        {"xtol": 1e-2, "patience": 3, "gtol": None},
        {"target": 0.01},
        {"returns": "last", "maxiter": 77},
        {"lr": fo.schedules.cosine_decay(0.1, 300)},
        {"clip_value": 0.5, "max_step": 0.05, "weight_decay": 0.01},
        {"step_scale": np.linspace(0.1, 1, PROBLEMS * N).reshape(PROBLEMS, N)},
        {"ema": 0.9, "returns": "best"},
        {"flush_subnormals": True},
    ],
)
def test_options(wells, options):
    options = {"maxiter": 400, **options}
    found = fo.minimize_many(wells, START, options=options)
    for k in (0, 3, 131, 299):
        own = {**options, **({"step_scale": {"x": options["step_scale"][k]}} if "step_scale" in options else {})}
        single = fo.minimize(one(wells, k), START[k], jac=True, options=own)
        for name in FIELDS:
            assert np.array_equal(found[name][k], single[name]), (name, k)
    plain = fo.minimize_many(vectorised, START, args=(CENTRES,), options=options)
    others = np.arange(PROBLEMS) != 5
    for name in FIELDS:
        assert np.array_equal(plain[name][others], found[name][others]), name


def test_neither_threads_nor_other_problems_matter(wells):
    whole = fo.minimize_many(wells, START)
    for threads in (1, 2, 7):
        equal(fo.minimize_many(wells, START, threads=threads), whole)
    part = fo.minimize_many(wells, START[:71])
    for name in FIELDS:
        assert np.array_equal(part[name], whole[name][:71]), name


def test_calls_with_those_that_still_run():
    sizes = []

    def fun(x, c, word):
        assert word == "same"
        sizes.append(len(x))
        assert len(c) == len(x)
        kept = x.copy()
        value = vectorised(x, c)
        x[:] = 99
        points.append((kept, c))
        return value

    points = []
    found = fo.minimize_many(fun, START, args=(CENTRES, "same"))
    assert (
        sizes[0] == PROBLEMS
        and sizes[-1] <= PROBLEMS // 2
        and all(b in (a, *range(a // 2 + 1)) for a, b in itertools.pairwise(sizes))
    )
    assert found.success.all() and found.message == f"{PROBLEMS} of {PROBLEMS} problems ended successfully."
    sizes.clear()
    points.clear()
    equal(fo.minimize_many(fun, START, args=(CENTRES, "same"), preserve_shape=True), found)
    assert set(sizes) == {PROBLEMS}
    # Points that have ended stay where they are.
    first = found.nit.argmin()
    assert len({x[first].tobytes() for x, _ in points[found.nit[first] :]}) == 1


def test_float32_and_lists():
    found = fo.minimize_many(vectorised, START.astype(np.float32), args=(CENTRES.astype(np.float32),), options={"gtol": 1e-3})
    assert found.x.dtype == np.float32 and found.success.all()
    k = 17
    single = fo.minimize(
        lambda x: tuple(np.ravel(a) for a in vectorised(x[None], CENTRES[k].astype(np.float32))),
        START[k].astype(np.float32),
        jac=True,
        options={"gtol": 1e-3},
    )
    assert np.array_equal(found.x[k], single.x) and found.nit[k] == single.nit
    whole = fo.minimize_many(lambda x: (x[:, 0] ** 2, 2 * x), [[1], [2]])
    assert whole.x.dtype == np.float64 and whole.success.all()


def test_bounds_of_each():
    from scipy.optimize import Bounds

    low, high = np.full((3, 2), -5.0), np.array([[0.1, 5], [0.2, 5], [5, 0.3]])
    found = fo.minimize_many(lambda x: (((x - 1) ** 2).sum(1), 2 * (x - 1)), np.zeros((3, 2)), bounds=Bounds(low, high))
    np.testing.assert_allclose(found.x, np.minimum(high, 1), atol=1e-5)


def test_interrupts(wells):
    endless = {"maxiter": np.inf, "gtol": None, "ftol": None}
    for fun, args in ((wells, ()), (vectorised, (CENTRES,))):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt) as told:
            fo.minimize_many(fun, START, args=args, options=endless)
        found = told.value.result
        others = np.arange(PROBLEMS) != 5
        assert (found.status[others] == -1).all() and (found.fun < 1e9)[others].all()
        late = fo.minimize_many(fun, START, args=args, options={**endless, "maxtime": 0.1})
        assert (late.status[others] == 1).all() and late.nit[0] > 5


@pytest.mark.parametrize("method", ["adam", "nadam", "sgd"])
def test_without_the_compiled_engine(wells, monkeypatch, method):
    options = {"maxiter": 250, "target": 0.3, **({"lr": 0.05} if method != "adam" else {})}  # Some have ended, some have not.
    chosen = START[:12]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = fo.minimize_many(wells, chosen, method=method, bounds=[(-1, 2)] * N, options=options)
        plain = fo.minimize_many(vectorised, chosen, args=(CENTRES[:12],), method=method, options=options)
        monkeypatch.setattr(many, "rows", None)
        equal(fo.minimize_many(wells, chosen, method=method, bounds=[(-1, 2)] * N, options=options), compiled)
        equal(fo.minimize_many(vectorised, chosen, args=(CENTRES[:12],), method=method, options=options), plain)
    assert len(set(plain.nit)) > 2


def test_gradients_of_problems_that_have_ended_stay():
    """A noisy function is asked again at points that have ended; its answers there are not taken."""
    rng, calls = np.random.default_rng(0), []

    def noisy(x):
        calls.append(x)
        return np.sum(x**2, 1), 2 * x + (len(calls) > 1) * rng.normal(size=x.shape)

    found = fo.minimize_many(noisy, np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]]), options={"maxiter": 5}, preserve_shape=True)
    assert found.nit[0] == 0 and not found.jac[0].any() and len(calls) == 6


@pytest.mark.compiled
def test_time_is_shared(wells):
    """Within a limit of time all blocks make about as many steps."""
    start = np.tile(START, (10, 1))
    found = fo.minimize_many(wells, start, threads=1, options={"maxtime": 0.3, "maxiter": None, "gtol": None, "ftol": None})
    nit = found.nit[found.status == 1]
    assert nit.min() > 100 and nit.max() < 20 * nit.min()


def test_arguments_of_other_libraries():
    """Entries of tables are taken by position; lists are arrays."""
    pd = pytest.importorskip("pandas")
    centres = np.linspace(-1, 1, 6)
    start = np.stack([np.arange(6) + centres, centres], 1)

    def fun(x, c):
        d = x - np.asarray(c)[:, None]
        return (d**2).sum(1), 2 * d

    for c in (centres, [*centres], pd.Series(centres, index=np.arange(6)[::-1])):
        found = fo.minimize_many(fun, start, args=(c,))
        np.testing.assert_allclose(found.x, np.stack([centres, centres], 1), atol=1e-4)


@pytest.mark.filterwarnings("ignore:average runs interpreted")
def test_rules_without_a_kernel(wells):
    options = {"lr": 0.01, "maxiter": 30}
    found = fo.minimize_many(wells, START[:4], method=average, options=options)
    for k in range(4):
        single = fo.minimize(one(wells, k), START[k], method=average, jac=True, options=options)
        assert np.array_equal(found.x[k], single.x) and found.nit[k] == single.nit


def test_where_an_exception_is_handled(wells):
    """An exception of the caller's own is no reason to stop."""
    whole = fo.minimize_many(wells, START, threads=4)
    try:
        raise ValueError
    except ValueError:
        for _ in range(5):
            equal(fo.minimize_many(wells, START, threads=4), whole)


def test_no_thread_runs_when_an_interrupt_is_raised(wells):
    before = threading.active_count()
    for delay in (0.05, 0.1, 0.2):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            fo.minimize_many(wells, START, threads=4, options={"maxiter": None, "gtol": None, "ftol": None})
        timer.join()
        assert threading.active_count() == before


def test_no_time_at_all(wells):
    found = fo.minimize_many(wells, START, options={"maxtime": 0})
    never = found.nfev == 0
    assert np.isnan(found.jac[never]).all() and np.isnan(found.fun[never]).all() and not found.success[never].any()


def test_a_rate_that_falls_is_not_cut_short_either(wells):
    options = {"lr": fo.schedules.exponential_decay(0.5, 0.99), "maxiter": 300, "patience": 5, "gtol": None}
    found = fo.minimize_many(wells, START[:3], options=options)
    plain = fo.minimize_many(vectorised, START[:3], args=(CENTRES[:3],), options=options)
    assert (found.nit == 300).all() and (plain.nit == 300).all()
