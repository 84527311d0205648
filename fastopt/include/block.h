/* Functions of blocks of numbers, and settings of the processor, for the compiled engine. */
#ifndef FASTOPT_BLOCK_H
#define FASTOPT_BLOCK_H

#include "total.h"

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

/* A block of zeros in any format. */
FO_INLINE const char *fo_zeros(void)
{
    static const char zeros[256 * 16] = {0};
    return zeros;
}

FO_INLINE long double fo_load_long(const char *x) { long double f; memcpy(&f, x, sizeof f); return f; }

/* Prefetch n bytes. Compilers remove calls of functions that do nothing else, unless they hold an asm statement. */
FO_INLINE void fo_prefetch(const char *x, ptrdiff_t n)
{
#if defined(__GNUC__)
    for (ptrdiff_t i = 0; i < n; i += 64) __builtin_prefetch((const void *)((uintptr_t)x + (uintptr_t)i));
    __asm__ volatile("");
#else
    (void)x, (void)n;
#endif
}

/* Round n floats to bfloat16 by the upper (else the lower) 16 bits of each random word. Returns 1 if all were common numbers:
   neither infinite nor NaN nor what fo_bf16 would keep above zero or below infinity; if not, what was written is wrong. */
FO_INLINE int fo_common_bf16(int nonnegative, int upper, uint16_t *restrict out, const float *restrict x,
                             const uint32_t *restrict bits, ptrdiff_t n)
{
    uint32_t largest = 0, least = 0xffffffffu;
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t u = fo_bits(x[i]), a = u & 0x7fffffffu;
        largest = a > largest ? a : largest;
        if (nonnegative) least = u - 1u < least ? u - 1u : least;
        out[i] = (uint16_t)((u + (upper ? bits[i] >> 16 : bits[i] & 0xffffu)) >> 16);
    }
    return largest <= 0x7f7f0000u && least >= 0xffffu;
}

/* Round n floats to 16 bits; two arrays share the halves of each random word. The first three arguments must be constants. */
FO_INLINE void fo_narrow(int bf16, int stochastic, int nonnegative, uint16_t *restrict out, const float *restrict x,
                         const uint32_t *restrict bits, int shift, ptrdiff_t n)
{
    if (bf16 && stochastic &&
        (shift ? fo_common_bf16(nonnegative, 0, out, x, bits, n) : fo_common_bf16(nonnegative, 1, out, x, bits, n)))
        return;
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t random = stochastic ? bits[i] << shift : 0u;
        out[i] = bf16 ? fo_bf16(x[i], random, stochastic, nonnegative) : fo_f16(x[i], random, stochastic, nonnegative);
    }
}
FO_INLINE void fo_draw(uint32_t *restrict bits, uint32_t key, uint32_t first, ptrdiff_t n)
{
    uint32_t x = first * FO_STEP + key;
    for (ptrdiff_t i = 0; i < n; i++, x += FO_STEP) bits[i] = fo_mixed(x);
}

/* Sum a block of 256, or the squares of its numbers times `scale`: 16 lanes side by side, then halves of the lanes. `square`
   must be a constant, and `scale` where it is 1. */
FO_INLINE double fo_fold_of(const double *x, int square, double scale)
{
#if defined(__GNUC__)
    typedef double eight __attribute__((vector_size(64), aligned(8)));
    typedef double four __attribute__((vector_size(32), aligned(8)));
    typedef double two __attribute__((vector_size(16), aligned(8)));
    eight low = {0}, high = {0}, next;
    for (int i = 0; i < 256; i += 16) {
        memcpy(&next, x + i, sizeof next);
        if (scale != 1) next = scale * next;
        if (square) next = next * next;
        low = i == 0 ? next : low + next;
        memcpy(&next, x + i + 8, sizeof next);
        if (scale != 1) next = scale * next;
        if (square) next = next * next;
        high = i == 0 ? next : high + next;
    }
    low = low + high;
    four half = (four){low[0], low[1], low[2], low[3]} + (four){low[4], low[5], low[6], low[7]};
    two quarter = (two){half[0], half[1]} + (two){half[2], half[3]};
    return quarter[0] + quarter[1];
#else
    double lanes[16];
    for (int i = 0; i < 256; i++) {
        const double y = square ? scale * x[i] * (scale * x[i]) : x[i];
        lanes[i % 16] = i < 16 ? y : lanes[i % 16] + y;
    }
    for (int width = 8; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lanes[j] = lanes[j] + lanes[j + width];
    return lanes[0];
#endif
}
FO_INLINE double fo_fold(const double *x) { return fo_fold_of(x, 0, 1); }

/* Sum the squares of n floats of each of `arrays` arrays, as if zeros filled the block: side by side, for an addition waits for the
   one before it. In double, no square leaves the range. `arrays` must be a constant. */
FO_INLINE void fo_fold_squares_of(int arrays, const float *const *x, ptrdiff_t n, double *out)
{
#if defined(__AVX512F__)
    __m512d low[2], high[2];
    for (int k = 0; k < arrays; k++) low[k] = high[k] = _mm512_setzero_pd();
    for (ptrdiff_t i = 0; i < n; i += 16)
        for (int k = 0; k < arrays; k++) {
            float last[16] = {0};
            const float *from = x[k] + i;
            if (__builtin_expect(n - i < 16, 0)) from = (const float *)memcpy(last, from, (size_t)(n - i) * sizeof(float));
            const __m512d a = _mm512_cvtps_pd(_mm256_loadu_ps(from)), b = _mm512_cvtps_pd(_mm256_loadu_ps(from + 8));
            low[k] = _mm512_fmadd_pd(a, a, low[k]); /* the square of a float is exact in double */
            high[k] = _mm512_fmadd_pd(b, b, high[k]);
        }
    for (int k = 0; k < arrays; k++) {
        const __m512d lanes = _mm512_add_pd(low[k], high[k]);
        const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(lanes), _mm512_extractf64x4_pd(lanes, 1));
        const __m128d quarter = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
        out[k] = _mm_cvtsd_f64(quarter) + _mm_cvtsd_f64(_mm_unpackhi_pd(quarter, quarter));
    }
#else
    double wide[256];
    for (int k = 0; k < arrays; k++) {
        for (ptrdiff_t i = 0; i < n; i++) wide[i] = (double)x[k][i];
        memset(wide + n, 0, (size_t)(256 - n) * sizeof(double));
        out[k] = fo_fold_of(wide, 1, 1);
    }
#endif
}
FO_INLINE void fo_fold_floats(int arrays, const float *const *x, ptrdiff_t n, double *out)
{
    for (; arrays > 2; arrays -= 2, x += 2, out += 2) fo_fold_squares_of(2, x, n, out);
    if (arrays == 2) fo_fold_squares_of(2, x, n, out);
    else if (arrays == 1) fo_fold_squares_of(1, x, n, out);
}

/* Sum a block's squares, as a number times 2^unit: if the squares leave the middle of the range of doubles, the elements are
   scaled by a power of two first. Infinity and NaN remain. */
#if defined(__GNUC__)
__attribute__((noinline, unused)) /* inlining it would slow fo_fold down */
#endif
static double fo_fold_squares(const double *x, int *unit)
{
    const double sum = fo_fold_of(x, 1, 1);
    uint64_t some = 0;
    *unit = 0;
    if (sum >= 0x1p-900 && sum < 0x1p1000) return sum;
    for (int i = 0; sum == 0 && i < 256; i++) {
        uint64_t bits;
        memcpy(&bits, x + i, sizeof bits);
        some |= bits << 1;
    }
    if (sum == 0 && !some) return sum;
    for (int i = 0; !(sum < 1) && i < 256; i++)
        if (x[i] - x[i] != 0) return sum;
    *unit = sum < 1 ? -FO_UNIT : FO_UNIT;
    return fo_fold_of(x, 1, sum < 1 ? 0x1p600 : 0x1p-600); /* half of it */
}

/* The instruction set that this file is compiled for. */
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define FO_ISA "x86-64-v4"
#elif defined(__AVX2__) && defined(__FMA__)
#define FO_ISA "x86-64-v3"
#else
#define FO_ISA "baseline"
#endif

/* The floating-point environment of the kernels: round to nearest, no flushing of subnormals. */
#if defined(__SSE2__) || defined(_M_X64)
typedef struct { unsigned int sse; unsigned short x87; } fo_env;  /* x87: of long double gradients */
FO_INLINE fo_env fo_enter(int flush)
{
    fo_env caller = {_mm_getcsr(), 0};
    _mm_setcsr(flush ? 0x9fc0 : 0x1f80);
#if defined(__GNUC__)
    unsigned short nearest = 0x037f;
    __asm__ volatile("fnstcw %0" : "=m"(caller.x87));
    if (caller.x87 != nearest) __asm__ volatile("fldcw %0" : : "m"(nearest));
#endif
    return caller;
}
FO_INLINE void fo_leave(fo_env caller)
{
    _mm_setcsr(caller.sse);
#if defined(__GNUC__)
    if (caller.x87 != 0x037f) __asm__ volatile("fldcw %0" : : "m"(caller.x87));
#endif
}
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t fo_env;
FO_INLINE fo_env fo_enter(int flush)
{
    fo_env caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller));
    __asm__ volatile("msr fpcr, %0" : : "r"(flush ? (fo_env)1 << 24 : (fo_env)0));
    return caller;
}
FO_INLINE void fo_leave(fo_env caller) { __asm__ volatile("msr fpcr, %0" : : "r"(caller)); }
#else
#include <fenv.h>
typedef int fo_env;
FO_INLINE fo_env fo_enter(int flush)
{
    fo_env caller = fegetround();
    (void)flush;
    fesetround(FE_TONEAREST);
    return caller;
}
FO_INLINE void fo_leave(fo_env caller) { fesetround(caller); }
#endif
#endif
