"""Train softmax regression and a small network on digits, with gradients written by hand: ``digits.py [optimizer]``."""

import sys
from itertools import pairwise

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt as fo


def load():
    pixels, labels = load_digits(return_X_y=True)
    pixels, targets = (pixels / 16).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    return train_test_split(pixels, targets, test_size=0.25, random_state=0, stratify=labels)


def forward(params, x):
    """Return the activations of each layer; the last are the logits. One layer is softmax regression."""
    layers = [x]
    for w, b in params[:-1]:
        layers += [np.maximum(layers[-1] @ w + b, 0)]
    return [*layers, layers[-1] @ params[-1][0] + params[-1][1]]


def loss_and_grad(params, x, y):
    """Return the mean cross-entropy and its gradient, by backpropagation."""
    layers = forward(params, x)
    p = softmax(layers[-1], axis=1)
    grads, delta = [], (p - y) / np.float32(len(x))
    for (w, _), below in zip(params[::-1], layers[-2::-1], strict=True):
        grads.append((below.T @ delta, delta.sum(axis=0)))
        delta = (delta @ w.T) * (below > 0)
    return -float(np.mean(np.log(p[y > 0] + 1e-12))), grads[::-1]


def network(*sizes, seed=0):
    """Return weights (He et al., 2015) and biases of a fully connected network."""
    rng = np.random.default_rng(seed)
    weights = [(rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(sizes)]
    return [(w, np.zeros(w.shape[1], np.float32)) for w in weights]


if __name__ == "__main__":
    x, x_test, y, y_test = load()
    name = sys.argv[1] if len(sys.argv) > 1 else "Adam"
    histories = {}
    for kind, sizes in {"softmax regression": (64, 10), "64-64-10 network": (64, 64, 10)}.items():
        params = network(*sizes)
        optimizer = getattr(fo, name)(params)
        history = fo.training.fit(loss_and_grad, params, (x, y), optimizer, epochs=40, batch_size=32, seed=0)
        histories[kind] = history
        accuracy = np.mean(forward(params, x_test)[-1].argmax(1) == y_test.argmax(1))
        print(f"{kind:20} loss {history.loss[-1]:.4f}  test accuracy {accuracy:.1%}  {sum(history.seconds):.2f} s")
    axes = fo.plot.losses(histories)
    axes.set(ylabel="cross-entropy", title=f"digits, {name}")
    axes.figure.savefig("digits.png")
