# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Sums over arrays: exact sums of blocks, each summed in a fixed order; averages over the lines of matrices."""

from libc.stdint cimport int64_t

from fastopt._engine.passes cimport AVERAGING, SPREADING, SUMMING, go, has_terms
from fastopt._engine.plan cimport Plan, hyperparameters_of
from fastopt._engine.table cimport (
    ARRAY, BLOCK, COLUMNS, FLOAT64, GROUP, INPUTS, KEPT, LINES, MATRIX, RATIOS, ROWS, SCALARS, STAGES, SUMS, TOTALS, formula_t,
    lines_t, partial_t, scope_t, task_t,
)

cdef extern from "block.h" nogil:
    ctypedef struct fo_total:
        pass
    void fo_total_clear(fo_total *total)
    void fo_total_add_blocks(fo_total *total, const partial_t *blocks, int64_t n, int64_t stride)
    int fo_totals_given(fo_total *totals, int sums, int squares, double n, double *given)

cdef struct run_t:  # of blocks of sums, that are still to be added
    Py_ssize_t first
    Py_ssize_t end


cdef int make_room(Plan plan, int id, const formula_t *f) except -1:
    """For sums, when they are first needed."""
    cdef Py_ssize_t blocks
    if plan.summing.partials == NULL:
        blocks = max(plan.space[0], plan.space[1], plan.space[2])
        plan.summing.partials = <partial_t *> plan.arena.allocate(SUMS * blocks, sizeof(partial_t))
    if plan.sums[id] == NULL:
        plan.sums[id] = <double *> plan.arena.allocate(TOTALS * max(plan.n, plan.n_groups), sizeof(double))
    if id < STAGES and f.scope == ARRAY and plan.array_c[id] == NULL:
        plan.array_c[id] = <double *> plan.arena.allocate(plan.n * INPUTS, sizeof(double))
    if id == STAGES and plan.sums_c == NULL:
        plan.sums_c = <double *> plan.arena.allocate(plan.n * SCALARS, sizeof(double))
    return 0


cdef void sum_up(Plan plan, int id, const formula_t *f, int parts) noexcept:
    """The sums of one operation over all arrays, exact sums of blocks that are summed in a fixed order."""
    cdef Py_ssize_t i, into, start, k
    cdef run_t run
    cdef const task_t *task
    cdef fo_total totals[SUMS]
    cdef int j
    plan.summing.kind, plan.summing.id, plan.summing.formula = SUMMING, id, f
    plan.summing.starts, plan.summing.blocks = plan.starts[<int> f.scope], plan.space[<int> f.scope]
    go(&plan.walk, &plan.summing, parts)
    for i in range(plan.n):
        task = &plan.walk.tasks[i]
        into = target(plan, f.scope, i)
        if i == 0 or into != target(plan, f.scope, i - 1):
            run.first = run.end = 0
            for j in range(f.sums):
                fo_total_clear(&totals[j])
        start = plan.summing.starts[i]
        if task.active and task.rows == NULL:
            add_blocks(plan, totals, &run, start, start + task.n)
        elif task.active:  # others are zeros
            for k in range(task.n_rows if task.row else 0):
                add_blocks(plan, totals, &run, start + task.rows[k] * task.row, start + (task.rows[k] + 1) * task.row)
        if i == plan.n - 1 or into != target(plan, f.scope, i + 1):
            add_run(plan, totals, &run)
            fo_totals_given(totals, f.sums, f.squares, task.work if task.rule.mean and id == STAGES else -1,
                            plan.sums[id] + into * TOTALS)


cdef inline Py_ssize_t target(Plan plan, scope_t scope, Py_ssize_t i) noexcept:
    """Where the sums of a parameter are, among those of a scope."""
    return i if scope == ARRAY else plan.group_of[i] if scope == GROUP else 0


cdef void add_blocks(Plan plan, fo_total *totals, run_t *run, Py_ssize_t lo, Py_ssize_t hi) noexcept:
    """Add the sums of blocks with places lo to hi, after those before: in runs of blocks that follow one another."""
    cdef Py_ssize_t first = max(run.end, lo // BLOCK), end = (hi + BLOCK - 1) // BLOCK
    if first > run.end:
        add_run(plan, totals, run)
        run.first = first
    run.end = max(run.end, end)


cdef void add_run(Plan plan, fo_total *totals, const run_t *run) noexcept:
    cdef int j, count = plan.summing.formula.sums
    for j in range(count):
        fo_total_add_blocks(&totals[j], plan.summing.partials + run.first * count + j, run.end - run.first, count)


cdef int prepare_matrices(Plan plan, int parts) except -1:
    """Averages of lines, and matrices that NumPy changes, from the rules' terms; no parameter is changed."""
    cdef Py_ssize_t i
    cdef const formula_t *rule
    cdef bint lines = False, matrices = False
    for i in range(plan.n):
        rule = plan.walk.tasks[i].rule
        if rule.terms and plan.walk.tasks[i].active:
            lines, matrices = lines or rule.terms_scope == LINES, matrices or rule.terms_scope == MATRIX
            if rule.terms_prepare != NULL:
                rule.terms_prepare(plan.t[i] + 1, plan.kept + i * KEPT, NULL, hyperparameters_of(plan, i), plan.sums_c + i * SCALARS)
    if lines:
        plan.summing.kind, plan.summing.blocks = AVERAGING, plan.chunks
        go(&plan.walk, &plan.summing, parts)
        for i in range(plan.n):
            if has_terms(&plan.walk.tasks[i], LINES):
                average_lines(plan, i, plan.sums_c + i * SCALARS)
    if matrices:
        plan.summing.kind, plan.summing.blocks = SPREADING, plan.walk.blocks
        go(&plan.walk, &plan.summing, parts)
        for i in range(plan.n):
            if has_terms(&plan.walk.tasks[i], MATRIX):
                plan.slots[i].change_matrix()
    return 0


cdef void average_lines(Plan plan, Py_ssize_t i, const double *c) noexcept:
    """The newest means over rows and columns into their averages; and those of rows over their mean."""
    cdef task_t *task = &plan.walk.tasks[i]
    cdef lines_t *lines = task.lines
    cdef Py_ssize_t k, j, chunk
    cdef double total, w = c[0]
    cdef char *of_rows = NULL
    cdef char *of_columns = NULL
    cdef char *of_ratios = NULL
    cdef bint wide = task.p.format == FLOAT64
    for k in range(task.rule.states):
        if task.formats[k] == ROWS:
            of_rows = task.state[k]
        elif task.formats[k] == COLUMNS:
            of_columns = task.state[k]
        elif task.formats[k] == RATIOS:
            of_ratios = task.state[k]
    for k in range(lines.matrices * lines.rows):
        join(of_rows, k, lines.of_rows[k] / lines.columns, w, wide)
    for k in range(lines.matrices):
        for j in range(lines.columns):
            total = 0
            for chunk in range(k * lines.chunks, (k + 1) * lines.chunks):
                total = total + lines.of_columns[chunk * lines.columns + j]
            join(of_columns, k * lines.columns + j, total / lines.rows, w, wide)
        total = 0
        for j in range(k * lines.rows, (k + 1) * lines.rows):
            total = total + as_double(of_rows, j, wide)
        total = total / lines.rows
        if total < c[1]:
            total = c[1]
        for j in range(k * lines.rows, (k + 1) * lines.rows):
            join(of_ratios, j, as_double(of_rows, j, wide) / total, 1, wide)


cdef inline void join(char *averages, Py_ssize_t k, double x, double w, bint wide) noexcept:
    """A number into an average, with this weight; into one of floats, or of doubles."""
    x = x if w == 1 else (1 - w) * as_double(averages, k, wide) + w * x
    if wide:
        (<double *> averages)[k] = x
    else:
        (<float *> averages)[k] = <float> x


cdef inline double as_double(const char *numbers, Py_ssize_t k, bint wide) noexcept:
    """One of doubles, or of floats."""
    return (<const double *> numbers)[k] if wide else <double> (<const float *> numbers)[k]
