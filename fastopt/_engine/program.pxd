"""The operations of a step, in order, for the compiled engine and the C interface; ``program.py`` is the twin in Python."""

from libc.float cimport FLT_MAX
from libc.stdint cimport int64_t

from fastopt._engine.table cimport (
    AVERAGES, CHECK, CLEAR, EMPTY, END, GENERAL, GRADIENT, INPUTS, OWN, RULE, RULE_ALONE, STAGE, STAGES, STRAIGHT, SUBTRACT, formula_t,
    kind_t, op_t, table_t,
)


cdef inline op_t op_of(kind_t kind, int id, const formula_t *formula, const double *c, Py_ssize_t stride, bint early) noexcept nogil:
    cdef op_t op
    op.kind, op.id, op.formula, op.c, op.stride, op.early = kind, id, formula, c, stride, early
    op.loose = op.takes_wide = op.gives_wide = False
    op.path = GENERAL
    return op


cdef inline bint is_loose(const formula_t *stage, double limit) noexcept nogil:
    """Whether a stage clips to more than a float holds."""
    return stage.limits and limit > FLT_MAX


cdef inline void mark_wide(op_t *ops) noexcept nogil:
    """Say of the stages of the gradient alone which go on in double with what the one before gives."""
    cdef Py_ssize_t k = 0
    cdef bint takes = False
    while ops[k].kind != END:
        k += 1
    while k > 0:
        k -= 1
        if ops[k].kind == STAGE or ops[k].kind == CHECK:
            ops[k].gives_wide = takes
            takes = ops[k].formula.widen != NULL and not ops[k].loose and (takes or not ops[k].formula.passive)
        else:
            takes = False
        ops[k].takes_wide = takes


cdef inline op_t *append(op_t *op, op_t new) noexcept nogil:
    op[0] = new
    return op + 1


cdef inline void build_program(op_t *first, const table_t *table, const formula_t *rule, int64_t on, int64_t checks, int64_t loose,
                               bint holds, bint clears, const double *stage_c, const double *sums_c, Py_ssize_t stride) noexcept nogil:
    """Stages that are on, a bit each, around the rule; those in `checks` have had their sums and do nothing more.

    Their scalars are in `stage_c`, INPUTS for each stage; those of the rule's sums in `sums_c`, so many for each parameter.
    """
    cdef const formula_t *stage
    cdef op_t *op = first
    cdef int k, j
    cdef int64_t of_update = (<int64_t> 1 << table.subtract_at) - (<int64_t> 1 << table.rule_at)
    cdef bint early = True, used = False
    for k in range(table.n_stages + 1):
        if k == table.rule_at and not holds:
            op = append(op, op_of(RULE, STAGES, rule, sums_c, stride, False))
        if k == table.subtract_at and on & ~checks & of_update:
            op = append(op, op_of(SUBTRACT, -1, NULL, NULL, 0, False))
        if k == table.n_stages or not on >> k & 1:
            continue
        stage = &table.stages[k]
        for j in range(stage.n_arrays):
            early = early and (stage.arrays[j] == GRADIENT or stage.arrays[j] >= OWN)
        op = append(op, op_of(CHECK if checks >> k & 1 else STAGE, k, stage, stage_c + k * INPUTS, 0, early))
        op[-1].loose = loose >> k & 1
        if stage.kind == AVERAGES:
            op, used = append(op, op_of(EMPTY, -1, stage, NULL, 0, False)), True
    if clears:
        op = append(op, op_of(CLEAR, -1, NULL, NULL, 0, False))
    append(op, op_of(END, -1, NULL, NULL, 0, False))
    mark_wide(first)
    if not holds and not clears and not used:
        first.path = RULE_ALONE if on & ~checks == 0 else STRAIGHT
