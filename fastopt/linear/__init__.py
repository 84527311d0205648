"""Linear models: objectives with compiled epochs, and estimators for scikit-learn, which are imported on first use."""

from typing import TYPE_CHECKING, Any

from ..extras import imported
from .objective import Objective

if TYPE_CHECKING:
    from .classifier import LinearClassifier
    from .regressor import LinearRegressor

__all__ = ["LinearClassifier", "LinearRegressor", "Objective"]
ESTIMATORS = {"LinearClassifier": "classifier", "LinearRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    """Import the estimators on first use."""
    if name in ESTIMATORS:
        import importlib

        imported("an estimator", "sklearn")
        return getattr(importlib.import_module(f"{__name__}.{ESTIMATORS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
