"""Checkpoints of an optimizer: state dictionaries, restart files, fingerprints. `loading` reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays import dtypes
from .._arrays.tree import check_nesting
from ..domains import FINITE, whole
from . import files
from .groups import Group
from .options import WEIGHT_DECAY_STAGES
from .parameter import Parameter

# Version of state_dict() and of files.
FORMAT = 1
MOST_STEPS = 2**62
# Settings that decide which arrays of state exist, and those that decide what a step does.
STORED = ("state_dtype", "master")
SAVED = (*STORED, "accumulate", "nonfinite", "rounding", "flush_subnormals", "mode")


def state_of(optimizer: Any) -> dict[str, Any]:
    """Return a copy of state, counts and hyperparameters; arrays in C order."""
    optimizer._backend.catch_up(None)
    each, (steps, gathered, skipped) = optimizer._counters()
    settings = optimizer._settings
    return {
        "format": FORMAT,
        "optimizer": type(optimizer).__name__,
        "steps": steps,
        "gathered": gathered,
        "gathered_unit": ceil_log2(settings.accumulate),
        "skipped": skipped,
        "seed": settings.seed,
        "settings": {name: getattr(settings, name) for name in SAVED},
        **({} if settings.span is None else {"pieces": pieces_of(optimizer)}),
        "groups": [
            {"rule": g.rule.label, "decay": decay_of(g), "parameters": list(g.parameters), **g.to_json()} for g in optimizer._groups
        ],
        "state": {
            s.name: {**numbers_of(s, n), **{k: np.array(s.memory.host(a)) for k, a in s.state.items()}}
            for s, n in zip(optimizer._parameters, each, strict=True)
        },
    }


def pieces_of(optimizer: Any) -> dict[str, list[Any]]:
    """Return the parts of parameters that a span has, by name: first and last element, and the shape of the whole."""
    return {s.name: [*s.span, list(s.piece.shape)] for s in optimizer._parameters if s.piece is not None}


def decay_of(group: Group) -> list[str]:
    """Return the names of a group's stages of weight decay."""
    return [stage.name for stage in group.stages if stage.name in WEIGHT_DECAY_STAGES]


def numbers_of(parameter: Parameter, counted: tuple[int, list[float], bool]) -> dict[str, Any]:
    """Return the numbers of a parameter's state by name: its steps, and what its rule carries."""
    step, carry, pending = counted
    waits = {"gathering": pending} if "gathered" in parameter.stage_arrays else {}
    return {"step": step, **dict(zip(parameter.rule.carry, carry, strict=True)), **waits}


def counter_of(parameter: Parameter, numbers: Mapping[str, Any]) -> tuple[int, list[float], bool]:
    """Return the counters of a parameter from its numbers by name, or raise for impossible ones."""
    step = check_count(f"step of {parameter.name!r}", numbers.get("step"))
    carry = [check_float(f"{key} of {parameter.name!r}", numbers.get(key)) for key in parameter.rule.carry]
    return step, carry, bool(numbers.get("gathering", False))


def save(optimizer: Any, path: str | os.PathLike[str], extra: Mapping[str, Any] | None) -> None:
    """Write a restart file; see `Optimizer.save`."""
    arrays: dict[str, np.ndarray] = {}
    if not isinstance(extra, (Mapping, type(None))):
        raise TypeError(f"extra: {type(extra).__name__}, expected a dict by strings")
    check_nesting({"extra": extra})
    packed_extra = files.packed(dict(extra or {}), "extra", arrays)
    saved = state_of(optimizer)
    entries = saved["state"].items()
    members = {f"state/{n}/{k}": a for n, entry in entries for k, a in entry.items() if isinstance(a, np.ndarray)}
    members |= {f"param/{name}": a for name, a in params_of(optimizer).items()} | arrays
    state = {n: {k: x for k, x in entry.items() if not isinstance(x, np.ndarray)} for n, entry in entries}
    files.write(path, {**saved, "state": state, "extra": packed_extra}, members)


def params_of(optimizer: Any) -> dict[str, np.ndarray]:
    """Return the parameters by name, in main memory: views or copies."""
    return {s.name: s.memory.host(s.array) for s in optimizer._parameters}


def snapshot(optimizer: Any) -> dict[str, Any]:
    """Return a copy of parameters and state that `restore` takes, also after a file has held it as a value of a user's."""
    return optimizer._exclusively(  # type: ignore[no-any-return]
        lambda: {"state": state_of(optimizer), "params": {name: np.array(a) for name, a in params_of(optimizer).items()}}
    )


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Raise ValueError for whatever goes wrong with contents of an unforeseen kind."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"{what}: malformed ({type(error).__name__}: {error})") from error


def fingerprint(optimizer: Any) -> str:
    """Return the SHA-256 of parameters, state and step counts in a fixed order; see `Optimizer.fingerprint`."""
    digest = hashlib.sha256()
    optimizer._backend.catch_up(None)
    digest.update(f"{optimizer.steps}\0".encode())
    for parameter, (step, carry, pending) in zip(optimizer._parameters, optimizer._counters()[0], strict=True):
        counted = f"{step}{carry or ''}{'gathering' * pending}"
        for key, a in {"": parameter.array, **parameter.state}.items():
            digest.update(f"{parameter.name}\0{key}\0{counted}\0{a.shape}\0".encode())
            digest.update(canonical(parameter.memory.host(a)))
    return digest.hexdigest()


def canonical(a: np.ndarray) -> bytes:
    """Return an array's bytes in little-endian order, with one bit pattern for all NaNs."""
    flat = np.array(a).reshape(-1)
    flat = flat.view(flat.real.dtype)
    if flat.dtype == dtypes.BFLOAT16:
        flat[flat & 0x7FFF > 0x7F80] = 0x7FC0
    if flat.dtype.kind == "f":
        flat[np.isnan(flat)] = np.nan
    return flat.astype(flat.dtype.newbyteorder("<")).tobytes()


def check_kinds(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Raise if entries are missing or of another type."""
    for key, kind in expected.items():
        if key not in found or not isinstance(found[key], kind) or (kind is Sequence and isinstance(found[key], str)):
            raise ValueError(f"{what}: {key!r} is {type(found.get(key)).__name__}, expected {kind.__name__}")


def check_count(what: str, x: Any) -> int:
    """Return a count of steps from a file or a user, or raise."""
    number = whole(x)
    if number is None or not 0 <= number < MOST_STEPS:
        raise ValueError(f"{what}: {x!r}, expected a whole number of steps")
    return number


def check_float(what: str, x: Any) -> float:
    """Return a number from a file or a user, or raise."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.floating)) or (isinstance(x, int) and abs(x) > FINITE):
        raise ValueError(f"{what}: {x!r:.40}, expected a number")
    return float(x)


def ceil_log2(n: int) -> int:
    """Return the smallest k for which 2**k is at least `n`."""
    return (n - 1).bit_length()
