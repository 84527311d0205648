"""``python -m fastopt [demo | info | bench]``: the worked example; this installation; its speed."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

import fastopt as fo


def loss_and_grad(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, Any]]:
    """Return the mean squared error of a line, and its gradients."""
    error = x @ params["weight"] + params["bias"] - y
    return float(np.mean(error**2)), {"weight": 2 * x.T @ error / len(x), "bias": 2 * error.mean(axis=0)}


def examples() -> dict[str, tuple[type[fo.Optimizer], dict[str, Any], int | None]]:
    """Return optimizer, hyperparameters and batch size of each row, for 100 samples and 100 epochs."""
    decays = fo.schedules
    return {
        "SGD": (fo.SGD, {"lr": 0.01}, 1),
        "batch gradient descent": (fo.SGD, {"lr": 0.5}, None),
        "SGD, linear decay": (fo.SGD, {"lr": decays.linear_decay(0.02, steps=10_000)}, 1),
        "SGD, exponential decay": (fo.SGD, {"lr": decays.exponential_decay(0.02, 0.9997)}, 1),
        "momentum": (fo.SGD, {"lr": 0.0005, "momentum": 0.9}, 1),
        "Adam": (fo.Adam, {"lr": 0.02}, 10),
        "RMSprop": (fo.RMSprop, {"lr": 0.01}, 10),
        "AdaGrad": (fo.Adagrad, {"lr": 0.5}, 10),
    }


def demo() -> int:
    """Fit the line y = 2 x + 1 with eight optimizers and schedules; return 1 if one ends more than 1 % above the optimum."""
    random = np.random.RandomState(0)
    x = random.rand(100, 1)
    y = 2 * x + 1 + 0.5 * random.randn(100, 1)
    design = np.hstack([x, np.ones_like(x)])
    best, (optimum,) = (r := np.linalg.lstsq(design, y))[0].ravel(), r[1] / len(x)
    print(f"least squares: loss {optimum:.8f}, weight {best[0]:.8f}, bias {best[1]:.8f}\n")
    print(f"{'optimizer':24}{'loss':>10}{'above':>9}{'weight':>9}{'bias':>9}{'seconds':>9}")
    curves, worst = {}, 0.0
    for name, (optimizer, hyperparameters, batch_size) in examples().items():
        params = {"weight": np.zeros((1, 1)), "bias": np.zeros(1)}
        history = fo.training.fit(
            loss_and_grad, params, (x, y), optimizer(params, **hyperparameters), epochs=100, batch_size=batch_size, seed=1
        )
        loss, _ = loss_and_grad(params, x, y)
        worst = max(worst, loss / optimum - 1)
        curves[name] = history.loss
        weight, bias = params["weight"].item(), params["bias"].item()
        print(f"{name:24}{loss:10.6f}{loss / optimum - 1:9.3%}{weight:9.4f}{bias:9.4f}{sum(history.seconds):9.3f}")
    plot(curves)
    return int(worst > 0.01)


def plot(curves: dict[str, list[float]]) -> None:
    """Save a picture of the loss curves, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("\nno picture of the loss curves: that needs matplotlib, pip install 'fastopt[plot]'")
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.semilogy(range(1, len(losses) + 1), losses, label=name)
    axes.set(xlabel="epoch", ylabel="mean squared error", title="y = 2 x + 1 + noise")
    axes.legend()
    figure.savefig("fastopt-curves.png", dpi=120)
    print("\nloss curves: fastopt-curves.png")


def main() -> int:
    if sys.argv[1:2] == ["bench"]:
        from . import bench

        return bench.main(sys.argv[2:])
    parser = argparse.ArgumentParser("python -m fastopt", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["demo", "info", "bench"], default="demo")
    given = parser.parse_args()
    if given.command == "info":
        fo.show_config()
        return 0
    return demo()


if __name__ == "__main__":
    raise SystemExit(main())
