# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Programs of a step: the operations of each group, in order, and their scalars."""

from cpython.dict cimport PyDict_GetItem, PyDict_Next, PyDict_Size, PyDict_Values
from cpython.ref cimport PyObject
from libc.math cimport NAN
from libc.stdint cimport int64_t

from fastopt.domains import overflow
from fastopt._engine.sums import total as total_of
from fastopt._engine.plan cimport OPS, ZERO_ELEMENTS, Plan, hyperparameter, hyperparameters_of, powers_of
from fastopt._engine.program cimport build_program, is_loose
from fastopt._engine.reductions cimport exchanged, keep_updates, sum_arrays, sums_update
from fastopt._engine.table cimport (
    ARRAY, CHECK, END, GROUP, INPUTS, CARRY, SCALARS, STAGE, STAGES, TOTALS, formula_t, op_t, task_t,
)


cdef int evaluate_schedules(Plan plan, Py_ssize_t i, object count) except -1:
    """Evaluate a group's schedules at this step. Schedules that set hyperparameters are left to Python."""
    cdef dict scheduled = plan.scheduled[i]
    cdef PyObject *name
    cdef PyObject *found
    cdef Py_ssize_t place = 0
    cdef object entry
    if PyDict_Size(scheduled) == 1 and PyDict_Next(scheduled, &place, &name, &found):
        entry = <object> found
        evaluate_schedule(plan, i, entry, count)
        if PyDict_Size(scheduled) == 1 and PyDict_GetItem(scheduled, (<tuple> entry)[0]) == <PyObject *> entry:
            return 0
        plan.groups[i].evaluate(count)
        return 0
    cdef list before = PyDict_Values(scheduled)
    for entry in before:
        evaluate_schedule(plan, i, entry, count)
    if PyDict_Size(scheduled) == len(before):
        for entry in before:
            if PyDict_GetItem(scheduled, (<tuple> entry)[0]) != <PyObject *> entry:
                break
        else:
            return 0
    plan.groups[i].evaluate(count)
    return 0


cdef inline int evaluate_schedule(Plan plan, Py_ssize_t i, tuple entry, object count) except -1:
    """Evaluate a schedule, an entry of name, function, place, lower and upper bound; one that has been replaced sets nothing."""
    cdef object x = scheduled_value(entry[0], entry[1], count)
    cdef double value = x if type(x) is float else NAN
    if not <double> entry[3] <= value <= <double> entry[4]:
        value = plan.groups[i].check(entry[0], x)
    if PyDict_GetItem(plan.scheduled[i], entry[0]) == <PyObject *> entry:
        plan.hyperparameters[i][<Py_ssize_t> entry[2]] = value
    return 0


cdef object scheduled_value(object name, object function, object count):
    """Return what a schedule returns at this step."""
    try:
        return function(count)
    except OverflowError as error:
        raise overflow(name, count, error) from error


cdef int64_t activate_stages(Plan plan, Py_ssize_t group, double scale, bint clears, bint accumulating) noexcept:
    """Return the stages of a group that are not neutral, a bit each."""
    cdef const formula_t *stage
    cdef double h
    cdef int k, j, place
    cdef bint always
    cdef int64_t active_stages = 0, loose = 0
    for place in range(plan.n_present[group]):
        k = plan.present[group * STAGES + place]
        if (accumulating and k > plan.hold_at) or (k == plan.hold_at and not accumulating):
            continue
        stage = &plan.core.table.stages[k]
        always = True
        for j in range(stage.hyperparameters):
            if stage.neutral[j] == stage.neutral[j]:
                always = False
                h = hyperparameter(plan, group, k, j, scale)
                active_stages |= <int64_t> (h != stage.neutral[j]) << k
                loose |= <int64_t> is_loose(stage, h) << k
        active_stages |= <int64_t> always << k
    plan.active_stages[group] = active_stages
    plan.program_key[group] = active_stages | loose << STAGES | (<int64_t> 1 + 2 * clears) << 2 * STAGES
    return active_stages


cdef void rebuild_program(Plan plan, Py_ssize_t group, bint clears, bint accumulating) noexcept:
    """Rebuild the program of a group: its active stages around its rule."""
    cdef op_t *op = plan.ops + group * OPS
    build_program(op, plan.core.table, plan.rules[group], plan.active_stages[group], plan.checks,
                  plan.program_key[group] >> STAGES, accumulating, clears, plan.stage_c + group * STAGES * INPUTS, plan.sums_c,
                  SCALARS if plan.sums_c != NULL else 0)
    while op.kind != END:
        if (op.kind == STAGE or op.kind == CHECK) and op.formula.sums and op.formula.scope == ARRAY:
            op.c, op.stride = plan.array_c[op.id], INPUTS
        op += 1


cdef int prepare_stage(Plan plan, int k, double scale, int parts) except -1:
    """Compute a stage's scalars, after its sums. Return False if a gradient is not finite."""
    cdef const formula_t *stage = &plan.core.table.stages[k]
    cdef double[INPUTS] h
    cdef Py_ssize_t i, group
    cdef int j
    cdef double bad = 0
    if stage.sums and not (k == plan.finite_at and plan.policy == ZERO_ELEMENTS):
        if plan.kept != NULL and sums_update(stage):
            keep_updates(plan, k)
        sum_arrays(plan, k, stage, parts)
        if k == plan.finite_at:
            for i in range(plan.n):
                bad += plan.sums[k][i * TOTALS]
            return bad == 0 if plan.exchange is None else not exchanged(plan, stage.name.decode(), [total_of([bad], [0])])[0].whole
    for group in range(plan.n_groups):
        if not plan.active_stages[group] >> k & 1:
            continue
        for j in range(stage.hyperparameters):
            h[j] = hyperparameter(plan, group, k, j, scale)
        if not stage.sums or stage.scope != ARRAY:
            stage.compute_scalars(0, NULL, plan.sums[k], h, NULL, plan.stage_c + (group * STAGES + k) * INPUTS)
            continue
        for i in range(plan.n):
            if plan.group_of[i] == group and plan.core.tasks[i].active:
                stage.compute_scalars(0, NULL, plan.sums[k] + i * TOTALS, h, NULL, plan.array_c[k] + i * INPUTS)
    return True


cdef int prepare_rules(Plan plan, int parts) except -1:
    """Compute the scalars of all rules, after their sums. Neighbours with equal inputs share a row.

    Return False if no span has a gradient.
    """
    cdef Py_ssize_t i, group
    cdef const formula_t *rule
    if plan.summing_rule != NULL:
        for i in range(plan.n):
            prepare_sums(plan, i)
        sum_arrays(plan, STAGES, plan.summing_rule, parts)
        if plan.summing_rule.scope != ARRAY and not agree(plan, True):
            return 0
    # Each group writes the same row as in the step before.
    if plan.scalars_shared:
        for group in range(plan.n_groups):
            i = plan.rows_of[group]
            if i >= 0:
                rule = plan.core.tasks[i].rule
                rule.compute_scalars(plan.t[i] + 1, NULL, NULL, hyperparameters_of(plan, i), powers_of(plan, i),
                                     plan.c + i * SCALARS)
        return 1
    plan.scalars_shared = plan.n_active == plan.n and plan.summing_rule == NULL
    prepare_each(plan)
    if plan.summing_rule != NULL:
        for i in range(plan.n):
            share_carry(plan, i)
    return 1


cdef int agree(Plan plan, bint together) except -1:
    """Let all spans come to the point before their first write. Return False if none has a gradient."""
    return plan.exchange is None or plan.exchange.agree(plan.n_active > 0, plan.n > 0, together)


cdef void prepare_sums(Plan plan, Py_ssize_t i) noexcept:
    """Compute the scalars of the terms that a parameter's rule sums."""
    cdef const formula_t *rule = plan.core.tasks[i].rule
    if rule.compute_sums_scalars != NULL and plan.core.tasks[i].active:
        rule.compute_sums_scalars(plan.t[i] + 1, plan.carry + i * CARRY, NULL, hyperparameters_of(plan, i),
                                  powers_of(plan, i), plan.sums_c + i * SCALARS)


cdef void prepare_each(Plan plan) noexcept:
    """Compute scalars for each parameter whose inputs differ from those of the one before in its group."""
    cdef Py_ssize_t i, last, newest = -1, group
    cdef int k
    cdef task_t *task
    cdef const formula_t *rule
    cdef double *sums = NULL
    cdef double[CARRY] before
    cdef bint same
    for group in range(plan.n_groups):
        plan.rows_of[group] = -1
    for i in range(plan.n):
        task = &plan.core.tasks[i]
        if not task.active:
            continue
        rule = task.rule
        group = plan.group_of[i]
        last = plan.rows_of[group]
        if rule.sums:
            sums = plan.sums[STAGES] + (i if rule.scope == ARRAY else plan.origin_of[i] if rule.scope == GROUP else 0) * TOTALS
        same = last >= 0 and plan.t[i] == plan.t[last] and rule == plan.core.tasks[last].rule
        same = same and not (rule.sums and rule.scope == ARRAY) and (last == newest or rule.carry == 0)
        for k in range(rule.carry):
            same = same and plan.carry[i * CARRY + k] == before[k]
        if same:
            task.c = plan.core.tasks[last].c
            for k in range(rule.carry):
                plan.carry[i * CARRY + k] = plan.carry[last * CARRY + k]
            continue
        plan.scalars_shared = plan.scalars_shared and last == -1 and rule.carry == 0
        newest = plan.rows_of[group] = i
        for k in range(rule.carry):
            before[k] = plan.carry[i * CARRY + k]
        rule.compute_scalars(plan.t[i] + 1, plan.carry + i * CARRY, sums, hyperparameters_of(plan, i), powers_of(plan, i),
                             plan.c + i * SCALARS)
        task.c = plan.c + i * SCALARS


cdef void share_carry(Plan plan, Py_ssize_t i) noexcept:
    """Copy what a group carries together to its parameters without a gradient."""
    cdef const formula_t *rule = plan.core.tasks[i].rule
    cdef Py_ssize_t other
    cdef int k
    if not plan.active[i] and rule.sums and rule.scope != ARRAY:
        other = active_in(plan, plan.origin_of[i])
        for k in range(rule.carry if other >= 0 else 0):
            plan.carry[i * CARRY + k] = plan.carry[other * CARRY + k]


cdef Py_ssize_t active_in(Plan plan, int origin) noexcept:
    """Return the first parameter of a group that was given that has a gradient, or -1."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.origin_of[i] == origin and plan.core.tasks[i].active:
            return i
    return -1
