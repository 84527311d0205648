"""Losses: values of others, slopes by differences, and the bits of C and NumPy."""

import ctypes
import inspect
import subprocess

import numpy as np
import pytest
from scipy.optimize import check_grad

import fastopt as fo
from fastopt import arithmetic, losses
from fastopt.linear.objective import CONSTANTS, LOSSES, MARGINS

RNG = np.random.default_rng(0)
Z = np.concatenate([RNG.normal(size=200) * 3, [0.0, 1.0, -1.0]])


def targets(name):
    """Return targets that a loss is for."""
    if name in MARGINS:
        return np.sign(RNG.normal(size=Z.size))
    if name == "log_loss":
        return RNG.integers(0, 2, Z.size).astype(float)
    return RNG.gamma(2.0, size=Z.size)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_those_of_differences(name):
    value, slope = getattr(losses, name), getattr(losses, f"{name}_slope")
    for z, y in zip(Z[:-3], targets(name)[:-3], strict=True):
        error = check_grad(lambda v, y=y: value(v[0], y), lambda v, y=y: np.array([slope(v[0], y)]), np.array([z]))
        assert error < 2e-6 * max(1.0, abs(slope(z, y)))
    assert inspect.signature(value) == inspect.signature(slope)
    assert value(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "theirs", "factor"),
    [
        ("squared_error", "HalfSquaredError", 2.0),
        ("huber", "HuberLoss", 1.0),
        ("quantile", "PinballLoss", 1.0),
        ("poisson", "HalfPoissonLoss", 1.0),
        ("gamma", "HalfGammaLoss", 1.0),
        ("log_loss", "HalfBinomialLoss", 1.0),
    ],
)
def test_values_are_those_of_scikit_learn(name, theirs, factor):
    module = pytest.importorskip("sklearn._loss.loss")
    given = {"huber": {"quantile": 0.9, "delta": 1.0}, "quantile": {"quantile": 0.5}}.get(name, {})
    loss, y = getattr(module, theirs)(**given), targets(name)
    kept = y.copy()
    value, slope = loss.loss_gradient(y_true=y, raw_prediction=Z.copy())
    np.testing.assert_allclose(getattr(losses, name)(Z, kept), factor * value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(getattr(losses, f"{name}_slope")(Z, kept), factor * slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", MARGINS)
def test_losses_of_margins_are_those_of_scikit_learn(name):
    fast = pytest.importorskip("sklearn.linear_model._sgd_fast")
    theirs = {"hinge": "Hinge", "squared_hinge": "SquaredHinge", "modified_huber": "ModifiedHuber", "perceptron": "Hinge"}[name]
    loss = getattr(fast, theirs)(*([0.0] if name == "perceptron" else []))
    y = targets(name)
    found = [(loss.py_loss(z, t), loss.py_dloss(z, t)) for z, t in zip(Z, y, strict=True)]
    np.testing.assert_allclose(getattr(losses, name)(Z, y), [v for v, _ in found], rtol=1e-14)
    np.testing.assert_allclose(getattr(losses, f"{name}_slope")(Z, y), [s for _, s in found], rtol=1e-14)


def test_values_are_those_of_torch():
    torch = pytest.importorskip("torch")
    z, y = torch.tensor(Z), torch.tensor(targets("gamma"))
    label = (y > 1).double()
    functional = torch.nn.functional
    pairs = {
        "squared_error": functional.mse_loss(z, y, reduction="none"),
        "huber": functional.huber_loss(z, y, reduction="none"),
        "poisson": functional.poisson_nll_loss(z, y, reduction="none"),
        "log_loss": functional.binary_cross_entropy_with_logits(z, label, reduction="none"),
    }
    for name, expected in pairs.items():
        given = label if name == "log_loss" else y
        np.testing.assert_allclose(getattr(losses, name)(Z, given.numpy()), expected.numpy(), rtol=1e-12, atol=1e-13)


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 709.78, 709.79, 700.0, -700.0, -745.13, -745.14, -746.0, -720.0, 5e-324, 1e-17]
NUMBERS = {
    "exp": np.concatenate([SPECIAL, RNG.uniform(-745, 710, 20000), RNG.normal(size=20000)]),
    "log": np.concatenate([SPECIAL, np.exp(RNG.uniform(-700, 700, 20000)), RNG.uniform(0.5, 2, 20000)]),
    "log1p": np.concatenate(
        [SPECIAL, [-1.0, -0.25, 1.0, 1e300], RNG.uniform(-0.999, 1, 20000), np.exp(RNG.uniform(-40, 40, 20000))]
    ),
}


@pytest.mark.parametrize(("name", "units"), [("exp", 2), ("log1p", 2), ("log", 4)])
def test_functions_are_right_to_a_few_units(name, units):
    x = NUMBERS[name]
    with np.errstate(all="ignore"):
        found, expected = getattr(arithmetic, name)(x), getattr(np, name)(x)
    known = np.isfinite(expected) & (expected != 0)
    assert np.array_equal(found[~known], expected[~known], equal_nan=True)
    assert (np.abs(found[known] - expected[known]) <= units * np.spacing(np.abs(expected[known]))).all()
    assert getattr(arithmetic, name)(0.5) == getattr(arithmetic, name)(np.array([0.5]))[0]


@pytest.mark.compiled
@pytest.mark.parametrize("flags", [["-O0"], ["-O3"], ["-O3", "-march=native"]])
def test_functions_have_the_bits_of_c(flags, tmp_path):
    lines = [
        f"void v{name}(const double *x, double *y, long n) {{ for (long i = 0; i < n; i++) y[i] = fo_{name}(x[i]); }}"
        for name in NUMBERS
    ]
    (tmp_path / "functions.c").write_text("\n".join(['#include "scalar.h"', *lines]))
    program = ["cc", *flags, "-ffp-contract=off", "-shared", "-fPIC", "-I", fo.get_include(), "functions.c", "-o", "f.so", "-lm"]
    subprocess.run(program, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "f.so"))
    for name, x in NUMBERS.items():
        y = np.empty_like(x)
        getattr(library, f"v{name}")(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(x.size))
        assert np.array_equal(y, getattr(arithmetic, name)(x), equal_nan=True), name


def test_constants_have_defaults():
    assert CONSTANTS["huber"] == {"delta": 1.0} and CONSTANTS["quantile"] == {"quantile": 0.5}
    assert CONSTANTS["epsilon_insensitive"] == {"epsilon": 0.1} and CONSTANTS["poisson"] == {}
    assert len(LOSSES) == 11
