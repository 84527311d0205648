# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Stepper: the lock, the counters and the bound gradients of an optimizer. Its backend makes the steps.

This text has two uses: it is compiled with the types of ``stepper.pxd``, or runs as plain Python where there is no compiler.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from fastopt._arrays.changes import commit, writing
from fastopt._arrays.row_gradient import first_nonfinite
from fastopt._arrays.tree import collect
from fastopt._engine.sums import Collected, Collector, Exchange
from fastopt.spec import STAGES

CHECK = next(name for name, stage in STAGES.items() if stage.kind == "checks")
# Of one parameter: its steps, the numbers that its rule carries, and whether it has accumulated gradients.
Counter = tuple[int, list[float], bool]


class Backend:
    """Backend: makes the steps of one engine over the parameters of an optimizer.

    The methods `set_...` and `prepare` check their arguments and may raise; they write nothing. `run` makes the step. All of
    them, and `catch_up`, are called between `enter` and `exit`.

    Attributes
    ----------
    completed : bool
        True once `run` has written a step, even if it then raised because a signal handler did.
    exchange : Exchange or None
        Gives, in this step, the sums over all spans for those over this one.
    """

    completed: bool
    exchange: Any

    @property
    def on_device(self) -> bool:
        """True if the arrays are on a device that must be entered."""
        return False

    def enter(self) -> None:
        """Make the device current; called if `on_device`."""

    def exit(self) -> None:
        """Undo `enter`, and release the gradients."""

    def set_gradients(self, grads: Any) -> None:
        """Check gradients in the structure of the parameters, for the next `run`."""
        raise NotImplementedError

    def set_gradient_list(self, grads: list[Any]) -> None:
        """Check gradients in the order of the parameters, for the next `run`."""
        raise NotImplementedError

    def set_bound_gradients(self, grads: list[Any]) -> None:
        """Check bound gradients again, as far as they can have changed."""
        raise NotImplementedError

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        """Return gradients as arrays that can be bound, and cleared; raise for others."""
        raise NotImplementedError

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> None:
        """Evaluate schedules, allocate, compile: whatever else can raise."""
        raise NotImplementedError

    def run(self, count: int, scale: float, cleared: list[Any] | None, accumulating: bool) -> int:
        """Make the step. Return 1 if arrays were updated, 0 without any gradient, -1 if one is not finite and may not be used."""
        raise NotImplementedError

    def nonfinite(self) -> dict[str, int]:
        """Return the number of non-finite elements by parameter name, after `run` returned -1."""
        raise NotImplementedError

    def counters(self) -> list[Counter]:
        """Return the counters of all parameters."""
        raise NotImplementedError

    def counter(self, place: int) -> Counter:
        """Return the counters of one parameter."""
        raise NotImplementedError

    def set_counters(self, counters: list[Counter]) -> None:
        """Set the counters of all parameters, and forget the last step."""
        raise NotImplementedError

    def set_counter(self, place: int, counter: Counter) -> None:
        """Set the counters of one parameter that has no rows behind."""
        raise NotImplementedError

    def catch_up(self, rows: list[Any] | None) -> None:
        """Make the steps that rows are behind.

        `rows` has, for each parameter, ascending row numbers or None for no row; without it, all rows of all parameters.
        """

    def last_hyperparameters(self) -> list[list[float]] | None:
        """Return each group's hyperparameters in the last completed step; None before one."""
        raise NotImplementedError

    def over(self, exchange: Any, kind: type, params: list[Any], grads: list[Any], other: Any) -> list[Any] | None:
        """Return arrays over the gradients of tensors, or None if a parameter has moved in memory.

        The arrays hold no reference: the caller keeps the tensors alive. `other` makes an array from the place and value of a
        gradient that is not a tensor of class `kind`, on the CPU, with its parameter's dtype and shape.
        """
        raise NotImplementedError

    def expect_threads(self) -> None:
        """Expect that the caller computes its gradients with the threads of this process's OpenMP, as PyTorch does."""

    def program(self, accumulating: bool) -> list[list[tuple[str, str, bool, bool]]]:
        """Return each group's operations in the next step at a scale of 1: kind, stage, whether it takes and gives doubles.

        `accumulating` says whether that step accumulates gradients.
        """
        raise NotImplementedError

    def totals(self, stage: str) -> list[list[float]] | None:
        """Return a stage's sums in the last completed step, for each array or once; None without any."""
        raise NotImplementedError


class Stepper:
    """Steps over all arrays of an optimizer: whatever can raise comes before the first write."""

    _backend: Any
    _layout: Any
    _bound: list[Any] | None
    _busy: bool

    def _attach(self, backend: Backend, structure: Any, parameters: list[Any], groups: list[Any], settings: Any) -> None:
        """Use this backend from now on, with the counters of the parameters that were there before."""
        new: list[Any] = [parameter.first_counter for parameter in parameters]
        if self._backend is not None:
            self._backend.catch_up(None)
            new = [*self._backend.counters()[: len(new)], *new[len(self._parameters) :]]
        backend.set_counters(new)
        if self._busy:
            self._backend.exit()
            backend.enter()
        self._backend, self._bound, self._on_device = backend, None, backend.on_device
        self._layout = (structure, parameters, groups)
        self._accumulate, self._clears = settings.accumulate, settings.zero_grads
        self._raises = settings.nonfinite == "raise"
        self._needs_sums = needs_sums(groups, settings)

    def _exclusively(self, work: Callable[..., Any], *args: Any) -> Any:
        """Return ``work(*args)``, during which no step begins; raise within a step.

        Whatever raises, also a signal handler, the lock is released. There is no call between the test and the assignment, nor
        before the last one: no other thread runs there, and no signal handler.
        """
        if self._busy or self._backend is None:
            raise_unavailable(self._busy)
        try:
            self._busy = True
            if self._on_device:
                self._backend.enter()
            return work(*args)
        finally:
            try:
                self._backend.exit()
            finally:
                self._busy = False

    def _commit(self, plan: Callable[..., list[Callable[[], object]]], *args: Any) -> None:
        """Catch up, and make the changes that ``plan(*args)`` returns, with the lock held."""
        self._exclusively(self._make, plan, args)

    def _make(self, plan: Callable[..., list[Callable[[], object]]], args: tuple[Any, ...]) -> None:
        self._backend.catch_up(None)
        commit(plan(*args))

    def _at_work(self) -> bool:
        """Return True while a step or another exclusive call is running."""
        return self._busy

    def _steps(self) -> int:
        """Return the number of updates so far."""
        return self._count

    def _progress(self) -> tuple[int, int, int]:
        """Return the counters that each completed call of `step` changes: steps, accumulated gradients, skipped steps."""
        return self._count, self._gathered, self._skipped

    @property
    def skipped(self) -> int:
        """Number of steps that were skipped because a gradient was infinite or NaN."""
        return self._skipped

    def _counters(self) -> tuple[list[Counter], tuple[int, int, int]]:
        """Return the counters of each parameter, and those of all: steps, accumulated gradients, skipped steps."""
        return self._planned().counters(), self._progress()

    def _set_counters(self, each: list[Counter], overall: tuple[int, int, int]) -> None:
        if len(each) != len(self._parameters):
            raise ValueError(f"{len(each)} counts, expected {len(self._parameters)}")
        self._planned().set_counters(each)
        self._count, self._gathered, self._skipped = overall

    @property
    def _structure(self) -> Any:
        return self._laid_out()[0]

    @property
    def _parameters(self) -> Any:
        return self._laid_out()[1]

    @property
    def _groups(self) -> Any:
        return self._laid_out()[2]

    def _laid_out(self) -> Any:
        """Return structure, parameters and groups."""
        self._planned()
        return self._layout

    def _planned(self) -> Any:
        """Return the backend, or raise before the constructor has run."""
        if self._backend is None:
            raise_unavailable(False)
        return self._backend

    def bind(self, grads: Any) -> None:
        """Bind gradient arrays, which ``step()`` without arguments reads.

        Parameters
        ----------
        grads : nested like the parameters
            Arrays that the caller fills before each step; None for a parameter that never gets a gradient.

        Raises
        ------
        TypeError, ValueError
            As `step`; TypeError also for anything but arrays, whose later values could not be seen.
        """
        self._exclusively(self._bind, grads)

    def _bind_list(self, grads: list[Any]) -> None:
        """Bind gradients in the parameters' order."""
        self._exclusively(self._bind, grads, True)

    def _bind(self, grads: Any, listed: bool = False) -> None:
        found = self._backend.check_bindable(grads if listed else collect(self._structure, grads), self._clears)
        self._backend.set_gradient_list(found)
        # NumPy does not resize in place what others refer to.
        guards = [weakref.ref(g) for g in found if type(g) is np.ndarray]
        self._bound, self._guards = found, guards

    def _bound_list(self) -> list[Any] | None:
        """Return the bound gradients in the parameters' order."""
        self._planned()
        return None if self._bound is None else list(self._bound)

    def step(self, grads: Any = None, *, scale: float = 1.0, sums: Any = None) -> bool:
        """Update the parameters in place.

        Parameters
        ----------
        grads : nested like the parameters, optional
            Gradients in the structure of the parameters (with groups: a list, one entry for each group). Arrays of any real
            floating dtype (complex for complex parameters), strides and alignment, read-only or not; a float for a 0-d parameter;
            None for a parameter, or for a whole mapping or sequence, that stays as it is. Default: the arrays of `bind`.
        scale : float, default 1.0
            Factor of the gradients, such as the inverse of a loss scale.
        sums : bytes, or function of bytes, optional
            If other optimizers step the other spans (``span=``): what norms and finiteness need of all of them; without it such a
            step raises. Either what `fastopt.combine` made of their `sums`; or a function that gets this span's, returns all spans'
            combined, and is called at least once, each time before anything changes, with the same kinds of sums on all spans.

        Returns
        -------
        bool
            True if parameters were updated. False, and nothing is counted, if no parameter has a gradient, if a gradient is not
            finite with ``nonfinite="skip"``, and while ``accumulate`` waits for more gradients.

        Raises
        ------
        TypeError, ValueError
            If gradients, scale or hyperparameters do not fit. Nothing has changed.
        FloatingPointError
            If a gradient is infinite or NaN with ``nonfinite="raise"``. Nothing has changed.
        RuntimeError
            If another thread is in the middle of a step of this optimizer.

        Notes
        -----
        The GIL is released while arrays are updated, except for less than 2048 elements, where releasing it would take longer.
        """
        return self._advance(grads, scale, False, None if sums is None else Exchange(sums, self._count))

    def sums(self, grads: Any = None, *, scale: float = 1.0) -> bytes:
        """Return what a step needs to know of this span, for `fastopt.combine`; nothing changes.

        Parameters
        ----------
        grads, scale
            As for `step`.

        Returns
        -------
        bytes
            Exact sums: of norms and rules' estimates, the number of elements that are not finite, and whether there is a gradient.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `step`.
        """
        collector = Collector(self._count, CHECK)
        with suppress(Collected):
            self._advance(grads, scale, False, collector)
        return collector.data

    def _step_list(self, grads: list[Any]) -> bool:
        """Update the parameters by gradients in the parameters' order."""
        return self._advance(grads, 1.0, True, None)

    def _advance(self, grads: Any, scale: float, listed: bool, exchange: Any) -> bool:
        """Make a step; `_exclusively` without the cost of its call."""
        if self._busy or self._backend is None:
            raise_unavailable(self._busy)
        try:
            self._busy = True
            if self._on_device:
                self._backend.enter()
            if listed:
                self._backend.set_gradient_list(grads)
            elif grads is not None:
                self._backend.set_gradients(grads)
            elif self._bound is None:
                raise ValueError("step() without gradients, expected step(grads), or bind(grads) before")
            else:
                self._backend.set_bound_gradients(self._bound)
            if exchange is not None or self._needs_sums:
                check_sums(exchange, self._on_device)
            self._backend.exchange = exchange
            done = self._execute(None if grads is not None else self._bound, scale)
            if done < 0 and self._raises:
                given: Any = self._bound if grads is None else grads if listed else collect(self._structure, grads)
                raise_nonfinite(self._backend.nonfinite(), dict(zip([s.name for s in self._parameters], given, strict=True)))
            return done > 0
        finally:
            try:
                self._backend.exchange = None
                self._backend.exit()
            finally:
                self._busy = False

    def _execute(self, bound: list[Any] | None, scale: float) -> int:
        """Make the step of the gradients that were set; return 1 if parameters were updated, -1 if a gradient is not finite."""
        accumulating = self._gathered + 1 < self._accumulate
        if not -1e300 < scale < 1e300:
            raise ValueError(f"scale: {scale}, expected a number between -1e300 and 1e300")
        cleared = bound if self._clears else None
        self._backend.prepare(self._count, scale, cleared, accumulating)
        self._backend.completed = False
        try:
            done = self._backend.run(self._count, scale, cleared, accumulating)
        finally:
            # A handler that raises after the last write interrupts the caller, not the step.
            if self._backend.completed:
                self._count += not accumulating
                self._gathered = self._gathered + 1 if accumulating else 0
        if done < 0 and not self._raises:
            self._skip(cleared)
        return 0 if done > 0 and accumulating else done

    def _skip(self, cleared: list[Any] | None) -> None:
        """Count a step that is skipped for its gradients."""
        clearing = [writing(g, 0) for g in cleared or () if g is not None]
        commit([*clearing, partial(self._set_skipped, self._skipped + 1)])

    def _set_skipped(self, count: int) -> None:
        self._skipped = count


def needs_sums(groups: Sequence[Any], settings: Any) -> bool:
    """Return True if the steps of a span depend on sums over all spans."""
    formulas = [formula for group in groups for formula in (group.rule, *group.stages)]
    over_all = any(formula.scope in ("over_group", "over_all") for formula in formulas)
    return settings.span is not None and (over_all or settings.nonfinite in ("skip", "raise"))


def check_sums(exchange: Any, on_device: bool) -> None:
    """Raise if a step needs sums over all spans and has none, or cannot use them."""
    if exchange is None:
        raise ValueError("sums: None for a span, expected those of all spans, which fastopt.combine makes of opt.sums(grads)")
    if on_device:
        raise ValueError("sums: of arrays on a device, expected NumPy's")


def raise_unavailable(busy: bool) -> None:
    """Raise the error of an optimizer that cannot begin a step."""
    if busy:
        raise RuntimeError("this optimizer is at work: in another thread, or in a step that calls what you passed")
    raise RuntimeError("this optimizer has no parameters: its constructor has not run")


def raise_nonfinite(bad: Mapping[str, int], grads: Mapping[str, Any]) -> None:
    """Raise the error that names the parameters whose gradients are not finite, and the first such element."""
    if not bad:
        raise FloatingPointError("gradients: elements of another span are infinite or NaN")
    first, count = next(iter(bad.items()))
    place = ""
    # Reading it once more may fail, as for an object that gives its array once.
    with suppress(Exception):
        place = first_nonfinite(grads[first])
    elements = "1 element is" if count == 1 else f"{count} elements are"
    more = f"; so are elements of {len(bad) - 1} more" if len(bad) > 1 else ""
    raise FloatingPointError(f"gradient of {first!r}: {elements} infinite or NaN{place and ', the first at ' + place}{more}")


FIELDS = {
    "_backend": None, "_bound": None, "_guards": (), "_layout": None, "_busy": False, "_count": 0,
    "_skipped": 0, "_gathered": 0, "_accumulate": 1, "_clears": False, "_raises": False, "_on_device": False, "_needs_sums": False,
}  # fmt: skip
# A compiled class has its fields before the constructor runs; plain Python needs defaults.
if __file__.endswith(".py"):
    Backend.completed, Backend.exchange = False, None
    for name, value in FIELDS.items():
        setattr(Stepper, name, value)

__all__: Sequence[str] = ["FIELDS", "Backend", "Counter", "Stepper"]
