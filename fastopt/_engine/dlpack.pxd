"""Where the tensors of others lie: the C half of DLPack (1.3 and later) tells it without an object for each."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
cimport numpy as cnp

cdef enum:
    CPU = 1  # a device
    BRAIN = 4  # a kind of number: bfloat16
    BINARY = 2  # a kind of number: floats of IEEE

cdef struct tensor_t:  # DLTensor
    char *data
    int32_t device
    int32_t device_id
    int32_t ndim
    uint8_t code
    uint8_t bits
    uint16_t lanes
    const int64_t *shape
    const int64_t *strides  # in elements
    uint64_t offset  # in bytes

cdef struct exchange_t:  # DLPackExchangeAPI
    uint32_t major
    uint32_t minor
    void *before
    void *make
    void *lend
    void *take
    int (*look)(void *tensor, tensor_t *found) except -1
    void *stream


cdef inline char *data_of(const tensor_t *x) noexcept:
    return x.data + x.offset


cdef inline bint fits(const tensor_t *x, cnp.ndarray a) noexcept:
    """Whether a tensor on the CPU has an array's dtype, which is real, and its shape, and memory for it."""
    cdef int k
    cdef uint8_t code = BRAIN if cnp.PyArray_TYPE(a) == cnp.NPY_USHORT else BINARY
    if x.device != CPU or x.code != code or x.lanes != 1 or x.bits != 8 * cnp.PyArray_ITEMSIZE(a) or x.ndim != cnp.PyArray_NDIM(a):
        return False
    for k in range(x.ndim):
        if x.shape[k] != cnp.PyArray_DIM(a, k):
            return False
    return (x.ndim == 0 or x.strides != NULL) and (x.data != NULL or cnp.PyArray_SIZE(a) == 0)


cdef inline bint lies_under(const tensor_t *x, cnp.ndarray a) noexcept:
    """Whether a tensor that fits an array is where that is."""
    cdef int k
    if cnp.PyArray_SIZE(a) == 0:
        return True
    if data_of(x) != cnp.PyArray_BYTES(a):
        return False
    for k in range(x.ndim):
        if x.shape[k] != 1 and x.strides[k] * cnp.PyArray_ITEMSIZE(a) != cnp.PyArray_STRIDE(a, k):
            return False
    return True
