"""Pictures: matplotlib, where it is installed."""

from __future__ import annotations

from typing import Any


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or raise the ImportError that names the extra."""
    try:
        from matplotlib import pyplot as found
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install 'fastopt[plot]'") from error
    return found
