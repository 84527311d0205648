"""The optimizer object: options, groups, parameters, state, files and reports."""

from .optimizer import Optimizer
from .parameter import Parameter

__all__ = ["Optimizer", "Parameter"]
