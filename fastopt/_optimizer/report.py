"""The report of a step: norms, clipping, and elements on their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import STAGES, Formula
from .groups import Group

CLIPS = [stage for stage in STAGES.values() if stage.limits and stage.sums]
MEASURES = [stage for stage in STAGES.values() if stage.kind == "measures"]
Totals = Mapping[str, Sequence[Sequence[float]] | None]


def report(optimizer: Any) -> dict[str, Any]:
    """Return what the last step that was made did; see `Optimizer.report`."""
    totals: Totals = {stage.name: optimizer._backend.totals(stage.name) for stage in (*CLIPS, *MEASURES)}
    used = optimizer._backend.hyperparameters()
    members: dict[Group, list[int]] = {group: [] for group in optimizer._groups}
    for i, slot in enumerate(optimizer._slots):
        members[slot.group].append(i)
    groups = []
    for k, (group, places) in enumerate(members.items()):
        numbers = {} if used is None else dict(zip(group.index, used[k], strict=True))
        at = sum(count_at_bounds(optimizer._slots[i]) for i in places)
        said = {"lr": numbers.get("lr"), "clipped": is_clipped(totals, numbers, places), "at_bounds": at}
        groups.append({**said, **norms_of(totals, group.stages, places)})
    return {"steps": optimizer.steps, "skipped": optimizer.skipped, "groups": groups}


def is_clipped(totals: Totals, numbers: Mapping[str, float], places: Sequence[int]) -> bool | None:
    """Return whether a norm of a group was above its limit; None if none was limited."""
    clipped: bool | None = None
    for stage in CLIPS:
        (limit,) = stage.limits
        if (found := totals[stage.name]) and limit in numbers:
            lengths = [norm_of([found[i]]) for i in (places if stage.scope == "over_array" else [0])]
            clipped = bool(clipped) or not all(x <= numbers[limit] for x in lengths)
    return clipped


def norms_of(totals: Totals, stages: Sequence[Formula], places: Sequence[int]) -> dict[str, float | None]:
    """Return a group's norms, from the sums of its stages for each of its parameters; a later stage knows better."""
    norms: dict[str, float | None] = dict.fromkeys(("gradient_norm", "unclipped_norm", "update_norm", "update_ratio"))
    for stage in stages:
        if stage.kind == "measures" and (found := totals[stage.name]):
            norms |= {name: norm_of([found[i][2 * j : 2 * j + 2] for i in places]) for j, name in enumerate(stage.sums)}
    update, parameter = norms["update_norm"], norms.pop("parameter_norm", None)
    return {**norms, "update_ratio": update / parameter if parameter and update is not None else None}


def norm_of(norms: Iterable[Sequence[float]]) -> float:
    """Return the norm of several arrays together, from each one's as a number and a power of two."""
    return math.hypot(*(float(np.ldexp(x, int(exponent))) for x, exponent in norms))


def count_at_bounds(slot: Any) -> int:
    """Return how many elements of a parameter lie on one of its bounds."""
    if "low" not in slot.own:
        return 0
    low, high = (slot.memory.host(slot.own[k])[: 1 if k in slot.constant else None] for k in ("low", "high"))
    value = slot.memory.host(slot.value())
    return int(np.count_nonzero((value <= low) | (value >= high)))
