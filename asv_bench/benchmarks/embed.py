"""Steps through other doors: the C interface from C and numba, and a user's rule, as ratios within one process."""

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, normal
from .ratios import ratio, visit

LOOPS = """
#include <math.h>
#include "fastopt.h"
typedef int32_t (*apply_t)(const fastopt_update *updates, int64_t count, int32_t threads);
void call(apply_t apply, fastopt_update *u, int64_t times)
{
    for (u->t = 1; u->t <= times; u->t++) apply(u, 1, 1);
}
/* Adam as one writes it by hand. */
static void adam(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, int64_t n, int64_t t)
{
    const double c2 = sqrt(1 - pow(0.999, (double)t));
    const float step = (float)(1e-9 * c2 / (1 - pow(0.9, (double)t))), eps = (float)(1e-8 * c2);
    for (int64_t i = 0; i < n; i++) {
        m[i] = m[i] + 0.1f * (g[i] - m[i]);
        v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
        p[i] = p[i] - step * m[i] / (sqrtf(v[i]) + eps);
    }
}
void bare(fastopt_update *u, int64_t times)
{
    for (int64_t t = 1; t <= times; t++)
        adam((float *)u->param_out, (const float *)u->grad, (float *)u->state[0], (float *)u->state[1], u->n, t);
}
"""
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
APPLY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32)


@functools.cache
def loops():
    """Return loops in C, compiled for this processor."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "loops.c"), Path(folder, "loops.so")
        source.write_text(LOOPS)
        subprocess.run(["cc", *FLAGS, "-I", fo.get_include(), source, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


@functools.cache
def numba_loop():
    import numba

    apply = APPLY(fo.embed.addresses()["fastopt_apply"])

    @numba.njit
    def loop(update, address, times):
        for t in range(1, times + 1):
            update[0]["t"] = t
            apply(address, 1, 1)

    return loop


def described(n):
    """Return an update of Adam on n elements, and everything that it points to."""
    arrays = [*normal([(n,)] * 2), np.zeros(n, np.float32), np.zeros(n, np.float32)]
    h = np.array([LEARNING_RATE, 0.9, 0.999, 1e-8, 0, 0])
    u = fo.embed.updates(1)
    u["rule"], u["n"], u["t"], u["hyperparameters"] = fo.embed.find_rule("adam"), n, 1, h.ctypes.data
    u["param_in"] = u["param_out"] = arrays[0].ctypes.data
    u["grad"], u["state"][0, :2] = arrays[1].ctypes.data, [a.ctypes.data for a in arrays[2:]]
    return u, (arrays, h)


def pair_of(caller, n):
    """Return two functions: steps through the interface, and as many of the hand-written loop."""
    u, kept = described(n)
    times = max(1, 1_000_000 // n)
    pointer = ctypes.c_void_p(u.ctypes.data)
    if caller == "numba":
        ours = functools.partial(numba_loop(), u, u.ctypes.data, times)
    else:
        ours = functools.partial(
            loops().call, ctypes.c_void_p(fo.embed.addresses()["fastopt_apply"]), pointer, ctypes.c_int64(times)
        )
    bare = functools.partial(loops().bare, pointer, ctypes.c_int64(times))
    bare.kept = kept
    return ours, bare


class OfHandwrittenC:
    """`fastopt_apply` in a loop, compared with Adam written by hand in C for this processor: one thread, in cache."""

    params = (["C", "numba"], [1_000, 10_000, 100_000])
    param_names = ("caller", "elements")

    def setup(self, caller, elements):
        if not hasattr(fo, "embed"):
            raise NotImplementedError("older than the C interface")

    def track_time(self, caller, elements):
        return ratio(lambda: pair_of(caller, elements))

    track_time.unit = "of handwritten C's"


class OverheadOfACall:
    """Overhead of a call of `fastopt_apply` from C."""

    params = (10, 1_000)
    param_names = ("elements",)

    def setup(self, elements):
        if not hasattr(fo, "embed"):
            raise NotImplementedError("older than the C interface")

    def track_overhead(self, elements):
        ours, bare = pair_of("C", elements)
        times = max(1, 1_000_000 // elements)
        return 1e9 * np.median([visit(ours, 1) - visit(bare, 1) for _ in range(15)]) / times

    track_overhead.unit = "ns"


class OwnRule:
    """A user's compiled rule compared with the same rule of the package."""

    params = (1_000, 100_000, 1_000_000)
    param_names = ("elements",)

    def setup(self, elements):
        if not hasattr(fo, "rule"):
            raise NotImplementedError("older than users' own rules")

    def track_time(self, elements):
        from .own_rule import again

        fo.compile(again)

        def pair():
            steps = []
            for make in (functools.partial(fo.optimizer, again), fo.Adam):
                optimizer = make(normal([(elements,)]), lr=LEARNING_RATE, threads=1)
                optimizer.bind(normal([(elements,)], seed=1))
                steps.append(optimizer.step)
            return steps

        return ratio(pair)

    track_time.unit = "of the package's"


class InTorch:
    """Steps of a torch optimizer over the engine, whose gradients stay in place."""

    params = ([(1, 10), (1, 100_000), (1000, 100)],)
    param_names = ("tensors and their elements",)

    def setup(self, shape):
        try:
            import torch

            optimizer = fo.torch.optimizer
        except (ImportError, AttributeError):
            raise NotImplementedError("without torch, or older than fastopt.torch") from None
        tensors = [torch.nn.Parameter(torch.zeros(shape[1])) for _ in range(shape[0])]
        for tensor in tensors:
            tensor.grad = torch.ones(shape[1])
        self.step = optimizer(fo.Adam, tensors, lr=LEARNING_RATE).step
        self.step()

    def time_step(self, shape):
        self.step()
