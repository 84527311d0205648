"""Minimisations to be timed: iterations of fastopt and of SciPy around one objective, in Python or compiled by numba."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastopt as fo

ITERATIONS = 10_000  # Of one problem; a tenth of them of each of many.
PROBLEMS = 1000
# So slow that it never arrives, where state would end in subnormal numbers, which are slow.
ENDLESS = {"maxiter": ITERATIONS, "gtol": None, "ftol": None, "lr": 1e-6}
START = 3.0


def curvature(n: int) -> np.ndarray:
    """Return the second derivatives of a quadratic of condition 1,000."""
    return np.geomspace(1, 1000, n)


def objective(n: int) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return a quadratic in Python: value and gradient."""
    d = curvature(n)

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        r = x - 1
        g = d * r
        return float(r @ g), 2 * g

    return fun


@functools.cache
def compiled(arguments: int = 4) -> Any:
    """Return a quadratic compiled by numba; with five arguments, one of many."""
    import numba

    types = numba.types
    doubles = types.CPointer(types.float64)
    kinds = (types.uintp, doubles, doubles, types.voidptr, types.uintp)[:arguments]

    if arguments == 5:

        def many(n, x, grad, data, problem):  # type: ignore[no-untyped-def]
            total = 0.0
            for i in range(n):
                total += (x[i] - 1) * (x[i] - 1) * (i + 1)
                grad[i] = 2 * (x[i] - 1) * (i + 1)
            return total

        return numba.cfunc(types.float64(*kinds))(many)

    def one(n, x, grad, data):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(n):
            total += (x[i] - 1) * (x[i] - 1) * (i + 1)
            grad[i] = 2 * (x[i] - 1) * (i + 1)
        return total

    return numba.cfunc(types.float64(*kinds))(one)


def minimizing(n: int, kind: str = "") -> tuple[Callable[[], Any], int]:
    """Return a run of fastopt, and its iterations.

    Parameters
    ----------
    n : int
        Variables.
    kind : {"", "bounds", "callback", "compiled", "compiled, bounds", "many", "many, two threads"}
    """
    x0 = np.full(n, START)
    bounds = [(-10.0, 10.0)] * n if "bounds" in kind else None
    if kind.startswith("many"):
        start, threads = np.full((PROBLEMS, n), START), 2 if "two" in kind else 1
        options = {**ENDLESS, "maxiter": ITERATIONS // 10}
        run = functools.partial(fo.minimize_many, compiled(5), start, options=options, threads=threads)
        return run, ITERATIONS // 10 * PROBLEMS
    if kind.startswith("compiled"):
        options = {**ENDLESS, "maxiter": 20 * ITERATIONS}
        return functools.partial(fo.minimize, compiled(), x0, bounds=bounds, options=options), 20 * ITERATIONS
    callback = (lambda x: None) if kind == "callback" else None
    return functools.partial(fo.minimize, objective(n), x0, jac=True, bounds=bounds, callback=callback, options=ENDLESS), ITERATIONS


def by_scipy(n: int, method: str) -> tuple[Callable[[], Any], int]:
    """Return a run of SciPy's method, and its iterations."""
    from scipy.optimize import minimize

    run = functools.partial(minimize, objective(n), np.full(n, START), jac=True, method=method)
    return run, int(run().nit)


def calls(n: int) -> tuple[Callable[[], Any], int]:
    """Return as many calls of the objective alone as `minimizing` makes, and their number."""
    fun, x = objective(n), np.full(n, START)

    def run() -> None:
        for _ in range(ITERATIONS):
            fun(x)

    return run, ITERATIONS
