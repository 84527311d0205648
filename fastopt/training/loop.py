"""Training loop: batches, gradients and steps, and what happens after each epoch.

Whatever raises, and wherever a signal comes, the loop knows which batches the optimizer has had: it takes note of a step before it
is made, and changes what it knows by assignments without a call between them, where no signal handler runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from .._arrays.tree import collect, flatten, unflatten
from .._optimizer import Optimizer
from .._optimizer.state import averages_of, rate_of
from . import restart
from .bar import Bar
from .batches import Arrays, Stream
from .callbacks import Callbacks
from .checkpoint import Checkpoint
from .history import History

Sums = tuple[int, int, float]
EMPTY: Sums = (0, 0, 0.0)
CHUNK = 0.05  # Seconds of a compiled loop until signals are looked at.


class Run:
    """A run of `fit`, as callbacks see it.

    Attributes
    ----------
    params, optimizer
        As given to `fit`.
    epoch : int
        Epochs before the one that runs or, for ``on_epoch``, has just ended: 0 in the first one. For ``on_end`` all epochs.
    epochs : int
        Epochs that were asked for.
    batch : int
        Batches of this epoch so far: 1 for ``on_batch`` after the first one.
    steps : int
        Steps of the optimizer so far.
    loss : float
        For ``on_batch`` the loss of the batch, before its step; for ``on_epoch`` the mean of the epoch; NaN before.
    history : History
        Of the epochs that have ended, for ``on_epoch`` with the one that just has.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        params: Any,
        optimizer: Optimizer,
        data: Arrays | Stream,
        validation: tuple[Callable[..., Any], Arrays | Stream] | None,
        callbacks: Any,
        epochs: int,
        seed: Any,
    ) -> None:
        self.function, self.params, self.optimizer, self.data = function, params, optimizer, data
        self.validation, self.callbacks, self.epochs, self.has_begun = validation, Callbacks(callbacks), epochs, False
        self.regroup = regrouping(params, optimizer)
        self.rng, drawn = restart.generator_of(seed)
        self.draws_seed = seed is None
        self.hyperparameters = restart.hyperparameters(optimizer)
        self.history = History(seed=drawn)
        self.epoch, self.loss, self.sums = 0, math.nan, EMPTY  # Batches, rows and losses of the epoch so far.
        self.seconds = self.began = 0.0  # Of the epoch before `began`.
        self.before: tuple[Any, Sums] = (None, EMPTY)  # The optimizer before the last step, and the sums after it.
        # Of the generator before the order of the epoch, and of another use of it; of the callbacks before the end of the epoch.
        self.order_state: Any = None
        self.generator_state: Any = None
        self.is_drawing = False
        self.generator_before: Any = None
        self.whole_epochs = self.compiled()  # Compiled epochs, if there are any, and whether one has begun.
        self.is_within = False
        self.callback_states: list[Any] | None = None
        self.options: list[dict[str, Any]] = []  # Hyperparameters of each group, like these.

    def __repr__(self) -> str:
        return f"<Run: epoch {self.epoch} of {self.epochs}, batch {self.batch}, {self.steps} steps, loss {self.loss:.6g}>"

    @property
    def batch(self) -> int:
        """Batches of the epoch so far."""
        return self.sums[0]

    @property
    def steps(self) -> int:
        """Steps of the optimizer so far."""
        return self.optimizer.steps

    @property
    def lr(self) -> float:
        """Learning rate of the first group's next step; NaN without one."""
        return rate_of(self.optimizer)

    @property
    def is_over(self) -> bool:
        """True after the last epoch, and once a callback has ended the run."""
        return self.epoch >= self.epochs or self.history.stopped is not None

    @property
    def number(self) -> int:
        """Number of the epoch that runs or has just ended, counted from 1."""
        return self.epoch + (self.batch > 0)

    def go_on(self, history: History, epoch: int, sums: Sums, seconds: float) -> None:
        """Go on from a run that was loaded."""
        self.history, self.epoch, self.sums, self.seconds = history, epoch, sums, seconds

    def compiled(self) -> Any:
        """Return the compiled epochs of an objective that has some for these data and optimizer; else None.

        Such an objective has a method ``epochs(params, arrays, optimizer, batch_size)``; what it returns has
        ``begin(order, *sums)``, ``run(seconds)``, ``sums`` and ``is_ended``. By ``needs_epochs(arrays)`` it says that its gradients
        alone leave something out, by ``is_compiled`` of what it returns that this is worth while.
        """
        make = getattr(self.function, "epochs", None)
        if make is None:
            return None
        arrays = self.data.arrays if isinstance(self.data, Arrays) else None
        is_needed = self.function.needs_epochs(arrays)  # type: ignore[attr-defined]
        if arrays is None or self.callbacks.hooks["on_batch"]:
            if is_needed:
                raise ValueError(f"loss_and_grad: {self.function!r:.60}, expected arrays, and no callback with on_batch")
            return None
        found = make(self.params, arrays, self.optimizer, self.data.size)  # type: ignore[union-attr]
        return found if found.is_compiled or is_needed else None

    def train(self, saves: Checkpoint | None, bar: Bar) -> None:
        """Run the epochs that are left."""
        was_over = self.is_over
        run = self.run_batches if self.whole_epochs is None else self.run_compiled
        while not self.is_over:
            bar.name(self.epoch)
            run(saves, bar)
            if self.history.stopped is None:
                self.end_epoch()
            bar.show(self.history)
            if saves is not None and not self.is_over and saves.is_due(self.epoch):
                saves.write(self.save, self.epoch)
        if saves is not None and not was_over:
            saves.write(self.save, self.number)
        self.has_begun = False  # What ``on_end`` does is not part of the file.
        self.callbacks.call("on_end", self)

    def draw(self) -> Any:
        """Return the order of the epoch; after loading the one that was drawn before."""
        state = self.order_state or self.rng.bit_generator.state
        self.order_state, self.is_drawing = state, True
        self.rng.bit_generator.state = state
        order = self.data.draw(self.rng)
        if self.generator_state is not None:
            self.rng.bit_generator.state = self.generator_state
        self.generator_state, self.is_drawing = None, False
        return order

    def generator_now(self) -> Any:
        """Return the state of the generator; between loading and the order of the epoch that which was loaded."""
        has_drawn = self.generator_state is None and not self.is_drawing
        return self.rng.bit_generator.state if has_drawn else self.generator_state

    def run_batches(self, saves: Checkpoint | None, bar: Bar) -> None:
        """Run the batches that are left of an epoch."""
        function, params, optimizer = self.function, self.params, self.optimizer
        is_timed = saves is not None and saves.seconds is not None
        is_watched = bool(self.callbacks.hooks["on_batch"] or bar.is_shown or is_timed)
        is_shared = self.history.seed is None  # The caller's generator, of which the function may draw too.
        order = self.draw()
        self.began = time.perf_counter()
        for rows, batch in self.data.batches(order, self.sums[0]):
            if is_shared:
                self.generator_before = self.rng.bit_generator.state
            loss, grads = pair_of(function(params, *batch))
            grads = grads if self.regroup is None else self.regroup(grads)
            done, seen, total = self.sums
            after = done + 1, seen + rows, total + loss * rows
            self.before = optimizer._progress(), after
            optimizer.step(grads)
            self.sums, self.generator_before = after, None
            if is_watched:
                self.loss = loss
                bar.update()
                self.callbacks.call("on_batch", self)
                if self.history.stopped is not None:
                    return
                if is_timed and saves is not None and saves.is_due():
                    saves.write(self.save, self.number)

    def run_compiled(self, saves: Checkpoint | None, bar: Bar) -> None:
        """Run the batches that are left of an epoch in compiled code, with a look at signals and the clock from time to time."""
        epochs, order, is_timed = self.whole_epochs, self.draw(), saves is not None and saves.seconds is not None
        chunk = min(CHUNK, max(saves.seconds or 0.0, 1e-3)) if is_timed and saves is not None else CHUNK
        self.began = time.perf_counter()
        epochs.begin(order, *self.sums)
        self.is_within = True
        while not epochs.is_ended:
            before = epochs.sums[0]
            epochs.run(chunk)
            bar.update(epochs.sums[0] - before)
            if is_timed and saves is not None and saves.is_due():
                self.sums = epochs.sums
                saves.write(self.save, self.number)
        sums = epochs.sums
        self.sums, self.is_within = sums, False

    def end_epoch(self) -> None:
        """Record an epoch, and call what is called after it."""
        history, (_, rows, total) = self.history, self.sums
        values = [] if self.validation is None else [mean_loss(self.validation[0], self.averages(), self.validation[1])]
        self.loss = total / rows + (0.0 if self.whole_epochs is None else self.whole_epochs.ending())
        self.options = [dict(group) for group in self.optimizer.groups]
        self.callback_states = self.callbacks.state()
        seconds = self.seconds + time.perf_counter() - self.began
        history.add(self.loss, values, self.lr, seconds, self.steps)
        self.callbacks.call("on_epoch", self)
        self.epoch, self.sums, self.seconds, self.order_state, self.callback_states = self.epoch + 1, EMPTY, 0.0, None, None

    def averages(self) -> Any:
        """Return the averages of the parameters, where the optimizer has some, else the parameters; nested as these."""
        found = averages_of(self.optimizer)
        if found is None:
            return self.params
        return unflatten(flatten(self.params)[0], iter([a for _, a in flatten(found)[1]]))

    def settle(self) -> None:
        """Count the step that was made before an exception came, if it was."""
        before, after = self.before
        if self.is_within:
            self.sums, self.is_within = self.whole_epochs.sums, False
        elif before is not None and after[0] == self.sums[0] + 1 and self.optimizer._progress() != before:
            self.sums, self.generator_before = after, None
        if self.generator_before is not None:
            self.rng.bit_generator.state, self.generator_before = self.generator_before, None  # Of a batch that was given up.
        if self.callback_states is not None:
            # The epoch will be ended again: what callbacks have changed meanwhile is taken back.
            for group, options in zip(self.optimizer.groups, self.options, strict=True):
                group.update({name: x for name, x in options.items() if group[name] is not x})
        if self.sums[0]:
            self.seconds += time.perf_counter() - self.began

    def save(self, path: Any) -> None:
        """Write a restart file."""
        restart.save(self, path)


def regrouping(params: Any, optimizer: Optimizer) -> Callable[[Any], Any] | None:
    """Return the function that nests gradients of `params` as the optimizer's groups are; None where that is the same."""
    (given, leaves), (needed, others) = flatten(params), flatten(optimizer.params)
    if [name for name, _ in leaves] == [name for name, _ in others]:
        return None
    return lambda grads: unflatten(needed, iter(collect(given, grads)))


def pair_of(found: Any) -> tuple[float, Any]:
    """Return loss and gradients from what a function returned, or raise."""
    try:
        loss, grads = found
        number = float(loss)
    except (TypeError, ValueError):
        said = f"returned {found!r:.60}, expected a pair of the loss, a number, and the gradients"
        raise TypeError(f"loss_and_grad: {said}") from None
    if grads is None:
        raise TypeError("loss_and_grad: returned None for the gradients, expected arrays nested like the parameters")
    return number, grads


def mean_loss(loss: Callable[..., Any], params: Any, data: Arrays | Stream) -> float:
    """Return the mean loss over batches, weighted by their rows."""
    seen, total = 0, 0.0
    for rows, batch in data.batches(None, 0):
        found = loss(params, *batch)
        value = found[0] if isinstance(found, (tuple, list)) else found
        try:
            total += float(value) * rows
        except (TypeError, ValueError):
            raise TypeError(f"loss: returned {value!r:.60}, expected a number") from None
        seen += rows
    return total / seen
