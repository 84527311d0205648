"""Compiled code in the user's cache folder: named by all that it was made from, written whole, for its owner alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path


def folder() -> Path | None:
    """Where compiled code is kept, or None where no folder is that nobody else may write to.

    ``FASTOPT_CACHE_DIR`` names another; else it is ``fastopt`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.
    """
    named = os.environ.get("FASTOPT_CACHE_DIR")
    try:
        place = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastopt"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.stat()
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        return None  # code that another user could put there
    return place if os.access(place, os.W_OK) else None


def key(*parts: str | bytes) -> str:
    """The name of what is made from these."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(f"{len(data)}\0".encode() + data)
    return digest.hexdigest()[:40]


def file(name: str, make: Callable[[Path], Path]) -> Path:
    """As `cached`, a file that is loaded from where it lies; `make` is given a folder to work in."""
    place = folder()
    if place is not None and (place / name).exists():
        return place / name
    with tempfile.TemporaryDirectory(dir=place) as own:  # for its owner alone; on the same disk
        made = make(Path(own))
        made.chmod(0o600)
        if place is None:
            place = Path(tempfile.mkdtemp())
            return Path(shutil.copy(made, place / name))
        os.replace(made, place / name)
    return place / name


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """The contents of this file of the cache, made where it is not there yet; two processes at once do no harm."""
    place = folder()
    if place is None:
        return make()
    try:
        return (place / name).read_bytes()
    except OSError:
        pass
    made = make()
    try:
        descriptor, beside = tempfile.mkstemp(dir=place)  # for its owner alone
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
        os.replace(beside, place / name)
    except OSError:
        pass  # it works without
    return made
