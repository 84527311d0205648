"""The CuPy names that fastopt uses, over NumPy's memory: kernels are the real text, compiled by g++ with ``shim.h``.

It is as strict as CuPy where that matters: its arrays are not NumPy's, and neither become those by themselves nor take them.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

SHIM = Path(__file__).with_name("shim.h")
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC"]
launches: list[tuple[str, int]] = []  # names and grids, of all
synchronizations: list[str] = []  # whatever made the host wait
uploads: list[int] = []  # sizes in bytes
log: list[str] = []  # writes, launches and waits, in their order


def unwrapped(x: Any) -> Any:
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, (tuple, list)):
        return type(x)(map(unwrapped, x))
    return x


def wrapped(x: Any, device: int = 0) -> Any:
    return ndarray(x if isinstance(x, np.ndarray) else np.asarray(x), device) if isinstance(x, (np.ndarray, np.generic)) else x


class ndarray:
    """An array on a device."""

    def __init__(self, a: np.ndarray, device: int = 0) -> None:
        assert type(a) is np.ndarray
        self._a, self.device = a, Device(device)

    dtype = property(lambda self: self._a.dtype)
    shape = property(lambda self: self._a.shape)
    strides = property(lambda self: self._a.strides)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    T = property(lambda self: wrapped(self._a.T, self.device.id))
    real = property(lambda self: wrapped(self._a.real, self.device.id))

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._a.ctypes.data if self._a.size else 0)

    @property
    def flags(self) -> Any:
        return types.SimpleNamespace(c_contiguous=self._a.flags.c_contiguous, f_contiguous=self._a.flags.f_contiguous)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._a.__array_interface__

    def __len__(self) -> int:
        return len(self._a)

    def __float__(self) -> float:
        synchronizations.append("float")
        return float(self._a)

    def __bool__(self) -> bool:
        synchronizations.append("bool")
        return bool(self._a)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        assert not any(isinstance(x, np.ndarray) and x.ndim for x in inputs), "Unsupported type <class 'numpy.ndarray'>"
        if out is not None:
            options["out"] = unwrapped(out)
        return wrapped(getattr(ufunc, method)(*unwrapped(inputs), **options), self.device.id)

    def __array_function__(self, function: Any, _: Any, inputs: Any, options: Any) -> Any:
        return wrapped(function(*unwrapped(inputs), **{k: unwrapped(x) for k, x in options.items()}), self.device.id)

    def get(self, order: str = "C") -> np.ndarray:
        synchronizations.append("get")
        return np.array(self._a, order=order)

    def set(self, a: np.ndarray, stream: Any = None) -> None:
        assert type(a) is np.ndarray and a.dtype == self.dtype and a.shape == self.shape and self._a.flags.c_contiguous
        if stream is None:
            synchronizations.append("set")
        uploads.append(a.nbytes)
        log.append("write")
        self._a[...] = a

    def __setitem__(self, key: Any, x: Any) -> None:
        if isinstance(x, np.ndarray) and x.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        assert current[-1] == self.device.id, f"device {current[-1]} is current, this is on device {self.device.id}"
        if not isinstance(x, ndarray) and x == 0:
            x = 0  # CuPy fills with bytes of zeros for -0.0
        log.append("write")
        self._a[unwrapped(key)] = unwrapped(x)

    def __getitem__(self, key: Any) -> Any:
        assert not any(isinstance(k, np.ndarray) for k in (key if isinstance(key, tuple) else (key,))), "Unsupported type"
        found = self._a[unwrapped(key)]
        return wrapped(found, self.device.id)

    def __reduce__(self) -> Any:
        return array, (self._a,)


def method(name: str) -> Any:
    def call(self: ndarray, *inputs: Any, **options: Any) -> Any:
        return wrapped(getattr(self._a, name)(*unwrapped(inputs), **options), self.device.id)

    return call


def operator(name: str) -> Any:
    def call(self: ndarray, other: Any) -> Any:
        if isinstance(other, np.ndarray) and other.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        found = getattr(self._a, name)(unwrapped(other))
        return self if found is self._a else wrapped(found, self.device.id)

    return call


for _name in ("view", "transpose", "reshape", "astype", "copy", "ravel", "max", "min", "sum", "any", "all"):
    setattr(ndarray, _name, method(_name))
for _name in (
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "lshift",
    "iadd",
    "imul",
    "isub",
    "lt",
    "gt",
    "eq",
    "ne",
):
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__"))
ndarray.__neg__ = lambda self: wrapped(-self._a, self.device.id)  # type: ignore[attr-defined]
ndarray.__module__ = "cupy"
current = [0]  # device


class Device:
    def __init__(self, id: int | None = None) -> None:
        self.id = current[-1] if id is None else id

    compute_capability = "80"

    def __enter__(self) -> Device:
        current.append(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        current.pop()


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    return ndarray(np.zeros(shape, dtype), current[-1])


def array(a: Any, dtype: Any = None) -> ndarray:
    made = np.array(unwrapped(a), dtype)
    if not made.ndim and made == 0:
        made = np.zeros_like(made)  # a number is filled, and -0.0 with +0.0
    return ndarray(made, current[-1])


def asarray(a: Any, dtype: Any = None) -> ndarray:
    if not isinstance(a, ndarray) and hasattr(a, "__cuda_array_interface__"):
        return ndarray(np.asarray(types.SimpleNamespace(__array_interface__=a.__cuda_array_interface__)), current[-1])
    return a if isinstance(a, ndarray) and dtype in (None, a.dtype) else array(a, dtype)


def ascontiguousarray(a: ndarray) -> ndarray:
    return wrapped(np.ascontiguousarray(a._a).reshape(a.shape), a.device.id)


class csr_matrix:
    """Matrix with the attributes of ``cupyx.scipy.sparse.csr_matrix`` that fastopt uses."""

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.shape, self.indptr = matrix, matrix.shape, ndarray(matrix.indptr)

    def tocsr(self) -> csr_matrix:
        return self

    def __getitem__(self, rows: ndarray) -> csr_matrix:
        return csr_matrix(self.matrix[rows._a])

    def toarray(self) -> ndarray:
        return ndarray(self.matrix.toarray())


class Module:
    counter = itertools.count()

    def load(self, cubin: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=f"{next(self.counter)}.so") as file:
            file.write(cubin)
            file.flush()
            self.library = ctypes.CDLL(file.name)

    def get_function(self, name: str) -> Any:
        address = ctypes.cast(getattr(self.library, name), ctypes.c_void_p)
        launch = self.library.shim_launch
        launch.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64]

        def run(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            assert block == (256,) and len(grid) == 1 and grid[0] > 0
            assert [type(x) for x in args] == [np.intp, np.int64, np.int64, np.int64]
            launches.append((name, grid[0]))
            log.append("launch")
            assert launch(address, grid[0], *map(int, args)) == 0, f"{name}: a barrier that not all threads reach"

        return run


streams = [0]  # the last is the current one
waits: list[tuple[int, int]] = []  # which stream waits for which


class Stream:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def synchronize(self) -> None:
        synchronizations.append("stream")

    def record(self) -> int:
        return self.ptr

    def wait_event(self, event: int) -> None:
        waits.append((self.ptr, event))
        log.append("wait")


class NVRTCError(RuntimeError):
    pass


def create(text: str, name: str, headers: Any, names: Any) -> dict[str, Any]:
    return {"text": text, "log": ""}


def compile_(program: dict[str, Any], options: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        flush = "-ftz=true" in options
        assert flush or "-ftz=false" in options
        source.write_text(f'#define SHIM_FLUSH {int(flush)}\n#include "{SHIM}"\n{program["text"]}')
        done = subprocess.run(["g++", *FLAGS, source, "-o", library], capture_output=True, text=True)
        program["log"] = done.stderr
        if done.returncode:
            raise NVRTCError(f"NVRTC_ERROR_COMPILATION ({done.returncode})")
        program["code"] = library.read_bytes()


def modules() -> dict[str, Any]:
    """CuPy's modules by name."""
    cupy, cuda, function, nvrtc = (
        types.ModuleType(name) for name in ("cupy", "cupy.cuda", "cupy.cuda.function", "cupy.cuda.nvrtc")
    )
    for f in (ndarray, zeros, array, asarray, ascontiguousarray):
        setattr(cupy, f.__name__, f)
    cupy.cuda, cuda.Device, cuda.function, cuda.nvrtc, function.Module = cuda, Device, function, nvrtc, Module  # type: ignore[attr-defined]
    cuda.get_current_stream = lambda: Stream(streams[-1])  # type: ignore[attr-defined]
    nvrtc.NVRTCError, nvrtc.createProgram, nvrtc.compileProgram = NVRTCError, create, compile_  # type: ignore[attr-defined]
    nvrtc.getCUBIN = nvrtc.getPTX = lambda program: program["code"]  # type: ignore[attr-defined]
    nvrtc.getProgramLog, nvrtc.destroyProgram = lambda program: program["log"], lambda program: None  # type: ignore[attr-defined]
    nvrtc.getVersion, nvrtc.getSupportedArchs = lambda: (0, 0), lambda: (75, 80, 90)  # type: ignore[attr-defined]
    return {m.__name__: m for m in (cupy, cuda, function, nvrtc)}


@contextlib.contextmanager
def installed() -> Any:
    """Install this module as CuPy, within a `with` block."""
    before = {name: x for name, x in sys.modules.items() if name.partition(".")[0] == "cupy"}
    for name in before:
        del sys.modules[name]
    found = modules()
    sys.modules.update(found)
    try:
        yield found["cupy"]
    finally:
        for name in found:
            del sys.modules[name]
        sys.modules.update(before)
