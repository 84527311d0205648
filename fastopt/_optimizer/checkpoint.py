"""State of an optimizer outside of it: dictionaries, restart files, fingerprints.

Loading is all or nothing: it is planned, which checks everything, then applied.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import dtypes
from . import files
from .groups import Group
from .options import OPTIONS, WEIGHT_DECAY_STAGES
from .parameter import Parameter

FORMAT = 1  # of state_dict() and of files
MOST_STEPS = 2**62
STORED = ("state_dtype", "master")  # settings that decide what state there is
SAVED = (*STORED, "accumulate", "nonfinite", "rounding", "flush_subnormals")  # settings that decide what a step does


def state_of(optimizer: Any) -> dict[str, Any]:
    """Return state, counts and hyperparameters, copied, arrays in C order."""
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
        "groups": [{"rule": g.rule.label, "decay": decay_of(g), **g.described()} for g in optimizer._groups],
        "state": {
            s.name: {**numbers_of(s, n), **{k: np.array(s.memory.host(a)) for k, a in s.state.items()}}
            for s, n in zip(optimizer._slots, each, strict=True)
        },
    }


def decay_of(group: Group) -> list[str]:
    """Return the names of a group's stages of weight decay."""
    return [stage.name for stage in group.stages if stage.name in WEIGHT_DECAY_STAGES]


def numbers_of(slot: Parameter, counted: tuple[int, list[float], bool]) -> dict[str, Any]:
    """Return by name what lives between the steps of a parameter and is no array."""
    step, kept, pending = counted
    waits = {"gathering": pending} if "gathered" in slot.own else {}
    return {"step": step, **dict(zip(slot.rule.kept, kept, strict=True)), **waits}


def counter_of(slot: Parameter, numbers: Mapping[str, Any]) -> tuple[int, list[float], bool]:
    """Return what is counted and kept of a parameter, from its numbers by name; raise for what they cannot be."""
    step = check_count(f"step of {slot.name!r}", numbers.get("step"))
    kept = [check_float(f"{key} of {slot.name!r}", numbers.get(key)) for key in slot.rule.kept]
    return step, kept, bool(numbers.get("gathering", False))


@dataclass(frozen=True)
class Changes:
    """What a load will change, all of it checked."""

    optimizer: Any
    counters: list[tuple[int, list[float], bool]]
    whole: tuple[int, int, int]
    writes: list[tuple[Parameter, np.ndarray, np.ndarray]]
    hyperparameters: list[tuple[Group, str, Any]]

    def apply(self) -> None:
        """Make the changes."""
        self.optimizer._set_counters(self.counters, self.whole)
        for slot, target, values in self.writes:
            slot.memory.put(target, values)
        for group, key, value in self.hyperparameters:
            group[key] = value


def plan_load(optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: str | None) -> Changes:
    """Return what a load of `state_of` will change, with the parameters of a file; raise ValueError if anything does not fit."""
    if policy not in (None, "keep", "restore"):
        raise ValueError(f"hyperparameters: {policy!r}, expected None, 'keep' or 'restore'")
    check_form(optimizer, saved, params)
    settings = optimizer._settings
    steps, gathered, skipped = (check_count(key, saved.get(key, 0)) for key in ("steps", "gathered", "skipped"))
    if gathered >= settings.accumulate:
        raise ValueError(f"gathered: {gathered} gradients, expected less than accumulate={settings.accumulate}")
    check_settings(optimizer, saved, policy)
    unit = check_unit(saved.get("gathered_unit", 0)) - ceil_log2(settings.accumulate)
    counters, writes = [], []
    for slot in optimizer._slots:
        entry = dict(saved["state"][slot.name])
        numbers = {key: entry.pop(key, None) for key in ("step", *slot.rule.kept)} | {"gathering": entry.pop("gathering", False)}
        counters.append(counter_of(slot, numbers))
        sources = entry if params is None else {"": params[slot.name], **entry}
        writes += list(writes_of(slot, sources, unit))
        if params is not None and not slot.memory.writable(slot.given):
            raise ValueError(f"parameter {slot.name!r}: read-only, expected a writable array")
    return Changes(
        optimizer, counters, (steps, gathered, skipped), writes, list(hyperparameters_of(optimizer, saved["groups"], policy))
    )


def check_form(optimizer: Any, saved: Any, params: Mapping[str, Any] | None) -> None:
    """Raise if a saved state is malformed, or of other parameters or rules."""
    if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
        raise ValueError(f"state: not of format {FORMAT}, which state_dict and save make")
    check_kinds("state", saved, {"optimizer": str, "steps": object, "groups": Sequence, "state": Mapping})
    if saved["optimizer"] != type(optimizer).__name__:
        raise ValueError(f"state: of {saved['optimizer']}, expected {type(optimizer).__name__}")
    if params is not None:
        check_names(optimizer, "parameters of the file", params)
    check_names(optimizer, "state", saved["state"])
    check_kinds("state", saved["state"], dict.fromkeys(saved["state"], Mapping))
    check_kinds("groups", dict(enumerate(saved["groups"])), dict.fromkeys(range(len(saved["groups"])), Mapping))
    rules, mine = [g.get("rule") for g in saved["groups"]], [g.rule.label for g in optimizer._groups]
    if rules != mine:
        raise ValueError(f"state: rules {rules}, expected {mine}")


def check_settings(optimizer: Any, saved: Mapping[str, Any], policy: str | None) -> None:
    """Raise if settings differ that decide what state there is; or, unless the caller says what to do, what a step does."""
    settings = optimizer._settings
    if saved.get("seed", 0) != settings.seed:
        raise ValueError(f"seed: saved {saved['seed']}, here {settings.seed}; construct with it")
    for name, theirs in saved.get("settings", {}).items():
        ours = getattr(settings, name, theirs)
        if name in STORED and theirs != ours:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; construct with it")
        if policy is None and theirs != ours:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; say hyperparameters='keep'")
    for k, (theirs, group) in enumerate(zip(saved["groups"], optimizer._groups, strict=True)):
        decays = theirs.get("weight_decay") != 0 or group.get("weight_decay") != 0
        if policy is None and decays and theirs.get("decay", decay_of(group)) != decay_of(group):
            said = f"saved as {theirs['decay']}, here {decay_of(group)}; say hyperparameters='keep'"
            raise ValueError(f"weight_decay of group {k}: {said}")


def writes_of(slot: Parameter, sources: Mapping[str, Any], unit: int) -> Iterator[tuple[Parameter, np.ndarray, np.ndarray]]:
    """Yield what a parameter's arrays will hold, itself under an empty name; `unit`: exponent of the gathered gradients' unit."""
    saved, here = {*sources} - {""}, {*slot.state}
    if ("averaged" in saved) != ("averaged" in here):
        raise ValueError(f"ema: saved with{'' if 'averaged' in saved else 'out'} averages; construct with the same")
    if saved != here:
        raise ValueError(f"state of {slot.name!r}: {sorted(saved)}, expected {sorted(here)}")
    targets = dict(zip(["", *slot.state], slot.written(), strict=True))
    for key, source in sources.items():
        what, target = targets[key]
        values = fitting(what, target, source)
        yield slot, target, values * slot.real.type(2.0**unit) if key == "gathered" and unit else values


def fitting(what: str, target: np.ndarray, source: Any) -> np.ndarray:
    """Return an array that can take the place of `target`; copied where writing others could change it."""
    if not isinstance(source, np.ndarray):
        raise ValueError(f"{what}: {type(source).__name__}, expected a NumPy array")
    if source.shape != target.shape:
        raise ValueError(f"{what}: shape {source.shape}, expected {target.shape}")
    if source.dtype != target.dtype:
        raise ValueError(f"{what}: dtype {source.dtype}, expected {target.dtype}")
    return source if source.base is None and source.flags.owndata else source.copy()


def hyperparameters_of(optimizer: Any, saved: Sequence[Mapping[str, Any]], policy: str | None) -> Iterator[tuple[Group, str, Any]]:
    """Yield hyperparameters to set, checked; raise if they differ and nothing says what to do."""
    defaults = {**OPTIONS, **optimizer.option_defaults, **optimizer.arguments}  # of files from before there was such an option
    for k, (group, theirs) in enumerate(zip(optimizer._groups, saved, strict=True)):
        ours = group.described()
        for key, mine in ours.items():
            is_default = group.options[key] is defaults[key] or mine == defaults[key]
            found = theirs.get(key, mine if is_default else None)
            known = key in theirs or is_default
            if policy == "keep" or (mine == found and "callable" not in str(mine)):
                continue
            where = f"{key} of group {k}"
            if policy is None:
                raise ValueError(f"{where}: saved {found}, here {mine}; say hyperparameters='keep' or 'restore'")
            if not known or "schedule" in str(found) or not group.settable(key):
                raise ValueError(f"{where}: {found} cannot be restored: construct with it and say hyperparameters='keep'")
            yield group, key, restored(group, where, key, found)


def restored(group: Group, where: str, key: str, found: Any) -> Any:
    """Return a saved hyperparameter as the group is to have it."""
    values = found if key in group.tuple_arguments and isinstance(found, (list, tuple)) else [found]
    if len(values) != len(group.names(key)):
        raise ValueError(f"{where}: {found}, expected {len(group.names(key))} values")
    checked = [
        x if x is None and name in group.constants else group.check(name, x)
        for name, x in zip(group.names(key), values, strict=True)
    ]
    return checked if key in group.tuple_arguments else checked[0]


def save(optimizer: Any, path: str | os.PathLike[str], extra: Mapping[str, Any] | None) -> None:
    """Write a restart file; see `Optimizer.save`."""
    arrays: dict[str, np.ndarray] = {}
    described = files.packed(dict(extra or {}), "extra", arrays)
    with optimizer._exclusive():
        saved = state_of(optimizer)
        entries = saved["state"].items()
        members = {f"state/{n}/{k}": a for n, entry in entries for k, a in entry.items() if isinstance(a, np.ndarray)}
        members |= {f"param/{s.name}": s.memory.host(s.array) for s in optimizer._slots} | arrays
        state = {n: {k: x for k, x in entry.items() if not isinstance(x, np.ndarray)} for n, entry in entries}
        files.write(path, {**saved, "state": state, "extra": described}, members)


def load(optimizer: Any, path: str | os.PathLike[str], policy: str | None) -> dict[str, Any]:
    """Read a restart file; see `Optimizer.load`."""
    meta, arrays = files.read(path)
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
    extra: dict[str, Any] = files.unpacked(meta["extra"], arrays)
    load_state(optimizer, meta, params, policy)
    return extra


def load_state(optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: str | None) -> None:
    """Take over what `state_of` returned, and the parameters of a file; see `Optimizer.load_state_dict`."""
    with optimizer._exclusive():
        optimizer._backend.catch_up(None)
        plan_load(optimizer, saved, params, policy).apply()


def fingerprint(optimizer: Any) -> str:
    """Return SHA-256 of parameters, state and step counts in a fixed order; see `Optimizer.fingerprint`."""
    digest = hashlib.sha256()
    with optimizer._exclusive():
        optimizer._backend.catch_up(None)
        digest.update(f"{optimizer.steps}\0".encode())
        for slot, (step, kept, pending) in zip(optimizer._slots, optimizer._counters()[0], strict=True):
            counted = f"{step}{kept or ''}{'gathering' * pending}"
            for key, a in {"": slot.array, **slot.state}.items():
                digest.update(f"{slot.name}\0{key}\0{counted}\0{a.shape}\0".encode())
                digest.update(canonical(slot.memory.host(a)))
    return digest.hexdigest()


def canonical(a: np.ndarray) -> bytes:
    """Return an array's bytes as little-endian machines have them, with one NaN for all."""
    flat = np.array(a).reshape(-1)
    flat = flat.view(flat.real.dtype)
    if flat.dtype == dtypes.BFLOAT16:
        flat[flat & 0x7FFF > 0x7F80] = 0x7FC0
    if flat.dtype.kind == "f":
        flat[np.isnan(flat)] = np.nan
    return flat.astype(flat.dtype.newbyteorder("<")).tobytes()


def check_names(optimizer: Any, what: str, found: Mapping[str, Any]) -> None:
    """Raise if these are not entries for each parameter."""
    here = {s.name for s in optimizer._slots}
    if set(found) != here:
        missing, extra = sorted(here - set(found)), sorted(set(found) - here)
        raise ValueError(f"{what}: missing {missing}, unexpected {extra}")


def check_kinds(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Raise if entries are missing or of another kind."""
    for key, kind in expected.items():
        if key not in found or not isinstance(found[key], kind) or (kind is Sequence and isinstance(found[key], str)):
            raise ValueError(f"{what}: {key!r} is {type(found.get(key)).__name__}, expected {kind.__name__}")


def check_count(what: str, x: Any) -> int:
    """Return a count of steps as it comes from a file or a user; raise for what is none."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or not 0 <= x < MOST_STEPS:
        raise ValueError(f"{what}: {x!r}, expected a whole number of steps")
    return int(x)


def check_unit(x: Any) -> int:
    """Return the exponent of the unit of gathered gradients as it comes from a file."""
    if check_count("gathered_unit", x) > MOST_STEPS.bit_length():
        raise ValueError(f"gathered_unit: {x}, expected at most {MOST_STEPS.bit_length()}")
    return int(x)


def check_float(what: str, x: Any) -> float:
    """Return a number as it comes from a file or a user."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.floating)):
        raise ValueError(f"{what}: {x!r}, expected a number")
    return float(x)


def ceil_log2(n: int) -> int:
    """Return the least whole number of twos whose product is at least `n`."""
    return (n - 1).bit_length()
