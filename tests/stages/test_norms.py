"""Norms and what follows from them: exact sums, clipping, trust ratios, over the whole range of the dtypes."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from cases import data, make, same
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
from fastopt._engine import sums


def exact_root(x):
    """The root of a fraction, to hundreds of digits."""
    scale = 10**800
    return Fraction(math.isqrt(x.numerator * scale * scale // x.denominator), scale)


def exact_norm(*arrays):
    return exact_root(
        sum((Fraction(x if isinstance(x, Fraction) else float(x)) ** 2 for a in arrays for x in np.ravel(a)), Fraction(0))
    )


def exactly(a, factor):
    """Each number of an array times an exact factor."""
    return [Fraction(float(x)) * factor for x in np.ravel(a)]


def off(found, expected):
    """The largest distance in units of the last place, which of subnormal numbers is the smallest one."""
    assert np.isfinite(found).all(), found
    return max(
        abs(Fraction(float(x)) - e) / Fraction(float(np.spacing(np.abs(x)))) for x, e in zip(np.ravel(found), expected, strict=True)
    )


MAGNITUDES = {
    "float32": [1e-44, 1e-40, 1e-30, 1e-10, 1.0, 1e10, 1e20, 3e38],
    "float64": [5e-324, 1e-310, 1e-200, 1e-162, 1e-150, 1.0, 1e150, 1e155, 1e160, 1e300, 1.7e308],
}
SIZES = [1, 2, 300]


def moved(optimizer, p, g, **step):
    """Return what a step subtracts from a parameter of zeros, without another rounding."""
    optimizer.step(g, **step)
    return -p


@pytest.mark.parametrize("limit", [1e-300, 1e-6, 1.0, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("option", ["clip_norm", "clip_global_norm"])
def test_clipping_is_exact_over_the_whole_range(option, dtype, limit):
    for magnitude in MAGNITUDES[dtype]:
        for n in SIZES:
            p = np.zeros(n, dtype)
            g = (np.sign(data(n, seed=n)) * np.linspace(0.5, 1, n) * magnitude).astype(dtype)
            found = moved(fo.SGD(p, lr=1.0, **{option: limit}), p, g)
            norm = exact_norm(g)
            factor = min(Fraction(1), Fraction(limit) / norm) if norm else Fraction(1)
            assert off(found, exactly(g, factor)) <= (0.51 if dtype == "float32" else 3), (magnitude, n)


def test_clipping_of_floats_is_the_double_result_rounded_once():
    p, g = np.zeros(3000, np.float32), data(3000, np.float32, 3)
    found = moved(fo.SGD(p, lr=1.0, clip_norm=0.7), p, g)
    factor = 0.7 / math.sqrt(math.fsum(g.astype(float) ** 2))
    np.testing.assert_array_equal(found, (factor * g.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("magnitude", [1e-44, 1e-42, 1e-40, 1e-20, 1.0, 1e20, 1e38])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trust_ratios_of_any_gradients(dtype, magnitude):
    p, g = np.linspace(1, 2, 40).astype(dtype), (np.linspace(-1, 1, 40) * magnitude).astype(dtype)
    before = p.copy()
    fo.SGD(p, lr=0.5, trust_ratio=1.0).step(g)
    update = [Fraction(float(x)) for x in (np.asarray(0.5, dtype) * g)]
    norm = exact_root(sum(x**2 for x in update))
    wanted = [
        float(Fraction(float(a)) - u * Fraction(1, 2) * exact_norm(before) / norm) for a, u in zip(before, update, strict=True)
    ]
    np.testing.assert_allclose(p, np.array(wanted), rtol=3e-7 if dtype == "float32" else 1e-14)
    p = before.copy()
    fo.LARS(p, lr=0.5, momentum=0.0, trust_coefficient=0.1).step(g)
    factor = Fraction(1, 2) * Fraction(0.1) * exact_norm(before) / exact_norm(g)
    wanted = [float(Fraction(float(a)) - Fraction(float(x)) * factor) for a, x in zip(before, g, strict=True)]
    np.testing.assert_allclose(p, np.array(wanted), rtol=3e-7 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e-160, 1.0, 1e150, 1e200])
def test_lars_of_doubles_over_their_whole_range(factor):
    p, g = np.linspace(1, 2, 40), np.linspace(-1, 1, 40) * factor
    before = p.copy()
    fo.LARS(p, lr=0.5, momentum=0.0, trust_coefficient=0.1).step(g)
    one = np.linspace(1, 2, 40)
    fo.LARS(one, lr=0.5, momentum=0.0, trust_coefficient=0.1).step(np.linspace(-1, 1, 40))
    np.testing.assert_allclose(p, one, rtol=1e-14)
    assert not np.array_equal(p, before)


def test_a_scaled_float_is_rounded_once_near_a_middle_too(isa):
    """It is rounded like a fused operation; two operations on doubles would give the other neighbour."""
    x, factor = np.float32(float.fromhex("0x1.9d07a6p+0")), float.fromhex("0x1.3f550e036310dp-1")
    p = np.zeros(40, np.float32)
    assert (moved(fo.SGD(p, lr=1.0), p, np.full(40, x), scale=factor) == float.fromhex("0x1.019ae2p+0")).all()


def test_totals_are_exact_and_rounded_once():
    random = np.random.default_rng(5)
    for _ in range(200):
        n = int(random.integers(1, 40))
        x = np.ldexp(random.standard_normal(n), random.integers(-1000, 900, n))
        units = random.choice([0, 0, sums.UNIT, -sums.UNIT], n)
        found, exponent = sums.total(x.tolist(), units.tolist()).rounded()
        expected = sum((Fraction(float(a)) * Fraction(2) ** int(u) for a, u in zip(x, units, strict=True)), Fraction(0))
        got = Fraction(found) * Fraction(2) ** exponent
        assert abs(got - expected) <= abs(expected) * Fraction(1, 2**53)


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_of_many_blocks_are_the_twins(threads):
    """Blocks whose squares are huge, usual and tiny, in one sum."""
    n = 70_000
    g = data(n, seed=1) * np.repeat([1e-300, 1.0, 1e300, 1e-170, 1e160, 0.0, 1e-20], n // 7)
    for scale in (1.0, 1e-300):
        p = np.zeros(n)
        fo.SGD(p, lr=1.0, clip_global_norm=1e-3, threads=threads).step(g * scale)
        norm = exact_norm(g[::1] * scale) if scale == 1.0 else exact_norm((g * scale)[(g * scale) != 0])
        k = int(np.argmax(np.abs(g)))
        assert abs(Fraction(-float(p[k])) / (Fraction(float(g[k] * scale)) * Fraction(1e-3) / norm) - 1) < Fraction(1, 2**48)


def test_a_summing_rule_without_an_object_is_exact_too():
    p, g = np.linspace(1, 2, 40), np.linspace(-1, 1, 40) * 1e-200
    out, _ = fo.functional.lars(p, g, np.zeros(40), t=1, lr=0.5, momentum=0.0, weight_decay=0.0, trust_coefficient=0.1, eps=0.0)
    expected, _ = fo.functional.lars(
        p, g * 1e200, np.zeros(40), t=1, lr=0.5, momentum=0.0, weight_decay=0.0, trust_coefficient=0.1, eps=0.0
    )
    np.testing.assert_allclose(out, expected, rtol=1e-14)


KINDS = {  # of a parameter and its gradient, and how far the gradient reaches
    "floats": ("float32", "float32", 1e30),
    "doubles": ("float64", "float64", 1e160),
    "floats, of doubles": ("float32", "float64", 1e160),
}


@pytest.mark.parametrize("kinds", [[*KINDS], [*KINDS][::-1], ["floats", "doubles", "floats"], ["doubles", "floats, of doubles"]])
def test_one_block_of_a_norm_may_hold_floats_and_doubles(kinds, isa):
    params = [np.zeros(20, KINDS[kind][0]) for kind in kinds]
    for reach in (1e-30, 1.0, None):
        grads = [data(20, seed=k) * (KINDS[kind][2] if reach is None else reach) for k, kind in enumerate(kinds)]
        grads = [g.astype(KINDS[kind][1]) for g, kind in zip(grads, kinds, strict=True)]
        optimizer = fo.SGD([*params[:1], np.zeros(20), *params[1:]], lr=1.0, clip_global_norm=2.0**-120)
        for p in params:
            p[...] = 0
        optimizer.step([*grads[:1], None, *grads[1:]])
        norm = exact_norm(*grads)
        for p, g in zip(params, grads, strict=True):
            assert off(-p, exactly(g, Fraction(1, 2**120) / norm)) < 3


def test_a_group_of_floats_and_doubles_is_summed_alike(isa):
    kinds = ["float32", "float64", "float32", "float64"]
    starts = [(data(20, seed=k) * 1e-3).astype(kind) for k, kind in enumerate(kinds)]
    params = [p.copy() for p in starts]
    optimizer = fo.DoG(params, lr=3.0, reps_rel=1e-2)
    farthest = 1e-2 * (1 + float(exact_norm(*starts)))
    for step in range(4):
        way = exact_norm(
            *(
                [Fraction(float(x)) - Fraction(float(y)) for x, y in zip(p, s, strict=True)]
                for p, s in zip(params, starts, strict=True)
            )
        )
        farthest = max(farthest, float(way))
        optimizer.step([data(20, seed=10 * step + k).astype(kind) for k, kind in enumerate(kinds)])
        assert math.isclose(optimizer.state["0"]["farthest"], farthest, rel_tol=1e-12)
    assert farthest > 0.03


def test_limits_that_come_and_go_leave_the_operations_right(isa):
    """Stages are on and off, and clip to more than a float holds or not, in any order: each step as that of a new optimizer."""
    limits = [1.0, math.inf, 1e39, 1.0, 1e39, math.inf, 0.5, 0.5]
    p = np.ones(3, np.float32)
    optimizer = fo.SGD(p, lr=1.0, clip_value=2.0, clip_norm=3.0)
    for g in (np.array([4.0, 3.0, -1.0]), np.array([4e38, 3.0, -1.0])):
        for value, norm in zip([*limits, *limits], [*limits[::-1], *limits], strict=True):
            p[...] = 1
            fresh = p.copy()
            optimizer.groups[0]["clip_value"], optimizer.groups[0]["clip_norm"] = value, norm
            optimizer.step(g)
            fo.SGD(fresh, lr=1.0, clip_value=value, clip_norm=norm).step(g)
            assert same(p, fresh), (value, norm)


@pytest.mark.parametrize("tail", [2.0**-150, 2.0**-60, 0.0])
def test_a_tie_of_a_total_is_decided_by_what_is_far_below(tail, isa):
    """1 + 2**-53 lies in the middle between two doubles."""
    g = np.zeros(3 * 256)
    g[0], g[256:258], g[-1] = 1.0, 2.0**-27, tail
    optimizer = fo.DoG(np.zeros(3 * 256), eps=1e-307)
    optimizer.step(g)
    assert optimizer.state["0"]["seen"] == (1 + 2.0**-52 if tail else 1.0)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("of_p, of_g", [(2.0, 4e-313), (1e200, 1e-200), (1e-200, 1e200), (1e-200, 1e-200), (1e-300, 1e-310)])
def test_lars_of_lengths_that_lie_far_apart(of_p, of_g, decay, eps):
    p = np.full(3, of_p)
    fo.LARS(p, lr=0.5, momentum=0.0, trust_coefficient=0.25, weight_decay=decay, eps=eps).step(np.full(3, of_g))
    start, g, d = Fraction(of_p), Fraction(of_g), Fraction(decay)
    length = exact_norm([g] * 3) + d * exact_norm([start] * 3) + Fraction(eps)
    moved = Fraction(1, 2) * Fraction(1, 4) * exact_norm([start] * 3) / length * (g + d * start)
    assert abs(Fraction(p[0]) - (start - moved)) <= abs(start) * Fraction(1, 2**48)


@given(st.lists(st.integers(0, 5000), max_size=12), st.sampled_from(["f4", "f8"]), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_global_norm_does_not_depend_on_the_cut(cuts, dtype, threads):
    options = {"clip_global_norm": 3.0, "ema": 0.9, "max_step": 0.01, "clip_value": 2.0}
    whole, g = data(5000, dtype, 1), data(5000, dtype, 2)
    parts = np.split(whole.copy(), sorted(cuts))
    one, many = make("adamw", whole, threads=1, **options), make("adamw", parts, threads=threads, **options)
    for _ in range(3):
        one.step(g)
        many.step(np.split(g, sorted(cuts)))
    assert same(np.concatenate(parts), whole) and same(np.concatenate(many.average), one.average)


@pytest.mark.parametrize("option", ["clip_norm", "clip_global_norm", "trust_ratio"])
def test_norms_do_not_depend_on_strides(option):
    start, g = data(600, np.float32, 1).reshape(20, 30), data(600, np.float32, 2).reshape(20, 30)
    found = []
    for place, of_g in itertools.product([np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2]], repeat=2):
        p = place(start.copy())
        optimizer = fo.Adam(p, lr=0.1, **{option: 0.7})
        for _ in range(2):
            optimizer.step(of_g(g))
        found.append(np.ascontiguousarray(p))
    assert all(same(a, found[0]) for a in found)


def test_gradient_clipping_is_torchs():
    torch = pytest.importorskip("torch")
    shapes = [(3, 4), (5,), ()]
    for value, norm, each in [(0.5, np.inf, np.inf), (np.inf, 1.0, np.inf), (np.inf, np.inf, 0.8), (0.5, 1.0, np.inf)]:
        params = [np.array(data(int(np.prod(s)), np.float64, k).reshape(s)) for k, s in enumerate(shapes)]
        theirs = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
        ours, peer = (
            fo.SGD(params, lr=0.1, clip_value=value, clip_global_norm=norm, clip_norm=each),
            torch.optim.SGD(theirs, lr=0.1),
        )
        for k in range(5):
            grads = [np.array(data(int(np.prod(s)), np.float64, 10 * k + j).reshape(s) * 3) for j, s in enumerate(shapes)]
            for t, g in zip(theirs, grads, strict=True):
                t.grad = torch.from_numpy(g.copy())
            if value < np.inf:
                torch.nn.utils.clip_grad_value_(theirs, value)
            for t in theirs if each < np.inf else []:
                torch.nn.utils.clip_grad_norm_([t], each)
            if norm < np.inf:
                torch.nn.utils.clip_grad_norm_(theirs, norm)
            ours.step(grads)
            peer.step()
        for p, t in zip(params, theirs, strict=True):
            np.testing.assert_allclose(p, t.detach().numpy(), rtol=1e-5)  # torch adds 1e-6 to the norm


def test_groups_without_arrays_change_no_sum():
    for sizes in ([0, 5, 3], [5, 0, 3], [0, 0, 5], [5, 3, 0]):
        params = [np.ones(n) for n in sizes]
        optimizer = fo.DoG([{"params": p} for p in params], lr=1.0)
        optimizer.step([data(n, seed=n) for n in sizes])
        for k, n in enumerate(sizes):
            if n:
                alone = fo.DoG(np.ones(n), lr=1.0)
                alone.step(data(n, seed=n))
                assert same(params[k], alone.params) and optimizer.state[f"{k}"]["seen"] == alone.state["0"]["seen"]


@pytest.mark.compiled
def test_sums_do_not_flush():
    found = []
    for threads in (1, 2):
        w = np.zeros(262_144)
        optimizer = fo.SGD(w, lr=1.0, clip_norm=1e-158, flush_subnormals=True, threads=threads)
        optimizer.step(np.full(262_144, 1e-160))
        found.append(w)
    assert same(*found)
