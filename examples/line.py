"""The worked example three ways: `fit`, `minimize`, `LinearRegressor`; losses above the optimum go to line.png."""

import numpy as np

import fastopt as fo

random = np.random.RandomState(0)
x = random.rand(100, 1)
y = 2 * x + 1 + 0.5 * random.randn(100, 1)
design = np.hstack([x, np.ones_like(x)])
optimum = np.linalg.lstsq(design, y)[1][0] / len(x)


def loss(line):
    return float(np.mean((line[0] * x + line[1] - y) ** 2))


def by_loop(epochs=100):
    """Train by `fit` with gradients of one's own."""

    def loss_and_grad(w, rows, targets):
        error = rows @ w - targets
        return np.mean(error**2), 2 * rows.T @ error / len(error)

    w = np.zeros((2, 1))
    history = fo.training.fit(
        loss_and_grad, w, (design, y), fo.SGD(w, lr=0.01), epochs=epochs, batch_size=1, seed=1, validation=(design, y)
    )
    return w.ravel(), history.validation_loss


def by_minimize():
    """Minimize the loss of all samples."""

    def fun(line):
        error = line[0] * x + line[1] - y
        return loss(line), 2 * np.array([np.mean(error * x), np.mean(error)])

    found = fo.minimize(fun, np.zeros(2), jac=True, options={"history": True, "maxiter": 300})
    return found.x, found.history.fun


def by_estimator(epochs=100):
    """Fit scikit-learn's way, epoch after epoch."""
    model = fo.linear.LinearRegressor(optimizer="sgd", lr=0.01, batch_size=1, random_state=1)
    lines = [np.append(model.partial_fit(x, y[:, 0]).coef_, model.intercept_) for _ in range(epochs)]
    return lines[-1], [loss(line) for line in lines]


if __name__ == "__main__":
    curves = {}
    for name, way in {"fit": by_loop, "minimize": by_minimize, "LinearRegressor": by_estimator}.items():
        (weight, bias), curves[name] = way()
        print(f"{name:16} weight {weight:.4f}  bias {bias:.4f}  loss {loss((weight, bias)):.6f}")
    axes = fo.plot.losses(curves, optimum=optimum - 1e-16)
    axes.set(xlabel="epochs of SGD, iterations of minimize")
    axes.figure.savefig("line.png", dpi=120)
