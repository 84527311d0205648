"""Backend of parameters that are CuPy arrays of one device."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._arrays import dtypes, overlap
from .._arrays.changes import commit, make, writing
from .._arrays.row_gradient import is_rows
from .._arrays.tree import Structure
from .._codegen.capacity import CARRY, TOTALS
from .._engine.interpreted import PythonBackend
from .._engine.program import PLACES
from .._engine.stepper import Counter
from ..spec import STAGES
from .launches import Run
from .memory import DeviceMemory, is_cupy
from .tables import SCOPES, Tables


class CudaBackend(PythonBackend):
    """Backend that launches steps on the current stream.

    The host waits only if it must know whether a gradient is finite: with ``nonfinite="skip"`` and ``"raise"``.
    """

    def __init__(
        self, structure: Structure | None, parameters: list[Any], groups: list[Any], settings: Any, memory: DeviceMemory
    ) -> None:
        wide = [s.name for s in parameters if s.real.type(0).real.itemsize == 8] if settings.flush_subnormals else []
        if wide:
            raise ValueError(f"flush_subnormals: {wide[0]!r} is of 64 bits, where CUDA never flushes; expected narrower parameters")
        self.memory = memory
        super().__init__(structure, parameters, groups, settings)
        self.done: frozenset[str] = frozenset()
        self.entered = False
        self.tables = Tables(memory, parameters, groups, settings.flush_subnormals)
        self.tables.record_event()

    @property
    def on_device(self) -> bool:
        return True

    def enter(self) -> None:
        self.leave_device()
        self.device_context = self.memory.device_context()
        self.device_context.__enter__()
        self.entered = True
        self.tables.wait_for_last()

    def exit(self) -> None:
        try:
            super().exit()
            self.gradients: list[Any] = []
            self.tables.record_event()
        finally:
            self.leave_device()

    def leave_device(self) -> None:
        """Make the device current that was so before, also later if a signal handler raised where a step ended."""
        if self.entered:
            self.entered = False
            self.device_context.__exit__(None, None, None)

    def located(self, a: Any) -> np.ndarray:
        return self.memory.located(a)

    def counters(self) -> list[Counter]:
        if not self.tables.keeps:
            return super().counters()
        carry = self.memory.host(self.tables.buffers["carry"]).reshape(-1, CARRY)
        return [(t, [float(x) for x in row[: len(old)]], waits) for (t, old, waits), row in zip(self.each, carry, strict=False)]

    def set_counters(self, counters: list[Counter]) -> None:
        super().set_counters(counters)
        self.done = frozenset()
        carry = np.zeros((len(counters), CARRY))
        for row, (_, numbers, _) in zip(carry, counters, strict=True):
            row[: len(numbers)] = numbers
        self.memory.put(self.tables.buffers["carry"], carry.reshape(-1))

    def totals(self, stage: str) -> list[list[float]] | None:
        if stage not in self.done:
            return None
        totals = self.memory.host(self.tables.buffers["totals"]).reshape(-1, self.tables.room, TOTALS)[PLACES[stage]]
        rows = len(self.parameters) if SCOPES[STAGES[stage].scope] == 0 else 1
        return [[float(x) for x in row[: len(STAGES[stage].reduced)]] for row in totals[:rows]]

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        named = [
            (f"gradient of {parameter.name!r}", g) for parameter, g in zip(self.parameters, grads, strict=True) if g is not None
        ]
        for what, g in named:
            if not is_cupy(g):
                raise TypeError(f"{what}: {type(g).__name__}, expected a CuPy array to bind")
        if clears:
            overlap.check_disjoint((what, self.located(g)) for what, g in named)
        return list(grads)

    def checked(self, parameter: Any, g: Any) -> tuple[Any, Any, Any]:
        """Return a gradient as the step reads it, as the caller gave it, and its rows."""
        indices = None
        if is_rows(g):
            indices, flat, located = self.memory.rows(parameter, g, self.settings.accumulate, self.settings.mode == "exact")
        else:
            flat, located = self.memory.gradient(parameter.name, parameter.array, parameter.order, g)
        self.check_no_overlap(parameter, located)
        return flat, g, indices

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> None:
        if not accumulating:
            for group in self.groups:
                group.evaluate(count)
        self.gradients = [None if x is None else x[0] for x in self.grads]
        # Zero gradients for parameters that have accumulated some and have none now.
        if not accumulating:
            self.gradients = [
                self.memory.zeros(parameter.array.shape, parameter.real) if g is None and waits else g
                for parameter, g, (_, _, waits) in zip(self.parameters, self.gradients, self.each, strict=True)
            ]
        self.active = [g is not None for g in self.gradients]
        if any(self.active):
            self.set_gradient_args(cleared is not None)
            self.tables.load()

    def set_gradient_args(self, clears: bool) -> None:
        """Write the gradients' addresses and the elements that they update into the arguments."""
        args = self.tables.args
        args["active"] = self.active
        args["t"] = [t for t, _, _ in self.each]
        args["g"] = [0 if g is None else g.data.ptr for g in self.gradients]
        args["format"] = [0 if g is None else dtypes.format_of(g.dtype) for g in self.gradients]
        args["clear"] = [clears and x is not None and x[0].data.ptr == x[1].data.ptr for x in self.grads]
        self.set_rows([None if x is None else x[2] for x in self.grads])

    def set_rows(self, rows: list[Any]) -> None:
        """Write the gradients' rows and the number of elements that they update into the arguments."""
        args = self.tables.args
        counts = [int(n) for n in self.tables.table["n"]]
        lengths = [
            n // max(1, *parameter.array.shape[:1]) if parameter.array.ndim else n
            for n, parameter in zip(counts, self.parameters, strict=True)
        ]
        # With mode="exact" a gradient of rows updates the other rows at once: on a device, catching up later would cost more.
        every = self.settings.mode == "exact"
        work = [n if x is None or every else x.size * row for n, row, x in zip(counts, lengths, rows, strict=True)]
        if work != self.tables.work:
            self.tables.order(work)
        args["every"] = every
        args["rows"] = [0 if x is None else x.data.ptr for x in rows]
        args["n_rows"] = [-1 if x is None else x.size for x in rows]
        args["row"] = [0 if x is None else row for row, x in zip(lengths, rows, strict=True)]

    def run(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> int:
        if not any(self.active):
            return 0
        run = Run(self.tables, self.settings, accumulating, scale, dtypes.key_of_step(self.settings.seed, count))
        if not run.check_sums():
            self.bad = run.counted
            return -1
        left = zip(self.grads if cleared is not None else (), self.tables.args["clear"], strict=False)
        clearing = [writing(x[1], 0) for x, done in left if x is not None and not done]
        showing = [] if accumulating else [partial(setattr, self, "done", run.summed)]
        counting = self.counting([carry for _, carry, _ in self.each], self.active, accumulating)
        try:
            make([*run.finish(), *showing, *counting])
        finally:
            commit(clearing if self.completed else [])
        return 1

    def nonfinite(self) -> dict[str, int]:
        return {parameter.name: int(row[0]) for parameter, row in zip(self.parameters, self.bad, strict=True) if row[0] > 0}
