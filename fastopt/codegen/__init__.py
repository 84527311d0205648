"""Rules as text: reads ``rules.py`` and ``stages.py``, writes what is rendered from them. Needs the standard library alone."""

from pathlib import Path

from . import cuda, cython, functional
from .reader import Formula, RuleError, read

PACKAGE = Path(__file__).parents[1]

__all__ = ["PACKAGE", "Formula", "RuleError", "cuda", "cython", "functional", "read", "rendered"]


def rendered() -> dict[Path, str]:
    """Every generated file, with the text that it should have."""
    rules, stages = read(PACKAGE / "rules.py"), read(PACKAGE / "stages.py")
    return {
        PACKAGE / "engine" / "kernels.pyx": cython.render(rules, stages),
        PACKAGE / "cuda" / "kernels.cu": cuda.render(rules, stages),
        PACKAGE / "functional.py": functional.render(rules),
    }
