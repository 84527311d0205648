"""The interpreted backend: steps by the rules' and stages' own Python on NumPy arrays, with the bits of the compiled ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import dtypes, layout, overlap
from .._arrays.row_gradient import check_rows, is_rows
from .._arrays.tree import Structure, collect
from ..domains import check_order
from ..spec import STAGES
from . import sums
from .oracle import Work, advance, store, walked
from .program import program
from .stepper import Backend, Counter

CHECK = next(name for name, stage in STAGES.items() if stage.kind == "checks")


class PythonBackend(Backend):
    """Counters, and gradients that are checked, of a backend in Python."""

    def __init__(self, structure: Structure | None, slots: list[Any], groups: list[Any], settings: Any) -> None:
        self.structure, self.slots, self.groups, self.settings = structure, slots, groups, settings
        self.each: list[Counter] = []
        self.last: list[list[float]] | None = None
        self.grads: list[Any] = []
        self.ranges = overlap.ranges(self.located(a) for s in slots for _, a in s.written())
        self.written: overlap.Written | None = None  # what a step writes, once a gradient reaches into its ranges

    def exit(self) -> None:
        self.grads = []

    def located(self, a: Any) -> np.ndarray:
        """Return an array of the same place and shape, which nobody reads."""
        return a  # type: ignore[no-any-return]

    def take(self, grads: Any) -> None:
        self.take_list(collect(self.structure, grads))

    def take_list(self, grads: list[Any]) -> None:
        self.grads = [None if g is None else self.checked(slot, g) for slot, g in zip(self.slots, grads, strict=True)]

    def take_bound(self, grads: list[Any]) -> None:
        self.take_list(grads)

    def checked(self, slot: Any, g: Any) -> Any:
        """Return a gradient as the step reads it."""
        raise NotImplementedError

    def check_apart(self, slot: Any, there: np.ndarray) -> None:
        """Raise if a gradient has memory in common with what a step writes."""
        lo, hi = overlap.extent(there)
        k = bisect_right(self.ranges, (lo, hi))
        if there.size and any(first < hi and lo < end for first, end in self.ranges[max(k - 1, 0) : k + 1]):
            if self.written is None:
                self.written = overlap.Written((what, self.located(a)) for s in self.slots for what, a in s.written())
            self.written.check_apart(slot.name, there)

    def counters(self) -> list[Counter]:
        return list(self.each)

    def counter(self, place: int) -> Counter:
        return self.counters()[place]

    def set_counters(self, counters: list[Counter]) -> None:
        self.each, self.last = list(counters), None

    def set_counter(self, place: int, counter: Counter) -> None:
        self.set_counters([*self.each[:place], counter, *self.each[place + 1 :]])

    def hyperparameters(self) -> list[list[float]] | None:
        return self.last

    def program(self, holds: bool) -> list[list[tuple[str, str, bool, bool]]]:
        programs = [program(g.stages, g.values_now(1.0), self.settings.nonfinite, holds) for g in self.groups]
        return [[(op.kind, op.stage.name if op.stage else "", op.takes_wide, op.gives_wide) for op in ops] for ops in programs]

    def count(self, kept: Sequence[list[float]], active: Sequence[bool], holds: bool) -> None:
        """Count a step that was made."""
        if not holds:
            self.last = [[float(x) for x in group.numbers] for group in self.groups]
        self.each = [
            (t + (a and not holds), numbers, holds and (waits or a))
            for (t, _, waits), numbers, a in zip(self.each, kept, active, strict=True)
        ]


class InterpretedBackend(PythonBackend):
    """Steps in the caller's floating-point environment."""

    found: dict[str, list[list[float]]]
    works: Sequence[Work] = ()

    def checked(self, slot: Any, g: Any) -> Any:
        if is_rows(g):
            g = check_rows(slot, g, self.settings.accumulate, self.settings.mode == "exact")
            self.check_apart(slot, g.values)
            return g
        g = layout.check_gradient(slot.name, slot.array, g)
        self.check_apart(slot, g)
        return g

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        return layout.check_bindable(self.slots, grads, clears)

    def set_counters(self, counters: list[Counter]) -> None:
        super().set_counters(counters)
        self.found = {}

    def totals(self, stage: str) -> list[list[float]] | None:
        return self.found.get(stage)

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> None:
        for group in self.groups:
            if not holds:
                group.evaluate(count)
        for slot in self.slots:
            if not slot.given.flags.writeable:
                raise ValueError(f"parameter {slot.name!r}: made read-only, expected a writable array")
        for slot, g in zip(self.slots, cleared or (), strict=False):
            if g is not None:
                layout.check_clearable(slot.name, g)
        values = {id(group): group.values_now(scale) for group in self.groups}
        works: list[Work] = []
        at = 0
        for slot, (t, kept, waits), g in zip(self.slots, self.each, self.grads, strict=True):
            given = np.zeros(slot.array.shape, slot.real) if g is None and waits and not holds else g
            works.append(Work(slot, t, kept, given, values[id(slot.group)], at, self.settings.mode == "lazy"))
            at += works[-1].size
        self.works = works

    def run(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> int:
        works, settings = self.works, self.settings
        active = [w.active for w in works]
        if not any(active):
            return 0
        fine, found = advance(works, self.groups, settings, holds)
        if not fine:
            self.bad = found[CHECK]
            return -1
        self.write(dtypes.key_of_step(settings.seed, count), holds)
        for g in cleared or ():
            if g is not None:
                g[...] = 0
        if not holds:
            self.found = found
        self.count([w.kept for w in works], active, holds)
        return 1

    def write(self, key: int, holds: bool) -> None:
        """Write parameters and state, rounded with this key of random bits."""
        writes: list[Any] = []
        for w in self.works:
            if w.active:
                writes += [] if holds else w.finish(self.settings, key)
                state = [(w.slot.own[name], w.order, w.arrays[name]) for name in w.slot.stage_state]
                writes += [w.kept_where_untouched(*x) for x in state]
        for a, order, flat in writes:
            store(a, order, flat)

    def exit(self) -> None:
        super().exit()
        self.works = ()

    def nonfinite(self) -> dict[str, int]:
        return {slot.name: int(row[0]) for slot, row in zip(self.slots, self.bad, strict=True) if row[0] > 0}


class Update:
    """As the compiled one."""

    def __init__(self, formula: Any) -> None:
        self.formula = formula

    def step(
        self, given: Sequence[Any], t: Any, hyperparameters: Sequence[Any], out: Any, kept: Sequence[float] = ()
    ) -> tuple[Any, ...]:
        """Return the new parameter and state, in `out` or in new arrays, then what is kept."""
        p, g, *state = given
        if type(t) is not int or not 0 < t < 2**62:
            raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
        rule = self.formula
        values = {name: domain.check(name, x) for (name, domain), x in zip(rule.domains.items(), hyperparameters, strict=True)}
        check_order(rule.domains, values)
        numbers = rule.first(kept, t)
        for name, a in zip(["p", *rule.state], [p, *state], strict=True):
            layout.check_input(name, a, p)
        g = layout.check_gradient("p", p, g)
        inputs = [p, *state]
        outputs = tuple(np.empty_like(a) for a in inputs) if out is None else layout.check_outputs(rule.state, inputs, g, out)
        order = range(len(layout.reals(p)[0]))
        arrays = dict(zip(rule.arrays, (walked(dtypes.widened(a), order, p.dtype) for a in (p, g, *state)), strict=True))
        of_sums = None
        if rule.sums:
            mean_of = arrays["p"].size if rule.scope == "mean_over_array" else None
            of_sums = sums.given(rule.summands(values, t, numbers, arrays), rule.sums, rule.squares, mean_of)
        scalars, after = rule.scalars(values, t, numbers, of_sums)
        update, *new = rule(scalars, *arrays.values())
        with np.errstate(all="ignore"):
            new = [arrays["p"] - update, *new]
        for a, x in zip(outputs, new, strict=True):
            store(a, order, x)
        return (*outputs, *after)
