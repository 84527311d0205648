"""What the processes tell each other: gradients to the owners of spans, parameters to all, and errors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays.packing import Packed
from .._engine.sums import AGREEMENT, combine, message
from .batches import Arrays, TreeSum, subtrees_of

LAST = message(AGREEMENT, [])


class OtherRank(RuntimeError):  # noqa: N818 - a RuntimeError for users
    """An error of another process, which ends what all do together."""


def agree(comm: Any, error: BaseException | None, value: Any = None) -> list[Any]:
    """Return a value of each process; raise in all processes if there is an error in one. Collective."""
    found = comm.allgather((None if error is None else f"{type(error).__name__}: {error}", value))
    if error is not None:
        raise error
    for rank, (said, _) in enumerate(found):
        if said is not None:
            raise OtherRank(f"rank {rank}: {said}")
    return [x for _, x in found]


class SumExchange:
    """Exchange of exact sums within a step.

    Attributes
    ----------
    talked : bool
        True once all processes have spoken in this step: none fails any more before its first write.
    """

    def __init__(self, comm: Any) -> None:
        self.comm, self.talked = comm, False

    def __call__(self, own: bytes) -> bytes:
        """Return the sums of all spans."""
        if own == LAST and self.talked:
            return own
        self.talked = True  # Also if it fails: nobody waits for a second message.
        return combine(agree(self.comm, None, own))


def plain(a: np.ndarray) -> np.ndarray:
    """Return an array as MPI takes it: dtypes that it has no name for as whole numbers."""
    return a if a.dtype.kind in "fc" and a.dtype.itemsize > 2 else a.view(f"u{a.dtype.itemsize}")


class Exchange:
    """Exchange of gradients and parameters between the owners of spans."""

    def __init__(self, comm: Any, packed: Packed, spans: Sequence[tuple[int, int]], working: Sequence[np.dtype]) -> None:
        self.comm, self.working = comm, list(working)
        self.buffers = list(packed.flat.values()) if isinstance(packed.flat, dict) else [packed.flat]
        self.slices = [list(packed.slices(span).values()) for span in spans]
        self.own = self.slices[comm.rank]

    def lengths(self, k: int) -> list[int]:
        """Return the length of each span in buffer `k`."""
        return [each[k].stop - each[k].start for each in self.slices]

    def starts(self, k: int) -> list[int]:
        """Return the first place of each span in buffer `k`."""
        return [each[k].start for each in self.slices]

    def sum_of_all(self, own: Sequence[Arrays], count: int) -> Arrays:
        """Return this span's sum over all micro-batches, in the tree's order, from each process's subtrees. Collective.

        In each round, every process sends its next subtree.
        """
        nodes = subtrees_of(count, self.comm.size)
        received: list[list[Arrays]] = [[] for _ in nodes]
        for turn in range(max(map(len, nodes))):
            senders = [rank for rank, each in enumerate(nodes) if turn < len(each)]
            for rank, arrays in zip(senders, self.round(own[turn] if turn < len(own) else None, senders), strict=True):
                received[rank].append(arrays)
        total = TreeSum(count)
        for each, arrays_of in zip(nodes, received, strict=True):
            for node, arrays in zip(each, arrays_of, strict=True):
                total.add(node, arrays)
        return total.nodes[0][1]

    def round(self, sent: Arrays | None, senders: Sequence[int]) -> list[Arrays]:
        """Send parts of a gradient to the owners of spans, and return what the senders sent to this one."""
        found: list[Arrays] = [[] for _ in senders]
        for k, dtype in enumerate(self.working):
            length = self.own[k].stop - self.own[k].start
            target = np.empty((len(senders), length), dtype)
            counts = [length * (rank in senders) for rank in range(self.comm.size)]
            places = [length * sum(other < rank for other in senders) for rank in range(self.comm.size)]
            given = self.lengths(k) if sent is not None else [0] * self.comm.size
            source = np.empty(0, dtype) if sent is None else sent[k]
            starts = self.starts(k) if sent is not None else given
            self.comm.Alltoallv([source, (given, starts)], [target, (counts, places)])
            for arrays, row in zip(found, target, strict=True):
                arrays.append(row)
        return found

    def sum_in_any_order(self, own: Arrays) -> Arrays:
        """Return this span's sum over all processes, in the order of the MPI library. Collective."""
        found = []
        for k, dtype in enumerate(self.working):
            target = np.empty(self.own[k].stop - self.own[k].start, dtype)
            self.comm.Reduce_scatter(own[k], target, self.lengths(k))
            found.append(target)
        return found

    def spread(self) -> None:
        """Give all processes the parameters that each has updated. Collective."""
        from mpi4py import MPI

        for k, buffer in enumerate(self.buffers):
            self.comm.Allgatherv(MPI.IN_PLACE, [plain(buffer), (self.lengths(k), self.starts(k))])

    def digest(self) -> str:
        """Return the SHA-256 of all parameters here."""
        digest = hashlib.sha256()
        for buffer in self.buffers:
            digest.update(np.ascontiguousarray(plain(buffer)).view(np.uint8))
        return digest.hexdigest()
