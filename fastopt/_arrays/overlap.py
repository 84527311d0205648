"""Detection of arrays that share memory: by the bytes that they span, and by the period of those that interleave."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def address(a: np.ndarray) -> int:
    """Return the first byte of an array in memory."""
    found: int = a.__array_interface__["data"][0]
    return found


def extent(a: np.ndarray) -> tuple[int, int]:
    """Return the first byte of an array in memory, and the byte after its last."""
    first = address(a)
    return (first, first + a.nbytes) if a.flags.c_contiguous or not a.size else np.lib.array_utils.byte_bounds(a)


def overlaps_itself(a: np.ndarray) -> bool:
    """Return True if two elements of an array share memory."""
    strides = sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    reach = a.itemsize
    for stride, n in strides:
        if stride < reach:
            break
        reach += stride * (n - 1)
    else:
        return False
    if not a.size:
        return False
    offsets = np.zeros(1, np.int64)
    for s, n in zip(a.strides, a.shape, strict=True):
        offsets = np.add.outer(offsets, s * np.arange(n)).ravel()
    return bool((np.diff(np.sort(offsets)) < a.itemsize).any())


def may_share_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Return True if two arrays have a byte in common, or if that is too hard to tell."""
    try:
        return bool(np.shares_memory(a, b, max_work=10**6))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def ranges(arrays: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """Return the memory of these arrays as disjoint, sorted ranges of bytes."""
    merged: list[tuple[int, int]] = []
    for lo, hi in sorted(extent(a) for a in arrays if a.size):
        if merged and lo < merged[-1][1]:
            merged[-1] = merged[-1][0], max(hi, merged[-1][1])
        else:
            merged.append((lo, hi))
    return merged


def run_of(a: np.ndarray) -> tuple[int, list[int]]:
    """Return the length of an array's contiguous runs in bytes, and the strides between them."""
    run = a.itemsize
    outer: list[int] = []
    for stride, n in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if not outer and stride == run:
            run *= n
        else:
            outer.append(stride)
    return run, outer


class Interleaved:
    """Arrays that span one another's memory, as columns of a matrix do.

    All strides are multiples of `period` (bytes; 0: there is none). Two arrays at different places of a period are disjoint.
    """

    def __init__(self, named: Sequence[tuple[str, np.ndarray]]) -> None:
        self.named, self.extents = named, [extent(a) for _, a in named]
        self.start = min(lo for lo, _ in self.extents)
        found = [run_of(a) for _, a in named]
        self.longest = max(run for run, _ in found)
        self.period = math.gcd(*(stride for _, outer in found for stride in outer))
        if self.longest > self.period:
            self.period = 0
        self.places = sorted((lo, hi, k) for k, (_, a) in enumerate(named) for lo, hi in self.places_of(a)) if self.period else []

    def places_of(self, a: np.ndarray) -> list[tuple[int, int]]:
        """Return the places of an array's bytes within the period."""
        run, _ = run_of(a)
        first = (extent(a)[0] - self.start) % self.period
        end = first + run
        return [(first, end)] if end <= self.period else [(first, self.period), (0, end - self.period)]

    def near(self, a: np.ndarray, extent_of_a: tuple[int, int]) -> Iterable[int]:
        """Return the numbers of the arrays that may have a byte in common with `a`."""
        run, outer = run_of(a)
        if self.period and run <= self.period and not any(stride % self.period for stride in outer):
            found = set()
            for lo, hi in self.places_of(a):
                first = bisect_left(self.places, (lo - self.longest,))
                found |= {k for _, end, k in self.places[first : bisect_left(self.places, (hi,))] if end > lo}
        else:
            found = set(range(len(self.named)))
        return sorted(k for k in found if self.extents[k][0] < extent_of_a[1] and extent_of_a[0] < self.extents[k][1])


def touching(named: Iterable[tuple[str, np.ndarray]]) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Yield arrays in the order of memory, those together whose first and last bytes lie within one another's."""
    members: list[tuple[str, np.ndarray]] = []
    end = 0
    for lo, hi, what, a in sorted(((*extent(a), what, a) for what, a in named if a.size), key=lambda x: x[:2]):
        if members and lo >= end:
            yield members
            members = []
        members.append((what, a))
        end = max(end, hi)
    if members:
        yield members


class Written:
    """All arrays that a step writes, to compare others with."""

    def __init__(self, named: Iterable[tuple[str, np.ndarray]]) -> None:
        self.groups = [Interleaved(members) for members in touching(named)]
        self.starts = [group.start for group in self.groups]

    def check_no_overlap(self, name: str, g: np.ndarray) -> None:
        """Raise if a gradient has a byte in common with one of them."""
        lo, hi = extent(g)
        for group in self.groups[max(0, bisect_right(self.starts, lo) - 1) : bisect_left(self.starts, hi)]:
            for k in group.near(g, (lo, hi)):
                if may_share_memory(g, group.named[k][1]):
                    raise ValueError(f"gradient of {name!r}: shares memory with {group.named[k][0]}")


def check_disjoint(written: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raise if two arrays that are to be written share memory. Interleaved views that do not are fine."""
    for members in touching(written):
        group = Interleaved(members) if len(members) > 1 else None
        for i, (what, a) in enumerate(members if group else ()):
            for j in group.near(a, group.extents[i]):  # type: ignore[union-attr]
                if i < j and may_share_memory(a, members[j][1]):
                    other, b = members[j]
                    tied = address(a) == address(b) and (a.shape, a.strides) == (b.shape, b.strides)
                    hint = ", expected once: of tied parameters give one, with the sum of their gradients" if tied else ""
                    raise ValueError(f"{what} and {other} share memory{hint}")
