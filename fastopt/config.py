"""What this installation is: versions, instruction set, OpenMP, threads."""

from __future__ import annotations

import platform

import numpy as np

from .engine import dispatch, engine


def show_config() -> None:
    """Print versions, instruction sets, OpenMP and the threads that a step may use."""
    from . import __version__

    for name, value in {
        "fastopt": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "instruction set": f"{dispatch.ISA} (of {', '.join(dispatch.available())})",
        "compiler": engine.compiler(),
        "openmp": "yes" if engine.openmp() else "no: built without",
        "threads": engine.threads(),
    }.items():
        print(f"{name + ':':17}{value}")
