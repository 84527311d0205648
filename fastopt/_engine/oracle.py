"""One step in NumPy, by the rules' and stages' own Python: what compiled steps are compared with, bit for bit."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import dtypes, layout
from .._arrays.row_gradient import RowGradient
from .._codegen.capacity import STATES
from . import sums
from .program import Op, program


def walked(a: np.ndarray, order: Sequence[int], dtype: np.dtype | None = None) -> np.ndarray:
    """Return a flat copy of an array's reals in the order in which they are walked, of this dtype."""
    with np.errstate(all="ignore"):
        copied = np.array(a, dtype, order="C")
    reals = copied.reshape(-1).view(copied.real.dtype).reshape(layout.reals(copied)[0])
    return reals.transpose(order).reshape(-1).copy()


def store(a: np.ndarray, order: Sequence[int], flat: np.ndarray) -> None:
    """Write what `walked` would read."""
    shape, _, _ = layout.reals(a)
    reals = np.ascontiguousarray(flat.reshape([shape[k] for k in order]).transpose(np.argsort(order)))
    a[...] = reals.view(a.dtype).reshape(a.shape) if a.size else 0


class Work:
    """One parameter in a step: its arrays in the order walked, and the numbers of its rule."""

    def __init__(
        self,
        slot: Any,
        t: int,
        kept: Sequence[float],
        grad: np.ndarray | RowGradient | None,
        values: Mapping[str, float],
        at: int,
        lazy: bool = True,
    ) -> None:
        self.slot, self.t, self.kept, self.values, self.at = slot, t, list(kept), values, at
        self.active = grad is not None
        self.size = math.prod(layout.reals(slot.array)[0])
        self.order = slot.order
        self.real = np.dtype(slot.real.type(0).real.dtype)
        self.arrays: dict[str, np.ndarray] = {}
        self.touched: np.ndarray | None = None
        self.vectors: dict[str, np.ndarray] = {}
        self.grad: np.ndarray | None = None
        if grad is None:
            return
        if isinstance(grad, RowGradient):
            grad, touched = dense(grad, self.order, slot.array)
            self.touched = touched if lazy else None
        self.grad = dtypes.widened(grad)
        self.take(False)
        self.arrays["p"] = walked(slot.value(), self.order)
        for key, a in slot.rule_state.items():
            if self.tag(key) in layout.LINES:
                self.arrays[key] = self.of_lines(key, a)
                continue
            flat = walked(a, self.order)
            if key in slot.exponents:
                flat = dtypes.widened8(flat, slot.exponents[key], self.unsigned(key))
            self.arrays[key] = dtypes.widened(flat).astype(self.real)
        for key, a in slot.own.items():
            one = np.full(self.size, a[0], self.real) if key in slot.constant else walked(a, self.order)
            self.arrays[key] = one

    def take(self, wide: bool) -> None:
        """Begin with the gradient in the precision of the parameter, or in double, if it has more."""
        real = self.slot.real
        assert self.grad is not None
        wide = wide and self.grad.real.itemsize > self.real.itemsize
        self.arrays["g"] = walked(
            self.grad, self.order, np.dtype(np.complex128 if real.kind == "c" else np.float64) if wide else real
        )

    def narrow(self) -> None:
        """Round the gradient to the parameter's precision."""
        with np.errstate(all="ignore"):
            self.arrays["g"] = self.arrays["g"].astype(self.real)

    @property
    def work(self) -> int:
        """Elements that have a gradient."""
        return self.size if self.touched is None else int(np.count_nonzero(self.touched))

    def tag(self, key: str) -> str | None:
        found: str | None = self.slot.rule.tags.get(key)
        return found

    def unsigned(self, key: str) -> bool:
        return self.tag(key) == "nonnegative"

    def of_lines(self, key: str, a: np.ndarray) -> np.ndarray:
        """Return for each element the number of its row or column."""
        shape = self.slot.array.shape
        axis = -2 if self.tag(key) == "of_columns" else -1
        return np.broadcast_to(np.expand_dims(a, axis), shape).reshape(-1).astype(self.real)

    def prepare_matrix(self) -> None:
        """Compute averages of lines, or what a function of matrices makes of the rule's terms, into the arrays of the rule."""
        rule, shape = self.slot.rule, self.slot.array.shape
        scalars, terms = rule.terms(rule_values(self), self.t + 1, self.kept, self.arrays)
        if rule.terms_scope == "over_matrix":
            (key,) = (k for k in rule.state if self.tag(k) == "scratch")
            a = self.slot.rule_state[key]
            a[...] = terms.astype(self.real).reshape(shape)
            self.slot.change_matrix()
            self.arrays[key] = walked(a, self.order)
            return
        w, least, *_ = map(float, scalars.values())
        lines = dict(zip(("of_rows", "of_columns"), line_sums(terms.reshape(-1, *shape[-2:])), strict=True))
        means = {"of_rows": shape[-1], "of_columns": shape[-2]}
        new: dict[str, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for key in rule.state:
                if (tag := self.tag(key)) in lines:
                    a = self.slot.rule_state[key]
                    mean = (lines[tag] / means[tag]).reshape(a.shape)
                    mean = mean if w == 1 else (1 - w) * a.astype(np.float64) + w * mean
                    new[tag] = mean.astype(self.real)
                    self.vectors[key] = new[tag]
            (key,) = (k for k in rule.state if self.tag(k) == "of_ratios")
            rows = new["of_rows"].astype(np.float64)
            total = np.add.accumulate(np.concatenate([np.zeros((*shape[:-2], 1)), rows], axis=-1), axis=-1)[..., -1:] / shape[-2]
            self.vectors[key] = (rows / np.where(total < least, least, total)).astype(self.real)
        self.arrays |= {key: self.of_lines(key, a) for key, a in self.vectors.items()}

    def of(self, names: Sequence[str]) -> list[np.ndarray]:
        return [self.arrays[name] for name in names]

    def finish(self, settings: Any, key: int) -> list[tuple[Any, ...]]:
        """Return what is to be written where."""
        slot, nearest = self.slot, settings.rounding == "nearest"
        position = (self.at + np.arange(self.size)).astype(np.uint32)
        p, writes = self.arrays["p"], []
        if slot.master is not None and slot.master.dtype == np.int16:
            high, low = dtypes.split(p)
            writes += [(slot.array, self.order, high), (slot.master, self.order, low)]
        else:
            bits = None if nearest or slot.master is not None else dtypes.random(dtypes.key_of(key, 0), position)
            writes += [(slot.array, self.order, dtypes.narrowed(p, slot.array.dtype, bits))]
            if slot.master is not None:
                writes += [(slot.master, self.order, p)]
        for k, (name, a) in enumerate(slot.rule_state.items(), 1):
            if name in self.vectors or self.tag(name) in layout.LINES:
                writes += [(a, list(range(max(1, a.ndim))), self.vectors[name].reshape(-1))] if name in self.vectors else []
                continue
            new = self.arrays[name]
            if name in slot.exponents:  # words of its own
                bits = None if nearest else dtypes.random(dtypes.key_of(key, STATES + k), position)
                new, exponents = dtypes.narrowed8(new, self.unsigned(name), bits)
                writes += [(slot.exponents[name], [0], exponents)]
            elif a.dtype.itemsize == 2:  # half of the words that each two arrays share
                bits = None if nearest else dtypes.random(dtypes.key_of(key, k // 2), position) << np.uint32(16 * (k % 2))
                new = dtypes.narrowed(new, a.dtype, bits, self.unsigned(name))
            writes += [(a, self.order, new)]
        return [self.kept_where_untouched(*w) for w in writes]

    def kept_where_untouched(self, a: np.ndarray, order: Sequence[int], new: np.ndarray) -> tuple[Any, ...]:
        """Return what is to be written of rows that have a gradient; of others, what is there."""
        return a, order, new if self.touched is None else np.where(self.touched, new, walked(a, order))

    def summands(self, formula: Any, t: int, kept: Sequence[float]) -> list[np.ndarray]:
        """Return what a formula sums; zeros in rows that have no gradient."""
        found: list[np.ndarray] = formula.summands(rule_values(self), t, kept, self.arrays)
        return found if self.touched is None else [np.where(self.touched, x, 0.0) for x in found]


def rule_values(work: Work) -> Mapping[str, float]:
    """Return hyperparameters by the names that the parameter's rule has for them."""
    found: Mapping[str, float] = work.slot.group.values_of(work.slot.rule, work.values)
    return found


def line_sums(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums over the rows and over the columns of matrices, in the order of the compiled ones."""
    matrices, rows, columns = terms.shape
    blocks = np.pad(terms, ((0, 0), (0, 0), (0, -columns % dtypes.BLOCK)))
    with np.errstate(all="ignore"):
        of_rows = np.zeros(matrices * rows)
        for part in sums.folded(blocks.reshape(matrices * rows, -1, dtypes.BLOCK)).T:
            of_rows = of_rows + part
        of_columns, chunk = np.zeros((matrices, columns)), layout.rows_per_chunk(rows, columns)
        for first in range(0, rows, chunk):
            part = np.zeros((matrices, columns))
            for k in range(first, min(rows, first + chunk)):
                part = part + terms[:, k]
            of_columns = of_columns + part
    return of_rows, of_columns


def dense(g: RowGradient, order: Sequence[int], p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a gradient of rows with zeros between them, and which of its reals, as walked, are of such rows."""
    axes = [0, *(k for k in order if 0 < k < p.ndim)]
    values = dtypes.widened(g.values)
    full = np.zeros([p.shape[k] for k in axes], values.dtype)
    full[g.indices] = values
    touched = np.zeros(p.shape[0], bool)
    touched[g.indices] = True
    return full.transpose(np.argsort(axes)), np.repeat(touched, math.prod(layout.reals(p)[0][1:]))


Programs = Mapping[int, Mapping[tuple[int, int], Op]]  # of each group, by its id, its operations by their places


def advance(works: Sequence[Work], groups: Sequence[Any], settings: Any, holds: bool) -> tuple[bool, dict[str, list[list[float]]]]:
    """Compute parameters, state and numbers of all after a step, in new arrays; False where a gradient is not to be used.

    Also returns what is given of the sums of stages, of each array or once.
    """
    found: dict[str, list[list[float]]] = {}
    programs = {}
    for group in groups:
        ops = program(group.stages, values_of(works, group), settings.nonfinite, holds)
        programs[id(group)] = {op.place: op for op in ops}
        for w in works:
            if w.active and w.slot.group is group:
                w.take(any(op.takes_wide for op in ops[:1]))
    for place in sorted({place for ops in programs.values() for place in ops}):
        if not operate(place, programs, works, found):
            return False, found
    return True, found


def operate(place: tuple[int, int], programs: Programs, works: Sequence[Work], found: dict[str, list[list[float]]]) -> bool:
    """Make one operation of those groups that have it; False where a gradient is not to be used."""
    ops = {group: program[place] for group, program in programs.items() if place in program}
    op = next(iter(ops.values()))
    members = [w for w in works if w.active and id(w.slot.group) in ops]
    if op.kind == "rule":
        run_rules(works, members, found)
    elif op.stage is None:
        for w in members:
            with np.errstate(all="ignore"):
                w.arrays["p"] = w.arrays["p"] - w.arrays["u"]
    elif op.kind == "empty":
        for w in members:
            w.arrays |= {name: np.zeros_like(w.arrays[name]) for name in op.stage.own}
    else:
        return run_stage(op.stage, ops, works, members, found)
    return True


def run_stage(
    stage: Any, ops: Mapping[int, Op], works: Sequence[Work], members: Sequence[Work], found: dict[str, list[list[float]]]
) -> bool:
    """Run a stage after its sums; False where it has found what is wrong with a gradient."""
    checks = any(op.kind == "check" for op in ops.values())
    for w in members:
        if not ops[id(w.slot.group)].takes_wide:
            w.narrow()
    given: dict[int, dict[str, float]] = {}
    if stage.sums and (checks or stage.kind != "checks"):
        given = totals(stage, works, functools.partial(terms_of, stage, ops), found)
    if checks:
        return stage.kind != "checks" or not any(row[0] > 0 for row in found[stage.name])
    for w in members:
        shape(w, stage, given.get(id(w)), ops[id(w.slot.group)].gives_wide)
    return True


def shape(w: Work, stage: Any, given: Mapping[str, float] | None, gives_wide: bool) -> None:
    """Run a stage on what it shapes of a parameter."""
    scalars, _ = stage.scalars(w.values, sums=given or dict.fromkeys(stage.given, 0.0))
    if stage.of_gradient:
        g = w.arrays["g"]
        gives_wide = gives_wide and (g.dtype == np.float64 or not stage.exact(scalars))
        (w.arrays["g"],) = stage(scalars, g.astype(np.float64) if gives_wide else g)
        return
    shaped = stage.arrays[0]
    states = [key for key, tag in w.slot.rule.tags.items() if tag == "velocity"] if shaped == "m" else [shaped]
    for state in states:
        (w.arrays[state],) = stage(scalars, *w.of([state, *stage.arrays[1:]]))


def totals(
    formula: Any, works: Sequence[Work], terms: Callable[[Work], list[np.ndarray]], found: dict[str, list[list[float]]]
) -> dict[int, dict[str, float]]:
    """Return what is given of the sums of a formula, of each parameter by its id, and into `found`."""
    spaces: dict[Any, list[Work]] = {}
    for k, w in enumerate(works):
        spaces.setdefault({"over_group": id(w.slot.group), "over_all": 0}.get(formula.scope, k), []).append(w)
    result: dict[int, dict[str, float]] = {}
    for members in spaces.values():
        each = [terms(w) if w.active else [np.zeros(w.size)] * len(formula.sums) for w in members]
        joined = [np.concatenate([t[j] for t in each]) for j in range(len(formula.sums))]
        mean_of = members[0].work if formula.scope == "mean_over_array" else None
        result |= dict.fromkeys(map(id, members), sums.given(joined, formula.sums, formula.squares, mean_of))
    rows = works if formula.scope.endswith("over_array") else works[:1]
    found[formula.name] = [list(result[id(w)].values()) for w in rows]
    return result


def run_rules(works: Sequence[Work], active: Sequence[Work], found: dict[str, list[list[float]]]) -> None:
    """Run each parameter's rule, after its terms of matrices and its sums."""
    given: dict[int, dict[str, float]] = {}
    for w in active:
        w.narrow()
        if w.slot.rule.terms_scope and w.size:
            w.prepare_matrix()
    if summing := [w.slot.rule for w in works if w.slot.rule.sums]:
        given = totals(summing[0], works, lambda w: w.summands(w.slot.rule, w.t + 1, w.kept), found)
    for w in active:
        rule = w.slot.rule
        scalars, w.kept = rule.scalars(rule_values(w), w.t + 1, w.kept, given.get(id(w)) if rule.sums else None)
        u, *new = rule(scalars, *w.of(rule.arrays))
        w.arrays |= {"u": u, **dict(zip(rule.state, new, strict=True))}
    for w in works:
        if not w.active:
            share_kept(w, active)


def share_kept(w: Work, active: Sequence[Work]) -> None:
    """Let a parameter without a gradient know what its group knows together."""
    if w.slot.rule.sums and not w.slot.rule.scope.endswith("over_array"):
        known = [x for x in active if x.slot.group is w.slot.group]
        w.kept = list(known[0].kept) if known else w.kept


def terms_of(stage: Any, on: Collection[int], w: Work) -> list[np.ndarray]:
    """Return what a stage sums of a parameter; zeros where it is not on."""
    if id(w.slot.group) in on:
        return w.summands(stage, 0, ())
    return [np.zeros(w.size)] * len(stage.sums)


def values_of(works: Sequence[Work], group: Any) -> Mapping[str, float]:
    return next((w.values for w in works if w.slot.group is group), {})
