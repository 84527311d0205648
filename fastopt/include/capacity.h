/* Sizes and codes of C, Cython, CUDA and Python. Cython includes this file, fastopt/_codegen/capacity.py reads it: each name is an
   entry of an enum. */
#ifndef FASTOPT_CAPACITY_H
#define FASTOPT_CAPACITY_H

enum {
    FO_VERSION = 7,            /* of the structs between kernels and engine */
    FO_BLOCK = 256,            /* elements of a block, the unit of staging and sums */
    FO_STATES = 6,             /* arrays of state of a rule, at most */
    FO_SCALARS = 12,           /* scalars, and hyperparameters, of a rule, at most */
    FO_STAGES = 24,            /* stages, at most */
    FO_INPUTS = 4,             /* arrays, scalars, and hyperparameters of a stage, at most */
    FO_CARRY = 6,              /* numbers that a rule carries from step to step, at most */
    FO_SUMS = 4,               /* sums of a rule or stage, at most */
    FO_STAGE_ARRAYS = 8,       /* arrays that stages keep, at most */
    FO_TOTALS = 2 * FO_SUMS,   /* numbers that a scalars function takes for its sums: two for each of squares */
    FO_TERMS = FO_STAGES + 1   /* number of a rule's matrix terms, as FO_STAGES is that of its sums */
};

typedef enum { /* storage formats */
    FO_FLOAT8,                 /* signed; a block shares an exponent */
    FO_UFLOAT8,                /* never negative */
    FO_BFLOAT16,
    FO_FLOAT16,
    FO_FLOAT32,
    FO_FLOAT64,
    FO_LONGDOUBLE,
    FO_ROWS,                   /* one number for each row of a matrix, in the parameter's precision */
    FO_COLUMNS,
    FO_RATIOS
} fo_format_t;

typedef enum { FO_ARRAY, FO_GROUP, FO_WHOLE, FO_LINES, FO_MATRIX } fo_scope_t; /* of sums; of terms: rows and columns, matrices */

typedef enum { /* purpose of a stage */
    FO_TRANSFORMS,             /* to change its first array */
    FO_CHECKS,                 /* its sums count non-finite elements */
    FO_ACCUMULATES,            /* in calls that accumulate gradients for a later step */
    FO_AVERAGES,               /* in the call that makes that step; it empties its accumulator */
    FO_MEASURES                /* its sums are for a report */
} fo_stage_kind_t;

#endif
