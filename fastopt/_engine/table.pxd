"""Table of kernels: what each module of kernels gives to the engine, as the PyCapsule "fastopt.table".

Kernels are compiled once for each instruction set, the engine once. Sizes and formats are those of ``capacity.h``.
"""

from libc.stdint cimport int16_t, int64_t, uint32_t

cdef extern from "powers.h":
    ctypedef struct fo_powers_t:  # What is kept for powers of a number.
        pass

cdef extern from "capacity.h":
    enum:
        VERSION "FO_VERSION"
        BLOCK "FO_BLOCK"
        STATES "FO_STATES"
        SCALARS "FO_SCALARS"
        STAGES "FO_STAGES"
        INPUTS "FO_INPUTS"
        CARRY "FO_CARRY"
        SUMS "FO_SUMS"
        STAGE_ARRAYS "FO_STAGE_ARRAYS"
        TOTALS "FO_TOTALS"
        TERMS "FO_TERMS"
    ctypedef enum format_t "fo_format_t":
        FLOAT8 "FO_FLOAT8"
        UFLOAT8 "FO_UFLOAT8"
        BFLOAT16 "FO_BFLOAT16"
        FLOAT16 "FO_FLOAT16"
        FLOAT32 "FO_FLOAT32"
        FLOAT64 "FO_FLOAT64"
        LONGDOUBLE "FO_LONGDOUBLE"
        ROWS "FO_ROWS"
        COLUMNS "FO_COLUMNS"
        RATIOS "FO_RATIOS"
    ctypedef enum scope_t "fo_scope_t":
        ARRAY "FO_ARRAY"
        GROUP "FO_GROUP"
        WHOLE "FO_WHOLE"
        LINES "FO_LINES"  # Rows and columns of matrices.
        MATRIX "FO_MATRIX"
    ctypedef enum stage_kind_t "fo_stage_kind_t":
        TRANSFORMS "FO_TRANSFORMS"
        CHECKS "FO_CHECKS"
        ACCUMULATES "FO_ACCUMULATES"
        AVERAGES "FO_AVERAGES"
        MEASURES "FO_MEASURES"

cdef enum:  # Arrays of a kernel: those of a rule in this order, with its state after the gradient.
    PARAMETER = 0
    GRADIENT = 1
    UPDATE = 2 + STATES
    VELOCITY  # For a stage: each state of the rule that is a velocity.
    STAGE_ARRAY  # For a stage: the first of the arrays that stages keep.

ctypedef void (*kernel_t)(void **arrays, Py_ssize_t n, const double *c) noexcept nogil
ctypedef void (*narrow_kernel_t)(void **arrays, Py_ssize_t n, const double *c, const uint32_t *keys, uint32_t first,
                                 int nearest) noexcept nogil  # `keys` of random words, `first` their place.
ctypedef void (*scalars_t)(int64_t t, double *carry, const double *sums, const double *h, fo_powers_t *kept,
                           double *c) noexcept nogil  # `kept` is SCALARS long, or NULL.

cdef struct formula_t:  # A rule or a stage.
    const char *name
    const char *signature  # Digest of the names that the engine passes by position.
    scalars_t compute_scalars
    kernel_t f32  # In use: of numbers, or of vectors.
    kernel_t f64
    kernel_t numbers[2]  # In float32 and float64.
    kernel_t vectors[2]  # Or NULL.
    narrow_kernel_t bf16[2]  # Of float32 with state in bfloat16, and of bfloat16 alone; or NULL.
    kernel_t widen  # Of a stage that needs the gradient only: floats to doubles.
    kernel_t narrow  # And doubles to floats.
    bint (*exact)(const double *c) noexcept nogil  # True if floats stay floats without rounding.
    stage_kind_t kind  # Of a stage.
    bint passive  # Takes the gradient rounded, unless the next stage continues in double.
    bint limits  # Clips to its first hyperparameter; above FLT_MAX it takes the gradient rounded.
    int hyperparameters
    int scalars
    int carry
    int states  # Arrays of a rule that live between steps.
    # Masks of a rule's states: those that a bound stops, those that are never negative, those that do not live between steps.
    int velocity
    int nonnegative
    int scratch
    int n_arrays  # Of a stage; the first is what it changes.
    int arrays[INPUTS]
    const double *neutral  # Hyperparameters with which a stage changes nothing; NaN: any.
    int sums  # 0: the scalars need none.
    int squares  # Mask of the sums of squares.
    int squared_by_f32  # Of these: squared by the float kernel; the others are squared on adding.
    bint plain_squares  # All of them are squares of arrays as they are,
    int square_of[SUMS]  # at these places.
    scope_t scope
    scalars_t compute_sums_scalars
    kernel_t sums_f32
    kernel_t sums_f64
    bint mean  # Divide the sums by the number of elements.
    bint terms  # Matrix terms, computed before the sums.
    scope_t terms_scope
    scalars_t compute_terms_scalars
    kernel_t terms_f32
    kernel_t terms_f64
    int n_sums_arrays  # Of a stage.
    int sums_arrays[INPUTS]

cdef enum kind_t:
    # Operations of a program. CHECK is a stage that ends with its sums; EMPTY zeroes a used accumulator, CLEAR the gradient.
    STAGE
    RULE
    SUBTRACT  # The update that stages have shaped.
    CHECK
    EMPTY
    CLEAR
    END

cdef enum path_t:  # How the blocks of a group are updated.
    GENERAL
    STAGES_AND_RULE  # Stages and rule, nothing else.
    RULE_ALONE

cdef struct op_t:  # An operation on a block.
    kind_t kind
    int id  # Place of the stage in the table; STAGES for the rule.
    const formula_t *formula
    const double *c
    Py_ssize_t stride  # From one parameter's c to the next; 0: shared by the group.
    bint needs_gradient_only  # And so do all operations before it.
    bint loose  # Clips to more than a float holds.
    bint takes_wide  # Takes the gradient as doubles: stored so, or widened by the stage before.
    bint gives_wide  # Leaves the gradient as doubles, unless it is exact.
    path_t fast_path  # In the first operation of a program.


cdef extern from "total.h":
    ctypedef struct partial_t "fo_partial":  # Sum of a block; of squares in units of 2**unit.
        double sum
        int64_t unit

cdef struct factors_t:  # The matrices of an array and the sums of their rows and columns.
    Py_ssize_t rows  # Of each matrix.
    Py_ssize_t columns
    Py_ssize_t matrices
    Py_ssize_t chunk  # Rows whose columns are summed together.
    Py_ssize_t chunks  # Of each matrix.
    Py_ssize_t first  # First chunk, among those of all arrays.
    double *row_sums
    double *column_sums  # For each chunk.

cdef struct view_t:
    char *data
    format_t format
    bint contiguous  # In the given order of axes, elements follow each other.
    int ndim
    Py_ssize_t *shape  # Shape in that order; strides in bytes.
    Py_ssize_t *strides

cdef struct task_t:  # A parameter with its gradient and state; the first cache line is what every step reads.
    Py_ssize_t first  # First block, in the index space of this step.
    Py_ssize_t work  # Elements of this step: all, or those of the gradient's rows.
    Py_ssize_t n  # Elements.
    bint active  # Has a gradient in this step.
    bint no_decoding  # All arrays can be read and written in place.
    const op_t *ops
    const double *c  # Scalars of the rule in this step.
    const formula_t *rule
    view_t p
    view_t g
    char *state[STATES]
    format_t formats[STATES]
    int16_t *exponents[STATES]  # One for each block of a float8 state.
    char *master  # The parameter in float32, or the low bits that bfloat16 drops.
    bint split  # `master` is the low bits.
    char *stage_arrays[STAGE_ARRAYS]
    int scalar_arrays  # Mask of the stage arrays that hold one value, repeated for a block.
    Py_ssize_t index  # Among all parameters.
    int64_t position  # Of the first element, in the concatenation of all arrays.
    const uint32_t *seed  # Seed of this step's stochastic rounding.
    bint nearest  # Round to nearest, not stochastically.
    bint packed  # `g` describes an array of the parameter's format and shape in C order: another of these has other data only.
    bint no_narrow_storage  # Everything is stored in 32 bits or more.
    const int64_t *rows  # Ascending rows of the gradient, whose values are contiguous in g; NULL: all.
    Py_ssize_t n_rows
    Py_ssize_t row  # Elements of a row.
    factors_t *factors  # Of an array with factored terms.
    char *kept  # The update, which the sums of stage `kept_at` have left, and the state with it; NULL: the rule is still to run.
    int kept_at

cdef struct table_t:
    int version
    const char *isa
    int n_rules
    const formula_t *rules
    int n_stages
    const formula_t *stages
    int rule_at  # The stage before which the rule runs.
    int subtract_at  # The stage before which the update is subtracted.
    int n_stage_arrays
    const char **stage_arrays  # Their names.
    void (*span)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
    void (*reduce_blocks)(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f,
                          Py_ssize_t lo, Py_ssize_t hi, partial_t *partials) noexcept nogil
    void (*write_terms)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil
    void (*write_factors)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil


# Kernels fill the rows of their table by these functions.

cdef inline void describe(formula_t *f, const char *name, const char *signature, scalars_t compute_scalars, kernel_t f32,
                          kernel_t f64, int hyperparameters, int scalars, int carry) noexcept:
    f.name, f.signature, f.compute_scalars, f.f32, f.f64 = name, signature, compute_scalars, f32, f64
    f.numbers[0], f.numbers[1] = f32, f64
    f.hyperparameters, f.scalars, f.carry = hyperparameters, scalars, carry


cdef inline void describe_rule(formula_t *f, int states, int velocity, int nonnegative, int scratch) noexcept:
    f.states, f.velocity, f.nonnegative, f.scratch = states, velocity, nonnegative, scratch


cdef inline void describe_vectors(formula_t *f, kernel_t floats, kernel_t doubles) noexcept:
    f.vectors[0], f.vectors[1] = floats, doubles


cdef inline void describe_narrow(formula_t *f, narrow_kernel_t state, narrow_kernel_t everything) noexcept:
    f.bf16[0], f.bf16[1] = state, everything


cdef inline void describe_stage(formula_t *f, stage_kind_t kind, const double *neutral, int n, int *arrays) noexcept:
    cdef int k
    f.kind, f.neutral, f.n_arrays = kind, neutral, n
    for k in range(n):
        f.arrays[k] = arrays[k]


cdef inline void describe_mixed(formula_t *f, kernel_t widen, kernel_t narrow, bint (*exact)(const double *c) noexcept nogil,
                                bint passive, bint limits) noexcept:
    f.widen, f.narrow, f.exact, f.passive, f.limits = widen, narrow, exact, passive, limits


cdef inline void describe_sums(formula_t *f, int sums, scope_t scope, bint mean, kernel_t f32, kernel_t f64,
                               scalars_t compute_scalars, int squares, int squared_by_f32, int n, int *arrays) noexcept:
    cdef int k
    f.sums, f.scope, f.mean, f.sums_f32, f.sums_f64, f.compute_sums_scalars = sums, scope, mean, f32, f64, compute_scalars
    f.squares, f.squared_by_f32, f.n_sums_arrays = squares, squared_by_f32, n
    for k in range(n):
        f.sums_arrays[k] = arrays[k]


cdef inline void describe_squares(formula_t *f, int *places) noexcept:
    cdef int j
    f.plain_squares = True
    for j in range(f.sums):
        f.square_of[j] = places[j]


cdef inline void describe_terms(formula_t *f, scope_t scope, kernel_t f32, kernel_t f64, scalars_t compute_scalars) noexcept:
    f.terms, f.terms_scope, f.terms_f32, f.terms_f64, f.compute_terms_scalars = True, scope, f32, f64, compute_scalars
