# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Loops around compiled objectives: evaluation, judgement and step without the GIL."""

cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t

from fastopt._engine.plain cimport (
    end_plain, fo_enter, fo_env, fo_leave, fo_now, is_late, pace_t, pace_until, plain_t, prepare_plain, prepare_scalars,
)
from fastopt._engine.plan cimport Plan
from fastopt._engine.stepper cimport Stepper
from fastopt.minimization.judge cimport GO_ON, Judge, look

cnp.import_array()

ctypedef double (*objective_t)(size_t n, const double *x, double *grad, void *data) noexcept nogil

cdef struct problem_t:  # An objective, and the variables of a judge's point.
    objective_t fun
    void *data
    size_t n
    double *x
    const double *z  # The optimizer's parameters; the same memory without a scale.
    const double *scale
    const double *low
    const double *high
    double *jac
    double *gradient


cdef inline double evaluate(const problem_t *problem) noexcept nogil:
    """Return the value at the point, and write the gradients, which are zero before."""
    cdef size_t i
    cdef double value
    for i in range(problem.n):
        problem.jac[i] = 0
    if problem.scale == NULL:
        return problem.fun(problem.n, problem.x, problem.jac, problem.data)
    for i in range(problem.n):
        problem.x[i] = problem.z[i] * problem.scale[i]
        if problem.low != NULL and problem.x[i] < problem.low[i]:
            problem.x[i] = problem.low[i]
        if problem.high != NULL and problem.x[i] > problem.high[i]:
            problem.x[i] = problem.high[i]
    value = problem.fun(problem.n, problem.x, problem.jac, problem.data)
    for i in range(problem.n):
        problem.gradient[i] = problem.jac[i] * problem.scale[i]
    return value


cdef const double *memory(object a) except? NULL:
    """Return the memory of an array, or NULL for None."""
    return NULL if a is None else <const double *> cnp.PyArray_DATA(a)


def run(Judge judge, uintptr_t address, uintptr_t data, int64_t further, double seconds):
    """Evaluate a compiled objective, judge its values and make steps.

    Parameters
    ----------
    judge : Judge
        Of an optimizer of float64 at a point that has not been judged.
    address, data : int
        Of the objective and of what it gets.
    further : int
        Calls so far beyond those of the steps so far.
    seconds : float
        Time after which to return, at the end of a step.

    Returns
    -------
    int
        Why the run ends at the point, 0 if the time is over.
    """
    cdef problem_t problem
    cdef plain_t plain
    cdef Stepper optimizer = judge.optimizer
    cdef double end = fo_now() + seconds
    cdef int64_t nit
    cdef object x = judge.x.copy() if judge.is_scaled else judge.x
    problem.fun, problem.data, problem.n = <objective_t> address, <void *> data, judge.n
    problem.x, problem.z = <double *> cnp.PyArray_DATA(x), <const double *> judge.at_x
    problem.jac, problem.gradient = <double *> judge.at_jac, <double *> judge.at_gradient
    problem.scale, problem.low, problem.high = memory(judge.box.scale), memory(judge.box.low), memory(judge.box.high)
    while True:
        nit = optimizer._count
        with nogil:
            look(judge, problem.z, evaluate(&problem), nit, <double> (nit + 1 + further))
        if judge.now.reason != GO_ON:
            return <int> judge.now.reason
        optimizer._advance(None, 1.0, False, None)
        if prepare_plain(optimizer._backend, &plain):
            run_plain(judge, &problem, &plain, further, end)
        if judge.now.reason != GO_ON:
            return <int> judge.now.reason
        if fo_now() >= end:
            return GO_ON


cdef int run_plain(Judge judge, problem_t *problem, plain_t *plain, int64_t further, double end) except -1:
    """Go on with plain steps until the run ends or the time is over."""
    cdef Stepper optimizer = judge.optimizer
    cdef int64_t before = optimizer._count, nit = before
    cdef int64_t shift
    if optimizer._busy:
        raise RuntimeError("this optimizer is at work: in another thread")
    optimizer._busy = True
    try:
        shift = (<Plan> optimizer._backend).t[0] - before
        with nogil:
            nit = repeat(judge, problem, plain, nit, shift, further, end)
    finally:
        end_plain(<Plan> optimizer._backend, nit - before)
        optimizer._count = nit
        optimizer._busy = False
    return 0


cdef int64_t repeat(Judge judge, problem_t *problem, plain_t *plain, int64_t nit, int64_t shift, int64_t further,
                    double end) noexcept nogil:
    """Evaluate, judge and step; return the number of steps."""
    cdef pace_t pace = pace_until(end)
    cdef fo_env env
    while True:
        look(judge, problem.z, evaluate(problem), nit, <double> (nit + 1 + further))
        if judge.now.reason != GO_ON:
            return nit
        env = fo_enter(False)
        prepare_scalars(plain, nit + shift + 1)
        plain.table.span(plain.task, 0, problem.n)
        fo_leave(env)
        nit += 1
        if is_late(&pace):
            return nit
