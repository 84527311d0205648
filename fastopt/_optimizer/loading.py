"""Loading of saved states: whole, or in part, under other names and in other formats.

Loading is all or nothing: a plan is made, which checks everything, and then applied.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import schedules
from .._arrays import dtypes
from ..domains import whole
from . import resharding
from .checkpoint import (
    FORMAT,
    MOST_STEPS,
    SAVED,
    STORED,
    ceil_log2,
    check_count,
    check_kinds,
    counter_of,
    decay_of,
    malformed,
    pieces_of,
)
from .groups import Group
from .matching import Choices, LoadReport, match
from .names import expected
from .options import ARRAY_OPTIONS, OPTIONS
from .parameter import Parameter
from .recast import EXPONENTS, decoded_value, recast

POLICIES = ("keep", "restore")
# What to do about a hyperparameter that differs, by its name.
Policy = Callable[[str], str | None]
WHOLE = Choices()


def load(optimizer: Any, path: str | os.PathLike[str], policy: Any, choices: Choices) -> dict[str, Any]:
    """Read a restart file; see `Optimizer.load`."""
    if choices.rename is not None and optimizer._settings.span is not None:
        raise ValueError("rename: of a span, whose parts are found by their names; expected None")
    saved = resharding.read(path, optimizer)
    load_state(optimizer, saved.meta, saved.params, policy, choices)
    return saved.extra


def load_state(optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: Any, choices: Choices) -> None:
    """Load a state, with the parameters of a file; see `Optimizer.load_state_dict`."""
    policy = policy_of(optimizer, policy)

    def plan() -> list[Callable[[], object]]:
        changes, report = plan_load(optimizer, saved, params, policy, choices)
        return [*changes, partial(setattr, optimizer, "last_load", report)]

    optimizer._commit(plan)


def restore(optimizer: Any, kept: Mapping[str, Any]) -> None:
    """Load what `snapshot` returned; hyperparameters stay as they are."""
    optimizer._commit(lambda: plan_load(optimizer, kept["state"], kept["params"], lambda name: "keep")[0])


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


def plan_load(
    optimizer: Any, saved: Any, params: Mapping[str, Any] | None, policy: Policy, choices: Choices = WHOLE
) -> tuple[list[Callable[[], object]], LoadReport]:
    """Return the changes that loading a state makes, and a report of them, or raise ValueError if anything does not fit.

    `saved` is from `state_of`; `params` are the parameters of a file, by name.
    """
    with malformed("state"):
        check_form(optimizer, saved, params)
    plan = Plan(optimizer, saved, params, choices)
    with malformed("state"):
        groups = groups_of(optimizer, saved, plan.report)
        check_carried(optimizer, saved, params or {}, plan.report)
        check_settings(optimizer, saved, policy, choices)
        check_groups(optimizer, groups, policy)
        changes = plan.changes()
        for group, key, value in hyperparameters_of(plan, groups, policy):
            changes += group.changes(key, value)
    return changes, plan.report


class Plan:
    """Plan of a load: for each parameter, what is taken and what changes."""

    def __init__(self, optimizer: Any, saved: Mapping[str, Any], params: Mapping[str, Any] | None, choices: Choices) -> None:
        self.optimizer, self.saved, self.params, self.choices = optimizer, saved, params, choices
        self.parameters: dict[str, Parameter] = {s.name: s for s in optimizer._parameters}
        self.report = match(list(self.parameters), list(saved["state"]), choices, self.fits)
        self.missing = choices.for_missing(list(self.parameters))
        self.extra = choices.ignored(list(saved["state"]))

    def arrays(self, old: str) -> dict[str, Any]:
        """Return the saved entries of a saved parameter, under its name of "" the parameter."""
        return {**({} if self.params is None else {"": self.params[old]}), **self.saved["state"][old]}

    def fits(self, name: str, old: str) -> bool:
        """Return True if a saved parameter's arrays have the shapes of the one here."""
        parameter, theirs = self.parameters[name], self.arrays(old)
        mine = {"": parameter.array, **{key: a for key, a in parameter.state.items() if not key.endswith(EXPONENTS)}}
        return all(np.shape(theirs[key]) == a.shape for key, a in mine.items() if key in theirs)

    def changes(self) -> list[Callable[[], object]]:
        """Return the changes of all parameters and counts."""
        (steps, gathered, skipped), unit = self.counts()
        self.report.steps = steps
        counters, changes = [], []
        each, (_, own_gathered, _) = self.optimizer._counters()
        for parameter, now in zip(self.parameters.values(), each, strict=True):
            if parameter.name in self.report.taken:
                counter, writes = self.taking(parameter, unit)
                waits = self.saved.get("gathered", 0) if counter[2] else None
            elif parameter.name in self.report.kept:
                counter, writes, waits = now, [], own_gathered if now[2] else None
            else:
                counter, writes, waits = parameter.first_counter, parameter.resetting(), None
            if waits is not None and waits != gathered:
                raise ValueError(f"{parameter.name!r}: has gathered {waits} gradients, others {gathered}; load between steps")
            counters.append(counter)
            changes += writes
        return [partial(self.optimizer._set_counters, self.with_estimates(counters), (steps, gathered, skipped)), *changes]

    def counts(self) -> tuple[tuple[int, int, int], int]:
        """Return the optimizer's counts after loading, its own with `only`, and the exponent of gathered gradients."""
        settings = self.optimizer._settings
        steps, gathered, skipped = (check_count(key, self.saved.get(key, 0)) for key in ("steps", "gathered", "skipped"))
        if gathered >= settings.accumulate and self.choices.only is None:
            raise ValueError(f"gathered: {gathered} gradients, expected less than accumulate={settings.accumulate}")
        unit = check_unit(self.saved.get("gathered_unit", 0)) - ceil_log2(settings.accumulate)
        return (steps, gathered, skipped) if self.choices.only is None else self.optimizer._progress(), unit

    def with_estimates(self, counters: list[Any]) -> list[Any]:
        """Return counters in which the parameters of a group share the numbers that its rule estimates for all of them.

        Those that are not loaded have the numbers of loaded ones; with `only`, it is the other way round.
        """
        found, members = list(counters), list(self.parameters.values())
        first = self.report.taken if self.choices.only is None else self.report.kept
        for origin in {s.group.origin for s in members if s.rule.carry and s.rule.scope == "over_group"}:
            places = [k for k, s in enumerate(members) if s.group.origin == origin]
            givers = [k for k in places if members[k].name in first]
            for k in places if givers else ():
                if members[k].name not in first:
                    found[k] = (counters[k][0], list(counters[givers[0]][1]), counters[k][2])
        return found

    def taking(self, parameter: Parameter, unit: int) -> tuple[Any, list[Callable[[], object]]]:
        """Return a parameter's counter, and the changes that load it; note in the report what was special."""
        name, report = parameter.name, self.report
        numbers, sources = self.entries(parameter)
        absent, unknown = self.differing(parameter, sources)
        report.not_saved += [f"{name}/{key}" for key in absent]
        report.ignored += [f"{name}/{key}" for key in unknown]
        known = {key: a for key, a in sources.items() if key not in unknown}
        changes = [parameter.memory.writing(*x) for x in writes_of(parameter, known, unit)]
        if absent and self.missing[name] == "reset":
            value = None if self.params is None else decoded_value(known)
            changes = [*parameter.resetting(absent, value), *changes]
        if self.params is not None and not parameter.memory.writable(parameter.source):
            raise ValueError(f"parameter {name!r}: read-only, expected a writable array")
        step, *others = counter_of(parameter, numbers)
        return (parameter.counted(step), *others), changes

    def entries(self, parameter: Parameter) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a parameter's saved numbers and arrays, those in its formats if they may be cast; "" is the parameter."""
        sources = self.arrays(self.report.taken[parameter.name])
        numbers = {key: sources.pop(key, None) for key in ("step", *parameter.rule.carry)}
        numbers["gathering"] = sources.pop("gathering", False)
        check_arrays(parameter, sources)
        if self.choices.cast:
            try:
                sources, changed = recast(parameter, sources)
            except TypeError as error:
                raise ValueError(str(error)) from None
            self.report.cast |= {f"{parameter.name}/{key}".rstrip("/"): said for key, said in changed.items()}
        return numbers, sources

    def differing(self, parameter: Parameter, sources: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the parameter's entries that were not saved, and the saved ones that it lacks; raise if that is not allowed."""
        name, saved, here = parameter.name, {*sources} - {""}, {*parameter.state}
        absent, unknown = sorted(here - saved), sorted(saved - here)
        refused = absent if self.missing[name] == "raise" else []
        ways = ["missing='keep' or 'reset'"] * bool(refused)
        if unknown and self.report.taken[name] not in self.extra:
            refused, ways = [*refused, *unknown], [*ways, "unexpected='ignore'"]
        if "averaged" in refused:
            other = "out" if "averaged" in here else ""
            raise ValueError(f"ema: saved with{other} averages; construct with the same, or say {', '.join(ways)}")
        if refused:
            raise ValueError(f"state of {name!r}: {sorted(saved)}, expected {sorted(here)}; see load's {', '.join(ways)}")
        return absent, unknown


def check_arrays(parameter: Parameter, sources: Mapping[str, Any]) -> None:
    """Raise if a parameter's saved entries, apart from numbers, are not arrays of its shape."""
    shapes = {"": parameter.array.shape, **{key: a.shape for key, a in parameter.state.items()}}
    for key, source in sources.items():
        what = f"state {key!r} of {parameter.name!r}" if key else f"parameter {parameter.name!r}"
        if not isinstance(source, np.ndarray):
            raise ValueError(f"{what}: {type(source).__name__}, expected a NumPy array")
        codes = sources.get(key.removesuffix(EXPONENTS)) if key.endswith(EXPONENTS) else None
        shape = shapes.get(key, source.shape) if codes is None else (-(-np.size(codes) // dtypes.BLOCK),)
        if source.shape != shape:
            way = "with missing='reset', unexpected='ignore' it begins anew"
            raise ValueError(f"{what}: shape {source.shape}, expected {shape}; {way}, or load others with only=[...]")


def check_form(optimizer: Any, saved: Any, params: Mapping[str, Any] | None) -> None:
    """Raise if a saved state is malformed, or belongs to other parameters or rules."""
    if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
        raise ValueError(f"state: not of format {FORMAT}, which state_dict and save make")
    check_kinds("state", saved, {"optimizer": str, "steps": object, "groups": Sequence, "state": Mapping})
    if saved["optimizer"] != type(optimizer).__name__:
        raise ValueError(f"state: of {saved['optimizer']}, expected {type(optimizer).__name__}")
    if other := [name for name in saved["state"] if not isinstance(name, str)]:
        raise ValueError(f"state: {other[0]!r:.40}, expected names of parameters")
    check_kinds("state", saved["state"], dict.fromkeys(saved["state"], Mapping))
    if params is not None and {*params} != {*saved["state"]}:
        raise ValueError(f"parameters of the file: {sorted(params)}, expected those of its state: {sorted(saved['state'])}")
    if (theirs := saved.get("pieces", {})) != (ours := pieces_of(optimizer)):
        said = [", ".join(f"{x[0]} to {x[1]} of {name!r}" for name, x in each.items()) or "everything" for each in (theirs, ours)]
        raise ValueError(f"state: of another span, {said[0]:.80}, expected {said[1]:.80}")
    check_kinds("groups", dict(enumerate(saved["groups"])), dict.fromkeys(range(len(saved["groups"])), Mapping))


def groups_of(optimizer: Any, saved: Mapping[str, Any], found: LoadReport) -> dict[Group, list[Mapping[str, Any]]]:
    """Return the saved groups of each group's parameters; raise if the rules differ."""
    groups: dict[Group, list[Mapping[str, Any]]] = {}
    of_name = {name: theirs for theirs in saved["groups"] for name in theirs.get("parameters", ())}
    for group in optimizer._groups:
        for name in group.parameters:
            if name not in found.taken:
                continue
            old = found.taken[name]
            theirs = of_name.get(old) or old_group_of(saved["groups"], old)
            if theirs.get("rule") != group.rule.label:
                raise ValueError(f"state of {name!r}: of rule {theirs.get('rule')}, expected {group.rule.label}")
            known = groups.setdefault(group, [])
            if not any(theirs is other for other in known):
                known.append(theirs)
    return groups


def old_group_of(groups: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the group of a parameter of an older file, whose names begin with its number if there are several."""
    first = name.partition("/")[0]
    place = 0 if len(groups) == 1 else int(first) if first.isdecimal() else len(groups)
    if place >= len(groups) or "parameters" in groups[place]:
        raise ValueError(f"state of {name!r}: in none of the saved groups")
    return groups[place]


def check_settings(optimizer: Any, saved: Mapping[str, Any], policy: Policy, choices: Choices) -> None:
    """Raise if settings differ that decide which state exists; unless they are kept also those that decide what a step does.

    Settings stay as they are if only some parameters are loaded.
    """
    settings = optimizer._settings
    if (seed := saved.get("seed", 0)) != settings.seed and choices.only is None:
        raise ValueError(f"seed: saved {seed}, here {settings.seed}; construct with it")
    check_kinds("state", {"settings": {}, **saved}, {"settings": Mapping})
    for name, theirs in saved.get("settings", {}).items():
        ours = getattr(settings, name, theirs)
        if name in STORED and theirs != ours and not choices.cast:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; construct with it, or say cast=True")
        if name not in STORED and policy(name) != "keep" and theirs != ours and choices.only is None:
            raise ValueError(f"{name}: saved {theirs!r}, here {ours!r}; construct with it, or say {keeping(name)}")


def check_groups(optimizer: Any, groups: Mapping[Group, Sequence[Mapping[str, Any]]], policy: Policy) -> None:
    """Raise if weight decay is applied in another way than it was, unless it is kept."""
    for group, saved in groups.items():
        for theirs in saved:
            # An element's own step size makes the decay late; that option is compared itself.
            if any(x is not None for x in (theirs.get("step_scale"), group.get("step_scale"))):
                continue
            decays = theirs.get("weight_decay") != 0 or group.get("weight_decay") != 0
            if policy("weight_decay") != "keep" and decays and theirs.get("decay", decay_of(group)) != decay_of(group):
                said = f"saved as {theirs['decay']}, here {decay_of(group)}; say {keeping('weight_decay')}"
                raise ValueError(f"weight_decay of group {optimizer._groups.index(group)}: {said}")


def keeping(name: str) -> str:
    """Return the argument that keeps this optimizer's value, for errors."""
    return f"hyperparameters={{{name!r}: 'keep'}}, or 'keep' for all"


def writes_of(parameter: Parameter, sources: Mapping[str, Any], unit: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield arrays and new values; the name of the parameter itself is empty. `unit`: exponent of gathered gradients."""
    targets = dict(zip(["", *parameter.state], parameter.written(), strict=True))
    for key, source in sources.items():
        what, target = targets[key]
        values = fitting(what, target, source)
        yield target, values * parameter.real.type(2.0**unit) if key == "gathered" and unit else values


def fitting(what: str, target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return an array that can replace the values of `target`; a copy if writing others could change it."""
    if source.dtype != target.dtype:
        raise ValueError(f"{what}: dtype {source.dtype}, expected {target.dtype}, or cast=True")
    return source if source.base is None and source.flags.owndata else source.copy()


def hyperparameters_of(
    plan: Plan, groups: Mapping[Group, Sequence[Mapping[str, Any]]], policy: Policy
) -> Iterator[tuple[Group, str, Any]]:
    """Yield hyperparameters to restore, checked; raise for a difference without a policy."""
    # With `only`, parameters that stay as they were keep their hyperparameters.
    left = {*plan.parameters} - {*plan.report.taken} if plan.choices.only is not None else set()
    for group, saved in groups.items():
        for key, mine in group.to_json().items():
            each, known = saved_values(plan.optimizer, group, saved, key, mine)
            if is_alike(key, mine, each):
                continue
            where, chosen = f"{key} of group {plan.optimizer._groups.index(group)}", policy(key)
            plan.report.hyperparameters[where] = "restored" if chosen == "restore" else "kept"
            if chosen == "keep":
                continue
            said = list(dict.fromkeys(str(comparable(key, x)) for x in each))
            parts = group.siblings if key in group.common else [group]
            whole = left.isdisjoint(name for part in parts for name in part.parameters)
            restorable = whole and len(said) == 1 and known and is_restorable(each[0]) and group.settable(key)
            check_policy(where, key, " and ".join(said), comparable(key, mine), chosen, restorable)
            yield group, key, restored(group, where, key, each[0])


def is_alike(key: str, mine: Any, saved: Sequence[Any]) -> bool:
    """Return True if an option equals all that was saved; a function of a user's cannot be compared."""
    same = all(comparable(key, x) == comparable(key, mine) for x in saved)
    return same and (key in ARRAY_OPTIONS or "callable" not in str(mine))


def saved_values(optimizer: Any, group: Group, saved: Sequence[Mapping[str, Any]], key: str, mine: Any) -> tuple[list[Any], bool]:
    """Return an option in each of the saved groups, and False if one does not say it; older files mean the default."""
    default = {**OPTIONS, **optimizer.option_defaults, **optimizer.arguments}[key]
    is_default = group.options[key] is default or mine == default
    return [x.get(key, mine if is_default else None) for x in saved], is_default or all(key in x for x in saved)


def check_policy(where: str, key: str, saved: str, mine: Any, policy: str | None, restorable: bool) -> None:
    """Raise unless a hyperparameter that differs is to be restored, and can be."""
    if policy is None:
        choices = f"{keeping(key)}; or 'restore'" if restorable else keeping(key)
        raise ValueError(f"{where}: saved {saved}, here {mine}; say {choices}")
    if not restorable:
        raise ValueError(f"{where}: {saved} cannot be restored: construct with it, and say {keeping(key)}")


def comparable(key: str, x: Any) -> Any:
    """Return a saved hyperparameter with schedules as their text, which older files have alone."""
    if key in ARRAY_OPTIONS:
        return x
    if isinstance(x, list):
        return [comparable(key, part) for part in x]
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


def check_carried(optimizer: Any, saved: Mapping[str, Any], params: Mapping[str, Any], found: LoadReport) -> None:
    """Raise if a number that a rule carries is not in its domain, or NaN in a file whose arrays have none: no run makes these."""
    arrays = [*params.values(), *(x for entry in saved["state"].values() for x in entry.values())]
    # Looked at once, and only if there is such a number.
    diverged = functools.cache(lambda: not params or any(map(has_nan, arrays)))
    for parameter in optimizer._parameters:
        for name, domain in parameter.rule.carry_domains.items() if parameter.name in found.taken else ():
            x = saved["state"][found.taken[parameter.name]][name]
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


def check_unit(x: Any) -> int:
    """Return the exponent of the gathered gradients' unit from a file, or raise."""
    number = whole(x)
    if number is None or not 0 <= number <= MOST_STEPS.bit_length():
        raise ValueError(f"gathered_unit: {x!r}, expected a whole exponent of at most {MOST_STEPS.bit_length()}")
    return number
