"""SciPy's protocol of minimisation: `minimize`, and methods for `scipy.optimize.minimize`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optimizer.array_options import find_caller
from ..training.checkpoint import Checkpoint
from . import methods
from .compiled import objective_of
from .criteria import NONFINITE
from .minimizer import Minimizer, optimize
from .objective import Objective

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

ARGUMENTS = ("tol", "x_scale", "checkpoint", "resume")  # Of `minimize`, among the options of a method.


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = "adam",
    *,
    jac: Any = None,
    bounds: Any = None,
    x_scale: Any = None,
    tol: float | None = None,
    callback: Callable[..., object] | None = None,
    checkpoint: Any = None,
    resume: bool = False,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """Minimize a function of one or more variables by an optimizer, as `scipy.optimize.minimize` does by its methods.

    Parameters
    ----------
    fun : callable or compiled objective
        ``fun(x, *args)`` returns a number; with ``jac=True`` a pair of number and gradient. Each call gets another array, which
        it may keep. Or a function in C, as the notes say.
    x0 : array_like
        First point, 1-D or a scalar; it is copied. float32 and float64 are kept, other real numbers become float64. Nested
        arrays: `fastopt.pack`.
    args : tuple, default ()
        Further arguments of `fun` and `jac`.
    method : str, class or Rule, default "adam"
        An optimizer by its name in any case, its class, or what `fastopt.rule` made.
    jac : callable, bool or {"2-point", "3-point", "cs"}, optional
        ``jac(x, *args)`` returns the gradient, array_like of x's shape; True if `fun` returns it. None, False and names choose
        SciPy's finite differences, whose calls count in ``nfev``.
    bounds : sequence of (lower, upper) or scipy.optimize.Bounds, optional
        None, or an infinite number, for no bound. Equal ones fix a variable. `fun` is only called within them.
    x_scale : float or array_like, optional
        Typical size of each variable: steps, ``xtol``, and ``gtol`` are of ``x / x_scale``. Default: 1.
    tol : float, optional
        The option ``gtol``.
    callback : callable, optional
        ``callback(xk)``, or ``callback(intermediate_result)`` by that name with ``x, fun, jac, nit, optimizer``: called at each
        point that a step has reached, before the next one, with copies (and with the optimizer itself, whose rate it may change).
        StopIteration ends the run.
    checkpoint : path or fastopt.training.Checkpoint, optional
        Where a restart file is written: by a path at most once a minute, and at the end.
    resume : bool, default False
        Go on from the file, bit for bit, or begin where there is none; limits and ``disp`` may be others, nothing else. Without it
        a file that is there is an error.
    options : dict, optional
        Options of the optimizer (``lr``, 0.1 by default for Adam, AdamW, AdaBelief, Adamax and Yogi; ``betas``, ``clip_norm``,
        ``ema``, ...), without weight decay unless it is given, and:

        maxiter, maxfun, maxtime : float or None
            Largest number of steps (10,000), calls of `fun` and seconds (None, no limit), looked at after each evaluation.
        gtol : float or None
            Ends at a point where no element of the projected gradient exceeds it; 1e-5. None switches a tolerance off.
        ftol, patience : float or None, int
            Ends when the mean of `patience` (100) values is not below the mean of the `patience` before by ``ftol * max(1,
            abs(mean))``; 1e-9, and None where ``lr`` is a schedule. That is no success if no value was below the first one.
        xtol : float or None
            Ends when no variable has moved by more in any of the last `patience` steps; None.
        target : float
            Ends at a value of at most this; -inf.
        returns : {"best", "last", "average"}
            The point of the lowest value; the last one; or the average of all, the default with ``ema=0.99`` or the like and of
            methods that average by themselves. A point that meets `gtol` or `target` is returned in any case, and after
            StopIteration the last point in place of the average. For a noisy function the lowest value is the luckiest one: take
            the average, or the last.
        on_nonfinite : {"stop", "raise"}
            At a value or gradient that is not finite: end with status 3 and the best point, or raise FloatingPointError.
        disp : bool or int
            Print a line each second, or each so many iterations, and at the end.
        return_all, history : bool
            Keep all points (``allvecs``), or values, gradients, learning rates and times (``history``, which has ``plot()``).
        differences, finite_diff_rel_step, workers
            The method of differences by name, their relative steps, and a map-like function that calls `fun`, as in SciPy.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x, fun, jac``; ``success``; ``status``: 0 for a tolerance or target that was met, 1 for a limit, 2 for values that never
        fell, 3 for a result that is not finite, 99 for StopIteration; ``message``; ``nit`` steps; ``nfev``, ``njev`` calls;
        ``returned``, which point it is; ``optimizer``, whose parameter is ``x / x_scale``; ``allvecs``, ``history`` as asked.

    Raises
    ------
    TypeError, ValueError
        If an argument, an option or what `fun` returns does not fit.
    FileExistsError
        If there is a restart file, and `resume` is False.
    ImportError
        Without SciPy (``pip install 'fastopt[scipy]'``).

    Notes
    -----
    Whatever raises, also KeyboardInterrupt, a restart file is written first if there is a `checkpoint`, and the exception has an
    attribute ``result`` with the best point so far.

    A compiled objective is ``double f(size_t n, const double *x, double *grad, void *data)``, as a function of ctypes with declared
    types, of numba (``cfunc``), or as `scipy.LowLevelCallable`, whose ``user_data`` it gets. ``grad`` is zero before each call.
    The whole loop runs without the GIL, with the bits of the loop in Python. A wrong address, or data that are not what the
    function expects, end the process.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> from scipy.optimize import rosen, rosen_der
    >>> found = fo.minimize(rosen, [-1.2, 1.0], jac=rosen_der, bounds=[(None, 0.8), (None, None)])
    >>> found.success, found.x.round(3)
    (True, array([0.8 , 0.64]))
    """
    options = dict(options or {})
    if tol is not None:
        options.setdefault("gtol", tol)
    optimize()
    _, _, differences = methods.split("minimize", method, options)
    rest = {name: x for name, x in options.items() if name not in differences}
    m = Minimizer(x0, method, bounds, x_scale=x_scale, callback=callback, **rest)
    objective: Any = objective_of(fun, jac, args, m._first) or Objective(fun, jac, args, m._box, differences)
    saves = Checkpoint.of(checkpoint, seconds=60)
    if resume and saves is None:
        raise ValueError("resume: True without a file, expected checkpoint=...")
    if saves is not None and saves.begin(resume):
        m.load(saves.newest())
        objective.go_on(m)
        saves.go_on(m.nit)
        if m._reason == NONFINITE:
            m._end(NONFINITE)
    return run(m, objective, saves)


def run(m: Minimizer, objective: Any, saves: Checkpoint | None) -> OptimizeResult:
    """Run a minimization to its end."""
    try:
        while m._running:
            objective.run(m, math.inf if saves is None else saves.pause())
            if saves is not None and saves.is_due(m.nit):
                saves.write(m.save, m.nit)
        if saves is not None:
            saves.write(m.save, m.nit)
    except BaseException as error:
        keep(m, saves, error)
        raise
    return m.result()


def keep(m: Minimizer, saves: Checkpoint | None, error: BaseException) -> None:
    """Write a file before an exception is raised, and give it the result so far."""
    with suppress(AttributeError):
        error.result = m.result()  # type: ignore[attr-defined]
    if saves is None or m.nfev == 0:
        return
    try:
        saves.write(m.save, m.nit)
    except Exception as other:
        error.add_note(f"checkpoint: not written ({type(other).__name__}: {other})")


@dataclass(frozen=True)
class Method:
    """Method for `scipy.optimize.minimize`; made by `scipy_method`."""

    method: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        *,
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., object] | None = None,
        **options: Any,
    ) -> OptimizeResult:
        """Minimize a function with the arguments that SciPy gives."""
        if np.size(constraints):
            raise ValueError("constraints: fastopt has bounds, not constraints; expected method='SLSQP' or 'trust-constr' for them")
        for name, given in (("hess", hess), ("hessp", hessp)):
            if given is not None:
                warnings.warn(f"{name}: not used by this method", RuntimeWarning, stacklevel=find_caller())
        if getattr(jac, "__self__", None) is fun and type(fun).__name__ == "MemoizeJac":
            # SciPy's wrapper of functions that return their gradients costs more than a step.
            fun, jac = vars(fun)["fun"], True
        replaced = ({"gtol"} if "tol" in options and "gtol" not in options else set()) | (
            set(methods.OF_DIFFERENCES) if jac else set()
        )
        chosen = {**{name: x for name, x in self.options.items() if name not in replaced}, **options}
        arguments = {name: chosen.pop(name) for name in ARGUMENTS if name in chosen}
        return minimize(fun, x0, args, self.method, jac=jac, bounds=bounds, callback=callback, options=chosen, **arguments)


def scipy_method(method: Any = "adam", **options: Any) -> Method:
    """Return a method for `scipy.optimize.minimize`, and for whatever calls it.

    Parameters
    ----------
    method : str, class or Rule, default "adam"
        As in `minimize`.
    **options
        Options of `minimize`, and its arguments ``x_scale``, ``checkpoint`` and ``resume``. Those that SciPy is given replace them.

    Returns
    -------
    callable
        It can be pickled.

    Raises
    ------
    TypeError, ValueError
        If there is no such method or option.

    Notes
    -----
    SciPy turns ``jac="3-point"`` and other strings into None for such methods: say ``differences="3-point"`` here.

    Examples
    --------
    >>> import numpy as np, scipy.optimize, fastopt as fo
    >>> fun = lambda x: ((x - 1.5) ** 2).sum()
    >>> found = scipy.optimize.minimize(fun, np.zeros(3), method=fo.scipy_method("adam", lr=0.1))
    >>> found.x.round(3)
    array([1.5, 1.5, 1.5])
    """
    methods.split("scipy_method", method, {k: x for k, x in options.items() if k not in ARGUMENTS})
    return Method(method, options)
