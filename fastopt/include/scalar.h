/* The functions that a rule may call, in C; fastopt/arithmetic.py holds their twins for NumPy, with the same bits. */
#ifndef FASTOPT_SCALAR_H
#define FASTOPT_SCALAR_H

#include <math.h>
#include <stdint.h>

#if defined(__GNUC__)
#define FO_INLINE static inline __attribute__((always_inline))
#else
#define FO_INLINE static inline
#endif

#define FO_DEFINE(T, S)                                                                          \
    FO_INLINE T fo_sqrt##S(T x) { return sqrt##S(x); }                                           \
    FO_INLINE T fo_fabs##S(T x) { return fabs##S(x); }                                           \
    FO_INLINE T fo_copysign##S(T x, T y) { return copysign##S(x, y); }                           \
    FO_INLINE T fo_where##S(int c, T x, T y) { return c ? x : y; }                               \
    FO_INLINE T fo_maximum##S(T x, T y) { return (x > y) | (x != x) ? x : y; }                   \
    FO_INLINE T fo_minimum##S(T x, T y) { return (x < y) | (x != x) ? x : y; }                   \
    FO_INLINE T fo_sign##S(T x) { return fabs##S(x) > 0 ? copysign##S(1, x) : x; }
FO_DEFINE(float, f)
FO_DEFINE(double, )
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

/* IEEE half to float: shifted into place, then scaled exactly; infinities and NaN get the float's exponent. */
FO_INLINE float fo_half(uint16_t h)
{
    union { uint32_t u; float f; } x;
    x.u = (uint32_t)(h & 0x7fffu) << 13;
    x.f = x.f * 0x1p112f;
    x.u |= ((h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u) | (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}

/* Loads by memcpy, which the compiler folds away: data may lie at any address. */
#include <string.h>
FO_INLINE float fo_load_f16(const char *x) { uint16_t h; memcpy(&h, x, sizeof h); return fo_half(h); }
FO_INLINE float fo_load_f32(const char *x) { float f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE double fo_load_f64(const char *x) { double f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE long double fo_load_long(const char *x) { long double f; memcpy(&f, x, sizeof f); return f; }

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
typedef unsigned int fo_env;
FO_INLINE fo_env fo_enter(void)
{
    fo_env caller = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return caller;
}
FO_INLINE void fo_leave(fo_env caller) { _mm_setcsr(caller); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t fo_env;
FO_INLINE fo_env fo_enter(void)
{
    fo_env caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller));
    __asm__ volatile("msr fpcr, %0" : : "r"((fo_env)0));
    return caller;
}
FO_INLINE void fo_leave(fo_env caller) { __asm__ volatile("msr fpcr, %0" : : "r"(caller)); }
#else
#include <fenv.h>
typedef int fo_env;
FO_INLINE fo_env fo_enter(void)
{
    fo_env caller = fegetround();
    fesetround(FE_TONEAREST);
    return caller;
}
FO_INLINE void fo_leave(fo_env caller) { fesetround(caller); }
#endif
#endif
