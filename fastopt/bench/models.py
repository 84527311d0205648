"""Epochs of linear models to be timed: fastopt's, and scikit-learn's plain gradient descent on the same rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastopt as fo

EPOCHS = 20
KINDS: dict[
    str, tuple[str, str, str, int, dict[str, Any]]
] = {  # Rows, loss, optimizer, rows of a batch, further options of the objective.
    "dense, squared error, SGD": ("dense", "squared_error", "SGD", 1, {}),
    "dense, logistic, SGD": ("dense", "log_loss", "SGD", 1, {}),
    "dense, squared error, Adam": ("dense", "squared_error", "Adam", 1, {}),
    "dense, logistic, Adam": ("dense", "log_loss", "Adam", 1, {}),
    "dense, squared error, Adam, 32": ("dense", "squared_error", "Adam", 32, {}),
    "sparse, squared error, SGD": ("sparse", "squared_error", "SGD", 1, {"alpha": 1e-6}),
    "sparse, logistic, SGD": ("sparse", "log_loss", "SGD", 1, {"alpha": 1e-6}),
    "sparse, squared error, Adagrad": ("sparse", "squared_error", "Adagrad", 1, {}),
    "sparse, squared error, lazy Adam": ("sparse", "squared_error", "Adam", 1, {"mode": "lazy"}),
    "sparse, squared error, Adam, 256": ("sparse", "squared_error", "Adam", 256, {}),
}


@functools.cache
def data(kind: str) -> tuple[Any, np.ndarray]:
    """Return rows and targets: 100,000 of 30 numbers, or 20,000 with 100 of 100,000 numbers."""
    rng = np.random.default_rng(0)
    if kind == "dense":
        x: Any = rng.normal(size=(100_000, 30))
    else:
        from scipy import sparse

        x = sparse.random_array((20_000, 100_000), density=1e-3, format="csr", rng=rng)
    return x, x @ rng.normal(size=x.shape[1]) + 0.1 * rng.normal(size=x.shape[0])


def targets(y: np.ndarray, loss: str) -> np.ndarray:
    """Return the targets of a loss."""
    return (y > 0).astype(float) if loss == "log_loss" else y


def epochs(kind: str) -> tuple[Callable[[], Any], int]:
    """Return a run of epochs of fastopt, and the number of rows that it takes."""
    form, loss, optimizer, size, options = KINDS[kind]
    x, y = data(form)
    params = {"coef": np.zeros(x.shape[1]), "intercept": np.zeros(1)}
    objective = fo.linear.Objective(loss, **options)
    made = objective.epochs(params, (x, targets(y, loss)), getattr(fo, optimizer)(params, lr=1e-4), size)
    rng = np.random.default_rng(0)

    def run() -> None:
        count = len(made.values) + EPOCHS
        while not made.run_epochs(rng, True, count, 1.0, math.nan, 1):
            pass

    return run, EPOCHS * x.shape[0]


def by_scikit_learn(kind: str) -> tuple[Callable[[], Any], int]:
    """Return as many epochs of plain gradient descent on the same rows by scikit-learn, its checks included."""
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    form, loss, _, _, options = KINDS[kind]
    x, y = data(form)
    cls = SGDClassifier if loss == "log_loss" else SGDRegressor
    given = {"alpha": options.get("alpha", 0.0), "learning_rate": "constant", "eta0": 1e-4, "max_iter": EPOCHS, "tol": None}
    model = cls(loss, random_state=0, **given)
    return functools.partial(model.fit, x, targets(y, loss)), EPOCHS * x.shape[0]
