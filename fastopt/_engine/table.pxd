"""What crosses from the kernels, compiled once per instruction set, to the engine, compiled once: PyCapsule "fastopt.table"."""

from libc.stdint cimport int16_t, int64_t, uint32_t

cdef extern from "capacity.h":
    enum:
        VERSION "FO_VERSION"
        BLOCK "FO_BLOCK"
        STATES "FO_STATES"
        SCALARS "FO_SCALARS"
        STAGES "FO_STAGES"
        INPUTS "FO_INPUTS"
        KEPT "FO_KEPT"
        SUMS "FO_SUMS"
        OWNS "FO_OWNS"
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
        LINES "FO_LINES"  # rows and columns of matrices
        MATRIX "FO_MATRIX"
    ctypedef enum stage_kind_t "fo_stage_kind_t":
        TRANSFORMS "FO_TRANSFORMS"
        CHECKS "FO_CHECKS"
        ACCUMULATES "FO_ACCUMULATES"
        AVERAGES "FO_AVERAGES"
        MEASURES "FO_MEASURES"

cdef enum:  # where a kernel finds its arrays: those of a rule in this order, its state after the gradient
    PARAMETER = 0
    GRADIENT = 1
    UPDATE = 2 + STATES
    VELOCITY  # for a stage: each state of the rule that is one
    OWN  # for a stage: the first of the arrays that stages have for themselves

ctypedef void (*kernel_t)(void **arrays, Py_ssize_t n, const double *c) noexcept nogil
ctypedef void (*scalars_t)(int64_t t, double *kept, const double *sums, const double *h, double *c) noexcept nogil

cdef struct formula_t:  # a rule or a stage
    const char *name
    const char *signature  # a digest of what the engine takes by position
    scalars_t prepare
    kernel_t f32
    kernel_t f64
    kernel_t widen  # of a stage of the gradient alone: from floats to doubles, and back
    kernel_t narrow
    bint (*exact)(const double *c) noexcept nogil  # whether of floats it makes floats without rounding
    stage_kind_t kind  # of a stage
    bint passive  # of one of the gradient alone: it takes that rounded, unless the next stage goes on with it in double
    bint limits  # it clips to its first hyperparameter; beyond the range of floats it takes the gradient rounded
    int hyperparameters
    int scalars
    int kept
    int states  # of a rule
    int velocity  # states of a rule that a bound stops, a bit each
    int nonnegative  # states of a rule that are never negative, a bit each
    int scratch  # arrays of a rule that do not live between steps, a bit each
    int n_arrays  # of a stage; the first is what it shapes
    int arrays[INPUTS]
    const double *neutral  # of a stage: hyperparameters that change nothing; NaN: any
    int sums  # 0: needs none
    int squares  # those that are of squares, a bit each
    int squared_by_f32  # of these, the ones whose squares the kernel of floats gives; others give the numbers
    scope_t scope
    scalars_t sums_prepare
    kernel_t sums_f32
    kernel_t sums_f64
    bint mean  # sums are divided by the number of elements
    bint terms  # of matrices, before the sums
    scope_t terms_scope
    scalars_t terms_prepare
    kernel_t terms_f32
    kernel_t terms_f64
    int n_sums_arrays  # of a stage
    int sums_arrays[INPUTS]

cdef enum kind_t:
    STAGE
    RULE
    SUBTRACT  # the update that stages have shaped
    CHECK  # a stage that has had its sums and does nothing more
    EMPTY  # an own array that was used up
    CLEAR  # the gradient
    END

cdef enum path_t:  # of a group's blocks in a step
    GENERAL
    STRAIGHT  # stages and rule, nothing else to do
    RULE_ALONE

cdef struct op_t:  # one thing to do with a block
    kind_t kind
    int id  # of a stage: its place in the table; of the rule: STAGES
    const formula_t *formula
    const double *c
    Py_ssize_t stride  # of c, from one parameter to the next: 0 where a group shares it
    bint early  # it and all before need the gradient alone
    bint loose  # it clips to more than a float holds
    bint takes_wide  # the gradient as doubles: one that is stored so, or that the one before has widened
    bint gives_wide  # unless it is exact
    path_t path  # of the first


cdef extern from "total.h":
    ctypedef struct partial_t "fo_partial":  # the sum of a block: of squares in units of 2 ** unit
        double sum
        int64_t unit

cdef struct lines_t:  # the matrices of an array, and sums over their lines
    Py_ssize_t rows  # of each matrix
    Py_ssize_t columns
    Py_ssize_t matrices
    Py_ssize_t chunk  # rows whose columns are summed at once
    Py_ssize_t chunks  # of each matrix
    Py_ssize_t first  # of its chunks, among those of all arrays
    double *of_rows
    double *of_columns  # for each chunk

cdef struct view_t:
    char *data
    format_t format
    bint flat  # in the order walked, each element follows the one before
    int ndim
    Py_ssize_t *shape  # in the order walked; strides in bytes
    Py_ssize_t *strides

cdef struct task_t:  # one parameter, its gradient and its state; first what every step reads
    Py_ssize_t first  # block, in the index space of what this step walks
    Py_ssize_t work  # elements walked: all, or those of the rows that the gradient has
    Py_ssize_t n  # elements
    bint active  # has a gradient in this step
    bint direct  # nothing of it needs decoding
    const op_t *ops
    const double *c  # scalars of the rule in this step
    const formula_t *rule
    view_t p
    view_t g
    char *state[STATES]
    format_t formats[STATES]
    int16_t *exponents[STATES]  # of each block of a float8
    char *master  # the parameter in float32, or the bits that bfloat16 drops
    bint split
    char *own[OWNS]
    int constant  # own arrays that are one block, the same for all, a bit each
    Py_ssize_t index  # among all parameters
    int64_t position  # of its first element, in the concatenation of all arrays
    const uint32_t *seed  # of this step's rounding
    bint nearest  # round to nearest, not stochastically
    bint plain  # nothing of it is stored below 32 bits
    const int64_t *rows  # ascending, whose values lie one after another in g; NULL: all
    Py_ssize_t n_rows
    Py_ssize_t row  # elements of one
    lines_t *lines  # of an array whose rule asks for averages of lines

cdef struct table_t:
    int version
    const char *isa
    int n_rules
    const formula_t *rules
    int n_stages
    const formula_t *stages
    int rule_at  # the stage before which the rule runs
    int subtract_at  # the stage before which its update is subtracted
    int n_own
    const char **own  # names of the stages' own arrays
    void (*span)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
    void (*add_up)(const task_t *tasks, Py_ssize_t n, const Py_ssize_t *starts, int id, const formula_t *f, Py_ssize_t lo,
                   Py_ssize_t hi, partial_t *partials) noexcept nogil
    void (*spread)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil
    void (*lines_of)(const task_t *task, Py_ssize_t lo, Py_ssize_t hi, int id) noexcept nogil


# Rows of a table, which the generated kernels fill by these.

cdef inline void describe(formula_t *f, const char *name, const char *signature, scalars_t prepare, kernel_t f32, kernel_t f64,
                          int hyperparameters, int scalars, int kept) noexcept:
    f.name, f.signature, f.prepare, f.f32, f.f64 = name, signature, prepare, f32, f64
    f.hyperparameters, f.scalars, f.kept = hyperparameters, scalars, kept


cdef inline void describe_rule(formula_t *f, int states, int velocity, int nonnegative, int scratch) noexcept:
    f.states, f.velocity, f.nonnegative, f.scratch = states, velocity, nonnegative, scratch


cdef inline void describe_stage(formula_t *f, stage_kind_t kind, const double *neutral, int n, int *arrays) noexcept:
    cdef int k
    f.kind, f.neutral, f.n_arrays = kind, neutral, n
    for k in range(n):
        f.arrays[k] = arrays[k]


cdef inline void describe_mixed(formula_t *f, kernel_t widen, kernel_t narrow, bint (*exact)(const double *c) noexcept nogil,
                                bint passive, bint limits) noexcept:
    f.widen, f.narrow, f.exact, f.passive, f.limits = widen, narrow, exact, passive, limits


cdef inline void describe_sums(formula_t *f, int sums, scope_t scope, bint mean, kernel_t f32, kernel_t f64, scalars_t prepare,
                               int squares, int squared_by_f32, int n, int *arrays) noexcept:
    cdef int k
    f.sums, f.scope, f.mean, f.sums_f32, f.sums_f64, f.sums_prepare = sums, scope, mean, f32, f64, prepare
    f.squares, f.squared_by_f32, f.n_sums_arrays = squares, squared_by_f32, n
    for k in range(n):
        f.sums_arrays[k] = arrays[k]


cdef inline void describe_terms(formula_t *f, scope_t scope, kernel_t f32, kernel_t f64, scalars_t prepare) noexcept:
    f.terms, f.terms_scope, f.terms_f32, f.terms_f64, f.terms_prepare = True, scope, f32, f64, prepare
