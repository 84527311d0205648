"""Fit ten thousand decaying curves at once, vectorised in NumPy and compiled by numba; errors go to many_fits.png.

``python examples/many_fits.py [N]``: each fit ends by itself and is the one that `fo.minimize` makes.
"""

import ctypes
import sys
import time

import numba
import numpy as np
from matplotlib.figure import Figure
from numba.types import CPointer, float64, uintp
from scipy import LowLevelCallable

import fastopt as fo

TIMES = np.linspace(0, 4, 30)
SIGNATURE = "double (size_t, double *, double *, void *, size_t)"


def vectorised(x, data):
    """Return the squared error of every curve, and its gradient by height and rate."""
    decay = np.exp(-x[:, 1:] * TIMES)
    r = x[:, :1] * decay - data
    return (r**2).sum(1), np.stack([2 * (r * decay).sum(1), -2 * (r * x[:, :1] * decay * TIMES).sum(1)], 1)


@numba.cfunc(float64(uintp, CPointer(float64), CPointer(float64), CPointer(float64), uintp))
def compiled(n, x, grad, data, problem):
    """Return the squared error of one curve of many, and write its gradient."""
    total = grad[0] = grad[1] = 0.0
    for k in range(len(TIMES)):
        decay = np.exp(-x[1] * TIMES[k])
        r = x[0] * decay - data[problem * len(TIMES) + k]
        total += r * r
        grad[0] += 2 * r * decay
        grad[1] -= 2 * r * x[0] * decay * TIMES[k]
    return total


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.5, 2, size=(number, 2))
    data = truth[:, :1] * np.exp(-truth[:, 1:] * TIMES) + 0.01 * rng.normal(size=(number, len(TIMES)))
    in_c = LowLevelCallable(compiled.ctypes, data.ctypes.data_as(ctypes.c_void_p), SIGNATURE)
    found = {}
    for name, fun, args in (("NumPy", vectorised, (data,)), ("numba", in_c, ())):
        begin = time.perf_counter()
        found[name] = fo.minimize_many(fun, np.ones((number, 2)), args=args, bounds=[(0, 10)] * 2, options={"gtol": 1e-4})
        print(f"{name}  {time.perf_counter() - begin:.2f} s, {found[name].message}")
    error = np.abs(found["NumPy"].x - truth)
    print(f"mean error of the heights {error[:, 0].mean():.4f}, of the rates {error[:, 1].mean():.4f}")
    print(f"At most {np.abs(found['numba'].x - found['NumPy'].x).max():.1e} apart.")
    axes = (figure := Figure(layout="constrained")).subplots()
    axes.hist(error, bins=50, label=["height", "rate"])
    axes.set(xlabel="error", ylabel="fits")
    axes.legend()
    figure.savefig("many_fits.png")
