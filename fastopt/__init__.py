"""fastopt: the optimizer step for numeric code, exact, in place, compiled."""

from typing import TYPE_CHECKING, Any

from . import embed, functional, optimizers, schedules, training
from ._arrays.dtypes import bfloat16
from ._arrays.row_gradient import RowGradient
from ._optimizer import Optimizer, no_decay
from ._version import __version__
from .config import show_config
from .custom import compile, optimizer, rule
from .embed import get_include, source
from .optimizers import *  # noqa: F403

if TYPE_CHECKING:
    from . import linear, losses, plot
    from ._arrays.packing import pack
    from ._engine.sums import combine
    from .gradient import check_gradient
    from .minimization import Minimizer, lr_find, minimize, minimize_many, scipy_method

__all__ = [
    "Minimizer",
    "Optimizer",
    "RowGradient",
    "__version__",
    "bfloat16",
    "check_gradient",
    "combine",
    "compile",
    "embed",
    "functional",
    "get_include",
    "linear",
    "losses",
    "lr_find",
    "minimize",
    "minimize_many",
    "no_decay",
    "optimizer",
    "pack",
    "plot",
    "rule",
    "schedules",
    "scipy_method",
    "show_config",
    "source",
    "training",
]
__all__ += optimizers.__all__


# Parts that are imported on first use: modules, and names of modules.
LAZY = {
    **{name: name for name in ("cuda", "linear", "losses", "mpi", "plot", "testing", "torch")},
    "RuleError": "_codegen.subset",
    "pack": "_arrays.packing",
    "combine": "_engine.sums",
    "check_gradient": "gradient",
    **{name: "minimization" for name in ("Minimizer", "lr_find", "minimize", "minimize_many", "scipy_method")},
}


def __getattr__(name: str) -> Any:
    """Import what is imported on first use."""
    if name in LAZY:
        import importlib

        module = importlib.import_module(f"{__name__}.{LAZY[name]}")
        return module if name == LAZY[name] else getattr(module, name)
    from ._optimizer.names import meant

    found = meant(name, __all__)
    hint = f", did you mean {found!r}?" if found else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY} - {"Any", "LAZY", "TYPE_CHECKING"})
