# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Epochs of linear models in compiled code: orders, batches, gradients and steps without the GIL."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport fabs
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from numpy.random cimport bitgen_t

import numpy as np

from fastopt._engine.plain cimport (
    end_plain, fo_enter, fo_env, fo_leave, fo_now, pace_t, pace_until, plain_t, prepare_plains, prepare_scalars,
)
from fastopt._engine.plan cimport Plan
from fastopt._engine.stepper cimport Stepper
from fastopt._engine.table cimport CARRY, FLOAT32, FLOAT64, GRADIENT, PARAMETER, SCALARS, UPDATE
from fastopt.linear.work cimport DENSE, EXACT, PARAMETERS, SCALED, TOUCHED, run_t, work_t

cnp.import_array()

cdef enum:
    AT_ONCE = 1024  # Steps whose schedules are evaluated together.
    TRIED = 16  # Columns on which a rule is tried.


cdef inline const char *memory(object a) noexcept:
    """Return the memory of an array, NULL for None."""
    return NULL if a is None else <const char *> cnp.PyArray_DATA(a)


cdef class Epochs:
    """Epochs over rows: an order for each, drawn as `numpy.random.Generator.permutation` does, and its batches.

    Attributes
    ----------
    values : list of float
        Mean value of each whole epoch: losses before each step, with the penalties.
    """

    cdef work_t work
    cdef Stepper optimizer
    cdef run_t loop
    cdef object kept, gradients, order, coef, table, scheduled
    cdef list flat
    cdef dict arrays
    cdef list names
    cdef int64_t batches, most, patience
    cdef public int64_t waited
    cdef double tol, best
    cdef bint is_lazy
    cdef readonly list values

    def __init__(self, optimizer, list names, capsule, dict arrays, int loss, dict numbers, bint is_lazy):
        """Lay out epochs.

        Parameters
        ----------
        optimizer : Optimizer
        names : list of str
            Those of the coefficients' parameter, and of the intercepts', if any.
        capsule
            Loops of an instruction set.
        arrays : dict
            ``x`` (dense rows, or the numbers of sparse ones, with ``starts`` and ``places``), ``targets``, ``weights``,
            ``constants``, ``coef``, ``intercept`` (or None).
        loss : int
            Place of the loss, -1 for the cross-entropy of classes.
        numbers : dict
            ``rows``, ``size`` (of a batch), ``alpha`` and ``l1``, factors of the penalties of squares and of absolute values.
        is_lazy : bool
            Update only the columns of a batch, whatever the rule.

        Raises
        ------
        NotImplementedError
            If the optimizer's steps need more than these loops have.
        """
        cdef work_t *work = &self.work
        self.optimizer, self.arrays, self.names, self.is_lazy = optimizer, arrays, names, is_lazy
        self.loop = <run_t> PyCapsule_GetPointer(capsule, "fastopt.linear.run")
        self.coef, self.values, self.kept, self.order = arrays["coef"], [], [], None
        work.is_double = self.coef.dtype == np.float64
        work.columns = self.coef.shape[self.coef.ndim - 1]
        work.outputs = self.coef.shape[0] if self.coef.ndim == 2 else 1
        work.x, work.starts, work.places = memory(arrays["x"]), <const int64_t *> memory(arrays["starts"]), memory(arrays["places"])
        work.wide_places = work.places != NULL and arrays["places"].dtype == np.int64
        work.targets, work.weights = <const double *> memory(arrays["targets"]), <const double *> memory(arrays["weights"])
        work.constants, work.loss = <const double *> memory(arrays["constants"]), loss
        work.coef, work.intercept = <char *> memory(self.coef), <char *> memory(arrays["intercept"])
        work.rows, work.size, work.at = numbers["rows"], numbers["size"], numbers["rows"]
        work.alpha, work.l1 = numbers["alpha"], numbers["l1"]
        self.gradients = [np.zeros_like(a) for a in (self.coef, arrays["intercept"]) if a is not None]
        work.coef_gradient = <char *> memory(self.gradients[0])
        work.intercept_gradient = <char *> memory(self.gradients[1]) if work.intercept != NULL else NULL
        work.slopes = <double *> self.room(max(work.size, 32) * work.outputs, np.float64)
        optimizer._exclusively(self.lay_out)

    cdef char *room(self, Py_ssize_t count, dtype) except NULL:
        """Return memory that lives as long as this object, zeros."""
        self.kept.append(np.zeros(max(count, 1), dtype))
        return <char *> cnp.PyArray_DATA(self.kept[len(self.kept) - 1])

    def lay_out(self):
        """Choose how sparse rows are stepped over, and allocate what that needs."""
        cdef work_t *work = &self.work
        cdef Plan plan = self.prepare()
        cdef bint is_alone = not plan.union
        if work.l1 > 0 and not work.is_plain:
            raise NotImplementedError("the l1 penalty needs plain gradient descent")
        if work.starts == NULL:
            work.mode = DENSE
            return
        work.states = work.plain[0].rule.states
        if work.is_plain:
            work.mode = SCALED
            work.products = <double *> self.room(work.outputs, np.float64)
            if work.alpha > 0:
                work.norms = <const double *> self.room(work.rows, np.float64)
                self.write_norms()
            if work.l1 > 0:
                work.thresholds = <double *> self.room(work.columns * work.outputs, np.float64)
        elif is_alone and work.alpha == 0 and (self.is_lazy or self.sleeps()):
            work.mode = TOUCHED
            work.marks, work.touched = <int64_t *> self.room(work.columns, np.int64), <int64_t *> self.room(work.columns, np.int64)
            work.gathered = self.room((2 + work.states) * (work.columns + 8), self.coef.dtype)
            work.table = self.room((1 + work.states) * work.columns * work.outputs, self.coef.dtype)
            self.table = self.kept[len(self.kept) - 1].reshape(-1, 1 + work.states)
        elif self.is_lazy:
            raise NotImplementedError("mode='lazy' needs a rule without penalty and options")
        else:
            work.mode = EXACT

    cdef int write_norms(self) except -1:
        """Write the sums of squares of the rows."""
        cdef double *norms = <double *> self.work.norms
        cdef const float *narrow = <const float *> self.work.x
        cdef const double *wide = <const double *> self.work.x
        cdef double x
        cdef int64_t i, k
        for i in range(self.work.rows):
            for k in range(self.work.starts[i], self.work.starts[i + 1]):
                x = wide[k] if self.work.is_double else narrow[k]
                norms[i] += x * x
        return 0

    cdef Plan prepare(self):
        """Check gradients and hyperparameters as each step does, and return the plan; raise if its steps are not plain."""
        cdef work_t *work = &self.work
        cdef Stepper optimizer = self.optimizer
        cdef Plan plan
        cdef plain_t[PARAMETERS] found
        cdef int k, i
        if not isinstance(optimizer._backend, Plan) or len(optimizer._parameters) != len(self.names):
            raise NotImplementedError("a compiled plan of these parameters")
        plan = optimizer._backend
        order = [[parameter.name for parameter in optimizer._parameters].index(name) for name in self.names]
        plan.set_gradient_list([self.gradients[order.index(i)] for i in range(len(order))])
        plan.prepare(optimizer._count, 1.0, None, False)
        if not prepare_plains(plan, found):
            raise NotImplementedError("steps without sums")
        work.count = len(self.names)
        for k in range(work.count):
            i = order[k]
            work.plain[k], work.first[k] = found[i], plan.t[i]
            if found[i].task.p.format != (FLOAT64 if work.is_double else FLOAT32):
                raise NotImplementedError("parameters in the format of the rows")
        work.is_plain = not plan.union and plan.n_groups == 1 and work.plain[0].rule.name == b"sgd"
        work.shared = work.count == 2 and plan.n_groups == 1 and work.first[0] == work.first[1] and not work.plain[0].rule.carry
        if work.shared:
            plan.core.tasks[order[1]].c = work.plain[1].c = work.plain[0].c
        return plan

    cdef Plan prepare_again(self):
        """Prepare, and step over all columns if an option has been set meanwhile that the other ways do not have."""
        cdef work_t *work = &self.work
        cdef Plan plan
        try:
            plan = self.prepare()
        except NotImplementedError as error:
            raise ValueError(f"an option was set meanwhile that compiled epochs do not have ({error}), expected it before") from None
        if (work.mode == SCALED or work.l1 > 0) and not work.is_plain or work.mode == TOUCHED and plan.union:
            if work.l1 > 0 or self.is_lazy:
                raise ValueError("an option was set that does not go with l1_ratio or mode='lazy', expected it from the beginning")
            work.mode = EXACT
        return plan

    cdef bint sleeps(self) except -1:
        """Return True if the rule leaves a column alone, parameter and state, whose gradient is zero: from now on, and after steps.

        It is tried on copies, of what the rule carries from step to step too.
        """
        cdef work_t *work = &self.work
        cdef Py_ssize_t n = work.columns * work.outputs, m = min(<Py_ssize_t> TRIED, n)
        cdef plain_t trial = work.plain[0]
        cdef double[CARRY] carry
        cdef double[SCALARS] c
        cdef int t
        memcpy(carry, trial.carry, sizeof(carry))
        trial.carry, trial.c, trial.powers = carry, c, NULL
        whole = [self.coef.reshape(-1), *(a.reshape(-1) for a in list_of_state(self))]
        prepare_scalars(&trial, work.first[0] + 1)
        if not unchanged(&trial, [a.copy() for a in whole], np.zeros(n, self.coef.dtype)):
            return False
        tried = [a[:m].copy() for a in whole]
        tried[0][:] = 0
        rng = np.random.default_rng(0)
        for t in range(1, 5):
            prepare_scalars(&trial, t)
            if t < 4:
                apply(&trial, tried, rng.standard_normal(m).astype(self.coef.dtype))
        return unchanged(&trial, tried, np.zeros(m, self.coef.dtype))

    def begin(self, order, int64_t batches, int64_t rows, double total):
        """Begin an epoch, or go on with one after so many batches, rows and values.

        Parameters
        ----------
        order : ndarray of int64 or None
        batches, rows : int
        total : float
        """
        self.order = None if order is None else np.ascontiguousarray(order, np.int64)
        if order is not None and (self.order.shape != (self.work.rows,) or self.order.min() < 0 or self.order.max() >= self.work.rows):
            raise ValueError(f"order: shape {self.order.shape}, expected the places of {self.work.rows} rows")
        self.work.order = <const int64_t *> memory(self.order)
        self.work.at, self.work.total, self.batches = rows, total, batches

    @property
    def is_compiled(self):
        """True."""
        return True

    @property
    def sums(self):
        """Batches, rows and values of the epoch so far."""
        return self.batches, self.work.at, self.work.total

    def ending(self):
        """Return what the value of an epoch has besides those of its rows: penalties of its end, if there is one of absolute values."""
        return penalties(&self.work)

    @property
    def is_ended(self):
        """True at the end of an epoch."""
        return self.work.at >= self.work.rows

    def run(self, double seconds):
        """Run batches until the end of the epoch, or the time is over.

        Parameters
        ----------
        seconds : float
        """
        cdef double end = fo_now() + seconds
        while self.work.at < self.work.rows:
            self.optimizer._exclusively(self.chunk, end, None)
            if fo_now() >= end:
                break

    def run_epochs(self, rng, bint shuffle, int64_t epochs, double seconds, double tol, int64_t patience):
        """Run whole epochs, until there are so many, or their values have stopped falling, or the time is over.

        Parameters
        ----------
        rng : numpy.random.Generator
        shuffle : bool
        epochs : int
            Epochs in all, `values` included.
        seconds : float
        tol : float
            Fall of the value that counts; NaN never stops.
        patience : int
            Epochs in a row without such a fall that end the run.

        Returns
        -------
        bool
            True if the run has ended.
        """
        cdef double end = fo_now() + seconds
        self.most, self.tol, self.patience = epochs, tol, patience
        with rng.bit_generator.lock:
            while not self.has_stalled():
                self.optimizer._exclusively(self.chunk, end, rng if shuffle else False)
                if fo_now() >= end:
                    break
        return self.has_stalled()

    cdef bint has_stalled(self) except -1:
        """Return True between epochs if there are enough, or their values have not fallen for so many."""
        return self.work.at >= self.work.rows and (len(self.values) >= self.most or self.waited >= self.patience)

    cdef int end_epoch(self) except -1:
        """Record the value of an epoch, and compare it with the lowest."""
        cdef double value = self.work.total / self.work.rows + penalties(&self.work)
        if self.tol == self.tol:
            self.waited = 0 if not self.values or value < self.best - self.tol else self.waited + 1
        self.best = value if not self.values else min(self.best, value)
        self.values.append(value)
        return 0

    cdef int draw(self, rng) except -1:
        """Begin an epoch with a new order, or with that of the rows for False."""
        cdef bitgen_t *bits
        cdef int64_t *order
        cdef int64_t n = self.work.rows
        if rng is False:
            self.begin(None, 0, 0, 0.0)
            return 0
        if self.order is None:
            self.order = np.empty(n, np.int64)
        bits = <bitgen_t *> PyCapsule_GetPointer(rng.bit_generator.capsule, "BitGenerator")
        order = <int64_t *> cnp.PyArray_DATA(self.order)
        with nogil:
            permute(bits, order, n)
        self.work.order = order
        self.work.at, self.work.total, self.batches = 0, 0, 0
        return 0

    def chunk(self, double end, rng):
        """Run batches, with the optimizer's lock held, as far as schedules are evaluated; with a generator also further epochs."""
        cdef work_t *work = &self.work
        cdef Plan plan = self.prepare_again()
        cdef int64_t done, most, per_epoch = (work.rows + work.size - 1) // work.size
        cdef pace_t pace = pace_until(end)
        cdef run_t loop = self.loop
        cdef fo_env env = fo_enter(False)
        most = self.evaluate(plan, per_epoch * (1 if rng is None else self.most - len(self.values)))
        self.fill_table(plan, True)
        work.steps = 0
        try:
            while work.steps < most:
                if work.at >= work.rows:
                    if rng is None or self.has_stalled():
                        break
                    self.draw(rng)
                with nogil:
                    done = loop(work, &pace, most - work.steps)
                self.batches += done
                if work.at >= work.rows and rng is not None:
                    self.end_epoch()
                if fo_now() >= end:
                    break
        finally:
            fo_leave(env)
            self.fill_table(plan, False)
            end_plain(plan, work.steps)
            self.optimizer._count += work.steps

    cdef int64_t evaluate(self, Plan plan, int64_t most) except -1:
        """Evaluate the rule's schedules for the next steps; return for how many. The checks of the first one have been made."""
        cdef work_t *work = &self.work
        cdef int64_t step, count = self.optimizer._count
        cdef Py_ssize_t k
        entries = [(i, entry) for i in range(plan.n_groups) for entry in (<dict> plan.scheduled[i]).values()]
        work.scheduled = len(entries)
        if not entries:
            return most
        most = min(most, <int64_t> AT_ONCE)
        values, places = np.empty((most, len(entries))), np.empty(len(entries), np.uintp)
        for k, (i, entry) in enumerate(entries):
            places[k] = <uintptr_t> &plan.hyperparameters[<Py_ssize_t> i][<Py_ssize_t> entry[2]]
            values[0, k] = plan.hyperparameters[<Py_ssize_t> i][<Py_ssize_t> entry[2]]
            for step in range(1, most):
                try:
                    x = entry[1](count + step)
                except Exception:
                    x = None  # It raises again at its step.
                if not (isinstance(x, (float, int)) and entry[3] <= x <= entry[4]):
                    most = step  # Where the step itself begins, its checks say what is wrong.
                    break
                values[step, k] = x
        self.scheduled = (values, places)
        work.scheduled_values = <const double *> cnp.PyArray_DATA(values)
        work.places_of_scheduled = <double **> cnp.PyArray_DATA(places)
        return most

    cdef int fill_table(self, Plan plan, bint inwards) except -1:
        """Prepare the numbers that sparse rows step over, or write them back.

        In the table parameter and states of a column are side by side. Writing back calls nothing in Python, where a signal handler
        could raise.
        """
        cdef work_t *work = &self.work
        cdef int s
        if work.mode == SCALED and inwards:
            work.scale, work.threshold = 1, 0
        if work.mode == TOUCHED:
            if inwards:
                self.flat = [a.reshape(-1) for a in (self.coef, *list_of_state(self))]
            for s, a in enumerate(self.flat):
                if inwards:
                    self.table[:, s] = a
                else:
                    a[:] = self.table[:, s]
        return 0


cdef bint unchanged(const plain_t *plain, list arrays, object g) except -1:
    """Return True if a step with a gradient changes no bit of these arrays."""
    before = [a.copy() for a in arrays]
    apply(plain, arrays, g)
    return all(a.tobytes() == b.tobytes() for a, b in zip(arrays, before))


cdef int apply(const plain_t *plain, list arrays, object g) except -1:
    """Apply a rule to arrays of parameters and states."""
    cdef void *given[UPDATE + 1]
    cdef int k
    given[PARAMETER], given[GRADIENT], given[UPDATE] = cnp.PyArray_DATA(arrays[0]), cnp.PyArray_DATA(g), NULL
    for k in range(1, len(arrays)):
        given[k + 1] = cnp.PyArray_DATA(arrays[k])
    if g.dtype == np.float64:
        plain.rule.f64(given, cnp.PyArray_SIZE(g), plain.c)
    else:
        plain.rule.f32(given, cnp.PyArray_SIZE(g), plain.c)
    return 0


cdef double penalties(const work_t *work) noexcept:
    """Return the penalties that an epoch has at its end: both, if there is one of absolute values."""
    cdef const double *wide = <const double *> work.coef
    cdef const float *narrow = <const float *> work.coef
    cdef double x, sizes = 0, squares = 0
    cdef Py_ssize_t k
    for k in range(work.columns * work.outputs if work.l1 > 0 else 0):
        x = wide[k] if work.is_double else narrow[k]
        sizes += fabs(x)
        squares += x * x
    return work.l1 * sizes + 0.5 * work.alpha * squares


cdef list list_of_state(Epochs epochs):
    """Return the state arrays of the coefficients, in the rule's order."""
    parameter = next(x for x in epochs.optimizer._parameters if x.name == epochs.names[0])
    return [parameter.state[name] for name in parameter.rule.state]


cdef void permute(bitgen_t *bits, int64_t *order, int64_t n) noexcept nogil:
    """Write a permutation as `numpy.random.Generator.permutation` draws it: swaps with places that bits below a power of two give."""
    cdef int64_t i, other
    cdef uint64_t j, mask = 1
    for i in range(n):
        order[i] = i
    while mask < <uint64_t> n:
        mask = mask << 1
    mask -= 1
    for i in range(n - 1, 0, -1):
        while mask >> 1 >= <uint64_t> i:
            mask = mask >> 1
        j = bits.next_uint32(bits.state) & mask
        while j > <uint64_t> i:
            j = bits.next_uint32(bits.state) & mask
        other = order[j]
        order[j] = order[i]
        order[i] = other
