"""Helpers of the benchmarks. They use public names only, since they measure older commits as well."""

import numpy as np

import fastopt as fo

RULES = sorted(
    name for name, c in vars(fo).items() if isinstance(c, type) and issubclass(c, fo.Optimizer) and c is not fo.Optimizer
)
MATRICES = ("Adafactor", "Muon")  # Rules of arrays with two axes.
# So small that repeated updates change nothing, far from subnormals.
LEARNING_RATE = 1e-9
NETWORK = ((784, 256), (256,), (256, 128), (128,), (128, 10), (10,))


def normal(shapes, dtype="float32", seed=0):
    """Return N(0, 1) arrays; large ones repeat 65 536 numbers, since drawing takes longer than the step."""
    numbers = np.random.default_rng(seed).standard_normal(1 << 16).astype(dtype)
    return [np.resize(np.roll(numbers, -i), shape) for i, shape in enumerate(shapes)]


def bound(rule, shapes, dtype="float32", **options):
    """Return an optimizer of N(0, 1) parameters, bound to gradients."""
    optimizer = getattr(fo, rule)(normal(shapes, dtype), **{"lr": LEARNING_RATE, **options})
    optimizer.bind(normal(shapes, dtype, seed=1))
    return optimizer


class _Steps:
    """Base of benchmarks that time one step repeatedly; `make` returns it for the parameters of the benchmark.

    Not made in `setup`: asv runs that before every call and times each call alone, which tells little of a step of less than a
    microsecond, or of one whose threads learn from the steps before.
    """

    step = None

    def time_step(self, *params):
        if self.step is None:
            self.step = self.make(*params)
        self.step()
