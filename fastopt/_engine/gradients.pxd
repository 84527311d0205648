"""Gradients of a step: collected, checked, and described to the kernels."""

from cpython.ref cimport PyObject

from fastopt._engine.plan cimport Plan

cdef Py_ssize_t collect(object structure, object tree, PyObject **out, Py_ssize_t k) except -1
cdef void release(PyObject **objects, Py_ssize_t n) noexcept
cdef int stash_list(Plan plan, list grads) except -1
cdef int set_stashed(Plan plan) except -1
cdef void use_zero_gradient(Plan plan, Py_ssize_t i) noexcept
cdef list arrays_over(Plan plan, object exchange, object kind, list params, list grads, object other)
