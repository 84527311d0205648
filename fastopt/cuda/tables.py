"""Tables that describe an optimizer's arrays to CUDA kernels, and launches of those."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._arrays import dtypes, layout
from .._codegen.capacity import BLOCK, CARRY, FLOAT8, FLOAT64, INPUTS, SCALARS, STAGE_ARRAYS, STATES, SUMS, TOTALS, UFLOAT8
from .._codegen.capacity import STAGES as N_STAGES
from .._engine.program import PLACES
from ..spec import STAGE_ARRAY_NAMES
from .compiler import kernels, source
from .memory import DeviceMemory

GROUP_ARGS = 2 * SCALARS + N_STAGES * INPUTS
GRID = 1 << 16  # Thread blocks of a launch, at most.
UPLOAD = 1 << 16  # Bytes that are copied to the device without waiting.
SCOPES = {"over_array": 0, "mean_over_array": 0, "over_group": 1, "over_all": 2}


def struct(**fields: Any) -> np.dtype:
    """Return a C struct."""
    return np.dtype([(name, *x) if isinstance(x, tuple) else (name, x) for name, x in fields.items()], align=True)


ARRAY = struct(
    p="u8", master="u8", state=("u8", STATES), exponents=("u8", STATES), stage_arrays=("u8", STAGE_ARRAYS), shape="u8", n="i8",
    position="i8", first="i8", starts=("i8", 3), rows="i8", columns="i8", chunk="i8", row_sums="u8", format="i4",
    formats=("i4", STATES), ndim="i4", wide="i4", split="i4", scalar_arrays="i4", group="i4", origin="i4", rule="i4", fallback="i4",
)  # fmt: skip
STEP_ARGS = struct(
    g="u8", t="i8", on="u8", summed="u8", format="i4", active="i4", known="i4", clear="i4", rows="u8", n_rows="i8", row="i8",
    every="i8",
)  # fmt: skip
PLAN = struct(
    arrays="u8", args="u8", order="u8", ranges="u8", h="u8", carry="u8", carry_after="u8", c64="u8", sums_c="u8", stage_c64="u8",
    c="u8", stage_c="u8", partials="u8", totals="u8", n="i8", groups="i8", room="i8", spaces=("i8", 3), key="u4", nearest="i4",
)  # fmt: skip


class Tables:
    """Arrays of an optimizer and arguments of its steps, as kernels read them; made once for each layout."""

    spaces: tuple[int, int, int]  # Blocks of the index spaces of sums, by scope.

    def __init__(self, memory: DeviceMemory, parameters: list[Any], groups: list[Any], flush: bool) -> None:
        self.memory, self.parameters, self.groups, self.flush = memory, parameters, groups, flush
        self.rules = list(dict.fromkeys(s.rule.name for s in parameters))
        self.texts = {s.rule.name: source(s.rule if s.rule.text else s.rule.name) for s in parameters}
        self.spans = dict.fromkeys(self.rules, (0, 0))  # Blocks of each rule in the index space of steps.
        self.keeps = any(s.rule.carry for s in parameters)
        self.together = [
            s.rule.scope in ("over_group", "over_all") for s in parameters
        ]  # Parameters whose group carries numbers together.
        self.indices = [self.places(group) for group in groups]
        n = len(parameters)
        self.buffers: dict[str, Any] = {}
        sizes = {"c64": n * SCALARS, "sums_c": n * SCALARS, "stage_c64": n * N_STAGES * INPUTS}
        self.room = max(n, len(groups))
        sizes |= {"totals": (N_STAGES + 1) * self.room * TOTALS, "carry": n * CARRY, "carry_after": n * CARRY}
        sizes |= {"c": n * SCALARS, "stage_c": n * N_STAGES * INPUTS}
        self.lay_out(n)
        sizes["partials"] = 2 * SUMS * max((1, self.spaces[0], self.spaces[1], self.spaces[2]))
        for name, size in sizes.items():
            self.buffers[name] = memory.zeros(size, np.dtype(np.float32 if name in ("c", "stage_c") else np.float64))
        h = len(groups) * GROUP_ARGS * 8
        args = n * STEP_ARGS.itemsize
        self.host_args = np.zeros(PLAN.itemsize + args + h, np.uint8)  # Uploaded in every step.
        self.plan = self.host_args[: PLAN.itemsize].view(PLAN)
        self.args = self.host_args[PLAN.itemsize : PLAN.itemsize + args].view(STEP_ARGS)
        self.h = self.host_args[PLAN.itemsize + args :].view(np.float64).reshape(len(groups), GROUP_ARGS)
        self.device_args = memory.zeros(self.host_args.size, np.dtype(np.uint8))
        # Stream and thread of the last work on these arrays, and the event that follows it.
        self.last_event: tuple[int, int, Any] | None = None
        for name in self.buffers.keys() & set(PLAN.names or ()):
            self.plan[name] = self.buffers[name].data.ptr
        self.plan["n"], self.plan["groups"], self.plan["room"], self.plan["spaces"] = n, len(groups), self.room, self.spaces
        self.plan["args"] = self.device_args.data.ptr + PLAN.itemsize
        self.plan["h"] = self.device_args.data.ptr + PLAN.itemsize + args

    @staticmethod
    def places(group: Any) -> np.ndarray:
        """Return the places of a group's hyperparameters in kernel order: rule, fallback, each stage; -1: none."""
        found = np.full(GROUP_ARGS, -1)
        found[: len(group.rule.hyperparameters)] = range(len(group.rule.hyperparameters))
        found[SCALARS : SCALARS + len(group.fallback_places)] = group.fallback_places
        for name, inputs in group.inputs.items():
            first = 2 * SCALARS + PLACES[name] * INPUTS
            found[first : first + len(inputs)] = inputs
        return found

    def lay_out(self, n: int) -> None:
        """Write the table of arrays, their places in the index spaces, and the blocks of their sums."""
        table = np.zeros(n, ARRAY)
        number = {id(group): k for k, group in enumerate(self.groups)}
        layouts: list[int] = []  # Shapes and strides.
        offsets: list[int] = []
        block, place, position, lines = 0, 0, 0, 0
        for i, (parameter, row) in enumerate(zip(self.parameters, table, strict=True)):
            self.describe(parameter, row)
            row["group"], row["rule"] = number[id(parameter.group)], self.rules.index(parameter.rule.name)
            row["origin"], row["fallback"] = parameter.group.origin, parameter.rule is not parameter.group.rule
            if i == 0 or row["origin"] != table[i - 1]["origin"]:
                place = -(-place // BLOCK) * BLOCK
            row["position"], row["starts"] = position, (block * BLOCK, place, position)
            block, place, position = block - (-row["n"] // BLOCK), place + row["n"], position + row["n"]
            offsets.append(len(layouts))
            found = self.strides(parameter)
            row["ndim"] = len(found) // 2
            layouts += found
            if parameter.rule.terms_scope == "factored_terms":
                lines = max(lines, self.describe_factors(parameter, row))
        self.spaces = block, -(-place // BLOCK), -(-position // BLOCK)
        self.upload("ranges", np.array(self.ranges(table)))
        self.upload("numbers", np.array([*layouts, 0]))
        self.buffers["lines"] = self.memory.zeros(max(1, lines), np.dtype(np.float64))
        for i in range(n):
            table[i]["shape"] = self.buffers["numbers"].data.ptr + 8 * offsets[i] if table[i]["ndim"] else 0
            table[i]["row_sums"] = self.buffers["lines"].data.ptr
        self.table = table
        self.order([int(x) for x in table["n"]])
        table["first"] = self.firsts
        self.upload("arrays", table.view(np.uint8))

    @staticmethod
    def strides(parameter: Any) -> list[int]:
        """Return a parameter's shape and strides in its order of axes; nothing if it is contiguous in that order."""
        shape, strides, expected = layout.reals(parameter.array)
        walked = [(shape[k], strides[k]) for k in parameter.order]
        for length, stride in reversed(walked):
            if length != 1 and stride != expected:
                return [x for x, _ in walked] + [x for _, x in walked]
            expected *= length
        return []

    def ranges(self, table: np.ndarray) -> list[tuple[int, int]]:
        """Return the blocks of the sums of each array, of each group that was given, and of all arrays."""
        found = [self.blocks_of(table, i, i, 0) for i in range(len(table))]
        for k in range(len(self.groups)):
            members = [i for i in range(len(table)) if table[i]["origin"] == k]
            found.append(self.blocks_of(table, members[0], members[-1], 1) if members else (0, 0))
        return [*found, (0, self.spaces[2])]

    def order(self, work: list[int]) -> None:
        """Place the arrays in the index space of steps, by rule; `work` is the number of elements to update of each."""
        first, order, self.work = 0, [], work
        self.firsts = [0] * len(work)
        for name in self.rules:
            begin = first
            for i, parameter in enumerate(self.parameters):
                if parameter.rule.name == name:
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
        """Return the blocks of the sums of arrays `first` to `last`, which are contiguous in their index space."""
        return table[first]["starts"][scope] // BLOCK, -(-(table[last]["starts"][scope] + table[last]["n"]) // BLOCK)

    @staticmethod
    def describe(parameter: Any, row: Any) -> None:
        """Write one parameter's arrays into its row."""
        row["n"] = np.prod(layout.reals(parameter.array)[0], dtype=np.int64)
        row["p"], row["format"] = parameter.array.data.ptr, dtypes.format_of(parameter.array.dtype)
        row["wide"] = row["format"] == FLOAT64
        if parameter.master is not None:
            row["master"], row["split"] = parameter.master.data.ptr, parameter.master.dtype.kind == "i"
        for k, (name, a) in enumerate(parameter.rule_state.items()):
            row["state"][k] = a.data.ptr
            tag = parameter.rule.tags.get(name)
            if tag in layout.LINES:
                row["formats"][k] = dtypes.LINE_FORMATS[tag]
            elif name in parameter.exponents:
                row["formats"][k] = UFLOAT8 if tag == "nonnegative" else FLOAT8
                row["exponents"][k] = parameter.exponents[name].data.ptr
            else:
                row["formats"][k] = dtypes.format_of(a.dtype)
        for k, name in enumerate(STAGE_ARRAY_NAMES):
            if name in parameter.stage_arrays:
                row["stage_arrays"][k] = parameter.stage_arrays[name].data.ptr
                row["scalar_arrays"] |= (name in parameter.scalar_arrays) << k

    @staticmethod
    def describe_factors(parameter: Any, row: Any) -> int:
        """Write the shape of an array's matrices into its row; return the number of its row and column sums."""
        rows, columns = parameter.array.shape[-2:]
        row["rows"], row["columns"] = rows, columns
        row["chunk"] = layout.rows_per_chunk(int(rows), int(columns))
        matrices: int = int(row["n"]) // max(1, rows * columns)
        return matrices * (int(rows) + -(-int(rows) // int(row["chunk"])) * int(columns))

    def wait_for_last(self) -> None:
        """Make the current stream wait for the last work on these arrays, on any stream."""
        stream = self.memory.cupy.cuda.get_current_stream()
        here = (stream.ptr, threading.get_ident())  # The default stream may differ from thread to thread.
        if self.last_event is not None and self.last_event[:2] != here:
            stream.wait_event(self.last_event[2])

    def record_event(self) -> None:
        """Record an event after the work on the current stream."""
        stream = self.memory.cupy.cuda.get_current_stream()
        self.last_event = (stream.ptr, threading.get_ident(), stream.record())

    def upload_args(self) -> None:
        """Upload the arguments of this step."""
        stream = self.memory.cupy.cuda.get_current_stream()
        for lo in range(0, self.host_args.size, UPLOAD):
            self.device_args[lo : lo + UPLOAD].set(self.host_args[lo : lo + UPLOAD], stream=stream)

    def load(self) -> None:
        """Compile and load all kernels, so that nothing fails after the first write."""
        for text in self.texts.values():
            for flush in {False, self.flush}:
                kernels(text, self.memory.device, flush)

    def launching(self, rule: str, kernel: str, blocks: int, x: int, y: int, z: int) -> Callable[[], object]:
        """Return the launch of a kernel on the current stream."""
        # Sums do not flush, as on the CPU.
        flush = self.flush and kernel in (f"{rule}_step", "gather_gradients")
        function = kernels(self.texts[rule], self.memory.device, flush).get_function(kernel)
        numbers = (np.intp(self.device_args.data.ptr), np.int64(x), np.int64(y), np.int64(z))
        return partial(function, (min(int(blocks), GRID),), (BLOCK,), numbers)
