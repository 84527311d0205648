"""Estimators: scikit-learn's own checks, its results, and what it does not have."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse

import fastopt as fo

pytest.importorskip("sklearn")
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastopt.linear import LinearClassifier, LinearRegressor, Objective, classifier, regressor, start

RNG = np.random.default_rng(0)
X, Y = make_regression(120, 6, noise=5.0, random_state=0)
Y = Y / Y.std()
LABELS = (np.median(Y) < Y).astype(int)

ESTIMATORS = [
    *(LinearRegressor(loss) for loss in regressor.LOSSES),
    *(LinearClassifier(loss) for loss in classifier.LOSSES),
    *(cls(optimizer=name) for cls in (LinearRegressor, LinearClassifier) for name in ("sgd", "ftrl")),
]


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_scikit_learn_finds_nothing(estimator):
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [(x["check_name"], x["exception"]) for x in found if x["status"] not in ("passed", "skipped")] == []
    assert [x["check_name"] for x in found if x["status"] == "skipped"] == ["check_array_api_input"] and len(found) > 55


def exact(x, y, cls, **options):
    """Return a model that plain descent has trained in the order of the rows."""
    given = {"optimizer": "sgd", "lr": 0.01, "batch_size": 1, "max_iter": 5, "tol": None, "shuffle": False, "fit_intercept": False}
    return cls(**{**given, **options}).fit(x, y)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize(
    "loss", ["squared_error", "huber", "epsilon_insensitive", "log_loss", "hinge", "squared_hinge", "modified_huber"]
)
def test_coefficients_are_those_of_scikit_learns_descent(kind, alpha, loss):
    is_class = loss in classifier.LOSSES
    x, y = kind(X), LABELS if is_class else Y
    options = {} if is_class else {"epsilon": 1.0 if loss == "huber" else 0.1}
    theirs = (linear_model.SGDClassifier if is_class else linear_model.SGDRegressor)(
        loss,
        alpha=2 * alpha if loss == "squared_error" else alpha,
        learning_rate="constant",
        eta0=0.01,
        max_iter=5,
        tol=None,
        shuffle=False,
        fit_intercept=False,
        **options,
    ).fit(x, y)
    # Its squared error is half of ours.
    halved = {"lr": 0.005, "alpha": 4 * alpha} if loss == "squared_error" else {"lr": 0.01, "alpha": alpha}
    found = exact(x, y, LinearClassifier if is_class else LinearRegressor, loss=loss, **halved)
    np.testing.assert_allclose(found.coef_, theirs.coef_, rtol=1e-10, atol=1e-13)


def optimum(model, x, y, **given):
    """Fit a model closely."""
    options = {
        "optimizer": "adam",
        "lr": fo.schedules.cosine_decay(0.05, 3000 * 4),
        "max_iter": 3000,
        "tol": None,
        "batch_size": 30,
    }
    return model.set_params(**{**options, "random_state": 0, **given}).fit(x, y)


def value(model, loss, x, y, alpha=0.0, **constants):
    """Return the objective of a model, ours or theirs."""
    params = {"coef": np.ravel(model.coef_), "intercept": np.atleast_1d(model.intercept_)}
    return Objective(loss, alpha=alpha, **constants)(params, x, np.asarray(y, float))[0]


def test_optima_are_those_of_scikit_learn():
    counts = RNG.poisson(np.exp(0.3 * X[:, 0] + 0.5)).astype(float)
    n, alpha = len(X), 0.1
    ridge = linear_model.Ridge(alpha=n * alpha / 2).fit(X, Y)
    logistic = linear_model.LogisticRegression(C=1 / (n * alpha), tol=1e-8).fit(X, LABELS)
    poisson = linear_model.PoissonRegressor(alpha=alpha, tol=1e-8).fit(X, counts)
    quantile = linear_model.QuantileRegressor(quantile=0.8, alpha=0.0).fit(X, Y)
    huber = linear_model.HuberRegressor(epsilon=1.35, alpha=0.0, tol=1e-8, max_iter=1000).fit(X, Y)
    delta = 1.35 * huber.scale_
    cases = [
        (LinearRegressor(alpha=alpha), ridge, "squared_error", Y, alpha, {}),
        (LinearClassifier(alpha=alpha), logistic, "log_loss", LABELS, alpha, {}),
        (LinearRegressor("poisson", alpha=alpha), poisson, "poisson", counts, alpha, {}),
        (LinearRegressor("quantile", quantile=0.8), quantile, "quantile", Y, 0.0, {"quantile": 0.8}),
        (LinearRegressor("huber", delta=delta), huber, "huber", Y, 0.0, {"delta": delta}),
    ]
    for model, theirs, loss, y, penalty, constants in cases:
        found = value(optimum(model, X, y), loss, X, y, penalty, **constants)
        expected = value(theirs, loss, X, y, penalty, **constants)
        assert found <= expected + 1e-4 * max(1.0, abs(expected)), (loss, found, expected)


def test_several_classes_are_the_cross_entropy():
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    theirs = linear_model.LogisticRegression(C=1 / (len(x) * 0.01), tol=1e-8).fit(x, y)
    found = optimum(LinearClassifier(alpha=0.01), x, y)
    np.testing.assert_allclose(found.predict_proba(x), theirs.predict_proba(x), atol=5e-3)
    assert found.coef_.shape == (3, 4) and found.intercept_.shape == (3,) and found.score(x, y) > 0.95
    for loss in classifier.LOSSES[1:]:
        model = LinearClassifier(loss, random_state=0).fit(x, y)
        assert model.coef_.shape == (3, 4) and model.score(x, y) > 0.9


@pytest.mark.parametrize("scaled", [True, False, "standardized"])
def test_defaults_work_without_scaling(scaled):
    x, y = load_diabetes(return_X_y=True, scaled=scaled is True)
    x = StandardScaler().fit_transform(x) if scaled == "standardized" else x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if scaled is False else "error", ConvergenceWarning)
        scores = [LinearRegressor(random_state=0).fit(x, factor * y).score(x, factor * y) for factor in (1.0, 1e-3, 1e4)]
    assert min(scores) >= 0.45 and np.ptp(scores) < 1e-4


def test_targets_of_any_size():
    x = np.random.default_rng(0).standard_normal((200, 2))
    y = x @ [1.0, 2.0] + 3.0
    for factor in (1e-6, 1e28):
        assert LinearRegressor(random_state=0).fit(x, factor * y).score(x, factor * y) > 0.999
    with pytest.raises(ValueError, match="columns and targets of usual sizes"):
        LinearRegressor().fit(x, 1e300 * y)
    with pytest.raises(ValueError, match="columns and targets of usual sizes"):  # Adam's squares are infinite in float32.
        LinearRegressor(random_state=0).fit(x.astype(np.float32), (6e19 * y).astype(np.float32))


def test_the_worked_example():
    random = np.random.RandomState(0)
    x = random.rand(100, 1)
    y = 2 * x + 1 + 0.5 * random.randn(100, 1)
    model = LinearRegressor(optimizer="sgd", lr=0.01, batch_size=1, max_iter=100, tol=None, random_state=0).fit(x, y)
    assert 0.24810 < model.evaluate(x, y) < 0.2520 and model.n_iter_ == 100 and model.t_ == 10_000
    assert model.coef_.shape == (1, 1) and model.predict(x).shape == (100, 1)
    assert model.evaluate(x, y) == pytest.approx(np.mean((model.predict(x) - y) ** 2), rel=1e-12)
    line = LinearRegressor(random_state=0).fit(x, y[:, 0])
    assert line.coef_.shape == line.intercept_.shape == (1,) and line.predict(x).shape == (100,)


@pytest.mark.parametrize("size", [1, 8, 32])
def test_weights_act_at_any_batch_size(size):
    x, y, weights = np.zeros((64, 1)), RNG.normal(size=64), RNG.gamma(1.0, size=64)
    rate = fo.schedules.inverse_time(0.5, 0.05)
    model = LinearRegressor(optimizer="sgd", lr=rate, batch_size=size, max_iter=400, tol=None, random_state=0)
    found = model.fit(x, y + 3, weights).intercept_[0]
    assert abs(found - np.average(y + 3, weights=weights)) < 0.03
    again = clone(model).fit(x, y + 3, 7 * weights).intercept_[0]
    assert again == pytest.approx(found, rel=1e-9)


def test_rows_of_weight_zero_are_left_out_and_full_batches_repeat_rows():
    weights = RNG.integers(0, 3, len(X)).astype(float)
    options = {"batch_size": None, "max_iter": 50, "tol": None, "lr": 0.05, "shuffle": False}
    found = LinearRegressor(**options).fit(X, Y, weights)
    repeated = LinearRegressor(**options).fit(np.repeat(X, weights.astype(int), axis=0), np.repeat(Y, weights.astype(int)))
    np.testing.assert_allclose(found.coef_, repeated.coef_, rtol=1e-9)
    kept = weights > 0
    part = LinearRegressor(batch_size=7, max_iter=3, tol=None, lr=0.05, random_state=0)
    a, b = clone(part).fit(X, Y, weights), clone(part).fit(X[kept], Y[kept], weights[kept])
    assert np.array_equal(a.coef_, b.coef_)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        LinearRegressor().fit(X, Y, np.zeros(len(X)))


@pytest.mark.filterwarnings("ignore:columns are far from zero")
def test_class_weights_are_weights():
    options = {"max_iter": 20, "tol": None, "random_state": 0}
    found = LinearClassifier(class_weight={0: 1.0, 1: 5.0}, **options).fit(X, LABELS)
    expected = LinearClassifier(**options).fit(X, LABELS, np.where(LABELS == 1, 5.0, 1.0))
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-12)
    rows = np.argsort(LABELS)[:90]
    balanced = LinearClassifier(class_weight="balanced", **options).fit(X[rows], LABELS[rows])
    weights = 90 / (2 * np.bincount(LABELS[rows]))
    expected = LinearClassifier(**options).fit(X[rows], LABELS[rows], weights[LABELS[rows]])
    np.testing.assert_allclose(balanced.coef_, expected.coef_, rtol=1e-12)
    three = load_iris(return_X_y=True)
    without = LinearClassifier(class_weight={0: 0.0, 1: 1.0, 2: 1.0}, **options).fit(*three)
    assert without.coef_.shape == (3, 4) and set(without.predict(three[0][50:])) <= {1, 2}
    for wrong in ({0: 0.0, 1: 0.0}, {0: -1.0, 1: 1.0}):
        with pytest.raises(ValueError, match=r"class_weight: .*expected numbers of at least 0, and a positive one"):
            LinearClassifier(class_weight=wrong).fit(X, LABELS)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_sparse_rows_give_what_dense_ones_give(optimizer):
    x = X * (RNG.random(X.shape) < 0.5)
    options = {"optimizer": optimizer, "lr": 0.01, "max_iter": 5, "tol": None, "random_state": 0, "batch_size": 4, "alpha": 0.01}
    dense = LinearRegressor(**options).fit(x, Y)
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        found = LinearRegressor(**options).fit(kind(x), Y)
        np.testing.assert_allclose(found.coef_, dense.coef_, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.predict(kind(x)), dense.predict(x), rtol=1e-10)


def test_partial_fit_keeps_the_optimizer_and_its_schedule():
    rate = fo.schedules.linear_decay(0.1, 120)
    options = {"lr": rate, "batch_size": 1, "shuffle": False, "tol": None}
    model = LinearRegressor(**options)
    for k in range(0, 120, 20):
        model.partial_fit(X[k : k + 20], Y[k : k + 20])
    params = {"coef": np.zeros(6), "intercept": np.array([Y[:20].mean()])}
    fo.training.fit(Objective(), params, (X, Y), fo.Adam(params, lr=rate), batch_size=1, shuffle=False)
    np.testing.assert_allclose(model.coef_, params["coef"], rtol=1e-12)
    assert model.t_ == model.optimizer_.steps == 120 and model.n_iter_ == 6
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, Y)
    assert np.array_equal(again.coef_, model.partial_fit(X, Y).coef_) and again.t_ == 240
    fitted = LinearRegressor(random_state=0).fit(X, Y)
    steps, before = fitted.t_, fitted.coef_.copy()
    fitted.partial_fit(X + 1, 3 * Y)
    assert fitted.t_ == steps + 4 and not np.array_equal(fitted.coef_, before)
    classes = LinearClassifier(optimizer="ftrl")
    classes.partial_fit(X[:5], np.zeros(5, int), classes=[0, 1]).partial_fit(X, LABELS)
    assert classes.score(X, LABELS) > 0.8
    for change, text in (
        (lambda: LinearClassifier().partial_fit(X, LABELS), "classes: None in the first partial_fit"),
        (lambda: classes.partial_fit(X, LABELS + 1), r"y: labels \[2\], expected among \[0, 1\]"),
        (lambda: classes.partial_fit(X, LABELS, [0, 1, 2]), "expected those of the first call"),
        (lambda: LinearClassifier(class_weight="balanced").partial_fit(X, LABELS, [0, 1]), "no call sees all labels"),
        (lambda: LinearClassifier().partial_fit(X, LABELS, [1]), "one label, expected two"),
        (lambda: LinearRegressor(early_stopping=True).partial_fit(X, Y), "each call is one pass"),
    ):
        with pytest.raises(ValueError, match=text):
            change()


def test_early_stopping_keeps_the_best_coefficients():
    model = LinearRegressor(early_stopping=True, random_state=0, lr=0.3, n_iter_no_change=3, tol=1e-9).fit(X, Y)
    history = model.history_
    assert len(history.validation_loss) == model.n_iter_ < 1000
    best = int(np.argmin(history.validation_loss))
    shorter = clone(model).set_params(max_iter=best + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        shorter.fit(X, Y)
    assert np.array_equal(model.coef_, shorter.coef_) and model.t_ == history.steps[best]
    found = LinearClassifier(early_stopping=True, random_state=0).fit(X, LABELS)
    assert found.history_.validation_loss and found.score(X, LABELS) > 0.8


def test_options_reach_the_optimizer(capsys):
    model = LinearRegressor(
        optimizer=fo.RMSprop, optimizer_options={"alpha": 0.5, "clip_value": 1.0}, average=0.9, verbose=1, max_iter=2, tol=None
    )
    model.fit(X, Y)
    assert isinstance(model.optimizer_, fo.RMSprop) and model.optimizer_.groups[0]["alpha"] == 0.5
    assert np.array_equal(model.coef_, model.optimizer_.average["coef"])
    assert capsys.readouterr().out.splitlines()[1].startswith("epoch 2  loss ")
    assert LinearRegressor(optimizer="AdamW", max_iter=1, tol=None).fit(X, Y).optimizer_.groups[0]["weight_decay"] == 0
    lars = LinearRegressor(optimizer="lars", lr=0.1, max_iter=5, tol=None).fit(X, Y)  # Sums over arrays: epochs in Python.
    assert np.isfinite(lars.coef_).all() and len(lars.history_.loss) == 5


def test_values_stop_falling_or_epochs_run_out():
    model = LinearRegressor(random_state=0, lr=0.05).fit(X, Y)
    values = np.array(model.history_.loss)
    least = 1e-4 * np.mean((Y - Y.mean()) ** 2)
    best, waited = values[0], 0
    for k, x in enumerate(values[1:], 1):
        waited = 0 if x < best - least else waited + 1
        best = min(best, x)
        assert (waited == 10) == (k == len(values) - 1)
    with pytest.warns(ConvergenceWarning, match="2 epochs"):
        LinearRegressor(max_iter=2).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="values have risen tenfold"):
        LinearRegressor(optimizer="sgd", lr=0.08, batch_size=4, max_iter=8, random_state=0).fit(3 * X[:20], Y[:20])
    with pytest.warns(ConvergenceWarning, match="columns are far from zero"):
        LinearRegressor(random_state=0).fit(X + 50, Y)
    steady = fo.schedules.constant(0.01)
    assert LinearRegressor(lr=steady, max_iter=37).fit(X, Y).n_iter_ == 37  # A schedule takes its time.
    assert LinearRegressor(max_iter=2, tol=None).fit(X, Y).n_iter_ == 2
    first = LinearRegressor(max_iter=3, tol=None, warm_start=True, random_state=0).fit(X, Y)
    before = first.coef_.copy()
    first.set_params(max_iter=1, lr=1e-9).fit(X, Y)
    np.testing.assert_allclose(first.coef_, before, atol=1e-6)


def test_tools_of_scikit_learn():
    joblib = pytest.importorskip("joblib")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LinearRegressor(random_state=0)), {"linearregressor__lr": [0.001, 0.05]}, cv=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, Y)
    assert search.best_params_ == {"linearregressor__lr": 0.05} and search.best_score_ > 0.5
    scores = cross_val_score(LinearClassifier(random_state=0), X, LABELS, cv=3, n_jobs=2)
    assert scores.mean() > 0.8
    model = LinearRegressor(lr=fo.schedules.linear_decay(0.1, 100), random_state=0, max_iter=3, tol=None).fit(X, Y)
    with joblib.parallel_backend("threading"):
        again = joblib.Parallel(2)(joblib.delayed(clone(model).fit)(X, Y) for _ in range(4))
    assert all(np.array_equal(other.coef_, model.coef_) for other in again)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert "lr" in clone(model).get_params() and repr(LinearRegressor(alpha=0.1)) == "LinearRegressor(alpha=0.1)"


def test_precisions_outputs_and_sparse_coefficients():
    x = X.astype(np.float32)
    model = LinearRegressor(random_state=0).fit(x, Y)
    assert model.coef_.dtype == model.intercept_.dtype == model.predict(x).dtype == np.float32
    several = LinearRegressor(random_state=0, max_iter=20, tol=None, lr=0.01).fit(X, np.column_stack([Y, -2 * Y]))
    assert (
        several.coef_.shape == (2, 6)
        and several.predict(X).shape == (120, 2)
        and several.score(X, np.column_stack([Y, -2 * Y])) > 0.4
    )
    fortran = LinearRegressor(random_state=0).fit(np.asfortranarray(X), Y)
    assert np.array_equal(fortran.coef_, LinearRegressor(random_state=0).fit(X, Y).coef_)
    lasso = LinearRegressor(optimizer="sgd", lr=0.01, alpha=0.5, l1_ratio=1.0, max_iter=30, tol=None, random_state=0).fit(X, Y)
    assert (lasso.coef_ == 0).any() and (lasso.coef_ != 0).any()
    expected = lasso.predict(X)
    assert sparse.issparse(lasso.sparsify().coef_) and np.allclose(lasso.predict(X), expected)
    assert lasso.densify().coef_.shape == (6,)


def test_probabilities():
    for loss in classifier.LOSSES:
        model = LinearClassifier(loss, random_state=0).fit(X, LABELS)
        if loss in ("log_loss", "modified_huber"):
            p = model.predict_proba(X)
            assert np.allclose(p.sum(axis=1), 1) and np.array_equal(p.argmax(axis=1), model.predict(X))
            with np.errstate(divide="ignore"):
                assert np.array_equal(np.log(p), model.predict_log_proba(X))
        else:
            with pytest.raises(AttributeError, match="predict_proba"):
                model.predict_proba(X)
    names = LinearClassifier(random_state=0).fit(X, np.where(LABELS == 1, "yes", "no"))
    assert set(names.predict(X)) == {"yes", "no"} and names.evaluate(X, np.where(LABELS == 1, "yes", "no")) < 0.6
    with pytest.raises(ValueError, match="Classifier can't train when only one class is present"):
        LinearClassifier().fit(X, np.ones(120))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"loss": "hinge"}, "loss: 'hinge', expected"),
        ({"optimizer": "adm"}, "optimizer: 'adm', did you mean 'adam'"),
        ({"batch_size": 0}, "batch_size: 0, expected a whole number of at least 1"),
        ({"max_iter": 1.5}, "max_iter: 1.5, expected a whole number"),
        ({"tol": -1}, "tol: -1, expected a finite number of at least 0, or None"),
        ({"early_stopping": True, "validation_fraction": 2.0}, "validation_fraction: 2.0, expected a number between 0 and 1"),
        ({"average": 2}, "average: 2, expected True, False or a decay rate"),
        ({"optimizer_options": {"weight_decay": 1}}, "optimizer_options: weight_decay, expected alpha of the estimator"),
        ({"l1_ratio": 0.5, "alpha": 1.0}, "l1_ratio: 0.5 with Adam, expected plain SGD"),
        ({"loss": "gamma"}, "y: a target below or equal to 0"),
        ({"optimizer": "sgd", "lr": 1e3, "tol": None}, "coefficients: huge, infinite or NaN, expected a smaller lr"),
    ],
)
def test_what_does_not_fit_is_refused(given, text):
    with pytest.raises(ValueError, match=text), np.errstate(all="ignore"):
        LinearRegressor(**given).fit(X, Y)


def test_a_fit_that_fails_leaves_the_one_before():
    model = LinearRegressor(random_state=0).fit(X, Y)
    coef, steps = model.coef_.copy(), model.t_
    with pytest.raises(ValueError, match="coefficients: huge"), np.errstate(all="ignore"):
        model.set_params(optimizer="sgd", lr=1e3, tol=None).fit(X, Y)
    assert np.array_equal(model.coef_, coef) and model.lr_ < 1
    model.set_params(optimizer="adam", lr=None).partial_fit(X, Y)
    assert model.t_ == steps + 4
    coef = model.coef_.copy()
    with pytest.raises(ValueError, match="coefficients: huge"), np.errstate(all="ignore"):
        model.partial_fit(1e200 * X, 1e300 * Y)
    assert np.array_equal(model.coef_, coef) and model.partial_fit(X, Y).t_ == steps + 8
    with pytest.raises(ValueError, match="partial_fit: another optimizer, lr, optimizer_options, average than before"):
        model.set_params(lr=0.5).partial_fit(X, Y)
    model.set_params(lr=None)
    with pytest.raises(ValueError, match="partial_fit: other outputs or fit_intercept"):
        model.partial_fit(X, np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="warm_start: coefficients of shape"):
        model.set_params(warm_start=True).fit(X[:, :3], Y)


def test_histories_say_what_was():
    model = LinearRegressor(random_state=0).fit(X, Y)
    history = model.history_
    assert history.lr[0] == model.lr_ and history.lr[-1] == pytest.approx(model.lr_ / 32)
    assert len(history.loss) == len(history.seconds) == model.n_iter_ and history.steps[-1] == model.t_
    waiting = LinearRegressor(optimizer_options={"accumulate": 4}, max_iter=5, tol=None).fit(X, Y)
    assert waiting.history_.steps[-1] == waiting.t_ == 5


def test_without_scikit_learn_the_extra_is_named():
    code = "import sys; sys.modules['sklearn'] = None; import fastopt; fastopt.linear.Objective(); fastopt.linear.LinearRegressor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: an estimator needs scikit-learn: pip install 'fastopt[sklearn]'" in done.stderr


@pytest.mark.filterwarnings("ignore:columns are far from zero")
def test_default_rates():
    character = {name: start.character_of(getattr(fo, name)) for name in ("SGD", "Adam", "Adagrad", "FTRL", "RMSprop", "Lion")}
    assert character == {
        "SGD": (False, False), "Adam": (True, False), "Adagrad": (True, True), "FTRL": (True, True), "RMSprop": (True, False),
        "Lion": (True, False),
    }  # fmt: skip
    assert LinearRegressor(max_iter=1, tol=None).fit(X, 7 * Y).lr_ == pytest.approx(0.07 * Y.std())
    x, y = make_classification(50, random_state=0)
    assert LinearClassifier(max_iter=1, tol=None).fit(x, y).lr_ == 0.01
    assert LinearRegressor(optimizer="sgd", max_iter=1, tol=None).fit(100 * X, Y).lr_ < 1e-5
