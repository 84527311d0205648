"""Hyperparameters: what each may be, and the groups of parameters that share theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from .._arrays.tree import check_nesting
from ..domains import NONNEGATIVE, Domain, check_order
from ..schedules import Schedule
from ..spec import STAGES, Formula
from .options import ARRAY_OPTIONS, DOMAINS


def check_hyperparameter(name: str, x: Any, domain: Domain = NONNEGATIVE) -> float | None:
    """Return a hyperparameter as a float, or None for a schedule; raise for anything else."""
    return None if callable(x) and not isinstance(x, type) else domain.check(name, x)


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some parameters: numbers or schedules, set at any time, and choices fixed at construction.

    Attributes
    ----------
    rule : Formula
        What the options chose.
    fallback : Formula or None
        The rule of arrays that `rule` is not for.
    fits : bool
        Whether `rule` is for any array of the group.
    fallback_places : tuple of int
        The places of that one's hyperparameters.
    chosen : dict
        The options as they were then.
    numbers : ndarray of float64
        The rule's hyperparameters, then the stages'; the engine reads them at each step. `index` says where each lies.
    scheduled : dict of str
        Of each hyperparameter that is a schedule: its name, the function of a step, its place, and its domain.
    stages : list of Formula
    inputs : dict of str
        Of each stage: the places of its hyperparameters.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        tuple_arguments: Mapping[str, Sequence[str]],
        rule: Formula,
        stages: Collection[str],
        constants: Mapping[str, float],
        fallback_rule: Formula | None = None,
        fallback_names: Mapping[str, str] = MappingProxyType({}),
        fits: bool = True,
        domains: Mapping[str, Domain] = DOMAINS,
    ) -> None:
        self.rule, self.fallback_rule, self.fits = rule, fallback_rule, fits
        self.tuple_arguments, self.constants = tuple_arguments, constants
        self.stages = [stage for name, stage in STAGES.items() if name in stages]
        fallback = {fallback_names.get(h, h): domain for h, domain in (fallback_rule.domains.items() if fallback_rule else ())}
        self.domains = {**domains, **fallback, **rule.domains}
        of_stages = [h for stage in self.stages for h in stage.hyperparameters]
        self.index = {name: k for k, name in enumerate(dict.fromkeys((*rule.hyperparameters, *fallback, *of_stages)))}
        self.fallback_places = tuple(self.index[name] for name in fallback)
        self.inputs = {stage.name: tuple(self.index[n] for n in stage.hyperparameters) for stage in self.stages}
        self.numbers = np.zeros(len(self.index))
        for name, x in {"scale": -1.0 if options["maximize"] else 1.0, **constants}.items():
            if name in self.index:
                self.numbers[self.index[name]] = x
        self.scheduled: dict[str, tuple[str, Callable[[int], float], int, float, float]] = {}
        self.options = dict(options)
        for key, value in options.items():
            self._set(key, value)
        self.chosen = dict(self.options)

    def rule_of(self, shape: Sequence[int]) -> Formula:
        """Return the rule of an array."""
        return self.fallback_rule if self.fallback_rule and not (self.fits and self.rule.fits(shape)) else self.rule

    def values_of(self, rule: Formula, values: Mapping[str, float]) -> dict[str, float]:
        """Return the hyperparameters under the names that `rule` uses."""
        if rule is self.rule:
            return dict(values)
        names = list(self.index)
        return {**values, **{h: values[names[k]] for h, k in zip(rule.hyperparameters, self.fallback_places, strict=True)}}

    __eq__ = object.__eq__  # two groups of equal hyperparameters are two groups
    __hash__ = object.__hash__

    def names(self, key: str) -> Sequence[str]:
        """Return names of the numbers that an option consists of: of ``betas``, two."""
        return self.tuple_arguments.get(key, (key,))

    def settable(self, key: str) -> bool:
        """Return whether an option is of numbers that the rule or a stage reads."""
        return all(name in self.index for name in self.names(key)) and not isinstance(self.options[key], bool)

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key}: a hyperparameter cannot be deleted")

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.options:
            raise ValueError(f"{key}: no such hyperparameter, expected one of {', '.join(self.options)}")
        if self.settable(key):
            self._set(key, value)
        elif value is not self.options[key] and (key in ARRAY_OPTIONS or value != self.options[key]):
            raise ValueError(f"{key}: {self.options[key]!r} was chosen at construction and stays (rule {self.rule.name!r})")

    def _set(self, key: str, value: Any) -> None:
        if key in ARRAY_OPTIONS or isinstance(self.options[key], (bool, str)):  # a choice, checked before
            if key in self.index:
                self.numbers[self.index[key]] = value
            return
        checked = self.checked(key, value)
        kept = tuple(x if callable(x) or (x is None and n in self.constants) else number for n, x, number in checked)
        self.options[key] = kept if key in self.tuple_arguments else kept[0]
        for name, x, number in checked if self.settable(key) else ():
            if number is None:
                function = x.function() if isinstance(x, Schedule) else x
                domain = self.domains.get(name, NONNEGATIVE)
                self.scheduled[name] = (name, function, self.index[name], domain.low, domain.high)
            else:
                self.scheduled.pop(name, None)
                self.numbers[self.index[name]] = number

    def checked(self, key: str, value: Any) -> list[tuple[str, Any, float | None]]:
        """Return name, value and number of each of an option's hyperparameters; of a schedule the number is None."""
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
        """Return a hyperparameter as a float; None may stand for a number that is fixed."""
        if x is None and name in self.constants:
            return self.constants[name]
        return self.domains.get(name, NONNEGATIVE).check(name, x)

    def number(self, name: str, step: int) -> float:
        """Return a hyperparameter's value at a step."""
        return self.check(name, self.scheduled[name][1](step)) if name in self.scheduled else float(self.numbers[self.index[name]])

    def evaluate(self, step: int) -> None:
        """Write the schedules' values at a step into `numbers`. A schedule may set hyperparameters, its own too, and that holds."""
        seen: dict[str, Any] = {}
        for _ in range(len(self.index) + 1):
            new = {name: entry for name, entry in self.scheduled.items() if seen.get(name) is not entry}
            if not new:
                return
            for name, entry in new.items():
                seen[name] = entry
                if self.scheduled.get(name) is entry:
                    value = self.check(name, entry[1](step))
                    if self.scheduled.get(name) is entry:
                        self.numbers[entry[2]] = value
        raise RuntimeError(f"{', '.join(new)}: schedules that set schedules without end")

    def values_now(self, scale: float) -> dict[str, float]:
        """Return all `numbers` by name, with the gradients' scale of a step."""
        values = {name: float(self.numbers[k]) for name, k in self.index.items()}
        return {**values, "scale": values["scale"] * scale}

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{k!r}: {v!r}' for k, v in self.items())}}}"

    def described(self) -> dict[str, Any]:
        """Return what a file says of the group: numbers as they are, schedules by their text, of other functions that they are."""

        def text(x: Any) -> Any:
            if x is None or isinstance(x, (bool, str)):
                return x
            if isinstance(x, (tuple, list)):
                return [text(y) for y in x]
            if isinstance(x, dict):
                return {str(k): text(y) for k, y in x.items()}
            if isinstance(x, np.ndarray):
                return hashlib.sha256(np.array(x, np.float64, order="C").tobytes()).hexdigest()
            if callable(x):
                return {"schedule": repr(x) if isinstance(x, Schedule) else "callable"}
            return float(x)

        return {key: text(self.options[key]) for key in self.options}
