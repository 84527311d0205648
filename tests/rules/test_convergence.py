"""Every optimizer minimizes: an ill-conditioned quadratic, Rosenbrock's function, and logistic regression on real data."""

import functools

import numpy as np
import pytest

import fastopt as fo

CLASSES = {n: c for n, c in vars(fo).items() if isinstance(c, type) and issubclass(c, fo.Optimizer) and c is not fo.Optimizer}
SETTINGS = {  # what suits 2000 full-gradient steps; learning rates fall evenly to zero where the rule does not decide them itself
    "SGD": {"lr": 1e-3, "momentum": 0.9},
    "SignSGD": {"lr": 2e-2, "momentum": 0.9},
    "Lion": {"lr": 1e-2},
    "Adam": {"lr": 5e-2},
    "AdamW": {"lr": 5e-2, "weight_decay": 0.0},
    "LAMB": {"lr": 3e-2},
    "Adamax": {"lr": 5e-2},
    "NAdam": {"lr": 5e-2},
    "RAdam": {"lr": 5e-2},
    "AdaBelief": {"lr": 5e-2},
    "Yogi": {"lr": 5e-2},
    "Adan": {"lr": 5e-2},
    "ADOPT": {"lr": 2e-2},
    "AdEMAMix": {"lr": 1e-2, "betas": (0.9, 0.999, 0.99), "alpha": 2.0},
    "RMSprop": {"lr": 1e-2},
    "Adagrad": {"lr": 0.5},
    "Adadelta": {"lr": 5.0},
    "Rprop": {"lr": 1e-2},
    "ASGD": {"lr": 1e-3, "lambd": 0.0},
    "FTRL": {"lr": 0.5},
    "ScheduleFreeSGD": {"lr": 3e-3},
    "ScheduleFreeAdamW": {"lr": 5e-2},
    "LARS": {"lr": 5e-2, "trust_coefficient": 0.1},
    "DoG": {"reps_rel": 1e-3},
    "Prodigy": {},
    "Adafactor": {"lr": 0.1},
    "Muon": {"lr": 5e-2, "weight_decay": 0.0},
}
OTHERS = {  # where a problem's scale asks for another
    ("quadratic", "ASGD"): {"lr": 1e-2, "lambd": 0.0},
    ("rosenbrock", "RAdam"): {"lr": 5e-3},
    ("rosenbrock", "ADOPT"): {"lr": 1e-1},
    ("cancer", "SGD"): {"lr": 0.1, "momentum": 0.9},
    ("cancer", "ASGD"): {"lr": 1.0, "lambd": 0.0},
    ("cancer", "ScheduleFreeSGD"): {"lr": 1.0},
}
OWN = {"DoG", "Prodigy", "ScheduleFreeSGD", "ScheduleFreeAdamW", "Rprop", "Adadelta", "FTRL"}  # which decide their steps themselves


def minimize(problem, name, grad, start, steps=2000):
    x = start.copy()
    options = dict(OTHERS.get((problem, name), SETTINGS[name]))
    if name not in OWN:
        options["lr"] = fo.schedules.linear_decay(options["lr"], steps)
    optimizer = CLASSES[name](x, **options)
    for _ in range(steps):
        optimizer.step(grad(x))
    return optimizer.average if name.startswith("ScheduleFree") else x


def quadratic(x):
    return float(np.sum(np.array([1.0, 10.0, 100.0]) * (x - 1) ** 2) / 2)


def rosenbrock(x):
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


@functools.cache
def cancer():
    """Loss and gradient of logistic regression with a small penalty, and the least loss."""
    datasets = pytest.importorskip("sklearn.datasets")
    optimize = pytest.importorskip("scipy.optimize")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = np.hstack([(x - x.mean(0)) / x.std(0), np.ones((len(x), 1))])

    def loss(w):
        return float(np.mean(np.logaddexp(0, x @ w) - y * (x @ w)) + 5e-3 * w @ w)

    def grad(w):
        return x.T @ (1 / (1 + np.exp(-x @ w)) - y) / len(x) + 1e-2 * w

    return loss, grad, optimize.minimize(loss, np.zeros(31), jac=grad).fun


def test_there_is_a_setting_for_every_optimizer():
    assert set(SETTINGS) == set(CLASSES)


@pytest.mark.parametrize("name", SETTINGS)
def test_quadratic(name):
    start = np.array([3.0, -2.0, 0.5])
    x = minimize("quadratic", name, lambda x: np.array([1.0, 10.0, 100.0]) * (x - 1), start)
    assert quadratic(x) < 1e-3 * quadratic(start)


@pytest.mark.parametrize("name", SETTINGS)
def test_rosenbrock(name):
    start = np.array([-1.2, 1.0])
    x = minimize(
        "rosenbrock", name, lambda x: np.array([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)]), start
    )
    assert rosenbrock(x) < 0.1 * rosenbrock(start)


@pytest.mark.parametrize("name", SETTINGS)
def test_logistic_regression(name):
    loss, grad, best = cancer()
    assert loss(minimize("cancer", name, grad, np.full(31, 0.1))) < 1.05 * best
