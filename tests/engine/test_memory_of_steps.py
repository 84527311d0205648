"""Memory of steps: places of state, allocations, references, the GIL."""

import gc
import itertools
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import fastopt as fo


def test_state_has_the_phase_of_its_parameter_and_no_more_bytes():
    raw = np.zeros(10_000, np.float32)
    for offset in (0, 1, 5, 16):
        p = raw[offset : offset + 1000]
        state = fo.Adam(p).state["0"]
        for a in (state["m"], state["v"]):
            assert a.nbytes == p.nbytes and (a.ctypes.data - p.ctypes.data) % 64 == 0


def test_large_arrays_of_a_parameter_begin_at_different_places_of_a_page():
    p = np.zeros(1 << 16, np.float32)
    optimizer = fo.Adam(p, amsgrad=True, ema=0.9)
    arrays = [a for a in optimizer.state["0"].values() if isinstance(a, np.ndarray)]
    places = [(a.ctypes.data - p.ctypes.data) % 4096 for a in arrays]
    assert len(arrays) == 4 and all(place % 64 == 0 for place in places)
    assert min(b - a for a, b in itertools.pairwise(sorted([0, *places, 4096]))) >= 256


@pytest.mark.compiled
def test_nothing_is_allocated_in_steady_state():
    p, g = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    optimizer = fo.Adam(p)
    optimizer.bind(g)
    for _ in range(10):
        optimizer.step()
    gc.collect()
    tracemalloc.start()  # which sees NumPy's memory too
    try:
        optimizer.step()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            optimizer.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 500, "an int for the count of steps, and no array"


@pytest.mark.compiled
def test_gradients_are_released():
    optimizer, g = fo.SGD([np.zeros(3), np.zeros(3)]), np.ones(3)
    before = sys.getrefcount(g)
    for _ in range(10):
        optimizer.step([g, g])
        with pytest.raises(TypeError):
            optimizer.step([g, "no"])
    assert sys.getrefcount(g) == before


@pytest.mark.compiled
def test_the_gil_is_released():
    n = 4_000_000
    optimizer = fo.Adam(np.zeros(n, np.float32), threads=1)
    optimizer.bind(np.ones(n, np.float32))
    seen, stop = [], threading.Event()

    def other():
        while not stop.is_set():
            seen.append(optimizer._at_work())

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(20):
        optimizer.step()
    stop.set()
    thread.join()
    assert any(seen)
