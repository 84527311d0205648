"""Specs: rules and stages as their functions' signatures declare them, with arrays, numbers and hyperparameters."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from . import stages
from .domains import ANY, domain_of

FLOAT_MAX = float(np.finfo(np.float32).max)
SHARED_ARRAYS = ("g", "p", "u", "m")  # A stage's arrays that it does not keep.


class Spec:
    """A rule or a stage: ``name_scalars``, the scalars of a step, and ``name``, the arithmetic of an element.

    Attributes
    ----------
    name : str
    arrays : list of str
        Positional arguments of the function. Of a rule: ``p``, ``g`` and state; of a stage: first the one that it changes.
    state : list of str
        Arrays of a rule that live between steps.
    tags : dict of str
        Tags of arrays, from their annotations, such as ``velocity``, ``nonnegative`` and ``start``.
    carry : dict of str
        Numbers that live from step to step, with their first values.
    hyperparameters : dict of str
        Keyword-only arguments of the scalars function, with their defaults; with those, a stage changes nothing.
    sums : list of str
        Names of the sums that the scalars function takes.
    sums_arrays : list of str
        Arrays that the sums are over.
    domains : dict of Domain
        Domain of each hyperparameter.
    kind : {"", "checks", "accumulates", "averages", "measures"}
        Purpose of a stage; "" for one that changes its first array.
    scope : {"over_array", "mean_over_array", "over_group", "over_all", ""}
    terms_arrays : list of str
        Arrays of matrix terms, which are computed before the sums.
    terms_scope : {"factored_terms", "matrix_terms", ""}
        Use of those terms: means of rows and columns, or a matrix that `matrix` changes.
    matrix : function or None
        Changes an array of two axes in place, with the hyperparameters.
    signature : str
        All names that compiled code passes by position.
    """

    text: Any = None  # Of a user's rule: as the code generator reads it.
    label = ""  # The rule's name in files.
    capsule: Any = None  # Table of kernels of a compiled user's rule.

    def __init__(self, name: str, functions: Mapping[str, Any]) -> None:
        self.name = self.label = name
        self.function: FunctionType = functions[name]
        self._scalars = functions[f"{name}_scalars"]
        self._sums = functions.get(f"{name}_sums")
        self._sums_scalars = functions.get(f"{name}_sums_scalars")
        self._terms = functions.get(f"{name}_terms")
        self._terms_scalars = functions.get(f"{name}_terms_scalars")
        self.matrix: Callable[..., None] | None = functions.get(f"{name}_matrix")
        arrays, names, returned = arguments(self.function)
        self.arrays, self.kind = list(arrays), tag_of(returned)
        self.tags = {array: tag for array, p in arrays.items() if (tag := tag_of(p.annotation))}
        self.wide = {scalar for scalar, p in names.items() if tag_of(p.annotation) == "wide"}
        self.state = self.arrays[2:]
        self._read_numbers()
        self.sums_arrays, self.scope = arrays_and_scope(self._sums)
        self.terms_arrays, self.terms_scope = arrays_and_scope(self._terms)
        parts: list[Iterable[str]] = [self.arrays, names, self.carry, self.hyperparameters]
        parts += [self.sums_arrays, self.reduced, [self.scope]] if self._sums else []
        parts += [self.terms_arrays, [self.terms_scope]] if self._terms else []
        self.signature = " | ".join(" ".join(part) for part in parts)

    def _read_numbers(self) -> None:
        """Read carried numbers, sums and hyperparameters from the signature of the scalars function."""
        positional, hyperparameters, _ = arguments(self._scalars)
        self.timed = positional.pop("t", None) is not None
        self.carry = {number: float(p.default) for number, p in positional.items() if p.default is not p.empty}
        self.carry_domains = {number: domain_of(positional[number].annotation, ANY) for number in self.carry}
        self.hyperparameters = {h: None if p.default is p.empty else float(p.default) for h, p in hyperparameters.items()}
        self.domains = {h: domain_of(p.annotation) for h, p in hyperparameters.items()}
        self.reduced = [number for number, p in positional.items() if p.default is p.empty]
        self.squares = {number for number in self.reduced if f"{number}_exponent" in self.reduced}
        self.sums = [
            number for number in self.reduced if number.removesuffix("_exponent") not in self.squares or number in self.squares
        ]

    def accepts(self, shape: Sequence[int]) -> bool:
        """Return True if the rule accepts arrays of this shape."""
        return {"factored_terms": len(shape) > 1, "matrix_terms": len(shape) == 2}.get(self.terms_scope, True)

    @property
    def positional(self) -> bool:
        """True if an element's position matters, as for sums and matrices; counts are exact in any order."""
        return bool(self.scope or self.terms_scope) and self.kind != "checks"

    @property
    def is_passive(self) -> bool:
        """True for a stage that only looks at the gradient."""
        return self.kind in ("checks", "measures")

    @property
    def is_for_optimizers(self) -> bool:
        """True for a stage that acts over several calls or reports; code without an optimizer object has none."""
        return self.kind in ("accumulates", "averages", "measures")

    @property
    def limits(self) -> list[str]:
        """Hyperparameters of a stage that bound the gradient."""
        return [name for name, domain in self.domains.items() if domain.is_limit and self.arrays[0] == "g"]

    def runs(self, accumulating: bool) -> bool:
        """Return True if a stage runs in calls that accumulate, or in the call that makes the step."""
        return self.kind != ("averages" if accumulating else "accumulates")

    def first(self, carry: Sequence[float | None], t: int) -> list[float]:
        """Return carried numbers as they were passed; in the first step, missing ones have their first values."""
        if not self.carry:
            return []
        if t > 1 and None in carry:
            (name, *_) = (name for name, x in zip(self.carry, carry, strict=True) if x is None)
            raise ValueError(f"{name}: not given, expected what the step before returned")
        return [float(first if x is None else x) for first, x in zip(self.carry.values(), carry, strict=True)]

    @property
    def of_gradient(self) -> bool:
        """True for a stage that needs the gradient only, which it changes in double."""
        return self.arrays == ["g"]

    def exact(self, scalars: Mapping[str, float]) -> bool:
        """Return True if a stage that needs the gradient only leaves floats without rounding, except for subnormal results."""
        if not self.wide:
            with np.errstate(all="ignore"):
                return all(float(np.float32(x)) == x for x in scalars.values())
        factor, shift = scalars.values()
        return shift == 1 and 2.0**-100 <= abs(factor) <= 1 and abs(math.frexp(factor)[0]) == 0.5

    @property
    def stage_arrays(self) -> list[str]:
        """Arrays that a stage keeps."""
        return [a for a in self.arrays if a not in SHARED_ARRAYS]

    def is_loose(self, values: Mapping[str, float]) -> bool:
        """Return True if a stage clips to more than a float holds; it then takes the gradient rounded, to see infinities."""
        return any(values[name] > FLOAT_MAX for name in self.limits)

    def neutral(self, values: Mapping[str, float]) -> bool:
        """Return True if a stage's hyperparameters change nothing."""
        found = {name: x for name, x in self.hyperparameters.items() if x is not None}
        return bool(found) and all(values[name] == x for name, x in found.items())

    def scalars(
        self, values: Mapping[str, float], t: int = 0, carry: Sequence[float] = (), sums: Mapping[str, float] | None = None
    ) -> tuple[dict[str, float], list[float]]:
        """Return the scalars of step `t` in double, and the carried numbers; division by zero gives what C gives."""
        given = [t] if self.timed else []
        with np.errstate(all="ignore"):
            found = self._scalars(
                *given,
                **{name: np.float64(x) for name, x in (sums or {}).items()},
                **{name: np.float64(x) for name, x in zip(self.carry, carry, strict=True)},
                **{name: np.float64(values[name]) for name in self.hyperparameters},
            )
        found, *after = found if isinstance(found, tuple) else (found,)
        return {name: float(x) for name, x in found.items()}, [float(x) for x in after]

    def sum_terms(
        self, values: Mapping[str, float], t: int, carry: Sequence[float], arrays: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """Return the terms of the sums, in double."""
        assert self._sums is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._sums_scalars, values, t, carry)
            result = self._sums(*(arrays[name].astype(np.float64) for name in self.sums_arrays), **scalars)
        return [np.asarray(result[name], np.float64) for name in self.sums]

    def terms(
        self, values: Mapping[str, float], t: int, carry: Sequence[float], arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return the scalars of matrix terms, and the terms, in double."""
        assert self._terms is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._terms_scalars, values, t, carry)
            (result,) = self._terms(*(arrays[name].astype(np.float64) for name in self.terms_arrays), **scalars).values()
        return scalars, np.asarray(result, np.float64)

    def _before(
        self, function: Callable[..., Any] | None, values: Mapping[str, float], t: int, carry: Sequence[float]
    ) -> dict[str, float]:
        """Return the scalars of sums or matrix terms."""
        if function is None:
            return {}
        names = inspect.signature(function).parameters
        numbers = {name: np.float64(x) for name, x in zip(self.carry, carry, strict=True) if name in names}
        numbers |= {name: np.float64(values[name]) for name in self.hyperparameters if name in names}
        found = function(t, **numbers)
        scalars, *_ = found if isinstance(found, tuple) else (found,)
        return dict(scalars)

    def __call__(self, scalars: Mapping[str, float], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return new arrays, in the dtype of the first."""
        real = arrays[0].dtype.type
        with np.errstate(all="ignore"):
            numbers = {name: np.float64(x) if name in self.wide else real(x) for name, x in scalars.items()}
            result = self.function(*arrays, **numbers)
        return result if isinstance(result, tuple) else (result,)


def arguments(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, inspect.Parameter], Any]:
    """Return a function's positional and keyword-only arguments by name, and its return annotation."""
    found = inspect.signature(function)
    space = function.__globals__
    parts: tuple[dict[str, inspect.Parameter], dict[str, inspect.Parameter]] = ({}, {})
    for p in found.parameters.values():
        known = p.replace(annotation=resolved(p.annotation, space)) if isinstance(p.annotation, str) else p
        parts[p.kind is p.KEYWORD_ONLY][p.name] = known
    return *parts, resolved(found.return_annotation, space)


def resolved(annotation: Any, space: Mapping[str, Any]) -> Any:
    """Return the meaning of a textual annotation in a module, or the text if it has none."""
    if not isinstance(annotation, str):
        return annotation
    if annotation.isidentifier():
        return space.get(annotation, annotation)
    # A user's annotation may be anything.
    with contextlib.suppress(Exception):
        return eval(annotation, dict(space))
    return annotation


def arrays_and_scope(function: Callable[..., Any] | None) -> tuple[list[str], str]:
    """Return the arrays that a function of sums or terms takes, and its scope."""
    if function is None:
        return [], ""
    arrays, _, returned = arguments(function)
    return list(arrays), tag_of(returned)


def tag_of(annotation: Any) -> str:
    """Return the name of a tag; annotations that are not evaluated are text already. "" for any other annotation."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2]
    return next((x for x in getattr(annotation, "__metadata__", ()) if isinstance(x, str)), "")


def of(function: Any) -> Spec:
    """Return the spec of an update function of the package, or of a user's rule."""
    found: Spec = getattr(function, "formula", None) or RULES[function.__name__]
    return found


def formulas(module: ModuleType) -> dict[str, Spec]:
    """Return the specs of a module by name, in its order."""
    names = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    return {n: Spec(n, vars(module)) for n in names if f"{n}_scalars" in vars(module) and not n.endswith(("_sums", "_terms"))}


def place_of(kind: str) -> int:
    """Return the place of the only stage of a kind."""
    (place,) = (k for k, stage in enumerate(STAGES.values()) if stage.kind == kind)
    return place


# Rules of the package, which the modules in ``optimizers`` register.
RULES: dict[str, Spec] = {}
STAGES = formulas(stages)
STAGE_ARRAY_NAMES = list(dict.fromkeys(a for stage in STAGES.values() for a in stage.stage_arrays))
RULE_AT, SUBTRACT_AT = (f([k for k, s in enumerate(STAGES.values()) if s.arrays[0] == "u"]) for f in (min, lambda ks: max(ks) + 1))
