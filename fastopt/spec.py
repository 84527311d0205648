"""What the functions of a rule or stage say by their signatures: its arrays, its numbers, its hyperparameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from . import stages

FLOAT_MAX = float(np.finfo(np.float32).max)
GIVEN = ("g", "p", "u", "m")  # a stage's arrays that are not its own
REPORTED = ("unclipped", "norms", "moves")  # stages whose sums alone are of interest
PASSIVE = ("finite", *REPORTED)  # those that take the gradient in double only if the next stage goes on with it so
ACTED_ON = ("hold", "gather", *REPORTED)  # stages that an optimizer acts on, and other code does without


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
        arguments = inspect.signature(self.function).parameters.values()
        self.arrays = [p.name for p in arguments if p.kind is p.POSITIONAL_OR_KEYWORD]
        tags = {p.name: (p.kind, tag_of(p.annotation)) for p in arguments if p.annotation is not p.empty}
        self.tags = {name: tag for name, (kind, tag) in tags.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self.wide = {name for name, (_, tag) in tags.items() if tag == "wide"}
        self.state = self.arrays[2:]
        names = [p.name for p in arguments if p.kind is p.KEYWORD_ONLY]
        numbers = inspect.signature(self._scalars).parameters.values()
        positional = [p for p in numbers if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "t"]
        self.kept = {p.name: float(p.default) for p in positional if p.default is not p.empty}
        self.hyperparameters = {
            p.name: None if p.default is p.empty else float(p.default) for p in numbers if p.kind is p.KEYWORD_ONLY
        }
        self.given = [p.name for p in positional if p.default is p.empty]
        self.squares = {name for name in self.given if f"{name}_exponent" in self.given}
        self.sums = [name for name in self.given if name.removesuffix("_exponent") not in self.squares or name in self.squares]
        self.timed = "t" in inspect.signature(self._scalars).parameters
        parts: list[Sequence[str]] = [self.arrays, names, list(self.kept), list(self.hyperparameters)]
        self.sums_arrays: list[str] = []
        self.scope = ""
        if self._sums:
            summing = inspect.signature(self._sums)
            self.sums_arrays = [p.name for p in summing.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
            self.scope = tag_of(summing.return_annotation)
            parts += [self.sums_arrays, self.given, [self.scope]]
        self.terms_arrays: list[str] = []
        self.terms_scope = ""
        if self._terms:
            of_terms = inspect.signature(self._terms)
            self.terms_arrays = [p.name for p in of_terms.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
            self.terms_scope = tag_of(of_terms.return_annotation)
            parts += [self.terms_arrays, [self.terms_scope]]
        self.signature = " | ".join(" ".join(part) for part in parts)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the rule is for arrays of this shape."""
        return {"over_lines": len(shape) > 1, "over_matrix": len(shape) == 2}.get(self.terms_scope, True)

    @property
    def positional(self) -> bool:
        """Whether sums or matrices make an element's position matter."""
        return bool(self.scope or self.terms_scope) and self.name != "finite"

    def first(self, kept: Sequence[float | None], t: int) -> list[float]:
        """Numbers that live between steps as they are given, or in the first step, where they are not, as they begin."""
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
        """Of a stage of the gradient alone: whether it makes floats of floats without rounding, but for subnormal numbers."""
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
        """Whether this clips to more than a float holds: then it takes the gradient rounded, so that what is infinite is known."""
        return self.name.startswith("clip_") and values[self.name] > FLOAT_MAX

    def neutral(self, values: Mapping[str, float]) -> bool:
        """Of a stage with hyperparameters: whether they change nothing."""
        found = {name: x for name, x in self.hyperparameters.items() if x is not None}
        return bool(found) and all(values[name] == x for name, x in found.items())

    def scalars(
        self, values: Mapping[str, float], t: int = 0, kept: Sequence[float] = (), sums: Mapping[str, float] | None = None
    ) -> tuple[dict[str, float], list[float]]:
        """Scalars of step `t`, in double, and what is kept for the next; where C would divide by zero, so does this."""
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
        """What is to be summed, in double."""
        assert self._sums is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._sums_scalars, values, t, kept)
            result = self._sums(*(arrays[name].astype(np.float64) for name in self.sums_arrays), **scalars)
        return [np.asarray(result[name], np.float64) for name in self.sums]

    def terms(
        self, values: Mapping[str, float], t: int, kept: Sequence[float], arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Terms of matrices, in double, and their scalars."""
        assert self._terms is not None
        with np.errstate(all="ignore"):
            scalars = self._before(self._terms_scalars, values, t, kept)
            (result,) = self._terms(*(arrays[name].astype(np.float64) for name in self.terms_arrays), **scalars).values()
        return scalars, np.asarray(result, np.float64)

    def _before(
        self, function: Callable[..., Any] | None, values: Mapping[str, float], t: int, kept: Sequence[float]
    ) -> dict[str, float]:
        """Scalars of what comes before the rule's own."""
        if function is None:
            return {}
        names = inspect.signature(function).parameters
        numbers = {name: np.float64(x) for name, x in zip(self.kept, kept, strict=True) if name in names}
        numbers |= {name: np.float64(values[name]) for name in self.hyperparameters if name in names}
        found = function(t, **numbers)
        scalars, *_ = found if isinstance(found, tuple) else (found,)
        return dict(scalars)

    def __call__(self, scalars: Mapping[str, float], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """New arrays, in the dtype of the first."""
        real = arrays[0].dtype.type
        with np.errstate(all="ignore"):
            numbers = {name: np.float64(x) if name in self.wide else real(x) for name, x in scalars.items()}
            result = self.function(*arrays, **numbers)
        return result if isinstance(result, tuple) else (result,)


def tag_of(annotation: Any) -> str:
    """The name of a tag, which is text where annotations are not evaluated."""
    return annotation.rpartition(".")[2] if isinstance(annotation, str) else str(annotation.__metadata__[0])


def of(function: Any) -> Formula:
    """What an update function of the package, or a rule of a user's, is."""
    found: Formula = getattr(function, "formula", None) or RULES[function.__name__]
    return found


def formulas(module: ModuleType) -> dict[str, Formula]:
    """All of a module, in its order."""
    names = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    return {n: Formula(n, vars(module)) for n in names if f"{n}_scalars" in vars(module) and not n.endswith(("_sums", "_terms"))}


RULES: dict[str, Formula] = {}  # of the package; each module of optimizers brings its own
STAGES = formulas(stages)
RULE_AT, SUBTRACT_AT = (f([k for k, s in enumerate(STAGES.values()) if s.arrays[0] == "u"]) for f in (min, lambda ks: max(ks) + 1))
