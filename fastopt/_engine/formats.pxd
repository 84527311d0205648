# cython: cdivision=True
"""How numbers are stored, and the walk over one array's elements: straight where memory allows, else by blocks on the stack.

Inline, so that each instruction set's module compiles its own.
"""

from libc.math cimport sqrt as root
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from fastopt._engine.table cimport (
    BFLOAT16, BLOCK, CHECK, CLEAR, COLUMNS, EMPTY, END, FLOAT8, FLOAT16, FLOAT32, FLOAT64, GRADIENT, INPUTS, LONGDOUBLE, OWN, PARAMETER,
    ROWS, RULE, RULE_ALONE, STAGE, STAGES, STATES, STRAIGHT, SUBTRACT, SUMS, TERMS, UFLOAT8, UPDATE, VELOCITY, format_t, formula_t,
    lines_t, op_t, partial_t, task_t, view_t,
)

cdef enum:
    AHEAD = 4 * BLOCK  # elements that are asked for before they are summed
    LARGE = 1 << 18  # elements that no cache close by holds

ctypedef fused element:
    float
    double

cdef extern from "block.h" nogil:
    float load_bf16 "fo_load_bf16"(const char *x)
    float load_f16 "fo_load_f16"(const char *x)
    float load_f32 "fo_load_f32"(const char *x)
    double load_f64 "fo_load_f64"(const char *x)
    long double load_long "fo_load_long"(const char *x)
    const uint32_t FO_STEP
    void fo_prefetch(const char *x, Py_ssize_t n)
    uint32_t fo_mixed(uint32_t x)
    uint32_t fo_key(uint32_t key, uint32_t number)
    void fo_narrow(int bf16, int stochastic, int nonnegative, uint16_t *out, const float *x, const uint32_t *bits, int shift,
                   Py_ssize_t n)
    double fo_fold(const double *x)
    double fo_fold_floats(const float *x, Py_ssize_t n)
    double fo_fold_squares(const double *x, int *unit)
    const char *fo_zeros()
    void fo_draw(uint32_t *bits, uint32_t key, uint32_t first, Py_ssize_t n)
    uint32_t fo_bits(float x)
    float fo_float(uint32_t bits)
    float fo_load_f8(uint8_t code, int exponent)
    float fo_load_u8(uint8_t code, int exponent)
    int fo_exponent(uint32_t largest, int codes)
    uint8_t fo_f8(float x, int exponent, uint32_t random, int stochastic)
    uint8_t fo_u8(float x, int exponent, uint32_t random, int stochastic)
    enum: FO_NOT_FINITE


cdef inline Py_ssize_t size_of(format_t format) noexcept nogil:
    if format == FLOAT8 or format == UFLOAT8:
        return 1
    if format == BFLOAT16 or format == FLOAT16:
        return 2
    if format == FLOAT32:
        return sizeof(float)
    return sizeof(double) if format == FLOAT64 else sizeof(long double)


cdef inline void decode(element *out, const char *x, Py_ssize_t stride, Py_ssize_t n, format_t format) noexcept nogil:
    """n numbers, stride bytes apart; the contiguous cases are loops that vectorise."""
    cdef Py_ssize_t i
    if format == FLOAT32 and stride == sizeof(float):
        for i in range(n):
            out[i] = <element> load_f32(x + sizeof(float) * i)
    elif format == FLOAT64 and stride == sizeof(double):
        for i in range(n):
            out[i] = <element> load_f64(x + sizeof(double) * i)
    elif format == BFLOAT16 and stride == 2:
        for i in range(n):
            out[i] = <element> load_bf16(x + 2 * i)
    elif format == BFLOAT16:
        for i in range(n):
            out[i] = <element> load_bf16(x + stride * i)
    elif format == FLOAT16 and stride == 2:
        for i in range(n):
            out[i] = <element> load_f16(x + 2 * i)
    elif format == FLOAT16:
        for i in range(n):
            out[i] = <element> load_f16(x + stride * i)
    elif format == FLOAT32:
        for i in range(n):
            out[i] = <element> load_f32(x + stride * i)
    elif format == FLOAT64:
        for i in range(n):
            out[i] = <element> load_f64(x + stride * i)
    else:
        for i in range(n):
            out[i] = <element> load_long(x + stride * i)


cdef inline void narrow(uint16_t *out, const float *x, Py_ssize_t n, format_t format, const uint32_t *bits, int shift,
                        bint nonnegative) noexcept nogil:
    """n floats in 16 bits: to nearest without random bits."""
    if format == BFLOAT16:
        if bits == NULL:
            if nonnegative:
                fo_narrow(1, 0, 1, out, x, bits, 0, n)
            else:
                fo_narrow(1, 0, 0, out, x, bits, 0, n)
        elif nonnegative:
            fo_narrow(1, 1, 1, out, x, bits, shift, n)
        else:
            fo_narrow(1, 1, 0, out, x, bits, shift, n)
    elif bits == NULL:
        if nonnegative:
            fo_narrow(0, 0, 1, out, x, bits, 0, n)
        else:
            fo_narrow(0, 0, 0, out, x, bits, 0, n)
    elif nonnegative:
        fo_narrow(0, 1, 1, out, x, bits, shift, n)
    else:
        fo_narrow(0, 1, 0, out, x, bits, shift, n)


cdef inline void widen8(float *restrict out, const uint8_t *restrict codes, int exponent, Py_ssize_t n, format_t format) noexcept nogil:
    cdef Py_ssize_t i
    if format == FLOAT8:
        for i in range(n):
            out[i] = fo_load_f8(codes[i], exponent)
    else:
        for i in range(n):
            out[i] = fo_load_u8(codes[i], exponent)


cdef inline int narrow8(uint8_t *restrict codes, const float *restrict x, Py_ssize_t n, format_t format, uint32_t key, uint32_t first,
                        bint nearest) noexcept nogil:
    """n floats of one block in 8 bits; returns the exponent that they share."""
    cdef Py_ssize_t i
    cdef uint32_t largest = 0, magnitude, word = first * FO_STEP + key
    cdef int exponent
    for i in range(n):
        magnitude = fo_bits(x[i]) & <uint32_t> 0x7fffffff
        largest = magnitude if magnitude > largest else largest
    exponent = fo_exponent(largest, 127 if format == FLOAT8 else 255)
    if exponent == FO_NOT_FINITE:  # whatever the codes: a NaN's sign is nobody's
        memset(codes, 0, n)
    elif format == FLOAT8 and nearest:
        for i in range(n):
            codes[i] = fo_f8(x[i], exponent, 0, 0)
    elif format == FLOAT8:
        for i in range(n):
            codes[i] = fo_f8(x[i], exponent, fo_mixed(word), 1)
            word = word + FO_STEP
    elif nearest:
        for i in range(n):
            codes[i] = fo_u8(x[i], exponent, 0, 0)
    else:
        for i in range(n):
            codes[i] = fo_u8(x[i], exponent, fo_mixed(word), 1)
            word = word + FO_STEP
    return exponent


cdef inline void move(char *block, const view_t *v, Py_ssize_t lo, Py_ssize_t n, Py_ssize_t size, bint store, element _) noexcept nogil:
    """Elements lo to lo + n of a view, in the order walked, decoded to a block; or items of `size` bytes from a block back.

    One run along the last axis after another.
    """
    cdef Py_ssize_t index[66]
    cdef Py_ssize_t rest = lo, run, i
    cdef char *data = v.data
    cdef int axis, last = v.ndim - 1
    if v.flat:
        if store:
            memcpy(v.data + lo * size, block, n * size)
        else:
            decode(<element *> block, v.data + lo * size_of(v.format), size_of(v.format), n, v.format)
        return
    for axis in range(last, -1, -1):
        index[axis] = rest % v.shape[axis]
        rest = rest // v.shape[axis]
        data += index[axis] * v.strides[axis]
    while n > 0:
        run = min(n, v.shape[last] - index[last])
        if store:
            for i in range(run):
                memcpy(data + v.strides[last] * i, block + size * i, size)
            block += run * size
        else:
            decode(<element *> block, data, v.strides[last], run, v.format)
            block += run * <Py_ssize_t> sizeof(element)
        n -= run
        data += run * v.strides[last]
        index[last] += run
        axis = last
        while axis > 0 and index[axis] == v.shape[axis]:
            data += v.strides[axis - 1] - index[axis] * v.strides[axis]
            index[axis] = 0
            index[axis - 1] += 1
            axis -= 1


cdef inline format_t plain(element _) noexcept nogil:
    """The format that needs no decoding."""
    if element is float:
        return FLOAT32
    else:
        return FLOAT64


cdef inline void *fetch_parameter(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element *own, bint apart) noexcept nogil:
    """Where the parameter lies or was decoded to; with `apart` never where it lies."""
    cdef const int16_t *low
    cdef Py_ssize_t i
    if task.master != NULL and not task.split:
        if not apart:
            return task.master + lo * <Py_ssize_t> sizeof(float)
        memcpy(own, task.master + lo * <Py_ssize_t> sizeof(float), n * sizeof(float))
        return own
    if task.p.flat and task.p.format == plain(own[0]) and not apart:
        return task.p.data + lo * <Py_ssize_t> sizeof(element)
    move(<char *> own, &task.p, lo, n, 0, False, own[0])
    if task.master != NULL:
        low = <const int16_t *> task.master + lo
        for i in range(n):
            own[i] = fo_float(fo_bits(<float> own[i]) + <uint32_t> low[i])
    return own


cdef inline void store_parameter(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element *block, const uint32_t *bits) noexcept nogil:
    cdef uint16_t own_codes[BLOCK]
    cdef uint16_t *codes = <uint16_t *> task.p.data + lo if task.p.flat else own_codes
    cdef int16_t *low
    cdef uint32_t word
    cdef Py_ssize_t i
    if task.p.format == plain(block[0]):
        if <char *> block != task.p.data + lo * <Py_ssize_t> sizeof(element) or not task.p.flat:
            move(<char *> block, &task.p, lo, n, sizeof(element), True, block[0])
        return
    if element is float:
        if task.split and task.master != NULL:
            low = <int16_t *> task.master + lo
            for i in range(n):
                word = fo_bits(block[i])
                if word & <uint32_t> 0x7fffffff > <uint32_t> 0x7f800000:  # a NaN, whose bits must not be carried away
                    word = (word | <uint32_t> 0x400000) & <uint32_t> 0xffff0000
                codes[i] = <uint16_t> ((word + <uint32_t> 0x8000) >> 16)
                low[i] = <int16_t> <uint16_t> word
        else:
            if task.nearest or task.master != NULL:
                bits = NULL
            narrow(codes, block, n, task.p.format, bits, 0, False)
        if task.p.flat:
            return
        move(<char *> codes, &task.p, lo, n, sizeof(uint16_t), True, block[0])


cdef inline void widen_lines(element *restrict out, const lines_t *lines, const element *x, format_t format, Py_ssize_t lo,
                             Py_ssize_t n) noexcept nogil:
    """For elements lo to lo + n of matrices, the numbers of their rows or columns."""
    cdef Py_ssize_t run, i, row, column
    cdef element one
    while n > 0:
        row = lo // lines.columns
        column = lo - row * lines.columns
        run = min(n, lines.columns - column)
        if format == COLUMNS:
            memcpy(out, x + row // lines.rows * lines.columns + column, run * sizeof(element))
        else:
            one = x[row]
            for i in range(run):
                out[i] = one
        out += run
        lo += run
        n -= run


cdef inline void fetch_state(const task_t *task, Py_ssize_t lo, Py_ssize_t n, element own[STATES][BLOCK], void **arrays,
                             bint apart) noexcept nogil:
    cdef int k
    cdef Py_ssize_t done, part
    for k in range(task.rule.states):
        arrays[k + 2] = own[k]
        if task.formats[k] == plain(own[0][0]):
            if apart:
                memcpy(own[k], task.state[k] + lo * <Py_ssize_t> sizeof(element), n * sizeof(element))
            else:
                arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        elif task.formats[k] >= ROWS:
            widen_lines(&own[k][0], task.lines, <element *> task.state[k], task.formats[k], lo, n)
        elif task.formats[k] == FLOAT8 or task.formats[k] == UFLOAT8:
            if element is float:
                done = 0
                while done < n:  # sums may begin in the middle of a block
                    part = min(n - done, BLOCK - (lo + done) % BLOCK)
                    widen8(own[k] + done, <uint8_t *> task.state[k] + lo + done, task.exponents[k][(lo + done) // BLOCK], part,
                           task.formats[k])
                    done += part
        else:
            decode(own[k], task.state[k] + lo * size_of(task.formats[k]), size_of(task.formats[k]), n, task.formats[k])


cdef inline void store(const task_t *task, Py_ssize_t lo, Py_ssize_t n, void **arrays, element _) noexcept nogil:
    """The parameter and its state; numbers below 32 bits are rounded by bits of the step and the position.

    Each array of 8-bit floats has random words for itself; of the others, the parameter first, each two share theirs.
    """
    cdef uint32_t bits[BLOCK]
    cdef uint32_t first = <uint32_t> (task.position + lo)
    cdef int k, drawn = -1
    if element is float:
        if task.p.format != FLOAT32 and not task.nearest:
            drawn = 0
            fo_draw(bits, fo_key(task.seed[0], 0), first, n)
        store_parameter(task, lo, n, <element *> arrays[PARAMETER], bits)
        if task.plain:
            return
        for k in range(task.rule.states):
            if task.formats[k] == FLOAT32 or task.formats[k] >= ROWS:
                continue
            if task.formats[k] == FLOAT8 or task.formats[k] == UFLOAT8:
                task.exponents[k][lo // BLOCK] = <int16_t> narrow8(
                    <uint8_t *> task.state[k] + lo, <float *> arrays[k + 2], n, task.formats[k],
                    fo_key(task.seed[0], <uint32_t> (STATES + k + 1)), first, task.nearest
                )
                continue
            if not task.nearest and drawn != (k + 1) // 2:
                drawn = (k + 1) // 2
                fo_draw(bits, fo_key(task.seed[0], <uint32_t> drawn), first, n)
            narrow(<uint16_t *> task.state[k] + lo, <float *> arrays[k + 2], n, task.formats[k], NULL if task.nearest else bits,
                   16 * ((k + 1) & 1), task.rule.nonnegative >> k & 1)
    else:
        store_parameter(task, lo, n, <element *> arrays[PARAMETER], NULL)


cdef inline void *own_array(const task_t *task, int k, Py_ssize_t lo, element _) noexcept nogil:
    return task.own[k] if task.constant >> k & 1 else task.own[k] + lo * <Py_ssize_t> sizeof(element)


cdef inline void subtract(element *restrict p, const element *restrict u, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = p[i] - u[i]


cdef struct shaped_t:  # buffers for a gradient that stages shape: the first of each pair is free
    void *narrow[2]  # of the parameter's precision
    double *wide[2]
    bint is_wide  # what was shaped is doubles


cdef inline void shape_gradient(const op_t *op, void **arrays, shaped_t *g, Py_ssize_t n, const double *c, element _) noexcept nogil:
    """A stage of the gradient alone, into a buffer: of doubles where the next goes on with it so."""
    cdef void *given[2]
    cdef const formula_t *f = op.formula
    given[1] = arrays[GRADIENT]
    if element is float:
        if op.gives_wide and (g.is_wide or not f.exact(c)):
            given[0] = g.wide[0]
            if g.is_wide:
                f.f64(given, n, c)
            else:
                f.widen(given, n, c)
            g.wide[0], g.wide[1] = g.wide[1], g.wide[0]
            arrays[GRADIENT] = given[0]
            g.is_wide = True
            return
    given[0] = g.narrow[0]
    if element is double:
        f.f64(given, n, c)
    elif g.is_wide:
        f.narrow(given, n, c)
    else:
        f.f32(given, n, c)
    g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    arrays[GRADIENT] = given[0]
    g.is_wide = False


cdef inline void shape(const task_t *task, const op_t *op, void **arrays, shaped_t *g, Py_ssize_t lo, Py_ssize_t n, element _) \
        noexcept nogil:
    """A stage on a block of these arrays: in place, but for the gradient, which goes to a buffer."""
    cdef const formula_t *f = op.formula
    cdef const double *c = op.c + op.stride * task.index
    cdef void *given[INPUTS + 1]
    cdef int k, first = f.arrays[0], out = 0
    if f.widen != NULL:
        shape_gradient(op, arrays, g, n, c, _)
        return
    if first == GRADIENT:
        given[0] = g.narrow[0]
        out = 1
    for k in range(f.n_arrays):
        if f.arrays[k] < VELOCITY:
            given[k + out] = arrays[f.arrays[k]]
        elif f.arrays[k] >= OWN:
            given[k + out] = own_array(task, f.arrays[k] - OWN, lo, _)
    if first == GRADIENT:
        arrays[GRADIENT] = given[0]
        g.narrow[0], g.narrow[1] = g.narrow[1], g.narrow[0]
    for k in range(STATES if first == VELOCITY else 1):
        if first == VELOCITY:
            if not task.rule.velocity >> k & 1:
                continue
            given[0] = arrays[k + 2]
        if element is float:
            f.f32(given, n, c)
        else:
            f.f64(given, n, c)


cdef inline void straight(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, element _) noexcept nogil:
    """Block by block through stages and rule, on arrays that need no decoding."""
    cdef element own_g[2][BLOCK]
    cdef double own_w[2][BLOCK]
    cdef element own_u[BLOCK]
    cdef shaped_t g
    cdef void *arrays[UPDATE + 1]
    cdef void *update = NULL
    cdef const op_t *op = task.ops
    cdef Py_ssize_t n
    cdef int k
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = own_g[0], own_g[1], own_w[0], own_w[1], False
    while op.kind != END:
        if op.kind == SUBTRACT:
            update = own_u
        op += 1
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        arrays[PARAMETER] = task.p.data + lo * <Py_ssize_t> sizeof(element)
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * <Py_ssize_t> sizeof(element)
        arrays[UPDATE] = update
        op = task.ops
        while op.kind != END:
            if op.kind == STAGE:
                shape(task, op, arrays, &g, lo, n, _)
            elif op.kind == SUBTRACT:
                subtract(<element *> arrays[PARAMETER], own_u, n)
            elif op.kind == RULE:
                if element is float:
                    task.rule.f32(arrays, n, task.c)
                else:
                    task.rule.f64(arrays, n, task.c)
            op += 1
        lo += n


cdef inline void ask_for(const task_t *task, Py_ssize_t lo, bint all) noexcept nogil:
    """Fetch what a block of sums will read from lo on: it does little else with it, so that it would wait for memory."""
    cdef int k
    if task.g.flat:
        fo_prefetch(task.g.data + lo * size_of(task.g.format), BLOCK * size_of(task.g.format))
    if not all:
        return
    if task.p.flat:
        fo_prefetch(task.p.data + lo * size_of(task.p.format), BLOCK * size_of(task.p.format))
    for k in range(task.rule.states):
        if task.formats[k] < ROWS:
            fo_prefetch(task.state[k] + lo * size_of(task.formats[k]), BLOCK * size_of(task.formats[k]))


cdef inline bint fetch_gradient(const task_t *task, bint wide, Py_ssize_t lo, Py_ssize_t n, element *own, double *own_wide,
                                void **arrays) noexcept nogil:
    """Where the gradient lies or was decoded to; returns whether as doubles, which it is if a stage takes it so and it has more range."""
    if element is float:
        if wide and (task.g.format == FLOAT64 or task.g.format == LONGDOUBLE):
            arrays[GRADIENT] = own_wide
            if task.g.flat and task.g.format == FLOAT64:
                arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(double)
            else:
                move(<char *> own_wide, &task.g, lo, n, 0, False, own_wide[0])
            return True
    if task.g.flat and task.g.format == plain(own[0]):
        arrays[GRADIENT] = task.g.data + lo * <Py_ssize_t> sizeof(element)
    else:
        move(<char *> own, &task.g, lo, n, 0, False, own[0])
        arrays[GRADIENT] = own
    return False


cdef inline bint block(const task_t *task, Py_ssize_t lo, Py_ssize_t n, int id, double *out, element _) noexcept nogil:
    """One step of elements lo to lo + n, at most a block: decode, shape, update, encode; what needs no staging is used where it lies.

    With `out`: the terms of the sums of operation `id`, or of a rule's matrices, and nothing is changed. Returns True if they are of
    doubles, and so no squares yet.
    """
    cdef element own_p[BLOCK]
    cdef element own_g[2][BLOCK]
    cdef double own_w[2][BLOCK]
    cdef element own_u[BLOCK]
    cdef element own_state[STATES][BLOCK]
    cdef void *arrays[UPDATE + 1]
    cdef void *terms[UPDATE + 1]
    cdef const op_t *op = task.ops
    cdef const op_t *next
    cdef const formula_t *f
    cdef const double *c
    cdef bint apart = out != NULL, updated = False, fetched = False, needed = True
    cdef bint touched = False, moved = False  # what is to stay: state by the rule, the parameter by a stage
    cdef shaped_t g
    cdef int j, k, at = STAGES if id == TERMS else id  # terms come where the rule does
    g.narrow[0], g.narrow[1], g.wide[0], g.wide[1], g.is_wide = own_g[0], own_g[1], own_w[0], own_w[1], False
    if apart:
        while op.kind != END and op.id != at:
            touched = touched or not op.early
            moved = moved or op.kind == SUBTRACT or (op.kind == STAGE and op.formula.arrays[0] == PARAMETER)
            op += 1
        if op.kind == END or (op.kind == RULE and id == STAGES and task.rule.sums == 0):
            for j in range(SUMS):
                memset(out + j * BLOCK, 0, n * sizeof(double))
            return False
        needed = not op.early
        op = task.ops
    else:
        next = op
        while next.kind != END and next.kind != RULE:
            next += 1
        needed = next.kind == RULE
    arrays[UPDATE] = NULL
    if apart and task.n >= LARGE:
        ask_for(task, lo + AHEAD, needed)
    if needed:
        arrays[PARAMETER] = fetch_parameter(task, lo, n, own_p, moved)
    g.is_wide = fetch_gradient(task, op.takes_wide, lo, n, own_g[1], own_w[1], arrays)
    while op.kind != END:
        f = task.rule if op.kind == RULE else op.formula
        c = op.c + op.stride * task.index
        if op.kind == RULE and not fetched:
            fetch_state(task, lo, n, own_state, arrays, touched)
            fetched = True
        if apart and op.id == at and (op.kind == STAGE or op.kind == RULE or op.kind == CHECK):
            terms[UPDATE] = out
            if op.kind == RULE:
                for k in range(f.states + 2):
                    terms[k] = arrays[k]
            else:
                for k in range(f.n_sums_arrays):
                    terms[k] = arrays[f.sums_arrays[k]] if f.sums_arrays[k] < OWN else own_array(task, f.sums_arrays[k] - OWN, lo, own_p[0])
            if id == TERMS and element is float:
                f.terms_f32(terms, n, c)
            elif id == TERMS:
                f.terms_f64(terms, n, c)
            elif element is float:
                if g.is_wide:
                    f.sums_f64(terms, n, c)
                else:
                    f.sums_f32(terms, n, c)
            else:
                f.sums_f64(terms, n, c)
            return element is double or g.is_wide
        if op.kind == RULE:
            next = op + 1
            while next.kind != END and next.kind != SUBTRACT:
                next += 1
            arrays[UPDATE] = own_u if apart or next.kind == SUBTRACT else NULL
            if element is float:
                f.f32(arrays, n, task.c)
            else:
                f.f64(arrays, n, task.c)
            updated = True
        elif op.kind == SUBTRACT:
            subtract(<element *> arrays[PARAMETER], <element *> arrays[UPDATE], n)
        elif op.kind == EMPTY:
            if not apart:
                memset(own_array(task, f.arrays[1] - OWN, lo, own_p[0]), 0, n * sizeof(element))
        elif op.kind == CLEAR:
            move(<char *> fo_zeros(), &task.g, lo, n, size_of(task.g.format), True, own_p[0])
        elif op.kind == STAGE:
            shape(task, op, arrays, &g, lo, n, own_p[0])
        op += 1
    if updated and not apart:
        store(task, lo, n, arrays, own_p[0])
    return False


cdef inline void stretch(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """One step of elements lo to hi of one parameter."""
    cdef void *arrays[UPDATE + 1]
    cdef Py_ssize_t size = size_of(task.p.format)
    cdef int k
    if task.direct and task.ops.path == RULE_ALONE:
        arrays[PARAMETER] = task.p.data + lo * size
        arrays[GRADIENT] = task.g.data + lo * size
        arrays[UPDATE] = NULL
        for k in range(task.rule.states):
            arrays[k + 2] = task.state[k] + lo * size
        if task.p.format == FLOAT32:
            task.rule.f32(arrays, hi - lo, task.c)
        else:
            task.rule.f64(arrays, hi - lo, task.c)
    elif task.direct and task.ops.path == STRAIGHT:
        if task.p.format == FLOAT32:
            straight[float](task, lo, hi, 0)
        else:
            straight[double](task, lo, hi, 0)
    elif task.p.format == FLOAT64:
        while lo < hi:
            block[double](task, lo, min(<Py_ssize_t> BLOCK, hi - lo), 0, NULL, 0)
            lo += BLOCK
    else:
        while lo < hi:
            block[float](task, lo, min(<Py_ssize_t> BLOCK, hi - lo), 0, NULL, 0)
            lo += BLOCK


cdef inline Py_ssize_t row_from(const task_t *task, Py_ssize_t place) noexcept nogil:
    """Which of the gradient's rows is the first that ends after this element of the parameter."""
    cdef Py_ssize_t lo = 0, hi = task.n_rows, middle
    while lo < hi:
        middle = (lo + hi) // 2
        if (task.rows[middle] + 1) * task.row <= place:
            lo = middle + 1
        else:
            hi = middle
    return lo


cdef inline void span(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """One step of elements lo to hi of what is walked of one parameter: rows that follow one another at once."""
    cdef task_t rows
    cdef Py_ssize_t k, end, place, n
    if task.rows == NULL:
        stretch(task, lo, hi)
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
        stretch(&rows, place, place + n)
        lo += n


cdef inline bint terms_of(const task_t *task, Py_ssize_t lo, Py_ssize_t n, int id, int count, double *out) noexcept nogil:
    """The terms of the sums of operation `id`, elements lo to lo + n, as `block`; zeros where the gradient has no row."""
    cdef task_t rows
    cdef Py_ssize_t k, first, last, shift
    cdef int j
    cdef bint wide = False
    if task.rows == NULL:
        return block[double](task, lo, n, id, out, 0) if task.p.format == FLOAT64 else block[float](task, lo, n, id, out, 0)
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
            wide = block[double](&rows, first, last - first, id, out + (first - lo), 0)
        else:
            wide = block[float](&rows, first, last - first, id, out + (first - lo), 0)
    return wide


cdef inline void spread(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil:
    """The terms of a rule's matrix, elements lo to hi, into its scratch array."""
    cdef double terms[BLOCK]
    cdef Py_ssize_t n, i
    cdef int k = 0
    while not task.rule.scratch >> k & 1:
        k += 1
    while lo < hi:
        n = min(<Py_ssize_t> BLOCK, hi - lo)
        terms_of(task, lo, n, id, 1, terms)
        if task.p.format == FLOAT64:
            memcpy(<double *> task.state[k] + lo, terms, n * sizeof(double))
        else:
            for i in range(n):
                (<float *> task.state[k])[lo + i] = <float> terms[i]
        lo += n


cdef inline void lines_of(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil:
    """Sums of a rule's terms over each row, and over each column of chunks lo to hi, in a fixed order."""
    cdef const lines_t *lines = task.lines
    cdef double terms[BLOCK]
    cdef double line[BLOCK]
    cdef double *columns
    cdef Py_ssize_t place, end, n, i, j, run, row, column, chunk
    for chunk in range(lo, hi):
        row = chunk // lines.chunks * lines.rows + chunk % lines.chunks * lines.chunk
        place = row * lines.columns
        end = min(row + lines.chunk, (chunk // lines.chunks + 1) * lines.rows) * lines.columns
        columns = lines.of_columns + chunk * lines.columns
        memset(columns, 0, lines.columns * sizeof(double))
        memset(line, 0, sizeof(line))
        column = 0
        while place < end:
            n = min(<Py_ssize_t> BLOCK, end - place)
            terms_of(task, place, n, id, 1, terms)
            i = 0
            while i < n:
                if column == 0:
                    lines.of_rows[row] = 0
                run = min(n - i, lines.columns - column, BLOCK - column % BLOCK)
                for j in range(run):
                    columns[column + j] = columns[column + j] + terms[i + j]
                memcpy(line + column % BLOCK, terms + i, run * sizeof(double))
                column += run
                i += run
                if column % BLOCK == 0 or column == lines.columns:
                    lines.of_rows[row] = lines.of_rows[row] + fo_fold(line)
                    memset(line, 0, sizeof(line))
                if column == lines.columns:
                    column = 0
                    row += 1
            place += n


cdef inline bint is_norm_of_floats(const task_t *task, int id) noexcept nogil:
    """Whether the operation `id` sums the squares of a gradient that is floats and lies as it is walked, and nothing comes before."""
    return task.active and task.ops.id == id and task.ops.takes_wide and task.ops.formula.squares \
        and task.g.flat and task.g.format == FLOAT32 and task.rows == NULL and task.p.format != FLOAT64


cdef inline void clear(double *terms, int count, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Zeros at places lo to hi of a block."""
    cdef int j
    if lo < hi:
        for j in range(count):
            memset(terms + j * BLOCK + lo, 0, (hi - lo) * sizeof(double))


cdef inline void take_roots(double *terms, int which, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Of squares of floats, their roots (of a rounded square in range that is the magnitude again), at places lo to hi of a block."""
    cdef Py_ssize_t i
    cdef int j
    for j in range(SUMS):
        if which >> j & 1:
            for i in range(lo, hi):
                terms[j * BLOCK + i] = root(terms[j * BLOCK + i])


cdef inline bint terms_of_block(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f,
                                Py_ssize_t place, Py_ssize_t *at, double *terms) noexcept nogil:
    """Write the terms of a whole block, of arrays from number `at` on, which moves to the one that the next block begins with.

    Returns whether doubles are among them: then they are the numbers, whose squares may leave the range, and not the squares.
    """
    cdef Py_ssize_t i = at[0], first, last, filled = 0
    cdef const task_t *task
    cdef bint wide = False
    while i < n and starts[i] < place + BLOCK:
        task = &tasks[i]
        first = max(starts[i], place)
        last = min(starts[i] + task.n, place + BLOCK)
        if first < last and task.active:
            clear(terms, f.sums, filled, first - place)
            filled = last - place
            if terms_of(task, first - starts[i], last - first, id, f.sums, terms + (first - place)) == wide:
                pass
            elif wide:
                take_roots(terms, f.squared_by_f32, first - place, last - place)
            else:
                take_roots(terms, f.squared_by_f32, 0, first - place)
                wide = True
        if starts[i] + task.n > place + BLOCK:
            break
        i += 1
    clear(terms, f.sums, filled, BLOCK)
    at[0] = i
    return wide


cdef inline void add_up(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f, Py_ssize_t lo,
                        Py_ssize_t hi, partial_t *partials) noexcept nogil:
    """The sums of `f`, operation `id`, over blocks lo to hi of an index space where array i has the places from starts[i] on."""
    cdef double terms[SUMS * BLOCK]
    cdef Py_ssize_t i = 0, end = n, middle, place, first, k
    cdef const task_t *task
    cdef partial_t *partial
    cdef int j, unit, count = f.sums
    cdef bint wide
    while end - i > 1:
        middle = (i + end) // 2
        if starts[middle] <= lo * BLOCK:
            i = middle
        else:
            end = middle
    while lo < hi:
        place = lo * BLOCK
        task = &tasks[i]
        if task.rows != NULL and starts[i] <= place:  # on to the block where the next row begins
            k = row_from(task, place - starts[i])
            first = starts[i] + (task.rows[k] * task.row if k < task.n_rows else task.n)
            lo = max(lo, first // BLOCK)
            if lo >= hi:
                break
            place = lo * BLOCK
        if f.squares and is_norm_of_floats(task, id) and starts[i] <= place < starts[i] + task.n and (
                starts[i] + task.n >= place + BLOCK or i + 1 == n or starts[i + 1] >= place + BLOCK):
            first = place - starts[i]
            if task.n >= LARGE:
                ask_for(task, first + AHEAD, False)
            partials[count * lo].sum = fo_fold_floats(<const float *> task.g.data + first, min(BLOCK, task.n - first))
            partials[count * lo].unit = 0
            if starts[i] + task.n <= place + BLOCK:
                i += 1
            lo += 1
            continue
        wide = terms_of_block(tasks, n, starts, id, f, place, &i, terms)
        for j in range(count):
            partial, unit = partials + count * lo + j, 0
            if (f.squares if wide else f.squares & ~f.squared_by_f32) >> j & 1:
                partial.sum = fo_fold_squares(terms + j * BLOCK, &unit)
            else:
                partial.sum = fo_fold(terms + j * BLOCK)
            partial.unit = unit
        lo += 1
