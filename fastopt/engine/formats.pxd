# cython: cdivision=True
"""How numbers are stored, and the walk over one array's elements: straight where memory allows, else by blocks on the stack.

Inline, so that each instruction set's module compiles its own.
"""

from libc.string cimport memcpy

from fastopt.engine.table cimport (
    BLOCK, FLOAT16, FLOAT32, FLOAT64, INPUTS, STATES, format_t, kernel_t, stage_t, table_t, task_t, view_t,
)

ctypedef fused element:
    float
    double

cdef extern from "scalar.h" nogil:
    float load_f16 "fo_load_f16"(const char *x)
    float load_f32 "fo_load_f32"(const char *x)
    double load_f64 "fo_load_f64"(const char *x)
    long double load_long "fo_load_long"(const char *x)


cdef inline Py_ssize_t size_of(format_t format) noexcept nogil:
    if format == FLOAT16:
        return 2
    if format == FLOAT32:
        return sizeof(float)
    return sizeof(double) if format == FLOAT64 else sizeof(long double)


cdef inline void decode(element *out, const char *x, Py_ssize_t stride, Py_ssize_t n, format_t format) noexcept nogil:
    """n numbers, stride bytes apart; the contiguous cases are loops that vectorise."""
    cdef Py_ssize_t i
    if format == FLOAT32 and stride == sizeof(float):
        for i in range(n):
            out[i] = <element> load_f32(x + sizeof(float) * i)
    elif format == FLOAT64 and stride == sizeof(double):
        for i in range(n):
            out[i] = <element> load_f64(x + sizeof(double) * i)
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


cdef inline void encode(char *out, const element *x, Py_ssize_t stride, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        memcpy(out + stride * i, &x[i], sizeof(element))


cdef inline void move(element *block, const view_t *v, Py_ssize_t lo, Py_ssize_t n, bint store) noexcept nogil:
    """Elements lo to lo + n of a view, in the order walked, to a block or back: one run along the last axis after another."""
    cdef Py_ssize_t index[66]
    cdef Py_ssize_t rest = lo, run, stride
    cdef char *data = v.data
    cdef int axis, last = v.ndim - 1
    if v.flat:
        stride = size_of(v.format)
        if store:
            encode(v.data + lo * stride, block, stride, n)
        else:
            decode(block, v.data + lo * stride, stride, n, v.format)
        return
    for axis in range(last, -1, -1):
        index[axis] = rest % v.shape[axis]
        rest = rest // v.shape[axis]
        data += index[axis] * v.strides[axis]
    while n > 0:
        run = min(n, v.shape[last] - index[last])
        if store:
            encode(data, block, v.strides[last], run)
        else:
            decode(block, data, v.strides[last], run, v.format)
        block += run
        n -= run
        data += run * v.strides[last]
        index[last] += run
        axis = last
        while axis > 0 and index[axis] == v.shape[axis]:
            data += v.strides[axis - 1] - index[axis] * v.strides[axis]
            index[axis] = 0
            index[axis - 1] += 1
            axis -= 1


cdef inline void blocks(const table_t *table, const task_t *task, Py_ssize_t lo, Py_ssize_t hi, element _) noexcept nogil:
    """Decode, shape, update and encode block by block; what needs no staging is used where it lies."""
    cdef element own_p[BLOCK]
    cdef element own_g[2][BLOCK]
    cdef void *arrays[STATES + 2]
    cdef void *shaped[3]
    cdef kernel_t update, apply
    cdef const stage_t *stage
    cdef bint direct = task.g.flat and size_of(task.g.format) == sizeof(element)
    cdef Py_ssize_t n
    cdef int k, buffer
    if element is float:
        update = task.rule.f32
    else:
        update = task.rule.f64
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        buffer = 0
        if task.p.flat:
            arrays[0] = task.p.data + lo * <Py_ssize_t> sizeof(element)
        else:
            move[element](own_p, &task.p, lo, n, False)
            arrays[0] = own_p
        if direct:
            arrays[1] = task.g.data + lo * <Py_ssize_t> sizeof(element)
        else:
            move[element](own_g[1], &task.g, lo, n, False)
            arrays[1] = own_g[1]
        for k in range(table.n_stages):
            if not task.staged >> k & 1:
                continue
            stage = &table.stages[k]
            if element is float:
                apply = stage.f32
            else:
                apply = stage.f64
            if stage.shapes == c'g':
                shaped[0] = own_g[buffer]
                shaped[1] = arrays[1]
                shaped[2] = arrays[0]
                apply(shaped, n, task.stage_c + k * INPUTS)
                arrays[1] = own_g[buffer]
                buffer = 1 - buffer
            else:
                apply(arrays, n, task.stage_c + k * INPUTS)
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        update(arrays, n, task.c)
        if not task.p.flat:
            move[element](own_p, &task.p, lo, n, True)
        lo += n


cdef inline void span(const table_t *table, const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """One step of elements lo to hi of one parameter."""
    cdef void *arrays[STATES + 2]
    cdef Py_ssize_t size = size_of(task.p.format)
    cdef int k
    if task.p.flat and task.g.flat and task.g.format == task.p.format and not task.staged:
        arrays[0] = task.p.data + lo * size
        arrays[1] = task.g.data + lo * size
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * size
        if task.p.format == FLOAT32:
            task.rule.f32(arrays, hi - lo, task.c)
        else:
            task.rule.f64(arrays, hi - lo, task.c)
    elif task.p.format == FLOAT32:
        blocks[float](table, task, lo, hi, 0)
    else:
        blocks[double](table, task, lo, hi, 0)
