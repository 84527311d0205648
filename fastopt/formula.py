"""What the two functions of a rule or stage say by their signatures: its arrays, its hyperparameters, its neutral scalars."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from . import rules, stages


class Formula:
    """A rule or a stage: ``name_scalars``, the scalars of a step, and ``name``, the arithmetic of an element.

    Attributes
    ----------
    name : str
    function : function
    arrays : list of str
        Positional arguments of the function: of a rule ``p``, ``g`` and its state; of a stage first what it shapes.
    state : list of str
        Of a rule: the arrays that live between steps.
    hyperparameters : list of str
        Keyword-only arguments of the scalars function.
    neutral : dict
        Of a stage: the scalars that change nothing.
    """

    def __init__(self, function: FunctionType) -> None:
        self.name = function.__name__
        self.function = function
        self._scalars = function.__globals__[f"{self.name}_scalars"]
        arguments = inspect.signature(function).parameters.values()
        self.arrays = [p.name for p in arguments if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.state = self.arrays[2:]
        self.neutral = {p.name: p.default for p in arguments if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        arguments = inspect.signature(self._scalars).parameters.values()
        self.hyperparameters = [p.name for p in arguments if p.kind is p.KEYWORD_ONLY]

    def scalars(self, values: Mapping[str, float], *t: int) -> dict[str, float]:
        """Scalars of step `t`, in double; where C would divide by zero, so does this."""
        with np.errstate(all="ignore"):
            found = self._scalars(*t, **{name: np.float64(values[name]) for name in self.hyperparameters})
        return {name: float(x) for name, x in found.items()}

    def __call__(self, scalars: Mapping[str, float], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """New arrays, in the dtype of the first."""
        real = arrays[0].dtype.type
        with np.errstate(all="ignore"):
            result = self.function(*arrays, **{name: real(x) for name, x in scalars.items()})
        return result if isinstance(result, tuple) else (result,)


def formulas(module: Any) -> dict[str, Formula]:
    """All of a module, in its order."""
    functions = {name: f for name, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    return {name: Formula(f) for name, f in functions.items() if f"{name}_scalars" in functions}


RULES = formulas(rules)
STAGES = formulas(stages)
