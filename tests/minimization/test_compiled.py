"""Compiled objectives: the bits of the loop in Python, in every form, for every method; signals, limits, refusals."""

import ctypes
import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from c_interface import C_FLAGS
from custom_rules import average
from scipy import LowLevelCallable

import fastopt as fo
from fastopt import testing
from fastopt.minimization import compiled

TEXT = """
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <time.h>
double rosenbrock(size_t n, const double *x, double *grad, void *data)
{
    double sum = 0, scale = data ? *(const double *)data : 1;
    for (size_t i = 0; i < n; i++) grad[i] = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        sum += scale * (100 * a * a + b * b);
        grad[i + 1] += scale * 200 * a;
        grad[i] += scale * (-400 * a * x[i] - 2 * b);
    }
    return sum;
}
double adding(size_t n, const double *x, double *grad, void *data) /* to gradients that are zero */
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (x[i] - 0.3) * (x[i] - 0.3);
        grad[i] += 2 * (x[i] - 0.3);
    }
    return sum;
}
double slow(size_t n, const double *x, double *grad, void *data)
{
    struct timespec t = {0, 3000000};
    nanosleep(&t, 0);
    return rosenbrock(n, x, grad, data);
}
double breaks(size_t n, const double *x, double *grad, void *data)
{
    const double f = rosenbrock(n, x, grad, data);
    return f < 3 ? 0.0 / 0.0 : f;
}
"""
DOUBLES = ctypes.POINTER(ctypes.c_double)
TYPES = [ctypes.c_size_t, DOUBLES, DOUBLES, ctypes.c_void_p]
START = np.tile([-1.2, 1.0], 3)
METHODS = [name.lower() for name in fo.optimizers.__all__]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    (folder / "objectives.c").write_text(TEXT)
    subprocess.run(["cc", *C_FLAGS, "-shared", "-fPIC", folder / "objectives.c", "-o", folder / "objectives.so"], check=True)
    found = ctypes.CDLL(str(folder / "objectives.so"))
    for name in ("rosenbrock", "adding", "slow", "breaks"):
        getattr(found, name).restype, getattr(found, name).argtypes = ctypes.c_double, TYPES
    return found


def in_python(fun, data=None):
    """Return a function of ctypes as one of Python."""

    def call(x):
        grad = np.zeros_like(x)
        return fun(x.size, x.ctypes.data_as(DOUBLES), grad.ctypes.data_as(DOUBLES), data), grad

    return call


def same(found, other):
    """Compare results of the compiled loop and of the one in Python."""
    for name in ("status", "message", "nit", "nfev", "njev"):
        assert found[name] == other[name], name
    assert found.x.tobytes() == other.x.tobytes() and found.jac.tobytes() == other.jac.tobytes()
    assert found.fun == other.fun or (np.isnan(found.fun) and np.isnan(other.fun))
    assert found.optimizer.fingerprint() == other.optimizer.fingerprint()
    assert repr(found.optimizer.report()) == repr(other.optimizer.report())


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::scipy.optimize.OptimizeWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("arguments", [{}, {"bounds": [(-2, 0.8)] * 6}, {"x_scale": [2.0, 0.3] * 3, "bounds": [(-2, 0.8)] * 6}])
def test_methods_have_the_bits_of_python(library, method, arguments):
    if "bounds" in arguments and method.startswith("schedulefree"):
        arguments = {"x_scale": 3.0}
    options = {"maxiter": 400}
    found = fo.minimize(library.rosenbrock, START, method=method, options=options, **arguments)
    same(found, fo.minimize(in_python(library.rosenbrock), START, jac=True, method=method, options=options, **arguments))


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 1.0},
        {"clip_value": 0.5, "max_step": 0.05, "weight_decay": 0.01},
        {"lr": fo.schedules.cosine_decay(0.2, 300)},
        {"lr": lambda t: 0.1 / (1 + t / 100)},
        {"ema": 0.9, "returns": "average"},
        {"xtol": 1e-3, "patience": 5},
        {"target": 2.0},
        {"maxfun": 33},
        {"norms": True},
        {"amsgrad": True, "betas": (0.8, 0.99)},
        {"flush_subnormals": True},
        {"threads": 1, "ftol": None, "gtol": None},
        {"returns": "last", "trust_ratio": 0.1},
        {"history": True, "return_all": True},
    ],
)
def test_options_have_the_bits_of_python(library, options):
    options = {"maxiter": 300, **options}
    found = fo.minimize(library.rosenbrock, START, options=options)
    other = fo.minimize(in_python(library.rosenbrock), START, jac=True, options=options)
    same(found, other)
    if "history" in options:
        assert np.array_equal(found.history.fun, other.history.fun) and np.array_equal(found.allvecs, other.allvecs)


def test_forms_of_compiled_objectives(library):
    data = ctypes.c_double(0.5)
    pointer = ctypes.cast(ctypes.byref(data), ctypes.c_void_p)
    with_data = fo.minimize(in_python(library.rosenbrock, pointer), START, jac=True)
    plain = fo.minimize(in_python(library.rosenbrock), START, jac=True)
    address = ctypes.cast(library.rosenbrock, ctypes.c_void_p).value
    prototype = ctypes.CFUNCTYPE(ctypes.c_double, *TYPES)(address)
    untyped = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_size_t, *[ctypes.c_void_p] * 3)(address)
    for fun in (library.rosenbrock, prototype, untyped, LowLevelCallable(library.rosenbrock), LowLevelCallable(prototype)):
        same(fo.minimize(fun, START), plain)
    same(fo.minimize(LowLevelCallable(library.rosenbrock, user_data=pointer), START), with_data)
    first = fo.minimize(LowLevelCallable(library.rosenbrock, user_data=pointer), START, options={"maxiter": 0})
    assert first.fun == 0.5 * in_python(library.rosenbrock)(START)[0]


def test_numba_and_cffi(library):
    numba = pytest.importorskip("numba")
    types = numba.types
    doubles = types.CPointer(types.float64)

    @numba.cfunc(types.float64(types.uintp, doubles, doubles, types.voidptr))
    def square(n, x, grad, data):
        total = 0.0
        for i in range(n):
            total += (x[i] - 1) ** 2
            grad[i] = 2 * (x[i] - 1)
        return total

    for fun in (square, square.ctypes, LowLevelCallable(square.ctypes)):
        assert fo.minimize(fun, START).success
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    signature = "double (*)(size_t n, const double *x, double *grad, void *data)"
    address = ctypes.cast(library.rosenbrock, ctypes.c_void_p).value
    found = fo.minimize(LowLevelCallable(ffi.cast(signature, address)), START)
    same(found, fo.minimize(library.rosenbrock, START))


def test_values_that_are_not_finite(library):
    found = fo.minimize(library.breaks, START)
    assert found.status == 3 and found.message.startswith("NaN result encountered: the value after") and found.fun >= 3
    same(found, fo.minimize(in_python(library.breaks), START, jac=True))
    with pytest.raises(FloatingPointError, match="NaN result encountered"):
        fo.minimize(library.breaks, START, options={"on_nonfinite": "raise"})


def test_callbacks_are_called_at_every_point(library):
    seen = []
    found = fo.minimize(library.rosenbrock, START, callback=lambda x: seen.append(x), options={"maxiter": 30})
    assert len(seen) == found.nit == 30
    same(found, fo.minimize(library.rosenbrock, START, options={"maxiter": 30}))


def test_interrupts_and_limits_of_time(library):
    """Ctrl-C comes through within a few calls of an objective of 3 ms, and the best point is kept."""
    endless = {"maxiter": np.inf, "gtol": None, "ftol": None}
    for fun in (library.slow, library.rosenbrock):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt) as told:
            fo.minimize(fun, START, options=endless)
        assert time.perf_counter() - began < 10
        found = told.value.result
        assert found.nit > 5 and found.nfev - found.nit in (0, 1) and found.fun < 100
        found = fo.minimize(fun, START, options={**endless, "maxtime": 0.2})
        assert "seconds has been exceeded" in found.message and found.status == 1


@pytest.mark.compiled
def test_the_gil_is_free(library):
    """Another thread runs meanwhile, and is refused a step of the optimizer that is at work."""
    m = fo.Minimizer(START, maxiter=None, gtol=None, ftol=None)
    objective = compiled.compiled(library.slow)
    refused = []

    def disturb():
        while not done.is_set():
            try:
                m.optimizer.step()
            except RuntimeError as error:
                refused.append(str(error))

    done = threading.Event()
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        compiled.loops.run(m._judge, objective.address, objective.data, 0, 0.3)
    except RuntimeError as error:  # The other thread's own step.
        refused.append(str(error))
    done.set()
    thread.join()
    assert len(refused) > 100 and all("this optimizer is at work" in words for words in refused)


def interpreted(name):
    """Return a class of optimizers that run interpreted."""
    return testing.interpreted_class(getattr(fo, name))


@pytest.mark.filterwarnings("ignore:average runs interpreted")
@pytest.mark.parametrize("method", [average, interpreted("Adam")])
def test_steps_that_are_interpreted(library, method):
    """A rule without a kernel makes its steps in Python, with a compiled objective too."""
    options = {"lr": 0.01, "maxiter": 30}
    found = fo.minimize(library.rosenbrock, START, method=method, options=options)
    same(found, fo.minimize(in_python(library.rosenbrock), START, jac=True, method=method, options=options))
    assert found.nit == 30


def test_gradients_are_zero_before_a_call(library):
    found = fo.minimize(library.adding, START)
    same(found, fo.minimize(library.adding, START, callback=lambda x: None))
    assert np.allclose(found.x, 0.3, atol=1e-4)


def test_checkpoints_do_not_change_the_loop(library, tmp_path):
    options = {"maxiter": 100_000, "gtol": None, "ftol": None}
    found = fo.minimize(library.rosenbrock, START, checkpoint=tmp_path / "run.npz", options=options)
    same(found, fo.minimize(library.rosenbrock, START, options=options))


def test_restarts(library, tmp_path):
    path = tmp_path / "run.npz"
    whole = fo.minimize(library.rosenbrock, START, options={"maxiter": 900})
    for maxiter in (1, 200, 201, 900):
        found = fo.minimize(library.rosenbrock, START, checkpoint=path, resume=True, options={"maxiter": maxiter})
    same(found, whole)


def test_without_compiled_loops(library, monkeypatch):
    found = fo.minimize(library.rosenbrock, START)
    monkeypatch.setattr(compiled, "loops", None)
    same(found, fo.minimize(library.rosenbrock, START))


def test_signatures_in_c():
    words = ("double", "size_t", "double *", "double *", "void *")
    for text in (
        "double (size_t n, const double *x, double *grad, void *data)",
        "double (unsigned long, double const * x, double*, void*)",
        "double (ulong, double *, double *, void *)",
        "double (uint64_t n, const double* x, double *grad, void *)",
    ):
        assert compiled.signature_of(text) == words
    assert compiled.signature_of("double (int, double *)") != words
