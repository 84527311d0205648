"""Sums over arrays, and averages over the lines of matrices."""

from fastopt._engine.plan cimport Plan
from fastopt._engine.table cimport formula_t

cdef int make_room(Plan plan, int id, const formula_t *f) except -1
cdef void sum_up(Plan plan, int id, const formula_t *f, int parts) noexcept
cdef int prepare_matrices(Plan plan, int parts) except -1
