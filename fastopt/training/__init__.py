"""Training: a mini-batch loop around an optimizer, and its history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from .._arrays.tree import flatten
from .._optimizer import Optimizer
from .callbacks import ReduceOnPlateau
from .checkpoint import Checkpoint

__all__ = ["Checkpoint", "History", "ReduceOnPlateau", "fit"]


@dataclass
class History:
    """Record of `fit`: mean loss of each epoch's batches, and the duration in seconds."""

    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0


def has_rows(a: Any) -> bool:
    """Return True for an array of NumPy or CuPy, or a table that converts to one."""
    return isinstance(a, np.ndarray) or hasattr(a, "to_numpy") or hasattr(a, "__cuda_array_interface__")


def rows_of(k: int, a: Any) -> Any:
    """Return array `k` of the data as numbers with rows, or raise."""
    if hasattr(a, "to_numpy"):
        a = a.to_numpy()
        # Columns of several types.
        if a.dtype == object and all(isinstance(x, Real) for x in a.flat):
            a = a.astype(np.float64)
    elif not isinstance(a, np.ndarray) and not hasattr(a, "__cuda_array_interface__") and not hasattr(a, "tocsr"):
        try:
            a = np.asarray(a)
        except ValueError:
            a = np.array(a, object)
    kind = getattr(a, "dtype", np.dtype(object))
    if not has_rows(a) or (np.dtype(kind).kind not in "biufc" and not np.dtype(kind).isbuiltin == 2) or np.ndim(a) == 0:
        raise TypeError(f"data {k}: {type(a).__name__} of {kind}, expected an array of numbers with rows")
    return a


def arrays_of(data: Any) -> tuple[Any, ...]:
    """Return the arrays of a data set, whose rows must be equally many."""
    several = isinstance(data, tuple) or (isinstance(data, list) and all(map(has_rows, data)))
    arrays = tuple(rows_of(k, a) for k, a in enumerate(data if several else (data,)))
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"data: lengths {[len(a) for a in arrays]}, expected the same, at least 1")
    return arrays


def with_bar(epochs: Iterable[int]) -> Iterable[int]:
    """Return the epochs with a progress bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install 'fastopt[progress]'") from None
    return tqdm(epochs, unit="epoch")  # type: ignore[no-any-return]


def fit(
    loss_and_grad: Callable[..., tuple[float, Any]],
    params: Any,
    data: Any,
    optimizer: Optimizer,
    epochs: int = 1,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    progress: bool = False,
) -> History:
    """Minimize a mean loss over data by mini-batches.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, *batch)`` returns the batch's mean loss and the gradients, nested like `params`.
    params : arrays
        The arrays that `optimizer` updates, nested in any way.
    data : array, or tuple or list of arrays
        Arrays of equal length along their first axis.
    optimizer : Optimizer
    epochs : int, default 1
        Passes over the data.
    batch_size : int, optional
        Samples for each update. 1 is stochastic gradient descent; the default, all samples, is batch gradient descent.
    shuffle : bool, default True
        Use a new order in each epoch.
    seed : int, optional
        Seed of the order, which begins anew in each call.
    progress : bool, default False
        Show a progress bar (extra ``progress``).

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the arrays' lengths differ or are 0, a number is below 1, or `optimizer` updates other arrays than `params`.
    TypeError
        If `optimizer` is not an optimizer.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.zeros(1)
    >>> def loss_and_grad(w, x):
    ...     return float(np.mean((w - x) ** 2)), np.mean(2 * (w - x), keepdims=True)
    >>> history = fit(loss_and_grad, w, np.array([1.0, 3.0]), fo.SGD(w, lr=0.1), epochs=100)
    >>> w.round(3)
    array([2.])
    """
    arrays = arrays_of(data)
    n = len(arrays[0])
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: {optimizer!r:.80}, expected an optimizer of these params")
    if [id(a) for _, a in flatten(params)[1]] != [id(a) for _, a in flatten(optimizer.params)[1]]:
        raise ValueError("params: not the arrays that the optimizer updates")
    batch_size = n if batch_size is None else batch_size
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: expected at least 1")
    rng = np.random.default_rng(seed)
    history = History()
    begin = time.perf_counter()
    for _ in with_bar(range(epochs)) if progress else range(epochs):
        order = rng.permutation(n) if shuffle else None
        total = 0.0
        for start in range(0, n, batch_size):
            rows = slice(start, start + batch_size)
            batch = [a[rows] if order is None else a[order[rows]] for a in arrays]
            loss, grads = loss_and_grad(params, *batch)
            optimizer.step(grads)
            total += float(loss) * (min(start + batch_size, n) - start)
        history.loss.append(total / n)
    history.seconds = time.perf_counter() - begin
    return history
