/* The library of kernels in the C file of fastopt.source("c"), for apply.h. */
#ifndef FASTOPT_LIBRARY_H
#define FASTOPT_LIBRARY_H

#include "apply.h"
#include "element.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

typedef struct {
    fastopt_rule shown; /* first, so that its address is that of the whole */
    int nonnegative, over_all, mean, squares;
    void (*scalars)(int64_t t, double *carry, const double *sums, const double *h, double *c);
    void (*sums_scalars)(int64_t t, double *carry, const double *sums, const double *h, double *c);
    void (*plain_f32)(float *p, const float *g, char *const *state, int64_t lo, int64_t n, const float *c,
                      const double *w);
    void (*plain_f64)(double *p, const double *g, char *const *state, int64_t lo, int64_t n, const double *c,
                      const double *w);
    void (*block_f32)(const fo_array *a, const fo_now *now, int64_t lo, int64_t n, fo_f32 *e);
    void (*block_f64)(const fo_array *a, const fo_now *now, int64_t lo, int64_t n, fo_f64 *e);
    void (*terms)(const fo_array *a, const fo_now *now, int64_t lo, int64_t n, int id, const double *c, double *out);
} fo_formula;

typedef struct {
    fastopt_stage shown;
    int number, over_all, squares, limits, places[FASTOPT_ARRAYS]; /* places: of its arrays, among those of all stages */
    void (*scalars)(int64_t t, double *carry, const double *sums, const double *h, double *c);
} fo_stage;

typedef struct {
    fo_array a;
    fo_now now;
    const fo_formula *rule;
    const fastopt_stage_args *uses[FO_STAGES];
    int plain;
    const double *h;
    double carry[FO_CARRY], c64[FO_SCALARS], sums_c[FO_SCALARS], stage_c64[FO_STAGES][FO_INPUTS];
    float c[FO_SCALARS], stage_c[FO_STAGES][FO_INPUTS];
} fo_job;

static int32_t fo_format(int32_t format)
{
    static const int32_t formats[] = {FO_FLOAT32, FO_FLOAT64, FO_BFLOAT16, FO_FLOAT16, FO_FLOAT8};
    return formats[format];
}

static int fo_is_neutral(const fastopt_stage *stage, const double *h)
{
    int could = 0;
    for (int32_t k = 0; k < stage->n_hyperparameters; k++)
        if (stage->neutral[k] == stage->neutral[k]) {
            could = 1;
            if (h[k] != stage->neutral[k]) return 0;
        }
    return could;
}

static void fo_prepare_stage(fo_job *job, int id, const double *totals)
{
    ((const fo_stage *)job->uses[id]->stage)->scalars(0, NULL, totals, job->uses[id]->hyperparameters, job->stage_c64[id]);
    for (int j = 0; j < FO_INPUTS; j++) job->stage_c[id][j] = (float)job->stage_c64[id][j];
}

static void fo_prepare_rule(const fastopt_update *u, fo_job *job, const double *totals)
{
    job->rule->scalars(u->t, job->carry, totals, job->h, job->c64);
    for (int j = 0; j < FO_SCALARS; j++) job->c[j] = (float)job->c64[j];
}

static void fo_describe(const fastopt_update *u, void *given)
{
    fo_job *job = (fo_job *)given;
    fo_array *a = &job->a;
    memset(job, 0, sizeof *job);
    job->rule = (const fo_formula *)u->rule;
    job->h = u->hyperparameters ? u->hyperparameters : u->rule->defaults;
    a->p = (char *)u->param_out;
    a->master = u->master ? (char *)u->master : (char *)u->low_bits;
    a->split = u->low_bits != NULL;
    a->n = u->n;
    a->position = u->position;
    a->format = fo_format(u->param_format);
    a->wide = a->format == FO_FLOAT64;
    job->now.g = (const char *)u->grad;
    job->now.format = fo_format(u->grad_format);
    job->now.nearest = u->nearest;
    job->now.key = fo_key(fo_key(u->seed, (uint32_t)(u->t - 1)), (uint32_t)((u->t - 1) >> 32));
    job->now.c = job->c;
    job->now.c64 = job->c64;
    job->now.stage_c = (const float (*)[FO_INPUTS])job->stage_c;
    job->now.stage_c64 = (const double (*)[FO_INPUTS])job->stage_c64;
    job->plain = (a->format == FO_FLOAT32 || a->wide) && job->now.format == a->format && u->n_stages == 0;
    for (int32_t k = 0; k < u->rule->n_states; k++) {
        const int exact = u->rule->start_mask >> k & 1;
        a->state[k] = (char *)u->state[k];
        a->exponents[k] = u->exponents[k];
        a->formats[k] = exact ? (a->wide ? FO_FLOAT64 : FO_FLOAT32) : fo_format(u->state_format);
        if (a->formats[k] == FO_FLOAT8 && job->rule->nonnegative >> k & 1) a->formats[k] = FO_UFLOAT8;
        job->plain = job->plain && a->formats[k] == a->format;
    }
    for (int32_t j = 0; j < u->n_stages; j++) {
        const fastopt_stage_args *use = fo_stage_args_at(u, j);
        const fo_stage *stage = (const fo_stage *)use->stage;
        if (fo_is_neutral(&stage->shown, use->hyperparameters)) continue;
        job->uses[stage->number] = use;
        job->now.on |= (uint64_t)1 << stage->number;
        if (stage->limits && use->hyperparameters[0] > 0x1.fffffep127) job->now.on |= (uint64_t)1 << (stage->number + 32);
        for (int32_t k = 0; k < stage->shown.n_arrays; k++) a->stage_arrays[stage->places[k]] = (char *)use->arrays[k];
        if (!stage->shown.n_sums) fo_prepare_stage(job, stage->number, NULL);
    }
    for (int32_t j = 0; j < u->rule->n_carry; j++) job->carry[j] = u->carry_in ? u->carry_in[j] : u->rule->initial[j];
    if (!u->rule->n_sums) fo_prepare_rule(u, job, NULL);
}

/* The arrays that sums read: the parameter is not copied to param_out yet. Pointers into the job stay valid. */
static void fo_task(const fastopt_update *u, const void *job, void *task)
{
    *(fo_array *)task = ((const fo_job *)job)->a;
    ((fo_array *)task)->p = (char *)(size_t)u->param_in;
}

static void fo_span(const void *given, int64_t lo, int64_t hi)
{
    const fo_job *job = (const fo_job *)given;
    const fo_array *a = &job->a;
    const int states = job->rule->shown.n_states;
    if (job->plain && a->wide)
        job->rule->plain_f64((double *)a->p + lo, (const double *)job->now.g + lo, a->state, lo, hi - lo, job->c64, job->c64);
    else if (job->plain)
        job->rule->plain_f32((float *)a->p + lo, (const float *)job->now.g + lo, a->state, lo, hi - lo, job->c, job->c64);
    for (int64_t n; lo < hi && !job->plain; lo += n) {
        n = hi - lo < FO_BLOCK ? hi - lo : FO_BLOCK;
        if (a->wide) {
            fo_f64 e[FO_BLOCK];
            job->rule->block_f64(a, &job->now, lo, n, e);
            for (int64_t i = 0; i < n; i++) fo_store_f64(a, lo + i, states, e + i);
        } else {
            fo_f32 e[FO_BLOCK];
            job->rule->block_f32(a, &job->now, lo, n, e);
            for (int64_t i = 0; i < n; i++) fo_store_f32(a, &job->now, lo + i, states, job->rule->nonnegative, e + i);
            for (int k = 0; k < states; k++) {
                uint32_t largest = 0;
                if (a->formats[k] != FO_FLOAT8 && a->formats[k] != FO_UFLOAT8) continue;
                for (int64_t i = 0; i < n; i++) {
                    const uint32_t magnitude = fo_bits(e[i].state[k]) & 0x7fffffffu;
                    largest = magnitude > largest ? magnitude : largest;
                }
                const int exponent = fo_exponent(largest, a->formats[k] == FO_FLOAT8 ? 127 : 255);
                a->exponents[k][lo / FO_BLOCK] = (int16_t)exponent;
                for (int64_t i = 0; i < n; i++) fo_store_f8(a, &job->now, lo + i, k, exponent, e[i].state[k]);
            }
        }
    }
}

static fo_sums fo_sums_of(const void *given, int id)
{
    const fo_job *job = (const fo_job *)given;
    fo_sums found = {0, 0, 0, 0};
    if (id == FO_STAGES) {
        found.count = job->rule->shown.n_sums;
        found.squares = job->rule->squares;
        found.over_all = job->rule->over_all;
        found.mean = job->rule->mean;
    } else if (job->uses[id]) {
        found.count = job->uses[id]->stage->n_sums;
        found.squares = ((const fo_stage *)job->uses[id]->stage)->squares;
        found.over_all = ((const fo_stage *)job->uses[id]->stage)->over_all;
    }
    return found;
}

static void fo_before(const fastopt_update *u, void *given)
{
    fo_job *job = (fo_job *)given;
    if (job->rule->sums_scalars) job->rule->sums_scalars(u->t, job->carry, NULL, job->h, job->sums_c);
}

static void fo_reduce_blocks(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums sums,
                             int64_t lo,
                      int64_t hi, fo_partial *partials)
{
    int64_t k = 0;
    for (int64_t block = lo; block < hi; block++) {
        double terms[FO_SUMS * FO_BLOCK];
        const int64_t place = block * FO_BLOCK;
        memset(terms, 0, sizeof terms);
        while (k < count && starts[k] + ((const fo_array *)tasks)[k].n <= place) k++;
        for (int64_t j = k; j < count && starts[j] < place + FO_BLOCK; j++) {
            const fo_job *job = (const fo_job *)jobs + j;
            const fo_array *a = (const fo_array *)tasks + j;
            const int64_t first = starts[j] > place ? starts[j] : place;
            const int64_t last = starts[j] + a->n < place + FO_BLOCK ? starts[j] + a->n : place + FO_BLOCK;
            if (first < last && fo_sums_of(job, id).count)
                job->rule->terms(a, &job->now, first - starts[j], last - first, id, job->sums_c, terms + (first - place));
        }
        for (int j = 0; j < sums.count; j++) {
            fo_partial *partial = partials + block * sums.count + j;
            int unit = 0;
            partial->sum = sums.squares >> j & 1 ? fo_fold_squares(terms + j * FO_BLOCK, &unit) : fo_fold(terms + j * FO_BLOCK);
            partial->unit = unit;
        }
    }
}

static void fo_after(const fastopt_update *u, void *given, int id, const double *totals)
{
    if (id == FO_STAGES) fo_prepare_rule(u, (fo_job *)given, totals);
    else fo_prepare_stage((fo_job *)given, id, totals);
}

static const double *fo_carry(const void *job) { return ((const fo_job *)job)->carry; }
#endif
