"""Sweeps of the learning rate find one that works, leave the parameters alone, and are drawn."""

import numpy as np
import pytest
from problems import PROBLEMS

import fastopt as fo

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(500, 20)), RNG.normal(size=20)
Y = X @ W + 0.1 * RNG.normal(size=500)


def loss_and_grad(p, x, y):
    r = x @ p["w"] - y
    return np.mean(r * r), {"w": 2 * x.T @ r / len(r)}


@pytest.mark.parametrize("method", ["adam", "sgd", fo.AdaBelief])
def test_the_suggestion_trains(method):
    params = {"w": np.zeros(20)}
    found = fo.lr_find(loss_and_grad, params, (X, Y), method=method, batch_size=32)
    assert not params["w"].any() and found.lr.shape == found.loss.shape == found.smooth.shape
    optimizer = fo.minimization.methods.construct(method, params, {"lr": found.suggestion})
    history = fo.training.fit(loss_and_grad, params, (X, Y), optimizer, epochs=20, batch_size=32, seed=0)
    assert history.loss[-1] < 0.05 < history.loss[0]


@pytest.mark.parametrize("name", PROBLEMS)
def test_functions_without_data(name):
    fun, x0, _ = PROBLEMS[name]
    found = fo.lr_find(fun, x0)
    assert 1e-3 < found.suggestion < 3
    options = {"lr": fo.schedules.cosine_decay(found.suggestion, 3000), "maxiter": 3000, "ftol": None}
    assert fo.minimize(fun, x0, jac=True, options=options).fun < fun(x0)[0]
    other = fo.lr_find(lambda x: fun(x)[0], x0, jac=lambda x: fun(x)[1])
    assert other.suggestion == found.suggestion


def test_the_sweep_ends_when_the_loss_explodes():
    found = fo.lr_find(loss_and_grad, {"w": np.zeros(20)}, (X, Y), method="sgd", high=1e6, steps=200)
    assert len(found.loss) < 200 and found.loss[-1] > found.loss.min()
    assert found.loss[0] == pytest.approx(np.mean(Y**2))


def test_losses_that_never_fall():
    found = fo.lr_find(lambda x: (1.0, np.zeros(2)), np.zeros(2))
    assert np.isnan(found.suggestion) and len(found.lr) == 100
    found = fo.lr_find(lambda x: (np.nan, np.zeros(2)), np.zeros(2))
    assert np.isnan(found.suggestion) and len(found.lr) == 1


def test_the_picture():
    found = fo.lr_find(loss_and_grad, {"w": np.zeros(20)}, (X, Y), batch_size=32)
    axes = found.plot()
    assert axes.get_xscale() == "log" and len(axes.lines) == 3 and "suggestion" in axes.get_legend_handles_labels()[1][-1]


def test_noise_is_no_suggestion():
    """Without a fall that stands out from the scatter there is none."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert np.isnan(fo.lr_find(lambda x: (rng.normal(), np.zeros(2)), np.zeros(2)).suggestion)
