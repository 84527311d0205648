"""Restart files: named arrays and JSON in an ``.npz`` archive without pickle, written atomically."""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

META = "fastopt.json"
# Key of the JSON object that stands for an array of the archive.
NESTED = "ndarray"


def check_plain(where: str, a: np.ndarray) -> None:
    """Raise for arrays that a file without pickle cannot hold."""
    if a.dtype.hasobject or isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{where}: {type(a).__name__} of {a.dtype}, expected a plain array without Python objects")


def packed(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a user's value as JSON; its arrays go to `arrays`, under names that begin with `where`."""
    match value:
        case np.ndarray():
            check_plain(where, value)
            arrays[where] = value
            return {NESTED: where}
        case np.generic() if not isinstance(value.item(), np.generic):
            return packed(value.item(), where, arrays)
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [packed(x, f"{where}/{k}", arrays) for k, x in enumerate(value)]
        case dict() if all(isinstance(k, str) and "\0" not in k for k in value) and NESTED not in value:
            return {k: packed(x, f"{where}/{k}", arrays) for k, x in value.items()}
    raise TypeError(f"{where}: {value!r:.80}, expected arrays, numbers, strings, None, and lists and dicts by strings of them")


def unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value that `packed` was given, except that tuples have become lists."""
    match value:
        case {"ndarray": str(name), **rest} if not rest:
            return arrays[name]
        case dict():
            return {k: unpacked(x, arrays) for k, x in value.items()}
        case list():
            return [unpacked(x, arrays) for x in value]
    return value


def write(path: str | os.PathLike[str], meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file through a temporary one, synced and renamed: `path` always holds the old file or the new one."""
    text = json.dumps({**meta, "members": list(arrays)})
    path = Path(os.fsdecode(path)).resolve()
    if not path.parent.is_dir() or path.is_dir():
        raise FileNotFoundError(f"{path}: expected the path of a file in a folder that exists")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr(META, text)
                for name, a in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.array(a, order="C", copy=None), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `write` wrote; raise ValueError for another file or a damaged one."""
    arrays = {}
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                meta = json.loads(archive.read(META))
                for member in archive.namelist():
                    if member != META:
                        with archive.open(member) as stream:
                            arrays[member.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
            if list(arrays) != meta.pop("members"):
                raise ValueError("members are missing")
        # A damaged archive fails in many ways.
        except Exception as error:
            raise ValueError(f"{path}: not a file of fastopt's save, or damaged ({type(error).__name__}: {error})") from error
    return meta, arrays
