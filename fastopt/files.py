"""Files of named arrays and what JSON holds: ``.npz`` without pickle, written atomically."""

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


def write(path: str | os.PathLike[str], meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Written beside, synced and renamed: whatever happens, `path` holds the old file or the new one."""
    text = json.dumps({**meta, "members": list(arrays)})
    path = Path(path).resolve()
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr(META, text)
                for name, a in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.array(a, order="C", copy=None), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` wrote; ValueError for another file or a damaged one."""
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
        except Exception as error:  # a damaged archive fails in many ways
            raise ValueError(f"{path}: not a file of fastopt's save, or damaged ({type(error).__name__}: {error})") from error
    return meta, arrays
