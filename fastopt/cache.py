"""Compiled code in the user's cache folder: named by all that it was made from, written whole, for its owner alone."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path


def folder() -> Path | None:
    """Where compiled code is kept, or None where no folder is that nobody else may write to.

    ``FASTOPT_CACHE_DIR`` names another, and a warning says that it does not serve; else it is ``fastopt`` in ``XDG_CACHE_HOME``, or
    in ``~/.cache``.
    """
    named = os.environ.get("FASTOPT_CACHE_DIR")
    found = private(named)
    if named and found is None:
        said = "expected a folder that its owner alone may write to; what is compiled is not kept"
        warnings.warn(f"FASTOPT_CACHE_DIR: {named}, {said}", RuntimeWarning, stacklevel=4)
    return found


def private(named: str | None) -> Path | None:
    """The folder, made if need be; None where it cannot be, or others could put code there."""
    try:
        place = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastopt"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.stat()
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        return None  # code that another user could put there
    return place if os.access(place, os.W_OK) and not any(map(everybodys, place.resolve().parents)) else None


def everybodys(place: Path) -> bool:
    """Whether anybody may put another folder into the place of one in here; not in ``/tmp``, whose owners alone may."""
    mode = place.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


@functools.cache
def own() -> tempfile.TemporaryDirectory[str]:
    """A folder of this process, where there is no cache; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="fastopt")


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
    place = place or Path(own().name)
    with tempfile.TemporaryDirectory(dir=place) as work:  # for its owner alone; on the same disk
        made = make(Path(work))
        made.chmod(0o600)
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
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=place) as work:  # it works without
        (Path(work) / name).write_bytes(made)
        (Path(work) / name).chmod(0o600)
        os.replace(Path(work) / name, place / name)
    return made
