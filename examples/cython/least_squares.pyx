# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A line through points, by Adam, in a Cython module whose loop never takes the GIL."""

from fastopt cimport (
    FASTOPT_FLOAT64, FASTOPT_OK, fastopt_apply, fastopt_find_rule, fastopt_message, fastopt_update,
)
from libc.string cimport memset


def fit(const double[:] x, const double[:] y, int steps, double lr=0.1):
    """Weight and bias after so many steps."""
    cdef double[2] w = [0, 0], m = [0, 0], v = [0, 0], g
    cdef double[6] hyperparameters = [lr, 0.9, 0.999, 1e-8, 0, 0]
    cdef fastopt_update update
    cdef Py_ssize_t i, n = x.shape[0]
    cdef double error
    cdef int code = FASTOPT_OK
    memset(&update, 0, sizeof(update))
    update.size, update.rule, update.n = sizeof(update), fastopt_find_rule(b"adam"), 2
    update.param_format = update.grad_format = update.state_format = FASTOPT_FLOAT64
    update.param_in = update.param_out = w
    update.grad, update.state[0], update.state[1] = g, m, v
    update.hyperparameters = hyperparameters
    with nogil:
        for update.t in range(1, steps + 1):
            g[0] = g[1] = 0
            for i in range(n):
                error = w[0] * x[i] + w[1] - y[i]
                g[0] += 2 * error * x[i] / n
                g[1] += 2 * error / n
            code = fastopt_apply(&update, 1, 1)
            if code != FASTOPT_OK:
                break
    if code != FASTOPT_OK:
        raise ValueError(fastopt_message().decode())
    return w[0], w[1]
