# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The compiled backend: a step over all arrays by kernels, and its threads."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
cimport numpy as cnp

from fastopt._engine.chooser cimport expect_threads
from fastopt._engine.gradients cimport arrays_over, collect, hold_list, point_to_nothing, release, take_held
from fastopt._engine.lazy_rows cimport catch_up_rows, catch_up_whole, check_caught_up, forget, look_after_rows
from fastopt._engine.passes cimport GRAIN, choose, go, learn
from fastopt._engine.plan cimport OPS, Plan
from fastopt._engine.reductions cimport make_room, prepare_matrices
from fastopt._engine.scalars cimport compose, evaluate_schedules, prepare_rules, prepare_stage, switch_on
from fastopt._engine.table cimport ARRAY, CHECK, EMPTY, END, KEPT, SCALARS, STAGE, STAGES, TOTALS, op_t, table_t

from cpython.dict cimport PyDict_Size

from fastopt import spec
from fastopt._arrays import layout

cnp.import_array()

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    uint32_t fo_key(uint32_t key, uint32_t number)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    double fo_now()

cdef enum:
    SPIN = 10000000  # elements that take one thread longer than BLAS's threads go on spinning after a product of matrices


KINDS = ("stage", "rule", "subtract", "check", "empty", "clear")  # of operations, by their numbers


cdef class CompiledBackend(Plan):
    """Steps by kernels. Not a public name: see `Optimizer`."""

    cdef inline void start_clock(self) noexcept:
        if self.walk.elements >= 2 * GRAIN:
            self.chooser.entered = fo_now()

    cpdef exit(self):
        release(self.held, self.n)

    cpdef take(self, object grads):
        self.start_clock()
        self.stale = True
        collect(self.structure, grads, self.held, 0)
        take_held(self)

    cpdef take_list(self, list grads):
        self.start_clock()
        self.stale = True
        hold_list(self, grads)
        take_held(self)

    cpdef take_bound(self, list grads):
        self.start_clock()
        if self.stale or self.accumulate > 1:
            self.take_list(grads)
            self.stale = False

    def check_bindable(self, list grads, clears):
        return layout.check_bindable(self.slots, grads, clears)

    cpdef prepare(self, long long count, double scale, list cleared, bint holds):
        cdef Py_ssize_t i
        cdef int k
        cdef const table_t *table = self.walk.table
        if not holds:
            for i in range(self.n_groups):
                if PyDict_Size(self.scheduled[i]):
                    evaluate_schedules(self, i, count)
        for i in range(self.n):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> self.given[i]):
                raise ValueError(f"parameter {self.slots[i].name!r}: made read-only, expected a writable array")
            if cleared is not None and self.active[i] and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> cleared[i]):
                layout.check_clearable(self.slots[i].name, cleared[i])
        self.union = 0
        for i in range(self.n_groups):
            self.union |= switch_on(self, i, scale, cleared is not None, holds)
        if self.union or self.summing_rule != NULL or self.prepares:
            for k in range(table.n_stages):
                if self.union >> k & 1 and table.stages[k].sums:
                    make_room(self, k, &table.stages[k])
            if self.summing_rule != NULL and not holds:
                make_room(self, STAGES, self.summing_rule)
            if self.sums_c == NULL and self.prepares:
                self.sums_c = <double *> self.arena.allocate(self.n * SCALARS, sizeof(double))
        for i in range(self.n_groups):
            if self.composed[i] != self.wanted[i]:
                compose(self, i, cleared is not None, holds)
                self.composed[i] = self.wanted[i]

    cpdef int run(self, long long count, double scale, list cleared, bint holds) except -2:
        cdef int parts
        cdef bint fine
        cdef fo_env env
        if self.accumulate > 1 and not holds:
            self.use_pending()
        if self.n_active == 0:
            return 0
        self.key = fo_key(fo_key(self.seed, <uint32_t> count), <uint32_t> (count >> 32))
        env = fo_enter(False)
        try:
            parts = choose(&self.walk)
            fine = self.compute_scalars(scale, holds, &parts)
            if fine:
                self.update_arrays(parts)
        finally:
            fo_leave(env)
        if fine:
            self.count_step(holds)
        return 1 if fine else -1

    cdef void use_pending(self) noexcept:
        """Zeros are the gradients of parameters that have gathered some and have none now."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.pending[i] and not self.active[i]:
                point_to_nothing(self, i)

    cdef bint compute_scalars(self, double scale, bint holds, int *parts) except -1:
        """The scalars of stages and rules, after their sums; whether all gradients may be used."""
        cdef int k, rule_at = self.walk.table.rule_at
        for k in range(rule_at if self.union else 0):
            if self.union >> k & 1 and not prepare_stage(self, k, scale, parts[0]):
                return False
        if holds:
            return True
        if self.prepares:
            prepare_matrices(self, parts[0])
        if self.changes_matrices:
            self.chooser.now = NULL  # BLAS's time says nothing of threads
            if self.walk.elements < SPIN:
                parts[0] = 1
        prepare_rules(self, parts[0])
        for k in range(rule_at, self.walk.table.n_stages if self.union >> rule_at else 0):
            if self.union >> k & 1:
                prepare_stage(self, k, scale, parts[0])
        return True

    cdef void update_arrays(self, int parts) noexcept:
        """Walk all arrays once."""
        if self.exact:
            look_after_rows(self, parts)
        if self.walk.flush:
            fo_enter(True)
        go(&self.walk, &self.update, parts)
        learn(&self.walk)

    cdef void count_step(self, bint holds) noexcept:
        """Count the step, or the gradients that it held."""
        cdef Py_ssize_t i
        for i in range(self.n if self.accumulate > 1 else 0):
            self.pending[i] = holds and (self.pending[i] or self.active[i])
        if holds:
            return
        self.done, self.stepped = self.union, True
        for i in range(self.n):
            self.t[i] += self.active[i]
        for i in range(self.n_groups):
            memcpy(self.used[i], self.values[i], self.n_values[i] * sizeof(double))

    def nonfinite(self):
        cdef Py_ssize_t i
        cdef const double *found = self.sums[self.finite_at]
        return {self.slots[i].name: int(found[i * TOTALS]) for i in range(self.n) if found[i * TOTALS] > 0}

    def counter(self, Py_ssize_t place):
        cdef int k, count = self.walk.tasks[place].rule.kept
        return self.t[place], [self.kept[place * KEPT + k] for k in range(count)], bool(self.pending[place])

    def counters(self):
        cdef Py_ssize_t i
        return [self.counter(i) for i in range(self.n)]

    def set_counter(self, Py_ssize_t place, tuple counter):
        cdef int k
        cdef int64_t t
        cdef bint pending
        cdef double[KEPT] numbers
        t, kept, pending = counter
        for k, x in enumerate(kept):
            numbers[k] = x
        self.settled = False
        self.t[place], self.pending[place] = t, pending
        for k in range(len(kept)):
            self.kept[place * KEPT + k] = numbers[k]

    def set_counters(self, list counters):
        cdef Py_ssize_t i
        self.done, self.stepped = 0, False
        for i in range(self.n):
            self.set_counter(i, counters[i])
        forget(self)

    def catch_up(self, list rows):
        cdef Py_ssize_t i
        check_caught_up(self)
        for i in range(self.n):
            if rows is None:
                catch_up_whole(self, i)
            elif rows[i] is not None and self.lagging[i] != NULL and self.lagging[i].behind:
                catch_up_rows(self, i, <int64_t *> cnp.PyArray_DATA(rows[i]), 0, cnp.PyArray_SIZE(rows[i]), 1)

    def totals(self, str stage):
        cdef Py_ssize_t i
        cdef int k = list(spec.STAGES).index(stage), j
        if self.sums[k] == NULL or not self.done >> k & 1:
            return None
        entries = self.n if self.walk.table.stages[k].scope == ARRAY else 1
        given = len(spec.STAGES[stage].given)
        return [[self.sums[k][i * TOTALS + j] for j in range(given)] for i in range(entries)]

    def hyperparameters(self):
        cdef Py_ssize_t i, j
        if not self.stepped:
            return None
        return [[self.used[i][j] for j in range(self.n_values[i])] for i in range(self.n_groups)]

    def program(self, holds):
        cdef const op_t *op
        cdef Py_ssize_t i
        found = []
        for i in range(self.n_groups):
            op = self.ops + i * OPS
            ops = []
            while op.kind != END:
                stage = op.formula.name.decode() if op.kind in (STAGE, CHECK, EMPTY) else ""
                ops.append((KINDS[op.kind], stage, bool(op.takes_wide), bool(op.gives_wide)))
                op += 1
            found.append(ops)
        return found

    def over(self, exchange, kind, list params, list grads, other):
        return arrays_over(self, exchange, kind, params, grads, other)

    def expect_threads(self):
        """Be told that the caller computes its gradients with the threads of this process's OpenMP, as PyTorch does."""
        expect_threads(&self.chooser)
