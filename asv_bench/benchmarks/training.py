"""Whole loops, as users write them: the step is a small part."""

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, NETWORK, _Steps


class Line:
    """The worked example: a line with two parameters, 100 samples, 20 epochs of batches of 10."""

    params = ("SGD", "Adam")
    param_names = ("rule",)

    def setup(self, rule):
        rng = np.random.default_rng(0)
        self.x = rng.random((100, 1))
        self.y = 2 * self.x + 1 + 0.5 * rng.standard_normal((100, 1))

    @staticmethod
    def loss_and_grad(params, x, y):
        error = x @ params["weight"] + params["bias"] - y
        return float(np.mean(error**2)), {"weight": 2 * x.T @ error / len(x), "bias": 2 * error.mean(axis=0)}

    def time_fit(self, rule):
        params = {"weight": np.zeros((1, 1)), "bias": np.zeros(1)}
        fo.training.fit(
            self.loss_and_grad, params, (self.x, self.y), getattr(fo, rule)(params, lr=0.01), epochs=20, batch_size=10, seed=1
        )


class Network(_Steps):
    """A batch of 64 samples through a network of three layers: forward, backward and step."""

    params = ("fastopt", "no step")
    param_names = ("optimizer",)

    def make(self, optimizer):
        rng = np.random.default_rng(0)
        params = [(rng.standard_normal(shape) * 0.05).astype(np.float32) for shape in NETWORK]
        x = rng.standard_normal((64, NETWORK[0][0]), np.float32)
        y = np.eye(NETWORK[-1][0], dtype=np.float32)[rng.integers(0, NETWORK[-1][0], 64)]
        step = fo.Adam(params, lr=LEARNING_RATE).step if optimizer == "fastopt" else lambda grads: None
        w1, b1, w2, b2, w3, b3 = params

        def batch():
            h1 = np.maximum(x @ w1 + b1, 0)
            h2 = np.maximum(h1 @ w2 + b2, 0)
            e3 = h2 @ w3 + b3 - y
            e2 = (e3 @ w3.T) * (h2 > 0)
            e1 = (e2 @ w2.T) * (h1 > 0)
            step([x.T @ e1, e1.sum(0), h1.T @ e2, e2.sum(0), h2.T @ e3, e3.sum(0)])

        return batch
