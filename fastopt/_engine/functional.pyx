# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Steps of a rule on arrays of the caller, without an optimizer."""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.ref cimport PyObject, Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t
from libc.string cimport memset
cimport numpy as cnp

from fastopt._engine.chooser cimport chooser_t, reset_estimates
from fastopt._engine.passes cimport PASS_STEP, PASS_SUMS, choose_threads, run_pass, stop_timer, pass_t, plan_t
from fastopt._engine.program cimport op_of
from fastopt._engine.table cimport (
    BLOCK, END, CARRY, RULE, RULE_ALONE, SCALARS, STAGES, STATES, SUMS, TOTALS, formula_t, op_t, partial_t, table_t, task_t,
)
from fastopt._engine.tables cimport find, table_of
from fastopt._engine.views cimport alike, format_of

from fastopt._arrays import layout
from fastopt.domains import check_number, check_order, whole

cnp.import_array()

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)
    ctypedef struct fo_total:
        pass
    void fo_total_clear(fo_total *total)
    void fo_total_add_blocks(fo_total *total, const partial_t *blocks, int64_t n, int64_t stride)
    int fo_reduce_totals(fo_total *totals, int sums, int squares, double n, double *given)

cdef extern from "threads.h" nogil:
    double fo_now()

cdef int64_t MOST_STEPS = 1LL << 62  # Steps that a parameter may have made.
cdef chooser_t[65] CHOOSERS  # Of steps without an optimizer, by the number of bits of their size.
cdef Py_ssize_t BITS
for BITS in range(65):
    reset_estimates(&CHOOSERS[BITS])


cdef class Update:
    """A rule's step on arrays of the caller; see `fastopt.functional` for the public functions.

    Parameters
    ----------
    capsule : PyCapsule
        The kernels' table.
    formula : Spec
    """

    cdef object capsule, formula, names, bounds
    cdef const table_t *table
    cdef const formula_t *rule
    cdef int arrays
    cdef double[2][SCALARS] domains
    cdef bint[SCALARS] switches
    cdef bint ordered

    def __init__(self, capsule, formula):
        cdef int k
        self.capsule, self.formula = capsule, formula
        self.names, self.bounds = list(formula.domains), list(formula.domains.values())
        self.table = table_of(capsule)
        self.rule = find(self.table, formula)
        self.ordered = any(domain.floor for domain in self.bounds)
        self.arrays = self.rule.states + 1
        for k in range(self.rule.hyperparameters):
            self.switches[k] = self.bounds[k].is_switch
            # No float is read as a switch.
            self.domains[0][k], self.domains[1][k] = (1, 0) if self.switches[k] else (self.bounds[k].low, self.bounds[k].high)

    def step(self, tuple given, t, tuple hyperparameters, out, tuple carry=()):
        """Make a step from parameter, gradient and state.

        Returns
        -------
        tuple
            The new parameter and state, in `out` or in new arrays; then the numbers carried to the next step.
        """
        cdef double[SCALARS] h
        cdef double[CARRY] memory
        cdef PyObject *inputs[STATES + 1]
        cdef int64_t number
        cdef int k, order = cnp.NPY_ANYORDER
        cdef object a, p, g
        cdef tuple outputs, work = None
        if type(out) is str and out == "inplace":
            out = given[:1] + given[2:]
        if not plain(given, out):
            given, out = layout.as_arguments(self.formula.state, given, out)
        p, g = given[0], given[1]
        for k in range(self.arrays):
            inputs[k] = <PyObject *> given[k + (k > 0)]
        number = number_of(t)
        self.read(hyperparameters, h)
        if self.rule.carry:
            for k, first in enumerate(self.formula.first(carry, number)):
                memory[k] = first
        for k in range(self.arrays):
            a = <object> inputs[k]
            if type(a) is not cnp.ndarray or not alike(<cnp.ndarray> a, <cnp.ndarray> p) or not known(<cnp.ndarray> a):
                layout.check_input(self.formula.state[k - 1] if k else "p", a, p)
        if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, <cnp.ndarray> p):
            g = layout.check_gradient("p", p, g)
        if cnp.PyArray_TYPE(<cnp.ndarray> g) == cnp.PyArray_TYPE(<cnp.ndarray> p):
            order = packed(inputs, self.arrays, <cnp.ndarray> g)
            # Sums are taken in C order.
            if order == cnp.NPY_FORTRANORDER and self.rule.sums:
                order = cnp.NPY_ANYORDER
        if out is None:
            outputs = self.copies(inputs, order)
        elif order != cnp.NPY_ANYORDER and in_place(inputs, self.arrays, <cnp.ndarray> g, out):
            outputs = out
        else:
            outputs = layout.check_outputs(self.formula.state, [<object> inputs[k] for k in range(self.arrays)], g, out)
            work = self.copies(inputs, order)
        self.run(outputs if work is None else work, packed_gradient(g, order), number, h, memory)
        if work is not None:
            for to, a in zip(outputs, work):
                to[...] = a
        return outputs + tuple([memory[k] for k in range(self.rule.carry)]) if self.rule.carry else outputs

    cdef int read(self, tuple hyperparameters, double *h) except -1:
        """Read hyperparameters in their domains. What is not a float in its domain goes through Python, for the error."""
        cdef int k
        cdef object x
        for k in range(self.rule.hyperparameters):
            x = hyperparameters[k]
            if type(x) is float and self.domains[0][k] <= <double> x <= self.domains[1][k]:
                h[k] = x
            elif self.switches[k] and type(x) is bool:
                h[k] = x is True
            else:
                h[k] = check_number(self.bounds[k], self.names[k], x)
        if self.ordered:
            check_order(self.formula.domains, {name: h[k] for k, name in enumerate(self.names)})
        return 0

    cdef tuple copies(self, PyObject **inputs, int order):
        cdef int k
        cdef tuple made = PyTuple_New(self.arrays)
        cdef object a
        for k in range(self.arrays):
            a = cnp.PyArray_NewCopy(<cnp.ndarray> inputs[k], <cnp.NPY_ORDER> max(order, <int> cnp.NPY_CORDER))
            Py_INCREF(a)
            PyTuple_SET_ITEM(made, k, a)
        return made

    cdef int run(self, tuple arrays, cnp.ndarray g, int64_t t, const double *h, double *carry) except -1:
        """Update arrays in place, which are contiguous in the same order as the gradient."""
        cdef task_t task
        cdef op_t[2] ops
        cdef plan_t plan
        cdef pass_t update
        cdef chooser_t chooser
        cdef double[SCALARS] c
        cdef double[TOTALS] given
        cdef fo_env env
        cdef int parts, bits = 0
        cdef partial_t *partials = NULL
        self.describe(&task, arrays, g)
        ops[0], ops[1] = op_of(RULE, STAGES, self.rule, &c[0], 0, False), op_of(END, -1, NULL, NULL, 0, False)
        ops[0].fast_path = RULE_ALONE
        task.ops, task.c = ops, c
        while task.n >> bits:
            bits += 1
        chooser = CHOOSERS[bits]  # A copy: other threads may step while the GIL is released.
        chooser.entered = fo_now()
        plan = plan_t(self.table, &task, 1, (task.n + BLOCK - 1) // BLOCK, task.n, 0, False, &chooser)
        update = pass_t(PASS_STEP, 0, NULL, NULL, plan.blocks, NULL)
        if self.rule.sums:
            memory = cnp.PyArray_SimpleNew(1, [(plan.blocks + 1) * self.rule.sums * sizeof(partial_t)], cnp.NPY_UINT8)
            partials = <partial_t *> cnp.PyArray_DATA(memory)
        env = fo_enter(False)
        parts = choose_threads(&plan)
        if self.rule.sums:
            if self.rule.compute_sums_scalars != NULL:
                self.rule.compute_sums_scalars(t, carry, NULL, h, NULL, c)
            sum_rule(&plan, self.rule, partials, parts, given)
        self.rule.compute_scalars(t, carry, given, h, NULL, c)
        run_pass(&plan, &update, parts)
        stop_timer(&plan)
        fo_leave(env)
        CHOOSERS[bits] = chooser
        return 0

    cdef void describe(self, task_t *task, tuple arrays, cnp.ndarray g):
        """Describe the arrays to the kernels."""
        cdef cnp.ndarray p = <cnp.ndarray> arrays[0]
        cdef Py_ssize_t n = cnp.PyArray_SIZE(p) * (2 if cnp.PyTypeNum_ISCOMPLEX(cnp.PyArray_TYPE(p)) else 1)
        cdef int k
        memset(task, 0, sizeof(task_t))
        task.p.data, task.p.format, task.p.contiguous = <char *> cnp.PyArray_DATA(p), format_of(cnp.PyArray_TYPE(p)), True
        task.g.data, task.g.format, task.g.contiguous = <char *> cnp.PyArray_DATA(g), format_of(cnp.PyArray_TYPE(g)), True
        for k in range(self.rule.states):
            task.state[k], task.formats[k] = <char *> cnp.PyArray_DATA(<cnp.ndarray> arrays[k + 1]), task.p.format
        task.rule, task.n, task.work, task.active = self.rule, n, n, True
        task.no_decoding = task.g.format == task.p.format


cdef void sum_rule(const plan_t *plan, const formula_t *rule, partial_t *partials, int parts, double *given) noexcept:
    """Compute a rule's sums, as its scalars take them."""
    cdef fo_total totals[SUMS]
    cdef Py_ssize_t start = 0
    cdef pass_t sum_pass = pass_t(PASS_SUMS, STAGES, rule, &start, plan.blocks, partials)
    cdef int k
    run_pass(plan, &sum_pass, parts)
    for k in range(rule.sums):
        fo_total_clear(&totals[k])
        fo_total_add_blocks(&totals[k], partials + k, plan.blocks, rule.sums)
    fo_reduce_totals(totals, rule.sums, rule.squares, plan.elements if rule.mean else -1, given)


cdef int64_t number_of(object t) except 0:
    """Return the number of a step, or raise."""
    cdef int64_t number = 0
    cdef int overflow
    if type(t) is not int and (counted := whole(t)) is not None:
        t = counted
    if type(t) is int:
        number = PyLong_AsLongLongAndOverflow(t, &overflow)
    if not 0 < number < MOST_STEPS:
        raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
    return number


cdef bint plain(tuple given, object out) noexcept:
    """Return True if all arguments are arrays, and `out` says nothing else."""
    cdef object a
    for a in given:
        if type(a) is not cnp.ndarray:
            return False
    for a in <tuple> out if type(out) is tuple else ():
        if a is None:
            return False
    return out is None or type(out) is tuple


cdef bint known(cnp.ndarray a) noexcept:
    """Return True if there is a kernel for its dtype."""
    return cnp.PyArray_TYPE(a) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE)


cdef bint in_place(PyObject **inputs, int n, cnp.ndarray g, object out) noexcept:
    """Return True if `out` holds the inputs themselves, contiguous, writable and without overlaps, the gradient included."""
    cdef int j, k
    cdef cnp.ndarray a, b
    if type(out) is not tuple or len(<tuple> out) != n:
        return False
    for k in range(n):
        a = <cnp.ndarray> inputs[k]
        if <PyObject *> (<tuple> out)[k] != inputs[k] or not cnp.PyArray_ISWRITEABLE(a):
            return False
        for j in range(k + 1, n + 1):
            b = <cnp.ndarray> inputs[j] if j < n else g
            if cnp.PyArray_BYTES(a) < cnp.PyArray_BYTES(b) + cnp.PyArray_NBYTES(b) \
                    and cnp.PyArray_BYTES(b) < cnp.PyArray_BYTES(a) + cnp.PyArray_NBYTES(a):
                return False
    return True


cdef int packed(PyObject **arrays, int n, cnp.ndarray g) noexcept:
    """Return the order in which all arrays and the gradient are contiguous and aligned, else NPY_ANYORDER."""
    cdef int flags = cnp.PyArray_FLAGS(g), k
    for k in range(n):
        flags &= cnp.PyArray_FLAGS(<cnp.ndarray> arrays[k])
    if flags & cnp.NPY_ARRAY_ALIGNED:
        if flags & cnp.NPY_ARRAY_C_CONTIGUOUS:
            return cnp.NPY_CORDER
        if flags & cnp.NPY_ARRAY_F_CONTIGUOUS:
            return cnp.NPY_FORTRANORDER
    return cnp.NPY_ANYORDER


cdef cnp.ndarray packed_gradient(object g, int order):
    """Return the gradient if all arrays have one order, else a copy in C order."""
    return g if order != cnp.NPY_ANYORDER else layout.packed(g)
