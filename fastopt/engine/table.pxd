"""What crosses from the kernels, compiled once per instruction set, to the engine, compiled once: PyCapsule "fastopt.table"."""

from libc.stdint cimport int64_t

cdef enum:
    VERSION = 1  # of the structs below
    BLOCK = 256  # elements; spans and staging work in whole blocks
    STATES = 6  # arrays of state that a rule may have
    SCALARS = 8  # scalars of a step, and hyperparameters, that a rule may have
    STAGES = 8  # that there may be
    INPUTS = 4  # scalars of a stage, and hyperparameters, that it may have

cdef enum format_t:
    FLOAT16
    FLOAT32
    FLOAT64
    LONGDOUBLE

ctypedef void (*kernel_t)(void **arrays, Py_ssize_t n, const double *c) noexcept nogil
ctypedef void (*rule_scalars_t)(int64_t t, const double *h, double *c) noexcept nogil
ctypedef void (*stage_scalars_t)(const double *h, double *c) noexcept nogil

cdef struct rule_t:
    const char *name
    int states
    int hyperparameters
    int scalars
    rule_scalars_t prepare
    kernel_t f32
    kernel_t f64

cdef struct stage_t:
    const char *name
    char shapes  # 'g': the gradient, into another buffer; 'p': the parameter, in place
    int hyperparameters
    int scalars
    const double *neutral  # the scalars that change nothing
    stage_scalars_t prepare
    kernel_t f32
    kernel_t f64

cdef struct view_t:
    char *data
    format_t format
    bint flat  # in the order walked, each element follows the one before
    int ndim
    Py_ssize_t *shape  # in the order walked; strides in bytes
    Py_ssize_t *strides

cdef struct task_t:  # one parameter, its gradient and its state
    view_t p
    view_t g
    char *state[STATES]
    const rule_t *rule
    Py_ssize_t n  # elements
    Py_ssize_t first  # block, in the index space of all arrays
    bint active  # has a gradient in this step
    const double *c  # scalars of the rule in this step
    int staged  # stages that are not neutral, a bit each
    const double *stage_c  # INPUTS scalars for each stage

cdef struct table_t:
    int version
    const char *isa
    int n_rules
    const rule_t *rules
    int n_stages
    const stage_t *stages
    void (*span)(const table_t *table, const task_t *task, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
