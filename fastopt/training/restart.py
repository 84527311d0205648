"""Restart files of a training loop: what it adds to an optimizer's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optimizer import checkpoint, files
from ..domains import whole
from .checkpoint import check_settings, is_function

if TYPE_CHECKING:
    from .callbacks import Callbacks
    from .loop import Run

KEY = "training"


def generator_of(seed: Any) -> tuple[np.random.Generator, int | None]:
    """Return the generator of a seed, and the seed: one that is drawn for None, none for a generator of the caller's."""
    if isinstance(seed, np.random.Generator):
        return seed, None
    number = int(np.random.SeedSequence().entropy) if seed is None else whole(seed)  # type: ignore[arg-type]
    if number is None or number < 0:
        raise TypeError(f"seed: {seed!r:.60}, expected a whole number of at least 0, a numpy.random.Generator or None")
    return np.random.default_rng(number), number


def settings(run: Run, callbacks: Callbacks) -> dict[str, Any]:
    """Return what a run must have in common with the one that was saved."""
    kept = [type(x).__name__ for x in callbacks.with_state]
    return {**run.data.settings, "seed": run.history.seed, "callbacks": kept, "validation": run.validation is not None}


def hyperparameters(optimizer: Any) -> list[dict[str, Any]]:
    """Return the hyperparameters of each group by name, as a file holds them."""
    return [{name: x for name, x in group.to_json().items() if name in optimizer.defaults} for group in optimizer.groups]


def save(run: Run, path: Any) -> None:
    """Write a restart file."""
    kept = {
        "settings": settings(run, run.callbacks),
        "hyperparameters": run.hyperparameters,
        "epoch": run.epoch,
        "sums": list(run.sums),
        "seconds": run.seconds,
        "order": run.order_state,
        "generator": run.generator_now(),
        "history": run.history.state(run.epoch) | ({} if run.callback_states is None else {"stopped": None}),
        "callbacks": run.callback_states or run.callbacks.state(),
    }
    run.optimizer.save(path, extra={KEY: kept})


def load(run: Run, path: Any) -> None:
    """Go on from a restart file, or raise if it is of another run."""
    meta, arrays = files.read(path)
    with checkpoint.malformed(f"{path}"):
        found = files.unpacked(meta["extra"], arrays)
        if KEY not in found:
            raise ValueError(f"{path}: a file of an optimizer or a minimization, expected one of training.fit")
        kept = found[KEY]
        here = settings(run, run.callbacks)
        if run.draws_seed:
            here["seed"] = kept["settings"]["seed"]
        check_settings(
            f"{path}", {**kept["settings"], **numbered(kept["hyperparameters"])}, {**here, **numbered(run.hyperparameters)}
        )
        sums = int(kept["sums"][0]), int(kept["sums"][1]), float(kept["sums"][2])
        if int(kept["epoch"]) > run.epochs:
            raise ValueError(
                f"{path}: {kept['epoch']} epochs, here epochs={run.epochs}; expected as many at least, or another file"
            )
        for state in (kept["order"], kept["generator"]):
            if state is not None and state["bit_generator"] != run.rng.bit_generator.state["bit_generator"]:
                raise ValueError(f"{path}: a generator of {state['bit_generator']}, expected the same kind of seed")
        epoch, seconds, history = int(kept["epoch"]), float(kept["seconds"]), type(run.history)(seed=here["seed"])
        history.restore(kept["history"])
        history.stopped = run.history.stopped or history.stopped  # ``on_begin`` may have ended the run.
    # What a callback has changed is restored; functions cannot be.
    given: Mapping[str, Any] = {
        name: any(is_function(group.get(name)) for group in run.hyperparameters) for name in run.optimizer.defaults
    }
    run.optimizer.load(path, hyperparameters={name: "keep" if is_fixed else "restore" for name, is_fixed in given.items()})
    run.go_on(history, epoch, sums, seconds)
    run.order_state, run.generator_state = kept["order"], kept["generator"]
    if run.order_state is None:
        run.rng.bit_generator.state, run.generator_state = run.generator_state, None
    run.callbacks.restore(kept["callbacks"])


def numbered(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the hyperparameters of groups by name, and by the number of the group if there are several."""
    if len(groups) == 1:
        return groups[0]
    return {f"{name} of group {k}": x for k, group in enumerate(groups) for name, x in group.items()}
