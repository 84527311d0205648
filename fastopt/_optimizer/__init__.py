"""The optimizer object: options, groups, parameters, state, files and reports."""

from .by_name import no_decay
from .optimizer import Optimizer
from .parameter import Parameter

__all__ = ["Optimizer", "Parameter", "no_decay"]
