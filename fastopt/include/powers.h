/* Powers of one number at step after step: fo_power with what is kept from call to call, equal products in equal order, the low
   bits of n first. x^k is kept for k < 64, and the squarings x^(2^i) of the bits of n above, followed by ones, so that no branch
   depends on bits that change often. The power of the next step is computed ahead, when nothing waits for it. Without memory, and
   for an x that has just changed, plainly. */
#ifndef FASTOPT_POWERS_H
#define FASTOPT_POWERS_H

#include "scalar.h"

enum { FO_POWERS_KEPT = 64, FO_POWERS_AT_ONCE = 4 };
typedef struct {
    double x, next, square, low[FO_POWERS_KEPT], high[64 + FO_POWERS_AT_ONCE]; /* `square` is x^64 */
    int64_t n, above;                                           /* n of `next`; n / 64 of `high`, -1: none */
    int seen, rounds;                                           /* calls with this x, up to 2 */
} fo_powers_t;
static inline void fo_keep_low(fo_powers_t *kept)
{
    kept->low[0] = 1.0;
    kept->square = kept->x;
    for (int top = 1; top < FO_POWERS_KEPT; top *= 2) {
        for (int k = 0; k < top; k++) kept->low[top + k] = kept->low[k] * kept->square;
        kept->square = kept->square * kept->square;
    }
    kept->above = -1;
}
static inline void fo_keep_high(fo_powers_t *kept, int64_t above)
{
    int count = 0;
    double square = kept->square, product = 1.0;
    for (int64_t k = above; k; k >>= 1) {
        if (k & 1) {
            kept->high[count++] = square;
            product = product * square;
        }
        square = square * square;
    }
    if (product == 0 && kept->x > 0 && kept->x < 1) { /* then all are 0, and processors are slow where a product underflows */
        kept->high[0] = 0.0;
        count = 1;
    }
    kept->rounds = (count + FO_POWERS_AT_ONCE - 1) / FO_POWERS_AT_ONCE;
    while (count < kept->rounds * FO_POWERS_AT_ONCE) kept->high[count++] = 1.0;
    kept->above = above;
}
FO_INLINE double fo_power_of(fo_powers_t *kept, int64_t n)
{
    double result = kept->low[n % FO_POWERS_KEPT];
    if (n / FO_POWERS_KEPT != kept->above) fo_keep_high(kept, n / FO_POWERS_KEPT);
    for (int i = 0; i < kept->rounds; i++) {
        for (int k = 0; k < FO_POWERS_AT_ONCE; k++) result = result * kept->high[i * FO_POWERS_AT_ONCE + k];
    }
    return result;
}
FO_INLINE double fo_power_kept(fo_powers_t *all, int place, double x, int64_t n)
{
    if (!all) return fo_power(x, n);
    fo_powers_t *kept = &all[place];
    if (!kept->seen || memcmp(&kept->x, &x, sizeof x) != 0) {
        kept->x = x, kept->seen = 1;
        return fo_power(x, n);
    }
    if (kept->seen == 1) {
        fo_keep_low(kept);
        kept->seen = 2, kept->n = -1;
    }
    const double result = kept->n == n ? kept->next : fo_power_of(kept, n);
    kept->n = n + 1;
    kept->next = fo_power_of(kept, n + 1);
    return result;
}
#endif
