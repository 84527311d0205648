"""Parameters and gradients: nesting and names, what cannot be updated, what is refused without any change."""

import copy
import os
import warnings

import numpy as np
import pytest
from cases import snapshot

import fastopt as fo


def test_structures_and_names():
    tree = {"encoder": [{"w": np.zeros((2, 3)), "b": np.zeros(3)}, np.zeros(())], "head": np.zeros(2)}
    optimizer = fo.SGD(tree, lr=1.0)
    assert list(optimizer.state) == ["encoder/0/w", "encoder/0/b", "encoder/1", "head"]
    optimizer.step({"head": np.ones(2), "encoder": ({"w": np.ones((2, 3)), "b": None}, 1.0)})
    assert tree["encoder"][1] == -1 and (tree["head"] == -1).all() and (tree["encoder"][0]["b"] == 0).all()
    assert optimizer.state["encoder/0/b"]["step"] == 0 and optimizer.state["head"]["step"] == 1
    assert optimizer.params["encoder"][0]["w"] is tree["encoder"][0]["w"] and optimizer.params.keys() == tree.keys()
    assert list(fo.SGD(np.zeros(2)).state) == ["0"]


BAD = {
    "shape": (np.ones((3, 2)), ValueError, r"gradient of 'w': shape \(3, 2\), expected \(2, 3\)"),
    "broadcast": (np.ones(3), ValueError, r"shape \(3,\), expected \(2, 3\)"),
    "integer": (np.ones((2, 3), int), TypeError, "gradient of 'w': dtype int64, expected a real floating-point"),
    "complex": (np.ones((2, 3), complex), TypeError, "dtype complex128"),
    "list": ([[1.0] * 3] * 2, TypeError, "list, expected an array"),
    "masked": (np.ma.ones((2, 3)), TypeError, "masked"),
    "order": (np.ones((2, 3), ">f8"), TypeError, "foreign byte order"),
    "object": (np.ones((2, 3), object), TypeError, "dtype object"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_refused_gradient_changes_nothing(bad):
    value, error, message = BAD[bad]
    params = {"b": np.ones(2), "w": np.ones((2, 3))}
    optimizer = fo.Adam(params, lr=0.1)
    optimizer.step({"b": np.ones(2), "w": np.ones((2, 3))})
    before = snapshot(optimizer)
    with pytest.raises(error, match=message):
        optimizer.step({"b": np.ones(2), "w": value})
    assert snapshot(optimizer) == before


@pytest.mark.parametrize(
    ("grads", "error"),
    [
        ({"b": np.ones(2)}, ValueError),
        ([np.ones(2)] * 2, TypeError),
        ({"b": 1.0, "w": 1.0, "x": 1.0}, ValueError),
        (None, ValueError),
    ],
)
def test_a_refused_structure_changes_nothing(grads, error):
    optimizer = fo.Adam({"b": np.ones(2), "w": np.ones(3)})
    before = snapshot(optimizer)
    with pytest.raises(error):
        optimizer.step(grads)
    assert snapshot(optimizer) == before


def test_parameters_that_cannot_be_updated():
    base = np.zeros((4, 4))
    fo.SGD([base[:, 0::2], base[:, 1::2]])  # interleaved: disjoint
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD([base[:3], base[2:]])
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD({"a": base, "b": base})
    with pytest.raises(ValueError, match="its elements share memory"):
        fo.SGD(np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8)))
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="parameter '0': read-only"):
        fo.SGD([frozen])
    for wrong in (np.zeros(3, int), np.zeros(3, ">f4"), np.ma.zeros(3), 1.0, np.zeros(3, np.uint16)):
        with pytest.raises(TypeError, match="parameter"):
            fo.SGD([wrong])
    with pytest.raises(ValueError, match="no arrays"):
        fo.SGD([])
    with pytest.raises(ValueError, match="two parameters"):
        fo.SGD({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}})


def test_gradients_that_share_memory():
    base = np.zeros((4, 4))
    optimizer = fo.Adam({"w": base[:, ::2], "v": np.zeros((4, 2))})
    fine = base[:, 1::2]
    optimizer.step({"w": fine, "v": fine})
    before = snapshot(optimizer)
    for bad, what in [
        (base[:, ::2], "parameter 'w'"),
        (base[:, 1:3], "parameter 'w'"),
        (optimizer.state["w"]["m"], "state 'm' of 'w'"),
    ]:
        for _ in range(2):
            with pytest.raises(ValueError, match=f"shares memory with {what}"):
                optimizer.step({"w": None, "v": bad})
    assert snapshot(optimizer) == before


def test_gradients_of_every_origin():
    torch = pytest.importorskip("torch")
    p = np.zeros((2, 3), np.float32)
    optimizer = fo.SGD(p, lr=1.0)
    frozen = np.ones((2, 3))
    frozen.flags.writeable = False
    for g in (frozen, np.broadcast_to(np.float32(1), (2, 3)), torch.ones(2, 3)):
        optimizer.step(g)
    assert (p == -3).all()


def test_containers_that_change_later_do_not_matter():
    tree = {"w": np.zeros(2), "b": np.zeros(2)}
    w = tree["w"]
    optimizer = fo.SGD([{"params": tree}], lr=1.0)
    tree["w"] = np.zeros(5)
    tree["x"] = np.zeros(5)
    optimizer.add_group({"params": [np.zeros(3)]})
    optimizer.step([{"w": np.ones(2), "b": None}, [None]])
    assert (w == -1).all() and list(optimizer.state) == ["0/w", "0/b", "1/0"] and copy.copy(optimizer).params[0]["w"] is w
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="share memory"):
        optimizer.add_group({"params": w})
    with pytest.raises(TypeError, match="group: unknown momentums"):
        optimizer.add_group({"params": np.zeros(1), "momentums": 1})
    assert snapshot(optimizer) == before
    with pytest.raises(ValueError, match="two parameters have the name '0/a/b'"):
        fo.SGD([{"params": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}}])
    with pytest.raises(ValueError, match="two parameters have the name '2/a/b'"):
        optimizer.add_group({"params": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}})
    with pytest.raises(ValueError, match="null character"):
        fo.SGD({"a\0b": np.zeros(1)})


def test_one_huge_gradient_does_not_make_nan():
    for cls in (fo.Adam, fo.AdamW, fo.RMSprop):
        w = np.zeros(1, np.float32)
        optimizer = cls(w, lr=0.1)
        for g in (1e21, 1, 1):
            optimizer.step(np.full(1, g, np.float32))
        assert np.isfinite(w).all()


def test_a_schedule_cannot_call_the_optimizer(tmp_path):
    p = np.zeros(3)

    def meddle(t):
        for call in (
            optimizer.state_dict,
            optimizer.fingerprint,
            optimizer.reset,
            lambda: optimizer.save(tmp_path / "a.npz"),
            lambda: optimizer.load_state_dict(saved),
            lambda: copy.copy(optimizer),
            lambda: optimizer.bind(np.ones(3)),
            lambda: optimizer.add_group({"params": np.zeros(1)}),
            lambda: fo.testing.reference_step(optimizer, [np.ones(3)]),
        ):
            with pytest.raises(RuntimeError, match="at work"):
                call()
        seen.append(t)
        return 1.0

    seen = []
    optimizer = fo.SGD([{"params": p}], lr=meddle)
    saved = optimizer.state_dict()
    optimizer.step([np.ones(3)])
    assert seen == [0] and (p == -1).all() and not os.listdir(tmp_path)


def test_a_parameter_made_read_only_is_left_alone(tmp_path):
    a, b = np.zeros(2), np.zeros(2)
    optimizer = fo.SGD([a, b])
    optimizer.save(tmp_path / "a.npz")
    optimizer.bind([np.ones(2), np.ones(2)])
    b.flags.writeable = False
    for call in (optimizer.step, lambda: optimizer.step([np.ones(2), np.ones(2)]), lambda: optimizer.load(tmp_path / "a.npz")):
        with pytest.raises(ValueError, match="read-only"):
            call()
    assert not a.any() and optimizer.steps == 0


def test_arrays_reshaped_later_are_walked_as_they_were():
    w = np.zeros(12)
    optimizer = fo.Adam(w, lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        w.shape = (3, 4)
    with pytest.raises(ValueError, match=r"shape \(3, 4\), expected \(12,\)"):
        optimizer.step(np.ones((1000, 4))[:3])
    assert not w.any()
    optimizer.step(np.ones(12))
    assert (w == w[0, 0]).all() and w.any()
    m = optimizer.state["0"]["m"]
    m.flags.writeable = False
    optimizer.step(np.ones(12))
    assert optimizer.state["0"]["m"].flags.writeable and optimizer.state_dict()["state"]["0"]["m"].shape == (12,)


def test_shapes_that_a_subclass_makes_up():
    class Liar(np.ndarray):
        shape = property(lambda self: (3,))

    w = np.zeros(3)
    with pytest.raises((ValueError, TypeError)):
        fo.SGD(w, lr=1.0).step(np.ones(1).view(Liar))
    with pytest.raises((ValueError, TypeError)):
        fo.functional.sgd(w, np.ones(1).view(Liar), t=1, lr=1.0)
    assert not w.any()


def test_gradients_that_shrink_while_they_are_read():
    class Shrinking:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            grads[1:] = []
            return np.ones(3)

    optimizer = fo.SGD([[np.zeros(3)] for _ in range(50)], lr=1.0)
    grads = [Shrinking()] + [[np.ones(3)] for _ in range(49)]
    with pytest.raises((ValueError, IndexError)):
        optimizer.step(grads)
    assert optimizer.steps == 0


def test_steps_without_any_gradient_do_not_count():
    optimizer = fo.SGD({"w": np.ones(1), "layers": [np.ones(2), np.ones(3)]}, lr=1.0)
    before = snapshot(optimizer)
    assert optimizer.step({"w": None, "layers": None}) is False and snapshot(optimizer) == before
    assert optimizer.step({"w": np.ones(1), "layers": None}) is True
    assert optimizer.steps == 1 and [s["step"] for s in optimizer.state.values()] == [1, 0, 0]


def test_gradients_that_give_no_array():
    torch = pytest.importorskip("torch")

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("out of order")

    class Tensor:
        def __init__(self, a):
            self.a = a

        def __dlpack__(self, **options):
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.a.__dlpack_device__()

    w = np.ones(2)
    optimizer = fo.SGD({"w": w}, lr=1.0)
    for bad in (Broken(), torch.ones(2).to_sparse(), torch.ones(2, device="meta")):
        with pytest.raises(TypeError, match=r"gradient of 'w': (Broken, which gives no array|a tensor (on|of))"):
            optimizer.step({"w": bad})
    optimizer.step({"w": Tensor(np.ones(2))})
    assert (w == 0).all()


def test_gradients_are_looked_at_in_every_step():
    """One that is laid out as the one before is described faster; one that has changed since is not taken for it."""
    w, g = np.ones((4, 6), np.float32), np.full((4, 6), 0.5, np.float32)
    optimizer = fo.SGD({"w": w}, lr=1.0)
    optimizer.step({"w": g})
    g.shape = (6, 4)
    with pytest.raises(ValueError, match=r"gradient of 'w': shape \(6, 4\), expected \(4, 6\)"):
        optimizer.step({"w": g})
    g.shape = (4, 6)
    g.flags.writeable = False
    numbers = np.arange(24, dtype=np.float32).reshape(4, 6)
    others = [
        g,
        np.asfortranarray(numbers),
        numbers.astype(np.float64),
        numbers,
        np.repeat(numbers, 2, 1)[:, ::2],
        numbers[::-1],
        g,
    ]
    for gradient in others:
        before = w.copy()
        optimizer.step({"w": gradient})
        assert (w == before - gradient).all()
    with pytest.raises(TypeError, match="foreign byte order"):
        optimizer.step({"w": numbers.astype(">f4")})
    for own in (w, w[:]):
        with pytest.raises(ValueError, match="shares memory with parameter 'w'"):
            optimizer.step({"w": own})
    assert optimizer.steps == 1 + len(others)


def test_mappings_in_the_same_and_in_another_order():
    class Name(str):
        pass

    a, b = np.ones(3), np.ones(3)
    optimizer = fo.SGD({"a": a, "b": b}, lr=1.0)
    optimizer.step({"".join(["", "a"]): np.ones(3), Name("b"): np.zeros(3)})
    assert (a == 0).all() and (b == 1).all()
    optimizer.step({"b": np.ones(3), "a": np.zeros(3)})
    assert (a == 0).all() and (b == 0).all()
    with pytest.raises(ValueError, match=r"missing keys \['b'\], unexpected keys \['c'\]"):
        optimizer.step({"a": np.ones(3), "c": np.ones(3)})
    assert (a == 0).all()
