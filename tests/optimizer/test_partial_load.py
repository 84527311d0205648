"""Loading of what fits: other names, other parameters, other formats."""

import json

import numpy as np
import pytest

import fastopt as fo

RNG = np.random.default_rng(3)
SIZES = {"enc/w": (30, 20), "enc/b": (20,), "head/w": (20, 3)}
DATA = {name: RNG.standard_normal(shape) for name, shape in SIZES.items()}
GRADS = [{name: RNG.standard_normal(shape) for name, shape in SIZES.items()} for _ in range(5)]


def make(names=SIZES, cls=fo.Adam, dtype=np.float64, **options):
    """Return an optimizer of parameters of these names; one that `DATA` lacks is zero."""
    return cls({name: DATA.get(name, np.zeros(3)).astype(dtype) for name in names}, **options)


@pytest.fixture
def saved(tmp_path):
    optimizer = make()
    for g in GRADS[:3]:
        optimizer.step(g)
    optimizer.save(tmp_path / "a.npz", extra={"epoch": 3})
    return optimizer


def content(optimizer):
    """Return all that a load may change."""
    return optimizer.fingerprint(), optimizer.steps, optimizer.skipped, repr(optimizer.groups), repr(optimizer.state)


def same(a, b, name, other=None):
    """Return True if a parameter and its state are alike in two optimizers."""
    other = other or name
    states = all(np.array_equal(x, b.state[other][key]) for key, x in a.state[name].items())
    return states and np.array_equal(a.params[name], b.params[other])


def test_new_and_removed_parameters(saved, tmp_path):
    for missing in ("keep", "reset"):
        other = make(["new", "enc/w", "head/w"])
        other.step({name: np.ones(np.shape(x)) for name, x in other.params.items()})
        before = other.state["new"]["m"].copy(), other.params["new"].copy()
        assert other.load(tmp_path / "a.npz", missing=missing, unexpected="ignore") == {"epoch": 3}
        assert same(other, saved, "enc/w") and same(other, saved, "head/w") and other.steps == 3
        assert np.array_equal(other.params["new"], before[1])
        assert other.state["new"]["step"] == (1 if missing == "keep" else 0)
        assert np.array_equal(other.state["new"]["m"], before[0] * (missing == "keep"))
        report = other.last_load
        assert report.taken == {"enc/w": "enc/w", "head/w": "head/w"} and report.ignored == ["enc/b"]
        assert (report.kept, report.reset) == ((["new"], []) if missing == "keep" else ([], ["new"]))
        assert json.loads(json.dumps(report.as_dict()))["ignored"] == ["enc/b"]
        assert [line.split() for line in str(report).splitlines()][1:3] == [
            ["enc/w", "enc/w", "taken"],
            ["head/w", "head/w", "taken"],
        ]


def test_a_load_without_choices_is_whole(saved, tmp_path):
    other = make()
    assert other.last_load is None
    other.load(tmp_path / "a.npz")
    assert other.fingerprint() == saved.fingerprint()
    assert other.last_load.taken == {name: name for name in SIZES} and not other.last_load.ignored and not other.last_load.cast


@pytest.mark.parametrize(
    "rename",
    [{"enc/w": "encoder.w", "enc/b": "encoder.b"}, lambda name: name.replace("enc/", "encoder.")],
    ids=["dict", "function"],
)
def test_renamed(rename, saved, tmp_path):
    names = {"encoder.w": "enc/w", "encoder.b": "enc/b", "head/w": "head/w"}
    other = fo.Adam({new: np.zeros(SIZES[old]) for new, old in names.items()})
    other.load(tmp_path / "a.npz", rename=rename)
    assert all(same(other, saved, new, old) for new, old in names.items()) and other.last_load.taken == names
    # They go on alike.
    other.step({new: GRADS[3][old] for new, old in names.items()})
    saved.step(GRADS[3])
    assert all(same(other, saved, new, old) for new, old in names.items())


def test_regrouped(saved, tmp_path):
    grouped = fo.Adam([{"params": {n: DATA[n].copy() for n in ("enc/w", "enc/b")}}, {"params": {"h": DATA["head/w"].copy()}}])
    where = {"enc/w": "0/enc/w", "enc/b": "0/enc/b", "head/w": "1/h"}
    grouped.load(tmp_path / "a.npz", rename=where)
    assert [x["step"] for x in grouped.state.values()] == [3, 3, 3]
    assert all(np.array_equal(grouped.state[new]["v"], saved.state[old]["v"]) for old, new in where.items())
    grouped.groups[1]["lr"] = 0.5
    grouped.save(tmp_path / "b.npz")
    back = {new: old for old, new in where.items()}
    with pytest.raises(ValueError, match=r"lr of group 0: saved 0.001 and 0.5, here 0.001"):
        saved.load(tmp_path / "b.npz", rename=back)
    saved.load(tmp_path / "b.npz", rename=back, hyperparameters="keep")
    named = make(lr={"head/*": 0.25})
    named.load(tmp_path / "b.npz", rename=back, hyperparameters="restore")
    assert [g["lr"] for g in named.groups] == [0.001, 0.5]


def test_only_some(saved, tmp_path):
    other = make(lr=0.1)
    other.step(GRADS[4])
    untouched = make(lr=0.1)
    untouched.step(GRADS[4])
    with pytest.raises(ValueError, match="lr of group 0"):
        other.load(tmp_path / "a.npz", only="enc/*")
    other.load(tmp_path / "a.npz", only=["enc/*"], hyperparameters="keep")
    assert same(other, saved, "enc/w") and same(other, saved, "enc/b") and same(other, untouched, "head/w")
    assert other.steps == 1 and other.last_load.kept == ["head/w"] and other.last_load.ignored == ["head/w"]


def test_formats(saved, tmp_path):
    """All formats can be made of all others, to nearest."""
    formats = [{}, {"state_dtype": "bfloat16"}, {"state_dtype": "float16"}, {"state_dtype": "float8"}]
    dtypes = {"float64": (np.float64, formats[:1]), "float32": (np.float32, formats), "float16": (np.float16, formats[:1])}
    kinds = [(dtype, options) for dtype, known in dtypes.values() for options in known]
    bf16 = [{}, {"master": "float32"}, {"master": "split"}, {"master": "split", "state_dtype": "float8"}]
    made = [lambda d=d, o=o: make(dtype=d, **o) for d, o in kinds]
    made += [lambda o=o: fo.Adam({n: narrow(x) for n, x in DATA.items()}, **o) for o in bf16]
    for k, source in enumerate(made):
        first = source()
        for g in GRADS[:3]:
            first.step({n: x.astype(np.float32) if k else x for n, x in g.items()})
        first.save(tmp_path / "b.npz")
        for target in made:
            other = target()
            other.load(tmp_path / "b.npz", cast=True, hyperparameters="keep")
            for name in SIZES:
                for key in ("m", "v"):
                    mine, theirs = (np.asarray(x.state[name][key], np.float64) for x in (other, first))
                    limit = np.abs(theirs).max() * 0.07  # Of float8 with the sign in a block's scale.
                    assert np.abs(mine - theirs).max() <= limit, (k, name, key)
                assert other.state[name]["step"] == 3
            if target is source:
                assert other.fingerprint() == first.fingerprint() and not other.last_load.cast
            other.step({n: x.astype(np.float32) for n, x in GRADS[3].items()} if target is not made[0] else GRADS[3])


def narrow(x):
    """Return bfloat16, to nearest."""
    return ((x.astype(np.float32).view(np.uint32) + 0x8000) >> 16).astype(np.uint16).view(fo.bfloat16)


def test_a_master_keeps_its_precision(tmp_path):
    """An optimizer begins at the number that was saved, in more bits than the parameter had."""
    for master in ("float32", "split"):
        first = fo.SGD({"w": narrow(DATA["enc/b"])}, lr=0.37, master=master)
        first.step({"w": GRADS[0]["enc/b"].astype(np.float32)})
        exact = np.array(first.state["w"]["master"])
        first.save(tmp_path / "a.npz")
        other = fo.SGD({"w": np.zeros(20, np.float32)}, lr=0.37)
        other.load(tmp_path / "a.npz", cast=True)
        assert np.array_equal(other.params["w"], exact)
        for again in ("float32", "split"):
            third = fo.SGD({"w": narrow(np.zeros(20))}, lr=0.37, master=again)
            third.load(tmp_path / "a.npz", cast=True)
            assert np.array_equal(third.state["w"]["master"], exact)


def test_a_state_dict_without_parameters(saved):
    other = make(dtype=np.float32)
    with pytest.raises(ValueError, match="dtype float64, expected float32, or cast=True"):
        other.load_state_dict(saved.state_dict())
    before = {name: x.copy() for name, x in other.params.items()}
    other.load_state_dict(saved.state_dict(), cast=True)
    assert all(np.array_equal(other.params[n], x) for n, x in before.items())
    assert np.array_equal(other.state["enc/w"]["m"], saved.state["enc/w"]["m"].astype(np.float32))


def test_arrays_of_state_that_were_not_saved(saved, tmp_path):
    other = make(ema=0.9)
    with pytest.raises(ValueError, match="ema: saved without averages"):
        other.load(tmp_path / "a.npz", hyperparameters="keep")
    other.load(tmp_path / "a.npz", hyperparameters="keep", missing="reset")
    assert np.array_equal(other.average["enc/w"], saved.params["enc/w"])  # It begins where the parameters are.
    assert other.last_load.not_saved == [f"{name}/averaged" for name in SIZES]
    other.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="ema: saved with averages"):
        make().load(tmp_path / "b.npz", hyperparameters="keep")
    again = make()
    again.load(tmp_path / "b.npz", hyperparameters="keep", unexpected="ignore")
    assert again.fingerprint() == saved.fingerprint() and again.last_load.ignored == [f"{name}/averaged" for name in SIZES]


def test_gathered_gradients_belong_together(tmp_path):
    first = make(accumulate=3)
    first.step(GRADS[0])
    first.save(tmp_path / "a.npz")
    other = make(accumulate=3)
    with pytest.raises(ValueError, match="has gathered 1 gradients, others 0"):
        other.load(tmp_path / "a.npz", only="enc/*")
    extended = make([*SIZES, "new"], accumulate=3)
    for _ in range(2):
        extended.step({**GRADS[1], "new": np.ones(3)})
    before = content(extended)
    with pytest.raises(ValueError, match="'new': has gathered 2 gradients, others 1"):
        extended.load(tmp_path / "a.npz", missing="keep")
    assert content(extended) == before
    extended.load(tmp_path / "a.npz", missing="reset")
    for g in GRADS[1:3]:
        first.step(g)
        extended.step({**g, "new": np.ones(3)})
    assert same(extended, first, "enc/w") and extended.state["new"]["step"] == 1


def broken(name):
    raise RuntimeError(f"no name for {name}")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"missing": "skip"}, "missing: 'skip', expected one of 'raise', 'keep', 'reset'"),
        ({"unexpected": None}, "unexpected: None"),
        ({"cast": 1.5}, "cast"),
        ({"only": "decoder/*"}, r"only: no parameter has the name 'decoder/\*'"),
        ({"only": 3}, "only: 3, expected names or patterns"),
        ({"only": [3]}, "only"),
        ({"rename": {"encoder": "enc/w"}}, "rename: nothing was saved as 'encoder'"),
        ({"rename": {"enc/w": "head/w"}}, "rename: 'enc/w' and 'head/w' would both be 'head/w'"),
        ({"rename": lambda name: None}, "rename: None for 'enc/w', expected a name"),
        ({"rename": 3}, "rename: 3, expected a dict"),
        ({"rename": broken}, "no name for enc/w"),
        ({"rename": {"enc/w": "other"}}, "rename: no parameter has the name 'other', expected one of enc/w"),
        ({"rename": lambda name: name + "!"}, r"missing \['enc/b', 'enc/w', 'head/w'\], unexpected \['enc/b!', 'enc/w!'"),
        (
            {"rename": lambda name: name + "!", "missing": "keep", "unexpected": "ignore"},
            "no name here, .* is among the saved ones",
        ),
        ({"missing": {"enc/*": "skip"}}, "missing: 'skip', expected one of"),
        ({"missing": {"decoder/*": "reset"}}, r"missing: no parameter has the name 'decoder/\*'"),
        ({"unexpected": ["old/*"]}, r"unexpected: no parameter has the name 'old/\*'"),
        ({"rename": {"enc/w": "enc/b", "enc/b": "enc/w"}}, r"'enc/w': shape \(20,\), expected \(30, 20\)"),
    ],
)
def test_bad_choices_change_nothing(choices, message, saved, tmp_path):
    other = make()
    other.step(GRADS[4])
    before = content(other)
    for load in (lambda: other.load(tmp_path / "a.npz", **choices), lambda: other.load_state_dict(saved.state_dict(), **choices)):
        with pytest.raises((TypeError, ValueError, RuntimeError), match=message):
            load()
        assert content(other) == before and other.last_load is None


def test_numbers_that_do_not_fit_change_nothing(tmp_path):
    first = fo.SGD({"w": np.array([1e300, 1.0])}, lr=0.1)
    first.save(tmp_path / "a.npz")
    for target in (np.zeros(2, np.float32), np.zeros(2, np.float16)):
        other = fo.SGD({"w": target}, lr=0.1)
        with pytest.raises(ValueError, match="beyond the range"):
            other.load(tmp_path / "a.npz", cast=True)
        assert not target.any()
    complex_ = fo.SGD({"w": np.ones(2, complex)}, lr=0.1)
    complex_.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="complex128, expected numbers of float64"):
        fo.SGD({"w": np.ones(2)}, lr=0.1).load(tmp_path / "b.npz", cast=True)


def test_rules_that_differ_are_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="of rule adam, expected amsgrad"):
        make(amsgrad=True).load(tmp_path / "a.npz", missing="reset", unexpected="ignore", hyperparameters="keep")
    with pytest.raises(ValueError, match="of Adam, expected AdamW"):
        make(cls=fo.AdamW).load(tmp_path / "a.npz", missing="reset", hyperparameters="keep")


def test_read_only_parameters_that_are_not_loaded(saved, tmp_path):
    data = {name: x.copy() for name, x in DATA.items()}
    other = fo.Adam(data)
    data["head/w"].flags.writeable = False
    with pytest.raises(ValueError, match="parameter 'head/w': read-only"):
        other.load(tmp_path / "a.npz")
    other.load(tmp_path / "a.npz", only="enc/*")
    assert np.array_equal(data["enc/w"], saved.params["enc/w"])


def test_what_may_be_missing_and_unexpected_by_names(saved, tmp_path):
    """Only what is named may differ: a typing error in another name is still one."""
    names = {"enc/w": (30, 20), "enc/b": (20,), "head/w": (20, 7), "new": (3,)}
    other = fo.Adam({name: np.zeros(shape) for name, shape in names.items()})
    choices = {"missing": {"new": "reset", "head/*": "reset"}, "unexpected": ["head/*"]}
    other.load(tmp_path / "a.npz", **choices)
    assert other.last_load.reset == ["head/w", "new"] and other.last_load.ignored == ["head/w"]
    assert same(other, saved, "enc/w") and not other.params["head/w"].any() and not other.state["head/w"]["step"]
    mistyped = fo.Adam({name.replace("enc/w", "enc/W"): np.zeros(shape) for name, shape in names.items()})
    with pytest.raises(ValueError, match=r"missing \['enc/W'\], unexpected \['enc/w'\]"):
        mistyped.load(tmp_path / "a.npz", **choices)
    with pytest.raises(
        ValueError, match=r"'head/w': shape \(20, 3\), expected \(20, 7\); with missing='reset', unexpected='ignore'"
    ):
        other.load(tmp_path / "a.npz", missing={"new": "keep"})


def test_only_some_leave_the_others_hyperparameters(saved, tmp_path):
    other = make(["enc/w", "mine"], lr=0.1)
    other.load(tmp_path / "a.npz", only="enc/*", hyperparameters="keep")  # What else was saved is not asked for.
    assert other.last_load.ignored == ["enc/b", "head/w"] and other.last_load.hyperparameters == {"lr of group 0": "kept"}
    with pytest.raises(ValueError, match=r"lr of group 0: 0\.001 cannot be restored"):
        other.load(tmp_path / "a.npz", only="enc/*", hyperparameters="restore")
    assert other.lr == 0.1
    parts = make(["enc/w", "mine"], lr={"enc/w": 0.1, "mine": 0.2})
    parts.load(tmp_path / "a.npz", only="enc/*", hyperparameters="restore")
    assert parts.lr == [0.001, 0.2] and parts.last_load.hyperparameters == {"lr of group 0": "restored"}


def test_a_frozen_layer_may_have_been_free(saved, tmp_path):
    """A factor of steps changes how decay is applied, and is compared itself."""
    first = fo.AdamW({"w": np.ones(3)}, step_scale={"w": 0.0})
    first.save(tmp_path / "b.npz")
    other = fo.AdamW({"w": np.ones(3)})
    with pytest.raises(ValueError, match="step_scale of group 0: saved"):
        other.load(tmp_path / "b.npz")
    other.load(tmp_path / "b.npz", hyperparameters={"step_scale": "keep"})


def test_names_that_look_like_schedules(tmp_path):
    for saved_value, here, fits in ((0.5, 0.5, True), (0.5, 0.1, False)):
        first, other = (
            fo.Adam({"callable": np.ones(2), "schedule": np.ones(2)}, step_scale={"callable": x, "schedule": 1.0})
            for x in (saved_value, here)
        )
        if fits:
            other.load_state_dict(first.state_dict())
            continue
        with pytest.raises(ValueError, match="step_scale of group 0: saved"):
            other.load_state_dict(first.state_dict())
