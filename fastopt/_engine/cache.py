"""Compiled code in the user's cache folder: named by all that it was made from, verified when it is read, for its owner alone.

Beside each file lies the digest of its contents. A file that does not verify, since it is damaged or others could have written it,
is made again; files that nobody has used for long are removed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

MOST = 512 << 20  # bytes that are kept
LONG = 180 * 86400.0  # seconds without use after which a file goes; what a killed process left behind, after a day


def folder() -> Path | None:
    """Return where compiled code is kept, or None where no folder is that nobody else may write to.

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
    """Return the folder, made if need be; None where it cannot be, or others could put code there."""
    try:
        place = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastopt"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_own(place.stat()) or not is_reached_safely(place.absolute()):
            return None
    except (OSError, RuntimeError):
        return None
    return place if os.access(place, os.W_OK) else None


def is_own(found: os.stat_result) -> bool:
    """Return whether this is the user's, and nobody else may write to it."""
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o022)


def is_reached_safely(place: Path) -> bool:
    """Return whether nobody else may put another folder in the place of one on the way, nor made a link on it.

    The others on the way are the user's or root's; in ``/tmp`` and the like, owners alone may replace what is theirs.
    """
    if not hasattr(os, "getuid"):
        return True
    trusted = (os.getuid(), 0)
    links = [part for part in (place, *place.parents) if part.is_symlink()]
    if any(link.lstat().st_uid not in trusted for link in links):
        return False
    for part in {*place.resolve().parents, *(x for link in links for x in (link.parent.resolve(), *link.parent.resolve().parents))}:
        found = part.stat()
        if found.st_uid not in trusted or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
            return False
    return True


@functools.cache
def own() -> tempfile.TemporaryDirectory[str]:
    """Return a folder of this process, where there is no cache; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="fastopt")


def key(*parts: str | bytes) -> str:
    """Return the name of what is made from these."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(f"{len(data)}\0".encode() + data)
    return digest.hexdigest()[:40]


def beside(path: Path) -> Path:
    """Return the file of a file's digest."""
    return path.with_name(f"{path.name}.sha256")


def owned(path: Path) -> bytes | None:
    """Return the contents of a regular file that is the user's alone, by one descriptor; None of any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not is_own(found):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as opened:
        return opened.read()


def verified(path: Path) -> bytes | None:
    """Return the contents of a file of the cache, if they are what was written there."""
    data, digest = owned(path), owned(beside(path))
    if data is None or digest is None or hashlib.sha256(data).hexdigest().encode() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it is in use
    return data


def put(path: Path, data: bytes) -> None:
    """Write a file of the cache and its digest, each whole, synced and renamed."""
    for target, contents in ((path, data), (beside(path), hashlib.sha256(data).hexdigest().encode())):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # for its owner alone
        try:
            with open(descriptor, "wb") as written:
                written.write(contents)
                written.flush()
                os.fsync(descriptor)
            if target.is_dir() and not target.is_symlink():
                os.rmdir(target)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    prune(path)


def prune(kept: Path) -> None:
    """Remove what was not used for long, the oldest of what is too much, and what killed processes left; not `kept`."""
    now, used, total = time.time(), [], 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(kept.parent):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if entry.name.startswith((".new-", "tmp")):
                    if now - found.st_mtime > 86400:
                        remove(Path(entry.path))
                elif not entry.name.endswith(".sha256") and entry.name != kept.name:
                    used.append((found.st_mtime, found.st_size, Path(entry.path)))
    for seconds, size, path in sorted(used, reverse=True):
        total += size
        if total > MOST or now - seconds > LONG:
            remove(path)
            remove(beside(path))


def remove(path: Path) -> None:
    """Remove a file or a folder; it does no harm if it stays."""
    import shutil

    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def file(name: str, make: Callable[[Path], Path], *, again: bool = False) -> Path:
    """Return the path of a file of the cache, made by `make` in a folder of its own if it is not there.

    `again`: what is there does not load.
    """
    place = folder()
    if place is not None and not again and verified(place / name) is not None:
        return place / name
    place = place or Path(own().name)
    with tempfile.TemporaryDirectory(dir=place) as work:  # for its owner alone
        data = make(Path(work)).read_bytes()
    put(place / name, data)
    return place / name


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """Return the contents of a file of the cache, made if they are not there or do not verify; two processes do no harm."""
    place = folder()
    if place is None:
        return make()
    found = verified(place / name)
    if found is None:
        found = make()
        with contextlib.suppress(OSError):  # it works without
            put(place / name, found)
    return found
