"""Rules as text: reads ``rules.py`` and ``stages.py``, writes ``engine/kernels.pyx``. Needs the standard library alone."""

from pathlib import Path

from .cython import render
from .reader import Function, RuleError, read

PACKAGE = Path(__file__).parents[1]
KERNELS = PACKAGE / "engine" / "kernels.pyx"

__all__ = ["KERNELS", "Function", "RuleError", "read", "render", "render_kernels"]


def render_kernels() -> str:
    """The text that ``engine/kernels.pyx`` should have."""
    return render(read(PACKAGE / "rules.py"), read(PACKAGE / "stages.py"))
