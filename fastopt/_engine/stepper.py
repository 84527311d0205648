# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Stepper: the lock, the counters and the bound gradients of an optimizer. What a step does is its backend's.

This is one text for two uses: compiled with the types of ``stepper.pxd``, or as plain Python where there is no compiler.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastopt._arrays.tree import collect

Counter = tuple[int, list[float], bool]  # of one parameter: its steps, the numbers that its rule keeps, whether gradients wait


class Backend:
    """The steps of one engine over the parameters of an optimizer.

    `take`, `take_list`, `take_bound` and `prepare` check what they are given and may raise; nothing has been written then. `run`
    makes the step. All of them, and `catch_up`, come between `enter` and `exit`.
    """

    @property
    def on_device(self) -> bool:
        """True if the arrays are on a device that has to be entered."""
        return False

    def enter(self) -> None:
        """Make the device the current one; called if `on_device`."""

    def exit(self) -> None:
        """End what `enter` began, and release the gradients."""

    def take(self, grads: Any) -> None:
        """Check gradients, nested as the parameters, for the next `run`."""
        raise NotImplementedError

    def take_list(self, grads: list[Any]) -> None:
        """Check gradients in the order of the parameters, for the next `run`."""
        raise NotImplementedError

    def take_bound(self, grads: list[Any]) -> None:
        """Check bound gradients again, as far as they can have changed."""
        raise NotImplementedError

    def check_bindable(self, grads: list[Any], clears: bool) -> list[Any]:
        """Return gradients as arrays that can be bound, and cleared; raise for others."""
        raise NotImplementedError

    def prepare(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> None:
        """Evaluate schedules, allocate, compile: whatever else can raise."""
        raise NotImplementedError

    def run(self, count: int, scale: float, cleared: list[Any] | None, holds: bool) -> int:
        """Make the step: 1 if arrays were written, 0 if no parameter has a gradient, -1 if one may not be used."""
        raise NotImplementedError

    def nonfinite(self) -> dict[str, int]:
        """Return how many elements of which parameters' gradients were infinite or NaN when `run` returned -1."""
        raise NotImplementedError

    def counters(self) -> list[Counter]:
        """Return what is counted and kept of each parameter."""
        raise NotImplementedError

    def counter(self, place: int) -> Counter:
        """Return what is counted and kept of one parameter."""
        raise NotImplementedError

    def set_counters(self, counters: list[Counter]) -> None:
        """Set what is counted and kept of all parameters; nothing is known of the last step then."""
        raise NotImplementedError

    def set_counter(self, place: int, counter: Counter) -> None:
        """Set what is counted and kept of one parameter, whose rows have caught up."""
        raise NotImplementedError

    def catch_up(self, rows: list[Any] | None) -> None:
        """Make the steps that rows are behind: these of each parameter, ascending (None: none); without a list all."""

    def hyperparameters(self) -> list[list[float]] | None:
        """Return each group's hyperparameters in the last step that was made; None before one."""
        raise NotImplementedError

    def over(self, exchange: Any, kind: type, params: list[Any], grads: list[Any], other: Any) -> list[Any] | None:
        """Return arrays over the gradients that tensors are, or None if a parameter is no longer where it was.

        They hold nothing: whoever uses them sees to it that the memory is still there. What is not an own tensor of `kind`, on the
        CPU, of its parameter's real dtype and shape, `other` makes an array of, from its place and itself.
        """
        raise NotImplementedError

    def expect_threads(self) -> None:
        """Expect that the caller computes its gradients with the threads of this process's OpenMP, as PyTorch does."""

    def program(self, holds: bool) -> list[list[tuple[str, str, bool, bool]]]:
        """Return each group's operations: kind, stage, whether it takes and gives doubles.

        They are those of the last step, which held its gradients if `holds`.
        """
        raise NotImplementedError

    def totals(self, stage: str) -> list[list[float]] | None:
        """Return the sums of a stage in the last step that was made, of each array or once; None where there were none."""
        raise NotImplementedError


class Stepper:
    """Steps over all arrays of an optimizer: what can raise comes before the first write."""

    _backend: Any
    _layout: Any
    _bound: list[Any] | None
    _busy: bool

    def _attach(self, backend: Backend, structure: Any, slots: list[Any], groups: list[Any], settings: Any) -> None:
        """Step by this backend from now on; what is counted and kept of the parameters that were there stays."""
        new: list[Any] = [(0, list(slot.rule.kept.values()), False) for slot in slots]
        if self._backend is not None:
            self._backend.catch_up(None)
            new = [*self._backend.counters()[: len(new)], *new[len(self._slots) :]]
        backend.set_counters(new)
        if self._busy:
            self._backend.exit()
            backend.enter()
        self._backend, self._bound, self._on_device = backend, None, backend.on_device
        self._layout = (structure, slots, groups)
        self._accumulate, self._clears = settings.accumulate, settings.zero_grads
        self._raises = settings.nonfinite == "raise"

    def _begin(self) -> None:
        if self._busy:
            raise RuntimeError("this optimizer is at work: in another thread, or in a step that calls what you passed")
        if self._backend is None:
            raise RuntimeError("this optimizer has no parameters: its constructor has not run")
        self._busy = True  # in plain Python too no thread runs between the test and this
        if self._on_device:
            self._enter()

    def _enter(self) -> None:
        try:
            self._backend.enter()
        except BaseException:
            self._busy = False
            raise

    def _end(self) -> None:
        try:
            self._backend.exit()
        finally:
            self._busy = False

    def _acquire(self) -> None:
        """Begin something that no step may interrupt."""
        self._begin()

    def _release(self) -> None:
        """End what `_acquire` began."""
        self._end()

    def _at_work(self) -> bool:
        """Return whether a step is being made, or something else that none may interrupt."""
        return self._busy

    def _steps(self) -> int:
        """Return the updates made so far."""
        return self._count

    @property
    def skipped(self) -> int:
        """Steps that were not made because a gradient was infinite or NaN."""
        return self._skipped

    def _counters(self) -> tuple[list[Counter], tuple[int, int, int]]:
        """Return what is counted of each parameter, and of all: steps, gradients gathered, steps skipped."""
        return self._planned().counters(), (self._count, self._gathered, self._skipped)

    def _set_counters(self, each: list[Counter], whole: tuple[int, int, int]) -> None:
        if len(each) != len(self._slots):
            raise ValueError(f"{len(each)} counts, expected {len(self._slots)}")
        self._planned().set_counters(each)
        self._count, self._gathered, self._skipped = whole

    @property
    def _structure(self) -> Any:
        return self._laid_out()[0]

    @property
    def _slots(self) -> Any:
        return self._laid_out()[1]

    @property
    def _groups(self) -> Any:
        return self._laid_out()[2]

    def _laid_out(self) -> Any:
        """Return the structure, the parameters and the groups."""
        self._planned()
        return self._layout

    def _planned(self) -> Any:
        """Return the backend."""
        if self._backend is None:
            raise RuntimeError("this optimizer has no parameters: its constructor has not run")
        return self._backend

    def bind(self, grads: Any) -> None:
        """Fix gradient buffers, so that ``step()`` alone reads them.

        Parameters
        ----------
        grads : as the parameters
            Arrays that stay the caller's to fill; None leaves a parameter alone.

        Raises
        ------
        TypeError, ValueError
            As `step`; and TypeError for what is not an array, since its later values could not be seen.
        """
        self._begin()
        try:
            self._bind(collect(self._structure, grads))
        finally:
            self._end()

    def _bind_list(self, grads: list[Any]) -> None:
        """Fix gradient buffers in the order of the parameters."""
        self._begin()
        try:
            self._bind(grads)
        finally:
            self._end()

    def _bind(self, grads: list[Any]) -> None:
        found = self._backend.check_bindable(grads, self._clears)
        self._backend.take_list(found)
        self._bound = found
        # NumPy does not resize in place what others refer to.
        self._guards = [weakref.ref(g) for g in found if type(g) is np.ndarray]

    def _bound_list(self) -> list[Any] | None:
        """Return the bound gradients."""
        self._planned()
        return None if self._bound is None else list(self._bound)

    def step(self, grads: Any = None, *, scale: float = 1.0) -> bool:
        """Update the parameters in place.

        Parameters
        ----------
        grads : as the parameters, optional
            Gradients in the structure of the parameters (groups: a list, one entry for each group): arrays of any real floating
            dtype (complex for complex parameters), strides and alignment, read-only or not; a float for a 0-d parameter; None
            leaves a parameter, or all in a mapping or sequence, and their step counts alone. Without, those of `bind` are read.
        scale : float, default 1.0
            Multiplies the gradients (1 over a loss scale).

        Returns
        -------
        bool
            Whether parameters were updated. False, and nothing is counted, where no parameter has a gradient, where a gradient
            is infinite or NaN and ``nonfinite="skip"``, and where ``accumulate`` waits for more gradients.

        Raises
        ------
        TypeError, ValueError
            For gradients, a scale or hyperparameters that do not fit; nothing has been changed.
        FloatingPointError
            Where a gradient is infinite or NaN and ``nonfinite="raise"``; nothing has been changed.
        RuntimeError
            If the optimizer is in the middle of a step in another thread.

        Notes
        -----
        The GIL is released while arrays are worked on, but for a few microseconds' work (less than 2048 elements).
        """
        self._begin()
        try:
            if grads is not None:
                self._backend.take(grads)
                return self._execute(None, scale)
            if self._bound is None:
                raise ValueError("step() without gradients, expected step(grads), or bind(grads) before")
            self._backend.take_bound(self._bound)
            return self._execute(self._bound, scale)
        finally:
            self._end()

    def _step_list(self, grads: list[Any]) -> bool:
        """Update the parameters by gradients in their order."""
        self._begin()
        try:
            self._backend.take_list(grads)
            return self._execute(None, 1.0)
        finally:
            self._end()

    def _execute(self, bound: list[Any] | None, scale: float) -> bool:
        """Make the step of the gradients that were taken; return whether parameters were updated."""
        holds = self._gathered + 1 < self._accumulate
        if not -1e300 < scale < 1e300:
            raise ValueError(f"scale: {scale}, expected a number between -1e300 and 1e300")
        cleared = bound if self._clears else None
        self._backend.prepare(self._count, scale, cleared, holds)
        done = self._backend.run(self._count, scale, cleared, holds)
        if done < 0 and self._raises:
            raise_nonfinite(self._backend.nonfinite())
        if done < 0 and cleared is not None:
            for g in cleared:
                if g is not None:
                    g[...] = 0
        self._skipped += done < 0
        if done > 0:
            self._count += not holds
            self._gathered = self._gathered + 1 if holds else 0
        return done > 0 and not holds


def raise_nonfinite(bad: Mapping[str, int]) -> None:
    """Raise the error that names the parameters whose gradients are not finite."""
    first = next(iter(bad))
    more = f", and of {len(bad) - 1} more" if len(bad) > 1 else ""
    raise FloatingPointError(f"gradient of {first!r}: {bad[first]} elements are infinite or NaN{more}")


FIELDS = {
    "_backend": None, "_bound": None, "_guards": (), "_layout": None, "_busy": False, "_count": 0,
    "_skipped": 0, "_gathered": 0, "_accumulate": 1, "_clears": False, "_raises": False, "_on_device": False,
}  # fmt: skip
if __file__.endswith(".py"):  # plain Python has no fields before a constructor has run
    for name, value in FIELDS.items():
        setattr(Stepper, name, value)

__all__: Sequence[str] = ["FIELDS", "Backend", "Counter", "Stepper"]
