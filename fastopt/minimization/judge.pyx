# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The judge of a loop in Python: it keeps the point, the gradient and the best point. ``judge.py`` is its twin in NumPy."""

cimport cython
cimport numpy as cnp
from libc.string cimport memcpy

from fastopt._engine.stepper cimport Stepper
from fastopt.minimization.judge cimport criteria_t, judge, progress_t

import numpy as np

from fastopt.minimization import objective
from fastopt.minimization.criteria import CRITERIA, PROGRESS, start

cnp.import_array()

if sizeof(criteria_t) != CRITERIA.itemsize or sizeof(progress_t) != PROGRESS.itemsize:
    raise ImportError("records of the judge have another size in this build")


cdef class Judge:
    """Judge: what is asked after each evaluation at the optimizer's point.

    Attributes
    ----------
    x : ndarray
        The optimizer's parameters, divided by the scale.
    jac : ndarray
        The last gradient by the variables, as it was given.
    gradient : ndarray
        The same by the optimizer's parameters; the same array without a scale.
    best_x, best_jac : ndarray
        The optimizer's parameters of the lowest value, and the gradient there.
    previous : ndarray
        The optimizer's parameters that were judged last; kept with the criterion `xtol` alone.
    progress : ndarray
        Record of the run.
    """

    cdef readonly Stepper optimizer
    cdef readonly object x, jac, gradient, best_x, best_jac, previous, progress
    cdef object criteria, box
    cdef const criteria_t *limits
    cdef progress_t *now
    cdef char *data[6]  # Of x, gradient, jac, best_x, best_jac, previous.
    cdef char *low
    cdef char *high
    cdef Py_ssize_t n
    cdef int kind
    cdef bint is_scaled

    def __init__(self, object optimizer, object x, object gradient, object box, object criteria):
        self.optimizer, self.x, self.gradient, self.box = optimizer, x, gradient, box
        self.is_scaled = box.scale is not None
        self.jac = np.zeros_like(x) if self.is_scaled else gradient
        self.best_x, self.best_jac, self.previous = x.copy(), np.zeros_like(x), x.copy()
        self.criteria, self.progress = criteria.record(), start()
        self.limits = <const criteria_t *> cnp.PyArray_DATA(self.criteria)
        self.now = <progress_t *> cnp.PyArray_DATA(self.progress)
        self.n, self.kind = x.size, cnp.PyArray_TYPE(x)
        for k, a in enumerate((x, gradient, self.jac, self.best_x, self.best_jac, self.previous)):
            self.data[k] = <char *> cnp.PyArray_DATA(a)
        if criteria.xtol is None:
            self.data[5] = NULL
        self.low = self.high = NULL
        if box.low is not None:
            self.low, self.high = <char *> cnp.PyArray_DATA(box.lower), <char *> cnp.PyArray_DATA(box.upper)

    def point(self):
        """Return the variables at the optimizer's point, an array that is the caller's."""
        if self.is_scaled:
            return self.box.variables(self.x)
        return cnp.PyArray_NewCopy(self.x, cnp.NPY_CORDER)

    def tell(self, object fun, object jac, double nfev):
        """Take a value and a gradient at the optimizer's point, unless it has been judged; return why the run ends, or 0."""
        cdef double value
        if self.now.judged == self.optimizer._count:
            return <int> self.now.reason
        value = fun if type(fun) is float else objective.number(fun)
        if not cnp.PyArray_CheckExact(jac) or not self.fits(<cnp.ndarray> jac):
            jac = objective.vector(jac, self.x)
        memcpy(self.data[2], cnp.PyArray_DATA(jac), cnp.PyArray_NBYTES(jac))
        if self.is_scaled:
            np.multiply(self.jac, self.box.scale, self.gradient)
        if self.kind == cnp.NPY_DOUBLE:
            self.look(<const double *> self.data[0], value, nfev)
        else:
            self.look(<const float *> self.data[0], value, nfev)
        return <int> self.now.reason

    cdef inline bint fits(self, cnp.ndarray jac) noexcept:
        """Return True if an array's memory can be copied as it is."""
        return (cnp.PyArray_TYPE(jac) == self.kind and cnp.PyArray_NDIM(jac) == 1 and cnp.PyArray_SIZE(jac) == self.n
                and cnp.PyArray_ISCARRAY_RO(jac))

    cdef void look(self, const cython.floating *x, double value, double nfev) noexcept:
        """Judge the point, and keep it if it is the best."""
        cdef double best = self.now.best
        cdef Py_ssize_t size = self.n * sizeof(cython.floating)
        self.now.reason = judge(self.limits, self.now, self.n, x, <const cython.floating *> self.data[1],
                                <const cython.floating *> self.low, <const cython.floating *> self.high,
                                <cython.floating *> self.data[5], value, self.optimizer._count, nfev)
        if self.now.best < best:
            memcpy(self.data[3], x, size)
            memcpy(self.data[4], self.data[2], size)
