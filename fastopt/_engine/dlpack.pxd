"""Memory of other libraries' tensors, by the C half of DLPack (1.3 and later), which makes no object for each.

https://dmlc.github.io/dlpack/latest/c_api.html
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
cimport numpy as cnp

cdef enum:
    CPU = 1  # A device.
    BRAIN = 4  # A kind of number: bfloat16.
    BINARY = 2  # A kind of number: IEEE floats.

cdef struct tensor_t:  # DLTensor
    char *data
    int32_t device
    int32_t device_id
    int32_t ndim
    uint8_t code
    uint8_t bits
    uint16_t lanes
    const int64_t *shape
    const int64_t *strides  # In elements.
    uint64_t offset  # In bytes.

cdef struct exchange_t:  # DLPackExchangeAPI
    uint32_t major
    uint32_t minor
    void *before
    void *make
    void *lend
    void *take
    int (*describe)(void *tensor, tensor_t *found) except -1
    void *stream


cdef inline char *data_of(const tensor_t *x) noexcept:
    return x.data + x.offset


cdef inline bint matches(const tensor_t *x, cnp.ndarray a) noexcept:
    """Return True if a tensor on the CPU has an array's dtype and shape, and memory for it."""
    cdef int k
    cdef uint8_t code = BRAIN if cnp.PyArray_TYPE(a) == cnp.NPY_USHORT else BINARY
    if x.device != CPU or x.ndim != cnp.PyArray_NDIM(a):
        return False
    if x.code != code or x.lanes != 1 or x.bits != 8 * cnp.PyArray_ITEMSIZE(a):
        return False
    for k in range(x.ndim):
        if x.shape[k] != cnp.PyArray_DIM(a, k):
            return False
    return (x.ndim == 0 or x.strides != NULL) and (x.data != NULL or cnp.PyArray_SIZE(a) == 0)


cdef inline bint shares_memory(const tensor_t *x, cnp.ndarray a) noexcept:
    """Return True if a tensor that matches an array has the same memory and strides."""
    cdef int k
    if cnp.PyArray_SIZE(a) == 0:
        return True
    if data_of(x) != cnp.PyArray_BYTES(a):
        return False
    for k in range(x.ndim):
        if x.shape[k] != 1 and x.strides[k] * cnp.PyArray_ITEMSIZE(a) != cnp.PyArray_STRIDE(a, k):
            return False
    return True
