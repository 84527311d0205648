"""The interpreted backend: runs the Python of rules and stages on NumPy arrays, with the bits of the compiled kernels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._arrays import dtypes, layout, overlap
from .._arrays.changes import commit, writing
from .._arrays.row_gradient import check_rows, is_rows
from .._arrays.tree import Structure, collect
from ..domains import check_number, check_order, whole
from . import sums
from .oracle import Work, advance, unwalked, walked
from .program import program
from .stepper import CHECK, Backend, Counter


class PythonBackend(Backend):
    """Base of the backends in Python: counters, and gradients that are checked."""

    def __init__(self, structure: Structure | None, parameters: list[Any], groups: list[Any], settings: Any) -> None:
        self.structure, self.parameters, self.groups, self.settings = structure, parameters, groups, settings
        self.each: list[Counter] = []
        self.last: list[list[float]] | None = None
        self.grads: list[Any] = []
        self.ranges = overlap.ranges(self.located(a) for s in parameters for _, a in s.written())
        # What a step writes; made when a gradient first reaches into its ranges.
        self.written: overlap.Written | None = None

    def exit(self) -> None:
        self.grads = []

    def located(self, a: Any) -> np.ndarray:
        """Return an array of the same address and shape, whose elements are never read."""
        return a  # type: ignore[no-any-return]

    def set_gradients(self, grads: Any) -> None:
        self.set_gradient_list(collect(self.structure, grads))

    def set_gradient_list(self, grads: list[Any]) -> None:
        self.grads = [
            None if g is None else self.checked(parameter, g) for parameter, g in zip(self.parameters, grads, strict=True)
        ]

    def set_bound_gradients(self, grads: list[Any]) -> None:
        self.set_gradient_list(grads)

    def checked(self, parameter: Any, g: Any) -> Any:
        """Return a gradient as the step reads it, or raise."""
        raise NotImplementedError

    def check_no_overlap(self, parameter: Any, located: np.ndarray) -> None:
        """Raise if a gradient overlaps memory that a step writes."""
        lo, hi = overlap.extent(located)
        k = bisect_right(self.ranges, (lo, hi))
        if located.size and any(first < hi and lo < end for first, end in self.ranges[max(k - 1, 0) : k + 1]):
            if self.written is None:
                self.written = overlap.Written((what, self.located(a)) for s in self.parameters for what, a in s.written())
            self.written.check_no_overlap(parameter.name, located)

    def counters(self) -> list[Counter]:
        return list(self.each)

    def counter(self, place: int) -> Counter:
        return self.counters()[place]

    def set_counters(self, counters: list[Counter]) -> None:
        self.each, self.last = list(counters), None

    def set_counter(self, place: int, counter: Counter) -> None:
        self.set_counters([*self.each[:place], counter, *self.each[place + 1 :]])

    def last_hyperparameters(self) -> list[list[float]] | None:
        return self.last

    def program(self, accumulating: bool) -> list[list[tuple[str, str, bool, bool]]]:
        programs = [program(g.stages, g.current_values(1.0), self.settings.nonfinite, accumulating) for g in self.groups]
        return [[(op.kind, op.stage.name if op.stage else "", op.takes_wide, op.gives_wide) for op in ops] for ops in programs]

    def counting(self, carry: Sequence[list[float]], active: Sequence[bool], accumulating: bool) -> list[Callable[[], object]]:
        """Return the changes that count a completed step."""
        last = self.last if accumulating else [[float(x) for x in group.hyperparameters] for group in self.groups]
        each = [
            (t + (a and not accumulating), numbers, accumulating and (waits or a))
            for (t, _, waits), numbers, a in zip(self.each, carry, active, strict=True)
        ]
        return [partial(setattr, self, name, x) for name, x in (("each", each), ("last", last), ("completed", True))]


class InterpretedBackend(PythonBackend):
    """Backend of NumPy arrays; it computes in the caller's floating-point environment."""

    found: dict[str, list[list[float]]]
    works: Sequence[Work] = ()

    def checked(self, parameter: Any, g: Any) -> Any:
        if is_rows(g):
            g = check_rows(parameter, g, self.settings.accumulate, self.settings.mode == "exact")
            self.check_no_overlap(parameter, g.values)
            return g
        g = layout.check_gradient(parameter.name, parameter.array, g)
        self.check_no_overlap(parameter, g)
        return g

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        return layout.check_bindable(self.parameters, grads, clears)

    def set_counters(self, counters: list[Counter]) -> None:
        super().set_counters(counters)
        self.found = {}

    def totals(self, stage: str) -> list[list[float]] | None:
        return self.found.get(stage)

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> None:
        for group in self.groups:
            if not accumulating:
                group.evaluate(count)
        for parameter in self.parameters:
            if not parameter.source.flags.writeable:
                raise ValueError(f"parameter {parameter.name!r}: made read-only, expected a writable array")
        for parameter, g in zip(self.parameters, cleared or (), strict=False):
            if g is not None:
                layout.check_clearable(parameter.name, g)
        values = {id(group): group.current_values(scale) for group in self.groups}
        works: list[Work] = []
        at = 0 if self.settings.span is None else self.settings.span[0]
        for parameter, (t, carry, waits), g in zip(self.parameters, self.each, self.grads, strict=True):
            given = np.zeros(parameter.array.shape, parameter.real) if g is None and waits and not accumulating else g
            works.append(Work(parameter, t, carry, given, values[id(parameter.group)], at, self.settings.mode == "lazy"))
            at += works[-1].size
        self.works = works

    def run(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> int:
        works, settings = self.works, self.settings
        active = [w.active for w in works]
        if not any(active) and self.exchange is None:
            return 0
        fine, found = advance(works, self.groups, settings, accumulating, self.exchange)
        if fine <= 0:
            self.bad = found.get(CHECK, [])
            return fine
        writes = self.writes(dtypes.key_of_step(settings.seed, count), accumulating)
        clearing = [writing(g, 0) for g in cleared or () if g is not None]
        showing = [] if accumulating else [partial(setattr, self, "found", found)]
        commit([*writes, *clearing, *showing, *self.counting([w.carry for w in works], active, accumulating)])
        return 1

    def writes(self, key: int, accumulating: bool) -> list[Callable[[], object]]:
        """Return the writes of parameters and state, rounded with this key of random bits."""
        found: list[Any] = []
        for w in self.works:
            if w.active:
                found += [] if accumulating else w.finish(self.settings, key)
                state = [(w.parameter.stage_arrays[name], w.order, w.arrays[name]) for name in w.parameter.stage_state]
                found += [w.with_untouched_rows(*x) for x in state]
        return [writing(a, unwalked(a, order, flat)) for a, order, flat in found]

    def exit(self) -> None:
        super().exit()
        self.works = ()

    def nonfinite(self) -> dict[str, int]:
        return {parameter.name: int(row[0]) for parameter, row in zip(self.parameters, self.bad, strict=True) if row[0] > 0}


class Update:
    """A rule's step on arrays of the caller; twin of the compiled `Update`."""

    def __init__(self, formula: Any) -> None:
        self.formula = formula

    def step(
        self, given: Sequence[Any], t: Any, hyperparameters: Sequence[Any], out: Any, carry: Sequence[float] = ()
    ) -> tuple[Any, ...]:
        """Return the new parameter and state, in `out` or in new arrays, then the carried numbers."""
        out = (given[0], *given[2:]) if isinstance(out, str) and out == "inplace" else out
        given, out = layout.as_arguments(self.formula.state, given, out)
        p, g, *state = given
        number = whole(t)
        if number is None or not 0 < number < 2**62:
            raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
        t = number
        rule = self.formula
        values = {name: check_number(d, name, x) for (name, d), x in zip(rule.domains.items(), hyperparameters, strict=True)}
        check_order(rule.domains, values)
        numbers = rule.first(carry, t)
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
            totals = sums.totals_of(rule.sum_terms(values, t, numbers, arrays), rule.sums, rule.squares)
            of_sums = sums.reduced(totals, rule.sums, rule.squares, mean_of)
        scalars, after = rule.scalars(values, t, numbers, of_sums)
        update, *new = rule(scalars, *arrays.values())
        with np.errstate(all="ignore"):
            new = [arrays["p"] - update, *new]
        for a, x in zip(outputs, new, strict=True):
            a[...] = unwalked(a, order, x)
        return (*outputs, *after)
