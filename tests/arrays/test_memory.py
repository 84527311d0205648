"""What lives between construction and use is looked at when it is used, and nobody's memory is trusted."""

import copy
import ctypes
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from cases import data, same

import fastopt as fo
from fastopt._arrays import overlap

CYCLES = """
import gc, numpy as np, fastopt as fo
for k in range(100):
    optimizer = fo.Adam({"a": np.ones((40, 3)), "b": np.ones(100)}, mode=("exact", "lazy")[k % 2], clip_global_norm=1.0)
    for row in (1, 2):
        optimizer.step({"a": fo.RowGradient([row], np.ones((1, 3))), "b": np.ones(100)})
    optimizer.own = optimizer
    del optimizer
    gc.collect()
"""


def test_optimizers_in_reference_cycles_are_collected():
    # glibc overwrites what is freed, so that a use after that is seen.
    run = {"env": {**os.environ, "MALLOC_PERTURB_": "165", "PYTHONFAULTHANDLER": "1"}, "capture_output": True, "text": True}
    out = subprocess.run([sys.executable, "-c", CYCLES], timeout=200, **run)
    assert out.returncode == 0, out.stderr


def changed_rows(how):
    """A gradient of rows whose indices are no longer those that were checked."""
    g = fo.RowGradient([0, 1], np.ones((2, 4)))
    if how == "copied":
        g = copy.deepcopy(g)
        g.indices.flags.writeable = True
    elif how == "unpickled":
        g = pickle.loads(pickle.dumps(g))
    elif how == "set":
        indices = np.array([0, 1])
        object.__setattr__(g, "indices", indices)
    return g


@pytest.mark.parametrize("wrong", [-1, -(10**9), 10, 10**12])
@pytest.mark.parametrize("how", ["copied", "unpickled", "set"])
@pytest.mark.parametrize("mode", ["lazy", "exact"])
def test_rows_are_checked_when_they_are_used(mode, how, wrong):
    table = np.ones((10, 4))
    optimizer = fo.Adam(table, mode=mode)
    g = changed_rows(how)
    if not g.indices.flags.writeable:
        object.__setattr__(g, "indices", g.indices.copy())
    g.indices[1] = wrong
    before = optimizer.fingerprint()
    with pytest.raises(
        ValueError, match=r"gradient of '0'.*: (row 1\d*, expected rows below 10|-\d+ to 0, expected rows from 0 on)"
    ):
        optimizer.step(g)
    assert optimizer.fingerprint() == before
    object.__setattr__(g, "indices", np.array([0.5, 1.0]))
    with pytest.raises(TypeError, match="expected whole numbers"):
        optimizer.step(g)
    object.__setattr__(g, "indices", np.arange(3))
    with pytest.raises(ValueError, match=r"shape \(2, 4\), expected \(3, 4\)"):
        optimizer.step(g)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_matrices_whose_places_are_outside_are_refused(kind):
    sparse = pytest.importorskip("scipy.sparse")
    table = np.ones((10, 4))
    optimizer = fo.SGD(table, lr=0.1)
    g = sparse.coo_array((np.ones(2), ([1, 2], [0, 3])), shape=(10, 4)).asformat(kind)
    for name in ("indices", "row"):
        if hasattr(g, name):
            places = getattr(g, name)
            places[0] = 10**6
    with pytest.raises(ValueError, match="gradient of '0': "):
        optimizer.step(g)
    assert (table == 1).all()


def test_arrays_that_are_in_use_are_not_resized():
    p, g = np.zeros(1000), np.ones(1000)
    optimizer = fo.SGD({"w": p}, lr=1.0)
    optimizer.bind({"w": g})
    for a in (p, g):
        with pytest.raises(ValueError, match="cannot resize"):
            a.resize((10**6,), refcheck=False)
    optimizer.step()
    assert (p == -1).all()


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("zero_grads", [False, True])
def test_optimizers_are_unpickled_over_read_only_memory(bound, zero_grads):
    p, g = np.ones((50, 50)), np.ones((50, 50))
    optimizer = fo.Adam({"w": p, "b": np.ones(3)}, lr=0.1, zero_grads=zero_grads)
    optimizer.step({"w": g, "b": None})
    if bound:
        optimizer.bind({"w": g, "b": np.ones(3)})
    buffers = []
    data_ = pickle.dumps(optimizer, protocol=5, buffer_callback=buffers.append)
    back = pickle.loads(data_, buffers=[bytes(b.raw()) for b in buffers])
    assert back.fingerprint() == optimizer.fingerprint()
    for o in (optimizer, back):
        o.step() if bound else o.step({"w": np.ones((50, 50)), "b": np.ones(3)})
    assert back.fingerprint() == optimizer.fingerprint() and back.params["w"].flags.writeable


def stepped(optimizer):
    optimizer.step(np.ones(200_000))
    return optimizer.params


def test_joblib_maps_large_arrays_read_only():
    joblib = pytest.importorskip("joblib")
    optimizer = fo.SGD(np.zeros(200_000), lr=1.0)  # above a megabyte
    found = joblib.Parallel(n_jobs=2, timeout=100)(joblib.delayed(stepped)(optimizer) for _ in range(2))
    assert all((x == -1).all() for x in found)


@pytest.mark.parametrize("kind", ["columns", "blocks of columns", "every other"])
def test_interleaved_arrays_are_compared_with_few_others(kind, monkeypatch):
    n, compared = 600, []
    monkeypatch.setattr(overlap, "may_share_memory", lambda a, b: compared.append(1) or np.shares_memory(a, b))
    if kind == "columns":
        base = np.zeros((50, 2 * n))
        arrays = [base[:, k] for k in range(2 * n)]
    elif kind == "blocks of columns":
        base = np.zeros((20, 4 * n))
        arrays = [base[:, 2 * k : 2 * k + 2] for k in range(2 * n)]
    else:
        base = np.zeros(2 * n * 40)
        arrays = [base[k :: 2 * n] for k in range(2 * n)]
    params, grads = arrays[::2], arrays[1::2]
    optimizer = fo.SGD(params, lr=1.0)
    for _ in range(3):
        for g in grads:
            g[...] = 1
        optimizer.step(grads)
    assert all((p == -3).all() for p in params)
    assert len(compared) < 10 * n  # Of 180,000 pairs of parameters, and as many of gradients and parameters in each step.
    with pytest.raises(ValueError, match=r"gradient of '0': shares memory with parameter '1'"):
        optimizer.step([params[1], *grads[1:]])
    with pytest.raises(ValueError, match="parameter '0' and parameter '3' share memory"):
        fo.SGD([params[0], params[1], params[2], params[0][1:]])


def test_what_interleaves_is_judged_as_numpy_judges():
    random = np.random.default_rng(3)
    base = np.zeros((12, 24))
    for _ in range(300):

        def view():
            rows, columns = (slice(*sorted(random.integers(0, n + 1, 2)), random.integers(1, 4)) for n in base.shape)
            found = base[rows, columns]
            return found.T if random.random() < 0.3 else found[::-1] if random.random() < 0.3 else found

        named = [(f"{k}", a) for k in range(4) if (a := view()).size]
        g = view()
        expected = any(np.shares_memory(g, a) for _, a in named) and g.size > 0
        try:
            overlap.Written(named).check_no_overlap("g", g)
            found = False
        except ValueError:
            found = True
        assert found == expected
        disjoint = not any(np.shares_memory(a, b) for k, (_, a) in enumerate(named) for _, b in named[:k])
        try:
            overlap.check_disjoint(named)
            assert disjoint
        except ValueError:
            assert not disjoint


DEEP = """
import sys, numpy as np, fastopt as fo
sys.setrecursionlimit(10**6)
tree = np.zeros(2)
for _ in range(100_000):
    tree = [tree]
cycle = []
cycle.append(cycle)
w = np.zeros(2)
options = ("step_scale", "lr", "momentum", "nesterov", "clip_norm", "nonfinite", "state_dtype", "threads")
made = [lambda x, option=option: fo.SGD(w, **{option: x}) for option in options]
given = [lambda x: fo.SGD(w, bounds=(x, 1)), lambda x: fo.SGD([{"params": w, "lr": x}]), lambda x: setattr(fo.SGD(w), "lr", x)]
for make in (fo.SGD, *made, *given):
    for x in (tree, cycle, {"a": tree}):
        try:
            make(x)
        except ValueError as error:
            print(error)
optimizer = fo.SGD([w])
for call in (optimizer.step, optimizer.bind, lambda x: optimizer.save("x.npz", extra=x), optimizer.load_state_dict):
    try:
        call(tree)
    except (TypeError, ValueError) as error:
        print("refused")
"""


def test_deep_nesting_is_an_error(tmp_path):
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    lines = done.stdout.splitlines()
    assert len(lines) == 40 and all("nested more than 100 deep" in line for line in lines[:36]) and lines[36:] == ["refused"] * 4
    tree = np.zeros(2)
    for _ in range(90):
        tree = [tree]
    fo.SGD(tree, lr=1.0).step(nested(np.ones(2), 90))
    assert (unnested(tree) == -1).all()


def nested(a, depth):
    for _ in range(depth):
        a = [a]
    return a


def unnested(a):
    while isinstance(a, list):
        (a,) = a
    return a


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda u, a: u.__setitem__("grad", a["p"].ctypes.data), "the parameter and grad share memory"),
        (lambda u, a: u["state"].__setitem__((0, 1), a["m"].ctypes.data), "m and v share memory"),
        (lambda u, a: u["state"].__setitem__((0, 0), a["p"].ctypes.data + 8), "the parameter and m share memory"),
        (lambda u, a: u.__setitem__("grad", a["m"].ctypes.data), "grad and m share memory"),
        (lambda u, a: u.__setitem__("grad", a["g"].ctypes.data + 1), "grad is not aligned to its 4 bytes"),
        (lambda u, a: u["state"].__setitem__((0, 0), a["m"].ctypes.data + 2), "m is not aligned to its 4 bytes"),
        (
            lambda u, a: (u.__setitem__("param_in", a["p"].ctypes.data + 3), u.__setitem__("param_out", a["p"].ctypes.data + 3)),
            "is not aligned",
        ),
    ],
)
def test_the_c_interface_refuses_arrays_that_share_memory_or_are_not_aligned(change, text):
    from fastopt import embed

    arrays = {name: data(101, np.float32, k) for k, name in enumerate(("p", "g", "m", "v"))}
    u = embed.updates(1)
    u["rule"], u["n"], u["t"] = embed.find_rule("adam"), 100, 1
    u["param_in"] = u["param_out"] = arrays["p"].ctypes.data
    u["grad"], u["state"][0, :2] = arrays["g"].ctypes.data, (arrays["m"].ctypes.data, arrays["v"].ctypes.data)
    before = {name: a.copy() for name, a in arrays.items()}
    change(u, arrays)
    apply = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)(embed.addresses()["fastopt_apply"])
    message = ctypes.CFUNCTYPE(ctypes.c_char_p)(embed.addresses()["fastopt_message"])
    assert apply(u.ctypes.data, 1, 1) == 2 and text in message().decode()
    assert all(same(a, before[name]) for name, a in arrays.items())
