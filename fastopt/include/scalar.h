/* The functions that a rule may call, in C; fastopt/arithmetic.py holds their twins for NumPy, with the same bits. */
#ifndef FASTOPT_SCALAR_H
#define FASTOPT_SCALAR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define FO_INLINE static inline __attribute__((always_inline))
#else
#define FO_INLINE static inline
#endif

/* A NaN is made of bits: a comparison's value that other comparisons go on with keeps compilers busy with what it implies. */
#define FO_DEFINE(T, S, U, QUIET)                                                                \
    FO_INLINE T fo_sqrt##S(T x) { return sqrt##S(x); }                                           \
    FO_INLINE T fo_fabs##S(T x) { return fabs##S(x); }                                           \
    FO_INLINE T fo_copysign##S(T x, T y) { return copysign##S(x, y); }                           \
    FO_INLINE T fo_where##S(int c, T x, T y) { return c ? x : y; }                               \
    FO_INLINE T fo_nan_if##S(int c, T x) { union { T f; U u; } z = {x}; z.u |= c ? QUIET : 0; return z.f; } \
    FO_INLINE T fo_maximum##S(T x, T y) { return fo_nan_if##S(x != x, x > y ? x : y); }          \
    FO_INLINE T fo_minimum##S(T x, T y) { return fo_nan_if##S(x != x, x < y ? x : y); }          \
    FO_INLINE T fo_sign##S(T x) { return fabs##S(x) > 0 ? copysign##S(1, x) : x; }
FO_DEFINE(float, f, uint32_t, 0x7fc00000u)
FO_DEFINE(double, , uint64_t, 0x7ff8000000000000u)
#undef FO_DEFINE

/* x ** n by repeated multiplication: the C library's pow differs between processors. */
FO_INLINE double fo_power(double x, int64_t n)
{
    double result = 1.0;
    for (; n > 0; n /= 2) {
        if (n % 2) result = result * x;
        x = x * x;
    }
    return result;
}

/* exp and log of doubles by + - * / alone (and exact scaling), to about one unit in the last place: the C library's differ. */
FO_INLINE double fo_exp(double x)
{
    if (x != x) return x;
    if (x > 710) return INFINITY;
    if (x < -746) return 0.0;
    double n = floor(x * 1.4426950408889634 + 0.5);
    double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
    double y = 1.0;
    for (int k = 16; k > 0; k--) y = 1.0 + r * y / k;
    return ldexp(ldexp(y, (int)n / 2), (int)n - (int)n / 2);
}
FO_INLINE double fo_log(double x)
{
    int e;
    if (!(x > 0)) return x == 0 ? -INFINITY : NAN;
    if (x == INFINITY) return x;
    double m = frexp(x, &e);
    if (m < 0.7071067811865476) {
        m = 2 * m;
        e = e - 1;
    }
    double s = (m - 1) / (m + 1), z = s * s, y = 0.0;
    for (int k = 25; k > 0; k -= 2) y = y * z + 1.0 / k;
    return e * 0.6931471803691238 + (e * 1.9082149292705877e-10 + 2 * s * y);
}

/* IEEE half to float; no subnormal float on the way, which a flushing processor would take for zero. */
FO_INLINE float fo_half(uint16_t h)
{
    union { uint32_t u; float f; } x, small;
    uint32_t e = h & 0x7c00u;
    small.f = (float)(int32_t)(h & 0x3ffu) * 0x1p-24f;
    x.u = ((uint32_t)(h & 0x7fffu) << 13) + 0x38000000u;
    x.u = e == 0u ? small.u : e == 0x7c00u ? x.u | 0x7f800000u : x.u;
    x.u |= (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}

/* A block of zeros in any format. */
static const char fo_zeros[256 * 16] = {0};

/* Loads by memcpy, which the compiler folds away: data may lie at any address. */
#include <string.h>
FO_INLINE float fo_load_f16(const char *x) { uint16_t h; memcpy(&h, x, sizeof h); return fo_half(h); }
FO_INLINE float fo_load_f32(const char *x) { float f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE double fo_load_f64(const char *x) { double f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE long double fo_load_long(const char *x) { long double f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE uint32_t fo_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
FO_INLINE float fo_float(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
FO_INLINE float fo_load_bf16(const char *x) { uint16_t h; memcpy(&h, x, sizeof h); return fo_float((uint32_t)h << 16); }

/* A hint that n bytes will be read. */
FO_INLINE void fo_prefetch(const char *x, ptrdiff_t n)
{
#if defined(__GNUC__)
    for (ptrdiff_t i = 0; i < n; i += 64) __builtin_prefetch((const void *)((uintptr_t)x + (uintptr_t)i));
#else
    (void)x, (void)n;
#endif
}

/* 32 random bits of a place, mixed from its number times the step plus a key, so that the next place's come from a step more: a
   multiplicative hash, of which the upper bits are the better ones. */
#define FO_STEP 0x9e3779b1u
FO_INLINE uint32_t fo_mixed(uint32_t x)
{
    x = (x ^ x >> 15) * 0x85ebca77u;
    return x ^ x >> 13;
}
/* A key of 32 bits for each number: the murmur3 finalizer. */
FO_INLINE uint32_t fo_key(uint32_t key, uint32_t number)
{
    uint32_t x = key ^ number * 0x9e3779b1u;
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Float to 16 bits: the bits that are dropped, or random ones in the place of half, are carried up. What is never negative and not
   zero stays above zero: a second moment of zero would blow an update up. */
FO_INLINE uint16_t fo_bf16(float x, uint32_t random, int stochastic, int nonnegative)
{
    int32_t u = (int32_t)fo_bits(x), a = u & 0x7fffffff, carry = stochastic ? (int32_t)(random >> 16) : 0x7fff + (u >> 16 & 1);
    if (nonnegative) u = (uint32_t)u - 1u < 0xffffu ? 0x10000 : u;
    uint32_t h = (uint32_t)(u | (a > 0x7f800000 ? 0x400000 : 0)) + (uint32_t)(a < 0x7f800000 ? carry : 0);
    return (uint16_t)(h >> 16);
}
FO_INLINE uint16_t fo_f16(float x, uint32_t random, int stochastic, int nonnegative)
{
    uint32_t u = fo_bits(x), a = u & 0x7fffffffu;
    uint32_t normal = (a + (stochastic ? random >> 19 : 0xfffu + (a >> 13 & 1u)) - 0x38000000u) >> 13;
    uint32_t shift = a >> 23 < 95u ? 31u : 126u - (a >> 23 < 113u ? a >> 23 : 112u);  /* of the subnormal halves' whole numbers */
    uint32_t whole = a >> 23 < 95u ? 0u : (a & 0x7fffffu) | 0x800000u;
    uint32_t half = (1u << (shift - 1)) - 1u + (whole >> shift & 1u);
    uint32_t small = (whole + (stochastic ? random >> (32u - shift) : half)) >> shift;
    uint32_t h = a < 0x38800000u ? small : normal < 0x7c00u ? normal : 0x7c00u;
    h = a <= 0x7f800000u ? h : 0x7e00u;
    if (nonnegative) h = h | ((h == 0u) & (a != 0u));
    return (uint16_t)(h | (u >> 16 & 0x8000u));
}

/* n floats to bfloat16 by the upper (or else the lower) 16 bits of each random word. Returns whether all were common numbers: neither
   infinite nor NaN nor what fo_bf16 would keep above zero; if not, what was written is wrong. */
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
    return largest < 0x7f800000u && least >= 0xffffu;
}

/* n floats in 16 bits; two arrays share the random bits, 16 of each word. The first three arguments are to be constants. */
FO_INLINE void fo_narrow(int bf16, int stochastic, int nonnegative, uint16_t *restrict out, const float *restrict x,
                         const uint32_t *restrict bits, int shift, ptrdiff_t n)
{
    if (bf16 && stochastic && (shift ? fo_common_bf16(nonnegative, 0, out, x, bits, n) : fo_common_bf16(nonnegative, 1, out, x, bits, n)))
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

/* Blocks of 8-bit floats that share an exponent: a code is the top of a float's bits, exponent and three of the mantissa, less an
   offset that brings the block's largest to the largest code. Zero is code zero. */
#define FO_NOT_FINITE 32767  /* offset of a block that holds a NaN: all of it reads as NaN; an infinity becomes the largest number */
FO_INLINE int fo_exponent(uint32_t largest, int codes)
{
    largest = largest == 0x7f800000u ? 0x7f700000u : largest;
    return largest < 0x7f800000u ? (int)((largest + 0xfffffu) >> 20) - codes : FO_NOT_FINITE;
}
FO_INLINE float fo_load_f8(uint8_t code, int exponent)
{
    uint32_t k = code & 127u, u = k ? (k + (uint32_t)exponent) << 20 : 0u;
    return fo_float(exponent == FO_NOT_FINITE ? 0x7fc00000u : u | (uint32_t)(code & 128u) << 24);
}
FO_INLINE float fo_load_u8(uint8_t code, int exponent)
{
    uint32_t u = code ? (code + (uint32_t)exponent) << 20 : 0u;
    return fo_float(exponent == FO_NOT_FINITE ? 0x7fc00000u : u);
}
FO_INLINE uint8_t fo_f8(float x, int exponent, uint32_t random, int stochastic)
{
    uint32_t u = fo_bits(x), a = u & 0x7fffffffu;
    int k = (int)((a + (stochastic ? random >> 12 : 0x7ffffu)) >> 20) - exponent;
    k = k < 0 ? 0 : k > 127 ? 127 : k;
    return (uint8_t)((uint32_t)k | (u >> 24 & 128u));
}
FO_INLINE uint8_t fo_u8(float x, int exponent, uint32_t random, int stochastic)
{
    uint32_t a = fo_bits(x) & 0x7fffffffu;
    int k = (int)((a + (stochastic ? random >> 12 : 0x7ffffu)) >> 20) - exponent;
    k = k < 1 ? (a > 0u) : k > 255 ? 255 : k;
    return (uint8_t)k;
}

/* The sum of a block of 256: 16 lanes side by side, then halves of lanes. */
FO_INLINE double fo_fold(const double *x)
{
#if defined(__GNUC__)
    typedef double eight __attribute__((vector_size(64), aligned(8)));
    typedef double four __attribute__((vector_size(32), aligned(8)));
    typedef double two __attribute__((vector_size(16), aligned(8)));
    eight low, high, next;
    memcpy(&low, x, sizeof low);
    memcpy(&high, x + 8, sizeof high);
    for (int i = 16; i < 256; i += 16) {
        memcpy(&next, x + i, sizeof next);
        low = low + next;
        memcpy(&next, x + i + 8, sizeof next);
        high = high + next;
    }
    low = low + high;
    four half = (four){low[0], low[1], low[2], low[3]} + (four){low[4], low[5], low[6], low[7]};
    two quarter = (two){half[0], half[1]} + (two){half[2], half[3]};
    return quarter[0] + quarter[1];
#else
    double lanes[16];
    for (int j = 0; j < 16; j++) lanes[j] = x[j];
    for (int i = 16; i < 256; i++) lanes[i % 16] = lanes[i % 16] + x[i];
    for (int width = 8; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lanes[j] = lanes[j] + lanes[j + width];
    return lanes[0];
#endif
}

/* What this file was compiled for, as the compiler says. */
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define FO_ISA "x86-64-v4"
#elif defined(__AVX2__) && defined(__FMA__)
#define FO_ISA "x86-64-v3"
#else
#define FO_ISA "baseline"
#endif

/* The floating-point environment of a span: round to nearest, no flushing of subnormals. */
#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
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
