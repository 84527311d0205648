# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A signal without its noise, by Adam, in a Cython module whose loop never takes the GIL."""

import numpy as np

from fastopt cimport FASTOPT_FLOAT64, FASTOPT_OK, fastopt_apply, fastopt_find_rule, fastopt_message, fastopt_update
from libc.string cimport memset


def smoothed(const double[:] y, int steps, double weight=10.0, double lr=0.05):
    """What is close to `y` and changes little from one element to the next, after so many steps.

    It minimizes ``sum((w - y) ** 2) / 2 + weight * sum(diff(w) ** 2) / 2``.
    """
    cdef Py_ssize_t i, n = y.shape[0]
    cdef double[:] w = np.array(y), g = np.zeros(n), m = np.zeros(n), v = np.zeros(n)
    cdef double[6] hyperparameters = [lr, 0.9, 0.999, 1e-8, 0, 0]
    cdef fastopt_update update
    cdef int code = FASTOPT_OK
    memset(&update, 0, sizeof(update))
    update.size, update.rule, update.n = sizeof(update), fastopt_find_rule(b"adam"), n
    update.param_format = update.grad_format = update.state_format = FASTOPT_FLOAT64
    update.param_in = update.param_out = &w[0]
    update.grad, update.state[0], update.state[1] = &g[0], &m[0], &v[0]
    update.hyperparameters = hyperparameters
    with nogil:
        for update.t in range(1, steps + 1):
            g[0] = w[0] - y[0] + weight * (w[0] - w[1])
            for i in range(1, n - 1):
                g[i] = w[i] - y[i] + weight * (w[i] - w[i - 1] + (w[i] - w[i + 1]))
            g[n - 1] = w[n - 1] - y[n - 1] + weight * (w[n - 1] - w[n - 2])
            code = fastopt_apply(&update, 1, 1)
            if code != FASTOPT_OK:
                break
    if code != FASTOPT_OK:
        raise ValueError(fastopt_message().decode())
    return np.asarray(w)
