"""Check of an installation: what is there, and whether its steps have the bits that every other machine's have."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from . import optimizers
from .config import facts
from .extras import EXTRAS, advice

FINGERPRINTS = Path(__file__).with_name("fingerprints.json")
OTHERS = ("torch", "jax", "ml_dtypes", "threadpoolctl")
WITHOUT = ("Muon",)  # BLAS multiplies its matrices, with bits that differ between processors.


def numbers(n: int, seed: int, dtype: Any) -> np.ndarray:
    """Return values in [-1, 1) by integer arithmetic: the bits of a generator may change."""
    mixed = (np.arange(n, dtype=np.uint64) + np.uint64(1000 * seed)) * np.uint64(2654435761) % np.uint64(2**32)
    return (mixed.astype(np.float64) / 2**31 - 1).astype(dtype)


def fingerprint(name: str, dtype: str) -> str:
    """Return the beginning of the fingerprint of an optimizer with its defaults after ten steps."""
    params = {"w": numbers(4000, 1, dtype).reshape(40, 100), "b": numbers(7, 2, dtype)}
    optimizer = getattr(optimizers, name)(params)
    for k in range(10):
        optimizer.step({"w": numbers(4000, k + 3, dtype).reshape(40, 100), "b": numbers(7, k + 30, dtype)})
    return str(optimizer.fingerprint()[:16])


def fingerprints() -> dict[str, str]:
    """Return the fingerprints of all optimizers in float32 and float64."""
    names = [name for name in optimizers.__all__ if name not in WITHOUT]
    return {f"{name} {dtype}": fingerprint(name, dtype) for name in names for dtype in ("float32", "float64")}


def known(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    if find_spec(package) is None:
        return "not installed"
    try:
        return version({"sklearn": "scikit-learn"}.get(package, package))
    except PackageNotFoundError:
        return "installed"


def blas() -> str:
    """Return NumPy's BLAS, and its threads where they are known."""
    config: Any = np.show_config(mode="dicts")
    found = {"name": "unknown", "version": "", **config.get("Build Dependencies", {}).get("blas", {})}
    if find_spec("threadpoolctl") is None:
        return f"{found['name']} {found['version']} (threads: unknown without threadpoolctl)"
    import threadpoolctl

    threads = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    return f"{found['name']} {found['version']}, {', '.join(map(str, sorted(threads))) or 'unknown'} threads"


def examine() -> int:
    """Print what is installed and test the bits of steps; return the number of optimizers that are not right."""
    found = {**facts(), "blas": blas()}
    for extra, (_, module) in EXTRAS.items():
        at = known(module)
        found[f"[{extra}]"] = f"{module} {at}" + (f": {advice(extra)}" if at == "not installed" else "")
    found |= {name: known(name) for name in OTHERS}
    for name, value in found.items():
        print(f"{name + ':':17}{value}")
    began, expected = time.perf_counter(), json.loads(FINGERPRINTS.read_text())
    wrong = sorted(name for name, bits in fingerprints().items() if expected.get(name) != bits)
    seconds = time.perf_counter() - began
    if wrong:
        print(f"{'bits:':17}WRONG for {', '.join(wrong)}: please report it with these lines")
    else:
        print(f"{'bits:':17}right for {len(expected)} cases, in {seconds:.1f} s")
    return len(wrong)


if __name__ == "__main__" and "--write" in sys.argv:
    FINGERPRINTS.write_text(json.dumps(fingerprints(), indent=1) + "\n")
