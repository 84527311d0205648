"""Memory operations on a CUDA device, by CuPy, and checks of its gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._arrays import dtypes, layout
from .._arrays.memory import Memory
from .._arrays.row_gradient import RowGradient, as_indices, check_below, check_rows_allowed, of_matrix, walked_rows


def is_cupy(a: object) -> bool:
    """Return True for a CuPy array, without importing CuPy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(a, cupy.ndarray)


def first_of(tree: object) -> Any:
    """Return the first CuPy array in a tree of parameters; None without one."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return next((found for x in tree if (found := first_of(x)) is not None), None)
    return tree if is_cupy(tree) else None


class DeviceMemory(Memory):
    """Operations on arrays of one device.

    Attributes
    ----------
    device : int
    """

    def __init__(self, device: int) -> None:
        import cupy

        self.cupy, self.device = cupy, device

    def device_context(self) -> Any:
        """Return a context in which arrays are allocated, and kernels run, on the device."""
        return self.cupy.cuda.Device(self.device)

    @staticmethod
    def shared(what: str, a: Any) -> Any:
        return a

    @staticmethod
    def private_copies(tree: Any) -> Any:
        return tree

    def check(self, what: str, a: object) -> None:  # type: ignore[override]
        if not is_cupy(a):
            raise TypeError(f"{what}: {type(a).__name__}, expected a CuPy array, as other parameters are")
        self.check_device(what, a)
        layout.check_writable(what, self.located(a))

    def check_device(self, what: str, a: Any) -> None:
        if a.device.id != self.device:
            raise ValueError(f"{what}: on device {a.device.id}, expected device {self.device}, where the first parameter is")

    def view(self, a: Any) -> Any:  # type: ignore[override]
        return a.view(np.uint16) if dtypes.is_bfloat16(a.dtype) else a.view()

    def writable(self, a: Any) -> bool:  # type: ignore[override]
        return True

    def zeros(self, shape: Sequence[int] | int, dtype: np.dtype) -> Any:  # type: ignore[override]
        with self.device_context():
            return self.cupy.zeros(shape, dtype)

    def zeros_like(self, a: Any, dtype: np.dtype, order: Sequence[int], place: int) -> Any:  # type: ignore[override]
        walked = [k for k in order if k < a.ndim]
        return self.zeros([a.shape[k] for k in walked], dtype).transpose([int(k) for k in np.argsort(walked)])

    def put(self, target: Any, values: Any) -> None:  # type: ignore[override]
        if target.size == 0:
            return
        with self.device_context(), np.errstate(all="ignore"):
            # Cast on the host: CuPy fills with +0.0 for -0.0, and flushes subnormals in casts.
            if not is_cupy(values):
                whole = np.broadcast_to(np.asarray(values).astype(target.dtype), target.shape)
                values = self.cupy.asarray(np.ascontiguousarray(whole).reshape(-1)).reshape(target.shape)
            target[...] = values

    def writing(self, target: Any, values: Any) -> Callable[[], object]:  # type: ignore[override]
        return partial(self.put, target, values)

    def array(self, x: Any, dtype: np.dtype) -> Any:  # type: ignore[override]
        return x.astype(dtype, copy=False)

    def widened(self, a: Any) -> Any:  # type: ignore[override]
        with self.device_context():
            if a.dtype == dtypes.BFLOAT16:
                return (a.astype(np.uint32) << np.uint32(16)).view(np.float32)
            return a.astype(np.float32 if a.dtype == np.float16 else a.dtype)

    def joined(self, a: Any, low: Any) -> Any:  # type: ignore[override]
        with self.device_context():
            return ((a.astype(np.uint32) << np.uint32(16)) + low.astype(np.int32).view(np.uint32)).view(np.float32)

    def host(self, a: Any) -> np.ndarray:  # type: ignore[override]
        with self.device_context():
            return a.get(order="C")  # type: ignore[no-any-return]

    def located(self, a: Any) -> np.ndarray:  # type: ignore[override]
        narrow = dtypes.is_bfloat16(a.dtype)
        if not a.size:
            return np.empty(a.shape, dtypes.bfloat16 if narrow else a.dtype)
        said = {"shape": a.shape, "strides": a.strides, "typestr": "<u2" if narrow else a.dtype.str, "version": 3}
        located = np.asarray(SimpleNamespace(__array_interface__={**said, "data": (a.data.ptr, False)}))
        return located.view(dtypes.bfloat16) if narrow else located

    def rows(self, parameter: Any, g: Any, accumulate: int, exact: bool) -> tuple[Any, Any, np.ndarray]:
        """Return a gradient of rows as `gradient` does: ascending rows, their values on the device, and their address."""
        name, p, what = parameter.name, parameter.array, f"gradient of {parameter.name!r}"
        check_rows_allowed(parameter, accumulate, exact)
        g = g if isinstance(g, RowGradient) else of_matrix(what, p, g)
        values, indices = g.values, check_below(what, as_indices(f"{what}, indices", g.indices), p)
        if not is_cupy(values):
            raise TypeError(f"{what}: values of {type(values).__name__}, expected an array on device {self.device}")
        self.check_device(what, values)
        located = self.located(values)
        layout.check_gradient(name, p, located, (indices.size, *p.shape[1:]))
        values = self.view(values)
        # Each row once, with the sum of its values in the given order.
        if (np.diff(indices) <= 0).any():
            places = np.argsort(indices, kind="stable")
            indices, first, count = np.unique(indices[places], return_index=True, return_counts=True)
            values = self.widened(values)[self.cupy.asarray(places)]
            total = values[self.cupy.asarray(first)]
            for k in range(1, int(count.max())):
                more = np.flatnonzero(count > k)
                targets = self.cupy.asarray(more)
                total[targets] = total[targets] + values[self.cupy.asarray(first[more] + k)]
            values = total
        flat = values.transpose(walked_rows(parameter))
        flat = flat if flat.flags.c_contiguous else self.cupy.ascontiguousarray(flat)
        return self.cupy.asarray(indices), flat, located

    def gradient(self, name: str, p: Any, order: Sequence[int], g: Any) -> tuple[Any, np.ndarray]:
        """Return a gradient as an array of this device, contiguous in the parameter's order of axes, and its address.

        It is copied if it is not contiguous in that order. Raises for anything else.
        """
        what = f"gradient of {name!r}"
        if isinstance(g, float) and p.ndim == 0:
            g = self.cupy.asarray(np.array([g])).reshape(())
        narrow = False
        if hasattr(g, "detach"):
            # A tensor that requires gradients itself does not show its memory.
            g = g.detach()
            if narrow := str(g.dtype) == "torch.bfloat16":
                import torch

                g = g.view(torch.int16)
        if not is_cupy(g) and hasattr(g, "__cuda_array_interface__"):
            # A view of an array of torch or another library.
            g = self.cupy.asarray(g)
            g = g.view(dtypes.bfloat16) if narrow else g
        if not is_cupy(g):
            raise TypeError(f"{what}: {type(g).__name__}, expected an array on device {self.device}")
        self.check_device(what, g)
        located = self.located(g)
        layout.check_gradient(name, p, located)
        walked = [k for k in order if k < g.ndim]
        flat = self.view(g).transpose(walked)
        return (flat if flat.flags.c_contiguous else self.cupy.ascontiguousarray(flat)), located
