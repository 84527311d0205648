# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Lazy rows: steps that rows without a gradient make later.

With ``mode="exact"`` a row without a gradient makes the same steps as a dense one would, but later: when its gradient comes, or
when the sweep reaches it. Until then its steps are kept in a log of the last LOGGED steps of the parameter.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
cimport numpy as cnp

from fastopt._engine.encoding cimport size_of
from fastopt._engine.passes cimport GRAIN, available, plan_t
from fastopt._engine.plan cimport LOGGED, Plan, lazy_rows_t, logged_t
from fastopt._engine.table cimport END, FLOAT32, FLOAT64, RULE, op_t, task_t

cnp.import_array()

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    int fo_forked

cdef enum:
    RUN = 4096  # Elements that catch up at once: small enough for the cache. A longer row goes alone.


cdef void log_step(logged_t *logged, const task_t *task, uint32_t key) noexcept nogil:
    """Write a step's program, with its scalars, into the log."""
    cdef const op_t *op = task.ops
    cdef int k = 0, j
    logged.key = key
    memcpy(logged.c, task.c, task.rule.scalars * sizeof(double))
    while True:
        logged.ops[k] = op[k]
        if op[k].kind == END:
            return
        if op[k].c != NULL and op[k].kind != RULE:
            for j in range(op[k].formula.scalars):
                logged.stage_c[k][j] = (op[k].c + op[k].stride * task.index)[j]
            logged.ops[k].c, logged.ops[k].stride = logged.stage_c[k], 0
        k += 1


cdef void replay(const plan_t *plan, Py_ssize_t i, lazy_rows_t *lazy_rows, bint no_decoding, int64_t now, const int64_t *indices,
                 Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Replay logged steps for rows that are behind. Contiguous rows with equal counts are replayed together."""
    cdef task_t task = plan.tasks[i]
    cdef logged_t *logged
    cdef Py_ssize_t n, k, row, place, size = size_of(FLOAT64 if task.p.format == FLOAT64 else FLOAT32)
    cdef int64_t t, done
    task.rows = NULL
    task.g.format, task.g.contiguous = FLOAT64 if task.p.format == FLOAT64 else FLOAT32, True
    task.no_decoding = no_decoding
    while lo < hi:
        row = indices[lo] if indices != NULL else lo
        done = lazy_rows.done[row]
        n = 1
        while lo + n < hi and (n + 1) * task.row <= RUN and (indices == NULL or indices[lo + n] == row + n) \
                and lazy_rows.done[row + n] == done:
            n += 1
        place = row * task.row
        for t in range(done, now):
            logged = &lazy_rows.log[t % LOGGED]
            task.ops, task.c, task.seed = logged.ops, logged.c, &logged.key
            task.g.data = lazy_rows.zeros - place * size
            plan.table.span(&task, place, place + n * task.row)
        for k in range(n):
            lazy_rows.done[row + k] = now
        lo += n


cdef int begin_lazy_rows(Plan plan, Py_ssize_t i) except -1:
    """Allocate the step counts and the log of a parameter's rows."""
    cdef task_t *task = &plan.core.tasks[i]
    cdef Py_ssize_t count = plan.parameters[i].array.shape[0]
    # All of a plan's memory is its arena's: in a reference cycle that goes first, before anything could free what it points to.
    cdef lazy_rows_t *lazy_rows = <lazy_rows_t *> plan.arena.allocate(1, sizeof(lazy_rows_t))
    lazy_rows.done = <int64_t *> plan.arena.allocate(count, sizeof(int64_t))
    lazy_rows.zeros = <char *> plan.arena.allocate(max(<Py_ssize_t> RUN, task.row), sizeof(double))
    lazy_rows.count = count
    plan.lazy_rows[i] = lazy_rows
    return 0


cdef void catch_up_rows(Plan plan, Py_ssize_t i, const int64_t *indices, Py_ssize_t lo, Py_ssize_t hi, int parts) noexcept:
    """Make the steps that rows `indices[lo:hi]` of a parameter are behind; without `indices`, rows `lo` to `hi`."""
    cdef int part
    cdef fo_env env
    with nogil:
        if parts == 1:
            env = fo_enter(plan.core.flush)
            replay(&plan.core, i, plan.lazy_rows[i], plan.contiguous[i], plan.t[i], indices, lo, hi)
            fo_leave(env)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                env = fo_enter(plan.core.flush)
                replay(&plan.core, i, plan.lazy_rows[i], plan.contiguous[i], plan.t[i], indices, lo + (hi - lo) * part // parts,
                       lo + (hi - lo) * (part + 1) // parts)
                fo_leave(env)


cdef void sweep_rows(Plan plan, int parts) noexcept:
    """Bring the rows of this step's gradients up to date, and sweep a few others; then log the step.

    The sweep visits every row in less than LOGGED steps, so none falls behind the log.
    """
    cdef Py_ssize_t i, k, last
    cdef const task_t *task
    cdef lazy_rows_t *lazy_rows
    for i in range(plan.n):
        task, lazy_rows = &plan.core.tasks[i], plan.lazy_rows[i]
        if lazy_rows == NULL or not task.active:
            continue
        if task.rows == NULL:
            catch_up_whole(plan, i)
            continue
        if not lazy_rows.behind:
            lazy_rows.behind, lazy_rows.next = True, 0
            for k in range(lazy_rows.count):
                lazy_rows.done[k] = plan.t[i]
        catch_up_rows(plan, i, task.rows, 0, task.n_rows, parts)
        last = min(lazy_rows.count, lazy_rows.next + lazy_rows.count // (LOGGED - 1) + 1)
        catch_up_rows(plan, i, NULL, lazy_rows.next, last, parts)
        lazy_rows.next = last if last < lazy_rows.count else 0
        log_step(&lazy_rows.log[plan.t[i] % LOGGED], task, plan.key)
        for k in range(task.n_rows):
            lazy_rows.done[task.rows[k]] = plan.t[i] + 1


cdef void catch_up_whole(Plan plan, Py_ssize_t i) noexcept:
    """Make every step that any row of a parameter is behind."""
    cdef Py_ssize_t most = plan.core.most if plan.core.most > 0 else available()
    if plan.lazy_rows[i] != NULL and plan.lazy_rows[i].behind:
        most = 1 if fo_forked else min(most, plan.core.tasks[i].n // GRAIN)
        catch_up_rows(plan, i, NULL, 0, plan.lazy_rows[i].count, <int> max(<Py_ssize_t> 1, most))
        plan.lazy_rows[i].behind = False


cdef int check_caught_up(Plan plan) except -1:
    """Raise if a parameter that is behind was made read-only."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.lazy_rows[i] == NULL or not plan.lazy_rows[i].behind:
            continue
        if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> plan.originals[i]):
            name = plan.parameters[i].name
            raise ValueError(f"parameter {name!r}: made read-only while rows are behind, expected a writable array")
    return 0


cdef void mark_current(Plan plan) noexcept:
    """Mark every row as up to date, after the arrays were replaced."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.lazy_rows[i] != NULL:
            plan.lazy_rows[i].behind = False
