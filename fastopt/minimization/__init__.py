"""Minimization: functions of one array, by any optimizer."""

from .minimizer import Minimizer
from .protocol import minimize, scipy_method

__all__ = ["Minimizer", "minimize", "scipy_method"]
