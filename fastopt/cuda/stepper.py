"""The step on a CUDA device: tables of arrays that are there, and one launch for all arrays of a rule."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from .._arrays import dtypes, layout, overlap
from .._arrays.row_gradient import is_rows
from .._arrays.tree import Structure
from .._codegen.capacity import BLOCK, FLOAT8, FLOAT64, INPUTS, KEPT, OWNS, SCALARS, STATES, SUMS, TERMS, TOTALS, UFLOAT8
from .._codegen.capacity import STAGES as N_STAGES
from .._engine import interpreted
from ..spec import OWN_ARRAYS, RULE_AT, STAGES, Formula, place_of
from .compiler import kernels, source
from .memory import DeviceMemory, first_of, is_cupy

OF_GROUP = 2 * SCALARS + N_STAGES * INPUTS
GRID = 1 << 16  # blocks of threads that a launch has at most
UPLOAD = 1 << 16  # bytes that go to the device without waiting for it
SCOPES = {"over_array": 0, "mean_over_array": 0, "over_group": 1, "over_all": 2}
PLACE = {name: k for k, name in enumerate(STAGES)}
CHECK_AT, HOLD_AT = place_of("checks"), place_of("accumulates")


def struct(**fields: Any) -> np.dtype:
    """A C struct."""
    return np.dtype([(name, *x) if isinstance(x, tuple) else (name, x) for name, x in fields.items()], align=True)


ARRAY = struct(
    p="u8", master="u8", state=("u8", STATES), exponents=("u8", STATES), own=("u8", OWNS), shape="u8", n="i8", position="i8",
    first="i8", starts=("i8", 3), rows="i8", columns="i8", chunk="i8", of_rows="u8", format="i4", formats=("i4", STATES),
    ndim="i4", wide="i4", split="i4", constant="i4", group="i4", rule="i4", beside="i4",
)  # fmt: skip
TURN = struct(
    g="u8", t="i8", on="u8", summed="u8", format="i4", active="i4", known="i4", clear="i4", rows="u8", n_rows="i8", row="i8",
    every="i8",
)  # fmt: skip
PLAN = struct(
    arrays="u8", turns="u8", order="u8", ranges="u8", h="u8", kept="u8", kept_after="u8", c64="u8", sums_c="u8", stage_c64="u8",
    c="u8", stage_c="u8", partials="u8", totals="u8", n="i8", groups="i8", room="i8", spaces=("i8", 3), key="u4", nearest="i4",
)  # fmt: skip


class Tables:
    """Parameters, state and what a step computes, as kernels find them; made once for each plan."""

    spaces: tuple[int, int, int]  # blocks of the index spaces of sums, by their scope

    def __init__(self, memory: DeviceMemory, slots: list[Any], groups: list[Any], flush: bool) -> None:
        self.memory, self.slots, self.groups, self.flush = memory, slots, groups, flush
        self.rules = list(dict.fromkeys(s.rule.name for s in slots))
        self.texts = {s.rule.name: source(s.rule if s.rule.text else s.rule.name) for s in slots}
        self.spans = dict.fromkeys(self.rules, (0, 0))  # of each rule's blocks in the index space of steps
        self.keeps = any(s.rule.kept for s in slots)
        self.together = [s.rule.scope in ("over_group", "over_all") for s in slots]  # know what their group knows
        self.indices = [self.places(group) for group in groups]
        n = len(slots)
        self.buffers: dict[str, Any] = {}
        sizes = {"c64": n * SCALARS, "sums_c": n * SCALARS, "stage_c64": n * N_STAGES * INPUTS}
        self.room = max(n, len(groups))
        sizes |= {"totals": (N_STAGES + 1) * self.room * TOTALS, "kept": n * KEPT, "kept_after": n * KEPT}
        sizes |= {"c": n * SCALARS, "stage_c": n * N_STAGES * INPUTS}
        self.lay(n)
        sizes["partials"] = 2 * SUMS * max((1, self.spaces[0], self.spaces[1], self.spaces[2]))
        for name, size in sizes.items():
            self.buffers[name] = memory.zeros(size, np.dtype(np.float32 if name in ("c", "stage_c") else np.float64))
        h = len(groups) * OF_GROUP * 8
        turns = n * TURN.itemsize
        self.told = np.zeros(PLAN.itemsize + turns + h, np.uint8)  # what is uploaded in every step
        self.plan = self.told[: PLAN.itemsize].view(PLAN)
        self.turns = self.told[PLAN.itemsize : PLAN.itemsize + turns].view(TURN)
        self.h = self.told[PLAN.itemsize + turns :].view(np.float64).reshape(len(groups), OF_GROUP)
        self.there = memory.zeros(self.told.size, np.dtype(np.uint8))
        self.left: tuple[int, int, Any] | None = None  # stream and thread of the last work on these, and the event after it
        for name in self.buffers.keys() & set(PLAN.names or ()):
            self.plan[name] = self.buffers[name].data.ptr
        self.plan["n"], self.plan["groups"], self.plan["room"], self.plan["spaces"] = n, len(groups), self.room, self.spaces
        self.plan["turns"] = self.there.data.ptr + PLAN.itemsize
        self.plan["h"] = self.there.data.ptr + PLAN.itemsize + turns

    @staticmethod
    def places(group: Any) -> np.ndarray:
        """Where in a group's numbers lies what kernels want: of its rule, of the rule beside it, of each stage; -1: nowhere."""
        found = np.full(OF_GROUP, -1)
        found[: len(group.rule.hyperparameters)] = range(len(group.rule.hyperparameters))
        found[SCALARS : SCALARS + len(group.of_beside)] = group.of_beside
        for name, inputs in group.inputs.items():
            at = 2 * SCALARS + PLACE[name] * INPUTS
            found[at : at + len(inputs)] = inputs
        return found

    def lay(self, n: int) -> None:
        """The table of arrays, their places in the index spaces of steps and of sums, and the blocks of each one's sums."""
        table = np.zeros(n, ARRAY)
        number = {id(group): k for k, group in enumerate(self.groups)}
        numbers: list[int] = []  # shapes and strides
        at: list[int] = []
        block, place, position, lines = 0, 0, 0, 0
        for i, (slot, row) in enumerate(zip(self.slots, table, strict=True)):
            self.describe(slot, row)
            row["group"], row["rule"] = number[id(slot.group)], self.rules.index(slot.rule.name)
            row["beside"] = slot.rule is not slot.group.rule
            if i == 0 or row["group"] != table[i - 1]["group"]:
                place = -(-place // BLOCK) * BLOCK
            row["position"], row["starts"] = position, (block * BLOCK, place, position)
            block, place, position = block - (-row["n"] // BLOCK), place + row["n"], position + row["n"]
            at.append(len(numbers))
            shape, strides, item = layout.reals(slot.array)
            walked = [(shape[k], strides[k]) for k in slot.order]
            expected = item
            for length, stride in reversed(walked):
                if length != 1 and stride != expected:
                    row["ndim"] = len(walked)
                    numbers += [x for x, _ in walked] + [x for _, x in walked]
                    break
                expected *= length
            if slot.rule.terms_scope == "over_lines":
                lines = max(lines, self.lay_lines(slot, row))
        self.spaces = block, -(-place // BLOCK), -(-position // BLOCK)
        ranges = [self.blocks_of(table, i, i, 0) for i in range(n)]
        for k in range(len(self.groups)):
            members = [i for i in range(n) if table[i]["group"] == k]
            ranges.append(self.blocks_of(table, members[0], members[-1], 1) if members else (0, 0))
        ranges.append((0, self.spaces[2]))
        self.upload("numbers", np.array([*numbers, 0]))
        self.buffers["lines"] = self.memory.zeros(max(1, lines), np.dtype(np.float64))
        for i in range(n):
            table[i]["shape"] = self.buffers["numbers"].data.ptr + 8 * at[i] if table[i]["ndim"] else 0
            table[i]["of_rows"] = self.buffers["lines"].data.ptr
        self.table = table
        self.order([int(x) for x in table["n"]])
        table["first"] = self.firsts
        self.upload("arrays", table.view(np.uint8))
        self.upload("ranges", np.array(ranges))

    def order(self, work: list[int]) -> None:
        """Where each array is in the index space of steps, if so many of its elements are updated: those of a rule together."""
        first, order, self.work = 0, [], work
        self.firsts = [0] * len(work)
        for name in self.rules:
            begin = first
            for i, slot in enumerate(self.slots):
                if slot.rule.name == name:
                    self.firsts[i] = first
                    order.append((first, i))
                    first -= -work[i] // BLOCK
            self.spans[name] = begin, first
        if "order" in self.buffers:
            self.memory.put(self.buffers["order"], np.array(order))
        else:
            self.upload("order", np.array(order))

    def upload(self, name: str, values: np.ndarray) -> None:
        self.buffers[name] = self.memory.zeros(values.shape, values.dtype)
        self.memory.put(self.buffers[name], values)

    @staticmethod
    def blocks_of(table: np.ndarray, first: int, last: int, scope: int) -> tuple[int, int]:
        """The blocks of the sums of arrays `first` to `last`, which are one after another in an index space."""
        return table[first]["starts"][scope] // BLOCK, -(-(table[last]["starts"][scope] + table[last]["n"]) // BLOCK)

    @staticmethod
    def describe(slot: Any, row: Any) -> None:
        """One parameter's arrays."""
        row["n"] = np.prod(layout.reals(slot.array)[0], dtype=np.int64)
        row["p"], row["format"] = slot.array.data.ptr, dtypes.format_of(slot.array.dtype)
        row["wide"] = row["format"] == FLOAT64
        if slot.master is not None:
            row["master"], row["split"] = slot.master.data.ptr, slot.master.dtype.kind == "i"
        for k, (name, a) in enumerate(slot.rule_state.items()):
            row["state"][k] = a.data.ptr
            tag = slot.rule.tags.get(name)
            if tag in layout.LINES:
                row["formats"][k] = dtypes.LINE_FORMATS[tag]
            elif name in slot.exponents:
                row["formats"][k] = UFLOAT8 if tag == "nonnegative" else FLOAT8
                row["exponents"][k] = slot.exponents[name].data.ptr
            else:
                row["formats"][k] = dtypes.format_of(a.dtype)
        for k, name in enumerate(OWN_ARRAYS):
            if name in slot.own:
                row["own"][k] = slot.own[name].data.ptr
                row["constant"] |= (name in slot.constant) << k

    @staticmethod
    def lay_lines(slot: Any, row: Any) -> int:
        """How the lines of an array's matrices are summed, and how many sums that are."""
        rows, columns = slot.array.shape[-2:]
        row["rows"], row["columns"] = rows, columns
        row["chunk"] = layout.rows_per_chunk(int(rows), int(columns))
        matrices: int = int(row["n"]) // max(1, rows * columns)
        return matrices * (int(rows) + -(-int(rows) // int(row["chunk"])) * int(columns))

    def follow(self) -> None:
        """What comes on the current stream comes after all that was done with these before, on whatever stream that was."""
        stream = self.memory.cupy.cuda.get_current_stream()
        if self.left is not None and self.left[:2] != (stream.ptr, threading.get_ident()):  # a thread may have its own of a number
            stream.wait_event(self.left[2])

    def leave(self) -> None:
        """Remember where on the current stream all is done."""
        stream = self.memory.cupy.cuda.get_current_stream()
        self.left = (stream.ptr, threading.get_ident(), stream.record())

    def tell(self) -> None:
        """Bring what this step is told to the device."""
        stream = self.memory.cupy.cuda.get_current_stream()
        for lo in range(0, self.told.size, UPLOAD):
            self.there[lo : lo + UPLOAD].set(self.told[lo : lo + UPLOAD], stream=stream)

    def load(self) -> None:
        """Whatever can fail to compile, before anything is written."""
        for text in self.texts.values():
            for flush in {False, self.flush}:
                kernels(text, self.memory.device, flush)

    def launch(self, rule: str, kernel: str, blocks: int, x: int = 0, y: int = 0, z: int = 0) -> None:
        """Run a kernel on the current stream."""
        if blocks > 0:
            flush = self.flush and kernel in (f"{rule}_step", "gather_gradients")  # no sums, as on the CPU
            function = kernels(self.texts[rule], self.memory.device, flush).get_function(kernel)
            numbers = [np.int64(x), np.int64(y), np.int64(z)]
            function((min(int(blocks), GRID),), (BLOCK,), (np.intp(self.there.data.ptr), *numbers))


class Stepper(interpreted.Stepper):
    """As the compiled one, for parameters that are CuPy arrays of one device.

    Steps are launched on the current stream, and the host does not wait for them, but for what it has to know: whether a gradient
    is not finite, for ``nonfinite="skip"`` and ``"raise"``.
    """

    _memory: DeviceMemory
    _tables: Tables | None = None
    _here: Any = None  # the device as the current one, while this is at work
    _done: frozenset[str] = frozenset()

    def __init__(self, params: Any, *positional: Any, **options: Any) -> None:
        self._memory = DeviceMemory(first_of(params).device.id)
        with self._memory.here():
            super().__init__(params, *positional, **options)  # type: ignore[call-arg]

    def __reduce__(self) -> tuple[Any, ...]:
        state: dict[str, Any] = super().__reduce__()[2]  # type: ignore[assignment]
        attributes = {k: x for k, x in state["attributes"].items() if not hasattr(Stepper, k) and k != "_memory"}
        return blank, (type(self).__bases__[1],), {**state, "attributes": attributes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._memory = DeviceMemory(first_of(state["params"]).device.id)
        with self._memory.here():
            super().__setstate__(state)  # type: ignore[misc]

    def _hold(self) -> None:
        super()._hold()
        self._here = self._memory.here()
        self._here.__enter__()
        if self._tables:
            self._tables.follow()

    def _let_go(self) -> None:
        try:
            if self._tables:
                self._tables.leave()
        finally:
            self._here.__exit__(None, None, None)
            super()._let_go()

    def _plan(self, capsule: Any, structure: Structure | None, slots: list[Any], groups: list[Any], settings: Any) -> None:
        wide = [s.name for s in slots if s.real.itemsize == 8] if settings.flush_subnormals else []
        if wide:
            raise ValueError(f"flush_subnormals: {wide[0]!r} is of 64 bits, where CUDA never flushes; expected narrower parameters")
        kept = self._counters()[0] if self._tables else []
        if self._tables:  # whose memory another stream may be given next
            self._memory.cupy.cuda.get_current_stream().synchronize()
        super()._plan(capsule, structure, slots, groups, settings)
        self._each = [*kept, *self._each[len(kept) :]]
        self._tables = Tables(self._memory, slots, groups, settings.flush_subnormals)
        self._put_kept()
        self._tables.leave()

    def _ranges(self, slots: list[Any]) -> list[tuple[int, int]]:
        return overlap.ranges(self._memory.located(a) for s in slots for _, a in s.written())

    def _put_kept(self) -> None:
        """Numbers that live from step to step, to the device."""
        assert self._tables
        kept = np.zeros((len(self._each), KEPT))
        for row, (_, numbers, _) in zip(kept, self._each, strict=True):
            row[: len(numbers)] = numbers
        self._memory.put(self._tables.buffers["kept"], kept.reshape(-1))

    def _counters(self) -> tuple[list[tuple[int, list[float], bool]], tuple[int, int, int]]:
        each, whole = super()._counters()
        if self._tables and self._tables.keeps:
            kept = self._memory.host(self._tables.buffers["kept"]).reshape(-1, KEPT)
            each = [(t, [float(x) for x in row[: len(old)]], p) for (t, old, p), row in zip(each, kept, strict=False)]
        return each, whole

    def _set_counters(self, each: Any, whole: tuple[int, int, int]) -> None:
        super()._set_counters(each, whole)
        self._done = frozenset()
        self._put_kept()

    def _totals(self, name: str) -> list[list[float]] | None:
        if name not in self._done or self._tables is None:
            return None
        stage = STAGES[name]
        totals = self._memory.host(self._tables.buffers["totals"]).reshape(-1, self._tables.room, TOTALS)[PLACE[name]]
        rows = len(self._slots) if SCOPES[stage.scope] == 0 else 1
        return [[float(x) for x in row[: len(stage.given)]] for row in totals[:rows]]

    def _fix(self, grads: list[Any]) -> None:
        for slot, g in zip(self._slots, grads, strict=True):
            if not is_cupy(g) and g is not None:
                raise TypeError(f"gradient of {slot.name!r}: {type(g).__name__}, expected a CuPy array to bind")
        if self._shared.zero_grads:
            given = [
                (f"gradient of {s.name!r}", self._memory.located(g))
                for s, g in zip(self._slots, grads, strict=True)
                if g is not None
            ]
            overlap.check_disjoint(given)
        self._checked(grads)
        self._fixed = list(grads)

    def _checked(self, grads: list[Any]) -> list[Any]:
        _, slots, _, ranges = self._parts()
        exact = self._shared.mode == "exact"
        checked: list[tuple[Any, Any, Any] | None] = []
        for slot, g in zip(slots, grads, strict=True):
            if g is None:
                checked.append(None)
                continue
            indices = None
            if is_rows(g):
                indices, flat, there = self._memory.rows(slot, g, self._shared.accumulate, exact)
            else:
                flat, there = self._memory.gradient(slot.name, slot.array, slot.order, g)
            self._check_apart(slot, there, ranges)
            checked.append((flat, g, indices))
        return checked

    def _check_apart(self, slot: Any, there: np.ndarray, ranges: list[tuple[int, int]]) -> None:
        if self._meets(there, ranges):
            self._written().check_apart(slot.name, there)

    def _located(self, a: Any) -> np.ndarray:  # type: ignore[override]
        return self._memory.located(a)

    @staticmethod
    def _check_clearable(slot: Any, g: Any) -> None:
        """Whatever CuPy has can be written."""

    def _advance(self, grads: list[Any], scale: float, bound: bool) -> bool:
        if not -1e300 < scale < 1e300:
            raise ValueError(f"scale: {scale}, expected a number between -1e300 and 1e300")
        _, slots, groups, _ = self._parts()
        settings, hold, tables = self._shared, self._gathered + 1 < self._shared.accumulate, self._tables
        assert tables
        if not hold:
            for group in groups:
                group.evaluate(self._count)
        given = [None if x is None else x[0] for x in grads]
        if not hold:  # gradients of zeros for parameters that gathered some and have none now
            given = [
                self._memory.zeros(slot.array.shape, slot.real) if g is None and pending else g
                for slot, g, (_, _, pending) in zip(slots, given, self._each, strict=True)
            ]
        active = [g is not None for g in given]
        if not any(active):
            return False
        turns, sizes = tables.turns, [int(n) for n in tables.table["n"]]
        turns["active"] = active
        turns["t"] = [t for t, _, _ in self._each]
        turns["g"] = [0 if g is None else g.data.ptr for g in given]
        turns["format"] = [0 if g is None else dtypes.format_of(g.dtype) for g in given]
        clear = settings.zero_grads and bound
        rows = [None if x is None else x[2] for x in grads]
        every = settings.mode == "exact"  # a gradient of rows updates the others too, at once: here that takes but their reading
        work = [
            slot_n if x is None or every else x.size * (slot_n // max(1, s.array.shape[0]))
            for slot_n, x, s in zip(sizes, rows, slots, strict=True)
        ]
        if work != tables.work:
            tables.order(work)
        turns["every"] = every
        turns["rows"] = [0 if x is None else x.data.ptr for x in rows]
        turns["n_rows"] = [-1 if x is None else x.size for x in rows]
        turns["row"] = [0 if x is None else n // max(1, s.array.shape[0]) for n, x, s in zip(sizes, rows, slots, strict=True)]
        turns["clear"] = [clear and x is not None and x[0].data.ptr == x[1].data.ptr for x in grads]
        tables.load()
        run = Run(tables, settings, hold, scale, dtypes.key_of_step(settings.seed, self._count))
        fine = run.sums_are_fine()
        if not fine and settings.nonfinite == "raise":
            bad = {s.name: int(row[0]) for s, row in zip(slots, run.counted, strict=True) if row[0] > 0}
            first, more = next(iter(bad)), f", and of {len(bad) - 1} more" if len(bad) > 1 else ""
            raise FloatingPointError(f"gradient of {first!r}: {bad[first]} elements are infinite or NaN{more}")
        if fine:
            run.finish()
        for x, done in zip(grads, turns["clear"] if fine else [False] * len(grads), strict=True):
            if clear and x is not None and not done:
                x[1][...] = 0
        if not fine:
            self._skipped += 1
            return False
        if not hold:
            self._done, self._last = run.summed, [[float(x) for x in group.numbers] for group in groups]
        self._each = [(t + (a and not hold), kept, hold and (p or a)) for a, (t, kept, p) in zip(active, self._each, strict=True)]
        self._count += not hold
        self._gathered = self._gathered + 1 if hold else 0
        return not hold


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
        """Which stages are on in each group, which are summed, and all their hyperparameters."""
        tables = self.tables
        on, summed = np.zeros(len(tables.groups), np.uint64), np.zeros(len(tables.groups), np.uint64)
        for k, group in enumerate(tables.groups):
            values = group.values_now(scale)
            numbers = np.array([*values.values(), 0.0])
            tables.h[k] = numbers[tables.indices[k]]
            for stage in group.stages:
                if stage.neutral(values) or (self.hold and PLACE[stage.name] > HOLD_AT):
                    continue
                if not stage.runs(self.hold):
                    continue
                checks = stage.kind == "measures" or (stage.kind == "checks" and self.settings.nonfinite != "zero")
                bit = np.uint64(1 << PLACE[stage.name])
                if not checks:
                    on[k] |= bit | bit << np.uint64(32 if stage.is_loose(values) else 0)
                if checks or (stage.sums and stage.kind != "checks"):
                    summed[k] |= bit
        tables.turns["on"], tables.turns["summed"] = (x[tables.table["group"]] for x in (on, summed))
        self.on, self.sums = (int(np.bitwise_or.reduce(x)) for x in (on, summed))
        self.summed = frozenset(name for name, k in PLACE.items() if self.sums >> k & 1)
        tables.turns["known"] = -1
        if any(tables.together):
            active, group = tables.turns["active"], tables.table["group"]
            first = {int(k): i for i, k in reversed(list(enumerate(group))) if active[i]}
            tables.turns["known"] = [first.get(int(k), -1) if x else -1 for k, x in zip(group, tables.together, strict=True)]

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
        """The rest of the step."""
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
            bit = 1 << PLACE[stage.name]
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
        tables, scope, id_ = self.tables, SCOPES[stage.scope], PLACE[stage.name]
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
        """The scalars of the rules, after terms of matrices and sums."""
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
        """Averages of lines, or what a function of matrices makes of a rule's terms."""
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


def on_device(params: Any) -> bool:
    """Whether among parameters is an array of CuPy's."""
    return first_of(params) is not None


@functools.cache
def class_of(cls: Any) -> Any:
    """A class of optimizers, for parameters on a device."""
    return type(
        cls.__name__, (Stepper, cls), {"__doc__": cls.__doc__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    )


def blank(cls: Any) -> Any:
    """An optimizer of a class on a device, which is still to be given its parameters."""
    made = class_of(cls)
    return made.__new__(made)
