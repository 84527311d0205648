"""Restart files of minimisations: what the loop adds to an optimizer's file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optimizer import checkpoint, files
from ..training.checkpoint import check_settings, is_function
from .criteria import CALLBACK, EVALUATIONS, GO_ON, ITERATIONS, PROGRESS, SECONDS

if TYPE_CHECKING:
    from .minimizer import Minimizer

KEY = "minimizer"
ARRAYS = ("jac", "gradient", "best_x", "best_jac", "previous")


def settings(m: Minimizer) -> dict[str, Any]:
    """Return what a run must have in common with the one that was saved."""
    box = {"low": m._box.low, "high": m._box.high, "x_scale": m._box.scale}
    given = {name: x for name, x in m._given.items() if name != "bounds"}
    method = {"method": type(m.optimizer).__name__}
    return {**method, **m._criteria.settings(), **given, **box, "x0": m._first}


def save(m: Minimizer, path: Any, extra: Mapping[str, Any] | None) -> None:
    """Write a restart file; see `Minimizer.save`."""
    progress = dict(zip(PROGRESS.names or (), m._judge.progress.item(), strict=True))
    kept = {
        "settings": settings(m),
        "progress": progress,
        "arrays": {name: getattr(m._judge, name) for name in ARRAYS},
        "counts": [m.nfev, m.njev],
        "seconds": m.seconds,
        "final": m._final,
        "ended": m._reason != GO_ON,
        "average": None if m._average is None else list(m._average),
        "record": m._record.state(),
        "callback": None if m._callback_state is None else m._callback_state.state_dict(),
    }
    m.optimizer.save(path, extra={KEY: kept, "extra": dict(extra or {})})


def load(m: Minimizer, path: Any) -> dict[str, Any]:
    """Load a restart file; see `Minimizer.load`."""
    meta, arrays = files.read(path)
    with checkpoint.malformed(f"{path}"):
        found = files.unpacked(meta["extra"], arrays)
        if KEY not in found:
            raise ValueError(f"{path}: a file of an optimizer, expected one of a minimization")
        kept, extra = found[KEY], dict(found["extra"])
        check_settings(f"{path}", kept["settings"], settings(m))
        record = np.array(tuple(kept["progress"][name] for name in PROGRESS.names or ()), PROGRESS)
        values = {name: like(path, name, kept["arrays"][name], m._first) for name in ARRAYS}
        counts, seconds, average = [int(n) for n in kept["counts"]], float(kept["seconds"]), kept["average"]
    if m._callback_state is not None and kept["callback"] is not None:
        m._callback_state.load_state_dict(kept["callback"])
    # What a callback has changed is restored; functions cannot be.
    functions = {name for name, x in m._given.items() if is_function(x)}
    m.optimizer.load(path, hyperparameters={name: "keep" if name in functions else "restore" for name in m._given})
    for name, a in values.items():
        getattr(m._judge, name)[...] = a
    m._judge.progress[...] = record
    m.nfev, m.njev = counts
    m._began = time.perf_counter() - seconds
    m._average, m._final = None if average is None else tuple(average), bool(kept["final"])
    m._record.restore(kept["record"])
    go_on(m, int(record["reason"]), bool(kept["ended"]))
    return extra


def like(path: Any, name: str, found: Any, x: np.ndarray) -> np.ndarray:
    """Return an array of a file, or raise if it does not fit."""
    if not isinstance(found, np.ndarray) or found.shape != x.shape or found.dtype != x.dtype:
        raise ValueError(f"{path}: {name}, expected an array of shape {x.shape} and {x.dtype}")
    return found


def go_on(m: Minimizer, reason: int, ended: bool) -> None:
    """Go on from a file: after a limit that is a wider one now, and from a point that was judged and no more."""
    criteria, judge = m._criteria, m._judge
    limits = {ITERATIONS: (m.nit, criteria.maxiter), EVALUATIONS: (m.nfev, criteria.maxfun), SECONDS: (m.seconds, criteria.maxtime)}
    wider = {name: most is None or count < most for name, (count, most) in limits.items()}
    if ended and {**wider, CALLBACK: True}.get(reason, False):
        m._average, m._final, m._reason, m._running = None, False, GO_ON, True
        judge.progress["reason"] = GO_ON
        m.optimizer.step()
    elif ended:
        m._reason, m._running = reason, m._final
    else:
        m._reason, m._running = GO_ON, True
        if judge.progress["judged"] == m.nit:
            judge.progress["reason"] = GO_ON if wider.get(reason, False) else reason
            m._decide(int(judge.progress["reason"]))
