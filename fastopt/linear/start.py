"""Where the training of a linear model begins: intercepts and learning rates by the targets."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..minimization.methods import class_of

LOG_LINKS = ("poisson", "gamma")  # Losses whose predictions are logarithms of means.
RATE = 0.01


@functools.cache
def keeps_scale(cls: type) -> bool:
    """Return True for an optimizer whose steps hardly depend on the scale of gradients, as Adam's."""
    moved = []
    for scale in (1.0, 1e3):
        w = np.zeros(2)
        optimizer = cls(w, lr=RATE)
        for g in (1.0, 0.5, 2.0):
            optimizer.step(np.array([scale * g, -scale * g]))
        moved.append(abs(w[0]))
    return bool(moved[1] < 10 * moved[0])


def optimizer_class(name: Any) -> type:
    """Return the optimizer of a name in any case, or a class, or raise."""
    try:
        return class_of(name)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("method:", "optimizer:")) from None


def rate_of(cls: type, loss: str, y: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the default learning rate: in units of the targets where the optimizer's steps do not scale with them."""
    if loss in LOG_LINKS or not keeps_scale(cls):
        return RATE
    mean = np.average(y, axis=0, weights=weights)
    spread = float(np.sqrt(np.average(np.square(y - mean), axis=0, weights=weights).mean()))
    return RATE * (spread if spread > 0 else 1.0)


def constants_of(loss: str, y: np.ndarray, weights: np.ndarray | None, quantile: float) -> np.ndarray:
    """Return the best constant prediction of each column of targets; for robust losses the median, which is near it."""
    if loss in ("huber", "epsilon_insensitive", "quantile"):
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
