"""Checks of gradients find what is wrong, name it, and leave right ones alone."""

import numpy as np
import pytest

import fastopt as fo

RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.normal(size=(40, 30)), "layers": [RNG.normal(size=30), {"b": np.array(0.7)}], "none": np.zeros((0, 3))}
X, Y = RNG.normal(size=(64, 40)), RNG.normal(size=64)


def network(p, x, y):
    """Return loss and gradients of a small network."""
    hidden = np.tanh(x @ p["w"])
    r = hidden @ p["layers"][0] + p["layers"][1]["b"] - y
    back = np.outer(r, p["layers"][0]) * (1 - hidden**2) / len(y)
    grads = {"w": x.T @ back, "layers": [hidden.T @ r / len(y), {"b": r.mean()}], "none": np.zeros((0, 3))}
    return r @ r / (2 * len(y)), grads


def changed(p, k, place, by):
    """Return the network with an error in one element of a gradient."""

    def fun(p, x, y):
        loss, grads = network(p, x, y)
        target = {"w": grads["w"], "layers/0": grads["layers"][0]}[k]
        target[place] += by
        return loss, grads

    return fun


def of_dtype(tree, dtype):
    return {
        "w": tree["w"].astype(dtype),
        "layers": [tree["layers"][0].astype(dtype), {"b": dtype(0.7)}],
        "none": np.zeros((0, 3), dtype),
    }


def test_right_gradients():
    before = {"w": PARAMS["w"].copy()}
    assert fo.check_gradient(network, PARAMS, X, Y) < 1e-10
    assert np.array_equal(PARAMS["w"], before["w"])
    assert fo.check_gradient(network, of_dtype(PARAMS, np.float32), X.astype(np.float32), Y.astype(np.float32)) < 1e-3
    assert fo.check_gradient(lambda p: network(p, X, Y)[0], PARAMS, jac=lambda p: network(p, X, Y)[1]) < 1e-10


@pytest.mark.parametrize(("name", "place", "by"), [("w", (17, 3), 1e-2), ("w", (39, 29), -5.0), ("layers/0", (29,), 1e-3)])
def test_one_wrong_element_is_named(name, place, by):
    fun = changed(PARAMS, name, place, by)
    right = network(PARAMS, X, Y)[1]
    right = {"w": right["w"], "layers/0": right["layers"][0]}[name][place]
    words = f"gradient of '{name}' at {place}: {right + by:.6g}, by differences {right:.6g}"
    with pytest.raises(AssertionError) as told:
        fo.check_gradient(fun, PARAMS, X, Y)
    assert str(told.value) == words


def test_functions_that_take_no_complex_numbers():
    """By differences alone: real casts, kinks, logarithms that end near."""
    for fun in (
        lambda x: (float(np.sum(np.abs(x) ** 3)), 3 * x * np.abs(x)),
        lambda x: (np.sum(np.maximum(x, 0) ** 2), 2 * np.maximum(x, 0)),
        lambda x: (np.sum(np.log(x - 0.999)), 1 / (x - 0.999)),
        lambda x: (np.asarray(x, np.float64).sum(), np.ones_like(x)),
        lambda x: (0.0, np.zeros_like(x)),
        lambda x: (np.sum(x) * 1e200, np.full_like(x, 1e200)),
        lambda x: (np.sum(x) * 1e-200, np.full_like(x, 1e-200)),
    ):
        assert fo.check_gradient(fun, np.array([1.0, 2.0, 3.0])) < 1e-6
    # Values in fewer bits than the arguments have.
    assert fo.check_gradient(lambda x: (float(np.float32(np.sum(x**2))), 2 * x), np.array([1.0, 2.0, 3.0])) < 1e-3
    with pytest.raises(AssertionError, match=r"gradient of '0' at \(2,\): 4, by differences 6"):
        fo.check_gradient(lambda x: (float(x @ x), np.array([2, 4, 4.0])), np.array([1.0, 2.0, 3.0]))


def test_complex_steps_of_functions_that_misuse_them_are_not_believed():
    """The absolute value of a complex number has no derivative of that kind."""

    def fun(x):
        return np.sum(np.abs(x) * x), 2 * np.abs(x)

    assert fo.check_gradient(fun, np.array([-1.0, 2.0])) < 1e-6


def test_gradients_of_a_function_that_is_constant_or_nan():
    with pytest.raises(AssertionError, match="gradient of '0' at"):
        fo.check_gradient(lambda x: (1.0, np.ones(2)), np.ones(2))
    with pytest.raises(AssertionError, match="nan"):
        fo.check_gradient(lambda x: (np.nan, np.ones(2)), np.ones(2))
    with pytest.raises(AssertionError, match="nan"):
        fo.check_gradient(lambda x: (x @ x, np.array([np.nan, 2.0])), np.ones(2))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"gradient of 'w': float64 of shape \(3,\), expected real numbers of shape \(2,\)"):
        fo.check_gradient(lambda p: (0.0, {"w": np.zeros(3)}), {"w": np.zeros(2)})
    with pytest.raises(ValueError, match="missing keys"):
        fo.check_gradient(lambda p: (0.0, {}), {"w": np.zeros(2)})
    with pytest.raises(TypeError, match="parameter 'w': int64, expected a floating-point array"):
        fo.check_gradient(lambda p: (0.0, {}), {"w": np.zeros(2, int)})
