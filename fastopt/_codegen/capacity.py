"""Sizes and codes of ``include/capacity.h`` as attributes, without ``FO_``: ``capacity.BLOCK``."""

import re
from pathlib import Path

HEADER = Path(__file__).parents[1] / "include" / "capacity.h"


def read(text: str) -> dict[str, int]:
    """Return the entries of a header's enums by name. Values are sums and products of numbers and earlier names."""
    found: dict[str, int] = {}
    for body in re.findall(r"enum \{(.*?)\}", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL), re.DOTALL):
        following = 0
        for entry in filter(str.strip, body.split(",")):
            name, _, value = (part.strip() for part in entry.partition("="))
            found[name] = int(eval(value, {}, found)) if value else following
            following = found[name] + 1
    return found


globals().update({name.removeprefix("FO_"): value for name, value in read(HEADER.read_text()).items()})


def __getattr__(name: str) -> int:
    raise AttributeError(f"{HEADER.name} has no FO_{name}")
