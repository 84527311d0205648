# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The compiled backend: runs a step by kernels, on one thread or several."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
cimport numpy as cnp

from fastopt._engine.chooser cimport expect_threads
from fastopt._engine.gradients cimport arrays_over, collect, stash_list, use_zero_gradient, release, set_stashed
from fastopt._engine.lazy_rows cimport catch_up_rows, catch_up_whole, check_caught_up, mark_current, sweep_rows
from fastopt._engine.passes cimport LEAST, choose_threads, run_pass, stop_timer
from fastopt._engine.plan cimport OPS, Plan
from fastopt._engine.reductions cimport allocate_sums, drop_updates, prepare_matrices
from fastopt._engine.scalars cimport agree, rebuild_program, evaluate_schedules, prepare_rules, prepare_stage, activate_stages
from fastopt._engine.table cimport ARRAY, CHECK, EMPTY, END, CARRY, SCALARS, STAGE, STAGES, TOTALS, op_t, table_t

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
    # After a matrix product, BLAS's threads spin for some milliseconds and slow other threads down. One thread updates this many
    # elements in that time (about 6 ms).
    SPIN = 10000000


KINDS = ("stage", "rule", "subtract", "check", "empty", "clear")  # Of operations, in the order of `kind_t`.


cdef class CompiledBackend(Plan):
    """Backend of compiled kernels; see `Optimizer` for the public class."""

    cdef inline void start_clock(self) noexcept:
        if self.core.elements >= LEAST:
            self.chooser.entered = fo_now()

    cpdef exit(self):
        release(self.stashed, self.n)

    cpdef set_gradients(self, object grads):
        self.start_clock()
        self.stale = True
        collect(self.structure, grads, self.stashed, 0)
        set_stashed(self)

    cpdef set_gradient_list(self, list grads):
        self.start_clock()
        self.stale = True
        stash_list(self, grads)
        set_stashed(self)

    cpdef set_bound_gradients(self, list grads):
        self.start_clock()
        if self.stale or self.accumulate > 1:
            self.set_gradient_list(grads)
            self.stale = False

    def check_bindable(self, list grads, clears):
        return layout.check_bindable(self.parameters, grads, clears)

    cpdef prepare(self, long long count, double scale, list cleared, bint accumulating):
        cdef Py_ssize_t i
        cdef int k
        cdef const table_t *table = self.core.table
        if not accumulating:
            for i in range(self.n_groups):
                if PyDict_Size(self.scheduled[i]):
                    evaluate_schedules(self, i, count)
        for i in range(self.n):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> self.originals[i]):
                raise ValueError(f"parameter {self.parameters[i].name!r}: made read-only, expected a writable array")
            if cleared is not None and self.active[i] and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> cleared[i]):
                layout.check_clearable(self.parameters[i].name, cleared[i])
        self.union = 0
        for i in range(self.n_groups):
            self.union |= activate_stages(self, i, scale, cleared is not None, accumulating)
        if self.union or self.summing_rule != NULL or self.prepares:
            for k in range(table.n_stages):
                if self.union >> k & 1 and table.stages[k].sums:
                    allocate_sums(self, k, &table.stages[k])
            if self.summing_rule != NULL and not accumulating:
                allocate_sums(self, STAGES, self.summing_rule)
            if self.sums_c == NULL and self.prepares:
                self.sums_c = <double *> self.arena.allocate(self.n * SCALARS, sizeof(double))
        for i in range(self.n_groups):
            if self.built_key[i] != self.program_key[i]:
                rebuild_program(self, i, cleared is not None, accumulating)
                self.built_key[i] = self.program_key[i]

    cpdef int run(self, long long count, double scale, list cleared, bint accumulating) except -2:
        cdef int parts, outcome
        cdef fo_env env
        if self.accumulate > 1 and not accumulating:
            self.use_pending()
        if self.n_active == 0 and self.exchange is None:
            return 0
        self.key = fo_key(fo_key(self.seed, <uint32_t> count), <uint32_t> (count >> 32))
        env = fo_enter(False)
        try:
            parts = choose_threads(&self.core)
            outcome = self.compute_scalars(scale, accumulating, &parts)
            if outcome > 0:
                self.update_arrays(parts)
        finally:
            fo_leave(env)
        if outcome > 0:
            self.count_step(accumulating)
            self.completed = True
        return outcome

    cdef void use_pending(self) noexcept:
        """Use zero gradients for parameters that have accumulated some and have none now."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.pending[i] and not self.active[i]:
                use_zero_gradient(self, i)

    cdef int compute_scalars(self, double scale, bint accumulating, int *parts) except -2:
        """Compute the scalars of stages and rules, after their sums. Return as `run`."""
        cdef int k, rule_at = self.core.table.rule_at
        for k in range(rule_at if self.union else 0):
            if self.union >> k & 1 and not prepare_stage(self, k, scale, parts[0]):
                return -1
        if accumulating or self.summing_rule == NULL or self.summing_rule.scope == ARRAY:
            if not agree(self, False):
                return 0
        if accumulating:
            return 1
        if self.prepares:
            prepare_matrices(self, parts[0])
        if self.changes_matrices:
            self.chooser.now = NULL  # BLAS's share of the time says nothing about threads.
            if self.core.elements < SPIN:
                parts[0] = 1
        if not prepare_rules(self, parts[0]):
            return 0
        for k in range(rule_at, self.core.table.n_stages if self.union >> rule_at else 0):
            if self.union >> k & 1:
                prepare_stage(self, k, scale, parts[0])
        return 1

    cdef void update_arrays(self, int parts) noexcept:
        """Update all arrays in one pass."""
        if self.exact:
            sweep_rows(self, parts)
        if self.core.flush:
            fo_enter(True)
        run_pass(&self.core, &self.update, parts)
        if self.kept != NULL:
            drop_updates(self)
        stop_timer(&self.core)

    cdef void count_step(self, bint accumulating) noexcept:
        """Count the step, or the gradients that it accumulated."""
        cdef Py_ssize_t i
        for i in range(self.n if self.accumulate > 1 else 0):
            self.pending[i] = accumulating and (self.pending[i] or self.active[i])
        if accumulating:
            return
        self.done, self.stepped = self.union, True
        for i in range(self.n):
            self.t[i] += self.active[i]
        for i in range(self.n_groups):
            memcpy(self.used_hyperparameters[i], self.hyperparameters[i], self.n_hyperparameters[i] * sizeof(double))

    def nonfinite(self):
        cdef Py_ssize_t i
        cdef const double *found = self.sums[self.finite_at]
        return {self.parameters[i].name: int(found[i * TOTALS]) for i in range(self.n) if found[i * TOTALS] > 0}

    def counter(self, Py_ssize_t place):
        cdef int k, count = self.core.tasks[place].rule.carry
        return self.t[place], [self.carry[place * CARRY + k] for k in range(count)], bool(self.pending[place])

    def counters(self):
        cdef Py_ssize_t i
        return [self.counter(i) for i in range(self.n)]

    def set_counter(self, Py_ssize_t place, tuple counter):
        cdef int k
        cdef int64_t t
        cdef bint pending
        cdef double[CARRY] numbers
        t, carry, pending = counter
        for k, x in enumerate(carry):
            numbers[k] = x
        self.scalars_shared = False
        self.t[place], self.pending[place] = t, pending
        for k in range(len(carry)):
            self.carry[place * CARRY + k] = numbers[k]

    def set_counters(self, list counters):
        cdef Py_ssize_t i
        self.done, self.stepped = 0, False
        for i in range(self.n):
            self.set_counter(i, counters[i])
        mark_current(self)

    def catch_up(self, list rows):
        cdef Py_ssize_t i
        check_caught_up(self)
        for i in range(self.n):
            if rows is None:
                catch_up_whole(self, i)
            elif rows[i] is not None and self.lazy_rows[i] != NULL and self.lazy_rows[i].behind:
                catch_up_rows(self, i, <int64_t *> cnp.PyArray_DATA(rows[i]), 0, cnp.PyArray_SIZE(rows[i]), 1)

    def totals(self, str stage):
        cdef Py_ssize_t i
        cdef int k = list(spec.STAGES).index(stage), j
        if self.sums[k] == NULL or not self.done >> k & 1:
            return None
        entries = self.n if self.core.table.stages[k].scope == ARRAY else 1
        count = len(spec.STAGES[stage].reduced)
        return [[self.sums[k][i * TOTALS + j] for j in range(count)] for i in range(entries)]

    def last_hyperparameters(self):
        cdef Py_ssize_t i, j
        if not self.stepped:
            return None
        return [[self.used_hyperparameters[i][j] for j in range(self.n_hyperparameters[i])] for i in range(self.n_groups)]

    def program(self, accumulating):
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
        """Note that the caller computes gradients on the threads of this process's OpenMP, as PyTorch does."""
        expect_threads(&self.chooser)
