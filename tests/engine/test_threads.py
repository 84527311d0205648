"""Several Python threads: optimizers that step at once, and one optimizer called by all."""

import contextlib
import ctypes
import sys
import threading

import numpy as np
import pytest
from cases import data, same

import fastopt as fo
from fastopt._engine import dispatch


def together(*functions):
    """All at once, each in a thread; errors come out."""
    errors, gate = [], threading.Barrier(len(functions))

    def run(function):
        gate.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def many_switches():
    """The interpreter changes between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("n", [10, 3000, 200_000])
def test_two_optimizers_from_two_threads(n, threads, many_switches):
    """Each makes its own steps, with the bits of steps one after another."""
    steps = 20 if dispatch.TABLE is None else 100
    alone = [data(n, np.float32, k) for k in (1, 2)]
    parallel = [a.copy() for a in alone]
    grads = [data(n, np.float32, k) for k in (3, 4)]

    def train(p, g):
        optimizer = fo.Adam(p, lr=0.01, clip_norm=1.0, threads=threads)
        for _ in range(steps):
            optimizer.step(g)

    for p, g in zip(alone, grads, strict=True):
        train(p, g)
    together(*(lambda p=p, g=g: train(p, g) for p, g in zip(parallel, grads, strict=True)))
    assert all(same(a, b) for a, b in zip(alone, parallel, strict=True))


@pytest.mark.compiled
def test_both_are_at_work_at_once():
    """One optimizer's step is seen from inside of another's thread: neither waits for the other's GIL."""
    n = 4_000_000
    first, second = (fo.Adam(np.zeros(n, np.float32), threads=1) for _ in range(2))
    for optimizer in (first, second):
        optimizer.bind(np.ones(n, np.float32))
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(first._at_work() and second._at_work())

    watcher = threading.Thread(target=watch)
    watcher.start()
    together(*(lambda o=o: [o.step() for _ in range(20)] for o in (first, second)))
    done.set()
    watcher.join()
    assert any(seen)


@pytest.mark.parametrize("n", [10, 5000])
def test_one_optimizer_from_many_threads(n, many_switches):
    """Steps are made whole or refused; what was made is what so many steps make."""
    p, g = data(n, np.float64, 1), data(n, np.float64, 2)
    optimizer, made, refused = fo.Adam(p, lr=0.01), [], []

    def ask():
        for _ in range(200 if dispatch.TABLE is not None else 20):
            try:
                made.append(optimizer.step(g))
            except RuntimeError as error:
                refused.append(str(error))

    together(*[ask] * 4)
    assert all("at work: in another thread" in text for text in refused) and made
    q = data(n, np.float64, 1)
    other = fo.Adam(q, lr=0.01)
    for _ in made:
        other.step(g)
    assert optimizer.steps == len(made) and same(p, q) and optimizer.fingerprint() == other.fingerprint()


def test_saving_during_steps(tmp_path, many_switches):
    """A file holds one moment: parameters, state and count belong together."""
    p, g = np.zeros(2000), np.ones(2000)
    optimizer, done, saved = fo.SGD(p, lr=1.0, momentum=0.5), threading.Event(), []

    def train():
        while not done.is_set():
            with contextlib.suppress(RuntimeError):
                optimizer.step(g)

    def save():
        while len(saved) < 10:
            try:
                optimizer.save(tmp_path / f"{len(saved)}.npz")
                saved.append(tmp_path / f"{len(saved)}.npz")
            except RuntimeError:
                pass
        done.set()

    together(train, save)
    for path in saved:
        q, expected = np.zeros(2000), np.zeros(2000)
        other, alone = fo.SGD(q, lr=1.0, momentum=0.5), fo.SGD(expected, lr=1.0, momentum=0.5)
        other.load(path)
        for _ in range(min(other.steps, 200)):
            alone.step(g)
        if other.steps <= 200:
            assert same(q, expected)
        assert (q == q[0]).all() and (other.state["0"]["buf"] == other.state["0"]["buf"][0]).all()


@pytest.mark.compiled
def test_the_c_interface_from_many_threads(many_switches):
    """Calls share nothing, but for the pool of threads."""
    apply = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)(fo.embed.addresses()["fastopt_apply"])
    n, alone = 100_000, data(100_000, np.float32, 1)
    optimizer = fo.Adam(alone, lr=1e-3)
    for _ in range(20):
        optimizer.step(data(n, np.float32, 2))

    def train(p):
        g, m, v = data(n, np.float32, 2), np.zeros(n, np.float32), np.zeros(n, np.float32)
        u = fo.embed.updates(1)
        u["rule"], u["n"], u["param_in"], u["param_out"] = fo.embed.find_rule("adam"), n, p.ctypes.data, p.ctypes.data
        u["grad"], u["state"][0, :2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
        for t in range(1, 21):
            u["t"] = t
            assert apply(u.ctypes.data, 1, 2) == 0

    params = [data(n, np.float32, 1) for _ in range(4)]
    together(*(lambda p=p: train(p) for p in params))
    assert all(same(p, alone) for p in params)


def test_functions_from_many_threads(many_switches):
    """The functional interface keeps nothing between calls but what steps of a size take."""
    p, g = data(70_000, np.float32, 1), data(70_000, np.float32, 2)
    m, v = np.zeros_like(p), np.zeros_like(p)
    expected = fo.functional.adam(p, g, m, v, t=1)
    found = []
    together(*[lambda: found.extend(fo.functional.adam(p, g, m, v, t=1) for _ in range(20))] * 3)
    assert len(found) == 60 and all(same(a, b) for result in found for a, b in zip(result, expected, strict=True))
