"""Storage below 32 bits, and gradients of few rows."""

import functools

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, _Steps, bound, normal


class State(_Steps):
    params = (["float32", "bfloat16", "float16", "float8"], ["stochastic", "nearest"], [100_000, 10_000_000])
    param_names = ("state_dtype", "rounding", "elements")
    skip_params = tuple(("float32", "nearest", n) for n in (100_000, 10_000_000))

    def make(self, state_dtype, rounding, elements):
        return bound("Adam", [(elements,)], state_dtype=state_dtype, rounding=rounding).step


class Parameters(_Steps):
    params = (["bfloat16", "float16"], [None, "float32", "split"], [100_000, 10_000_000])
    param_names = ("dtype", "master", "elements")
    skip_params = tuple(("float16", master, n) for master in ("float32", "split") for n in (100_000, 10_000_000))

    def make(self, dtype, master, elements):
        params, grads = normal([(elements,)]), normal([(elements,)], seed=1)
        if dtype == "float16":
            params, grads = ([a.astype(np.float16) for a in x] for x in (params, grads))
        else:
            params, grads = ([(a.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) for a in x] for x in (params, grads))
        optimizer = fo.Adam(params, lr=LEARNING_RATE, master=master)
        optimizer.bind(grads)
        return optimizer.step


class Rows(_Steps):
    """Gradients of 1024 rows of a table of 100 000 x 64."""

    params = ("lazy", "exact")
    param_names = ("mode",)

    def make(self, mode):
        (table,) = normal([(100_000, 64)])
        rng = np.random.default_rng(1)
        gradient = fo.RowGradient(rng.integers(0, len(table), 1024), rng.standard_normal((1024, 64), np.float32))
        return functools.partial(fo.Adam(table, lr=LEARNING_RATE, mode=mode).step, gradient)


class Layouts(_Steps):
    """Arrays that are not contiguous, and gradients of another dtype."""

    params = ("Fortran", "every second", "reversed", "float64 gradient", "float16 gradient")
    param_names = ("layout",)

    def make(self, layout):
        p, g = normal([(1_000, 200), (1_000, 200)])
        if layout == "Fortran":
            p = np.asfortranarray(p)
        elif layout == "every second":
            p, g = p[:, ::2], g[:, ::2]
        elif layout == "reversed":
            p = p[::-1]
        else:
            g = g.astype(layout.split()[0])
        optimizer = fo.Adam(p, lr=LEARNING_RATE)
        optimizer.bind(g)
        return optimizer.step
