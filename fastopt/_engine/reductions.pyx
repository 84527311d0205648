# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Sums over arrays, and means over rows and columns of factored terms.

A block is summed in a fixed order; the sums of blocks are added exactly, in integers. So bits depend neither on threads nor on
vector widths.
"""

from libc.stdint cimport int64_t

from fastopt._engine.passes cimport PASS_FACTORS, PASS_TERMS, PASS_SUMS, run_pass, has_terms
from fastopt._engine.plan cimport Plan, hyperparameters_of, powers_of
from fastopt._engine.table cimport (
    ARRAY, BLOCK, COLUMNS, END, FLOAT64, GRADIENT, GROUP, INPUTS, CARRY, LINES, MATRIX, RATIOS, ROWS, RULE, SCALARS, STAGE, STAGES,
    STAGES_AND_RULE, SUMS, TOTALS, TRANSFORMS, UPDATE, WHOLE, factors_t, formula_t, op_t, partial_t, scope_t, task_t,
)

cdef extern from "block.h" nogil:
    ctypedef struct fo_total:
        int64_t count
        double first, special
        int unit, lo, hi
        int64_t *limbs
    int fo_total_normalize(fo_total *total)
    void fo_total_clear(fo_total *total)
    void fo_total_add_blocks(fo_total *total, const partial_t *blocks, int64_t n, int64_t stride)
    int fo_reduce_totals(fo_total *totals, int sums, int squares, double n, double *given)

cdef extern from "threads.h" nogil:
    double fo_now()

from fastopt._engine.sums import Total, total as total_of

cdef enum:
    KEPT = 1 << 20  # Elements, of all arrays: caches hold their updates.

cdef struct run_t:  # Contiguous blocks whose sums are still to be added.
    Py_ssize_t first
    Py_ssize_t end


cdef int allocate_sums(Plan plan, int id, const formula_t *f) except -1:
    """Allocate the memory of a stage's or rule's sums when they are first needed."""
    cdef Py_ssize_t blocks, elements
    if plan.sum_pass.partials == NULL:
        blocks = max(plan.space[0], plan.space[1], plan.space[2])
        plan.sum_pass.partials = <partial_t *> plan.arena.allocate(SUMS * blocks, sizeof(partial_t))
    if plan.sums[id] == NULL:
        plan.sums[id] = <double *> plan.arena.allocate(TOTALS * max(plan.n, plan.n_groups), sizeof(double))
    if id < STAGES and f.scope == ARRAY and plan.array_c[id] == NULL:
        plan.array_c[id] = <double *> plan.arena.allocate(plan.n * INPUTS, sizeof(double))
    if id == STAGES and plan.sums_c == NULL:
        plan.sums_c = <double *> plan.arena.allocate(plan.n * SCALARS, sizeof(double))
    if id < STAGES and plan.n and plan.kept == NULL and sums_update(f) and not plan.core.flush and not plan.exact:
        elements = plan.starts[<int> WHOLE][plan.n - 1] + plan.core.tasks[plan.n - 1].n
        if elements <= KEPT:
            plan.kept = <char *> plan.arena.allocate(elements, sizeof(double))
    return 0


cdef bint sums_update(const formula_t *f) noexcept:
    """Return True for a stage that changes the update by the squares of its elements, array by array."""
    cdef int j
    for j in range(f.sums if f.plain_squares and f.scope == ARRAY and f.kind == TRANSFORMS else 0):
        if f.square_of[j] == UPDATE:
            return True
    return False


cdef void keep_updates(Plan plan, int id) noexcept:
    """Let the sums of a stage keep the updates that they compute, of arrays where that is possible."""
    cdef Py_ssize_t i
    cdef task_t *task
    for i in range(plan.n):
        task = &plan.core.tasks[i]
        if can_keep(task, id):
            task.kept, task.kept_at = plan.kept + plan.starts[<int> WHOLE][i] * <Py_ssize_t> sizeof(double), id


cdef void drop_updates(Plan plan) noexcept:
    """Forget the updates of the step that has been made."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        plan.core.tasks[i].kept = NULL


cdef bint can_keep(const task_t *task, int id) noexcept:
    """Return True if all that changes before a stage is gradient, update and the rule's state, and no other sums need the rule."""
    cdef const op_t *op = task.ops
    cdef bint ran = False, found = False
    if not task.active or not task.no_decoding or task.rows != NULL or op.fast_path != STAGES_AND_RULE:
        return False
    while op.kind != END:
        if op.kind == RULE:
            ran = True
        elif op.id == id:
            found = ran
        elif ran and op.kind == STAGE and op.formula.sums:
            return False
        elif not found and (op.kind != STAGE or (op.formula.arrays[0] != GRADIENT and op.formula.arrays[0] != UPDATE)):
            return False
        op += 1
    return found


cdef int sum_arrays(Plan plan, int id, const formula_t *f, int parts) except -1:
    """Compute the sums of a stage or rule over all arrays."""
    cdef Py_ssize_t i, into, start, k
    cdef run_t run
    cdef const task_t *task
    cdef fo_total totals[SUMS]
    cdef int j
    plan.sum_pass.kind, plan.sum_pass.id, plan.sum_pass.formula = PASS_SUMS, id, f
    plan.sum_pass.starts, plan.sum_pass.blocks = plan.starts[<int> f.scope], plan.space[<int> f.scope]
    run_pass(&plan.core, &plan.sum_pass, parts)
    for i in range(plan.n):
        task = &plan.core.tasks[i]
        into = target(plan, f.scope, i)
        if i == 0 or into != target(plan, f.scope, i - 1):
            run.first = run.end = 0
            for j in range(f.sums):
                fo_total_clear(&totals[j])
        start = plan.sum_pass.starts[i]
        if task.active and task.rows == NULL:
            add_blocks(plan, totals, &run, start, start + task.n)
        # The rows without a gradient are zeros.
        elif task.active:
            for k in range(task.n_rows if task.row else 0):
                add_blocks(plan, totals, &run, start + task.rows[k] * task.row, start + (task.rows[k] + 1) * task.row)
        if i == plan.n - 1 or into != target(plan, f.scope, i + 1):
            add_run(plan, totals, &run)
            if plan.exchange is not None and f.scope != ARRAY:
                exchange_totals(plan, f, totals)
            fo_reduce_totals(totals, f.sums, f.squares, task.work if task.rule.mean and id == STAGES else -1,
                             plan.sums[id] + into * TOTALS)
    if plan.n == 0 and plan.exchange is not None and f.scope != ARRAY:
        exchanged(plan, f.name.decode(), [Total()] * f.sums)
    return 0


cdef int exchange_totals(Plan plan, const formula_t *f, fo_total *totals) except -1:
    """Replace the totals of a formula, over this span, by those over all spans."""
    cdef int j
    cdef double x
    cdef int exponent
    given = [as_object(&totals[j]) for j in range(f.sums)]
    for j, total in enumerate(exchanged(plan, f.name.decode(), given)):
        x, exponent = total.rounded()
        totals[j].count, totals[j].first, totals[j].unit = 1, x, exponent
    return 0


cdef object exchanged(Plan plan, str name, list totals):
    """Return the totals over all spans; the time that it takes says nothing about threads."""
    cdef double before = fo_now()
    found = plan.exchange(name, totals)
    plan.chooser.entered += fo_now() - before
    return found


cdef object as_object(fo_total *total):
    """Return a total as a `Total`."""
    cdef int k
    cdef bint negative
    if total.count < 2:
        return total_of([total.first] * total.count, [total.unit] * total.count)
    negative = fo_total_normalize(total)
    whole = 0
    for k in range(total.hi - 1, total.lo - 1, -1):
        whole = whole << 32 | total.limbs[k]
    whole <<= 32 * total.lo
    return Total(-whole if negative else whole, total.special)


cdef inline Py_ssize_t target(Plan plan, scope_t scope, Py_ssize_t i) noexcept:
    """Return the place of a parameter's sums, among those of a scope."""
    return i if scope == ARRAY else plan.origin_of[i] if scope == GROUP else 0


cdef void add_blocks(Plan plan, fo_total *totals, run_t *run, Py_ssize_t lo, Py_ssize_t hi) noexcept:
    """Add the sums of blocks that cover elements `lo` to `hi`. Contiguous blocks are collected into runs."""
    cdef Py_ssize_t first = max(run.end, lo // BLOCK), end = (hi + BLOCK - 1) // BLOCK
    if first > run.end:
        add_run(plan, totals, run)
        run.first = first
    run.end = max(run.end, end)


cdef void add_run(Plan plan, fo_total *totals, const run_t *run) noexcept:
    cdef int j, count = plan.sum_pass.formula.sums
    for j in range(count):
        fo_total_add_blocks(&totals[j], plan.sum_pass.partials + run.first * count + j, run.end - run.first, count)


cdef int prepare_matrices(Plan plan, int parts) except -1:
    """Compute factored means and whole matrices from the rules' terms. No parameter changes yet."""
    cdef Py_ssize_t i
    cdef const formula_t *rule
    cdef bint factors = False, matrices = False
    for i in range(plan.n):
        rule = plan.core.tasks[i].rule
        if rule.terms and plan.core.tasks[i].active:
            factors, matrices = factors or rule.terms_scope == LINES, matrices or rule.terms_scope == MATRIX
            if rule.compute_terms_scalars != NULL:
                rule.compute_terms_scalars(plan.t[i] + 1, plan.carry + i * CARRY, NULL, hyperparameters_of(plan, i),
                                           powers_of(plan, i), plan.sums_c + i * SCALARS)
    if factors:
        plan.sum_pass.kind, plan.sum_pass.blocks = PASS_FACTORS, plan.chunks
        run_pass(&plan.core, &plan.sum_pass, parts)
        for i in range(plan.n):
            if has_terms(&plan.core.tasks[i], LINES):
                average_lines(plan, i, plan.sums_c + i * SCALARS)
    if matrices:
        plan.sum_pass.kind, plan.sum_pass.blocks = PASS_TERMS, plan.core.blocks
        run_pass(&plan.core, &plan.sum_pass, parts)
        for i in range(plan.n):
            if has_terms(&plan.core.tasks[i], MATRIX):
                plan.parameters[i].change_matrix()
    return 0


cdef void average_lines(Plan plan, Py_ssize_t i, const double *c) noexcept:
    """Update the averages of row and column means, and the rows' ratios to their own mean."""
    cdef task_t *task = &plan.core.tasks[i]
    cdef factors_t *factors = task.factors
    cdef Py_ssize_t k, j, chunk
    cdef double total, w = c[0]
    cdef char *row_factor = NULL
    cdef char *column_factor = NULL
    cdef char *row_ratio = NULL
    cdef bint wide = task.p.format == FLOAT64
    for k in range(task.rule.states):
        if task.formats[k] == ROWS:
            row_factor = task.state[k]
        elif task.formats[k] == COLUMNS:
            column_factor = task.state[k]
        elif task.formats[k] == RATIOS:
            row_ratio = task.state[k]
    for k in range(factors.matrices * factors.rows):
        join(row_factor, k, factors.row_sums[k] / factors.columns, w, wide)
    for k in range(factors.matrices):
        for j in range(factors.columns):
            total = 0
            for chunk in range(k * factors.chunks, (k + 1) * factors.chunks):
                total = total + factors.column_sums[chunk * factors.columns + j]
            join(column_factor, k * factors.columns + j, total / factors.rows, w, wide)
        total = 0
        for j in range(k * factors.rows, (k + 1) * factors.rows):
            total = total + as_double(row_factor, j, wide)
        total = total / factors.rows
        if total < c[1]:
            total = c[1]
        for j in range(k * factors.rows, (k + 1) * factors.rows):
            join(row_ratio, j, as_double(row_factor, j, wide) / total, 1, wide)


cdef inline void join(char *averages, Py_ssize_t k, double x, double w, bint wide) noexcept:
    """Update an average with weight `w`; it is stored as float or as double."""
    x = x if w == 1 else (1 - w) * as_double(averages, k, wide) + w * x
    if wide:
        (<double *> averages)[k] = x
    else:
        (<float *> averages)[k] = <float> x


cdef inline double as_double(const char *numbers, Py_ssize_t k, bint wide) noexcept:
    """Return element k of floats or doubles."""
    return (<const double *> numbers)[k] if wide else <double> (<const float *> numbers)[k]
