"""Lazy rows: steps that rows without a gradient make later."""

from libc.stdint cimport int64_t

from fastopt._engine.plan cimport Plan

cdef int begin_lazy_rows(Plan plan, Py_ssize_t i) except -1
cdef void catch_up_rows(Plan plan, Py_ssize_t i, const int64_t *indices, Py_ssize_t lo, Py_ssize_t hi, int parts) noexcept
cdef void sweep_rows(Plan plan, int parts) noexcept
cdef void catch_up_whole(Plan plan, Py_ssize_t i) noexcept
cdef int check_caught_up(Plan plan) except -1
cdef void mark_current(Plan plan) noexcept
