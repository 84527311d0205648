"""An optimizer divided among the processes of MPI: each steps a span of packed parameters and has the state of that alone."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from .._arrays import dtypes
from .._arrays.packing import Packed, numbers_for
from .._optimizer.array_options import find_caller
from ..domains import whole as whole_number
from ..extras import imported
from . import batches, checkpoint
from .batches import Arrays
from .collectives import Exchange, OtherRank, SumExchange, agree, digest_of

PER_RANK = 4  # Micro-batches of a process, at least, unless their number is given.


class Sharded:
    """Step packed parameters with all processes of MPI: each has the state of one span, and all have all parameters.

    With `microbatches`, gradients are added in one fixed order, so that parameters have the same bits for any number of processes.
    What all decide together (clipping by norm, steps that are skipped) is computed from exact sums.

    Parameters
    ----------
    cls : class of optimizers
        ``fastopt.AdamW``, ..., or the ``Optimizer`` of a rule.
    packed : Packed
        From `fastopt.pack`: the same values in all processes. Updated in place, everywhere.
    comm : mpi4py communicator, optional
        ``MPI.COMM_WORLD`` by default.
    microbatches : int or None, optional
        Number of gradients whose mean makes a step, for any number of processes; each adds those of `mine`. Default: the power of
        two that is at least four times the number of processes; `load` takes that of a checkpoint. None: one gradient for each
        process, added in the order of the MPI library, which depends on their number.
    whole : bool or sequence of str, default ()
        Names of parameters that are not divided, True for all: rules such as LAMB, LARS, Adafactor and Muon need it, and
        ``clip_norm``.
    **options
        Arguments of `cls`, the same in all processes.

    Attributes
    ----------
    optimizer : Optimizer
        That of this process's span.
    span : (int, int)
        First place of it in the packed parameters, and the one after its last.
    mine : range
        Numbers of the micro-batches that this process computes.

    Raises
    ------
    ImportError
        Without mpi4py, an extra: ``pip install 'fastopt[mpi]'``.
    TypeError, ValueError
        As `cls`, and if processes differ in parameters or options; in all processes.

    Warns
    -----
    RuntimeWarning
        If the program was not started by ``python -m mpi4py``: an exception in one process then makes the others wait for ever.

    Notes
    -----
    State and updates are divided as in ZeRO, stage 1 (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054). Gradients must
    be reproducible themselves: matrix products may have other bits for arrays that are not aligned, such as those received from
    other processes, which ``np.require(x, requirements="A")`` copies.

    Examples
    --------
    Started by ``mpiexec -n 4 python -m mpi4py program.py``:

    >>> import numpy as np, fastopt as fo, fastopt.mpi
    >>> packed = fo.pack({"w": np.zeros(1000), "b": np.zeros(10)})
    >>> opt = fo.mpi.Sharded(fo.AdamW, packed, lr=1e-2, clip_global_norm=1.0, microbatches=8)
    >>> for step in range(3):
    ...     for k in opt.mine:
    ...         w, b = packed.tree["w"], packed.tree["b"]
    ...         opt.add(k, {"w": w - np.cos(k), "b": b - 1.0})
    ...     opt.step()
    True
    True
    True
    """

    def __init__(
        self, cls: Any, packed: Packed, comm: Any = None, *, microbatches: Any = "auto", whole: Any = (), **options: Any
    ) -> None:
        mpi = imported("fastopt.mpi", "mpi", "mpi4py.MPI")
        self.comm = mpi.COMM_WORLD if comm is None else comm
        self.packed = packed
        error: Exception | None = None
        said: dict[str, str] = {}
        try:
            said = self._construct(cls, whole, microbatches, options)
        except Exception as caught:
            error = caught
        for rank, other in enumerate(found := agree(self.comm, error, said)):
            if differing := [name for name, x in other.items() if x != found[0].get(name)]:
                raise ValueError(f"{differing[0]}: of rank {rank}, others than of rank 0, expected the same in all processes")
        self.exchange.spread()  # What has been moved between bounds.
        if self.comm.size > 1 and self.comm.rank == 0 and "mpi4py.run" not in sys.modules:
            what = "an exception in one process makes the others wait for ever, unless programs are started by python -m mpi4py"
            warnings.warn(what, RuntimeWarning, stacklevel=find_caller())

    def _construct(self, cls: Any, whole: Any, microbatches: Any, options: dict[str, Any]) -> dict[str, str]:
        """Make the optimizer of this span; return what all processes must have alike."""
        if not isinstance(self.packed, Packed):
            raise TypeError(f"packed: {type(self.packed).__name__}, expected what fastopt.pack(params) makes")
        if named := [name for name in ("span", "accumulate") if name in options]:
            raise TypeError(f"{named[0]}: of one process, expected microbatches")
        spans = self.packed.cut(self.comm.size, whole=whole)
        self.span = spans[self.comm.rank]
        digest = digest_of(self.packed)
        self.optimizer = cls(self.packed, span=self.span, **options)
        buffers = self.packed.flat if isinstance(self.packed.flat, dict) else {self.packed.flat.dtype: self.packed.flat}
        working = [dtypes.widened(dtypes.plain(a[:0])).dtype for a in buffers.values()]
        self.exchange = Exchange(self.comm, self.packed, spans, working)
        self._given = microbatches
        self._lengths = [len(a) for a in buffers.values()]
        self._keys = list(buffers)
        self._free: list[Arrays] = []
        self.restart(self.count_of(None))
        settings = {k: x for k, x in vars(self.optimizer._settings).items() if k not in ("span", "threads")}
        return {
            "class": cls.__name__,
            "parameters": digest,
            "whole": f"{spans}",
            "microbatches": f"{self.microbatches}",
            "options": f"{settings} {[group.to_json() for group in self.optimizer.groups]}",
        }

    def count_of(self, saved: int | None) -> int | None:
        """Return the number of micro-batches, that of a checkpoint if none was given; raise if it is another."""
        if self._given is None or isinstance(self._given, str):
            if self._given not in (None, "auto"):
                raise ValueError(f"microbatches: {self._given!r}, expected a number, 'auto', or None for any order")
            return None if self._given is None else saved or 1 << (PER_RANK * self.comm.size - 1).bit_length()
        count = whole_number(self._given)
        if count is None or count < 1:
            raise ValueError(f"microbatches: {self._given!r}, expected a whole number of at least 1, 'auto' or None")
        if saved not in (None, count):
            raise ValueError(f"microbatches: {count}, expected {saved}, as in the checkpoint, or 'auto'")
        return count

    def restart(self, count: int | None) -> None:
        """Begin a step of so many micro-batches; what was added is dropped."""
        self.microbatches = count
        self.mine = (
            range(self.comm.rank, self.comm.rank + 1) if count is None else batches.shares(count, self.comm.size)[self.comm.rank]
        )
        self._begin()

    def _begin(self) -> None:
        self._next = self.mine.start
        self._sum = batches.TreeSum(self.microbatches or self.comm.size)

    @property
    def steps(self) -> int:
        """Number of updates so far."""
        return self.optimizer.steps  # type: ignore[no-any-return]

    @property
    def lr(self) -> Any:
        """Learning rate of the next step. Assign the same one in all processes."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: Any) -> None:
        self.optimizer.lr = value

    def __repr__(self) -> str:
        return f"<{self.comm.size} processes, {self.microbatches} micro-batches, {self.optimizer!r}>"

    def add(self, k: int, grads: Any) -> None:
        """Add the gradient of a micro-batch.

        Parameters
        ----------
        k : int
            Its number: those of `mine`, in their order.
        grads : nested as what was packed, or array of one axis like ``packed.flat``
            It is copied, in the precision of the parameters, float32 for those of 16 bits.

        Raises
        ------
        TypeError, ValueError
            If it has another form, or it is another micro-batch's turn. Nothing has changed.
        """
        if k != self._next or k not in self.mine:
            turn = f"micro-batch {self._next}" if self._next in self.mine else "step()"
            raise ValueError(f"add: micro-batch {k!r} of rank {self.comm.rank}, expected {turn}")
        arrays = self._free.pop() if self._free else self._new()
        flat: Any = arrays[0] if len(arrays) == 1 else dict(zip(self._keys, arrays, strict=True))
        try:
            if isinstance(grads, np.ndarray) and grads.ndim == 1 and (self.packed.is_nested or grads.shape == arrays[0].shape):
                self.packed._checked("grads", grads)
                np.copyto(arrays[0], numbers_for("grads", grads, arrays[0]))
            else:
                self.packed.gather(grads, flat)
        except BaseException:
            self._free.append(arrays)
            raise
        self._free += self._sum.add((k, k + 1), arrays)
        self._next = k + 1

    def _new(self) -> Arrays:
        return [np.empty(length, dtype) for length, dtype in zip(self._lengths, self.exchange.working, strict=True)]

    def step(self) -> bool:
        """Update the parameters, in all processes, by the mean of the gradients that all have added. Collective.

        Returns
        -------
        bool
            As `Optimizer.step`, the same in all processes.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `Optimizer.step`, and if a micro-batch is missing. Nothing has changed anywhere, and the other processes raise, too:
            in them, RuntimeError names the rank. Gradients are dropped, unless one was missing. A failure in the middle of an
            exchange ends all processes by ``MPI_Abort``.
        """
        error = None
        if self._next in self.mine:
            error = ValueError(f"step: without micro-batch {self._next} of rank {self.comm.rank}, expected add() before")
        agree(self.comm, error)
        exchange = SumExchange(self.comm)
        try:
            pieces, scale = self._mean()
        except BaseException:
            self._abort()
        try:
            done: bool = self.optimizer.step(pieces, scale=scale, sums=exchange)
        except OtherRank:
            self._begin()
            raise
        except BaseException as caught:
            self._begin()
            if not exchange.talked and isinstance(caught, Exception):
                agree(self.comm, caught)
            if isinstance(caught, FloatingPointError):
                raise
            self._abort()
        self._begin()
        if done:
            self.exchange.spread()
        return done

    def _abort(self) -> NoReturn:
        """End all processes: this one failed where the others wait for it."""
        traceback.print_exc()
        sys.stderr.flush()
        self.comm.Abort(1)
        os._exit(1)

    def _mean(self) -> tuple[Any, float]:
        """Exchange gradients; return those of this span, and the factor that makes them a mean."""
        own = [arrays for _, arrays in self._sum.nodes]
        count = self.microbatches
        total = self.exchange.sum_in_any_order(own[0]) if count is None else self.exchange.sum_of_all(own, count)
        self._free += own
        number, scale = count or self.comm.size, 1.0
        if number.bit_count() == 1:
            scale = 1 / number  # The same bits as a division, in the step's own pass.
        else:
            with np.errstate(all="ignore"):
                for a in total:
                    np.divide(a, a.dtype.type(number), out=a)
        x: Any = total[0] if len(total) == 1 else dict(zip(self._keys, total, strict=True))
        return self.packed.pieces(x, self.span), scale

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint: a folder with a file of each process, and a manifest that names them. Collective.

        The manifest is replaced once all files are written and synced, so that a folder always has a whole checkpoint: a kill
        leaves the former one.

        Parameters
        ----------
        path : path
            The folder, which all processes see.
        extra : mapping of str, optional
            The user's own values, of rank 0.

        Raises
        ------
        TypeError, ValueError, OSError, RuntimeError
            In all processes, if one cannot write. The former checkpoint is still there.
        """
        checkpoint.save(self, path, extra)

    def load(self, path: str | os.PathLike[str], *, hyperparameters: Any = None) -> dict[str, Any]:
        """Load a checkpoint of any number of processes, or a file of `Optimizer.save`. Collective.

        `Optimizer.load` reads the folder, too.

        Parameters
        ----------
        path : path
        hyperparameters
            As in `Optimizer.load`.

        Returns
        -------
        dict
            The user's own values.

        Raises
        ------
        TypeError, ValueError, OSError, RuntimeError
            In all processes, if it does not fit in one. Nothing has changed.
        """
        return checkpoint.load(self, path, hyperparameters)
