/* The calls of fastopt.h, over a library of kernels that prepares updates and computes parts of them. */
#ifndef FASTOPT_APPLY_H
#define FASTOPT_APPLY_H

#include <stdlib.h>

#include "block.h"
#include "check.h"

enum { FO_GRAIN = 32768, FO_CHUNK = 4096 };  /* elements that are worth a thread; elements to copy at once */
enum { FO_MOST_SUMS = 4, FO_JOB = 8192 }; /* bytes of a job, at most */

typedef struct { /* the sums of a stage or rule */
    int count; /* 0: nothing */
    int squares; /* mask of the sums of squares */
    int over_all; /* over all updates of the call */
    int mean;
} fo_sums;

typedef struct {
    size_t job_size;  /* an update, prepared for the kernels */
    size_t task_size; /* its part that sums need in one array with the others */
    int stages, rule_at; /* number of stages, which is the rule's number among sums; the stage before which the rule runs */
    void (*describe)(const fastopt_update *u, void *job); /* with all scalars that need no sums */
    void (*task)(const fastopt_update *u, const void *job, void *task);
    void (*span)(const void *job, int64_t lo, int64_t hi);
    fo_sums (*sums)(const void *job, int id);
    void (*before)(const fastopt_update *u, void *job); /* scalars of the rule's sums */
    void (*reduce_blocks)(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums sums,
                          int64_t lo,
                   int64_t hi, fo_partial *partials);
    void (*after)(const fastopt_update *u, void *job, int id, const double *totals); /* scalars that need them */
    const double *(*carry)(const void *job);
} fo_library;

typedef struct { /* a call */
    const fo_library *library;
    const fastopt_update *updates;
    int64_t count, blocks;
    int parts;
    char *jobs, *tasks;      /* NULL: prepare each when it is needed */
    ptrdiff_t *starts[2];    /* of the sums of each update, within its blocks and within all blocks */
    int64_t space[2];
    fo_partial *partials; /* one for each sum and block */
} fo_call;

/* Update elements lo to hi, after copying them to param_out. */
static void fo_step(const fo_library *library, const fastopt_update *u, const void *job, int64_t lo, int64_t hi)
{
    const int64_t size = u->param_format == FASTOPT_FLOAT64 ? 8 : u->param_format == FASTOPT_FLOAT32 ? 4 : 2;
    if (u->param_in == u->param_out) {
        library->span(job, lo, hi);
        return;
    }
    for (int64_t end; lo < hi; lo = end) {
        end = hi - lo < FO_CHUNK ? hi : lo + FO_CHUNK;
        memcpy((char *)u->param_out + lo * size, (const char *)u->param_in + lo * size, (size_t)((end - lo) * size));
        library->span(job, lo, end);
    }
}

/* Update one part of all blocks. The part that has an update's last block also writes its carried numbers. */
static void fo_run_part(const fo_call *call, int64_t part, int64_t parts)
{
    const fo_library *library = call->library;
    const int64_t lo = call->blocks * part / parts, hi = part + 1 == parts ? call->blocks + 1 : call->blocks * (part + 1) / parts;
    double own[FO_JOB / sizeof(double)];
    fo_env env = fo_enter(0);
    int64_t first = 0;
    for (int64_t k = 0; k < call->count && first < hi; k++) {
        const fastopt_update *u = fo_update_at(call->updates, k);
        const int64_t blocks = (u->n + 255) / 256, end = first + blocks;
        if (end > lo || (end == lo && blocks == 0)) {
            const void *job = call->jobs ? call->jobs + (size_t)k * library->job_size : (char *)own;
            const int64_t from = lo > first ? (lo - first) * 256 : 0, to = hi < end ? (hi - first) * 256 : u->n;
            if (!call->jobs) library->describe(u, own);
            if (from < to) fo_step(library, u, job, from, to);
            if (u->rule->n_carry && hi >= end) memcpy(u->carry_out, library->carry(job), (size_t)u->rule->n_carry * sizeof(double));
        }
        first = end;
    }
    fo_leave(env);
}

static void fo_run_parts(const fo_call *call)
{
    if (call->parts == 1) {
        fo_run_part(call, 0, 1);
        return;
    }
#if defined(_OPENMP)
#pragma omp parallel for num_threads(call->parts) schedule(static)
#endif
    for (int part = 0; part < call->parts; part++) fo_run_part(call, part, call->parts);
}

static void fo_reduce_part(const fo_call *call, int id, fo_sums sums, int part)
{
    const int64_t blocks = call->space[sums.over_all];
    fo_env env = fo_enter(0);
    call->library->reduce_blocks(call->jobs, call->tasks, call->count, call->starts[sums.over_all], id, sums,
                          blocks * part / call->parts,
                          blocks * (part + 1) / call->parts, call->partials);
    fo_leave(env);
}

/* Compute the sums of a stage or rule, exactly from blocks that are summed in a fixed order, and the scalars that need them. */
static void fo_reduce(const fo_call *call, int id, fo_sums wanted)
{
    const fo_library *library = call->library;
    const ptrdiff_t *starts = call->starts[wanted.over_all];
    fo_total totals[FO_MOST_SUMS];
    double given[2 * FO_MOST_SUMS] = {0};
    fo_env env;
    if (call->parts == 1)
        fo_reduce_part(call, id, wanted, 0);
    else {
#if defined(_OPENMP)
#pragma omp parallel for num_threads(call->parts) schedule(static)
#endif
        for (int part = 0; part < call->parts; part++) fo_reduce_part(call, id, wanted, part);
    }
    env = fo_enter(0);
    for (int64_t k = 0; k < call->count; k++) {
        const fastopt_update *u = fo_update_at(call->updates, k);
        char *job = call->jobs + (size_t)k * library->job_size;
        const int64_t first = wanted.over_all ? 0 : starts[k] / 256;
        const int64_t end = wanted.over_all ? call->space[1] : (starts[k] + u->n + 255) / 256;
        for (int j = 0; j < wanted.count && (k == 0 || !wanted.over_all); j++) {
            fo_total_clear(totals + j);
            fo_total_add_blocks(totals + j, call->partials + first * wanted.count + j, end - first, wanted.count);
        }
        if (k == 0 || !wanted.over_all) fo_reduce_totals(totals, wanted.count, wanted.squares, wanted.mean ? (double)u->n : -1, given);
        if (library->sums(job, id).count) library->after(u, job, id, given);
    }
    fo_leave(env);
}

/* Compute all sums, in the order of the stages. */
static int32_t fo_prepare_all(const fo_call *call)
{
    const fo_library *library = call->library;
    const fastopt_rule *summing = NULL;
    for (int64_t k = 0; k < call->count; k++) {
        const fastopt_rule *rule = fo_update_at(call->updates, k)->rule;
        if (rule->n_sums && summing && rule != summing)
            return fo_fail(FASTOPT_BAD_STRUCT, "rules %s and %s both sum over arrays, expected a call for each", summing->name,
                             rule->name);
        if (rule->n_sums) summing = rule;
    }
    for (int at = 0; at <= library->stages; at++)
        for (int of_rule = at == library->rule_at; of_rule >= 0; of_rule--) {
            const int id = of_rule ? library->stages : at;
            fo_sums wanted = {0, 0, 0, 0};
            for (int64_t k = 0; k < call->count && (of_rule || at < library->stages); k++) {
                char *job = call->jobs + (size_t)k * library->job_size;
                const fo_sums sums = library->sums(job, id);
                if (sums.count) wanted = sums;
                if (sums.count && of_rule) library->before(fo_update_at(call->updates, k), job);
            }
            if (wanted.count) fo_reduce(call, id, wanted);
        }
    return FASTOPT_OK;
}

/* Make updates with sums: all are prepared before the first is made. */
static int32_t fo_apply_described(fo_call *call)
{
    const fo_library *library = call->library;
    const size_t count = (size_t)call->count;
    int64_t place = 0, blocks = 0;
    int32_t code = FASTOPT_OK;
    call->jobs = (char *)malloc(count * library->job_size);
    call->tasks = (char *)malloc(count * library->task_size + 1);
    call->starts[0] = (ptrdiff_t *)malloc(count * sizeof(ptrdiff_t));
    call->starts[1] = (ptrdiff_t *)malloc(count * sizeof(ptrdiff_t));
    call->partials = (fo_partial *)malloc(((size_t)call->blocks + 1) * FO_MOST_SUMS * sizeof(fo_partial));
    if (!call->jobs || !call->tasks || !call->starts[0] || !call->starts[1] || !call->partials)
        code = fo_fail(FASTOPT_NO_MEMORY, "no memory for %lld updates", (long long)call->count);
    for (int64_t k = 0; k < call->count && !code; k++) {
        const fastopt_update *u = fo_update_at(call->updates, k);
        char *job = call->jobs + (size_t)k * library->job_size;
        library->describe(u, job);
        library->task(u, job, call->tasks + (size_t)k * library->task_size);
        call->starts[0][k] = (ptrdiff_t)(blocks * 256);
        call->starts[1][k] = (ptrdiff_t)place;
        blocks += (u->n + 255) / 256;
        place += u->n;
    }
    call->space[0] = blocks;
    call->space[1] = (place + 255) / 256;
    if (!code) code = fo_prepare_all(call);
    if (!code) fo_run_parts(call);
    free(call->jobs);
    free(call->tasks);
    free(call->starts[0]);
    free(call->starts[1]);
    free(call->partials);
    return code;
}

/* Make all updates, on at most this many threads. */
static int32_t fo_apply(const fo_library *library, const fastopt_update *updates, int64_t count, int64_t threads)
{
    fo_call call = {0};
    const int32_t code = fo_check(updates, count, 0, 1);
    if (code || count == 0) return code;
    if (threads < 1) return fo_fail(FASTOPT_BAD_NUMBER, "%lld threads, expected at least 1", (long long)threads);
    call.library = library;
    call.updates = updates;
    call.count = count;
    call.blocks = fo_blocks(updates, count);
    call.parts = (int)(threads * FO_GRAIN <= call.blocks * 256 ? threads : call.blocks * 256 / FO_GRAIN);
    if (call.parts < 1) call.parts = 1;
    for (int64_t k = 0; k < count; k++) {
        const fastopt_update *u = fo_update_at(updates, k);
        int32_t before = u->rule->n_sums;
        for (int32_t j = 0; j < u->n_stages; j++) before += fo_stage_args_at(u, j)->stage->n_sums;
        if (call.parts > 1) before += u->rule->n_carry; /* one thread may write them before another has read them */
        if (before) return fo_apply_described(&call);
    }
    fo_run_parts(&call);
    return FASTOPT_OK;
}

static int32_t fo_apply_part(const fo_library *library, const fastopt_update *updates, int64_t count, int32_t part, int32_t parts)
{
    fo_call call = {0};
    const int32_t code = parts == 1 && part == 0 ? FASTOPT_OK : fo_check(updates, count, part, parts);
    if (code) return code;
    if (parts == 1 && part == 0) return fo_apply(library, updates, count, 1);
    call.library = library;
    call.updates = updates;
    call.count = count;
    call.blocks = fo_blocks(updates, count);
    fo_run_part(&call, part, parts);
    return FASTOPT_OK;
}
#endif
