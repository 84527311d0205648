# cython: cdivision=True
"""The operations of a step on one block, and the walk over contiguous blocks that need no staging.

Inline, so that the module of each instruction set compiles its own.
"""

from libc.string cimport memset

from fastopt._engine.encoding cimport element, move, narrow, size_of
from fastopt._engine.staging cimport fetch_parameter, fetch_state, own_array, plain, store, subtract
from fastopt._engine.table cimport (
    BLOCK, CHECK, CLEAR, EMPTY, END, FLOAT64, GRADIENT, INPUTS, LONGDOUBLE, OWN, PARAMETER, ROWS, RULE, STAGE, STAGES, STATES,
    SUBTRACT, SUMS, TERMS, UPDATE, VELOCITY, formula_t, op_t, task_t,
)

cdef enum:
    AHEAD = 4 * BLOCK  # elements that are asked for before they are summed
    LARGE = 1 << 18  # elements that no cache close by holds

cdef extern from "block.h" nogil:
    void fo_prefetch(const char *x, Py_ssize_t n)
    const char *fo_zeros()


cdef struct shaped_t:  # buffers for a gradient that stages shape: the first of each pair is free
    void *narrow[2]  # of the parameter's precision
    double *wide[2]
    bint is_wide  # what was shaped is doubles


cdef inline void shape_gradient(const op_t *op, void **arrays, shaped_t *g, Py_ssize_t n, const double *c, element _) noexcept nogil:
    """A stage of the gradient alone, into a buffer: of doubles where the next goes on with it so."""
    cdef void *given[2]
    cdef const formula_t *f = op.formula
    given[1] = arrays[GRADIENT]
    if element is float:
        if op.gives_wide and (g.is_wide or not f.exact(c)):
            given[0] = g.wide[0]
            if g.is_wide:
                f.f64(given, n, c)
            else:
                f.widen(given, n, c)
            g.wide[0], g.wide[1] = g.wide[1], g.wide[0]
            arrays[GRADIENT] = given[0]
            g.is_wide = True
            return
    given[0] = g.narrow[0]
    if element is double:
        f.f64(given, n, c)
    elif g.is_wide:
        f.narrow(given, n, c)
    else:
        f.f32(given, n, c)
    g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    arrays[GRADIENT] = given[0]
    g.is_wide = False


cdef inline void shape(const task_t *task, const op_t *op, void **arrays, shaped_t *g, Py_ssize_t lo, Py_ssize_t n, element _) \
        noexcept nogil:
    """A stage on a block of these arrays: in place, but for the gradient, which goes to a buffer."""
    cdef const formula_t *f = op.formula
    cdef const double *c = op.c + op.stride * task.index
    cdef void *given[INPUTS + 1]
    cdef int k, first = f.arrays[0], out = 0
    if f.widen != NULL:
        shape_gradient(op, arrays, g, n, c, _)
        return
    if first == GRADIENT:
        given[0] = g.narrow[0]
        out = 1
    for k in range(f.n_arrays):
        if f.arrays[k] < VELOCITY:
            given[k + out] = arrays[f.arrays[k]]
        elif f.arrays[k] >= OWN:
            given[k + out] = own_array(task, f.arrays[k] - OWN, lo, _)
    if first == GRADIENT:
        arrays[GRADIENT] = given[0]
        g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    for k in range(STATES if first == VELOCITY else 1):
        if first == VELOCITY:
            if not task.rule.velocity >> k & 1:
                continue
            given[0] = arrays[k + 2]
        if element is float:
            f.f32(given, n, c)
        else:
            f.f64(given, n, c)


cdef inline void straight(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, element _) noexcept nogil:
    """Block by block through stages and rule, on arrays that need no decoding."""
    cdef element own_g[2][BLOCK]
    cdef double own_w[2][BLOCK]
    cdef element own_u[BLOCK]
    cdef shaped_t g
    cdef void *arrays[UPDATE + 1]
    cdef void *update = NULL
    cdef const op_t *op = task.ops
    cdef Py_ssize_t n
    cdef int k
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = own_g[0], own_g[1], own_w[0], own_w[1], False
    while op.kind != END:
        if op.kind == SUBTRACT:
            update = own_u
        op += 1
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        arrays[PARAMETER] = task.p.data + lo * <Py_ssize_t> sizeof(element)
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        arrays[UPDATE] = update
        op = task.ops
        while op.kind != END:
            if op.kind == STAGE:
                shape(task, op, arrays, &g, lo, n, _)
            elif op.kind == SUBTRACT:
                subtract(<element *> arrays[PARAMETER], own_u, n)
            elif op.kind == RULE:
                if element is float:
                    task.rule.f32(arrays, n, task.c)
                else:
                    task.rule.f64(arrays, n, task.c)
            op += 1
        lo += n


cdef inline void ask_for(const task_t *task, Py_ssize_t lo, bint all) noexcept nogil:
    """Fetch what a block of sums will read from lo on: it does little else with it, so that it would wait for memory."""
    cdef int k
    if task.g.flat:
        fo_prefetch(task.g.data + lo * size_of(task.g.format), BLOCK * size_of(task.g.format))
    if not all:
        return
    if task.p.flat:
        fo_prefetch(task.p.data + lo * size_of(task.p.format), BLOCK * size_of(task.p.format))
    for k in range(task.rule.states):
        if task.formats[k] < ROWS:
            fo_prefetch(task.state[k] + lo * size_of(task.formats[k]), BLOCK * size_of(task.formats[k]))


cdef inline bint fetch_gradient(const task_t *task, bint wide, Py_ssize_t lo, Py_ssize_t n, element *own, double *own_wide,
                                void **arrays) noexcept nogil:
    """Where the gradient lies or was decoded to; returns whether as doubles, which it is if a stage takes it so and it has more range."""
    if element is float:
        if wide and (task.g.format == FLOAT64 or task.g.format == LONGDOUBLE):
            arrays[GRADIENT] = own_wide
            if task.g.flat and task.g.format == FLOAT64:
                arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(double)
            else:
                move(<char *> own_wide, &task.g, lo, n, 0, False, own_wide[0])
            return True
    if task.g.flat and task.g.format == plain(own[0]):
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
    else:
        move(<char *> own, &task.g, lo, n, 0, False, own[0])
        arrays[GRADIENT] = own
    return False


cdef inline const op_t *until(const op_t *op, int kind) noexcept nogil:
    """The first operation of a kind from this one on, or the last."""
    while op.kind != END and op.kind != kind:
        op += 1
    return op


cdef inline const op_t *find_terms(const task_t *task, int at, bint *touched, bint *moved) noexcept nogil:
    """The operation with this number, or the last; and whether those before it need state, or move the parameter."""
    cdef const op_t *op = task.ops
    while op.kind != END and op.id != at:
        touched[0] = touched[0] or not op.early
        moved[0] = moved[0] or op.kind == SUBTRACT or (op.kind == STAGE and op.formula.arrays[0] == PARAMETER)
        op += 1
    return op


cdef inline bint write_terms(const task_t *task, const op_t *op, const formula_t *f, const double *c, Py_ssize_t lo, Py_ssize_t n, int id,
                             void **arrays, double *out, bint is_wide, element _) noexcept nogil:
    """The terms of an operation's sums, or of a rule's matrices; returns whether they are of doubles."""
    cdef void *terms[UPDATE + 1]
    cdef int k
    terms[UPDATE] = out
    if op.kind == RULE:
        for k in range(f.states + 2):
            terms[k] = arrays[k]
    else:
        for k in range(f.n_sums_arrays):
            terms[k] = arrays[f.sums_arrays[k]] if f.sums_arrays[k] < OWN else own_array(task, f.sums_arrays[k] - OWN, lo, _)
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
    return element is double or is_wide


cdef inline void operate(const task_t *task, const op_t *op, const formula_t *f, void **arrays, shaped_t *g, element *own_u, bint apart,
                         Py_ssize_t lo, Py_ssize_t n) noexcept nogil:
    """One operation on a block; `apart`: what lies outside of the block's arrays is not changed."""
    if op.kind == RULE:
        arrays[UPDATE] = own_u if apart or until(op, SUBTRACT).kind == SUBTRACT else NULL
        if element is float:
            f.f32(arrays, n, task.c)
        else:
            f.f64(arrays, n, task.c)
    elif op.kind == SUBTRACT:
        subtract(<element *> arrays[PARAMETER], <element *> arrays[UPDATE], n)
    elif op.kind == STAGE:
        shape(task, op, arrays, g, lo, n, own_u[0])
    elif op.kind == EMPTY and not apart:
        memset(own_array(task, f.arrays[1] - OWN, lo, own_u[0]), 0, n * sizeof(element))
    elif op.kind == CLEAR:
        move(<char *> fo_zeros(), &task.g, lo, n, size_of(task.g.format), True, own_u[0])


cdef inline bint block(const task_t *task, Py_ssize_t lo, Py_ssize_t n, int id, double *out, element _) noexcept nogil:
    """One step of elements lo to lo + n, at most a block: decode, shape, update, encode; what needs no staging is used where it lies.

    With `out`: the terms of the sums of operation `id`, or of a rule's matrices, and nothing is changed. Returns True if they are of
    doubles, and so no squares yet.
    """
    cdef element own_p[BLOCK]
    cdef element own_g[2][BLOCK]
    cdef double own_w[2][BLOCK]
    cdef element own_u[BLOCK]
    cdef element own_state[STATES][BLOCK]
    cdef void *arrays[UPDATE + 1]
    cdef const op_t *op = task.ops
    cdef const op_t *found
    cdef const formula_t *f
    cdef const double *c
    cdef bint apart = out != NULL, updated = False, fetched = False, needed = True
    cdef bint touched = False, moved = False  # what is to stay: state by the rule, the parameter by a stage
    cdef shaped_t g
    cdef int k, at = STAGES if id == TERMS else id  # terms come where the rule does
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = own_g[0], own_g[1], own_w[0], own_w[1], False
    if apart:
        found = find_terms(task, at, &touched, &moved)
        if found.kind == END or (found.kind == RULE and id == STAGES and task.rule.sums == 0):
            for k in range(SUMS):
                memset(out + k * BLOCK, 0, n * sizeof(double))
            return False
        needed = not found.early
    else:
        needed = until(op, RULE).kind == RULE
    arrays[UPDATE] = NULL
    if apart and task.n >= LARGE:
        ask_for(task, lo + AHEAD, needed)
    if needed:
        arrays[PARAMETER] = fetch_parameter(task, lo, n, own_p, moved)
    g.is_wide = fetch_gradient(task, op.takes_wide, lo, n, own_g[1], own_w[1], arrays)
    while op.kind != END:
        f = task.rule if op.kind == RULE else op.formula
        c = op.c + op.stride * task.index
        if op.kind == RULE and not fetched:
            fetch_state(task, lo, n, own_state, arrays, touched)
            fetched = True
        if apart and op.id == at and (op.kind == STAGE or op.kind == RULE or op.kind == CHECK):
            return write_terms(task, op, f, c, lo, n, id, arrays, out, g.is_wide, own_p[0])
        updated = updated or op.kind == RULE
        operate(task, op, f, arrays, &g, own_u, apart, lo, n)
        op += 1
    if updated and not apart:
        store(task, lo, n, arrays, own_p[0])
    return False
