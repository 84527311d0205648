"""Linear models: objectives with compiled epochs, and estimators for scikit-learn."""

from .objective import Objective

__all__ = ["Objective"]
