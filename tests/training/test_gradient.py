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
    words = f"gradient of '{name}' at {place}: {right + by:.10g}, by differences {right:.10g}"
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
    with pytest.raises(ValueError, match="nan"):
        fo.check_gradient(lambda x: (np.nan, np.ones(2)), np.ones(2))
    with pytest.raises(AssertionError, match="nan"):
        fo.check_gradient(lambda x: (x @ x, np.array([np.nan, 2.0])), np.ones(2))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"gradient of 'w': float64 of shape \(3,\), expected real numbers of shape \(2,\)"):
        fo.check_gradient(lambda p: (0.0, {"w": np.zeros(3)}), {"w": np.zeros(2)})
    with pytest.raises(ValueError, match="missing keys"):
        fo.check_gradient(lambda p: (0.0, {}), {"w": np.zeros(2)})
    with pytest.raises(TypeError, match="parameter 'w': complex128, expected an array of real numbers"):
        fo.check_gradient(lambda p: (0.0, {}), {"w": np.zeros(2, complex)})
    fo.check_gradient(lambda x: (x @ x, 2 * x), np.arange(3), jac=True)


def test_half_precision():
    for fun in (
        lambda x: (np.sum(x.astype(np.float64) ** 2), 2 * x.astype(np.float64)),
        lambda x: (np.sum(np.sin(x.astype(np.float64))), np.cos(x.astype(np.float64))),
        lambda x: (x.astype(np.float64) @ np.arange(3.0), np.arange(3.0)),
    ):
        fo.check_gradient(fun, np.array([1.0, -2.0, 0.5], np.float16), rtol=0.05)
    with pytest.raises(AssertionError):
        fo.check_gradient(lambda x: (float(x @ x), -2 * x), np.array([1.0, -2.0, 0.5], np.float16), rtol=0.05)
    with pytest.raises(ValueError, match="directions: 0, expected a whole number of at least 1"):
        fo.check_gradient(lambda x: (float(x @ x), 3 * x), np.ones(2), directions=0)


def test_small_terms_that_complex_numbers_lose():
    """Absolute values drop imaginary parts: a term that is forgotten is found, and one that is right is not called wrong."""
    rng = np.random.default_rng(0)
    a, b, x = rng.standard_normal((20, 5)), rng.standard_normal(20), rng.standard_normal(5)
    small = {
        "sum of sizes": (lambda x: np.abs(x).sum(), np.sign(x)),
        "norm": (np.linalg.norm, x / np.linalg.norm(x)),
        "product": (lambda x: np.vdot(x, x), 2 * x),
    }
    for term, gradient in small.values():

        def fun(x, term=term):
            return np.sum((a @ x - b) ** 2) + 1e-3 * term(x)

        right = 2 * a.T @ (a @ x - b) + 1e-3 * gradient
        fo.check_gradient(fun, x, jac=lambda x, right=right: right)
        with pytest.raises(AssertionError):
            fo.check_gradient(fun, x, jac=lambda x: 2 * a.T @ (a @ x - b))


def test_minima():
    """Gradients of 0 are right where differences are their own rounding."""
    rng = np.random.default_rng(0)
    fo.check_gradient(lambda x: (((x - 1) ** 2).sum(), 2 * (x - 1)), np.ones(2))
    for _ in range(20):
        a, b = rng.standard_normal((30, 4)), rng.standard_normal(30)
        x = np.linalg.lstsq(a, b)[0]
        fo.check_gradient(lambda x, a=a, b=b: (np.sum((a @ x - b) ** 2), 2 * a.T @ (a @ x - b)), x)


def test_edges_of_the_domain():
    for fun, jac, x in (
        (lambda x: np.sum(np.log(x)), lambda x: 1 / x, [1e-3, 1e3, 1e6]),
        (lambda x: np.sum(np.log(x)), lambda x: 1 / x, [1e-9, 1.0]),
        (lambda x: np.sum(np.sqrt(x)), lambda x: 0.5 / np.sqrt(x), [1e-8, 1.0, 2.0]),
        (lambda x: -np.sum(np.log(1 - x)), lambda x: 1 / (1 - x), [1 - 1e-9]),
        (lambda x: np.sum(x**4), lambda x: 4 * x**3, [1e70, 1.0]),
    ):
        fo.check_gradient(fun, np.array(x), jac=jac)
    with pytest.raises(AssertionError, match=r"gradient of '0' at \(3,\): 1, by differences 0.3333333333"):
        fo.check_gradient(lambda x: np.sum(np.log(x)), np.array([1e-12, 1, 2, 3]), jac=lambda x: np.append(1 / x[:3], 1.0))


def test_a_small_array_beside_a_large_one():
    rng = np.random.default_rng(0)
    params = {"w": 1e4 * rng.standard_normal(50), "b": rng.standard_normal(5)}
    with pytest.raises(AssertionError, match="gradient of 'b'"):
        fo.check_gradient(
            lambda p: np.sum(p["w"] ** 2) + np.sum(p["b"] ** 2), params, jac=lambda p: {"w": 2 * p["w"], "b": -2 * p["b"]}
        )


def test_kinks_in_single_precision():
    for seed in range(10):
        x = np.random.default_rng(seed).standard_normal(10_000).astype(np.float32)
        fo.check_gradient(lambda x: (np.sum(np.abs(x)), np.sign(x)), x)


def test_other_arguments():
    with pytest.raises(TypeError, match=r"fun: returned 1.0, expected a pair \(value, gradients\), or jac="):
        fo.check_gradient(lambda x: 1.0, np.ones(2))
    for bad in ("a", -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"rtol: .*, expected a finite number of at least 0"):
            fo.check_gradient(lambda x: (float(x @ x), 2 * x), np.ones(2), rtol=bad)


def layer(dtype, relu, bias=1.0, cast=False):
    """Return a maker of a network with one hidden layer, its bias's gradient times a factor, its loss cast to single precision."""

    def make(rng):
        x, y = rng.normal(size=(30, 5)).astype(dtype), rng.normal(size=30).astype(dtype)
        params = {"w": rng.normal(size=(5, 8)).astype(dtype), "b": rng.normal(size=8).astype(dtype)}
        params["v"] = rng.normal(size=8).astype(dtype)

        def fun(p):
            z = x @ p["w"] + p["b"]
            h = np.maximum(z, 0) if relu else np.tanh(z)
            r = h @ p["v"] - y
            back = np.outer(r, p["v"]) * ((z > 0) if relu else 1 - h * h) * 2 / len(y)
            loss = np.mean(r * r)
            grads = {"w": x.T @ back, "b": back.sum(0) * dtype(bias), "v": h.T @ r * 2 / len(y)}
            return float(np.float32(loss)) if cast else loss, grads

        return fun, params

    return make


def halves(rng):
    """Return a function whose values are computed in single precision and scaled in double."""

    def fun(p):
        return 0.1 * float(np.mean(np.tanh(p.astype(np.float32)))), 0.1 * (1 - np.tanh(p) ** 2) / len(p)

    return fun, rng.normal(size=3)


def cancelling(rng):
    """Return a function that loses half of its digits."""
    return lambda p: ((1e8 + np.sum(np.sin(p))) - 1e8, np.cos(p)), rng.normal(size=3)


def narrow(rng):
    """Return a distance to a point that is near."""

    def fun(p):
        size = np.linalg.norm(p - 1e3)
        return size, (p - 1e3) / size

    return fun, 1e3 + 1e-3 * rng.normal(size=3)


RIGHT = [halves, cancelling, narrow]
RIGHT += [layer(dtype, relu, cast=cast) for dtype in (np.float32, np.float64) for relu in (False, True) for cast in (False, True)]
WRONG = [layer(np.float32, False, 1.1), layer(np.float64, False, 1.1, cast=True)]
WRONG += [layer(np.float64, True, 1.0001), layer(np.float32, True, -1.0)]


@pytest.mark.parametrize("make", RIGHT)
def test_no_alarms_for_right_gradients(make):
    for seed in range(10):
        fun, params = make(np.random.default_rng(seed))
        fo.check_gradient(fun, params, seed=seed)


@pytest.mark.parametrize("make", WRONG)
def test_alarms_for_wrong_factors(make):
    for seed in range(10):
        fun, params = make(np.random.default_rng(seed))
        with pytest.raises(AssertionError, match="gradient of 'b'"):
            fo.check_gradient(fun, params, seed=seed)
