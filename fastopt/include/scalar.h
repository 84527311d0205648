/* Functions of single numbers for C, C++ and CUDA: those that a rule may call, with twins in fastopt/arithmetic.py, and storage
   formats below 32 bits, with twins in fastopt/_arrays/dtypes.py that have the same bits. */
#ifndef FASTOPT_SCALAR_H
#define FASTOPT_SCALAR_H

#if defined(__CUDACC_RTC__)
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#define INFINITY fo_float(0x7f800000u)
#define NAN fo_float(0x7fc00000u)
#else
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

#if defined(__CUDACC__)
#define FO_INLINE static __device__ __forceinline__
#elif defined(__GNUC__)
#define FO_INLINE static inline __attribute__((always_inline))
#else
#define FO_INLINE static inline
#endif

/* Bits of a number, by memcpy, which compilers remove; so data may be at any address. */
FO_INLINE uint32_t fo_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
FO_INLINE float fo_float(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

/* NaN is made from bits: compilers spend long on comparisons whose value they can derive from others. */
#define FO_DEFINE(T, S, U, QUIET)                                                                \
    FO_INLINE T fo_sqrt##S(T x) { return sqrt##S(x); }                                           \
    FO_INLINE T fo_fabs##S(T x) { return fabs##S(x); }                                           \
    FO_INLINE T fo_copysign##S(T x, T y) { return copysign##S(x, y); }                           \
    FO_INLINE T fo_where##S(int c, T x, T y) { return c ? x : y; }                               \
    FO_INLINE T fo_nan_if##S(int c, T x) { union { T f; U u; } z = {x}; z.u |= c ? QUIET : 0; return z.f; } \
    FO_INLINE T fo_maximum##S(T x, T y) { return fo_nan_if##S(x != x, x > y ? x : y); }          \
    FO_INLINE T fo_minimum##S(T x, T y) { return fo_nan_if##S(x != x, x < y ? x : y); }          \
    FO_INLINE T fo_sign##S(T x) { return fabs##S(x) > 0 ? copysign##S((T)1, x) : x; }
FO_DEFINE(float, f, uint32_t, 0x7fc00000u)
FO_DEFINE(double, , uint64_t, 0x7ff8000000000000u)
#undef FO_DEFINE
#if defined(__cplusplus) /* overloads in C++ */
FO_INLINE float fo_sqrt(float x) { return fo_sqrtf(x); }
FO_INLINE float fo_fabs(float x) { return fo_fabsf(x); }
FO_INLINE float fo_sign(float x) { return fo_signf(x); }
FO_INLINE float fo_copysign(float x, float y) { return fo_copysignf(x, y); }
FO_INLINE float fo_maximum(float x, float y) { return fo_maximumf(x, y); }
FO_INLINE float fo_minimum(float x, float y) { return fo_minimumf(x, y); }
FO_INLINE float fo_where(int c, float x, float y) { return fo_wheref(c, x, y); }
#endif

/* x**n by repeated multiplication: pow differs between C libraries. */
FO_INLINE double fo_power(double x, int64_t n)
{
    double result = 1.0;
    for (uint64_t k = (uint64_t)n; k; k >>= 1) {
        result = result * (k & 1 ? x : 1.0); /* no branch: bits of a counter are hard to predict */
        x = x * x;
    }
    return result;
}

/* exp, log and log1p of doubles by + - * / and bits of powers of two only, to two units in the last place: C libraries differ. The
   chain of operations of exp is short, for it stands in the loops of models. */
FO_INLINE double fo_power_of_two(int64_t n)
{
    const uint64_t u = (uint64_t)(1023 + n) << 52;
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
FO_INLINE double fo_exp(double x)
{
    const double shift = 0x1.8p52; /* a sum with it is rounded to a whole number, in its low bits */
    const int far = !(x < 700 && x > -700); /* NaN too */
    if (far) x = x > 710 ? 710 : x < -746 ? -746 : x;
    const double shifted = x * 1.4426950408889634 + shift, n = shifted - shift;
    const double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
    const double r2 = r * r, r4 = r2 * r2;
    const double a = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    const double b = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    const double c = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    const double y = 1 + (r + r2 * ((a + r4 * b) + (r4 * r4) * c));
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int64_t k = (int32_t)(uint32_t)bits, half = k / 2;
    return far ? y * fo_power_of_two(half) * fo_power_of_two(k - half) : y * fo_power_of_two(k);
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
/* log(1 + x): between -0.25 and 1, where losses need it, x less a correction by the series of the inverse hyperbolic tangent. */
FO_INLINE double fo_log1p(double x)
{
    if (x < -0.25 || x > 1) {
        const double y = 1 + x;
        return y == INFINITY || y == 0 ? fo_log(y) : fo_log(y) + (x - (y - 1)) / y;
    }
    const double s = x / (2 + x), half = 0.5 * x * x, z = s * s, z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    const double a = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
    const double b = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
    const double c = (2.0 / 19 + z * (2.0 / 21)) + z2 * (2.0 / 23 + z * (2.0 / 25));
    const double d = (2.0 / 27 + z * (2.0 / 29)) + z2 * (2.0 / 31 + z * (2.0 / 33));
    return x - (half - s * (half + z * ((a + z4 * b) + z8 * (c + z4 * d))));
}

/* x * 2^n, rounded once. */
FO_INLINE double fo_ldexp(double x, double n)
{
    if (n < -1022 || n > 1023) return ldexp(x, (int)n);
    const uint64_t u = (uint64_t)(1023 + (int)n) << 52;
    double power;
    memcpy(&power, &u, sizeof power);
    return x * power;
}
/* The exponent e of a number m * 2^e with m in [0.5, 1). */
FO_INLINE int fo_exponent_of(double x)
{
    uint64_t u;
    int e;
    memcpy(&u, &x, sizeof u);
    if (u >> 52 & 0x7ffu) return (int)(u >> 52 & 0x7ffu) - 1022;
    frexp(x, &e);
    return e;
}
FO_INLINE double fo_ceil_log2(double x) { return fo_exponent_of(x - 0.5); }
/* x * 2^n as a normal number and a power of two, which is 1 unless x * 2^n leaves the range of doubles. */
FO_INLINE int fo_beyond(double x, double n)
{
    const int e = fo_exponent_of(x) + (int)n, beyond = e < -1000 ? e + 1000 : e > 1000 ? e - 1000 : 0;
    return x == 0 || x - x != 0 ? 0 : beyond < -1000 ? -1000 : beyond > 1000 ? 1000 : beyond;
}
FO_INLINE double fo_scale_power(double x, double n) { return fo_ldexp(1.0, fo_beyond(x, n)); }
FO_INLINE double fo_scale_factor(double x, double n) { return x == 0 || x - x != 0 ? x : fo_ldexp(x, n - fo_beyond(x, n)); }

/* An element times such a number, rounded once from the double product. For floats, a factor in the middle of their range is
   the sum of two floats of one sign (47 bits), and one fused operation adds the products. It rounds like the double product,
   unless that is within 2^-47 of the middle between two floats (subnormal results may differ by one unit), at the speed of
   floats. */
FO_INLINE double fo_scale_by(double x, double factor, double shift) { return factor * (shift * x); }
FO_INLINE float fo_upper(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    u &= 0xffffffffe0000000u;
    memcpy(&x, &u, sizeof x);
    return (float)x;
}
FO_INLINE int fo_is_usual(double factor, double shift)
{
    const double size = factor < 0 ? -factor : factor;
    return shift == 1 && size >= 0x1p-100 && size <= 0x1p100;
}
/* True if products of floats with a factor are floats, except for subnormal results; and if a double is a float. */
FO_INLINE int fo_is_exact(double factor, double shift)
{
    uint64_t u;
    memcpy(&u, &factor, sizeof u);
    return fo_is_usual(factor, shift) && factor <= 1 && factor >= -1 && (u & 0xfffffffffffffu) == 0;
}
FO_INLINE int fo_is_float(double x) { return (double)(float)x == x; }
FO_INLINE float fo_scale_usual(float x, float upper, float lower)
{
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDACC__)
    return fmaf(upper, x, lower * x);
#else
    /* The exact sum of two doubles, rounded to odd: rounded to float, it is what a fused operation gives. */
    const double a = (double)upper * (double)x, b = (double)(lower * x), sum = a + b, of_b = sum - a;
    const double lost = (a - (sum - of_b)) + (b - of_b);
    uint64_t bits;
    double odd;
    memcpy(&bits, &sum, sizeof bits);
    bits += !(bits & 1u) && (lost > 0 || lost < 0) ? ((lost > 0) == (sum > 0) ? 1u : (uint64_t)-1) : 0u;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
#endif
}
FO_INLINE float fo_scale_byf(float x, double factor, double shift)
{
    const float upper = fo_upper(factor), lower = (float)(factor - (double)upper);
    if (!fo_is_usual(factor, shift)) return (float)(factor * (shift * (double)x));
    return lower == 0 ? upper * x : fo_scale_usual(x, upper, lower);
}
#if defined(__cplusplus)
FO_INLINE float fo_scale_by(float x, double factor, double shift) { return fo_scale_byf(x, factor, shift); }
#endif

/* IEEE half to float, without a subnormal float, which a flushing processor would take for zero. */
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

/* Loads from any address. */
FO_INLINE float fo_load_f16(const char *x) { uint16_t h; memcpy(&h, x, sizeof h); return fo_half(h); }
FO_INLINE float fo_load_f32(const char *x) { float f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE double fo_load_f64(const char *x) { double f; memcpy(&f, x, sizeof f); return f; }
FO_INLINE float fo_load_bf16(const char *x) { uint16_t h; memcpy(&h, x, sizeof h); return fo_float((uint32_t)h << 16); }

/* 32 random bits of a position, by a multiplicative hash of position * FO_STEP + key, whose next input is FO_STEP more. The
   upper bits are the better ones. */
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

/* Float to 16 bits, to nearest or stochastically. A nonnegative number above zero stays above zero: a second moment of zero
   would blow an update up. */
FO_INLINE uint16_t fo_bf16(float x, uint32_t random, int stochastic, int nonnegative)
{
    int32_t u = (int32_t)fo_bits(x), a = u & 0x7fffffff, carry = stochastic ? (int32_t)(random >> 16) : 0x7fff + (u >> 16 & 1);
    if (nonnegative) u = (uint32_t)u - 1u < 0xffffu ? 0x10000 : u;
    if (stochastic && a > 0x7f7f0000) carry = 0; /* never to infinity */
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

/* Blocks of 8-bit floats that share an exponent: a code is the top of a float's bits, exponent and three of the mantissa, less an
   offset that brings the block's largest to the largest code. Zero is code zero. */
/* Offset of a block that holds a NaN: all of it reads as NaN. An infinity becomes the largest number, as does a number rounded
   to one. */
#define FO_NOT_FINITE 32767
FO_INLINE int fo_exponent(uint32_t largest, int codes)
{
    if (largest > 0x7f700000u && largest <= 0x7f800000u) largest = 0x7f700000u;
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
#endif
