from typing import Any

from typing_extensions import disjoint_base

@disjoint_base
class Update:
    def __init__(self, capsule: Any, formula: Any) -> None: ...
    def step(
        self, given: tuple[Any, ...], t: Any, hyperparameters: tuple[Any, ...], out: Any, carry: tuple[float, ...] = ()
    ) -> tuple[Any, ...]: ...
