"""Files and bits of this version, for all machines and later versions.

``PYTHONPATH=tests/support python tests/rules/test_golden.py --write`` writes them again.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, MUON, STAGE_OPTIONS, make

import fastopt as fo
from fastopt._arrays import dtypes
from fastopt._engine import dispatch
from fastopt.doctor import numbers

GOLDEN = Path(__file__).parents[1] / "golden"
FINGERPRINTS = GOLDEN / "fingerprints.json"
STATE = GOLDEN / "adam-format1.npz"
KEPT = {case: (case, {}) for case in CASES if case not in MUON}  # whose matrices BLAS multiplies
KEPT.update({f"adamw, {stage}": ("adamw", options) for stage, options in STAGE_OPTIONS.items()})
COMBINATIONS = GOLDEN / "combinations.json"
FORMATS = {  # by the dtype of parameters and options
    **{f"{dtype}, {stage}": (dtype, options) for stage, options in STAGE_OPTIONS.items() for dtype in ("float32", "float64")},
    **{f"float32, state {state}": ("float32", {"state_dtype": state}) for state in ("bfloat16", "float16", "float8")},
    "float16": ("float16", {}),
    "bfloat16": ("bfloat16", {}),
    "bfloat16, split master": ("bfloat16", {"master": "split"}),
    "float32, accumulate": ("float32", {"accumulate": 3, "clip_norm": 1.0}),
    "float32, flush_subnormals": ("float32", {"flush_subnormals": True}),
    "complex64": ("complex64", {}),
}


def fingerprint(case, dtype):
    params = {"w": numbers(1200, 1, dtype).reshape(30, 40), "b": numbers(7, 2, dtype)}
    case, options = KEPT[case]
    optimizer = make(case, params, **options)
    for k in range(20):
        optimizer.step({"w": numbers(1200, k + 3, dtype).reshape(30, 40), "b": None if k == 5 else numbers(7, k + 30, dtype)})
    return optimizer.fingerprint()


def drawn(n, seed, dtype):
    """Return the values of `numbers` in any format that parameters may have."""
    if dtype == "bfloat16":
        return dtypes.narrowed(numbers(n, seed, np.float32), dtypes.BFLOAT16).view(fo.bfloat16)
    if dtype == "complex64":
        return numbers(2 * n, seed, np.float32).view(np.complex64)
    return numbers(n, seed, dtype)


def combined(case):
    """The beginnings of a case's fingerprints with each stage and each format, or how it refuses one."""
    found = {}
    for name, (dtype, options) in FORMATS.items():
        params = {"w": drawn(600, 1, dtype).reshape(20, 30), "b": drawn(7, 2, dtype)}
        of_gradient = "float32" if dtype == "bfloat16" else dtype
        try:
            optimizer = make(case, params, **options)
        except (TypeError, ValueError) as error:
            found[name] = type(error).__name__
            continue
        for k in range(5):
            optimizer.step({"w": drawn(600, k + 3, of_gradient).reshape(20, 30), "b": drawn(7, k + 30, of_gradient)})
        found[name] = optimizer.fingerprint()[:16]
    return found


def saved():
    optimizer = fo.Adam({"w": numbers(6, 1, np.float32).reshape(2, 3), "b": numbers(2, 2, np.float64)}, lr=0.01)
    for k in range(3):
        optimizer.step({"w": numbers(6, k + 3, np.float32).reshape(2, 3), "b": numbers(2, k + 9, np.float64)})
    return optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", KEPT)
def test_fingerprints(case, dtype, isa):
    assert fingerprint(case, np.dtype(dtype)) == json.loads(FINGERPRINTS.read_text())[f"{case} {dtype}"]


@pytest.mark.parametrize("case", [case for case in CASES if case not in MUON])
def test_fingerprints_of_stages_and_formats(case, isa):
    expected = json.loads(COMBINATIONS.read_text())[case]
    found = combined(case)
    if isa == dispatch.INTERPRETED:  # which never flushes
        expected.pop("float32, flush_subnormals"), found.pop("float32, flush_subnormals")
    assert found == expected


def test_a_file_of_format_1_is_read():
    blank = fo.Adam({"w": np.zeros((2, 3), np.float32), "b": np.zeros(2)}, lr=0.01)
    assert blank.load(STATE) == {"epoch": 3}
    assert blank.steps == 3 and blank.fingerprint() == json.loads(FINGERPRINTS.read_text())["file of format 1"]


def test_fingerprints_see_every_part():
    optimizer = saved()
    seen = {optimizer.fingerprint()}
    optimizer.params["w"][0, 0] += 1
    seen.add(optimizer.fingerprint())
    optimizer.state["w"]["v"][0, 0] += 1
    seen.add(optimizer.fingerprint())
    optimizer._set_counters([(4, [], False), (3, [], False)], (3, 0, 0))
    seen.add(optimizer.fingerprint())
    assert len(seen) == 4


if __name__ == "__main__" and "--write" in sys.argv:
    GOLDEN.mkdir(exist_ok=True)
    table = {f"{c} {d}": fingerprint(c, np.dtype(d)) for c in KEPT for d in ("float32", "float64")}
    blank = fo.Adam({"w": np.zeros((2, 3), np.float32), "b": np.zeros(2)}, lr=0.01)
    blank.load(STATE)  # which stays: later versions are to read it
    COMBINATIONS.write_text(json.dumps({case: combined(case) for case in CASES if case not in MUON}, indent=1) + "\n")
    FINGERPRINTS.write_text(json.dumps({**table, "file of format 1": blank.fingerprint()}, indent=1) + "\n")
