# cython: cdivision=True
"""Staging of a block: arrays are used in place, or decoded into buffers on the stack and encoded from there.

All functions are inline: the module of each instruction set compiles its own.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from fastopt._engine.encoding cimport decode, element, move, narrow, narrow8, size_of, widen8
from fastopt._engine.table cimport (
    BLOCK, COLUMNS, FLOAT8, FLOAT32, FLOAT64, PARAMETER, ROWS, STATES, UFLOAT8, format_t, factors_t, task_t,
)

cdef extern from "block.h" nogil:
    uint32_t fo_key(uint32_t key, uint32_t number)
    void fo_draw(uint32_t *bits, uint32_t key, uint32_t first, Py_ssize_t n)
    uint32_t fo_bits(float x)
    float fo_float(uint32_t bits)


cdef inline format_t element_format(element _) noexcept nogil:
    """Return the format that needs no decoding."""
    if element is float:
        return FLOAT32
    else:
        return FLOAT64


cdef inline void *fetch_parameter(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element *buffer, bint copy) noexcept nogil:
    """Return the parameter's elements: in place, or decoded into `buffer`; with `copy` always there."""
    cdef const int16_t *low
    cdef Py_ssize_t i
    if task.master != NULL and not task.split:
        if not copy:
            return task.master + lo * <Py_ssize_t> sizeof(float)
        memcpy(buffer, task.master + lo * <Py_ssize_t> sizeof(float), n * sizeof(float))
        return buffer
    if task.p.contiguous and task.p.format == element_format(buffer[0]) and not copy:
        return task.p.data + lo * <Py_ssize_t> sizeof(element)
    move(<char *> buffer, &task.p, lo, n, 0, False, buffer[0])
    if task.master != NULL:
        low = <const int16_t *> task.master + lo
        for i in range(n):
            buffer[i] = fo_float(fo_bits(<float> buffer[i]) + <uint32_t> low[i])
    return buffer


cdef inline void store_parameter(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element *block,
                                 const uint32_t *bits) noexcept nogil:
    cdef uint16_t code_buffer[BLOCK]
    cdef uint16_t *codes = <uint16_t *> task.p.data + lo if task.p.contiguous else code_buffer
    cdef int16_t *low
    cdef uint32_t word
    cdef Py_ssize_t i
    if task.p.format == element_format(block[0]):
        if <char *> block != task.p.data + lo * <Py_ssize_t> sizeof(element) or not task.p.contiguous:
            move(<char *> block, &task.p, lo, n, sizeof(element), True, block[0])
        return
    if element is float:
        if task.split and task.master != NULL:
            low = <int16_t *> task.master + lo
            for i in range(n):
                word = fo_bits(block[i])
                # A NaN, whose low bits must not carry into the high ones.
                if word & <uint32_t> 0x7fffffff > <uint32_t> 0x7f800000:
                    word = (word | <uint32_t> 0x400000) & <uint32_t> 0xffff0000
                codes[i] = <uint16_t> ((word + <uint32_t> 0x8000) >> 16)
                low[i] = <int16_t> <uint16_t> word
        else:
            if task.nearest or task.master != NULL:
                bits = NULL
            narrow(codes, block, n, task.p.format, bits, 0, False)
        if task.p.contiguous:
            return
        move(<char *> codes, &task.p, lo, n, sizeof(uint16_t), True, block[0])


cdef inline void widen_factors(element *restrict out, const factors_t *factors, const element *x, format_t format, Py_ssize_t lo,
                               Py_ssize_t n) noexcept nogil:
    """Expand the factors of rows or columns to elements `lo` to `lo + n` of matrices."""
    cdef Py_ssize_t run, i, row, column
    cdef element one
    while n > 0:
        row = lo // factors.columns
        column = lo - row * factors.columns
        run = min(n, factors.columns - column)
        if format == COLUMNS:
            memcpy(out, x + row // factors.rows * factors.columns + column, run * sizeof(element))
        else:
            one = x[row]
            for i in range(run):
                out[i] = one
        out += run
        lo += run
        n -= run


cdef inline void fetch_state(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element buffer[STATES][BLOCK], void **arrays,
                             bint copy) noexcept nogil:
    cdef int k
    cdef Py_ssize_t done, part
    for k in range(task.rule.states):
        arrays[k + 2] = buffer[k]
        if task.formats[k] == element_format(buffer[0][0]):
            if copy:
                memcpy(buffer[k], task.state[k] + lo * <Py_ssize_t> sizeof(element), n * sizeof(element))
            else:
                arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        elif task.formats[k] >= ROWS:
            widen_factors(&buffer[k][0], task.factors, <element *> task.state[k], task.formats[k], lo, n)
        elif task.formats[k] == FLOAT8 or task.formats[k] == UFLOAT8:
            if element is float:
                done = 0
                # Sums may begin in the middle of a block.
                while done < n:
                    part = min(n - done, BLOCK - (lo + done) % BLOCK)
                    widen8(buffer[k] + done, <uint8_t *> task.state[k] + lo + done, task.exponents[k][(lo + done) // BLOCK], part,
                           task.formats[k])
                    done += part
        else:
            decode(buffer[k], task.state[k] + lo * size_of(task.formats[k]), size_of(task.formats[k]), n, task.formats[k])


cdef inline void store(const task_t *task, Py_ssize_t lo, Py_ssize_t n, void **arrays, element _) noexcept nogil:
    """Store the parameter and its state. Formats below 32 bits are rounded by random bits of the step and the position.

    Each 8-bit array has its own random words. Of the others, in order, parameter first, each two share the halves of a word.
    """
    cdef uint32_t bits[BLOCK]
    cdef uint32_t first = <uint32_t> (task.position + lo)
    cdef int k, drawn = -1
    if element is float:
        if task.p.format != FLOAT32 and not task.nearest:
            drawn = 0
            fo_draw(bits, fo_key(task.seed[0], 0), first, n)
        store_parameter(task, lo, n, <element *> arrays[PARAMETER], bits)
        if task.no_narrow_storage:
            return
        for k in range(task.rule.states):
            if task.formats[k] == FLOAT32 or task.formats[k] >= ROWS:
                continue
            if task.formats[k] == FLOAT8 or task.formats[k] == UFLOAT8:
                task.exponents[k][lo // BLOCK] = <int16_t> narrow8(
                    <uint8_t *> task.state[k] + lo, <float *> arrays[k + 2], n, task.formats[k],
                    fo_key(task.seed[0], <uint32_t> (STATES + k + 1)), first, task.nearest
                )
                continue
            if not task.nearest and drawn != (k + 1) // 2:
                drawn = (k + 1) // 2
                fo_draw(bits, fo_key(task.seed[0], <uint32_t> drawn), first, n)
            narrow(<uint16_t *> task.state[k] + lo, <float *> arrays[k + 2], n, task.formats[k], NULL if task.nearest else bits,
                   16 * ((k + 1) & 1), task.rule.nonnegative >> k & 1)
    else:
        store_parameter(task, lo, n, <element *> arrays[PARAMETER], NULL)


cdef inline void *stage_array(const task_t *task, int k, Py_ssize_t lo, element _) noexcept nogil:
    return task.stage_arrays[k] if task.scalar_arrays >> k & 1 else task.stage_arrays[k] + lo * <Py_ssize_t> sizeof(element)


cdef inline void subtract(element *restrict p, const element *restrict u, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = p[i] - u[i]
