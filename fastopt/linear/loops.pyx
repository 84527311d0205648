# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Loops over the rows of linear models, compiled once for each instruction set.

A batch is a sequence of steps: predictions of its rows, their losses and slopes, the gradient, the rule. Rows are read in the order of
the epoch, so those that come later are prefetched. The gradient adds up rows in their order, which gives the same bits everywhere.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t

from fastopt._engine.plain cimport pace_t
from fastopt.linear.dense cimport run_dense
from fastopt.linear.sparse cimport run_sparse
from fastopt.linear.work cimport DENSE, work_t


cdef int64_t run(work_t *work, pace_t *pace, int64_t most) noexcept nogil:
    """Run batches until the end of the epoch, `most` of them, or the time is over; return how many."""
    if work.mode == DENSE:
        return run_dense[double](work, pace, most, 0) if work.is_double else run_dense[float](work, pace, most, 0)
    if work.wide_places:
        return run_sparse[double, int64_t](work, pace, most, 0, 0) if work.is_double else run_sparse[float, int64_t](
            work, pace, most, 0, 0)
    return run_sparse[double, int32_t](work, pace, most, 0, 0) if work.is_double else run_sparse[float, int32_t](
        work, pace, most, 0, 0)


RUN = PyCapsule_New(<void *> run, "fastopt.linear.run", NULL)
