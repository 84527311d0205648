"""Restart files as a whole or in parts: what several spans saved, cut as an optimizer's parameters are."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import dtypes
from . import files
from .checkpoint import check_kinds, malformed, pieces_of
from .recast import EXPONENTS

MANIFEST = "manifest.json"
FORMAT = 1  # Of the manifest.
Span = tuple[int, int]


@dataclass(frozen=True)
class Saved:
    """Contents of a restart file: its JSON with the state's arrays in it, parameters by name, and the user's values."""

    meta: dict[str, Any]
    params: dict[str, np.ndarray]
    extra: dict[str, Any]

    @property
    def pieces(self) -> dict[str, Sequence[Any]]:
        """First and last element of each parameter, and its whole shape."""
        whole = {name: (0, a.size, a.shape) for name, a in self.params.items()}
        return {**whole, **self.meta.get("pieces", {})}


def read(path: str | os.PathLike[str], optimizer: Any) -> Saved:
    """Read a restart file, or the folder of one in parts, and return what it has for the parameters of an optimizer.

    A span gets its parts of the parameters; an optimizer of all gets all that was saved.
    """
    wanted: dict[str, Any] | None = None if optimizer._settings.span is None else pieces_of(optimizer)
    parts = [read_file(file) for file in files_of(Path(path), wanted)]
    with malformed(f"{path}"):
        first = parts[0]
        if len(parts) == 1 and first.meta.get("pieces") == wanted:
            return first
        if any(part.meta["steps"] != first.meta["steps"] for part in parts):
            raise ValueError(f"{path}: parts of different steps")
        state, params = assembled(parts, wanted)
    meta = {**first.meta, "state": state}
    meta.pop("pieces", None)
    return Saved(meta if wanted is None else {**meta, "pieces": wanted}, params, first.extra)


def files_of(path: Path, wanted: Mapping[str, Sequence[Any]] | None) -> list[Path]:
    """Return the files that hold parts of parameters, or all: those that the manifest of a folder names, with its checksums."""
    if not path.is_dir():
        return [path]
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a file of save, or a folder with a {MANIFEST} ({error})") from error
    with malformed(f"{path / MANIFEST}"):
        if manifest["format"] != FORMAT:
            raise ValueError(f"{path / MANIFEST}: of format {manifest['format']}, expected {FORMAT}")
        entries = manifest["files"]
        found = [
            (path / Path(entry["file"]).name, entry["sha256"])
            for entry in [e for e in entries if wanted is None or has_some(e["pieces"], wanted)] or entries[:1]
        ]
    for file, digest in found:
        if digest_of(file) != digest:
            raise ValueError(f"{file}: not the file that {MANIFEST} names, or damaged")
    return [file for file, _ in found]


def has_some(pieces: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[Any]]) -> bool:
    """Return True if saved pieces have elements of the wanted ones, or an array without elements."""
    both = [(pieces[name], wanted[name]) for name in wanted if name in pieces]
    return any((a[0] < b[1] and b[0] < a[1]) or b[0] == b[1] for a, b in both)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path) -> Saved:
    """Read one restart file."""
    meta, arrays = files.read(path)
    with malformed(f"{path}"):
        check_kinds(f"{path}", meta, {"extra": dict, "state": dict})
        check_kinds(f"{path}, state", meta["state"], dict.fromkeys(meta["state"], dict))
        params, state = {}, meta["state"]
        for member, array in arrays.items():
            kind, _, name = member.partition("/")
            if kind == "state":
                parameter, _, key = name.rpartition("/")
                state.setdefault(parameter, {})[key] = array
            elif kind == "param":
                params[name] = array
        return Saved(meta, params, files.unpacked(meta["extra"], arrays))


def assembled(parts: Iterable[Saved], wanted: Mapping[str, Sequence[Any]] | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return state and parameters, by name, of all elements, or of the wanted parts."""
    known: dict[str, list[tuple[Span, dict[str, Any]]]] = {}
    shapes: dict[str, Sequence[int]] = {}
    for part in parts:
        for name, (start, stop, shape) in part.pieces.items():
            check_shape(name, shape, shapes.setdefault(name, shape if wanted is None or name not in wanted else wanted[name][2]))
            known.setdefault(name, []).append(((start, stop), {**part.meta["state"][name], "": part.params[name]}))
    state, params = {}, {}
    for name, found in known.items():
        if wanted is None or name in wanted:
            start, stop = (0, math.prod(shapes[name])) if wanted is None else wanted[name][:2]
            entry = join(name, found, (start, stop), shapes[name])
            params[name] = entry.pop("")
            state[name] = entry
    return state, params


def check_shape(name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
    """Raise if a parameter was saved with another shape."""
    if tuple(shape) != tuple(expected):
        raise ValueError(f"parameter {name!r}: shape {tuple(shape)}, expected {tuple(expected)}")


def join(name: str, found: Sequence[tuple[Span, dict[str, Any]]], span: Span, shape: Sequence[int]) -> dict[str, Any]:
    """Return the entries of a part of a parameter, from saved parts; "" is the parameter."""
    for saved, entry in found:
        if saved == span:
            return dict(entry)
    cuts = list(covering(name, found, span)) or [(0, 0, found[0][1])]
    numbers = [{k: x for k, x in entry.items() if not isinstance(x, np.ndarray)} for *_, entry in cuts]
    if any(x != numbers[0] for x in numbers):
        raise ValueError(f"{name!r}: its parts are of different steps")
    arrays = {k: np.concatenate([cut_out(name, k, *cut) for cut in cuts]) for k in cuts[0][2] if k not in numbers[0]}
    if span == (0, math.prod(shape)):
        arrays = {k: a if is_exponents(k, arrays) else a.reshape(shape) for k, a in arrays.items()}
    return {**numbers[0], **arrays}


def covering(name: str, found: Sequence[tuple[Span, dict[str, Any]]], span: Span) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield what covers a part of a parameter: first and last element, counted from those of a saved part, and its entries."""
    place, stop = span
    for (low, high), entry in sorted(found, key=lambda x: x[0]):
        if low <= place < min(high, stop):
            yield place - low, min(high, stop) - low, entry
            place = min(high, stop)
    if place < stop:
        raise ValueError(f"{name!r}: element {place} was not saved")


def is_exponents(key: str, entry: Mapping[str, Any]) -> bool:
    """Return True for the block exponents of another array of an entry."""
    return key.endswith(EXPONENTS) and key.removesuffix(EXPONENTS) in entry


def cut_out(name: str, key: str, start: int, stop: int, entry: Mapping[str, Any]) -> np.ndarray:
    """Return elements `start` to `stop` of a saved array, counted from its first."""
    a = entry[key].reshape(-1)
    if is_exponents(key, entry):
        reals = 2 if entry[""].dtype.kind == "c" else 1
        ends = start * reals, stop * reals
        size = entry[""].size
        if ends[0] % dtypes.BLOCK or (stop < size and ends[1] % dtypes.BLOCK):
            raise ValueError(f"state {key!r} of {name!r}: cut within a block of {dtypes.BLOCK} elements, expected whole blocks")
        return np.asarray(a[ends[0] // dtypes.BLOCK : -(-ends[1] // dtypes.BLOCK)])
    if a.size != entry[""].size:
        raise ValueError(f"state {key!r} of {name!r}: {a.size} numbers for {entry[''].size} elements, which cannot be cut")
    return np.asarray(a[start:stop])
