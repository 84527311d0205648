# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Plan: layout of parameters and groups, and scratch memory of a step."""

from cpython.ref cimport PyObject
from libc.stdint cimport int16_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
cimport numpy as cnp

from fastopt._engine.chooser cimport reset_estimates
from fastopt._engine.passes cimport PASS_STEP, pass_t, plan_t
from fastopt._engine.stepper cimport Backend
from fastopt._engine.table cimport (
    ACCUMULATES, ARRAY, BLOCK, CHECKS, FLOAT8, FLOAT32, FLOAT64, GROUP, INPUTS, CARRY, LINES, MATRIX, MEASURES, SCALARS,
    STAGES, UFLOAT8, WHOLE, fo_powers_t, formula_t, factors_t, op_t, table_t, task_t,
)
from fastopt._engine.tables cimport check_signature, find, place_of, table_of
from fastopt._engine.views cimport format_of, describe_view

from numpy import zeros

from fastopt._arrays import dtypes, layout, overlap

cnp.import_array()

POLICIES = ("propagate", "skip", "raise", "zero")


cdef class Arena:
    def __dealloc__(self):
        cdef int k
        for k in range(self.count):
            free(self.blocks[k])
        free(self.blocks)

    cdef void *allocate(self, Py_ssize_t count, Py_ssize_t size) except NULL:
        """Return zeroed memory, of one element at least."""
        cdef void **blocks
        cdef void *block
        if self.count == self.room:
            blocks = <void **> realloc(self.blocks, (2 * self.room + 16) * sizeof(void *))
            if blocks == NULL:
                raise MemoryError("the plan of the optimizer's arrays")
            self.blocks, self.room = blocks, 2 * self.room + 16
        block = calloc(count + 1, size)
        if block == NULL:
            raise MemoryError("the plan of the optimizer's arrays")
        self.blocks[self.count] = block
        self.count += 1
        return block


cdef class Plan(Backend):
    def __init__(self, structure, list parameters, list groups, object settings, capsule):
        cdef Py_ssize_t i
        cdef const table_t *table = table_of(capsule)
        self.n, self.n_groups, self.arena = len(parameters), len(groups), Arena()
        self.capsule, self.structure, self.parameters, self.groups = capsule, structure, parameters, groups
        self.arrays = [s.array for s in parameters]
        self.originals = [s.source for s in parameters]
        self.hyperparameter_arrays = [g.hyperparameters for g in groups]
        self.scheduled = [g.scheduled for g in groups]
        self.policy = <policy_t> <int> POLICIES.index(settings.nonfinite)
        self.accumulate, self.exact = settings.accumulate, settings.mode == "exact"
        self.nearest, self.seed, self.span = settings.rounding == "nearest", settings.seed, settings.span
        self.finite_at, self.hold_at = place_of(table, CHECKS), place_of(table, ACCUMULATES)
        self.checks = <int64_t> (self.policy != ZERO_ELEMENTS) << self.finite_at
        for i in range(table.n_stages):
            self.checks |= <int64_t> (table.stages[i].kind == MEASURES) << i
        most = min(settings.threads or 0, 1 << 16)
        self.core = plan_t(table, NULL, self.n, 0, 0, most, settings.flush_subnormals, &self.chooser)
        reset_estimates(&self.chooser)
        self.allocate()
        self.layout_ranges()
        for i in range(self.n_groups):
            self.layout_group(i, table)
        self.layout_parameters(table)
        self.update = pass_t(PASS_STEP, 0, NULL, NULL, self.core.blocks, NULL)

    cdef int layout_ranges(self) except -1:
        """Lay out the memory ranges that steps write."""
        cdef Py_ssize_t i
        ranges = overlap.ranges(a for s in self.parameters for _, a in s.written())
        self.n_ranges = len(ranges)
        self.ranges = <uintptr_t *> self.arena.allocate(2 * self.n_ranges, sizeof(uintptr_t))
        for i in range(self.n_ranges):
            self.ranges[2 * i], self.ranges[2 * i + 1] = ranges[i]
        return 0

    cdef int allocate(self) except -1:
        """Allocate the arrays that have a row for each parameter or group."""
        cdef Py_ssize_t n = self.n, groups = self.n_groups
        cdef Arena arena = self.arena
        cdef int k
        self.core.tasks = <task_t *> arena.allocate(n, sizeof(task_t))
        self.c = <double *> arena.allocate(n * SCALARS, sizeof(double))
        self.carry = <double *> arena.allocate(n * CARRY, sizeof(double))
        self.stage_c = <double *> arena.allocate(groups * STAGES * INPUTS, sizeof(double))
        self.t = <int64_t *> arena.allocate(n, sizeof(int64_t))
        self.pending = <bint *> arena.allocate(n, sizeof(bint))
        self.active = <bint *> arena.allocate(n, sizeof(bint))
        self.contiguous = <bint *> arena.allocate(n, sizeof(bint))
        self.hint = <Py_ssize_t *> arena.allocate(n, sizeof(Py_ssize_t))
        self.stashed = <PyObject **> arena.allocate(n, sizeof(void *))
        self.lazy_rows = <lazy_rows_t **> arena.allocate(n, sizeof(void *))
        self.group_of, self.origin_of = <int *> arena.allocate(n, sizeof(int)), <int *> arena.allocate(n, sizeof(int))
        self.ints = <Py_ssize_t *> arena.allocate(sum(4 * len(s.order) for s in self.parameters), sizeof(Py_ssize_t))
        self.factors, self.line_sums = <factors_t *> arena.allocate(n, sizeof(factors_t)), []
        self.orders = <Py_ssize_t **> arena.allocate(n, sizeof(void *))
        for k in range(3):
            self.starts[k] = <Py_ssize_t *> arena.allocate(n, sizeof(Py_ssize_t))
        self.rows_of = <Py_ssize_t *> arena.allocate(groups, sizeof(Py_ssize_t))
        self.fallbacks = <const formula_t **> arena.allocate(groups, sizeof(void *))
        self.fallback_places = <int *> arena.allocate(groups * SCALARS, sizeof(int))
        self.powers = <fo_powers_t *> arena.allocate(groups * SCALARS, sizeof(fo_powers_t))
        self.hyperparameters = <double **> arena.allocate(groups, sizeof(void *))
        self.used_hyperparameters = <double **> arena.allocate(groups, sizeof(void *))
        self.n_hyperparameters = <Py_ssize_t *> arena.allocate(groups, sizeof(Py_ssize_t))
        self.inputs = <int *> arena.allocate(groups * STAGES * INPUTS, sizeof(int))
        self.present = <int *> arena.allocate(groups * STAGES, sizeof(int))
        self.n_present = <int *> arena.allocate(groups, sizeof(int))
        self.scales = <int *> arena.allocate(groups, sizeof(int))
        self.ops = <op_t *> arena.allocate(groups * OPS, sizeof(op_t))
        self.rules = <const formula_t **> arena.allocate(groups, sizeof(void *))
        self.active_stages = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        self.program_key = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        self.built_key = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        return 0

    cdef int layout_group(self, Py_ssize_t i, const table_t *table) except -1:
        """Lay out a group: its rules, its stages, and the places of their hyperparameters."""
        cdef int k, j
        cdef const formula_t *rule
        group = self.groups[i]
        self.hyperparameters[i] = <double *> cnp.PyArray_DATA(self.hyperparameter_arrays[i])
        self.n_hyperparameters[i] = len(self.hyperparameter_arrays[i])
        self.used_hyperparameters[i] = <double *> self.arena.allocate(self.n_hyperparameters[i], sizeof(double))
        self.scales[i] = group.index["scale"]
        self.rules[i] = find(table, group.rule)
        self.fallbacks[i] = find(table, group.fallback_rule) if group.fallback_rule is not None else NULL
        for j, place in enumerate(group.fallback_places):
            self.fallback_places[i * SCALARS + j] = place
        for k in range(2):
            rule = self.fallbacks[i] if k else self.rules[i]
            if rule != NULL and rule.sums:
                self.summing_rule = rule
            self.prepares = self.prepares or (rule != NULL and rule.terms)
            self.changes_matrices = self.changes_matrices or (rule != NULL and rule.terms and rule.terms_scope == MATRIX)
        stages = {stage.name: stage for stage in group.stages}
        for k in range(table.n_stages):
            stage = stages.get(table.stages[k].name.decode())
            if stage is None:
                continue
            check_signature(&table.stages[k], stage)
            self.present[i * STAGES + self.n_present[i]] = k
            self.n_present[i] += 1
            for j, place in enumerate(group.inputs[stage.name]):
                self.inputs[(i * STAGES + k) * INPUTS + j] = place
        return 0

    cdef int layout_parameters(self, const table_t *table) except -1:
        """Lay out all parameters and their places in the index spaces of steps and sums.

        Blocks never cross an array in the space ARRAY, nor a group as given in the space GROUP. In the space WHOLE, all arrays are one;
        that of a span begins with it.
        """
        cdef Py_ssize_t i, place = 0, used = 0
        cdef task_t *task
        cdef int64_t position = 0, first = 0 if self.span is None else self.span[0]
        index = {id(g): k for k, g in enumerate(self.groups)}
        for i in range(self.n):
            self.group_of[i] = index[id(self.parameters[i].group)]
            self.origin_of[i] = self.parameters[i].group.origin
            used = self.layout_parameter(i, used)
            self.layout_state(i)
            self.layout_stage_arrays(i, table)
            task = &self.core.tasks[i]
            if i == 0 or self.origin_of[i] != self.origin_of[i - 1]:
                place = (place + BLOCK - 1) // BLOCK * BLOCK
            task.first, task.position = self.core.blocks, first + position
            self.starts[<int> ARRAY][i] = task.first * BLOCK
            self.starts[<int> GROUP][i], self.starts[<int> WHOLE][i] = place, position
            self.core.blocks += (task.n + BLOCK - 1) // BLOCK
            self.core.elements += task.n
            place += task.n
            position += task.n
        self.space[<int> ARRAY] = self.core.blocks
        self.space[<int> GROUP] = (place + BLOCK - 1) // BLOCK
        self.space[<int> WHOLE] = (position + BLOCK - 1) // BLOCK
        return 0

    cdef Py_ssize_t layout_parameter(self, Py_ssize_t i, Py_ssize_t used) except -1:
        """Lay out a parameter's array. Shapes and strides of all share one allocation; return the next free place in it."""
        cdef Py_ssize_t k
        cdef uintptr_t first, end
        cdef task_t *task = &self.core.tasks[i]
        cdef int group = self.group_of[i]
        s = self.parameters[i]
        task.rule = self.rules[group] if s.rule is s.group.rule else self.fallbacks[group]
        task.ops = self.ops + group * OPS
        task.index, task.nearest, task.seed = i, self.nearest, &self.key
        task.p.ndim = task.g.ndim = len(s.order)
        task.p.shape = task.g.shape = self.ints + used
        task.p.strides = task.p.shape + task.p.ndim
        task.g.strides = task.p.strides + task.p.ndim
        self.orders[i] = task.g.strides + task.p.ndim
        shape, _, _ = layout.reals(s.array)
        task.n = 1
        for k in range(task.p.ndim):
            self.orders[i][k] = s.order[k]
            task.p.shape[k] = shape[s.order[k]]
            task.n *= task.p.shape[k]
        describe_view(&task.p, s.array, self.orders[i], format_of(cnp.PyArray_TYPE(s.array)), &first, &end)
        task.work, task.row = task.n, task.n // max(<Py_ssize_t> 1, <Py_ssize_t> shape[0])
        if s.master is not None:
            task.master, task.split = <char *> cnp.PyArray_DATA(s.master), s.master.dtype.kind == "i"
        return used + 4 * task.p.ndim

    cdef int layout_state(self, Py_ssize_t i) except -1:
        """Lay out a parameter's state, in any storage format."""
        cdef task_t *task = &self.core.tasks[i]
        cdef int k
        s = self.parameters[i]
        self.contiguous[i] = task.p.contiguous and (task.p.format == FLOAT32 or task.p.format == FLOAT64) and s.master is None
        for k, (name, a) in enumerate(s.rule_state.items()):
            task.state[k] = <char *> cnp.PyArray_DATA(a)
            if s.rule.tags.get(name) in layout.LINES:
                task.formats[k] = dtypes.LINE_FORMATS[s.rule.tags[name]]
            elif name in s.exponents:
                task.formats[k] = UFLOAT8 if task.rule.nonnegative >> k & 1 else FLOAT8
                task.exponents[k] = <int16_t *> cnp.PyArray_DATA(s.exponents[name])
            else:
                task.formats[k] = format_of(cnp.PyArray_TYPE(a))
            self.contiguous[i] = self.contiguous[i] and task.formats[k] == task.p.format
        task.no_narrow_storage = s.array.itemsize > 2 and all(a.itemsize > 2 for a in s.rule_state.values())
        if task.rule.terms and task.rule.terms_scope == LINES:
            self.layout_factors(i)
        return 0

    cdef int layout_stage_arrays(self, Py_ssize_t i, const table_t *table) except -1:
        """Lay out the arrays that stages keep for a parameter."""
        cdef task_t *task = &self.core.tasks[i]
        cdef int k
        for k in range(table.n_stage_arrays):
            name = table.stage_arrays[k].decode()
            a = self.parameters[i].stage_arrays.get(name)
            if a is not None:
                task.stage_arrays[k] = <char *> cnp.PyArray_DATA(a)
                task.scalar_arrays |= (name in self.parameters[i].scalar_arrays) << k
        return 0

    cdef int layout_factors(self, Py_ssize_t i) except -1:
        """Lay out the sums of factored terms, in chunks of rows that depend on the shape alone, as the bits do."""
        cdef factors_t *factors = self.factors + i
        *others, rows_, columns = self.parameters[i].array.shape
        factors.rows, factors.columns, factors.matrices = rows_, columns, 1
        for extent in others:
            factors.matrices *= extent
        factors.chunk = layout.rows_per_chunk(rows_, columns)
        factors.chunks = (factors.rows + factors.chunk - 1) // factors.chunk
        factors.first = self.chunks
        self.chunks += factors.chunks * factors.matrices
        memory = zeros(factors.rows * factors.matrices + factors.chunks * factors.matrices * factors.columns)
        self.line_sums.append(memory)
        factors.row_sums = <double *> cnp.PyArray_DATA(memory)
        factors.column_sums = factors.row_sums + factors.rows * factors.matrices
        self.core.tasks[i].factors = factors
        return 0

    cdef void layout_step(self) noexcept:
        """Place each parameter in the index space of this step, which leaves out rows without a gradient."""
        cdef Py_ssize_t i
        cdef task_t *task
        self.core.blocks = self.core.elements = 0
        for i in range(self.n):
            task = &self.core.tasks[i]
            task.work = task.n if task.rows == NULL else task.n_rows * task.row
            task.first = self.core.blocks
            self.core.blocks += (task.work + BLOCK - 1) // BLOCK
            self.core.elements += task.work
        self.update.blocks = self.core.blocks
