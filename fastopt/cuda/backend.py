"""The backend of parameters that are CuPy arrays of one device."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import dtypes, overlap
from .._arrays.row_gradient import is_rows
from .._arrays.tree import Structure
from .._codegen.capacity import KEPT, TOTALS
from .._engine.interpreted import PythonBackend
from .._engine.program import PLACES
from .._engine.stepper import Counter
from ..spec import STAGES
from .launches import Run
from .memory import DeviceMemory, is_cupy
from .tables import SCOPES, Tables


class CudaBackend(PythonBackend):
    """Steps that are launched on the current stream.

    The host does not wait for them, but for what it has to know: whether a gradient is not finite, for ``nonfinite="skip"`` and
    ``"raise"``.
    """

    def __init__(
        self, structure: Structure | None, slots: list[Any], groups: list[Any], settings: Any, memory: DeviceMemory
    ) -> None:
        wide = [s.name for s in slots if s.real.itemsize == 8] if settings.flush_subnormals else []
        if wide:
            raise ValueError(f"flush_subnormals: {wide[0]!r} is of 64 bits, where CUDA never flushes; expected narrower parameters")
        self.memory = memory
        super().__init__(structure, slots, groups, settings)
        self.done: frozenset[str] = frozenset()
        self.tables = Tables(memory, slots, groups, settings.flush_subnormals)
        self.tables.leave()

    @property
    def on_device(self) -> bool:
        return True

    def enter(self) -> None:
        self.here = self.memory.here()
        self.here.__enter__()
        self.tables.follow()

    def exit(self) -> None:
        super().exit()
        self.given: list[Any] = []
        try:
            self.tables.leave()
        finally:
            self.here.__exit__(None, None, None)

    def located(self, a: Any) -> np.ndarray:
        return self.memory.located(a)

    def counters(self) -> list[Counter]:
        if not self.tables.keeps:
            return super().counters()
        kept = self.memory.host(self.tables.buffers["kept"]).reshape(-1, KEPT)
        return [(t, [float(x) for x in row[: len(old)]], waits) for (t, old, waits), row in zip(self.each, kept, strict=False)]

    def set_counters(self, counters: list[Counter]) -> None:
        super().set_counters(counters)
        self.done = frozenset()
        kept = np.zeros((len(counters), KEPT))
        for row, (_, numbers, _) in zip(kept, counters, strict=True):
            row[: len(numbers)] = numbers
        self.memory.put(self.tables.buffers["kept"], kept.reshape(-1))

    def totals(self, stage: str) -> list[list[float]] | None:
        if stage not in self.done:
            return None
        totals = self.memory.host(self.tables.buffers["totals"]).reshape(-1, self.tables.room, TOTALS)[PLACES[stage]]
        rows = len(self.slots) if SCOPES[STAGES[stage].scope] == 0 else 1
        return [[float(x) for x in row[: len(STAGES[stage].given)]] for row in totals[:rows]]

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        named = [(f"gradient of {slot.name!r}", g) for slot, g in zip(self.slots, grads, strict=True) if g is not None]
        for what, g in named:
            if not is_cupy(g):
                raise TypeError(f"{what}: {type(g).__name__}, expected a CuPy array to bind")
        if clears:
            overlap.check_disjoint((what, self.located(g)) for what, g in named)
        return list(grads)

    def checked(self, slot: Any, g: Any) -> tuple[Any, Any, Any]:
        """Return a gradient as the step reads it, as it was given, and its rows."""
        indices = None
        if is_rows(g):
            indices, flat, there = self.memory.rows(slot, g, self.settings.accumulate, self.settings.mode == "exact")
        else:
            flat, there = self.memory.gradient(slot.name, slot.array, slot.order, g)
        self.check_apart(slot, there)
        return flat, g, indices

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> None:
        if not holds:
            for group in self.groups:
                group.evaluate(count)
        self.given = [None if x is None else x[0] for x in self.grads]
        if not holds:  # gradients of zeros for parameters that gathered some and have none now
            self.given = [
                self.memory.zeros(slot.array.shape, slot.real) if g is None and waits else g
                for slot, g, (_, _, waits) in zip(self.slots, self.given, self.each, strict=True)
            ]
        self.active = [g is not None for g in self.given]
        if any(self.active):
            self.tell_gradients(cleared is not None)
            self.tables.load()

    def tell_gradients(self, clears: bool) -> None:
        """Write into the tables where gradients lie, and which elements they update."""
        turns = self.tables.turns
        turns["active"] = self.active
        turns["t"] = [t for t, _, _ in self.each]
        turns["g"] = [0 if g is None else g.data.ptr for g in self.given]
        turns["format"] = [0 if g is None else dtypes.format_of(g.dtype) for g in self.given]
        turns["clear"] = [clears and x is not None and x[0].data.ptr == x[1].data.ptr for x in self.grads]
        self.tell_rows([None if x is None else x[2] for x in self.grads])

    def tell_rows(self, rows: list[Any]) -> None:
        """Write into the tables which rows the gradients have, and how many elements they update."""
        turns = self.tables.turns
        counts = [int(n) for n in self.tables.table["n"]]
        lengths = [n // max(1, *slot.array.shape[:1]) if slot.array.ndim else n for n, slot in zip(counts, self.slots, strict=True)]
        # With mode="exact" a gradient of rows updates the others too, at once: on a device that takes but their reading.
        every = self.settings.mode == "exact"
        work = [n if x is None or every else x.size * row for n, row, x in zip(counts, lengths, rows, strict=True)]
        if work != self.tables.work:
            self.tables.order(work)
        turns["every"] = every
        turns["rows"] = [0 if x is None else x.data.ptr for x in rows]
        turns["n_rows"] = [-1 if x is None else x.size for x in rows]
        turns["row"] = [0 if x is None else row for row, x in zip(lengths, rows, strict=True)]

    def run(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> int:
        if not any(self.active):
            return 0
        run = Run(self.tables, self.settings, holds, scale, dtypes.key_of_step(self.settings.seed, count))
        if not run.sums_are_fine():
            self.bad = run.counted
            return -1
        run.finish()
        for x, done in zip(self.grads, self.tables.turns["clear"], strict=True):
            if cleared is not None and x is not None and not done:
                x[1][...] = 0
        if not holds:
            self.done = run.summed
        self.count([kept for _, kept, _ in self.each], self.active, holds)
        return 1

    def nonfinite(self) -> dict[str, int]:
        return {slot.name: int(row[0]) for slot, row in zip(self.slots, self.bad, strict=True) if row[0] > 0}
