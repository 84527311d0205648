"""Infinite and NaN gradients, and finite ones beyond the range of the parameters."""

import math
import pickle

import numpy as np
import pytest
from cases import same

import fastopt as fo
from fastopt._arrays import dtypes


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


BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("bad", BAD)
def test_nonfinite_skip_leaves_everything_alone(bad):
    params = {"a": np.ones(300), "b": np.ones(5)}
    optimizer = fo.Adam(
        params, lr=fo.schedules.linear_decay(0.1, 10), nonfinite="skip", ema=0.5, weight_decay=0.1, clip_global_norm=1.0
    )
    good = {"a": np.ones(300), "b": np.ones(5)}
    optimizer.step(good)
    before, lr = optimizer.fingerprint(), optimizer.lr
    wrong = {"a": np.ones(300), "b": np.array([1, 1, bad, 1, 1])}
    for k in range(3):
        assert optimizer.step(wrong) is False
        assert optimizer.skipped == k + 1 and optimizer.fingerprint() == before and optimizer.lr == lr
    assert optimizer.step(good) is True and optimizer.steps == 2 and optimizer.report()["skipped"] == 3
    twin = pickle.loads(pickle.dumps(optimizer))
    assert twin.skipped == 3


@pytest.mark.parametrize("bad", BAD)
def test_nonfinite_raise_names_the_gradient(bad):
    params = {"a": np.ones(300), "b": np.ones(5)}
    optimizer = fo.Adam(params, nonfinite="raise")
    before = optimizer.fingerprint()
    wrong = {"a": np.ones(300), "b": np.array([1, bad, bad, 1, 1])}
    with pytest.raises(FloatingPointError, match=rf"gradient of 'b': 2 elements are infinite or NaN, the first at \[1\]: {bad}$"):
        optimizer.step(wrong)
    assert optimizer.fingerprint() == before and optimizer.skipped == 0
    optimizer.step({**wrong, "b": None})
    with pytest.raises(FloatingPointError, match=r"gradient of 'a': 300 .*; so are elements of 1 more"):
        optimizer.step({"a": np.full(300, bad), "b": wrong["b"]})


def test_a_gradient_that_is_given_once_is_not_located():
    class Once:
        def __array__(self, dtype=None, copy=None):
            if vars(self).setdefault("given", []):
                raise KeyError
            self.given.append(1)
            return np.array([1, np.nan])

    with pytest.raises(FloatingPointError, match=r"gradient of '0': 1 element is infinite or NaN$"):
        fo.Adam(np.ones(2), nonfinite="raise").step(Once())


def test_nonfinite_zero_is_of_the_element():
    p = np.ones(4)
    fo.SGD(p, lr=1.0, nonfinite="zero").step(np.array([np.nan, np.inf, -np.inf, 1.0]))
    assert p.tolist() == [1, 1, 1, 0]
