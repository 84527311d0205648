"""Minimization: functions of one array, by any optimizer."""

from .many import minimize_many
from .minimizer import Minimizer
from .protocol import minimize, scipy_method
from .sweep import lr_find

__all__ = ["Minimizer", "lr_find", "minimize", "minimize_many", "scipy_method"]
