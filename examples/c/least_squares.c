/* A line through points, by Adam, in C without Python. The kernels are one file, which fastopt writes:

       python -c "import fastopt; print(fastopt.source('c', 'adam'))" > fastopt_adam.c
       cc -std=c99 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -I "$(python -c 'import fastopt; print(fastopt.get_include())')" \
          least_squares.c fastopt_adam.c -o least_squares -lm && ./least_squares
*/
#define FASTOPT_DECLARE
#include <math.h>
#include <stdio.h>

#include "fastopt.h"

enum { POINTS = 100, STEPS = 500 };

int main(void)
{
    double w[2] = {0, 0}, g[2], m[2] = {0, 0}, v[2] = {0, 0};
    const double hyperparameters[] = {0.1, 0.9, 0.999, 1e-8, 0, 0}; /* as fastopt_find_rule("adam")->hyperparameters names them */
    fastopt_update update = {
        .size = sizeof update, .rule = fastopt_find_rule("adam"), .n = 2, .param_format = FASTOPT_FLOAT64,
        .grad_format = FASTOPT_FLOAT64, .state_format = FASTOPT_FLOAT64, .param_in = w, .param_out = w, .grad = g, .state = {m, v},
        .hyperparameters = hyperparameters};
    for (update.t = 1; update.t <= STEPS; update.t++) {
        g[0] = g[1] = 0;
        for (int i = 0; i < POINTS; i++) {
            const double x = i / (double)POINTS, y = 2 * x + 1 + 0.1 * sin(37.0 * i), error = w[0] * x + w[1] - y;
            g[0] += 2 * error * x / POINTS;
            g[1] += 2 * error / POINTS;
        }
        if (fastopt_apply(&update, 1, 1) != FASTOPT_OK) {
            fprintf(stderr, "%s\n", fastopt_message());
            return 1;
        }
    }
    printf("weight %.17g bias %.17g\n", w[0], w[1]);
    return 0;
}
