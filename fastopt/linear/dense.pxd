# cython: cdivision=True
"""Loops over dense rows. All functions are inline: the module of each instruction set compiles its own."""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastopt._engine.plain cimport is_late, pace_t
from fastopt.linear.common cimport (
    TOGETHER, add, add_intercepts, begin_gradient, begin_step, counts_squares, dot, fo_prefetch, measure, penalty,
    real, row_of, shrink, step,
)
from fastopt.linear.generated.losses cimport loss_of, loss_t, measured_t
from fastopt.linear.work cimport AHEAD, SOFTMAX, work_t


cdef inline const real *row_at(work_t *work, int64_t k, real _) noexcept nogil:
    """Return the row at a place of the epoch, and prefetch one that comes later."""
    cdef Py_ssize_t n = work.columns
    if k + AHEAD < work.rows:
        fo_prefetch(<const char *> (<const real *> work.x + row_of(work, k + AHEAD) * n), n * sizeof(real))
    return <const real *> work.x + row_of(work, k) * n


cdef inline double prediction(const work_t *work, const real *x, Py_ssize_t j) noexcept nogil:
    """Return the prediction of one output."""
    cdef double z = dot(x, <const real *> work.coef + j * work.columns, work.columns)
    return z if work.intercept == NULL else z + (<const real *> work.intercept)[j]


cdef inline void predict(work_t *work, int64_t k, double *z, real _) noexcept nogil:
    """Write the predictions of the row at a place of the epoch."""
    cdef const real *x = row_at(work, k, _)
    cdef Py_ssize_t j
    for j in range(work.outputs):
        z[j] = prediction(work, x, j)


cdef inline void batch_of_rows(work_t *work, int64_t count, real _) noexcept nogil:
    """Write the gradient of a batch of dense rows, and add their values."""
    cdef Py_ssize_t j, n = work.columns, outputs = work.outputs
    cdef real *g = <real *> work.coef_gradient
    cdef const real *x
    cdef double factor = 1.0 / count, sum = 0
    cdef int64_t first = 0, b, most
    begin_gradient(work, g, <const real *> work.coef, n * outputs)
    if work.intercept != NULL:
        memset(work.intercept_gradient, 0, outputs * sizeof(real))
    while first < count:
        most = min(<int64_t> TOGETHER, count - first)
        for b in range(most):
            predict(work, work.at + first + b, work.slopes + b * outputs, _)
            sum += measure(work, row_of(work, work.at + first + b), work.slopes + b * outputs, factor)
        for b in range(most):
            x = <const real *> work.x + row_of(work, work.at + first + b) * n
            for j in range(outputs):
                add(g + j * n, x, <real> work.slopes[b * outputs + j], n)
        add_intercepts(work, work.slopes, most, _)
        first += most
    work.total += sum
    if counts_squares(work):
        work.total += penalty(work, _) * count


cdef inline void row_alone(work_t *work, real *restrict g, const real *restrict x, const real *restrict w, real a) noexcept nogil:
    """Write the gradient of one row and output."""
    cdef Py_ssize_t j, n = work.columns
    cdef real alpha = <real> work.alpha
    if work.alpha == 0:
        for j in range(n):
            g[j] = a * x[j]
    else:
        for j in range(n):
            g[j] = alpha * w[j] + a * x[j]


cdef inline void descend(work_t *work, real *restrict w, const real *restrict x, real a, real rate) noexcept nogil:
    """Subtract the gradient of one row times the learning rate, as the rule of plain gradient descent does."""
    cdef Py_ssize_t j, n = work.columns
    cdef real alpha = <real> work.alpha
    if work.alpha == 0:
        for j in range(n):
            w[j] = w[j] - rate * (a * x[j])
    else:
        for j in range(n):
            w[j] = w[j] - rate * (alpha * w[j] + a * x[j])


cdef inline void single_row(work_t *work, real rate) noexcept nogil:
    """Take the step of a batch of one dense row, and add its value; plain descent updates parameters without a gradient.

    Outputs have separate losses, so that predictions and slopes stay in registers.
    """
    cdef Py_ssize_t j, n = work.columns
    cdef int64_t row = row_of(work, work.at)
    cdef const real *x = row_at(work, work.at, rate)
    cdef real *w = <real *> work.coef
    cdef real *intercept = <real *> work.intercept
    cdef double weight = work.weights[row] if work.weights != NULL else 1.0
    cdef double value = 0, before = penalty(work, rate) if counts_squares(work) else 0
    cdef measured_t found
    cdef loss_t loss = loss_of(work.loss)
    cdef real slope
    for j in range(work.outputs):
        found = loss(prediction(work, x, j), work.targets[row * work.outputs + j], work.constants)
        value, slope = value + found.value, <real> (weight * found.slope)
        if not work.is_plain:
            row_alone(work, <real *> work.coef_gradient + j * n, x, w + j * n, slope)
            if intercept != NULL:
                (<real *> work.intercept_gradient)[j] = slope
            continue
        descend(work, w + j * n, x, slope, rate)
        if intercept != NULL:
            intercept[j] = intercept[j] - rate * slope
    work.total += weight * value
    work.total += before
    if work.is_plain:
        work.steps += 1
    else:
        step(work, 0)


cdef inline int64_t run_dense(work_t *work, pace_t *pace, int64_t most, real _) noexcept nogil:
    """Run batches of dense rows."""
    cdef int64_t done = 0, count
    cdef real rate
    while work.at < work.rows and done < most:
        count = min(work.size, work.rows - work.at)
        rate = <real> begin_step(work)
        if work.size == 1 and work.loss != SOFTMAX:
            single_row(work, rate)
        else:
            batch_of_rows(work, count, _)
            step(work, 0)
        if work.l1 > 0:
            shrink(<real *> work.coef, rate * <real> work.l1, work.columns * work.outputs)
        work.at += count
        done += 1
        if is_late(pace):
            break
    return done
