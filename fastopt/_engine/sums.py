"""Exact sums over arrays: each block in a fixed order, the blocks exactly, the total rounded once; twin of ``total.h``.

Totals of spans are exchanged as messages of some ten bytes, and combined exactly.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import dtypes

UNIT = 1200  # Exponent of the unit of blocks of huge squares; of tiny ones, negative.
LOWEST = -1074 - UNIT  # Exponent of the lowest bit of any addend.


@dataclass(frozen=True)
class Total:
    """Exact sum: ``whole * 2**LOWEST``, and the sum of the infinite and NaN addends."""

    whole: int = 0
    special: float = 0.0

    def __add__(self, other: Total) -> Total:
        return Total(self.whole + other.whole, self.special + other.special)

    def rounded(self) -> tuple[float, int]:
        """Return the sum, rounded once, as a number and the exponent of its unit."""
        if self.special != 0:
            return self.special, 0
        shift = max(0, abs(self.whole).bit_length() - 53)
        rounded, rest = divmod(abs(self.whole), 1 << shift)
        half = (1 << shift) // 2
        rounded += shift > 0 and (rest > half or (rest == half and rounded % 2 == 1))
        return float(-rounded if self.whole < 0 else rounded), shift + LOWEST


def folded(blocks: np.ndarray) -> np.ndarray:
    """Sum each block of 256 along the last axis: 16 lanes side by side, then halves of the lanes."""
    rows = blocks.reshape(*blocks.shape[:-1], 16, 16)
    lanes = rows[..., 0, :]
    for i in range(1, 16):
        lanes = lanes + rows[..., i, :]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def folded_squares(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the squares of each block; return the sums and the exponents of their units, which keep them in range."""
    sums, units = folded(blocks * blocks), np.zeros(len(blocks), int)
    usual = (sums >= 2.0**-900) & (sums < 2.0**1000)
    for k in np.flatnonzero(~usual & np.isfinite(blocks).all(-1) & blocks.any(-1)):
        up = sums[k] < 1
        scaled = blocks[k] * (2.0**600 if up else 2.0**-600)
        sums[k], units[k] = folded(scaled * scaled), -UNIT if up else UNIT
    return sums, units


def total(sums: Iterable[float], units: Iterable[int]) -> Total:
    """Return the sum of ``sums * 2**units``."""
    whole, special = 0, 0.0
    for x, unit in zip(sums, units, strict=True):
        if not math.isfinite(x):
            special += x
            continue
        m, e = math.frexp(x)
        place = e - 53 + int(unit) - LOWEST
        n = int(math.ldexp(m, 53))
        # Shifting right drops only the zero bits of a subnormal number.
        whole += n << place if place >= 0 else n >> -place
    return Total(whole, special)


def root(x: float, exponent: int) -> tuple[float, float]:
    """Return the root of ``x * 2**exponent`` as a number in [1, 2) and an exponent."""
    if not (x > 0 and math.isfinite(x)):
        return (x if x == 0 or x > 0 else math.nan), 0.0
    m, e = math.frexp(x)
    exponent += e - 1
    return math.sqrt(2 * m * (1 + exponent % 2)), float((exponent - exponent % 2) // 2)


def totals_of(terms: Sequence[np.ndarray], names: Sequence[str], squares: set[str]) -> list[Total]:
    """Return the exact sums of these terms, or of their squares, block by block."""
    found = []
    with np.errstate(all="ignore"):
        for name, x in zip(names, terms, strict=True):
            blocks = dtypes.blocks_of(x)
            sums, units = folded_squares(blocks) if name in squares else (folded(blocks), np.zeros(len(blocks), int))
            found.append(total(sums.tolist(), units.tolist()))
    return found


def reduced(totals: Sequence[Total], names: Sequence[str], squares: set[str], mean_of: int | None = None) -> dict[str, float]:
    """Return sums as a scalars function takes them; means are over `mean_of` elements."""
    found: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for name, each in zip(names, totals, strict=True):
            number, exponent = each.rounded()
            if mean_of is not None:
                number = number / mean_of if mean_of else math.nan
            if name in squares:
                found[name], found[f"{name}_exponent"] = root(number, exponent)
            else:
                found[name] = float(np.ldexp(number, exponent))
    return found


MAGIC = b"fo1"
HEADER = struct.Struct("<3sHH")  # Magic, bytes of the label, number of totals.
TOTAL = struct.Struct("<dHH")  # Infinite and NaN addends, low bytes that are zero, bytes that follow.
AGREEMENT = ""  # Name of the message that precedes the first write of a step: of spans with gradients, and of spans.


def message(label: str, totals: Iterable[Total]) -> bytes:
    """Return totals as bytes."""
    parts = []
    for each in totals:
        digits = each.whole.to_bytes(each.whole.bit_length() // 8 + 1, "little", signed=True)
        kept = digits.lstrip(b"\0")
        parts.append(TOTAL.pack(each.special, len(digits) - len(kept), len(kept)) + kept)
    said = label.encode()
    return b"".join([HEADER.pack(MAGIC, len(said), len(parts)), said, *parts])


def messages_in(data: Any) -> Iterator[tuple[str, list[Total]]]:
    """Yield label and totals of each message in bytes, or raise ValueError for what is none."""
    try:
        rest = bytes(memoryview(data))
        while rest:
            magic, length, count = HEADER.unpack_from(rest)
            label, rest = taken(rest, HEADER.size, length)
            totals = []
            for _ in range(count if magic == MAGIC else -1):
                special, zeros, length = TOTAL.unpack_from(rest)
                digits, rest = taken(rest, TOTAL.size, length)
                totals.append(Total(int.from_bytes(bytes(zeros) + digits, "little", signed=True), special))
            if magic != MAGIC:
                raise ValueError("of another format")
            yield label.decode(), totals
    except (TypeError, ValueError, struct.error) as error:
        raise ValueError(f"sums: {type(data).__name__}, expected bytes of fastopt's ({error})") from None


def taken(data: bytes, start: int, length: int) -> tuple[bytes, bytes]:
    """Return so many bytes from a place on, and the rest; raise if there are not so many."""
    if start + length > len(data):
        raise ValueError("cut short")
    return data[start : start + length], data[start + length :]


def combine(parts: Iterable[bytes]) -> bytes:
    """Combine the sums of spans to those of all, exactly: neither their order nor how they are cut matters.

    Parameters
    ----------
    parts : iterable of bytes
        What `Optimizer.sums` returned for each span, or what a function that is passed as ``step(sums=...)`` got; each once.

    Returns
    -------
    bytes
        For ``step(sums=...)``, or as the function's result.

    Raises
    ------
    ValueError
        If there are none, or they are not of the same sums and step.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> packed = fo.pack({"w": np.ones(1000), "b": np.ones(24)})
    >>> spans = packed.cut(2)
    >>> opts = [fo.SGD(packed, lr=0.1, span=span, clip_global_norm=1.0) for span in spans]
    >>> grads = [packed.pieces(np.ones(1024), span) for span in spans]
    >>> sums = fo.combine([opt.sums(g) for opt, g in zip(opts, grads)])
    >>> [opt.step(g, sums=sums) for opt, g in zip(opts, grads)]
    [True, True]
    """
    found = [list(messages_in(part)) for part in parts]
    if not found:
        raise ValueError("sums: none, expected those of each span")
    for other in found:
        if (labels := [[(label, len(x)) for label, x in each] for each in (found[0], other)])[0] != labels[1]:
            said = [", ".join(label or "nothing" for label, _ in each) or "nothing" for each in labels]
            raise ValueError(f"sums: some of {said[0]}, others of {said[1]}; expected those of one step, of like optimizers")
    return b"".join(
        message(rows[0][0], [sum(column, Total()) for column in zip(*(totals for _, totals in rows), strict=True)])
        for rows in zip(*found, strict=True)
    )


class Exchange:
    """Exchange of sums in one step: of this span for those of all spans."""

    def __init__(self, given: Any, count: int) -> None:
        self.count = count
        self.rest = None if callable(given) else list(messages_in(given))
        self.function: Callable[[bytes], Any] = given

    def __call__(self, name: str, totals: Sequence[Total]) -> list[Total]:
        """Return the sums of all spans; `name` is that of the formula that takes them."""
        label = f"{name} in step {self.count}" if name else ""
        if self.rest is None:
            found = list(messages_in(self.function(message(label, totals))))
        else:
            found = [self.rest.pop(0)] if self.rest else []
        if [(x, len(y)) for x, y in found] != [(label, len(totals))]:
            said = ", ".join(x or "nothing" for x, _ in found) or "nothing"
            raise ValueError(f"sums: of {said}, expected of {label or 'nothing'}; a function gives those that depend on others")
        return found[0][1]

    def agree(self, active: bool, present: bool, together: bool) -> bool:
        """Return True if a span has a gradient; the last exchange before the first write.

        `active` says whether this one has, `present` whether it has parameters. Raise if a rule makes one estimate for all spans,
        `together`, and some alone have a gradient: the others do not know it.
        """
        having, of = (x.rounded() for x in self(AGREEMENT, [total([float(x)], [0]) for x in (active, present)]))
        if together and having[0] and having != of:
            raise ValueError(
                "gradients: None for all of a span, expected one in each, since the rule makes one estimate for all spans"
            )
        return having[0] > 0


class Collected(Exception):
    """End of a step of which only the sums were wanted."""


class Collector(Exchange):
    """Collection of the sums of a step that is not made."""

    def __init__(self, count: int, checking: str) -> None:
        super().__init__(b"", count)
        self.checking, self.data, self.depends = checking, b"", False

    def __call__(self, name: str, totals: Sequence[Total]) -> list[Total]:
        if name == AGREEMENT:
            self.data += message("", totals)
            raise Collected
        if not self.depends:  # Sums that follow those of norms depend on those of all spans.
            self.data += message(f"{name} in step {self.count}", totals)
        self.depends = self.depends or name != self.checking
        return list(totals) if name != self.checking else [Total()] * len(totals)
