"""Compiled objectives: functions in C, of numba or by ctypes, as addresses of code and data."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

CHUNK = 2e-3  # Seconds of a compiled loop until signals and limits are looked at.

try:
    from . import loops
except ImportError:  # Nothing is compiled.
    loops = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from .minimizer import Minimizer

ONE = "double (size_t n, const double *x, double *grad, void *data)"
SIGNATURES = {4: ONE, 5: ONE.replace(")", ", size_t problem)")}  # By the number of arguments.
WORDS = ("size_t", "double *", "double *", "void *", "size_t")
SIZES = (ctypes.c_size_t, ctypes.c_ssize_t, ctypes.c_uint64, ctypes.c_int64)
FUNCTION: Any = ctypes.CFUNCTYPE(None).__base__
POINTER: Any = ctypes.POINTER(ctypes.c_double).__base__
PYTHON_API = 4  # Of the flags of a function of ctypes.
# Other names of types.
SAME = dict.fromkeys(("unsigned long long", "long long", "uintptr_t", "uint64_t", "int64_t"), "size_t")
if ctypes.sizeof(ctypes.c_long) == ctypes.sizeof(ctypes.c_size_t):
    SAME |= dict.fromkeys(("unsigned long", "long", "ulong"), "size_t")


@dataclass
class Compiled:
    """Compiled objective.

    Attributes
    ----------
    address, data : int
        Of the function, and of what it gets as its fourth argument.
    kept : object
        What keeps both alive.
    nfev, njev : int
        Calls so far.
    """

    address: int
    data: int
    kept: Any = field(repr=False)
    nfev: int = 0

    @property
    def njev(self) -> int:
        """Number of gradients, which come with the values."""
        return self.nfev

    @functools.cached_property
    def _function(self) -> Any:
        return ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_size_t, *[ctypes.c_void_p] * 3])(self.address)

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return value and gradient at a point."""
        jac = np.zeros_like(x)  # As in the compiled loops.
        self.nfev += 1
        return self._function(x.size, x.ctypes.data, jac.ctypes.data, self.data), jac

    def go_on(self, m: Minimizer) -> None:
        """Count on from a run that was loaded."""
        self.nfev = m.nfev

    def run(self, m: Minimizer, seconds: float) -> None:
        """Go on with a minimization, for at most so many seconds where the loop is compiled, at least to the next point."""
        if loops is None or m._needs_python or m._judge.progress["judged"] == m.nit:
            fun, jac = self.evaluate(m._point())
            m._tell(fun, jac, self.nfev, self.nfev)
        else:
            further = self.nfev - m.nit
            try:
                reason = loops.run(m._judge, self.address, self.data, further, min(seconds, CHUNK))
            finally:
                self.nfev = m.nit + further + int(m._judge.progress["judged"] == m.nit)
                m.nfev = m.njev = self.nfev
            if reason:
                m._end(reason)


def objective_of(fun: Any, jac: Any, args: Any, x: np.ndarray) -> Compiled | None:
    """Return a compiled objective for these arguments of `minimize`, or None for a function of Python; raise if they do not fit."""
    found = compiled(fun)
    if found is None:
        return None
    if not isinstance(args, tuple) or args:
        raise TypeError("args: given to a compiled objective, expected none; user_data of scipy.LowLevelCallable is what it gets")
    if jac not in (None, True):
        raise TypeError(f"jac: {jac!r:.60}, expected none: a compiled objective writes its gradient")
    if x.dtype != np.float64:
        raise TypeError(f"x0: {x.dtype}, expected float64 for a compiled objective")
    return found


def compiled(fun: Any, arguments: int = 4) -> Compiled | None:
    """Return a compiled objective with so many arguments, or None for a function of Python; raise for another signature."""
    if hasattr(fun, "native_name") and hasattr(fun, "ctypes"):  # numba's
        fun = fun.ctypes
    if isinstance(fun, FUNCTION):
        check_ctypes(fun, arguments)
        return Compiled(ctypes.cast(fun, ctypes.c_void_p).value or 0, 0, fun)
    if type(fun).__name__ == "LowLevelCallable" and isinstance(fun, tuple):
        return of_scipy(fun, arguments)
    return None


def check_ctypes(fun: Any, arguments: int) -> None:
    """Raise unless a function of ctypes is declared with the types of an objective, and needs no GIL."""
    if fun._flags_ & PYTHON_API:
        raise TypeError(f"fun: {fun!r:.60} of ctypes.PyDLL, expected one of ctypes.CDLL, which runs without the GIL")
    words = WORDS[:arguments]
    types = getattr(fun, "argtypes", None)
    fits = types is not None and len(types) == len(words) and fun.restype is ctypes.c_double
    if not fits or not all(map(is_of_kind, types or (), words)):
        raise TypeError(f"fun: {fun!r:.60} with argtypes {types} and restype {fun.restype}, expected {SIGNATURES[arguments]}")


def is_of_kind(kind: Any, word: str) -> bool:
    """Return True if a type of ctypes is what C calls by this word; data may be a pointer to anything."""
    if word == "size_t":
        return kind in SIZES
    pointer = isinstance(kind, type) and issubclass(kind, POINTER)
    return kind is ctypes.c_void_p or (pointer and (word == "void *" or kind._type_ is ctypes.c_double))


def of_scipy(fun: Any, arguments: int) -> Compiled:
    """Return the objective of a `scipy.LowLevelCallable`."""
    capsule = tuple.__getitem__(fun, 0)
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = api.PyCapsule_GetContext.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_GetContext.argtypes = [ctypes.py_object]
    name = api.PyCapsule_GetName(capsule)
    result, *found = signature_of(name.decode())
    if len(found) > 3 and found[3].endswith("*"):
        found[3] = "void *"  # Data may be a pointer to anything.
    if result != "double" or tuple(found) != WORDS[:arguments]:
        raise TypeError(f"fun: a LowLevelCallable of signature {name.decode()!r}, expected {SIGNATURES[arguments]}")
    return Compiled(api.PyCapsule_GetPointer(capsule, name), api.PyCapsule_GetContext(capsule) or 0, fun)


def signature_of(text: str) -> tuple[str, ...]:
    """Return the types of a C signature: of the result, and of the arguments, without names and ``const``."""
    import re

    result, _, rest = text.partition("(")
    found = [result.strip()]
    for argument in rest.rstrip(") ").split(","):
        words = [word for word in re.findall(r"\w+|\*", argument) if word != "const"]
        names = [word for word in words if word != "*"]
        integers = [word for word in names if word in ("unsigned", "long", "int")]
        kind = " ".join(integers or names[:1])
        found.append(f"{SAME.get(kind, kind)} {'*' * words.count('*')}".strip())
    return tuple(found)
