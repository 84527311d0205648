"""Sweeps of the learning rate: a short run with rising rates, from whose losses one is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.tree import flatten, listed, unflatten
from ..domains import is_real, whole
from ..plot import axes_of
from . import methods
from .compiled import compiled

SMOOTH = 0.9  # Decay rate of the average of losses.
RISE = 4.0  # The run ends when that average has risen above its lowest by this times its fall, and by its first value.


@dataclass(frozen=True, repr=False)
class LearningRates:
    """Result of `lr_find`.

    Attributes
    ----------
    lr, loss, smooth : ndarray of float64
        Learning rates, losses before each step, and their averages.
    suggestion : float
        The rate around which losses fall most steeply; NaN if no fall stands out from their scatter.
    """

    lr: np.ndarray
    loss: np.ndarray
    smooth: np.ndarray
    suggestion: float = math.nan

    def __repr__(self) -> str:
        return f"LearningRates(suggestion={self.suggestion:.3g}, {len(self.lr)} rates up to {self.lr[-1]:.3g})"

    def plot(self, axes: Any = None) -> Any:
        """Draw losses by learning rates, and the suggestion (extra ``plot``).

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        axes = axes_of(axes)
        axes.plot(self.lr, self.loss, alpha=0.4, label="loss")
        axes.plot(self.lr, self.smooth, label="average")
        if math.isfinite(self.suggestion):
            axes.axvline(self.suggestion, linestyle="--", color="grey", label=f"suggestion {self.suggestion:.2g}")
        axes.set(xlabel="learning rate", ylabel="loss", xscale="log")
        axes.legend()
        return axes


def lr_find(
    fun: Callable[..., Any],
    params: Any,
    data: Any = None,
    *,
    method: Any = "adam",
    jac: Callable[..., Any] | bool | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> LearningRates:
    """Find a learning rate by a sweep: steps with rates that rise from `low` to `high`, until the loss explodes.

    Parameters
    ----------
    fun : callable
        ``fun(params)``, or ``fun(params, *batch)`` with `data`, returns a loss and its gradients, nested like `params`; with `jac`
        the loss alone.
    params : arrays
        Where to begin, nested in any way; they are copied.
    data : array, or tuple of arrays, optional
        Arrays of equal length along their first axis, from which batches are drawn.
    method : str, class or Rule, default "adam"
        As in `minimize`.
    jac : callable, optional
        ``jac(params)``, or ``jac(params, *batch)``, returns the gradients.
    low, high : float
        First and last learning rate; 1e-6 and 10.
    steps : int, default 100
    batch_size : int, optional
        Rows of each batch, drawn at random; all of them by default.
    seed : int, default 0
        Of the batches.
    options : dict, optional
        Options of the optimizer, those that the run itself will have.

    Returns
    -------
    LearningRates
        Its ``suggestion`` is a rate to begin with, for a rate that decays later; ``plot()`` draws the losses.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    The learning rate range test of [1]_. The suggestion is where losses fall most from one tenth of the sweep to the next. A
    constant rate may need less. Where the suggestion is NaN take larger batches, a wider range or more steps.

    References
    ----------
    .. [1] L. N. Smith, "Cyclical learning rates for training neural networks", 2017. arXiv:1506.01186

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> y = x @ [1.0, -2.0, 0.5]
    >>> def loss_and_grad(w, x, y):
    ...     r = x @ w - y
    ...     return np.mean(r**2), 2 * x.T @ r / len(r)
    >>> found = fo.lr_find(loss_and_grad, np.zeros(3), (x, y), batch_size=20)
    >>> bool(0.01 < found.suggestion < 1)
    True
    """
    rates = rising(low, high, steps)
    if (objective := compiled(fun)) is not None:
        fun = objective.evaluate
    jac = None if jac is True else jac
    structure, given = flatten(listed(params))
    arrays = [np.array(a, dtype=np.float64 if np.asarray(a).dtype.kind in "iu" else None) for _, a in given]
    point = unflatten(structure, iter(arrays))
    optimizer = methods.construct(method, point, {**(options or {}), "lr": lambda t: float(rates[min(t, steps - 1)])})
    batches = Batches(data, batch_size, seed)
    losses: list[float] = []
    smooth: list[float] = []
    average = 0.0
    for k in range(steps):
        batch = batches.draw()
        loss, grads = fun(point, *batch) if not callable(jac) else (fun(point, *batch), jac(point, *batch))
        losses.append(float(loss))
        average = SMOOTH * average + (1 - SMOOTH) * losses[-1]
        smooth.append(average / (1 - SMOOTH ** (k + 1)))
        if has_exploded(losses, smooth, max(steps // 10, 2)):
            break
        optimizer.step(grads)
    return LearningRates(rates[: len(losses)], np.array(losses), np.array(smooth), steepest(rates, np.array(losses)))


def has_exploded(losses: Sequence[float], smooth: Sequence[float], width: int) -> bool:
    """Return True if averages have risen far above their lowest; the first ones, which are of few losses, only set the scale."""
    first, lowest = max(map(abs, smooth[:width])), min(smooth[width:], default=math.inf)
    if not math.isfinite(smooth[-1]):
        return True
    enough = max(RISE * (smooth[0] - lowest), first, 6 * scatter(np.array(losses[:width])))
    return len(smooth) > 2 * width and smooth[-1] - lowest > enough


def scatter(loss: np.ndarray) -> float:
    """Return by how much neighbouring losses differ."""
    return float(np.median(np.abs(np.diff(loss)))) if len(loss) > 1 else 0.0


def rising(low: float, high: float, steps: int) -> np.ndarray:
    """Return the rates of a sweep, or raise."""
    if (number := whole(steps)) is None or number < 5:
        raise ValueError(f"steps: {steps!r}, expected a whole number of at least 5")
    if not (is_real(low) and is_real(high) and 0 < low < high < math.inf):
        raise ValueError(f"low: {low!r}, high: {high!r}, expected 0 < low < high")
    return np.geomspace(low, high, number)


def steepest(rates: np.ndarray, loss: np.ndarray) -> float:
    """Return the rate around which losses fall most from one tenth of the sweep to the next; NaN if no fall stands out from
    their scatter.
    """
    width = max(len(rates) // 10, 2)
    loss = loss[: int(np.argmin(np.isfinite(loss)))] if not np.isfinite(loss).all() else loss
    if len(loss) < 2 * width:
        return math.nan
    means = np.convolve(loss, np.full(width, 1 / width), "valid")
    falls = means[:-width] - means[width:]
    falls = falls[: int(np.argmin(means)) + 1]  # What comes after the lowest loss is no progress.
    if not falls.size or not falls.max() > 4 * scatter(loss) * math.sqrt(2 / width):  # Of the difference of two means.
        return math.nan
    return float(rates[int(np.argmax(falls)) + width - 1])


class Batches:
    """Batches of rows, drawn at random."""

    def __init__(self, data: Any, batch_size: int | None, seed: int) -> None:
        given = () if data is None else data if isinstance(data, (tuple, list)) else (data,)
        self.arrays = tuple(np.asarray(a) for a in given)
        lengths = {len(a) if a.ndim else 0 for a in self.arrays}
        if self.arrays and (len(lengths) != 1 or 0 in lengths):
            raise ValueError(f"data: shapes {[a.shape for a in self.arrays]}, expected equally many rows, at least 1")
        if batch_size is not None and ((number := whole(batch_size)) is None or number < 1 or not self.arrays):
            raise ValueError(f"batch_size: {batch_size!r}, expected data, and a whole number of at least 1")
        self.size, self.rng = batch_size, np.random.default_rng(seed)

    def draw(self) -> list[np.ndarray]:
        """Return a batch, or all rows."""
        if self.size is None:
            return list(self.arrays)
        rows = self.rng.integers(0, len(self.arrays[0]), self.size)
        return [a[rows] for a in self.arrays]
