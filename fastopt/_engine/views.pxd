"""Views of NumPy arrays, as kernels read them."""

from libc.stdint cimport uintptr_t
cimport numpy as cnp

from fastopt._engine.encoding cimport size_of
from fastopt._engine.table cimport BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LONGDOUBLE, format_t, view_t


cdef inline format_t format_of(int type_num):
    if type_num == cnp.NPY_USHORT:
        return BFLOAT16
    if type_num == cnp.NPY_FLOAT16:
        return FLOAT16
    if type_num in (cnp.NPY_FLOAT, cnp.NPY_CFLOAT):
        return FLOAT32
    return FLOAT64 if type_num in (cnp.NPY_DOUBLE, cnp.NPY_CDOUBLE) else LONGDOUBLE


cdef inline void describe_view(view_t *v, cnp.ndarray a, const Py_ssize_t *order, format_t format, uintptr_t *first,
                               uintptr_t *end) noexcept:
    """Describe an array in this order of its axes, and set `first` and `end` to its first byte and end.

    One axis more than the array's has the two reals of a complex number, or the one element of a 0-d array.
    """
    cdef int ndim = cnp.PyArray_NDIM(a), k
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(a)
    cdef Py_ssize_t size = size_of(format), expected = size, low = 0, high = size
    v.data = <char *> cnp.PyArray_DATA(a)
    v.format = format
    v.contiguous = <uintptr_t> v.data % size == 0
    for k in range(v.ndim - 1, -1, -1):
        v.strides[k] = size if order[k] == ndim else strides[order[k]]
        if v.shape[k] != 1:
            v.contiguous = v.contiguous and v.strides[k] == expected
            expected *= v.shape[k]
            if v.strides[k] < 0:
                low += (v.shape[k] - 1) * v.strides[k]
            else:
                high += (v.shape[k] - 1) * v.strides[k]
    first[0] = <uintptr_t> (v.data + low)
    end[0] = <uintptr_t> (v.data + high)


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int k
    if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for k in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, k) != cnp.PyArray_DIM(b, k):
            return False
    return True


cdef inline bint alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Return True for the same native dtype and shape."""
    return cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(b) and same_shape(a, b) and cnp.PyArray_ISNOTSWAPPED(a)
