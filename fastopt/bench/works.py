"""Works: steps of some arrays under some conditions, to be timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import fastopt as fo
from fastopt._arrays import dtypes

from .models import KINDS

# So small that repeated updates change nothing, far from subnormals.
LEARNING_RATE = 1e-9
ONE_VECTOR = ("autograd", "pints", "pennylane", "qiskit-algorithms")  # Peers that step one vector, in float64.
MLP = ((784, 256), (256,), (256, 128), (128,), (128, 10), (10,))


@dataclass(frozen=True)
class Work:
    """A step with N(0, 1) gradients.

    Attributes
    ----------
    shapes : of the arrays
    peers : names of `PEERS`
        Competitors of fastopt.
    rule : name of an optimizer
    options : of fastopt's optimizer
    dtype : {"float32", "float64", "bfloat16"}
        Dtype of parameters and gradients.
    grads : {"bound", "list", "mapping", "functional", "torch"} or "minimize" with a kind of `minimizers.minimizing`, or
        "epochs" with one of `models.KINDS`
        How fastopt takes the gradients, that it is used through torch, or that a step is an iteration of `minimize`; peers have
        their own way.
    schedule : bool
        A learning rate that is a function of the step.
    before : {"", "idle", "product", "renew", "first 20", "first 200", "held"}
        What happens before each step, not timed: nothing; 10 ms of sleep; a 300 x 300 matrix product, as for users who compute
        gradients with NumPy; all gradients become new tensors, as backpropagation in torch makes them. Or which steps are timed:
        the first ones of a new optimizer; those of 0.3 s after another process has held a processor for 5 s.
    rows : int
        Rows of each gradient; 0: dense.
    scale : float
        Factor of the gradients.
    count : int
        Steps that fastopt has made before.
    """

    shapes: tuple[tuple[int, ...], ...]
    peers: tuple[str, ...] = ("torch", "numpy")
    rule: str = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    grads: str = "bound"
    schedule: bool = False
    before: str = ""
    rows: int = 0
    scale: float = 1.0
    count: int = 0

    @property
    def size(self) -> int:
        """Elements of all arrays."""
        return int(sum(np.prod(shape, dtype=np.int64) for shape in self.shapes))

    def plain(self) -> dict[str, Any]:
        """Return the work as JSON, for `of_plain`."""
        return asdict(self)

    @classmethod
    def of_plain(cls, fields: Mapping[str, Any]) -> Work:
        return cls(**{**fields, "shapes": tuple(map(tuple, fields["shapes"])), "peers": tuple(fields["peers"])})


def by_size(sizes: tuple[str, ...], *peers: str, **fields: Any) -> dict[str, Work]:
    """Return works of one array each, named by their sizes."""
    return {f"{n} elements": Work(((int(float(n)),),), peers, **fields) for n in sizes}


WORKS = {
    **by_size(("10", "1000"), "torch", "numpy"),
    "10 elements after 1e6 steps": Work(((10,),), ("first steps",), count=10**6),
    **{f"{name}, schedule": w for name, w in by_size(("10", "1000"), "torch", "numpy", schedule=True).items()},
    **by_size(("1e4", "1e5"), "torch", "optax", "numba", "numpy", "stream"),
    **by_size(("1e6", "1e7"), "torch", "optax", "numba", "numpy", "stream", "two threads"),
    "1000 arrays of 100, bound": Work(((100,),) * 1000),
    "1000 arrays of 100, list": Work(((100,),) * 1000, grads="list"),
    "1000 arrays of 100, mapping": Work(((100,),) * 1000, grads="mapping"),
    "1000 tensors of 100, in torch": Work(((100,),) * 1000, ("torch",), grads="torch"),
    "200 arrays of 10000": Work(((10**4,),) * 200),
    "network, 6 arrays, 235146": Work(MLP, ("torch", "scikit-learn", "keras", "numpy")),
    "RMSprop, 1e7 elements": Work(((10**7,),), ("torch", "numpy"), rule="RMSprop"),
    **{
        f"{rule}, {name}": work
        for rule in ("NAdam", "RAdam", "Adamax", "Adadelta", "Rprop", "ASGD")
        for name, work in by_size(("1e4", "1e7"), "torch", rule=rule).items()
    },
    "bfloat16 state, 1e7": Work(((10**7,),), ("float32",), options={"state_dtype": "bfloat16"}),
    "float8 state, 1e7": Work(((10**7,),), ("float32",), options={"state_dtype": "float8"}),
    "all bfloat16, 1e7": Work(((10**7,),), ("float32", "torch"), dtype="bfloat16"),
    "all bfloat16, nearest, 1e7": Work(((10**7,),), ("torch",), dtype="bfloat16", options={"rounding": "nearest"}),
    "clip, decay, average, 1e7": Work(((10**7,),), ("torch",), rule="AdamW", options={"clip_global_norm": 1.0, "ema": 0.999}),
    "LAMB, 1e7": Work(((10**7,),), ("float32",), rule="LAMB"),
    "LARS, 1e7": Work(((10**7,),), ("float32",), rule="LARS"),
    "Adafactor, 1000 x 1000": Work(((1000, 1000),), ("float32", "torch"), rule="Adafactor"),
    "Muon, 1000 x 1000": Work(((1000, 1000),), ("torch in float32", "torch"), rule="Muon"),
    "1024 rows of 1e6, lazy": Work(((10**6, 64),), ("torch",), grads="list", rows=1024),
    "1024 rows of 1e6, exact": Work(((10**6, 64),), ("float32",), grads="list", rows=1024, options={"mode": "exact"}),
    "subnormals, flushed, 1e5": Work(((10**5,),), ("float32",), scale=1e-40, options={"flush_subnormals": True}),
    **{
        f"{name[:3]} after a matrix product": work
        for name, work in by_size(("1e5", "1e6", "1e7"), "one thread", "two threads", "torch", before="product").items()
    },
    **{
        f"float64, n = {n}": Work(
            ((n,),), ("functional", "autograd", "pints", "pennylane", "qiskit-algorithms", "numpy"), dtype="float64"
        )
        for n in (2, 200)
    },
}
WORKS |= {
    f"minimize{kind and ', '}{kind}, n = {n}": Work(((n,),), peers, dtype="float64", grads=f"minimize {kind}".strip())
    for kind, n, peers in (
        ("", 10, ("objective", "L-BFGS-B", "BFGS")),
        ("bounds", 10, ("objective", "L-BFGS-B")),
        ("callback", 10, ("objective",)),
        ("compiled", 2, ("objective",)),
        ("compiled", 10, ("objective",)),
        ("compiled, bounds", 10, ("objective",)),
        ("many", 10, ("objective",)),
        ("many, two threads", 10, ("objective",)),
    )
}
WORKS |= {
    f"row of an epoch, {kind}": Work(((30,),), ("SGD of scikit-learn",), dtype="float64", grads=f"epochs {kind}") for kind in KINDS
}
LARGE = by_size(("1e8",), "torch", "stream")


def arrays(work: Work) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return parameters and gradients in float64 or float32; without gradients for works with rows."""
    rng, dtype = np.random.default_rng(0), np.float64 if work.dtype == "float64" else np.float32
    params = [rng.standard_normal(shape, dtype) for shape in work.shapes]
    return params, [dtype(work.scale) * rng.standard_normal(shape, dtype) for shape in work.shapes if not work.rows]


def rows_of(work: Work) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return indices and values of gradients of rows."""
    rng = np.random.default_rng(1)
    ((count, width),) = work.shapes
    return [(rng.integers(0, count, work.rows), rng.standard_normal((work.rows, width), np.float32)) for _ in range(100)]


def stored(work: Work) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return `arrays` in the work's dtype."""
    params, grads = arrays(work)
    if work.dtype == "bfloat16":
        return tuple([dtypes.narrowed(a, dtypes.BFLOAT16).view(fo.bfloat16) for a in x] for x in (params, grads))  # type: ignore[return-value]
    return params, grads
