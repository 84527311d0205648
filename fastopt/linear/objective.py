"""Objectives of linear models: a loss of predictions, its penalties, and its gradients."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import losses
from .._engine import dispatch
from .._optimizer.names import expected
from ..domains import is_real, whole
from ..optimizers import SGD
from .plain_epochs import PlainEpochs

LOSSES = [name for name, x in vars(losses).items() if inspect.isfunction(x) and hasattr(losses, f"{name}_slope")]
CONSTANTS = {name: dict(getattr(losses, name).__kwdefaults__ or {}) for name in LOSSES}
MARGINS = ("hinge", "squared_hinge", "modified_huber", "perceptron")  # Losses of labels -1 and 1.
MODES = ("exact", "lazy")

try:
    from .epochs import Epochs
except ImportError:  # Nothing is compiled.
    Epochs = None  # type: ignore[assignment,misc]


class Objective:
    """Mean loss of linear predictions with penalties, for `fastopt.training.fit` and any loop.

    ``objective(params, X, y)`` returns the loss and the gradients of ``{"coef": ..., "intercept": ...}``. `fit` runs whole epochs
    of it in compiled code.

    Parameters
    ----------
    loss : str, default "squared_error"
        A function of `fastopt.losses` by name. ``"log_loss"`` of several outputs and one target is the cross-entropy of classes,
        which are numbered from 0.
    alpha : float, default 0.0
        Factor of the penalties of the coefficients; the intercept has none.
    l1_ratio : float, default 0.0
        Share of the sum of absolute values among the penalties; the rest is half the sum of squares. It needs plain
        `fastopt.SGD`: after each step of `fit`, coefficients come nearer to zero by ``lr * alpha * l1_ratio`` (the proximal
        gradient method). A call of the objective leaves it out, and an epoch's value has both penalties of its end.
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
            raise ValueError(f"loss: {loss!r}, {expected(loss, LOSSES)}")
        for name, x, most in (("alpha", alpha, math.inf), ("l1_ratio", l1_ratio, 1.0)):
            if not (is_real(x) and 0 <= x <= most and x < math.inf):
                raise ValueError(f"{name}: {x!r}, expected a finite number of at least 0{', at most 1' if most == 1 else ''}")
        if mode not in MODES:
            raise ValueError(f"mode: {mode!r}, expected 'exact' or 'lazy'")
        self.loss, self.alpha, self.l1_ratio, self.fit_intercept, self.mode = loss, alpha, l1_ratio, bool(fit_intercept), mode
        self.value: Callable[..., Any] = getattr(losses, loss)
        self.slope: Callable[..., Any] = getattr(losses, f"{loss}_slope")
        known = CONSTANTS[loss]
        if unknown := [name for name in constants if name not in known]:
            raise TypeError(f"{loss}: no {', '.join(unknown)}, expected {', '.join(known) or 'no constants'}")
        for name, x in constants.items():
            check_constant(name, x)
        self.constants = {**known, **constants}

    @property
    def has_l1(self) -> bool:
        """True with a penalty of absolute values."""
        return self.alpha * self.l1_ratio > 0

    def needs_epochs(self, arrays: Any) -> bool:
        """Return True if `fit` must run whole epochs, since gradients alone leave something out.

        Parameters
        ----------
        arrays : tuple of arrays or None
            The data; None for an iterable of batches.
        """
        return self.has_l1 or (self.mode == "lazy" and (arrays is None or hasattr(arrays[0], "tocsr")))

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
        """Return the mean loss of rows with the penalty of the squares, and its gradients.

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
        return float(values.sum()) / n + self.squares(coef), grads

    def squares(self, coef: Any) -> float:
        """Return the penalty of the squares of coefficients."""
        factor = self.alpha * (1 - self.l1_ratio)
        return factor * 0.5 * float(np.square(coef, dtype=np.float64).sum()) if factor else 0.0

    def penalties(self, coef: Any) -> float:
        """Return the penalties of the absolute values and of the squares of coefficients."""
        return self.alpha * self.l1_ratio * float(np.abs(coef, dtype=np.float64).sum()) + self.squares(coef)

    def epochs(self, params: Mapping[str, Any], arrays: tuple[Any, ...], optimizer: Any, size: int) -> Any:
        """Return epochs over rows: compiled ones where their loops have the optimizer's steps and the format of the rows.

        Parameters
        ----------
        params : dict of arrays
        arrays : tuple of arrays
            Rows, targets and perhaps weights.
        optimizer : Optimizer
            Of `params`.
        size : int
            Rows of a batch.

        Returns
        -------
        Epochs or PlainEpochs

        Raises
        ------
        ValueError
            If a penalty or a mode does not go with the optimizer.
        """
        if self.has_l1 and not is_plain_descent(optimizer):
            raise ValueError(
                f"l1_ratio: {self.l1_ratio} with {type(optimizer).__name__}, expected plain SGD, or FTRL with its own l1"
            )
        coef, intercept = self.parts(params)
        if (number := whole(size)) is None or number < 1:
            raise ValueError(f"size: {size!r}, expected a whole number of at least 1")
        if not 2 <= len(arrays) <= 3 or (len(arrays) == 3 and np.shape(arrays[2]) != np.shape(arrays[1])[:1]):
            shapes = [np.shape(a) for a in arrays]
            raise ValueError(f"data: shapes {shapes}, expected rows, targets and perhaps one weight for each row")
        y = np.asarray(arrays[1], np.float64)
        if self.is_softmax(coef, y):
            check_classes(y, len(coef))
        else:
            check_targets(self.loss, y)
        found = self.compiled(coef, intercept, arrays, optimizer, size)
        if found is None and self.mode == "lazy" and hasattr(arrays[0], "tocsr"):
            said = "a penalty or option changes the other columns too" if self.alpha else "it updates whole arrays together"
            said += ": expected mode='exact', plain SGD, or alpha=0 (FTRL has options l1 and l2)"
            raise ValueError(f"mode: 'lazy' with {type(optimizer).__name__}, alpha={self.alpha}: {said}")
        return PlainEpochs(self, params, arrays, optimizer, size) if found is None else found

    def compiled(self, coef: Any, intercept: Any, arrays: tuple[Any, ...], optimizer: Any, size: int) -> Any:
        """Return compiled epochs, or None."""
        capsule = dispatch.linear_loops()
        layout = None if capsule is None else layout_of(coef, intercept, *arrays)
        known = {id(parameter.original): parameter.name for parameter in optimizer._parameters}
        names: list[Any] = [known.get(id(a)) for a in (coef, intercept) if a is not None]
        if layout is None or None in names:
            return None
        softmax = self.is_softmax(coef, layout["targets"])
        columns = coef.shape[0] if coef.ndim == 2 and not softmax else 1
        if layout["targets"].size != layout["rows"] * columns:
            return None
        numbers = {"rows": layout.pop("rows"), "size": size}
        numbers |= {"alpha": self.alpha * (1 - self.l1_ratio), "l1": self.alpha * self.l1_ratio}
        layout |= {"constants": np.array([*self.constants.values(), 0.0]), "coef": coef, "intercept": intercept}
        loss = -1 if softmax else LOSSES.index(self.loss)
        try:
            return Epochs(optimizer, names, capsule, layout, loss, numbers, self.mode == "lazy")
        except NotImplementedError:
            return None


def is_plain_descent(optimizer: Any) -> bool:
    """Return True for gradient descent without momentum, and without options that a threshold after each step does not go with."""
    groups = optimizer.groups
    return isinstance(optimizer, SGD) and len(groups) == 1 and groups[0].rule.name == "sgd" and groups[0]["ema"] in (0, None)


def check_constant(name: str, x: Any) -> None:
    """Raise for a constant of a loss outside its domain."""
    low, high = (0.0, 1.0) if name == "quantile" else (0.0, math.inf)
    fits = is_real(x) and (low < x or (name == "epsilon" and x == 0)) and x < high
    if not fits:
        least = "of at least 0" if name == "epsilon" else "above 0"
        raise ValueError(f"{name}: {x!r}, expected {'a number between 0 and 1' if high == 1 else f'a finite number {least}'}")


def check_targets(loss: str, y: np.ndarray) -> None:
    """Raise for labels that a loss is not for."""
    if loss in MARGINS and not (np.abs(y) == 1).all():
        raise ValueError(f"y: expected labels -1 and 1 for {loss}")
    if loss == "log_loss" and not ((y >= 0) & (y <= 1)).all():
        raise ValueError("y: expected labels 0 and 1, or probabilities, for log_loss")


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
    dtype = getattr(x, "dtype", None)
    if dtype not in (np.float32, np.float64) or not all(is_plain(a, dtype) for a in (coef, intercept) if a is not None):
        return None
    if x.ndim != 2 or x.shape[1] != coef.shape[-1] or np.shape(y)[0] != x.shape[0]:
        return None
    found = {"starts": None, "places": None, "targets": np.array(y, np.float64, order="C"), "rows": x.shape[0]}
    found["weights"] = None if weights is None else np.ascontiguousarray(weights, np.float64)
    if isinstance(x, np.ndarray):
        return {**found, "x": np.ascontiguousarray(x)}
    if not hasattr(x, "tocsr"):
        return None
    x = x.tocsr()
    x.check_format(full_check=True)  # The loops trust it.
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    return {
        **found,
        "x": np.ascontiguousarray(x.data),
        "starts": np.ascontiguousarray(x.indptr, np.int64),
        "places": np.ascontiguousarray(x.indices),
    }


def is_plain(a: Any, dtype: Any) -> bool:
    """Return True for a contiguous array of NumPy in this precision."""
    return type(a) is np.ndarray and a.flags.c_contiguous and a.dtype == dtype
