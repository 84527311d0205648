# cython: cdivision=True
"""Operations of a step on one block, and the loop over contiguous blocks that need no staging.

All functions are inline: the module of each instruction set compiles its own.
"""

from libc.string cimport memset

from fastopt._engine.encoding cimport element, move, narrow, size_of
from fastopt._engine.staging cimport element_format, fetch_parameter, fetch_state, stage_array, store, subtract
from fastopt._engine.table cimport (
    BLOCK, CHECK, CLEAR, EMPTY, END, FLOAT64, GRADIENT, INPUTS, LONGDOUBLE, PARAMETER, ROWS, RULE, STAGE, STAGES,
    STAGE_ARRAY, STATES,
    SUBTRACT, SUMS, TERMS, UPDATE, VELOCITY, formula_t, op_t, partial_t, task_t,
)

cdef enum:
    AHEAD = 4 * BLOCK  # Elements to prefetch ahead of those that are summed.
    LARGE = 1 << 18  # Elements: a larger array is not in a near cache.

cdef enum terms_t:  # What a block of sums has written.
    OF_FLOATS  # Terms, of squares the squares themselves.
    OF_DOUBLES  # Terms, of squares the roots: these may leave the range.
    SUMMED  # Their sums.

cdef extern from "block.h" nogil:
    void fo_fold_floats(int arrays, const float **x, Py_ssize_t n, double *out)
    double fo_fold_squares(const double *x, int *unit)
    void fo_prefetch(const char *x, Py_ssize_t n)
    const char *fo_zeros()


# Buffers for a gradient that stages change; the first of each pair is free.
cdef struct gradient_buffers_t:
    void *narrow[2]  # In the parameter's precision.
    double *wide[2]
    bint is_wide  # The current gradient is in `wide`.


cdef inline void shape_gradient(const op_t *op, void **arrays, gradient_buffers_t *g, Py_ssize_t n, const double *c,
                                element _) noexcept nogil:
    """Apply a stage that needs the gradient only. The result is in double if the next stage takes it so."""
    cdef void *inputs[2]
    cdef const formula_t *f = op.formula
    inputs[1] = arrays[GRADIENT]
    if element is float:
        if op.gives_wide and (g.is_wide or not f.exact(c)):
            inputs[0] = g.wide[0]
            if g.is_wide:
                f.f64(inputs, n, c)
            else:
                f.widen(inputs, n, c)
            g.wide[0], g.wide[1] = g.wide[1], g.wide[0]
            arrays[GRADIENT] = inputs[0]
            g.is_wide = True
            return
    inputs[0] = g.narrow[0]
    if element is double:
        f.f64(inputs, n, c)
    elif g.is_wide:
        f.narrow(inputs, n, c)
    else:
        f.f32(inputs, n, c)
    g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    arrays[GRADIENT] = inputs[0]
    g.is_wide = False


cdef inline void shape(const task_t *task, const op_t *op, void **arrays, gradient_buffers_t *g, Py_ssize_t lo, Py_ssize_t n,
                       element _) noexcept nogil:
    """Apply a stage to a block: in place, except for the gradient, which goes to a buffer."""
    cdef const formula_t *f = op.formula
    cdef const double *c = op.c + op.stride * task.index
    cdef void *inputs[INPUTS + 1]
    cdef int k, first = f.arrays[0], out = 0
    if f.widen != NULL:
        shape_gradient(op, arrays, g, n, c, _)
        return
    if first == GRADIENT:
        inputs[0] = g.narrow[0]
        out = 1
    for k in range(f.n_arrays):
        if f.arrays[k] < VELOCITY:
            inputs[k + out] = arrays[f.arrays[k]]
        elif f.arrays[k] >= STAGE_ARRAY:
            inputs[k + out] = stage_array(task, f.arrays[k] - STAGE_ARRAY, lo, _)
    if first == GRADIENT:
        arrays[GRADIENT] = inputs[0]
        g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    for k in range(STATES if first == VELOCITY else 1):
        if first == VELOCITY:
            if not task.rule.velocity >> k & 1:
                continue
            inputs[0] = arrays[k + 2]
        if element is float:
            f.f32(inputs, n, c)
        else:
            f.f64(inputs, n, c)


cdef inline void update_blocks(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, element _) noexcept nogil:
    """Run stages and rule block by block, on arrays that need no decoding."""
    cdef element g_buffers[2][BLOCK]
    cdef double w_buffers[2][BLOCK]
    cdef element u_buffer[BLOCK]
    cdef gradient_buffers_t g
    cdef void *arrays[UPDATE + 1]
    cdef void *update = NULL
    cdef const op_t *first = task.ops
    cdef const op_t *op = task.ops
    cdef Py_ssize_t n
    cdef int k
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = g_buffers[0], g_buffers[1], w_buffers[0], w_buffers[1], False
    while op.kind != END:
        if op.kind == SUBTRACT:
            update = u_buffer
        op += 1
    while task.kept != NULL and first.id != task.kept_at:
        first += 1
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        arrays[PARAMETER] = task.p.data + lo * <Py_ssize_t> sizeof(element)
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        arrays[UPDATE] = update if task.kept == NULL else task.kept + lo * <Py_ssize_t> sizeof(element)
        op = first
        while op.kind != END:
            if op.kind == STAGE:
                shape(task, op, arrays, &g, lo, n, _)
            elif op.kind == SUBTRACT:
                subtract(<element *> arrays[PARAMETER], <element *> arrays[UPDATE], n)
            elif op.kind == RULE:
                if element is float:
                    task.rule.f32(arrays, n, task.c)
                else:
                    task.rule.f64(arrays, n, task.c)
            op += 1
        lo += n


cdef inline void prefetch(const task_t *task, Py_ssize_t lo, bint all) noexcept nogil:
    """Prefetch what a block of sums will read: it computes so little that it would wait for memory."""
    cdef int k
    if task.g.contiguous:
        fo_prefetch(task.g.data + lo * size_of(task.g.format), BLOCK * size_of(task.g.format))
    if not all:
        return
    if task.p.contiguous:
        fo_prefetch(task.p.data + lo * size_of(task.p.format), BLOCK * size_of(task.p.format))
    for k in range(task.rule.states):
        if task.formats[k] < ROWS:
            fo_prefetch(task.state[k] + lo * size_of(task.formats[k]), BLOCK * size_of(task.formats[k]))


cdef inline bint fetch_gradient(const task_t *task, bint wide, Py_ssize_t lo, Py_ssize_t n, element *buffer, double *wide_buffer,
                                void **arrays) noexcept nogil:
    """Set arrays[GRADIENT] to the gradient's elements, in place or decoded; return True if they are wider than the parameter.

    They are doubles for float parameters if a stage takes doubles and the gradient's format has more range than float.
    """
    if element is float:
        if wide and (task.g.format == FLOAT64 or task.g.format == LONGDOUBLE):
            arrays[GRADIENT] = wide_buffer
            if task.g.contiguous and task.g.format == FLOAT64:
                arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(double)
            else:
                move(<char *> wide_buffer, &task.g, lo, n, 0, False, wide_buffer[0])
            return True
    if task.g.contiguous and task.g.format == element_format(buffer[0]):
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
    else:
        move(<char *> buffer, &task.g, lo, n, 0, False, buffer[0])
        arrays[GRADIENT] = buffer
    return False


cdef inline const op_t *until(const op_t *op, int kind) noexcept nogil:
    """Return the next operation of a kind, or the last."""
    while op.kind != END and op.kind != kind:
        op += 1
    return op


cdef inline const op_t *find_terms(const task_t *task, int at, bint *keeps_state, bint *keeps_parameter) noexcept nogil:
    """Return the operation with number `at`, or the last, and what its terms must not change."""
    cdef const op_t *op = task.ops
    while op.kind != END and op.id != at:
        keeps_state[0] = keeps_state[0] or not op.needs_gradient_only
        keeps_parameter[0] = keeps_parameter[0] or op.kind == SUBTRACT or (op.kind == STAGE and op.formula.arrays[0] == PARAMETER)
        op += 1
    return op


cdef inline bint sum_squares(const formula_t *f, void **arrays, Py_ssize_t n, bint is_wide, partial_t *sums,
                             element _) noexcept nogil:
    """Sum the squares of whole arrays without writing them first. Return False if some are doubles that do not fill the block."""
    cdef const float *floats[SUMS]
    cdef double found[SUMS]
    cdef int j, unit, count = 0
    for j in range(f.sums):
        if element is float and not (is_wide and f.square_of[j] == GRADIENT):
            floats[count] = <const float *> arrays[f.square_of[j]]
            count += 1
        elif n < BLOCK:
            return False
    fo_fold_floats(count, floats, n, found)
    count = 0
    for j in range(f.sums):
        unit = 0
        if element is float and not (is_wide and f.square_of[j] == GRADIENT):
            sums[j].sum = found[count]
            count += 1
        else:
            sums[j].sum = fo_fold_squares(<const double *> arrays[f.square_of[j]], &unit)
        sums[j].unit = unit
    return True


cdef inline terms_t write_terms(const task_t *task, const op_t *op, const formula_t *f, const double *c, Py_ssize_t lo,
                                Py_ssize_t n, int id, void **arrays, double *out, bint is_wide, element _) noexcept nogil:
    """Write the terms of an operation's sums, or of a rule's matrices."""
    cdef int k, place
    cdef void *terms[UPDATE + 1]
    terms[UPDATE] = out
    if op.kind == RULE:
        for k in range(f.states + 2):
            terms[k] = arrays[k]
    else:
        for k in range(f.n_sums_arrays):
            place = f.sums_arrays[k]
            terms[k] = arrays[place] if place < STAGE_ARRAY else stage_array(task, place - STAGE_ARRAY, lo, _)
    if id == TERMS and element is float:
        f.terms_f32(terms, n, c)
    elif id == TERMS:
        f.terms_f64(terms, n, c)
    elif element is float:
        if is_wide:
            f.sums_f64(terms, n, c)
        else:
            f.sums_f32(terms, n, c)
    else:
        f.sums_f64(terms, n, c)
    return OF_DOUBLES if element is double or is_wide else OF_FLOATS


cdef inline void operate(const task_t *task, const op_t *op, const formula_t *f, void **arrays, gradient_buffers_t *g,
                         element *u_buffer, bint terms_only, Py_ssize_t lo, Py_ssize_t n) noexcept nogil:
    """Run one operation on a block; with `terms_only`, nothing outside the buffers changes."""
    if op.kind == RULE:
        arrays[UPDATE] = u_buffer if terms_only or until(op, SUBTRACT).kind == SUBTRACT else NULL
        if element is float:
            f.f32(arrays, n, task.c)
        else:
            f.f64(arrays, n, task.c)
    elif op.kind == SUBTRACT:
        subtract(<element *> arrays[PARAMETER], <element *> arrays[UPDATE], n)
    elif op.kind == STAGE:
        shape(task, op, arrays, g, lo, n, u_buffer[0])
    elif op.kind == EMPTY and not terms_only:
        memset(stage_array(task, f.arrays[1] - STAGE_ARRAY, lo, u_buffer[0]), 0, n * sizeof(element))
    elif op.kind == CLEAR:
        move(<char *> fo_zeros(), &task.g, lo, n, size_of(task.g.format), True, u_buffer[0])


cdef inline terms_t write_zeros(double *out, Py_ssize_t n) noexcept nogil:
    """Write the terms of sums that an array has no part in."""
    cdef int j
    for j in range(SUMS):
        memset(out + j * BLOCK, 0, n * sizeof(double))
    return OF_FLOATS


cdef inline terms_t run_block(const task_t *task, Py_ssize_t lo, Py_ssize_t n, int id, double *out, partial_t *sums,
                              element _) noexcept nogil:
    """Update at most a block, elements `lo` to `lo + n`: decode, run the program, encode.

    With `out`, write the terms of the sums of operation `id`, or of a rule's matrices, and change nothing, unless the task keeps
    what the rule computes. With `sums`, write the sums of squares instead where that is possible.
    """
    cdef element p_buffer[BLOCK]
    cdef element g_buffers[2][BLOCK]
    cdef double w_buffers[2][BLOCK]
    cdef element u_buffer[BLOCK]
    cdef element state_buffers[STATES][BLOCK]
    cdef element *update = u_buffer
    cdef void *arrays[UPDATE + 1]
    cdef const op_t *op = task.ops
    cdef const op_t *found
    cdef const formula_t *f
    cdef bint terms_only = out != NULL, updated = False, fetched = False, needed = until(op, RULE).kind == RULE
    cdef bint keeps_state = False, keeps_parameter = False  # Copy what a rule or stage before the terms would change.
    cdef gradient_buffers_t g
    cdef int at = STAGES if id == TERMS else id  # Matrix terms come where the rule does.
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = g_buffers[0], g_buffers[1], w_buffers[0], w_buffers[1], False
    if terms_only:
        found = find_terms(task, at, &keeps_state, &keeps_parameter)
        if found.kind == END or (found.kind == RULE and id == STAGES and task.rule.sums == 0):
            return write_zeros(out, n)
        needed = not found.needs_gradient_only
        if task.kept != NULL and task.kept_at == id:
            keeps_state, update = False, <element *> task.kept + lo
        if task.n >= LARGE:
            prefetch(task, lo + AHEAD, needed)
    arrays[UPDATE] = NULL
    if needed:
        arrays[PARAMETER] = fetch_parameter(task, lo, n, p_buffer, keeps_parameter)
    g.is_wide = fetch_gradient(task, op.takes_wide, lo, n, g_buffers[1], w_buffers[1], arrays)
    while op.kind != END:
        f = task.rule if op.kind == RULE else op.formula
        if op.kind == RULE and not fetched:
            fetch_state(task, lo, n, state_buffers, arrays, keeps_state)
            fetched = True
        if terms_only and op.id == at and (op.kind == STAGE or op.kind == RULE or op.kind == CHECK):
            if sums != NULL and sum_squares(f, arrays, n, g.is_wide, sums, p_buffer[0]):
                return SUMMED
            return write_terms(task, op, f, op.c + op.stride * task.index, lo, n, id, arrays, out, g.is_wide, p_buffer[0])
        updated = updated or op.kind == RULE
        operate(task, op, f, arrays, &g, update, terms_only, lo, n)
        op += 1
    if updated and not terms_only:
        store(task, lo, n, arrays, p_buffer[0])
    return OF_FLOATS
