"""Train softmax regression and a one-hidden-layer network on scikit-learn's digits, with hand-written NumPy gradients.

``python examples/digits.py [optimizer] [--lr LR] [--epochs N]``: any optimizer by name; loss curves go to digits.png.
"""

import argparse
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt as fo

OPTIMIZERS = [name for name, x in vars(fo).items() if isinstance(x, type) and issubclass(x, fo.Optimizer) and x is not fo.Optimizer]


def load():
    """Return training and test data: pixels in [0, 1], one-hot labels."""
    pixels, labels = load_digits(return_X_y=True)
    x, y = (pixels / 16).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    return train_test_split(x, y, test_size=0.25, random_state=0, stratify=labels)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(params, x):
    """Return the activations of each layer; the last are the logits. One layer is softmax regression."""
    layers = [x]
    for k, (w, b) in enumerate(params):
        z = layers[-1] @ w + b
        layers.append(np.maximum(z, 0) if k < len(params) - 1 else z)
    return layers


def loss_and_grad(params, x, y):
    """Return the mean cross-entropy and its gradient, by backpropagation."""
    layers = forward(params, x)
    p = softmax(layers[-1])
    loss = -np.mean(np.log(p[y > 0] + 1e-12))
    grads, delta = [], (p - y) / np.float32(len(x))
    for (w, _), below in zip(params[::-1], layers[-2::-1], strict=True):
        grads.append((below.T @ delta, delta.sum(axis=0)))
        delta = (delta @ w.T) * (below > 0)
    return float(loss), grads[::-1]


def network(*sizes, seed=0):
    """Return weights (He et al., 2015) and biases of a fully connected network."""
    rng = np.random.default_rng(seed)
    return [
        ((rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32), np.zeros(b, np.float32)) for a, b in pairwise(sizes)
    ]


def train(params, optimizer, epochs):
    """Train, and return the history and the test accuracy."""
    x, x_test, y, y_test = load()
    history = fo.training.fit(loss_and_grad, params, (x, y), optimizer, epochs=epochs, batch_size=32, seed=0)
    return history, float(np.mean(forward(params, x_test)[-1].argmax(1) == y_test.argmax(1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("optimizer", nargs="?", default="Adam", choices=OPTIMIZERS)
    parser.add_argument("--lr", type=float, help="learning rate (the optimizer's default)")
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    options = {} if given.lr is None else {"lr": given.lr}
    curves = {}
    for name, sizes in {"softmax regression": (64, 10), "64-64-10 network": (64, 64, 10)}.items():
        params = network(*sizes)
        history, accuracy = train(params, getattr(fo, given.optimizer)(params, **options), given.epochs)
        curves[name] = history.loss
        print(f"{name:20} loss {history.loss[-1]:.4f}  test accuracy {accuracy:.1%}  {sum(history.seconds):.2f} s")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: that needs matplotlib, pip install 'fastopt[plot]'")
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.semilogy(losses, label=name)
    axes.set(xlabel="epoch", ylabel="cross-entropy", title=f"digits, {given.optimizer}")
    axes.legend()
    figure.savefig("digits.png", dpi=120)
    print("loss curves: digits.png")


if __name__ == "__main__":
    main()
