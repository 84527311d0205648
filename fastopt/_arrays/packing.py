"""Packing: nested arrays as one array of one axis, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .tree import Structure, collect, flatten, listed, unflatten

ALIGNMENT = 64  # Bytes of a cache line, and of the widest vectors.


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
        self._buffers = {dtype: aligned(size, dtype) for dtype, size in sizes.items()}
        self.flat = self._given(self._buffers)
        self.tree = self.unpack(self.flat)
        self.gather(unflatten(structure, iter([a for _, a in leaves])), self.flat)

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
        given = zip(self.names, self._shapes, self._dtypes, collect(self._structure, tree, "tree"), strict=True)
        arrays = [(name, dtype, shaped(name, a, shape)) for name, shape, dtype, a in given]
        buffers = {d: np.empty(a.shape, d) for d, a in self._buffers.items()} if out is None else self._checked("out", out)
        for name, dtype, a in arrays:
            if not np.can_cast(a.dtype, buffers[dtype].dtype, "same_kind") or not buffers[dtype].flags.writeable:
                raise TypeError(f"{name!r}: {a.dtype}, expected what a writable array of {buffers[dtype].dtype} can hold")
        # Views of what is written are read first.
        parts = [(name, dtype, a if out is None else a.copy()) for name, dtype, a in arrays]
        for name, dtype, a in parts:
            start = self.offsets[name]
            buffers[dtype][start : start + a.size] = a.reshape(-1)
        return self._given(buffers)

    def __reduce__(self) -> tuple[Any, ...]:
        return pack, (self.tree,)  # The tree of a copy consists of views, too.


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Return an array of zeros in one axis whose memory is aligned."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size * dtype.itemsize].view(dtype)


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
    if bad := [f"{name!r}: {a.dtype}" for name, a in leaves if a.dtype.kind not in "fciu"]:
        raise TypeError(f"{', '.join(bad)}: expected arrays of numbers")
    return Packed(structure, [(name, a if a.dtype.kind in "fc" else a.astype(np.float64)) for name, a in leaves])
