/* Sums of a block with one number for each thread, with the bits of block.h. */
#ifndef FASTOPT_FOLD_H
#define FASTOPT_FOLD_H

/* Sum lane `thread` of a block: numbers, or squares of `scale` times numbers. */
FO_INLINE double fo_fold_lane(const double *lane, int square, double scale)
{
    double x = 0;
    for (int i = 0; i < FO_BLOCK; i += 16) {
        const double y = square ? scale * lane[i] * (scale * lane[i]) : lane[i];
        x = i == 0 ? y : x + y;
    }
    return x;
}

/* The factor for elements whose squares have this sum, as in fo_fold_squares. */
FO_INLINE double fo_scale_of(const double *x, double sum)
{
    int some = 0;
    if (sum >= 0x1p-900 && sum < 0x1p1000) return 1;
    for (int i = 0; i < FO_BLOCK; i++) {
        if (x[i] - x[i] != 0) return 1;
        some |= x[i] != 0;
    }
    return !some ? 1 : sum < 1 ? 0x1p600 : 0x1p-600;
}

/* Sums of a block with one number of each sum for each thread, those in mask `squares` of squares: 16 lanes side by side,
   then halves of lanes. All threads come here. */
FO_INLINE void fo_fold_block(const double *terms, int squares, fo_partial *partials)
{
    __shared__ double all[FO_SUMS * FO_BLOCK];
    __shared__ double lanes[FO_SUMS * 16];
    __shared__ double scales[FO_SUMS];
    const int thread = (int)threadIdx.x;
    __syncthreads();
    for (int j = 0; j < FO_SUMS; j++) all[j * FO_BLOCK + thread] = terms[j];
    if (thread < FO_SUMS) scales[thread] = 1;
    for (int again = 0; again < (squares ? 2 : 1); again++) { /* again for huge or tiny squares */
        __syncthreads();
        int some = 0;
        for (int j = 0; j < FO_SUMS; j++) some |= scales[j] != 1;
        if (again && !some) break;
        if (thread < FO_SUMS * 16)
            lanes[thread] = fo_fold_lane(all + thread / 16 * FO_BLOCK + thread % 16,
                                         squares >> thread / 16 & 1, scales[thread / 16]);
        __syncthreads();
        if (thread < FO_SUMS) {
            double *x = lanes + thread * 16;
            for (int width = 8; width > 0; width /= 2)
                for (int i = 0; i < width; i++) x[i] = x[i] + x[i + width];
            partials[thread].sum = x[0];
            partials[thread].unit = scales[thread] == 1 ? 0 : scales[thread] > 1 ? -FO_UNIT : FO_UNIT;
            if (squares >> thread & 1 && again == 0) scales[thread] = fo_scale_of(all + thread * FO_BLOCK, x[0]);
        }
    }
}

#endif
