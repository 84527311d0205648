"""Where an optimizer's arrays live, and what it asks of that place: here NumPy's memory; ``fastopt.cuda`` has that of a device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import dtypes, layout


class Memory:
    """NumPy's."""

    def here(self) -> AbstractContextManager[Any]:
        """Return a context in which arrays are made here."""
        return nullcontext()

    @staticmethod
    def shared(what: str, a: Any) -> Any:
        """Return an array over the memory of what a caller gave as a parameter, if it is none."""
        return layout.shared(what, a)

    @staticmethod
    def own(tree: Any) -> Any:
        """Return parameters in which what is read-only, as memory is that joblib and dask map into a process, is copied."""
        if isinstance(tree, dict):
            return {key: Memory.own(x) for key, x in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [Memory.own(x) for x in tree]
        return np.array(tree, order="K") if isinstance(tree, np.ndarray) and not tree.flags.writeable else tree

    @staticmethod
    def check(what: str, a: object) -> None:
        """Refuse what cannot be updated in place."""
        layout.check_writable(what, a)

    @staticmethod
    def view(a: Any) -> Any:
        """Return an own view of a parameter, as what it is in memory: bfloat16 as uint16."""
        return dtypes.plain(np.ndarray.view(a, np.ndarray))

    @staticmethod
    def writable(a: Any) -> bool:
        """Return whether a parameter may still be written."""
        return bool(a.flags.writeable)

    @staticmethod
    def zeros(shape: Sequence[int] | int, dtype: np.dtype) -> Any:
        return np.zeros(shape, dtype)

    @staticmethod
    def zeros_like(a: Any, dtype: np.dtype, order: Sequence[int], place: int) -> Any:
        """Return zeros of the same shape, to be walked beside `a` in this order of its axes."""
        return layout.zeros_like(a, dtype, order, place)

    @staticmethod
    def put(target: Any, values: Any) -> None:
        """Write numbers, or an array from here or from a file, into an array."""
        target[...] = values

    @staticmethod
    def array(x: Any, dtype: np.dtype) -> Any:
        """Return what arithmetic made of arrays from here, as an array."""
        return np.asarray(x, dtype)

    @staticmethod
    def widened(a: Any) -> Any:
        """Return a copy in the dtype that rules work in."""
        return dtypes.widened(a)

    @staticmethod
    def joined(a: Any, low: Any) -> Any:
        """Return float32 from bfloat16 and the bits that it dropped."""
        return dtypes.joined(a, low)

    @staticmethod
    def host(a: Any) -> np.ndarray:
        """Return a NumPy array in C order, which may be the very array."""
        return np.array(a, order="C", copy=None)

    @staticmethod
    def located(a: Any) -> np.ndarray:
        """Return where an array lies, as a NumPy array whose elements nobody reads."""
        return a  # type: ignore[no-any-return]


HOST = Memory()
