"""Report of a step: norms, clipping, and elements on bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..domains import check_bool
from ..spec import STAGES, Spec
from .groups import Group

CLIPS = [stage for stage in STAGES.values() if stage.limits and stage.sums]
MEASURES = [stage for stage in STAGES.values() if stage.kind == "measures"]
Totals = Mapping[str, Sequence[Sequence[float]] | None]


def report(optimizer: Any, flat: Any = False, per_parameter: Any = False) -> dict[str, Any]:
    """Return a summary of the last completed step; see `Optimizer.report`."""
    flat, per_parameter = check_bool("flat", flat), check_bool("per_parameter", per_parameter)
    totals: Totals = {stage.name: optimizer._backend.totals(stage.name) for stage in (*CLIPS, *MEASURES)}
    used = optimizer._backend.last_hyperparameters()
    members: dict[Group, list[int]] = {group: [] for group in optimizer._groups}
    for i, parameter in enumerate(optimizer._parameters):
        members[parameter.group].append(i)
    groups = []
    for k, (group, places) in enumerate(members.items()):
        numbers = {} if used is None else dict(zip(group.index, used[k], strict=True))
        at = sum(count_at_bounds(optimizer._parameters[i]) for i in places)
        said = {"lr": numbers.get("lr"), "clipped": is_clipped(totals, numbers, places), "at_bounds": at}
        groups.append({**said, **norms_of(totals, group.stages, places)})
    found = {"steps": optimizer.steps, "skipped": optimizer.skipped, "groups": groups}
    if per_parameter:
        each = enumerate(optimizer._parameters)
        found["parameters"] = {parameter.name: norms_of(totals, parameter.group.stages, [i]) for i, parameter in each}
    return flattened(found) if flat else found


def flattened(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary with one level, without what is unknown; numbers of several groups have the group's in front."""
    groups = found["groups"]
    rows: dict[str, Any] = {"steps": found["steps"], "skipped": found["skipped"]}
    for k, group in enumerate(groups):
        rows |= {name if len(groups) == 1 else f"{k}/{name}": x for name, x in group.items()}
    for parameter, norms in found.get("parameters", {}).items():
        rows |= {f"{parameter}/{name}": x for name, x in norms.items()}
    return {name: x for name, x in rows.items() if x is not None}


def is_clipped(totals: Totals, numbers: Mapping[str, float], places: Sequence[int]) -> bool | None:
    """Return True if a norm of a group exceeded its limit; None without a limit."""
    clipped: bool | None = None
    for stage in CLIPS:
        (limit,) = stage.limits
        if (found := totals[stage.name]) and limit in numbers:
            lengths = [norm_of([found[i]]) for i in (places if stage.scope == "over_array" else [0])]
            clipped = bool(clipped) or not all(x <= numbers[limit] for x in lengths)
    return clipped


def norms_of(totals: Totals, stages: Sequence[Spec], places: Sequence[int]) -> dict[str, float | None]:
    """Return a group's norms from the sums of its stages; later stages override earlier ones."""
    norms: dict[str, float | None] = dict.fromkeys(("gradient_norm", "unclipped_norm", "update_norm", "update_ratio"))
    for stage in stages:
        if stage.kind == "measures" and (found := totals[stage.name]):
            norms |= {name: norm_of([found[i][2 * j : 2 * j + 2] for i in places]) for j, name in enumerate(stage.sums)}
    update, parameter = norms["update_norm"], norms.pop("parameter_norm", None)
    return {**norms, "update_ratio": update / parameter if parameter and update is not None else None}


def norm_of(norms: Iterable[Sequence[float]]) -> float:
    """Return the common norm of several arrays, whose norms are numbers with powers of two."""
    return math.hypot(*(float(np.ldexp(x, int(exponent))) for x, exponent in norms))


def count_at_bounds(parameter: Any) -> int:
    """Return the number of a parameter's elements that are on a bound."""
    if "low" not in parameter.stage_arrays:
        return 0
    low, high = (
        parameter.memory.host(parameter.stage_arrays[k])[: 1 if k in parameter.scalar_arrays else None] for k in ("low", "high")
    )
    value = parameter.memory.host(parameter.value())
    return int(np.count_nonzero((value <= low) | (value >= high)))
