"""Batches: rows of arrays in a random order, or what an iterable gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import repeat
from numbers import Real
from typing import Any

import numpy as np

from ..domains import check_bool, whole

CHUNK = 1 << 18  # Bytes of rows that are gathered at once: a near cache holds them.

Batch = tuple[Any, ...]


class Arrays:
    """Batches of rows of arrays, which are equally many.

    Attributes
    ----------
    rows, count : int
        Rows and batches of an epoch; None for a `Stream` that does not tell.
    settings : dict
        Numbers that a run that is resumed must have in common with the one that was saved.
    """

    def __init__(self, data: Any, batch_size: Any, shuffle: Any) -> None:
        self.arrays = arrays_of(data)
        n = self.rows = self.arrays[0].shape[0]
        size = n if batch_size is None else whole(batch_size)
        if size is None or size < 1:
            raise ValueError(f"batch_size: {batch_size!r}, expected a whole number of at least 1, or None for all rows")
        self.size, self.shuffle = min(size, n), check_bool("shuffle", shuffle)
        self.count = -(-n // self.size)
        self.settings = {"rows": n, "batch_size": self.size, "shuffle": self.shuffle}
        width = max(bytes_of_rows(a) for a in self.arrays)
        self.together = max(CHUNK // max(width * self.size, 1), 1)  # Batches that are gathered at once.

    def draw(self, rng: np.random.Generator) -> np.ndarray | None:
        """Return the order of an epoch, None for that of the rows."""
        return rng.permutation(self.rows) if self.shuffle else None

    def batches(self, order: np.ndarray | None, first: int) -> Iterator[tuple[int, Batch]]:
        """Yield the number of rows of each batch of an epoch, and the batch, from batch `first` on."""
        size, n = self.size, self.rows
        if any(map(is_sparse, self.arrays)):
            for start in range(first * size, n, size):
                stop = min(start + size, n)
                yield stop - start, tuple([rows_at(a, start, stop, order) for a in self.arrays])
            return
        step = n if order is None else self.together * size
        for start in range(first * size, n, step):
            yield from parts_of([rows_at(a, start, min(start + step, n), order) for a in self.arrays], size)


def parts_of(arrays: list[Any], size: int) -> Iterator[tuple[int, Batch]]:
    """Yield batches of arrays, views of neighbouring rows; one array with another axis gives these fastest."""
    count, rest = divmod(arrays[0].shape[0], size)
    stop = count * size
    if count:
        yield from zip(repeat(size), zip(*[a[:stop].reshape(count, size, *a.shape[1:]) for a in arrays], strict=True))
    if rest:
        yield rest, tuple([a[stop:] for a in arrays])


def rows_at(a: Any, start: int, stop: int, order: np.ndarray | None) -> Any:
    """Return the rows at places of an order; those of a memory map are read in the order of the file."""
    if order is None:
        return a[start:stop]
    places = order[start:stop]
    if isinstance(a, np.memmap) or is_stored(a):
        ascending = places.argsort()
        found = np.empty((len(places), *a.shape[1:]), a.dtype)
        found[ascending] = a[places[ascending]]
        return found
    return a.take(places, 0, mode="clip") if type(a) is np.ndarray else a[places]


class Stream:
    """Batches of an iterable, which is iterated anew in each epoch."""

    rows = None

    def __init__(self, data: Iterable[Any], batch_size: Any, epochs: int) -> None:
        if batch_size is not None:
            raise ValueError(f"batch_size: {batch_size!r} for an iterable of batches, expected none: it has its own")
        if epochs > 1 and iter(data) is data:
            raise ValueError(
                f"data: {type(data).__name__} gives its batches once, expected one that can be iterated {epochs} times"
            )
        self.data = data
        self.count = len(data) if isinstance(data, Sized) else None
        self.settings = {"rows": None, "batch_size": None, "shuffle": None}

    def draw(self, _: np.random.Generator) -> None:
        """Return None: the iterable has its own order."""

    def batches(self, _: None, first: int) -> Iterator[tuple[int, Batch]]:
        """Yield the number of rows of each batch of an epoch, and the batch, from batch `first` on."""
        k = -1
        for k, given in enumerate(self.data):
            if k >= first:
                batch = tuple(given) if isinstance(given, (tuple, list)) else (given,)
                yield length_of(k, batch), batch
        if k < 0:
            raise ValueError("data: no batch, expected at least one in each epoch")


def length_of(k: int, batch: Batch) -> int:
    """Return the number of rows of a batch of an iterable, or raise."""
    first = batch[0] if batch else ()
    shape = getattr(first, "shape", None)
    n = len(first) if shape is None and hasattr(first, "__len__") else shape[0] if shape else 1
    if not n:
        raise ValueError(f"batch {k} of the data: no rows, expected at least 1")
    return int(n)


def batches_of(data: Any, batch_size: Any, shuffle: Any, epochs: int = 1) -> Arrays | Stream:
    """Return the batches of data: an array, several, or an iterable of batches."""
    if is_stream(data):
        return Stream(data, batch_size, epochs)
    return Arrays(data, batch_size, shuffle)


def is_stream(data: Any) -> bool:
    """Return True for an iterable of batches: neither an array, nor a tuple of arrays, nor a list of arrays or numbers."""
    if isinstance(data, tuple) or hasattr(data, "shape") or has_rows(data):
        return False
    if isinstance(data, list):
        return bool(data) and all(isinstance(x, tuple) for x in data) and any(has_rows(a) for x in data for a in x)
    return hasattr(data, "__iter__") and not isinstance(data, (str, bytes, dict))


def is_sparse(a: Any) -> bool:
    """Return True for a sparse array or matrix of SciPy."""
    return hasattr(a, "tocsr")


def is_stored(a: Any) -> bool:
    """Return True for an array in a file that is read part by part, as of h5py and zarr."""
    return hasattr(a, "chunks") and hasattr(a, "shape") and isinstance(getattr(a, "dtype", None), np.dtype)


def has_rows(a: Any) -> bool:
    """Return True for an array of NumPy, SciPy, CuPy or a file, or a table that converts to one."""
    is_table = hasattr(a, "to_numpy")
    return isinstance(a, np.ndarray) or is_sparse(a) or is_table or hasattr(a, "__cuda_array_interface__") or is_stored(a)


def bytes_of_rows(a: Any) -> int:
    """Return the size of a row in bytes."""
    return 0 if is_sparse(a) else int(a.dtype.itemsize * np.prod(a.shape[1:], dtype=np.int64))


def rows_of(k: int, a: Any) -> Any:
    """Return array `k` of the data as numbers with rows, or raise."""
    if is_sparse(a):
        a = a.tocsr()
    elif hasattr(a, "to_numpy"):
        a = a.to_numpy()
        # Columns of several types.
        if a.dtype == object and all(isinstance(x, Real) for x in a.flat):
            a = a.astype(np.float64)
    elif not has_rows(a):
        try:
            a = np.asarray(a)
        except ValueError:
            a = np.array(a, object)
    dtype = np.dtype(getattr(a, "dtype", object))
    if (dtype.kind not in "biufc" and dtype.isbuiltin != 2) or len(a.shape) == 0:
        raise TypeError(f"data {k}: {type(a).__name__} of {dtype}, expected an array of numbers with rows")
    return a


def arrays_of(data: Any) -> tuple[Any, ...]:
    """Return the arrays of a data set, whose rows must be equally many."""
    several = isinstance(data, tuple) or (isinstance(data, list) and bool(data) and all(map(has_rows, data)))
    arrays = tuple(rows_of(k, a) for k, a in enumerate(data if several else (data,)))
    lengths = {a.shape[0] for a in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"data: lengths {[a.shape[0] for a in arrays]}, expected the same, at least 1")
    return arrays
