"""Copies of an optimizer, by `copy`, `pickle` and whatever uses them."""

from __future__ import annotations

import copy
from typing import Any

from .._arrays.packing import Packed
from .._engine import dispatch
from .._engine.stepper import FIELDS
from . import checkpoint, loading
from .by_name import joined
from .options import ARRAY_OPTIONS

OWN = ("_places", "_memory", "_packed", "last_load")  # Attributes that a copy does not take over.


def pickled(optimizer: Any) -> dict[str, Any]:
    """Return all that `unpickle` needs."""
    return {
        "params": optimizer.params if optimizer._packed is None else optimizer._packed,
        "grouped": optimizer._grouped,
        "groups": given(optimizer),
        "now": [dict(group.options) for group in optimizer._groups],
        "saved": checkpoint.state_of(optimizer),
        "bound": optimizer._bound_list(),
        "attributes": {k: v for k, v in vars(optimizer).items() if k not in FIELDS and k not in OWN},
    }


def given(optimizer: Any) -> list[dict[str, Any]]:
    """Return the options of each group that was given, as they were chosen."""
    found: dict[int, list[Any]] = {}
    for group in optimizer._groups:
        names = [name.removeprefix(f"{group.origin}/") if optimizer._grouped else name for name in group.parameters]
        found.setdefault(group.origin, []).append((group.chosen, names))
    return [joined(parts) for parts in found.values()]


def unpickle(optimizer: Any, state: dict[str, Any]) -> None:
    """Make an optimizer, which was created without its constructor, a copy."""
    vars(optimizer).update(state["attributes"])
    params = state["params"]
    params = copy.copy(params) if isinstance(params, Packed) else dispatch.memory_of(params).private_copies(params)
    optimizer._build(params, state["groups"], state["grouped"], start=False)
    for group, now in zip(optimizer.groups, state["now"], strict=True):
        group.update({k: x for k, x in now.items() if k not in ARRAY_OPTIONS})
    optimizer._commit(lambda: loading.plan_load(optimizer, state["saved"], None, lambda name: "keep")[0])
    if state["bound"] is not None:
        bound = state["bound"]
        optimizer._bind_list(optimizer._memory.private_copies(bound) if optimizer._settings.zero_grads else bound)
