"""Methods of minimisation: optimizers by name, and the options that they do not take."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import optimizers
from .._optimizer import Optimizer
from .._optimizer.names import expected, folded
from .._optimizer.options import OF_OPTIMIZERS, OPTIONS
from ..custom import Rule, optimizer
from .criteria import NAMES, Criteria

OF_DIFFERENCES = ("differences", "finite_diff_rel_step", "workers")
REFUSED = {
    "maximize": "minimize the negative function",
    "accumulate": "return means of several values",
    "zero_grads": "gradients are copied",
    "nonfinite": "expected on_nonfinite='stop' or 'raise'",
    "params": "expected x0",
    "master": "expected x0 of float32 or float64",
}


@functools.cache
def by_name() -> dict[str, type[Optimizer]]:
    """Return the classes of optimizers by their names in lower case, without underscores."""
    return {folded(name): getattr(optimizers, name) for name in optimizers.__all__}


@functools.cache
def options_of(cls: type[Optimizer]) -> frozenset[str]:
    """Return the options of an optimizer that a minimization may have."""
    return frozenset({*cls.arguments, *OPTIONS, *OF_OPTIMIZERS, "convention"} - {*REFUSED, "bounds"})


def class_of(method: Any) -> type[Optimizer]:
    """Return the class of a method: of its name in any case, itself, or of a user's rule."""
    if isinstance(method, type) and issubclass(method, Optimizer) and method is not Optimizer:
        return method
    if isinstance(method, Rule):
        return method.Optimizer  # type: ignore[no-any-return]
    if isinstance(method, str):
        found = by_name().get(folded(method))
        if found is None:
            raise ValueError(f"method: {method!r:.60}, {expected(method, [name.lower() for name in optimizers.__all__])}")
        return found
    raise TypeError(f"method: {method!r:.60}, expected the name of an optimizer, its class, or what fastopt.rule makes")


def split(where: str, method: Any, options: Mapping[str, Any]) -> tuple[Criteria, dict[str, Any], dict[str, Any]]:
    """Return the options of the loop, of the optimizer, and of differences; raise for others."""
    known = options_of(class_of(method))  # type: ignore[arg-type]
    for name in options:
        if name in REFUSED:
            raise ValueError(f"{where}: {name}: not an option here, {REFUSED[name]}")
        if name == "bounds":
            raise TypeError(f"{where}: bounds: an argument, not an option")
        if name not in (*NAMES, *OF_DIFFERENCES, *known):
            raise TypeError(f"{where}: no option {name!r}, {expected(name, (*NAMES, *OF_DIFFERENCES, *sorted(known)))}")
    parts = [{k: x for k, x in options.items() if k in names} for names in (NAMES, known - {*NAMES}, OF_DIFFERENCES)]
    if callable(options.get("lr")):
        parts[0].setdefault("ftol", None)  # A rate that falls goes on where a constant one stalls.
    return Criteria(**parts[0]), parts[1], parts[2]


def make(method: Any, x: np.ndarray, options: Mapping[str, Any], bounds: Any) -> Optimizer:
    """Return the optimizer of a method: with its learning rate for minimisation, and without decay unless given."""
    cls = class_of(method)
    own = dict(cls.minimization_defaults)
    if "weight_decay" in cls.arguments:
        own["weight_decay"] = 0.0
    given: dict[str, Any] = {} if bounds is None else {"bounds": ({"x": bounds[0]}, {"x": bounds[1]})}
    if np.ndim(options.get("step_scale", 1.0)):
        given["step_scale"] = {"x": np.asarray(options["step_scale"])}
    return construct(method, {"x": x}, {**own, **options, **given})


def construct(method: Any, params: Any, options: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer of a method with these options."""
    return optimizer(method, params, **options) if isinstance(method, Rule) else class_of(method)(params, **options)
