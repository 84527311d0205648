"""Cache of compiled code in the user's folder, which only its owner can write to.

A file is named by a digest of everything that it was made from, and a checksum file stands next to it. A file that does not
match its checksum is made again; files that nobody has used for long are removed.
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

MAX_BYTES = 512 << 20  # Of all files together.
# Seconds without use after which a file is removed. Leftovers of killed processes go after a day.
MAX_AGE = 180 * 86400.0


def folder() -> Path | None:
    """Return the cache folder, or None if there is none that only the user can write to.

    ``FASTOPT_CACHE_DIR`` names it; a warning says if that folder is not private. The default is ``fastopt`` in
    ``XDG_CACHE_HOME`` or in ``~/.cache``.
    """
    named = os.environ.get("FASTOPT_CACHE_DIR")
    found = private_folder(named)
    if named and found is None:
        said = "expected a folder that its owner alone may write to; what is compiled is not kept"
        warnings.warn(f"FASTOPT_CACHE_DIR: {named}, {said}", RuntimeWarning, stacklevel=4)
    return found


def private_folder(named: str | None) -> Path | None:
    """Return this folder, made if necessary; None if it cannot be made, or others could put code there."""
    try:
        place = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastopt"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_private(place.stat()) or not is_reached_safely(place.absolute()):
            return None
    except (OSError, RuntimeError):
        return None
    return place if os.access(place, os.W_OK) else None


def is_private(found: os.stat_result) -> bool:
    """Return True if a file or folder is the user's and nobody else can write to it."""
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o022)


def is_reached_safely(place: Path) -> bool:
    """Return True if nobody else can replace a folder on the way, or has made a link on it.

    Each folder on the way must be the user's or root's. In sticky folders such as ``/tmp``, only owners can replace entries.
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
def process_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed with this process, for use without a cache."""
    return tempfile.TemporaryDirectory(prefix="fastopt")


def key(*parts: str | bytes) -> str:
    """Return the name of a file that is made from these parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(f"{len(data)}\0".encode() + data)
    return digest.hexdigest()[:40]


def checksum_file(path: Path) -> Path:
    """Return the path of a file's checksum."""
    return path.with_name(f"{path.name}.sha256")


def read_private(path: Path) -> bytes | None:
    """Return the contents of a regular file that only the user can write to; None for any other.

    One descriptor serves all checks and the reading, so that nobody can swap the file in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not is_private(found):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as opened:
        return opened.read()


def verified(path: Path) -> bytes | None:
    """Return the contents of a cached file, or None if they do not match the checksum."""
    data, digest = read_private(path), read_private(checksum_file(path))
    if data is None or digest is None or hashlib.sha256(data).hexdigest().encode() != digest:
        return None
    with contextlib.suppress(OSError):
        # Mark it as used, for `prune`.
        os.utime(path)
    return data


def put(path: Path, data: bytes) -> None:
    """Write a file and its checksum, each synced and then renamed into place."""
    for target, contents in ((path, data), (checksum_file(path), hashlib.sha256(data).hexdigest().encode())):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # Only the user can read it.
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


def prune(keep: Path) -> None:
    """Remove files that were not used for long, the oldest beyond MAX_BYTES, and leftovers of killed processes."""
    now, used, total = time.time(), [], 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(keep.parent):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if entry.name.startswith((".new-", "tmp")):
                    if now - found.st_mtime > 86400:
                        remove(Path(entry.path))
                elif not entry.name.endswith(".sha256") and entry.name != keep.name:
                    used.append((found.st_mtime, found.st_size, Path(entry.path)))
    for seconds, size, path in sorted(used, reverse=True):
        total += size
        if total > MAX_BYTES or now - seconds > MAX_AGE:
            remove(path)
            remove(checksum_file(path))


def remove(path: Path) -> None:
    """Remove a file or folder, if possible."""
    import shutil

    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def file(name: str, make: Callable[[Path], Path], *, again: bool = False) -> Path:
    """Return the path of a cached file. Where it is missing, `make` makes it in a temporary folder.

    `again`: make it even if it is there, because it does not load.
    """
    place = folder()
    if place is not None and not again and verified(place / name) is not None:
        return place / name
    place = place or Path(process_folder().name)
    with tempfile.TemporaryDirectory(dir=place) as work:  # Only the user can read it.
        data = make(Path(work)).read_bytes()
    put(place / name, data)
    return place / name


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """Return the contents of a cached file, made if they are missing or damaged. Two processes at once do no harm."""
    place = folder()
    if place is None:
        return make()
    found = verified(place / name)
    if found is None:
        found = make()
        with contextlib.suppress(OSError):  # It also works without a cache.
            put(place / name, found)
    return found
