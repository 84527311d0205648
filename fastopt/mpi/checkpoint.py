"""Checkpoints in parts: a file of each process, and a manifest that names those of one step."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._optimizer import files, loading, resharding
from .collectives import agree

# Step, rank, and what differs from other saves of that step; temporary files have more around it.
PART = re.compile(r"\d+-\d+\.[0-9a-f]{8}\.npz|\.\d+-\d+\.[0-9a-f]{8}\.npz\..*\.tmp")


def save(sharded: Any, path: str | os.PathLike[str], extra: Mapping[str, Any] | None) -> None:
    """Write a part for each process, then the manifest; see `Sharded.save`."""
    comm, optimizer, folder = sharded.comm, sharded.optimizer, Path(path)
    error: Exception | None
    error, digest, shared = None, "", None
    try:
        if comm.rank == 0:
            files.packed(dict(extra or {}), "extra", {})  # Raises for what no file can hold.
            folder.mkdir(exist_ok=True)
            shared = uuid.uuid4().hex[:8], extra
    except Exception as caught:
        error = caught
    token, extra = agree(comm, error, shared)[0]
    part = folder / f"{optimizer.steps}-{comm.rank}.{token}.npz"
    try:
        optimizer.save(part, extra)
        digest = resharding.digest_of(part)
    except Exception as caught:
        error = caught
    try:
        entries = agree(comm, error, {"file": part.name, "pieces": optimizer.spans, "sha256": digest})
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if comm.rank == 0:
        try:
            manifest = {
                "format": resharding.FORMAT,
                "step": optimizer.steps,
                "microbatches": sharded.microbatches,
                "files": entries,
            }
            write_manifest(folder, manifest)
        except Exception as caught:
            error = caught
    agree(comm, error)
    if comm.rank == 0:
        remove_others(folder, {entry["file"] for entry in entries})


def remove_others(folder: Path, kept: Collection[str]) -> None:
    """Remove the parts of other checkpoints, and what killed processes left of them."""
    with suppress(OSError):
        for other in folder.iterdir():
            if PART.fullmatch(other.name) and other.name not in kept:
                with suppress(OSError):
                    other.unlink()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest by renaming a file that is synced."""
    temporary = folder / f".{resharding.MANIFEST}.tmp"
    with open(temporary, "w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / resharding.MANIFEST)
    files.sync_folder(folder)


def load(sharded: Any, path: str | os.PathLike[str], hyperparameters: Any) -> dict[str, Any]:
    """Read this process's part, from a checkpoint of any number of them or an ordinary file; see `Sharded.load`."""
    comm, optimizer = sharded.comm, sharded.optimizer
    error, saved, count = None, None, None
    try:
        saved = resharding.read(path, optimizer)
        count = sharded.count_of(microbatches_in(Path(path)))
        changes, report = loading.plan_load(optimizer, saved.meta, saved.params, loading.policy_of(optimizer, hyperparameters))
    except Exception as caught:
        error = caught
    agree(comm, error)
    assert saved is not None
    optimizer._commit(lambda: changes)
    optimizer.last_load = report
    sharded.restart(count)
    sharded.exchange.spread()
    return saved.extra


def microbatches_in(path: Path) -> int | None:
    """Return the number of micro-batches of a checkpoint in parts; None for a file, or for sums in any order."""
    if not path.is_dir():
        return None
    found = json.loads((path / resharding.MANIFEST).read_text()).get("microbatches")
    return found if isinstance(found, int) else None
