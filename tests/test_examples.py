"""Every example is built and run, by the commands that it names."""

import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo

EXAMPLES = Path(__file__).parents[1] / "examples"
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


@pytest.mark.compiled
@needs_compiler
def test_cython(tmp_path):
    shutil.copytree(EXAMPLES / "cython", tmp_path / "cython")
    run(sys.executable, "setup.py", "build_ext", "--inplace", cwd=tmp_path / "cython")
    (built,) = (tmp_path / "cython").glob("least_squares*.so")
    spec = importlib.util.spec_from_file_location("least_squares", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = np.linspace(0, 1, 100)
    y = 2 * x + 1 + 0.1 * np.random.default_rng(0).standard_normal(100)
    assert module.fit(x, y, 500) == tuple(line(x, y))
    with pytest.raises(ValueError, match="update 0: lr is -1, expected 0 to"):
        module.fit(x, y, 1, lr=-1.0)


@pytest.mark.compiled
@pytest.mark.parametrize(("name", "needs"), [("numba_loop", "numba"), ("cffi_loop", "cffi")])
def test_loops(name, needs, tmp_path):
    pytest.importorskip(needs)
    out = run(sys.executable, EXAMPLES / f"{name}.py", cwd=tmp_path)
    weight, bias, *expected = map(float, re.findall(r"-?\d+\.\d+", out))
    np.testing.assert_allclose([weight, bias], expected, atol=1e-5)
