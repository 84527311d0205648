"""fastopt: the optimizer step for numeric code, exact, in place, compiled."""

from typing import Any

from . import embed, functional, optimizers, schedules, training
from ._arrays.dtypes import bfloat16
from ._arrays.row_gradient import RowGradient
from ._optimizer import Optimizer
from ._version import __version__
from .config import show_config
from .custom import compile, optimizer, rule
from .embed import get_include, source
from .optimizers import *  # noqa: F403

__all__ = [
    "Optimizer",
    "RowGradient",
    "__version__",
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
    """Import `cuda`, `testing`, `torch` and `RuleError` on first use."""
    if name in ("cuda", "testing", "torch"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if name == "RuleError":
        from ._codegen.subset import RuleError

        return RuleError
    from ._optimizer.names import meant

    found = meant(name, __all__)
    hint = f", did you mean {found!r}?" if found else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), "RuleError", "cuda", "testing", "torch"} - {"Any"})
