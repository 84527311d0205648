"""Changes that are made together: all of them, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import call, setitem
from typing import Any

# Times that changes are made again before giving up.
ATTEMPTS = 100


def make(changes: Iterable[Callable[[], object]]) -> None:
    """Make changes by one call into C: Python runs signal handlers between its own instructions only."""
    deque(map(call, changes), maxlen=0)


def commit(changes: Sequence[Callable[[], object]]) -> None:
    """Make all of these changes, which have been checked; each can be made again.

    For NumPy arrays and dicts, signal handlers run before the first change or after the last one. Where a change is Python itself
    and a handler raises within it, or memory for a small object is short, all are made again; what the handler raised is raised
    at the end. After so many attempts in vain it is raised with some of the changes made.
    """
    interruption: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            make(changes)
            break
        except MemoryError as error:
            shortage = error
        except BaseException as error:
            interruption = error
    else:
        raise interruption or shortage
    if interruption is not None:
        raise interruption


def writing(target: Any, values: Any) -> Callable[[], object]:
    """Return the change that writes numbers, or an array of the same shape, into an array."""
    return partial(setitem, target, ..., values)
