# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Plan: where the arrays of each parameter lie, what its group has, and the memory of a step's numbers."""

from cpython.ref cimport PyObject
from libc.stdint cimport int16_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
cimport numpy as cnp

from fastopt._engine.chooser cimport learn_nothing
from fastopt._engine.passes cimport STEPPING, pass_t, plan_t
from fastopt._engine.stepper cimport Backend
from fastopt._engine.table cimport (
    ACCUMULATES, ARRAY, AVERAGES, BLOCK, CHECKS, FLOAT8, FLOAT32, FLOAT64, GROUP, INPUTS, KEPT, LINES, MATRIX, MEASURES, SCALARS, STAGES,
    UFLOAT8, WHOLE, formula_t, lines_t, op_t, table_t, task_t,
)
from fastopt._engine.tables cimport check_signature, find, place_of, table_of
from fastopt._engine.views cimport format_of, lay

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
    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n if self.lagging != NULL else 0):
            if self.lagging[i] != NULL:
                free(self.lagging[i].done)
                free(self.lagging[i].zeros)
                free(self.lagging[i])

    def __init__(self, structure, list slots, list groups, object settings, capsule):
        cdef Py_ssize_t i
        cdef const table_t *table = table_of(capsule)
        self.n, self.n_groups, self.arena = len(slots), len(groups), Arena()
        self.capsule, self.structure, self.slots, self.groups = capsule, structure, slots, groups
        self.arrays = [s.array for s in slots]
        self.given = [s.given for s in slots]
        self.numbers = [g.numbers for g in groups]
        self.scheduled = [g.scheduled for g in groups]
        self.policy = <policy_t> <int> POLICIES.index(settings.nonfinite)
        self.accumulate, self.exact = settings.accumulate, settings.mode == "exact"
        self.nearest, self.seed = settings.rounding == "nearest", settings.seed
        self.finite_at, self.hold_at, self.gather_at = (place_of(table, kind) for kind in (CHECKS, ACCUMULATES, AVERAGES))
        self.checks = <int64_t> (self.policy != ZERO) << self.finite_at
        for i in range(table.n_stages):
            self.checks |= <int64_t> (table.stages[i].kind == MEASURES) << i
        self.walk = plan_t(table, NULL, self.n, 0, 0, min(settings.threads or 0, 1 << 16), settings.flush_subnormals, &self.chooser)
        learn_nothing(&self.chooser)
        self.allocate()
        self.lay_ranges()
        for i in range(self.n_groups):
            self.lay_group(i, table)
        self.lay_slots(table)
        self.update = pass_t(STEPPING, 0, NULL, NULL, self.walk.blocks, NULL)

    cdef int lay_ranges(self) except -1:
        """Memory that steps write."""
        cdef Py_ssize_t i
        ranges = overlap.ranges(a for s in self.slots for _, a in s.written())
        self.n_ranges = len(ranges)
        self.ranges = <uintptr_t *> self.arena.allocate(2 * self.n_ranges, sizeof(uintptr_t))
        for i in range(self.n_ranges):
            self.ranges[2 * i], self.ranges[2 * i + 1] = ranges[i]
        return 0

    cdef int allocate(self) except -1:
        """Memory for numbers of parameters and of groups."""
        cdef Py_ssize_t n = self.n, groups = self.n_groups
        cdef Arena arena = self.arena
        cdef int k
        self.walk.tasks = <task_t *> arena.allocate(n, sizeof(task_t))
        self.c = <double *> arena.allocate(n * SCALARS, sizeof(double))
        self.kept = <double *> arena.allocate(n * KEPT, sizeof(double))
        self.stage_c = <double *> arena.allocate(groups * STAGES * INPUTS, sizeof(double))
        self.t = <int64_t *> arena.allocate(n, sizeof(int64_t))
        self.pending = <bint *> arena.allocate(n, sizeof(bint))
        self.active = <bint *> arena.allocate(n, sizeof(bint))
        self.flat = <bint *> arena.allocate(n, sizeof(bint))
        self.hint = <Py_ssize_t *> arena.allocate(n, sizeof(Py_ssize_t))
        self.held = <PyObject **> arena.allocate(n, sizeof(void *))
        self.lagging = <lagging_t **> arena.allocate(n, sizeof(void *))
        self.group_of = <int *> arena.allocate(n, sizeof(int))
        self.ints = <Py_ssize_t *> arena.allocate(sum(4 * len(s.order) for s in self.slots), sizeof(Py_ssize_t))
        self.lines, self.line_sums = <lines_t *> arena.allocate(n, sizeof(lines_t)), []
        self.orders = <Py_ssize_t **> arena.allocate(n, sizeof(void *))
        for k in range(3):
            self.starts[k] = <Py_ssize_t *> arena.allocate(n, sizeof(Py_ssize_t))
        self.firsts = <Py_ssize_t *> arena.allocate(groups, sizeof(Py_ssize_t))
        self.beside = <const formula_t **> arena.allocate(groups, sizeof(void *))
        self.of_beside = <int *> arena.allocate(groups * SCALARS, sizeof(int))
        self.values = <double **> arena.allocate(groups, sizeof(void *))
        self.used = <double **> arena.allocate(groups, sizeof(void *))
        self.n_values = <Py_ssize_t *> arena.allocate(groups, sizeof(Py_ssize_t))
        self.inputs = <int *> arena.allocate(groups * STAGES * INPUTS, sizeof(int))
        self.present = <int *> arena.allocate(groups * STAGES, sizeof(int))
        self.n_present = <int *> arena.allocate(groups, sizeof(int))
        self.scales = <int *> arena.allocate(groups, sizeof(int))
        self.ops = <op_t *> arena.allocate(groups * OPS, sizeof(op_t))
        self.rules = <const formula_t **> arena.allocate(groups, sizeof(void *))
        self.staged = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        self.wanted = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        self.composed = <int64_t *> arena.allocate(groups, sizeof(int64_t))
        return 0

    cdef int lay_group(self, Py_ssize_t i, const table_t *table) except -1:
        """A group's rule and stages, and where they find their hyperparameters."""
        cdef int k, j
        cdef const formula_t *rule
        group = self.groups[i]
        self.values[i] = <double *> cnp.PyArray_DATA(self.numbers[i])
        self.n_values[i] = len(self.numbers[i])
        self.used[i] = <double *> self.arena.allocate(self.n_values[i], sizeof(double))
        self.scales[i] = group.index["scale"]
        self.rules[i] = find(table, group.rule)
        self.beside[i] = find(table, group.fallback_rule) if group.fallback_rule is not None else NULL
        for j, place in enumerate(group.fallback_places):
            self.of_beside[i * SCALARS + j] = place
        for k in range(2):
            rule = self.beside[i] if k else self.rules[i]
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

    cdef int lay_slots(self, const table_t *table) except -1:
        """Where each parameter's arrays lie, and where it stands in the index spaces of steps and sums."""
        cdef Py_ssize_t i, place = 0, used = 0
        cdef task_t *task
        cdef int64_t position = 0
        index = {id(g): k for k, g in enumerate(self.groups)}
        for i in range(self.n):
            self.group_of[i] = index[id(self.slots[i].group)]
            used = self.lay_slot(i, used)
            self.lay_state(i)
            self.lay_stage_arrays(i, table)
            task = &self.walk.tasks[i]
            if i == 0 or self.group_of[i] != self.group_of[i - 1]:
                place = (place + BLOCK - 1) // BLOCK * BLOCK
            task.first, task.position = self.walk.blocks, position
            self.starts[<int> ARRAY][i], self.starts[<int> GROUP][i], self.starts[<int> WHOLE][i] = task.first * BLOCK, place, position
            self.walk.blocks += (task.n + BLOCK - 1) // BLOCK
            self.walk.elements += task.n
            place += task.n
            position += task.n
        self.space[<int> ARRAY] = self.walk.blocks
        self.space[<int> GROUP] = (place + BLOCK - 1) // BLOCK
        self.space[<int> WHOLE] = (position + BLOCK - 1) // BLOCK
        return 0

    cdef Py_ssize_t lay_slot(self, Py_ssize_t i, Py_ssize_t used) except -1:
        """A parameter's own array, and its shape and strides after those of others; returns where the next ones go."""
        cdef Py_ssize_t k
        cdef uintptr_t first, end
        cdef task_t *task = &self.walk.tasks[i]
        cdef int group = self.group_of[i]
        s = self.slots[i]
        task.rule = self.rules[group] if s.rule is s.group.rule else self.beside[group]
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
        lay(&task.p, s.array, self.orders[i], format_of(cnp.PyArray_TYPE(s.array)), &first, &end)
        task.work, task.row = task.n, task.n // max(<Py_ssize_t> 1, <Py_ssize_t> shape[0])
        if s.master is not None:
            task.master, task.split = <char *> cnp.PyArray_DATA(s.master), s.master.dtype.kind == "i"
        return used + 4 * task.p.ndim

    cdef int lay_state(self, Py_ssize_t i) except -1:
        """A parameter's state, in any format."""
        cdef task_t *task = &self.walk.tasks[i]
        cdef int k
        s = self.slots[i]
        self.flat[i] = task.p.flat and (task.p.format == FLOAT32 or task.p.format == FLOAT64) and s.master is None
        for k, (name, a) in enumerate(s.rule_state.items()):
            task.state[k] = <char *> cnp.PyArray_DATA(a)
            if s.rule.tags.get(name) in layout.LINES:
                task.formats[k] = dtypes.LINE_FORMATS[s.rule.tags[name]]
            elif name in s.exponents:
                task.formats[k] = UFLOAT8 if task.rule.nonnegative >> k & 1 else FLOAT8
                task.exponents[k] = <int16_t *> cnp.PyArray_DATA(s.exponents[name])
            else:
                task.formats[k] = format_of(cnp.PyArray_TYPE(a))
            self.flat[i] = self.flat[i] and task.formats[k] == task.p.format
        task.plain = s.array.itemsize > 2 and all(a.itemsize > 2 for a in s.rule_state.values())
        if task.rule.terms and task.rule.terms_scope == LINES:
            self.lay_lines(i)
        return 0

    cdef int lay_stage_arrays(self, Py_ssize_t i, const table_t *table) except -1:
        """What stages have for themselves of a parameter."""
        cdef task_t *task = &self.walk.tasks[i]
        cdef int k
        for k in range(table.n_own):
            name = table.own[k].decode()
            a = self.slots[i].own.get(name)
            if a is not None:
                task.own[k] = <char *> cnp.PyArray_DATA(a)
                task.constant |= (name in self.slots[i].constant) << k
        return 0

    cdef int lay_lines(self, Py_ssize_t i) except -1:
        """The matrices of an array, and how their lines are summed: in chunks of rows that the shape alone decides."""
        cdef lines_t *lines = self.lines + i
        *others, rows_, columns = self.slots[i].array.shape
        lines.rows, lines.columns, lines.matrices = rows_, columns, 1
        for extent in others:
            lines.matrices *= extent
        lines.chunk = layout.rows_per_chunk(rows_, columns)
        lines.chunks = (lines.rows + lines.chunk - 1) // lines.chunk
        lines.first = self.chunks
        self.chunks += lines.chunks * lines.matrices
        memory = zeros(lines.rows * lines.matrices + lines.chunks * lines.matrices * lines.columns)
        self.line_sums.append(memory)
        lines.of_rows = <double *> cnp.PyArray_DATA(memory)
        lines.of_columns = lines.of_rows + lines.rows * lines.matrices
        self.walk.tasks[i].lines = lines
        return 0

    cdef void lay_work(self) noexcept:
        """Where each parameter stands in the index space of this step."""
        cdef Py_ssize_t i
        cdef task_t *task
        self.walk.blocks = self.walk.elements = 0
        for i in range(self.n):
            task = &self.walk.tasks[i]
            task.work = task.n if task.rows == NULL else task.n_rows * task.row
            task.first = self.walk.blocks
            self.walk.blocks += (task.work + BLOCK - 1) // BLOCK
            self.walk.elements += task.work
        self.update.blocks = self.walk.blocks
