"""Row gradients: gradients that are zero except in a few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dtypes, layout


@dataclass(frozen=True, init=False, repr=False, eq=False)
class RowGradient:
    """Gradient that is zero except in some rows, as that of an embedding: ``values[k]`` belongs to row ``indices[k]``.

    Parameters
    ----------
    indices : array_like of int, shape (k,)
        Rows along the parameter's first axis, in any order; copied. If a row occurs twice, its values are added in this order, in
        their own precision (float32 for 16-bit formats).
    values : ndarray of a real floating dtype (complex for complex parameters), shape (k, ...)
        One row of the parameter's shape for each index; not copied.

    Raises
    ------
    TypeError, ValueError
        If indices are not whole numbers from 0 on, or values are not floats with one row for each index.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> table = np.ones((4, 2))
    >>> fo.SGD(table, lr=0.5).step(fo.RowGradient([3, 1, 3], np.ones((3, 2))))
    True
    >>> table
    array([[1. , 1. ],
           [0.5, 0.5],
           [1. , 1. ],
           [0. , 0. ]])
    """

    indices: np.ndarray
    values: Any

    def __init__(self, indices: Any, values: Any) -> None:
        where = as_indices("indices", indices)
        object.__setattr__(self, "indices", where)
        object.__setattr__(self, "values", values)
        if np.shape(values)[:1] != where.shape:
            raise ValueError(f"values: shape {np.shape(values)}, expected one row for each of {where.size} indices")
        if isinstance(values, np.ndarray) and values.dtype.kind not in "fcV" and not dtypes.is_bfloat16(values.dtype):
            raise TypeError(f"values: dtype {values.dtype}, expected a floating-point dtype")

    def __repr__(self) -> str:
        return f"RowGradient({self.indices.size} rows, values of shape {np.shape(self.values)})"


def is_rows(g: Any) -> bool:
    """Return True for a `RowGradient` and for a sparse matrix of SciPy or CuPy."""
    return isinstance(g, RowGradient) or (hasattr(g, "tocsr") and not isinstance(g, np.ndarray))


def check_rows(parameter: Any, g: Any, accumulate: int, exact: bool) -> RowGradient:
    """Return the gradient with ascending, unique rows, and values in the parameter's order of axes; or raise.

    Refused if a step of this parameter does more than update each row by itself.
    """
    name, p = parameter.name, parameter.array
    what = f"gradient of {name!r}"
    check_rows_allowed(parameter, accumulate, exact)
    g = g if isinstance(g, RowGradient) else of_matrix(what, p, g)
    # A copy, which the caller cannot change later.
    indices = check_below(what, as_indices(f"{what}, indices", g.indices), p)
    values = layout.check_gradient(name, p, g.values, (indices.size, *p.shape[1:]))
    if (np.diff(indices) <= 0).any():
        places = np.argsort(indices, kind="stable")
        indices, values = added(indices[places], dtypes.widened(values)[places])
    # Without the checks of the constructor.
    checked = object.__new__(RowGradient)
    object.__setattr__(checked, "indices", indices)
    values = np.require(values.transpose(walked_rows(parameter)), requirements=["C", "ALIGNED"])
    object.__setattr__(checked, "values", values)
    return checked


def of_matrix(what: str, p: Any, g: Any) -> RowGradient:
    """Return the non-empty rows of a sparse matrix, on its device."""
    if tuple(g.shape) != p.shape or p.ndim != 2:
        expected = p.shape if p.ndim == 2 else f"a RowGradient for {p.ndim} axes"
        raise ValueError(f"{what}: {type(g).__name__} of shape {tuple(g.shape)}, expected {expected}")
    check_matrix(what, g)
    matrix = g.tocsr()
    touched = np.flatnonzero(np.diff(matrix.indptr))
    return RowGradient(touched, matrix[touched].toarray())


def check_matrix(what: str, g: Any) -> None:
    """Raise if a matrix of SciPy has places outside its shape, which conversion would not notice."""
    try:
        if hasattr(g, "check_format"):
            g.check_format(full_check=True)
        for axis, name in enumerate(("row", "col")):
            places = getattr(g, name, None)
            if isinstance(places, np.ndarray) and places.size and not (places.min() >= 0 and places.max() < g.shape[axis]):
                raise ValueError(f"{name} {places.min()} to {places.max()}, expected from 0 to {g.shape[axis] - 1}")
    except ValueError as error:
        raise ValueError(f"{what}: {type(g).__name__}: {error}") from None


def walked_rows(parameter: Any) -> list[int]:
    """Return the axes of values in the parameter's order, rows first."""
    return [0, *(k for k in parameter.order if 0 < k < parameter.array.ndim)]


def check_rows_allowed(parameter: Any, accumulate: int, exact: bool) -> None:
    """Raise if a step of this parameter does more than update each row by itself."""
    name, p, order = parameter.name, parameter.array, parameter.order
    what = f"gradient of {name!r}"
    if parameter.rule.terms_scope:
        raise ValueError(f"{what}: of rows, which {parameter.rule.name} does not support; expected an array")
    if parameter.exponents:
        raise ValueError(f"{what}: of rows, which share the exponents of state in float8; expected another state_dtype")
    if accumulate > 1:
        raise ValueError(f"{what}: of rows, not with accumulate={accumulate}; expected the rows of all in one RowGradient")
    shaped = [f.name for f in (parameter.rule, *parameter.group.stages) if {*f.sums_arrays} - {"g"}] if exact else []
    if shaped:
        raise ValueError(
            f"{what}: of rows; {shaped[0]} sums over all rows and cannot be combined with mode='exact', expected mode='lazy'"
        )
    if p.ndim == 0:
        raise ValueError(f"{what}: of rows, expected a number: the parameter has no axis")
    if p.shape[0] > 1 and any(p.shape[k] != 1 for k in order[: order.index(0)] if k < p.ndim):
        raise ValueError(f"{what}: of rows, expected a parameter whose rows lie one after another, in C order")


def added(indices: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ascending rows without repetition, with the sums of their values in order (float32 for 16-bit formats)."""
    new = np.diff(indices, prepend=-1) > 0
    if new.all():
        return indices, values
    total = np.ascontiguousarray(values[new])
    # np.add.at is fast along one axis; complex numbers are pairs of reals.
    to, given = (x.reshape(len(x), -1).view(x.real.dtype) for x in (total, np.ascontiguousarray(values[~new])))
    place = (np.cumsum(new) - 1)[~new, None] * to.shape[1] + np.arange(to.shape[1])
    with np.errstate(all="ignore"):
        np.add.at(to.reshape(-1), place.reshape(-1), given.reshape(-1))
    return indices[new], total


def first_nonfinite(g: Any) -> str:
    """Return index and value of a gradient's first element that is not finite; "" if the gradient alone does not show it."""
    rows = None
    if is_rows(g):
        g = g if isinstance(g, RowGradient) else of_matrix("", g, g)
        rows, g = g.indices, g.values
    a = dtypes.plain(layout.converted("", layout.on_host(g)))
    a = dtypes.widened(a) if a.dtype == dtypes.BFLOAT16 else a
    finite = np.isfinite(a)
    if finite.all():
        return ""
    index = [int(k) for k in np.unravel_index(finite.argmin(), a.shape)]
    value = a[tuple(index)]
    named = index if rows is None else [int(rows[index[0]]), *index[1:]]
    return f"{named or '()'}: {value}"


def check_indices(name: str, p: np.ndarray, rows: Any) -> np.ndarray:
    """Return unique, ascending rows of a parameter, or raise."""
    indices = as_indices(f"rows of {name!r}", rows)
    if p.ndim == 0:
        raise ValueError(f"rows of {name!r}: it has none")
    return np.unique(check_below(f"rows of {name!r}", indices, p))


def as_indices(what: str, rows: Any) -> np.ndarray:
    """Return rows as a read-only int64 array of one axis, or raise."""
    where = np.asarray(layout.on_host(rows))
    where = where.astype(np.int64) if where.size == 0 and where.ndim == 1 else where
    if where.dtype.kind not in "iu" or where.ndim != 1:
        raise TypeError(f"{what}: {where.dtype} of shape {where.shape}, expected whole numbers of shape (k,)")
    if where.size and (where.min() < 0 or where.max() >= 2**62):
        raise ValueError(f"{what}: {where.min()} to {where.max()}, expected rows from 0 on")
    checked = where.astype(np.int64)
    checked.flags.writeable = False
    return checked


def check_below(what: str, indices: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the rows if the parameter has all of them, or raise."""
    if indices.size and indices.max() >= p.shape[0]:
        raise ValueError(f"{what}: row {indices.max()}, expected rows below {p.shape[0]}")
    return indices
