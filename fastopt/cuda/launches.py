"""The launches of one step, in the order of the stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._codegen.capacity import BLOCK, TERMS, TOTALS
from .._codegen.capacity import STAGES as N_STAGES
from .._engine.program import HOLD_AT, PLACES, Op, program
from ..spec import RULE_AT, STAGES, Formula, place_of
from .tables import SCOPES, Tables

CHECK_AT = place_of("checks")


def masks_of(op: Op, values: Mapping[str, float]) -> tuple[np.uint64, np.uint64]:
    """Return the bits of an operation among stages that are on (32 above: beyond the range of floats), and that are summed."""
    stage = op.stage
    if stage is None or op.kind == "empty":
        return np.uint64(0), np.uint64(0)
    bit = 1 << PLACES[stage.name]
    on = 0 if op.kind == "check" else bit | bit << (32 if stage.is_loose(values) else 0)
    return np.uint64(on), np.uint64(bit if op.kind == "check" or (stage.sums and stage.kind != "checks") else 0)


class Run:
    """One step: what it is told, and its launches in the order of the stages."""

    def __init__(self, tables: Tables, settings: Any, hold: bool, scale: float, key: int) -> None:
        self.tables, self.settings, self.hold = tables, settings, hold
        self.counted: list[list[float]] = []
        self.pending = 0  # stages that are on and whose scalars are still to be prepared, a bit each
        self.at = 0  # the stage that is next
        self.masks(scale)
        plan = tables.plan
        plan["key"], plan["nearest"] = key, settings.rounding == "nearest"
        for name in ("kept", "kept_after"):
            plan[name] = tables.buffers[name].data.ptr
        tables.tell()

    def masks(self, scale: float) -> None:
        """Tell which stages are on in each group, which are summed, and all their hyperparameters."""
        tables = self.tables
        masks = np.zeros((2, len(tables.groups)), np.uint64)
        for k, group in enumerate(tables.groups):
            values = group.values_now(scale)
            tables.h[k] = np.array([*values.values(), 0.0])[tables.indices[k]]
            for op in program(group.stages, values, self.settings.nonfinite, self.hold):
                masks[:, k] |= masks_of(op, values)
        tables.turns["on"], tables.turns["summed"] = (x[tables.table["group"]] for x in masks)
        self.on, self.sums = (int(np.bitwise_or.reduce(x)) for x in masks)
        self.summed = frozenset(name for name, k in PLACES.items() if self.sums >> k & 1)
        tables.turns["known"] = -1
        if any(tables.together):
            active, of_group = tables.turns["active"], tables.table["group"]
            first = {int(k): i for i, k in reversed(list(enumerate(of_group))) if active[i]}
            tables.turns["known"] = [first.get(int(k), -1) if x else -1 for k, x in zip(of_group, tables.together, strict=True)]

    def sums_are_fine(self) -> bool:
        """Everything up to where a gradient that is not finite would end the step; the host waits where it has to know."""
        if not self.sums >> CHECK_AT & 1:
            return True
        self.shape_until(CHECK_AT)
        self.sum_up([*STAGES.values()][CHECK_AT])
        self.at += 1
        tables = self.tables
        totals = tables.memory.host(tables.buffers["totals"]).reshape(-1, tables.room, TOTALS)[CHECK_AT]
        self.counted = [[float(x) for x in row] for row in totals[: len(tables.slots)]]
        return not any(row[0] > 0 for row in self.counted)

    def finish(self) -> None:
        """Launch the rest of the step."""
        tables = self.tables
        if self.hold:
            self.shape_until(HOLD_AT + 1)
            self.prepare()
            blocks = tables.spaces[0]
            tables.launch(tables.rules[0], "gather_gradients", blocks, 0, blocks, HOLD_AT + 1)
            return
        self.shape_until(RULE_AT)
        self.prepare_rules()
        self.shape_until(len(STAGES))
        self.prepare()
        for rule, (lo, hi) in tables.spans.items():
            tables.launch(rule, f"{rule}_step", hi - lo, lo, hi)
        buffers = tables.buffers
        buffers["kept"], buffers["kept_after"] = buffers["kept_after"], buffers["kept"]

    def shape_until(self, end: int) -> None:
        """Sums of the stages before this one, and what is to be prepared of them."""
        for stage in list(STAGES.values())[self.at : end]:
            bit = 1 << PLACES[stage.name]
            if self.sums & bit:
                self.sum_up(stage)
            self.pending |= self.on & bit
        self.at = end

    def threads(self) -> int:
        """Blocks of threads, one for each parameter."""
        return -(-len(self.tables.slots) // BLOCK)

    def prepare(self) -> None:
        if self.pending:
            self.tables.launch(self.tables.rules[0], "prepare_stages", self.threads(), self.pending)
        self.pending = 0

    def sum_up(self, stage: Formula) -> None:
        self.prepare()
        tables, scope, id_ = self.tables, SCOPES[stage.scope], PLACES[stage.name]
        assert set(stage.sums_arrays) <= {"g"} or scope == 0, "each rule writes the sums of whole blocks"
        if set(stage.sums_arrays) <= {"g"}:
            tables.launch(tables.rules[0], "sum_gradients", tables.spaces[scope], id_, scope)
        else:
            for k, rule in enumerate(tables.rules):
                tables.launch(rule, f"{rule}_sum", tables.spaces[scope], id_, scope, k)
        self.add_blocks(id_, stage)

    def add_blocks(self, id_: int, formula: Formula) -> None:
        tables, scope = self.tables, SCOPES[formula.scope]
        targets = (len(tables.slots), len(tables.groups), 1)[scope]
        squares = sum(1 << k for k, name in enumerate(formula.sums) if name in formula.squares)
        tables.launch(
            tables.rules[0], "add_blocks", targets, id_, scope + 4 * formula.scope.startswith("mean") + 8 * squares, targets
        )

    def prepare_rules(self) -> None:
        """Compute the scalars of the rules, after terms of matrices and sums."""
        tables = self.tables
        rules: dict[str, Formula] = {s.rule.name: s.rule for s in tables.slots}
        if any(rule.terms_scope or rule.sums for rule in rules.values()):
            self.prepare()
        for k, (name, rule) in enumerate(rules.items()):
            if rule.terms_scope:
                tables.launch(name, f"{name}_prepare", self.threads(), TERMS, 0, k)
                self.matrices(name, rule)
        scope = 0
        for k, (name, rule) in enumerate(rules.items()):
            if rule.sums:
                scope = SCOPES[rule.scope]
                tables.launch(name, f"{name}_prepare", self.threads(), N_STAGES, scope, k)
                tables.launch(name, f"{name}_sum", tables.spaces[scope], N_STAGES, scope, k)
        for rule in [rule for rule in rules.values() if rule.sums][:1]:
            self.add_blocks(N_STAGES, rule)
        for k, name in enumerate(rules):
            tables.launch(name, f"{name}_prepare", self.threads(), 0, scope, k)

    def matrices(self, name: str, rule: Formula) -> None:
        """Compute averages of lines, or what a function of matrices makes of a rule's terms."""
        tables = self.tables
        if rule.terms_scope == "over_matrix":
            lo, hi = tables.spans[name]
            tables.launch(name, f"{name}_spread", hi - lo, lo, hi)
        for i, slot in enumerate(tables.slots):
            if slot.rule is not rule or not tables.turns[i]["active"] or not slot.array.size:
                continue
            if rule.terms_scope == "over_matrix":
                slot.change_matrix()
                continue
            row = tables.table[i]
            rows, columns, lines = (int(row[x]) for x in ("rows", "columns", "n"))
            matrices, lines = lines // (rows * columns), lines // columns
            chunks = -(-rows // int(row["chunk"]))
            tables.launch(name, f"{name}_rows", lines, i)
            tables.launch(name, f"{name}_columns", -(-matrices * chunks * columns // BLOCK), i)
            tables.launch(name, "average_lines", -(-(lines + matrices * columns) // BLOCK), i)
            tables.launch(name, "divide_rows", matrices, i)
