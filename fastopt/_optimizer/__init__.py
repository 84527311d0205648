"""The optimizer object: options, groups, parameters, state, files and reports."""

from .optimizer import Optimizer, Parameter

__all__ = ["Optimizer", "Parameter"]
