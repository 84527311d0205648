# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The judge of a loop in Python: it keeps the point, the gradient and the best point. ``judge.py`` is its twin in NumPy."""

cimport numpy as cnp
from libc.string cimport memcpy

from fastopt.minimization.judge cimport criteria_t, look, progress_t

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

    def __init__(self, object optimizer, object x, object gradient, object box, object criteria):
        self.optimizer, self.x, self.gradient, self.box = optimizer, x, gradient, box
        self.is_scaled = box.scale is not None
        self.jac = np.zeros_like(x) if self.is_scaled else gradient
        self.best_x, self.best_jac, self.previous = x.copy(), np.zeros_like(x), x.copy()
        self.criteria, self.progress = criteria.record(), start()
        self.limits = <const criteria_t *> cnp.PyArray_DATA(self.criteria)
        self.now = <progress_t *> cnp.PyArray_DATA(self.progress)
        self.n, self.kind = x.size, cnp.PyArray_TYPE(x)
        self.at_x, self.at_gradient = <char *> cnp.PyArray_DATA(x), <char *> cnp.PyArray_DATA(gradient)
        self.at_jac, self.at_previous = <char *> cnp.PyArray_DATA(self.jac), NULL
        self.at_best_x, self.at_best_jac = <char *> cnp.PyArray_DATA(self.best_x), <char *> cnp.PyArray_DATA(self.best_jac)
        if criteria.xtol is not None:
            self.at_previous = <char *> cnp.PyArray_DATA(self.previous)
        self.lower = self.upper = NULL
        if box.low is not None:
            self.lower, self.upper = <const char *> cnp.PyArray_DATA(box.lower), <const char *> cnp.PyArray_DATA(box.upper)

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
        if not self.fits(jac):
            jac = objective.vector(jac, self.x)
        memcpy(self.at_jac, cnp.PyArray_DATA(jac), cnp.PyArray_NBYTES(jac))
        if self.is_scaled:
            np.multiply(self.jac, self.box.scale, self.gradient)
        if self.kind == cnp.NPY_DOUBLE:
            look(self, <const double *> self.at_x, value, self.optimizer._count, nfev)
        else:
            look(self, <const float *> self.at_x, value, self.optimizer._count, nfev)
        return <int> self.now.reason

    cdef bint fits(self, object jac) noexcept:
        """Return True if the memory of a gradient can be copied as it is."""
        return (cnp.PyArray_CheckExact(jac) and cnp.PyArray_TYPE(jac) == self.kind and cnp.PyArray_NDIM(jac) == 1
                and cnp.PyArray_SIZE(jac) == self.n and cnp.PyArray_ISCARRAY_RO(jac))
