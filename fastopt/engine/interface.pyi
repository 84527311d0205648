from typing import Any

CAPSULE: Any

def register(formula: Any) -> None: ...
