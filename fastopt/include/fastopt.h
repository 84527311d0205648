/* The C interface of fastopt: optimizer steps for C, C++, Cython, numba, and everything else that calls C.

   Describe the step of each array in a fastopt_update, with zeros in unused members, and call fastopt_apply:

       float p[1000], g[1000], m[1000] = {0}, v[1000] = {0};
       fastopt_update update = {.size = sizeof update, .rule = fastopt_find_rule("adam"), .n = 1000, .t = 1,
                                .param_in = p, .param_out = p, .grad = g, .state = {m, v}};
       if (fastopt_apply(&update, 1, 0)) fputs(fastopt_message(), stderr);

   The functions are in the package: Cython cimports them (`from fastopt cimport fastopt_apply`), others take their addresses from
   `fastopt.embed.addresses()` or from the capsule. Or they are in one C file without Python, written by `fastopt.source("c")`. They
   never take the GIL. The bits are those of the package's optimizers, for any number of threads. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define FASTOPT_ABI 1 /* increased if the meaning of anything here changes; new members are appended to the structs */
#define FASTOPT_STATES 6
#define FASTOPT_ARRAYS 2

/* Storage formats. bfloat16 is the upper half of a float32; 8-bit floats share an exponent in blocks of 256. */
enum { FASTOPT_FLOAT32, FASTOPT_FLOAT64, FASTOPT_BFLOAT16, FASTOPT_FLOAT16, FASTOPT_FLOAT8 };

/* Return codes. */
enum {
    FASTOPT_OK,
    FASTOPT_BAD_STRUCT,         /* a size, rule or stage of another library */
    FASTOPT_BAD_POINTER,        /* NULL for a required array, arrays that share memory or are not aligned */
    FASTOPT_BAD_FORMAT,         /* formats that cannot be combined */
    FASTOPT_BAD_NUMBER,         /* a negative n, a t below 1, a hyperparameter outside its domain */
    FASTOPT_BAD_PART,           /* sums over whole arrays, of which a part sees too little */
    FASTOPT_NO_MEMORY
};

/* A rule: its name, and its states, hyperparameters and carried numbers in order. */
typedef struct fastopt_rule {
    size_t size;
    const void *owner; /* the library that it belongs to */
    const char *name;
    int32_t n_states, n_hyperparameters, n_carry, n_sums;
    const char *const *states;          /* they begin at zero, except */
    uint32_t start_mask;                /* those with a bit here, which begin as copies of the parameter */
    const char *const *hyperparameters; /* with defaults and closed ranges */
    const double *defaults, *lower, *upper;
    const char *const *carry;           /* numbers that are carried from step to step, with first values */
    const double *initial;
} fastopt_rule;

/* A stage: an operation around any rule, such as "clip_norm", "l2", "decoupled" or "ema". */
typedef struct fastopt_stage {
    size_t size;
    const void *owner;
    const char *name;
    int32_t n_hyperparameters, n_arrays, n_sums;
    const char *const *hyperparameters;
    const double *neutral; /* values without effect; NaN: any value */
    const char *const *arrays; /* that it keeps, of the parameter's shape, in float32 (float64 for float64 parameters) */
    const double *lower, *upper; /* the closed range of each hyperparameter */
} fastopt_stage;

/* A stage with its arguments, for an update. */
typedef struct fastopt_stage_args {
    size_t size; /* sizeof(fastopt_stage_args) */
    const fastopt_stage *stage;
    const double *hyperparameters; /* NULL if it has none */
    void *arrays[FASTOPT_ARRAYS];
} fastopt_stage_args;

/* A step of one contiguous array of n elements. */
typedef struct fastopt_update {
    size_t size; /* sizeof(fastopt_update), the same in a whole call */
    const fastopt_rule *rule;
    int64_t n;
    int64_t t;                                         /* this step: 1, 2, ... */
    int32_t param_format, grad_format, state_format;   /* state of float64 parameters is float64 */
    int32_t nearest;                                   /* round formats below float32 to nearest, not stochastically */
    const void *param_in;
    void *param_out;                                   /* may be param_in, but must not overlap it otherwise */
    const void *grad;
    void *state[FASTOPT_STATES];                       /* updated in place */
    int16_t *exponents[FASTOPT_STATES];                /* of 8-bit floats, one for each 256 */
    float *master;                                     /* bfloat16 parameters in float32, or NULL; */
    int16_t *low_bits;                                 /* or the low bits that bfloat16 drops, or NULL */
    const double *hyperparameters;                     /* in the rule's order; NULL: defaults */
    const double *carry_in;                            /* NULL: first values */
    double *carry_out;                                 /* for the next step; may be carry_in, unless parts > 1 */
    const fastopt_stage_args *stages;                  /* in any order: they run in the library's */
    int32_t n_stages;
    uint32_t seed;                                     /* of stochastic rounding, together with t and position: */
    int64_t position;                                  /* of the first element, in the concatenation of all arrays */
} fastopt_update;

/* All functions of the library; the capsule "fastopt.interface" points to one. */
typedef struct fastopt_interface {
    size_t size;
    int32_t abi;
    const fastopt_rule *(*find_rule)(const char *name);
    const fastopt_rule *(*rule_at)(int32_t k);
    const fastopt_stage *(*find_stage)(const char *name);
    const fastopt_stage *(*stage_at)(int32_t k);
    int32_t (*apply)(const fastopt_update *updates, int64_t count, int32_t threads);
    int32_t (*apply_part)(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts);
    const char *(*message)(void);
} fastopt_interface;

#if defined(FASTOPT_DECLARE) /* of the C file that fastopt.source("c") writes */
/* Return a rule or stage by name, or NULL; or the k-th one, or NULL after the last. */
const fastopt_rule *fastopt_find_rule(const char *name);
const fastopt_rule *fastopt_rule_at(int32_t k);
const fastopt_stage *fastopt_find_stage(const char *name);
const fastopt_stage *fastopt_stage_at(int32_t k);

/* Make these steps, on at most `threads` threads (0: OpenMP's limit). Sums over all arrays are over those of the call. Returns
   FASTOPT_OK, or another code if nothing has changed. */
int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads);

/* Make one part of these steps, for callers with their own threads, in any order of parts. Sums over arrays are refused, unless
   parts is 1. */
int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts);

/* Return the message of this thread's last failed call. */
const char *fastopt_message(void);
#endif

#if defined(__cplusplus)
}
#endif
#endif
