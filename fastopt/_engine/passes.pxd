"""Passes over all arrays: their kinds, and the number of threads that runs them."""

from fastopt._engine.chooser cimport chooser_t
from fastopt._engine.table cimport formula_t, partial_t, scope_t, table_t, task_t

cdef enum:
    LEAST = 8192  # Elements of a step that may be worth a second thread.
    GRAIN = 32768  # Elements that are worth each further one.

# The part of a plan that kernels and threads read without the GIL.
cdef struct plan_t:
    const table_t *table
    task_t *tasks
    Py_ssize_t n, blocks, elements  # Parameters; blocks and elements of this step.
    int most  # Threads; 0: as many as have been measured to pay.
    bint flush  # Flush subnormals to zero while a step runs.
    chooser_t *chooser

cdef enum pass_kind_t:  # What a pass over all blocks computes.
    PASS_STEP
    PASS_SUMS
    PASS_FACTORS  # Row and column sums of factored terms.
    PASS_TERMS  # A rule's terms, written to its matrices.

cdef struct pass_t:
    pass_kind_t kind
    int id  # Stage whose sums are wanted, or STAGES for a rule.
    const formula_t *formula  # The stage or rule itself.
    const Py_ssize_t *starts  # Start of each array in the index space of the sums, in elements.
    Py_ssize_t blocks
    partial_t *partials  # One for each sum and block.


cdef int available() noexcept nogil
cdef int choose_parallel(const plan_t *plan) noexcept
cdef void record_time(const plan_t *plan) noexcept
cdef void run_pass(const plan_t *plan, const pass_t *what, int parts) noexcept


cdef inline bint has_terms(const task_t *task, scope_t scope) noexcept nogil:
    """Return True if this step needs matrix terms of this kind for a parameter."""
    return task.active and task.n and task.rule.terms and task.rule.terms_scope == scope


cdef inline int choose_threads(const plan_t *plan) noexcept:
    """Return the number of threads of a step. `stop_timer` must follow."""
    plan.chooser.now = NULL
    return 1 if plan.elements < LEAST or plan.most == 1 else choose_parallel(plan)


cdef inline void stop_timer(const plan_t *plan) noexcept:
    """Record the step's duration, if the thread count was chosen automatically.

    It includes the checks, which spinning BLAS threads slow down.
    """
    if plan.chooser.now != NULL:
        record_time(plan)
