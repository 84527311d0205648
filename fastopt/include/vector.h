/* Several numbers at once, by the vector types of GNU C: what a rule may call, as in scalar.h, with the same bits. A square root is
   refined from an estimate by FMA, so that the processor's divider is left to divisions; docs/exact-roots.md proves that it is
   correctly rounded. FO_FLOATS and FO_DOUBLES count the numbers of a vector; they are 0 where there are none. */
#ifndef FASTOPT_VECTOR_H
#define FASTOPT_VECTOR_H

#include "block.h"
#include "capacity.h"

#if !defined(__GNUC__) || defined(FO_NO_VECTORS)
enum { FO_FLOATS = 0, FO_DOUBLES = 0 };
#elif defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
enum { FO_FLOATS = 16, FO_DOUBLES = 8 };
#define FO_HAS_FLOATS 1
#define FO_HAS_DOUBLES 1
#define FO_BYTES 64
#define FO_OF(f) _mm512_##f
#elif defined(__AVX2__) && defined(__FMA__)
enum { FO_FLOATS = 0, FO_DOUBLES = 4 };
#define FO_HAS_DOUBLES 1
#define FO_BYTES 32
#define FO_OF(f) _mm256_##f
#else
enum { FO_FLOATS = 0, FO_DOUBLES = 0 };
#endif

#if defined(FO_BYTES)
/* Data may lie at any address of a number, and be numbers to other code. */
typedef float fo_floats __attribute__((vector_size(FO_BYTES), aligned(4), may_alias));
typedef double fo_doubles __attribute__((vector_size(FO_BYTES), aligned(8), may_alias));
typedef int32_t fo_ints __attribute__((vector_size(FO_BYTES)));
typedef int64_t fo_longs __attribute__((vector_size(FO_BYTES)));

/* One round makes g nearer to the root of x, and h to half of its reciprocal. */
#define FO_ROUND(P) r = FO_OF(fnmadd_##P)(g, h, half), g = FO_OF(fmadd_##P)(g, r, g), h = FO_OF(fmadd_##P)(h, r, h)
#define FO_LAST(P) FO_OF(fmadd_##P)(FO_OF(fnmadd_##P)(g, g, x), h, g)

#if FO_BYTES == 64
/* The roots of x from estimates y of their reciprocals; a zero has the estimate zero. */
FO_INLINE fo_floats fo_refined_floats(fo_floats x, fo_floats y)
{
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 g = x * y, h = y * half, r;
    FO_ROUND(ps);
    return FO_LAST(ps);
}
FO_INLINE fo_doubles fo_estimates(fo_doubles x) { return _mm512_rsqrt14_pd(x); }
FO_INLINE fo_doubles fo_refined_doubles(fo_doubles x, fo_doubles y)
{
    const __m512d half = _mm512_set1_pd(0.5);
    __m512d g = x * y, h = y * half, r;
    FO_ROUND(pd);
    FO_ROUND(pd);
    return FO_LAST(pd);
}
/* Below 2^-70, or 2^-900 for doubles, the remainder of the last round might be flushed; above are infinity, NaN and the negative
   ones. There the processor takes the root, unless all of these are zero. */
FO_INLINE fo_floats fo_sqrt_floats(fo_floats x)
{
    const __m512i u = _mm512_castps_si512(x), least = _mm512_set1_epi32(0x1c800000), width = _mm512_set1_epi32(0x63000000);
    const __mmask16 usual = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(u, least), width);
    if (__builtin_expect(usual == 0xffff, 1)) return fo_refined_floats(x, _mm512_rsqrt14_ps(x));
    if (_mm512_mask_test_epi32_mask((__mmask16)~usual, u, u)) return _mm512_sqrt_ps(x);
    return fo_refined_floats(x, _mm512_maskz_rsqrt14_ps(usual, x));
}
FO_INLINE fo_doubles fo_sqrt_doubles(fo_doubles x)
{
    const __m512i u = _mm512_castpd_si512(x), least = _mm512_set1_epi64(0x07b0000000000000);
    const __m512i width = _mm512_set1_epi64(0x7840000000000000);
    const __mmask8 usual = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(u, least), width);
    if (__builtin_expect(usual == 0xff, 1)) return fo_refined_doubles(x, fo_estimates(x));
    if (_mm512_mask_test_epi64_mask((__mmask8)~usual, u, u)) return _mm512_sqrt_pd(x);
    return fo_refined_doubles(x, _mm512_maskz_rsqrt14_pd(usual, x));
}
/* The first n numbers, with zeros after them. */
FO_INLINE fo_floats fo_load_floats(const float *x, ptrdiff_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x); }
FO_INLINE fo_doubles fo_load_doubles(const double *x, ptrdiff_t n) { return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), x); }
FO_INLINE void fo_store_floats(float *to, ptrdiff_t n, fo_floats x) { _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), x); }
FO_INLINE void fo_store_doubles(double *to, ptrdiff_t n, fo_doubles x) { _mm512_mask_storeu_pd(to, (__mmask8)((1u << n) - 1), x); }
#else
FO_INLINE fo_doubles fo_estimates(fo_doubles x) { return _mm256_cvtps_pd(_mm_rsqrt_ps(_mm256_cvtpd_ps(x))); }
FO_INLINE fo_doubles fo_refined_doubles(fo_doubles x, fo_doubles y)
{
    const __m256d half = _mm256_set1_pd(0.5);
    __m256d g = x * y, h = y * half, r;
    FO_ROUND(pd);
    FO_ROUND(pd);
    FO_ROUND(pd);
    return FO_LAST(pd);
}
/* The estimate is one of floats, whose range is narrower. */
FO_INLINE fo_doubles fo_sqrt_doubles(fo_doubles x)
{
    const __m256d least = _mm256_set1_pd(0x1p-100), largest = _mm256_set1_pd(0x1p100);
    const __m256d usual = _mm256_and_pd(_mm256_cmp_pd(x, least, _CMP_GE_OQ), _mm256_cmp_pd(x, largest, _CMP_LE_OQ));
    const __m256d some = _mm256_andnot_pd(usual, _mm256_cmp_pd(x, _mm256_setzero_pd(), _CMP_NEQ_UQ));
    if (__builtin_expect(_mm256_movemask_pd(some), 0)) return _mm256_sqrt_pd(x);
    return fo_refined_doubles(x, _mm256_and_pd(fo_estimates(x), usual));
}
FO_INLINE __m256i fo_first(ptrdiff_t n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_set_epi64x(3, 2, 1, 0)); }
FO_INLINE fo_doubles fo_load_doubles(const double *x, ptrdiff_t n) { return _mm256_maskload_pd(x, fo_first(n)); }
FO_INLINE void fo_store_doubles(double *to, ptrdiff_t n, fo_doubles x) { _mm256_maskstore_pd(to, fo_first(n), x); }
#endif
#undef FO_ROUND
#undef FO_LAST

#define FO_DEFINE(V, T, I, P, QUIET)                                                                                  \
    FO_INLINE fo_##V fo_number_##V(double x) { return FO_OF(set1_##P)((T)x); }                                        \
    FO_INLINE fo_##V fo_fabs_##V(fo_##V x) { return (fo_##V)((I)x & ~(I)fo_number_##V(-0.0)); }                       \
    FO_INLINE fo_##V fo_where_##V(I c, fo_##V x, fo_##V y) { return (fo_##V)((c & (I)x) | (~c & (I)y)); }             \
    FO_INLINE fo_##V fo_maximum_##V(fo_##V x, fo_##V y) { return (fo_##V)((I)FO_OF(max_##P)(x, y) | ((x != x) & QUIET)); } \
    FO_INLINE fo_##V fo_minimum_##V(fo_##V x, fo_##V y) { return (fo_##V)((I)FO_OF(min_##P)(x, y) | ((x != x) & QUIET)); } \
    FO_INLINE fo_##V fo_copysign_##V(fo_##V x, fo_##V y)                                                              \
    {                                                                                                                 \
        return (fo_##V)(((I)y & (I)fo_number_##V(-0.0)) | (I)fo_fabs_##V(x));                                         \
    }                                                                                                                 \
    FO_INLINE fo_##V fo_sign_##V(fo_##V x)                                                                            \
    {                                                                                                                 \
        return fo_where_##V(fo_fabs_##V(x) > fo_number_##V(0), fo_copysign_##V(fo_number_##V(1), x), x);              \
    }
#if defined(FO_HAS_FLOATS)
FO_DEFINE(floats, float, fo_ints, ps, 0x7fc00000)
#endif
FO_DEFINE(doubles, double, fo_longs, pd, 0x7ff8000000000000)
#undef FO_DEFINE

/* The kernel of a rule, fo_NAME_V, over `fo_NAME_of_V`, which updates the numbers of a vector. CHANGED is the mask of the states
   that it writes. The last numbers, which fill no vector, are read and written alone. */
#define FO_VECTOR_KERNEL(NAME, V, T, STATES, CHANGED, SCALARS)                                                        \
    static void fo_##NAME##_##V(void **a, ptrdiff_t n, const double *c64)                                             \
    {                                                                                                                 \
        enum { WIDTH = (int)(FO_BYTES / sizeof(T)) };                                                                 \
        T *const p = (T *)a[0], *const u = (T *)a[2 + FO_STATES], *s[STATES];                                         \
        const T *const g = (const T *)a[1];                                                                           \
        fo_##V c[SCALARS], state[STATES], update;                                                                     \
        for (int k = 0; k < STATES; k++) s[k] = (T *)a[2 + k];                                                        \
        for (int k = 0; k < SCALARS; k++) c[k] = fo_number_##V(c64[k]);                                               \
        ptrdiff_t i = 0;                                                                                              \
        for (; i + WIDTH <= n; i += WIDTH) {                                                                          \
            for (int k = 0; k < STATES; k++) state[k] = *(const fo_##V *)(s[k] + i);                                  \
            update = fo_##NAME##_of_##V(*(const fo_##V *)(p + i), *(const fo_##V *)(g + i), state, c, c64);           \
            if (u) *(fo_##V *)(u + i) = update;                                                                       \
            else *(fo_##V *)(p + i) = *(const fo_##V *)(p + i) - update;                                              \
            for (int k = 0; k < STATES; k++)                                                                          \
                if (CHANGED >> k & 1) *(fo_##V *)(s[k] + i) = state[k];                                               \
        }                                                                                                             \
        if (i == n) return;                                                                                           \
        const fo_##V last = fo_load_##V(p + i, n - i);                                                                \
        for (int k = 0; k < STATES; k++) state[k] = fo_load_##V(s[k] + i, n - i);                                     \
        update = fo_##NAME##_of_##V(last, fo_load_##V(g + i, n - i), state, c, c64);                                  \
        if (u) fo_store_##V(u + i, n - i, update);                                                                    \
        else fo_store_##V(p + i, n - i, last - update);                                                               \
        for (int k = 0; k < STATES; k++)                                                                              \
            if (CHANGED >> k & 1) fo_store_##V(s[k] + i, n - i, state[k]);                                            \
    }
/* A kernel on arrays whose states begin `shift` bytes later. */
FO_INLINE void fo_run_vectors(void (*kernel)(void **a, ptrdiff_t n, const double *c64), void *p, const void *g, char *const *state,
                              int states, ptrdiff_t shift, ptrdiff_t n, const double *c64)
{
    void *a[3 + FO_STATES] = {p, (void *)(uintptr_t)g};
    for (int k = 0; k < states; k++) a[2 + k] = state[k] + shift;
    kernel(a, n, c64);
}
#endif
/* A kernel's address, NULL where there are no such vectors. */
#if defined(FO_HAS_FLOATS)
#define FO_OF_FLOATS(f) f
#else
#define FO_OF_FLOATS(f) NULL
#endif
#if defined(FO_HAS_DOUBLES)
#define FO_OF_DOUBLES(f) f
#else
#define FO_OF_DOUBLES(f) NULL
#endif
#endif
