"""fastopt: the optimizer step for numeric code, exact, in place, compiled."""

from typing import Any

from . import embed, functional, optimizers, schedules, training
from .base import Optimizer
from .config import show_config
from .embed import get_include, source
from .engine.rows import RowGradient
from .engine.storage import bfloat16
from .optimizers import *  # noqa: F403 (found in their files)
from .own import compile, optimizer, rule

__version__ = "0.1.0"
__all__ = [
    "Optimizer",
    "RowGradient",
    "bfloat16",
    "compile",
    "embed",
    "functional",
    "get_include",
    "optimizer",
    "rule",
    "schedules",
    "show_config",
    "source",
    "training",
]
__all__ += optimizers.__all__


def __getattr__(name: str) -> Any:
    """`cuda`, `testing` and `torch`, which are imported where they are used."""
    if name in ("cuda", "testing", "torch"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "cuda", "testing", "torch"})
