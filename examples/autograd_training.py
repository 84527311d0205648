"""One small network, its gradients from autograd, JAX and PyTorch, one optimizer; losses go to autograd_training.png."""

import numpy as np

import fastopt as fo

X = np.random.default_rng(0).uniform(-3, 3, (400, 1))
Y = np.sin(2 * X)
SHAPES = {"w1": (1, 32), "b1": (32,), "w2": (32, 1), "b2": (1,)}


def network(xp, params, x, y):
    """Return the mean squared error of a network with one hidden layer, in any library with NumPy's names."""
    hidden = xp.tanh(x @ params["w1"] + params["b1"])
    return xp.mean((hidden @ params["w2"] + params["b2"] - y) ** 2)


def by_autograd():
    import autograd

    return autograd.value_and_grad(lambda params, x, y: network(autograd.numpy, params, x, y))


def by_jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.jit(jax.value_and_grad(lambda params, x, y: network(jax.numpy, params, x, y)))


def by_torch():
    import torch

    def loss_and_grad(params, x, y):
        tensors = {name: torch.tensor(a, requires_grad=True) for name, a in params.items()}
        loss = network(torch, tensors, torch.from_numpy(x), torch.from_numpy(y))
        loss.backward()
        return loss.item(), {name: a.grad for name, a in tensors.items()}

    return loss_and_grad


def train(loss_and_grad, epochs=150):
    start = np.random.default_rng(1)
    params = {name: start.normal(size=shape) / np.sqrt(shape[0]) for name, shape in SHAPES.items()}
    optimizer = fo.AdamW(params, lr=fo.schedules.cosine_decay(0.02, steps=epochs * 10), weight_decay=1e-4)
    return fo.training.fit(loss_and_grad, params, (X, Y), optimizer, epochs=epochs, batch_size=40, seed=0)


if __name__ == "__main__":
    histories = {}
    for name, source in {"autograd": by_autograd, "jax": by_jax, "torch": by_torch}.items():
        history = histories[name] = train(source())
        print(f"{name:10} loss {history.loss[-1]:.5f}  {sum(history.seconds):.2f} s")
    axes = fo.plot.losses(histories)
    axes.set(ylabel="mean squared error")
    axes.figure.savefig("autograd_training.png", dpi=120)
