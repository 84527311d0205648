"""Square roots by FMA are correctly rounded: the checks of docs/exact-roots.md, and kernels of vectors against others."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, arrays_of, make, same

import fastopt as fo
from fastopt._engine import dispatch, flags

SUPPORT = Path(__file__).parents[1] / "support"
INCLUDE = Path(fo.__file__).parent / "include"
VECTORS = [isa for isa in dispatch.available() if isa.startswith("x86")]
needs_vectors = pytest.mark.skipif(not VECTORS or not shutil.which("cc"), reason="needs vectors and a C compiler")
needs_floats = pytest.mark.skipif("x86-64-v4" not in VECTORS or not shutil.which("cc"), reason="needs AVX-512")


def library(folder, isa, *options, text=None):
    """The checks, compiled for an instruction set; `text` replaces the header."""
    if text is not None:
        (folder / "vector.h").write_text(text)
    out = folder / f"{isa}.so"
    command = ["cc", "-shared", "-fPIC", *flags.UNIX, *flags.ISAS[isa], *options, f"-I{folder}", f"-I{INCLUDE}"]
    subprocess.run([*command, SUPPORT / "roots.c", "-o", out, "-lm"], check=True)
    loaded = ctypes.CDLL(str(out))
    loaded.wrong_from_estimates_of.argtypes = [ctypes.c_double, ctypes.c_double]
    loaded.wrong_from_estimates_of.restype = ctypes.c_int64
    if isa == "x86-64-v4":
        loaded.wrong_from_estimates.argtypes = [ctypes.c_float, ctypes.c_float, ctypes.c_int]
        loaded.wrong_from_estimates.restype = loaded.wrong_floats.restype = ctypes.c_int64
    return loaded


def roots_of(loaded, x, name="roots_of_doubles"):
    out = np.empty_like(x)
    loaded[name](*(ctypes.c_void_p(a.ctypes.data) for a in (x, out)), ctypes.c_int64(x.size))
    return out


@needs_floats
def test_estimates_of_floats(tmp_path):
    loaded = library(tmp_path, "x86-64-v4")
    for start in (0.5, 0.75, 1.0, 1.5, 1.9999):
        assert loaded.wrong_from_estimates(start, start * (1 + 2**-10), 14) == 0
    assert loaded.wrong_from_estimates(1.0, 1.001, 9) > 0  # With such estimates one round is not enough.


@needs_floats
@pytest.mark.full
def test_all_estimates_of_all_floats(tmp_path):
    loaded = library(tmp_path, "x86-64-v4")
    assert loaded.wrong_from_estimates(0.5, 2.0, 14) == 0
    assert loaded.wrong_floats() == 0


@needs_floats
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("h = FO_OF(fmadd_##P)(h, r, h)", "h = h"),  # A rougher reciprocal.
        ("FO_OF(fnmadd_##P)(g, g, x)", "(x - g * g)"),  # A remainder that is rounded twice.
        ("set1_epi32(0x1c800000)", "set1_epi32(0x00800000)"),  # The remainder of a small number is not exact.
    ],
)
def test_a_mutation_is_found(tmp_path, old, new):
    text = (INCLUDE / "vector.h").read_text()
    assert text.count(old) == 1
    loaded = library(tmp_path, "x86-64-v4", text=text.replace(old, new))
    if "set1" in old:
        assert loaded.wrong_floats() > 0
    else:
        assert loaded.wrong_from_estimates(1.0, 1.01, 14) > 0


@needs_vectors
@pytest.mark.parametrize("isa", VECTORS)
def test_doubles(tmp_path, isa):
    loaded, rng = library(tmp_path, isa), np.random.default_rng(0)
    x = rng.integers(0, 2**64, 2**21, dtype=np.uint64).view(np.float64)
    usual = rng.uniform(1, 4, 2**21) * 4.0 ** rng.integers(-40, 40, 2**21)
    zeros = np.where(rng.random(2**16) < 0.3, 0, usual[: 2**16])
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -1.0])
    hard = np.array([n / 2 ** (53 - low) for low in (1, 2) for n, _ in hard_cases(low)])
    hard = np.pad(hard, (0, -hard.size % 8), constant_values=1.0)
    with np.errstate(invalid="ignore"):
        for values in (x, usual, zeros, special, hard, *(hard * 4.0**k for k in (-400, -49, 49, 500))):
            assert same(roots_of(loaded, values), np.sqrt(values))


ERROR = 32  # Of the last sum before it is rounded, relative to the root, in units of u^2 with u = 2^-53.
ESTIMATES = {"x86-64-v4": 2**-14, "x86-64-v3": 2**-11.4}  # Their errors, relative.


def hard_cases(low, bits=53):
    """Doubles in [low, 2 * low) with roots within ERROR * u^2 of a midpoint of two doubles: numerators over 2^52 or 2^51.

    A midpoint is odd / 2^53. Over 2^106, the double less the midpoint's square is numerator * 2^power - odd^2: a whole number that
    is 7 modulo 8. The roots of odd^2 = -difference modulo 2^power are found bit by bit. `bits` are those of a number.
    """
    power = bits + low
    for difference in range(-4 * ERROR * low, 4 * ERROR * low):  # |x - m^2| <= |s - m| (s + m) <= ERROR * u^2 * 2x
        if difference % 8 != 7:
            continue
        roots = {1, 3, 5, 7}
        for k in range(4, power + 1):
            roots = {r for x in roots for r in (x, x + (1 << (k - 1))) if (r * r + difference) % (1 << k) == 0}
        for odd in roots:
            n = (odd * odd + difference) >> power
            if odd < 1 << (bits + 1) and 1 << (bits - 1) <= n < 1 << bits:
                yield n, odd


@pytest.mark.parametrize("low", [1, 2])
def test_hard_cases_are_all_that_there_are(low):
    bits, most = 14, 4 * ERROR * low
    everything = {
        (n, odd)
        for odd in range((1 << bits) + 1, 2 << bits, 2)
        for n in range(((odd * odd - most) >> (bits + low)), ((odd * odd + most) >> (bits + low)) + 2)
        if 1 << (bits - 1) <= n < 1 << bits and -most <= (n << (bits + low)) - odd * odd < most
    }
    assert {*hard_cases(low, bits)} == everything and len(everything) > 20
    assert len({*hard_cases(low)}) == {1: 29, 2: 34}[low]


@needs_vectors
@pytest.mark.parametrize("isa", VECTORS)
def test_hard_doubles(tmp_path, isa):
    """From every estimate of at most 24 bits that is good enough, the root of every hard case is correctly rounded."""
    loaded = library(tmp_path, isa)
    hard = [n / 2 ** (53 - low) for low in (1, 2) for n, _ in hard_cases(low)]
    assert sum(loaded.wrong_from_estimates_of(x, ESTIMATES[isa]) for x in hard) == 0
    assert loaded.wrong_from_estimates_of(hard[0], 2**-2) > 0


@needs_vectors
@pytest.mark.parametrize("isa", VECTORS)
def test_estimates_of_this_processor(tmp_path, isa):
    x = np.append(np.random.default_rng(0).uniform(1, 4, 2**20), np.nextafter([1.0, 4.0] * 4, 2))
    y = roots_of(library(tmp_path, isa), x, "estimates_of_doubles")
    assert (y * 2**24 == np.rint(y * 2**24)).all() and np.abs(y * np.sqrt(x) - 1).max() < ESTIMATES[isa]


@pytest.mark.compiled
@pytest.mark.skipif(not VECTORS, reason="needs vectors")
@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_vectors_compute_what_numbers_compute(case, dtype, flush, monkeypatch):
    """On numbers of the whole range, with and without flushing of subnormal ones."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(1)
    for isa in VECTORS:
        table = dispatch.load(isa)
        monkeypatch.setattr(dispatch, "TABLE", table)
        for n in (1, 15, 17, 700):
            found = []
            sizes = rng.uniform(info.minexp - info.nmant, info.maxexp / 2, (4, n))
            signs = rng.choice([-1, 0, 1], (4, n), p=[0.45, 0.1, 0.45])
            values = (signs * np.exp2(sizes)).astype(dtype)
            for way in dispatch.roots.WAYS:
                dispatch.roots.select(table, way)
                p = values[0].copy()
                optimizer = make(case, p, flush_subnormals=flush)
                for g in values[1:]:
                    with np.errstate(all="ignore"):
                        optimizer.step(g)
                found.append([p, *arrays_of(optimizer)])
            dispatch.roots.select(table, "fma")
            assert all(map(same, *found)), (isa, n)


@pytest.mark.compiled
def test_kernels_in_use():
    """Timed, or as FASTOPT_ISA says; `show_config` says which."""
    roots = dispatch.roots
    for way in roots.WAYS:
        roots.select(dispatch.TABLE, way)
        found = roots.selected(dispatch.TABLE)
        if dispatch.ISA == "x86-64-v4":
            assert {*found.values()} == {(way, way)} and {"adam", "rmsprop", "adagrad"} <= {*found} and "sgd" not in found
    roots.select(dispatch.TABLE)
    assert {way for ways in roots.selected(dispatch.TABLE).values() for way in ways} <= {*roots.WAYS}
    roots.select(dispatch.TABLE, "fma")
    code = "import fastopt; fastopt.show_config()"

    def run(isa):
        return subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTOPT_ISA": isa}, capture_output=True, text=True)

    isa = VECTORS[0] if VECTORS else "x86-64-v4"
    if VECTORS:
        assert "by FMA in 0 float32 and 0 float64 rules of" in run(f"{isa}/divider").stdout
    for named in (f"{isa}/newton", f"{isa}/", "/fma", "baseline/fma", "numpy/fma"):
        assert f"FASTOPT_ISA={named}: expected fma or divider after x86-64-v4/ or x86-64-v3/" in run(named).stderr
