"""Every example is built and run, by the commands that it names."""

import importlib.util
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import standin

import fastopt as fo
from fastopt.cuda import compiler

EXAMPLES = Path(__file__).parents[2] / "examples"
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def line(x, y, steps=500):
    """The same fit by the optimizer itself."""
    w, opt = (p := np.zeros(2)), fo.Adam(p, lr=0.1)
    for _ in range(steps):
        g0 = g1 = 0.0
        for a, b in zip(x, y, strict=True):
            error = w[0] * a + w[1] - b
            g0 += 2 * error * a / len(x)
            g1 += 2 * error / len(x)
        opt.step(np.array([g0, g1]))
    return w


@needs_compiler
def test_c(tmp_path):
    """The program has the optimizer's bits, whatever the compiler makes of it."""
    commands = re.search(r"/\*.*?\n\n(.*?)\*/", (EXAMPLES / "c" / "least_squares.c").read_text(), re.DOTALL)[1]
    shutil.copy(EXAMPLES / "c" / "least_squares.c", tmp_path)
    path = f"PATH={Path(sys.executable).parent}:$PATH\n"
    weight, bias = map(float, re.findall(r"-?\d\S*", run("sh", "-ec", path + commands, cwd=tmp_path)))
    x = [i / 100 for i in range(100)]
    assert [weight, bias] == list(line(x, [2 * a + 1 + 0.1 * math.sin(37.0 * i) for i, a in enumerate(x)]))


def smoothed(y, steps, weight, lr):
    """The same by the optimizer itself."""
    w, opt = (p := y.copy()), fo.Adam(p, lr=lr)
    for _ in range(steps):
        g = w - y
        g[1:-1] += weight * (w[1:-1] - w[:-2] + (w[1:-1] - w[2:]))
        g[[0, -1]] += weight * (w[[0, -1]] - w[[1, -2]])
        opt.step(g)
    return w


@pytest.mark.compiled
@needs_compiler
def test_cython(tmp_path):
    shutil.copytree(EXAMPLES / "cython", tmp_path / "cython")
    run(sys.executable, "setup.py", "build_ext", "--inplace", cwd=tmp_path / "cython")
    (built,) = (tmp_path / "cython").glob("smoothing*.so")
    spec = importlib.util.spec_from_file_location("smoothing", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    y = np.random.default_rng(0).standard_normal(1000)
    np.testing.assert_array_equal(module.smoothed(y, 50, 10.0, 0.05), smoothed(y, 50, 10.0, 0.05))
    with pytest.raises(ValueError, match="update 0: lr is -1, expected 0 to"):
        module.smoothed(y, 1, lr=-1.0)


@pytest.mark.compiled
def test_numba(tmp_path):
    pytest.importorskip("numba")
    before, after = map(float, re.findall(r"\d\.\d+", run(sys.executable, EXAMPLES / "numba_loop.py", cwd=tmp_path)))
    assert after < 0.1 < 0.45 < before


@pytest.mark.compiled
def test_cffi(tmp_path):
    pytest.importorskip("cffi")
    weight, bias, *expected = map(float, re.findall(r"-?\d+\.\d+", run(sys.executable, EXAMPLES / "cffi_loop.py", cwd=tmp_path)))
    np.testing.assert_allclose([weight, bias], expected, atol=1e-5)


@needs_compiler
@pytest.mark.compiled
def test_own_rule(tmp_path):
    environment = {**os.environ, "FASTOPT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "own_rule.py"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert float(re.search(r"mean square (\S+),", done.stdout)[1]) < 1e-4 and done.stderr == ""
    assert "m = m + w1 * (g - m)  ->  " in done.stdout


def test_torch_model(tmp_path):
    pytest.importorskip("torch")
    out = run(sys.executable, EXAMPLES / "torch_model.py", cwd=tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\S+),", out)]
    assert losses[-1] < 0.005 < losses[0] and "has its step 300" in out


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_cupy_training(tmp_path, monkeypatch, capsys):
    """Without a device, on the stand-in."""
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    compiler.kernels.cache_clear()
    with standin.installed():
        runpy.run_path(str(EXAMPLES / "cupy_training.py"))
    compiler.kernels.cache_clear()
    assert "100 steps on the device, 100 on the CPU" in capsys.readouterr().out


def test_ode_fit(tmp_path):
    """The averaged fit is near; the method that takes noisy values for exact is not."""
    out = run(sys.executable, EXAMPLES / "ode_fit.py", cwd=tmp_path)
    off = {name: float(x) for name, x in re.findall(r"^(\S.*?)  .* at most (\S+)% off", out, re.MULTILINE)}
    assert off["Adam, averaged"] < 5 and off["L-BFGS-B"] > 10
    assert (tmp_path / "ode_fit.png").exists()


def test_ask_tell(tmp_path):
    """Two runs of 40 simulations are one of 80."""
    out = [run(sys.executable, EXAMPLES / "ask_tell.py", "--jobs", jobs, cwd=tmp_path) for jobs in ("40", "40")]
    assert "going on after 40 simulations" in out[1] and (tmp_path / "ask_tell.png").exists()
    whole = run(sys.executable, EXAMPLES / "ask_tell.py", "--jobs", "80", cwd=other(tmp_path))
    assert whole.splitlines()[-1] == out[1].splitlines()[-1]


def other(folder):
    """Return an empty folder."""
    (folder / "other").mkdir()
    return folder / "other"


def test_line(tmp_path):
    """All ways end at the line; the two by SGD have the same bits."""
    rows = dict(re.findall(r"^(\S+) +(weight .*)$", run(sys.executable, EXAMPLES / "line.py", cwd=tmp_path), re.MULTILINE))
    assert rows["fit"] == rows["LinearRegressor"] and rows["minimize"] == "weight 1.9685  bias 1.1111  loss 0.248110"
    assert (tmp_path / "line.png").exists()


def test_robust(tmp_path):
    out = run(sys.executable, EXAMPLES / "robust.py", cwd=tmp_path)
    bias = {name: float(x) for name, x in re.findall(r"^(\S.*?)  +weight .*bias (\S+)$", out, re.MULTILINE)}
    assert (
        abs(bias["Huber"] - 1) < 0.1
        and abs(bias["median"] - 1) < 0.1
        and bias["squared error"] > 1.4
        and bias["quantile 0.9"] > 1.3
    )
    assert (tmp_path / "robust.png").exists()


def test_sparse_text(tmp_path):
    out = run(sys.executable, EXAMPLES / "sparse_text.py", cwd=tmp_path)
    accuracies = [float(x) for x in re.findall(r"accuracy (\S+)%", out)]
    assert len(accuracies) == 4 and min(accuracies) > 68 and (tmp_path / "sparse_text.png").exists()
    assert float(re.search(r"FTRL.*zeros (\d+)%", out)[1]) > 10


def test_chunks(tmp_path):
    out = run(sys.executable, EXAMPLES / "chunks.py", "100000", cwd=tmp_path)
    assert "10 chunks" in out and float(re.search(r"coefficient (\S+)$", out)[1]) < 0.02 and (tmp_path / "chunks.png").exists()


def test_autograd_training(tmp_path):
    """The same gradients, whoever computes them."""
    for name in ("autograd", "jax", "torch"):
        pytest.importorskip(name)
    out = run(sys.executable, EXAMPLES / "autograd_training.py", cwd=tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\S+) ", out)]
    assert len(losses) == 3 and max(losses) < 0.05 and max(losses) - min(losses) < 1e-5
    assert (tmp_path / "autograd_training.png").exists()


def test_many_fits(tmp_path):
    pytest.importorskip("numba")
    out = run(sys.executable, EXAMPLES / "many_fits.py", "300", cwd=tmp_path)
    assert "300 of 300 problems ended successfully" in out and (tmp_path / "many_fits.png").exists()
    assert all(float(x) < 0.02 for x in re.search(r"heights (\S+), of the rates (\S+)", out).groups())
    assert float(re.search(r"At most (\S+) apart", out)[1]) < 1e-9


def test_examples_are_short():
    assert {path.name: n for path in EXAMPLES.glob("*.py") if (n := len(path.read_text().splitlines())) > 60} == {}
