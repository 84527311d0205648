from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from .._arrays.tree import Structure
from .stepper import Backend

POLICIES: tuple[str, ...]

@disjoint_base
class Plan(Backend):
    capsule: Any
    structure: Structure | None
    slots: list[Any]
    groups: list[Any]
    def __init__(self, structure: Structure | None, slots: list[Any], groups: list[Any], settings: Any, capsule: Any) -> None: ...

@disjoint_base
class Update:
    def __init__(self, capsule: Any, formula: Any) -> None: ...
    def step(
        self, given: tuple[Any, ...], t: Any, hyperparameters: tuple[Any, ...], out: Any, kept: tuple[float, ...] = ()
    ) -> tuple[Any, ...]: ...

def compiler() -> str: ...
def exchange_of(kind: type) -> Any: ...
def isa(table: Any) -> str: ...
def openmp() -> bool: ...
def processor() -> list[str]: ...
def simulate(
    serial: Callable[[int], float], parallel: Callable[[int], float], steps: int, other: bool
) -> tuple[list[bool], float]: ...
def threads() -> int: ...
