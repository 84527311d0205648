# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The operations of a step, in their order, and the scalars of each."""

from cpython.dict cimport PyDict_GetItem, PyDict_Size, PyDict_Values
from cpython.ref cimport PyObject
from libc.math cimport NAN
from libc.stdint cimport int64_t

from fastopt._engine.plan cimport OPS, ZERO, Plan, hyperparameter, hyperparameters_of
from fastopt._engine.program cimport build_program, is_loose
from fastopt._engine.reductions cimport sum_up
from fastopt._engine.table cimport (
    ARRAY, CHECK, END, GROUP, INPUTS, KEPT, SCALARS, STAGE, STAGES, TOTALS, formula_t, op_t, task_t,
)


cdef int evaluate_schedules(Plan plan, Py_ssize_t i, object count) except -1:
    """A group's schedules at this step. One that sets hyperparameters, its own too, leaves the rest to Python."""
    cdef dict scheduled = plan.scheduled[i]
    cdef object x
    cdef tuple entry
    cdef double value
    cdef list before = PyDict_Values(scheduled)  # name, function, slot, domain
    for entry in before:
        x = entry[1](count)
        value = x if type(x) is float else NAN
        if not <double> entry[3] <= value <= <double> entry[4]:
            value = plan.groups[i].check(entry[0], x)
        if PyDict_GetItem(scheduled, entry[0]) == <PyObject *> entry:
            plan.values[i][<Py_ssize_t> entry[2]] = value
    if PyDict_Size(scheduled) == len(before):
        for entry in before:
            if PyDict_GetItem(scheduled, entry[0]) != <PyObject *> entry:
                break
        else:
            return 0
    plan.groups[i].evaluate(count)
    return 0


cdef int64_t switch_on(Plan plan, Py_ssize_t group, double scale, bint clears, bint hold) noexcept:
    """The stages of a group that are not neutral, a bit each."""
    cdef const formula_t *stage
    cdef double h
    cdef int k, j, place
    cdef bint always
    cdef int64_t staged = 0, loose = 0
    for place in range(plan.n_present[group]):
        k = plan.present[group * STAGES + place]
        if (hold and k > plan.hold_at) or (k == plan.hold_at and not hold):
            continue
        stage = &plan.walk.table.stages[k]
        always = True
        for j in range(stage.hyperparameters):
            if stage.neutral[j] == stage.neutral[j]:
                always = False
                h = hyperparameter(plan, group, k, j, scale)
                staged |= <int64_t> (h != stage.neutral[j]) << k
                loose |= <int64_t> is_loose(stage, h) << k
        staged |= <int64_t> always << k
    plan.staged[group] = staged
    plan.wanted[group] = staged | loose << STAGES | (<int64_t> 1 + 2 * clears) << 2 * STAGES
    return staged


cdef void compose(Plan plan, Py_ssize_t group, bint clears, bint hold) noexcept:
    """The operations of a group: its stages that are on, around its rule."""
    cdef op_t *op = plan.ops + group * OPS
    build_program(op, plan.walk.table, plan.rules[group], plan.staged[group], plan.checks, plan.wanted[group] >> STAGES, hold, clears,
                  plan.stage_c + group * STAGES * INPUTS, plan.sums_c, SCALARS if plan.sums_c != NULL else 0)
    while op.kind != END:
        if (op.kind == STAGE or op.kind == CHECK) and op.formula.sums and op.formula.scope == ARRAY:
            op.c, op.stride = plan.array_c[op.id], INPUTS
        op += 1


cdef bint prepare_stage(Plan plan, int k, double scale, int parts) noexcept:
    """A stage's scalars, after its sums; whether all gradients are as they should be."""
    cdef const formula_t *stage = &plan.walk.table.stages[k]
    cdef double[INPUTS] h
    cdef Py_ssize_t i, group
    cdef int j
    if stage.sums and not (k == plan.finite_at and plan.policy == ZERO):
        sum_up(plan, k, stage, parts)
        if k == plan.finite_at:
            for i in range(plan.n):
                if plan.sums[k][i * TOTALS] > 0:
                    return False
            return True
    for group in range(plan.n_groups):
        if not plan.staged[group] >> k & 1:
            continue
        for j in range(stage.hyperparameters):
            h[j] = hyperparameter(plan, group, k, j, scale)
        if not stage.sums or stage.scope != ARRAY:
            stage.prepare(0, NULL, plan.sums[k], h, plan.stage_c + (group * STAGES + k) * INPUTS)
            continue
        for i in range(plan.n):
            if plan.group_of[i] == group and plan.walk.tasks[i].active:
                stage.prepare(0, NULL, plan.sums[k] + i * TOTALS, h, plan.array_c[k] + i * INPUTS)
    return True


cdef void prepare_rules(Plan plan, int parts) noexcept:
    """The rules' scalars, after their sums: of each parameter, or as its neighbour's where nothing differs."""
    cdef Py_ssize_t i, group
    if plan.summing_rule != NULL:
        for i in range(plan.n):
            prepare_sums(plan, i)
        sum_up(plan, STAGES, plan.summing_rule, parts)
    if plan.settled:  # each group's scalars lie where they lay
        for group in range(plan.n_groups):
            i = plan.firsts[group]
            if i < plan.n and plan.group_of[i] == group:
                plan.walk.tasks[i].rule.prepare(plan.t[i] + 1, NULL, NULL, hyperparameters_of(plan, i), plan.c + i * SCALARS)
        return
    plan.settled = plan.n_active == plan.n and plan.summing_rule == NULL
    prepare_each(plan)
    if plan.summing_rule != NULL:
        for i in range(plan.n):
            share_kept(plan, i)


cdef void prepare_sums(Plan plan, Py_ssize_t i) noexcept:
    """Scalars of what the rule of a parameter sums."""
    cdef const formula_t *rule = plan.walk.tasks[i].rule
    if rule.sums_prepare != NULL and plan.walk.tasks[i].active:
        rule.sums_prepare(plan.t[i] + 1, plan.kept + i * KEPT, NULL, hyperparameters_of(plan, i), plan.sums_c + i * SCALARS)


cdef void prepare_each(Plan plan) noexcept:
    """Scalars of the rules: computed where they may differ from those of the parameter before, else shared."""
    cdef Py_ssize_t i, last = -1, group = -1
    cdef int k
    cdef task_t *task
    cdef const formula_t *rule
    cdef double *sums = NULL
    cdef double[KEPT] before
    cdef bint same
    for i in range(plan.n):
        task = &plan.walk.tasks[i]
        if not task.active:
            continue
        rule = task.rule
        if plan.group_of[i] != group:
            group, last = plan.group_of[i], -1
            plan.firsts[group] = i
        if rule.sums:
            sums = plan.sums[STAGES] + (i if rule.scope == ARRAY else group if rule.scope == GROUP else 0) * TOTALS
        same = last >= 0 and plan.t[i] == plan.t[last] and rule == plan.walk.tasks[last].rule
        same = same and not (rule.sums and rule.scope == ARRAY)
        for k in range(rule.kept):
            same = same and plan.kept[i * KEPT + k] == before[k]
        if same:
            task.c = plan.walk.tasks[last].c
            for k in range(rule.kept):
                plan.kept[i * KEPT + k] = plan.kept[last * KEPT + k]
            continue
        plan.settled = plan.settled and last == -1 and rule.kept == 0
        last = i
        for k in range(rule.kept):
            before[k] = plan.kept[i * KEPT + k]
        rule.prepare(plan.t[i] + 1, plan.kept + i * KEPT, sums, hyperparameters_of(plan, i), plan.c + i * SCALARS)
        task.c = plan.c + i * SCALARS


cdef void share_kept(Plan plan, Py_ssize_t i) noexcept:
    """What a group knows together, its arrays without a gradient know too."""
    cdef const formula_t *rule = plan.walk.tasks[i].rule
    cdef Py_ssize_t other
    cdef int k
    if not plan.active[i] and rule.sums and rule.scope != ARRAY:
        other = active_in(plan, plan.group_of[i])
        for k in range(rule.kept if other >= 0 else 0):
            plan.kept[i * KEPT + k] = plan.kept[other * KEPT + k]


cdef Py_ssize_t active_in(Plan plan, int group) noexcept:
    """The first parameter of a group that has a gradient, or -1."""
    cdef Py_ssize_t i
    for i in range(plan.n):
        if plan.group_of[i] == group and plan.walk.tasks[i].active:
            return i
    return -1
