/* Steps of single elements: where their numbers are, and how they are read and written. For C, C++ and CUDA. */
#ifndef FASTOPT_ELEMENT_H
#define FASTOPT_ELEMENT_H

#include "capacity.h"
#include "total.h"

typedef struct { /* a parameter and its state, described once */
    char *p;
    char *master; /* the parameter in float32, or the low bits that bfloat16 drops; or NULL */
    char *state[FO_STATES];
    int16_t *exponents[FO_STATES]; /* one for each block of 8-bit floats */
    char *stage_arrays[FO_STAGE_ARRAYS]; /* arrays that stages keep */
    const int64_t *shape;          /* of p in its order of axes, then strides in bytes; NULL: contiguous */
    int64_t n;                     /* elements */
    int64_t position;              /* of the first element, in the concatenation of all arrays */
    int64_t first;                 /* first block, in the index space of steps */
    int64_t starts[3];             /* first places in the index spaces of sums */
    int64_t rows, columns;         /* of each of its matrices */
    int64_t chunk;                 /* rows whose columns are summed together */
    double *row_sums;              /* sums of each row, then of each column of each chunk */
    int32_t format, formats[FO_STATES];
    int32_t ndim, wide, split, scalar_arrays, group, origin, rule, fallback;
} fo_array;

typedef struct { /* arguments of a step of one array */
    const char *g;
    int32_t format; /* of the gradient, which is contiguous */
    int32_t nearest;
    uint32_t key; /* of the step's random bits */
    uint64_t on;  /* mask of active stages; 32 above: clipping beyond the range of floats */
    const float *c; /* scalars of the rule, and of each stage */
    const float (*stage_c)[FO_INPUTS];
    const double *c64;
    const double (*stage_c64)[FO_INPUTS];
} fo_now;

/* w: the gradient in double, for stages that need the gradient only */
typedef struct { float p, g, u, state[FO_STATES]; double w; } fo_f32;
typedef struct { double p, g, u, state[FO_STATES], w; } fo_f64;

FO_INLINE float fo_read_f32(const char *x, int32_t format, int64_t i)
{
    switch (format) {
    case FO_BFLOAT16: return fo_load_bf16(x + 2 * i);
    case FO_FLOAT16: return fo_load_f16(x + 2 * i);
    case FO_FLOAT64: return (float)fo_load_f64(x + 8 * i);
    default: return fo_load_f32(x + 4 * i);
    }
}
FO_INLINE double fo_read_f64(const char *x, int32_t format, int64_t i)
{
    return format == FO_FLOAT64 ? fo_load_f64(x + 8 * i) : (double)fo_read_f32(x, format, i);
}

/* Bytes from the first element of a parameter to element i in its order of axes. */
FO_INLINE int64_t fo_offset(const fo_array *a, int64_t i)
{
    int64_t offset = 0;
    if (a->shape == 0) return i * (a->format == FO_FLOAT64 ? 8 : a->format == FO_FLOAT32 ? 4 : 2);
    for (int32_t k = a->ndim - 1; k >= 0; k--) {
        offset += i % a->shape[k] * a->shape[a->ndim + k];
        i = i / a->shape[k];
    }
    return offset;
}

/* The number of element i's row, or column, among those of all matrices. */
FO_INLINE int64_t fo_line(const fo_array *a, int32_t format, int64_t i)
{
    return format == FO_COLUMNS ? i / (a->rows * a->columns) * a->columns + i % a->columns : i / a->columns;
}

FO_INLINE float fo_parameter(const fo_array *a, int64_t i)
{
    if (a->master && !a->split) return ((const float *)a->master)[i];
    float p = fo_read_f32(a->p + fo_offset(a, i), a->format, 0);
    return a->master ? fo_float(fo_bits(p) + (uint32_t)((const int16_t *)a->master)[i]) : p;
}

/* Read an element with its state. */
FO_INLINE void fo_fetch_f32(const fo_array *a, const fo_now *now, int64_t i, int states, fo_f32 *e)
{
    e->w = fo_read_f64(now->g, now->format, i);
    e->p = fo_parameter(a, i);
    for (int k = 0; k < states; k++) {
        const char *x = a->state[k];
        switch (a->formats[k]) {
        case FO_FLOAT8: e->state[k] = fo_load_f8(((const uint8_t *)x)[i], a->exponents[k][i / FO_BLOCK]); break;
        case FO_UFLOAT8: e->state[k] = fo_load_u8(((const uint8_t *)x)[i], a->exponents[k][i / FO_BLOCK]); break;
        case FO_ROWS: case FO_COLUMNS: case FO_RATIOS: e->state[k] = ((const float *)x)[fo_line(a, a->formats[k], i)]; break;
        default: e->state[k] = fo_read_f32(x, a->formats[k], i);
        }
    }
}
FO_INLINE void fo_fetch_f64(const fo_array *a, const fo_now *now, int64_t i, int states, fo_f64 *e)
{
    e->w = fo_read_f64(now->g, now->format, i);
    e->p = fo_load_f64(a->p + fo_offset(a, i));
    for (int k = 0; k < states; k++)
        e->state[k] = ((const double *)a->state[k])[a->formats[k] >= FO_ROWS ? fo_line(a, a->formats[k], i) : i];
}

/* Random bits of a place for numbers of 16 bits: the parameter has the upper half of the first words, each two arrays of state
   share theirs; 8-bit floats have words of their own. */
FO_INLINE uint32_t fo_random(const fo_array *a, const fo_now *now, uint32_t number, int64_t i)
{
    return fo_mixed((uint32_t)(a->position + i) * FO_STEP + fo_key(now->key, number));
}

/* Write an element with its state, except for 8-bit floats. */
FO_INLINE void fo_store_f32(const fo_array *a, const fo_now *now, int64_t i, int states, int nonnegative, const fo_f32 *e)
{
    char *p = a->p + fo_offset(a, i);
    int stochastic = !now->nearest && !a->master;
    uint32_t bits = a->format != FO_FLOAT32 && stochastic ? fo_random(a, now, 0, i) : 0u, word = fo_bits(e->p);
    if (a->master && !a->split) ((float *)a->master)[i] = e->p;
    if (a->format == FO_FLOAT32)
        *(float *)p = e->p;
    else if (a->format == FO_FLOAT16)
        *(uint16_t *)p = fo_f16(e->p, bits, stochastic, 0);
    else if (a->split) {
        /* The low bits of a NaN must not carry into the high ones. */
        if ((word & 0x7fffffffu) > 0x7f800000u) word = (word | 0x400000u) & 0xffff0000u;
        *(uint16_t *)p = (uint16_t)((word + 0x8000u) >> 16);
        ((uint16_t *)a->master)[i] = (uint16_t)word;
    } else
        *(uint16_t *)p = fo_bf16(e->p, bits, stochastic, 0);
    stochastic = !now->nearest;
    for (int k = 0; k < states; k++) {
        if (a->formats[k] == FO_FLOAT32)
            ((float *)a->state[k])[i] = e->state[k];
        else if (a->formats[k] == FO_BFLOAT16 || a->formats[k] == FO_FLOAT16) {
            const int unsigned_ = nonnegative >> k & 1;
            bits = stochastic ? fo_random(a, now, (uint32_t)(k + 1) / 2u, i) << 16 * ((k + 1) & 1) : 0u;
            ((uint16_t *)a->state[k])[i] = a->formats[k] == FO_BFLOAT16 ? fo_bf16(e->state[k], bits, stochastic, unsigned_)
                                                                        : fo_f16(e->state[k], bits, stochastic, unsigned_);
        }
    }
}
FO_INLINE void fo_store_f64(const fo_array *a, int64_t i, int states, const fo_f64 *e)
{
    *(double *)(a->p + fo_offset(a, i)) = e->p;
    for (int k = 0; k < states; k++)
        if (a->formats[k] < FO_ROWS) ((double *)a->state[k])[i] = e->state[k];
}

/* Write one 8-bit float of state k, in a block with this exponent. */
FO_INLINE void fo_store_f8(const fo_array *a, const fo_now *now, int64_t i, int k, int exponent, float x)
{
    uint32_t bits = now->nearest ? 0u : fo_random(a, now, (uint32_t)(FO_STATES + k + 1), i);
    ((uint8_t *)a->state[k])[i] = exponent == FO_NOT_FINITE ? 0 /* any code would do */
        : a->formats[k] == FO_FLOAT8 ? fo_f8(x, exponent, bits, !now->nearest) : fo_u8(x, exponent, bits, !now->nearest);
}

/* True if the first active one of these stages takes the gradient in double. */
FO_INLINE int fo_goes_on(const fo_now *now, uint64_t stages)
{
    const uint64_t on = now->on & stages;
    return (on & (~on + 1) & ~(now->on >> 32)) != 0;
}
/* True if a stage is active and before `last`. */
FO_INLINE int fo_on(const fo_now *now, int stage, int last) { return stage < last && (now->on >> stage & 1); }

/* Address of element i of an array that stages keep; some hold one value, repeated for a block. */
FO_INLINE float *fo_stage_array_f32(const fo_array *a, int k, int64_t i)
{
    return (float *)a->stage_arrays[k] + (a->scalar_arrays >> k & 1 ? 0 : i);
}
FO_INLINE double *fo_stage_array_f64(const fo_array *a, int k, int64_t i)
{
    return (double *)a->stage_arrays[k] + (a->scalar_arrays >> k & 1 ? 0 : i);
}
#endif
