"""The engine's interpreted twin: the rules' own Python on NumPy arrays, with the same bits, where nothing is compiled."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import layout
from .structure import Structure, collect


def as_reals(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy, of this dtype, in C order, a complex number as two reals."""
    with np.errstate(all="ignore"):
        copied = np.array(a, dtype, order="C")
    return copied.view(copied.real.dtype) if copied.ndim else copied.reshape(1).view(copied.real.dtype)


def store(a: np.ndarray, reals: np.ndarray) -> None:
    """Write what `as_reals` would read."""
    a[...] = np.asarray(reals).view(a.dtype).reshape(a.shape)


def advance(
    rule: Any, stages: Sequence[Any], values: Mapping[str, float], t: int, p: np.ndarray, g: np.ndarray, state: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Parameter and state after step `t`, in new arrays: stages whose scalars are neutral are skipped.

    Parameters
    ----------
    rule, stages : Formula
    values : mapping of str
        Hyperparameters.
    t : int
        1, 2, ...
    p, g, state : arrays of reals
    """
    arrays = {"p": p, "g": g}
    for stage in stages:
        scalars = stage.scalars(values)
        if scalars != stage.neutral:
            (arrays[stage.arrays[0]],) = stage(scalars, *(arrays[name] for name in stage.arrays))
    update, *new = rule(rule.scalars(values, t), arrays["p"], arrays["g"], *state)
    with np.errstate(all="ignore"):
        return arrays["p"] - update, *new


class Stepper:
    """As the compiled one, in the caller's floating-point environment."""

    _lock: Any = None
    _count = 0
    _fixed: list[Any] | None = None
    _t: Sequence[int] = ()
    _planned: tuple[Structure | None, list[Any], list[Any], list[tuple[int, int]]] | None = None

    def __new__(cls, *_: Any, **__: Any) -> Any:
        made = super().__new__(cls)
        made._lock = threading.Lock()
        return made

    def _plan(self, capsule: Any, structure: Structure | None, slots: list[Any], groups: list[Any], threads: int) -> None:
        ranges = layout.ranges(a for s in slots for _, a in s.written())
        self._t = [*self._t, *[0] * len(slots)][: len(slots)]
        self._planned, self._fixed = (structure, slots, groups, ranges), None

    def _parts(self) -> tuple[Structure | None, list[Any], list[Any], list[tuple[int, int]]]:
        if self._planned is None:
            raise RuntimeError("this optimizer has no parameters: its constructor has not run")
        return self._planned

    @property
    def _structure(self) -> Structure | None:
        return self._parts()[0]

    @property
    def _slots(self) -> list[Any]:
        return self._parts()[1]

    @property
    def _groups(self) -> list[Any]:
        return self._parts()[2]

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return self._count

    def _at_work(self) -> bool:
        return bool(self._lock.locked())

    def _hold(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("this optimizer is at work: in another thread, or in a step that calls what you passed")

    def _let_go(self) -> None:
        self._lock.release()

    def _counts(self) -> list[int]:
        return list(self._t)

    def _set_counts(self, counts: Sequence[int], steps: int) -> None:
        self._t, self._count = list(counts), steps

    def bind(self, grads: Any) -> None:
        """Fix gradient buffers, so that ``step()`` alone reads them."""
        self._hold()
        try:
            self._fix(collect(self._structure, grads))
        finally:
            self._let_go()

    def _bind_flat(self, grads: list[Any]) -> None:
        self._hold()
        try:
            self._fix(grads)
        finally:
            self._let_go()

    def _fix(self, grads: list[Any]) -> None:
        for slot, g in zip(self._slots, grads, strict=True):
            if not isinstance(g, (np.ndarray, type(None))):
                raise TypeError(f"gradient of {slot.name!r}: {type(g).__name__}, expected a NumPy array to bind")
        self._fixed = self._checked(grads)

    def _bound(self) -> list[Any] | None:
        return self._fixed

    def _checked(self, grads: list[Any]) -> list[Any]:
        """Every gradient as an array that fits its parameter and overlaps nothing that is written."""
        _, slots, _, ranges = self._parts()
        checked = []
        for slot, g in zip(slots, grads, strict=True):
            if g is not None:
                g = layout.check_gradient(slot.name, slot.array, g)
                lo, hi = layout.extent(g)
                k = bisect_right(ranges, (lo, hi))
                if g.size and any(a < hi and lo < b for a, b in ranges[max(k - 1, 0) : k + 1]):
                    for s in slots:
                        layout.check_apart(slot.name, g, s.written())
            checked.append(g)
        return checked

    def step(self, grads: Any = None, *, scale: float = 1.0) -> bool:
        """Update the parameters in place."""
        scale = math.ldexp(scale, 0)  # a float of anything but a string
        self._hold()
        try:
            if grads is not None:
                found = self._checked(collect(self._structure, grads))
            elif self._fixed is None:
                self._parts()
                raise ValueError("step() without gradients, expected step(grads), or bind(grads) before")
            else:
                found = self._fixed
            updated = self._advance(found, scale)
        finally:
            self._let_go()
        return updated

    def _advance(self, grads: list[Any], scale: float) -> bool:
        """All new arrays, then all writes; whether anything had a gradient."""
        if not -1e300 < scale < 1e300:
            raise ValueError(f"scale: {scale}, expected a finite number")
        _, slots, groups, _ = self._parts()
        for group in groups:
            group.evaluate(self._count)
        values = {id(group): group.values_now(scale) for group in groups}
        writes: list[tuple[np.ndarray, np.ndarray]] = []
        for slot, t, g in zip(slots, self._t, grads, strict=True):
            if not slot.given.flags.writeable:
                raise ValueError(f"parameter {slot.name!r}: made read-only, expected a writable array")
            if g is not None:
                targets = [a for _, a in slot.written()]
                p, *state = (as_reals(a, a.dtype) for a in targets)
                rule, stages = slot.group.rule, slot.group.stages
                new = advance(rule, stages, values[id(slot.group)], t + 1, p, as_reals(g, slot.array.dtype), state)
                writes += zip(targets, new, strict=True)
        for a, new_a in writes:
            store(a, new_a)
        self._t = [t + (g is not None) for t, g in zip(self._t, grads, strict=True)]
        updated = any(g is not None for g in grads)
        self._count += updated
        return updated


class Update:
    """As the compiled one."""

    def __init__(
        self, capsule: Any, formula: Any, domains: Sequence[tuple[float, float]], check: Callable[[str, Any], float]
    ) -> None:
        self.formula, self.check = formula, check

    def step(self, given: Sequence[Any], t: Any, hyperparameters: Sequence[Any], out: Any) -> tuple[np.ndarray, ...]:
        """From parameter, gradient and state, the new parameter and state: in `out`, or in new arrays."""
        p, g, *state = given
        if type(t) is not int or not 0 < t < 2**62:
            raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
        names = self.formula.hyperparameters
        values = {name: self.check(name, x) for name, x in zip(names, hyperparameters, strict=True)}
        for name, a in zip(["p", *self.formula.state], [p, *state], strict=True):
            layout.check_input(name, a, p)
        g = layout.check_gradient("p", p, g)
        inputs = [p, *state]
        outputs = (
            tuple(np.empty_like(a) for a in inputs) if out is None else layout.check_outputs(self.formula.state, inputs, g, out)
        )
        reals = [as_reals(a, p.dtype) for a in (p, g, *state)]
        for a, new in zip(outputs, advance(self.formula, (), values, t, reals[0], reals[1], reals[2:]), strict=True):
            store(a, new)
        return outputs
