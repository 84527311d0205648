/* Checks of the C interface, before anything changes, and their messages. */
#ifndef FASTOPT_CHECK_H
#define FASTOPT_CHECK_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fastopt.h"

#if defined(__GNUC__)
#define FO_OF_THREAD __thread
#elif defined(_MSC_VER)
#define FO_OF_THREAD __declspec(thread)
#else
#define FO_OF_THREAD
#endif

enum { FO_MOST_STAGES = 24 };
#define FO_MOST ((int64_t)1 << 46) /* elements of a call: more than any memory holds */

static FO_OF_THREAD char fo_said[256];
static const char fo_owner = 0; /* its address identifies this library */

static int32_t fo_fail(int32_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fo_said, sizeof fo_said, format, arguments);
    va_end(arguments);
    return code;
}

/* Updates of a newer program may be longer. */
static inline const fastopt_update *fo_update_at(const fastopt_update *updates, int64_t k)
{
    return (const fastopt_update *)((const char *)updates + (size_t)k * updates->size);
}

static inline const fastopt_stage_args *fo_stage_args_at(const fastopt_update *u, int32_t j)
{
    return (const fastopt_stage_args *)((const char *)u->stages + (size_t)j * u->stages->size);
}

static int32_t fo_check_stage_args(const fastopt_stage_args *use, int64_t k, int64_t n)
{
    const fastopt_stage *stage = use->stage;
    if (use->size < sizeof *use)
        return fo_fail(FASTOPT_BAD_STRUCT, "update %lld: a stage of size %zu, expected %zu", (long long)k, use->size,
                         sizeof *use);
    if (stage == NULL || stage->owner != &fo_owner)
        return fo_fail(FASTOPT_BAD_STRUCT, "update %lld: a stage that this library does not have", (long long)k);
    if (use->hyperparameters == NULL && stage->n_hyperparameters)
        return fo_fail(FASTOPT_BAD_POINTER, "update %lld, stage %s: hyperparameters are NULL", (long long)k, stage->name);
    for (int32_t j = 0; j < stage->n_hyperparameters; j++)
        if (!(stage->lower[j] <= use->hyperparameters[j] && use->hyperparameters[j] <= stage->upper[j]))
            return fo_fail(FASTOPT_BAD_NUMBER, "update %lld, stage %s: %s is %g, expected %g to %g", (long long)k, stage->name,
                             stage->hyperparameters[j], use->hyperparameters[j], stage->lower[j], stage->upper[j]);
    for (int32_t j = 0; j < stage->n_arrays; j++)
        if (use->arrays[j] == NULL && n)
            return fo_fail(FASTOPT_BAD_POINTER, "update %lld, stage %s: array %s is NULL", (long long)k, stage->name,
                stage->arrays[j]);
    return FASTOPT_OK;
}

/* True if two arrays of n numbers in one format have a byte in common. */
static inline int fo_overlap(const void *a, const void *b, int64_t n, int32_t format)
{
    const uintptr_t bytes = (uintptr_t)n * (format == FASTOPT_FLOAT64 ? 8 : format == FASTOPT_FLOAT32 ? 4 : 2);
    return (uintptr_t)a < (uintptr_t)b + bytes && (uintptr_t)b < (uintptr_t)a + bytes;
}

static inline int64_t fo_bytes_of(int32_t format)
{
    return format == FASTOPT_FLOAT64 ? 8 : format == FASTOPT_FLOAT32 ? 4 : format == FASTOPT_FLOAT8 ? 1 : 2;
}

typedef struct { /* one array of an update */
    uintptr_t first, end;
    const char *name;
    int written;
} fo_extent;

/* Refuse arrays that share memory with one that the update writes, and arrays that are not aligned. */
static int32_t fo_check_memory(const fastopt_update *u, long long at)
{
    fo_extent all[4 + 2 * FASTOPT_STATES + FO_MOST_STAGES * FASTOPT_ARRAYS];
    const int64_t real = u->param_format == FASTOPT_FLOAT64 ? 8 : 4;
    int count = 0;
#define FO_ADD(pointer, name, items, size, written)                                                                          \
    if ((pointer) != NULL) {                                                                                                  \
        if ((uintptr_t)(pointer) % (uintptr_t)(size))                                                                         \
            return fo_fail(FASTOPT_BAD_POINTER, "update %lld: %s is not aligned to its %d bytes", at, name, (int)(size));    \
        all[count++] = (fo_extent){(uintptr_t)(pointer), (uintptr_t)(pointer) + (uintptr_t)((items) * (size)), name, written}; \
    }
    FO_ADD(u->param_out, "the parameter", u->n, fo_bytes_of(u->param_format), 1)
    if (u->param_in != u->param_out) FO_ADD(u->param_in, "param_in", u->n, fo_bytes_of(u->param_format), 0)
    FO_ADD(u->grad, "grad", u->n, fo_bytes_of(u->grad_format), 0)
    FO_ADD(u->master, "master", u->n, 4, 1)
    FO_ADD(u->low_bits, "low_bits", u->n, 2, 1)
    for (int32_t j = 0; j < u->rule->n_states; j++) {
        const int exact = u->rule->start_mask >> j & 1;
        FO_ADD(u->state[j], u->rule->states[j], u->n, exact ? real : fo_bytes_of(u->state_format), 1)
        if (!exact && u->state_format == FASTOPT_FLOAT8) FO_ADD(u->exponents[j], "exponents", (u->n + 255) / 256, 2, 1)
    }
    for (int32_t j = 0; j < u->n_stages; j++) { /* Bound of n_stages, since no stage may be twice. */
        const fastopt_stage_args *use = fo_stage_args_at(u, j);
        for (int32_t k = 0; k < use->stage->n_arrays; k++) {
            const char *name = use->stage->arrays[k];
            FO_ADD(use->arrays[k], name, u->n, real, strcmp(name, "averaged") == 0)
        }
    }
#undef FO_ADD
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if ((all[i].written || all[j].written) && all[i].first < all[j].end && all[j].first < all[i].end)
                return fo_fail(FASTOPT_BAD_POINTER, "update %lld: %s and %s share memory", at, all[i].name, all[j].name);
    return FASTOPT_OK;
}

/* Check formats and pointers. */
static int32_t fo_check_arrays(const fastopt_update *u, long long at)
{
    const fastopt_rule *rule = u->rule;
    if ((uint32_t)u->param_format > FASTOPT_FLOAT16 || (uint32_t)u->grad_format > FASTOPT_FLOAT16
        || (uint32_t)u->state_format > FASTOPT_FLOAT8
        || (u->param_format == FASTOPT_FLOAT64 ? rule->n_states && u->state_format != FASTOPT_FLOAT64
                                               : u->state_format == FASTOPT_FLOAT64))
        return fo_fail(FASTOPT_BAD_FORMAT, "update %lld: parameter, gradient and state in formats %d, %d and %d", at,
                         (int)u->param_format, (int)u->grad_format, (int)u->state_format);
    if ((u->master || u->low_bits) && (u->param_format != FASTOPT_BFLOAT16 || (u->master && u->low_bits)))
        return fo_fail(FASTOPT_BAD_FORMAT, "update %lld: master or low_bits, expected one of them, of a bfloat16 parameter", at);
    if (u->n && (u->param_in == NULL || u->param_out == NULL || u->grad == NULL))
        return fo_fail(FASTOPT_BAD_POINTER, "update %lld: %s is NULL", at, u->grad == NULL ? "grad" : "the parameter");
    if ((u->master || u->low_bits) && u->param_in != u->param_out)
        return fo_fail(FASTOPT_BAD_POINTER,
                       "update %lld: a parameter with master or low_bits, expected param_out to be param_in", at);
    if (u->param_in != u->param_out && fo_overlap(u->param_in, u->param_out, u->n, u->param_format))
        return fo_fail(FASTOPT_BAD_POINTER, "update %lld: param_in and param_out overlap, expected one array or two", at);
    for (int32_t j = 0; j < rule->n_states && u->n; j++)
        if (u->state[j] == NULL || (u->state_format == FASTOPT_FLOAT8 && !(rule->start_mask >> j & 1) && u->exponents[j] == NULL))
            return fo_fail(FASTOPT_BAD_POINTER, "update %lld: state %s, or its exponents, is NULL", at, rule->states[j]);
    return FASTOPT_OK;
}

/* Check hyperparameters and carried numbers. */
static int32_t fo_check_numbers(const fastopt_update *u, long long at, int32_t parts)
{
    const fastopt_rule *rule = u->rule;
    for (int32_t j = 0; j < rule->n_hyperparameters && !u->hyperparameters; j++)
        if (rule->defaults[j] != rule->defaults[j])
            return fo_fail(FASTOPT_BAD_POINTER, "update %lld: hyperparameters are NULL, and %s has no default", at,
                rule->hyperparameters[j]);
    for (int32_t j = 0; j < rule->n_hyperparameters && u->hyperparameters; j++)
        if (!(rule->lower[j] <= u->hyperparameters[j] && u->hyperparameters[j] <= rule->upper[j]))
            return fo_fail(FASTOPT_BAD_NUMBER, "update %lld: %s is %g, expected %g to %g", at, rule->hyperparameters[j],
                             u->hyperparameters[j], rule->lower[j], rule->upper[j]);
    if (rule->n_carry && (u->carry_out == NULL || (u->carry_in == NULL && u->t > 1) || (parts > 1 && u->carry_in == u->carry_out)))
        return fo_fail(FASTOPT_BAD_POINTER,
            "update %lld: carry_in and carry_out of %d numbers, expected both, and of several parts different ones",
                         at, (int)rule->n_carry);
    return FASTOPT_OK;
}

/* Check the stages, and add the number of their sums to `sums`. */
static int32_t fo_check_stages(const fastopt_update *u, long long at, int32_t *sums)
{
    if (u->n_stages < 0) return fo_fail(FASTOPT_BAD_NUMBER, "update %lld: %d stages, expected 0 or more", at, (int)u->n_stages);
    if (u->n_stages && u->stages == NULL)
        return fo_fail(FASTOPT_BAD_POINTER, "update %lld: stages are NULL", at);
    for (int32_t j = 0; j < u->n_stages; j++) {
        const fastopt_stage_args *use = fo_stage_args_at(u, j);
        const int32_t code = fo_check_stage_args(use, at, u->n);
        if (code) return code;
        *sums += use->stage->n_sums;
        for (int32_t i = 0; i < j; i++)
            if (fo_stage_args_at(u, i)->stage == use->stage)
                return fo_fail(FASTOPT_BAD_STRUCT, "update %lld: stage %s twice", at, use->stage->name);
    }
    return FASTOPT_OK;
}

static int32_t fo_check_update(const fastopt_update *u, int64_t k, int32_t parts)
{
    const long long at = (long long)k;
    const fastopt_rule *rule = u->rule;
    int32_t code, sums = 0;
    if (rule == NULL || rule->owner != &fo_owner)
        return fo_fail(FASTOPT_BAD_STRUCT, "update %lld: a rule that this library does not have", at);
    if (u->n < 0 || u->n > FO_MOST)
        return fo_fail(FASTOPT_BAD_NUMBER, "update %lld: %lld elements, expected 0 to 2**46", at, (long long)u->n);
    if (u->t < 1 || u->t >= (int64_t)1 << 62)
        return fo_fail(FASTOPT_BAD_NUMBER, "update %lld: t is %lld, expected the number of this step: 1, 2, ...", at,
            (long long)u->t);
    code = fo_check_arrays(u, at);
    if (code == FASTOPT_OK) code = fo_check_numbers(u, at, parts);
    if (code == FASTOPT_OK) code = fo_check_stages(u, at, &sums);
    if (code == FASTOPT_OK && u->n) code = fo_check_memory(u, at);
    if (code) return code;
    if (sums + rule->n_sums && parts > 1)
        return fo_fail(FASTOPT_BAD_PART, "update %lld: rule %s or a stage sums over whole arrays, expected one part", at,
            rule->name);
    return FASTOPT_OK;
}

static int32_t fo_check(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts)
{
    if (count < 0) return fo_fail(FASTOPT_BAD_NUMBER, "%lld updates, expected 0 or more", (long long)count);
    if (count && updates == NULL) return fo_fail(FASTOPT_BAD_POINTER, "%lld updates at NULL, expected an array", (long long)count);
    if (parts < 1 || part < 0 || part >= parts)
        return fo_fail(FASTOPT_BAD_NUMBER, "part %d of %d, expected 0 <= part < parts", (int)part, (int)parts);
    int64_t all = 0;
    for (int64_t k = 0; k < count; k++) {
        const fastopt_update *u = fo_update_at(updates, k);
        int32_t code;
        if (u->size < sizeof *u || u->size != updates->size)
            return fo_fail(FASTOPT_BAD_STRUCT, "update %lld: size %zu, expected %zu", (long long)k, u->size, sizeof *u);
        code = fo_check_update(u, k, parts);
        if (code) return code;
        all += u->n;
        if (all > FO_MOST)
            return fo_fail(FASTOPT_BAD_NUMBER, "update %lld: with those before, %lld elements, expected at most 2**46",
                           (long long)k, (long long)all);
    }
    return FASTOPT_OK;
}

/* Count elements, and blocks of 256, of all updates. */
static int64_t fo_blocks(const fastopt_update *updates, int64_t count)
{
    int64_t blocks = 0;
    for (int64_t k = 0; k < count; k++) blocks += (fo_update_at(updates, k)->n + 255) / 256;
    return blocks;
}
#endif
