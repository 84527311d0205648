"""Compilation of rules into extension modules, which the user's cache keeps."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from ..extras import imported
from . import cache, dispatch, flags, roots


def register(formula: Any) -> None:
    """Register a rule with the C interface."""
    from ..embed import interface

    interface.register(formula)


def table(rules: list[Any]) -> Any:
    """Return the table of kernels of rules that the code generator has read, from the cache or compiled."""
    Cython, setuptools = (imported("compile", "compile", name) for name in ("Cython", "setuptools"))
    from .._codegen import cython
    from .._codegen.package import PACKAGE
    from .._version import __version__

    text = cython.render(rules, [])
    options = [*flags.UNIX, *flags.ISAS.get(dispatch.ISA, [])] if sys.platform != "win32" else []
    included = [PACKAGE / "include" / name for name in ("capacity.h", "scalar.h", "powers.h", "total.h", "block.h", "vector.h")]
    headers = [path.read_text() for path in (PACKAGE / "_engine" / "table.pxd", *included)]
    environment = [f"{name}={os.environ.get(name, '')}" for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")]
    versions = [
        __version__,
        Cython.__version__,
        setuptools.__version__,
        sys.version,
        str(sysconfig.get_config_var("CC")),
    ]
    name = f"fastopt_rule_{cache.key(text, SETUP, *headers, *versions, *environment, *options)}"
    file = f"{name}{importlib.machinery.EXTENSION_SUFFIXES[0]}"

    def make(folder: Path) -> Path:
        return compiled(name, text, options, folder)

    try:
        return loaded(name, cache.file(file, make))
    # A home folder may be shared by machines of different processors: compile again.
    except ImportError:
        return loaded(name, cache.file(file, make, again=True))


def loaded(name: str, path: Path) -> Any:
    """Return the table of an extension module."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    roots.select(module.TABLE, dispatch.way_of(os.environ.get("FASTOPT_ISA", "")))
    return module.TABLE


SETUP = """\
from Cython.Build import cythonize
from setuptools import Extension, setup
module = Extension({name!r}, [{name!r} + ".pyx"], include_dirs=[{include!r}], extra_compile_args={options!r})
setup(name={name!r}, ext_modules=cythonize([module], include_path=[{package!r}], quiet=True), packages=[], py_modules=[])
"""


def compiled(name: str, text: str, options: list[str], folder: Path) -> Path:
    """Compile an extension module in a folder and return its path. A new process, since settings are global."""
    from .._codegen.package import PACKAGE

    (folder / f"{name}.pyx").write_text(text)
    said = {"name": name, "include": str(PACKAGE / "include"), "options": options, "package": str(PACKAGE.parent)}
    (folder / "setup.py").write_text(SETUP.format(**said))
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, capture_output=True, text=True, check=False
    )
    found = [path for suffix in importlib.machinery.EXTENSION_SUFFIXES for path in folder.glob(f"{name}*{suffix}")]
    if done.returncode or not found:
        raise RuntimeError(f"compile: the compiler failed:\n{done.stdout}\n{done.stderr}")
    return found[0]
