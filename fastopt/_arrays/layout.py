"""Layout of arrays in memory: the order of their axes, and checks of what callers pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dtypes import DTYPES, bfloat16, is_bfloat16, plain
from .overlap import address, check_disjoint, may_share_memory, overlaps_itself

PAGE = 4096
# Large arrays that a step reads together begin in a page this many bytes apart.
STAGGER = 17 * 64
FLOATS = "efdg"
COMPLEX = "FDG"
# Shapes of the factors of matrices.
LINES: dict[str | None, Callable[[tuple[int, ...]], tuple[int, ...]]] = {
    "of_rows": lambda shape: shape[:-1],
    "of_columns": lambda shape: (*shape[:-2], shape[-1]),
    "of_ratios": lambda shape: shape[:-1],
}


def rows_per_chunk(rows: int, columns: int) -> int:
    """Return the rows of a matrix whose columns are summed together. It depends on the shape alone, as the bits do."""
    return max(64, (rows + 15) // 16, 2048 // max(1, columns) + 1)


def reals(a: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return shape, strides and item size in bytes of an array's real numbers, with at least one axis.

    A complex array has one more axis of length 2.
    """
    if a.dtype.kind == "c":
        half = a.itemsize // 2
        return (*a.shape, 2), (*a.strides, half), half
    return a.shape or (1,), a.strides or (a.itemsize,), a.itemsize


def axes(a: np.ndarray) -> list[int]:
    """Return the axes of the array's reals, slowest in memory first."""
    shape, strides, _ = reals(a)
    return sorted(range(len(shape)), key=lambda k: (-abs(strides[k]), k))


def zeros_like(a: np.ndarray, dtype: np.dtype | None = None, order: Sequence[int] | None = None, place: int = 0) -> np.ndarray:
    """Return zeros of the same shape, in this order of axes; with the same dtype also at the same address modulo 64.

    `place` counts the arrays that a step reads together with `a`. If large ones began at the same offset in a page, the processor
    would take a read of one for a read of what was just written to another (4K aliasing); so each begins elsewhere.
    """
    dtype = a.dtype if dtype is None else dtype
    size = a.size * dtype.itemsize
    period, offset = (PAGE, STAGGER * place) if size >= 16 * PAGE else (64, 0)
    raw = np.zeros(size + period, np.uint8)
    like, first = address(a), address(raw)
    start = (like - (like % 64 if dtype != a.dtype else 0) + offset - first) % period
    if start % (dtype.itemsize // (2 if dtype.kind == "c" else 1)):
        start = -first % 64
    walked = [k for k in (axes(a) if order is None else order) if k < a.ndim]
    flat = raw[start : start + size].view(dtype)
    return flat.reshape([a.shape[k] for k in walked]).transpose(np.argsort(walked)) if a.ndim > 1 else flat.reshape(a.shape)


def working_dtype(a: np.ndarray) -> np.dtype:
    """Return the dtype that rules compute in: float32 for 16-bit formats."""
    return np.dtype(np.float32) if a.dtype.itemsize == 2 else a.dtype


def state_dtype(name: str, a: np.ndarray, chosen: str | None) -> np.dtype:
    """Return the storage dtype of a parameter's state."""
    if chosen is None:
        # The range of float16 is too small for second moments.
        return working_dtype(a) if a.dtype == np.float16 else a.dtype
    if working_dtype(a) != np.float32:
        raise ValueError(f"state_dtype: {chosen!r} for parameter {name!r} of {a.dtype}, expected float32, float16 or bfloat16")
    return DTYPES[chosen]


def on_host(a: Any) -> Any:
    """Return an array on a CUDA device as a NumPy array; anything else as it is."""
    return a.get() if hasattr(a, "__cuda_array_interface__") and hasattr(a, "get") else a


def shared(what: str, a: Any) -> Any:
    """Return a NumPy array over the memory of another library's array (DLPack, buffer protocol); anything else as it is."""
    if isinstance(a, np.ndarray):
        return a
    if any(c.__module__.partition(".")[0] == "torch" for c in type(a).__mro__) and hasattr(a, "detach"):
        return of_torch(what, a)
    try:
        return np.from_dlpack(a) if hasattr(a, "__dlpack__") else np.asarray(memoryview(a))
    except TypeError:
        return a
    except (BufferError, RuntimeError, ValueError) as error:
        raise TypeError(f"{what}: {type(a).__name__}, which does not share its memory: {error}") from error


def of_torch(what: str, a: Any) -> np.ndarray:
    """Return an array over a tensor's memory; bfloat16 by its bits, which NumPy's protocols do not know."""
    if hasattr(a, "to_local") and hasattr(a, "placements"):
        raise TypeError(f"{what}: a DTensor, of which this process has a part, expected one that is whole in each process")
    a = a.detach()
    if a.device.type != "cpu" or str(a.layout) != "torch.strided":
        where = f"on {a.device}" if a.device.type != "cpu" else f"of layout {a.layout}"
        raise TypeError(f"{what}: a tensor {where}, expected a dense one on the CPU")
    if a.numel() and a.data_ptr() == 0:
        raise TypeError(f"{what}: a tensor whose memory was freed, expected one that has some")
    if str(a.dtype) == "torch.bfloat16":
        import torch

        return a.view(torch.int16).numpy().view(bfloat16)  # type: ignore[no-any-return]
    try:
        return a.numpy()  # type: ignore[no-any-return]
    # Lazily negated or conjugated.
    except RuntimeError as error:
        raise TypeError(f"{what}: a tensor that does not share its memory: {error}") from error


def check_array(what: str, a: object) -> np.ndarray:
    """Return the array, or raise the error that says why no kernel can read it."""
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{what}: a masked array, expected a plain one, which a.filled(0) makes")
    if not isinstance(a, np.ndarray):
        view = "; numpy.from_dlpack(x) shares its memory" if hasattr(a, "__dlpack__") else ""
        raise TypeError(f"{what}: {type(a).__name__}, expected a NumPy array{view}")
    if not a.dtype.isnative:
        raise TypeError(f"{what}: dtype {a.dtype} in foreign byte order, expected native")
    if a.dtype.char not in "efdFD" and not is_bfloat16(a.dtype):
        hints = {np.uint16: "; bits of bfloat16 as a.view(fastopt.bfloat16)", np.uint8: "; bytes as memoryview(x).cast('f')"}
        hint = hints.get(a.dtype.type, "")
        raise TypeError(f"{what}: dtype {a.dtype}, expected float32, float64, complex64, complex128, float16 or bfloat16{hint}")
    return plain(a)  # type: ignore[no-any-return]


def check_writable(what: str, a: object) -> np.ndarray:
    """Return the array, or raise the error that says why it cannot be updated in place."""
    a = check_array(what, a)
    if not a.flags.writeable:
        raise ValueError(f"{what}: {read_only(a)}")
    if overlaps_itself(a):
        raise ValueError(f"{what}: its elements share memory, expected each at its own place")
    return a


def read_only(a: np.ndarray) -> str:
    """Return what makes an array read-only, and what to do about it."""
    owner: Any = a
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap) and owner.base is not None:
        owner = owner.base
    if isinstance(owner, np.memmap):
        return f"read-only, a memory map with mode={owner.mode!r}, expected 'r+' or 'w+'"
    if isinstance(owner, np.ndarray):
        own = owner is a or owner.flags.writeable
        way = "a.flags.writeable = True, or np.array(a) for a copy" if own and not overlaps_itself(a) else "np.array(a) for a copy"
        return f"read-only, expected a writable array: {way}"
    name = f"{type(owner).__module__}.{type(owner).__qualname__}".removeprefix("builtins.")
    name = "DLPack, as JAX's arrays always are" if name == "PyCapsule" else name
    return f"read-only memory of {name}; expected a writable array, which np.array(a) makes"


def check_input(name: str, a: object, p: np.ndarray) -> None:
    """Raise unless this is an array of the parameter's dtype and shape."""
    a = check_array(name, a)
    if a.dtype.itemsize == 2:
        raise TypeError(f"{name}: dtype {a.dtype}, expected float32, float64, complex64 or complex128")
    if a.shape != p.shape:
        raise ValueError(f"{name}: shape {a.shape}, expected {p.shape}")
    if a.dtype != p.dtype:
        raise TypeError(f"{name}: dtype {a.dtype}, expected {p.dtype}")


def as_arguments(state: Sequence[str], given: Sequence[Any], out: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments of a rule's function as arrays, and arrays to write; the gradient is checked later.

    A number or list is an array of floats; None among the arrays to write is a new one.
    """
    p, g, *rest = given
    p = as_input("p", p)
    inputs = [p, *(as_input(name, a, p) for name, a in zip(state, rest, strict=True))]
    if isinstance(g, (int, float, complex, list, tuple)) and not isinstance(g, bool):
        g = of_numbers("gradient of 'p'", g, None)
    if isinstance(out, (tuple, list)) and len(out) == len(inputs):
        asked, out = out, tuple(np.array(a, order="K", subok=False) if x is None else x for x, a in zip(out, inputs, strict=True))
        # A new array is a copy of the input, and then stands for it, so that the step is in place.
        inputs = [new if x is None else a for x, new, a in zip(asked, out, inputs, strict=True)]
    return (inputs[0], g, *inputs[1:]), out


def as_input(name: str, a: Any, p: Any = None) -> Any:
    """Return a parameter or state as an array, without a copy if possible; anything that is no numbers as it is."""
    if isinstance(a, (np.ndarray, bool)):
        return a
    if isinstance(a, (list, tuple)) or (isinstance(a, (int, float, complex)) and not isinstance(a, np.generic)):
        return of_numbers(name, a, getattr(p, "dtype", None))
    a = shared(name, a)
    return np.asarray(a) if isinstance(a, np.generic) or hasattr(a, "__array__") else a


def of_numbers(name: str, a: Any, dtype: np.dtype | None) -> np.ndarray:
    """Return Python's numbers as an array of a dtype, by default of float64 or complex128."""
    try:
        x = np.asarray(a)
    except ValueError:
        raise ValueError(f"{name}: lists of different lengths, expected an array") from None
    if x.dtype.kind not in "iufc" and x.size:
        raise TypeError(f"{name}: a list of {x.dtype}, expected numbers")
    wide = np.dtype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return x.astype(dtype if dtype is not None and np.can_cast(wide, dtype, "same_kind") else wide)


def check_outputs(state: Sequence[str], inputs: Sequence[np.ndarray], g: np.ndarray, out: object) -> tuple[np.ndarray, ...]:
    """Return the arrays to write. Each is the input in its place, or shares no memory with any other array."""
    names = ["p", *state]
    if not isinstance(out, (tuple, list)) or len(out) != len(names):
        raise TypeError(f"out: {type(out).__name__}, expected None, 'inplace' or ({', '.join(names)}{',' * (len(names) == 1)})")
    for k, (name, a) in enumerate(zip(names, out, strict=True)):
        where = f"out, {name}"
        check_input(where, check_writable(where, a), inputs[0])
        in_place = a is inputs[k] or (a.ctypes.data == inputs[k].ctypes.data and a.strides == inputs[k].strides)
        others = {"the gradient": g} | {n: b for j, (n, b) in enumerate(zip(names, inputs, strict=True)) if j != k or not in_place}
        others |= {f"out, {n}": b for n, b in zip(names[:k], out[:k], strict=True)}
        for what, b in others.items():
            if may_share_memory(a, b):
                raise ValueError(f"{where}: shares memory with {what}")
    return tuple(out)


def packed(a: np.ndarray) -> np.ndarray:
    """Return a copy in C order."""
    return np.array(a, order="C")


def check_clearable(name: str, g: np.ndarray) -> None:
    """Raise if ``zero_grads`` cannot clear a gradient in place."""
    if not g.flags.writeable or overlaps_itself(g):
        raise ValueError(f"gradient of {name!r}: read-only or overlapping itself, expected an array that zero_grads can clear")


def check_bindable(parameters: Sequence[Any], grads: Sequence[Any], clears: bool) -> list[Any]:
    """Return gradients as arrays that can be bound, and cleared if `clears`; raise for others."""
    found = []
    for parameter, g in zip(parameters, grads, strict=True):
        what = f"gradient of {parameter.name!r}"
        a = g if g is None else shared(what, g)
        if not isinstance(a, (np.ndarray, type(None))):
            raise TypeError(f"{what}: {type(a).__name__}, expected an array to bind")
        if clears and a is not None:
            check_clearable(parameter.name, a)
        found.append(a)
    if clears:
        check_disjoint((f"gradient of {s.name!r}", a) for s, a in zip(parameters, found, strict=True) if a is not None)
    return found


def is_buffer(a: object) -> bool:
    """Return True if an object has the buffer protocol. bytes and bytearray are taken for text, not for numbers."""
    try:
        return not isinstance(a, (bytes, bytearray)) and bool(memoryview(a).format)  # type: ignore[arg-type]
    except TypeError:
        return False


def converted(name: str, g: Any) -> np.ndarray:
    """Return an object of another library as an array, on the CPU and without a copy if possible."""
    try:
        a = shared(f"gradient of {name!r}", g)
    except TypeError:
        if not hasattr(g, "__array__") or hasattr(g, "detach"):
            raise
        # JAX's bfloat16, which NumPy's DLPack does not know.
        a = g
    try:
        return a if isinstance(a, np.ndarray) else np.asarray(g)
    except Exception as error:
        raise TypeError(f"gradient of {name!r}: {type(g).__name__}, which gives no array: {error}") from error


def check_gradient(name: str, p: np.ndarray, g: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return the gradient as an array of the parameter's shape, or of `shape`, without a copy; raise for anything else."""
    g = as_gradient(name, p, g)
    narrow = is_bfloat16(g.dtype)
    g = plain(g)
    kinds = COMPLEX if p.dtype.kind == "c" else FLOATS
    if g.dtype.char not in kinds and not (narrow and kinds is FLOATS):
        expected = "a complex" if kinds is COMPLEX else "a real floating-point"
        raise TypeError(f"gradient of {name!r}: dtype {g.dtype}, expected {expected} dtype")
    if not g.dtype.isnative:
        raise TypeError(f"gradient of {name!r}: dtype {g.dtype} in foreign byte order, expected native")
    shape = p.shape if shape is None else shape
    if g.shape != shape:
        raise ValueError(f"gradient of {name!r}: shape {g.shape}, expected {shape}")
    return g  # type: ignore[no-any-return]


def as_gradient(name: str, p: np.ndarray, g: Any) -> np.ndarray:
    """Return a gradient as an array: an array, a float for a 0-d parameter, or an array of another library."""
    if isinstance(g, np.ma.MaskedArray):
        raise TypeError(f"gradient of {name!r}: a masked array, expected a plain one, which g.filled(0) makes")
    if isinstance(g, np.ndarray):
        return g
    if isinstance(g, float) and p.ndim == 0:
        return np.array(g)
    if isinstance(g, np.generic) or hasattr(g, "__array__") or hasattr(g, "__dlpack__") or is_buffer(g):
        return converted(name, g)
    raise TypeError(f"gradient of {name!r}: {type(g).__name__}, expected an array")
