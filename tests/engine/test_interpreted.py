"""The interpreted backend passes the tests of the compiled one, golden fingerprints among them, and serves without an engine."""

import os
import subprocess
import sys

import interpreted
import pytest

FOLDERS = ("arrays", "engine", "optimizer", "rules", "stages")


@pytest.mark.full
def test_the_same_tests_pass():
    interpreted.check(FOLDERS, "--full")


def test_without_a_compiled_engine():
    code = """
import importlib.util, sys, warnings
sys.modules["fastopt._engine.backend"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastopt as fo, numpy as np
    p = np.zeros(2)
    for _ in range(2):
        fo.SGD(p, lr=1.0).step(np.ones(2))
assert [str(w.message).startswith("fastopt runs interpreted, which is right, but slow (baseline: ") for w in caught] == [True]
assert (p == -2).all()
fo.show_config()
if importlib.util.find_spec("torch"):
    import torch
    q = torch.nn.Parameter(torch.zeros(2))
    q.grad = torch.ones(2)
    fo.torch.optimizer(fo.SGD, [q], lr=1.0).step()
    assert q.tolist() == [-1, -1]
"""
    env = {k: v for k, v in os.environ.items() if k != "FASTOPT_ISA"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "numpy (interpreted" in out.stdout
