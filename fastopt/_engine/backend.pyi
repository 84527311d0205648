from typing import Any

from .._arrays.tree import Structure
from .stepper import Backend

KINDS: tuple[str, ...]

class CompiledBackend(Backend):
    def __init__(
        self, structure: Structure | None, parameters: list[Any], groups: list[Any], settings: Any, capsule: Any
    ) -> None: ...
