"""Minimizer: the loop of a minimisation, which asks for values and gradients at points."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .._optimizer.state import averages_of, rate_of
from ..extras import imported
from . import methods, restart
from .box import make_box
from .criteria import CALLBACK, GO_ON, GRADIENT, HERE, NONFINITE, REASONS, SECONDS, message
from .history import Record
from .judge import Judge
from .objective import number, vector

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from .._optimizer import Optimizer


class Minimizer:
    """Minimize a function whose values somebody else computes: ask for a point, and tell its value and gradient.

    Parameters
    ----------
    x0 : array_like
        First point, 1-D or a scalar; it is copied. float32 and float64 are kept, other real numbers become float64.
    method : str, class or Rule, default "adam"
        An optimizer by its name in any case, its class, or what `fastopt.rule` made.
    bounds : sequence of (lower, upper) or scipy.optimize.Bounds, optional
        None, or an infinite number, for no bound. Equal ones fix a variable. Every point lies within them.
    x_scale : float or array_like, optional
        Typical size of each variable: steps, ``xtol``, and ``gtol`` are of ``x / x_scale``. Default: 1.
    callback : callable, optional
        As in `minimize`; `tell` calls it.
    **options
        Options of `minimize` and of the optimizer, except for those of differences.

    Attributes
    ----------
    optimizer : Optimizer
        What makes the steps; its parameter is ``x / x_scale``.
    nit, nfev, njev : int
        Steps, values and gradients so far.

    Raises
    ------
    TypeError, ValueError
        If an argument or option does not fit.
    ImportError
        Without SciPy (``pip install 'fastopt[scipy]'``).

    See Also
    --------
    minimize : Calls a function.

    Examples
    --------
    >>> import fastopt as fo
    >>> m = fo.Minimizer([3.0, -2.0], lr=0.3)
    >>> while not m.done:
    ...     x = m.ask()
    ...     m.tell((x**2).sum(), 2 * x)
    >>> m.result().success
    True
    """

    def __init__(
        self, x0: Any, method: Any = "adam", bounds: Any = None, *, x_scale: Any = None, callback: Any = None, **options: Any
    ) -> None:
        self._criteria, chosen, differences = methods.split(type(self).__name__, method, options)
        if differences:
            raise TypeError(f"Minimizer: {', '.join(differences)}: options of minimize, which calls a function")
        first = first_point(x0)
        self._box = box = make_box(bounds, x_scale, first)
        if box.is_fixed:
            self._criteria = dataclasses.replace(self._criteria, gtol=self._criteria.gtol or 0.0)
        self._first = box.inside(first)
        x = box.parameters(self._first)
        self._method = method if isinstance(method, str) else methods.class_of(method).__name__
        self.optimizer: Optimizer = methods.make(method, x, chosen, None if box.low is None else (box.lower, box.upper))
        self._given = self.optimizer.groups[0].to_json()  # Hyperparameters before a callback changes them.
        gradient = np.zeros_like(x)
        self.optimizer.bind({"x": gradient})
        self._judge: Any = Judge(self.optimizer, x, gradient, box, self._criteria)
        self._returns = returned(self._criteria.returns, self.optimizer)
        self._callback = called_with(callback)
        self._callback_state: Any = callback if hasattr(callback, "state_dict") else None
        self._record = Record(self._criteria)
        self._sees_all = self._record.is_wanted or callback is not None
        self._limit = math.inf if self._criteria.maxtime is None else self._criteria.maxtime
        self._is_watched = self._sees_all or self._limit < math.inf
        self._reason, self._running, self._final, self._has_stepped = GO_ON, True, False, False
        self._average: Any = None  # The average with its value and gradient, once they were told.
        self.nfev = self.njev = 0
        self._began = time.perf_counter()

    @property
    def done(self) -> bool:
        """True when the run has ended; `result` says why."""
        return not self._running

    @property
    def nit(self) -> int:
        """Number of steps so far."""
        return self.optimizer.steps

    @property
    def seconds(self) -> float:
        """Seconds since the beginning, without those between `save` and `load`."""
        return time.perf_counter() - self._began

    def ask(self) -> np.ndarray:
        """Return the point whose value and gradient are wanted.

        Returns
        -------
        ndarray
            A read-only copy; the same until `tell`.

        Raises
        ------
        RuntimeError
            If the run has ended.
        """
        self._check_running("ask")
        x = self._point()
        x.flags.writeable = False
        return x

    def tell(self, fun: Any, jac: Any) -> None:
        """Take value and gradient at the point, and make a step unless the run ends.

        Parameters
        ----------
        fun : float
            The value, a number or an array of one.
        jac : array_like
            The gradient, of the point's shape.

        Raises
        ------
        TypeError, ValueError
            If they are no real numbers or have another shape. Nothing has changed.
        RuntimeError
            If the run has ended.
        FloatingPointError
            If they are not finite, with ``on_nonfinite="raise"``.
        """
        self._check_running("tell")
        self._tell(fun, jac, self.nfev + 1, self.njev + 1)

    def _check_running(self, what: str) -> None:
        if not self._running:
            raise RuntimeError(f"{what}: the run has ended: {self._message()}")

    def _point(self) -> np.ndarray:
        """Return the point whose value is wanted, an array that is the caller's: the average, if that is all that is left."""
        if self._final:
            return self._box.variables(self.optimizer.average["x"])
        return self._judge.point()  # type: ignore[no-any-return]

    def _tell(self, fun: Any, jac: Any, nfev: int, njev: int) -> None:
        """Take value and gradient after so many calls in all, and make a step unless the run ends.

        A point is judged once, even if an exception comes before its step and the caller tells its value again.
        """
        if self._final:
            self._average = self._point(), number(fun), vector(jac, self._first).copy()
            self.nfev, self.njev, self._final, self._running = nfev, njev, False, False
            if not (math.isfinite(self._average[1]) and np.isfinite(self._average[2]).all()):
                self._end(NONFINITE)
            return
        reason = self._judge.tell(fun, jac, nfev)
        self.nfev, self.njev = nfev, njev
        if reason == GO_ON and not self._is_watched:
            self.optimizer.step()
        else:
            self._decide(reason)

    def _decide(self, reason: int) -> None:
        """Go on from a point that has been judged."""
        if self._is_watched:
            reason = self._watch(reason)
        if reason == GO_ON:
            self.optimizer.step()
        else:
            self._end(reason)

    @property
    def _needs_python(self) -> bool:
        """True if the next point must be evaluated by itself: it is looked at in Python, or the last one."""
        return self._sees_all or self._final or self.seconds >= self._limit

    def _watch(self, reason: int) -> int:
        """Take a record of the point, call the callback, and look at the clock; return why the run ends, or 0."""
        if self._record.is_wanted:
            self._record.add(self)
        if self._callback is not None and (self._has_stepped or self.nit > 0):
            self._has_stepped = True  # Asking for the steps again would take longer.
            try:
                self._callback(self)
            except StopIteration:
                return CALLBACK
        is_late = self._limit < math.inf and reason == GO_ON and self.seconds > self._limit
        return SECONDS if is_late else reason

    def _end(self, reason: int) -> None:
        self._judge.progress["reason"] = reason
        self._final = self._returns == "average" and reason not in (*HERE, NONFINITE, CALLBACK)
        self._reason, self._running = reason, self._final
        self._record.end(self)
        if reason == NONFINITE and self._criteria.on_nonfinite == "raise":
            raise FloatingPointError(self._message())

    def _message(self) -> str:
        if self._reason == GRADIENT and self._box.is_fixed:
            return "All independent variables were fixed by bounds."
        rate = f", lr={self._rate():g}" if "lr" in self.optimizer.defaults else ""
        now, jac = self._judge.progress, self._judge.jac
        if self._average is not None:
            now, jac = {"fun": self._average[1], "norm": now["norm"]}, self._average[2]
        return message(self._reason, now, jac, f"{self._method}{rate}", self.nit)

    def _rate(self) -> float:
        """Return the learning rate of the next step; NaN without one."""
        return rate_of(self.optimizer)

    def _current(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Return the point that was told last, with value and gradient, unless a step has been made since."""
        return self._judge.point(), float(self._judge.progress["fun"]), self._judge.jac.copy()

    def _returned(self) -> tuple[str, np.ndarray, float, np.ndarray]:
        """Return the point of the result, with value and gradient, and which one it is."""
        best = float(self._judge.progress["best"])
        if self._average is not None and self._reason != NONFINITE:
            x, fun, jac = self._average
            return "average", x.copy(), fun, jac.copy()
        ends_here = self._reason in HERE or (self.done and self._returns != "best" and self._reason != NONFINITE)
        if ends_here or best == math.inf:
            return "last", *self._current()
        return "best", self._box.variables(self._judge.best_x), best, self._judge.best_jac.copy()

    def result(self) -> OptimizeResult:
        """Return the result: what ``returns`` chose, or the best point so far if the run has not ended.

        Returns
        -------
        scipy.optimize.OptimizeResult
            See `minimize`.
        """
        which, x, fun, jac = self._returned()
        status = REASONS[self._reason if self.done else GO_ON][0]
        words = self._message() if self.done else REASONS[GO_ON][1]
        said = {"success": status == 0, "status": status, "message": words, "nit": self.nit}
        calls = {"nfev": self.nfev, "njev": self.njev, "returned": which, "optimizer": self.optimizer}
        return optimize().OptimizeResult(x=x, fun=fun, jac=jac, **said, **calls, **self._record.fields())

    def __reduce__(self) -> NoReturn:
        raise TypeError("Minimizer: cannot be pickled or copied, expected save(path), and load(path) of another one")

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a restart file, as `Optimizer.save` does: the optimizer, the best point, counts, and what was recorded.

        Parameters
        ----------
        path : path
        extra : mapping of str, optional
            Values of the caller's.
        """
        restart.save(self, path, extra)

    def load(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a file of `save`, bit for bit.

        Limits (``maxiter``, ``maxfun``, ``maxtime``) may be others than those of the run that was saved, which goes on if they
        allow it; ``disp`` may be as well.

        Parameters
        ----------
        path : path

        Returns
        -------
        dict
            The caller's values (``extra``).

        Raises
        ------
        ValueError
            If it is another file, or its method, first point, bounds or options differ. Nothing has changed.
        """
        return restart.load(self, path)


def returned(chosen: str | None, optimizer: Optimizer) -> str:
    """Return what a result is of: "best", "last" or "average"; raise if there is no average."""
    averages = averages_of(optimizer) is not None
    if chosen == "average" and not averages:
        raise ValueError("returns: 'average' without one, expected also ema=0.99 or the like, or a method that averages")
    return chosen or ("average" if averages else "best")


def first_point(x0: Any) -> np.ndarray:
    """Return a first point as an array of one axis, or raise."""
    try:
        found = np.atleast_1d(np.asarray(x0))
    except ValueError:
        raise ValueError(f"x0: {x0!r:.80}, expected numbers along one axis; fastopt.pack flattens nested arrays") from None
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"x0: shape {found.shape}, expected one axis and a number at least; fastopt.pack flattens nested arrays")
    return real_numbers(found)


def real_numbers(x0: np.ndarray) -> np.ndarray:
    """Return first points as a new array of float32 or float64, or raise."""
    if x0.dtype.kind not in "fiub":
        raise ValueError(f"x0: {x0.dtype}, expected real numbers along one axis; fastopt.pack flattens nested arrays")
    dtype = x0.dtype.newbyteorder("=") if x0.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        found = np.array(x0, dtype, order="C")
    if not np.isfinite(found).all():
        raise ValueError("x0: infinite or NaN in double precision, expected finite numbers")
    return found


def optimize() -> Any:
    """Return `scipy.optimize`, or raise the error that names the extra."""
    return imported("minimize", "scipy", "scipy.optimize")


def called_with(callback: Any) -> Callable[[Minimizer], object] | None:
    """Return a user's callback as a function of the minimizer, in SciPy's two styles."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback: {callback!r:.80}, expected a function")
    result_type = optimize().OptimizeResult
    try:
        names = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):
        names = set()
    if names != {"intermediate_result"}:
        return lambda m: callback(m._judge.point())

    def call(m: Minimizer) -> object:
        x, fun, jac = m._current()
        return callback(intermediate_result=result_type(x=x, fun=fun, jac=jac, nit=m.nit, optimizer=m.optimizer))

    return call
