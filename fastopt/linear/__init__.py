"""Linear models: objectives with compiled epochs, and estimators for scikit-learn, which are imported on first use."""

from typing import TYPE_CHECKING, Any

from .objective import Objective

if TYPE_CHECKING:
    from .estimators import LinearClassifier, LinearRegressor

__all__ = ["LinearClassifier", "LinearRegressor", "Objective"]


def __getattr__(name: str) -> Any:
    """Import the estimators on first use."""
    if name in __all__:
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
