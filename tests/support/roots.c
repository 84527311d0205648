/* Checks of the square roots of vector.h: compiled as a library by tests/engine/test_roots.py. */
#include "vector.h"

enum { LANES = FO_BYTES / sizeof(double) };

#if defined(FO_HAS_FLOATS)
/* The number of wrong roots of all floats x in [from, to) and all floats y within 2^-bits of x^(-1/2). */
int64_t wrong_from_estimates(float from, float to, int bits)
{
    int64_t wrong = 0;
    for (uint32_t u = fo_bits(from); u < fo_bits(to); u++) {
        const double exact = 1 / sqrt((double)fo_float(u)), low = exact * (1 - ldexp(1, -bits)), high = exact * (1 + ldexp(1, -bits));
        const fo_floats x = (fo_floats)_mm512_set1_ps(fo_float(u)), root = (fo_floats)_mm512_sqrt_ps(x);
        uint32_t first = fo_bits((float)low), last = fo_bits((float)high);
        first += (double)fo_float(first) < low;
        last -= (double)fo_float(last) > high;
        for (; first <= last; first += 16) {
            const uint32_t left = last - first, n = left < 15 ? left + 1 : 16;
            const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            const fo_floats y = (fo_floats)_mm512_add_epi32(_mm512_set1_epi32((int)first), lane);
            const fo_floats found = fo_refined_floats(x, y);
            const __mmask16 bad = _mm512_cmpneq_epi32_mask(_mm512_castps_si512(found), _mm512_castps_si512(root));
            wrong += __builtin_popcount(bad & ((1u << n) - 1));
        }
    }
    return wrong;
}

/* The number of floats, of all, whose roots differ from the processor's. */
int64_t wrong_floats(void)
{
    int64_t wrong = 0;
    for (uint64_t u = 0; u < (uint64_t)1 << 32; u += 16) {
        float x[16];
        for (uint32_t k = 0; k < 16; k++) x[k] = fo_float((uint32_t)u + k);
        const fo_floats all = *(const fo_floats *)x;
        const __m512i found = _mm512_castps_si512(fo_sqrt_floats(all)), root = _mm512_castps_si512(_mm512_sqrt_ps(all));
        wrong += __builtin_popcount(_mm512_cmpneq_epi32_mask(found, root));
    }
    return wrong;
}
#endif

/* Write the roots of n doubles, a multiple of the numbers of a vector, or the estimates that they begin with. */
void roots_of_doubles(const double *x, double *out, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) *(fo_doubles *)(out + i) = fo_sqrt_doubles(*(const fo_doubles *)(x + i));
}
void estimates_of_doubles(const double *x, double *out, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) *(fo_doubles *)(out + i) = fo_estimates(*(const fo_doubles *)(x + i));
}

/* The number of wrong roots of x, in [1, 4), from all estimates over 2^24 within `error` of x^(-1/2), relative. */
int64_t wrong_from_estimates_of(double x, double error)
{
    int64_t wrong = 0;
    const double low = floor((1 - error) / sqrt(x) * 0x1p24), high = (1 + error) / sqrt(x) * 0x1p24;
    for (double k = low; k <= high; k += LANES) {
        double many[LANES], y[LANES], found[LANES];
        for (int j = 0; j < LANES; j++) many[j] = x, y[j] = (k + j) / 0x1p24;
        *(fo_doubles *)found = fo_refined_doubles(*(const fo_doubles *)many, *(const fo_doubles *)y);
        for (int j = 0; j < LANES; j++) wrong += found[j] != sqrt(x);
    }
    return wrong;
}
