"""Launches of one step, in the order of its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .._arrays.changes import make
from .._codegen.capacity import BLOCK, TERMS, TOTALS
from .._codegen.capacity import STAGES as N_STAGES
from .._engine.program import HOLD_AT, PLACES, Op, program
from ..spec import RULE_AT, STAGES, Spec, place_of
from .tables import SCOPES, Tables

CHECK_AT = place_of("checks")


def masks_of(op: Op, values: Mapping[str, float]) -> tuple[np.uint64, np.uint64]:
    """Return two masks for an operation: active stages (32 above: clipping beyond the range of floats), and stages with sums."""
    stage = op.stage
    if stage is None or op.kind == "empty":
        return np.uint64(0), np.uint64(0)
    bit = 1 << PLACES[stage.name]
    on = 0 if op.kind == "check" else bit | bit << (32 if stage.is_loose(values) else 0)
    return np.uint64(on), np.uint64(bit if op.kind == "check" or (stage.sums and stage.kind != "checks") else 0)


class Run:
    """One step: its arguments, and its launches in the order of the stages."""

    def __init__(self, tables: Tables, settings: Any, accumulating: bool, scale: float, key: int) -> None:
        self.tables, self.settings, self.accumulating = tables, settings, accumulating
        self.counted: list[list[float]] = []
        self.pending = 0  # Mask of active stages whose scalars are not computed yet.
        self.next_stage = 0  # The stage that runs next.
        self.set_masks(scale)
        plan = tables.plan
        plan["key"], plan["nearest"] = key, settings.rounding == "nearest"
        for name in ("carry", "carry_after"):
            plan[name] = tables.buffers[name].data.ptr
        tables.upload_args()
        self.launches: list[Callable[[], object]] = []

    def launch(self, rule: str, kernel: str, blocks: int, x: int = 0, y: int = 0, z: int = 0) -> None:
        """Note a launch, unless it has nothing to do."""
        if blocks > 0:
            self.launches += [self.tables.launching(rule, kernel, blocks, x, y, z)]

    def set_masks(self, scale: float) -> None:
        """Set the masks of each group's stages, and all hyperparameters."""
        tables = self.tables
        masks = np.zeros((2, len(tables.groups)), np.uint64)
        for k, group in enumerate(tables.groups):
            values = group.current_values(scale)
            tables.h[k] = np.array([*values.values(), 0.0])[tables.indices[k]]
            for op in program(group.stages, values, self.settings.nonfinite, self.accumulating):
                masks[:, k] |= masks_of(op, values)
        tables.args["on"], tables.args["summed"] = (x[tables.table["group"]] for x in masks)
        self.on, self.sums = (int(np.bitwise_or.reduce(x)) for x in masks)
        self.summed = frozenset(name for name, k in PLACES.items() if self.sums >> k & 1)
        tables.args["known"] = -1
        if any(tables.together):
            active, of_group = tables.args["active"], tables.table["origin"]
            first = {int(k): i for i, k in reversed(list(enumerate(of_group))) if active[i]}
            tables.args["known"] = [first.get(int(k), -1) if x else -1 for k, x in zip(of_group, tables.together, strict=True)]

    def check_sums(self) -> bool:
        """Run the stages up to the check of the gradients. Return False if one is not finite; only then does the host wait."""
        if not self.sums >> CHECK_AT & 1:
            return True
        self.run_stages(CHECK_AT)
        self.sum_stage([*STAGES.values()][CHECK_AT])
        self.next_stage += 1
        make(self.launches)
        self.launches = []
        tables = self.tables
        totals = tables.memory.host(tables.buffers["totals"]).reshape(-1, tables.room, TOTALS)[CHECK_AT]
        self.counted = [[float(x) for x in row] for row in totals[: len(tables.parameters)]]
        return not any(row[0] > 0 for row in self.counted)

    def finish(self) -> list[Callable[[], object]]:
        """Return the launches of the rest of the step; those that write parameters and lasting state come last."""
        tables = self.tables
        if self.accumulating:
            self.run_stages(HOLD_AT + 1)
            self.prepare_stages()
            blocks = tables.spaces[0]
            self.launch(tables.rules[0], "gather_gradients", blocks, 0, blocks, HOLD_AT + 1)
            return self.launches
        self.run_stages(RULE_AT)
        self.prepare_rules()
        self.run_stages(len(STAGES))
        self.prepare_stages()
        for rule, (lo, hi) in tables.spans.items():
            self.launch(rule, f"{rule}_step", hi - lo, lo, hi)
        buffers = tables.buffers
        exchanged = {"carry": buffers["carry_after"], "carry_after": buffers["carry"]}
        return [*self.launches, partial(buffers.update, exchanged)]

    def run_stages(self, end: int) -> None:
        """Launch the sums of the stages before `end`, and note which scalars they need."""
        for stage in list(STAGES.values())[self.next_stage : end]:
            bit = 1 << PLACES[stage.name]
            if self.sums & bit:
                self.sum_stage(stage)
            self.pending |= self.on & bit
        self.next_stage = end

    def threads(self) -> int:
        """Return the number of thread blocks with one thread for each parameter."""
        return -(-len(self.tables.parameters) // BLOCK)

    def prepare_stages(self) -> None:
        if self.pending:
            self.launch(self.tables.rules[0], "prepare_stages", self.threads(), self.pending)
        self.pending = 0

    def sum_stage(self, stage: Spec) -> None:
        self.prepare_stages()
        tables, scope, id_ = self.tables, SCOPES[stage.scope], PLACES[stage.name]
        assert set(stage.sums_arrays) <= {"g"} or scope == 0, "each rule writes the sums of whole blocks"
        if set(stage.sums_arrays) <= {"g"}:
            self.launch(tables.rules[0], "sum_gradients", tables.spaces[scope], id_, scope)
        else:
            for k, rule in enumerate(tables.rules):
                self.launch(rule, f"{rule}_sum", tables.spaces[scope], id_, scope, k)
        self.add_blocks(id_, stage)

    def add_blocks(self, id_: int, formula: Spec) -> None:
        tables, scope = self.tables, SCOPES[formula.scope]
        targets = (len(tables.parameters), len(tables.groups), 1)[scope]
        squares = sum(1 << k for k, name in enumerate(formula.sums) if name in formula.squares)
        self.launch(
            tables.rules[0], "add_blocks", targets, id_, scope + 4 * formula.scope.startswith("mean") + 8 * squares, targets
        )

    def prepare_rules(self) -> None:
        """Launch the scalars of the rules, after matrix terms and sums."""
        tables = self.tables
        rules: dict[str, Spec] = {s.rule.name: s.rule for s in tables.parameters}
        if any(rule.terms_scope or rule.sums for rule in rules.values()):
            self.prepare_stages()
        for k, (name, rule) in enumerate(rules.items()):
            if rule.terms_scope:
                self.launch(name, f"{name}_prepare", self.threads(), TERMS, 0, k)
                self.matrices(name, rule)
        scope = 0
        for k, (name, rule) in enumerate(rules.items()):
            if rule.sums:
                scope = SCOPES[rule.scope]
                self.launch(name, f"{name}_prepare", self.threads(), N_STAGES, scope, k)
                self.launch(name, f"{name}_sum", tables.spaces[scope], N_STAGES, scope, k)
        for rule in [rule for rule in rules.values() if rule.sums][:1]:
            self.add_blocks(N_STAGES, rule)
        for k, name in enumerate(rules):
            self.launch(name, f"{name}_prepare", self.threads(), 0, scope, k)

    def matrices(self, name: str, rule: Spec) -> None:
        """Launch the factors, or change the matrices, of a rule's terms."""
        tables = self.tables
        if rule.terms_scope == "matrix_terms":
            lo, hi = tables.spans[name]
            self.launch(name, f"{name}_write_terms", hi - lo, lo, hi)
        for i, parameter in enumerate(tables.parameters):
            if parameter.rule is not rule or not tables.args[i]["active"] or not parameter.array.size:
                continue
            if rule.terms_scope == "matrix_terms":
                self.launches += [parameter.change_matrix]
                continue
            row = tables.table[i]
            rows, columns, lines = (int(row[x]) for x in ("rows", "columns", "n"))
            matrices, lines = lines // (rows * columns), lines // columns
            chunks = -(-rows // int(row["chunk"]))
            self.launch(name, f"{name}_rows", lines, i)
            self.launch(name, f"{name}_columns", -(-matrices * chunks * columns // BLOCK), i)
            self.launch(name, "average_lines", -(-(lines + matrices * columns) // BLOCK), i)
            self.launch(name, "divide_rows", matrices, i)
