"""Memory operations of an optimizer, for NumPy arrays; `fastopt.cuda.memory` implements them for CuPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import dtypes, layout
from .changes import writing


class Memory:
    """Operations on NumPy arrays."""

    def device_context(self) -> AbstractContextManager[Any]:
        """Return a context in which new arrays are on this device."""
        return nullcontext()

    @staticmethod
    def shared(what: str, a: Any) -> Any:
        """Return an array over the memory of a parameter of another library; an array as it is."""
        return layout.shared(what, a)

    @staticmethod
    def private_copies(tree: Any) -> Any:
        """Copy read-only arrays of a tree of parameters, such as memory that joblib and dask map into a process."""
        if isinstance(tree, dict):
            return {key: Memory.private_copies(x) for key, x in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [Memory.private_copies(x) for x in tree]
        return np.array(tree, order="K") if isinstance(tree, np.ndarray) and not tree.flags.writeable else tree

    @staticmethod
    def check(what: str, a: object) -> None:
        """Raise if an array cannot be updated in place."""
        layout.check_writable(what, a)

    @staticmethod
    def view(a: Any) -> Any:
        """Return a private view of a parameter with its storage dtype: bfloat16 as uint16."""
        return dtypes.plain(np.ndarray.view(a, np.ndarray))

    @staticmethod
    def writable(a: Any) -> bool:
        """Return True if a parameter may still be written."""
        return bool(a.flags.writeable)

    @staticmethod
    def zeros(shape: Sequence[int] | int, dtype: np.dtype) -> Any:
        return np.zeros(shape, dtype)

    @staticmethod
    def zeros_like(a: Any, dtype: np.dtype, order: Sequence[int], place: int) -> Any:
        """Return zeros of the same shape, to be read together with `a` in this order of its axes."""
        return layout.zeros_like(a, dtype, order, place)

    @staticmethod
    def put(target: Any, values: Any) -> None:
        """Write numbers, or an array of this memory or of a file, into an array."""
        target[...] = values

    @staticmethod
    def writing(target: Any, values: Any) -> Callable[[], object]:
        """Return the change that does so; see `commit`."""
        return writing(target, values)

    @staticmethod
    def array(x: Any, dtype: np.dtype) -> Any:
        """Return the result of arithmetic as an array."""
        return np.asarray(x, dtype)

    @staticmethod
    def widened(a: Any) -> Any:
        """Return a copy in the dtype that rules compute in."""
        return dtypes.widened(a)

    @staticmethod
    def joined(a: Any, low: Any) -> Any:
        """Return float32 from bfloat16 and the low bits that it drops."""
        return dtypes.joined(a, low)

    @staticmethod
    def host(a: Any) -> np.ndarray:
        """Return a NumPy array in C order, which may be the array itself."""
        return np.array(a, order="C", copy=None)

    @staticmethod
    def located(a: Any) -> np.ndarray:
        """Return a NumPy array of the same address and shape, whose elements are never read."""
        return a  # type: ignore[no-any-return]


HOST = Memory()
