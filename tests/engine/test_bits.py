"""Promise 1: the same bits for any instruction set, number of threads, strides, alignment and cut, and as the rules' own Python."""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from cases import ADAFACTOR, CASES, MUON, PER_ARRAY, Oracle, arrays_of, data, make, same
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastopt as fo

SIZES = [0, 1, 7, 255, 256, 257, 1000, 100_003]
DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_kernels_equal_the_rules(case, dtype, isa):
    for n in SIZES:
        start = data(n, dtype, 1)
        oracle = Oracle(case, start)
        runs = [(p := start.copy(), make(case, p, threads=threads)) for threads in (1, 2)]
        for k in range(3):
            g = data(n, dtype, k + 2)
            oracle.step(g, scale=0.5)
            for p, optimizer in runs:
                optimizer.step(g, scale=0.5)
                assert same(p, oracle.p), (n, k)
                for ours, theirs in zip(arrays_of(optimizer), oracle.state, strict=True):
                    assert same(ours, theirs), (n, k)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"clip_norm": 0.5, "bounds": (-0.5, None), "ema": 0.9},
        {"grad_dtype": np.float16},
        {"state_dtype": "bfloat16"},
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1000, 3, 0, 257), (1_100_000,)])
def test_updates_that_sums_leave_to_the_step(sizes, dtype, options, isa):
    """LAMB computes its updates once where their memory is small; measuring norms needs them anew."""
    options = {**options}
    kind = options.pop("grad_dtype", dtype)
    if dtype == np.float64 and "state_dtype" in options:
        pytest.skip("float64 is stored whole")
    found = []
    for more in ({}, {"norms": True}):
        p = [data(n, dtype, n) for n in sizes]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "bounds of .* were outside")
            optimizer = fo.LAMB(p, threads=2, **options, **more)
        for k in range(3):
            optimizer.step([data(n, kind, n + k + 1) for n in sizes])
        found.append([*p, *(a for name in "0123"[: len(sizes)] for a in arrays_of(optimizer, name))])
    assert all(map(same, *found))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_special_values(case, dtype, isa):
    tiny, big = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, big, -big, 1.0], dtype)
    p, g = (a.ravel() for a in np.meshgrid(values, values))
    oracle, ours = Oracle(case, p), p.copy()
    optimizer = make(case, ours)
    for _ in range(3):
        oracle.step(g)
        optimizer.step(g)
        assert same(ours, oracle.p)


LAYOUTS = {
    "C": lambda a: a.copy(),
    "Fortran": np.asfortranarray,
    "slice": lambda a: embed(a, (slice(None, None, 2),) * a.ndim, [2 * n for n in a.shape]),
    "negative": lambda a: embed(a, (slice(None, None, -1),) * a.ndim, a.shape),
    "column": lambda a: embed(a, (..., slice(1, 1 + a.shape[-1])), [*a.shape[:-1], a.shape[-1] + 2]),
    "permuted": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "unaligned": lambda a: unaligned(a),
}


def embed(a, index, shape):
    out = np.zeros(shape, a.dtype)[index]
    out[...] = a
    return out


def unaligned(a):
    out = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
@pytest.mark.parametrize("case", ["adam", "adamw-amsgrad", "adam-options"])
def test_layouts(case, of_parameter, of_gradient, isa):
    start, g = data(7 * 31 * 9, np.float32, 1).reshape(7, 31, 9), data(7 * 31 * 9, np.float32, 2).reshape(7, 31, 9)
    oracle = Oracle(case, start)
    p, strided = LAYOUTS[of_parameter](start), LAYOUTS[of_gradient](g)
    optimizer = make(case, p)
    for _ in range(2):
        optimizer.step(strided)
        oracle.step(g)
    assert same(p, oracle.p)
    assert same(optimizer.state["0"]["v"], oracle.state[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_unaligned_scalars(dtype, isa):
    p, g = (unaligned(np.array(x, dtype)) for x in (3, 2))
    aligned = make("sgd", np.array(3, dtype), lr=0.5)
    aligned.step(np.array(2, dtype))
    make("sgd", p, lr=0.5).step(g)
    assert p == aligned.params == 2


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_another_dtype(dtype, kind, isa):
    p, g = data(1000, dtype, 1), data(1000, kind, 2)
    g[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(np.float16).smallest_subnormal]
    oracle, optimizer = Oracle("adam", p), make("adam", p)
    optimizer.step(g)
    oracle.step(g)
    assert same(p, oracle.p)
    strided = np.repeat(g, 3)[::3]
    optimizer.step(strided)
    oracle.step(g)
    assert same(p, oracle.p)


def test_every_half(isa):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    p = np.zeros(2**16, np.float32)
    make("sgd", p, lr=1.0).step(halves)
    assert same(np.abs(p), np.abs(halves.astype(np.float32)))


@given(
    st.lists(st.integers(0, 5000), max_size=20),
    st.sampled_from(DTYPES),
    st.sampled_from(sorted({*CASES} - PER_ARRAY)),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_cuts(cuts, dtype, case, threads):
    whole, g = data(5000, dtype, 1), data(5000, dtype, 2)
    parts = np.split(whole.copy(), sorted(cuts))
    one, many = make(case, whole, threads=1), make(case, parts, threads=threads)
    for _ in range(2):
        one.step(g)
        many.step(np.split(g, sorted(cuts)))
    assert same(np.concatenate(parts), whole)


KINDS = {  # of gradients, for each of parameters
    "f4": ["f2", "f4", "f8", "g"],
    "f8": ["f2", "f4", "f8", "g"],
    "c8": ["c8", "c16", "G"],
    "c16": ["c8", "c16", "G"],
}


@st.composite
def placed(draw, shape, dtype, seed):
    """An array anywhere: axes permuted, strided, reversed, at any offset."""
    axes = draw(st.permutations(range(len(shape))))
    steps = draw(st.lists(st.sampled_from([1, 1, 2, 3, -1, -2]), min_size=len(shape), max_size=len(shape)))
    room = [abs(steps[k]) * shape[k] for k in axes]
    offset = draw(st.integers(0, 7))
    raw = np.zeros(int(np.prod(room)) * np.dtype(dtype).itemsize + offset, np.uint8)
    whole = raw[offset:].view(dtype).reshape(room).transpose(np.argsort(axes))
    a = whole[(..., *(slice(None, None, step) for step in steps))]
    assert a.shape == tuple(shape)
    values = data(a.size, np.float64, seed) + 1j * data(a.size, np.float64, seed + 1)
    a[...] = (values if np.dtype(dtype).kind == "c" else values.real).reshape(shape).astype(dtype)
    return a


@given(
    st.data(), st.lists(st.integers(0, 6), max_size=4), st.sampled_from(["f4", "f8", "c8", "c16"]), st.sampled_from(sorted(CASES))
)
@settings(max_examples=150, deadline=None)
def test_any_shape_strides_and_dtype(draw, shape, dtype, case):
    assume(case not in ADAFACTOR | MUON or dtype[0] == "f")  # matrices are real
    p = draw.draw(placed(shape, dtype, 1))
    grads = [draw.draw(placed(shape, draw.draw(st.sampled_from(KINDS[dtype])), k)) for k in (3, 5)]
    plain = np.ascontiguousarray(p)
    twin, optimizer = make(case, plain), make(case, p)
    for g in grads:
        with np.errstate(over="ignore"):
            twin.step(np.array(g, dtype, order="C").reshape(plain.shape))
        optimizer.step(g)
    real = plain.real.dtype
    assert same(np.ascontiguousarray(p).view(real), plain.view(real))


@pytest.mark.long  # 9 GB
def test_more_elements_than_32_bits_count():
    n = 2**31 + 1000
    p = np.zeros(n, np.float32)
    fo.SGD(p, lr=1.0, threads=2).step(np.broadcast_to(np.float32(1), n))
    assert p[0] == p[2**31 - 1] == p[2**31] == p[-1] == -1 and np.count_nonzero(p[:: 2**10] != -1) == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads(threads):
    whole, g = data(300_001, np.float32, 1), data(300_001, np.float32, 2)
    p = whole.copy()
    one, many = make("adamw", whole, threads=1), make("adamw", p, threads=threads)
    for _ in range(3):
        one.step(g)
        many.step(g)
    assert same(p, whole)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_is_pairs_of_reals(dtype):
    p = (data(600, np.float64, 1) + 1j * data(600, np.float64, 2)).astype(dtype).reshape(20, 30)
    g = (data(600, np.float64, 3) + 1j * data(600, np.float64, 4)).astype(dtype).reshape(20, 30)
    pairs = p.view(p.real.dtype).copy()
    ours, transposed = make("adam", p), np.asfortranarray(g)
    theirs = make("adam", pairs)
    ours.step(transposed)
    theirs.step(g.view(g.real.dtype))
    assert same(p.view(p.real.dtype), pairs)


FLUSHED = """
import sys, numpy as np, torch, fastopt as fo
threads = int(sys.argv[1])
if threads == 0:  # without an optimizer
    def step(p, g):
        fo.functional.sgd(p, g, t=1, lr=1.0, out=(p,))
else:
    def step(p, g):
        fo.SGD(p, lr=1.0, threads=threads).step(g)
n = 200_000
if sys.argv[2] == "born before":
    step(np.zeros(n, np.float32), np.ones(n, np.float32))
grads = np.full(n, 1e-40, np.float32), np.full(n, 1e-40)
if not torch.set_flush_denormal(True):
    print("cannot")
    raise SystemExit
flushes = lambda: bool(np.float32(1e-40) * np.float32(0.5) == 0)
assert flushes()
for tiny in grads:
    p = np.zeros(n, np.float32)
    step(p, tiny)
    assert (p.view(np.uint32) == 0x800116C2).all(), hex(p.view(np.uint32)[0])
    assert flushes(), "the caller's own setting is back"
"""


@pytest.mark.compiled
@pytest.mark.parametrize("born", ["born before", "born after"])
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_flushing_subnormals_in_the_caller_changes_nothing(threads, born):
    pytest.importorskip("torch")
    out = subprocess.run([sys.executable, "-c", FLUSHED, str(threads), born], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    if "cannot" in out.stdout:
        pytest.skip("this processor cannot flush subnormals")


POOL = """
#include <immintrin.h>
void flush(void)
{
    #pragma omp parallel num_threads(2)
    _mm_setcsr(_mm_getcsr() | 0x8040);
}
int flushing(void)
{
    int n = 0;
    #pragma omp parallel num_threads(2) reduction(+ : n)
    n += (_mm_getcsr() & 0x8040) == 0x8040;
    return n;
}
"""
POOLED = """
import ctypes, sys, numpy as np, fastopt as fo
pool = ctypes.CDLL(sys.argv[1])
n = 200_000
p, g = np.zeros(n, np.float32), np.full(n, 1e-40, np.float32)
optimizer = fo.SGD(p, lr=1.0, threads=2)
pool.flush()
assert pool.flushing() == 2
optimizer.step(g)
assert (p.view(np.uint32) == 0x800116C2).all(), [hex(x) for x in p.view(np.uint32)[[0, -1]]]
assert pool.flushing() == 2
"""


@pytest.mark.compiled
def test_flushing_subnormals_in_the_workers_changes_nothing(tmp_path):
    """Another library may have filled the pool, with its own floating-point environment, and finds it again."""
    passes = pytest.importorskip("fastopt._engine.passes")
    (tmp_path / "pool.c").write_text(POOL)
    command = ["cc", "-O2", "-fopenmp", "-shared", "-fPIC", tmp_path / "pool.c", "-o", tmp_path / "pool.so"]
    if not passes.openmp() or os.uname().machine != "x86_64" or not shutil.which("cc") or subprocess.run(command).returncode:
        pytest.skip("needs OpenMP in a C compiler for x86-64")
    out = subprocess.run([sys.executable, "-c", POOLED, tmp_path / "pool.so"], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_many_arrays_by_many_threads(threads, isa):
    """Spans begin and end inside of arrays; sizes, dtypes and layouts mixed; one without a gradient."""
    sizes = [0, 1, 255, 70_000, 256, 257, 100_003, 3, 50_000, 1]
    dtypes = [np.float32, np.float64]
    params = [data(n, dtypes[k % 2], k) for k, n in enumerate(sizes)]
    params[8] = np.repeat(params[8], 2)[::2]
    oracles = [Oracle("adamw", p) for p in params]
    optimizer = make("adamw", params, threads=threads)
    for k in range(3):
        grads = [data(p.size, dtypes[(i + i // 4) % 2], 100 * k + i) for i, p in enumerate(params)]
        if k == 1:
            grads[3] = None
        optimizer.step(grads)
        for oracle, g in zip(oracles, grads, strict=True):
            if g is not None:
                oracle.step(g)
    for p, oracle in zip(params, oracles, strict=True):
        assert same(p, oracle.p)
