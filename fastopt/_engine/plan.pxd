"""Plan: how a step walks the parameters of an optimizer."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uintptr_t

from fastopt._engine.chooser cimport chooser_t
from fastopt._engine.passes cimport pass_t, plan_t
from fastopt._engine.stepper cimport Backend
from fastopt._engine.table cimport INPUTS, KEPT, SCALARS, STAGES, formula_t, lines_t, op_t, table_t

cdef enum:
    OPS = STAGES + 8  # operations of a group, at most
    LOGGED = 256  # steps that a row can be behind

cdef struct logged_t:  # a step of one parameter, to be made later for rows that its gradient did not have
    uint32_t key
    double[SCALARS] c
    double[OPS][INPUTS] stage_c
    op_t[OPS] ops

cdef struct lagging_t:  # rows of a parameter that some steps are still to be made for
    Py_ssize_t count  # of its rows
    bint behind  # some row is
    int64_t *done  # steps of each row, if so
    char *zeros  # a gradient for some rows
    Py_ssize_t next  # row that is looked after in the next step
    logged_t[LOGGED] log  # of the last steps, each at its number modulo LOGGED

cdef enum policy_t:  # what a gradient that is infinite or NaN does
    PROPAGATE
    SKIP
    RAISE
    ZERO


cdef class Arena:
    """Zeroed memory that lives as long as this."""

    cdef void **blocks
    cdef int count, room

    cdef void *allocate(self, Py_ssize_t count, Py_ssize_t size) except NULL


cdef class Plan(Backend):
    """How a step walks these parameters: laid out as a whole, then never changed but for their counts and gradients."""

    cdef plan_t walk
    cdef pass_t update, summing
    cdef chooser_t chooser
    cdef readonly object capsule, structure
    cdef object written  # what a step writes, to be asked where gradients reach into its ranges; or None
    cdef readonly list slots, groups  # of fastopt.base: Parameter, Group
    cdef list arrays  # the parameters' own views, whose shape nobody else can set
    cdef list given  # the same as the caller has them
    cdef list numbers, scheduled  # each group's hyperparameters, and which of them are schedules
    cdef bint stale  # the tasks' gradients are not the bound ones
    cdef list views  # arrays over the last gradients that were tensors, whose memory may be gone: not to be read but after a look
    cdef double *c  # a row of the rule's scalars for each parameter, used where it differs from its neighbour's
    cdef double *kept  # a row of the rule's numbers that live from step to step for each parameter
    cdef double *sums_c  # a row of scalars for the rule's sums for each parameter
    cdef double *stage_c  # a row of the stages' scalars for each group
    cdef double *array_c[STAGES]  # of stages whose sums each array has for itself: a row for each parameter
    cdef double *sums[STAGES + 1]  # of each stage's sums, and of the rule's: TOTALS for each array, each group, or once
    cdef int64_t *t  # steps of each parameter
    cdef bint *active  # has a gradient in this step
    cdef Py_ssize_t n_active
    cdef bint settled  # all have, their counts are a group's, and so are their scalars
    cdef uint32_t key  # of this step's random bits
    cdef bint *pending  # has gradients that were gathered for a step to come
    cdef bint *flat  # nothing of its storage needs decoding
    cdef PyObject **held  # gradients of the step at work, owned
    cdef Py_ssize_t *ints
    cdef Py_ssize_t **orders  # of each parameter's axes, from the slowest to the fastest in memory
    cdef Py_ssize_t *starts[3]  # of each array in the index spaces of sums, by their scope
    cdef Py_ssize_t space[3]  # their blocks
    cdef Py_ssize_t n, n_groups, n_ranges
    cdef uintptr_t *ranges  # written memory: disjoint, sorted pairs of first and one past the last byte
    cdef Py_ssize_t *hint  # where each gradient lay between those in the last step
    cdef double **values  # each group's hyperparameters: the rule's own, then the stages'
    cdef int *group_of  # each parameter's
    cdef Py_ssize_t *firsts  # each group's first parameter with a gradient
    cdef int *inputs  # INPUTS for each stage of each group: which of the values it takes; -1: none
    cdef int *present  # STAGES for each group: the places of the stages that it has, ascending
    cdef int *n_present
    cdef int *scales  # which of each group's values the scale of a step multiplies
    cdef op_t *ops  # each group's operations in this step
    cdef const formula_t **rules  # each group's
    cdef int64_t *staged  # the stages that are on in this step, a bit each, of each group
    cdef int64_t *wanted  # what decides on the operations of a group, a bit each: steps that hold have a stage for it
    cdef int64_t *composed  # the same when they were composed
    cdef int64_t union  # of all groups
    cdef int64_t done  # of all groups in the last step that was made
    cdef double **used  # each group's hyperparameters in that step
    cdef bint stepped  # whether there was one since the layout
    cdef Py_ssize_t *n_values  # how many those are
    cdef int64_t checks  # stages whose sums alone are of interest, a bit each
    cdef int finite_at, hold_at, gather_at
    cdef const formula_t **beside  # each group's rule of arrays that its rule is not for, or NULL
    cdef int *of_beside  # SCALARS for each group: which of the values that rule takes
    cdef double[SCALARS] gathered_h  # those
    cdef const formula_t *summing_rule  # one that needs sums, or NULL; all that do are of one kind
    cdef bint prepares, changes_matrices  # a rule has terms of matrices; which are changed as a whole
    cdef lines_t *lines
    cdef list line_sums  # their memory
    cdef Py_ssize_t chunks  # of all arrays' lines
    cdef policy_t policy
    cdef bint nearest, exact, sparse  # exact: rows without a gradient make their steps later; sparse: some gradient is of rows
    cdef lagging_t **lagging  # of each parameter; NULL: it has no rows that are behind
    cdef unsigned int seed
    cdef int accumulate
    cdef Arena arena  # memory of all these

    cdef int allocate(self) except -1
    cdef int lay_ranges(self) except -1
    cdef int lay_group(self, Py_ssize_t i, const table_t *table) except -1
    cdef int lay_slots(self, const table_t *table) except -1
    cdef Py_ssize_t lay_slot(self, Py_ssize_t i, Py_ssize_t used) except -1
    cdef int lay_state(self, Py_ssize_t i) except -1
    cdef int lay_stage_arrays(self, Py_ssize_t i, const table_t *table) except -1
    cdef int lay_lines(self, Py_ssize_t i) except -1
    cdef void lay_work(self) noexcept


cdef inline double hyperparameter(Plan plan, Py_ssize_t group, int stage, int j, double scale) noexcept:
    cdef int place = plan.inputs[(group * STAGES + stage) * INPUTS + j]
    return plan.values[group][place] * scale if place == plan.scales[group] else plan.values[group][place]


cdef inline const double *hyperparameters_of(Plan plan, Py_ssize_t i) noexcept:
    """Those of a parameter's rule, in its order."""
    cdef int group = plan.group_of[i], k
    if plan.walk.tasks[i].rule == plan.rules[group]:
        return plan.values[group]
    for k in range(plan.beside[group].hyperparameters):
        plan.gathered_h[k] = plan.values[group][plan.of_beside[group * SCALARS + k]]
    return plan.gathered_h
