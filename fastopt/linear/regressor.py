"""Linear regression with scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ..arithmetic import exp
from . import start
from .base import LinearModel, described, without_zeros

LOSSES = ("squared_error", "huber", "quantile", "epsilon_insensitive", "poisson", "gamma")


@described
class LinearRegressor(RegressorMixin, LinearModel):  # type: ignore[misc]
    """Linear regression by any loss and optimizer.

    Parameters
    ----------
    loss : {"squared_error", "huber", "quantile", "epsilon_insensitive", "poisson", "gamma"}
        A function of `fastopt.losses`; predictions of ``"poisson"`` and ``"gamma"`` are exponentials.
    {parameters}
    delta : float, default 1.0
        Of ``"huber"``, in the unit of the targets.
    quantile : float, default 0.5
        Of ``"quantile"``.
    epsilon : float, default 0.1
        Of ``"epsilon_insensitive"``, in the unit of the targets.

    Attributes
    ----------
    {attributes}

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.linspace(0, 1, 1000)[:, None]
    >>> model = fo.linear.LinearRegressor(random_state=0).fit(x, 2 * x[:, 0] + 1)
    >>> model.coef_.round(2), model.intercept_.round(2), round(model.evaluate(x, 2 * x[:, 0] + 1), 4)
    (array([2.]), array([1.]), 0.0)
    """

    losses = LOSSES
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
        """Return checked rows with positive weights, their targets and weights, and the number of outputs (None: a 1-D target)."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        weights, y = self._weights(sample_weight, X), np.ascontiguousarray(y, np.float64)
        if self.loss in start.LOG_LINKS:
            y = column_or_1d(y, warn=True)
            least = 0.0 if self.loss == "poisson" else np.nextafter(0.0, 1.0)
            if (y < least).any():
                raise ValueError(f"y: a target below {'0' if not least else 'or equal to 0'}, expected {self.loss} to have none")
        X, y, weights = without_zeros(X, y, weights)
        return X, y, weights, y.shape[1] if y.ndim == 2 else None

    def _constants(self, y: np.ndarray, weights: Any, outputs: int) -> np.ndarray:
        """Return the best constant prediction for each output."""
        return start.constants_of(self.loss, y.reshape(len(y), -1), weights, self.quantile)

    def _spread(self, y: np.ndarray, weights: Any) -> float:
        """Return the typical size of predictions."""
        return 1.0 if self.loss in start.LOG_LINKS else start.spread_of(y, weights, self.loss)

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
