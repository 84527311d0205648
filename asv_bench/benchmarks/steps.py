"""One step: by size, number of arrays, threads and instruction set."""

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, NETWORK, normal, optimizer, stepped


class BySize:
    params = ([10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000], ["SGD", "Adam"], ["float32", "float64"])
    param_names = ("elements", "rule", "dtype")

    def setup(self, elements, rule, dtype):
        self.optimizer = stepped(rule, [(elements,)], dtype=dtype)

    def time_step(self, elements, rule, dtype):
        self.optimizer.step()


class ByNumberOfArrays:
    params = ([1, 10, 100, 1_000], [100, 10_000], ["bound", "list", "mapping"])
    param_names = ("arrays", "elements", "gradients")

    def setup(self, arrays, elements, gradients):
        shapes = [(elements,)] * arrays
        params, self.grads = normal(shapes), normal(shapes, seed=1)
        if gradients == "mapping":
            names = [f"layer{i}" for i in range(arrays)]
            params, self.grads = (dict(zip(names, x, strict=True)) for x in (params, self.grads))
        self.optimizer = fo.Adam(params, lr=LEARNING_RATE)
        if gradients == "bound":
            self.optimizer.bind(self.grads)
            self.grads = None
        self.optimizer.step(self.grads)

    def time_step(self, arrays, elements, gradients):
        self.optimizer.step(self.grads)


class Network:
    def setup(self):
        self.optimizer = stepped("Adam", NETWORK)

    def time_step(self):
        self.optimizer.step()


class ByThreads:
    params = ([1, 2], [10_000, 100_000, 1_000_000, 10_000_000])
    param_names = ("threads", "elements")

    def setup(self, threads, elements):
        self.optimizer = stepped("Adam", [(elements,)], threads=threads)

    def time_step(self, threads, elements):
        self.optimizer.step()


class AfterAMatrixProduct:
    """As those step who make gradients with NumPy: the threads of its BLAS still hold the processors."""

    params = (100_000, 1_000_000)
    param_names = ("elements",)
    number, repeat, warmup_time = 1, 100, 0

    def setup(self, elements):
        self.optimizer = stepped("Adam", [(elements,)])
        self.matrix = np.random.default_rng(0).standard_normal((300, 300), np.float32)
        for _ in range(200):
            self.matrix @ self.matrix
            self.optimizer.step()
        self.matrix @ self.matrix

    def time_step(self, elements):
        self.optimizer.step()


class ByInstructionSet:
    """Each in a process of its own: the instruction set is chosen when fastopt is imported."""

    params = (["x86-64-v4", "x86-64-v3", "baseline"], ["SGD", "Adam"], [1_000, 100_000])
    param_names = ("instruction set", "rule", "elements")
    number, repeat, rounds = 300, 5, 1

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


class Subnormals:
    """Gradients and state that a processor may be slow with."""

    params = (False, True)
    param_names = ("flush_subnormals",)

    def setup(self, flush_subnormals):
        self.optimizer, grads = optimizer("Adam", [(100_000,)], flush_subnormals=flush_subnormals)
        for g in grads:
            g *= 1e-40
        self.optimizer.step()

    def time_step(self, flush_subnormals):
        self.optimizer.step()
