/* Dot products of rows, in a fixed order: sixteen sums, of every sixteenth product, whole vectors of 32 bytes that are left, and single
   products. So they have the same bits on every processor. Wider vectors would go through memory where registers hold 32 bytes. */
#ifndef FASTOPT_ROWS_H
#define FASTOPT_ROWS_H

#include "scalar.h"

#if defined(__GNUC__)
#define FO_VECTOR(T, V) typedef T V __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
#define FO_MULTIPLY(T, V, sum, x, w) sum += *(const V *)(x) * *(const V *)(w)
#define FO_ADD(V, a, b) a += b
#define FO_AT(a, k) a[k]
#else
#define FO_VECTOR(T, V) typedef struct { T v[32 / sizeof(T)]; } V;
#define FO_MULTIPLY(T, V, sum, x, w) for (int k = 0; k < (int)(32 / sizeof(T)); k++) sum.v[k] += (x)[k] * (w)[k]
#define FO_ADD(V, a, b) for (int k = 0; k < (int)(sizeof(V) / sizeof a.v[0]); k++) a.v[k] += b.v[k]
#define FO_AT(a, k) a.v[k]
#endif
FO_VECTOR(double, fo_doubles)
FO_VECTOR(float, fo_floats)

FO_INLINE double fo_dot(const double *x, const double *w, ptrdiff_t n)
{
    fo_doubles a = {0}, b = {0}, c = {0}, d = {0};
    double rest = 0;
    ptrdiff_t j = 0;
    if (n < 4) { /* the sums would stay 0 */
        for (; j < n; j++) rest += x[j] * w[j];
        return rest;
    }
    for (; j + 16 <= n; j += 16) {
        FO_MULTIPLY(double, fo_doubles, a, x + j, w + j);
        FO_MULTIPLY(double, fo_doubles, b, x + j + 4, w + j + 4);
        FO_MULTIPLY(double, fo_doubles, c, x + j + 8, w + j + 8);
        FO_MULTIPLY(double, fo_doubles, d, x + j + 12, w + j + 12);
    }
    if (j + 8 <= n) {
        FO_MULTIPLY(double, fo_doubles, a, x + j, w + j);
        FO_MULTIPLY(double, fo_doubles, b, x + j + 4, w + j + 4);
        j += 8;
    }
    if (j + 4 <= n) {
        FO_MULTIPLY(double, fo_doubles, c, x + j, w + j);
        j += 4;
    }
    for (; j < n; j++) rest += x[j] * w[j];
    FO_ADD(fo_doubles, a, b);
    FO_ADD(fo_doubles, c, d);
    FO_ADD(fo_doubles, a, c);
    return ((FO_AT(a, 0) + FO_AT(a, 2)) + (FO_AT(a, 1) + FO_AT(a, 3))) + rest;
}
FO_INLINE float fo_dotf(const float *x, const float *w, ptrdiff_t n)
{
    fo_floats a = {0}, b = {0};
    float rest = 0;
    ptrdiff_t j = 0;
    if (n < 8) {
        for (; j < n; j++) rest += x[j] * w[j];
        return rest;
    }
    for (; j + 16 <= n; j += 16) {
        FO_MULTIPLY(float, fo_floats, a, x + j, w + j);
        FO_MULTIPLY(float, fo_floats, b, x + j + 8, w + j + 8);
    }
    if (j + 8 <= n) {
        FO_MULTIPLY(float, fo_floats, a, x + j, w + j);
        j += 8;
    }
    for (; j < n; j++) rest += x[j] * w[j];
    FO_ADD(fo_floats, a, b);
    return (((FO_AT(a, 0) + FO_AT(a, 4)) + (FO_AT(a, 2) + FO_AT(a, 6)))
            + ((FO_AT(a, 1) + FO_AT(a, 5)) + (FO_AT(a, 3) + FO_AT(a, 7)))) + rest;
}
#endif
