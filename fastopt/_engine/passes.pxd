"""Passes over all arrays, by one thread or several: what is walked, and by how many."""

from fastopt._engine.chooser cimport chooser_t
from fastopt._engine.table cimport formula_t, partial_t, scope_t, table_t, task_t

cdef enum:
    GRAIN = 32768  # elements that are worth a thread

cdef struct plan_t:
    const table_t *table
    task_t *tasks
    Py_ssize_t n, blocks, elements
    int most  # threads; 0: as many as have shown to pay
    bint flush  # subnormals, in the spans
    chooser_t *chooser

cdef enum pass_kind_t:  # what all arrays are walked for
    STEPPING
    SUMMING
    AVERAGING  # of the lines of matrices
    SPREADING  # terms of a rule into its matrices

cdef struct pass_t:
    pass_kind_t kind
    int id  # of the operation whose sums are wanted
    const formula_t *formula  # that has them
    const Py_ssize_t *starts  # of each array, in an index space that is summed block by block
    Py_ssize_t blocks
    partial_t *partials  # as many as it has sums, for each block


cdef int available() noexcept nogil
cdef int choose_among(const plan_t *plan) noexcept
cdef void stop_timer(const plan_t *plan) noexcept
cdef void go(const plan_t *plan, const pass_t *what, int parts) noexcept


cdef inline bint has_terms(const task_t *task, scope_t scope) noexcept nogil:
    """Whether this step needs terms of matrices, of this kind, of a parameter."""
    return task.active and task.n and task.rule.terms and task.rule.terms_scope == scope


cdef inline int choose(const plan_t *plan) noexcept:
    """By how many threads to work; `learn` is to follow."""
    plan.chooser.now = NULL
    return 1 if plan.elements < 2 * GRAIN or plan.most == 1 else choose_among(plan)


cdef inline void learn(const plan_t *plan) noexcept:
    """What a step took, its checks too, which threads that spin can slow down; where its number of threads was a choice."""
    if plan.chooser.now != NULL:
        stop_timer(plan)
