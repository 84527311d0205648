"""Minimization: functions of one array, by any optimizer."""

from .many import minimize_many
from .minimizer import Minimizer
from .protocol import minimize, scipy_method

__all__ = ["Minimizer", "minimize", "minimize_many", "scipy_method"]
