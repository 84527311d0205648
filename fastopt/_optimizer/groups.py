"""Groups of parameters that share hyperparameters, and the checks of those."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from operator import setitem
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .._arrays.changes import commit, make
from .._arrays.tree import check_nesting
from ..domains import NONNEGATIVE, Domain, check_order, overflow
from ..schedules import Schedule
from ..spec import RULES, STAGES, Spec
from .names import expected
from .options import ARRAY_OPTIONS, DOMAINS, OPTIONS


def check_hyperparameter(name: str, x: Any, domain: Domain = NONNEGATIVE) -> float | None:
    """Return a hyperparameter as a float, None for a schedule, or raise."""
    return None if callable(x) and not isinstance(x, type) else domain.check(name, x)


def schedule_text(x: Any) -> dict[str, Any]:
    """Return a schedule for a file: its text, and its arguments if a file can hold them."""
    if not isinstance(x, Schedule):
        return {"schedule": "callable"}
    try:
        return {"schedule": repr(x), "arguments": x.to_dict()}
    # A user's own class may have other fields.
    except TypeError:
        return {"schedule": repr(x)}


def of_class(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a function returns for a class and further arguments, outside of the class, for as long as it lives."""
    by_class: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    @wraps(function)
    def kept(cls: Any, *key: Any) -> Any:
        found = by_class.setdefault(cls, {})
        if key not in found:
            found[key] = function(cls, *key)
        return found[key]

    return kept


@dataclass(frozen=True)
class Places:
    """Places of the hyperparameters of groups that have the same rules and stages.

    Attributes
    ----------
    index : dict of str
        Place of each: those of the rule come first, then the fallback's own, then those of stages.
    domains : dict of Domain
    fallback : tuple of int
        Places of the fallback rule's.
    stages : list of Spec
    inputs : dict of str
        Places of each stage's.
    usual : dict of str
        The class's defaults that fit.
    start : ndarray of float64
        These at their places.
    """

    index: dict[str, int]
    domains: dict[str, Domain]
    fallback: tuple[int, ...]
    stages: list[Spec]
    inputs: dict[str, tuple[int, ...]]
    usual: dict[str, float]
    start: np.ndarray


@of_class
def places_of(cls: Any, rule: Spec, fallback_rule: Spec | None, present: frozenset[str]) -> Places:
    """Return the places of hyperparameters for groups of an optimizer's class."""
    stages = [stage for name, stage in STAGES.items() if name in present]
    of_fallback = fallback_rule.domains.items() if fallback_rule else ()
    fallback = {cls.fallback_names.get(h, h): domain for h, domain in of_fallback}
    of_stages = [h for stage in stages for h in stage.hyperparameters]
    index = {name: k for k, name in enumerate(dict.fromkeys((*rule.hyperparameters, *fallback, *of_stages)))}
    domains = {**domains_of(cls), **fallback, **rule.domains}
    usual = {name: x for name, x in defaults_of(cls).items() if domains.get(name, NONNEGATIVE).has(x)}
    return Places(
        index,
        domains,
        tuple(index[name] for name in fallback),
        stages,
        {stage.name: tuple(index[n] for n in stage.hyperparameters) for stage in stages},
        usual,
        np.array([usual.get(name, 0.0) for name in index]),
    )


@of_class
def defaults_of(cls: Any) -> dict[str, float]:
    """Return those defaults of a class that are floats within their domains: groups take them as they are."""
    given = {**cls.arguments, **OPTIONS, **cls.option_defaults}
    return {name: x for name, x in given.items() if type(x) is float and domains_of(cls).get(name, NONNEGATIVE).has(x)}


@of_class
def domains_of(cls: Any) -> dict[str, Domain]:
    """Return the domains of all hyperparameters of the stages, and of the rules in the modules of a class and its bases."""
    found = dict(DOMAINS)
    for kind in cls.__mro__[::-1]:
        for function in [*getattr(sys.modules.get(kind.__module__), "__dict__", {}).values()]:
            rule = RULES.get(getattr(function, "__name__", ""))
            if rule is not None and rule.function is function:
                found |= rule.domains
    custom = getattr(getattr(cls, "update", None), "formula", None)
    return found if custom is None else {**found, **custom.domains}


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some parameters: numbers and schedules, which can be set at any time, and fixed choices.

    Attributes
    ----------
    origin : int
        Number of the group as it was given; one with options by names becomes several, which rules that sum over a group sum over.
    parameters : tuple of str
        Names of its parameters.
    siblings : sequence of Group
        Parts of the same given group, if the rule makes one estimate for all, else itself.
    common : collection of str
        Options that these share.
    rule : Spec
        The rule that the options choose.
    fallback_rule : Spec or None
        The rule of arrays that `rule` does not accept.
    accepts : bool
        False if every array of the group uses the fallback.
    fallback_places : tuple of int
        Places of the fallback rule's hyperparameters.
    chosen : dict
        The options at construction.
    hyperparameters : ndarray of float64
        Values of the rule, then of the stages, at the places of `index`; the engine reads them in each step.
    scheduled : dict of str
        Name, function of the step, place and domain of each hyperparameter that is a schedule.
    stages : list of Spec
    inputs : dict of str
        Places of each stage's hyperparameters.
    """

    def __init__(
        self,
        cls: Any,
        options: Mapping[str, Any],
        rule: Spec,
        fallback_rule: Spec | None,
        accepts: bool,
        present: frozenset[str],
        constants: Mapping[str, float],
        origin: int = 0,
        parameters: tuple[str, ...] = (),
    ) -> None:
        self.origin, self.parameters = origin, parameters
        self.siblings: Sequence[Group] = [self]
        self.common: Collection[str] = ()
        self.rule, self.fallback_rule, self.accepts = rule, fallback_rule, accepts
        self.tuple_arguments: Mapping[str, Sequence[str]] = cls.tuple_arguments
        self.constants = constants
        places = places_of(cls, rule, fallback_rule, present)
        self.index, self.domains, self.stages = places.index, places.domains, places.stages
        self.fallback_places, self.inputs = places.fallback, places.inputs
        self.hyperparameters = places.start.copy()
        for name, x in {"scale": -1.0 if options["maximize"] else 1.0, **constants}.items():
            if name in self.index and name not in places.usual:
                self.hyperparameters[self.index[name]] = x
        self.scheduled: dict[str, tuple[str, Callable[[int], float], int, float, float]] = {}
        self.options = dict(options)
        usual = places.usual
        make(change for key, value in options.items() if value is not usual.get(key, usual) for change in self.changes(key, value))
        self.chosen = dict(self.options)

    def rule_of(self, shape: Sequence[int]) -> Spec:
        """Return the rule of an array of this shape."""
        return self.fallback_rule if self.fallback_rule and not (self.accepts and self.rule.accepts(shape)) else self.rule

    @property
    def state_names(self) -> list[str]:
        """Names of the state of the group's rules that can begin at any value."""
        rules = [rule for rule in (self.rule, self.fallback_rule) if rule is not None]
        fixed = ("start", "scratch", "of_ratios")
        return ["step", *(x for rule in rules for x in (*(s for s in rule.state if rule.tags.get(s) not in fixed), *rule.carry))]

    def values_of(self, rule: Spec, values: Mapping[str, float]) -> dict[str, float]:
        """Return the hyperparameters under the names that `rule` uses."""
        if rule is self.rule:
            return dict(values)
        names = list(self.index)
        return {**values, **{h: values[names[k]] for h, k in zip(rule.hyperparameters, self.fallback_places, strict=True)}}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self).get("options", ()):
            raise AttributeError(f"{name}: nothing would read this attribute; expected groups[...][{name!r}] = ...")
        super().__setattr__(name, value)

    # Two groups are never the same group, even with equal hyperparameters.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def names(self, key: str) -> Sequence[str]:
        """Return the names of the numbers in an option; ``betas`` has two."""
        return self.tuple_arguments.get(key, (key,))

    def settable(self, key: str) -> bool:
        """Return True if the rule or a stage reads an option's numbers in each step."""
        return all(map(self.index.__contains__, self.names(key))) and not isinstance(self.options[key], bool)

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key}: a hyperparameter cannot be deleted")

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *given: Any, **named: Any) -> None:
        """Set several hyperparameters at once; all are checked before the first is set."""
        values = dict(*given, **named)
        for key, value in values.items():
            if key not in self.options:
                raise ValueError(f"{key}: no such hyperparameter, {expected(key, self.options)}")
            fixed = not self.settable(key)
            if fixed and value is not self.options[key] and (key in ARRAY_OPTIONS or value != self.options[key]):
                raise ValueError(
                    f"{key}: {self.options[key]!r} was chosen at construction and cannot be changed later (rule {self.rule.name!r})"
                )
        settable = {key: value for key, value in values.items() if self.settable(key)}
        parts = {key: self.siblings if key in self.common else [self] for key in settable}
        commit([change for key, value in settable.items() for part in parts[key] for change in part.changes(key, value)])

    def changes(self, key: str, value: Any) -> list[Callable[[], object]]:
        """Return the changes that set an option, or raise if its numbers do not fit."""
        # A choice, which was checked before.
        if key in ARRAY_OPTIONS or (key not in self.tuple_arguments and isinstance(self.options[key], (bool, str))):
            return [partial(setitem, self.hyperparameters, self.index[key], value)] if key in self.index else []
        checked = self.checked(key, value)
        kept = tuple(x if number is None or (x is None and n in self.constants) else number for n, x, number in checked)
        found: list[Callable[[], object]] = [partial(setitem, self.options, key, kept if key in self.tuple_arguments else kept[0])]
        for name, x, number in checked if self.settable(key) else ():
            if number is None:
                found.append(partial(setitem, self.scheduled, name, self.schedule(name, x)))
                continue
            if name in self.scheduled:
                found.append(partial(self.scheduled.pop, name, None))
            found.append(partial(setitem, self.hyperparameters, self.index[name], number))
        return found

    def schedule(self, name: str, x: Any) -> tuple[str, Callable[[int], float], int, float, float]:
        """Return the entry of a hyperparameter that is a schedule; values outside the interval at its end go through `check`."""
        domain = self.domains.get(name, NONNEGATIVE)
        low, high = (1.0, 0.0) if domain.is_whole or domain.is_switch else (domain.low, domain.high)
        return name, x.function() if isinstance(x, Schedule) else x, self.index[name], low, high

    def checked(self, key: str, value: Any) -> list[tuple[str, Any, float | None]]:
        """Return name, value and number of each hyperparameter of an option; the number of a schedule is None."""
        if type(value) is float and key not in self.tuple_arguments:
            return [(key, value, self.check(key, value))]
        names = self.names(key)
        entries = tuple(value) if key in self.tuple_arguments and isinstance(value, Iterable) else (value,)
        if len(entries) != len(names):
            check_nesting({key: value})
            raise ValueError(f"{key}: {value!r}, expected {len(names)} values")
        found = [
            (name, x, None if callable(x) and not isinstance(x, type) else self.check(name, x))
            for name, x in zip(names, entries, strict=True)
        ]
        check_order(self.domains, {name: number for name, _, number in found if number is not None})
        return found

    def check(self, name: str, x: Any) -> float:
        """Return a hyperparameter as a float, or raise; None may stand for a constant."""
        if x is None and name in self.constants:
            return self.constants[name]
        domain: Domain = self.domains.get(name, NONNEGATIVE)
        return domain.check(name, x)

    def number(self, name: str, step: int) -> float:
        """Return a hyperparameter's value at a step."""
        if name not in self.scheduled:
            return float(self.hyperparameters[self.index[name]])
        try:
            return self.check(name, self.scheduled[name][1](step))
        except OverflowError as error:
            raise overflow(name, step, error) from error

    def evaluate(self, step: int) -> None:
        """Write the schedules' values at a step. A schedule may set hyperparameters, even its own, and then that holds."""
        seen: dict[str, Any] = {}
        for _ in range(len(self.index) + 1):
            new = {name: entry for name, entry in self.scheduled.items() if seen.get(name) is not entry}
            if not new:
                return
            for name, entry in new.items():
                seen[name] = entry
                if self.scheduled.get(name) is entry:
                    value = self.number(name, step)
                    if self.scheduled.get(name) is entry:
                        self.hyperparameters[entry[2]] = value
        raise RuntimeError(f"{', '.join(new)}: schedules that set schedules without end")

    def current_values(self, scale: float) -> dict[str, float]:
        """Return all hyperparameters by name; `scale` multiplies the gradients' own."""
        values = {name: float(self.hyperparameters[k]) for name, k in self.index.items()}
        return {**values, "scale": values["scale"] * scale}

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{k!r}: {v!r}' for k, v in self.items())}}}"

    def to_json(self) -> dict[str, Any]:
        """Return the options for a file: numbers as they are, schedules as text and arguments, arrays as digests."""
        return {key: as_json(x) for key, x in self.options.items()}


def groups_with_lr(optimizer: Any) -> list[Group]:
    """Return the groups of an optimizer, or raise if its rule has no learning rate."""
    groups: list[Group] = optimizer._groups
    if "lr" not in optimizer.defaults:
        raise AttributeError(f"lr: {type(optimizer).__name__} has none, expected one of {', '.join(optimizer.arguments)}")
    return groups


def as_json(x: Any) -> Any:
    """Return an option as JSON."""
    if x is None or isinstance(x, (bool, str)):
        return x
    if isinstance(x, (tuple, list)):
        return [as_json(y) for y in x]
    if isinstance(x, dict):
        return {str(k): as_json(y) for k, y in x.items()}
    if isinstance(x, np.ndarray):
        return hashlib.sha256(np.array(x, np.float64, order="C").tobytes()).hexdigest()
    return schedule_text(x) if callable(x) else float(x)
