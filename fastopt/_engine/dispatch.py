"""Choice of the backend: the best instruction set of processor and build, or the one that FASTOPT_ISA names."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from .._arrays.memory import HOST, Memory
from . import sources
from .stepper import Backend

try:
    from . import backend as compiled
    from . import functional, passes, roots
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None

MODULES = {
    "x86-64-v4": "kernels_x86_64_v4",
    "x86-64-v3": "kernels_x86_64_v3",
    "baseline": "kernels_baseline",
}
INTERPRETED = "numpy"


def load(isa: str) -> Any:
    """Return the table of kernels of an instruction set; raise RuntimeError if the processor or the build lacks it."""
    if isa not in MODULES:
        raise RuntimeError(f"{isa}: unknown, expected one of {', '.join(MODULES)}, {INTERPRETED}")
    if MISSING is not None:
        raise RuntimeError(f"{isa}: nothing was compiled in this installation ({MISSING}); install where a C compiler is present")
    if isa not in passes.processor():
        raise RuntimeError(f"{isa}: this processor has {', '.join(passes.processor())}")
    try:
        module = importlib.import_module(f"{__package__}.{MODULES[isa]}")
    except ModuleNotFoundError:
        raise RuntimeError(f"{isa}: not part of this build") from None
    return module.TABLE


def linear_loops() -> Any:
    """Return the capsule of the loops of linear models of this process's instruction set, None where nothing is compiled."""
    if TABLE is None:
        return None
    return importlib.import_module(f"fastopt.linear.{MODULES[ISA].replace('kernels', 'loops')}").RUN


def check_sources(isa: str) -> None:
    """Raise RuntimeError if rules have changed since the kernels of an instruction set were compiled."""
    module = importlib.import_module(f"{__package__}.{MODULES[isa]}")
    if changed := sources.changed(vars(module).get("SOURCES", {})):
        others = f" and {len(changed) - 1} more" if changed[1:] else ""
        said = "run python fastopt/_codegen, then install again"
        raise RuntimeError(f"{isa}: compiled before {changed[0]}{others} changed; {said}")


def available() -> list[str]:
    """Return the compiled instruction sets that run here, best first."""
    return list(loadable())


def loadable() -> Iterator[str]:
    """Yield the compiled instruction sets that run here, best first; each is loaded."""
    for isa in MODULES:
        with contextlib.suppress(RuntimeError):
            load(isa)
            yield isa


def choose() -> tuple[str, Any]:
    """Return the instruction set of this process and its table; warn if only the interpreted backend is left, without one."""
    named = os.environ.get("FASTOPT_ISA", "")
    if named == INTERPRETED:
        return INTERPRETED, None
    try:
        isa, slash, _ = named.partition("/")
        way = way_of(named) if slash and MISSING is None else None
        isa = isa or next(loadable(), "baseline")
        table = load(isa)
        check_sources(isa)
        roots.select(table, way)
        return isa, table
    except RuntimeError as error:
        if named:
            raise RuntimeError(f"FASTOPT_ISA={error}") from error.__cause__
        reason = error
    warnings.warn(f"fastopt runs interpreted, which is right, but slow ({reason})", RuntimeWarning, stacklevel=2)
    return INTERPRETED, None


def way_of(named: str) -> str | None:
    """Return the way of taking square roots in a value of FASTOPT_ISA such as x86-64-v4/fma, None if it names none."""
    isa, slash, way = named.partition("/")
    if slash and (isa not in MODULES or isa == "baseline" or way not in roots.WAYS):
        raise RuntimeError(f"{named}: expected {' or '.join(roots.WAYS)} after x86-64-v4/ or x86-64-v3/")
    return way or None


ISA, TABLE = choose()


def backend(structure: Any, parameters: list[Any], groups: list[Any], settings: Any, interpreted: bool = False) -> Backend:
    """Return the backend of these parameters: of their device, compiled, or interpreted if a rule is not compiled."""
    memory: Any = next((parameter.memory for parameter in parameters), HOST)
    if memory is not HOST:
        from ..cuda.backend import CudaBackend

        return CudaBackend(structure, parameters, groups, settings, memory)
    if (
        TABLE is None
        or interpreted
        or any(parameter.rule.text is not None and parameter.rule.capsule is None for parameter in parameters)
    ):
        from .interpreted import InterpretedBackend

        return InterpretedBackend(structure, parameters, groups, settings)
    return compiled.CompiledBackend(structure, parameters, groups, settings, TABLE)


def memory_of(params: Any) -> Memory:
    """Return the memory of parameters: the device of the first CuPy array, or NumPy's memory."""
    if "cupy" in sys.modules:
        from ..cuda.memory import DeviceMemory, first_of

        if (first := first_of(params)) is not None:
            return DeviceMemory(first.device.id)
    return HOST


def update(rule: Any) -> Any:
    """Return the object that makes steps of a rule on arrays of the caller."""
    if TABLE is not None:
        return functional.Update(TABLE, rule)
    from .interpreted import Update

    return Update(rule)
