"""CONTRIBUTING's recipes, followed in a copy of the package: what is added there is behind every door."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastopt

OPTIMIZER = '''"""A made-up optimizer: momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..arithmetic import velocity
from .._optimizer import Optimizer


def made_up_scalars(t, *, lr=0.5, momentum=0.25):
    """The first step takes the whole gradient."""
    return {"lr": lr, "keep": momentum if t > 1 else 0.0}


def made_up(p, g, m: velocity, *, lr, keep):
    """Nobody's."""
    m = keep * m + g
    return lr * m, m


class MadeUp(Optimizer):
    """Momentum.

    Parameters
    ----------
    lr : float or schedule, default 0.5
    momentum : float or schedule, default 0.25
    {common}
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 0.5, "momentum": 0.25}
    update = staticmethod(made_up)
'''
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
"""


def test_an_optimizer_is_one_file(tmp_path):
    package = tmp_path / "fastopt"
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.c")
    shutil.copytree(Path(fastopt.__file__).parent, package, ignore=ignored)
    (package / "optimizers" / "made_up.py").write_text(OPTIMIZER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "FASTOPT_ISA": "numpy"}
    for arguments in ([str(package / "_codegen")], [str(package / "_codegen"), "--check"], ["-c", USE % str(tmp_path)]):
        subprocess.run([sys.executable, *arguments], check=True, env=environment, cwd=tmp_path, timeout=100)
    assert "made_up_f32" in (package / "_engine" / "generated" / "kernels.pyx").read_text()
    assert "from .made_up import MadeUp as MadeUp" in (package / "optimizers" / "__init__.pyi").read_text()
