"""Many problems at once, each of which ends by itself."""

from __future__ import annotations

import collections
import ctypes
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .._codegen import capacity
from .._optimizer.state import averages_of
from ..domains import whole
from . import methods
from .box import make_box
from .compiled import CHUNK, Compiled, compiled
from .criteria import GO_ON, HERE, NAMES, NONFINITE, REASONS, SECONDS, Criteria, start
from .minimizer import Minimizer, optimize, real_numbers

try:
    from .._engine import passes
    from . import rows
except ImportError:  # Nothing is compiled.
    rows = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from .box import Box

# Options of single problems, with the values that ask for nothing.
SINGLE = {"disp": False, "history": False, "return_all": False, "maxfun": None, "on_nonfinite": "stop"}


def minimize_many(
    fun: Any,
    x0: Any,
    *,
    args: Any = (),
    method: Any = "adam",
    bounds: Any = None,
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
    preserve_shape: bool = False,
    threads: int | None = None,
) -> OptimizeResult:
    """Minimize many functions at once, each of which ends by itself, as `minimize` would each of them.

    Parameters
    ----------
    fun : callable or compiled objective
        ``fun(x, *args)`` with x of shape (problems, n) returns values of shape (problems,) and gradients of shape (problems, n).
        Or a function in C, ``double f(size_t n, const double *x, double *grad, void *data, size_t problem)``, in the forms that
        `minimize` takes, which is called on several threads.
    x0 : array_like of shape (problems, n)
        First points; they are copied. float32 and float64 are kept, other real numbers become float64.
    args : tuple, default ()
        Further arguments. Arrays among them have an entry for each problem along their first axis.
    method : str, class or Rule, default "adam"
        As in `minimize`; a rule that sums over its variables, as LAMB does, is refused.
    bounds : sequence of n (lower, upper) or scipy.optimize.Bounds, optional
        Of all problems; those of `Bounds` may have the shape (problems, n).
    tol : float, optional
        The option ``gtol``.
    options : dict, optional
        Those of `minimize` and of the optimizer. ``step_scale`` of shape (problems, n) gives each problem its own rate. Not
        ``x_scale``, averages, records, ``maxfun``, and options that sum over variables, such as ``clip_norm``.
    preserve_shape : bool, default False
        Call `fun` with all problems to the end. By default, when at most half of them still run, it is called with those alone
        (and their entries of `args`); before that, points that have ended stay as they are.
    threads : int, optional
        Largest number of threads of a compiled objective.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` and ``jac`` of shape (problems, n); ``fun, status, success, nit, nfev, njev`` of shape (problems,), as in `minimize`;
        ``message``, of all.

    Raises
    ------
    TypeError, ValueError
        If an argument, an option or what `fun` returns does not fit.
    ImportError
        Without SciPy (``pip install 'fastopt[scipy]'``).

    Notes
    -----
    Results depend neither on the number of threads nor on which problems there are. A KeyboardInterrupt or another exception has
    an attribute ``result`` with the best points so far. A method that averages needs ``returns="best"`` or ``"last"``. What
    `minimize` says of compiled objectives holds here too.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> centres = np.linspace(-1, 1, 5)[:, None]
    >>> def fun(x, c):
    ...     return ((x - c) ** 2).sum(1), 2 * (x - c)
    >>> found = fo.minimize_many(fun, np.zeros((5, 2)), args=(centres,))
    >>> found.success.all(), found.x[:, 1].round(3)
    (np.True_, array([-1. , -0.5,  0. ,  0.5,  1. ]))
    """
    optimize()
    chosen = dict(options or {})
    if tol is not None:
        chosen.setdefault("gtol", tol)
    criteria, of_optimizer, differences = methods.split("minimize_many", method, chosen)
    x = first_points(x0)
    check_options(criteria, of_optimizer, differences, threads)
    objective = compiled(fun, 5)
    evaluate = checked_objective(fun, objective, args if isinstance(args, tuple) else (args,), x)
    box = make_box(bounds, None, x)
    problems = Problems(method, of_optimizer, criteria, box, box.inside(x))
    try:
        if rows is None:
            problems.run_each(evaluate)
        elif objective is None:
            problems.run(evaluate, preserve_shape)
        else:
            problems.run_compiled(objective, threads or 0)
    except BaseException as error:
        with suppress(AttributeError):
            error.result = problems.result()  # type: ignore[attr-defined]
        raise
    return problems.result()


def first_points(x0: Any) -> np.ndarray:
    """Return first points as an array of two axes, or raise."""
    try:
        found = np.asarray(x0)
    except ValueError:
        found = np.zeros(())
    if found.ndim != 2 or found.size == 0:
        raise ValueError(f"x0: shape {found.shape}, expected (problems, variables)")
    return real_numbers(found)


def check_options(criteria: Criteria, of_optimizer: Mapping[str, Any], differences: Mapping[str, Any], threads: int | None) -> None:
    """Raise for options that are of single problems."""
    given = [name for name, default in SINGLE.items() if getattr(criteria, name) != default]
    given += [*differences, *(name for name in ("state_dtype", "rounding", "seed") if name in of_optimizer)]
    given += ["returns='average'"] if criteria.returns == "average" else []
    if given:
        raise ValueError(f"minimize_many: {', '.join(given)}: of single problems, expected minimize for each")
    if threads is not None and not 1 <= (whole(threads) or 0) < 2**31:
        raise ValueError(f"threads: {threads!r}, expected a whole number of at least 1, or None")


def checked_objective(fun: Any, objective: Compiled | None, args: tuple[Any, ...], x: np.ndarray) -> Callable[..., Any]:
    """Return what evaluates problems at some places, or raise."""
    if objective is None:
        if not callable(fun):
            raise TypeError(f"fun: {fun!r:.80}, expected a function")
        return Vectorised(fun, tuple(checked_argument(k, a, len(x)) for k, a in enumerate(args)))
    if args or x.dtype != np.float64:
        raise TypeError(f"a compiled objective with args={args!r:.40} and x0 of {x.dtype}, expected none and float64")
    return Each(objective)


def checked_argument(k: int, a: Any, problems: int) -> Any:
    """Return a further argument: an array with an entry for each problem, or something without axes."""
    if not hasattr(a, "shape") or hasattr(a, "iloc"):  # Tables select by their labels.
        a = a if isinstance(a, str) or not hasattr(a, "__len__") else np.asarray(a)
    if len(getattr(a, "shape", ())) == 0:
        return a
    if a.shape[0] != problems:
        wanted = f"expected one for each of the {problems} problems; what they share belongs in a closure"
        raise ValueError(f"args: argument {k} has {a.shape[0]} entries, {wanted}")
    return a


class Vectorised:
    """Function of many problems, called with those that are wanted."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fun, self.args = fun, args
        self.problems = max((a.shape[0] for a in args if getattr(a, "shape", ())), default=0)
        self.places: np.ndarray | None = None

    def __call__(self, places: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values and gradients of the problems at these places."""
        if self.places is None or not np.array_equal(places, self.places):
            whole = len(places) == self.problems
            self.chosen = [a if whole or not getattr(a, "shape", ()) else a[places] for a in self.args]
            self.places = places
        found = self.fun(x.copy(), *self.chosen)
        try:
            fun, jac = found
        except (TypeError, ValueError):
            raise TypeError(f"fun: returned {found!r:.80}, expected a pair (values, gradients)") from None
        return numbers("values", fun, x.shape[:1], np.dtype(np.float64)), numbers("gradients", jac, x.shape, x.dtype)


def numbers(what: str, a: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return what a function returned as an array of this shape and dtype, or raise."""
    found = np.asarray(a)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"fun: returned {what} of {found.dtype}, expected real numbers")
    if found.shape != shape:
        raise ValueError(f"fun: returned {what} of shape {found.shape}, expected {shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(found, dtype)


class Each:
    """Compiled objective of many problems, called for one after the other."""

    def __init__(self, objective: Compiled) -> None:
        types = [ctypes.c_size_t, *[ctypes.c_void_p] * 3, ctypes.c_size_t]
        self.fun, self.data = ctypes.CFUNCTYPE(ctypes.c_double, *types)(objective.address), objective.data

    def __call__(self, places: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values and gradients of the problems at these places."""
        fun, jac = np.empty(len(x)), np.zeros_like(x)  # Gradients are zero before a call, as in the compiled loops.
        for k, (place, point, gradient) in enumerate(zip(places.tolist(), x.copy(), jac, strict=True)):
            fun[k] = self.fun(point.size, point.ctypes.data, gradient.ctypes.data, self.data, place)
        return fun, jac


class Rows:
    """Arrays of problems, a row each.

    Attributes
    ----------
    x, gradient, best_x, best_jac : ndarray
        Points, gradients there, and the points of the lowest values with theirs.
    previous, lower, upper : ndarray or None
        Points before, if moves are a criterion; bounds.
    progress : ndarray
        A record of each.
    """

    def __init__(self, x: np.ndarray, box: Box, moves: bool) -> None:
        self.x, self.gradient, self.best_x, self.best_jac = x, np.zeros_like(x), x.copy(), np.zeros_like(x)
        self.previous = x.copy() if moves else None
        self.lower, self.upper = box.lower, box.upper
        self.progress = start(x.shape[:1])

    def names(self) -> list[str]:
        """Return the names of the arrays that there are."""
        return [name for name, a in vars(self).items() if a is not None]

    def of(self, chosen: np.ndarray) -> Rows:
        """Return copies of some rows."""
        found = object.__new__(Rows)
        vars(found).update({name: None if a is None else np.ascontiguousarray(a[chosen]) for name, a in vars(self).items()})
        return found

    def put(self, places: np.ndarray, other: Rows) -> None:
        """Write the rows of others to these places."""
        for name in self.names():
            getattr(self, name)[places] = getattr(other, name)


def work_together(work: Callable[[], None], workers: int, stop: threading.Event) -> None:
    """Work in this thread and in others, and wait for all of them; whatever interrupts it stops them and is raised at the end."""
    others: list[tuple[threading.Thread, threading.Event]] = []
    interruption: BaseException | None = None

    def task(ended: threading.Event) -> None:
        try:
            work()
        finally:
            ended.set()

    try:
        for _ in range(workers - 1):
            ended = threading.Event()
            others.append((threading.Thread(target=task, args=(ended,)), ended))
            others[-1][0].start()
        work()
    except BaseException as error:
        interruption = error
        stop.set()
    for thread, ended in others:
        while thread.ident is not None and not ended.is_set():
            try:
                ended.wait()
            except BaseException as error:
                interruption = error
                stop.set()
    if interruption is not None:
        raise interruption


class Problems:
    """Problems of one method, and how far they are.

    Attributes
    ----------
    everything, rows : Rows
        All problems, and those that the optimizer has now.
    places : ndarray of int64
        Places of these among all.
    """

    def __init__(self, method: Any, options: Mapping[str, Any], criteria: Criteria, box: Box, x: np.ndarray) -> None:
        self.method, self.options, self.criteria = method, dict(options), criteria
        self.everything = self.rows = Rows(x, box, criteria.xtol is not None)
        self.places = np.arange(len(x))
        self.record = criteria.record()
        self.end = math.inf if criteria.maxtime is None else time.perf_counter() + criteria.maxtime
        self.optimizer = self.make()
        if criteria.returns is None and averages_of(self.optimizer) is not None:
            raise ValueError(
                f"returns: {type(self.optimizer).__name__} returns its average from minimize, expected 'best' or 'last' here"
            )
        group = self.optimizer.groups[0]
        if sums := [part.name for part in (group.rule_of((x.size,)), *group.stages) if part.scope or part.terms_scope]:
            raise ValueError(f"minimize_many: {', '.join(sums)} sums over variables, of all problems; expected minimize for each")

    def make(self) -> Any:
        """Return an optimizer of the rows in one axis."""
        a, options, scale = self.rows, dict(self.options), self.options.get("step_scale")
        if scale is not None and (np.ndim(scale) > 0 or isinstance(scale, Mapping)):
            if np.shape(scale) != self.everything.x.shape:
                raise ValueError(f"step_scale: shape {np.shape(scale)}, expected {self.everything.x.shape}, or a number")
            options["step_scale"] = np.asarray(scale)[self.places].reshape(-1)
        bounds = None if a.lower is None or a.upper is None else (a.lower.reshape(-1), a.upper.reshape(-1))
        made = methods.make(self.method, a.x.reshape(-1), options, bounds)
        made.bind({"x": a.gradient.reshape(-1)})
        return made

    def run(self, evaluate: Callable[..., Any], preserve_shape: bool) -> None:
        """Evaluate all problems at once, until all have ended."""
        while True:
            a = self.rows
            fun, jac = evaluate(self.places, a.x)
            running = a.progress["reason"] == GO_ON
            a.gradient[running] = jac[running]
            left = rows.judge(a, self.record, fun, self.optimizer.steps)
            if left == 0 or self.is_late():
                return
            if left <= len(a.x) // 2 and not preserve_shape:
                self.compress()
                a = self.rows
            self.step(left < len(a.x))

    def step(self, some_have_ended: bool) -> None:
        """Make a step; points that have ended stay as they are."""
        ended = np.flatnonzero(self.rows.progress["reason"] != GO_ON) if some_have_ended else None
        held = None if ended is None else self.rows.x[ended]
        self.optimizer.step()
        if ended is not None:
            self.rows.x[ended] = held

    def compress(self) -> None:
        """Go on with the problems that have not ended alone."""
        saved, count = self.optimizer.state_dict(), self.rows.x.size
        chosen = np.flatnonzero(self.rows.progress["reason"] == GO_ON)
        self.write_back()
        self.places, shape = self.places[chosen], self.rows.x.shape
        self.rows = self.everything.of(self.places)
        self.optimizer = self.make()
        state = saved["state"]["x"]
        for name, a in state.items():
            if isinstance(a, np.ndarray) and a.size == count:
                state[name] = a.reshape(shape)[chosen].reshape(-1)
        self.optimizer.load_state_dict(saved, hyperparameters="keep")

    def write_back(self) -> None:
        """Write the rows of now to all."""
        if self.rows is not self.everything:
            self.everything.put(self.places, self.rows)

    def is_late(self) -> bool:
        """End all problems if their time is over."""
        if time.perf_counter() <= self.end:
            return False
        reasons = self.rows.progress["reason"]
        reasons[reasons == GO_ON] = SECONDS
        return True

    def run_compiled(self, objective: Compiled, threads: int) -> None:
        """Run a compiled objective whole, or by `run` if these options need Python at each step."""
        a, optimizer = self.rows, self.optimizer
        first = a.x.copy()
        optimizer.step()  # It sets what its stages need; then it begins anew.
        a.x[...] = first
        optimizer.reset()
        steps = np.zeros(-(-len(a.x) // rows.TOGETHER), np.int64)
        carry = np.zeros((len(steps), capacity.CARRY))
        numbers = optimizer._parameters[0].first_counter[1]
        carry[:, : len(numbers)] = numbers
        if not rows.is_plain(optimizer):
            self.run(Each(objective), True)
            return
        run = functools.partial(rows.run, optimizer, a, self.record, objective.address, objective.data, steps, carry)
        # Blocks take turns, so that a limit of time is shared; their threads wait without keeping a processor busy.
        waiting = collections.deque(range(len(steps)))
        workers = min(threads or passes.threads(), len(steps))
        left = max(self.end - time.perf_counter(), 0.0)
        seconds = min(CHUNK, max(1e-4, 0.1 * left * workers / len(steps)))
        stop = threading.Event()

        def work() -> None:
            kept = objective  # The function's code and data, as long as they are used.
            while kept and not stop.is_set() and time.perf_counter() <= self.end:
                try:
                    block = waiting.popleft()
                except IndexError:
                    return
                if not run(block, seconds):
                    waiting.append(block)

        work_together(work, workers, stop)
        self.is_late()

    def run_each(self, evaluate: Callable[..., Any]) -> None:
        """Run each problem by another minimizer, side by side."""
        a, scale = self.everything, self.options.get("step_scale")
        options = {name: getattr(self.criteria, name) for name in NAMES}
        each = []
        for k, x in enumerate(a.x):
            bounds = None if a.lower is None or a.upper is None else [*zip(a.lower[k], a.upper[k], strict=True)]
            own = {} if scale is None or np.ndim(scale) == 0 else {"step_scale": np.asarray(scale)[k]}
            each.append(Minimizer(x, self.method, bounds, **{**options, **self.options, **own, "returns": "last"}))
        while (running := np.flatnonzero([not m.done for m in each])).size:
            fun, jac = evaluate(running, np.stack([each[k]._point() for k in running]))
            for m, *found in zip([each[k] for k in running], fun, jac, strict=True):
                m.tell(*found)
        for k, m in enumerate(each):
            judge = m._judge
            for name, row in (("x", judge.x), ("gradient", judge.jac), ("best_x", judge.best_x), ("best_jac", judge.best_jac)):
                getattr(a, name)[k] = row
            a.progress[k] = judge.progress

    def result(self) -> OptimizeResult:
        """Return the result of all problems."""
        self.write_back()
        a, now = self.everything, self.everything.progress
        reasons, best = now["reason"], now["best"]
        here = np.isin(reasons, HERE) | np.isposinf(best)
        if self.criteria.returns == "last":
            here |= ~np.isin(reasons, (GO_ON, NONFINITE, SECONDS))
        status = np.array([REASONS[k][0] for k in range(len(REASONS))])[reasons]
        ends = {"success": status == 0, "status": status, "nit": np.maximum(now["judged"], 0)}
        calls = {"nfev": now["judged"] + 1, "njev": now["judged"] + 1}
        said = f"{np.count_nonzero(status == 0)} of {len(status)} problems ended successfully."
        others = [(REASONS[k][1].rstrip("."), np.count_nonzero(reasons == k)) for k in np.unique(reasons[status != 0])]
        said += "".join(f" {words}: {count}." for words, count in others)
        x, jac = (np.where(here[:, None], *pair) for pair in ((a.x, a.best_x), (a.gradient, a.best_jac)))
        fun = np.where(here, now["fun"], best)
        jac[now["judged"] < 0] = np.nan  # The time was over before they were evaluated.
        return optimize().OptimizeResult(x=x, fun=fun, jac=jac, message=said, **ends, **calls)
