"""Program of a step: the operations on a group's arrays, in order, for every backend; ``program.pxd`` is its twin in C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..spec import RULE_AT, STAGES, SUBTRACT_AT, Spec, place_of

PLACES = {name: k for k, name in enumerate(STAGES)}
HOLD_AT = place_of("accumulates")


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes
    ----------
    kind : {"stage", "check", "rule", "subtract", "empty"}
        A check is a stage that ends with its sums; "empty" zeroes the accumulator of its stage.
    place : tuple of int
        Place among the operations of all groups.
    stage : Spec or None
    takes_wide, gives_wide : bool
        Of a stage that needs the gradient only: takes doubles from the stage before, gives doubles to the next.
    """

    kind: str
    place: tuple[int, int]
    stage: Spec | None = None
    takes_wide: bool = False
    gives_wide: bool = False


def program(stages: Sequence[Spec], values: Mapping[str, float], nonfinite: str, accumulating: bool) -> tuple[Op, ...]:
    """Return the operations of a group.

    Stages with neutral hyperparameters are left out. Compiled kernels merge "subtract" into the rule if no stage changes the
    update. `accumulating`: the gradient only adds to an accumulator.
    """
    on = [s for s in stages if s.runs(accumulating) and not s.neutral(values) and not (accumulating and PLACES[s.name] > HOLD_AT)]
    wide = taken_wide(on, values)
    ops = [] if accumulating else [Op("rule", (RULE_AT, 0)), Op("subtract", (SUBTRACT_AT, 1))]
    for k, stage in enumerate(on):
        is_check = stage.kind == "measures" or (stage.kind == "checks" and nonfinite != "zero")
        place = PLACES[stage.name]
        ops += [Op("check" if is_check else "stage", (place, 2), stage, wide[k], stage.of_gradient and any(wide[k + 1 : k + 2]))]
        ops += [Op("empty", (place, 3), stage)] if stage.kind == "averages" else []
    return tuple(sorted(ops, key=lambda op: op.place))


def taken_wide(on: Sequence[Spec], values: Mapping[str, float]) -> list[bool]:
    """Return for each stage whether it takes the gradient in double; passive stages do so only for the next one."""
    found: list[bool] = []
    takes = False
    for stage in reversed(on):
        takes = stage.of_gradient and not stage.is_loose(values) and (takes or not stage.is_passive)
        found.append(takes)
    return found[::-1]
