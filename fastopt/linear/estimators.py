"""Estimators of linear models with scikit-learn's interface, trained by any optimizer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import compute_class_weight
    from sklearn.utils.extmath import safe_sparse_dot
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("estimators need scikit-learn: pip install 'fastopt[sklearn]'") from error

from ..arithmetic import exp
from ..domains import whole
from . import start
from .model import Limits, Model
from .objective import MARGINS, Objective

OF_REGRESSION = ("squared_error", "huber", "quantile", "epsilon_insensitive", "poisson", "gamma")
OF_CLASSIFICATION = ("log_loss", *MARGINS)
CONSTANTS = {"huber": "delta", "quantile": "quantile", "epsilon_insensitive": "epsilon"}
ELSEWHERE = {"weight_decay": "alpha", "lr": "lr", "params": "fit(X, y)", "ema": "average"}
BATCH = 32  # Rows of a batch by default.
RATES = (0.5,) * 5  # Factors of the default learning rate, each once values have stopped falling.


class LinearModel(BaseEstimator):  # type: ignore[misc]
    """What the estimators share: checks, training and linear predictions."""

    losses: tuple[str, ...] = ()

    def _check(self) -> Objective:
        """Return the objective of the parameters, or raise if one does not fit."""
        if self.loss not in self.losses:
            raise ValueError(f"loss: {self.loss!r}, expected one of {', '.join(self.losses)}")
        sizes = [] if self.batch_size in ("auto", None) else ["batch_size"]
        for name in ("max_iter", "n_iter_no_change", *sizes):
            if (number := whole(getattr(self, name))) is None or number < 1:
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected a whole number of at least 1")
        if self.tol is not None and not (isinstance(self.tol, (int, float)) and 0 <= self.tol < math.inf):
            raise ValueError(f"tol: {self.tol!r}, expected a finite number of at least 0, or None")
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction: {self.validation_fraction!r}, expected a number between 0 and 1")
        if not 0 <= self.average <= 1:
            raise ValueError(f"average: {self.average!r}, expected True, False or a decay rate between 0 and 1")
        for name in self.optimizer_options or {}:
            if name in ELSEWHERE:
                raise ValueError(f"optimizer_options: {name}, expected {ELSEWHERE[name]} of the estimator for it")
        constants = {CONSTANTS[self.loss]: getattr(self, CONSTANTS[self.loss])} if self.loss in CONSTANTS else {}
        return Objective(self.loss, self.alpha, self.l1_ratio, bool(self.fit_intercept), self.mode, **constants)

    def _batch(self, rows: int) -> int:
        """Return the rows of a batch."""
        size = BATCH if self.batch_size == "auto" else rows if self.batch_size is None else self.batch_size
        return min(int(size), rows)

    def _seeded(self) -> np.random.Generator:
        """Return the generator of orders and splits."""
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = seed.randint(2**31)
        return np.random.default_rng(seed)

    def _new_model(self, objective: Objective, X: Any, y: np.ndarray, weights: Any, outputs: int | None) -> Model:
        """Return a model at its beginning: coefficients of zero and the best constant, or with `warm_start` what there is."""
        shape = X.shape[1] if outputs is None else (outputs, X.shape[1])
        params = {"coef": np.zeros(shape, X.dtype)}
        if objective.fit_intercept:
            params["intercept"] = np.asarray(self._constants(y, weights, outputs or 1), X.dtype)
        if self.warm_start and hasattr(self, "coef_") and self.coef_.size == params["coef"].size:
            params["coef"][...] = self._dense().reshape(shape)
            if objective.fit_intercept:
                params["intercept"][...] = self.intercept_
        cls = start.optimizer_class(self.optimizer)
        self.lr_ = start.rate_of(cls, X, self._spread(y, weights)) if self.lr is None else self.lr
        options = {"lr": self.lr_, **(self.optimizer_options or {})}
        if self.average:
            options["ema"] = 0.999 if self.average is True else float(self.average)
        if "weight_decay" in cls.arguments:
            options["weight_decay"] = 0.0
        return Model(objective, params, cls(params, **options))

    def _fit(self, X: Any, y: np.ndarray, weights: Any, outputs: int | None) -> None:
        """Train anew on rows and encoded targets, which were checked."""
        objective, rng = self._check(), self._seeded()
        held_out = None
        if self.early_stopping:
            X, y, weights, held_out = self._split(X, y, weights, rng)
        if weights is not None:
            weights = weights / weights.mean()
        model = self._model = self._new_model(objective, X, y, weights, outputs)
        arrays = (X, y) if weights is None else (X, y, weights)
        tol = math.nan if self.tol is None and not self.early_stopping else self.tol or 0.0
        rates = RATES if self.lr is None and not start.character_of(type(model.optimizer))[1] else ()
        limits = Limits(self.max_iter, tol, self.n_iter_no_change, rates)
        validate = None if held_out is None else lambda: objective.mean(model.averages, *held_out)
        report = (lambda k, value: print(f"epoch {k}  loss {value:.6g}")) if self.verbose else None
        model.train(arrays, self._batch(X.shape[0]), rng, bool(self.shuffle), limits, validate, report)
        self._rng = rng
        self._take(model)
        if not (model.has_converged or math.isnan(tol)):
            said = f"{self.max_iter} epochs (max_iter) ended before values stopped falling"
            warnings.warn(f"{said}; a higher max_iter or lr, scaled columns, or tol=None help", ConvergenceWarning, stacklevel=3)

    def _split(self, X: Any, y: np.ndarray, weights: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return what is left of the data without those that are held out, and these."""
        classes = y if self.losses is OF_CLASSIFICATION and y.ndim == 1 else None
        rows, others = train_test_split(
            np.arange(X.shape[0]), test_size=self.validation_fraction, random_state=int(rng.integers(2**31)), stratify=classes
        )
        parts = [(X[k], y[k], None if weights is None else weights[k]) for k in (np.sort(rows), np.sort(others))]
        return *parts[0], tuple(a for a in parts[1] if a is not None)

    def _partial_fit(self, X: Any, y: np.ndarray, weights: Any, outputs: int | None) -> None:
        """Train by one pass over rows and encoded targets; the optimizer goes on."""
        if self.early_stopping:
            raise ValueError("early_stopping: True with partial_fit, expected False: each call is one pass")
        objective = self._check()
        if getattr(self, "_model", None) is None or not hasattr(self, "coef_"):
            self._model, self._rng = self._new_model(objective, X, y, weights, outputs), self._seeded()
        model = self._model
        if model.params["coef"].dtype != X.dtype:
            X = X.astype(model.params["coef"].dtype)
        model.objective = objective
        arrays = (X, y) if weights is None else (X, y, weights)
        model.train(arrays, self._batch(X.shape[0]), self._rng, bool(self.shuffle), Limits(1, math.nan, 1))
        self._take(model)

    def _take(self, model: Model) -> None:
        """Set the attributes that a fit leaves."""
        found = {name: np.array(a) for name, a in model.averages.items()}
        if not all(np.isfinite(a).all() for a in found.values()):
            raise ValueError("the coefficients have become infinite or NaN, expected a smaller lr, or columns scaled to similar sizes")
        coef, self._is_single = found["coef"], found["coef"].ndim == 1
        self.coef_ = coef[None] if self._is_binary and self._is_single else coef
        self._shape = self.coef_.shape
        self.intercept_ = found.get("intercept", np.zeros(len(coef) if coef.ndim == 2 else 1, coef.dtype))
        self.n_iter_, self.t_ = len(model.history.loss), model.optimizer.steps
        self.history_, self.optimizer_ = model.history, model.optimizer

    def _rows(self, X: Any) -> Any:
        """Return checked rows for predictions."""
        check_is_fitted(self, "coef_")
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _linear(self, X: Any) -> np.ndarray:
        """Return linear predictions, of shape (rows,) for one output."""
        z: np.ndarray = safe_sparse_dot(self._rows(X), self.coef_.T, dense_output=True) + self.intercept_
        return z[:, 0] if self._is_single and z.ndim == 2 else z

    def _weights(self, sample_weight: Any, X: Any) -> Any:
        """Return checked weights of rows, None for none."""
        if sample_weight is None:
            return None
        found = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not found.any():
            raise ValueError("sample_weight: all weights are zero, expected a positive one")
        return found

    def _dense(self) -> np.ndarray:
        """Return the coefficients as a dense array."""
        if not hasattr(self.coef_, "toarray"):
            return self.coef_
        return self.coef_.toarray().reshape(self._shape)

    def _mean_loss(self, X: Any, y: np.ndarray, sample_weight: Any) -> float:
        """Return the mean loss of rows and encoded targets."""
        coef = self._dense()
        params = {"coef": coef.reshape(-1) if self._is_single else coef}
        if self.fit_intercept:
            params["intercept"] = self.intercept_
        return self._check().mean(params, X, y, sample_weight)

    def sparsify(self) -> LinearModel:
        """Store the coefficients as a sparse array, which saves memory where most are zero.

        Returns
        -------
        estimator
            Itself.
        """
        from scipy import sparse

        check_is_fitted(self, "coef_")
        self.coef_ = sparse.csr_matrix(self._dense())
        return self

    def densify(self) -> LinearModel:
        """Store the coefficients as a dense array again.

        Returns
        -------
        estimator
            Itself.
        """
        check_is_fitted(self, "coef_")
        self.coef_ = self._dense()
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class LinearRegressor(RegressorMixin, LinearModel):  # type: ignore[misc]
    """Linear regression by any loss and optimizer.

    Parameters
    ----------
    loss : {"squared_error", "huber", "quantile", "epsilon_insensitive", "poisson", "gamma"}
        A function of `fastopt.losses`; predictions of ``"poisson"`` and ``"gamma"`` are exponentials.
    PARAMETERS
    delta : float, default 1.0
        Of ``"huber"``, in the unit of the targets.
    quantile : float, default 0.5
        Of ``"quantile"``.
    epsilon : float, default 0.1
        Of ``"epsilon_insensitive"``, in the unit of the targets.

    ATTRIBUTES

    NOTES

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.linspace(0, 1, 50)[:, None]
    >>> model = fo.linear.LinearRegressor(random_state=0).fit(x, 2 * x[:, 0] + 1)
    >>> model.coef_.round(2), model.intercept_.round(2), round(model.evaluate(x, 2 * x[:, 0] + 1), 4)
    (array([2.]), array([1.]), 0.0)
    """

    losses = OF_REGRESSION
    _is_binary = False

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        optimizer: Any = "adam",
        lr: Any = None,
        optimizer_options: Any = None,
        batch_size: Any = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        shuffle: bool = True,
        mode: str = "exact",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        average: Any = False,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        delta: float = 1.0,
        quantile: float = 0.5,
        epsilon: float = 0.1,
    ) -> None:
        self.loss, self.optimizer, self.lr, self.optimizer_options = loss, optimizer, lr, optimizer_options
        self.batch_size, self.max_iter, self.tol, self.n_iter_no_change = batch_size, max_iter, tol, n_iter_no_change
        self.alpha, self.l1_ratio, self.fit_intercept = alpha, l1_ratio, fit_intercept
        self.shuffle, self.mode, self.early_stopping, self.validation_fraction = shuffle, mode, early_stopping, validation_fraction
        self.average, self.warm_start, self.random_state, self.verbose = average, warm_start, random_state, verbose
        self.delta, self.quantile, self.epsilon = delta, quantile, epsilon

    def _data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray, Any, int | None]:
        """Return checked rows with positive weights, their targets and weights, and the number of outputs, None for a 1-D target."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", multi_output=True, y_numeric=True, reset=reset
        )
        weights, y = self._weights(sample_weight, X), np.ascontiguousarray(y, np.float64)
        if self.loss in start.LOG_LINKS:
            y = column_or_1d(y, warn=True)
            least = 0.0 if self.loss == "poisson" else np.nextafter(0.0, 1.0)
            if (y < least).any():
                raise ValueError(f"y: a target below {'0' if not least else 'or equal to 0'}, expected {self.loss} to have none")
        if weights is not None and not weights.all():
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        return X, y, weights, y.shape[1] if y.ndim == 2 else None

    def _constants(self, y: np.ndarray, weights: Any, outputs: int) -> np.ndarray:
        """Return the best constant prediction for each output."""
        return start.constants_of(self.loss, y.reshape(len(y), -1), weights, self.quantile)

    def _spread(self, y: np.ndarray, weights: Any) -> float:
        """Return the typical size of predictions."""
        return 1.0 if self.loss in start.LOG_LINKS else start.spread_of(y, weights)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegressor:
        """Fit the model.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)
            float32 is computed in float32; others become float64.
        y : array of shape (rows,) or (rows, outputs)
        sample_weight : array of shape (rows,), optional
            Factors of the rows' losses, at least 0.

        Returns
        -------
        LinearRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or the data do not fit.
        """
        self._fit(*self._data(X, y, sample_weight, True))
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegressor:
        """Go on with one pass over more rows; the optimizer keeps its state, its steps and its schedules.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`; the first rows choose ``lr_`` and the first intercept.

        Returns
        -------
        LinearRegressor
            Itself.
        """
        self._partial_fit(*self._data(X, y, sample_weight, not hasattr(self, "coef_")))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows,) or (rows, outputs)
        """
        z = self._linear(X)
        return exp(z).astype(z.dtype) if self.loss in start.LOG_LINKS else z

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean loss, without penalties.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        float
            Losses of several outputs are summed.
        """
        check_is_fitted(self, "coef_")
        X, y, weights, _ = self._data(X, y, sample_weight, False)
        return self._mean_loss(X, y, weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.loss not in start.LOG_LINKS
        tags.target_tags.positive_only = self.loss in start.LOG_LINKS
        return tags


def has_probabilities(model: Any) -> bool:
    """Return True if a classifier's loss gives probabilities, or raise."""
    if model.loss not in ("log_loss", "modified_huber"):
        raise AttributeError(f"predict_proba: not with loss={model.loss!r}, expected 'log_loss' or 'modified_huber'")
    return True


class LinearClassifier(ClassifierMixin, LinearModel):  # type: ignore[misc]
    """Linear classification by any loss and optimizer.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge", "modified_huber", "perceptron"}
        A function of `fastopt.losses`. ``"log_loss"`` is the logistic loss of two classes and the cross-entropy of more; the others
        have one model for each of more than two classes, against the rest.
    PARAMETERS
    class_weight : dict or "balanced", optional
        Factors of the losses by class, as in scikit-learn.

    ATTRIBUTES
    classes_ : ndarray of shape (classes,)

    NOTES

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> model = fo.linear.LinearClassifier(random_state=0).fit(x, x[:, 0] > 0)
    >>> model.predict([[-0.5], [0.5]])
    array([False,  True])
    """

    losses = OF_CLASSIFICATION

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        optimizer: Any = "adam",
        lr: Any = None,
        optimizer_options: Any = None,
        batch_size: Any = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        shuffle: bool = True,
        mode: str = "exact",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        average: Any = False,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        class_weight: Any = None,
    ) -> None:
        self.loss, self.optimizer, self.lr, self.optimizer_options = loss, optimizer, lr, optimizer_options
        self.batch_size, self.max_iter, self.tol, self.n_iter_no_change = batch_size, max_iter, tol, n_iter_no_change
        self.alpha, self.l1_ratio, self.fit_intercept = alpha, l1_ratio, fit_intercept
        self.shuffle, self.mode, self.early_stopping, self.validation_fraction = shuffle, mode, early_stopping, validation_fraction
        self.average, self.warm_start, self.random_state, self.verbose = average, warm_start, random_state, verbose
        self.class_weight = class_weight

    @property
    def _is_binary(self) -> bool:
        """True for two classes, which have one output."""
        return len(self.classes_) == 2

    def _data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray, Any]:
        """Return checked rows with positive weights, their labels and weights."""
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=reset)
        check_classification_targets(y)
        weights = self._weights(sample_weight, X)
        if weights is not None and not weights.all():
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        return X, y, weights

    def _encoded(self, y: np.ndarray) -> tuple[np.ndarray, int | None]:
        """Return targets by labels, and the number of outputs, None for two classes."""
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(f"y: labels {np.unique(y[~known])[:5].tolist()}, expected among {self.classes_[:10].tolist()}")
        places = np.searchsorted(self.classes_, y)
        if self._is_binary:
            return (places.astype(np.float64) if self.loss == "log_loss" else 2.0 * places - 1), None
        if self.loss == "log_loss":
            return places.astype(np.float64), len(self.classes_)
        return 2.0 * (places[:, None] == np.arange(len(self.classes_))) - 1, len(self.classes_)

    def _weighted(self, y: np.ndarray, weights: Any) -> Any:
        """Return the weights of rows times those of their classes."""
        if self.class_weight is None:
            return weights
        by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        found = by_class[np.searchsorted(self.classes_, y)]
        return found if weights is None else found * weights

    def _constants(self, y: np.ndarray, weights: Any, outputs: int) -> np.ndarray:
        """Return the best constant prediction for each output; zero for the losses of margins."""
        if self.loss != "log_loss":
            return np.zeros(outputs)
        shares = np.bincount(y.astype(np.int64), weights, minlength=max(outputs, 2))
        logs = np.log(np.maximum(shares / shares.sum(), 1e-12))
        return logs - logs.mean() if outputs > 1 else np.array([logs[1] - logs[0]])

    def _spread(self, y: np.ndarray, weights: Any) -> float:
        """Return the typical size of predictions."""
        return 1.0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearClassifier:
        """Fit the model.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)
            float32 is computed in float32; others become float64.
        y : array of shape (rows,)
            Labels.
        sample_weight : array of shape (rows,), optional
            Factors of the rows' losses, at least 0.

        Returns
        -------
        LinearClassifier
            Itself.

        Raises
        ------
        ValueError
            If a parameter or the data do not fit.
        """
        X, y, weights = self._data(X, y, sample_weight, True)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        self.classes_ = classes
        targets, outputs = self._encoded(y)
        self._fit(X, targets, self._weighted(y, weights), outputs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Sequence[Any] | None = None, sample_weight: Any = None) -> LinearClassifier:
        """Go on with one pass over more rows; the optimizer keeps its state, its steps and its schedules.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`; the first rows choose the first intercept.
        classes : array, optional
            All labels; needed in the first call.

        Returns
        -------
        LinearClassifier
            Itself.
        """
        begins = not hasattr(self, "coef_")
        if begins and classes is None:
            raise ValueError("classes: None in the first partial_fit, expected all labels")
        X, y, weights = self._data(X, y, sample_weight, begins)
        if classes is not None:
            found = np.unique(classes)
            if not begins and not np.array_equal(found, self.classes_):
                raise ValueError(f"classes: {found.tolist()[:10]}, expected those of the first call, {self.classes_.tolist()[:10]}")
            if len(found) < 2:
                raise ValueError("classes: one label, expected two at least")
            self.classes_ = found
        if self.class_weight == "balanced":
            raise ValueError("class_weight: 'balanced' with partial_fit, expected a dict: no call sees all labels")
        targets, outputs = self._encoded(y)
        self._partial_fit(X, targets, self._weighted(y, weights), outputs)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return linear predictions.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows,) for two classes, else (rows, classes)
        """
        return self._linear(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return labels.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows,)
        """
        z = self._linear(X)
        return self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)]

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes; those of ``"modified_huber"`` are clipped margins (Zhang, 2004).

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows, classes)
        """
        z = self._linear(X)
        if self.loss == "modified_huber":
            found = (np.clip(z, -1, 1) + 1) / 2
        elif z.ndim == 1:
            found = 1 / (1 + exp(-z))
        else:
            found = exp(z - z.max(axis=1, keepdims=True))
        if found.ndim == 1:
            found = np.column_stack([1 - found, found])
        totals = found.sum(axis=1, keepdims=True)
        found = np.where(totals > 0, found / np.where(totals > 0, totals, 1), 1 / found.shape[1])
        return found.astype(z.dtype, copy=False)

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows, classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean loss, without penalties and class weights.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        float
            Losses of one class against the rest are summed.
        """
        check_is_fitted(self, "coef_")
        X, y, weights = self._data(X, y, sample_weight, False)
        return self._mean_loss(X, self._encoded(y)[0], weights)
