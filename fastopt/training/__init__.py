"""Training: a mini-batch loop around an optimizer that can be resumed at any batch, and its callbacks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .._arrays.tree import flatten
from .._optimizer import Optimizer
from ..domains import check_bool, whole
from . import restart
from .bar import Bar
from .batches import batches_of, is_stream
from .callbacks import EarlyStopping, Log
from .checkpoint import Checkpoint
from .history import History
from .loop import Run, mean_loss
from .plateau import ReduceOnPlateau

__all__ = ["Checkpoint", "EarlyStopping", "History", "Log", "ReduceOnPlateau", "Run", "evaluate", "fit"]


def fit(
    loss_and_grad: Callable[..., tuple[Any, Any]],
    params: Any,
    data: Any,
    optimizer: Optimizer,
    epochs: int = 1,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: Any = None,
    *,
    validation: Any = None,
    loss: Callable[..., Any] | None = None,
    callbacks: Any = (),
    checkpoint: Any = None,
    resume: bool = False,
    progress: bool = False,
) -> History:
    """Minimize a mean loss over data by mini-batches.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, *batch)`` returns the batch's mean loss and the gradients, nested like `params`.
        `fastopt.check_gradient` compares these with differences.
    params : arrays
        The arrays that `optimizer` updates, nested in any way.
    data : array, tuple or list of arrays, or iterable of batches
        Arrays with equally many rows along their first axis: of NumPy or CuPy, memory maps, arrays in files (h5py, zarr), sparse
        ones of SciPy (rows come as CSR), pandas' frames and series (rows by position). Or an iterable of batches, each a tuple of
        arrays, which is iterated anew in each epoch; it has its own batch size and order.
    optimizer : Optimizer
    epochs : int, default 1
        Passes over the data.
    batch_size : int, optional
        Rows for each update. 1 is stochastic gradient descent; the default, all rows, is batch gradient descent. The last batch of
        an epoch is smaller if they do not divide the rows.
    shuffle : bool, default True
        Use a new order of the rows in each epoch.
    seed : int or numpy.random.Generator, optional
        Of the orders: a generator gives ``permutation(rows)`` at the start of each epoch. Default: a seed that is drawn, and kept
        in the history.
    validation : like `data`, optional
        Data whose mean loss is computed after each epoch, in batches of `batch_size`, by ``optimizer.average`` where there is one.
    loss : callable, optional
        ``loss(params, *batch)`` returns the mean loss for `validation`; by default the first value of `loss_and_grad`, or for an
        objective its ``mean``, without penalties.
    callbacks : callable, object, or list of these
        A function ``f(run)`` is called after each epoch. An object has some of the methods ``on_begin(run)``, ``on_batch(run)``,
        ``on_epoch(run)`` and ``on_end(run)``, and may have ``state_dict()`` and ``load_state_dict(state)``, for checkpoints.
        ``run`` is a `Run`. StopIteration ends the run: after the epoch, or at once from ``on_batch``, when that epoch is not
        recorded.
    checkpoint : path or Checkpoint, optional
        Where restart files are written: by a path after each epoch. They hold parameters, optimizer, order, history and callbacks.
    resume : bool, default False
        Go on from the file, bit for bit, or begin where there is none; `epochs` may be more than before. Without it a file that is
        there is an error, so that a changed program does not return the old run.
    progress : bool, default False
        Show a progress bar with the losses (extra ``progress``).

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the arrays' lengths differ or are 0, a number is below 1, `optimizer` updates other arrays than `params`, or a file is of
        another run: of another number of rows, batch size, seed, kind of callbacks or hyperparameters, or of more epochs.
    TypeError
        If `optimizer` is not an optimizer, or an argument or what `loss_and_grad` returns is of another kind.
    FileExistsError
        If there is a restart file, and `resume` is False.

    Notes
    -----
    Whatever raises, also KeyboardInterrupt, parameters and optimizer hold the last whole step, a restart file is written first if
    there is a `checkpoint`, and the exception has an attribute ``history``.

    A loss that is not finite is recorded, and the run goes on, unless the optimizer has ``nonfinite="raise"``; at its end a
    RuntimeWarning names the first such epoch.

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
    if not isinstance(optimizer, Optimizer):
        said = "expected an optimizer of these params; several arrays of data are one tuple"
        raise TypeError(f"optimizer: {optimizer!r:.60}, {said}")
    if [id(a) for _, a in flatten(params)[1]] != [id(a) for _, a in flatten(optimizer.params)[1]]:
        raise ValueError("params: not the arrays that the optimizer updates")
    if (number := whole(epochs)) is None or number < 1:
        raise ValueError(f"epochs: {epochs!r}, expected a whole number of at least 1")
    batches = batches_of(data, batch_size, shuffle, number)
    measure: Any = loss or getattr(loss_and_grad, "mean", loss_and_grad)
    held_out = None if validation is None else (measure, validation_of(validation, batch_size, number))
    run = Run(loss_and_grad, params, optimizer, batches, held_out, callbacks, number, seed)
    saves = Checkpoint.of(checkpoint)
    if check_bool("resume", resume) and saves is None:
        raise ValueError("resume: True without a file, expected checkpoint=...")
    bar = Bar(progress, number, batches.count)
    try:
        begin(run, saves, resume, bar)
        run.train(saves, bar)
        warn_of_lost(run.history)
    except BaseException as error:
        keep(run, saves, error)
        raise
    finally:
        bar.close()
    return run.history


def warn_of_lost(history: History) -> None:
    """Warn the caller of `fit` of losses that are not finite."""
    lost = [k for k, loss in enumerate(history.loss, 1) if not math.isfinite(loss)]
    if lost:
        said = f"{history.loss[lost[0] - 1]} in epoch {lost[0]}, the first of {len(lost)} that are not finite"
        warnings.warn(f"loss: {said}: a smaller lr, clip_norm or nonfinite='skip' may help", RuntimeWarning, stacklevel=3)


def begin(run: Run, saves: Checkpoint | None, resume: bool, bar: Bar) -> None:
    """Begin a run, or go on from its file."""
    found = saves is not None and saves.begin(resume)
    run.callbacks.call("on_begin", run)
    if saves is not None and found:
        restart.load(run, saves.newest())
        saves.go_on(run.epoch)
    run.has_begun = True
    bar.begin(run.epoch, run.epoch * (run.data.count or 0) + run.batch)


def validation_of(data: Any, batch_size: int | None, epochs: int) -> Any:
    """Return the batches of validation data, which may be an iterable where the others are arrays."""
    return batches_of(data, None if is_stream(data) else batch_size, False, epochs)


def keep(run: Run, saves: Checkpoint | None, error: BaseException) -> None:
    """Write a file before an exception is raised, and give it the history so far."""
    run.settle()
    with suppress(AttributeError):
        error.history = run.history  # type: ignore[attr-defined]
    if saves is None or not run.has_begun:
        return
    try:
        saves.write(run.save, run.number)
    except Exception as other:
        error.add_note(f"checkpoint: not written ({type(other).__name__}: {other})")


def evaluate(loss: Callable[..., Any], params: Any, data: Any, batch_size: int | None = None) -> float:
    """Return the mean loss over data.

    Parameters
    ----------
    loss : callable
        ``loss(params, *batch)`` returns the batch's mean loss, or a tuple that begins with it, as for `fit`.
    params : arrays
        Nested in any way.
    data : array, tuple or list of arrays, or iterable of batches
        As for `fit`.
    batch_size : int, optional
        Rows of a call, whose losses are averaged, weighted by the rows; all by default.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> evaluate(lambda w, x: np.mean((w - x) ** 2), np.zeros(1), np.array([1.0, 3.0]))
    5.0
    """
    return mean_loss(loss, params, batches_of(data, batch_size, False))
