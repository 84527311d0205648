/* fastopt's C interface: optimizer steps for C, C++, Cython, numba, and whatever else calls C. No Python is needed to read this.

   Describe what is to be updated, one fastopt_update for each array, zero what you do not use, and call fastopt_apply:

       float p[1000], g[1000], m[1000] = {0}, v[1000] = {0};
       fastopt_update update = {.size = sizeof update, .rule = fastopt_find_rule("adam"), .n = 1000, .t = 1,
                                .param_in = p, .param_out = p, .grad = g, .state = {m, v}};
       if (fastopt_apply(&update, 1, 0)) fputs(fastopt_message(), stderr);

   The functions come from the package: Cython cimports them (`from fastopt cimport fastopt_apply`), others take their addresses
   from `fastopt.embed.addresses()` or from the capsule; or from one C file without Python, which `fastopt.source("c")` writes. They
   never take the GIL, and the same bits come from all of them, for any number of threads, and from the package's optimizers. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define FASTOPT_ABI 1 /* grows when something here changes its meaning; new members go to the end of the structs */
#define FASTOPT_STATES 6
#define FASTOPT_ARRAYS 2

/* How numbers are stored. bfloat16 is the upper half of a float32; 8-bit floats come in blocks of 256 that share an exponent. */
enum { FASTOPT_FLOAT32, FASTOPT_FLOAT64, FASTOPT_BFLOAT16, FASTOPT_FLOAT16, FASTOPT_FLOAT8 };

/* What a call returns. */
enum {
    FASTOPT_OK,
    FASTOPT_BAD_STRUCT,         /* a size, rule or stage that is not of this library */
    FASTOPT_BAD_POINTER,        /* NULL where an array is needed, arrays that share memory or are not aligned */
    FASTOPT_BAD_FORMAT,         /* formats that do not go together */
    FASTOPT_BAD_NUMBER,         /* a negative n, a t below 1, a hyperparameter out of its domain */
    FASTOPT_BAD_PART,           /* sums over whole arrays, which a part does not see */
    FASTOPT_NO_MEMORY
};

/* A rule: what it is called, and what its states, hyperparameters and kept numbers are, in their order. */
typedef struct fastopt_rule {
    size_t size;
    const void *owner; /* the library that it is of */
    const char *name;
    int32_t n_states, n_hyperparameters, n_kept, n_sums;
    const char *const *states;          /* they begin at zero, */
    uint32_t starts;                    /* but for those with a bit here, which begin as copies of the parameter */
    const char *const *hyperparameters; /* with their defaults, and the least and the greatest that each may be */
    const double *defaults, *least, *greatest;
    const char *const *kept;            /* numbers that live from step to step, and what they begin at */
    const double *initial;
} fastopt_rule;

/* A stage: what is done around any rule, such as "clip_norm", "l2", "decoupled" or "ema". */
typedef struct fastopt_stage {
    size_t size;
    const void *owner;
    const char *name;
    int32_t n_hyperparameters, n_arrays, n_sums;
    const char *const *hyperparameters;
    const double *neutral; /* hyperparameters that change nothing; NaN: any */
    const char *const *arrays; /* that it has for itself, of the parameter's shape, in float32; of float64 parameters in float64 */
    const double *least, *greatest; /* that each hyperparameter may be */
} fastopt_stage;

/* A stage of an update. */
typedef struct fastopt_use {
    size_t size; /* sizeof(fastopt_use) */
    const fastopt_stage *stage;
    const double *hyperparameters; /* NULL: there are none */
    void *arrays[FASTOPT_ARRAYS];
} fastopt_use;

/* A step of one array of n elements that follow one another in memory. */
typedef struct fastopt_update {
    size_t size; /* sizeof(fastopt_update), the same in a whole call */
    const fastopt_rule *rule;
    int64_t n;
    int64_t t;                                         /* number of this step: 1, 2, ... */
    int32_t param_format, grad_format, state_format;   /* of float64 parameters the state is float64 too */
    int32_t nearest;                                   /* round to nearest what is stored below float32, not stochastically */
    const void *param_in;
    void *param_out;                                   /* may be param_in, and else may not overlap it */
    const void *grad;
    void *state[FASTOPT_STATES];                       /* updated in place */
    int16_t *exponents[FASTOPT_STATES];                /* of 8-bit floats: one for each 256 */
    float *master;                                     /* of bfloat16 parameters: themselves in float32, or NULL */
    int16_t *low;                                      /* or the bits that bfloat16 drops, or NULL */
    const double *hyperparameters;                     /* in the rule's order; NULL: the defaults */
    const double *kept_in;                             /* NULL: as in the first step */
    double *kept_out;                                  /* for the next step; may be kept_in, but not for one part of several */
    const fastopt_use *stages;                         /* in any order: they are done in the library's */
    int32_t n_stages;
    uint32_t seed;                                     /* of stochastic rounding, whose bits follow seed, t and position: */
    int64_t position;                                  /* of the first element, among those of all arrays one after another */
} fastopt_update;

/* All functions of the library, as the capsule "fastopt.interface" holds them. */
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
/* A rule or a stage by its name; NULL where there is none. Or one after another, from 0 on; NULL after the last. */
const fastopt_rule *fastopt_find_rule(const char *name);
const fastopt_rule *fastopt_rule_at(int32_t k);
const fastopt_stage *fastopt_find_stage(const char *name);
const fastopt_stage *fastopt_stage_at(int32_t k);

/* Make these steps; sums over all arrays are over those of the call. At most so many threads, 0: as many as OpenMP allows. Returns
   FASTOPT_OK, or another of the codes above, and then nothing has been changed. */
int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads);

/* Make one of so many parts of them, for callers with threads of their own; the order of the parts does not matter. Sums over
   arrays are refused but for one part of one. */
int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts);

/* What was wrong in this thread's last call that returned a code. */
const char *fastopt_message(void);
#endif

#if defined(__cplusplus)
}
#endif
#endif
