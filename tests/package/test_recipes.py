"""CONTRIBUTING's recipes, followed in a copy of the package: what is added there is behind every door."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastopt

REPOSITORY = Path(__file__).parents[2]

OPTIMIZER = '''"""A made-up optimizer: momentum."""

from __future__ import annotations

from ..arithmetic import velocity
from .._optimizer import Optimizer


def made_up_scalars(t, *, lr=0.5, momentum=0.25):
    """The first step takes the whole gradient."""
    return {"lr": lr, "keep": momentum if t > 1 else 0.0}


def made_up(p, g, m: velocity, *, lr, keep):
    """Update by heavy-ball momentum."""
    m = keep * m + g
    return lr * m, m


class MadeUp(Optimizer):
    """Momentum.

    Parameters
    ----------
    momentum
        Decay rate of the buffer.
    """

    arguments = {"lr": 0.5, "momentum": 0.25}
    update = staticmethod(made_up)
'''
STAGE = '''
def shrink_scalars(*, shrink=1):
    """Return the factor."""
    return {"factor": shrink}


def shrink(u, *, factor):
    """Scale the update."""
    return factor * u


'''
OPTION = 'Option("shrink", 1.0, "times the update", ("shrink",)),\n        Option("maximize"'
USE = """
import inspect
import numpy as np
import fastopt as fo
from fastopt.cuda import compiler

assert fo.__file__.startswith(%r)
w = np.ones(2)
optimizer = fo.MadeUp({"w": w}, clip_value=1.0)
for k in range(2):
    optimizer.step({"w": np.array([4.0, -0.5])})
assert np.allclose(w, [1 - 0.5 - 0.5 * 1.25, 1 + 0.25 + 0.25 * 1.25]) and np.allclose(optimizer.state["w"]["m"], [1.25, -0.625])
assert list(inspect.signature(fo.MadeUp).parameters) == ["params", "lr", "momentum", "convention", "options"]
assert "clip_global_norm" in fo.MadeUp.__doc__ and "MadeUp" in fo.__all__ and "MadeUp" in dir(fo)
p, m = fo.functional.made_up(np.ones(2), np.ones(2), np.zeros(2), t=1)
assert p.tolist() == [0.5, 0.5] and m.tolist() == [1.0, 1.0]
assert "made_up" in fo.source("c") and "made_up_step" in compiler.source("made_up")

w = np.ones(2)
optimizer = fo.SGD([{"params": w}, {"params": np.ones(2), "shrink": 0.25}], lr=1.0)
optimizer.step([np.ones(2), np.ones(2)])
assert w.tolist() == [0, 0] and optimizer.params[1].tolist() == [0.75, 0.75]
assert "shrink=1" in fo.Optimizer.__doc__ and "``shrink``" in fo.SGD.__doc__
assert "shrink=0.5" in repr(fo.SGD(w, shrink=0.5)) and "shrink" in fo.embed.stages()
try:
    fo.SGD(w, shrink=-1.0)
except ValueError as error:
    assert "shrink" in str(error)
else:
    raise AssertionError("a domain that nobody checks")
optimizer.groups[1]["shrink"] = lambda step: 0.5
optimizer.step([np.ones(2), np.ones(2)])
assert optimizer.params[1].tolist() == [0.25, 0.25]
optimizer.explain("1", 0, 1.0)
assert "shrink_f32" in fo.source("c") and "struct shrink" in compiler.source("made_up")
other = fo.SGD([{"params": w}, {"params": np.ones(2), "shrink": 0.5}], lr=1.0)
other.load_state_dict(optimizer.state_dict(), hyperparameters="keep")
print(fo._engine.dispatch.ISA)
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with a made-up optimizer, in one file, and a made-up stage: one function pair and one option."""
    package = tmp_path / "fastopt"
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("performance.*"))
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.c")
    shutil.copytree(Path(fastopt.__file__).parent, package, ignore=ignored)
    (package / "optimizers" / "made_up.py").write_text(OPTIMIZER)
    for path, before, text in (
        (package / "stages.py", "def max_step_scalars", STAGE.lstrip() + "def max_step_scalars"),
        (package / "_optimizer" / "options.py", 'Option("maximize"', OPTION),
    ):
        assert path.read_text().count(before) == 1
        path.write_text(path.read_text().replace(before, text))
    return package


def run(package, *arguments, **environment):
    clean = {k: x for k, x in os.environ.items() if not k.startswith("FASTOPT_")}
    environment = {**clean, "PYTHONPATH": str(package.parent), **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, env=environment, cwd=package.parent, timeout=500, stdout=subprocess.PIPE, text=True)


def test_an_optimizer_is_one_file_and_a_stage_one_pair(package):
    run(package, package / "_codegen")
    run(package, package / "_codegen", "--check")
    run(package, "-c", USE % str(package.parent), FASTOPT_ISA="numpy")
    kernels = (package / "_engine" / "generated" / "kernels.pyx").read_text()
    assert "made_up_f32" in kernels and "shrink_f32" in kernels
    stub = (package / "optimizers" / "__init__.pyi").read_text()
    assert "class MadeUp(Optimizer):" in stub and "shrink: Number" in stub
    table = (package.parent / "docs" / "optimizers.md").read_text()
    assert "| `MadeUp` | Momentum. | `lr=0.5`, `momentum=0.25` |  |" in table and "| `shrink` | `1.0` | times the update |" in table
    assert ", `MadeUp`, " in (package.parent / "README.md").read_text()


@pytest.mark.compiled
@pytest.mark.full
@pytest.mark.skipif(not (REPOSITORY / "setup.py").exists() or not shutil.which("cc"), reason="builds from the sources")
def test_what_is_added_compiles(package):
    run(package, package / "_codegen")
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, package.parent)
    run(package, "setup.py", "build_ext", "--inplace", "-j2", CFLAGS="-O0")
    assert run(package, "-c", USE % str(package.parent)).stdout.splitlines()[-1] != "numpy"
