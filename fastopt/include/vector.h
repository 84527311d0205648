/* Several numbers at once, by the vector types of GNU C: what a rule may call, as in scalar.h, with the same bits. A square root is
   refined from an estimate by FMA, so that the processor's divider is left to divisions; docs/exact-roots.md proves that it is
   correctly rounded. */
#ifndef FASTOPT_VECTOR_H
#define FASTOPT_VECTOR_H

#include "block.h"
#include "capacity.h"

#if defined(__GNUC__) && defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#define FO_HAS_FLOATS 1
#define FO_HAS_DOUBLES 1
#define FO_BYTES 64
#define FO_OF(f) _mm512_##f
#elif defined(__GNUC__) && defined(__AVX2__) && defined(__FMA__)
#define FO_HAS_DOUBLES 1
#define FO_BYTES 32
#define FO_OF(f) _mm256_##f
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
        T *const p = (T *)a[0], *const u = (T *)a[2 + FO_STATES], *s[STATES + !STATES];                               \
        const T *const g = (const T *)a[1];                                                                           \
        fo_##V c[SCALARS], state[STATES + !STATES], update;                                                           \
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
#if defined(FO_HAS_FLOATS)
/* Kernels of floats whose state is stored in bfloat16, and the parameter and its gradient too if PARAMETER is 1: decoded, rounded
   and encoded in the loop of the rule. The processor takes the roots, for its divider has time. */
#define fo_sqrt_narrow(x) ((fo_floats)_mm512_sqrt_ps(x))
#define fo_number_narrow fo_number_floats
#define fo_fabs_narrow fo_fabs_floats
#define fo_where_narrow fo_where_floats
#define fo_maximum_narrow fo_maximum_floats
#define fo_minimum_narrow fo_minimum_floats
#define fo_copysign_narrow fo_copysign_floats
#define fo_sign_narrow fo_sign_floats

/* Random words as fo_draw writes them: of 16 places from their inputs, and the inputs of the first places. */
FO_INLINE __m512i fo_words(__m512i x)
{
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 15)), _mm512_set1_epi32((int)0x85ebca77u));
    return _mm512_xor_si512(x, _mm512_srli_epi32(x, 13));
}
FO_INLINE __m512i fo_first_words(uint32_t key, uint32_t place)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i first = _mm512_set1_epi32((int)(place * FO_STEP + key));
    return _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32((int)FO_STEP)), first);
}
/* Places of bfloat16 numbers among the 16-bit halves of floats. */
FO_INLINE __m512i fo_halves(int narrow)
{
    uint16_t places[32];
    for (int k = 0; k < 32; k++) places[k] = (uint16_t)(narrow ? 2 * k + 1 : k / 2);
    return _mm512_loadu_si512(places);
}
FO_INLINE fo_floats fo_load_bf16s(const uint16_t *x, ptrdiff_t n)
{
    const __m256i h = n < 16 ? _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), x) : _mm256_loadu_si256((const __m256i *)x);
    return (fo_floats)_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, fo_halves(0), _mm512_castsi256_si512(h));
}
FO_INLINE fo_floats fo_load_some(const float *x, ptrdiff_t n) { return n < 16 ? fo_load_floats(x, n) : *(const fo_floats *)x; }
/* Store what fo_bf16 gives; `carry` are 16 random bits. Numbers that rounding would carry beyond the range, and NaN, are rare. */
FO_INLINE void fo_store_bf16s(uint16_t *to, ptrdiff_t n, fo_floats x, __m512i carry, int nearest, int nonnegative)
{
    const __m512i u = _mm512_castps_si512(x), most = _mm512_set1_epi32(nearest ? 0x7f7fffff : 0x7f7f0000);
    const __m512i a = nonnegative ? u : _mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 small = _mm512_cmple_epu32_mask(a, most);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i kept = u;
    if (nearest) carry = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd);
    if (nonnegative) kept = _mm512_maskz_max_epu32(_mm512_test_epi32_mask(u, u), u, _mm512_set1_epi32(0x10000));
    __m512i rounded = _mm512_add_epi32(kept, carry);
    if (__builtin_expect(small != 0xffff, 0)) {
        const __m512i size = _mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff));
        const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x7f800000));
        rounded = _mm512_mask_add_epi32(kept, _mm512_cmple_epi32_mask(size, most), kept, carry);
        rounded = _mm512_mask_or_epi32(rounded, is_nan, kept, _mm512_set1_epi32(0x400000));
    }
    const __m256i h = _mm512_castsi512_si256(_mm512_permutexvar_epi16(fo_halves(1), rounded));
    if (n < 16) _mm256_mask_storeu_epi16(to, (__mmask16)((1u << n) - 1), h);
    else _mm256_storeu_si256((__m256i *)to, h);
}
/* Two arrays share each word: the parameter has the upper half of the first one, the state, in order, the lower half, the upper
   half of the next, and so on. */
#define FO_BF16_KERNEL(NAME, STATES, CHANGED, NONNEGATIVE, SCALARS, PARAMETER)                                        \
    static void fo_##NAME##_bf16_##PARAMETER(void **a, ptrdiff_t n, const double *c64, const uint32_t *keys, uint32_t first, \
                                                int nearest)                                                          \
    {                                                                                                                 \
        uint16_t *s[STATES + !STATES];                                                                                \
        fo_floats c[SCALARS], state[STATES], p, g, update;                                                            \
        __m512i inputs[STATES / 2 + 1];                                                                               \
        for (int k = 0; k < STATES; k++) s[k] = (uint16_t *)a[2 + k];                                                 \
        for (int k = 0; k < SCALARS; k++) c[k] = fo_number_floats(c64[k]);                                            \
        for (int k = 0; k <= STATES / 2; k++) inputs[k] = fo_first_words(keys[k], first);                             \
        for (ptrdiff_t i = 0; i < n; i += 16) {                                                                       \
            const ptrdiff_t left = n - i;                                                                             \
            __m512i words = _mm512_setzero_si512(), carry;                                                            \
            p = PARAMETER ? fo_load_bf16s((const uint16_t *)a[0] + i, left) : fo_load_some((const float *)a[0] + i, left); \
            g = PARAMETER ? fo_load_bf16s((const uint16_t *)a[1] + i, left) : fo_load_some((const float *)a[1] + i, left); \
            for (int k = 0; k < STATES; k++) state[k] = fo_load_bf16s(s[k] + i, left);                                \
            update = fo_##NAME##_of_narrow(p, g, state, c, c64);                                                      \
            if (!nearest) words = fo_words(inputs[0]);                                                                \
            if (PARAMETER) fo_store_bf16s((uint16_t *)a[0] + i, left, p - update, _mm512_srli_epi32(words, 16), nearest, 0); \
            else if (left < 16) fo_store_floats((float *)a[0] + i, left, p - update);                                 \
            else *(fo_floats *)((float *)a[0] + i) = p - update;                                                      \
            for (int k = 0; k < STATES; k++) {                                                                        \
                if (!nearest && k % 2) words = fo_words(inputs[(k + 1) / 2]);                                         \
                carry = k % 2 ? _mm512_srli_epi32(words, 16) : _mm512_and_si512(words, _mm512_set1_epi32(0xffff));    \
                if (CHANGED >> k & 1) fo_store_bf16s(s[k] + i, left, state[k], carry, nearest, NONNEGATIVE >> k & 1); \
            }                                                                                                         \
            for (int k = 0; k <= STATES / 2; k++)                                                                     \
                inputs[k] = _mm512_add_epi32(inputs[k], _mm512_set1_epi32((int)(16 * FO_STEP)));                      \
        }                                                                                                             \
    }
#endif

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
