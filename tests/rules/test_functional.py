"""Rules without an optimizer: the same bits as with one, in new arrays, in place or elsewhere; errors that change nothing."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from cases import ADAFACTOR, CASES, MUON, arrays_of, data, make, same

import fastopt as fo
from fastopt import functional
from fastopt.spec import RULES

STAGED = {"weight_decay", "maximize"}  # what is around a rule, but in these cases a part of it
OTHERS = {"adamw-amsgrad", "lamb"} | ADAFACTOR | MUON
PLAIN = [c for c, (_, o) in CASES.items() if c == "schedule-free-adamw" or (not STAGED & set(o) and c not in OTHERS)]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "slice": lambda a: np.repeat(a, 2, 0)[::2],
    "negative": lambda a: a[::-1].copy()[::-1],
}


def call(optimizer, *arrays, t, carry=(), out=None):
    """Arrays, then what is kept."""
    (group,) = optimizer.groups
    rule = group.rule
    numbers = {name: group.number(name, 0) for name in rule.hyperparameters} | dict(zip(rule.carry, carry, strict=False))
    found = getattr(functional, rule.name)(*arrays, t=t, **numbers, out=out)
    return found[: len(arrays) - 1], found[len(arrays) - 1 :]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", PLAIN)
def test_as_the_optimizer(case, layout, dtype):
    shape = (40, 7)
    values = [data(280, np.float64, k).reshape(shape).astype(dtype) for k in range(4)]
    p = values[0].copy()
    optimizer = make(case, p)
    state = [a.copy() for a in arrays_of(optimizer)]
    new = (LAYOUTS[layout](values[0]), *map(LAYOUTS[layout], state))
    placed = tuple(LAYOUTS[layout](a.copy()) for a in new)
    carry = list(optimizer.groups[0].rule.carry.values())
    for t, g in enumerate(values[1:], 1):
        optimizer.step(g)
        before = [a.copy() for a in new]
        old, (new, after) = new, call(optimizer, new[0], g, *new[1:], t=t, carry=carry)
        assert all(same(as_reals(a), as_reals(b)) for a, b in zip(old, before, strict=True))
        returned, again = call(optimizer, placed[0], LAYOUTS["Fortran"](g), *placed[1:], t=t, carry=carry, out=placed)
        assert all(a is b for a, b in zip(returned, placed, strict=True))
        elsewhere = tuple(np.empty_like(a) for a in new)
        call(optimizer, old[0], g, *old[1:], t=t, carry=carry, out=elsewhere)
        expected = [p, *arrays_of(optimizer)]
        for found in (new, placed, elsewhere):
            for a, b in zip(found, expected, strict=True):
                assert same(as_reals(a), as_reals(b)), t
        carry = list(after)
        assert carry == list(again) == [optimizer.state["0"][k] for k in optimizer.groups[0].rule.carry]


def test_vectors_of_adafactor():
    p, v = data(700, np.float32), np.zeros(700, np.float32)
    q = p.copy()
    optimizer = fo.Adafactor(q, lr=0.1, eps=(1e-7, 1e-3))
    for t in (1, 2, 3):
        g = data(700, np.float32, t)
        p, v = functional.adafactor_vector(p, g, v, t=t, lr=0.1, eps1=1e-7)
        optimizer.step(g)
        assert same(p, q) and same(v, optimizer.state["0"]["v"])


def as_reals(a):
    a = np.ascontiguousarray(a)
    return a.view(a.real.dtype)


@pytest.mark.parametrize("n", [0, 1, 5, 3000, 200_000])
def test_sizes_and_other_gradients(n):
    p, g = data(n, np.float32), data(n, np.float64, 1)
    (new,) = functional.sgd(p, g, t=1, lr=0.1)
    twin = p.copy()
    make("sgd", twin).step(g)
    assert same(new, twin)
    (scalar,) = functional.sgd(np.array(3.0), 2.0, t=1, lr=0.5)
    assert scalar == 2 and scalar.shape == ()


def test_every_rule_says_what_it_takes():
    elementwise = {name: rule for name, rule in RULES.items() if not rule.terms_scope}
    assert sorted(functional.__all__) == sorted(elementwise)
    for name, rule in elementwise.items():
        arguments = list(inspect.signature(getattr(functional, name)).parameters)
        assert arguments == [*rule.arrays, "t", *rule.carry, *rule.hyperparameters, "out"]


def as_jax(a):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(a)


def as_torch(a):
    tensor = pytest.importorskip("torch").tensor(a)
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


KINDS = {"list": lambda a: a.tolist(), "jax": as_jax, "torch": as_torch, "read-only": lambda a: frozen_copy(a)}


def frozen_copy(a):
    found = a.copy()
    found.flags.writeable = False
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("which", ["all", "gradient", "parameter", "state"])
def test_what_is_not_written_may_be_of_any_kind(kind, shape, which):
    p, g, m, v = (np.abs(data(6, np.float64, k))[: int(np.prod(shape))].reshape(shape) for k in range(4))
    expected = functional.adam(p, g, m, v, t=3, lr=0.1)
    chosen = {"all": (0, 1, 2, 3), "gradient": (1,), "parameter": (0,), "state": (2, 3)}[which]
    given = [KINDS[kind](a) if k in chosen else a for k, a in enumerate((p, g, m, v))]
    found = functional.adam(*given, t=3, lr=0.1)
    assert all(type(x) is np.ndarray and np.array_equal(x, y) for x, y in zip(found, expected, strict=True))
    if which in ("all", "parameter", "gradient") and shape:
        state = m.copy(), v.copy()
        new, *same_ones = functional.adam(given[0], given[1], *state, t=3, lr=0.1, out=(None, *state))
        assert all(np.array_equal(x, y) for x, y in zip((new, *state), expected, strict=True))
        assert all(x is y for x, y in zip(same_ones, state, strict=True))


@pytest.mark.parametrize("number", [3, 3.0, np.float64(3), np.float32(3), np.array(3.0)])
def test_numbers(number):
    (found,) = functional.sgd(number, number, t=1, lr=0.5)
    assert found == 1.5 and found.shape == () and found.dtype == (np.float32 if type(number) is np.float32 else np.float64)
    p, m, v = (
        functional.adam(number, 1.0, 0, 0.0, t=1)
        if type(number) in (int, float)
        else functional.adam(number, 1.0, *[number] * 2, t=1)
    )
    assert p.shape == m.shape == v.shape == ()


def test_a_list_has_the_dtype_of_the_parameter():
    p = np.ones(2, np.float32)
    new, m, v = functional.adam(p, [1, 2], [0, 0], [0.0, 0.0], t=1)
    assert new.dtype == m.dtype == v.dtype == np.float32
    assert functional.sgd([1, 2], [1.0, 2.0], t=1, lr=0.5)[0].tolist() == [0.5, 1.0]
    assert functional.sgd([1j, 2], [1.0, 2j], t=1, lr=0.5)[0].tolist() == [-0.5 + 1j, 2 - 1j]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_none_among_the_arrays_to_write_is_a_new_one(where, layout):
    base = [np.abs(data(280, np.float64, k)).reshape(40, 7) for k in range(4)]
    p, g, m, v = (LAYOUTS[layout](a) for a in base)
    expected = functional.adam(p, g, m, v, t=3, lr=0.1)
    before = [a.copy() for a in (p, m, v)]
    found = functional.adam(p, g, m, v, t=3, lr=0.1, out=tuple(None if k in where else a for k, a in enumerate((p, m, v))))
    for k, (x, y, a, old) in enumerate(zip(found, expected, (p, m, v), before, strict=True)):
        assert np.array_equal(x, y) and (x is a) == (k not in where) and np.array_equal(a, old if k in where else y)
        assert k not in where or not any(np.shares_memory(x, b) for b in (p, g, m, v))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_place(layout):
    p, g, m, v = (LAYOUTS[layout](np.abs(data(280, np.float64, k)).reshape(40, 7)) for k in range(4))
    expected = functional.adam(p, g, m, v, t=3, lr=0.1)
    found = functional.adam(p, g, m, v, t=3, lr=0.1, out="inplace")
    assert all(x is a and np.array_equal(x, y) for x, a, y in zip(found, (p, m, v), expected, strict=True))


def test_signatures_are_frozen(update=False):
    """Write new ones by ``python -c "import test_functional as t; t.test_signatures_are_frozen(True)"`` in this folder."""
    found = {name: str(inspect.signature(getattr(functional, name))) for name in functional.__all__}
    path = Path(__file__).parents[1] / "golden" / "signatures.json"
    if update:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))
    assert all(getattr(functional, name).__doc__.startswith("Return new arrays, or those of `out`,") for name in functional.__all__)


def test_refusals_change_nothing():
    base = np.zeros(12)
    p, m, v, g = base[:3], base[3:6], np.zeros(3), np.ones(3)
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    numbers = {"t": 1, "lr": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

    def adam(p=p, g=g, m=m, v=v, **changes):
        return functional.adam(p, g, m, v, **{**numbers, **changes})

    for error, message, arguments in [
        (ValueError, "t: 0, expected", {"t": 0}),
        (ValueError, "t: 1.0, expected", {"t": 1.0}),
        (ValueError, "lr: -1", {"lr": -1}),
        (TypeError, "beta1: 'x'", {"beta1": "x"}),
        (ValueError, "m: shape", {"m": np.zeros(4)}),
        (TypeError, "v: dtype float32", {"v": np.zeros(3, np.float32)}),
        (ValueError, "v: shape", {"v": [0.0] * 4}),
        (TypeError, "v: a list of bool", {"v": [True] * 3}),
        (TypeError, "v: a list of <U1", {"v": ["0"] * 3}),
        (ValueError, "v: lists of different lengths", {"v": [[0.0], [0.0, 1.0]]}),
        (TypeError, "p: bool", {"p": True}),
        (TypeError, "p: NoneType", {"p": None}),
        (TypeError, "m: str", {"m": "zeros"}),
        (TypeError, "v: dtype complex128", {"v": [1j, 0, 0]}),
        (TypeError, "p: dtype int64", {"p": np.int64(3)}),
        (TypeError, "out: str, expected None, 'inplace' or", {"out": "in place"}),
        (TypeError, "out, p: list, expected a NumPy array", {"p": [0.0] * 3, "out": "inplace"}),
        (ValueError, "out, p: read-only", {"p": frozen, "out": "inplace"}),
        (ValueError, "out, m: shares memory with v", {"v": m, "out": (None, m, m)}),
        (ValueError, "gradient of 'p': shape", {"g": np.ones(4)}),
        (TypeError, "gradient of 'p': dtype int64", {"g": np.ones(3, int)}),
        (TypeError, "p: dtype int64", {"p": np.ones(3, int)}),
        (TypeError, "out: ndarray, expected None, 'inplace' or", {"out": p}),
        (TypeError, "out: tuple", {"out": (p, m)}),
        (ValueError, "out, p: read-only", {"p": frozen, "out": (frozen, m, v)}),
        (ValueError, "out, m: shares memory with v", {"out": (p, v, m)}),
        (ValueError, "out, m: shares memory with", {"out": (p, p, v)}),
        (ValueError, "out, p: shares memory with the gradient", {"g": p, "out": (p, m, v)}),
        (ValueError, "out, p: shares memory with m", {"out": (base[4:7], np.zeros(3), v)}),
        (ValueError, "out, v: shares memory with the gradient", {"g": base[7:10], "out": (p, m, base[8:11])}),
    ]:
        with pytest.raises(error, match=message):
            adam(**arguments)
    assert not base.any() and not v.any()
    adam(p=frozen)
    assert not frozen.any()


def test_numbers_that_live_between_steps_are_asked_for():
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    *_, product = functional.nadam(p, np.ones(3), m, v, t=1)
    assert 0 < product < 1
    with pytest.raises(ValueError, match="product: not given, expected what the step before returned"):
        functional.nadam(p, np.ones(3), m, v, t=2)
