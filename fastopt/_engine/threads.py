"""Number of threads that the system allows: processors, affinity and container quotas."""

from __future__ import annotations

import os
from pathlib import Path


def quota(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the number of processors that the container's quota allows (cgroup v2 with its parents, and v1), or None."""
    allowed = []
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = root / ("cpu" if "cpu" in controllers.split(",") else "") / path.lstrip("/")
        for place in (folder, *folder.parents):
            try:
                if controllers == "":
                    limit, period = (place / "cpu.max").read_text().split()
                else:
                    limit, period = ((place / f"cpu.cfs_{x}_us").read_text() for x in ("quota", "period"))
                if limit != "max" and int(limit) > 0:
                    allowed.append(max(1, round(int(limit) / int(period))))
            except (OSError, ValueError):
                continue
    return min(allowed, default=None)


def limit() -> int:
    """Return the default limit of threads; 0 if ``OMP_NUM_THREADS`` sets it."""
    if os.environ.get("OMP_NUM_THREADS"):
        return 0
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, quota() or processors)
