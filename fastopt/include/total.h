/* Exact sums: sums of blocks are added without rounding and their total is rounded once, so that it depends neither on order nor on
   partition. For C, C++ and CUDA; _engine/sums.py is the twin in NumPy.

   A block of squares is summed in the unit 2^FO_UNIT, 1 or 2^-FO_UNIT that keeps it in the middle of the range of doubles. */
#ifndef FASTOPT_TOTAL_H
#define FASTOPT_TOTAL_H

#include "scalar.h"

enum {
    FO_UNIT = 1200,                                  /* exponent of the unit of blocks of huge squares; of tiny ones, negative */
    FO_LOWEST = -1074 - FO_UNIT,                     /* exponent of the lowest bit of an addend */
    FO_LIMBS = (1024 + FO_UNIT - FO_LOWEST) / 32 + 4 /* the last ones for carries: 2^60 addends */
};

typedef struct {
    int64_t count;  /* addends */
    double first;   /* addend with its unit: alone, it is the total */
    int unit;
    double special; /* sum of the infinite and NaN addends */
    /* With a second one, the sum is that of limbs[k] * 2^(32 k + FO_LOWEST) over lo <= k < hi; others are not set. */
    int lo, hi;
    int64_t limbs[FO_LIMBS];
} fo_total;

FO_INLINE void fo_total_clear(fo_total *total)
{
    total->count = 0;
    total->special = 0;
    total->lo = total->hi = 0;
}

/* A double as a whole number times 2^exponent; 0 for infinity and NaN. */
FO_INLINE uint64_t fo_whole(double x, int *exponent)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int field = (int)(bits >> 52 & 0x7ffu);
    *exponent = (field ? field : 1) - 1075;
    return field == 0x7ff ? 0 : (bits & 0xfffffffffffffu) | (uint64_t)(field != 0) << 52;
}

FO_INLINE void fo_total_reach(fo_total *total, int k)
{
    if (total->hi == 0) total->lo = total->hi = k;
    while (total->lo > k) total->limbs[--total->lo] = 0;
    while (total->hi < k + 3) total->limbs[total->hi++] = 0;
}

/* Add to limbs k to k + 2. */
FO_INLINE void fo_total_limbs(fo_total *total, int k, const int64_t limbs[3])
{
    if (k < total->lo || k + 3 > total->hi) fo_total_reach(total, k);
    for (int i = 0; i < 3; i++) total->limbs[k + i] += limbs[i];
}

/* Write x * 2^unit as three limbs and return the first one's number; -1 for zero, infinity and NaN. */
FO_INLINE int fo_limbs(double x, int unit, int64_t limbs[3])
{
    int exponent;
    const uint64_t whole = fo_whole(x, &exponent);
    const unsigned place = (unsigned)(exponent + unit - FO_LOWEST), shift = place % 32; /* of the lowest bit */
    const uint64_t low = (whole & 0xffffffffu) << shift, high = (whole >> 32) << shift;
    const int64_t minus = -(int64_t)(x < 0); /* all ones if negative */
    limbs[0] = ((int64_t)(low & 0xffffffffu) ^ minus) - minus;
    limbs[1] = ((int64_t)((low >> 32) + (high & 0xffffffffu)) ^ minus) - minus;
    limbs[2] = ((int64_t)(high >> 32) ^ minus) - minus;
    return whole == 0 ? -1 : (int)(place / 32);
}

FO_INLINE void fo_total_spread(fo_total *total, double x, int unit)
{
    int64_t limbs[3];
    const int k = fo_limbs(x, unit, limbs);
    if (k < 0) total->special = total->special + x;
    else fo_total_limbs(total, k, limbs);
}

typedef struct { /* sum of a block; of squares in units of 2^unit */
    double sum;
    int64_t unit;
} fo_partial;

/* Add the sums of n blocks, `stride` apart. Neighbours mostly have the same limbs and are added together. */
FO_INLINE void fo_total_add_blocks(fo_total *total, const fo_partial *blocks, int64_t n, int64_t stride)
{
    int64_t sum[3] = {0, 0, 0}, limbs[3];
    int at = -1;
    if (n <= 0) return;
    if (total->count == 1) fo_total_spread(total, total->first, total->unit);
    if (total->count == 0 && n == 1) {
        total->first = blocks->sum;
        total->unit = (int)blocks->unit;
    }
    total->count += n;
    for (int64_t i = total->count == 1; i < n; i++) {
        const fo_partial *block = blocks + i * stride;
        const int k = fo_limbs(block->sum, (int)block->unit, limbs);
        if (k < 0) {
            total->special = total->special + block->sum;
            continue;
        }
        if (k != at) {
            if (at >= 0) fo_total_limbs(total, at, sum);
            sum[0] = sum[1] = sum[2] = 0;
            at = k;
        }
        for (int j = 0; j < 3; j++) sum[j] += limbs[j];
    }
    if (at >= 0) fo_total_limbs(total, at, sum);
}

/* Add x * 2^unit. */
FO_INLINE void fo_total_add(fo_total *total, double x, int unit)
{
    const fo_partial block = {x, unit};
    fo_total_add_blocks(total, &block, 1, 1);
}

/* Normalize the limbs to 0 <= limb < 2^32 and to the magnitude of the sum, without leading zeros. Returns its sign. */
FO_INLINE int fo_total_normalize(fo_total *total)
{
    int64_t carry = 0;
    for (int k = total->lo; k < total->hi || (carry != 0 && carry != -1); k++) {
        const int64_t x = (k < total->hi ? total->limbs[k] : 0) + carry, low = x & 0xffffffff;
        carry = (x - low) / ((int64_t)1 << 32);
        total->limbs[k] = low;
        if (k == total->hi) total->hi++;
    }
    const int negative = carry < 0;
    if (negative) { /* negate the two's complement */
        for (int k = total->lo; k < total->hi; k++) {
            const int64_t x = 0xffffffff - total->limbs[k] + (k == total->lo ? 1 : carry);
            carry = x >> 32;
            total->limbs[k] = x & 0xffffffff;
        }
        if (carry) total->limbs[total->hi++] = 1;
    }
    while (total->hi > total->lo && total->limbs[total->hi - 1] == 0) total->hi--;
    return negative;
}

/* The total, rounded once, as a number times 2^exponent. */
FO_INLINE double fo_total_round(fo_total *total, int *exponent)
{
    *exponent = total->count == 1 ? total->unit : 0;
    if (total->count < 2) return total->count ? total->first : 0;
    if (total->special != 0) return total->special;
    const int negative = fo_total_normalize(total), lo = total->lo, hi = total->hi;
    if (hi == lo) return 0;
    /* The 64 bits from the leading one on, and whether any lower bit is set. */
    uint64_t top = (uint64_t)total->limbs[hi - 1] << 32 | (uint64_t)(hi - 2 >= lo ? total->limbs[hi - 2] : 0);
    const uint64_t next = hi - 3 >= lo ? (uint64_t)total->limbs[hi - 3] : 0;
    int shift = 0, lost;
    for (int step = 16; step > 0; step /= 2) {
        const int by = top >> (64 - step) ? 0 : step;
        top <<= by;
        shift += by;
    }
    top |= next >> (32 - shift);
    lost = next << (32 + shift) != 0;
    for (int k = hi - 4; k >= lo; k--) lost |= total->limbs[k] != 0;
    const uint64_t rest = top & 0x7ffu, kept = top >> 11;
    const double rounded = (double)(kept + (rest > 0x400u || (rest == 0x400u && (lost || (kept & 1u)))));
    *exponent = 32 * (hi - 2) - shift + 11 + FO_LOWEST;
    return negative ? -rounded : rounded;
}

/* The root of x * 2^exponent, in [1, 2), and its exponent; 0, infinity and NaN are their own roots. */
FO_INLINE double fo_root(double x, int exponent, double *root_exponent)
{
    int e;
    uint64_t whole = fo_whole(x, &e);
    *root_exponent = 0;
    if (whole == 0) return sqrt(x);
    for (; !(whole >> 52); e--) whole <<= 1;
    e = e + 52 + exponent; /* of the leading bit */
    const double m = (double)whole * (e & 1 ? 0x1p-51 : 0x1p-52);
    *root_exponent = (e - (e & 1)) / 2;
    return sqrt(m);
}

/* Write the numbers that a scalars function takes for its sums: root and exponent for squares (a mask), else the total; means are
   divided by n, which is negative for other sums. Returns the number of numbers. */
FO_INLINE int fo_reduce_totals(fo_total *totals, int sums, int squares, double n, double *given)
{
    int count = 0;
    for (int j = 0; j < sums; j++) {
        int exponent;
        double x = fo_total_round(totals + j, &exponent);
        if (n >= 0) x = n > 0 ? x / n : NAN;
        if (squares >> j & 1) {
            given[count] = fo_root(x, exponent, given + count + 1);
            count += 2;
        } else
            given[count++] = fo_ldexp(x, exponent);
    }
    return count;
}
#endif
