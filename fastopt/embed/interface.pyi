from typing import Any

CAPSULE: Any
__pyx_capi__: dict[str, Any]

def register(formula: Any) -> None: ...
