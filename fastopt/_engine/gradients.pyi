from typing import Any

__pyx_capi__: dict[str, object]

def exchange_of(kind: type) -> Any: ...
