"""Parameter: an array with its name, group and state."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import dtypes, layout, overlap
from .._arrays.changes import commit
from .._arrays.memory import Memory
from .._arrays.packing import Piece
from ..domains import Domain
from . import state
from .array_options import between
from .files import is_key
from .groups import Group

CORRECTED = 2**40  # Steps after which bias corrections are 1.
COUNT = Domain(0.0, 2.0**53, is_whole=True)  # Of steps made before.


class Parameter:
    """An array with its name, group and state.

    `array` is a private view of the caller's memory, so reshaping the original does not affect the optimizer.

    Attributes
    ----------
    order : list of int
        Axes, slowest in memory first; in the order of the shape if an element's position matters.
    rule_state : dict of ndarray
        The rule's state in its storage formats.
    exponents : dict of ndarray
        Block exponents of those arrays that are 8-bit floats.
    master : ndarray or None
        The parameter in float32, or the low bits that bfloat16 drops.
    piece : Piece or None
        Which part of the parameter a span has: `array` and all state are of that part.
    stage_arrays : dict of ndarray
        Arrays of the stages. Those in `scalar_arrays` repeat one value for a block; the others have the parameter's shape.
    """

    def __init__(
        self,
        name: str,
        source: np.ndarray,
        group: Group,
        initial: Mapping[str, Any],
        operands: Mapping[str, Any],
        settings: Any,
        memory: Memory,
        piece: Piece | None = None,
    ) -> None:
        self.name, self.group, self.memory, self.piece = name, group, memory, piece
        self.source = self.original = source
        self.guard = guard(source)
        self.array = memory.view(source)
        self.rule = group.rule_of(self.shape)
        if self.rule.terms_scope and self.array.dtype.kind == "c":
            raise TypeError(f"parameter {name!r}: {self.array.dtype}, expected a real dtype for {self.rule.name}")
        self.initial = {key: x for key, x in initial.items() if key in ("step", *self.rule.state, *self.rule.carry)}
        self.real = layout.working_dtype(self.array)
        stored = layout.state_dtype(name, self.array, settings.state_dtype)
        positional = stored.itemsize < 4 or self.array.dtype.itemsize < 4 or settings.norms
        positional = positional or any(f.positional for f in (self.rule, *group.stages))
        self.order = list(range(len(layout.reals(self.array)[0]))) if positional else layout.axes(self.array)
        self._places = itertools.count(1)
        self._make_rule_state(stored)
        self.master: np.ndarray | None = None
        if settings.master and self.array.dtype == dtypes.BFLOAT16:
            self.master = self._zeros(np.dtype(np.float32 if settings.master == "float32" else np.int16))
        self._make_stage_arrays(operands)
        numbers = [self._first_number(key, x, self.rule.carry_domains[key]) for key, x in self.rule.carry.items()]
        self.first_counter = (int(self._first_number("step", 0.0, COUNT)), numbers, False)
        commit(self.resetting())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole parameter, of which the array may be a piece."""
        return self.array.shape if self.piece is None else self.piece.shape

    def _zeros(self, dtype: np.dtype) -> Any:
        """Return zeros of the parameter's shape and order of axes."""
        return self.memory.zeros_like(self.array, dtype, self.order, next(self._places))

    def _make_rule_state(self, stored: np.dtype) -> None:
        self.rule_state: dict[str, np.ndarray] = {}
        self.exponents: dict[str, np.ndarray] = {}
        for key in self.rule.state:
            tag = self.rule.tags.get(key)
            if tag in layout.LINES:
                self.rule_state[key] = self.memory.zeros(layout.LINES[tag](self.array.shape), self.real)
                continue
            exact = tag in ("start", "scratch")
            self.rule_state[key] = self._zeros(self.real if exact else stored)
            if self.rule_state[key].dtype == dtypes.FLOAT8:
                self.exponents[key] = self.memory.zeros(-(-self.array.size // dtypes.BLOCK), np.dtype(np.int16))

    def _make_stage_arrays(self, operands: Mapping[str, Any]) -> None:
        self.stage_arrays: dict[str, np.ndarray] = {}
        self.scalar_arrays: set[str] = set()
        if "low" in operands:
            stores = self.array.dtype if self.master is None else self.real
            operands = {**operands, **dict(zip(("low", "high"), between(self.name, operands, stores), strict=True))}
        for key, value in operands.items():
            if np.ndim(value) == 0:
                self.scalar_arrays.add(key)
                self.stage_arrays[key] = self.memory.zeros(dtypes.BLOCK, self.real.type(0).real.dtype)
                self.memory.put(self.stage_arrays[key], float(value))
            else:
                self.stage_arrays[key] = self._zeros(self.real)
                self.memory.put(self.stage_arrays[key], self._both(np.asarray(value)))
        self.stage_state = {s.arrays[0]: s.tags.get(s.arrays[0], "") for s in self.group.stages if s.arrays[0] in s.stage_arrays}
        for key in self.stage_state:
            self.stage_arrays[key] = self._zeros(self.real)

    def _both(self, value: Any) -> Any:
        """Return a real value for both the real and the imaginary part."""
        return value * complex(1, 1) if self.real.kind == "c" else value

    @property
    def span(self) -> tuple[int, int]:
        """First element, in C order, that is stepped, and the one after the last."""
        return (0, self.array.size) if self.piece is None else (self.piece.start, self.piece.stop)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Arrays that live between steps."""
        lives = {key: a for key, a in self.rule_state.items() if self.rule.tags.get(key) not in ("scratch", "of_ratios")}
        exponents = {f"{key}_exponents": a for key, a in self.exponents.items()}
        master = {} if self.master is None else {"master": self.master}
        return {**lives, **exponents, **master, **{k: self.stage_arrays[k] for k in self.stage_state}}

    @property
    def state_names(self) -> list[str]:
        """Names of those arrays for users, without block exponents."""
        return [key for key in self.state if key.removesuffix("_exponents") not in self.exponents or key in self.exponents]

    def is_narrow(self, key: str) -> bool:
        """Return True if an array of state is stored as codes, not as numbers."""
        return (
            key in self.exponents
            or (key == "master" and self.master is not None and self.master.dtype == np.int16)
            or (self.state[key].dtype == dtypes.BFLOAT16)
        )

    def shown(self, key: str) -> Any:
        """Return an array of state: a live view, or a read-only float32 copy of codes."""
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
        """Return numbers as the state stores them, rounded to nearest; raise for anything else."""
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

    def writes(self, key: str, value: Any) -> list[Callable[[], object]]:
        """Return the changes that set an array of state; raise as `encoded`."""
        targets = (self.state[key], self.exponents.get(key))
        return [self.memory.writing(*w) for w in zip(targets, self.encoded(key, value), strict=False)]

    def value(self) -> np.ndarray:
        """Return a copy of the parameter in the dtype that rules compute in."""
        if self.master is None:
            return self.memory.widened(self.array)  # type: ignore[no-any-return]
        return self.master.copy() if self.master.dtype == np.float32 else self.memory.joined(self.array, self.master)

    def flat(self, a: np.ndarray) -> np.ndarray:
        """Return a view of state in the parameter's order of axes."""
        return a.transpose([k for k in self.order if k < a.ndim]).reshape(-1)

    def shaped(self, flat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Undo `flat`, for state of this shape."""
        walked = [k for k in self.order if k < len(shape)]
        return flat.reshape([shape[k] for k in walked]).transpose(np.argsort(walked))

    def beginning(self, value: np.ndarray) -> list[Callable[[], object]]:
        """Return the changes that begin at this value, given in the dtype that rules compute in."""
        shape, writing = self.array.shape, self.memory.writing
        if self.master is not None and self.master.dtype == np.int16:
            codes, rest = dtypes.split(value)
            found = [writing(self.array, codes.reshape(shape)), writing(self.master, rest.reshape(shape))]
        else:
            codes = dtypes.narrowed(value, self.array.dtype).reshape(shape)
            found = [writing(self.array, codes), *([] if self.master is None else [writing(self.master, value)])]
            value = dtypes.widened(codes) if self.master is None else value
        return found + self.resetting({*self.state, *self.rule_state} - {"master"}, value)

    def resetting(self, keys: Collection[str] | None = None, value: Any = None) -> list[Callable[[], object]]:
        """Return the changes that reset state to its first values: all of it, or these names; `value` is the parameter's then."""
        chosen = set(self.state) | set(self.rule_state) if keys is None else set(keys)
        writes: list[tuple[Any, Any]] = []
        begins_there = "start" in {*self.rule.tags.values(), *self.stage_state.values()} or self.master is not None
        if value is None and begins_there:
            value = self.memory.widened(self.array) if "master" in chosen else self.value()
        if self.master is not None and "master" in chosen:
            writes += [(self.master, 0 if self.master.dtype == np.int16 else value)]
        for key in chosen & set(self.rule_state):
            starts = self.rule.tags.get(key) == "start"
            writes += [(self.rule_state[key], value)] if starts else self._firsts(key)
        writes += [(self.stage_arrays[k], value if tag == "start" else 0) for k, tag in self.stage_state.items() if k in chosen]
        return [self.memory.writing(*w) for w in writes]

    def counted(self, steps: int) -> int:
        """Return a count of steps that another optimizer has made, counted from where this one begins after `CORRECTED` steps."""
        return steps % CORRECTED + (CORRECTED if self.first_counter[0] >= CORRECTED else 0)

    def _first_number(self, key: str, usual: float, domain: Domain) -> float:
        """Return the first value of the count of steps, or of a number that the rule carries."""
        first = self.initial.get(key, usual)
        if np.ndim(first):
            raise ValueError(f"initial_state, {key} of {self.name!r}: an array, expected a number")
        return domain.check(f"initial_state, {key}", first)

    def _firsts(self, key: str) -> list[tuple[Any, Any]]:
        """Return a rule's array of state, and its exponents, with the numbers that each begins with."""
        a, first = self.rule_state[key], self.initial.get(key, 0.0)
        if key in self.initial:
            self._check_first(key, first)
        if np.ndim(first):
            return list(zip((a, self.exponents.get(key)), self.encoded(key, self._both(first)), strict=False))
        if key in self.exponents:
            codes, exponents = dtypes.narrowed8(np.full(1, first, np.float32), self.unsigned(key))
            return [(a, codes[0]), (self.exponents[key], exponents[0])]
        return [(a, dtypes.narrowed(np.full(1, self._both(first), self.real), a.dtype)[0])]

    def _check_first(self, key: str, first: Any) -> None:
        """Raise for first values that an array of state cannot hold."""
        what, least = f"initial_state, {key} of {self.name!r}", 0.0 if self.unsigned(key) else -math.inf
        if not (np.isfinite(first) & (np.asarray(first) >= least)).all():
            kind = "numbers of at least 0" if self.unsigned(key) else "finite numbers"
            raise ValueError(f"{what}: {np.min(first)} to {np.max(first)}, expected {kind}")
        state.as_numbers(what, first, np.shape(first), np.dtype(np.float32) if self.is_narrow(key) else self.state[key].dtype)

    def change_matrix(self) -> None:
        """Apply the rule's function of matrices to its terms."""
        assert self.rule.matrix is not None
        (terms,) = (a for key, a in self.rule_state.items() if self.rule.tags.get(key) == "scratch")
        self.rule.matrix(terms, self.group.values_of(self.rule, self.group.current_values(1.0)))

    def written(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays that steps write, with their names in errors."""
        yield f"parameter {self.name!r}", self.array
        for key, a in self.state.items():
            yield f"state {key!r} of {self.name!r}", a


def guard(a: Any) -> Any:
    """Return a reference that keeps an array's memory: NumPy then refuses to resize in place, even with ``refcheck=False``."""
    return weakref.ref(a) if type(a) is np.ndarray else None


def check_parameters(leaves: list[tuple[str, Any]], memory: Memory, existing: Sequence[Parameter] = ()) -> None:
    """Raise if one of these cannot be optimized together with the existing parameters."""
    if not leaves:
        raise ValueError("params: no arrays, expected at least one")
    arrays: dict[str, np.ndarray] = {}
    names = {parameter.name for parameter in existing}
    for name, a in leaves:
        if name in arrays or name in names:
            raise ValueError(f"params: two parameters have the name {name!r}")
        if not is_key(name):
            raise ValueError(f"params: the name {name!r} holds a null character or half a character, which a file's names cannot")
        memory.check(f"parameter {name!r}", a)
        arrays[name] = a
    written = [*((f"parameter {n!r}", a) for n, a in arrays.items()), *(x for parameter in existing for x in parameter.written())]
    overlap.check_disjoint((what, memory.located(a)) for what, a in written)


def check_master(parameters: Sequence[Parameter], settings: Any) -> None:
    """Raise if copies of bfloat16 parameters are asked for and there are none; a span need not have any."""
    if settings.master and settings.span is None and all(parameter.master is None for parameter in parameters):
        raise ValueError(f"master: {settings.master!r} for {parameters[0].array.dtype}, expected bfloat16 parameters")


def is_of_group(name: str, k: int) -> bool:
    """Return True if a parameter's name is of group `k`."""
    return name.split("/")[0] == str(k)
