"""Pictures: matplotlib, where it is installed."""

from __future__ import annotations

from typing import Any

from .extras import imported


def axes_of(given: Any) -> Any:
    """Return the axes to draw on: those that were given, or new ones for None."""
    return pyplot().figure().add_subplot() if given is None else given


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or raise the ImportError that names the extra."""
    return imported("plot", "plot", "matplotlib.pyplot")
