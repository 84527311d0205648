"""Optimizer: parameters and their names, groups of hyperparameters, state, and what saves and copies them."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import itertools
import math
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from .. import spec
from .._arrays import dtypes, layout, overlap
from .._arrays.memory import HOST, Memory
from .._arrays.row_gradient import check_indices
from .._arrays.tree import Structure, check_nesting, collect, flatten, unflatten
from .._engine import dispatch
from ..domains import NONNEGATIVE, Domain
from . import files, report, state
from .groups import Group, check_hyperparameter
from .options import ARRAY_OPTIONS, OF_OPTIMIZERS, OPTIONS, WEIGHT_DECAY_STAGES, check_bool, check_settings, common_doc, stages_of
from .options import DOMAINS as STAGE_DOMAINS

PACKAGE = __name__.partition(".")[0]
FORMAT = 1  # of state_dict() and of files
MOST_STEPS = 2**62
STORED = ("state_dtype", "master")  # settings that decide what state there is


class Parameter:
    """One array with its name, group and state.

    What is worked on is an own view of the array `given`: others may set that one's shape. It is over the memory of what the caller
    has: that very array, or another library's.

    Attributes
    ----------
    order : list of int
        Axes from the slowest to the fastest of the walk: as in memory, or as counted where an element's position matters.
    rule_state : dict of ndarray
        The rule's state as it is stored.
    exponents : dict of ndarray
        Of each of those that is of 8-bit floats: what its blocks share.
    master : ndarray or None
        The parameter in float32, or the bits that bfloat16 drops.
    own : dict of ndarray
        What the stages have for themselves, of the parameter's shape; those in `constant` are of the same number, for all.
    """

    def __init__(
        self,
        name: str,
        given: np.ndarray,
        group: Group,
        initial: Mapping[str, float],
        operands: Mapping[str, Any],
        settings: Any,
        memory: Memory,
    ) -> None:
        self.name = name
        self.given = self.caller = given
        self.guard = guard(given)
        self.memory = memory
        self.array = array = memory.view(given)
        self.group = group
        self.rule = group.rule_of(array.shape)
        if self.rule.terms_scope and array.dtype.kind == "c":
            raise TypeError(f"parameter {name!r}: {array.dtype}, expected a real dtype for {self.rule.name}")
        self.initial = dict(initial)
        self.real = layout.working_dtype(array)
        stored = layout.state_dtype(name, array, settings.state_dtype)
        positional = stored.itemsize < 4 or array.dtype.itemsize < 4 or settings.norms
        positional = positional or any(f.positional for f in (self.rule, *group.stages))
        self.order = list(range(len(layout.reals(array)[0]))) if positional else layout.axes(array)
        places = itertools.count(1)

        def zeros(dtype: np.dtype) -> np.ndarray:
            return memory.zeros_like(array, dtype, self.order, next(places))  # type: ignore[no-any-return]

        self.rule_state = {}
        self.exponents: dict[str, np.ndarray] = {}
        for key in self.rule.state:
            tag = self.rule.tags.get(key)
            if tag in layout.LINES:
                self.rule_state[key] = memory.zeros(layout.LINES[tag](array.shape), self.real)
                continue
            exact = tag in ("start", "scratch")
            self.rule_state[key] = zeros(self.real if exact else stored)
            if self.rule_state[key].dtype == dtypes.FLOAT8:
                self.exponents[key] = memory.zeros(-(-array.size // dtypes.BLOCK), np.dtype(np.int16))
        self.master: np.ndarray | None = None
        if settings.master and array.dtype == dtypes.BFLOAT16:
            self.master = zeros(np.dtype(np.float32 if settings.master == "float32" else np.int16))
        self.own: dict[str, np.ndarray] = {}
        self.constant: set[str] = set()
        if "low" in operands:
            stores = array.dtype if self.master is None else self.real
            operands = {**operands, **dict(zip(("low", "high"), between(name, operands, stores), strict=True))}
        for key, value in operands.items():
            if np.ndim(value) == 0:
                self.constant.add(key)
                self.own[key] = memory.zeros(dtypes.BLOCK, self.real.type(0).real.dtype)
                memory.put(self.own[key], float(value))
            else:
                self.own[key] = zeros(self.real)
                memory.put(self.own[key], self._both(np.asarray(value)))
        self.stage_state = {s.arrays[0]: s.tags.get(s.arrays[0], "") for s in group.stages if s.arrays[0] in s.own}
        for key in self.stage_state:
            self.own[key] = zeros(self.real)
        self.reset()

    def _both(self, value: Any) -> Any:
        """A real value for the real and for the imaginary part."""
        return value * complex(1, 1) if self.real.kind == "c" else value

    @property
    def state(self) -> dict[str, np.ndarray]:
        """All arrays that live between steps."""
        lives = {key: a for key, a in self.rule_state.items() if self.rule.tags.get(key) not in ("scratch", "of_ratios")}
        exponents = {f"{key}_exponents": a for key, a in self.exponents.items()}
        master = {} if self.master is None else {"master": self.master}
        return {**lives, **exponents, **master, **{k: self.own[k] for k in self.stage_state}}

    @property
    def state_names(self) -> list[str]:
        """Names of the arrays that live between steps, as users see them."""
        return [key for key in self.state if key.removesuffix("_exponents") not in self.exponents or key in self.exponents]

    def is_narrow(self, key: str) -> bool:
        """Return True if an array of state is stored in codes, not in numbers."""
        return (
            key in self.exponents
            or (key == "master" and self.master is not None and self.master.dtype == np.int16)
            or (self.state[key].dtype == dtypes.BFLOAT16)
        )

    def shown(self, key: str) -> Any:
        """An array of state: a live view, or of what is stored in codes a read-only copy in float32."""
        a = self.state[key]
        if not self.is_narrow(key):
            return a.view()
        if key == "master":
            found = self.value()
        elif key in self.exponents:
            flat = dtypes.widened8(self.flat(self.memory.host(a)), self.memory.host(self.exponents[key]), self.unsigned(key))
            found = self.shaped(flat, a.shape)
        else:
            found = dtypes.widened(self.memory.host(a))
        if isinstance(found, np.ndarray):
            found.flags.writeable = False
        return found

    def unsigned(self, key: str) -> bool:
        return self.rule.tags.get(key) == "nonnegative"

    def encoded(self, key: str, value: Any) -> tuple[np.ndarray, ...]:
        """Numbers for an array of state, as they are stored: to nearest; or the error that says why they are none."""
        a = self.state[key]
        dtype = np.dtype(np.float32) if self.is_narrow(key) else a.dtype
        x = state.as_numbers(f"state {key!r} of {self.name!r}", layout.on_host(value), a.shape, dtype)
        if key == "master" and a.dtype == np.int16:
            if not np.array_equal(dtypes.split(x)[0], self.memory.host(self.array)):
                raise ValueError(
                    f"state 'master' of {self.name!r}: numbers that are not the parameter's, expected others, or the parameter"
                )
            return (dtypes.split(x)[1].reshape(a.shape),)
        if key in self.exponents:
            if not np.isfinite(x).all() or (self.unsigned(key) and (x < 0).any()):
                least = "finite numbers of at least 0" if self.unsigned(key) else "finite numbers"
                raise ValueError(f"state {key!r} of {self.name!r}: {np.min(x)} to {np.max(x)}, expected {least}, as float8 holds")
            codes, exponents = dtypes.narrowed8(self.flat(x), self.unsigned(key))
            return self.shaped(codes, a.shape), exponents
        return (dtypes.narrowed(x, a.dtype, None, self.unsigned(key)).reshape(a.shape),)

    def put(self, key: str, encoded: tuple[np.ndarray, ...]) -> None:
        """Write what `encoded` made."""
        self.memory.put(self.state[key], encoded[0])
        if key in self.exponents:
            self.memory.put(self.exponents[key], encoded[1])

    def value(self) -> np.ndarray:
        """The parameter in the dtype that rules work in, a copy."""
        if self.master is None:
            return self.memory.widened(self.array)  # type: ignore[no-any-return]
        return self.master.copy() if self.master.dtype == np.float32 else self.memory.joined(self.array, self.master)

    def flat(self, a: np.ndarray) -> np.ndarray:
        """A view of state in the order walked."""
        return a.transpose([k for k in self.order if k < a.ndim]).reshape(-1)

    def shaped(self, flat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Undo `flat`, for state of this shape."""
        walked = [k for k in self.order if k < len(shape)]
        return flat.reshape([shape[k] for k in walked]).transpose(np.argsort(walked))

    def begin(self, value: np.ndarray) -> None:
        """Begin at these numbers, of the dtype that rules work in."""
        if self.master is not None and self.master.dtype == np.int16:
            codes, rest = dtypes.split(value)
            self.memory.put(self.array, codes.reshape(self.array.shape))
            self.memory.put(self.master, rest.reshape(self.array.shape))
        else:
            self.memory.put(self.array, dtypes.narrowed(value, self.array.dtype).reshape(self.array.shape))
            if self.master is not None:
                self.memory.put(self.master, value)
        self.reset({*self.state, *self.rule_state} - {"master"})

    def reset(self, keys: Collection[str] | None = None) -> None:
        """State as at the beginning, all of it or that of these names."""
        chosen = set(self.state) | set(self.rule_state) if keys is None else set(keys)
        if self.master is not None and "master" in chosen:
            self.master[...] = 0 if self.master.dtype == np.int16 else self.memory.widened(self.array)
        for key in chosen & set(self.rule_state):
            a, first = self.rule_state[key], self.initial.get(key, 0.0)
            if self.rule.tags.get(key) == "start":
                a[...] = self.value()
            elif key in self.exponents:  # all blocks are alike
                codes, exponents = dtypes.narrowed8(np.full(1, first, np.float32), self.rule.tags.get(key) == "nonnegative")
                a[...], self.exponents[key][...] = codes[0], exponents[0]
            else:
                a[...] = dtypes.narrowed(np.full(1, self._both(first), self.real), a.dtype)[0]
        for key in set(self.stage_state) & chosen:
            self.own[key][...] = self.value() if self.stage_state[key] == "start" else 0

    def change_matrix(self) -> None:
        """What the rule's function of matrices makes of its terms."""
        assert self.rule.matrix is not None
        (terms,) = (a for key, a in self.rule_state.items() if self.rule.tags.get(key) == "scratch")
        self.rule.matrix(terms, self.group.values_of(self.rule, self.group.values_now(1.0)))

    def written(self) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays that steps write, with what errors call them."""
        yield f"parameter {self.name!r}", self.array
        for key, a in self.state.items():
            yield f"state {key!r} of {self.name!r}", a


def guard(a: Any) -> Any:
    """Keep an array's memory where it is: NumPy does not resize in place what others refer to, not even with ``refcheck=False``."""
    return weakref.ref(a) if type(a) is np.ndarray else None


def per_parameter(what: str, value: Any, path: str | None, leaves: Sequence[tuple[str, Any]], none: float = math.nan) -> list[Any]:
    """Of each parameter of a group its number or array, `none` for None: from one number, or from as many nested as they are."""
    value = none if value is None else value
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        found: dict[str, Any] = dict.fromkeys((name for name, _ in leaves), value)
    else:
        found = dict(flatten(value, path)[1])
        if len(leaves) == 1 < len(found) and isinstance(value, (list, tuple)):  # one array, as a list
            found = {leaves[0][0]: array_of(what, value)}
    if list(found) != [name for name, _ in leaves] and set(found) != {name for name, _ in leaves}:
        raise ValueError(
            f"{what}: for {sorted(found)}, expected a number, or numbers and arrays for {[name for name, _ in leaves]}"
        )
    checked = []
    for name, a in leaves:
        x = array_of(f"{what} of {name!r}", none if found[name] is None else found[name])
        x = x.astype(np.float64) if x.dtype == bool and what == "step_scale" else x  # a mask of what moves
        if x.dtype.kind not in "fiu" or (x.ndim and x.shape != a.shape):
            raise ValueError(f"{what} of {name!r}: {x.dtype} of shape {x.shape}, expected a number or an array of shape {a.shape}")
        if np.isnan(x).any():
            raise ValueError(f"{what} of {name!r}: {'None' if found[name] is None else 'NaN'}, expected a number")
        checked.append(np.array(x, np.float64) if x.ndim else float(x))
    return checked


def array_of(what: str, value: Any) -> np.ndarray:
    """Numbers as an array, or the error that says that they are none."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{what}: lists of different lengths, expected an array") from None


def own_copy(value: Any) -> Any:
    """An option of arrays, whose later changes by the caller do not matter; SciPy's Bounds as a pair."""
    if hasattr(value, "lb") and hasattr(value, "ub"):
        return tuple(float(x[0]) if np.shape(x) == (1,) else own_copy(x) for x in (value.lb, value.ub))
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("bounds and step_scale: a masked array, expected a plain one")
    if isinstance(value, np.ndarray):
        copied = value.copy()
        copied.flags.writeable = False  # a change here would change no step
        return copied
    if isinstance(value, Mapping):
        return {k: own_copy(x) for k, x in value.items()}
    return type(value)(own_copy(x) for x in value) if type(value) in (list, tuple) else layout.on_host(value)


def operands(options: Mapping[str, Any], path: str | None, leaves: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Of each parameter of a group what stages need of the options that are arrays."""
    found: list[dict[str, Any]] = [{} for _ in leaves]
    if (factors := options["step_scale"]) is not None:
        for each, (name, _), x in zip(found, leaves, per_parameter("step_scale", factors, path, leaves), strict=True):
            if (np.asarray(x) < 0).any() or not np.isfinite(x).all():
                raise ValueError(f"step_scale of {name!r}: {np.min(x)} to {np.max(x)}, expected finite factors of at least 0")
            each["factor"] = x
    if (pair := options["bounds"]) is not None:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError("bounds: expected (low, high), of numbers or arrays; of pairs b that is tuple(np.array(b, float).T)")
        refuse_pairs(pair, [name.removeprefix(f"{path}/") for name, _ in leaves])
        low, high = (
            per_parameter(f"bounds, {side}", x, path, leaves, none)
            for side, x, none in (("low", pair[0], -math.inf), ("high", pair[1], math.inf))
        )
        for each, (name, a), x, y in zip(found, leaves, low, high, strict=True):
            if not (np.asarray(x) <= y).all():
                raise ValueError(f"bounds of {name!r}: low above high")
            if a.dtype.kind == "c":
                raise TypeError(f"bounds of {name!r}: {a.dtype} has no order, expected a real parameter")
            each["low"], each["high"] = x, y
    return found


def refuse_pairs(bounds: tuple[Any, Any], names: Sequence[str]) -> None:
    """Refuse bounds that may be meant as low and high, or as a pair for each of two numbers."""
    if all(type(side) in (tuple, list) and len(side) == 2 and all(x is None or np.ndim(x) == 0 for x in side) for side in bounds):
        (a, b), (c, d) = bounds
        sides, pairs = ([a, b], [c, d]), ([a, c], [b, d])
        if len(names) > 1:
            told = [f"({dict(zip(names, x, strict=False))}, {dict(zip(names, y, strict=False))})" for x, y in (sides, pairs)]
        elif names[0].isdigit():
            told = [f"(np.array({sides[0]}), np.array({sides[1]}))", f"scipy.optimize.Bounds({pairs[0]}, {pairs[1]})"]
        else:
            told = [f"({{{names[0]!r}: np.array({x})}}, {{{names[0]!r}: np.array({y})}})" for x, y in (sides, pairs)]
        what = "which may be (low, high) or a pair for each of two numbers"
        raise ValueError(f"bounds: {bounds}, {what}; expected {told[0]}, or {told[1]}")


def between(name: str, operands: Mapping[str, Any], dtype: np.dtype) -> tuple[Any, Any]:
    """The bounds as numbers of a dtype: none is outside of what was asked for, but where both are equal, the nearest to it."""
    low, high = (np.asarray(operands[key], np.float64) for key in ("low", "high"))
    rounded = [np.asarray(dtypes.inward(x, dtype, up=up)) for x, up in ((low, True), (high, False))]
    nearest = np.asarray(dtypes.nearest(low, dtype))
    least, most = (np.where(low == high, nearest, x) for x in rounded)
    if not ((least <= most) & (least < np.inf) & (most > -np.inf)).all():
        raise ValueError(
            f"bounds of {name!r}: no number of {dtype if dtype != dtypes.BFLOAT16 else 'bfloat16'} lies between low and high"
        )
    return tuple(x if x.ndim else float(x) for x in (least, most))  # type: ignore[return-value]


def clipped_starts(slots: Sequence[Parameter]) -> list[tuple[Parameter, np.ndarray]]:
    """The parameters that are outside of their bounds, with what is between them; and a warning, which may be an error."""
    found, outside = [], 0
    for slot in slots:
        if "low" in slot.own:
            low, high = (slot.memory.host(slot.own[k])[0 if k in slot.constant else ...] for k in ("low", "high"))
            value = slot.memory.host(slot.value())
            if count := np.count_nonzero((value < low) | (value > high)):
                outside += int(count)
                within = np.where(value < low, low, np.where(value > high, high, value))
                found.append((slot, within.astype(slot.real).reshape(slot.array.shape)))
    if found:
        names = ", ".join(repr(slot.name) for slot, _ in found)
        what = f"bounds of {names}: {outside} elements of parameters were outside, and are now on their bounds"
        warnings.warn(what, RuntimeWarning, stacklevel=find_caller())
    return found


def find_caller() -> int:
    """The stack level of what called into this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    return level


def check_parameters(leaves: list[tuple[str, Any]], memory: Memory, beside: Sequence[Parameter] = ()) -> None:
    """The error that says which of these cannot be optimized, beside those that already are."""
    if not leaves:
        raise ValueError("params: no arrays, expected at least one")
    arrays: dict[str, np.ndarray] = {}
    names = {slot.name for slot in beside}
    for name, a in leaves:
        if name in arrays or name in names:
            raise ValueError(f"params: two parameters have the name {name!r}")
        if "\0" in name or (not name.isprintable() and "\ud800" <= max(name) <= "\udfff"):
            raise ValueError(f"params: the name {name!r} holds a null character or half a character, which a file's names cannot")
        memory.check(f"parameter {name!r}", a)
        arrays[name] = a
    written = [*((f"parameter {n!r}", a) for n, a in arrays.items()), *(x for slot in beside for x in slot.written())]
    overlap.check_disjoint((what, memory.located(a)) for what, a in written)


def check_count(what: str, x: Any) -> int:
    """A count of steps as it comes from a file."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or not 0 <= x < MOST_STEPS:
        raise ValueError(f"{what}: {x!r}, expected a whole number of steps")
    return int(x)


def check_unit(x: Any) -> int:
    """The exponent of the unit of gathered gradients as it comes from a file."""
    if check_count("gathered_unit", x) > MOST_STEPS.bit_length():
        raise ValueError(f"gathered_unit: {x}, expected at most {MOST_STEPS.bit_length()}")
    return int(x)


def check_float(what: str, x: Any) -> float:
    """A number as it comes from a file."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.floating)):
        raise ValueError(f"{what}: {x!r}, expected a number")
    return float(x)


def targets_of(slot: Parameter) -> dict[str, tuple[str, np.ndarray]]:
    """What is restored of a parameter, itself under an empty name, with what errors call it."""
    return dict(zip(["", *slot.state], slot.written(), strict=True))


def ceil_log2(n: int) -> int:
    """The least whole number of twos whose product is at least `n`."""
    return (n - 1).bit_length()


def is_number(x: Any, number: Any) -> bool:
    """Whether a value is this number."""
    return isinstance(x, (int, float)) and bool(x == number)


def check_kinds(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Refuse entries that are missing or of another kind."""
    for key, kind in expected.items():
        if key not in found or not isinstance(found[key], kind) or (kind is Sequence and isinstance(found[key], str)):
            raise ValueError(f"{what}: {key!r} is {type(found.get(key)).__name__}, expected {kind.__name__}")


def of_group(name: str, k: int) -> bool:
    """Whether a parameter's name is that of one in group `k`."""
    return name.split("/")[0] == str(k)


@functools.cache
def domains_of(cls: type) -> dict[str, Domain]:
    """Return what hyperparameters may be, by the rules that the files of a class and of those it derives from have."""
    found: dict[str, Domain] = {}
    for kind in cls.__mro__[::-1]:
        for function in [*vars(sys.modules[kind.__module__]).values()]:
            rule = spec.RULES.get(getattr(function, "__name__", ""))
            if rule is not None and rule.function is function:
                found |= rule.domains
    return found


class Optimizer(dispatch.Stepper):
    """What all optimizers have in common; see each of them for its rule.

    `step` and `bind` are compiled. A call while a step is at work in another thread raises RuntimeError.

    Attributes
    ----------
    arguments : mapping
        Of a subclass: the names of its own arguments, with torch's defaults; the names of numbers are the rule's.
    conventions : mapping
        Of a subclass: of each other package what differs there.
    refuses : sequence of str
        Of a subclass: options that would not mean with it what they say.
    usual : mapping
        Of a subclass: defaults of options that differ from those of others.
    update : function
        Of a subclass: its rule, where no argument chooses among several.
    spread : mapping
        Of a subclass: arguments that consist of several hyperparameters, and the names of those.
    words : mapping
        Of a subclass: arguments that are words, and which; None is the first.
    renamed : mapping
        Of a subclass: what hyperparameters of the rule `beside` are called among the arguments.
    decay : str or None
        Of a subclass: which of the stages "l2", "decoupled" and "late_decay" its ``weight_decay`` is.
    """

    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    spread: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({"betas": ("beta1", "beta2")})
    usual: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    refuses: ClassVar[Sequence[str]] = ()
    words: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({})
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    decay: str | None = "l2"
    update: Callable[..., Any]
    _memory: Memory = HOST
    _places: Mapping[str, int] = MappingProxyType({})  # of each name, which parameter it is: they only become more

    def __new__(cls, params: Any = None, *_: Any, **__: Any) -> Any:
        made = cls._class_for(params)
        return super().__new__(cls) if made is cls else made.__new__(made)

    @classmethod
    def _class_for(cls, params: Any) -> Any:
        """The class for where the parameters live."""
        if "cupy" in sys.modules:
            from ..cuda import stepper

            if stepper.on_device(params):
                return stepper.class_of(cls)  # type: ignore[arg-type]
        return cls

    def __init_subclass__(cls, **other: Any) -> None:
        """The signature that the table of arguments says, and the docstring's common parts."""
        super().__init_subclass__(**other)
        kinds = inspect.Parameter
        parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
        parameters += [kinds(k, kinds.POSITIONAL_OR_KEYWORD, default=x) for k, x in cls.arguments.items()]
        parameters += [kinds("convention", kinds.KEYWORD_ONLY, default="torch"), kinds("options", kinds.VAR_KEYWORD)]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        if cls.__doc__:
            known = ", ".join(f'"{name}"' for name in ("torch", *cls.conventions))
            cls.__doc__ = cls.__doc__.replace("{common}", common_doc(known))

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """The update function that a group's options choose."""
        return self.update

    def beside(self, options: Mapping[str, Any]) -> Callable[..., Any] | None:
        """The update function of arrays that the rule is not for."""
        return None

    def aside(self, options: Mapping[str, Any]) -> bool:
        """Whether the rule `beside` is for all arrays of a group."""
        return False

    def decay_stage(self, options: Mapping[str, Any]) -> str | None:
        """The stage that a group's ``weight_decay`` is, or None where the rule has it."""
        return "decoupled" if options.get("decoupled_weight_decay") else self.decay

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        """First values of state that does not begin at zero."""
        return {}

    def fixed(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, float]:
        """Hyperparameters of the rule that stand for words, and for None among several numbers."""
        return {}

    def __init__(self, params: Any, *positional: Any, convention: str = "torch", **options: Any) -> None:
        name = type(self).__name__
        if convention != "torch" and convention not in self.conventions:
            raise ValueError(
                f"convention: {convention!r}, expected one of {', '.join(map(repr, ('torch', *self.conventions)))} for {name}"
            )
        self._convention = convention
        preset = dict(self.conventions.get(convention, {}))
        self.decay = preset.pop("decay", self.decay)
        given = dict(zip(self.arguments, positional, strict=False))
        if len(positional) > len(self.arguments) or set(given) & set(options):
            raise TypeError(f"{name}: arguments given twice or too many, expected params, {', '.join(self.arguments)}")
        check_nesting({**given, **options})
        given |= {k: options.pop(k) for k in self.arguments if k in options}
        common = {k: options.pop(k, default) for k, default in {**OPTIONS, **self.usual}.items()}
        shared = {k: options.pop(k) for k in OF_OPTIMIZERS if k in options}
        chosen = {**self.arguments, **preset, **given}
        self.defaults = {**{k: tuple(v) if k in self.spread and isinstance(v, list) else v for k, v in chosen.items()}, **common}
        if options:
            known = ", ".join((*self.defaults, "convention", *OF_OPTIMIZERS))
            raise TypeError(f"{name}: unknown {', '.join(options)}, expected among {known}")
        self._settings = check_settings(shared)
        if isinstance(params, Iterator):
            params = list(params)
        dicts = isinstance(params, Sequence) and [isinstance(g, dict) for g in params]
        if isinstance(params, dict) and "params" in params and set(params) & set(self.defaults):
            raise ValueError("params: one group, expected a list of groups, [{'params': ..., 'lr': ...}, ...]")
        if dicts and any("params" in g or set(g) & set(self.defaults) for g, d in zip(params, dicts, strict=True) if d):
            for k, g in enumerate(params):
                if not dicts[k] or "params" not in g:
                    raise ValueError(f"group {k}: no 'params', expected [{{'params': ..., 'lr': ...}}, ...]")
            self._build([g["params"] for g in params], [self._options(g) for g in params], True)
        else:
            self._build(params, [self.defaults], False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr" and name in vars(self).get("defaults", ()):
            raise AttributeError(f"{name}: set it in the groups, as in optimizer.groups[0][{name!r}] = {value!r}")
        super().__setattr__(name, value)

    def _options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """All options of a group dict."""
        given = {k: v for k, v in group.items() if k != "params"}
        check_nesting(given)
        if shared := set(given) & {"convention", *OF_OPTIMIZERS}:
            raise TypeError(f"group: {', '.join(sorted(shared))} is of the optimizer as a whole, expected as its argument")
        if unknown := set(given) - set(self.defaults):
            raise TypeError(f"group: unknown {', '.join(sorted(unknown))}, expected among {', '.join(self.defaults)}")
        return {**self.defaults, **given}

    def _build(self, params: Any, options: list[dict[str, Any]], grouped: bool, start: bool = True) -> None:
        """Lay out parameters and groups. `start`: parameters begin between their bounds."""
        self._grouped = grouped
        structure, given = flatten(params)
        leaves = self._adopted(given)
        check_parameters(leaves, self._memory)
        slots, groups = [], []
        for k, own in enumerate(options):
            members = [x for x in leaves if not grouped or of_group(x[0], k)]
            groups.append(self._group(own, [a for _, a in members]))
            slots += self._slots_of(groups[-1], str(k) if grouped else None, members)
        for slot, (_, a) in zip(slots, given, strict=True):
            slot.caller = a
        if self._settings.master and not any(slot.master is not None for slot in slots):
            raise ValueError(f"master: {self._settings.master!r} for {slots[0].array.dtype}, expected bfloat16 parameters")
        with self._alone():
            starts = clipped_starts(slots) if start else []
            self._plan(dispatch.TABLE, structure, slots, groups, self._settings)
            for slot, within in starts:
                slot.begin(within)

    def _group(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> Group:
        """Checked before they choose a rule."""
        domains = {**STAGE_DOMAINS, **domains_of(type(self))}  # type: ignore[arg-type]
        options = {key: self._checked_option(key, value, domains) for key, value in options.items()}
        for key in self.refuses:
            if options[key] is not OPTIONS[key] and options[key] != OPTIONS[key]:
                raise ValueError(f"{key}: not with {type(self).__name__}, whose other points it would not shape")
        rule, beside = spec.of(self.rule(options)), self.beside(options)
        decay = self.decay_stage(options)
        if options["step_scale"] is not None and decay == "decoupled":
            decay = "late_decay"  # an element's own step size is of its decay too
        return Group(
            options,
            self.spread,
            rule,
            stages_of(options, self._settings, decay if "weight_decay" in options else None),
            {"accumulate": float(self._settings.accumulate), **self.fixed(options, arrays)},
            spec.of(beside) if beside else None,
            self.renamed,
            not self.aside(options),
            domains,
        )

    def _checked_option(self, key: str, value: Any, domains: Mapping[str, Domain]) -> Any:
        """Return one of a group's options as it is kept, or raise the error that says what it may be."""
        if key in self.words:
            words = self.words[key]
            value = words[0] if value is None else value
            if not isinstance(value, str) or value not in words:
                raise ValueError(f"{key}: {value!r}, expected one of {', '.join(map(repr, words))}")
        elif isinstance({**self.arguments, **OPTIONS}.get(key), bool):
            return check_bool(key, value)
        elif key in ARRAY_OPTIONS:
            return own_copy(value)
        elif key not in self.spread:
            check_hyperparameter(key, value, domains.get(key, NONNEGATIVE))
        return value

    def _adopted(self, given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Parameters with their names, those of other libraries as arrays over their memory."""
        return [(name, self._memory.shared(f"parameter {name!r}", a)) for name, a in given]

    def _slots_of(self, group: Group, path: str | None, leaves: Sequence[tuple[str, Any]]) -> list[Parameter]:
        initial = self.initial(group.chosen)
        each = operands(group.chosen, path, leaves)
        return [
            Parameter(name, a, group, initial, own, self._settings, self._memory)
            for (name, a), own in zip(leaves, each, strict=True)
        ]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No step begins in here, and this does not begin in a step."""
        self._hold()
        try:
            yield
        finally:
            self._let_go()

    @property
    def params(self) -> Any:
        """The parameters in dicts and lists, nested as they were given (of groups: a list)."""
        return unflatten(self._structure, iter([s.caller for s in self._slots]))

    @property
    def groups(self) -> list[Group]:
        """Hyperparameters of each group: a mapping whose numbers and schedules can be set."""
        return list(self._groups)

    @property
    def lr(self) -> float | list[float]:
        """Learning rate of the next step; a list where groups differ. Setting it sets it in every group."""
        rates = [g.number("lr", self.steps) for g in self._groups]
        return rates[0] if len(set(rates)) == 1 else rates

    @lr.setter
    def lr(self, value: Any) -> None:
        check_hyperparameter("lr", value)
        for group in self._groups:
            group["lr"] = value

    @property
    def state(self) -> state.State:
        """Of each parameter, a mapping of its step count ``"step"``, of numbers that the rule keeps, and of its arrays of state.

        Arrays are live views (``"gathered"``, of ``accumulate=k``, in units of the least power of two that is at least k); what is
        stored in fewer bits is shown as float32, in read-only copies. All can be set, checked and in
        place: ``optimizer.state["w"]["m"] = array``, ``optimizer.state["w"]["step"] = 5`` (`steps` sets all counts at once).
        """
        if len(self._places) != len(self._slots):
            self._places = {slot.name: k for k, slot in enumerate(self._slots)}
        return state.State(self, self._places)

    @property
    def steps(self) -> int:
        """Updates made so far. Setting it sets all parameters' counts too: schedules and bias corrections go on from there."""
        return self._steps()

    @steps.setter
    def steps(self, value: Any) -> None:
        count = check_count("steps", value)
        with self._alone():
            self._catch_up()
            each, whole = self._counters()
            self._set_counters([(count, kept, pending) for _, kept, pending in each], (count, *whole[1:]))

    def _checked_numbers(self, slot: Parameter, numbers: Mapping[str, Any]) -> tuple[int, list[float], bool]:
        """What is counted and kept of a parameter, from its numbers by name."""
        step = check_count(f"step of {slot.name!r}", numbers["step"])
        kept = [check_float(f"{key} of {slot.name!r}", numbers[key]) for key in slot.rule.kept]
        return step, kept, bool(numbers.get("gathering", False))

    def _counted(self) -> list[tuple[Parameter, tuple[int, list[float], bool]]]:
        return list(zip(self._slots, self._counters()[0], strict=True))

    def _numbers(self, slot: Parameter, counted: tuple[int, list[float], bool]) -> dict[str, Any]:
        """What lives between steps and is no array."""
        step, kept, pending = counted
        waits = {"gathering": pending} if "gathered" in slot.own else {}
        return {"step": step, **dict(zip(slot.rule.kept, kept, strict=True)), **waits}

    @property
    def average(self) -> Any:
        """Averages of the parameters, as nested as those: live views of what ``ema`` keeps; of groups without, the parameters."""
        if not any("averaged" in s.own for s in self._slots) and type(self)._average_of is Optimizer._average_of:
            raise ValueError("average: this optimizer keeps none, expected ema=0.999 or the like at construction")
        self._catch_up_unless_at_work()
        return unflatten(self._structure, iter([self._average_of(s) for s in self._slots]))

    def _catch_up_unless_at_work(self) -> None:
        """For what reads: a schedule may, in the middle of a step."""
        if not self._at_work():
            with self._alone():
                self._catch_up()

    def _average_of(self, slot: Parameter) -> Any:
        return slot.own["averaged"].view() if "averaged" in slot.own else slot.caller

    def report(self) -> dict[str, Any]:
        """What the last step that was made did.

        Returns
        -------
        dict
            ``steps``; ``skipped``, the steps not made because of ``nonfinite="skip"``; ``groups``, a dict for each: ``lr``;
            ``clipped``, whether ``clip_norm`` or ``clip_global_norm`` shortened a gradient; ``at_bounds``, elements that lie on a
            bound now; with ``norms=True`` the ``gradient_norm`` that the rule was given (after clipping and L2), the
            ``unclipped_norm`` before that (where clipping was asked for at construction; else None), the ``update_norm`` of what
            the parameters moved by (between their bounds) and the ``update_ratio``, that over the parameters' norm before the
            step. What is not known, and the ratio to a norm of 0, is None.
        """
        self._catch_up_unless_at_work()
        return report.report(self)

    def explain(self, name: str, index: Any, grad: float) -> None:
        """Print every intermediate of one element's next step: the rule's own lines, and the stages around it.

        Nothing is changed. Where elements are stored below 32 bits, what the step computes before it rounds is shown; where a stage
        needs sums over arrays, as clipping by norms does, a line says that the rest is as if it changed nothing.

        Parameters
        ----------
        name : str
            Of the parameter.
        index : int or tuple of int
            Of the element.
        grad : float
            Its gradient.

        Raises
        ------
        TypeError
            For a name that is no text.
        KeyError, IndexError
            For a parameter or an element that there is not.
        ValueError
            For a rule that sums over arrays, and for complex parameters.
        """
        from . import explain

        with self._alone():
            self._catch_up()
            slots = {s.name: s for s in self._slots}
            if not isinstance(name, str):
                raise TypeError(f"name: {type(name).__name__}, expected one of {', '.join(map(repr, slots))}")
            if name not in slots:
                raise KeyError(f"{name!r}: no such parameter, expected one of {', '.join(map(repr, slots))}")
            slot = slots[name]
            if slot.array.dtype.kind == "c" or slot.memory is not HOST:
                raise ValueError(f"explain: parameter {name!r} is complex or on a device, expected real numbers in NumPy's memory")
            shape, walked = slot.array.shape, [k for k in slot.order if k < slot.array.ndim]
            places = np.arange(slot.array.size).reshape([shape[k] for k in walked]).transpose(np.argsort(walked))
            place = places[index if shape else ()]
            if np.ndim(place):
                raise IndexError(f"{index!r}: not one element of {name!r}, whose shape is {shape}")
            step = dict(zip(slots, self._counters()[0], strict=True))[name][0] + 1
            lines = list(explain.lines(self, slot, int(place), float(grad)))
            last = self._settings.accumulate > 1 and self._counters()[1][1] + 1 < self._settings.accumulate
            note = ", as if this were the last gradient of it" if last else ""
            print(f"{name}[{index}], step {step} of {type(self).__name__}{note}")
            for text, value in lines:
                between = "  ->  " if " = " in text else " = "
                print(f"  {text}" if value is None else f"  {text}{between}{value}")

    def catch_up(self, rows: Any = None) -> None:
        """With ``mode="exact"``, make the steps that rows without a gradient are behind: call it before you read or write them.

        Saving, `state_dict`, copies, `load_state_dict`, `reset`, `fingerprint`, `average` and `report` do so for all rows.

        Parameters
        ----------
        rows : as the parameters, optional
            The rows that you are going to use, array_like of int for each parameter, None for one of which you use none:
            ``catch_up({"table": [3, 41], "bias": None})``. Without, all rows of all parameters.

        Raises
        ------
        TypeError, ValueError
            For rows that are not there, and those nested otherwise than the parameters.
        """
        with self._alone():
            if rows is None:
                return self._catch_up()
            found = collect(self._structure, rows, "rows")
            self._catch_up(
                [None if x is None else check_indices(s.name, s.array, x) for s, x in zip(self._slots, found, strict=True)]
            )

    def add_group(self, group: dict[str, Any]) -> None:
        """Add parameters with their own hyperparameters, to an optimizer that was built from groups.

        Gradients that were bound are let go.

        Parameters
        ----------
        group : dict
            ``"params"``, and any of the constructor's arguments that differ from its defaults.

        Raises
        ------
        TypeError, ValueError
            As the constructor; nothing has been changed.
        """
        with self._alone():
            if not self._grouped or self._structure is None:
                raise ValueError("add_group: this optimizer was not built from groups, expected [{'params': ...}, ...]")
            if not isinstance(group, dict) or "params" not in group:
                raise ValueError("add_group: expected a dict with 'params'")
            child, given = flatten(group["params"], str(len(self._groups)))
            leaves = self._adopted(given)
            check_parameters(leaves, self._memory, self._slots)
            added = self._group(self._options(group), [a for _, a in leaves])
            new = self._slots_of(added, str(len(self._groups)), leaves)
            for slot, (_, a) in zip(new, given, strict=True):
                slot.caller = a
            slots = self._slots + new
            structure = Structure(None, [*self._structure.children, child], "")
            starts = clipped_starts(new)
            self._plan(dispatch.TABLE, structure, slots, [*self._groups, added], self._settings)
            for slot, within in starts:
                slot.begin(within)

    def reset(self) -> None:
        """State and step counts as at construction; parameters stay."""
        with self._alone():
            self._catch_up()
            self._set_counters([(0, list(s.rule.kept.values()), False) for s in self._slots], (0, 0, 0))
            for slot in self._slots:
                slot.reset()

    def state_dict(self) -> dict[str, Any]:
        """State, step counts and hyperparameters, copied, arrays in C order."""
        with self._alone():
            return self._saved()

    def _saved(self) -> dict[str, Any]:
        self._catch_up()
        return {
            "format": FORMAT,
            "optimizer": type(self).__name__,
            "steps": self.steps,
            "gathered": self._counters()[1][1],
            "gathered_unit": ceil_log2(self._settings.accumulate),
            "skipped": self.skipped,
            "seed": self._settings.seed,
            "settings": {
                name: getattr(self._settings, name) for name in (*STORED, "accumulate", "nonfinite", "rounding", "flush_subnormals")
            },
            "groups": [
                {"rule": g.rule.label, "decay": [x.name for x in g.stages if x.name in WEIGHT_DECAY_STAGES], **g.described()}
                for g in self._groups
            ],
            "state": {
                s.name: {**self._numbers(s, n), **{k: np.array(s.memory.host(a)) for k, a in s.state.items()}}
                for s, n in self._counted()
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], *, hyperparameters: str | None = None) -> None:
        """Take over state, step counts and, where asked, hyperparameters.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict` of an optimizer of the same class, names, shapes and dtypes.
        hyperparameters : {None, "keep", "restore"}
            What to do where they differ: raise, keep this optimizer's, or take the saved ones. Functions other than `schedules`
            cannot be compared, so that they count as different; schedules and choices such as ``maximize`` cannot be restored:
            construct with them and keep.

        Raises
        ------
        ValueError
            If anything does not fit; nothing has been changed.
        """
        with self._alone():
            self._catch_up()
            self._load(state_dict, None, hyperparameters)

    def _load(self, saved: Mapping[str, Any], params: Mapping[str, Any] | None, hyperparameters: str | None) -> None:
        """Everything is checked, then everything is written."""
        if hyperparameters not in (None, "keep", "restore"):
            raise ValueError(f"hyperparameters: {hyperparameters!r}, expected None, 'keep' or 'restore'")
        if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
            raise ValueError(f"state: not of format {FORMAT}, which state_dict and save make")
        check_kinds("state", saved, {"optimizer": str, "steps": object, "groups": Sequence, "state": Mapping})
        if saved["optimizer"] != type(self).__name__:
            raise ValueError(f"state: of {saved['optimizer']}, expected {type(self).__name__}")
        if params is not None:
            self._check_names("parameters of the file", params)
        self._check_names("state", saved["state"])
        check_kinds("state", saved["state"], dict.fromkeys(saved["state"], Mapping))
        check_kinds("groups", dict(enumerate(saved["groups"])), dict.fromkeys(range(len(saved["groups"])), Mapping))
        rules, mine = [g.get("rule") for g in saved["groups"]], [g.rule.label for g in self._groups]
        if rules != mine:
            raise ValueError(f"state: rules {rules}, expected {mine}")
        whole = tuple(check_count(key, saved.get(key, 0)) for key in ("steps", "gathered", "skipped"))
        if whole[1] >= self._settings.accumulate:
            raise ValueError(f"gathered: {whole[1]} gradients, expected less than accumulate={self._settings.accumulate}")
        if saved.get("seed", 0) != self._settings.seed:
            raise ValueError(f"seed: saved {saved['seed']}, here {self._settings.seed}; construct with it")
        for name, theirs in saved.get("settings", {}).items():
            if name in STORED and theirs != getattr(self._settings, name):
                raise ValueError(f"{name}: saved {theirs!r}, here {getattr(self._settings, name)!r}; construct with it")
            if hyperparameters is None and theirs != getattr(self._settings, name, theirs):
                raise ValueError(f"{name}: saved {theirs!r}, here {getattr(self._settings, name)!r}; say hyperparameters='keep'")
        for k, (theirs, group) in enumerate(zip(saved["groups"], self._groups, strict=True)):
            decay = [x.name for x in group.stages if x.name in WEIGHT_DECAY_STAGES]
            decays = theirs.get("weight_decay") != 0 or group.get("weight_decay") != 0
            if hyperparameters is None and decays and theirs.get("decay", decay) != decay:
                raise ValueError(f"weight_decay of group {k}: saved as {theirs['decay']}, here {decay}; say hyperparameters='keep'")
        each, writes = [], []
        unit = check_unit(saved.get("gathered_unit", 0)) - ceil_log2(self._settings.accumulate)
        for slot in self._slots:
            entry = dict(saved["state"][slot.name])
            step = check_count(f"steps of {slot.name!r}", entry.pop("step", None))
            kept = [check_float(f"{key} of {slot.name!r}", entry.pop(key, None)) for key in slot.rule.kept]
            each.append((step, kept, bool(entry.pop("gathering", False))))
            if ("averaged" in entry) != ("averaged" in slot.state):
                raise ValueError(f"ema: saved with{'' if 'averaged' in entry else 'out'} averages; construct with the same")
            if set(entry) != set(slot.state):
                raise ValueError(f"state of {slot.name!r}: {sorted(entry)}, expected {sorted(slot.state)}")
            sources = {"": params[slot.name], **entry} if params is not None else entry
            if "gathered" in sources and unit:
                sources["gathered"] = self._fitting(*targets_of(slot)["gathered"], sources["gathered"]) * slot.real.type(2.0**unit)
            targets = targets_of(slot)
            for k, source in sources.items():
                what, target = targets[k]
                writes.append((slot.memory, target, self._fitting(what, target, source)))
            if params is not None and not slot.memory.writable(slot.given):
                raise ValueError(f"parameter {slot.name!r}: read-only, expected a writable array")
        changes = self._changes(saved["groups"], hyperparameters)
        self._set_counters(each, whole)
        for memory, target, array in writes:
            memory.put(target, array)
        for group, key, value in changes:
            group[key] = value

    def _check_names(self, what: str, found: Mapping[str, Any]) -> None:
        here = {s.name for s in self._slots}
        if set(found) != here:
            missing, extra = sorted(here - set(found)), sorted(set(found) - here)
            raise ValueError(f"{what}: missing {missing}, unexpected {extra}")

    @staticmethod
    def _fitting(what: str, target: np.ndarray, source: Any) -> np.ndarray:
        """An array that can take the place of `target`; copied where writing others could change it."""
        if not isinstance(source, np.ndarray):
            raise ValueError(f"{what}: {type(source).__name__}, expected a NumPy array")
        if source.shape != target.shape:
            raise ValueError(f"{what}: shape {source.shape}, expected {target.shape}")
        if source.dtype != target.dtype:
            raise ValueError(f"{what}: dtype {source.dtype}, expected {target.dtype}")
        return source if source.base is None and source.flags.owndata else source.copy()

    def _changes(self, saved: Sequence[Mapping[str, Any]], policy: str | None) -> list[tuple[Group, str, Any]]:
        """Hyperparameters to set, checked; an error where they differ and nothing says what to do."""
        changes = []
        for k, (group, theirs) in enumerate(zip(self._groups, saved, strict=True)):
            ours = group.described()
            usual = {**OPTIONS, **self.usual, **self.arguments}  # of files from before there was such an option
            theirs = {**{key: ours[key] for key in ours if group.options[key] is usual[key] or ours[key] == usual[key]}, **theirs}
            for key in ours:
                if policy == "keep" or (ours[key] == theirs.get(key) and "callable" not in str(ours[key])):
                    continue
                where = f"{key} of group {k}"
                if policy is None:
                    raise ValueError(f"{where}: saved {theirs.get(key)}, here {ours[key]}; say hyperparameters='keep' or 'restore'")
                if key not in theirs or "schedule" in str(theirs[key]) or not group.settable(key):
                    raise ValueError(
                        f"{where}: {theirs.get(key)} cannot be restored: construct with it and say hyperparameters='keep'"
                    )
                values = theirs[key] if key in group.spread and isinstance(theirs[key], (list, tuple)) else [theirs[key]]
                if len(values) != len(group.names(key)):
                    raise ValueError(f"{where}: {theirs[key]}, expected {len(group.names(key))} values")
                checked = [
                    x if x is None and name in group.fixed else group.check(name, x)
                    for name, x in zip(group.names(key), values, strict=True)
                ]
                changes.append((group, key, checked if key in group.spread else checked[0]))
        return changes

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write one restart file: parameters, state, step counts, hyperparameters and the user's own values.

        Parameters
        ----------
        path : path
            An ``.npz`` file, without pickle, of this very name. It is written beside, synced and renamed: a crash leaves the old
            file.
        extra : mapping of str, optional
            Arrays, numbers, strings, None, and lists and dicts of them: a NumPy generator's ``bit_generator.state``.

        Raises
        ------
        TypeError
            For extra values that a file without pickle cannot hold; nothing has been written.
        OSError
            Where the system cannot write.
        """
        arrays: dict[str, np.ndarray] = {}
        described = files.packed(dict(extra or {}), "extra", arrays)
        with self._alone():
            saved = self._saved()
            entries = saved["state"].items()
            members = {f"state/{n}/{k}": a for n, entry in entries for k, a in entry.items() if isinstance(a, np.ndarray)}
            members |= {f"param/{s.name}": s.memory.host(s.array) for s in self._slots} | arrays
            state = {n: {k: x for k, x in entry.items() if not isinstance(x, np.ndarray)} for n, entry in entries}
            files.write(path, {**saved, "state": state, "extra": described}, members)

    def load(self, path: str | os.PathLike[str], *, hyperparameters: str | None = None) -> dict[str, Any]:
        """Read a file of `save` into these parameters, in place, and this optimizer.

        Parameters
        ----------
        path : path
        hyperparameters : {None, "keep", "restore"}
            As in `load_state_dict`.

        Returns
        -------
        dict
            The user's own values.

        Raises
        ------
        ValueError
            If the file does not fit; nothing has been changed.
        """
        meta, arrays = files.read(path)
        check_kinds(f"{path}", meta, {"extra": dict, "state": dict})
        check_kinds(f"{path}, state", meta["state"], dict.fromkeys(meta["state"], dict))
        params, state = {}, meta["state"]
        for member, array in arrays.items():
            kind, _, name = member.partition("/")
            if kind == "state":
                parameter, _, key = name.rpartition("/")
                state.setdefault(parameter, {})[key] = array
            elif kind == "param":
                params[name] = array
        extra: dict[str, Any] = files.unpacked(meta["extra"], arrays)
        with self._alone():
            self._load(meta, params, hyperparameters)
        return extra

    def fingerprint(self) -> str:
        """SHA-256 of parameters, state and step counts in a fixed order: the same on every machine (NaNs are one NaN)."""
        digest = hashlib.sha256()
        with self._alone():
            self._catch_up()
            digest.update(f"{self.steps}\0".encode())
            for slot, numbers in self._counted():
                for key, a in {"": slot.array, **slot.state}.items():
                    step, kept, pending = numbers
                    counted = f"{step}{kept or ''}{'gathering' * pending}"
                    digest.update(f"{slot.name}\0{key}\0{counted}\0{a.shape}\0".encode())
                    flat = np.array(slot.memory.host(a)).reshape(-1)
                    flat = flat.view(flat.real.dtype)
                    if flat.dtype == dtypes.BFLOAT16:
                        flat[flat & 0x7FFF > 0x7F80] = 0x7FC0
                    if flat.dtype.kind == "f":
                        flat[np.isnan(flat)] = np.nan
                    digest.update(flat.astype(flat.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._alone():
            state = {
                "params": self.params,
                "grouped": self._grouped,
                "groups": [(g.chosen, dict(g.options)) for g in self._groups],
                "saved": self._saved(),
                "bound": self._bound(),
                "attributes": {k: v for k, v in vars(self).items() if not hasattr(dispatch.Stepper, k) and k != "_places"},
            }
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["attributes"])
        params = self._memory.own(state["params"])
        self._build(params, [chosen for chosen, _ in state["groups"]], state["grouped"], start=False)
        for group, (_, now) in zip(self.groups, state["groups"], strict=True):
            group.update({k: x for k, x in now.items() if k not in ARRAY_OPTIONS})
        self.load_state_dict(state["saved"], hyperparameters="keep")
        if state["bound"] is not None:
            self._bind_flat(self._memory.own(state["bound"]) if self._settings.zero_grads else state["bound"])

    def __repr__(self) -> str:
        shown = {k: v for k, v in self._groups[0].items() if k not in OPTIONS or not (v is OPTIONS[k] or is_number(v, OPTIONS[k]))}
        of_all = {name: getattr(self._settings, name) for name in OF_OPTIMIZERS}
        shown |= {name: x for name, x in of_all.items() if OF_OPTIMIZERS[name].is_set(x)}
        shown |= {"convention": self._convention} if self._convention != "torch" else {}
        options = ", ".join(f"{k}={v!r}" for k, v in shown.items())
        more = f", and {len(self._groups) - 1} more groups" if len(self._groups) > 1 else ""
        size = sum(s.array.size for s in self._slots)
        return f"<{type(self).__name__}({options}){more}: {len(self._slots)} arrays, {size} elements, {self.steps} steps>"
