"""Bounds: what they hold, what they refuse, and the solutions that they reach."""

import copy
import warnings

import numpy as np
import pytest
from cases import data, same

import fastopt as fo
from fastopt._arrays import dtypes


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_bounds_that_leave_one_number_or_none(dtype):
    def start():
        p = np.zeros(2, np.float32)
        return (p.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) if dtype == "bfloat16" else p.astype(dtype)

    p = start()
    with pytest.warns(RuntimeWarning, match="bounds of '0': 2 elements of parameters were outside"):
        optimizer = fo.SGD(p, lr=1.0, bounds=(0.1, 0.1))
    kept = p.copy()
    optimizer.step(np.ones(2, np.float32))
    as_numbers = dtypes.widened(dtypes.plain(p)) if dtype == "bfloat16" else p
    assert same(dtypes.plain(kept), dtypes.plain(p))
    np.testing.assert_allclose(as_numbers.astype(float), 0.1, rtol=4e-3 if dtype == "bfloat16" else 1e-3)
    if dtype != "float64":
        with pytest.raises(ValueError, match=r"bounds of '0': no number of .* is between low and high"):
            fo.SGD(start(), bounds=(0.1000001, 0.1000001 + 1e-12))
    with pytest.raises(ValueError, match="no number of"):
        fo.SGD(start(), bounds=(np.inf, np.inf))


def test_ambiguous_bounds_are_refused_with_both_spellings():
    optimize = pytest.importorskip("scipy.optimize")
    with pytest.raises(ValueError) as error:
        fo.SGD(np.zeros(2), bounds=((0, 1), (0, 2)))
    first, second = (part.strip() for part in str(error.value).split("expected ")[1].rsplit(", or ", 1))
    found = []
    for text in (first, second):
        bounds = eval(text, {"np": np, "scipy": type("scipy", (), {"optimize": optimize})})
        p = np.array([0.5, 1.0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = fo.SGD(p, lr=10.0, bounds=bounds)
        optimizer.step(np.array([-1.0, -1.0]))
        found.append(p.tolist())
    assert found == [[0, 2], [1, 2]]
    with pytest.raises(ValueError, match="a pair for each of two numbers"):
        fo.SGD([np.zeros(3), np.zeros(3)], bounds=((0, 1), (0, 2)))


def test_a_refusal_of_bounds_names_the_parameters():
    p = np.array([0.5, 1.0])
    with pytest.raises(ValueError) as error:
        fo.SGD({"w": p}, bounds=([0, 0], [0, 1]))
    for text in str(error.value).split("expected ")[1].rsplit(", or ", 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fo.SGD({"w": p.copy()}, bounds=eval(text, {"np": np}))


def test_bounds_hold_for_the_copy_of_a_narrow_parameter_and_nothing_changes_where_the_warning_is_an_error():
    for master in ("float32", "split"):
        p = np.full(3, 5, np.float32).view(np.uint32).__rshift__(16).astype(np.uint16).view(fo.bfloat16)
        with pytest.warns(RuntimeWarning, match="3 elements"):
            optimizer = fo.SGD({"w": p}, master=master, bounds=(-0.3, 0.3))
        assert (optimizer.state["w"]["master"] <= 0.3).all() and (optimizer.state["w"]["master"] > 0.2999).all()
    p, q, r = np.array([5.0]), np.array([6.0]), np.array([7.0])
    optimizer = fo.SGD([{"params": np.zeros(1)}], bounds=(-1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="bounds of '0', '1': 2 elements"):
            fo.SGD([p, q], bounds=(-1, 1))
        with pytest.raises(RuntimeWarning):
            optimizer.add_group({"params": r})
    assert (p[0], q[0], r[0], len(optimizer.groups)) == (5, 6, 7, 1)


def test_a_start_outside_of_its_bounds_is_said():
    p = np.array([-5.0, 0.5, 5.0], np.float32)
    with pytest.warns(RuntimeWarning, match="bounds of 'w': 2 elements") as seen:
        optimizer = fo.Adam({"w": p}, bounds=(-1, 1), master=None, ema=0.5)
    assert seen[0].filename == __file__ and p.tolist() == [-1, 0.5, 1] and optimizer.average["w"].tolist() == [-1, 0.5, 1]
    with pytest.raises(TypeError), warnings.catch_warnings():
        warnings.simplefilter("error")
        q = np.array([9.0])
        fo.Adam({"w": q, "x": np.zeros(1, int)}, bounds=(-1, 1))
    assert q[0] == 9


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_grad(x):
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


QUADRATIC = np.array([[3.0, 1.0, 0.5], [1.0, 2.0, -0.7], [0.5, -0.7, 4.0]])
BOUNDED = {
    "rosenbrock": (rosenbrock, rosenbrock_grad, np.array([-1.0, 1.5, 0.3]), np.full(3, -1.5), np.array([0.5, 2.0, 2.0])),
    "quadratic": (
        lambda x: float(x @ QUADRATIC @ x / 2 + x @ [1.0, -3.0, 2.0]),
        lambda x: QUADRATIC @ x + [1.0, -3.0, 2.0],
        np.array([0.9, 0.1, 0.9]),
        np.zeros(3),
        np.ones(3),
    ),
}


@pytest.mark.parametrize("problem", BOUNDED)
def test_bounds_reach_the_solution_of_lbfgsb(problem):
    optimize = pytest.importorskip("scipy.optimize")
    f, grad, start, low, high = BOUNDED[problem]
    best = optimize.minimize(f, start, jac=grad, method="L-BFGS-B", bounds=optimize.Bounds(low, high))
    x = start.copy()
    optimizer = fo.Adam(x, lr=fo.schedules.exponential_decay(0.05, 0.9996), bounds=optimize.Bounds(low, high))
    for _ in range(20_000):
        optimizer.step(grad(x))
        assert (low <= x).all() and (x <= high).all()
    assert f(x) <= best.fun + 1e-6 * max(1, abs(best.fun))
    np.testing.assert_allclose(x, best.x, atol=1e-3)
    assert optimizer.report()["groups"][0]["at_bounds"] == np.count_nonzero((best.x == low) | (best.x == high))


def test_a_bound_does_not_hold_what_has_turned():
    """The gradient pushes against the bound for long, then turns; clipping after the step leaves the momentum to be worn off."""

    def steps_until_it_leaves(bounds):
        x = np.zeros(1)
        optimizer = fo.SGD(x, lr=0.1, momentum=0.99, **({"bounds": (0.0, 1.0)} if bounds else {}))
        for k in range(2000):
            optimizer.step(np.array([1.0 if k < 500 else -1.0]))
            np.clip(x, 0, 1, out=x)
            if k >= 500 and x[0] > 0:
                return k - 500
        return 2000

    assert steps_until_it_leaves(True) == 0 and steps_until_it_leaves(False) > 50


def test_bounds_of_every_form():
    params = {"a": np.zeros(3), "b": np.zeros((2, 2))}
    low = {"a": np.array([-1.0, -0.5, 0.0]), "b": -0.25}
    optimizer = fo.SGD(params, lr=1.0, bounds=(low, None))
    optimizer.step({"a": np.full(3, 9.0), "b": np.full((2, 2), 9.0)})
    assert params["a"].tolist() == low["a"].tolist() and (params["b"] == -0.25).all()
    optimizer.step({"a": np.full(3, -9.0), "b": np.full((2, 2), -9.0)})
    assert (params["a"] >= 8).all() and optimizer.report()["groups"][0]["at_bounds"] == 0
    x = np.zeros(2)
    grouped = fo.SGD([{"params": x, "bounds": (0, 1)}, {"params": np.zeros(1)}], lr=1.0)
    grouped.step([np.array([1.0, -3.0]), np.array([1.0])])
    assert x.tolist() == [0, 1] and grouped.params[1].tolist() == [-1]
    for wrong, message in [
        ([(0, 1), (0, 1)], r"bounds: expected \(low, high\).*tuple\(np.array\(b, float\).T\)"),
        ((1.0, 0.0), "low above high"),
        ((np.zeros(3), 1.0), r"low of '0': float64 of shape \(3,\), expected a number or an array of shape \(2,\)"),
        ((np.nan, 1.0), "NaN"),
        (({"a": 0.0}, 1.0), "bounds, low: no parameter has the name 'a', expected some of '0'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fo.SGD(np.zeros(2), bounds=wrong)
    with pytest.raises(TypeError, match="complex128 has no order"):
        fo.SGD(np.zeros(2, complex), bounds=(0, 1))
    with pytest.raises(ValueError, match=r"bounds: .* was chosen at construction"):
        grouped.groups[0]["bounds"] = None


@pytest.mark.parametrize("kind", ["float16", "float32", "bfloat16"])
def test_no_rounding_leaves_the_bounds(kind):
    w = np.full(2000, 0.05, np.float16 if kind == "float16" else np.float32)
    if kind == "bfloat16":
        w = (w.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16)
    optimizer = fo.Adam(w, lr=0.01, bounds=(1e-3 * 1.0001, 0.1))
    for k in range(30):
        optimizer.step(data(2000, np.float32, k) + (1 if k < 15 else -1))
        value = optimizer._parameters[0].value().astype(np.float64)
        assert value.min() >= 1e-3 * 1.0001 and value.max() <= 0.1


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_bounds_are_the_optimizers_own():
    optimize = pytest.importorskip("scipy.optimize")
    low = np.zeros(3)
    optimizer = fo.SGD(np.ones(3), lr=1.0, bounds=optimize.Bounds(low, np.ones(3)))
    low[:] = -5
    twin = copy.deepcopy(optimizer)
    for x in (optimizer, twin):
        x.step(np.full(3, 9.0))
        assert (x.params == 0).all()
    assert optimizer.state_dict()["groups"] == twin.state_dict()["groups"]
    with pytest.raises(ValueError, match="was chosen at construction"):
        optimizer.groups[0]["bounds"] = (np.zeros(3), np.ones(3))
    x = np.full(2, 5.0)
    fo.SGD(x, lr=0.0, bounds=optimize.Bounds(0, 1)).step(np.zeros(2))
    assert (x == 1).all()
    a, b = np.zeros(1), np.zeros(1)
    fo.SGD([a, b], lr=1.0, bounds=({"0": None, "1": -0.5}, {"0": 1.0, "1": None})).step([np.full(1, 3.0), np.full(1, 3.0)])
    assert a[0] == -3 and b[0] == -0.5
