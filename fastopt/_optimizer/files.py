"""Restart files: named arrays and JSON in an ``.npz`` archive without pickle, written atomically."""

from __future__ import annotations

import ast
import glob
import json
import math
import os
import stat
import uuid
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .._arrays import dtypes

if TYPE_CHECKING:
    import zipfile

try:
    import fcntl
except ImportError:  # Windows, which neither removes nor renames a file that is open.
    fcntl = None  # type: ignore[assignment]

META = "fastopt.json"
# Keys of the JSON object that stands for an array of the archive.
NESTED, DTYPE = "ndarray", "dtype"
LONGEST = 60_000  # Bytes of a member's name.
LONGEST_HEADER = 10_000  # Characters of an array's header, as in NumPy.
PREFIX = 100  # Bytes of a temporary file's name that are the target's.


def packed(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a user's value as JSON; its arrays go to `arrays`, under names that begin with `where`."""
    match value:
        case np.ndarray():
            arrays[where], name = plain(where, value)
            return {NESTED: where, **({DTYPE: name} if name else {})}
        case np.generic() if not isinstance(value.item(), np.generic):
            return packed(value.item(), where, arrays)
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [packed(x, f"{where}/{k}", arrays) for k, x in enumerate(value)]
        case dict() if all(is_key(k) for k in value) and NESTED not in value:
            return {k: packed(x, f"{where}/{escaped(k)}", arrays) for k, x in value.items()}
    if isinstance(value, dict) and NESTED in value:
        raise TypeError(f"{where}: a dict with the key {NESTED!r}, which stands for an array in files, expected another key")
    raise TypeError(f"{where}: {value!r:.80}, expected arrays, numbers, strings, None, and lists and dicts by strings of them")


def is_key(key: object) -> bool:
    """Return True for a string that a member's name can hold: without null characters, and halves of characters."""
    return isinstance(key, str) and "\0" not in key and key == key.encode(errors="ignore").decode()


def escaped(key: str) -> str:
    """Return a key without slashes, different for different keys."""
    return key.replace("%", "%25").replace("/", "%2F")


def plain(where: str, a: np.ndarray) -> tuple[np.ndarray, str]:
    """Return an array of a dtype that files can hold, and the name of its dtype if that is another; raise for others."""
    if a.dtype.hasobject or isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{where}: {type(a).__name__} of {a.dtype}, expected a plain array without Python objects")
    if dtypes.is_bfloat16(a.dtype) and a.dtype == np.uint16:
        return a.view(np.uint16), "fastopt.bfloat16"
    if a.dtype.type.__module__ == "ml_dtypes":
        return np.array(a, order="C").view(f"u{a.dtype.itemsize}"), f"ml_dtypes.{a.dtype.name}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(a.dtype))
    if kept != a.dtype:
        raise TypeError(f"{where}: {a.dtype}, expected a dtype of NumPy or of ml_dtypes")
    return a, ""


def unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value that `packed` was given, except that tuples have become lists."""
    match value:
        case {"ndarray": str(name), "dtype": str(dtype), **rest} if not rest:
            return arrays[name].view(named_dtype(dtype))
        case {"ndarray": str(name), **rest} if not rest:
            return arrays[name]
        case dict():
            return {k: unpacked(x, arrays) for k, x in value.items()}
        case list():
            return [unpacked(x, arrays) for x in value]
    return value


def named_dtype(name: str) -> np.dtype:
    """Return the dtype of another package that `plain` named."""
    if name == "fastopt.bfloat16":
        return dtypes.bfloat16
    package, _, kind = name.partition(".")
    if package != "ml_dtypes":
        raise ValueError(f"dtype {name!r}: unknown")
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(f"this file holds an array of {kind}, which needs ml_dtypes: pip install ml_dtypes") from error
    found: np.dtype = np.dtype(getattr(ml_dtypes, kind))
    return found


def write(path: str | os.PathLike[str], meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file through a temporary one, synced and renamed: `path` always holds the old file or the new one.

    The new file has permissions and owner of the old one. What a killed process left is removed.
    """
    for name, a in arrays.items():
        check_member(name, a)
    text = json.dumps({**meta, "members": list(arrays)})
    path = Path(os.fsdecode(path)).resolve()
    old = status(path)
    remove_left_over(path)
    temporary = path.with_name(f"{stem(path)}{uuid.uuid4().hex}.tmp")
    try:
        with locked(temporary, None if old is None else private) as file:
            write_archive(file, text, arrays)
            file.flush()
            if old is not None:
                keep_access(file, old)
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def check_member(name: str, a: np.ndarray) -> None:
    """Raise if the name or the dtype of an array is longer than files hold."""
    if len(name.encode()) > LONGEST:
        raise ValueError(f"{name[:60]}...: names of {len(name)} characters, expected fewer than {LONGEST}")
    if len(str(np.lib.format.header_data_from_array_1_0(a))) > LONGEST_HEADER - 200:
        raise ValueError(f"{name}: a dtype of {len(a.dtype.names or ())} fields, expected fewer")


def status(path: Path) -> os.stat_result | None:
    """Return the status of the file that will be replaced, None if there is none; raise if it may not be."""
    if not path.parent.is_dir() or path.is_dir():
        raise FileNotFoundError(f"{path}: expected the path of a file in a folder that exists")
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path}: a pipe, a device or a socket, expected the path of a file")
    return found


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read."""
    return os.open(path, flags, 0o600)


def locked(path: Path, opener: Callable[[str, int], int] | None) -> BinaryIO:
    """Create a file and lock it, which shows others that its writer is at work."""
    while True:
        file: BinaryIO = open(path, "xb", opener=opener)  # noqa: SIM115
        try:
            if fcntl is None:
                return file
            fcntl.flock(file, fcntl.LOCK_EX)
        # Some file systems have no locks; then nobody removes what may be at work.
        except OSError:
            return file
        # Nobody has removed it before it was locked.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def keep_access(file: BinaryIO, old: os.stat_result) -> None:
    """Give a file owner, group and permissions of another, as far as the system lets us; another group gets no access."""
    if not hasattr(os, "fchown"):
        return
    number = file.fileno()
    for owner in (old.st_uid, -1):
        now = os.fstat(number)
        if now.st_gid != old.st_gid or (owner >= 0 and now.st_uid != owner):
            with suppress(OSError):
                os.fchown(number, owner, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    if os.fstat(number).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG
    with suppress(OSError):
        os.fchmod(number, mode)


def stem(path: Path) -> str:
    """Return what the names of a path's temporary files begin with; short, since names are limited."""
    name = os.fsencode(path.name)
    return f".{name[:PREFIX].decode(errors='ignore')}.{zlib.crc32(name):08x}."


def remove_left_over(path: Path) -> None:
    """Remove temporary files of this path whose writer is no more: nobody holds their lock."""
    for other in path.parent.glob(f"{glob.escape(stem(path))}*.tmp"):
        with suppress(OSError), other.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Nobody else has removed it, and made another of this name.
            if os.fstat(file.fileno()).st_nlink:
                other.unlink()


def write_archive(file: BinaryIO, text: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write JSON and arrays as an archive without compression."""
    import zipfile

    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    try:
        archive.writestr(META, text)
        for name, a in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.array(a, order="C", copy=None), allow_pickle=False)
        archive.close()
    except BaseException:
        archive.fp = None  # The file is given up: closing would raise for a member that is half written.
        raise


def sync_folder(path: Path) -> None:
    """Sync a folder, where systems can: then a rename within it survives a loss of power."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            folder = os.open(path, os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `write` wrote; raise ValueError for another file or a damaged one, before it takes more memory than the file."""
    import zipfile

    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                check_members(archive, os.fstat(file.fileno()).st_size)
                meta = json.loads(archive.read(META))
                if not isinstance(meta, dict):
                    raise ValueError(f"{META} is not an object")
                names = [name.removesuffix(".npy") for name in archive.namelist() if name != META]
                if names != meta.pop("members", None):
                    raise ValueError("members are missing, or unknown")
                return meta, {name: read_array(archive, f"{name}.npy") for name in names}
        except (MemoryError, OSError):
            raise
        # A damaged archive fails in many ways.
        except Exception as error:
            raise ValueError(f"{path}: not a file of fastopt's save, or damaged ({type(error).__name__}: {error})") from error


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raise if members are compressed or together larger than the file, or if a name occurs twice."""
    found = archive.infolist()
    if any(member.compress_type or member.file_size != member.compress_size for member in found):
        raise ValueError("members are compressed")
    if sum(member.file_size for member in found) > size or len({member.filename for member in found}) < len(found):
        raise ValueError("members overlap")


def read_array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    """Return an array whose header fits its size."""
    with archive.open(member) as stream:
        major, _ = np.lib.format.read_magic(stream)
        length = int.from_bytes(stream.read(2 if major == 1 else 4), "little")
        header = ast.literal_eval(stream.read(min(length, LONGEST_HEADER)).decode("utf-8" if major > 2 else "latin-1"))
        left = archive.getinfo(member).file_size - stream.tell()
    count, dtype = math.prod(header["shape"]), np.lib.format.descr_to_dtype(header["descr"])
    if dtype.hasobject:
        raise ValueError(f"{member}: {dtype} needs pickle")
    if count * dtype.itemsize != left or count > max(left, 1):
        raise ValueError(f"{member}: {header['shape']} of {dtype} in {left} bytes")
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
