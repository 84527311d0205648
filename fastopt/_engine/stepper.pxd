# Types of ``stepper.py`` when it is compiled.
cdef class Backend:
    cdef public bint completed
    cdef public object exchange
    cpdef exit(self)
    cpdef set_gradients(self, object grads)
    cpdef set_gradient_list(self, list grads)
    cpdef set_bound_gradients(self, list grads)
    cpdef prepare(self, long long count, double scale, list cleared, bint accumulating)
    cpdef int run(self, long long count, double scale, list cleared, bint accumulating) except -2


cdef class Stepper:
    cdef readonly Backend _backend
    cdef tuple _layout  # structure, parameters, groups
    cdef list _bound
    cdef object _guards
    cdef bint _busy, _clears, _raises, _on_device, _needs_sums
    cdef readonly long long _count, _skipped, _gathered
    cdef long long _accumulate

    cdef Backend _planned(self)
    cdef tuple _laid_out(self)
    cdef bint _advance(self, object grads, double scale, bint listed, object exchange) except -1
    cdef int _execute(self, list bound, double scale) except -2
    cdef int _skip(self, list cleared) except -1
