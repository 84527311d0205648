"""What the benchmarks share. They keep to fastopt's public names, since they measure older commits as well."""

import numpy as np

import fastopt as fo

RULES = sorted(
    name for name, c in vars(fo).items() if isinstance(c, type) and issubclass(c, fo.Optimizer) and c is not fo.Optimizer
)
MATRICES = ("Adafactor", "Muon")  # rules whose arrays have two axes
LEARNING_RATE = 1e-9  # repeated updates stay where they are, far from subnormals
NETWORK = ((784, 256), (256,), (256, 128), (128,), (128, 10), (10,))


def normal(shapes, dtype="float32", seed=0):
    """Arrays of N(0, 1)."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def optimizer(rule, shapes, dtype="float32", bind=True, **options):
    """An optimizer of N(0, 1) parameters, and gradients; `NotImplementedError`, which asv skips, where a commit has none such."""
    params, grads = normal(shapes, dtype), normal(shapes, dtype, seed=1)
    try:
        made = getattr(fo, rule)(params, **{"lr": LEARNING_RATE, **options})
    except (AttributeError, TypeError) as error:
        raise NotImplementedError(f"no such optimizer in this commit: {error}") from None
    if bind:
        made.bind(grads)
    return made, grads


def stepped(rule, shapes, **options):
    """A bound optimizer after its first step."""
    made, _ = optimizer(rule, shapes, **options)
    made.step()
    return made
