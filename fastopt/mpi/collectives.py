"""Messages between the processes: gradients to the owners of spans, parameters to all, and errors."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays.packing import Packed
from .._engine.sums import AGREEMENT, combine, message, messages_in, total
from .batches import Arrays, TreeSum, subtrees_of

ALL = message(AGREEMENT, [total([1.0], [0])] * 2)  # Every process adds gradients: all spans have some.


class OtherRank(RuntimeError):
    """An error of another process, which ends what all do together."""


def agree(comm: Any, error: BaseException | None, value: Any = None) -> list[Any]:
    """Return a value of each process; raise in all processes if there is an error in one. Collective."""
    try:
        data = pickle.dumps(value)
    except Exception as caught:  # What cannot be sent, such as a function in a user's values.
        error, data = error or caught, b""
    found = comm.allgather((None if error is None else f"{type(error).__name__}: {error}", data))
    if error is not None:
        raise error
    for rank, (said, _) in enumerate(found):
        if said is not None:
            raise OtherRank(f"rank {rank}: {said}")
    return [pickle.loads(x) for _, x in found]


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
        is_last, talked = next(messages_in(own))[0] == AGREEMENT, self.talked
        self.talked = True  # Also if it fails: nobody waits for a second message.
        if is_last:
            if not talked:
                agree(self.comm, None)
            return ALL
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
        self.received: dict[tuple[int, int], np.ndarray] = {}

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
            given = own[turn] if turn < len(own) else None
            for rank, arrays in zip(senders, self.round(turn, given, senders), strict=True):
                received[rank].append(arrays)
        total = TreeSum(count)
        for each, arrays_of in zip(nodes, received, strict=True):
            for node, arrays in zip(each, arrays_of, strict=True):
                total.add(node, arrays)
        return total.nodes[0][1]

    def kept(self, turn: int, k: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return memory for what is received in a round from buffer `k`; the next step uses it again."""
        if (turn, k) not in self.received or self.received[turn, k].shape != shape:
            self.received[turn, k] = np.empty(shape, self.working[k])
        return self.received[turn, k]

    def round(self, turn: int, sent: Arrays | None, senders: Sequence[int]) -> list[Arrays]:
        """Send parts of a gradient to the owners of spans, and return what the senders sent to this one, its own part as it is."""
        rank, others = self.comm.rank, [x for x in senders if x != self.comm.rank]
        found: dict[int, Arrays] = {x: [] for x in senders}
        for k, dtype in enumerate(self.working):
            length = self.own[k].stop - self.own[k].start
            target = self.kept(turn, k, (len(others), length))
            counts = [length * (x in others) for x in range(self.comm.size)]
            places = [length * sum(other < x for other in others) for x in range(self.comm.size)]
            given = [0 if sent is None or x == rank else n for x, n in enumerate(self.lengths(k))]
            source = np.empty(0, dtype) if sent is None else sent[k]
            self.comm.Alltoallv([source, (given, self.starts(k))], [target, (counts, places)])
            for x, row in zip(others, target, strict=True):
                found[x].append(row)
            if sent is not None:
                found[rank].append(sent[k][self.own[k]])
        return list(found.values())

    def sum_in_any_order(self, own: Arrays) -> Arrays:
        """Return this span's sum over all processes, in the order of the MPI library. Collective."""
        found = []
        for k in range(len(self.working)):
            target = self.kept(0, k, (self.own[k].stop - self.own[k].start,))
            self.comm.Reduce_scatter(own[k], target, self.lengths(k))
            found.append(target)
        return found

    def spread(self) -> None:
        """Give all processes the parameters that each has updated. Collective."""
        from mpi4py import MPI

        for k, buffer in enumerate(self.buffers):
            self.comm.Allgatherv(MPI.IN_PLACE, [plain(buffer), (self.lengths(k), self.starts(k))])


def digest_of(packed: Packed) -> str:
    """Return the SHA-256 of names, shapes, dtypes and values of packed parameters."""
    digest = hashlib.sha256(f"{[(p.name, p.shape, str(p.dtype)) for p in packed.pieces_of((0, packed.size))]}".encode())
    for buffer in packed.flat.values() if isinstance(packed.flat, dict) else [packed.flat]:
        digest.update(plain(buffer).view(np.uint8).data)
    return digest.hexdigest()
