"""State and counts that are shown and set."""

import numpy as np
import pytest
from cases import data, make, same

import fastopt as fo


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


def test_adopt_leaves_the_parameter_alone_in_the_step_that_sets_v():
    for options in ({}, {"decoupled_weight_decay": True}):
        p = np.array([1.0, -2.0])
        fo.ADOPT(p, lr=0.1, weight_decay=0.5, **options).step(np.array([3.0, 4.0]))
        assert p.tolist() == [1.0, -2.0]


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


def test_asgd_keeps_two_averages(tmp_path):
    def build():
        return fo.ASGD(np.zeros(3), lr=0.1, t0=0, ema=0.9)

    first, second = build(), build()
    for k in range(4):
        first.step(data(3, seed=k))
    first.save(tmp_path / "a.npz")
    second.load(tmp_path / "a.npz")
    assert same(first.average, second.average)
    assert same(first.state["0"]["averaged"], second.state["0"]["averaged"]) and not same(
        first.average, first.state["0"]["averaged"]
    )


def test_names_of_state_do_not_meet():
    from fastopt.spec import RULES as every
    from fastopt.spec import STAGES

    stage_arrays = {a for stage in STAGES.values() for a in stage.stage_arrays} | {"step", "master", "gathering"}
    for rule in every.values():
        assert not stage_arrays & {*rule.state, *rule.carry} and not {*rule.state} & {*rule.carry}


def test_step_sizes_of_rprop_are_in_order():
    with pytest.raises(ValueError, match="expected at most step_max"):
        fo.Rprop(np.ones(3), step_sizes=(50, 1e-6))
