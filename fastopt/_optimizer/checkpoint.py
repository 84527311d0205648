"""Checkpoints of an optimizer: state dictionaries, restart files, fingerprints.

Loading is all or nothing: a plan is made, which checks everything, and then applied.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .. import schedules
from .._arrays import dtypes
from .._arrays.tree import check_nesting
from ..domains import FINITE, whole
from . import files
from .groups import Group
from .names import expected
from .options import OPTIONS, WEIGHT_DECAY_STAGES
from .parameter import Parameter

# Version of state_dict() and of files.
FORMAT = 1
MOST_STEPS = 2**62
# Settings that decide which arrays of state exist, and those that decide what a step does.
STORED = ("state_dtype", "master")
SAVED = (*STORED, "accumulate", "nonfinite", "rounding", "flush_subnormals", "mode")
POLICIES = ("keep", "restore")
# What to do about a hyperparameter that differs, by its name.
Policy = Callable[[str], str | None]


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
        "groups": [{"rule": g.rule.label, "decay": decay_of(g), **g.to_json()} for g in optimizer._groups],
        "state": {
            s.name: {**numbers_of(s, n), **{k: np.array(s.memory.host(a)) for k, a in s.state.items()}}
            for s, n in zip(optimizer._parameters, each, strict=True)
        },
    }


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


def policy_of(optimizer: Any, given: Any) -> Policy:
    """Return what to do about each hyperparameter and setting that differs: None, "keep" or "restore"."""
    if given is None or (isinstance(given, str) and given in POLICIES):
        return lambda name: given
    if not isinstance(given, Mapping) or not all(x is None or x in POLICIES for x in given.values()):
        raise ValueError(f"hyperparameters: {given!r}, expected None, 'keep' or 'restore', or a dict of those by name")
    known = [*optimizer.defaults, *(name for name in SAVED if name not in STORED)]
    for name in given:
        if name in (*STORED, "seed"):
            raise ValueError(f"hyperparameters: {name!r} decides what is stored, expected an optimizer with the saved one")
        if name not in known:
            raise ValueError(f"hyperparameters: no {name!r}, {expected(name, known)}")
    return given.get


def plan_load(optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: Policy) -> list[Callable[[], object]]:
    """Return the changes that loading a state makes, or raise ValueError if anything does not fit.

    `saved` is from `state_of`; `params` are the parameters of a file, by name.
    """
    check_form(optimizer, saved, params)
    settings = optimizer._settings
    steps, gathered, skipped = (check_count(key, saved.get(key, 0)) for key in ("steps", "gathered", "skipped"))
    if gathered >= settings.accumulate:
        raise ValueError(f"gathered: {gathered} gradients, expected less than accumulate={settings.accumulate}")
    check_settings(optimizer, saved, policy)
    unit = check_unit(saved.get("gathered_unit", 0)) - ceil_log2(settings.accumulate)
    counters, writes = [], []
    for parameter in optimizer._parameters:
        entry = dict(saved["state"][parameter.name])
        numbers = {key: entry.pop(key, None) for key in ("step", *parameter.rule.carry)} | {
            "gathering": entry.pop("gathering", False)
        }
        counters.append(counter_of(parameter, numbers))
        sources = entry if params is None else {"": params[parameter.name], **entry}
        writes += list(writes_of(parameter, sources, unit))
        if params is not None and not parameter.memory.writable(parameter.source):
            raise ValueError(f"parameter {parameter.name!r}: read-only, expected a writable array")
    restored = hyperparameters_of(optimizer, saved["groups"], policy)
    changes = [parameter.memory.writing(target, values) for parameter, target, values in writes]
    changes += [change for group, key, value in restored for change in group.changes(key, value)]
    return [partial(optimizer._set_counters, counters, (steps, gathered, skipped)), *changes]


def check_form(optimizer: Any, saved: Any, params: Mapping[str, Any] | None) -> None:
    """Raise if a saved state is malformed, or belongs to other parameters or rules."""
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


def check_settings(optimizer: Any, saved: Mapping[str, Any], policy: Policy) -> None:
    """Raise if settings differ that decide which state exists; unless they are kept also those that decide what a step does."""
    settings = optimizer._settings
    if (seed := saved.get("seed", 0)) != settings.seed:
        raise ValueError(f"seed: saved {seed}, here {settings.seed}; construct with it")
    check_kinds("state", {"settings": {}, **saved}, {"settings": Mapping})
    for name, theirs in saved.get("settings", {}).items():
        ours = getattr(settings, name, theirs)
        if name in STORED and theirs != ours:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; construct with it")
        if policy(name) != "keep" and theirs != ours:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; construct with it, or say {keeping(name)}")
    for k, (theirs, group) in enumerate(zip(saved["groups"], optimizer._groups, strict=True)):
        decays = theirs.get("weight_decay") != 0 or group.get("weight_decay") != 0
        if policy("weight_decay") != "keep" and decays and theirs.get("decay", decay_of(group)) != decay_of(group):
            said = f"saved as {theirs['decay']}, here {decay_of(group)}; say {keeping('weight_decay')}"
            raise ValueError(f"weight_decay of group {k}: {said}")


def keeping(name: str) -> str:
    """Return the argument that keeps this optimizer's value, for errors."""
    return f"hyperparameters={{{name!r}: 'keep'}}, or 'keep' for all"


def writes_of(parameter: Parameter, sources: Mapping[str, Any], unit: int) -> Iterator[tuple[Parameter, np.ndarray, np.ndarray]]:
    """Yield parameter, array and new values; the name of the parameter itself is empty. `unit`: exponent of gathered gradients."""
    saved, here = {*sources} - {""}, {*parameter.state}
    if ("averaged" in saved) != ("averaged" in here):
        raise ValueError(f"ema: saved with{'' if 'averaged' in saved else 'out'} averages; construct with the same")
    if saved != here:
        raise ValueError(f"state of {parameter.name!r}: {sorted(saved)}, expected {sorted(here)}")
    targets = dict(zip(["", *parameter.state], parameter.written(), strict=True))
    for key, source in sources.items():
        what, target = targets[key]
        values = fitting(what, target, source)
        yield parameter, target, values * parameter.real.type(2.0**unit) if key == "gathered" and unit else values


def fitting(what: str, target: np.ndarray, source: Any) -> np.ndarray:
    """Return an array that can replace the values of `target`; a copy if writing others could change it."""
    if not isinstance(source, np.ndarray):
        raise ValueError(f"{what}: {type(source).__name__}, expected a NumPy array")
    if source.shape != target.shape:
        raise ValueError(f"{what}: shape {source.shape}, expected {target.shape}")
    if source.dtype != target.dtype:
        raise ValueError(f"{what}: dtype {source.dtype}, expected {target.dtype}")
    return source if source.base is None and source.flags.owndata else source.copy()


def hyperparameters_of(optimizer: Any, saved: Sequence[Mapping[str, Any]], policy: Policy) -> Iterator[tuple[Group, str, Any]]:
    """Yield hyperparameters to restore, checked; raise for a difference without a policy."""
    # Options that older files do not have are compared with their defaults.
    defaults = {**OPTIONS, **optimizer.option_defaults, **optimizer.arguments}
    for k, (group, theirs) in enumerate(zip(optimizer._groups, saved, strict=True)):
        ours = group.to_json()
        for key, mine in ours.items():
            is_default = group.options[key] is defaults[key] or mine == defaults[key]
            found = theirs.get(key, mine if is_default else None)
            known = key in theirs or is_default
            if policy(key) == "keep" or (comparable(mine) == comparable(found) and "callable" not in str(mine)):
                continue
            where = f"{key} of group {k}"
            restorable = known and is_restorable(found) and group.settable(key)
            if policy(key) is None:
                choices = f"{keeping(key)}; or 'restore'" if restorable else keeping(key)
                raise ValueError(f"{where}: saved {comparable(found)}, here {comparable(mine)}; say {choices}")
            if not restorable:
                raise ValueError(f"{where}: {comparable(found)} cannot be restored: construct with it, and say {keeping(key)}")
            yield group, key, restored(group, where, key, found)


def comparable(x: Any) -> Any:
    """Return a saved hyperparameter with schedules as their text, which older files have alone."""
    if isinstance(x, list):
        return [comparable(part) for part in x]
    return x["schedule"] if isinstance(x, Mapping) and "schedule" in x else x


def is_restorable(x: Any) -> bool:
    """Return True for a saved number, or a schedule with its arguments."""
    if isinstance(x, list):
        return all(map(is_restorable, x))
    return "arguments" in x if isinstance(x, Mapping) else True


def restored(group: Group, where: str, key: str, found: Any) -> Any:
    """Return a saved hyperparameter as the group takes it."""
    values = found if key in group.tuple_arguments and isinstance(found, (list, tuple)) else [found]
    if len(values) != len(group.names(key)):
        raise ValueError(f"{where}: {found}, expected {len(group.names(key))} values")
    checked = [restored_number(group, name, x) for name, x in zip(group.names(key), values, strict=True)]
    return checked if key in group.tuple_arguments else checked[0]


def restored_number(group: Group, name: str, x: Any) -> Any:
    """Return one saved number, schedule, or None that stands for a constant."""
    if isinstance(x, Mapping):
        return schedules.from_dict(x["arguments"])
    return x if x is None and name in group.constants else group.check(name, x)


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


def load(optimizer: Any, path: str | os.PathLike[str], policy: Any) -> dict[str, Any]:
    """Read a restart file; see `Optimizer.load`."""
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
        extra: dict[str, Any] = files.unpacked(meta["extra"], arrays)
    load_state(optimizer, meta, params, policy)
    return extra


def load_state(optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: Any) -> None:
    """Load a state, with the parameters of a file; see `Optimizer.load_state_dict`."""
    policy = policy_of(optimizer, policy)

    def plan() -> list[Callable[[], object]]:
        with malformed("state"):
            check_carried(optimizer, saved, params or {})
            return plan_load(optimizer, saved, params, policy)

    optimizer._commit(plan)


def params_of(optimizer: Any) -> dict[str, np.ndarray]:
    """Return the parameters by name, in main memory: views or copies."""
    return {s.name: s.memory.host(s.array) for s in optimizer._parameters}


def snapshot(optimizer: Any) -> dict[str, Any]:
    """Return a copy of parameters and state that `restore` takes, also after a file has held it as a value of a user's."""
    return optimizer._exclusively(  # type: ignore[no-any-return]
        lambda: {"state": state_of(optimizer), "params": {name: np.array(a) for name, a in params_of(optimizer).items()}}
    )


def restore(optimizer: Any, kept: Mapping[str, Any]) -> None:
    """Load what `snapshot` returned; hyperparameters stay as they are."""
    load_state(optimizer, kept["state"], kept["params"], "keep")


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Raise ValueError for whatever goes wrong with contents of an unforeseen kind."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"{what}: malformed ({type(error).__name__}: {error})") from error


def check_carried(optimizer: Any, saved: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise if a number that a rule carries is not in its domain, or NaN in a file whose arrays have none: no run makes these."""
    check_form(optimizer, saved, None)
    arrays = [*params.values(), *(x for entry in saved["state"].values() for x in entry.values())]
    # Looked at once, and only if there is such a number.
    diverged = functools.cache(lambda: not params or any(map(has_nan, arrays)))
    for parameter in optimizer._parameters:
        for name, domain in parameter.rule.carry_domains.items():
            x = saved["state"][parameter.name][name]
            if isinstance(x, float) and math.isnan(x) and diverged():
                continue
            try:
                domain.check(name, x)
            except (TypeError, ValueError) as error:
                raise ValueError(f"state of {parameter.name!r}: {error}") from None


def has_nan(x: Any) -> bool:
    """Return True for an array with a NaN, in any storage format."""
    if not isinstance(x, np.ndarray):
        return False
    if x.dtype == np.int16:
        return bool((x == dtypes.NOT_FINITE).any())
    return x.dtype in (dtypes.BFLOAT16, *map(np.dtype, "efdFD")) and bool(np.isnan(dtypes.widened(x)).any())


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


def check_names(optimizer: Any, what: str, found: Mapping[str, Any]) -> None:
    """Raise unless there is one entry for each parameter."""
    here = {s.name for s in optimizer._parameters}
    if set(found) != here:
        missing, extra = sorted(here - set(found)), sorted(set(found) - here)
        raise ValueError(f"{what}: missing {missing}, unexpected {extra}")


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


def check_unit(x: Any) -> int:
    """Return the exponent of the gathered gradients' unit from a file, or raise."""
    number = whole(x)
    if number is None or not 0 <= number <= MOST_STEPS.bit_length():
        raise ValueError(f"gathered_unit: {x!r}, expected a whole exponent of at most {MOST_STEPS.bit_length()}")
    return number


def check_float(what: str, x: Any) -> float:
    """Return a number from a file or a user, or raise."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.floating)) or (isinstance(x, int) and abs(x) > FINITE):
        raise ValueError(f"{what}: {x!r:.40}, expected a number")
    return float(x)


def ceil_log2(n: int) -> int:
    """Return the smallest k for which 2**k is at least `n`."""
    return (n - 1).bit_length()
