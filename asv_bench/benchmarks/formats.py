"""What is stored in less than 32 bits, and gradients of few rows."""

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, normal, stepped


class State:
    params = (["float32", "bfloat16", "float16", "float8"], ["stochastic", "nearest"], [100_000, 10_000_000])
    param_names = ("state_dtype", "rounding", "elements")

    def setup(self, state_dtype, rounding, elements):
        if state_dtype == "float32" and rounding == "nearest":
            raise NotImplementedError("the same as stochastic")
        self.optimizer = stepped("Adam", [(elements,)], state_dtype=state_dtype, rounding=rounding)

    def time_step(self, state_dtype, rounding, elements):
        self.optimizer.step()


class Parameters:
    params = (["bfloat16", "float16"], [None, "float32", "split"], [100_000, 10_000_000])
    param_names = ("dtype", "master", "elements")

    def setup(self, dtype, master, elements):
        if dtype == "float16" and master:
            raise NotImplementedError("masters are for bfloat16")
        params, grads = normal([(elements,)]), normal([(elements,)], seed=1)
        if dtype == "float16":
            params, grads = ([a.astype(np.float16) for a in x] for x in (params, grads))
        else:
            params, grads = ([(a.view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) for a in x] for x in (params, grads))
        self.optimizer = fo.Adam(params, lr=LEARNING_RATE, master=master)
        self.optimizer.bind(grads)
        self.optimizer.step()

    def time_step(self, dtype, master, elements):
        self.optimizer.step()


class Rows:
    """Gradients of 1024 rows of a table of 100 000 x 64."""

    params = ("lazy", "exact")
    param_names = ("mode",)

    def setup(self, mode):
        (table,) = normal([(100_000, 64)])
        rng = np.random.default_rng(1)
        self.optimizer = fo.Adam(table, lr=LEARNING_RATE, mode=mode)
        self.gradient = fo.RowGradient(rng.integers(0, len(table), 1024), rng.standard_normal((1024, 64), np.float32))
        self.optimizer.step(self.gradient)

    def time_step(self, mode):
        self.optimizer.step(self.gradient)


class Layouts:
    """Arrays that are not one piece of memory, and gradients of another dtype."""

    params = ("Fortran", "every second", "reversed", "float64 gradient", "float16 gradient")
    param_names = ("layout",)

    def setup(self, layout):
        p, g = normal([(1_000, 200), (1_000, 200)])
        if layout == "Fortran":
            p = np.asfortranarray(p)
        elif layout == "every second":
            p, g = p[:, ::2], g[:, ::2]
        elif layout == "reversed":
            p = p[::-1]
        else:
            g = g.astype(layout.split()[0])
        self.optimizer = fo.Adam(p, lr=LEARNING_RATE)
        self.optimizer.bind(g)
        self.optimizer.step()

    def time_step(self, layout):
        self.optimizer.step()
