"""Program: what a step does with a group's arrays, in order. Every backend carries it out; ``program.pxd`` is the twin in C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..spec import RULE_AT, STAGES, SUBTRACT_AT, Formula, place_of

PLACES = {name: k for k, name in enumerate(STAGES)}
HOLD_AT = place_of("accumulates")


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes
    ----------
    kind : {"stage", "check", "rule", "subtract", "empty"}
        A check is a stage that has had its sums and does nothing more; "empty" clears the own arrays of its stage.
    place : tuple of int
        Where it comes among the operations of all groups.
    stage : Formula or None
    takes_wide, gives_wide : bool
        Of a stage of the gradient alone: whether it goes on in double with what the one before gives, and the next does so.
    """

    kind: str
    place: tuple[int, int]
    stage: Formula | None = None
    takes_wide: bool = False
    gives_wide: bool = False


def program(stages: Sequence[Formula], values: Mapping[str, float], nonfinite: str, holds: bool) -> tuple[Op, ...]:
    """Return the operations of a group with these stages and values of hyperparameters.

    `holds`: the gradient is held for a step to come. Stages whose hyperparameters are neutral are left out. The update is
    subtracted by an operation of its own; kernels leave that to the rule where nothing shapes the update.
    """
    on = [s for s in stages if s.runs(holds) and not s.neutral(values) and not (holds and PLACES[s.name] > HOLD_AT)]
    wide = taken_wide(on, values)
    ops = [] if holds else [Op("rule", (RULE_AT, 0)), Op("subtract", (SUBTRACT_AT, 1))]
    for k, stage in enumerate(on):
        is_check = stage.kind == "measures" or (stage.kind == "checks" and nonfinite != "zero")
        place = PLACES[stage.name]
        ops += [Op("check" if is_check else "stage", (place, 2), stage, wide[k], stage.of_gradient and any(wide[k + 1 : k + 2]))]
        ops += [Op("empty", (place, 3), stage)] if stage.kind == "averages" else []
    return tuple(sorted(ops, key=lambda op: op.place))


def taken_wide(on: Sequence[Formula], values: Mapping[str, float]) -> list[bool]:
    """Return which stages take the gradient in double: those of it alone; passive ones take it as the next does."""
    found: list[bool] = []
    takes = False
    for stage in reversed(on):
        takes = stage.of_gradient and not stage.is_loose(values) and (takes or not stage.is_passive)
        found.append(takes)
    return found[::-1]
