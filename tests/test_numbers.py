"""Right numbers over the whole range of a dtype, judged against exact arithmetic, compiled and interpreted."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from cases import data, make, same

import fastopt as fo
from fastopt._arrays import dtypes
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
    """What a step subtracts from a parameter of zeros, without another rounding."""
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("option", ["clip_norm", "clip_global_norm"])
def test_a_nan_never_leaves_a_gradient_unclipped(option, dtype):
    p = [np.zeros(3, dtype), np.zeros(2, dtype)]
    optimizer = fo.SGD(p, lr=1.0, **{option: 1.0})
    optimizer.step([np.array([np.nan, 1e6, 1.0], dtype), np.array([1e6, 0.0], dtype)])
    assert np.isnan(p[0]).all() and optimizer.report()["groups"][0]["clipped"] is True
    if option == "clip_global_norm":
        assert np.isnan(p[1]).all()
    else:
        np.testing.assert_allclose(p[1], [-1, 0], rtol=1e-6)


@pytest.mark.parametrize("cls", [fo.LARS, fo.LAMB, fo.Adafactor])
def test_a_nan_never_makes_a_step_longer_than_its_ratio(cls):
    p = np.ones((4, 5)) if cls is fo.Adafactor else np.ones(20)
    g = np.full(p.shape, 1e6)
    g.flat[3] = np.nan
    cls(p, lr=0.1).step(g)
    assert np.isnan(p).all()


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"clip_global_norm": 1.0}, {"clip_norm": 1.0, "clip_value": 1e38}])
@pytest.mark.parametrize("gradient", ["float64", "longdouble"])
def test_gradients_of_more_range_are_shaped_before_they_are_rounded(options, gradient):
    p = np.zeros(2, np.float32)
    fo.SGD(p, lr=1.0, **options).step(np.array([1e39, -1e39], gradient))
    np.testing.assert_allclose(p, [-math.sqrt(0.5), math.sqrt(0.5)], rtol=1e-7)
    p = np.zeros(2, np.float32)
    fo.SGD(p, lr=1.0).step(np.full(2, 1e39), scale=1e-39)
    assert same(p, np.full(2, -1, np.float32))
    p = np.zeros(2, np.float32)
    fo.SGD(p, lr=1.0, clip_norm=1.0).step(np.array([3e38, 3e38], np.float32), scale=1000.0)
    np.testing.assert_allclose(p, [-math.sqrt(0.5)] * 2, rtol=1e-7)


@pytest.mark.parametrize("policy", ["raise", "skip", "zero"])
def test_what_is_infinite_is_judged_as_it_will_be_used(policy):
    p = np.zeros(2, np.float32)
    fo.SGD(p, lr=1.0, clip_norm=1.0, nonfinite=policy).step(np.full(2, 1e39))
    np.testing.assert_allclose(p, [-math.sqrt(0.5)] * 2, rtol=1e-7)
    p[:] = 0
    optimizer = fo.SGD(p, lr=1.0, nonfinite=policy)  # nothing would bring it into the range of floats
    if policy == "raise":
        with pytest.raises(FloatingPointError):
            optimizer.step(np.full(2, 1e39))
    else:
        assert optimizer.step(np.full(2, 1e39)) is (policy == "zero")
    assert (p == 0).all()


@pytest.mark.parametrize("clip", ["clip_value", "clip_norm", "clip_global_norm"])
@pytest.mark.parametrize("policy", ["raise", "skip", "zero"])
def test_a_limit_beyond_the_range_of_floats_hides_nothing_infinite(policy, clip, isa):
    p = np.zeros(2, np.float32)
    optimizer = fo.SGD(p, lr=1.0, nonfinite=policy, **{clip: 1.0})
    optimizer.groups[0][clip] = 1e39
    if policy == "raise":
        with pytest.raises(FloatingPointError):
            optimizer.step(np.array([1e39, 1.0]))
    else:
        assert optimizer.step(np.array([1e39, 1.0])) is (policy == "zero")
    assert p.tolist() == [0, -1 if policy == "zero" else 0]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_of_finite_gradients_is_finite(dtype, count):
    largest = np.finfo(dtype).max
    p = np.zeros(3, dtype)
    optimizer = fo.SGD(p, lr=1.0, accumulate=count, nonfinite="raise", clip_value=1e30)
    for _ in range(count):
        optimizer.step(np.array([largest, -largest, 1.0], dtype))
    np.testing.assert_allclose(p, [-1e30, 1e30, -1], rtol=1e-6)


def test_a_file_with_gradients_that_were_gathered_before_they_were_scaled_is_read():
    p, q = np.zeros(3), np.zeros(3)
    first, second = (fo.SGD(x, lr=1.0, accumulate=3) for x in (p, q))
    first.step(np.array([1.0, 2.0, 4.0]))
    saved = first.state_dict()
    assert saved.pop("gathered_unit") == 2
    saved["state"]["0"]["gathered"] = np.array([1.0, 2.0, 4.0])  # as format 1 had it until then
    second.load_state_dict(saved)
    for optimizer in (first, second):
        optimizer.step(np.ones(3))
        optimizer.step(np.ones(3))
    assert same(p, q) and np.allclose(p, [-1, -4 / 3, -2])


@pytest.mark.compiled
def test_an_exploding_gradient_makes_a_step_where_subnormal_numbers_are_flushed():
    p = np.zeros(4, np.float32)
    fo.SGD(p, lr=1.0, clip_norm=1e-3, flush_subnormals=True).step(np.full(4, 1e38, np.float32))
    np.testing.assert_allclose(p, [-5e-4] * 4, rtol=1e-6)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("x", [3.1e38, 3.2e38, 3.3e38, 3.4e38, np.finfo(np.float32).max, np.inf])
def test_8_bits_hold_no_infinity(x, unsigned):
    for bits in (None, np.full(2, 0xFFFFFFFF, np.uint32)):
        found = dtypes.widened8(*dtypes.narrowed8(np.array([x, 1.0], np.float32), unsigned, bits), unsigned)
        assert np.isfinite(found).all() and found[0] >= 2.9e38
    p = np.zeros(600, np.float32)
    optimizer = fo.SGD(p, lr=0.0, momentum=0.9, state_dtype="float8", rounding="nearest")
    optimizer.step(np.full(600, min(x, 3.4e38), np.float32))
    assert np.isfinite(optimizer.state["0"]["buf"]).all()


def test_16_bits_are_not_carried_to_infinity():
    largest = np.finfo(np.float32).max
    x = np.full(2000, largest)
    assert np.isfinite(
        dtypes.widened(dtypes.narrowed(x, dtypes.BFLOAT16, np.full(2000, 0xFFFFFFFF, np.uint32)).view(dtypes.bfloat16))
    ).all()
    p = np.zeros(2000, np.float32)
    optimizer = fo.SGD(p, lr=0.0, momentum=0.5, state_dtype="bfloat16")
    optimizer.step(x)
    assert np.isfinite(optimizer.state["0"]["buf"]).all()


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "float16", "float8"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_views_of_narrow_state_are_numbers(dtype, state_dtype):
    p = np.ones((3, 100), np.float32)
    p = (p.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) if dtype == "bfloat16" else p
    optimizer = fo.ASGD({"w": p}, lr=0.01, t0=0, state_dtype=state_dtype)
    for _ in range(3):
        optimizer.step({"w": np.ones((3, 100), np.float32)})
    for found in (optimizer.average["w"], optimizer.state["w"]["average"]):
        assert found.dtype.kind == "f" and found.shape == (3, 100)
        np.testing.assert_allclose(found, 0.98, atol=0.07)
    view = optimizer.state["w"]["average"]
    if not view.flags.writeable:
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1


def test_a_narrow_average_of_fortran_order():
    p = np.asfortranarray(np.arange(600, dtype=np.float32).reshape(20, 30))
    optimizer = fo.ASGD(p, lr=0.0, state_dtype="float8", rounding="nearest")
    optimizer.step(np.zeros((20, 30)))
    np.testing.assert_allclose(optimizer.average, p, rtol=0.07, atol=0.5)
    optimizer.state["0"]["average"] = p / 2
    np.testing.assert_allclose(optimizer.state["0"]["average"], p / 2, rtol=0.07, atol=0.5)


@pytest.mark.parametrize("case", ["adam", "nadam", "prodigy", "lamb"])
def test_state_and_counts_can_be_set(case):
    p, q = np.ones(5), np.ones(5)
    first, second = make(case, {"w": p, "v": np.ones(2)}), make(case, {"w": q, "v": np.ones(2)})
    for k in range(4):
        first.step({"w": data(5, seed=k), "v": np.ones(2)})
    q[:] = p
    second.params["v"][:] = first.params["v"]
    for name, state in first.state.items():
        second.state[name].update({key: x.copy() if isinstance(x, np.ndarray) else x for key, x in state.items()})
    second.steps = first.steps
    assert second.fingerprint() == first.fingerprint()
    for optimizer in (first, second):
        optimizer.step({"w": data(5, seed=9), "v": np.ones(2)})
    assert second.fingerprint() == first.fingerprint() and first.state["w"]["step"] == 5


def test_writing_to_state_is_checked():
    optimizer = fo.Adam({"w": np.zeros(3, np.float32)})
    before = optimizer.fingerprint()
    state = optimizer.state["w"]
    for key, x, error, text in [
        ("m", np.zeros(4), ValueError, r"state 'm' of 'w': shape \(4,\), expected \(3,\)"),
        ("m", "text", TypeError, "state 'm' of 'w': <U4, expected numbers"),
        ("m", np.ma.array(np.ones(3), mask=[0, 1, 0]), TypeError, "state 'm' of 'w': a masked array"),
        ("step", -1, ValueError, "step of 'w': -1, expected a whole number"),
        ("exp_avg", 0, KeyError, "expected one of 'step', 'm', 'v'"),
        ("v", np.full(3, 1e300), ValueError, "state 'v' of 'w': finite numbers beyond the range of float32"),
    ]:
        with pytest.raises(error, match=text):
            state[key] = x
    with pytest.raises(ValueError, match="step of 'w'"):
        state.update(m=np.ones(3), step=0.5)
    with pytest.raises(TypeError):
        del state["m"]
    with pytest.raises(TypeError):
        optimizer.state["w"] = {}
    with pytest.raises(AttributeError):
        optimizer.state = {}
    assert optimizer.fingerprint() == before
    state["m"] += 1
    assert (optimizer.state["w"]["m"] == 1).all()
    optimizer.steps = 7
    assert optimizer.steps == optimizer.state["w"]["step"] == 7


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_bounds_that_leave_one_number_or_none(dtype):
    def start():
        p = np.zeros(2, np.float32)
        return (p.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) if dtype == "bfloat16" else p.astype(dtype)

    p = start()
    with pytest.warns(RuntimeWarning, match="bounds of '0': 2 elements of parameters were outside"):
        optimizer = fo.SGD(p, lr=1.0, bounds=(0.1, 0.1))
    kept = p.copy()
    optimizer.step(np.ones(2, np.float32))
    as_numbers = dtypes.widened(dtypes.plain(p)) if dtype == "bfloat16" else p
    assert same(dtypes.plain(kept), dtypes.plain(p))
    np.testing.assert_allclose(as_numbers.astype(float), 0.1, rtol=4e-3 if dtype == "bfloat16" else 1e-3)
    if dtype != "float64":
        with pytest.raises(ValueError, match=r"bounds of '0': no number of .* is between low and high"):
            fo.SGD(start(), bounds=(0.1000001, 0.1000001 + 1e-12))
    with pytest.raises(ValueError, match="no number of"):
        fo.SGD(start(), bounds=(np.inf, np.inf))


def test_ambiguous_bounds_are_refused_with_both_spellings():
    optimize = pytest.importorskip("scipy.optimize")
    with pytest.raises(ValueError) as error:
        fo.SGD(np.zeros(2), bounds=((0, 1), (0, 2)))
    first, second = (part.strip() for part in str(error.value).split("expected ")[1].rsplit(", or ", 1))
    found = []
    for text in (first, second):
        bounds = eval(text, {"np": np, "scipy": type("scipy", (), {"optimize": optimize})})
        p = np.array([0.5, 1.0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = fo.SGD(p, lr=10.0, bounds=bounds)
        optimizer.step(np.array([-1.0, -1.0]))
        found.append(p.tolist())
    assert found == [[0, 2], [1, 2]]
    with pytest.raises(ValueError, match="a pair for each of two numbers"):
        fo.SGD([np.zeros(3), np.zeros(3)], bounds=((0, 1), (0, 2)))


def test_a_refusal_of_bounds_names_the_parameters():
    p = np.array([0.5, 1.0])
    with pytest.raises(ValueError) as error:
        fo.SGD({"w": p}, bounds=([0, 0], [0, 1]))
    for text in str(error.value).split("expected ")[1].rsplit(", or ", 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fo.SGD({"w": p.copy()}, bounds=eval(text, {"np": np}))


def test_bounds_hold_for_the_copy_of_a_narrow_parameter_and_nothing_changes_where_the_warning_is_an_error():
    for master in ("float32", "split"):
        p = np.full(3, 5, np.float32).view(np.uint32).__rshift__(16).astype(np.uint16).view(fo.bfloat16)
        with pytest.warns(RuntimeWarning, match="3 elements"):
            optimizer = fo.SGD({"w": p}, master=master, bounds=(-0.3, 0.3))
        assert (optimizer.state["w"]["master"] <= 0.3).all() and (optimizer.state["w"]["master"] > 0.2999).all()
    p, q, r = np.array([5.0]), np.array([6.0]), np.array([7.0])
    optimizer = fo.SGD([{"params": np.zeros(1)}], bounds=(-1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="bounds of '0', '1': 2 elements"):
            fo.SGD([p, q], bounds=(-1, 1))
        with pytest.raises(RuntimeWarning):
            optimizer.add_group({"params": r})
    assert (p[0], q[0], r[0], len(optimizer.groups)) == (5, 6, 7, 1)


def test_a_scaled_float_is_rounded_once_near_a_middle_too(isa):
    """As a fused operation rounds; two operations on doubles would give the other neighbour."""
    x, factor = np.float32(float.fromhex("0x1.9d07a6p+0")), float.fromhex("0x1.3f550e036310dp-1")
    p = np.zeros(40, np.float32)
    assert (moved(fo.SGD(p, lr=1.0), p, np.full(40, x), scale=factor) == float.fromhex("0x1.019ae2p+0")).all()


def test_a_start_outside_of_its_bounds_is_said():
    p = np.array([-5.0, 0.5, 5.0], np.float32)
    with pytest.warns(RuntimeWarning, match="bounds of 'w': 2 elements") as seen:
        optimizer = fo.Adam({"w": p}, bounds=(-1, 1), master=None, ema=0.5)
    assert seen[0].filename == __file__ and p.tolist() == [-1, 0.5, 1] and optimizer.average["w"].tolist() == [-1, 0.5, 1]
    with pytest.raises(TypeError), warnings.catch_warnings():
        warnings.simplefilter("error")
        q = np.array([9.0])
        fo.Adam({"w": q, "x": np.zeros(1, int)}, bounds=(-1, 1))
    assert q[0] == 9


def test_a_report_is_of_what_happened():
    p = np.array([0.0, 0.5])
    optimizer = fo.SGD(p, lr=1.0, bounds=(-0.25, 1.0), norms=True, clip_norm=5.0)
    optimizer.step(np.array([30.0, -40.0]))
    (group,) = optimizer.report()["groups"]
    assert group["unclipped_norm"] == pytest.approx(50) and group["gradient_norm"] == pytest.approx(5)
    assert group["update_norm"] == pytest.approx(math.hypot(0.25, 0.5)) and group["update_ratio"] == pytest.approx(
        group["update_norm"] / 0.5
    )
    assert p.tolist() == [-0.25, 1.0]
    zero = fo.SGD(np.zeros(2), lr=1.0, norms=True)
    zero.step(np.full(2, 1e200))
    assert zero.report()["groups"][0]["update_ratio"] is None
    assert zero.report()["groups"][0]["gradient_norm"] == pytest.approx(math.sqrt(2) * 1e200)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (fo.Rprop, {"etas": (1.0, 0.5)}),
        (fo.Rprop, {"etas": (0.0, 1.2)}),
        (fo.Rprop, {"etas": (0.5, 1.0)}),
        (fo.Rprop, {"step_sizes": (1.0, 0.1)}),
        (fo.Prodigy, {"growth_rate": 0.5}),
        (fo.Prodigy, {"d0": 0.0}),
        (fo.ScheduleFreeSGD, {"momentum": 1.0}),
        (fo.DoG, {"eps": 0.0}),
        (fo.Adafactor, {"d": 0.5}),
        (fo.SGD, {"momentum": 0.0, "nesterov": True}),
    ],
)
def test_hyperparameters_that_do_not_go_together_are_refused(cls, options):
    with pytest.raises(ValueError, match="expected"):
        cls(np.zeros(2), **options)
    optimizer = cls(np.zeros(2))
    for key, x in options.items():
        if not isinstance(x, bool) and key in optimizer.groups[0] and "nesterov" not in options:
            with pytest.raises(ValueError, match="expected"):
                optimizer.groups[0][key] = x


def test_step_sizes_without_an_object_are_in_order_too():
    p = np.zeros(2)
    with pytest.raises(ValueError, match="step_min"):
        fo.functional.rprop(p, p + 1, p, p, t=1, lr=0.1, eta_minus=0.5, eta_plus=1.2, step_min=1.0, step_max=0.1)


def test_totals_are_exact_and_rounded_once():
    random = np.random.default_rng(5)
    for _ in range(200):
        n = int(random.integers(1, 40))
        x = np.ldexp(random.standard_normal(n), random.integers(-1000, 900, n))
        units = random.choice([0, 0, sums.UNIT, -sums.UNIT], n)
        found, exponent = sums.total(x.tolist(), units.tolist())
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


def test_a_shuffled_frame_is_trained_by_position():
    pandas = pytest.importorskip("pandas")
    x = np.arange(1.0, 21.0)
    frame = pandas.DataFrame({"x": x, "y": 2 * x}).sample(frac=1, random_state=0)

    def loss_and_grad(w, x, y):
        e = w[0] * x - y
        return float(np.mean(e**2)), np.array([np.mean(2 * e * x)])

    mixed = pandas.DataFrame({"x": pandas.array(x.astype(int), "Int64"), "y": 2 * x})
    w = np.zeros(1)
    fo.training.fit(lambda w, a: loss_and_grad(w, *a.T), w, mixed, fo.SGD(w, lr=1e-3), epochs=60, batch_size=4, seed=0)
    assert abs(w[0] - 2) < 1e-3
    for arrays in ((frame.x, frame.y), (frame.x.to_numpy(), frame.y), [frame.x, frame.y], (list(frame.x), list(frame.y))):
        w = np.zeros(1)
        fo.training.fit(loss_and_grad, w, arrays, fo.SGD(w, lr=1e-3), epochs=60, batch_size=4, seed=0)
        assert abs(w[0] - 2) < 1e-3
    for wrong, text in (
        ((x, ["a"] * 20), "data 1: .*expected an array of numbers"),
        ((x, pandas.DataFrame({"a": x.astype(str), "b": x})), "data 1: .*object"),
        ((x, object()), "data 1: "),
        ((3.0,), "data 0: "),
    ):
        with pytest.raises(TypeError, match=text):
            fo.training.fit(loss_and_grad, w, wrong, fo.SGD(w, lr=1e-3), epochs=1)


def test_a_summing_rule_without_an_object_is_exact_too():
    p, g = np.linspace(1, 2, 40), np.linspace(-1, 1, 40) * 1e-200
    out, _ = fo.functional.lars(p, g, np.zeros(40), t=1, lr=0.5, momentum=0.0, weight_decay=0.0, trust_coefficient=0.1, eps=0.0)
    expected, _ = fo.functional.lars(
        p, g * 1e200, np.zeros(40), t=1, lr=0.5, momentum=0.0, weight_decay=0.0, trust_coefficient=0.1, eps=0.0
    )
    np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_adopt_leaves_the_parameter_alone_in_the_step_that_sets_v():
    for options in ({}, {"decoupled_weight_decay": True}):
        p = np.array([1.0, -2.0])
        fo.ADOPT(p, lr=0.1, weight_decay=0.5, **options).step(np.array([3.0, 4.0]))
        assert p.tolist() == [1.0, -2.0]


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


def test_options_that_are_arrays_are_plain_and_stay_as_they_were():
    for options in ({"step_scale": np.ma.ones(2)}, {"bounds": (np.ma.zeros(2), 1.0)}):
        with pytest.raises(TypeError, match="a masked array, expected a plain one"):
            fo.SGD(np.zeros(2), **options)
    low = np.zeros(2)
    optimizer = fo.SGD(np.zeros(2), bounds=(low, 1.0))
    low[...] = 5
    with pytest.raises(ValueError, match="read-only"):
        optimizer.groups[0]["bounds"][0][:] = 5
    assert (optimizer.groups[0]["bounds"][0] == 0).all()
