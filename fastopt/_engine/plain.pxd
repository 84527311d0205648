# cython: cdivision=True
"""Plain steps: those that need neither Python nor sums nor the GIL, for compiled loops."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastopt._engine.plan cimport Plan, hyperparameters_of, powers_of
from fastopt._engine.scalars cimport prepare_stage
from fastopt._engine.table cimport CARRY, FLOAT64, INPUTS, SCALARS, STAGES, fo_powers_t, formula_t, table_t, task_t

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    double fo_now()

cdef enum:
    MOST = 1 << 14  # Iterations from one look at the clock to the next.

cdef struct plain_t:  # What a plain step reads and writes.
    const table_t *table
    const formula_t *rule
    const task_t *task
    const double *h
    double *c
    double *carry
    fo_powers_t *powers


cdef inline bint is_simple(Plan plan) noexcept:
    """Return True if the steps of a plan need no sums, no matrices, and nothing but their own gradients."""
    cdef int k
    if plan.accumulate > 1 or plan.core.flush or plan.summing_rule != NULL or plan.prepares or plan.exact or plan.changes_matrices:
        return False
    for k in range(plan.core.table.n_stages):
        if plan.union >> k & 1 and plan.core.table.stages[k].sums:
            return False
    return True


cdef inline bint prepare_plain(object backend, plain_t *plain) except -1:
    """Set what plain steps need after a step of an optimizer; return False if its next steps are not plain.

    The scalars of its stages stay as that step left them: they depend on hyperparameters alone.
    """
    cdef Plan plan
    if not isinstance(backend, Plan):
        return False
    plan = backend
    if plan.n != 1 or not is_simple(plan) or len(plan.scheduled[0]):
        return False
    if plan.core.tasks[0].p.format != FLOAT64 or not plan.core.tasks[0].active:
        return False
    plain.table, plain.task, plain.rule = plan.core.table, plan.core.tasks, plan.core.tasks[0].rule
    plain.h, plain.powers = hyperparameters_of(plan, 0), powers_of(plan, 0)
    plain.c, plain.carry = plan.c, plan.carry
    return True


cdef inline bint is_input_of_stage(Plan plan, Py_ssize_t group, int place) noexcept:
    """Return True if an active stage of a group takes this hyperparameter, as decoupled weight decay takes the learning rate."""
    cdef int k, j
    for k in range(plan.core.table.n_stages):
        for j in range(plan.core.table.stages[k].hyperparameters if plan.active_stages[group] >> k & 1 else 0):
            if plan.inputs[(group * STAGES + k) * INPUTS + j] == place:
                return True
    return False


cdef inline bint prepare_plains(Plan plan, plain_t *plains) except -1:
    """Set what plain steps of several parameters need, after `Backend.prepare`; return False if their steps are not plain.

    Schedules must be of the rules' hyperparameters, which the caller sets in each step.
    """
    cdef int i, k
    cdef task_t *task
    if not is_simple(plan):
        return False
    for i in range(plan.n):
        task = &plan.core.tasks[i]
        if not task.active or task.rule != plan.rules[plan.group_of[i]] or not (task.p.contiguous and task.no_narrow_storage):
            return False
        for entry in (<dict> plan.scheduled[plan.group_of[i]]).values():
            if entry[2] >= task.rule.hyperparameters or is_input_of_stage(plan, plan.group_of[i], entry[2]):
                return False
    for k in range(plan.core.table.n_stages):
        if plan.union >> k & 1:
            prepare_stage(plan, k, 1.0, 1)
    plan.scalars_shared = False
    for i in range(plan.n):
        task = &plan.core.tasks[i]
        task.c = plan.c + i * SCALARS
        plains[i].table, plains[i].task, plains[i].rule = plan.core.table, task, task.rule
        plains[i].h, plains[i].powers = plan.hyperparameters[plan.group_of[i]], powers_of(plan, i)
        plains[i].c, plains[i].carry = plan.c + i * SCALARS, plan.carry + i * CARRY
    return True


cdef inline void prepare_scalars(plain_t *plain, int64_t t) noexcept nogil:
    """Compute the scalars of step t, 1 for the first one."""
    plain.rule.compute_scalars(t, plain.carry, NULL, plain.h, plain.powers, plain.c)


cdef inline void end_plain(Plan plan, int64_t steps) noexcept:
    """Count plain steps of all parameters."""
    cdef Py_ssize_t i
    if steps == 0:
        return
    plan.done, plan.stepped = plan.union, True
    for i in range(plan.n):
        plan.t[i] += steps
    for i in range(plan.n_groups):
        memcpy(plan.used_hyperparameters[i], plan.hyperparameters[i], plan.n_hyperparameters[i] * sizeof(double))


cdef struct pace_t:  # When to look at the clock: about every 50 microseconds.
    double end, last
    int stride, left


cdef inline pace_t pace_until(double end) noexcept nogil:
    """Return a pace that begins by looking at the clock each time."""
    cdef pace_t pace
    pace.end, pace.last, pace.stride, pace.left = end, fo_now(), 1, 1
    return pace


cdef inline bint is_late(pace_t *pace) noexcept nogil:
    """Return True if the time was over when the clock was looked at last."""
    cdef double now
    pace.left -= 1
    if pace.left:
        return False
    now = fo_now()
    pace.stride = min(2 * pace.stride, <int> MOST) if now - pace.last < 5e-5 else max(pace.stride // 2, 1)
    pace.left, pace.last = pace.stride, now
    return now >= pace.end
