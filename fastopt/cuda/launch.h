/* A step of many arrays on a CUDA device: arguments of all kernels, and the division of work among threads. */
#include "element.h"

#define FO_KERNEL extern "C" __global__ void
/* Parameters of each kernel, which runs in blocks of 256 threads. */
#define FO_ARGUMENTS const fo_plan *plan, int64_t x, int64_t y, int64_t z

typedef struct { /* arguments of a step of one parameter */
    const char *g;
    int64_t t;       /* steps made */
    uint64_t on;     /* mask of active stages; 32 above: clipping beyond the range of floats */
    uint64_t summed; /* mask of stages with sums */
    int32_t format;  /* of the gradient */
    int32_t active;  /* has one */
    int32_t known;   /* a parameter whose carried numbers one without gradient takes over; -1: none */
    int32_t clear;   /* zero the gradient after use */
    const int64_t *rows; /* ascending rows of the gradient */
    int64_t n_rows, row; /* number of rows, -1: dense; elements of a row */
    int64_t every;       /* the other rows are updated too, with zero gradients */
} fo_step_args;

typedef struct {
    const fo_array *arrays;
    const fo_step_args *args;
    const int64_t *order;  /* first block of each parameter in the index space of steps, and its number; sorted by rule */
    const int64_t *ranges; /* first block and end of the sums of each parameter, each group, and all */
    const double *h;       /* hyperparameters of each group: rule, fallback, each stage */
    const double *carry;   /* carried numbers of each parameter, before and after the step */
    double *carry_after;
    double *c64; /* scalars of each parameter: of its rule, its sums and its stages, as doubles and as floats */
    double *sums_c;
    double *stage_c64;
    float *c;
    float *stage_c;
    fo_partial *partials; /* sums of each block, FO_SUMS apart */
    double *totals;       /* FO_TOTALS for each stage and for rules: of each parameter, of each group, or once */
    int64_t n, groups, room;
    int64_t spaces[3];
    uint32_t key;
    int32_t nearest;
} fo_plan;

enum { FO_OF_GROUP = 2 * FO_SCALARS + FO_STAGES * FO_INPUTS };

/* An element in float or in double. */
template <class real> struct fo_element;
template <> struct fo_element<float> : fo_f32 {};
template <> struct fo_element<double> : fo_f64 {};
template <class real> FO_INLINE void fo_fetch_gradient(const fo_now *now, int64_t i, fo_element<real> *e)
{
    e->w = fo_read_f64(now->g, now->format, i);
}
FO_INLINE void fo_fetch(const fo_array *a, const fo_now *now, int64_t i, int n, fo_f32 *e) { fo_fetch_f32(a, now, i, n, e); }
FO_INLINE void fo_fetch(const fo_array *a, const fo_now *now, int64_t i, int n, fo_f64 *e) { fo_fetch_f64(a, now, i, n, e); }
FO_INLINE const float *fo_c(const fo_now *now, const fo_f32 *) { return now->c; }
FO_INLINE const double *fo_c(const fo_now *now, const fo_f64 *) { return now->c64; }
FO_INLINE const float *fo_stage_c(const fo_now *now, int id, const fo_f32 *) { return now->stage_c[id]; }
FO_INLINE const double *fo_stage_c(const fo_now *now, int id, const fo_f64 *) { return now->stage_c64[id]; }
FO_INLINE float *fo_stage_array(const fo_array *a, int k, int64_t i, const fo_f32 *) { return fo_stage_array_f32(a, k, i); }
FO_INLINE double *fo_stage_array(const fo_array *a, int k, int64_t i, const fo_f64 *) { return fo_stage_array_f64(a, k, i); }

/* Defined in kernels.cu: the active stages of an element before and after its rule, up to stage `last`; scope and terms of
   their sums; their scalars. */
template <class real> FO_INLINE void before(const fo_array *a, const fo_now *now, int64_t i, int last, fo_element<real> *e);
template <class real> FO_INLINE void after(const fo_array *a, const fo_now *now, int64_t i, int last, int velocity,
    fo_element<real> *e);
template <class real> FO_INLINE void stage_terms(int id, const fo_array *a, int64_t i, const fo_element<real> *e, double *out);
FO_INLINE int stage_scope(int id);
FO_INLINE int stage_squares(int id);
FO_INLINE void stage_scalars(int id, const double *sums, const double *h, double *c);

/* Defaults of a rule. */
struct fo_rule {
    enum { states = 0, velocity = 0, nonnegative = 0, scratch = 0, squares = 0, prepares_sums = 0, prepares_terms = 0 };
    FO_INLINE void sums_scalars(int64_t, double *, const double *, const double *, double *) {}
    FO_INLINE void terms_scalars(int64_t, double *, const double *, const double *, double *) {}
    template <class real> FO_INLINE void sums(const fo_element<real> *, const double *, double *) {}
    template <class real> FO_INLINE void terms(const fo_element<real> *, const double *, double *) {}
};

/* The place of a parameter's sums, among those of a scope. */
FO_INLINE int fo_targets(const fo_plan *plan, int scope, int64_t k)
{
    return scope == FO_ARRAY ? (int)k : scope == FO_GROUP ? plan->arrays[k].origin : 0;
}

FO_INLINE const double *fo_totals(const fo_plan *plan, int id, int scope, int64_t k)
{
    return plan->totals + (id * plan->room + fo_targets(plan, scope, k)) * FO_TOTALS;
}

/* The parameter of a block in the index space of steps, and this thread's element of it. */
FO_INLINE int64_t fo_find(const fo_plan *plan, int64_t block, int64_t *i)
{
    int64_t lo = 0, hi = plan->n;
    while (hi - lo > 1) {
        int64_t middle = (lo + hi) / 2;
        if (plan->order[2 * middle] <= block) lo = middle;
        else hi = middle;
    }
    *i = (block - plan->order[2 * lo]) * FO_BLOCK + threadIdx.x;
    return plan->order[2 * lo + 1];
}

/* The parameter at a place of an index space of sums. */
FO_INLINE int64_t fo_find_place(const fo_plan *plan, int scope, int64_t place)
{
    int64_t lo = 0, hi = plan->n;
    while (hi - lo > 1) {
        int64_t middle = (lo + hi) / 2;
        if (plan->arrays[middle].starts[scope] <= place) lo = middle;
        else hi = middle;
    }
    return lo;
}

FO_INLINE fo_now fo_now_of(const fo_plan *plan, int64_t k)
{
    const fo_step_args *args = plan->args + k;
    fo_now now;
    now.g = args->g;
    now.format = args->format;
    now.nearest = plan->nearest;
    now.key = plan->key;
    now.on = args->on;
    now.c = plan->c + k * FO_SCALARS;
    now.c64 = plan->c64 + k * FO_SCALARS;
    now.stage_c = (const float (*)[FO_INPUTS])(plan->stage_c + k * FO_STAGES * FO_INPUTS);
    now.stage_c64 = (const double (*)[FO_INPUTS])(plan->stage_c64 + k * FO_STAGES * FO_INPUTS);
    return now;
}

FO_INLINE int fo_size(int32_t format) { return format == FO_FLOAT64 ? 8 : format == FO_FLOAT32 ? 4 : 2; }

/* True if the gradient has the row of element i. `now->g` then moves so that index i is that element. */
FO_INLINE int fo_has(const fo_step_args *args, int64_t i, fo_now *now)
{
    if (args->n_rows < 0) return 1;
    int64_t lo = 0, hi = args->n_rows;
    const int64_t row = i / args->row;
    while (lo < hi) {
        const int64_t middle = (lo + hi) / 2;
        if (args->rows[middle] < row) lo = middle + 1;
        else hi = middle;
    }
    now->g += (lo - row) * args->row * fo_size(now->format);
    return lo < args->n_rows && args->rows[lo] == row;
}

/* True if the step updates a j-th element. */
FO_INLINE int fo_inside(const fo_array *a, const fo_step_args *args, int64_t j)
{
    return j < (args->n_rows < 0 || args->every ? a->n : args->n_rows * args->row);
}

__device__ static const double fo_zero = 0;

/* The parameter's element that is updated as the j-th. `now->g` moves so that the same index is its gradient. */
FO_INLINE int64_t fo_place(const fo_step_args *args, int64_t j, fo_now *now)
{
    if (args->n_rows < 0) return j;
    if (args->every) {
        if (!fo_has(args, j, now)) now->g = (const char *)&fo_zero - j * fo_size(now->format);
        return j;
    }
    const int64_t i = args->rows[j / args->row] * args->row + j % args->row;
    now->g += (j - i) * fo_size(now->format);
    return i;
}

/* Hyperparameters of a parameter's rule. */
FO_INLINE const double *fo_hyperparameters(const fo_plan *plan, int64_t k)
{
    return plan->h + plan->arrays[k].group * FO_OF_GROUP + (plan->arrays[k].fallback ? FO_SCALARS : 0);
}

/* Store the 8-bit floats of a block, which share an exponent. All threads must call this. */
FO_INLINE void fo_store_blocks(const fo_array *a, const fo_now *now, int64_t i, int64_t first, int states, const fo_f32 *e)
{
    __shared__ uint32_t largest[FO_BLOCK];
    for (int k = 0; k < states; k++) {
        if (a->formats[k] != FO_FLOAT8 && a->formats[k] != FO_UFLOAT8) continue;
        __syncthreads();
        largest[threadIdx.x] = i < a->n ? fo_bits(e->state[k]) & 0x7fffffffu : 0u;
        for (unsigned width = FO_BLOCK / 2; width > 0; width /= 2) {
            __syncthreads();
            if (threadIdx.x < width && largest[threadIdx.x + width] > largest[threadIdx.x])
                largest[threadIdx.x] = largest[threadIdx.x + width];
        }
        __syncthreads();
        int exponent = fo_exponent(largest[0], a->formats[k] == FO_FLOAT8 ? 127 : 255);
        if (i < a->n) fo_store_f8(a, now, i, k, exponent, e->state[k]);
        if (threadIdx.x == 0) a->exponents[k][first / FO_BLOCK] = (int16_t)exponent;
    }
}

FO_INLINE void fo_clear(const fo_step_args *args, int64_t i)
{
    char *g = (char *)args->g;
    switch (args->format) {
    case FO_BFLOAT16: case FO_FLOAT16: ((uint16_t *)g)[i] = 0; break;
    case FO_FLOAT64: ((double *)g)[i] = 0; break;
    default: ((float *)g)[i] = 0;
    }
}

#include "fold.h"

/* Read a row's or column's average; update it with weight w. */
FO_INLINE double fo_average(const fo_array *a, int k, int64_t i)
{
    return a->wide ? ((const double *)a->state[k])[i] : (double)((const float *)a->state[k])[i];
}
FO_INLINE void fo_join(const fo_array *a, int k, int64_t i, double x, double w)
{
    x = w == 1 ? x : (1 - w) * fo_average(a, k, i) + w * x;
    if (a->wide) ((double *)a->state[k])[i] = x;
    else ((float *)a->state[k])[i] = (float)x;
}

/* Add the sums of blocks exactly, for each parameter, each group, or all, and write the numbers that scalars take. `y` has the
   scope, whether they are means, and the mask of squares. Each thread adds some blocks, then all add their limbs. */
FO_KERNEL add_blocks(const fo_plan *plan, int64_t id, int64_t y, int64_t targets)
{
    const int scope = (int)y & 3, mean = (int)y >> 2 & 1, squares = (int)(y >> 3), thread = (int)threadIdx.x;
    const int sum = thread % FO_SUMS, lane = thread / FO_SUMS, lanes = FO_BLOCK / FO_SUMS;
    __shared__ fo_total totals[FO_SUMS];
    __shared__ double specials[FO_BLOCK];
    int place = sum; /* of its first number, among those of all sums */
    for (int j = 0; j < sum; j++) place += squares >> j & 1;
    for (int64_t target = blockIdx.x; target < targets; target += gridDim.x) {
        const int64_t *range = plan->ranges + 2 * (target + (scope == FO_ARRAY ? 0 : scope == FO_GROUP
            ? plan->n : plan->n + plan->groups));
        const int64_t blocks = range[1] - range[0];
        fo_total own;
        __syncthreads();
        for (int k = thread; k < FO_SUMS * FO_LIMBS; k += FO_BLOCK) totals[k / FO_LIMBS].limbs[k % FO_LIMBS] = 0;
        __syncthreads();
        fo_total_clear(&own);
        for (int64_t block = range[0] + lane; block < range[1]; block += lanes) {
            const fo_partial *partial = plan->partials + FO_SUMS * block + sum;
            fo_total_add(&own, partial->sum, (int)partial->unit);
        }
        if (own.count == 1 && blocks > 1) fo_total_spread(&own, own.first, own.unit);
        for (int k = own.lo; k < own.hi; k++)
            atomicAdd((unsigned long long *)&totals[sum].limbs[k], (unsigned long long)own.limbs[k]);
        specials[thread] = own.special;
        __syncthreads();
        if (lane > 0) continue;
        if (blocks > 1) {
            fo_total_clear(&own);
            for (int i = 0; i < lanes; i++) own.special = own.special + specials[i * FO_SUMS + sum];
            for (int k = 0; k < FO_LIMBS; k++) own.limbs[k] = totals[sum].limbs[k];
            own.count = blocks;
            own.hi = FO_LIMBS;
        }
        fo_reduce_totals(&own, 1, squares >> sum & 1, mean ? (double)plan->arrays[target].n : -1,
                        plan->totals + (id * plan->room + target) * FO_TOTALS + place);
    }
}

/* Compute the scalars of the stages in mask `x`, for each parameter. */
FO_KERNEL prepare_stages(FO_ARGUMENTS)
{
    for (int64_t k = blockIdx.x * (int64_t)FO_BLOCK + threadIdx.x; k < plan->n; k += gridDim.x * (int64_t)FO_BLOCK)
        for (int id = 0; id < FO_STAGES; id++) {
            if (!(x >> id & 1) || !(plan->args[k].on >> id & 1)) continue;
            const double *h = plan->h + plan->arrays[k].group * FO_OF_GROUP + 2 * FO_SCALARS + id * FO_INPUTS;
            double c[FO_INPUTS] = {0, 0, 0, 0};
            stage_scalars(id, fo_totals(plan, id, stage_scope(id), k), h, c);
            for (int j = 0; j < FO_INPUTS; j++) {
                plan->stage_c64[(k * FO_STAGES + id) * FO_INPUTS + j] = c[j];
                plan->stage_c[(k * FO_STAGES + id) * FO_INPUTS + j] = (float)c[j];
            }
        }
}

template <class real> FO_INLINE void fo_gradient_terms(const fo_array *a, const fo_now *now, int64_t i, int id, double *out)
{
    fo_element<real> e;
    fo_fetch_gradient(now, i, &e);
    before(a, now, i, id, &e);
    stage_terms(id, a, i, &e, out);
}

/* Compute the sums of each block of the gradients for stage `x`, in the index space of scope `y`. */
FO_KERNEL sum_gradients(FO_ARGUMENTS)
{
    for (int64_t block = blockIdx.x; block < plan->spaces[y]; block += gridDim.x) {
        const int64_t place = block * FO_BLOCK + threadIdx.x, k = fo_find_place(plan, (int)y, place);
        const fo_array *a = plan->arrays + k;
        const int64_t i = place - a->starts[y];
        double terms[FO_SUMS] = {0, 0, 0, 0};
        if (i < a->n && plan->args[k].active && plan->args[k].summed >> x & 1) {
            fo_now now = fo_now_of(plan, k);
            if (!fo_has(plan->args + k, i, &now)) {}
            else if (a->wide) fo_gradient_terms<double>(a, &now, i, (int)x, terms);
            else fo_gradient_terms<float>(a, &now, i, (int)x, terms);
        }
        fo_fold_block(terms, stage_squares((int)x), plan->partials + block * FO_SUMS);
    }
}

template <class real> FO_INLINE void fo_gather(const fo_array *a, const fo_now *now, int64_t i, int last)
{
    fo_element<real> e;
    fo_fetch_gradient(now, i, &e);
    before(a, now, i, last, &e);
}

/* Accumulate gradients in blocks `x` to `y`, by the stages before `z`. */
FO_KERNEL gather_gradients(FO_ARGUMENTS)
{
    for (int64_t block = x + blockIdx.x; block < y; block += gridDim.x) {
        int64_t i;
        const int64_t k = fo_find(plan, block, &i);
        const fo_array *a = plan->arrays + k;
        if (i >= a->n || !plan->args[k].active) continue;
        const fo_now now = fo_now_of(plan, k);
        if (a->wide) fo_gather<double>(a, &now, i, (int)z);
        else fo_gather<float>(a, &now, i, (int)z);
        if (plan->args[k].clear) fo_clear(plan->args + k, i);
    }
}

/* Compute the scalars of rule `z` for its parameters; or those of its sums (scope `y`) or terms, if `x` says so. */
template <class Rule> FO_INLINE void fo_prepare(FO_ARGUMENTS)
{
    for (int64_t k = blockIdx.x * (int64_t)FO_BLOCK + threadIdx.x; k < plan->n; k += gridDim.x * (int64_t)FO_BLOCK) {
        if (plan->arrays[k].rule != z) continue;
        const int64_t from = plan->args[k].active ? k : plan->args[k].known;
        double carry[FO_CARRY], c[FO_SCALARS] = {0};
        for (int j = 0; j < FO_CARRY; j++) carry[j] = plan->carry[(from < 0 ? k : from) * FO_CARRY + j];
        if (from >= 0) {
            const double *h = fo_hyperparameters(plan, from);
            const int64_t t = plan->args[from].t + 1;
            if (x == FO_STAGES) Rule::sums_scalars(t, carry, 0, h, c);
            else if (x == FO_TERMS) Rule::terms_scalars(t, carry, 0, h, c);
            else {
                double sums[FO_TOTALS];
                for (int j = 0; j < FO_TOTALS; j++) sums[j] = fo_totals(plan, FO_STAGES, (int)y, from)[j];
                Rule::scalars(t, carry, sums, h, c);
            }
        }
        for (int j = 0; j < FO_SCALARS; j++) {
            if (x >= FO_STAGES) {
                plan->sums_c[k * FO_SCALARS + j] = c[j];
                continue;
            }
            plan->c64[k * FO_SCALARS + j] = c[j];
            plan->c[k * FO_SCALARS + j] = (float)c[j];
        }
        for (int j = 0; j < FO_CARRY && x < FO_STAGES; j++) plan->carry_after[k * FO_CARRY + j] = carry[j];
    }
}

/* Run an element's rule, and the stages after it up to `last`. */
template <class Rule, class real> FO_INLINE void fo_update(const fo_array *a, const fo_now *now, int64_t i, int last,
   fo_element<real> *e)
{
    e->u = Rule::update(e->p, e->g, e->state, fo_c(now, e), now->c64);
    after(a, now, i, last, Rule::velocity, e);
}

template <class Rule, class real> FO_INLINE void fo_step_of(const fo_array *a, const fo_now *now, int64_t i, fo_element<real> *e)
{
    fo_fetch(a, now, i, Rule::states, e);
    before(a, now, i, FO_STAGES, e);
    empty_used(a, now, i, e);
    fo_update<Rule>(a, now, i, FO_STAGES, e);
}

/* Update blocks `x` to `y`. */
template <class Rule> FO_INLINE void fo_step(FO_ARGUMENTS)
{
    for (int64_t block = x + blockIdx.x; block < y; block += gridDim.x) {
        int64_t j;
        const int64_t k = fo_find(plan, block, &j);
        const fo_array *a = plan->arrays + k;
        const fo_step_args *args = plan->args + k;
        if (!args->active) continue;
        fo_now now = fo_now_of(plan, k);
        const int inside = fo_inside(a, args, j);
        const int64_t i = inside ? fo_place(args, j, &now) : a->n;
        if (a->wide) {
            fo_element<double> e;
            if (inside) {
                fo_step_of<Rule>(a, &now, i, &e);
                fo_store_f64(a, i, Rule::states, &e);
            }
        } else {
            fo_element<float> e;
            if (inside) {
                fo_step_of<Rule>(a, &now, i, &e);
                fo_store_f32(a, &now, i, Rule::states, Rule::nonnegative, &e);
            }
            fo_store_blocks(a, &now, i, (block - plan->arrays[k].first) * FO_BLOCK, Rule::states, &e);
        }
        if (inside && args->clear) fo_clear(args, j);
    }
}

#include "sums.h"
