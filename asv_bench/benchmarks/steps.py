"""One step, by size, number of arrays, threads and instruction set."""

import functools
import os
import subprocess
import sys

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, NETWORK, _Steps, bound, normal


class BySize(_Steps):
    params = ([10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000], ["SGD", "Adam"], ["float32", "float64"])
    param_names = ("elements", "rule", "dtype")

    def make(self, elements, rule, dtype):
        return bound(rule, [(elements,)], dtype=dtype).step


class ByNumberOfArrays(_Steps):
    params = ([1, 10, 100, 1_000], [100, 10_000], ["bound", "list", "mapping"])
    param_names = ("arrays", "elements", "gradients")

    def make(self, arrays, elements, gradients):
        shapes = [(elements,)] * arrays
        params, grads = normal(shapes), normal(shapes, seed=1)
        if gradients == "mapping":
            names = [f"layer{i}" for i in range(arrays)]
            params, grads = (dict(zip(names, x, strict=True)) for x in (params, grads))
        optimizer = fo.Adam(params, lr=LEARNING_RATE)
        if gradients != "bound":
            return functools.partial(optimizer.step, grads)
        optimizer.bind(grads)
        return optimizer.step


class Network(_Steps):
    def make(self):
        return bound("Adam", NETWORK).step


class ByThreads(_Steps):
    params = ([1, 2], [10_000, 100_000, 1_000_000, 10_000_000])
    param_names = ("threads", "elements")

    def make(self, threads, elements):
        return bound("Adam", [(elements,)], threads=threads).step


class AfterAMatrixProduct:
    """Steps of users who compute gradients with NumPy: the threads of its BLAS still hold the processors."""

    params = (100_000, 1_000_000)
    param_names = ("elements",)
    number, repeat = 1, 200
    optimizer = None

    def setup(self, elements):
        if self.optimizer is None:
            self.optimizer = bound("Adam", [(elements,)])
            self.matrix = np.random.default_rng(0).standard_normal((300, 300), np.float32)
        self.matrix @ self.matrix

    def time_step(self, elements):
        self.optimizer.step()


class ByInstructionSet:
    """Each in its own process: the instruction set is chosen on import."""

    params = (["x86-64-v4", "x86-64-v3", "baseline"], ["SGD", "Adam"], [1_000, 100_000])
    param_names = ("instruction set", "rule", "elements")
    number, repeat, rounds = 1_000, 5, 1

    def setup(self, isa, rule, elements):
        environment = {**os.environ, "FASTOPT_ISA": isa}
        if subprocess.run([sys.executable, "-c", "import fastopt"], env=environment, capture_output=True).returncode:
            raise NotImplementedError(f"no {isa} here")

    def timeraw_step(self, isa, rule, elements):
        return (
            "step()",
            f"""
            import os
            os.environ["FASTOPT_ISA"] = {isa!r}
            import numpy as np, fastopt as fo
            params, grads = (np.random.default_rng(i).standard_normal({elements}).astype(np.float32) for i in (0, 1))
            optimizer = fo.{rule}(params, lr=1e-9, threads=1)
            optimizer.bind(grads)
            step = optimizer.step
            for _ in range(300):
                step()
            """,
        )


class Subnormals(_Steps):
    """Gradients and state with numbers that processors may be slow with."""

    params = (False, True)
    param_names = ("flush_subnormals",)

    def make(self, flush_subnormals):
        params, grads = normal([(100_000,)]), normal([(100_000,)], seed=1)
        optimizer = fo.Adam(params, lr=LEARNING_RATE, flush_subnormals=flush_subnormals)
        optimizer.bind([np.float32(1e-40) * g for g in grads])
        return optimizer.step
