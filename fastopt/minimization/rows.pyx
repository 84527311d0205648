# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Many problems, each a row of one array: their judgement, and loops around a compiled objective."""

cimport numpy as cnp
from cython cimport floating
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, memset

from fastopt._engine.plain cimport (
    fo_enter, fo_env, fo_leave, fo_now, is_late, pace_t, pace_until, plain_t, prepare_plain, prepare_scalars,
)
from fastopt._engine.stepper cimport Stepper
from fastopt._engine.table cimport CARRY, SCALARS, fo_powers_t, task_t
from fastopt.minimization.judge cimport GO_ON, criteria_t, progress_t, reason_t, verdict

cnp.import_array()

ctypedef double (*objective_t)(size_t n, const double *x, double *grad, void *data, size_t problem) noexcept nogil

cpdef enum:
    TOGETHER = 64  # Problems of a block, which share the scalars of each step and stay in a near cache.

cdef struct rows_t:  # Arrays of the problems, a row each; `lower`, `upper` and `previous` may be NULL.
    Py_ssize_t count, n
    const criteria_t *criteria
    progress_t *progress
    char *x
    char *gradient
    char *best_x
    char *best_jac
    char *previous
    const char *lower
    const char *upper

cdef struct loop_t:
    rows_t rows
    objective_t fun
    void *data
    plain_t plain
    int64_t *steps  # Of each block, so far; -1: ended.
    double *carry  # CARRY numbers of each block.
    double end


cdef rows_t rows_of(object a, object criteria) except *:
    """Return the memory of rows; see `many.Rows`."""
    cdef rows_t rows
    rows.count, rows.n = a.x.shape
    rows.criteria = <const criteria_t *> cnp.PyArray_DATA(criteria)
    rows.progress = <progress_t *> cnp.PyArray_DATA(a.progress)
    rows.x, rows.gradient = <char *> cnp.PyArray_DATA(a.x), <char *> cnp.PyArray_DATA(a.gradient)
    rows.best_x, rows.best_jac = <char *> cnp.PyArray_DATA(a.best_x), <char *> cnp.PyArray_DATA(a.best_jac)
    rows.previous = NULL if a.previous is None else <char *> cnp.PyArray_DATA(a.previous)
    rows.lower = NULL if a.lower is None else <const char *> cnp.PyArray_DATA(a.lower)
    rows.upper = NULL if a.upper is None else <const char *> cnp.PyArray_DATA(a.upper)
    return rows


cdef inline reason_t look(const rows_t *rows, Py_ssize_t i, double fun, int64_t nit, floating _) noexcept nogil:
    """Judge a row, whose gradient has been written, and keep it if it is the best."""
    cdef progress_t *now = rows.progress + i
    cdef Py_ssize_t size = rows.n * sizeof(floating), at = i * size
    cdef double best = now.best
    cdef reason_t reason = verdict(
        rows.criteria, now, rows.n, <const floating *> (rows.x + at), <const floating *> (rows.gradient + at),
        <const floating *> (rows.lower + at if rows.lower != NULL else NULL),
        <const floating *> (rows.upper + at if rows.upper != NULL else NULL),
        <floating *> (rows.previous + at if rows.previous != NULL else NULL), fun, nit, <double> nit + 1)
    now.reason = reason
    if now.best < best:
        memcpy(rows.best_x + at, rows.x + at, size)
        memcpy(rows.best_jac + at, rows.gradient + at, size)
    return reason


def judge(object arrays, object criteria, object fun, int64_t nit):
    """Judge the rows that have not ended, after so many steps; return how many go on.

    Parameters
    ----------
    arrays : Rows
    criteria : ndarray
        Record of the criteria.
    fun : ndarray of float64
        Value of each row.
    nit : int
    """
    cdef rows_t rows = rows_of(arrays, criteria)
    cdef const double *values = <const double *> cnp.PyArray_DATA(fun)
    cdef bint doubles = cnp.PyArray_TYPE(arrays.x) == cnp.NPY_DOUBLE
    cdef Py_ssize_t i, running = 0
    cdef reason_t reason
    with nogil:
        for i in range(rows.count):
            if rows.progress[i].reason != GO_ON:
                continue
            reason = look[double](&rows, i, values[i], nit, 0) if doubles else look[float](&rows, i, values[i], nit, 0)
            running += reason == GO_ON
    return running


def is_plain(Stepper optimizer):
    """Return True if the next steps of an optimizer, which has made one, need neither Python nor sums."""
    cdef plain_t plain
    return prepare_plain(optimizer._backend, &plain)


def run(Stepper optimizer, object arrays, object criteria, uintptr_t address, uintptr_t data, object steps, object carry,
        Py_ssize_t block, double seconds):
    """Evaluate a compiled objective, judge its values and make steps, until the problems of a block have ended or the time is over.

    Other threads may run other blocks meanwhile.

    Parameters
    ----------
    optimizer : Optimizer
        Of the rows in one axis; it has made one step, and rows have been as before since.
    arrays : Rows
    criteria : ndarray
    address, data : int
        Of the objective and of what it gets.
    steps : ndarray of int64
        Of each block of problems, so far; -1 for a block that has ended.
    carry : ndarray of float64
        Numbers that the rule carries, for each block.
    block : int
    seconds : float

    Returns
    -------
    bool
        True if all problems of the block have ended.
    """
    cdef loop_t loop
    prepare_plain(optimizer._backend, &loop.plain)
    loop.rows, loop.fun, loop.data = rows_of(arrays, criteria), <objective_t> address, <void *> data
    loop.steps, loop.carry = <int64_t *> cnp.PyArray_DATA(steps), <double *> cnp.PyArray_DATA(carry)
    loop.end = fo_now() + seconds
    with nogil:
        run_block(&loop, block)
    return loop.steps[block] < 0


cdef void run_block(const loop_t *loop, Py_ssize_t block) noexcept nogil:
    """Run the problems of a block until they have ended or its time is over. They have the scalars of each step in common."""
    cdef double[SCALARS] c
    cdef fo_powers_t[SCALARS] powers
    cdef Py_ssize_t[TOGETHER] running
    cdef task_t task = loop.plain.task[0]
    cdef plain_t plain = loop.plain
    cdef Py_ssize_t i, left = 0
    cdef int64_t t = loop.steps[block]
    cdef pace_t pace = pace_until(loop.end)
    memset(powers, 0, sizeof(powers))
    plain.c, plain.carry, plain.powers, task.c, plain.task = c, loop.carry + block * CARRY, powers, c, &task
    for i in range(block * TOGETHER, min(loop.rows.count, (block + 1) * TOGETHER)):
        if loop.rows.progress[i].reason == GO_ON:
            running[left] = i
            left += 1
    while left:
        if not judge_block(loop, t, running, &left, &pace):
            break
        t += 1
        step_block(&plain, t, running, left, loop.rows.n)
    loop.steps[block] = t if left else -1


cdef inline bint judge_block(const loop_t *loop, int64_t t, Py_ssize_t *running, Py_ssize_t *left, pace_t *pace) noexcept nogil:
    """Evaluate and judge the problems of a block after t steps, and keep those that go on.

    Return False if the time is over; those that have been judged then are not judged again.
    """
    cdef const rows_t *rows = &loop.rows
    cdef Py_ssize_t k, i, n = rows.n, kept = 0
    cdef double *gradient
    cdef double fun
    for k in range(left[0]):
        i = running[k]
        if rows.progress[i].judged < t:
            gradient = <double *> rows.gradient + i * n
            memset(gradient, 0, n * sizeof(double))
            fun = loop.fun(n, <const double *> rows.x + i * n, gradient, loop.data, i)
            look[double](rows, i, fun, t, 0)
            if is_late(pace):
                return False
        if rows.progress[i].reason == GO_ON:
            running[kept] = i
            kept += 1
    left[0] = kept
    return True


cdef inline void step_block(plain_t *plain, int64_t t, const Py_ssize_t *running, Py_ssize_t left, Py_ssize_t n) noexcept nogil:
    """Make step t of the problems of a block that go on, neighbours together."""
    cdef Py_ssize_t k = 0, first
    cdef fo_env env = fo_enter(False)
    prepare_scalars(plain, t)
    while k < left:
        first = running[k]
        while k + 1 < left and running[k + 1] == running[k] + 1:
            k += 1
        k += 1
        plain.table.span(plain.task, first * n, (running[k - 1] + 1) * n)
    fo_leave(env)
