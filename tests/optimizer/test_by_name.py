"""Options by names of parameters, and by patterns of names."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest

import fastopt as fo

RNG = np.random.default_rng(7)
VALUES = {
    "enc": {"w": RNG.standard_normal((30, 20)), "bias": RNG.standard_normal(20)},
    "head": {"w": RNG.standard_normal((20, 5)), "bias": RNG.standard_normal(5)},
}
GRADS = [{k: {n: RNG.standard_normal(x.shape) for n, x in v.items()} for k, v in VALUES.items()} for _ in range(6)]
NAMES = ["enc/w", "enc/bias", "head/w", "head/bias"]


def params():
    return copy.deepcopy(VALUES)


def by_groups(cls, options):
    """Return an optimizer with a group for each parameter, and its gradients; `options` are of each."""
    given = [x.copy() for v in VALUES.values() for x in v.values()]
    optimizer = cls([{"params": p, **o} for p, o in zip(given, options, strict=True)])
    return optimizer, [[x for v in g.values() for x in v.values()] for g in GRADS]


RULES = {
    "SGD": ({"lr": {"*w": 0.1, "head/bias": 0.3}}, [{"lr": 0.1}, {}, {"lr": 0.1}, {"lr": 0.3}]),
    "Adam": (
        {"weight_decay": {"*/bias": 0.0, "*": 0.1}, "betas": {"enc/w": (0.5, 0.9)}},
        [{"weight_decay": 0.1, "betas": (0.5, 0.9)}, {}, {"weight_decay": 0.1}, {}],
    ),
    "AdamW": ({"amsgrad": {"*bias": True}}, [{}, {"amsgrad": True}, {}, {"amsgrad": True}]),
    "RMSprop": ({"momentum": {"enc/*": 0.9}}, [{"momentum": 0.9}, {"momentum": 0.9}, {}, {}]),
    "Lion": ({"clip_value": {"head/*": 0.1}, "max_step": {"enc/w": 1e-5}}, [{"max_step": 1e-5}, {}, *[{"clip_value": 0.1}] * 2]),
    "Adafactor": ({"lr": {"*bias": 0.5}}, [{}, {"lr": 0.5}, {}, {"lr": 0.5}]),
    "LAMB": ({"trust_ratio": {"*bias": 0.0}}, [{}, {"trust_ratio": 0.0}, {}, {"trust_ratio": 0.0}]),
}


@pytest.mark.parametrize("rule", RULES)
def test_options_by_name_are_those_of_groups(rule, isa):
    named, options = RULES[rule]
    optimizer = getattr(fo, rule)(params(), **named)
    other, grads = by_groups(getattr(fo, rule), options)
    for k, (tree, listed) in enumerate(zip(GRADS, grads, strict=True)):
        if k == 3:  # Scalars are shared between steps, and change.
            optimizer.lr, other.lr = 0.02, 0.02
        optimizer.step(tree)
        other.step(listed)
    mine = [x for v in optimizer.params.values() for x in v.values()]
    assert all(np.array_equal(x, y) for x, y in zip(mine, other.params, strict=True))
    assert sorted(name for group in optimizer.groups for name in group.parameters) == sorted(NAMES)


@pytest.mark.parametrize("order", [GRADS, [dict(reversed(g.items())) for g in GRADS]])
def test_a_rule_that_sums_over_a_group_sums_over_the_one_that_was_given(order, isa):
    """Decay too small to change a number makes parts of the group, of which the rule has one estimate."""
    whole, parts = fo.Prodigy(params(), lr=1.0), fo.Prodigy(params(), lr=1.0, weight_decay={"*bias": 1e-300})
    assert len(parts.groups) == 2 and [g.origin for g in parts.groups] == [0, 0]
    for k, g in enumerate(order):
        for optimizer in (whole, parts):
            optimizer.step({**g, "head": {**g["head"], "bias": None}} if k == 2 else g)
    assert whole.fingerprint() == parts.fingerprint()
    assert len({parts.state[name]["d"] for name in NAMES}) == 1


def test_a_norm_of_all_is_of_all():
    whole, parts = (fo.SGD(params(), lr=x, clip_global_norm=0.1, norms=True) for x in (0.5, {"*bias": 0.5, "*w": 0.5 + 1e-300}))
    assert len(parts.groups) == 1
    parts = fo.SGD(params(), lr=0.5, weight_decay={"*bias": 1e-300}, clip_global_norm=0.1)
    for g in GRADS:
        whole.step(g)
        parts.step(g)
    assert len(parts.groups) == 2 and whole.fingerprint() == parts.fingerprint()
    assert [group["clipped"] for group in parts.report()["groups"]] == [True, True]


def test_a_name_comes_before_patterns_and_the_first_pattern_counts():
    given = {"*bias": 0.1, "*": 0.2, "head/bias": 0.3, "enc": {"w": 0.4}}
    decay = {name: group["weight_decay"] for group in fo.Adam(params(), weight_decay=given).groups for name in group.parameters}
    assert decay == {"enc/w": 0.4, "enc/bias": 0.1, "head/w": 0.2, "head/bias": 0.3}
    with pytest.raises(ValueError, match=r"weight_decay: '\*bias' comes after '\*', which has all of its parameters"):
        fo.Adam(params(), weight_decay={"*": 0.1, "*bias": 0.0})
    fo.Adam(params(), weight_decay={**dict.fromkeys(NAMES, 0.0), "*": 0.1})  # It has none left, but by names.
    # A parameter that is named like a pattern has its own value.
    groups = fo.SGD({"w*": np.ones(2), "w1": np.ones(2)}, lr={"w*": 0.5}).groups
    assert [(g.parameters, g["lr"]) for g in groups] == [(("w*",), 0.5), (("w1",), 1e-3)]
    groups = fo.SGD({"w[0]": np.ones(2), "w0": np.ones(2)}, lr={"w[0]": 0.5, "*": 0.25}).groups
    assert [(g.parameters, g["lr"]) for g in groups] == [(("w[0]",), 0.5), (("w0",), 0.25)]


def test_parameters_in_a_list_have_their_numbers():
    optimizer = fo.SGD([np.ones(2), np.ones(3)], lr={0: 0.5, "1": 0.25})
    optimizer.step([np.ones(2), np.ones(3)])
    assert [x[0] for x in optimizer.params] == [0.5, 0.75] and optimizer.lr == [0.5, 0.25]


def test_schedules_by_name():
    falling = fo.schedules.linear_decay(0.1, 10)
    optimizer = fo.SGD(params(), lr={"enc/*": falling, "*": 0.5})
    for g in GRADS:
        optimizer.step(g)
    assert optimizer.lr == [falling(6), 0.5] and len(optimizer.groups) == 2


def test_in_groups_names_are_those_of_the_group():
    data = params()
    optimizer = fo.Adam(
        [{"params": data["enc"], "weight_decay": {"bias": 0.0}}, {"params": data["head"], "lr": {"1/w": 0.5}}],
        weight_decay=0.1,
    )
    assert [(g.parameters, g["weight_decay"], g["lr"]) for g in optimizer.groups] == [
        (("0/w",), 0.1, 1e-3), (("0/bias",), 0.0, 1e-3), (("1/w",), 0.1, 0.5), (("1/bias",), 0.1, 1e-3),
    ]  # fmt: skip
    both = fo.Adam([{"params": data["enc"]}, {"params": {"gain": np.ones(2)}}], weight_decay={"bias": 0.3, "1/gain": 0.2})
    assert [(g.parameters, g["weight_decay"]) for g in both.groups] == [(("0/w",), 0), (("0/bias",), 0.3), (("1/gain",), 0.2)]
    both.add_group({"params": {"more": np.ones(3), "bias": np.ones(2)}, "lr": {"more": 0.7}})
    assert [(g.parameters, g["weight_decay"], g["lr"]) for g in both.groups[3:]] == [
        (("2/more",), 0, 0.7),
        (("2/bias",), 0.3, 1e-3),
    ]
    both.step([GRADS[0]["enc"], {"gain": np.ones(2)}, {"more": np.ones(3), "bias": np.ones(2)}])
    with pytest.raises(ValueError, match="lr: no parameter has the name 'other'"):
        both.add_group({"params": {"last": np.ones(3)}, "lr": {"other": 0.7}})
    assert len(both.groups) == 5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on(copied):
    data = {"0": {"w": np.ones(3)}, "w": np.ones(3), "0/w[1]": np.ones(2)}
    grads = {"0": {"w": np.full(3, 0.5)}, "w": np.full(3, 0.25), "0/w[1]": np.ones(2)}
    for given in (data, [{"params": data, "lr": {"w": 0.5, "0/w": 0.25}}, {"params": np.ones(2)}]):
        optimizer = fo.Adam(copy.deepcopy(given), weight_decay={"0/w[[]1]": 0.3, "*": 0.1}, betas={"w": [0.5, 0.9]})
        step = grads if isinstance(given, dict) else [grads, np.ones(2)]
        optimizer.step(step)
        optimizer.groups[-1]["lr"] = 0.75
        other = copied(optimizer)
        for each in (optimizer, other):
            each.step(step)
        assert other.fingerprint() == optimizer.fingerprint() and repr(other.groups) == repr(optimizer.groups)
        assert [g.parameters for g in other.groups] == [g.parameters for g in optimizer.groups]


def test_save_and_load(tmp_path):
    def make(**options):
        return fo.Adam(params(), **{"weight_decay": {"*bias": 0.0, "*": 0.1}, **options})

    straight, first, second = make(), make(), make()
    for k, g in enumerate(GRADS):
        straight.step(g)
        if k == 3:
            first.save(tmp_path / "a.npz")
            second.load(tmp_path / "a.npz")
        (first if k < 3 else second).step(g)
    assert second.fingerprint() == straight.fingerprint()
    # The same numbers in one group, and other numbers.
    fo.Adam(params(), weight_decay=0.1).save(tmp_path / "b.npz")
    make(weight_decay={"*": 0.1}).load(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"weight_decay of group 1: saved 0.1, here 0.0"):
        make().load(tmp_path / "b.npz")
    make().load(tmp_path / "b.npz", hyperparameters={"weight_decay": "keep"})
    with pytest.raises(ValueError, match=r"weight_decay of group 0: saved 0.1 and 0.0, here 0.1"):
        make(weight_decay=0.1).load(tmp_path / "a.npz")
    restored = make(weight_decay={"enc/w": 0.7, "*": 0.5}, betas={"enc/*": (0.1, 0.2)})
    with pytest.raises(ValueError, match="cannot be restored"):
        restored.load(tmp_path / "a.npz", hyperparameters="restore")  # A part has parameters of both decays.
    restored.load(tmp_path / "b.npz", hyperparameters="restore")
    assert {g["weight_decay"] for g in restored.groups} == {0.1} and {g["betas"] for g in restored.groups} == {(0.9, 0.999)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": {"enc/v": 0.1}}, "lr: no parameter has the name 'enc/v', did you mean 'enc/w'?"),
        ({"lr": {"enc.bias": 0.1}}, "did you mean 'enc/bias'?"),
        ({"lr": {"encoder/*": 0.1}}, r"did you mean 'enc/\*'?"),
        ({"bounds": {"enc/w": 0.0}}, r"bounds: expected \(low, high\).*by names"),
        ({"lr": {"*/gain": 0.1}}, "no parameter has the name"),
        ({"lr": {"enc": 0.1}}, r"no parameter has the name 'enc', did you mean 'enc/\*'"),
        ({"lr": {"enc/w": -0.1}}, "lr: -0.1"),
        ({"lr": {"enc/w": "fast"}}, "lr: 'fast'"),
        ({"lr": {"enc/w": np.ones(2)}}, "lr"),
        ({"betas": {"enc/w": 0.9}}, "betas: 0.9, expected 2 values"),
        ({"amsgrad": {"enc/w": 1.5}}, "amsgrad"),
        ({"nonfinite": {"enc/w": "skip"}}, "nonfinite"),
        ({"threads": {"enc/w": 2}}, "threads"),
        ({"step_scale": {"*/gain": 0.0}}, "step_scale: no parameter has the name"),
    ],
)
def test_bad_options_change_nothing(options, message):
    data = params()
    with pytest.raises((TypeError, ValueError), match=message):
        fo.Adam(data, **options)
    assert all(np.array_equal(data[k][n], x) for k, v in VALUES.items() for n, x in v.items())


def test_a_group_takes_numbers_later():
    optimizer = fo.Adam(params(), lr={"enc/*": 0.1})
    with pytest.raises((TypeError, ValueError), match="lr"):
        optimizer.groups[0]["lr"] = {"enc/w": 0.1}
    with pytest.raises((TypeError, ValueError), match="lr"):
        optimizer.lr = {"enc/w": 0.1}
    assert optimizer.lr == [0.1, 1e-3]


def test_factors_and_bounds_by_patterns():
    with pytest.warns(RuntimeWarning, match="bounds of 'head/w', 'head/bias'"):
        optimizer = fo.SGD(params(), lr=1.0, step_scale={"*bias": 0.0}, bounds=({"head/*": -0.25}, {"head/w": 0.25}))
    starts = optimizer.params
    frozen = starts["enc"]["bias"].copy()
    optimizer.step(GRADS[0])
    now = optimizer.params
    assert np.array_equal(now["enc"]["bias"], frozen) and np.array_equal(now["enc"]["w"], VALUES["enc"]["w"] - GRADS[0]["enc"]["w"])
    assert np.abs(now["head"]["w"]).max() == 0.25 and now["head"]["bias"].min() >= -0.25


def test_no_decay():
    assert fo.no_decay(VALUES) == {"enc/bias": 0.0, "head/bias": 0.0}
    assert fo.no_decay([np.ones(2), np.ones((2, 2))], 0.1) == {"0": 0.0, "*": 0.1}
    optimizer = fo.AdamW(params(), weight_decay=fo.no_decay(VALUES, 0.2))
    assert {name: g["weight_decay"] for g in optimizer.groups for name in g.parameters} == {
        "enc/w": 0.2, "enc/bias": 0.0, "head/w": 0.2, "head/bias": 0.0,
    }  # fmt: skip
    fo.AdamW(np.ones((2, 2)), weight_decay=fo.no_decay(np.ones((2, 2))))
    with pytest.raises(ValueError, match="others: -1"):
        fo.no_decay(VALUES, -1)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"lr": dict.fromkeys(NAMES, 0.5), "weight_decay": {}}, 1),
        ({"weight_decay": {"enc/w": 0}}, 1),
        ({"weight_decay": {"enc/w": 0, "*": np.float32(0.5)}, "lr": {"enc/w": np.array(1e-3)}}, 2),
        ({"betas": {"enc/w": [0, 0.5], "*": (0.0, np.float64(0.5))}, "amsgrad": {"enc/w": np.True_, "*": True}}, 1),
    ],
)
def test_equal_values_of_any_type_are_one_group(options, count):
    optimizer = fo.Adam(params(), **options)
    assert len(optimizer.groups) == count
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert [dict(g) for g in copied.groups] == [dict(g) for g in optimizer.groups]


def test_options_are_the_optimizers_own():
    decay = {"*bias": 0.5}
    optimizer = fo.Adam([{"params": params()}], weight_decay=decay)
    decay["*bias"] = 7.0
    optimizer.add_group({"params": {"bias": np.ones(2)}})
    assert optimizer.groups[-1]["weight_decay"] == 0.5


def test_options_of_arrays_by_names_in_groups():
    """Names are those of the group or whole, and a default of the constructor need not fit every group."""
    for name in ("bias", "1/bias", "1/*"):
        groups = [{"params": {"w": np.ones(2)}}, {"params": {"bias": np.ones(2)}}]
        optimizer = fo.Adam(groups, step_scale={name: 0.0}, initial_state={"v": {name: 0.5}}, bounds=({name: 0.0}, None))
        optimizer.step([{"w": np.ones(2)}, {"bias": np.ones(2)}])
        assert optimizer.params[1]["bias"].tolist() == [1, 1] and (optimizer.params[0]["w"] < 1).all()
        assert optimizer.state["1/bias"]["v"][0] > 0.4 > optimizer.state["0/w"]["v"][0]
        with pytest.raises(ValueError, match="step_scale: no parameter has the name 'gain'"):
            fo.Adam(groups, step_scale={"gain": 0.0})
    nested = fo.Adam([{"params": {"w": np.ones(2), "b": np.ones(2)}, "lr": {"w": 0.5}}], lr={"*": 0.25})
    assert [(g.parameters, g["lr"]) for g in nested.groups] == [(("0/w",), 0.5), (("0/b",), 0.25)]
    optimizer = fo.Adam({"a": np.ones(2), "b": np.ones(2)}, amsgrad={"a": True}, initial_state={"vmax": {"a": 0.5}})
    assert optimizer.state["a"]["vmax"][0] == 0.5


def test_a_rule_with_one_estimate_refuses_what_would_split_it(tmp_path):
    for options in ({"lr": {"head/*": 0.1}}, {"betas": {"enc/w": (0.5, 0.9)}}, {"initial_state": {"d": {"enc/w": 0.5}}}):
        with pytest.raises(ValueError, match="differs within a group of which prodigy makes one estimate"):
            fo.Prodigy(params(), **options)
    first = fo.Prodigy(params(), initial_state={"d": 0.25})
    for g in GRADS:
        first.step(g)
    first.save(tmp_path / "a.npz")
    found = first.state["enc/w"]["d"]
    extended = fo.Prodigy({**params(), "new": np.ones(3)})
    extended.load(tmp_path / "a.npz", missing="reset", hyperparameters="keep")
    assert {extended.state[name]["d"] for name in (*NAMES, "new")} == {found} and extended.state["new"]["step"] == 0
    running = fo.Prodigy(params(), initial_state={"d": 0.125})
    running.step(GRADS[0])
    running.load(tmp_path / "a.npz", only="enc/*", hyperparameters="keep")
    assert len({running.state[name]["d"] for name in NAMES}) == 1 and running.state["enc/w"]["step"] == 6


def test_many_names_take_little_work():
    """The work grows as the number of parameters, not as its square."""
    count = 4000
    many = {f"layer{k}/w": np.ones(1) for k in range(count)}
    calls = 0

    def counting(frame, event, arg):
        nonlocal calls
        calls += event == "call"

    import sys

    sys.setprofile(counting)
    try:
        optimizer = fo.Adam(many, weight_decay={**dict.fromkeys(many, 0.0), "layer1*": 0.1})
        optimizer.load_state_dict(optimizer.state_dict(), only=list(many), hyperparameters="keep")
    finally:
        sys.setprofile(None)
    assert calls < 400 * count


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": {"enc/w": None, "*": 0.5}},
        {"clip_norm": {"enc/w": None}},
        {"lr": {"enc/w": Fraction(1, 10), "head/w": Fraction(1, 10)}},
        {"betas": {"enc/w": np.array([0.9, 0.99]), "head/w": (0.9, Fraction(99, 100))}},
        {"amsgrad": {"enc/w": True, "head/w": 1}},
    ],
)
def test_copies_of_values_of_any_type(options):
    optimizer = fo.Adam(params(), **options)
    optimizer.step(GRADS[0])
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert [(g.parameters, dict(g)) for g in copied.groups] == [(g.parameters, dict(g)) for g in optimizer.groups]
        assert copied.fingerprint() == optimizer.fingerprint()
    words = fo.SGD(params(), momentum=0.9, first_step={"enc/w": np.str_("damped")}, initial_state={"buf": {"enc/w": 0.5}})
    assert [words.state[name]["step"] for name in NAMES] == [1, 0, 0, 0]


def test_a_groups_names_fall_back_on_the_constructors():
    groups = [{"params": {"w": np.ones(2), "b": np.ones(2)}, "lr": {"b": 0.5}}, {"params": {"z": np.ones(2)}}]
    optimizer = fo.Adam(groups, lr={"w": 0.1, "z": 0.2})
    assert {name: g["lr"] for g in optimizer.groups for name in g.parameters} == {"0/w": 0.1, "0/b": 0.5, "1/z": 0.2}


def test_numbers_that_parts_share_are_set_in_all_of_them(tmp_path):
    optimizer = fo.Prodigy(params(), weight_decay={"*bias": 0.1})
    optimizer.groups[1]["lr"] = 0.5
    optimizer.groups[1]["weight_decay"] = 0.2
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.groups] == [(0.5, 0.0), (0.5, 0.2)]
    for g in GRADS:
        optimizer.step(g)
    assert len({optimizer.state[name]["d"] for name in NAMES}) == 1
    optimizer.save(tmp_path / "a.npz")
    other = fo.Prodigy(params(), weight_decay={"*bias": 0.1})
    with pytest.raises(ValueError, match=r"lr of group 1: 0\.5 cannot be restored"):
        other.load(tmp_path / "a.npz", only="*bias", hyperparameters="restore")
    assert other.lr == 1.0
