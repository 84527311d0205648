"""Packing: nested arrays as one array of one axis, and back; spans of it."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import dtypes
from .tree import Structure, collect, flatten, listed, unflatten

ALIGNMENT = 64  # Bytes of a cache line, and of the widest vectors.


@dataclass(frozen=True)
class Piece:
    """Part of an array: its elements `start` to `stop` in C order, of which the first is element `place` of the array's buffer."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    stop: int
    place: int

    @property
    def is_cut(self) -> bool:
        """True if elements of the array lie outside."""
        return (self.start, self.stop) != (0, math.prod(self.shape))

    def of(self, x: Any) -> Any:
        """Return this part of an array of the whole's shape, in one axis; of a number, or an array that is not cut, all."""
        return x.reshape(-1)[self.start : self.stop] if self.is_cut and np.ndim(x) else x


class Packed:
    """Nested arrays in one buffer; made by `pack`.

    Attributes
    ----------
    flat : ndarray, or dict of them by dtype
        All numbers in one axis, in the order of `names`; a dict if the arrays have several dtypes. Memory is aligned to 64 bytes.
    tree : nested as what was packed
        Views of `flat` in the shapes of the arrays.
    names : list of str
        Names of the arrays, keys and positions joined by slashes.
    offsets : dict of int by name
        First element of each array in its buffer.
    size : int
        Length of the index space of spans: all numbers in the order of `names`. A complex number counts as two.
    """

    def __init__(self, structure: Structure | None, leaves: list[tuple[str, np.ndarray]]) -> None:
        self._structure = structure
        self.names = [name for name, _ in leaves]
        if len(set(self.names)) < len(leaves):
            raise ValueError(f"tree: two arrays of one name among {', '.join(self.names):.80}, expected keys without slashes")
        self._shapes = [a.shape for _, a in leaves]
        self._dtypes = [a.dtype for _, a in leaves]
        self.offsets: dict[str, int] = {}
        sizes: dict[np.dtype, int] = dict.fromkeys(self._dtypes, 0)
        for name, a in leaves:
            self.offsets[name] = sizes[a.dtype]
            sizes[a.dtype] += a.size
        reals = [a.size * (2 if a.dtype.kind == "c" else 1) for _, a in leaves]
        self._edges = np.cumsum([0, *reals]).tolist()
        self.size: int = self._edges[-1]
        self._buffers = {dtype: aligned(size, dtype) for dtype, size in sizes.items()}
        self.flat = self._given(self._buffers)
        self.tree = self.unpack(self.flat)
        self.gather(unflatten(structure, iter([a for _, a in leaves])), self.flat)

    @property
    def is_nested(self) -> bool:
        """True unless a single array was packed, which has no name."""
        return self._structure is not None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{a.size} of {dtype}" for dtype, a in self._buffers.items())
        return f"<{len(self.names)} arrays packed: {sizes}>"

    def _given(self, buffers: dict[np.dtype, np.ndarray]) -> Any:
        return next(iter(buffers.values())) if len(buffers) == 1 else buffers

    def _checked(self, what: str, x: Any) -> dict[np.dtype, np.ndarray]:
        """Return one array for each dtype, or raise; of a single dtype, an array of another is taken as it is."""
        x = np.asarray(x) if isinstance(x, (list, tuple)) else x
        found = x if len(self._buffers) > 1 else dict.fromkeys(self._buffers, x)
        if not isinstance(found, Mapping) or set(found) != set(self._buffers):
            raise TypeError(f"{what}: {type(x).__name__}, expected a dict of arrays by dtype: {', '.join(map(str, self._buffers))}")
        for dtype, a in self._buffers.items():
            if np.shape(found[dtype]) != a.shape:
                raise ValueError(f"{what}: shape {np.shape(found[dtype])}, expected {a.shape}")
        return dict(found)

    def unpack(self, x: Any) -> Any:
        """Return views of an array like `flat` in the shapes and nesting of what was packed.

        Parameters
        ----------
        x : array of one axis, or dict of them by dtype
            As long as `flat`; of any dtype, where `flat` is one array. What is no NumPy array, such as JAX's, is sliced as well.

        Returns
        -------
        nested as what was packed

        Raises
        ------
        TypeError, ValueError
            If it has another form.
        """
        found = self._checked("x", x)
        leaves = []
        for name, shape, dtype in zip(self.names, self._shapes, self._dtypes, strict=True):
            start = self.offsets[name]
            leaves.append(found[dtype][start : start + int(np.prod(shape))].reshape(shape))
        return unflatten(self._structure, iter(leaves))

    def gather(self, tree: Any, out: Any = None) -> Any:
        """Return arrays nested like what was packed, such as gradients, as one array.

        Parameters
        ----------
        tree : nested as what was packed
        out : array of one axis, or dict of them by dtype, optional
            Where to write them; a new one by default.

        Returns
        -------
        ndarray, or dict of them by dtype

        Raises
        ------
        TypeError, ValueError
            If an array has another shape, or the nesting differs.
        """
        leaves = zip(self.names, self._shapes, self._dtypes, collect(self._structure, tree, "tree"), strict=True)
        arrays = [(name, dtype, shaped(name, a, shape)) for name, shape, dtype, a in leaves]
        buffers = {d: np.empty(a.shape, d) for d, a in self._buffers.items()} if out is None else self._checked("out", out)
        given = [(name, dtype, numbers_for(name, a, buffers[dtype])) for name, dtype, a in arrays]
        # Views of what is written are read first.
        parts = [(name, dtype, a.copy() if np.may_share_memory(a, buffers[dtype]) else a) for name, dtype, a in given]
        for name, dtype, a in parts:
            start = self.offsets[name]
            buffers[dtype][start : start + a.size] = a.reshape(-1)
        return self._given(buffers)

    def cut(self, parts: int, whole: Any = ()) -> list[tuple[int, int]]:
        """Return spans of nearly equal lengths that cover everything, such as one for each process.

        Parameters
        ----------
        parts : int
            Number of spans, at least 1. Some are empty if there are not enough numbers.
        whole : bool or sequence of str, default ()
            Names of arrays that no span may cut, or True for all of them.

        Returns
        -------
        list of (int, int)
            First place of each span in the index space, and the place after its last. They are multiples of 256, but for the end,
            and the edges of arrays that stay whole.

        Raises
        ------
        TypeError, ValueError
            If there is no such number of parts, or no array of a name.
        """
        count = 0 if isinstance(parts, bool) else operator.index(parts)
        if count < 1:
            raise ValueError(f"parts: {parts!r}, expected a whole number of at least 1")
        if isinstance(whole, str) or not isinstance(whole, (bool, Sequence)):
            raise TypeError(f"whole: {whole!r:.60}, expected True or False, or a list of names")
        kept = self.names * whole if isinstance(whole, bool) else list(whole)
        if unknown := [name for name in kept if name not in self.offsets]:
            raise ValueError(f"whole: {unknown[0]!r}, expected names among {', '.join(self.names):.80}")
        blocks = -(-self.size // dtypes.BLOCK)
        cuts = [min(blocks * k // count * dtypes.BLOCK, self.size) for k in range(1, count)]
        cuts = [0, *(self._to_edge(place, set(kept)) for place in cuts), self.size]
        return list(pairwise(cuts))

    def _place_of(self, place: int) -> int:
        """Return the number of the array that holds a place of the index space, the last one that begins there."""
        return min(bisect_right(self._edges, place) - 1, len(self.names) - 1)

    def _to_edge(self, place: int, kept: set[str]) -> int:
        """Return the nearest edge of an array that stays whole, for a place within it."""
        k = self._place_of(place)
        low, high = self._edges[k : k + 2]
        if self.names[k] not in kept:
            # Places within a complex number are odd.
            return place - (place - low) % 2 if self._dtypes[k].kind == "c" else place
        return int(low if place - low <= high - place else high)

    def pieces_of(self, span: tuple[int, int]) -> list[Piece]:
        """Return the parts of the arrays that lie in a span; an empty one has none."""
        start, stop = span
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"span: {span}, expected places between 0 and {self.size}")
        found: list[Piece] = []
        for k, (low, high) in enumerate(pairwise(self._edges)):
            if not self._is_in(low, high, start, stop):
                continue
            name, dtype = self.names[k], self._dtypes[k]
            each = 2 if dtype.kind == "c" else 1
            first, last = (min(max(place, low), high) - low for place in (start, stop))
            if first % each or last % each:
                raise ValueError(f"span: {span} cuts a complex number of {name!r}, expected another place")
            first, last = first // each, last // each
            found.append(Piece(name, self._shapes[k], dtype, first, last, self.offsets[name] + first))
        return found

    def _is_in(self, low: int, high: int, start: int, stop: int) -> bool:
        """Return True if an array has places in a span; one without elements is in the span that has its place, or the last."""
        return low < stop and start < high if low < high else start <= low < stop or (low == stop == self.size and start < stop)

    def pieces(self, x: Any, span: tuple[int, int]) -> Any:
        """Return views of the numbers in a span, by name: gradients, as an optimizer of the span takes them.

        Parameters
        ----------
        x : array of one axis, or dict of them by dtype
            As long as `flat`, or as what the span has of it; of any dtype, where `flat` is one array.
        span : (int, int)
            First place in the index space, and the place after the last.

        Returns
        -------
        dict of arrays by name
            In the shapes of the arrays, those that are cut in one axis; a single array without a name is returned itself. An empty
            span has none.

        Raises
        ------
        TypeError, ValueError
            If the array has another form, or there are no such places.
        """
        parts = self.pieces_of(span)
        slices = self.slices(span)
        buffers: Any = x if isinstance(x, Mapping) else dict.fromkeys(self._buffers, np.asarray(x) if isinstance(x, list) else x)
        found = {}
        for p in parts:
            a, of_span = buffers.get(p.dtype), slices[p.dtype]
            if np.shape(a) not in (self._buffers[p.dtype].shape, (of_span.stop - of_span.start,)):
                said = f"{self._buffers[p.dtype].shape}, or {(of_span.stop - of_span.start,)} for the span"
                raise ValueError(f"x: shape {np.shape(a)}, expected {said}")
            first = p.place - (0 if len(a) == len(self._buffers[p.dtype]) else of_span.start)
            view = a[first : first + p.stop - p.start]
            found[p.name] = view if p.is_cut else view.reshape(p.shape)
        return found if self.is_nested or not found else next(iter(found.values()))

    def slices(self, span: tuple[int, int]) -> dict[np.dtype, slice]:
        """Return what a span has of each buffer, by dtype.

        Parameters
        ----------
        span : (int, int)
            First place in the index space, and the place after the last.

        Returns
        -------
        dict of slice by dtype
            Of a single dtype, it is ``{flat.dtype: slice(start, stop)}``.

        Raises
        ------
        ValueError
            If there are no such places.
        """
        found = dict.fromkeys(self._buffers, slice(0, 0))
        for p in self.pieces_of(span):
            first = found[p.dtype].start if found[p.dtype].stop else p.place
            found[p.dtype] = slice(first, p.place + p.stop - p.start)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return pack, (self.tree,)  # The tree of a copy consists of views, too.


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Return an array of zeros in one axis whose memory is aligned."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size * dtype.itemsize].view(dtype)


def numbers_for(name: str, a: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return an array as one that can be written to a target, bfloat16 as float32 unless the target is; raise if there is none."""
    if dtypes.is_bfloat16(a.dtype) and not dtypes.is_bfloat16(target.dtype):
        a = dtypes.widened(dtypes.plain(a)).reshape(a.shape)
    fits = np.can_cast(a.dtype, target.dtype, "same_kind") and (target.dtype.kind != "u" or dtypes.is_bfloat16(a.dtype))
    if not fits or not target.flags.writeable:
        wanted = "bfloat16" if dtypes.is_bfloat16(target.dtype) else target.dtype
        raise TypeError(f"{name!r}: {a.dtype}, expected what a writable array of {wanted} can hold")
    return a


def shaped(name: str, a: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of this shape, or raise."""
    found = np.asarray(a)
    if found.shape != shape:
        raise ValueError(f"{name!r}: shape {found.shape}, expected {shape}")
    return found


def pack(tree: Any) -> Packed:
    """Pack nested arrays into one array of one axis, which `minimize` and SciPy's functions take.

    Parameters
    ----------
    tree : arrays
        Arrays or numbers, nested in dicts, lists and tuples. They are copied; whole numbers become float64.

    Returns
    -------
    Packed
        Its ``flat`` is the array, its ``tree`` views of it; ``unpack(x)`` gives those of another array, and ``gather(grads)`` an
        array of nested ones.

    Raises
    ------
    TypeError, ValueError
        If there is no array, or something is no array of numbers.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> target = {"a": np.array([[1.0, 2.0]]), "b": 3.0}
    >>> packed = fo.pack({"a": np.zeros((1, 2)), "b": 0.0})
    >>> def fun(x):
    ...     params = packed.unpack(x)
    ...     difference = {k: params[k] - target[k] for k in params}
    ...     return sum(np.sum(d**2) for d in difference.values()), 2 * packed.gather(difference)
    >>> found = fo.minimize(fun, packed.flat, jac=True)
    >>> packed.unpack(found.x)["a"].round(3)
    array([[1., 2.]])
    """
    structure, given = flatten(listed(tree))
    leaves = [(name, np.asarray(a)) for name, a in given]
    if not leaves:
        raise ValueError("tree: no arrays, expected at least one")
    if bad := [f"{name!r}: {a.dtype}" for name, a in leaves if a.dtype.kind not in "fciu" and not dtypes.is_bfloat16(a.dtype)]:
        raise TypeError(f"{', '.join(bad)}: expected arrays of numbers")
    kept = [a if a.dtype.kind in "fc" or dtypes.is_bfloat16(a.dtype) else a.astype(np.float64) for _, a in leaves]
    return Packed(structure, list(zip([name for name, _ in leaves], kept, strict=True)))
