"""Objectives of linear models: a loss of predictions, its penalties, and its gradients."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import losses
from .._engine import dispatch

LOSSES = [name for name, x in vars(losses).items() if inspect.isfunction(x) and hasattr(losses, f"{name}_slope")]
MARGINS = ("hinge", "squared_hinge", "modified_huber", "perceptron")  # Losses of labels -1 and 1.
MODES = ("exact", "lazy")

try:
    from .epochs import Epochs
except ImportError:  # Nothing is compiled.
    Epochs = None  # type: ignore[assignment,misc]


class Objective:
    """Mean loss of linear predictions with penalties, for `fastopt.training.fit` and any loop.

    ``objective(params, X, y)`` returns the loss and the gradients of ``{"coef": ..., "intercept": ...}``. `fit` runs whole epochs of
    it in compiled code.

    Parameters
    ----------
    loss : str, default "squared_error"
        A function of `fastopt.losses` by name. ``"log_loss"`` of several outputs and one column of targets is the cross-entropy of
        classes 0, 1, ....
    alpha : float, default 0.0
        Factor of the penalties of the coefficients; the intercept has none.
    l1_ratio : float, default 0.0
        Share of the sum of absolute values among the penalties; the rest is half the sum of squares. It needs compiled epochs of
        plain `fastopt.SGD`, which bring coefficients nearer to zero by ``lr * alpha * l1_ratio`` in each step, and the gradients
        leave it out.
    fit_intercept : bool, default True
    mode : {"exact", "lazy"}
        Of sparse rows: by ``"exact"`` what dense rows give; by ``"lazy"`` a step updates only the columns of its batch, another
        algorithm for rules that move parameters without a gradient.
    **constants
        Constants of the loss: ``delta``, ``quantile``, ``epsilon``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> params = {"coef": np.zeros(1), "intercept": np.zeros(1)}
    >>> objective = fo.linear.Objective()
    >>> loss, grads = objective(params, X, np.array([1.0, 3.0, 5.0]))
    >>> loss, grads["intercept"]
    (11.666666666666666, array([-6.]))
    >>> history = fo.training.fit(objective, params, (X, np.array([1.0, 3.0, 5.0])), fo.SGD(params, lr=0.1), epochs=300)
    >>> params["coef"].round(3), params["intercept"].round(3)
    (array([2.]), array([1.]))
    """

    def __init__(
        self,
        loss: str = "squared_error",
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        mode: str = "exact",
        **constants: float,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss: {loss!r}, expected one of {', '.join(LOSSES)}")
        for name, x, most in (("alpha", alpha, math.inf), ("l1_ratio", l1_ratio, 1.0)):
            if not (isinstance(x, (int, float)) and 0 <= x <= most and x < math.inf):
                raise ValueError(f"{name}: {x!r}, expected a finite number of at least 0{', at most 1' if most == 1 else ''}")
        if mode not in MODES:
            raise ValueError(f"mode: {mode!r}, expected 'exact' or 'lazy'")
        self.loss, self.alpha, self.l1_ratio, self.fit_intercept, self.mode = loss, alpha, l1_ratio, bool(fit_intercept), mode
        self.value: Callable[..., Any] = getattr(losses, loss)
        self.slope: Callable[..., Any] = getattr(losses, f"{loss}_slope")
        known = {name: x.default for name, x in inspect.signature(self.value).parameters.items() if x.kind is x.KEYWORD_ONLY}
        if unknown := [name for name in constants if name not in known]:
            raise TypeError(f"{loss}: no {', '.join(unknown)}, expected {', '.join(known) or 'no constants'}")
        for name, x in constants.items():
            check_constant(name, x)
        self.constants = {**known, **constants}

    def __repr__(self) -> str:
        shown = {"alpha": self.alpha, "l1_ratio": self.l1_ratio, "fit_intercept": self.fit_intercept, "mode": self.mode}
        given = {name: x for name, x in shown.items() if x != inspect.signature(Objective).parameters[name].default}
        return f"Objective({', '.join([repr(self.loss), *(f'{k}={x!r}' for k, x in {**given, **self.constants}.items())])})"

    def parts(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return coefficients and intercepts (None without) of parameters, or raise."""
        names = {"coef", "intercept"} if self.fit_intercept else {"coef"}
        if not isinstance(params, Mapping) or set(params) != names:
            found = sorted(params) if isinstance(params, Mapping) else type(params).__name__
            raise ValueError(f"params: {found}, expected a dict of {' and '.join(sorted(names))}")
        coef, intercept = params["coef"], params.get("intercept")
        if coef.ndim not in (1, 2) or (intercept is not None and intercept.shape != (coef.shape[0] if coef.ndim == 2 else 1,)):
            shapes = [a.shape for a in (coef, intercept) if a is not None]
            raise ValueError(f"params: shapes {shapes}, expected (columns,) and (1,), or (outputs, columns) and (outputs,)")
        return coef, intercept

    def predict(self, params: Mapping[str, Any], X: Any) -> Any:
        """Return the linear predictions of rows, in the precision of the parameters.

        Parameters
        ----------
        params : dict of arrays
            ``coef`` of shape (columns,) or (outputs, columns), ``intercept`` of shape (1,) or (outputs,).
        X : array or sparse array of shape (rows, columns)

        Returns
        -------
        ndarray of shape (rows,) or (rows, outputs)
        """
        coef, intercept = self.parts(params)
        z = X @ coef.T
        return z if intercept is None else z + (intercept if coef.ndim == 2 else intercept[0])

    def is_softmax(self, coef: Any, y: Any) -> bool:
        """Return True for the cross-entropy of classes."""
        return self.loss == "log_loss" and coef.ndim == 2 and coef.shape[0] > 1 and np.ndim(y) == 1

    def measured(self, params: Mapping[str, Any], X: Any, y: Any, slopes: bool) -> tuple[Any, Any]:
        """Return the value of each row, summed over outputs, and the slopes of its predictions, in double."""
        coef, _ = self.parts(params)
        z = np.asarray(self.predict(params, X), np.float64)
        if self.is_softmax(coef, y):
            return cross_entropy(z, np.asarray(y), slopes)
        y = np.asarray(y, np.float64).reshape(z.shape)
        with np.errstate(all="ignore"):
            values = self.value(z, y, **self.constants)
            found = self.slope(z, y, **self.constants) if slopes else None
        return (values.sum(axis=1) if z.ndim == 2 else values), found

    def mean(self, params: Mapping[str, Any], X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean loss of rows, without the penalties.

        Parameters
        ----------
        params, X, y, sample_weight
            As for a call of the objective.

        Returns
        -------
        float
            The weighted mean: the weighted sum of losses over the sum of weights.
        """
        values, _ = self.measured(params, X, y, False)
        return float(np.average(values, weights=sample_weight))

    def __call__(self, params: Mapping[str, Any], X: Any, y: Any, sample_weight: Any = None) -> tuple[float, dict[str, Any]]:
        """Return the penalized mean loss of rows and its gradients.

        Parameters
        ----------
        params : dict of arrays
            ``coef`` of shape (columns,) or (outputs, columns), ``intercept`` of shape (1,) or (outputs,).
        X : array or sparse array of shape (rows, columns)
        y : array of shape (rows,) or (rows, outputs)
            Targets: labels -1 and 1 for the losses of margins, 0 and 1 for ``"log_loss"``, classes for several outputs of it.
        sample_weight : array of shape (rows,), optional
            Factors of the rows' losses, whose sum is divided by the number of rows.

        Returns
        -------
        loss : float
            Losses of several outputs are summed.
        grads : dict of arrays
        """
        coef, intercept = self.parts(params)
        values, slopes = self.measured(params, X, y, True)
        n = X.shape[0]
        if sample_weight is not None:
            weight = np.asarray(sample_weight, np.float64)
            values, slopes = values * weight, slopes * (weight if slopes.ndim == 1 else weight[:, None])
        slopes = slopes / n
        squares = self.alpha * (1 - self.l1_ratio)
        grads = {"coef": np.asarray((X.T @ slopes.astype(coef.dtype, copy=False)).T, coef.dtype)}
        if squares:
            grads["coef"] = grads["coef"] + coef.dtype.type(squares) * coef
        if intercept is not None:
            grads["intercept"] = slopes.sum(axis=0, keepdims=slopes.ndim == 1).astype(intercept.dtype)
        return float(values.sum()) / n + self.penalty(coef), grads

    def penalty(self, coef: Any) -> float:
        """Return the penalties of coefficients."""
        w = np.asarray(coef, np.float64)
        sizes = self.l1_ratio * float(np.abs(w).sum()) if self.l1_ratio else 0.0
        return self.alpha * (sizes + (1 - self.l1_ratio) * 0.5 * float(np.vdot(w, w))) if self.alpha else 0.0

    def epochs(self, params: Mapping[str, Any], arrays: tuple[Any, ...], optimizer: Any, size: int, factor: float = 1.0) -> Any:
        """Return compiled epochs over rows; None where there are none for this optimizer or data.

        Parameters
        ----------
        params : dict of arrays
        arrays : tuple of arrays
            Rows, targets and perhaps weights.
        optimizer : Optimizer
            Of `params`.
        size : int
            Rows of a batch.
        factor : float, default 1.0
            Factor of all rows' losses.
        """
        capsule = dispatch.linear_loops()
        coef, intercept = self.parts(params)
        layout = None if capsule is None or len(arrays) not in (2, 3) else layout_of(coef, intercept, *arrays)
        if layout is None or optimizer.params is not params and dict(optimizer.params) != dict(params):
            return None
        softmax = self.is_softmax(coef, layout["y"])
        targets = np.ascontiguousarray(layout.pop("y"), np.float64)
        rows, outputs = layout.pop("rows"), coef.shape[0] if coef.ndim == 2 else 1
        if targets.size != rows * (1 if softmax else outputs):
            return None
        if softmax:
            check_classes(targets, outputs)
        numbers = {"rows": rows, "size": size, "alpha": self.alpha * (1 - self.l1_ratio), "l1": self.alpha * self.l1_ratio}
        found = {**layout, "targets": targets, "constants": np.array([*self.constants.values(), 0.0]), "coef": coef}
        names = ["coef"] if intercept is None else ["coef", "intercept"]
        try:
            return Epochs(
                optimizer,
                names,
                capsule,
                {**found, "intercept": intercept},
                -1 if softmax else LOSSES.index(self.loss),
                {**numbers, "factor": factor},
                self.mode == "lazy",
            )
        except NotImplementedError:
            return None


def check_constant(name: str, x: Any) -> None:
    """Raise for a constant of a loss outside its domain."""
    most = 1 if name == "quantile" else math.inf
    if not (isinstance(x, (int, float)) and 0 <= x < math.inf and x <= most):
        raise ValueError(f"{name}: {x!r}, expected {'a number from 0 to 1' if most == 1 else 'a finite number of at least 0'}")


def check_classes(y: np.ndarray, count: int) -> None:
    """Raise unless targets are classes."""
    if not (np.equal(np.floor(y), y) & (y >= 0) & (y < count)).all():
        raise ValueError(f"y: expected classes 0 to {count - 1} for log_loss with {count} outputs")


def cross_entropy(z: np.ndarray, y: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the cross-entropy of each row and its slopes by the predictions."""
    from ..arithmetic import exp, log

    check_classes(np.asarray(y, np.float64), z.shape[1])
    rows, label, most = np.arange(len(z)), y.astype(np.int64), z.max(axis=1)
    tails = exp(z - most[:, None])
    totals = tails.sum(axis=1)
    values = most - z[rows, label] + log(totals)
    if not slopes:
        return values, None
    tails = tails / totals[:, None]
    tails[rows, label] -= 1
    return values, tails


def layout_of(coef: Any, intercept: Any, x: Any, y: Any, weights: Any = None) -> dict[str, Any] | None:
    """Return the arrays of rows as compiled loops read them; None if they are in another format."""
    arrays = [a for a in (coef, intercept) if a is not None]
    dtype = coef.dtype
    plain = all(type(a) is np.ndarray and a.flags.c_contiguous and a.dtype == dtype for a in arrays)
    if not plain or dtype not in (np.float32, np.float64) or getattr(x, "dtype", None) != dtype:
        return None
    found = {"starts": None, "places": None, "y": y, "rows": x.shape[0]}
    found["weights"] = None if weights is None else np.ascontiguousarray(weights, np.float64)
    if x.ndim != 2 or x.shape[1] != coef.shape[-1] or np.shape(y)[0] != x.shape[0]:
        return None
    if hasattr(x, "tocsr"):
        if not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
        found |= {"x": x.data, "starts": np.ascontiguousarray(x.indptr, np.int64), "places": np.ascontiguousarray(x.indices)}
        return found
    if not isinstance(x, np.ndarray):
        return None
    return {**found, "x": np.ascontiguousarray(x)}
