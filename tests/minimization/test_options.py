"""Options of a minimisation: refused ones, scales, limits, tolerances, averages, records."""

import gc
import weakref

import numpy as np
import pytest
from problems import pair, rosenbrock, square, square_gradient
from scipy import optimize

import fastopt as fo


@pytest.mark.parametrize("bounded", [False, True])
def test_scales(bounded):
    """Variables of size 1e4 and 1e-3, which one learning rate leaves unsolved."""
    centre, size = np.array([1.7e4, -2.3e-3]), np.array([1e4, 1e-3])
    points = []

    def fun(x):
        points.append(x)
        return np.sum(((x - centre) / size) ** 2), 2 * (x - centre) / size**2

    bounds = [(-1e5, 1.1e4), (-1, 1)] if bounded else None
    options = {"maxiter": 2000, "ftol": None}
    assert not fo.minimize(fun, [0.0, 0.0], jac=True, bounds=bounds, options=options).success
    points.clear()
    found = fo.minimize(fun, [0.0, 0.0], jac=True, x_scale=size, bounds=bounds, options=options)
    assert found.success and np.abs(found.jac * size)[1] <= 1e-5
    np.testing.assert_allclose(found.x, np.minimum(centre, 1.1e4) if bounded else centre, rtol=1e-5)
    assert max(x[0] for x in points) <= (1.1e4 if bounded else np.inf)


def test_a_scale_is_a_change_of_variables():
    """Powers of two are exact: the same bits as of the function of other variables."""
    options = {"maxiter": 50, "xtol": 1e-9}
    found = fo.minimize(pair, [1.0, -2.0], jac=True, x_scale=[8, 0.5], bounds=[(-9, 1.25), (-5, 0.25)], options=options)
    size = np.array([8, 0.5])
    other = fo.minimize(
        lambda z: square(z * size),
        [0.125, -4.0],
        jac=lambda z: square_gradient(z * size) * size,
        bounds=[(-9 / 8, 1.25 / 8), (-10, 0.5)],
        options=options,
    )
    assert np.array_equal(found.x, other.x * size) and found.fun == other.fun and found.message == other.message


def test_no_hidden_objective():
    """Decay is off: AdamW finds what Adam finds."""
    found = [fo.minimize(rosenbrock, [-1.2, 1.0], jac=True, method=m) for m in ("adam", "adamw")]
    assert np.array_equal(found[0].x, found[1].x) and np.allclose(found[0].x, 1, atol=1e-4)
    decayed = fo.minimize(rosenbrock, [-1.2, 1.0], jac=True, method="adamw", options={"weight_decay": 0.01})
    assert not np.allclose(decayed.x, 1, atol=1e-2)
    assert fo.minimize(pair, [1.0], jac=True, method="asgd", options={"maxiter": 1}).optimizer.defaults["lambd"] == 0


def test_limits_and_targets():
    def minimize(**options):
        return fo.minimize(pair, [2.0, 3.0], jac=True, options={"gtol": None, "ftol": None, **options})

    assert minimize(xtol=np.float32(0.5), patience=np.int64(5)).nit == minimize(xtol=0.5, patience=5).nit

    assert [getattr(minimize(maxiter=0), k) for k in ("nit", "nfev", "status")] == [0, 1, 1]
    found = minimize(maxfun=9)
    assert (found.nfev, found.status) == (9, 1) and "function evaluations has been exceeded" in found.message
    found = minimize(maxtime=0.01)
    assert found.status == 1 and "seconds has been exceeded" in found.message
    found = minimize(target=0.5)
    assert found.status == 0 and found.fun <= 0.5 and "target" in found.message
    found = minimize(xtol=1e-3, patience=5)
    assert found.status == 0 and "xtol" in found.message
    found = minimize(ftol=1e-3, patience=5)
    assert found.status == 0 and "stopped falling (adam, lr=0.1, gradient" in found.message
    assert fo.minimize(pair, [2.0], jac=True, tol=0.5).nit < fo.minimize(pair, [2.0], jac=True).nit


def test_single_precision_ends_where_its_values_end():
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)

    def fun(w):
        r = x @ w - x.sum(1)
        return float(r @ r), 2 * (x.T @ r)

    found = fo.minimize(fun, np.zeros(5, np.float32), jac=True)
    assert found.success and found.nit < 1500 and np.allclose(found.x, 1, atol=1e-2)


def test_averages_of_noisy_values():
    """The average is nearer to the minimum than the lowest value, which is the luckiest one."""

    def run(seed, returns):
        rng = np.random.default_rng(seed)

        def fun(x):
            return x @ x / 2 + rng.normal(), x + rng.normal(size=10)

        options = {"maxiter": 2000, "ftol": None, "gtol": None, "ema": 0.99, "returns": returns}
        found = fo.minimize(fun, np.ones(10), jac=True, options=options)
        assert found.nfev == 2001 + (returns == "average")
        return found.x @ found.x / 2

    error = {returns: np.mean([run(seed, returns) for seed in range(10)]) for returns in ("best", "last", "average")}
    assert error["average"] < error["best"] / 2 and error["best"] < error["last"] * 1.2


def test_history_and_points():
    found = fo.minimize(pair, [2.0, 3.0], jac=True, options={"maxiter": 5, "history": True, "return_all": True})
    assert len(found.allvecs) == 6 and [square(x) for x in found.allvecs] == [*found.history.fun]
    assert np.array_equal(found.allvecs[0], [2, 3]) and np.array_equal(found.history.lr, [0.1] * 6)
    assert np.array_equal(found.history.gradient, [np.abs(square_gradient(x)).max() for x in found.allvecs])
    assert (np.diff(found.history.seconds) >= 0).all()
    axes = found.history.plot()
    assert len(axes.lines) == 2 and axes.get_yscale() == "log"


def test_lines_on_the_screen(capsys):
    fo.minimize(pair, [2.0], jac=True, options={"maxiter": 6, "disp": 3})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["0", "3", "6", "6"] and "exceeded" in lines[-1]
    fo.minimize(pair, [2.0], jac=True, options={"maxiter": 6, "disp": True})
    assert capsys.readouterr().out.startswith("iteration 0  fun 2.65")
    fo.minimize(pair, [2.0], jac=True, options={"maxiter": 6, "disp": 0})
    assert not capsys.readouterr().out


def test_schedules_and_plateaus():
    schedule = fo.schedules.cosine_decay(0.2, 50)
    found = fo.minimize(pair, [2.0], jac=True, options={"lr": schedule, "maxiter": 50, "history": True, "gtol": None})
    assert np.array_equal(found.history.lr, schedule(np.arange(51)))
    plateau = fo.training.ReduceOnPlateau(patience=3, factor=0.5)
    found = fo.minimize(pair, [2.0], jac=True, callback=plateau, options={"lr": 0.5, "gtol": 1e-9})
    assert found.success and found.optimizer.lr < 0.5


@pytest.mark.parametrize(("method", "lr"), [("sgd", 1.0005), ("sgd", 1.0)])
def test_runs_that_never_fall_are_no_success(method, lr):
    found = fo.minimize(pair, [2.0, 3.0], jac=True, method=method, options={"lr": lr})
    assert (found.status, found.success) == (2, False)
    assert found.message.startswith(f"The function has not fallen below its first value (sgd, lr={lr:g}")
    many = fo.minimize_many(lambda x: (np.sum((x - 0.37) ** 2, 1), 2 * (x - 0.37)), [[2.0, 3.0]], method=method, options={"lr": lr})
    assert many.status[0] == 2


def test_no_limits_and_numpy_booleans(capsys):
    found = fo.minimize(pair, [2.0, 3.0], jac=np.True_, options={"maxiter": None, "disp": np.True_})
    assert found.success and "iteration 0" in capsys.readouterr().out
    fixed = fo.minimize(pair, [0.2], jac=True, bounds=[(0.2, 0.2)], options={"gtol": None})
    assert fixed.message == "All independent variables were fixed by bounds." and fixed.nfev == 1


def test_step_scales():
    found = fo.minimize(pair, [2.0, 3.0], jac=True, options={"step_scale": np.array([1.0, 0.0])})
    assert abs(found.x[0] - 0.37) < 1e-3 and found.x[1] == 3


def test_tolerances_of_scipy_replace_those_of_the_method():
    method = fo.scipy_method("adam", gtol=1e-8)
    assert optimize.minimize(pair, [2.0], jac=True, method=method, tol=0.5).nit < 100
    assert np.abs(optimize.minimize(pair, [2.0], jac=True, method=method).jac).max() <= 1e-8
    method = fo.scipy_method("adam", differences="3-point")
    assert optimize.minimize(pair, [2.0], jac=True, method=method).njev > 0


def test_objects_with_a_gradient_are_no_wrapper_of_scipy():
    class Problem:
        def __call__(self, x):
            return square(x)

        fun = __call__

        def gradient(self, x):
            return square_gradient(x)

    problem = Problem()
    assert optimize.minimize(problem, [2.0], jac=problem.gradient, method=fo.scipy_method()).success


def test_the_last_evaluation_of_an_average_counts():
    calls = []

    def fun(x):
        calls.append(x)
        return (np.nan if len(calls) > 20 else 1.0 / len(calls)), np.zeros_like(x) + 0.1

    found = fo.minimize(fun, [1.0], jac=True, options={"ema": 0.9, "returns": "average", "maxiter": 19})
    assert (found.status, found.success, found.nfev) == (3, False, 21) and np.isfinite(found.fun)
    calls.clear()
    with pytest.raises(FloatingPointError):
        options = {"ema": 0.9, "returns": "average", "maxiter": 19, "on_nonfinite": "raise"}
        fo.minimize(fun, [1.0], jac=True, options=options)
    found = fo.minimize(pair, [30.0, 20.0], jac=True, options={"ema": 0.99, "returns": "average", "target": 0.5})
    assert found.success and found.fun <= 0.5


def test_differences_never_leave_narrow_bounds():
    """SciPy's steps to a bound are rounded, some of them beyond it."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        low, high = np.sort(rng.normal(size=2) * 1e-9)
        points = []

        def fun(x, points=points):
            points.append(x[0])
            return (x[0] - 1) ** 2

        x0 = [rng.uniform(low, high)]
        for jac in ("2-point", "3-point"):
            fo.minimize(fun, x0, jac=jac, bounds=[(low, high)], options={"maxiter": 1, "gtol": None})
        assert low <= min(points) and max(points) <= high


def test_nothing_is_left_to_the_collector():
    """A function and its data are freed with the last reference to them."""
    data = np.zeros(10)

    def fun(x, data=data):
        return square(x), square_gradient(x)

    seen = weakref.ref(fun)
    gc.disable()
    try:
        fo.minimize(fun, [1.0], jac=True, options={"maxiter": 3})
        del fun
        assert seen() is None
    finally:
        gc.enable()


def test_a_rate_that_falls_is_not_cut_short():
    """A schedule goes on where a constant rate would stall."""
    options = {"lr": fo.schedules.cosine_decay(0.3, 1500), "maxiter": 1500, "gtol": None}
    found = fo.minimize(rosenbrock, np.tile([-1.2, 1.0], 5), jac=True, options=options)
    assert found.nit == 1500 and found.fun < 1e-4
    assert fo.minimize(rosenbrock, [-1.2, 1.0], jac=True, options={"gtol": None}).nit < 10_000


def test_results_say_which_point_they_are_of():
    for options, word in (
        ({}, "last"),
        ({"maxiter": 5}, "best"),
        ({"maxiter": 5, "returns": "last"}, "last"),
        ({"maxiter": 5, "ema": 0.9}, "average"),
        ({"maxiter": 5, "ema": 0.9, "returns": "best"}, "best"),
    ):
        assert fo.minimize(pair, [2.0], jac=True, options=options).returned == word
    assert fo.minimize(pair, [2.0], jac=True, method="asgd", options={"maxiter": 5}).returned == "average"


def test_histories_are_shown_in_a_line():
    found = fo.minimize(pair, [2.0], jac=True, options={"history": True})
    assert repr(found.history).startswith("History(") and "\n" not in repr(found.history)
    assert "suggestion=" in repr(fo.lr_find(pair, np.ones(2)))


def test_messages_of_averages_name_a_gradient():
    found = fo.minimize(pair, [2.0], jac=True, options={"ema": 0.9, "maxiter": 3})
    assert found.returned == "average" and "gradient nan" not in found.message and "gradient" in found.message
