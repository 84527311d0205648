"""The gradients of a step: collected, checked, and where their tasks find them."""

from cpython.ref cimport PyObject
from libc.stdint cimport uintptr_t

from fastopt._engine.plan cimport Plan

cdef Py_ssize_t collect(object structure, object tree, PyObject **out, Py_ssize_t k) except -1
cdef void release(PyObject **objects, Py_ssize_t n) noexcept
cdef int hold_list(Plan plan, list grads) except -1
cdef int take_held(Plan plan) except -1
cdef void point_to_nothing(Plan plan, Py_ssize_t i) noexcept
cdef list arrays_over(Plan plan, object exchange, object kind, list params, list grads, object other)
