"""Powers with what is kept from step to step have the bits of repeated squaring, in any order of steps."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_interface import C_FLAGS

import fastopt as fo

NUMBERS = [0.9, 0.999, 0.9999, 0.99999, 0.5, 0.0, -0.0, 1.0, -0.9, 1.5, 1e-300, float("nan"), float("inf")]
PROGRAM = """
#include "powers.h"
static fo_powers_t kept[2];
void plain(double x, const int64_t *n, double *out, int count)
{
    for (int i = 0; i < count; i++) out[i] = fo_power(x, n[i]);
}
void with_kept(double x, const int64_t *n, double *out, int count)
{
    for (int i = 0; i < count; i++) out[i] = fo_power_kept(kept, i % 3 == 2, x, n[i]); /* two places, of other steps */
}
void without(double x, const int64_t *n, double *out, int count)
{
    for (int i = 0; i < count; i++) out[i] = fo_power_kept(NULL, 1, x, n[i]);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("powers")
    (folder / "powers.c").write_text(PROGRAM)
    include = f"-I{Path(fo.__file__).parent / 'include'}"
    subprocess.run(
        ["cc", *C_FLAGS, include, "-shared", "-fPIC", folder / "powers.c", "-o", folder / "powers.so", "-lm"], check=True
    )
    return ctypes.CDLL(str(folder / "powers.so"))


def powers(library, name, x, n):
    out = np.empty(n.size)
    getattr(library, name)(ctypes.c_double(x), n.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), n.size)
    return out


def test_powers_have_the_same_bits(library):
    rng = np.random.default_rng(0)
    edges = np.concatenate([2**k + np.arange(-100, 100) for k in range(8, 53)])
    for n in (
        np.arange(1, 200_000),
        edges,
        rng.integers(0, 2 ** rng.integers(1, 53, 100_000)),
        np.repeat(rng.integers(0, 9999, 999), 3),
    ):
        for x in NUMBERS:
            expected = powers(library, "plain", x, n)
            for name in ("with_kept", "without"):
                assert powers(library, name, x, n).tobytes() == expected.tobytes(), (name, x)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["Adam", "Adan", "RAdam", "Prodigy"])
def test_steps_at_any_count_and_with_other_betas(name):
    """A long run that changes its hyperparameters and counts has the bits of new optimizers at each step."""
    rng = np.random.default_rng(1)
    w = rng.normal(size=5)
    optimizer = getattr(fo, name)(w)
    betas = optimizer.groups[0]["betas"]
    for k in range(300):
        if k % 50 == 49:
            optimizer.groups[0]["betas"] = tuple(b - 0.01 * (k % 100 == 49) for b in betas)
        if k % 70 == 69:
            optimizer.steps = int(rng.integers(0, 2_000_000))
        other = getattr(fo, name)(w.copy(), betas=optimizer.groups[0]["betas"])
        other.load_state_dict(optimizer.state_dict())
        g = rng.normal(size=5)
        optimizer.step(g)
        other.step(g)
        assert optimizer.fingerprint() == other.fingerprint(), k
