"""Stages around every rule: the bits of their Python, neutral values, accumulation, averages, reports, resume."""

import json
import math
import pickle

import numpy as np
import pytest
from cases import CASES, Oracle, arrays_of, data, make, same

import fastopt as fo


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


STAGED = {
    "clip_value": {"clip_value": 0.3},
    "clip_norm": {"clip_norm": 2.0},
    "clip_global_norm": {"clip_global_norm": 2.0},
    "trust_ratio": {"trust_ratio": 0.5},
    "max_step": {"max_step": 0.005},
    "step_scale": {"step_scale": 0.5},
    "bounds": {"bounds": (-0.2, 0.3)},
    "ema": {"ema": 0.9},
    "zero": {"nonfinite": "zero"},
    "skip": {"nonfinite": "skip"},
    "all": {
        "maximize": True,
        "clip_value": 0.9,
        "clip_norm": 30.0,
        "clip_global_norm": 20.0,
        "trust_ratio": 0.1,
        "max_step": 0.02,
        "step_scale": 0.7,
        "bounds": (None, 0.5),
        "ema": 0.9,
        "nonfinite": "zero",
    },
}
RULES = ["sgd", "momentum", "adam", "adamw", "nesterov-l2", "nadam", "lars", "lamb", "prodigy"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", RULES)
@pytest.mark.parametrize("stage", STAGED)
def test_kernels_equal_the_stages(stage, case, dtype, isa):
    for n in (0, 1, 255, 257, 1000, 70_003):
        start = data(n, dtype, 1)
        oracle = Oracle(case, start, **STAGED[stage])
        runs = [(p := start.copy(), make(case, p, threads=threads, **STAGED[stage])) for threads in (1, 2)]
        for k in range(3):
            g = data(n, dtype, k + 2)
            g[3:5] = np.nan if "nonfinite" in STAGED[stage] and k == 1 else g[3:5]
            made = oracle.step(g, scale=0.5)
            for p, optimizer in runs:
                assert optimizer.step(g, scale=0.5) == made
                assert same(p, oracle.p), (n, k)
                for ours, theirs in zip(arrays_of(optimizer), oracle.state, strict=True):
                    assert same(ours, theirs), (n, k)


@pytest.mark.parametrize("case", CASES)
def test_neutral_stages_change_no_bit(case):
    p, q, g = data(1000, np.float32, 1), data(1000, np.float32, 1), data(1000, np.float32, 2)
    g[:5] = [0.0, -0.0, 1e-44, -1e-44, 1e20]
    neutral = {"clip_value": np.inf, "clip_norm": 1e30, "clip_global_norm": 1e30, "max_step": np.inf, "nonfinite": "propagate"}
    one, two = make(case, p), make(case, q, **neutral)
    for _ in range(3):
        one.step(g)
        two.step(g)
    assert same(p, q)


@pytest.mark.parametrize("case", ["sgd", "adamw", "adam-options", "lamb", "dog"])
def test_step_scale_zero_freezes_exactly(case):
    p, start = data(1000, np.float32, 1), data(1000, np.float32, 1)
    factor = np.where(np.arange(1000) % 3 == 0, 0.0, 1.0)
    optimizer = make(case, p, step_scale=factor)
    for k in range(3):
        g = data(1000, np.float32, k)
        g[0] = np.nan if case != "lamb" and case != "dog" else 0
        optimizer.step(g)
    frozen = factor == 0
    assert same(p[frozen], start[frozen]) and (p[~frozen] != start[~frozen]).all()


def test_step_scale_is_a_learning_rate_of_each_element():
    p, q, factor = np.ones(6), np.ones(6), np.array([0.0, 0.5, 1.0, 2.0, 3.0, 1.0])
    scaled = fo.AdamW(p, lr=0.1, weight_decay=0.5, step_scale=factor)
    groups = fo.AdamW([{"params": q[k : k + 1], "lr": 0.1 * f} for k, f in enumerate(factor)], weight_decay=0.5)
    for k in range(5):
        g = data(6, np.float64, k)
        scaled.step(g)
        groups.step([g[k : k + 1] for k in range(6)])
    np.testing.assert_allclose(p, q, rtol=1e-12)


@pytest.mark.parametrize("case", ["sgd-l2-maximize", "adamw", "adam-options", "momentum", "nadam", "lamb"])
@pytest.mark.parametrize("k", [2, 3])
def test_accumulate_is_the_large_batch(case, k):
    options = {"clip_global_norm": 1.0, "ema": 0.9}
    p, q = data(700, np.float64, 1), data(700, np.float64, 1)
    small, large = make(case, p, accumulate=k, **options), make(case, q, **options)
    for step in range(4):
        grads = [data(700, np.float64, 10 * step + j) for j in range(k)]
        total = np.zeros(700)
        for j, g in enumerate(grads):
            before = p.copy()
            assert small.step(g) is (j == k - 1) and (j == k - 1 or same(p, before))
            total = total + g
        large.step((total) * (1 / k))
        assert small.steps == large.steps == step + 1
        assert same(p, q) and same(small.average, large.average)


def test_accumulate_resumes_and_takes_parameters_without_gradients(tmp_path):
    def build():
        return fo.Adam({"a": np.ones(3), "b": np.ones(2), "c": np.ones(1)}, lr=0.1, accumulate=3, nonfinite="skip")

    def grads(k):
        return {"a": data(3, seed=k), "b": data(2, seed=k) if k % 3 == 0 else None, "c": None}

    straight, first = build(), build()
    for k in range(7):
        straight.step(grads(k))
        if k < 4:
            first.step(grads(k))
    assert straight.state["b"]["step"] == 2 and straight.state["c"]["step"] == 0 and straight.state["b"]["gathering"] is True
    assert straight.step({"a": np.array([np.nan, 0, 0]), "b": None, "c": None}) is False
    first.save(tmp_path / "a.npz")
    second = build()
    second.load(tmp_path / "a.npz")
    for k in range(4, 7):
        second.step(grads(k))
    assert second.fingerprint() == straight.fingerprint()
    with pytest.raises(ValueError, match="accumulate: saved 3, here 1"):
        fo.Adam({"a": np.ones(3), "b": np.ones(2), "c": np.ones(1)}, lr=0.1).load(tmp_path / "a.npz")


def test_ema_is_an_average():
    p = np.zeros(3)
    optimizer = fo.SGD(p, lr=1.0, ema=0.75)
    expected = p.copy()
    for k in range(5):
        optimizer.step(data(3, seed=k))
        expected += 0.25 * (p - expected)
    np.testing.assert_allclose(optimizer.average, expected, rtol=1e-14)
    with pytest.raises(ValueError, match="average: this optimizer keeps none"):
        _ = fo.SGD(np.zeros(1)).average
    with pytest.raises(ValueError, match=r"ema: .* was chosen at construction"):
        fo.SGD(np.zeros(1)).groups[0]["ema"] = 0.9


def test_zero_grads():
    params, grads = [np.zeros(300), np.zeros((4, 5))], [np.ones(300), np.asfortranarray(np.ones((4, 5)))]
    optimizer = fo.SGD(params, lr=1.0, zero_grads=True)
    optimizer.bind(grads)
    optimizer.step()
    assert all((p == -1).all() for p in params) and not any(g.any() for g in grads)
    given = [np.ones(300), np.ones((4, 5))]
    optimizer.step(given)
    assert all((g == 1).all() for g in given), "gradients that are not bound are the caller's"
    frozen = np.ones(300)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optimizer.bind([frozen, None])


@pytest.mark.compiled
def test_flush_subnormals_is_inside_of_the_step_alone():
    for n in (10, 100_000):
        p = np.zeros(n, np.float32)
        optimizer = fo.SGD(p, lr=1.0, flush_subnormals=True, threads=2)
        optimizer.step(np.full(n, 1e-40, np.float32))
        assert not p.any()
        assert np.float32(1e-40) * np.float32(0.5) != 0
        exact = np.zeros(n, np.float32)
        fo.SGD(exact, lr=1.0).step(np.full(n, 1e-40, np.float32))
        assert exact.all()


def test_report():
    params = {"a": np.array([3.0, 4.0]), "b": np.array([0.0])}
    optimizer = fo.SGD(params, lr=fo.schedules.linear_decay(1.0, 4), norms=True, clip_norm=1.0)
    optimizer.step({"a": np.array([0.3, 0.4]), "b": np.array([10.0])})
    report = optimizer.report()
    assert report["steps"] == 1 and report["skipped"] == 0
    (group,) = report["groups"]
    assert group["lr"] == 1.0 and group["clipped"] is True and group["at_bounds"] == 0
    np.testing.assert_allclose(
        [group[k] for k in ("gradient_norm", "update_norm", "update_ratio")], [1.25**0.5, 1.25**0.5, 1.25**0.5 / 5]
    )
    assert fo.SGD(np.zeros(1)).report()["groups"][0]["gradient_norm"] is None


def test_report_as_a_row():
    params = {"w": np.full(4, 3.0), "b": np.full(1, 4.0)}
    optimizer = fo.SGD(params, lr=1.0, norms=True, clip_global_norm=0.5)
    assert optimizer.report(flat=True) == {"steps": 0, "skipped": 0, "at_bounds": 0}
    optimizer.step({"w": np.full(4, 1.5), "b": np.full(1, 4.0)})
    row = optimizer.report(flat=True, per_parameter=True)
    expected = {"unclipped_norm": 5.0, "gradient_norm": 0.5, "update_norm": 0.5, "w/unclipped_norm": 3.0, "b/unclipped_norm": 4.0}
    expected |= {"w/gradient_norm": 0.3, "b/update_norm": 0.4, "w/update_ratio": 0.05, "b/update_ratio": 0.1}
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert (row["lr"], row["clipped"], row["steps"]) == (1.0, True, 1) and json.loads(json.dumps(row)) == row
    assert {type(x) for x in row.values()} == {int, float, bool}
    nested = optimizer.report(per_parameter=True)
    assert nested["parameters"]["w"]["update_ratio"] == row["w/update_ratio"] and "parameters" not in optimizer.report()

    groups = fo.SGD([{"params": np.zeros(2)}, {"params": {"v": np.zeros(1)}, "lr": 0.5}], norms=True)
    groups.step([np.ones(2), {"v": np.ones(1)}])
    row = groups.report(flat=True, per_parameter=True)
    assert (row["0/lr"], row["1/lr"], row["1/update_norm"], row["1/v/update_norm"]) == (1e-3, 0.5, 0.5, 0.5)
    for name in ("flat", "per_parameter"):
        with pytest.raises(TypeError, match=f"{name}: 'yes', expected True or False"):
            groups.report(**{name: "yes"})


def test_options_that_do_not_fit():
    w = np.zeros(2)
    for error, message, options in [
        (ValueError, "nonfinite: 'ignore', expected one of 'propagate'", {"nonfinite": "ignore"}),
        (ValueError, "accumulate: 0, expected a whole number of at least 1", {"accumulate": 0}),
        (TypeError, "zero_grads: 2, expected True or False", {"zero_grads": 2}),
        (ValueError, "clip_norm: -1.0, expected 0 <= clip_norm", {"clip_norm": -1}),
        (ValueError, "ema: 1.0, expected 0 <= ema < 1", {"ema": 1.0}),
        (ValueError, "step_scale", {"step_scale": -1.0}),
        (ValueError, "convention: 'jax', expected one of 'torch', 'keras', 'optax' for Adam", {"convention": "jax"}),
        (TypeError, "unknown learning_rate", {"learning_rate": 1.0}),
    ]:
        with pytest.raises(error, match=message):
            fo.Adam(w, **options)
    optimizer = fo.Adam(w, clip_norm=3.0)
    optimizer.groups[0]["clip_norm"] = 5.0
    with pytest.raises(ValueError, match="clip_global_norm: inf was chosen at construction"):
        optimizer.groups[0]["clip_global_norm"] = 5.0


@pytest.mark.parametrize("stage", STAGED)
def test_resume_is_exact_with_stages(stage, tmp_path):
    def build():
        return make("adamw", {"w": data(60, np.float32, 1).reshape(6, 10), "b": np.zeros(3, np.float32)}, **STAGED[stage])

    def grads(k):
        return {"w": data(60, np.float32, k).reshape(6, 10), "b": None if k == 2 else data(3, np.float32, k)}

    straight, first, second = build(), build(), build()
    for k in range(6):
        straight.step(grads(k))
        if k < 3:
            first.step(grads(k))
    first.save(tmp_path / "a.npz")
    second.load(tmp_path / "a.npz")
    copied = pickle.loads(pickle.dumps(first))
    for k in range(3, 6):
        second.step(grads(k))
        copied.step(grads(k))
    assert second.fingerprint() == straight.fingerprint() == copied.fingerprint()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.longdouble])
@pytest.mark.parametrize("n", [1, 255, 256, 257, 5000])
def test_zero_grads_clears_all_of_every_dtype(n, dtype):
    w, g = np.zeros(n, np.float32), np.zeros(n, dtype)
    optimizer = fo.SGD(w, lr=1.0, zero_grads=True, nonfinite="skip")
    optimizer.bind(g)
    for k in range(3):
        g += 1
        optimizer.step()
        assert not g.any() and (w == -k - 1).all()
    g[0] = np.nan
    assert optimizer.step() is False and not g.any(), "or it would stay NaN for ever"
    g.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step()


def test_zero_grads_refuses_gradients_that_share_memory():
    g = np.zeros(4)
    optimizer = fo.SGD([np.zeros(3), np.zeros(3)], zero_grads=True)
    for pair in ([g[:3], g[:3]], [g[:3], g[1:]]):
        with pytest.raises(ValueError, match="gradient of '0' and gradient of '1' share memory"):
            optimizer.bind(pair)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.float32])
@pytest.mark.parametrize("n", [128, 256, 512])
def test_a_number_for_all_elements_is_one_for_any_size(n, dtype):
    w = np.zeros(n, dtype)
    one = 1 + 1j if np.dtype(dtype).kind == "c" else 1
    fo.SGD(w, lr=1.0, step_scale=0.5).step(np.full(n, one, dtype))
    assert (w == -0.5 * one).all()


@pytest.mark.parametrize("cls", [fo.ScheduleFreeSGD, fo.ScheduleFreeAdamW])
def test_schedule_free_refuses_what_would_shape_one_point_alone(cls):
    for options in ({"step_scale": 0.5}, {"max_step": 1.0}, {"bounds": (0, 1)}, {"trust_ratio": 1.0}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name}: not supported by {cls.__name__}"):
            cls(np.zeros(2), **options)


def test_ema_may_begin_at_zero():
    w = np.full(1, 10.0)
    optimizer = fo.SGD(w, lr=1.0, ema=lambda t: t / (t + 1))
    seen = []
    for _ in range(4):
        optimizer.step(np.ones(1))
        seen.append(w[0])
    np.testing.assert_allclose(optimizer.average, np.mean(seen))


def test_what_a_report_is_of():
    w = np.ones(2)
    optimizer = fo.SGD(w, lr=0.1, clip_norm=lambda t: 1 / (t + 1), nonfinite="skip", norms=True)
    optimizer.step(np.full(2, np.nan))
    assert optimizer.report()["groups"][0] == {
        "lr": None,
        "clipped": None,
        "at_bounds": 0,
        "gradient_norm": None,
        "unclipped_norm": None,
        "update_norm": None,
        "update_ratio": None,
    }
    optimizer.step(np.full(2, 3.0))
    optimizer.lr = 0.7
    made = optimizer.report()
    assert made["groups"][0]["lr"] == 0.1 and made["groups"][0]["clipped"] is True
    optimizer.step(np.full(2, np.nan))
    assert optimizer.report() == {**made, "skipped": 2}
    optimizer.reset()
    assert optimizer.report()["groups"][0]["gradient_norm"] is None


def test_resume_refuses_what_would_go_on_otherwise():
    keras = fo.Adam(np.zeros(2), convention="keras", weight_decay=0.1)
    other = fo.Adam(np.zeros(2), eps=1e-7, eps_hat=True, weight_decay=0.1)
    with pytest.raises(ValueError, match=r"weight_decay of group 0: saved as \['decoupled'\], here \['l2'\]"):
        other.load_state_dict(keras.state_dict())
    for options in ({"accumulate": 5}, {"nonfinite": "raise"}, {"rounding": "nearest"}):
        (name,) = options
        saved = fo.Adam(np.zeros(2), accumulate=4 if name == "accumulate" else 1).state_dict()
        with pytest.raises(ValueError, match=f"{name}: saved"):
            fo.Adam(np.zeros(2), **options).load_state_dict(saved)


def test_a_rate_of_zero_is_refused_where_one_over_it_is_needed():
    with pytest.raises(ValueError, match="lr: 0"):
        fo.FTRL(np.zeros(2), lr=0)
    optimizer = fo.FTRL(np.zeros(2), lr=lambda t: 0.1 * t)
    with pytest.raises(ValueError, match="lr: 0"):
        optimizer.step(np.ones(2))


def test_none_is_no_limit():
    optimizer = fo.SGD([{"params": np.zeros(2), "clip_value": None}], lr=1.0, max_step=None)
    optimizer.groups[0]["max_step"] = 0.5
    optimizer.step([np.full(2, 9.0)])
    optimizer.groups[0]["max_step"] = None
    optimizer.step([np.full(2, 9.0)])
    assert (optimizer.params[0] == -9.5).all()


def test_averages_of_groups_without_ema_are_the_parameters():
    p, q = np.ones(3), np.ones(3)
    optimizer = fo.SGD([{"params": p, "ema": 0.5}, {"params": q}], lr=1.0)
    optimizer.step([np.ones(3), np.ones(3)])
    averaged, plain = optimizer.average
    assert averaged.tolist() == [0.5] * 3 and plain is q


def test_one_array_takes_lists_and_masks():
    p = np.ones(3)
    fo.SGD(p, lr=1.0, step_scale=[1, 0, 0.5], bounds=([0.25, -1, -1], [2, 2, 2])).step(np.ones(3))
    assert p.tolist() == [0.25, 1, 0.5]
    p, q = np.ones(3), np.ones(2)
    fo.SGD({"p": p, "q": q}, lr=1.0, step_scale={"p": np.array([True, False, True]), "q": 1}).step(
        {"p": np.ones(3), "q": np.ones(2)}
    )
    assert p.tolist() == [0, 1, 0] and q.tolist() == [0, 0]
    with pytest.raises(ValueError, match="step_scale"):
        fo.SGD(np.ones(3), step_scale=[1, 0])
    with pytest.raises(ValueError, match="bounds, low of '0': bool"):
        fo.SGD(np.ones(2), bounds=(np.array([True, False]), 1))
