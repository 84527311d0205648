# cython: cdivision=True
"""Loops over the elements of one array, for steps and for the terms of sums.

All functions are inline: the module of each instruction set compiles its own.
"""

from libc.math cimport sqrt as root
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset

from fastopt._engine.encoding cimport size_of
from fastopt._engine.block cimport AHEAD, LARGE, OF_DOUBLES, OF_FLOATS, SUMMED, prefetch, run_block, terms_t, update_blocks
from fastopt._engine.table cimport (
    BFLOAT16, BLOCK, FLOAT32, FLOAT64, GRADIENT, PARAMETER, RULE_ALONE, STAGES_AND_RULE, STATES, SUMS, UPDATE, formula_t,
    factors_t, partial_t, task_t,
)

cdef extern from "block.h" nogil:
    uint32_t fo_key(uint32_t key, uint32_t number)
    double fo_fold(const double *x)
    void fo_fold_floats(int arrays, const float **x, Py_ssize_t n, double *out)
    double fo_fold_squares(const double *x, int *unit)


cdef inline void update_range(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Update elements `lo` to `hi` of one parameter."""
    cdef void *arrays[UPDATE + 1]
    cdef Py_ssize_t size = size_of(task.p.format)
    cdef int k
    if task.no_decoding and task.ops.fast_path == RULE_ALONE:
        arrays[PARAMETER] = task.p.data + lo * size
        arrays[GRADIENT] = task.g.data + lo * size
        arrays[UPDATE] = NULL
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * size
        if task.p.format == FLOAT32:
            task.rule.f32(arrays, hi - lo, task.c)
        else:
            task.rule.f64(arrays, hi - lo, task.c)
    elif task.no_decoding and task.ops.fast_path == STAGES_AND_RULE:
        if task.p.format == FLOAT32:
            update_blocks[float](task, lo, hi, 0)
        else:
            update_blocks[double](task, lo, hi, 0)
    elif update_narrow(task, lo, hi):
        pass
    elif task.p.format == FLOAT64:
        while lo < hi:
            run_block[double](task, lo, min(<Py_ssize_t> BLOCK, hi - lo), 0, NULL, NULL, 0)
            lo += BLOCK
    else:
        while lo < hi:
            run_block[float](task, lo, min(<Py_ssize_t> BLOCK, hi - lo), 0, NULL, NULL, 0)
            lo += BLOCK


cdef inline bint update_narrow(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Update elements `lo` to `hi` if there is a kernel for their formats; return False if there is none."""
    cdef void *arrays[UPDATE + 1]
    cdef uint32_t keys[STATES]
    cdef bint all_narrow = task.p.format == BFLOAT16
    cdef int k
    if task.ops.fast_path != RULE_ALONE or task.rule.bf16[all_narrow] == NULL or task.master != NULL \
            or not task.p.contiguous or not task.g.contiguous or task.g.format != task.p.format \
            or (task.p.format != FLOAT32 and not all_narrow):
        return False
    for k in range(task.rule.states):
        if task.formats[k] != BFLOAT16:
            return False
        arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(uint16_t)
    arrays[PARAMETER] = task.p.data + lo * size_of(task.p.format)
    arrays[GRADIENT] = task.g.data + lo * size_of(task.p.format)
    for k in range(task.rule.states // 2 + 1):
        keys[k] = 0 if task.nearest else fo_key(task.seed[0], k)
    task.rule.bf16[all_narrow](arrays, hi - lo, task.c, keys, <uint32_t> (task.position + lo), task.nearest)
    return True


cdef inline Py_ssize_t row_from(const task_t *task, Py_ssize_t place) noexcept nogil:
    """Return the first of the gradient's rows that ends after element `place` of the parameter."""
    cdef Py_ssize_t lo = 0, hi = task.n_rows, middle
    while lo < hi:
        middle = (lo + hi) // 2
        if (task.rows[middle] + 1) * task.row <= place:
            lo = middle + 1
        else:
            hi = middle
    return lo


cdef inline void span(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Update elements `lo` to `hi` of a parameter, counted over the gradient's rows; contiguous rows are updated together."""
    cdef task_t rows
    cdef Py_ssize_t k, end, place, n
    if task.rows == NULL:
        update_range(task, lo, hi)
        return
    rows = task[0]
    while lo < hi:
        k = lo // task.row
        end = k + 1
        while end * task.row < hi and task.rows[end] == task.rows[end - 1] + 1:
            end += 1
        n = min(hi, end * task.row) - lo
        place = task.rows[k] * task.row + lo - k * task.row
        rows.g.data = task.g.data + (lo - place) * size_of(task.g.format)
        update_range(&rows, place, place + n)
        lo += n


cdef inline terms_t terms_of(const task_t *task, Py_ssize_t lo, Py_ssize_t n, int id, int count, double *out,
                             partial_t *sums) noexcept nogil:
    """Compute the terms of the sums of operation `id`, or their sums; zeros for rows without a gradient."""
    cdef task_t rows
    cdef Py_ssize_t k, first, last, shift
    cdef int j
    cdef terms_t wrote = OF_FLOATS
    if task.rows == NULL:
        if task.p.format == FLOAT64:
            return run_block[double](task, lo, n, id, out, sums, 0)
        return run_block[float](task, lo, n, id, out, sums, 0)
    for j in range(count):
        memset(out + j * BLOCK, 0, n * sizeof(double))
    rows = task[0]
    for k in range(row_from(task, lo), task.n_rows):
        first, last = max(lo, task.rows[k] * task.row), min(lo + n, (task.rows[k] + 1) * task.row)
        if first >= lo + n:
            break
        shift = (k - task.rows[k]) * task.row
        rows.g.data = task.g.data + shift * size_of(task.g.format)
        if task.p.format == FLOAT64:
            wrote = run_block[double](&rows, first, last - first, id, out + (first - lo), NULL, 0)
        else:
            wrote = run_block[float](&rows, first, last - first, id, out + (first - lo), NULL, 0)
    return wrote


cdef inline void write_terms(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil:
    """Write the terms of a rule's matrix, elements `lo` to `hi`, to its scratch array."""
    cdef double terms[BLOCK]
    cdef Py_ssize_t n, i
    cdef int k = 0
    while not task.rule.scratch >> k & 1:
        k += 1
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        terms_of(task, lo, n, id, 1, terms, NULL)
        if task.p.format == FLOAT64:
            memcpy(<double *> task.state[k] + lo, terms, n * sizeof(double))
        else:
            for i in range(n):
                (<float *> task.state[k])[lo + i] = <float> terms[i]
        lo += n


cdef inline void write_factors(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil:
    """Sum a rule's terms over the rows and columns of chunks `lo` to `hi`, in a fixed order."""
    cdef const factors_t *factors = task.factors
    cdef double terms[BLOCK]
    cdef double line[BLOCK]
    cdef double *columns
    cdef Py_ssize_t place, end, n, i, j, run, row, column, chunk
    for chunk in range(lo, hi):
        row = chunk // factors.chunks * factors.rows + chunk % factors.chunks * factors.chunk
        place = row * factors.columns
        end = min(row + factors.chunk, (chunk // factors.chunks + 1) * factors.rows) * factors.columns
        columns = factors.column_sums + chunk * factors.columns
        memset(columns, 0, factors.columns * sizeof(double))
        memset(line, 0, sizeof(line))
        column = 0
        while place < end:
            n = min(<Py_ssize_t> BLOCK, end - place)
            terms_of(task, place, n, id, 1, terms, NULL)
            i = 0
            while i < n:
                if column == 0:
                    factors.row_sums[row] = 0
                run = min(n - i, factors.columns - column, BLOCK - column % BLOCK)
                for j in range(run):
                    columns[column + j] = columns[column + j] + terms[i + j]
                memcpy(line + column % BLOCK, terms + i, run * sizeof(double))
                column += run
                i += run
                if column % BLOCK == 0 or column == factors.columns:
                    factors.row_sums[row] = factors.row_sums[row] + fo_fold(line)
                    memset(line, 0, sizeof(line))
                if column == factors.columns:
                    column = 0
                    row += 1
            place += n


cdef inline bint is_norm_of_floats(const task_t *task, int id) noexcept nogil:
    """Return True if operation `id` comes first and sums the squares of a contiguous float32 gradient."""
    return task.active and task.ops.id == id and task.ops.takes_wide and task.ops.formula.squares \
        and task.g.contiguous and task.g.format == FLOAT32 and task.rows == NULL and task.p.format != FLOAT64


cdef inline bint is_alone(const Py_ssize_t *starts, Py_ssize_t n, Py_ssize_t i, Py_ssize_t size, Py_ssize_t place) noexcept nogil:
    """Return True if a block of sums, at this place, has elements of array `i` alone, from its beginning on."""
    return starts[i] <= place < starts[i] + size and (
        starts[i] + size >= place + BLOCK or i + 1 == n or starts[i + 1] >= place + BLOCK)


cdef inline void clear(double *terms, int count, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Fill places `lo` to `hi` of a block with zeros."""
    cdef int j
    if lo < hi:
        for j in range(count):
            memset(terms + j * BLOCK + lo, 0, (hi - lo) * sizeof(double))


cdef inline void take_roots(double *terms, int which, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Replace squares of floats by their roots at places `lo` to `hi`.

    The root of a correctly rounded square in range is the magnitude itself, so nothing is lost.
    """
    cdef Py_ssize_t i
    cdef int j
    for j in range(SUMS):
        if which >> j & 1:
            for i in range(lo, hi):
                terms[j * BLOCK + i] = root(terms[j * BLOCK + i])


cdef inline terms_t terms_of_block(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f,
                                   Py_ssize_t place, Py_ssize_t *at, double *terms, partial_t *sums) noexcept nogil:
    """Write the terms of a whole block that may span several arrays; `at` is the first of them and moves on.

    If doubles are among them, the terms are the numbers themselves. A block of one array may be summed at once.
    """
    cdef Py_ssize_t i = at[0], first, last, filled = 0
    cdef const task_t *task
    cdef terms_t wrote = OF_FLOATS, now
    while i < n and starts[i] < place + BLOCK:
        task = &tasks[i]
        first = max(starts[i], place)
        last = min(starts[i] + task.n, place + BLOCK)
        if first < last and task.active:
            clear(terms, f.sums, filled, first - place)
            filled = last - place
            now = terms_of(task, first - starts[i], last - first, id, f.sums, terms + (first - place),
                           sums if f.plain_squares and is_alone(starts, n, i, task.n, place) else NULL)
            if now == SUMMED:
                wrote = SUMMED
                filled = BLOCK
            elif now == wrote:
                pass
            elif wrote == OF_DOUBLES:
                take_roots(terms, f.squared_by_f32, first - place, last - place)
            else:
                take_roots(terms, f.squared_by_f32, 0, first - place)
                wrote = OF_DOUBLES
        if starts[i] + task.n > place + BLOCK:
            break
        i += 1
    clear(terms, f.sums, filled, BLOCK)
    at[0] = i
    return wrote


cdef inline void add_terms(const formula_t *f, const double *terms, int squares, partial_t *partials) noexcept nogil:
    """Sum the terms of a block, squaring those of mask `squares`."""
    cdef int j, unit
    for j in range(f.sums):
        unit = 0
        if squares >> j & 1:
            partials[j].sum = fo_fold_squares(terms + j * BLOCK, &unit)
        else:
            partials[j].sum = fo_fold(terms + j * BLOCK)
        partials[j].unit = unit


cdef inline void reduce_blocks(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f,
                               Py_ssize_t lo, Py_ssize_t hi, partial_t *partials) noexcept nogil:
    """Compute the sums of blocks `lo` to `hi`, in an index space where array i begins at place `starts[i]`."""
    cdef double terms[SUMS * BLOCK]
    cdef Py_ssize_t i = 0, end = n, middle, place, first, k
    cdef const task_t *task
    cdef int count = f.sums
    cdef terms_t wrote
    cdef const float *squares
    while end - i > 1:
        middle = (i + end) // 2
        if starts[middle] <= lo * BLOCK:
            i = middle
        else:
            end = middle
    while lo < hi:
        place = lo * BLOCK
        task = &tasks[i]
        # Skip to the block where the gradient's next row begins.
        if task.rows != NULL and starts[i] <= place:
            k = row_from(task, place - starts[i])
            first = starts[i] + (task.rows[k] * task.row if k < task.n_rows else task.n)
            lo = max(lo, first // BLOCK)
            if lo >= hi:
                break
            place = lo * BLOCK
        if f.squares and is_norm_of_floats(task, id) and is_alone(starts, n, i, task.n, place):
            first = place - starts[i]
            if task.n >= LARGE:
                prefetch(task, first + AHEAD, False)
            squares = <const float *> task.g.data + first
            fo_fold_floats(1, &squares, min(BLOCK, task.n - first), &partials[count * lo].sum)
            partials[count * lo].unit = 0
            if starts[i] + task.n <= place + BLOCK:
                i += 1
            lo += 1
            continue
        wrote = terms_of_block(tasks, n, starts, id, f, place, &i, terms, partials + count * lo)
        if wrote != SUMMED:
            add_terms(f, terms, f.squares if wrote == OF_DOUBLES else f.squares & ~f.squared_by_f32, partials + count * lo)
        lo += 1
