"""Nested arrays as one, and back."""

import copy
import pickle

import numpy as np
import pytest

import fastopt as fo

TREE = {"w": np.arange(6.0).reshape(2, 3), "layers": [np.array(7.0), {"b": np.array([8.0, 9.0])}, np.zeros((0, 2))]}


def test_packing():
    packed = fo.pack(TREE)
    assert np.array_equal(packed.flat, np.arange(10.0)[[0, 1, 2, 3, 4, 5, 7, 8, 9]]) and packed.flat.ctypes.data % 64 == 0
    assert packed.names == ["w", "layers/0", "layers/1/b", "layers/2"]
    assert packed.offsets == {"w": 0, "layers/0": 6, "layers/1/b": 7, "layers/2": 9}
    packed.flat[7] = -1
    assert packed.tree["layers"][1]["b"][0] == -1 and TREE["layers"][1]["b"][0] == 8
    x = np.arange(9, dtype=np.float32)
    tree = packed.unpack(x)
    assert np.shares_memory(tree["w"], x) and tree["w"].shape == (2, 3) and tree["layers"][0].shape == ()
    assert np.array_equal(packed.gather(tree), x) and packed.gather(tree).dtype == np.float64
    out = np.zeros(9, np.float32)
    assert packed.gather(tree, out=out) is out and np.array_equal(out, x)
    assert "4 arrays packed: 9 of float64" in repr(packed)


def test_a_single_array_numbers_and_tuples():
    assert np.array_equal(fo.pack(np.eye(2)).flat, [1, 0, 0, 1]) and fo.pack(np.eye(2)).tree.shape == (2, 2)
    packed = fo.pack((1, 2.5, [np.int64(3)]))
    assert packed.flat.dtype == np.float64 and packed.tree[2][0] == 3


def test_several_dtypes():
    packed = fo.pack({"a": np.ones(2, np.float32), "b": np.ones(3), "c": np.zeros(1, np.float32)})
    flat = packed.flat
    assert {d: a.size for d, a in flat.items()} == {np.dtype("f4"): 3, np.dtype("f8"): 3}
    assert packed.offsets == {"a": 0, "b": 0, "c": 2}
    doubled = packed.unpack({d: 2 * a for d, a in flat.items()})
    assert np.array_equal(doubled["a"], [2, 2]) and doubled["c"].dtype == np.float32
    assert np.array_equal(packed.gather(doubled)[np.dtype("f8")], [2, 2, 2])


def test_arrays_of_jax():
    jax = pytest.importorskip("jax")
    packed = fo.pack({"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.float32)})
    grad = jax.grad(lambda x: (packed.unpack(x)["a"] ** 2).sum() + packed.unpack(x)["b"].sum())
    assert np.array_equal(grad(np.arange(7, dtype=np.float32)), [0, 2, 4, 6, 1, 1, 1])


def test_gathering_is_all_or_nothing_and_reads_first():
    packed = fo.pack({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})
    packed.gather({"a": packed.tree["b"], "b": packed.tree["a"]}, packed.flat)
    assert packed.flat.tolist() == [3, 4, 1, 2]
    out = np.full(4, 5.0)
    with pytest.raises(TypeError):
        packed.gather({"a": np.ones(2), "b": np.array(["x", "y"])}, out)
    assert (out == 5).all()
    assert packed.unpack([1.0, 2.0, 3.0, 4.0])["b"].tolist() == [3, 4]


def test_copies_have_trees_of_their_own_numbers():
    packed = fo.pack(TREE)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        other.flat[0] = 77
        assert other.tree["w"][0, 0] == 77 and packed.flat[0] == 0 and other.names == packed.names
