"""Tables of an optimizer's arrays on a CUDA device, as kernels find them, and their launches."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .._arrays import dtypes, layout
from .._codegen.capacity import BLOCK, FLOAT8, FLOAT64, INPUTS, KEPT, OWNS, SCALARS, STATES, SUMS, TOTALS, UFLOAT8
from .._codegen.capacity import STAGES as N_STAGES
from .._engine.program import PLACES
from ..spec import OWN_ARRAYS
from .compiler import kernels, source
from .memory import DeviceMemory

OF_GROUP = 2 * SCALARS + N_STAGES * INPUTS
GRID = 1 << 16  # blocks of threads that a launch has at most
UPLOAD = 1 << 16  # bytes that go to the device without waiting for it
SCOPES = {"over_array": 0, "mean_over_array": 0, "over_group": 1, "over_all": 2}


def struct(**fields: Any) -> np.dtype:
    """Return a C struct."""
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
        """Return where in a group's numbers lies what kernels want: of its rule, of the fallback, of each stage; -1: nowhere."""
        found = np.full(OF_GROUP, -1)
        found[: len(group.rule.hyperparameters)] = range(len(group.rule.hyperparameters))
        found[SCALARS : SCALARS + len(group.fallback_places)] = group.fallback_places
        for name, inputs in group.inputs.items():
            at = 2 * SCALARS + PLACES[name] * INPUTS
            found[at : at + len(inputs)] = inputs
        return found

    def lay(self, n: int) -> None:
        """Write the table of arrays, their places in the index spaces of steps and of sums, and the blocks of each one's sums."""
        table = np.zeros(n, ARRAY)
        number = {id(group): k for k, group in enumerate(self.groups)}
        strided: list[int] = []  # shapes and strides
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
            at.append(len(strided))
            found = self.strides(slot)
            row["ndim"] = len(found) // 2
            strided += found
            if slot.rule.terms_scope == "over_lines":
                lines = max(lines, self.lay_lines(slot, row))
        self.spaces = block, -(-place // BLOCK), -(-position // BLOCK)
        self.upload("ranges", np.array(self.ranges(table)))
        self.upload("numbers", np.array([*strided, 0]))
        self.buffers["lines"] = self.memory.zeros(max(1, lines), np.dtype(np.float64))
        for i in range(n):
            table[i]["shape"] = self.buffers["numbers"].data.ptr + 8 * at[i] if table[i]["ndim"] else 0
            table[i]["of_rows"] = self.buffers["lines"].data.ptr
        self.table = table
        self.order([int(x) for x in table["n"]])
        table["first"] = self.firsts
        self.upload("arrays", table.view(np.uint8))

    @staticmethod
    def strides(slot: Any) -> list[int]:
        """Return a parameter's shape and strides in the order walked; nothing where its elements follow one another."""
        shape, strides, expected = layout.reals(slot.array)
        walked = [(shape[k], strides[k]) for k in slot.order]
        for length, stride in reversed(walked):
            if length != 1 and stride != expected:
                return [x for x, _ in walked] + [x for _, x in walked]
            expected *= length
        return []

    def ranges(self, table: np.ndarray) -> list[tuple[int, int]]:
        """Return the blocks of sums of each array, of each group, and of all."""
        found = [self.blocks_of(table, i, i, 0) for i in range(len(table))]
        for k in range(len(self.groups)):
            members = [i for i in range(len(table)) if table[i]["group"] == k]
            found.append(self.blocks_of(table, members[0], members[-1], 1) if members else (0, 0))
        return [*found, (0, self.spaces[2])]

    def order(self, work: list[int]) -> None:
        """Place each array in the index space of steps, if so many of its elements are updated: those of a rule together."""
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
        """Return the blocks of the sums of arrays `first` to `last`, which are one after another in an index space."""
        return table[first]["starts"][scope] // BLOCK, -(-(table[last]["starts"][scope] + table[last]["n"]) // BLOCK)

    @staticmethod
    def describe(slot: Any, row: Any) -> None:
        """Write one parameter's arrays into its row."""
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
        """Return how the lines of an array's matrices are summed, and how many sums that are."""
        rows, columns = slot.array.shape[-2:]
        row["rows"], row["columns"] = rows, columns
        row["chunk"] = layout.rows_per_chunk(int(rows), int(columns))
        matrices: int = int(row["n"]) // max(1, rows * columns)
        return matrices * (int(rows) + -(-int(rows) // int(row["chunk"])) * int(columns))

    def follow(self) -> None:
        """Make the current stream wait for the last work on these arrays, on whatever stream that was."""
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
