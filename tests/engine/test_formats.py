"""Storage below 32 bits: the bits are those of NumPy's twin, whatever threads, cuts and instruction set; learning is not hurt."""

import ctypes
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, Oracle, arrays_of, data, make, same
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
from fastopt._arrays import dtypes
from fastopt._engine import dispatch
from fastopt.testing import reference_step

RULES = ["sgd", "momentum", "adam", "amsgrad", "adan", "schedule-free-adamw", "lamb", "prodigy"]
STATES = [None, "float32", "bfloat16", "float16", "float8"]


def draw(n, kind, seed):
    """Parameters of float32, or of what is stored in 16 bits."""
    x = data(n, np.float32, seed)
    return dtypes.narrowed(x, dtypes.BFLOAT16).view(fo.bfloat16) if kind == "bfloat16" else x.astype(kind)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", RULES)
def test_kernels_equal_the_twin(case, kind, state, isa):
    for n, rounding in ((0, "stochastic"), (1, "nearest"), (257, "nearest"), (1000, "stochastic"), (70_001, "stochastic")):
        options = {"state_dtype": state, "rounding": rounding, "seed": 7}
        oracle = Oracle(case, draw(n, kind, 1), **options)
        runs = [make(case, draw(n, kind, 1), threads=threads, **options) for threads in (1, 2)]
        for k in range(3):
            g = data(n, np.float32, k + 2)
            oracle.step(g)
            for optimizer in runs:
                optimizer.step(g)
                assert same(dtypes.plain(optimizer.params), dtypes.plain(oracle.p)), (n, k)
                for ours, theirs in zip(arrays_of(optimizer), oracle.state, strict=True):
                    assert same(ours, theirs), (n, k)


@pytest.mark.compiled
@pytest.mark.skipif("x86-64-v4" not in dispatch.available(), reason="needs AVX-512")
@pytest.mark.parametrize("options", [{"rounding": "nearest"}, {"rounding": "stochastic"}, {"flush_subnormals": True}])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_loops_that_encode_equal_separate_ones(case, kind, options, monkeypatch):
    """On numbers of the whole range, infinities and NaN; the baseline decodes and encodes in further loops."""
    rng = np.random.default_rng(1)
    for n in (1, 15, 16, 33, 1000):
        sizes = np.exp2(rng.uniform(-149, rng.choice([66, 127.99], (4, n))))
        values = (rng.choice([-1, 0, 1], (4, n), p=[0.45, 0.1, 0.45]) * sizes).astype(np.float32)
        values[:2, ::4] = np.finfo(np.float32).max * rng.uniform(0.9, 1, (2, values[:2, ::4].shape[1]))
        values[1, n // 2 :: 9], values[2, n // 3 :: 11] = np.inf, np.nan
        if kind == "bfloat16":
            values = dtypes.narrowed(values, dtypes.BFLOAT16).view(fo.bfloat16)
        found = []
        for isa in ("x86-64-v4", "baseline"):
            monkeypatch.setattr(dispatch, "TABLE", dispatch.load(isa))
            optimizer = make(case, values[0].copy(), state_dtype="bfloat16", seed=3, **options)
            for g in values[1:]:
                optimizer.step(g)
            stored = [dtypes.plain(optimizer.params), *arrays_of(optimizer)]
            found.append([dtypes.widened(a.view(fo.bfloat16)) if a.dtype == np.uint16 else a for a in stored])
        assert all(map(same, *found)), n


@pytest.mark.parametrize("master", ["float32", "split"])
@pytest.mark.parametrize("state", ["float32", "float8"])
def test_a_master_is_as_good_as_float32(master, state, isa):
    """bfloat16 parameters and the bits that they drop are float32 exactly."""
    start = draw(1000, "bfloat16", 1)
    p, wide = start.copy().view(fo.bfloat16), dtypes.widened(dtypes.plain(start))
    options = {"state_dtype": state, "ema": 0.9, "clip_global_norm": 3.0}
    narrow, full = make("adamw", p, master=master, **options), make("adamw", wide, **options)
    oracle = Oracle("adamw", start, master=master, **options)
    for k in range(5):
        g = data(1000, np.float32, k + 2)
        for optimizer in (narrow, full, oracle):
            optimizer.step(g)
        assert same(narrow._parameters[0].value(), wide) and same(narrow.average, full.average)
        assert same(dtypes.plain(p), dtypes.plain(oracle.p))
        assert np.abs(dtypes.widened(dtypes.plain(p)) - wide).max() <= np.abs(wide).max() * 2.0**-8
    with pytest.raises(ValueError, match="master: 'split' for float32, expected bfloat16 parameters"):
        fo.Adam(np.zeros(3, np.float32), master="split")
    mixed = fo.Adam([np.zeros(3, np.float32), np.zeros(3, np.uint16).view(fo.bfloat16)], master="float32")
    assert "master" in mixed.state["1"] and "master" not in mixed.state["0"]


def test_ml_dtypes_and_the_tag_are_the_same():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    tagged = draw(300, "bfloat16", 1)
    theirs = tagged.copy().view(ml_dtypes.bfloat16)
    grads = draw(300, "bfloat16", 2)
    one, two = fo.Adam(tagged, lr=0.1), fo.Adam(theirs, lr=0.1)
    for _ in range(3):
        one.step(grads)
        two.step(grads.view(ml_dtypes.bfloat16))
    assert same(dtypes.plain(tagged), theirs.view(np.uint16)) and one.fingerprint() == two.fingerprint()
    with pytest.raises(TypeError, match="dtype uint16"):
        fo.Adam(np.zeros(3, np.uint16))


@given(
    st.lists(st.integers(0, 3000), max_size=8), st.sampled_from(["float32", "bfloat16"]), st.sampled_from(["bfloat16", "float16"])
)
@settings(max_examples=30, deadline=None)
def test_random_bits_follow_the_position(cuts, kind, state):
    whole, g = draw(3000, kind, 1), data(3000, np.float32, 2)
    parts = [a.copy().view(a.dtype) for a in np.split(whole, sorted(cuts))]
    one, many = (make("adam", x, state_dtype=state, seed=3) for x in (whole, parts))
    for _ in range(2):
        one.step(g)
        many.step(np.split(g, sorted(cuts)))
    assert same(np.concatenate([dtypes.plain(a) for a in parts]), dtypes.plain(whole))


@pytest.mark.parametrize("place", [np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2], lambda a: a[::-1].copy()[::-1]])
def test_strides_do_not_matter(place):
    start, g = data(600, np.float32, 1).reshape(20, 30), data(600, np.float32, 2).reshape(20, 30)
    for kind, options in [("float32", {"state_dtype": "float8"}), ("float16", {}), ("bfloat16", {"master": "split"})]:
        first = draw(600, kind, 1).reshape(20, 30)
        plain, strided = first.copy(), place(first.copy())
        if kind == "bfloat16":
            plain, strided = (np.ndarray.view(a, fo.bfloat16) for a in (plain, strided))
        one, two = fo.Adam(plain, lr=0.1, **options), fo.Adam(strided, lr=0.1, **options)
        for _ in range(2):
            one.step(g)
            two.step(place(g))
        assert one.fingerprint() == two.fingerprint(), kind
    assert start.shape == (20, 30)


@pytest.mark.parametrize("state", ["bfloat16", "float16", "float8"])
def test_resume_is_exact(state, tmp_path):
    def build(seed=5):
        return fo.Adam({"w": data(1000, np.float32, 1), "h": draw(300, "bfloat16", 2)}, lr=0.1, state_dtype=state, seed=seed)

    def grads(k):
        return {"w": data(1000, np.float32, k), "h": data(300, np.float32, k + 50)}

    straight, first, second = build(), build(), build()
    for k in range(8):
        straight.step(grads(k))
        if k < 4:
            first.step(grads(k))
    first.save(tmp_path / "a.npz")
    second.load(tmp_path / "a.npz")
    for k in range(4, 8):
        second.step(grads(k))
    assert second.fingerprint() == straight.fingerprint()
    with pytest.raises(ValueError, match="seed: saved 5, here 6"):
        build(6).load(tmp_path / "a.npz")


def test_state_is_as_small_as_it_says():
    n = 10_000
    for state, most in {"float32": 8, "bfloat16": 4, "float16": 4, "float8": 2.05}.items():
        found = fo.Adam(np.zeros(n, np.float32), state_dtype=state).state_dict()["state"]["0"]
        assert sum(a.nbytes for a in found.values() if isinstance(a, np.ndarray)) <= most * n
    found = fo.SGD(draw(n, "bfloat16", 1), master="split").state_dict()["state"]["0"]
    assert found["master"].nbytes == 2 * n


def test_a_float64_parameter_has_float64_state():
    with pytest.raises(ValueError, match="state_dtype: 'bfloat16' for parameter '0' of float64"):
        fo.Adam(np.zeros(3), state_dtype="bfloat16")


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 65504, 65520, 1e-8, 6e-8, -3e-8, 6.1e-5], np.float32
)


def all_floats():
    """Return floats of every size, and the special ones."""
    return np.concatenate(
        [SPECIAL, data(100_000, np.float32, 1), np.exp(data(100_000, np.float32, 2, 15)), -np.exp(data(1000, np.float32, 3, 10))]
    )


def test_rounding_to_nearest_is_the_fields():
    x = all_floats()
    with np.errstate(over="ignore"):
        assert same(dtypes.narrowed(x, np.dtype(np.float16)), x.astype(np.float16))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    ours, theirs = dtypes.narrowed(x, dtypes.BFLOAT16), x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert ((ours == theirs) | np.isnan(x)).all() and np.isnan(dtypes.widened(ours)[np.isnan(x)]).all()


@pytest.mark.parametrize("dtype", [dtypes.BFLOAT16, np.dtype(np.float16)])
def test_stochastic_rounding_is_unbiased(dtype):
    """The mean of many roundings of one number is that number; rounding to nearest has no such mean."""
    for x in (1.0 + 1 / 700, 3.14159, 1e-3 * 1.0001, 0.1, 7e-8 if dtype == np.float16 else 7e-30):
        n = 200_000
        bits = dtypes.random(11, np.arange(n))
        found = dtypes.widened(dtypes.narrowed(np.full(n, x, np.float32), dtype, bits)).astype(np.float64)
        low, high = found.min(), found.max()
        assert low < np.float32(x) < high and len(np.unique(found)) == 2
        assert abs(found.mean() - np.float32(x)) < 5 * (high - low) / np.sqrt(n)


def test_random_bits_are_random():
    bits = dtypes.random(dtypes.key_of_step(1, 2), np.arange(1 << 16))
    assert len(np.unique(bits)) > 65_000
    ones = [(bits >> np.uint32(k) & np.uint32(1)).mean() for k in range(32)]
    assert np.abs(np.array(ones) - 0.5).max() < 0.01
    other = dtypes.random(dtypes.key_of_step(1, 3), np.arange(1 << 16))
    assert abs(np.corrcoef(bits, other)[0, 1]) < 0.02 and abs(np.corrcoef(bits[1:], bits[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize(
    ("state", "rounding", "fine"),
    [
        ("bfloat16", "stochastic", True),
        ("float16", "stochastic", True),
        ("float8", "stochastic", True),
        ("bfloat16", "nearest", False),
        ("float8", "nearest", False),
    ],
)
def test_the_second_moment_is_unbiased(state, rounding, fine):
    """It moves by a thousandth a step, which rounding to nearest loses: there it stands still."""
    n, steps = 20_000, 3000
    p = np.zeros(n, np.float32)
    optimizer = fo.RMSprop(p, lr=0.0, alpha=0.999, state_dtype=state, rounding=rounding)
    rng = np.random.default_rng(0)
    scales = np.exp(rng.standard_normal(n // 500).repeat(500) * 0.5).astype(np.float32)
    for _ in range(steps):
        optimizer.step(scales * rng.standard_normal(n, np.float32))
    parameter = optimizer._parameters[0]
    v = parameter.rule_state["v"]
    v = dtypes.widened8(v, parameter.exponents["v"], True) if state == "float8" else dtypes.widened(v)
    ratio = np.median(v / (scales**2 * (1 - 0.999**steps)))
    assert bool(abs(ratio - 1) < 0.06) is fine, ratio


@pytest.mark.parametrize("state", ["bfloat16", "float16", "float8"])
@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_a_tiny_second_moment_is_not_zero(state, rounding):
    """A second moment of zero would blow the update up."""
    p = np.zeros(512, np.float32)
    g = np.full(512, 1e-19 if state == "bfloat16" else 1e-6, np.float32)
    g[::256] = 1.0 if state == "float8" else g[0]
    optimizer = fo.Adam(p, lr=1e-3, eps=0, state_dtype=state, rounding=rounding)
    for k in range(20):
        optimizer.step(g * np.float32(k % 4 == 0))  # a moment that is not renewed
        assert np.isfinite(p).all() and np.abs(p).max() < 1


def test_a_block_with_a_nan_is_nan_and_no_other():
    p = np.zeros(600, np.float32)
    g = np.ones(600, np.float32)
    optimizer = fo.Adam(p, lr=0.1, state_dtype="float8")
    optimizer.step(g)
    optimizer.step(np.where(np.arange(600) == 300, np.nan, g).astype(np.float32))
    optimizer.step(g)
    assert np.isnan(p[256:512]).all() and np.isfinite(p[:256]).all() and np.isfinite(p[512:]).all()


TWINS = """
#include "block.h"
void narrow(unsigned short *b, unsigned short *h, const float *x, const unsigned *r, int stochastic, int nonnegative, long n)
{
    for (long i = 0; i < n; i++) {
        b[i] = fo_bf16(x[i], r[i], stochastic, nonnegative);
        h[i] = fo_f16(x[i], r[i], stochastic, nonnegative);
    }
}
void random_bits(unsigned *r, unsigned key, long n) { fo_draw(r, key, 0, n); }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_twins_have_the_same_bits(tmp_path):
    (tmp_path / "twins.c").write_text(TWINS)
    include = Path(fo.__file__).parent / "include"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-I", include, tmp_path / "twins.c", "-o", tmp_path / "twins.so", "-lm"], check=True
    )
    library = ctypes.CDLL(str(tmp_path / "twins.so"))
    x = all_floats()
    bits = np.zeros(x.size, np.uint32)
    pointer = ctypes.c_void_p
    library.random_bits(pointer(bits.ctypes.data), ctypes.c_uint(99), ctypes.c_long(x.size))
    assert same(bits, dtypes.random(99, np.arange(x.size)))
    for stochastic in (0, 1):
        for nonnegative in (0, 1):
            values = np.abs(x) if nonnegative else x
            b, h = np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint16)
            library.narrow(*(pointer(a.ctypes.data) for a in (b, h, values, bits)), stochastic, nonnegative, ctypes.c_long(x.size))
            given = bits if stochastic else None
            assert same(b, dtypes.narrowed(values, dtypes.BFLOAT16, given, bool(nonnegative)))
            assert same(h, dtypes.narrowed(values, np.dtype(np.float16), given, bool(nonnegative)).view(np.uint16))


@pytest.mark.parametrize("state", ["bfloat16", "float8"])
def test_learning_is_not_hurt(state):
    """Digits, a network with one hidden layer: the final loss is within 2 % of float32's, medians over five seeds."""
    pytest.importorskip("sklearn")
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        import digits
    finally:
        sys.path.pop(0)
    x, _, y, _ = digits.load()

    def final(seed, **options):
        params = digits.network(64, 64, 10, seed=seed)
        optimizer = fo.Adam(params, lr=1e-3, seed=seed, **options)
        fo.training.fit(digits.loss_and_grad, params, (x, y), optimizer, epochs=20, batch_size=32, seed=seed)
        return digits.loss_and_grad(params, x, y)[0]

    ratios = [final(seed, state_dtype=state) / final(seed) for seed in range(5)]
    assert np.median(ratios) < 1.02, ratios


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_sums_of_float8_begin_in_the_middle_of_a_block(rounding, isa):
    start = [np.ones(100, np.float32), np.ones(700, np.float32)]
    grads = [np.ones(100, np.float32), np.where(np.arange(700) < 256, 1e3, 1e-2).astype(np.float32)]
    optimizer = fo.Prodigy([a.copy() for a in start], state_dtype="float8", d0=1e-2, rounding=rounding)
    reference = fo.Prodigy([a.copy() for a in start], state_dtype="float8", d0=1e-2, rounding=rounding)
    for _ in range(4):
        optimizer.step(grads)
        reference_step(reference, grads)
        assert optimizer.fingerprint() == reference.fingerprint()
        assert [x["d"] for x in optimizer.state.values()] == [x["d"] for x in reference.state.values()]


def test_bound_gradients_of_bfloat16_are_bound_as_they_are():
    import pickle

    w, g = draw(3, "bfloat16", 1), draw(3, "bfloat16", 2)
    optimizer = fo.SGD(w, lr=0.5, accumulate=2)
    optimizer.bind(g)
    for _ in range(2):
        optimizer.step()
    optimizer.step(g)
    optimizer.step()
    twin = pickle.loads(pickle.dumps(optimizer))
    twin.step()
    assert optimizer.steps == 2


def test_flushing_takes_no_half_for_zero():
    found = []
    for flush in (False, True):
        w = np.zeros(300, np.float32)
        optimizer = fo.Adam(w, lr=1e-3, state_dtype="float16", rounding="nearest", flush_subnormals=flush)
        for _ in range(3):
            optimizer.step(np.full(300, 0.1, np.float32))
        found.append(w)
    assert same(*found)


def test_an_infinite_moment_is_the_largest_number():
    w, g = np.zeros(512, np.float32), np.ones(512, np.float32)
    optimizer = fo.Adam(w, lr=1e-3, state_dtype="float8")
    g[3] = 1e21
    optimizer.step(g)
    g[3] = 1
    optimizer.step(g)
    assert np.isfinite(w).all() and (w[256:] != 0).all()


def test_a_nan_is_a_nan_in_two_halves():
    w = draw(4, "bfloat16", 1)
    fo.SGD(w, lr=1.0, master="split").step(np.array([0x7FFFFFFF] * 4, np.uint32).view(np.float32))
    assert np.isnan(dtypes.widened(dtypes.plain(w))).all()


@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "float16", "float8"])
def test_construction_needs_no_more_memory_than_the_state(state_dtype):
    p = np.zeros(1 << 20, np.float32)
    fo.Adam(p[:10], state_dtype=state_dtype)
    tracemalloc.start()
    try:
        optimizer = fo.Adam(p, state_dtype=state_dtype)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    carry = sum(a.nbytes for a in optimizer.state_dict()["state"]["0"].values() if isinstance(a, np.ndarray))
    assert peak < 1.1 * carry + 100_000
