"""Sums over arrays, and means over rows and columns of factored terms."""

from fastopt._engine.plan cimport Plan
from fastopt._engine.table cimport formula_t

cdef int allocate_sums(Plan plan, int id, const formula_t *f) except -1
cdef bint sums_update(const formula_t *f) noexcept
cdef void keep_updates(Plan plan, int id) noexcept
cdef void drop_updates(Plan plan) noexcept
cdef int sum_arrays(Plan plan, int id, const formula_t *f, int parts) except -1
cdef object exchanged(Plan plan, str name, list totals)
cdef int prepare_matrices(Plan plan, int parts) except -1
