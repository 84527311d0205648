"""Base of the estimators of linear models: checks, training, linear predictions, and shared documentation."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._optimizer import checkpoint, loading
from .._optimizer.names import expected
from ..domains import is_real, whole
from . import start
from .model import Limits, Model
from .objective import Objective

CONSTANTS = {"huber": "delta", "quantile": "quantile", "epsilon_insensitive": "epsilon"}
ELSEWHERE = {"weight_decay": "alpha", "lr": "lr", "params": "fit(X, y)", "ema": "average"}
MAKING = ("optimizer", "lr", "optimizer_options", "average")
HUGE = 1e30  # Coefficients of this size have diverged; the squares of floats would overflow.
BATCH = 32  # Rows of a batch by default.
AVERAGED = 5  # Epochs of an average by default.
RATES = (0.5,) * 5  # Factors of the default learning rate, each once values have stopped falling.
SHARED = {
    "parameters": """
optimizer : str or class, default "adam"
    An optimizer of fastopt by its name in any case, or its class.
lr : float or schedule, optional
    Learning rate; a schedule is a function of the step, with which training takes `max_iter` epochs, whatever `tol` is. By default
    ``lr_`` is chosen by the data, and whenever values have stopped falling it is halved instead of ending, up to five times. It is
    0.01 standard deviations of the targets (0.01 for classes and log links) for optimizers whose steps do not depend on the scale
    of gradients; 50 times that for Adagrad and FTRL, and not halved; 1 for DoG, Prodigy and Adadelta; and for plain descent 0.01,
    or less where rows are long.
optimizer_options : dict, optional
    Further options of the optimizer, such as ``{"momentum": 0.9}`` or ``{"clip_value": 1.0}``.
batch_size : int or "auto", optional
    Rows of each step; "auto" is 32, None all rows.
max_iter : int, default 1000
    Largest number of epochs.
tol : float, optional
    Training ends once the value of an epoch (losses before each step, with the penalties) has not fallen by `tol` times the loss at
    the beginning for `n_iter_no_change` epochs; 1e-4. None: after `max_iter` epochs.
n_iter_no_change : int, default 10
alpha : float, default 0.0
    Factor of the penalties of the coefficients; the intercept has none.
l1_ratio : float, default 0.0
    Share of the sum of absolute values; the rest is half the sum of squares. Only with plain ``optimizer="sgd"``; FTRL has its own
    ``l1`` and ``l2``.
fit_intercept : bool, default True
    Add a constant, which begins at the best one.
shuffle : bool, default True
    Use a new order of rows in each epoch.
mode : {"exact", "lazy"}
    Of sparse rows: by "exact" the result of dense ones; by "lazy" each step updates only the columns of its batch, another
    algorithm for optimizers that move coefficients without a gradient.
early_stopping : bool, default False
    Hold data out, judge each epoch by their loss instead of the training value, and keep the best coefficients.
validation_fraction : float, default 0.1
    Share of the rows that are held out.
average : bool or float, default False
    Use exponential averages of the parameters: a decay rate, or True for that of about five epochs.
warm_start : bool, default False
    Begin at the coefficients of the last fit.
random_state : int, Generator or RandomState, optional
    Of orders and of what is held out.
verbose : int, default 0
    Print a line for each epoch.""",
    "attributes": """
coef_ : ndarray
    As in scikit-learn: of shape (columns,) for one target, (1, columns) for two classes, else (outputs, columns).
intercept_ : ndarray of shape (outputs,)
n_iter_ : int
    Epochs so far.
t_ : int
    Steps so far.
lr_ : float or schedule
    The learning rate at the beginning.
history_ : fastopt.training.History
optimizer_ : fastopt.Optimizer
n_features_in_, feature_names_in_
    As in scikit-learn.""",
    "notes": """
What is minimized is ``sum(w * loss) / sum(w) + alpha * (l1_ratio * |coef| + (1 - l1_ratio) / 2 * coef**2)``. A batch of ``B`` rows
takes ``sum(w * loss) / (B * W)`` with the mean weight ``W`` of all rows, so that weights act at any batch size; `partial_fit` takes
``W = 1``. Rows of weight 0 are left out. A weight of 2 is two rows in full batches, and on average in smaller ones.

Epochs run in compiled code, without the GIL. CSC becomes CSR, columns in Fortran order become rows, once.""",
}


def described(cls: type) -> type:
    """Fill what all estimators share into a class's docstring."""
    text = cls.__doc__ or ""
    for name, part in SHARED.items():
        text = text.replace(f"{{{name}}}", textwrap.indent(part.strip(), "    ").strip())
    cls.__doc__ = text
    return cls


def without_zeros(X: Any, y: np.ndarray, weights: Any) -> tuple[Any, np.ndarray, Any]:
    """Return rows, targets and weights without the rows of weight 0."""
    if weights is None or weights.all():
        return X, y, weights
    kept = weights > 0
    return X[kept], y[kept], weights[kept]


def warn(said: str) -> None:
    """Warn the caller of `fit` that training has not converged."""
    warnings.warn(said, ConvergenceWarning, stacklevel=5)


class LinearModel(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: checks, training and linear predictions."""

    losses: tuple[str, ...] = ()
    _is_stratified = False

    def _check(self) -> Objective:
        """Return the objective of the parameters, or raise if one does not fit."""
        if self.loss not in self.losses:
            raise ValueError(f"loss: {self.loss!r}, {expected(self.loss, self.losses)}")
        self._check_limits()
        if not isinstance(self.optimizer_options, (Mapping, type(None))):
            raise TypeError(f"optimizer_options: {self.optimizer_options!r:.60}, expected a dict of options by name")
        for name in self.optimizer_options or {}:
            if name in ELSEWHERE:
                raise ValueError(f"optimizer_options: {name}, expected {ELSEWHERE[name]} of the estimator for it")
        constants = {CONSTANTS[self.loss]: getattr(self, CONSTANTS[self.loss])} if self.loss in CONSTANTS else {}
        return Objective(self.loss, self.alpha, self.l1_ratio, bool(self.fit_intercept), self.mode, **constants)

    def _check_limits(self) -> None:
        """Raise if a parameter of batches, epochs or averages does not fit."""
        sizes = [] if self.batch_size in ("auto", None) else ["batch_size"]
        for name in ("max_iter", "n_iter_no_change", *sizes):
            if (number := whole(getattr(self, name))) is None or number < 1:
                also = ", 'auto' or None" if name == "batch_size" else ""
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected a whole number of at least 1{also}")
        if self.tol is not None and not (is_real(self.tol) and 0 <= self.tol < math.inf):
            raise ValueError(f"tol: {self.tol!r}, expected a finite number of at least 0, or None")
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction: {self.validation_fraction!r}, expected a number between 0 and 1")
        if not (self.average is True or 0 <= self.average < 1):
            raise ValueError(f"average: {self.average!r}, expected True, False or a decay rate between 0 and 1")

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
        if self.warm_start and hasattr(self, "coef_"):
            if self._dense().reshape(-1).shape != params["coef"].reshape(-1).shape or self.coef_.shape[-1] != X.shape[1]:
                raise ValueError(f"warm_start: coefficients of shape {self.coef_.shape}, expected those of {shape}")
            params["coef"][...] = self._dense().reshape(shape)
            if objective.fit_intercept:
                params["intercept"][...] = self.intercept_
        cls: Any = start.optimizer_class(self.optimizer)
        lr = start.rate_of(cls, X, self._spread(y, weights)) if self.lr is None else self.lr
        options = {"lr": lr, **(self.optimizer_options or {})}
        if self.average:
            per_epoch = -(-X.shape[0] // self._batch(X.shape[0]))
            options["ema"] = 1 - 1 / (AVERAGED * per_epoch + 1) if self.average is True else float(self.average)
        if "weight_decay" in cls.arguments:
            options["weight_decay"] = 0.0
        return Model(objective, params, cls(params, **options), lr, self._chosen())

    def _chosen(self) -> tuple[Any, ...]:
        """Return the parameters that make the optimizer, which cannot change between calls of `partial_fit`."""
        return tuple(getattr(self, name) for name in MAKING)

    def _fit(self, X: Any, y: np.ndarray, weights: Any, outputs: int | None) -> None:
        """Train anew on rows and encoded targets, which were checked."""
        objective, rng = self._check(), self._seeded()
        held_out = None
        if self.early_stopping:
            X, y, weights, held_out = self._split(X, y, weights, rng)
        if weights is not None:
            weights = weights / weights.mean()
        model = self._new_model(objective, X, y, weights, outputs)
        arrays = (X, y) if weights is None else (X, y, weights)
        limits = self._limits()
        validate = None if held_out is None else lambda: objective.mean(model.averages, *held_out)
        report = (lambda k, value: print(f"epoch {k}  loss {value:.6g}")) if self.verbose else None
        model.train(arrays, self._batch(X.shape[0]), rng, bool(self.shuffle), limits, validate, report)
        self._take(model, rng)
        self._warn(X, model, limits)

    def _limits(self) -> Limits:
        """Return when training ends: with a schedule after all epochs, unless data are held out."""
        ends_alone = self.tol is not None and (self.early_stopping or not callable(self.lr))
        rates = RATES if self.lr is None and not start.has_fading_steps(self.optimizer) else ()
        return Limits(self.max_iter, self.tol if ends_alone else math.nan, self.n_iter_no_change, rates)

    def _warn(self, X: Any, model: Model, limits: Limits) -> None:
        """Warn if training has not converged, or is slow to for these columns."""
        values = model.history.loss
        if self.lr is None and start.has_odd_columns(X):
            warn("columns are far from zero, or of very different sizes: scale them (StandardScaler), for training may end early")
        if values[-1] > 10 * abs(values[0]):
            warn("values have risen tenfold: a smaller lr, or columns scaled to similar sizes, help")
        elif not (model.has_converged or math.isnan(limits.tol)):
            said = f"{self.max_iter} epochs (max_iter) ended before values stopped falling"
            warn(f"{said}: a higher max_iter or lr, columns scaled to similar sizes, or tol=None help")

    def _split(self, X: Any, y: np.ndarray, weights: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return what is left of the data without those that are held out, and these."""
        classes = y if self._is_stratified and y.ndim == 1 else None
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
            model, rng = self._new_model(objective, X, y, weights, outputs), self._seeded()
        else:
            model, rng = self._model, self._rng
        if model.chosen != self._chosen():
            raise ValueError(f"partial_fit: another {', '.join(MAKING)} than before, expected the same, or fit")
        shape = (X.shape[1],) if outputs is None else (outputs, X.shape[1])
        if model.params["coef"].shape != shape or ("intercept" in model.params) != objective.fit_intercept:
            raise ValueError("partial_fit: other outputs or fit_intercept than before, expected the same, or fit")
        if model.params["coef"].dtype != X.dtype:
            X = X.astype(model.params["coef"].dtype)
        model.objective, kept = objective, checkpoint.snapshot(model.optimizer)
        arrays = (X, y) if weights is None else (X, y, weights)
        try:
            model.train(arrays, self._batch(X.shape[0]), rng, bool(self.shuffle), Limits(1, math.nan, 1))
            self._take(model, rng)
        except BaseException:
            loading.restore(model.optimizer, kept)
            raise

    def _take(self, model: Model, rng: np.random.Generator) -> None:
        """Set the attributes that a fit leaves, unless it has diverged."""
        found = {name: np.array(a) for name, a in model.averages.items()}
        state = [a for parameter in model.optimizer._parameters for a in parameter.state.values() if a.dtype.kind == "f"]
        if not (all((np.abs(a) < HUGE).all() for a in found.values()) and all(np.isfinite(a).all() for a in state)):
            said = "expected a smaller lr, or columns and targets of usual sizes"
            raise ValueError(f"coefficients: huge, infinite or NaN, {said}")
        self._model, self._rng, self.lr_ = model, rng, model.lr
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
        return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)

    def _dense(self) -> np.ndarray:
        """Return the coefficients as a dense array."""
        coef: Any = self.coef_
        return np.asarray(coef.toarray().reshape(self._shape) if hasattr(coef, "toarray") else coef)

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
