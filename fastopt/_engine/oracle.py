"""A step in NumPy, by the Python of rules and stages: the reference that compiled steps match bit for bit."""

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
from .sums import Exchange


def walked(a: np.ndarray, order: Sequence[int], dtype: np.dtype | None = None) -> np.ndarray:
    """Return a flat copy of an array's reals in this order of its axes, in this dtype."""
    with np.errstate(all="ignore"):
        copied = np.array(a, dtype, order="C")
    reals = copied.reshape(-1).view(copied.real.dtype).reshape(layout.reals(copied)[0])
    return reals.transpose(order).reshape(-1).copy()


def unwalked(a: np.ndarray, order: Sequence[int], flat: np.ndarray) -> Any:
    """Return a flat array, as `walked` reads it, in the shape and dtype of `a`."""
    shape, _, _ = layout.reals(a)
    reals = np.ascontiguousarray(flat.reshape([shape[k] for k in order]).transpose(np.argsort(order)))
    return reals.view(a.dtype).reshape(a.shape) if a.size else 0


class Work:
    """One parameter in a step: flat arrays in its order of axes, and the numbers that its rule carries."""

    def __init__(
        self,
        parameter: Any,
        t: int,
        carry: Sequence[float],
        grad: np.ndarray | RowGradient | None,
        values: Mapping[str, float],
        at: int,
        lazy: bool = True,
    ) -> None:
        self.parameter, self.t, self.carry, self.values, self.at = parameter, t, list(carry), values, at
        self.active = grad is not None
        self.size = math.prod(layout.reals(parameter.array)[0])
        self.order = parameter.order
        self.real = np.dtype(parameter.real.type(0).real.dtype)
        self.arrays: dict[str, np.ndarray] = {}
        self.touched: np.ndarray | None = None
        self.vectors: dict[str, np.ndarray] = {}
        self.grad: np.ndarray | None = None
        if grad is None:
            return
        if isinstance(grad, RowGradient):
            grad, touched = to_dense(grad, self.order, parameter.array)
            self.touched = touched if lazy else None
        self.grad = dtypes.widened(grad)
        self.load(False)
        self.arrays["p"] = walked(parameter.value(), self.order)
        for key, a in parameter.rule_state.items():
            if self.tag(key) in layout.LINES:
                self.arrays[key] = self.of_lines(key, a)
                continue
            flat = walked(a, self.order)
            if key in parameter.exponents:
                flat = dtypes.widened8(flat, parameter.exponents[key], self.unsigned(key))
            self.arrays[key] = dtypes.widened(flat).astype(self.real)
        for key, a in parameter.stage_arrays.items():
            one = np.full(self.size, a[0], self.real) if key in parameter.scalar_arrays else walked(a, self.order)
            self.arrays[key] = one

    def load(self, wide: bool) -> None:
        """Load the gradient in the parameter's precision; with `wide` in double, if it has more precision."""
        real = self.parameter.real
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
        """Number of elements that have a gradient."""
        return self.size if self.touched is None else int(np.count_nonzero(self.touched))

    def tag(self, key: str) -> str | None:
        found: str | None = self.parameter.rule.tags.get(key)
        return found

    def unsigned(self, key: str) -> bool:
        return self.tag(key) == "nonnegative"

    def of_lines(self, key: str, a: np.ndarray) -> np.ndarray:
        """Return the row's or column's factor for each element."""
        shape = self.parameter.array.shape
        axis = -2 if self.tag(key) == "of_columns" else -1
        return np.broadcast_to(np.expand_dims(a, axis), shape).reshape(-1).astype(self.real)

    def prepare_matrix(self) -> None:
        """Compute the factors, or change the matrix of a rule's terms, and put them among the rule's arrays."""
        rule, shape = self.parameter.rule, self.parameter.array.shape
        scalars, terms = rule.terms(rule_values(self), self.t + 1, self.carry, self.arrays)
        if rule.terms_scope == "matrix_terms":
            (key,) = (k for k in rule.state if self.tag(k) == "scratch")
            a = self.parameter.rule_state[key]
            a[...] = terms.astype(self.real).reshape(shape)
            self.parameter.change_matrix()
            self.arrays[key] = walked(a, self.order)
            return
        w, least, *_ = map(float, scalars.values())
        factors = dict(zip(("of_rows", "of_columns"), factor_sums(terms.reshape(-1, *shape[-2:])), strict=True))
        means = {"of_rows": shape[-1], "of_columns": shape[-2]}
        new: dict[str, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for key in rule.state:
                if (tag := self.tag(key)) in factors:
                    a = self.parameter.rule_state[key]
                    mean = (factors[tag] / means[tag]).reshape(a.shape)
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
        """Return what to write where: array, order of axes, new values."""
        parameter, nearest = self.parameter, settings.rounding == "nearest"
        position = (self.at + np.arange(self.size)).astype(np.uint32)
        p, writes = self.arrays["p"], []
        if parameter.master is not None and parameter.master.dtype == np.int16:
            high, low = dtypes.split(p)
            writes += [(parameter.array, self.order, high), (parameter.master, self.order, low)]
        else:
            bits = None if nearest or parameter.master is not None else dtypes.random(dtypes.key_of(key, 0), position)
            writes += [(parameter.array, self.order, dtypes.narrowed(p, parameter.array.dtype, bits))]
            if parameter.master is not None:
                writes += [(parameter.master, self.order, p)]
        for k, (name, a) in enumerate(parameter.rule_state.items(), 1):
            if name in self.vectors or self.tag(name) in layout.LINES:
                writes += [(a, list(range(max(1, a.ndim))), self.vectors[name].reshape(-1))] if name in self.vectors else []
                continue
            new = self.arrays[name]
            # An 8-bit array has its own random words; of the others, each two share the halves of a word.
            if name in parameter.exponents:
                bits = None if nearest else dtypes.random(dtypes.key_of(key, STATES + k), position)
                new, exponents = dtypes.narrowed8(new, self.unsigned(name), bits)
                writes += [(parameter.exponents[name], [0], exponents)]
            elif a.dtype.itemsize == 2:
                bits = None if nearest else dtypes.random(dtypes.key_of(key, k // 2), position) << np.uint32(16 * (k % 2))
                new = dtypes.narrowed(new, a.dtype, bits, self.unsigned(name))
            writes += [(a, self.order, new)]
        return [self.with_untouched_rows(*w) for w in writes]

    def with_untouched_rows(self, a: np.ndarray, order: Sequence[int], new: np.ndarray) -> tuple[Any, ...]:
        """Return new values for rows with a gradient, and the present ones for others."""
        return a, order, new if self.touched is None else np.where(self.touched, new, walked(a, order))

    def sum_terms(self, formula: Any, t: int, carry: Sequence[float]) -> list[np.ndarray]:
        """Return the terms of a rule's or stage's sums; zeros for rows without a gradient."""
        found: list[np.ndarray] = formula.sum_terms(rule_values(self), t, carry, self.arrays)
        return found if self.touched is None else [np.where(self.touched, x, 0.0) for x in found]


def rule_values(work: Work) -> Mapping[str, float]:
    """Return hyperparameters under the names that the parameter's rule uses."""
    found: Mapping[str, float] = work.parameter.group.values_of(work.parameter.rule, work.values)
    return found


def factor_sums(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of rows and of columns of matrices, in the order of the compiled kernels."""
    matrices, rows, columns = terms.shape
    blocks = np.pad(terms, ((0, 0), (0, 0), (0, -columns % dtypes.BLOCK)))
    with np.errstate(all="ignore"):
        row_sums = np.zeros(matrices * rows)
        for part in sums.folded(blocks.reshape(matrices * rows, -1, dtypes.BLOCK)).T:
            row_sums = row_sums + part
        column_sums, chunk = np.zeros((matrices, columns)), layout.rows_per_chunk(rows, columns)
        for first in range(0, rows, chunk):
            part = np.zeros((matrices, columns))
            for k in range(first, min(rows, first + chunk)):
                part = part + terms[:, k]
            column_sums = column_sums + part
    return row_sums, column_sums


def to_dense(g: RowGradient, order: Sequence[int], p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a gradient of rows as a dense array, and the mask of its reals in the given order of axes."""
    axes = [0, *(k for k in order if 0 < k < p.ndim)]
    values = dtypes.widened(g.values)
    full = np.zeros([p.shape[k] for k in axes], values.dtype)
    full[g.indices] = values
    touched = np.zeros(p.shape[0], bool)
    touched[g.indices] = True
    return full.transpose(np.argsort(axes)), np.repeat(touched, math.prod(layout.reals(p)[0][1:]))


class Found(dict[str, list[list[float]]]):
    """Sums of a step by formula, for each array or once.

    Attributes
    ----------
    exchange : function or None
        Gives the sums of all spans for those of this one.
    summing : list of rules
        Those of the groups that make estimates from sums over them.
    is_fine : bool
        False once a gradient of any span is not finite and may not be used.
    """

    def __init__(self, groups: Sequence[Any] = (), exchange: Exchange | None = None) -> None:
        self.exchange = exchange
        self.summing = [group.rule for group in groups if group.rule.scope == "over_group"]
        self.is_fine = True

    def of_all(self, name: str, totals: list[sums.Total]) -> list[sums.Total]:
        """Return the sums of all spans."""
        return totals if self.exchange is None else self.exchange(name, totals)

    def check(self, name: str) -> None:
        """Note whether a gradient of any span is not finite."""
        bad = sum(row[0] for row in self[name])
        self.is_fine = self.of_all(name, [sums.total([bad], [0])])[0].whole == 0


# For each group, by id: its operations by their places.
Programs = Mapping[int, Mapping[tuple[int, int], Op]]


def advance(
    works: Sequence[Work], groups: Sequence[Any], settings: Any, accumulating: bool, exchange: Exchange | None = None
) -> tuple[int, Found]:
    """Compute a step of all parameters in new arrays.

    Returns 1 for a step, 0 if no span has a gradient, -1 if one is not finite and may not be used; and the stages' sums, for each
    array or once.
    """
    found = Found(groups, exchange)
    programs = {}
    for group in groups:
        ops = program(group.stages, values_in(works, group), settings.nonfinite, accumulating)
        programs[id(group)] = {op.place: op for op in ops}
        for w in works:
            if w.active and w.parameter.group is group:
                w.load(any(op.takes_wide for op in ops[:1]))
    for place in sorted({place for ops in programs.values() for place in ops}):
        if not operate(place, programs, works, found):
            return -1, found
    if exchange is None:
        return 1, found
    return int(exchange.agree(any(w.active for w in works), bool(works), bool(found.summing) and not accumulating)), found


def operate(place: tuple[int, int], programs: Programs, works: Sequence[Work], found: Found) -> bool:
    """Run one operation of all groups that have it. Return False if a gradient may not be used."""
    ops = {group: program[place] for group, program in programs.items() if place in program}
    op = next(iter(ops.values()))
    members = [w for w in works if w.active and id(w.parameter.group) in ops]
    if op.kind == "rule":
        run_rules(works, members, found)
    elif op.stage is None:
        for w in members:
            with np.errstate(all="ignore"):
                w.arrays["p"] = w.arrays["p"] - w.arrays["u"]
    elif op.kind == "empty":
        for w in members:
            w.arrays |= {name: np.zeros_like(w.arrays[name]) for name in op.stage.stage_arrays}
    else:
        return run_stage(op.stage, ops, works, members, found)
    return True


def run_stage(stage: Any, ops: Mapping[int, Op], works: Sequence[Work], members: Sequence[Work], found: Found) -> bool:
    """Run a stage after its sums. Return False if a gradient may not be used."""
    checks = any(op.kind == "check" for op in ops.values())
    for w in members:
        if not ops[id(w.parameter.group)].takes_wide:
            w.narrow()
    given: dict[int, dict[str, float]] = {}
    if stage.sums and (checks or stage.kind != "checks"):
        given = totals(stage, works, functools.partial(terms_of, stage, ops), found)
    if checks:
        if stage.kind == "checks":
            found.check(stage.name)
        return found.is_fine
    for w in members:
        shape(w, stage, given.get(id(w)), ops[id(w.parameter.group)].gives_wide)
    return True


def shape(w: Work, stage: Any, given: Mapping[str, float] | None, gives_wide: bool) -> None:
    """Run a stage on the arrays that it changes."""
    scalars, _ = stage.scalars(w.values, sums=given or dict.fromkeys(stage.reduced, 0.0))
    if stage.of_gradient:
        g = w.arrays["g"]
        gives_wide = gives_wide and (g.dtype == np.float64 or not stage.exact(scalars))
        (w.arrays["g"],) = stage(scalars, g.astype(np.float64) if gives_wide else g)
        return
    shaped = stage.arrays[0]
    states = [key for key, tag in w.parameter.rule.tags.items() if tag == "velocity"] if shaped == "m" else [shaped]
    for state in states:
        (w.arrays[state],) = stage(scalars, *w.of([state, *stage.arrays[1:]]))


def totals(
    formula: Any, works: Sequence[Work], terms: Callable[[Work], list[np.ndarray]], found: Found
) -> dict[int, dict[str, float]]:
    """Return the sums of a rule or stage by parameter id, and record them in `found`."""
    spaces: dict[Any, list[Work]] = {}
    for k, w in enumerate(works):
        spaces.setdefault({"over_group": ("group", w.parameter.group.origin), "over_all": 0}.get(formula.scope, k), []).append(w)
    result: dict[int, dict[str, float]] = {}
    if not works and not formula.scope.endswith("over_array"):
        found.of_all(formula.name, [sums.Total()] * len(formula.sums))
    for members in spaces.values():
        each = [terms(w) if w.active else [np.zeros(w.size)] * len(formula.sums) for w in members]
        joined = [np.concatenate([t[j] for t in each]) for j in range(len(formula.sums))]
        mean_of = members[0].work if formula.scope == "mean_over_array" else None
        each_total = sums.totals_of(joined, formula.sums, formula.squares)
        if not formula.scope.endswith("over_array"):
            each_total = found.of_all(formula.name, each_total)
        result |= dict.fromkeys(map(id, members), sums.reduced(each_total, formula.sums, formula.squares, mean_of))
    rows = works if formula.scope.endswith("over_array") else works[:1]
    found[formula.name] = [list(result[id(w)].values()) for w in rows]
    return result


def run_rules(works: Sequence[Work], active: Sequence[Work], found: Found) -> None:
    """Run each parameter's rule, after its matrix terms and its sums."""
    given: dict[int, dict[str, float]] = {}
    for w in active:
        w.narrow()
        if w.parameter.rule.terms_scope and w.size:
            w.prepare_matrix()
    if summing := [w.parameter.rule for w in works if w.parameter.rule.sums] or found.summing[: not works]:
        given = totals(summing[0], works, lambda w: w.sum_terms(w.parameter.rule, w.t + 1, w.carry), found)
    for w in active:
        rule = w.parameter.rule
        scalars, w.carry = rule.scalars(rule_values(w), w.t + 1, w.carry, given.get(id(w)) if rule.sums else None)
        u, *new = rule(scalars, *w.of(rule.arrays))
        w.arrays |= {"u": u, **dict(zip(rule.state, new, strict=True))}
    for w in works:
        if not w.active:
            share_carry(w, active)


def share_carry(w: Work, active: Sequence[Work]) -> None:
    """Copy what a group carries together to a parameter without a gradient."""
    if w.parameter.rule.sums and not w.parameter.rule.scope.endswith("over_array"):
        known = [x for x in active if x.parameter.group.origin == w.parameter.group.origin]
        w.carry = list(known[0].carry) if known else w.carry


def terms_of(stage: Any, on: Collection[int], w: Work) -> list[np.ndarray]:
    """Return the terms of a stage's sums; zeros for groups where it does not run."""
    if id(w.parameter.group) in on:
        return w.sum_terms(stage, 0, ())
    return [np.zeros(w.size)] * len(stage.sums)


def values_in(works: Sequence[Work], group: Any) -> Mapping[str, float]:
    """Return a group's hyperparameters in this step; any of them for a group without parameters."""
    return next((w.values for w in works if w.parameter.group is group), None) or group.current_values(1.0)
