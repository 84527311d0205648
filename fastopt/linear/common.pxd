# cython: cdivision=True
"""Common parts of the loops over dense and sparse rows: losses and slopes, steps, penalties.

All functions are inline: the module of each instruction set compiles its own.
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from fastopt._engine.plain cimport prepare_scalars
from fastopt.linear.generated.losses cimport loss_of, loss_t, measured_t
from fastopt.linear.work cimport SOFTMAX, work_t

ctypedef fused real:
    float
    double

ctypedef fused index:
    int32_t
    int64_t

cdef extern from "rows.h" nogil:
    float fo_dotf(const float *x, const float *w, Py_ssize_t n)
    double fo_dot(const double *x, const double *w, Py_ssize_t n)
    double exp "fo_exp"(double x)
    double log "fo_log"(double x)

cdef extern from "block.h" nogil:
    void fo_prefetch(const char *x, Py_ssize_t n)

cdef enum:
    NEXT = 2  # Rows to prefetch the parameters of.
    TOGETHER = 32  # Rows whose predictions are made before their gradient: a near cache holds them.


cdef inline double dot(const real *x, const real *w, Py_ssize_t n) noexcept nogil:
    if real is float:
        return fo_dotf(x, w, n)
    else:
        return fo_dot(x, w, n)


cdef inline int64_t row_of(const work_t *work, int64_t k) noexcept nogil:
    """Return the row at a place of the epoch."""
    return work.order[k] if work.order != NULL else k


cdef inline double measure(work_t *work, int64_t row, double *z, double factor) noexcept nogil:
    """Replace the predictions of a row by the slopes of its loss, times factor and weight; return the weighted value."""
    cdef double weight = work.weights[row] if work.weights != NULL else 1.0
    cdef double value = 0
    cdef measured_t found
    cdef loss_t loss
    cdef Py_ssize_t j
    if work.loss == SOFTMAX:
        return weight * softmax(work, row, z, factor * weight)
    loss = loss_of(work.loss)
    for j in range(work.outputs):
        found = loss(z[j], work.targets[row * work.outputs + j], work.constants)
        value += found.value
        z[j] = factor * weight * found.slope
    return weight * value


cdef inline double softmax(work_t *work, int64_t row, double *z, double factor) noexcept nogil:
    """Do the same for the cross-entropy of a class."""
    cdef Py_ssize_t j, label = <Py_ssize_t> work.targets[row]
    cdef double most = z[0], total = 0, value
    for j in range(1, work.outputs):
        most = max(most, z[j])
    value = most - z[label]
    for j in range(work.outputs):
        z[j] = exp(z[j] - most)
        total += z[j]
    for j in range(work.outputs):
        z[j] = factor * (z[j] / total - (j == label))
    return value + log(total)


cdef inline double begin_step(work_t *work) noexcept nogil:
    """Set the hyperparameters that schedules give for the next step; return the first one, the learning rate of plain descent."""
    cdef int k
    for k in range(work.scheduled):
        work.places_of_scheduled[k][0] = work.scheduled_values[work.steps * work.scheduled + k]
    return work.plain[0].h[0]


cdef inline void step(work_t *work, int first) noexcept nogil:
    """Update the parameters, or the intercepts alone."""
    cdef int k
    for k in range(work.count):
        if k == 0 or not work.shared:
            prepare_scalars(&work.plain[k], work.first[k] + work.steps + 1)
        if k >= first:
            work.plain[k].table.span(work.plain[k].task, 0, work.plain[k].task.n)
    work.steps += 1


cdef inline void add(real *restrict g, const real *restrict x, real a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        g[j] = g[j] + a * x[j]


cdef inline void begin_gradient(work_t *work, real *restrict g, const real *restrict w, Py_ssize_t n) noexcept nogil:
    """Write the gradient of the penalty of the squares."""
    cdef Py_ssize_t j
    cdef real alpha = <real> work.alpha
    if work.alpha == 0:
        memset(g, 0, n * sizeof(real))
        return
    for j in range(n):
        g[j] = alpha * w[j]


cdef inline void shrink(real *restrict w, real by, Py_ssize_t n) noexcept nogil:
    """Bring numbers nearer to zero: the proximal step of the sum of absolute values."""
    cdef Py_ssize_t j
    for j in range(n):
        w[j] = max(w[j] - by, <real> 0) + min(w[j] + by, <real> 0)


cdef inline void add_intercepts(work_t *work, const double *z, int64_t count, real _) noexcept nogil:
    """Add the slopes of rows to the gradient of the intercepts."""
    cdef Py_ssize_t j
    cdef int64_t b
    cdef real *g = <real *> work.intercept_gradient
    if g != NULL:
        for b in range(count):
            for j in range(work.outputs):
                g[j] = g[j] + <real> z[b * work.outputs + j]


cdef inline bint counts_squares(const work_t *work) noexcept nogil:
    """Return True if each batch has the penalty of the squares; with thresholds, which sparse rows miss, an epoch has it at its end."""
    return work.alpha > 0 and work.l1 == 0


cdef inline double penalty(const work_t *work, real _) noexcept nogil:
    """Return the penalty of the squares of the coefficients."""
    cdef const real *w = <const real *> work.coef
    return 0.5 * work.alpha * dot(w, w, work.columns * work.outputs)


cdef inline void descend_intercepts(work_t *work, const double *slopes, real rate) noexcept nogil:
    """Subtract the slopes of one row times the learning rate from the intercepts, and count the step."""
    cdef Py_ssize_t j
    cdef real *w = <real *> work.intercept
    if w != NULL:
        for j in range(work.outputs):
            w[j] = w[j] - rate * <real> slopes[j]
    work.steps += 1
