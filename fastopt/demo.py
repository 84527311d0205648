"""The worked example: the line y = 2 x + 1 with noise, by an own loop, by `minimize`, by an estimator, and by eight optimizers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo

from .extras import advice
from .plot import losses, styled

EPOCHS = 100
WRITER = "python -m fastopt"  # Written into pictures, by which a later run knows that it may replace them.
PICTURE = "fastopt-curves.png"


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return 100 samples, of shape (100, 1)."""
    random = np.random.RandomState(0)
    x = random.rand(100, 1)
    return x, 2 * x + 1 + 0.5 * random.randn(100, 1)


def loss_and_grad(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, Any]]:
    """Return the mean squared error of a line, and its gradients."""
    error = x @ params["weight"] + params["bias"] - y
    return float(np.mean(error**2)), {"weight": 2 * x.T @ error / len(x), "bias": 2 * error.mean(axis=0)}


def start() -> dict[str, Any]:
    """Return a line of zeros."""
    return {"weight": np.zeros((1, 1)), "bias": np.zeros(1)}


def by_loop(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return weight and bias by a loop of one's own over single samples."""
    params = start()
    optimizer = fo.SGD(params, lr=0.01)
    rng = np.random.default_rng(1)
    for _ in range(EPOCHS):
        for i in rng.permutation(len(x)):
            _, grads = loss_and_grad(params, x[i : i + 1], y[i : i + 1])
            optimizer.step(grads)
    return params["weight"].item(), params["bias"].item()


def by_minimize(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return weight and bias by the minimum of the loss over all samples."""

    def fun(line: np.ndarray) -> tuple[float, np.ndarray]:
        error = line[0] * x + line[1] - y
        return float(np.mean(error**2)), 2 * np.array([np.mean(error * x), np.mean(error)])

    weight, bias = fo.minimize(fun, [0.0, 0.0], jac=True).x
    return float(weight), float(bias)


def by_estimator(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return weight and bias by scikit-learn's interface."""
    model = fo.linear.LinearRegressor(optimizer="sgd", lr=0.01, batch_size=1, max_iter=EPOCHS, tol=None, random_state=1)
    model.fit(x, y[:, 0])
    return float(model.coef_[0]), float(model.intercept_[0])


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
    "own loop, SGD": by_loop,
    "minimize, Adam": by_minimize,
    "LinearRegressor, SGD": by_estimator,
}
decays = fo.schedules
OPTIMIZERS: dict[str, tuple[type[fo.Optimizer], dict[str, Any], int | None]] = {
    "SGD": (fo.SGD, {"lr": 0.01}, 1),
    "batch gradient descent": (fo.SGD, {"lr": 0.5}, None),
    "SGD, linear decay": (fo.SGD, {"lr": decays.linear_decay(0.02, steps=10_000)}, 1),
    "SGD, exponential decay": (fo.SGD, {"lr": decays.exponential_decay(0.02, 0.9997)}, 1),
    "momentum": (fo.SGD, {"lr": 0.0005, "momentum": 0.9}, 1),
    "Adam": (fo.Adam, {"lr": 0.02}, 10),
    "RMSprop": (fo.RMSprop, {"lr": 0.01}, 10),
    "AdaGrad": (fo.Adagrad, {"lr": 0.5}, 10),
}


def demo(picture: str | None = PICTURE) -> int:
    """Fit the line in all ways; return 1 if one ends more than 1 % above the optimum.

    Parameters
    ----------
    picture : str, optional
        File of the curves; None for none.
    """
    x, y = data()
    design = np.hstack([x, np.ones_like(x)])
    best, (optimum,) = (r := np.linalg.lstsq(design, y))[0].ravel(), r[1] / len(x)
    print(f"least squares: loss {optimum:.8f}, weight {best[0]:.8f}, bias {best[1]:.8f}\n")
    worst, curves = 0.0, {}
    head(f"the same line in three ways, {EPOCHS} epochs")
    for name, fit in WAYS.items():
        try:
            fit(x, y)  # What is imported on first use takes longer.
        except ImportError as error:
            print(f"{name:24}{error}")
            continue
        began = time.perf_counter()
        weight, bias = fit(x, y)
        worst = max(worst, row(name, (x, y), optimum, weight, bias, time.perf_counter() - began))
    head("\nby training.fit")
    for name, (optimizer, hyperparameters, batch_size) in OPTIMIZERS.items():
        params = start()
        made = optimizer(params, **hyperparameters)
        history = fo.training.fit(loss_and_grad, params, (x, y), made, EPOCHS, batch_size, seed=1, validation=(x, y))
        weight, bias = params["weight"].item(), params["bias"].item()
        worst = max(worst, row(name, (x, y), optimum, weight, bias, sum(history.seconds)))
        curves[name] = np.array(history.validation_loss) - optimum
    if picture is not None:
        print(f"\n{draw(curves, Path(picture))}")
    return int(worst > 0.01)


def head(title: str) -> None:
    """Print the head of a table."""
    print(f"{title}\n{'':24}{'loss':>10}{'above':>9}{'weight':>9}{'bias':>9}{'ms':>9}")


def row(name: str, samples: tuple[np.ndarray, np.ndarray], optimum: float, weight: float, bias: float, seconds: float) -> float:
    """Print a row; return by how much its loss is above the optimum, relative to that."""
    x, y = samples
    loss = float(np.mean((weight * x + bias - y) ** 2))
    print(f"{name:24}{loss:10.6f}{loss / optimum - 1:9.3%}{weight:9.4f}{bias:9.4f}{1e3 * seconds:9.2f}")
    return loss / optimum - 1


def draw(curves: dict[str, np.ndarray], path: Path) -> str:
    """Save a picture of the curves; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"no picture of the loss curves: that needs matplotlib, {advice('plot')}"
    path = path if path.suffix else path.with_name(f"{path.name}.png")  # As matplotlib would name it.
    if path.exists() and not (path.is_file() and WRITER.encode() in path.read_bytes()):
        return f"no picture of the loss curves: {path} is there, and not by {WRITER}; expected --plot FILE with another name"
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = losses(curves, axes=styled(figure.subplots()))
    axes.set(ylabel="mean squared error above the optimum", title="y = 2 x + 1 + noise")
    key = "Creator" if path.suffix in (".pdf", ".svg") else "Software"
    try:
        figure.savefig(path, dpi=120, metadata={key: WRITER})
    except (OSError, ValueError) as error:
        return f"no picture of the loss curves: {path} cannot be written ({error})"
    return f"loss curves: {path}"
