"""SciPy's protocol, over all methods: arguments, counts, callbacks, bounds, statuses; within SciPy's global methods."""

import pickle
import warnings

import numpy as np
import pytest
from custom_rules import average
from problems import PROBLEMS, pair, scipy_minimize, square, square_gradient
from scipy import optimize

import fastopt as fo

METHODS = [name.lower() for name in fo.optimizers.__all__]
BOUNDED = [m for m in METHODS if not m.startswith("schedulefree")]
FAST = ["adam", "adamw", "adabelief", "adamax", "yogi"]  # Those whose default learning rate is 0.1.


BOTH = pytest.mark.parametrize("minimize", [fo.minimize, scipy_minimize])


@BOTH
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_counts_fields_and_falling_values(minimize, method):
    calls = {"fun": 0, "jac": 0}

    def fun(x):
        calls["fun"] += 1
        return square(x)

    def jac(x):
        calls["jac"] += 1
        return square_gradient(x)

    x0 = np.array([1.1, -0.4, 2.0])
    found = minimize(fun, x0, jac=jac, method=method, options={"maxiter": 25, "ftol": None})
    assert (found.nfev, found.njev) == (calls["fun"], calls["jac"])
    averages = method in ("asgd", "schedulefreesgd", "schedulefreeadamw")
    assert found.nit == 25 and found.nfev == 26 + averages and found.status == 1 and not found.success
    assert "Maximum number of iterations has been exceeded" in found.message and method in found.message
    assert found.fun == square(found.x) < square(x0) and np.array_equal(found.jac, square_gradient(found.x))
    assert np.array_equal(x0, [1.1, -0.4, 2.0]) and isinstance(found.optimizer, fo.Optimizer)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("bounded", [False, True])
def test_minima_of_l_bfgs_b(name, method, bounded):
    """The value to 1e-6 with all defaults; the point too at a smaller gradient, which Adam's bursts leave at Rosenbrock's in 10."""
    fun, x0, bounds = PROBLEMS[name]
    bounds = bounds if bounded else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optimize.OptimizeWarning)
        reference = optimize.minimize(fun, x0, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 0, "gtol": 1e-10})
        found = fo.minimize(fun, x0, jac=True, method=method, bounds=bounds)
        tight = fo.minimize(fun, x0, jac=True, method=method, bounds=bounds, options={"gtol": 1e-8, "ftol": None})
    assert found.success, found.message
    np.testing.assert_allclose(found.fun, reference.fun, atol=1e-6)
    np.testing.assert_allclose(found.x, reference.x, atol=1e-3)
    if "rosenbrock 10" not in name:
        assert tight.success, tight.message
        np.testing.assert_allclose(tight.x, reference.x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("jac", [None, False, "2-point", "3-point", "cs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_differences(jac, dtype):
    calls = []

    def fun(x):
        calls.append(x)
        return np.sum((x - 0.37) ** 2)

    found = fo.minimize(fun, np.array([1.0, 2.0], dtype), jac=jac, options={"gtol": 1e-3})
    assert found.success and found.nfev == len(calls) and found.njev == 0 and found.x.dtype == dtype
    np.testing.assert_allclose(found.x, 0.37, atol=1e-3)


def test_differences_stay_within_the_bounds_and_leave_what_is_fixed():
    points = []

    def fun(x):
        points.append(x.copy())
        return square(x)

    bounds = [(0.5, 1), (0.25, 0.25), (None, 0.3)]
    found = fo.minimize(fun, [0.7, 0.25, 0.1], bounds=bounds, options={"differences": "3-point", "finite_diff_rel_step": 1e-4})
    points = np.array(points)
    assert (
        (points[:, 0] >= 0.5).all() and (points[:, 0] <= 1).all() and (points[:, 1] == 0.25).all() and (points[:, 2] <= 0.3).all()
    )
    np.testing.assert_allclose(found.x, [0.5, 0.25, 0.3])
    assert found.jac[1] == 0


@BOTH
@pytest.mark.parametrize("method", BOUNDED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_point_is_within_the_bounds(minimize, method):
    points = []

    def fun(x):
        points.append(x)
        return pair(x)

    bounds = optimize.Bounds([-0.1, -np.inf, 0.2, 0.3], [0.3, np.inf, 0.2, 0.31])
    options = {"maxiter": 60, "lr": 0.3}
    found = minimize(fun, [0.0, 5.0, 0.2, 0.305], jac=True, bounds=bounds, method=method, options=options)
    assert all((bounds.lb <= x).all() and (x <= bounds.ub).all() for x in points) and found.x[2] == 0.2
    assert len({id(x) for x in points}) == len(points)


@BOTH
def test_bounds_of_both_forms(minimize):
    x0, options = np.array([0.2, 0.3]), {"gtol": 1e-8}
    found = [
        minimize(pair, x0, jac=True, bounds=bounds, options=options).x
        for bounds in ([(0, 0.25), (None, None)], optimize.Bounds([0, -np.inf], [0.25, np.inf]), np.array([[0, 0.25], [-9, 9]]))
    ]
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found, [[0.25, 0.37]] * 3)
    none = minimize(pair, x0, jac=True, bounds=[(None, None), (-np.inf, np.inf)]).x
    assert np.array_equal(none, minimize(pair, x0, jac=True).x)
    fixed = minimize(pair, x0, jac=True, bounds=[(0.2, 0.2), (0.3, 0.3)])
    assert fixed.message == "All independent variables were fixed by bounds."
    assert fixed.success and (fixed.nfev, fixed.nit) == (1, 0) and np.array_equal(fixed.x, x0)
    with pytest.warns(optimize.OptimizeWarning, match="x0: outside of the bounds, and moved to them") as told:
        assert minimize(pair, x0, jac=True, bounds=[(1, 2), (1, 2)]).nit == 0
    assert told[0].filename == minimize.__code__.co_filename or told[0].filename == __file__


def test_bounds_in_fewer_bits_lie_within():
    """0.1 and 0.7 are no floats; the floats next to them within the bounds are used."""
    points = []

    def fun(x):
        points.append(x)
        return float(np.sum(x)), np.array([1.0, -1.0])

    found = fo.minimize(fun, np.array([0.3, 0.3], np.float32), jac=True, bounds=[(0.1, 0.7)] * 2)
    assert found.x.dtype == np.float32 and found.success
    assert all((x.astype(np.float64) >= 0.1).all() and (x.astype(np.float64) <= 0.7).all() for x in points)
    assert found.x[0] == np.nextafter(np.float32(0.1), np.float32(1)) or np.float32(0.1) >= 0.1


@BOTH
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_callbacks_of_both_styles(minimize, method):
    seen, results = [], []

    def callback(xk):
        seen.append((xk, xk.copy()))

    def with_result(*, intermediate_result):
        results.append(intermediate_result)

    options = {"maxiter": 7, "gtol": None}
    found = minimize(pair, [2.0, 3.0], jac=True, method=method, callback=callback, options=options)
    minimize(pair, [2.0, 3.0], jac=True, method=method, callback=with_result, options=options)
    assert found.nit == len(seen) == len(results) == 7
    assert all(np.array_equal(x, copy) for x, copy in seen) and len({id(x) for x, _ in seen}) == 7
    for (x, _), result in zip(seen, results, strict=True):
        assert np.array_equal(x, result.x) and result.fun == square(x) and np.array_equal(result.jac, square_gradient(x))
    assert [result.nit for result in results] == [*range(1, 8)]


@BOTH
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_callback_stops_the_run(minimize, method):
    stopped = []

    def fun(x):
        assert not stopped, "called after StopIteration"
        return pair(x)

    def callback(intermediate_result):
        if intermediate_result.nit == 4:
            stopped.append(True)
            raise StopIteration

    found = minimize(fun, [2.0, 3.0], jac=True, method=method, callback=callback)
    assert (found.status, found.success, found.nit, found.nfev) == (99, False, 4, 5)
    assert found.message == "`callback` raised `StopIteration`."
    other = minimize(pair, [2.0, 3.0], jac=True, method=method, options={"maxiter": 4, "returns": "last"})
    stopped.clear()
    rising = minimize(lambda x: (-square(x), square_gradient(x)), [2.0, 3.0], jac=True, method=method, callback=callback)
    assert rising.nit == 4 and np.array_equal(rising.x, [2.0, 3.0]) == (rising.fun < -square(found.x))
    assert np.array_equal(other.x, found.x) and other.fun == found.fun and other.status == 1


@BOTH
def test_what_a_callback_and_a_function_do_to_their_arrays_has_no_effect(minimize):
    def fun(x):
        value, jac = pair(x)
        x[:] = 99
        return value, jac

    def callback(xk):
        xk[:] = -99

    found = minimize(fun, [2.0, 3.0], jac=True, callback=callback, options={"maxiter": 50})
    reference = minimize(pair, [2.0, 3.0], jac=True, options={"maxiter": 50})
    assert np.array_equal(found.x, reference.x)


@BOTH
def test_exceptions_pass_through_with_the_best_so_far(minimize):
    def fun(x):
        if len(calls) == 5:
            raise ZeroDivisionError("mine")
        calls.append(x)
        return pair(x)

    calls, x0 = [], np.array([2.0, 3.0])
    with pytest.raises(ZeroDivisionError, match="mine") as told:
        minimize(fun, x0, jac=True)
    assert told.value.result.nfev == 5 and told.value.result.fun == min(map(square, calls)) and not told.value.result.success
    assert told.value.result.message == "The minimization has not ended." and np.array_equal(x0, [2.0, 3.0])


@BOTH
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["fun", "jac"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_results_that_are_not_finite(minimize, method, bad, where):
    def fun(x):
        calls.append(x)
        value, jac = pair(x)
        if len(calls) == 4:
            return (bad, jac) if where == "fun" else (value, np.array([1.0, bad]))
        return value, jac

    calls = []
    found = minimize(fun, [2.0, 3.0], jac=True, method=method)
    assert (found.status, found.success, found.nit, found.nfev) == (3, False, 3, 4)
    assert found.message.startswith("NaN result encountered" if np.isnan(bad) else "Infinite result encountered")
    assert found.fun == min(map(square, calls[:3])) and np.isfinite(found.x).all()
    calls = []
    with pytest.raises(FloatingPointError, match=r"result encountered: .* after 3 iterations"):
        minimize(fun, [2.0, 3.0], jac=True, method=method, options={"on_nonfinite": "raise"})
    first = minimize(lambda x: (bad, x), [2.0, 3.0], jac=True, method=method)
    assert (first.status, first.nit) == (3, 0) and np.array_equal(first.x, [2, 3]) and not np.isfinite(first.fun)


@pytest.mark.parametrize(
    ("x0", "dtype"),
    [
        ([1, 2], np.float64),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, ">f8"), np.float64),
        (np.ones(2, np.float16), np.float64),
        (np.arange(4.0)[::2], np.float64),
        (3, np.float64),
        (np.array(3.0), np.float64),
        (range(3), np.float64),
    ],
)
@BOTH
def test_first_points(minimize, x0, dtype):
    kept = np.array(x0)
    if isinstance(x0, np.ndarray):
        x0.flags.writeable = False
    found = minimize(pair, x0, jac=True, options={"gtol": 1e-3})
    assert found.x.dtype == dtype and found.x.shape == np.atleast_1d(kept).shape and found.success
    assert np.array_equal(np.array(x0), kept)


@BOTH
def test_further_arguments(minimize):
    def fun(x, a, b):
        return np.sum((x - a * b) ** 2)

    def jac(x, a, b):
        return 2 * (x - a * b)

    assert np.allclose(minimize(fun, [0.0], args=(2.0, 0.7), jac=jac).x, 1.4, atol=1e-4)
    assert np.allclose(minimize(lambda x, c: np.sum((x - c) ** 2), [0.0], args=0.6).x, 0.6, atol=1e-4)


def test_one_variable_may_have_a_scalar_gradient():
    assert np.allclose(fo.minimize(lambda x: (x[0] ** 2, 2 * x[0]), 3.0, jac=True).x, 0, atol=1e-4)


def test_methods_by_name_class_and_rule():
    names = ["adam", "Adam", "ADAM", fo.Adam]
    found = [fo.minimize(pair, [2.0], jac=True, method=m, options={"maxiter": 9}).x for m in names]
    assert len({x.tobytes() for x in found}) == 1
    for name in ("schedule_free_sgd", "ScheduleFreeSGD"):
        assert isinstance(fo.minimize(pair, [2.0], jac=True, method=name, options={"maxiter": 2}).optimizer, fo.ScheduleFreeSGD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = fo.minimize(pair, [2.0], jac=True, method=average, options={"lr": 0.1})
    assert found.success and "average" in type(found.optimizer).__name__


def test_scipy_without_its_wrapper():
    """SciPy remembers values for functions that return gradients; the function is called once a point all the same."""
    calls = []

    def fun(x, a):
        calls.append(x)
        return pair(x)

    found = optimize.minimize(fun, [2.0, 3.0], args=(1,), jac=True, method=fo.scipy_method("adam"), tol=0.1)
    assert found.nfev == len(calls) and np.abs(found.jac).max() <= 0.1


def test_second_derivatives_and_pickles():
    method = fo.scipy_method("adam", lr=0.2)
    for name in ("hess", "hessp"):
        with pytest.warns(RuntimeWarning, match=f"{name}: not used by this method") as told:
            optimize.minimize(pair, [2.0], jac=True, method=method, **{name: lambda x: x})
        assert told
    other = pickle.loads(pickle.dumps(method))
    assert other == method and optimize.minimize(pair, [2.0], jac=True, method=other).optimizer.lr == 0.2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_within_global_methods():
    def rastrigin(x):
        return np.sum(x**2 - 3 * np.cos(2 * np.pi * x)) + 3 * len(x)

    method = fo.scipy_method("adam", lr=0.03)
    bounds = [(-3, 3)] * 2
    local = {"method": method}
    found = optimize.basinhopping(rastrigin, [1.8, -2.2], niter=60, stepsize=1.0, minimizer_kwargs=local, rng=1)
    assert found.fun < 1e-4
    found = optimize.dual_annealing(rastrigin, bounds, maxiter=100, minimizer_kwargs={**local, "bounds": bounds}, rng=1)
    assert found.fun < 1e-4

    def polish(fun, x, **arguments):
        return optimize.minimize(fun, x, method=method, **arguments)

    found = optimize.differential_evolution(rastrigin, bounds, maxiter=20, polish=polish, rng=1)
    assert found.fun < 1e-4
