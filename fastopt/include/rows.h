/* Dot products of rows, in a fixed order: sixteen sums, of every sixteenth product, are added in pairs; what is left of a row is added
   in parts of eight, four and one. So they have the same bits on every processor. */
#ifndef FASTOPT_ROWS_H
#define FASTOPT_ROWS_H

#include "scalar.h"

#if defined(__GNUC__)
#define FO_LANES(T, V, H)                                                \
    typedef T V __attribute__((vector_size(8 * sizeof(T))));             \
    typedef T H __attribute__((vector_size(4 * sizeof(T))));

#else
#define FO_LANES(T, V, H)                                                \
    typedef struct { T v[8]; } V;                                        \
    typedef struct { T v[4]; } H;
#endif

#if defined(__GNUC__)
#define FO_DOT(T, S, V, H)                                                                                      \
    FO_LANES(T, V, H)                                                                                           \
    FO_INLINE T fo_dot##S(const T *restrict x, const T *restrict w, ptrdiff_t n)                                \
    {                                                                                                           \
        V first = {0}, second = {0}, a, b;                                                                      \
        H low, high, four = {0};                                                                                \
        T rest = 0;                                                                                             \
        ptrdiff_t j = 0;                                                                                        \
        for (; j + 16 <= n; j += 16) {                                                                          \
            memcpy(&a, x + j, sizeof a), memcpy(&b, w + j, sizeof b);                                           \
            first += a * b;                                                                                     \
            memcpy(&a, x + j + 8, sizeof a), memcpy(&b, w + j + 8, sizeof b);                                   \
            second += a * b;                                                                                    \
        }                                                                                                       \
        if (j + 8 <= n) {                                                                                       \
            memcpy(&a, x + j, sizeof a), memcpy(&b, w + j, sizeof b);                                           \
            first += a * b;                                                                                     \
            j += 8;                                                                                             \
        }                                                                                                       \
        if (j + 4 <= n) {                                                                                       \
            memcpy(&low, x + j, sizeof low), memcpy(&high, w + j, sizeof high);                                 \
            four = low * high;                                                                                  \
            j += 4;                                                                                             \
        }                                                                                                       \
        for (; j < n; j++) rest += x[j] * w[j];                                                                 \
        first += second;                                                                                        \
        memcpy(&low, &first, sizeof low), memcpy(&high, (const char *)&first + sizeof low, sizeof high);        \
        four += low + high;                                                                                     \
        return ((four[0] + four[2]) + (four[1] + four[3])) + rest;                                              \
    }
#else
#define FO_DOT(T, S, V, H)                                                                                      \
    FO_INLINE T fo_dot##S(const T *x, const T *w, ptrdiff_t n)                                                  \
    {                                                                                                           \
        T lanes[16] = {0}, four[4] = {0}, rest = 0;                                                             \
        ptrdiff_t j = 0;                                                                                        \
        for (; j + 16 <= n; j += 16)                                                                            \
            for (int k = 0; k < 16; k++) lanes[k] += x[j + k] * w[j + k];                                       \
        for (int k = 0; k < 8 && j + 8 <= n; k++) lanes[k] += x[j + k] * w[j + k];                              \
        j += j + 8 <= n ? 8 : 0;                                                                                \
        for (int k = 0; k < 4 && j + 4 <= n; k++) four[k] = x[j + k] * w[j + k];                                \
        j += j + 4 <= n ? 4 : 0;                                                                                \
        for (; j < n; j++) rest += x[j] * w[j];                                                                 \
        for (int k = 0; k < 8; k++) lanes[k] += lanes[8 + k];                                                   \
        for (int k = 0; k < 4; k++) four[k] += lanes[k] + lanes[4 + k];                                         \
        return ((four[0] + four[2]) + (four[1] + four[3])) + rest;                                              \
    }
#endif
FO_DOT(double, , fo_double8, fo_double4)
FO_DOT(float, f, fo_float8, fo_float4)

/* Asks for memory that will be read soon. */
FO_INLINE void fo_expect(const char *x, ptrdiff_t bytes)
{
#if defined(__GNUC__)
    for (ptrdiff_t k = 0; k < bytes; k += 64) __builtin_prefetch(x + k);
#else
    (void)x, (void)bytes;
#endif
}
#endif
