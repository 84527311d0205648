"""Functions to minimise, with their gradients, starts and minima."""

import numpy as np
from scipy import optimize

import fastopt as fo

RNG = np.random.default_rng(7)
X = RNG.normal(size=(50, 4))
Y = np.where(X @ [1.0, -2.0, 0.5, 0.0] + RNG.normal(size=50) > 0, 1.0, -1.0)


def rosenbrock(x):
    return optimize.rosen(x), optimize.rosen_der(x)


def beale(v):
    x, y = v
    a, b, c = (constant - x + x * y**k for k, constant in enumerate((1.5, 2.25, 2.625), 1))
    along_x = 2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)
    return a * a + b * b + c * c, np.array([along_x, 2 * x * (a + 2 * b * y + 3 * c * y**2)])


def booth(v):
    a, b = v[0] + 2 * v[1] - 7.13, 2 * v[0] + v[1] - 5.37
    return a * a + b * b, np.array([2 * a + 4 * b, 4 * a + 2 * b])


def quadratic(n, condition):
    curvature, centre = np.geomspace(1, condition, n), RNG.normal(size=n)

    def fun(x):
        return float(curvature @ (x - centre) ** 2) / 2, curvature * (x - centre)

    return fun


def logistic(w):
    z = Y * (X @ w)
    return np.logaddexp(0, -z).mean() + 0.005 * w @ w, -(X.T @ (Y / (1 + np.exp(z)))) / len(Y) + 0.01 * w


def square(x):
    return float(np.sum((x - 0.37) ** 2))


def square_gradient(x):
    return 2 * (x - 0.37)


def pair(x):
    return square(x), square_gradient(x)


def scipy_minimize(fun, x0, method="adam", options=None, **arguments):
    return optimize.minimize(fun, x0, method=fo.scipy_method(method), options=options, **arguments)


# Name: function, start, bounds that are active at the minimum.
PROBLEMS = {
    "rosenbrock 2": (rosenbrock, np.array([-1.2, 1.0]), [(-2, 0.813), (None, None)]),
    "rosenbrock 10": (rosenbrock, np.tile([-1.2, 1.0], 5), [(-2, 0.813)] * 10),
    "beale": (beale, np.array([1.0, 1.0]), [(None, 2.71), (None, 0.4)]),
    "booth": (booth, np.zeros(2), [(None, None), (None, 2.5)]),
    "quadratic, condition 10": (quadratic(10, 10), np.zeros(10), [(-0.3, 0.4)] * 10),
    "quadratic, condition 1000": (quadratic(10, 1000), np.zeros(10), [(-0.3, 0.4)] * 10),
    "logistic": (logistic, np.zeros(4), [(None, None), (-1.1, 0.6), (0.0, None), (0.1, 0.2)]),
}
