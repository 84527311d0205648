"""Gradients that are bound once, and what their objects do."""

import gc
import weakref

import numpy as np
import pytest

import fastopt as fo


def test_bind():
    p, g = np.zeros(5, np.float32), np.ones(5, np.float32)
    optimizer = fo.SGD(p, lr=1.0)
    with pytest.raises(TypeError, match="to bind"):
        fo.SGD(np.zeros(())).bind(1.0)
    optimizer.bind(g)
    assert optimizer.step() is True
    g[:] = 2
    optimizer.step()
    optimizer.step(np.full(5, 4.0))
    optimizer.step()
    assert (p == -9).all()
    with pytest.raises(ValueError, match="shape"):
        optimizer.bind(np.ones(4))
    optimizer.step()
    assert (p == -11).all()


@pytest.mark.compiled
def test_what_runs_when_a_gradient_goes_finds_the_optimizer_at_work():
    class Gradient(np.ndarray):
        def __del__(self):
            with pytest.raises(RuntimeError, match="at work"):
                optimizer.step([np.ones(3), np.ones(3)])
            seen.append(1)

    class Fresh(list):
        def __getitem__(self, key):
            return Gradient(3)

    seen = []
    optimizer = fo.SGD([np.zeros(3), np.zeros(3)])
    optimizer.step(Fresh([1, 2]))
    assert len(seen) == 2
    optimizer.bind(Fresh([1, 2]))
    assert len(seen) == 2
    optimizer.bind([np.ones(3), np.ones(3)])
    assert len(seen) == 4 and optimizer.steps == 1


@pytest.mark.compiled
def test_a_bound_gradient_that_runs_code_when_it_goes():
    class Gradient(np.ndarray):
        def __del__(self):
            seen.append(optimizer.steps)
            with pytest.raises(RuntimeError, match="at work"):
                optimizer.add_group({"params": np.zeros(1)})

    seen = []
    optimizer = fo.Adam([{"params": [np.zeros(3) for _ in range(30)]}])
    optimizer.bind([[Gradient(3) for _ in range(30)]])
    optimizer.add_group({"params": np.zeros(1)})
    gc.collect()
    assert len(seen) == 30 and len(optimizer.groups) == 2


@pytest.mark.compiled
def test_an_optimizer_that_its_bound_gradient_knows_is_collected():
    class Gradient(np.ndarray):
        pass

    g = np.ones(3).view(Gradient)
    optimizer = g.owner = fo.SGD(np.zeros(3))
    optimizer.bind(g)
    gone = weakref.ref(optimizer)
    del optimizer, g
    gc.collect()
    assert gone() is None


def test_a_failed_bind_leaves_the_old_gradients():
    a, b = np.zeros(3), np.zeros(3)
    optimizer = fo.SGD([a, b], lr=1.0)
    optimizer.bind([np.ones(3), np.ones(3)])
    with pytest.raises(ValueError, match="gradient of '1': shape"):
        optimizer.bind([np.full(3, 50.0), np.ones(4)])
    gc.collect()
    optimizer.step()
    assert (a == -1).all() and (b == -1).all()
