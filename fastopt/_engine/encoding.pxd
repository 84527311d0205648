# cython: cdivision=True
"""Storage formats: decoding and encoding of arrays of any format, strides and alignment, a block at a time.

All functions are inline: the module of each instruction set compiles its own.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from fastopt._engine.table cimport BFLOAT16, FLOAT8, FLOAT16, FLOAT32, FLOAT64, UFLOAT8, format_t, view_t

ctypedef fused element:
    float
    double

cdef extern from "block.h" nogil:
    float load_bf16 "fo_load_bf16"(const char *x)
    float load_f16 "fo_load_f16"(const char *x)
    float load_f32 "fo_load_f32"(const char *x)
    double load_f64 "fo_load_f64"(const char *x)
    long double load_long "fo_load_long"(const char *x)
    const uint32_t FO_STEP
    uint32_t fo_mixed(uint32_t x)
    void fo_narrow(int bf16, int stochastic, int nonnegative, uint16_t *out, const float *x, const uint32_t *bits, int shift,
                   Py_ssize_t n)
    uint32_t fo_bits(float x)
    float fo_load_f8(uint8_t code, int exponent)
    float fo_load_u8(uint8_t code, int exponent)
    int fo_exponent(uint32_t largest, int codes)
    uint8_t fo_f8(float x, int exponent, uint32_t random, int stochastic)
    uint8_t fo_u8(float x, int exponent, uint32_t random, int stochastic)
    enum: FO_NOT_FINITE


cdef inline Py_ssize_t size_of(format_t format) noexcept nogil:
    if format == FLOAT8 or format == UFLOAT8:
        return 1
    if format == BFLOAT16 or format == FLOAT16:
        return 2
    if format == FLOAT32:
        return sizeof(float)
    return sizeof(double) if format == FLOAT64 else sizeof(long double)


cdef inline void decode(element *out, const char *x, Py_ssize_t stride, Py_ssize_t n, format_t format) noexcept nogil:
    """Decode n numbers, `stride` bytes apart. The contiguous cases are loops that vectorise."""
    cdef Py_ssize_t i
    if format == FLOAT32 and stride == sizeof(float):
        for i in range(n):
            out[i] = <element> load_f32(x + sizeof(float) * i)
    elif format == FLOAT64 and stride == sizeof(double):
        for i in range(n):
            out[i] = <element> load_f64(x + sizeof(double) * i)
    elif format == BFLOAT16 and stride == 2:
        for i in range(n):
            out[i] = <element> load_bf16(x + 2 * i)
    elif format == BFLOAT16:
        for i in range(n):
            out[i] = <element> load_bf16(x + stride * i)
    elif format == FLOAT16 and stride == 2:
        for i in range(n):
            out[i] = <element> load_f16(x + 2 * i)
    elif format == FLOAT16:
        for i in range(n):
            out[i] = <element> load_f16(x + stride * i)
    elif format == FLOAT32:
        for i in range(n):
            out[i] = <element> load_f32(x + stride * i)
    elif format == FLOAT64:
        for i in range(n):
            out[i] = <element> load_f64(x + stride * i)
    else:
        for i in range(n):
            out[i] = <element> load_long(x + stride * i)


cdef inline void narrow(uint16_t *out, const float *x, Py_ssize_t n, format_t format, const uint32_t *bits, int shift,
                        bint nonnegative) noexcept nogil:
    """Round n floats to 16 bits: stochastically by random bits, or to nearest if `bits` is NULL."""
    if format == BFLOAT16:
        if bits == NULL:
            if nonnegative:
                fo_narrow(1, 0, 1, out, x, bits, 0, n)
            else:
                fo_narrow(1, 0, 0, out, x, bits, 0, n)
        elif nonnegative:
            fo_narrow(1, 1, 1, out, x, bits, shift, n)
        else:
            fo_narrow(1, 1, 0, out, x, bits, shift, n)
    elif bits == NULL:
        if nonnegative:
            fo_narrow(0, 0, 1, out, x, bits, 0, n)
        else:
            fo_narrow(0, 0, 0, out, x, bits, 0, n)
    elif nonnegative:
        fo_narrow(0, 1, 1, out, x, bits, shift, n)
    else:
        fo_narrow(0, 1, 0, out, x, bits, shift, n)


cdef inline void widen8(float *restrict out, const uint8_t *restrict codes, int exponent, Py_ssize_t n,
                        format_t format) noexcept nogil:
    cdef Py_ssize_t i
    if format == FLOAT8:
        for i in range(n):
            out[i] = fo_load_f8(codes[i], exponent)
    else:
        for i in range(n):
            out[i] = fo_load_u8(codes[i], exponent)


cdef inline int narrow8(uint8_t *restrict codes, const float *restrict x, Py_ssize_t n, format_t format, uint32_t key,
                        uint32_t first, bint nearest) noexcept nogil:
    """Round n floats of one block to 8 bits; return their common exponent."""
    cdef Py_ssize_t i
    cdef uint32_t largest = 0, magnitude, word = first * FO_STEP + key
    cdef int exponent
    for i in range(n):
        magnitude = fo_bits(x[i]) & <uint32_t> 0x7fffffff
        largest = magnitude if magnitude > largest else largest
    exponent = fo_exponent(largest, 127 if format == FLOAT8 else 255)
    # Any codes would do: zeros make equal states equal bytes.
    if exponent == FO_NOT_FINITE:
        memset(codes, 0, n)
    elif format == FLOAT8 and nearest:
        for i in range(n):
            codes[i] = fo_f8(x[i], exponent, 0, 0)
    elif format == FLOAT8:
        for i in range(n):
            codes[i] = fo_f8(x[i], exponent, fo_mixed(word), 1)
            word = word + FO_STEP
    elif nearest:
        for i in range(n):
            codes[i] = fo_u8(x[i], exponent, 0, 0)
    else:
        for i in range(n):
            codes[i] = fo_u8(x[i], exponent, fo_mixed(word), 1)
            word = word + FO_STEP
    return exponent


cdef inline void move(char *block, const view_t *v, Py_ssize_t lo, Py_ssize_t n, Py_ssize_t size, bint store,
                      element _) noexcept nogil:
    """Decode elements `lo` to `lo + n` of a view into a block; or store items of `size` bytes from a block.

    The last axis is processed in runs, so that the inner loop has one stride.
    """
    cdef Py_ssize_t index[66]
    cdef Py_ssize_t rest = lo, run, i
    cdef char *data = v.data
    cdef int axis, last = v.ndim - 1
    if v.contiguous:
        if store:
            memcpy(v.data + lo * size, block, n * size)
        else:
            decode(<element *> block, v.data + lo * size_of(v.format), size_of(v.format), n, v.format)
        return
    for axis in range(last, -1, -1):
        index[axis] = rest % v.shape[axis]
        rest = rest // v.shape[axis]
        data += index[axis] * v.strides[axis]
    while n > 0:
        run = min(n, v.shape[last] - index[last])
        if store:
            for i in range(run):
                memcpy(data + v.strides[last] * i, block + size * i, size)
            block += run * size
        else:
            decode(<element *> block, data, v.strides[last], run, v.format)
            block += run * <Py_ssize_t> sizeof(element)
        n -= run
        data += run * v.strides[last]
        index[last] += run
        axis = last
        while axis > 0 and index[axis] == v.shape[axis]:
            data += v.strides[axis - 1] - index[axis] * v.strides[axis]
            index[axis] = 0
            index[axis - 1] += 1
            axis -= 1
