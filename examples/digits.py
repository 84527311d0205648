"""Softmax regression and a one-hidden-layer network on scikit-learn's digits, with gradients written by hand.

``python examples/digits.py [optimizer]``: any optimizer by name; loss curves go to digits.png.
"""

import sys
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt as fo


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
    p = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    grads, delta = [], (p - y) / np.float32(len(x))
    for (w, _), below in zip(params[::-1], layers[-2::-1], strict=True):
        grads.append((below.T @ delta, delta.sum(axis=0)))
        delta = (delta @ w.T) * (below > 0)
    return -float(np.mean(np.log(p[y > 0] + 1e-12))), grads[::-1]


def network(*sizes):
    """Return weights (He et al., 2015) and biases of a fully connected network."""
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(sizes)]
    return [(w, np.zeros(w.shape[1], np.float32)) for w in weights]


if __name__ == "__main__":
    pixels, labels = load_digits(return_X_y=True)
    pixels, targets = (pixels / 16).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    x, x_test, y, y_test = train_test_split(pixels, targets, test_size=0.25, random_state=0, stratify=labels)
    name = sys.argv[1] if len(sys.argv) > 1 else "Adam"
    axes = (figure := Figure(figsize=(8, 5), layout="constrained")).subplots()
    for kind, sizes in {"softmax regression": (64, 10), "64-64-10 network": (64, 64, 10)}.items():
        params = network(*sizes)
        history = fo.training.fit(loss_and_grad, params, (x, y), getattr(fo, name)(params), epochs=40, batch_size=32, seed=0)
        accuracy = np.mean(forward(params, x_test)[-1].argmax(1) == y_test.argmax(1))
        print(f"{kind:20} loss {history.loss[-1]:.4f}  test accuracy {accuracy:.1%}  {sum(history.seconds):.2f} s")
        axes.semilogy(history.loss, label=kind)
    axes.set(xlabel="epoch", ylabel="cross-entropy", title=f"digits, {name}")
    axes.legend()
    figure.savefig("digits.png", dpi=120)
