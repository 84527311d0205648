"""Which instruction set: the best that the processor has and the build made, or the one that FASTOPT_ISA names."""

from __future__ import annotations

import importlib
import os
from typing import Any

from . import engine

MODULES = {
    "x86-64-v4": "kernels_x86_64_v4",
    "x86-64-v3": "kernels_x86_64_v3",
    "baseline": "kernels_baseline",
}


def load(isa: str) -> Any:
    """The kernels' table of one instruction set; RuntimeError where the processor or the build lacks it."""
    if isa not in MODULES:
        raise RuntimeError(f"FASTOPT_ISA={isa}: unknown, expected one of {', '.join(MODULES)}")
    if isa not in engine.processor():
        raise RuntimeError(f"FASTOPT_ISA={isa}: this processor has {', '.join(engine.processor())}")
    try:
        return importlib.import_module(f"{__package__}.{MODULES[isa]}").TABLE
    except ModuleNotFoundError:
        raise RuntimeError(f"FASTOPT_ISA={isa}: not part of this build") from None


def available() -> list[str]:
    """Instruction sets that can run here, the best first."""
    found = []
    for isa in MODULES:
        try:
            load(isa)
        except RuntimeError:
            continue
        found.append(isa)
    return found


ISA = os.environ.get("FASTOPT_ISA") or available()[0]
TABLE = load(ISA)
