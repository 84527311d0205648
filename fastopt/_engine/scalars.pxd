"""Programs of a step and their scalars."""

from libc.stdint cimport int64_t

from fastopt._engine.plan cimport Plan

cdef int evaluate_schedules(Plan plan, Py_ssize_t i, object count) except -1
cdef int64_t activate_stages(Plan plan, Py_ssize_t group, double scale, bint clears, bint accumulating) noexcept
cdef void rebuild_program(Plan plan, Py_ssize_t group, bint clears, bint accumulating) noexcept
cdef int prepare_stage(Plan plan, int k, double scale, int parts) except -1
cdef int prepare_rules(Plan plan, int parts) except -1
cdef int agree(Plan plan, bint together) except -1
