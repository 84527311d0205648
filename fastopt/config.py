"""Configuration of this installation: versions, instruction set, OpenMP, threads."""

from __future__ import annotations

import platform

import numpy as np

from ._engine import dispatch
from ._version import __version__


def show_config() -> None:
    """Print versions, instruction sets, OpenMP, and the number of threads that a step may use."""
    for name, value in facts().items():
        print(f"{name + ':':17}{value}")


def facts() -> dict[str, object]:
    """Return what `show_config` prints, by name."""
    return {"fastopt": __version__, "python": platform.python_version(), "numpy": np.__version__, **_engine()}


def _engine() -> dict[str, object]:
    compiled = ", ".join(dispatch.available()) or "nothing was compiled"
    if dispatch.ISA == dispatch.INTERPRETED:
        return {"instruction set": f"{dispatch.ISA} (interpreted; compiled: {compiled})"}
    from ._engine import passes, roots

    ways = list(roots.selected(dispatch.TABLE).values())
    by_fma = [sum(way[k] == "fma" for way in ways) for k in range(2)]
    return {
        "instruction set": f"{dispatch.ISA} (of {compiled})",
        "square roots": f"by FMA in {by_fma[0]} float32 and {by_fma[1]} float64 rules of {len(ways)}, by the divider in the others",
        "compiler": passes.compiler(),
        "openmp": "yes" if passes.openmp() else "no: built without",
        "threads": passes.threads(),
    }
