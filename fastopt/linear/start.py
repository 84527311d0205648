"""Beginning of the training of a linear model: intercepts and learning rates by the data."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..minimization.methods import class_of

LOG_LINKS = ("poisson", "gamma")  # Losses whose predictions are logarithms of means.
ROBUST = ("huber", "quantile", "epsilon_insensitive")
QUARTILES = 1.349  # Standard deviations between the quartiles of normal numbers.
FAR, UNLIKE = 5.0, 100.0  # Standard deviations of a column from zero, and ratio of two columns', that slow descent down.
RATE = 0.01
FADING = 50.0  # Times that for optimizers whose steps become smaller with every gradient.


@functools.cache
def character_of(cls: type) -> tuple[bool, bool]:
    """Return whether an optimizer's steps hardly depend on the scale of gradients, and whether they fade, as Adagrad's."""

    def steps(scale: float) -> np.ndarray:
        w = np.zeros(2)
        optimizer, path = cls(w, lr=RATE), [0.0]
        for k in range(256):
            optimizer.step(np.array([scale, -scale]) * (1.0, 0.5, 2.0)[k % 3])
            path.append(abs(w[0]))
        return np.diff(path)

    small, large = steps(1.0), steps(1e3)
    return bool(large.sum() < 30 * small.sum()), bool(large[192:].sum() < 0.75 * large[64:128].sum())


def optimizer_class(name: Any) -> type:
    """Return the optimizer of a name in any case, or a class, or raise."""
    try:
        return class_of(name)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("method:", "optimizer:")) from None


def has_fading_steps(name: Any) -> bool:
    """Return True for an optimizer whose steps become smaller with every gradient; its learning rate stays as it is."""
    return character_of(optimizer_class(name))[1]


def rate_of(cls: type, X: Any, spread: float) -> float:
    """Return the default learning rate.

    It is 1 for optimizers that find their rate. For steps that do not depend on the scale of gradients it is in units of
    predictions (`spread`), higher where steps fade. For the others rows bound it: beyond one over the largest sum of squares plain
    gradient descent diverges.
    """
    if cls.arguments.get("lr") == 1.0:  # type: ignore[attr-defined]
        return 1.0
    keeps_scale, fades = character_of(cls)
    if not keeps_scale:
        squares = X.multiply(X).sum(axis=1) if hasattr(X, "multiply") else np.einsum("ij,ij->i", X, X)
        return float(min(RATE, 0.5 / (1.0 + float(squares.max()))))
    return RATE * spread * (FADING if fades else 1.0)


def spread_of(y: np.ndarray, weights: np.ndarray | None, loss: str) -> float:
    """Return the typical size of targets around their middle, 1 where it is 0.

    That is their standard deviation; for losses that bear wrong targets, what their quartiles say of it.
    """
    largest = float(np.abs(y).max(initial=0.0)) or 1.0
    y = y / largest  # Squares of huge and tiny targets would leave the range of doubles.
    mean = np.average(y, axis=0, weights=weights)
    found = float(np.sqrt(np.average(np.square(y - mean), axis=0, weights=weights).mean()))
    if loss in ROBUST:
        low, high = np.percentile(y, [25, 75], axis=0)
        found = float(np.mean(high - low)) / QUARTILES or found
    return found * largest if found > 0 else 1.0


def has_odd_columns(X: Any) -> bool:
    """Return True for dense columns that are far from zero, or of sizes that differ much from 1 or one another."""
    if not isinstance(X, np.ndarray) or not X.size:
        return False
    mean, spread = X.mean(axis=0), X.std(axis=0)
    known = spread > 1e-9 * np.abs(mean)
    if not known.any():
        return False
    sizes = spread[known]
    is_far = (np.abs(mean) > FAR * spread)[known].any()
    return bool(is_far or sizes.max() > UNLIKE * min(sizes.min(), 1.0) or sizes.max() * UNLIKE < 1.0)


def constants_of(loss: str, y: np.ndarray, weights: np.ndarray | None, quantile: float) -> np.ndarray:
    """Return the best constant prediction of each column of targets; for robust losses the median, which is near it."""
    if loss in ROBUST:
        level = quantile if loss == "quantile" else 0.5
        return np.array([weighted_quantile(column, weights, level) for column in y.T])
    mean = y.mean(axis=0) if weights is None else np.average(y, axis=0, weights=weights)
    if loss in LOG_LINKS:
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(mean), -20.0)
    return mean


def weighted_quantile(y: np.ndarray, weights: np.ndarray | None, level: float) -> float:
    """Return the smallest target below which lies this share of the weights."""
    order = np.argsort(y, kind="stable")
    summed = np.cumsum(np.ones(len(y)) if weights is None else weights[order])
    return float(y[order[min(int(np.searchsorted(summed, level * summed[-1])), len(y) - 1)]])
