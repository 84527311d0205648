"""Plan: the memory layout of a step, fixed at construction."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uintptr_t

from fastopt._engine.chooser cimport chooser_t
from fastopt._engine.passes cimport pass_t, plan_t
from fastopt._engine.stepper cimport Backend
from fastopt._engine.table cimport INPUTS, SCALARS, STAGES, fo_powers_t, formula_t, factors_t, op_t, table_t

cdef enum:
    OPS = STAGES + 8  # Operations of a group's program, at most.
    LOGGED = 256  # Steps that a lazy row can be behind.

cdef struct logged_t:  # One step of a parameter, replayed later for rows that had no gradient.
    uint32_t key
    double[SCALARS] c
    double[OPS][INPUTS] stage_c
    op_t[OPS] ops

cdef struct lazy_rows_t:  # Rows of a parameter that are behind.
    Py_ssize_t count  # Rows of the parameter.
    bint behind  # At least one row is behind.
    int64_t *done  # Steps that each row has made; valid while `behind`.
    char *zeros  # A zero gradient, long enough for the rows of one call.
    Py_ssize_t next  # The row that the next step sweeps first.
    logged_t[LOGGED] log  # The last steps; step t is at t modulo LOGGED.

cdef enum policy_t:  # What happens to a gradient that is not finite.
    PROPAGATE
    SKIP
    RAISE
    ZERO_ELEMENTS


cdef class Arena:
    """Zeroed memory that lives as long as this object."""

    cdef void **blocks
    cdef int count, room

    cdef void *allocate(self, Py_ssize_t count, Py_ssize_t size) except NULL


cdef class Plan(Backend):
    """Layout of a step: immutable after construction, except for gradients, counts and scalars."""

    cdef plan_t core
    cdef pass_t update, sum_pass
    cdef chooser_t chooser
    cdef readonly object capsule, structure, span
    cdef object written  # Ranges that a step writes, to compare with gradients; None until a gradient reaches into `ranges`.
    cdef readonly list parameters, groups  # `Parameter` and `Group` objects.
    cdef list arrays  # Private views of the parameters, whose shape nobody else can set.
    cdef list originals  # The same arrays as the caller holds them.
    cdef list hyperparameter_arrays, scheduled  # Each group's values, and the schedules among them.
    cdef bint stale  # The tasks' gradients are not the bound ones.
    cdef list views  # Cached views of tensor gradients. Their memory may be freed: validate before use.
    # Scalars in double. `c` has a row for each parameter; parameters with equal scalars point to one row.
    cdef double *c
    cdef double *carry  # Numbers that rules carry from step to step, a row for each parameter.
    cdef double *sums_c  # Scalars of the rules' sums, a row for each parameter.
    cdef double *stage_c  # Scalars of the stages, a row for each group.
    cdef double *array_c[STAGES]  # Scalars of stages with sums per array: a row for each parameter.
    cdef char *kept  # Updates of all arrays, between the sums of a stage and the step; NULL: not kept.
    cdef double *sums[STAGES + 1]  # Sums of each stage and of the rule: TOTALS for each array, each group, or once.
    cdef int64_t *t  # Steps of each parameter.
    cdef bint *active  # Parameters with a gradient in this step.
    cdef Py_ssize_t n_active
    cdef bint scalars_shared  # Every parameter has a gradient, and each group has one row of scalars.
    cdef uint32_t key  # Of this step's random bits.
    cdef bint *pending  # Parameters with accumulated gradients.
    cdef bint *contiguous  # Parameters whose storage needs no decoding.
    cdef PyObject **stashed  # References to the gradients of the running step.
    cdef Py_ssize_t *ints
    cdef Py_ssize_t **orders  # Axes of each parameter, slowest in memory first.
    cdef Py_ssize_t *starts[3]  # Start of each array in the index spaces of sums, by scope.
    cdef Py_ssize_t space[3]  # Blocks of those index spaces.
    cdef Py_ssize_t n, n_groups, n_ranges
    cdef uintptr_t *ranges  # Memory that a step writes: disjoint, sorted pairs of first byte and end.
    cdef Py_ssize_t *hint  # Index of the first written range after each gradient, in the last step.
    cdef fo_powers_t *powers  # For powers of each group's hyperparameters, SCALARS for each.
    cdef double **hyperparameters  # Of each group: the rule's values, then those of the stages.
    cdef int *group_of  # Group of each parameter.
    cdef int *origin_of  # Group as the user gave it, of which that is a part: neighbours, whose sums are common.
    cdef Py_ssize_t *rows_of  # Parameter whose row of scalars each group used last; -1: none yet.
    cdef int *inputs  # Place of each stage's hyperparameters, INPUTS for each stage of each group; -1: none.
    cdef int *present  # Stages of each group, ascending, STAGES for each.
    cdef int *n_present
    cdef int *scales  # Of each group: the place that a step's `scale` multiplies.
    cdef op_t *ops  # Program of each group, OPS operations for each.
    cdef const formula_t **rules  # Rule of each group.
    cdef int64_t *active_stages  # Stages that run in this step, a bit each.
    cdef int64_t *program_key  # What the program depends on. Accumulating steps differ by a stage.
    cdef int64_t *built_key  # The same when the program was last built.
    cdef int64_t union  # Active stages of all groups.
    cdef int64_t done  # Active stages of the last completed step.
    cdef double **used_hyperparameters  # Values of that step.
    cdef bint stepped  # There was a step since the layout.
    cdef Py_ssize_t *n_hyperparameters  # Length of those rows.
    cdef int64_t checks  # Stages that run for their sums only, a bit each.
    cdef int finite_at, hold_at  # Places of the stages that check and accumulate.
    cdef const formula_t **fallbacks  # Each group's rule for arrays that its rule does not accept, or NULL.
    cdef int *fallback_places  # Places of its hyperparameters, SCALARS for each group.
    cdef double[SCALARS] fallback_values  # Buffer for those values.
    cdef const formula_t *summing_rule  # A rule with sums, or NULL. All rules with sums have one scope.
    cdef bint prepares, changes_matrices  # A rule has matrix terms; a function changes whole matrices.
    cdef factors_t *factors
    cdef list line_sums  # Memory of `factors`.
    cdef Py_ssize_t chunks  # Chunks of rows of all factored arrays.
    cdef policy_t policy
    cdef bint nearest, exact, sparse  # exact: rows without a gradient are updated later; sparse: some gradient is a RowGradient.
    cdef lazy_rows_t **lazy_rows  # Of each parameter; NULL until its first RowGradient with mode="exact".
    cdef unsigned int seed
    cdef int accumulate
    cdef Arena arena  # Memory of all pointers above.

    cdef int allocate(self) except -1
    cdef int layout_ranges(self) except -1
    cdef int layout_group(self, Py_ssize_t i, const table_t *table) except -1
    cdef int layout_parameters(self, const table_t *table) except -1
    cdef Py_ssize_t layout_parameter(self, Py_ssize_t i, Py_ssize_t used) except -1
    cdef int layout_state(self, Py_ssize_t i) except -1
    cdef int layout_stage_arrays(self, Py_ssize_t i, const table_t *table) except -1
    cdef int layout_factors(self, Py_ssize_t i) except -1
    cdef void layout_step(self) noexcept


cdef inline double hyperparameter(Plan plan, Py_ssize_t group, int stage, int j, double scale) noexcept:
    """Return a stage's hyperparameter j in this step, with `scale` applied to the gradients' own factor."""
    cdef int place = plan.inputs[(group * STAGES + stage) * INPUTS + j]
    return plan.hyperparameters[group][place] * scale if place == plan.scales[group] else plan.hyperparameters[group][place]


cdef inline fo_powers_t *powers_of(Plan plan, Py_ssize_t i) noexcept:
    """Return what is kept for powers of the hyperparameters of a parameter's rule."""
    return plan.powers + plan.group_of[i] * SCALARS


cdef inline const double *hyperparameters_of(Plan plan, Py_ssize_t i) noexcept:
    """Return the hyperparameters of a parameter's rule, in its order."""
    cdef int group = plan.group_of[i], k
    if plan.core.tasks[i].rule == plan.rules[group]:
        return plan.hyperparameters[group]
    for k in range(plan.fallbacks[group].hyperparameters):
        plan.fallback_values[k] = plan.hyperparameters[group][plan.fallback_places[group * SCALARS + k]]
    return plan.fallback_values
