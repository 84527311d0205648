# cython: cdivision=True
"""Loops over sparse rows. All functions are inline: the module of each instruction set compiles its own."""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastopt._engine.plain cimport is_late, pace_t
from fastopt._engine.table cimport GRADIENT, PARAMETER, STATES, UPDATE
from fastopt.linear.common cimport (
    NEXT, add_intercepts, begin_gradient, begin_step, counts_squares, descend_intercepts, dot, fo_prefetch, index, measure, penalty,
    real, row_of, shrink, step,
)
from fastopt.linear.work cimport AHEAD, EXACT, TOUCHED, work_t


cdef inline double sparse_dot(const real *x, const index *at, const real *w, Py_ssize_t n) noexcept nogil:
    """Return the product of a sparse row and numbers, in four sums."""
    cdef double[4] sums
    cdef Py_ssize_t k = 0
    sums[0] = sums[1] = sums[2] = sums[3] = 0
    while k + 4 <= n:
        sums[0] += <double> x[k] * w[at[k]]
        sums[1] += <double> x[k + 1] * w[at[k + 1]]
        sums[2] += <double> x[k + 2] * w[at[k + 2]]
        sums[3] += <double> x[k + 3] * w[at[k + 3]]
        k += 4
    while k < n:
        sums[0] += <double> x[k] * w[at[k]]
        k += 1
    return (sums[0] + sums[2]) + (sums[1] + sums[3])


cdef inline void expect(const work_t *work, int64_t k, const real *w, Py_ssize_t width, index _) noexcept nogil:
    """Prefetch a row that comes later, and the numbers of the next row, so many for each column."""
    cdef int64_t row, first
    cdef Py_ssize_t j
    if k + AHEAD < work.rows:
        row = row_of(work, k + AHEAD)
        first = work.starts[row]
        fo_prefetch(<const char *> (<const real *> work.x + first), (work.starts[row + 1] - first) * sizeof(real))
        fo_prefetch(<const char *> (<const index *> work.places + first), (work.starts[row + 1] - first) * sizeof(index))
    if k + NEXT < work.rows and w != NULL:
        row = row_of(work, k + NEXT)
        for j in range(work.starts[row], work.starts[row + 1]):
            fo_prefetch(<const char *> (w + (<const index *> work.places)[j] * width), 1)


cdef inline void batch_of_sparse_rows(work_t *work, int64_t count, real _, index __) noexcept nogil:
    """Write the whole gradient of a batch of sparse rows, and add their values."""
    cdef Py_ssize_t j, n = work.columns, outputs = work.outputs, m, k
    cdef real *g = <real *> work.coef_gradient
    cdef const real *w = <const real *> work.coef
    cdef const real *x
    cdef const index *at
    cdef real a
    cdef double factor = 1.0 / count, sum = 0
    cdef double *z
    cdef int64_t b, row
    begin_gradient(work, g, w, n * outputs)
    if work.intercept != NULL:
        memset(work.intercept_gradient, 0, outputs * sizeof(real))
    for b in range(count):
        row, z = row_of(work, work.at + b), work.slopes
        expect(work, work.at + b, <const real *> NULL, 1, __)
        x, at = <const real *> work.x + work.starts[row], <const index *> work.places + work.starts[row]
        m = work.starts[row + 1] - work.starts[row]
        for j in range(outputs):
            z[j] = sparse_dot(x, at, w + j * n, m)
            if work.intercept != NULL:
                z[j] += (<const real *> work.intercept)[j]
        sum += measure(work, row, z, factor)
        for j in range(outputs):
            a = <real> z[j]
            for k in range(m):
                g[j * n + at[k]] = g[j * n + at[k]] + a * x[k]
        add_intercepts(work, z, 1, _)
    work.total += sum
    if counts_squares(work):
        work.total += penalty(work, _) * count


cdef inline int64_t run_exact(work_t *work, pace_t *pace, int64_t most, real _, index __) noexcept nogil:
    """Run batches of sparse rows whose steps update all columns."""
    cdef int64_t done = 0, count
    cdef real rate
    while work.at < work.rows and done < most:
        count = min(work.size, work.rows - work.at)
        rate = <real> begin_step(work)
        batch_of_sparse_rows(work, count, _, __)
        step(work, 0)
        if work.l1 > 0:
            shrink(<real *> work.coef, rate * <real> work.l1, work.columns * work.outputs)
        work.at += count
        done += 1
        if is_late(pace):
            break
    return done


cdef inline Py_ssize_t gather_batch(work_t *work, int64_t count, Py_ssize_t j, real _, index __) noexcept nogil:
    """Write the columns of a batch, with the gradients of one output; return how many there are."""
    cdef real *dense = <real *> work.coef_gradient
    cdef real *g = <real *> work.gathered
    cdef const real *x
    cdef real a
    cdef Py_ssize_t k, m, n = 0
    cdef int64_t b, row, column
    for b in range(count):
        row = row_of(work, work.at + b)
        x, m = <const real *> work.x + work.starts[row], work.starts[row + 1] - work.starts[row]
        a = <real> work.slopes[b * work.outputs + j]
        for k in range(m):
            column = (<const index *> work.places)[work.starts[row] + k]
            if count == 1:
                g[k], work.touched[k] = a * x[k], column
            elif work.marks[column]:
                dense[column] = dense[column] + a * x[k]
            else:
                work.marks[column], dense[column] = 1, a * x[k]
                work.touched[n] = column
                n += 1
    if count == 1:
        return m
    for k in range(n):
        g[k], work.marks[work.touched[k]] = dense[work.touched[k]], 0
    return n


cdef inline void exchange(real *table, const int64_t *touched, Py_ssize_t n, real **rest, const int width,
                          const bint inwards) noexcept nogil:
    """Copy the entries of a batch's columns to arrays, one for each part of an entry, or back."""
    cdef Py_ssize_t k
    cdef int s
    cdef real *entry
    for k in range(n):
        entry = table + touched[k] * width
        for s in range(width):
            if inwards:
                entry[s] = rest[s][k]
            else:
                rest[s][k] = entry[s]


cdef inline void exchange_any(real *table, const int64_t *touched, Py_ssize_t n, real **rest, int width,
                              const bint inwards) noexcept nogil:
    """Do the same; usual widths are constants for the compiler."""
    if width == 2:
        exchange(table, touched, n, rest, 2, inwards)
    elif width == 3:
        exchange(table, touched, n, rest, 3, inwards)
    else:
        exchange(table, touched, n, rest, width, inwards)


cdef inline void update_columns(work_t *work, Py_ssize_t n, Py_ssize_t room, real *table, real _) noexcept nogil:
    """Apply the rule to the columns of a batch: parameter and state of each are side by side in the table."""
    cdef void *arrays[UPDATE + 1]
    cdef real *rest[STATES + 1]
    cdef int s, width = 1 + work.states
    arrays[GRADIENT], arrays[UPDATE] = work.gathered, NULL
    for s in range(width):
        rest[s] = <real *> work.gathered + (s + 1) * room
        arrays[PARAMETER if s == 0 else s + 1] = rest[s]
    exchange_any(table, work.touched, n, rest, width, False)
    if real is float:
        work.plain[0].rule.f32(arrays, n, work.plain[0].c)
    else:
        work.plain[0].rule.f64(arrays, n, work.plain[0].c)
    exchange_any(table, work.touched, n, rest, width, True)


cdef inline double table_dot(const real *x, const index *at, const real *table, Py_ssize_t width, Py_ssize_t n) noexcept nogil:
    """Return the product of a sparse row and the parameters in a table, in four sums."""
    cdef double[4] sums
    cdef Py_ssize_t k = 0
    sums[0] = sums[1] = sums[2] = sums[3] = 0
    while k + 4 <= n:
        sums[0] += <double> x[k] * table[at[k] * width]
        sums[1] += <double> x[k + 1] * table[at[k + 1] * width]
        sums[2] += <double> x[k + 2] * table[at[k + 2] * width]
        sums[3] += <double> x[k + 3] * table[at[k + 3] * width]
        k += 4
    while k < n:
        sums[0] += <double> x[k] * table[at[k] * width]
        k += 1
    return (sums[0] + sums[2]) + (sums[1] + sums[3])


cdef inline int64_t run_touched(work_t *work, pace_t *pace, int64_t most, real _, index __) noexcept nogil:
    """Run batches of sparse rows whose steps update the columns of the batch."""
    cdef Py_ssize_t j, n = work.columns, outputs = work.outputs, width = 1 + work.states, m, room
    cdef int64_t done = 0, count, b, row
    cdef double *z
    room = min(n, work.size * n) + 8
    while work.at < work.rows and done < most:
        count = min(work.size, work.rows - work.at)
        begin_step(work)
        for b in range(count):
            row, z = row_of(work, work.at + b), work.slopes + b * outputs
            expect(work, work.at + b, <const real *> work.table, width, __)
            m = work.starts[row + 1] - work.starts[row]
            for j in range(outputs):
                z[j] = table_dot(<const real *> work.x + work.starts[row], <const index *> work.places + work.starts[row],
                                 <const real *> work.table + j * n * width, width, m)
                if work.intercept != NULL:
                    z[j] += (<const real *> work.intercept)[j]
            work.total += measure(work, row, z, 1.0 / count)
        if work.intercept != NULL:
            memset(work.intercept_gradient, 0, outputs * sizeof(real))
            add_intercepts(work, work.slopes, count, _)
        step(work, 1)
        for j in range(outputs):
            m = gather_batch(work, count, j, _, __)
            update_columns(work, m, room, <real *> work.table + j * n * width, _)
        work.at += count
        done += 1
        if is_late(pace):
            break
    return done


cdef inline double settled_dot(work_t *work, real *v, const real *x, const index *at, Py_ssize_t n) noexcept nogil:
    """Return the product of a sparse row and the stored numbers, after the thresholds that their columns have missed."""
    cdef Py_ssize_t k
    cdef real old, by
    if work.l1 == 0:
        return sparse_dot(x, at, v, n)
    for k in range(n):
        by = <real> (work.threshold - work.thresholds[at[k]])
        if by > 0:
            old = v[at[k]]
            v[at[k]] = max(old - by, <real> 0) + min(old + by, <real> 0)
        work.thresholds[at[k]] = work.threshold
    return sparse_dot(x, at, v, n)


cdef inline void fold(work_t *work, double by, real _) noexcept nogil:
    """Apply the common factor and threshold, and another factor, to all stored numbers."""
    cdef Py_ssize_t i, j
    cdef real *v = <real *> work.coef
    cdef real old
    cdef double least
    if work.l1 == 0 and by == 1 and work.scale == 1:
        return
    for j in range(work.outputs):
        for i in range(work.columns):
            old, least = v[j * work.columns + i], 0
            if work.l1 > 0:
                least = work.threshold - work.thresholds[j * work.columns + i]
                work.thresholds[j * work.columns + i] = 0
            old = max(old - <real> least, <real> 0) + min(old + <real> least, <real> 0) if least > 0 else old
            v[j * work.columns + i] = <real> (by * work.scale * old)
    work.scale, work.threshold = 1, 0
    if counts_squares(work):
        work.squares = dot(<const real *> work.coef, <const real *> work.coef, work.columns * work.outputs)


cdef inline void subtract(real *v, const index *at, const real *x, real a, Py_ssize_t n) noexcept nogil:
    """Subtract a sparse row times a number, four columns at once, which differ."""
    cdef Py_ssize_t k = 0
    cdef real b0, b1, b2, b3
    while k + 4 <= n:
        b0, b1 = v[at[k]] - a * x[k], v[at[k + 1]] - a * x[k + 1]
        b2, b3 = v[at[k + 2]] - a * x[k + 2], v[at[k + 3]] - a * x[k + 3]
        v[at[k]], v[at[k + 1]], v[at[k + 2]], v[at[k + 3]] = b0, b1, b2, b3
        k += 4
    while k < n:
        v[at[k]] = v[at[k]] - a * x[k]
        k += 1


cdef inline void descend_sparse(work_t *work, int64_t count, double rate, real _, index __) noexcept nogil:
    """Subtract the gradients of the rows of a batch, after a common factor for the penalty of the squares."""
    cdef Py_ssize_t j, m
    cdef int64_t b, row
    cdef const real *x
    cdef const index *at
    cdef real *v
    cdef real a
    for b in range(count):
        row = row_of(work, work.at + b)
        x, at = <const real *> work.x + work.starts[row], <const index *> work.places + work.starts[row]
        m = work.starts[row + 1] - work.starts[row]
        for j in range(work.outputs):
            v = <real *> work.coef + j * work.columns
            a = <real> (rate / work.scale * work.slopes[b * work.outputs + j])
            if counts_squares(work):
                # What the squares become, from products with what is there.
                work.squares += a * (a * work.norms[row] - 2 * (work.products[j] if count == 1 else sparse_dot(x, at, v, m)))
            subtract(v, at, x, a, m)


cdef inline void measure_scaled(work_t *work, int64_t b, double factor, real _, index __) noexcept nogil:
    """Write the slopes of a row of a batch, from products with the stored numbers, and add its value."""
    cdef Py_ssize_t j, m, outputs = work.outputs
    cdef int64_t row = row_of(work, work.at + b)
    cdef double *z = work.slopes + b * outputs
    cdef double *kept = work.thresholds
    cdef const real *x = <const real *> work.x + work.starts[row]
    cdef const index *at = <const index *> work.places + work.starts[row]
    expect(work, work.at + b, <const real *> NULL, 1, __)
    m = work.starts[row + 1] - work.starts[row]
    for j in range(outputs):
        if kept != NULL:
            work.thresholds = kept + j * work.columns
        work.products[j] = settled_dot(work, <real *> work.coef + j * work.columns, x, at, m)
        z[j] = work.scale * work.products[j]
        if work.intercept != NULL:
            z[j] += (<const real *> work.intercept)[j]
    work.thresholds = kept
    work.total += measure(work, row, z, factor)


cdef inline void decay(work_t *work, double rate, real _) noexcept nogil:
    """Multiply all columns by what the penalty of the squares leaves of them."""
    cdef double smaller = 1 - rate * work.alpha  # 1 without that penalty.
    cdef Py_ssize_t j
    if work.scale * smaller >= 1e-6:
        work.scale *= smaller
        return
    for j in range(work.outputs):
        work.products[j] *= work.scale * smaller
    fold(work, smaller, _)


cdef inline int64_t run_scaled(work_t *work, pace_t *pace, int64_t most, real _, index __) noexcept nogil:
    """Run batches of sparse rows by plain gradient descent; the penalties change all columns by a common factor and threshold."""
    cdef int64_t done = 0, count, b
    cdef double rate
    if counts_squares(work):
        work.squares = dot(<const real *> work.coef, <const real *> work.coef, work.columns * work.outputs)
    while work.at < work.rows and done < most:
        count, rate = min(work.size, work.rows - work.at), begin_step(work)
        if counts_squares(work):
            work.total += 0.5 * work.alpha * work.scale * work.scale * work.squares * count
        for b in range(count):
            measure_scaled(work, b, 1.0 / count, _, __)
        decay(work, rate, _)
        descend_sparse(work, count, rate, _, __)
        if work.l1 > 0:
            work.threshold += rate * work.l1 / work.scale
        if count == 1:
            descend_intercepts(work, work.slopes, <real> rate)
        else:
            if work.intercept != NULL:
                memset(work.intercept_gradient, 0, work.outputs * sizeof(real))
                add_intercepts(work, work.slopes, count, _)
            step(work, 1)
        work.at += count
        done += 1
        if is_late(pace):
            break
    fold(work, 1, _)
    return done


cdef inline int64_t run_sparse(work_t *work, pace_t *pace, int64_t most, real _, index __) noexcept nogil:
    """Run batches of sparse rows."""
    if work.mode == EXACT:
        return run_exact(work, pace, most, _, __)
    if work.mode == TOUCHED:
        return run_touched(work, pace, most, _, __)
    return run_scaled(work, pace, most, _, __)
