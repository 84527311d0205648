"""Program of a step in C, for the compiled engine and the C interface; ``program.py`` is its twin in Python."""

from libc.float cimport FLT_MAX
from libc.stdint cimport int64_t

from fastopt._engine.table cimport (
    AVERAGES, CHECK, CLEAR, EMPTY, END, GENERAL, GRADIENT, INPUTS, RULE, RULE_ALONE, STAGE, STAGES, STAGES_AND_RULE, STAGE_ARRAY,
    SUBTRACT, formula_t, kind_t, op_t, table_t,
)


cdef inline op_t op_of(kind_t kind, int id, const formula_t *formula, const double *c, Py_ssize_t stride,
                       bint needs_gradient_only) noexcept nogil:
    cdef op_t op
    op.kind, op.id, op.formula, op.c, op.stride, op.needs_gradient_only = kind, id, formula, c, stride, needs_gradient_only
    op.loose = op.takes_wide = op.gives_wide = False
    op.fast_path = GENERAL
    return op


cdef inline bint is_loose(const formula_t *stage, double limit) noexcept nogil:
    """Return True if a stage clips to more than a float holds."""
    return stage.limits and limit > FLT_MAX


cdef inline void mark_wide(op_t *ops) noexcept nogil:
    """Mark the stages that receive the gradient in double from the stage before.

    From the last to the first: a passive stage does not widen for itself.
    """
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


cdef inline void build_program(op_t *first, const table_t *table, const formula_t *rule, int64_t on, int64_t checks,
                               int64_t loose, bint accumulating, bint clears, const double *stage_c, const double *sums_c,
                               Py_ssize_t stride) noexcept nogil:
    """Write the operations of a step: the stages of mask `on` around the rule.

    Stages of mask `checks` end with their sums. `stage_c` has INPUTS scalars for each stage; `sums_c` has those of the rule's
    sums, `stride` apart from one parameter to the next.
    """
    cdef const formula_t *stage
    cdef op_t *op = first
    cdef int k, j
    cdef int64_t of_update = (<int64_t> 1 << table.subtract_at) - (<int64_t> 1 << table.rule_at)
    cdef bint needs_gradient_only = True, used = False
    for k in range(table.n_stages + 1):
        if k == table.rule_at and not accumulating:
            op = append(op, op_of(RULE, STAGES, rule, sums_c, stride, False))
        if k == table.subtract_at and on & ~checks & of_update:
            op = append(op, op_of(SUBTRACT, -1, NULL, NULL, 0, False))
        if k == table.n_stages or not on >> k & 1:
            continue
        stage = &table.stages[k]
        for j in range(stage.n_arrays):
            needs_gradient_only = needs_gradient_only and (stage.arrays[j] == GRADIENT or stage.arrays[j] >= STAGE_ARRAY)
        op = append(op, op_of(CHECK if checks >> k & 1 else STAGE, k, stage, stage_c + k * INPUTS, 0, needs_gradient_only))
        op[-1].loose = loose >> k & 1
        if stage.kind == AVERAGES:
            op, used = append(op, op_of(EMPTY, -1, stage, NULL, 0, False)), True
    if clears:
        op = append(op, op_of(CLEAR, -1, NULL, NULL, 0, False))
    append(op, op_of(END, -1, NULL, NULL, 0, False))
    mark_wide(first)
    if not accumulating and not clears and not used:
        first.fast_path = RULE_ALONE if on & ~checks == 0 else STAGES_AND_RULE
