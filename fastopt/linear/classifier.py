"""Linear classification with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..arithmetic import exp
from .base import LinearModel, described, without_zeros
from .objective import MARGINS

LOSSES = ("log_loss", *MARGINS)


def has_probabilities(model: Any) -> bool:
    """Return True if a classifier's loss gives probabilities, or raise."""
    if model.loss not in ("log_loss", "modified_huber"):
        raise AttributeError(f"predict_proba: not with loss={model.loss!r}, expected 'log_loss' or 'modified_huber'")
    return True


@described
class LinearClassifier(ClassifierMixin, LinearModel):  # type: ignore[misc]
    """Linear classification by any loss and optimizer.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge", "modified_huber", "perceptron"}
        A function of `fastopt.losses`. ``"log_loss"`` is the logistic loss of two classes and the cross-entropy of more; the others
        have one model for each of more than two classes, against the rest.
    {parameters}
    class_weight : dict or "balanced", optional
        Factors of the losses by class, as in scikit-learn.

    Attributes
    ----------
    {attributes}
    classes_ : ndarray of shape (classes,)

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.linspace(-1, 1, 400)[:, None]
    >>> y = x[:, 0] + np.random.default_rng(0).normal(scale=0.3, size=400) > 0
    >>> model = fo.linear.LinearClassifier(random_state=0).fit(x, y)
    >>> model.predict([[-0.5], [0.5]])
    array([False,  True])
    """

    losses = LOSSES
    _is_stratified = True

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
        return without_zeros(X, y, weights)

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
        if (found < 0).any() or not found.any():
            raise ValueError(f"class_weight: {self.class_weight!r:.60}, expected numbers of at least 0, and a positive one")
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
        self._check()
        X, y, weights = self._data(X, y, sample_weight, True)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        before: Any = getattr(self, "classes_", classes)
        if self.warm_start and not np.array_equal(before, classes):
            raise ValueError(f"warm_start: classes {before[:10].tolist()} before, expected the same")
        self.classes_ = classes
        X, y, weights = without_zeros(X, y, self._weighted(y, weights))
        targets, outputs = self._encoded(y)
        self._fit(X, targets, weights, outputs)
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
        X, y, weights = without_zeros(X, y, self._weighted(y, weights))
        targets, outputs = self._encoded(y)
        self._partial_fit(X, targets, weights, outputs)
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
        return np.asarray(self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)])

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
        return np.asarray(found, z.dtype)

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
            return np.asarray(np.log(self.predict_proba(X)))

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
