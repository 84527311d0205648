"""The C interface for other code: headers, addresses of its functions, and the kernels as one file of C."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

STATES, ARRAYS = 6, 2  # as in include/fastopt.h
FORMATS = ("float32", "float64", "bfloat16", "float16", "float8")  # by their numbers in C


def _struct(**fields: Any) -> np.dtype:
    return np.dtype([(name, *x) if isinstance(x, tuple) else (name, x) for name, x in fields.items()], align=True)


USE = _struct(stage="u8", hyperparameters="u8", arrays=("u8", ARRAYS))
UPDATE = _struct(
    size="u8", rule="u8", n="i8", t="i8", param_format="i4", grad_format="i4", state_format="i4", nearest="i4", param_in="u8",
    param_out="u8", grad="u8", state=("u8", STATES), exponents=("u8", STATES), master="u8", low="u8", hyperparameters="u8",
    kept_in="u8", kept_out="u8", stages="u8", n_stages="i4", seed="u4", position="i8",
)  # fmt: skip


def get_include() -> str:
    """The folder of ``fastopt.h``, for C compilers; Cython finds ``cimport fastopt`` by itself.

    Returns
    -------
    str
    """
    return str(Path(__file__).parent / "include")


def _interface() -> ModuleType:
    from .engine import interface

    return interface


def addresses() -> dict[str, int]:
    """Where the functions of ``fastopt.h`` are in memory, by name: for ctypes, cffi, numba, and other callers of C.

    Returns
    -------
    dict of str to int

    Raises
    ------
    ImportError
        Where this process runs without the compiled engine.

    Examples
    --------
    >>> import ctypes
    >>> find = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(addresses()["fastopt_find_rule"])
    >>> find(b"adam") is not None, find(b"adamm") is None
    (True, True)
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return {key: pointer(x, name(x)) for key, x in _interface().__pyx_capi__.items()}


def capsule() -> Any:
    """All functions of ``fastopt.h`` in a ``fastopt_interface``: the capsule "fastopt.interface", for extensions in C.

    Returns
    -------
    PyCapsule

    Raises
    ------
    ImportError
        Where this process runs without the compiled engine.
    """
    return _interface().CAPSULE


def updates(count: int) -> np.ndarray:
    """Descriptions of so many steps, ``fastopt_update`` in C: zeros, but for their size.

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray of a structured dtype, shape (count,)
        Pointers are unsigned integers: an array's is ``a.ctypes.data``. Whatever they point to, keep it alive.

    Examples
    --------
    >>> import numpy as np
    >>> p, g, m, v = np.ones(3), np.array([1.0, 2.0, -1.0]), np.zeros(3), np.zeros(3)
    >>> (u,) = updates(1)
    >>> find = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(addresses()["fastopt_find_rule"])
    >>> u["rule"], u["n"], u["t"] = find(b"adam"), 3, 1
    >>> u["param_format"] = u["grad_format"] = u["state_format"] = FORMATS.index("float64")
    >>> u["param_in"] = u["param_out"] = p.ctypes.data
    >>> u["grad"], u["state"][:2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
    >>> apply = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)(addresses()["fastopt_apply"])
    >>> apply(u.__array_interface__["data"][0], 1, 1)
    0
    >>> p.round(6)
    array([0.999, 0.999, 1.001])
    """
    made = np.zeros(count, UPDATE)
    made["size"] = UPDATE.itemsize
    return made
