"""Fit ten thousand decaying curves at once: vectorised in NumPy, and compiled by numba.

``python examples/many_fits.py [N]``: each fit ends by itself and is the one that `fo.minimize` makes. The errors of all fits go to
many_fits.png.
"""

import ctypes
import sys
import time

import numpy as np

import fastopt as fo

TIMES = np.linspace(0, 4, 30)
BOUNDS, OPTIONS = [(0.0, 10.0)] * 2, {"gtol": 1e-4}


def vectorised(x, data):
    """Return the squared error of every curve, and its gradient by height and rate."""
    decay = np.exp(-x[:, 1:] * TIMES)
    r = x[:, :1] * decay - data
    return (r**2).sum(1), np.stack([2 * (r * decay).sum(1), -2 * (r * x[:, :1] * decay * TIMES).sum(1)], 1)


def compiled():
    """Return the same for one curve of many, as a function in C with its data."""
    import numba
    from scipy import LowLevelCallable

    types = numba.types
    doubles = types.CPointer(types.float64)
    times, count = TIMES, len(TIMES)

    @numba.cfunc(types.float64(types.uintp, doubles, doubles, doubles, types.uintp))
    def fun(n, x, grad, data, problem):
        total = 0.0
        grad[0] = grad[1] = 0.0
        for k in range(count):
            decay = np.exp(-x[1] * times[k])
            r = x[0] * decay - data[problem * count + k]
            total += r * r
            grad[0] += 2 * r * decay
            grad[1] -= 2 * r * x[0] * decay * times[k]
        return total

    def with_data(data):
        signature = "double (size_t, double *, double *, void *, size_t)"
        return LowLevelCallable(fun.ctypes, data.ctypes.data_as(ctypes.c_void_p), signature)

    return with_data


def main():
    """Fit both ways, and draw."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.5, 2, size=(number, 2))
    data = truth[:, :1] * np.exp(-truth[:, 1:] * TIMES) + 0.01 * rng.normal(size=(number, len(TIMES)))
    start = np.ones((number, 2))
    begin = time.perf_counter()
    found = fo.minimize_many(vectorised, start, args=(data,), bounds=BOUNDS, options=OPTIONS)
    print(f"NumPy  {time.perf_counter() - begin:.2f} s, {found.message}")
    error = np.abs(found.x - truth)
    print(f"mean error of the heights {error[:, 0].mean():.4f}, of the rates {error[:, 1].mean():.4f}")
    try:
        fun = compiled()(data)
    except ImportError:
        print("numba is not installed")
    else:
        begin = time.perf_counter()
        other = fo.minimize_many(fun, start, bounds=BOUNDS, options=OPTIONS)
        seconds = time.perf_counter() - begin
        print(f"numba  {seconds:.2f} s, {other.message} At most {np.abs(other.x - found.x).max():.1e} apart.")
    draw(error)


def draw(error):
    """Draw the errors of the fits to a file."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return
    figure, axes = pyplot.subplots()
    axes.hist(error, bins=50, label=["height", "rate"])
    axes.set(xlabel="error", ylabel="fits")
    axes.legend()
    figure.savefig("many_fits.png")


if __name__ == "__main__":
    main()
