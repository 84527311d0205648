"""Arguments, groups and schedules, set at construction and later."""

import contextlib
import copy
import gc
import pickle
import sys
import threading
import weakref

import ml_dtypes
import numpy as np
import pytest
from cases import same, snapshot
from mistakes import own

import fastopt as fo
from fastopt import functional
from fastopt._engine import dispatch
from fastopt.domains import positive


def test_groups():
    w, b = np.zeros(2), np.zeros(2)
    optimizer = fo.Adam([{"params": {"w": w}, "lr": 0.5}, {"params": [b], "betas": (0.5, 0.9)}], lr=0.25)
    assert optimizer.lr == [0.5, 0.25] and list(optimizer.state) == ["0/w", "1/0"]
    c = np.zeros(2)
    optimizer.step([{"w": np.ones(2)}, [np.ones(2)]])
    before = optimizer.state["0/w"]["m"].copy()
    optimizer.add_group({"params": c, "lr": 1.0})
    assert optimizer.state["0/w"]["step"] == 1 and (optimizer.state["0/w"]["m"] == before).all()
    optimizer.step([{"w": None}, [None], np.ones(2)])
    assert np.allclose(c, -1) and optimizer.state["2"]["step"] == 1 and optimizer.steps == 2
    optimizer.lr = 0.125
    assert optimizer.lr == 0.125
    with pytest.raises(ValueError, match="learning_rate: no such hyperparameter"):
        optimizer.groups[0]["learning_rate"] = 1
    with pytest.raises(ValueError, match="amsgrad: False was chosen at construction"):
        optimizer.groups[0]["amsgrad"] = True


def test_schedules():
    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=fo.schedules.linear_decay(1.0, steps=4))
    seen = []
    for _ in range(5):
        seen.append(optimizer.lr)
        optimizer.step(np.ones(1))
    assert seen == [1.0, 0.75, 0.5, 0.25, 0.0] and p[0] == -2.5
    steps = np.arange(6)
    for schedule in (
        fo.schedules.constant(2.0),
        fo.schedules.linear_decay(1.0, 4, 0.5),
        fo.schedules.exponential_decay(1.0, 0.5, 2, True),
    ):
        assert schedule(steps).tolist() == [schedule(int(s)) for s in steps]
        assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert fo.schedules.exponential_decay(2.0, 0.5)(3) == 0.25


@pytest.mark.parametrize("lr", [lambda t: float("nan"), lambda t: "fast", lambda t: -1.0, lambda t: 1 / t])
def test_a_failing_schedule_changes_nothing(lr):
    p = np.ones(3)
    optimizer = fo.Adam([{"params": p, "lr": fo.schedules.linear_decay(1.0, 10)}, {"params": np.ones(2), "lr": lr}])
    before = snapshot(optimizer)
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        optimizer.step([np.ones(3), np.ones(2)])
    assert snapshot(optimizer) == before


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_bad_scale_changes_nothing(scale):
    optimizer = fo.SGD(np.ones(2))
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="scale"):
        optimizer.step(np.ones(2), scale=scale)
    assert snapshot(optimizer) == before


@pytest.mark.parametrize("key", ["lr", "eps", "weight_decay", "betas", "threads", "momentum"])
def test_bad_hyperparameters(key):
    with pytest.raises((ValueError, TypeError), match=key if key != "betas" else "beta"):
        fo.Adam(np.ones(2), **{key: (0.9, 1.0) if key == "betas" else -1})


def test_a_step_inside_a_step_is_refused():
    optimizer = fo.SGD(np.zeros(3), lr=lambda t: optimizer.step(np.ones(3)))
    with pytest.raises(RuntimeError, match="at work"):
        optimizer.step(np.ones(3))
    assert optimizer.steps == 0


def test_groups_of_equal_hyperparameters_are_two():
    a, b = np.zeros(1), np.zeros(1)
    optimizer = fo.SGD([{"params": a}, {"params": b}], lr=1.0)
    optimizer.groups[1]["lr"] = 0.0
    optimizer.step([np.ones(1), np.ones(1)])
    assert a[0] == -1 and b[0] == 0


@pytest.mark.parametrize("count", [-1, True, 1.0, None, "3", 2**63])
def test_bad_counts_are_refused_before_anything_is_written(count):
    optimizer = fo.Adam({"a": np.ones(2), "b": np.ones(2)})
    optimizer.step({"a": np.ones(2), "b": np.ones(2)})
    before = snapshot(optimizer)
    for where in ("b", None):
        saved = optimizer.state_dict()
        saved["state"]["a"]["m"] += 1
        if where:
            saved["state"]["b"]["step"] = count
        else:
            saved["steps"] = count
        with pytest.raises(ValueError, match="expected a whole number of steps"):
            optimizer.load_state_dict(saved)
        assert snapshot(optimizer) == before


def test_a_schedule_that_sets_another_is_followed():
    def first(t):
        optimizer.groups[0]["lr"] = fo.schedules.constant(0.5)
        return 1.0

    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=first)
    optimizer.step(np.ones(1))
    assert p[0] == -0.5 and optimizer.lr == 0.5


def test_numbers_and_names_that_nothing_can_hold():
    with pytest.raises(ValueError, match=r"lr: inf, expected 0 <= lr, a finite number"):
        fo.SGD(np.zeros(1), lr=10**400)
    with pytest.raises(ValueError, match="half a character"):
        fo.SGD({"\ud800": np.zeros(1)})
    with pytest.raises(ValueError, match=r"gamma=-0\.5, expected at least 0"):
        fo.schedules.exponential_decay(1.0, -0.5)


def test_a_schedule_that_sets_its_own_hyperparameter():
    def plateau(t):
        optimizer.groups[0]["lr"] = 0.5
        return 1.0

    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=plateau)
    optimizer.step(np.ones(1))
    optimizer.step(np.ones(1))
    assert p[0] == -1.0 and optimizer.lr == 0.5


def test_without_its_constructor():
    with pytest.raises(RuntimeError, match="constructor"):
        fo.Adam.__new__(fo.Adam).step(np.ones(1))


def test_add_group_during_steps():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    base = [np.ones(40)] * 100
    optimizer = fo.Adam([{"params": [np.zeros(40) for _ in base]}], threads=2)
    stop, seen = threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                optimizer.step([base] + [np.ones(1)] * (len(optimizer.groups) - 1))
            except (RuntimeError, ValueError) as error:
                seen.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    added = 0
    try:
        while added < 20:
            try:
                optimizer.add_group({"params": np.zeros(1)})
                added += 1
            except RuntimeError as error:
                assert "at work" in str(error)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(optimizer.groups) == len(optimizer.state) - 99 == 21
    assert all("at work" in s or "entries, expected" in s for s in seen)


def test_an_interrupted_add_group_changes_nothing(monkeypatch):
    from fastopt._arrays import layout, overlap

    optimizer = fo.Adam([{"params": [np.zeros(3), np.zeros(3)]}])
    optimizer.step([[np.ones(3)] * 2])
    before = snapshot(optimizer)

    def interrupt(*_):
        raise KeyboardInterrupt

    for module, name in ((overlap, "ranges"), (layout, "zeros_like"), (overlap, "check_disjoint")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                optimizer.add_group({"params": np.zeros(3)})
        assert snapshot(optimizer) == before and len(optimizer.groups) == 1
    optimizer.step([[np.ones(3)] * 2])
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD([{"params": np.zeros(2)}], momentum=0.9).add_group({"params": (w := np.zeros(2), w)})
    with pytest.raises(ValueError, match=r"state 'm' of '0/0'.* share memory|share memory"):
        optimizer.add_group({"params": optimizer.state["0/0"]["m"]})


def test_the_base_class_makes_no_optimizer():
    with pytest.raises(TypeError, match="Optimizer: a base class, expected a subclass such as"):
        fo.Optimizer(np.ones(1))
    assert issubclass(fo.RuleError, SyntaxError)


def test_without_a_constructor_or_an_instance():
    blank = fo.Adam.__new__(fo.Adam)
    for call in (
        lambda: repr(blank),
        lambda: blank.state,
        lambda: blank.params,
        lambda: blank.lr,
        lambda: blank.groups,
        blank.fingerprint,
        blank.state_dict,
        blank.reset,
    ):
        with pytest.raises(RuntimeError, match="its constructor has not run"):
            call()
    for call in (lambda: fo.Adam.step(np.ones(1)), lambda: fo.Adam.bind(np.ones(1), np.ones(1))):
        with pytest.raises((TypeError, AttributeError)):
            call()


def test_hyperparameters_are_set_in_groups():
    optimizer = fo.SGD(np.zeros(2), lr=0.1, momentum=0.9)
    with pytest.raises(AttributeError, match=r"momentum: nothing .*optimizer.groups\[0\]\['momentum'\] = "):
        optimizer.momentum = 0.5
    rate = np.array(0.5)
    optimizer.lr = rate
    rate[...] = 7
    assert optimizer.lr == optimizer.groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "groups", [{"params": np.ones(1), "lr": 1.0}, [{"param": np.ones(1), "lr": 1.0}], [{"params": np.ones(1)}, {"lr": 1}]]
)
def test_groups_of_the_wrong_form_are_told(groups):
    with pytest.raises(ValueError, match=r"expected .*\[\{'params': \.\.\., 'lr': \.\.\.\}, \.\.\.\]"):
        fo.SGD(groups)


def test_a_schedule_that_sets_another_groups_hyperparameter():
    def schedule(step):
        optimizer.groups[0]["lr"] = 5.0
        return 1.0

    a, b = np.zeros(1), np.zeros(1)
    optimizer = fo.SGD([{"params": a, "lr": 1.0}, {"params": b, "lr": schedule}])
    optimizer.step([np.ones(1)] * 2)
    assert a[0] == -5 and b[0] == -1
    with pytest.raises(TypeError):
        optimizer.step([np.ones(1)] * 2, scale="2")


def test_wrong_arguments_are_named():
    w = np.ones(2)
    for error, message, call in [
        (TypeError, "Adam: unknown learning_rate, did you mean 'lr'", lambda: fo.Adam(w, learning_rate=1)),
        (TypeError, "amsgrad: 2, expected True or False", lambda: fo.Adam(w, amsgrad=2)),
        (TypeError, "nesterov: 'no', expected True or False", lambda: fo.SGD(w, nesterov="no")),
        (TypeError, "maximize: None, expected True or False", lambda: fo.SGD(w, maximize=None)),
        (TypeError, "lr: True, expected a number or a schedule", lambda: fo.SGD(w, lr=True)),
        (TypeError, "lr: '1', expected a number or a schedule", lambda: fo.SGD(w, lr="1")),
        (TypeError, "lr: <class .*linear_decay.*expected a number", lambda: fo.SGD(w, lr=fo.schedules.linear_decay)),
        (TypeError, "momentum: array.*expected a number", lambda: fo.SGD(w, momentum=np.ones(3))),
        (ValueError, "betas: 0.9, expected 2 values", lambda: fo.Adam(w, betas=0.9)),
        (ValueError, "betas: .*, expected 2 values", lambda: fo.Adam(w, betas=(0.9, 0.9, 0.9))),
        (ValueError, "threads: 0", lambda: fo.Adam(w, threads=0)),
        (TypeError, "parameter '0': NoneType", lambda: fo.Adam(None)),
        (ValueError, "no arrays", lambda: fo.Adam({})),
        (TypeError, "linear_decay: initial='a', expected a number", lambda: fo.schedules.linear_decay("a", 3)),
        (ValueError, "linear_decay: steps=nan, expected a finite number", lambda: fo.schedules.linear_decay(1.0, float("nan"))),
        (TypeError, "constant: value=True, expected a number", lambda: fo.schedules.constant(True)),
        (TypeError, "initial_accumulator_value: True", lambda: fo.Adagrad(w, initial_accumulator_value=True)),
        (ValueError, "nesterov: expected a momentum", lambda: fo.SGD(w, nesterov=True)),
    ]:
        with pytest.raises(error, match=message):
            call()
    fo.Adam(w, amsgrad=np.True_, threads=np.int64(2), lr=np.float32(0.1))
    assert list(fo.SGD({"": w}).state) == [""] and "'lr': 0.001" in repr(fo.SGD(w).groups)


def test_repr_shows_what_was_asked_for():
    optimizer = fo.Adam(np.ones(3), convention="keras", nonfinite="skip", threads=1)
    for part in ("nonfinite='skip'", "threads=1", "convention='keras'"):
        assert part in repr(optimizer)
    assert "seed" not in repr(optimizer) and "convention" not in repr(fo.Adam(np.ones(3)))
    assert repr(copy.deepcopy(optimizer)) == repr(optimizer)


@pytest.mark.parametrize("value", [True, False, "3e-3"])
def test_groups_refuse_what_is_no_number(value):
    optimizer = fo.SGD(np.zeros(2), lr=1e-3, weight_decay=0.1, clip_norm=1.0)
    for key in ("lr", "weight_decay", "clip_norm"):
        with pytest.raises(TypeError, match=f"{key}: {value!r}, expected a number"):
            optimizer.groups[0][key] = value
    assert optimizer.lr == 1e-3 and optimizer.groups[0]["weight_decay"] == 0.1


def test_a_second_construction_does_not_begin_in_a_step():
    class Gradient:
        def __array__(self, dtype=None, copy=None):
            optimizer.__init__([np.ones(3), np.ones(2)])
            return np.ones(3)

    optimizer = fo.SGD([np.zeros(3), np.zeros(2)], lr=1.0)
    with pytest.raises(TypeError, match="at work"):
        optimizer.step([Gradient(), np.ones(2)])
    assert optimizer.step([np.ones(3), None]) and (optimizer.params[0] == -1).all()
    optimizer.__init__([np.ones(1)], lr=0.5)
    assert optimizer.step([np.ones(1)]) and optimizer.params[0][0] == 0.5 and len(optimizer.state) == 1


@pytest.mark.parametrize("lazy", [lambda d: d.values(), lambda d: (a for a in d.values()), lambda d: [iter(d.values())]])
def test_generators_and_views_are_parameters_everywhere(lazy):
    def arrays():
        return {"a": np.ones(2), "b": np.ones((2, 3))}

    shapes = [(2,), (2, 3)]
    for optimizer in (
        fo.SGD(lazy(arrays())),
        fo.SGD({"x": lazy(arrays())}),
        fo.SGD([{"params": lazy(arrays()), "lr": 0.5}]),
        fo.SGD(group for group in [{"params": lazy(arrays())}]),
    ):
        assert [parameter.array.shape for parameter in optimizer._parameters] == shapes
        assert optimizer.step(grads_like(optimizer.params))
    optimizer = fo.SGD([{"params": np.ones(1)}])
    optimizer.add_group({"params": lazy(arrays()), "lr": 0.25})
    assert optimizer.step(grads_like(optimizer.params)) and optimizer.lr == [1e-3, 0.25] and len(optimizer.state) == 3


def grads_like(tree):
    if isinstance(tree, dict):
        return {k: grads_like(x) for k, x in tree.items()}
    return [grads_like(x) for x in tree] if isinstance(tree, list) else np.ones_like(tree)


def test_layers_named_like_options_are_no_groups():
    layers = [{"momentum": np.ones(2), "lr": [np.ones(3), np.ones(1)]}, {"weight": np.ones(2)}]
    assert fo.Adam(layers).groups[0]["lr"] == 1e-3 and set(fo.Adam(layers).state) == {"0/momentum", "0/lr/0", "0/lr/1", "1/weight"}
    flax = {"params": {"kernel": np.ones(2)}, "ema": {"kernel": np.ones(2)}}
    assert set(fo.Adam(flax).state) == {"params/kernel", "ema/kernel"}
    for groups in ([{"params": np.ones(2), "lr": np.float64(0.5)}], [{"params": np.ones(2), "lr": np.array(0.5)}]):
        assert fo.Adam(groups).lr == 0.5


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.float16, "float16"), (fo.bfloat16, "bfloat16"), (ml_dtypes.bfloat16, "bfloat16"), ("float8", "float8")]
)
def test_dtypes_stand_for_their_names(dtype, name):
    state = [fo.Adam(np.ones(3, np.float32), state_dtype=x)._settings for x in (dtype, name)]
    assert state[0] == state[1] and state[0].state_dtype == name
    with pytest.raises(ValueError, match="state_dtype: 'uint16', expected one of None, 'float32'"):
        fo.Adam(np.ones(3, np.float32), state_dtype=np.uint16)
    assert fo.SGD(np.ones(3, fo.bfloat16), master=np.dtype("f4"))._settings.master == "float32"


def test_own_attributes_stay():
    optimizer = fo.Adam(np.ones(3))
    own = {
        "model": len,
        "models": 3,
        "tag": "x",
        "epoch": 3,
        "best": 0.5,
        "scheduler": len,
        "_lrr": 2,
        "norm": 3.0,
        "d": 1,
        "rate": 2,
    }
    for name, value in own.items():
        setattr(optimizer, name, value)
        assert getattr(optimizer, name) is value and getattr(copy.copy(optimizer), name) is value

    class Mine(fo.Adam):
        threads = 3

        def __init__(self, params):
            super().__init__(params)
            self.threads = 4

    assert Mine(np.ones(3)).threads == 4


def test_a_second_construction_that_fails_leaves_the_first():
    optimizer = fo.Adam({"w": np.ones(3)}, lr=0.1)
    optimizer.step({"w": np.ones(3)})
    state, before = optimizer.state_dict(), snapshot(optimizer)
    for wrong in ({"w": "bad"}, [{"params": 3}]):
        with pytest.raises(TypeError):
            optimizer.__init__(wrong, accumulate=4, nonfinite="skip", convention="keras")
        assert snapshot(optimizer) == before and "keras" not in repr(optimizer)
    optimizer.load_state_dict(state)

    class Gradient:
        def __array__(self, dtype=None, copy=None):
            optimizer.__init__({"w": np.ones(3)}, accumulate=4)

    with pytest.raises(TypeError, match="at work"):
        optimizer.step({"w": Gradient()})
    optimizer.load_state_dict(state)


def test_options_that_hold_themselves_are_refused():
    itself = []
    itself.append(itself)
    for params in ({"params": np.ones(2), "lr": itself}, [{"lr": itself}], itself):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            fo.Adam(params)


def test_groups_of_users_rules_by_every_door():
    groups = [{"params": np.ones(2), "speed": 0.5}]
    for given in (groups, tuple(groups), iter(groups), {"x": groups[0]}.values()):
        assert custom_optimizer(given).groups[0]["speed"] == 0.5


def custom_optimizer(params):
    with pytest.warns(RuntimeWarning, match="interpreted") if dispatch.TABLE is not None else contextlib.nullcontext():
        return fo.optimizer(own, params)


def test_switches_are_true_or_false_at_every_door():
    p, g, m, v = (np.full(3, x) for x in (1.0, 2.0, 0.0, 0.0))
    found = []
    for switch in (True, 1, 1.0, np.True_):
        a = p.copy()
        fo.Adam(a, eps=0.5, eps_hat=switch).step(g)
        found += [a, functional.adam(p, g, m, v, t=np.int64(1), eps=0.5, eps_hat=switch)[0]]
    assert all(same(a, found[0]) for a in found)
    assert not same(found[0], functional.adam(p, g, m, v, t=np.uint8(1), eps=0.5)[0])


def subclass(lr):
    changed = {"arguments": {**fo.SGD.arguments, "lr": lr}, "option_defaults": {"clip_value": 0.5}}
    return type("Changed", (fo.SGD,), changed)


def test_defaults_of_a_class_are_read_in_each_construction():
    cls = subclass(-1.0)
    with pytest.raises(ValueError, match=r"lr: -1\.0, expected 0 <= lr"):
        cls(np.zeros(2))
    for default, given in ((-1.0, {"lr": 2.0}), (0.5, {}), (0.25, {"lr": 2.0})):
        cls.arguments["lr"] = default
        w = np.zeros(2)
        optimizer = cls(w, **given)
        optimizer.step(np.ones(2))
        lr = given.get("lr", default)
        assert optimizer.lr == optimizer.groups[0]["lr"] == lr and (w == -lr * 0.5).all()


def test_defaults_outside_the_domain_of_the_chosen_rule():
    @fo.rule
    def divided(p, g, *, lr=0.1, k: positive = 1.0):
        return lr * g / k

    cls = type(
        "Divided", (fo.SGD,), {"arguments": {"lr": 0.1, "k": 0.0, "weight_decay": 0.0}, "rule": lambda self, options: divided}
    )
    for given in ({}, {"k": 0.0}):
        with pytest.raises(ValueError, match=r"k: 0\.0, expected 0 < k"):
            cls(np.zeros(2), **given)


def test_constants_do_not_hide_defaults():
    cls = subclass(0.5)
    cls.constants = lambda self, options, arrays: {"lr": 7.0}
    for optimizer in (cls(np.zeros(2)), cls(np.zeros(2), lr=0.5), copy.deepcopy(cls(np.zeros(2)))):
        assert optimizer.lr == optimizer.groups[0]["lr"] == 0.5


def test_classes_are_freed():
    found = weakref.ref(subclass(0.5))
    cls = found()
    cls(np.zeros(2)).step(np.ones(2))
    del cls
    gc.collect()
    assert found() is None


def test_using_a_class_leaves_it_as_it_is():
    cls = subclass(0.5)
    before = dict(vars(cls))
    cls(np.zeros(2)).step(np.ones(2))
    assert dict(vars(cls)) == before
