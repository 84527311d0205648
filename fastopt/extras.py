"""Optional packages: the extras that install them, and the error of one that is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXTRAS = {  # By extra: the package's name for people, and its module.
    "compile": ("Cython and setuptools", "Cython"),
    "cuda": ("CuPy", "cupy"),
    "mpi": ("mpi4py", "mpi4py"),
    "plot": ("matplotlib", "matplotlib"),
    "progress": ("tqdm", "tqdm"),
    "scipy": ("SciPy", "scipy"),
    "sklearn": ("scikit-learn", "sklearn"),
}


def advice(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'fastopt[{extra}]', or in a checkout pip install -e '.[{extra}]'"


def imported(what: str, extra: str, module: str | None = None) -> Any:
    """Return a module of an extra, or raise the ImportError that names both.

    Parameters
    ----------
    what : str
        What needs it.
    extra : str
    module : str, optional
        Its main one by default.
    """
    name, main = EXTRAS[extra]
    try:
        return import_module(module or main)
    except ImportError as error:
        raise ImportError(f"{what} needs {name}: {advice(extra)}") from error
