/* Sizes and codes that C, Cython, CUDA and Python share. Cython takes them from here, Python reads this file
   (fastopt/_codegen/capacity.py): each name is one entry of an enum. */
#ifndef FASTOPT_CAPACITY_H
#define FASTOPT_CAPACITY_H

enum {
    FO_VERSION = 5,            /* of the structs that cross from kernels to the engine */
    FO_BLOCK = 256,            /* elements; spans and staging work in whole blocks */
    FO_STATES = 6,             /* arrays of state that a rule may have */
    FO_SCALARS = 12,           /* scalars of a step, and hyperparameters, that a rule may have */
    FO_STAGES = 24,            /* stages that there may be */
    FO_INPUTS = 4,             /* arrays, scalars and hyperparameters that a stage may have */
    FO_KEPT = 6,               /* numbers of a rule that live from step to step */
    FO_SUMS = 4,               /* sums that a formula may need */
    FO_OWNS = 8,               /* arrays that stages may have for themselves */
    FO_TOTALS = 2 * FO_SUMS,   /* numbers that a scalars function is given of its sums: of squares two */
    FO_TERMS = FO_STAGES + 1   /* the operation of a rule's terms of matrices, as FO_STAGES is that of its sums */
};

typedef enum { /* formats of stored numbers */
    FO_FLOAT8,                 /* signed, in blocks that share an exponent */
    FO_UFLOAT8,                /* never negative */
    FO_BFLOAT16,
    FO_FLOAT16,
    FO_FLOAT32,
    FO_FLOAT64,
    FO_LONGDOUBLE,
    FO_ROWS,                   /* one number for each row of a matrix, in the parameter's own precision */
    FO_COLUMNS,
    FO_RATIOS
} fo_format_t;

typedef enum { FO_ARRAY, FO_GROUP, FO_WHOLE, FO_LINES, FO_MATRIX } fo_scope_t; /* of sums; of terms: rows and columns, matrices */

typedef enum { /* what a stage is for */
    FO_TRANSFORMS,             /* what it returns */
    FO_CHECKS,                 /* its sums count what is wrong with a gradient */
    FO_ACCUMULATES,            /* calls that hold their gradients for a later step */
    FO_AVERAGES,               /* the call that makes that step; its own array is empty after it */
    FO_MEASURES                /* its sums are for a report */
} fo_stage_kind_t;

#endif
