"""The optimizer object: options, groups, parameters, state, files and reports."""

from .by_name import no_decay
from .optimizer import Optimizer
from .parameter import CORRECTED, Parameter

__all__ = ["CORRECTED", "Optimizer", "Parameter", "no_decay"]
