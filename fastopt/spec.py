"""What the functions of a rule or stage say by their signatures: its arrays, its numbers, its hyperparameters."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from . import stages
from .domains import domain_of

FLOAT_MAX = float(np.finfo(np.float32).max)
GIVEN = ("g", "p", "u", "m")  # a stage's arrays that are not its own


class Formula:
    """A rule or a stage: ``name_scalars``, the scalars of a step, and ``name``, the arithmetic of an element.

    Attributes
    ----------
    name : str
    arrays : list of str
        Positional arguments of the function: of a rule ``p``, ``g`` and its state; of a stage first what it shapes.
    state : list of str
        Of a rule: the arrays that live between steps.
    tags : dict of str
        Of an array: ``velocity``, ``nonnegative`` or ``start``, where its annotation says so.
    kept : dict of str
        Numbers that live between steps, with what they begin at.
    hyperparameters : dict of str
        Keyword-only arguments of the scalars function, with their defaults; those of a stage change nothing.
    sums : list of str
        Names of the sums over arrays that the scalars function needs.
    sums_arrays : list of str
        Arrays that those are of.
    domains : dict of Domain
        What each of those may be.
    kind : {"", "checks", "accumulates", "averages", "measures"}
        Of a stage: what it is for, but for shaping its first array.
    scope : {"over_array", "mean_over_array", "over_group", "over_all", ""}
    terms_arrays : list of str
        Arrays of terms that matrices are made of before the sums.
    terms_scope : {"over_lines", "over_matrix", ""}
        What becomes of those: averages of lines, or what `matrix` makes of them.
    matrix : function or None
        Of an array of two axes, in place, and the hyperparameters.
    signature : str
        All names that compiled code takes by position.
    """

    text: Any = None  # of a user's own rule: what the code generator reads
    label = ""  # what files of state call the rule
    capsule: Any = None  # and its kernels' table, once it is compiled

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
        parts: list[Iterable[str]] = [self.arrays, names, self.kept, self.hyperparameters]
        parts += [self.sums_arrays, self.given, [self.scope]] if self._sums else []
        parts += [self.terms_arrays, [self.terms_scope]] if self._terms else []
        self.signature = " | ".join(" ".join(part) for part in parts)

    def _read_numbers(self) -> None:
        """Read from the scalars function what it is given: sums, numbers that live between steps, hyperparameters."""
        positional, hyperparameters, _ = arguments(self._scalars)
        self.timed = positional.pop("t", None) is not None
        self.kept = {number: float(p.default) for number, p in positional.items() if p.default is not p.empty}
        self.hyperparameters = {h: None if p.default is p.empty else float(p.default) for h, p in hyperparameters.items()}
        self.domains = {h: domain_of(p.annotation) for h, p in hyperparameters.items()}
        self.given = [number for number, p in positional.items() if p.default is p.empty]
        self.squares = {number for number in self.given if f"{number}_exponent" in self.given}
        self.sums = [
            number for number in self.given if number.removesuffix("_exponent") not in self.squares or number in self.squares
        ]

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether the rule is for arrays of this shape."""
        return {"over_lines": len(shape) > 1, "over_matrix": len(shape) == 2}.get(self.terms_scope, True)

    @property
    def positional(self) -> bool:
        """Whether sums or matrices make an element's position matter: not counts, whose sums are exact."""
        return bool(self.scope or self.terms_scope) and self.kind != "checks"

    @property
    def is_passive(self) -> bool:
        """Of a stage: whether what it sums or finds is of interest, not what it makes of the gradient."""
        return self.kind in ("checks", "measures")

    @property
    def is_for_optimizers(self) -> bool:
        """Of a stage: whether it acts over several calls or reports, which code without an optimizer object does not."""
        return self.kind in ("accumulates", "averages", "measures")

    @property
    def limits(self) -> list[str]:
        """Of a stage: the hyperparameters that bound the gradient."""
        return [name for name, domain in self.domains.items() if domain.is_limit and self.arrays[0] == "g"]

    def runs(self, holds: bool) -> bool:
        """Return whether a stage has a part in a call that holds its gradient for a later step, or in one that makes the step."""
        return self.kind != ("averages" if holds else "accumulates")

    def first(self, kept: Sequence[float | None], t: int) -> list[float]:
        """Return numbers that live between steps as they are given, or in the first step, where they are not, as they begin."""
        if not self.kept:
            return []
        if t > 1 and None in kept:
            (name, *_) = (name for name, x in zip(self.kept, kept, strict=True) if x is None)
            raise ValueError(f"{name}: not given, expected what the step before returned")
        return [float(first if x is None else x) for first, x in zip(self.kept.values(), kept, strict=True)]

    @property
    def of_gradient(self) -> bool:
        """Of a stage: whether it needs nothing but the gradient, which it shapes in double."""
        return self.arrays == ["g"]

    def exact(self, scalars: Mapping[str, float]) -> bool:
        """Return whether a stage of the gradient alone makes floats of floats without rounding, but for subnormal numbers."""
        if not self.wide:
            with np.errstate(all="ignore"):
                return all(float(np.float32(x)) == x for x in scalars.values())
        factor, shift = scalars.values()
        return shift == 1 and 2.0**-100 <= abs(factor) <= 1 and abs(math.frexp(factor)[0]) == 0.5

    @property
    def own(self) -> list[str]:
        """Of a stage: its own arrays."""
        return [a for a in self.arrays if a not in GIVEN]

    def is_loose(self, values: Mapping[str, float]) -> bool:
        """Return whether this clips to more than a float holds: it then takes the gradient rounded, to know what is infinite."""
        return any(values[name] > FLOAT_MAX for name in self.limits)

    def neutral(self, values: Mapping[str, float]) -> bool:
        """Return whether a stage's hyperparameters change nothing."""
        found = {name: x for name, x in self.hyperparameters.items() if x is not None}
        return bool(found) and all(values[name] == x for name, x in found.items())

    def scalars(
        self, values: Mapping[str, float], t: int = 0, kept: Sequence[float] = (), sums: Mapping[str, float] | None = None
    ) -> tuple[dict[str, float], list[float]]:
        """Return scalars of step `t`, in double, and what is kept for the next; where C would divide by zero, so does this."""
        given = [t] if self.timed else []
        with np.errstate(all="ignore"):
            found = self._scalars(
                *given,
                **{name: np.float64(x) for name, x in (sums or {}).items()},
                **{name: np.float64(x) for name, x in zip(self.kept, kept, strict=True)},
                **{name: np.float64(values[name]) for name in self.hyperparameters},
            )
        found, *after = found if isinstance(found, tuple) else (found,)
        return {name: float(x) for name, x in found.items()}, [float(x) for x in after]

    def summands(
        self, values: Mapping[str, float], t: int, kept: Sequence[float], arrays: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """Return what is to be summed, in double."""
        assert self._sums is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._sums_scalars, values, t, kept)
            result = self._sums(*(arrays[name].astype(np.float64) for name in self.sums_arrays), **scalars)
        return [np.asarray(result[name], np.float64) for name in self.sums]

    def terms(
        self, values: Mapping[str, float], t: int, kept: Sequence[float], arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return terms of matrices, in double, and their scalars."""
        assert self._terms is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._terms_scalars, values, t, kept)
            (result,) = self._terms(*(arrays[name].astype(np.float64) for name in self.terms_arrays), **scalars).values()
        return scalars, np.asarray(result, np.float64)

    def _before(
        self, function: Callable[..., Any] | None, values: Mapping[str, float], t: int, kept: Sequence[float]
    ) -> dict[str, float]:
        """Return scalars of what comes before the rule's own."""
        if function is None:
            return {}
        names = inspect.signature(function).parameters
        numbers = {name: np.float64(x) for name, x in zip(self.kept, kept, strict=True) if name in names}
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
    """Return a function's positional and its keyword-only arguments by name, and the annotation of what it returns."""
    found = inspect.signature(function)
    space = function.__globals__
    parts: tuple[dict[str, inspect.Parameter], dict[str, inspect.Parameter]] = ({}, {})
    for p in found.parameters.values():
        known = p.replace(annotation=resolved(p.annotation, space)) if isinstance(p.annotation, str) else p
        parts[p.kind is p.KEYWORD_ONLY][p.name] = known
    return *parts, resolved(found.return_annotation, space)


def resolved(annotation: Any, space: Mapping[str, Any]) -> Any:
    """Return what an annotation that is text means in a module; the text where that is nothing."""
    if not isinstance(annotation, str):
        return annotation
    if annotation.isidentifier():
        return space.get(annotation, annotation)
    with contextlib.suppress(Exception):  # a user's, which may be anything
        return eval(annotation, dict(space))
    return annotation


def arrays_and_scope(function: Callable[..., Any] | None) -> tuple[list[str], str]:
    """Return what a function of sums or terms takes, and over what it sums."""
    if function is None:
        return [], ""
    arrays, _, returned = arguments(function)
    return list(arrays), tag_of(returned)


def tag_of(annotation: Any) -> str:
    """Return the name of a tag, which is text where annotations are not evaluated, or "" for any other annotation."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2]
    return next((x for x in getattr(annotation, "__metadata__", ()) if isinstance(x, str)), "")


def of(function: Any) -> Formula:
    """Return what an update function of the package, or a rule of a user's, is."""
    found: Formula = getattr(function, "formula", None) or RULES[function.__name__]
    return found


def formulas(module: ModuleType) -> dict[str, Formula]:
    """Return all of a module, in its order."""
    names = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    return {n: Formula(n, vars(module)) for n in names if f"{n}_scalars" in vars(module) and not n.endswith(("_sums", "_terms"))}


def place_of(kind: str) -> int:
    """Return the place of the one stage of a kind."""
    (place,) = (k for k, stage in enumerate(STAGES.values()) if stage.kind == kind)
    return place


RULES: dict[str, Formula] = {}  # of the package; each module of optimizers brings its own
STAGES = formulas(stages)
OWN_ARRAYS = list(dict.fromkeys(a for stage in STAGES.values() for a in stage.own))
RULE_AT, SUBTRACT_AT = (f([k for k, s in enumerate(STAGES.values()) if s.arrays[0] == "u"]) for f in (min, lambda ks: max(ks) + 1))
