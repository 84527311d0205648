# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Rows without a gradient make their steps later: the log of steps, and the replay of those that a row has missed."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
cimport numpy as cnp

from fastopt._engine.encoding cimport size_of
from fastopt._engine.passes cimport GRAIN, available, plan_t
from fastopt._engine.plan cimport LOGGED, Plan, lagging_t, logged_t
from fastopt._engine.table cimport END, FLOAT32, FLOAT64, RULE, op_t, task_t

cnp.import_array()

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    int fo_forked

cdef enum:
    RUN = 4096  # elements of rows that catch up together, or one row


cdef void write_down(logged_t *logged, const task_t *task, uint32_t key) noexcept nogil:
    """What this step does, with its scalars."""
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


cdef void replay(const plan_t *plan, Py_ssize_t i, lagging_t *lagging, bint direct, int64_t now, const int64_t *indices,
                 Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Steps without a gradient for rows that are behind; those that follow one another make them together."""
    cdef task_t task = plan.tasks[i]
    cdef logged_t *logged
    cdef Py_ssize_t n, k, row, place, size = size_of(FLOAT64 if task.p.format == FLOAT64 else FLOAT32)
    cdef int64_t t, done
    task.rows = NULL
    task.g.format, task.g.flat = FLOAT64 if task.p.format == FLOAT64 else FLOAT32, True
    task.direct = direct
    while lo < hi:
        row = indices[lo] if indices != NULL else lo
        done = lagging.done[row]
        n = 1
        while lo + n < hi and (n + 1) * task.row <= RUN and (indices == NULL or indices[lo + n] == row + n) \
                and lagging.done[row + n] == done:
            n += 1
        place = row * task.row
        for t in range(done, now):
            logged = &lagging.log[t % LOGGED]
            task.ops, task.c, task.seed = logged.ops, logged.c, &logged.key
            task.g.data = lagging.zeros - place * size
            plan.table.span(&task, place, place + n * task.row)
        for k in range(n):
            lagging.done[row + k] = now
        lo += n


cdef int lag(Plan plan, Py_ssize_t i) except -1:
    """Count each row's steps from now on."""
    cdef task_t *task = &plan.walk.tasks[i]
    cdef Py_ssize_t count = plan.slots[i].array.shape[0]
    cdef lagging_t *lagging = <lagging_t *> calloc(1, sizeof(lagging_t))
    if lagging != NULL:
        lagging.done = <int64_t *> calloc(count + 1, sizeof(int64_t))
        lagging.zeros = <char *> calloc(max(<Py_ssize_t> RUN, task.row), sizeof(double))
        if lagging.done == NULL or lagging.zeros == NULL:
            free(lagging.done)
            free(lagging.zeros)
            free(lagging)
            lagging = NULL
    if lagging == NULL:
        raise MemoryError(f"steps of the rows of {plan.slots[i].name!r}")
    lagging.count = count
    plan.lagging[i] = lagging
    return 0


cdef void catch_up_rows(Plan plan, Py_ssize_t i, const int64_t *indices, Py_ssize_t lo, Py_ssize_t hi, int parts) noexcept:
    """Make the steps that these rows of a parameter are behind: places lo to hi of `indices`, or without, rows lo to hi."""
    cdef int part
    cdef fo_env env
    with nogil:
        if parts == 1:
            env = fo_enter(plan.walk.flush)
            replay(&plan.walk, i, plan.lagging[i], plan.flat[i], plan.t[i], indices, lo, hi)
            fo_leave(env)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                env = fo_enter(plan.walk.flush)
                replay(&plan.walk, i, plan.lagging[i], plan.flat[i], plan.t[i], indices, lo + (hi - lo) * part // parts,
                       lo + (hi - lo) * (part + 1) // parts)
                fo_leave(env)


cdef void look_after_rows(Plan plan, int parts) noexcept:
    """Rows of this step's gradients catch up, and a few more, so that none falls behind the log; then the step is logged.

    Those few come round in less than LOGGED steps.
    """
    cdef Py_ssize_t i, k, last
    cdef const task_t *task
    cdef lagging_t *lagging
    for i in range(plan.n):
        task, lagging = &plan.walk.tasks[i], plan.lagging[i]
        if lagging == NULL or not task.active:
            continue
        if task.rows == NULL:
            catch_up_whole(plan, i)
            continue
        if not lagging.behind:
            lagging.behind, lagging.next = True, 0
            for k in range(lagging.count):
                lagging.done[k] = plan.t[i]
        catch_up_rows(plan, i, task.rows, 0, task.n_rows, parts)
        last = min(lagging.count, lagging.next + lagging.count // (LOGGED - 1) + 1)
        catch_up_rows(plan, i, NULL, lagging.next, last, parts)
        lagging.next = last if last < lagging.count else 0
        write_down(&lagging.log[plan.t[i] % LOGGED], task, plan.key)
        for k in range(task.n_rows):
            lagging.done[task.rows[k]] = plan.t[i] + 1


cdef void catch_up_whole(Plan plan, Py_ssize_t i) noexcept:
    """Make the steps that any row of a parameter is behind."""
    cdef Py_ssize_t most = plan.walk.most if plan.walk.most > 0 else available()
    if plan.lagging[i] != NULL and plan.lagging[i].behind:
        most = 1 if fo_forked else min(most, plan.walk.tasks[i].n // GRAIN)
        catch_up_rows(plan, i, NULL, 0, plan.lagging[i].count, <int> max(<Py_ssize_t> 1, most))
        plan.lagging[i].behind = False


cdef int check_caught_up(Plan plan) except -1:
    """Refuse to catch up where a parameter that is behind was made read-only."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.lagging[i] != NULL and plan.lagging[i].behind and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> plan.given[i]):
            raise ValueError(f"parameter {plan.slots[i].name!r}: made read-only while rows are behind, expected a writable array")
    return 0


cdef void forget(Plan plan) noexcept:
    """No row is behind: the arrays are others."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.lagging[i] != NULL:
            plan.lagging[i].behind = False
