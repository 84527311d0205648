"""Hyperparameters: what each may be, and the groups of parameters that share theirs."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from .._arrays.tree import check_nesting
from ..schedules import Schedule
from ..spec import STAGES, Formula

FINITE = sys.float_info.max
BELOW_ONE, ABOVE_ONE = math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)
POSITIVE = (0.0, FINITE)
FRACTION = (0.0, BELOW_ONE)
LIMIT = (0.0, math.inf)
LIMITS = ("clip_value", "clip_norm", "clip_global_norm", "max_step")  # where None is no limit
DOMAINS = {  # of a hyperparameter, or of a rule's; POSITIVE where nothing is said
    **dict.fromkeys(("beta1", "beta2", "beta3", "alpha", "rho", "ema"), FRACTION),
    **dict.fromkeys(("asgd alpha", "ademamix alpha"), POSITIVE),
    **dict.fromkeys((*LIMITS, "momentum_decay"), LIMIT),
    "growth_rate": (1.0, math.inf),  # what is less would shrink every estimate
    "eta_minus": (sys.float_info.min, BELOW_ONE),
    "eta_plus": (ABOVE_ONE, FINITE),
    "schedule_free_sgd momentum": FRACTION,
    "dog eps": (sys.float_info.min, FINITE),  # the sum of squares begins there, and is divided by
    "ftrl lr": (sys.float_info.min, FINITE),  # its rate is one over that
    **dict.fromkeys(("d0", "reps_rel"), (sys.float_info.min, FINITE)),  # from zero there is no way on
    **dict.fromkeys(("eps1", "muon eps"), (sys.float_info.min, FINITE)),  # a gradient of zeros is divided by no more
    "muon momentum": FRACTION,
    **dict.fromkeys(("dampening", "ns1", "ns2", "ns3"), (-FINITE, FINITE)),
    "beta2_decay": (-FINITE, 0.0),
    "d": (1.0, FINITE),
    "ns_steps": (0.0, 99.0),
}
WHOLE = ("ns_steps",)
ORDERED = (("step_min", "step_max"),)  # hyperparameters of which the first may not be above the second
OPERANDS = ("bounds", "step_scale")  # options that are arrays of a parameter's shape, or numbers for all elements
DECAYS = ("l2", "decoupled", "late_decay", "proximal")


def domain(name: str, rule: str = "") -> tuple[float, float]:
    """The least and the greatest value of a hyperparameter."""
    return DOMAINS.get(f"{rule} {name}", DOMAINS.get(name, POSITIVE))


def stage_domain(name: str) -> tuple[float, float]:
    """The least and the greatest value of a hyperparameter of a stage, as C calls it."""
    return (-FINITE, FINITE) if name == "scale" else domain(name)


def check_number(name: str, x: Any, rule: str = "") -> float:
    """The hyperparameter as a float, or the error that says what it may be."""
    low, high = domain(name, rule)
    try:
        if isinstance(x, (str, bytes, bool, np.bool_)):
            raise TypeError
        value = high if x is None and name in LIMITS else float(x)
    except OverflowError:
        value = math.inf
    except (TypeError, ValueError):
        check_nesting({name: x})
        raise TypeError(f"{name}: {x!r}, expected a number or a schedule") from None
    if name in WHOLE and value % 1:
        raise ValueError(f"{name}: {value}, expected a whole number")
    if not low <= value <= high:
        above = "" if low == -FINITE else "1 < " if low == ABOVE_ONE else f"{low:g} <= "
        below = {BELOW_ONE: " < 1", math.inf: "", FINITE: ", a finite number"}.get(high, f" <= {high:g}")
        raise ValueError(f"{name}: {value}, expected {above}{name}{below}")
    return value


def is_ordered(names: Collection[str]) -> bool:
    """Whether some of these hyperparameters stand in a relation."""
    return any(low in names for low, _ in ORDERED)


def check_order(values: Mapping[str, float]) -> None:
    """Raise where hyperparameters that stand in a relation do not."""
    for low, high in ORDERED:
        if low in values and high in values and values[low] > values[high]:
            raise ValueError(f"{low}: {values[low]:g}, expected at most {high}, {values[high]:g}")


def check_hyperparameter(name: str, x: Any, rule: str = "") -> float | None:
    """As `check_number`; None for a schedule."""
    return None if callable(x) and not isinstance(x, type) else check_number(name, x, rule)


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some parameters: numbers or schedules, set at any time, and choices fixed at construction.

    Attributes
    ----------
    rule : Formula
        What the options chose.
    beside : Formula or None
        The rule of arrays that `rule` is not for.
    fits : bool
        Whether `rule` is for any array of the group.
    of_beside : tuple of int
        The slots of that one's hyperparameters.
    chosen : dict
        The options as they were then.
    numbers : ndarray of float64
        The rule's hyperparameters, then the stages'; the engine reads them at each step. `slot` says where each lies.
    scheduled : dict of str
        Of each hyperparameter that is a schedule: its name, the function of a step, its slot, and its domain.
    stages : list of Formula
    inputs : dict of str
        Of each stage: the slots of its hyperparameters.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        spread: Mapping[str, Sequence[str]],
        rule: Formula,
        stages: Collection[str],
        fixed: Mapping[str, float],
        beside: Formula | None = None,
        renamed: Mapping[str, str] = MappingProxyType({}),
        fits: bool = True,
    ) -> None:
        self.rule, self.beside, self.fits = rule, beside, fits
        self.spread = spread
        self.stages = [stage for name, stage in STAGES.items() if name in stages]
        others = [renamed.get(h, h) for h in (beside.hyperparameters if beside else ())]
        names = [*rule.hyperparameters, *others, *(h for stage in self.stages for h in stage.hyperparameters)]
        names = list(dict.fromkeys(names))
        self.fixed = fixed
        self.slot = {name: k for k, name in enumerate(names)}
        self.numbers = np.zeros(len(names))
        for name, x in {"scale": -1.0 if options["maximize"] else 1.0, **fixed}.items():
            if name in self.slot:
                self.numbers[self.slot[name]] = x
        self.of_beside = tuple(self.slot[name] for name in others)
        self.inputs = {stage.name: tuple(self.slot[n] for n in stage.hyperparameters) for stage in self.stages}
        self.scheduled: dict[str, tuple[str, Callable[[int], float], int, float, float]] = {}
        self.options = dict(options)
        for key, value in options.items():
            self._set(key, value)
        self.chosen = dict(self.options)

    def rule_of(self, shape: Sequence[int]) -> Formula:
        """The rule of an array."""
        return self.beside if self.beside and not (self.fits and self.rule.fits(shape)) else self.rule

    def values_of(self, rule: Formula, values: Mapping[str, float]) -> dict[str, float]:
        """Of all hyperparameters by name, a rule's by the names that it has for them."""
        if rule is self.rule:
            return dict(values)
        names = list(self.slot)
        return {**values, **{h: values[names[k]] for h, k in zip(rule.hyperparameters, self.of_beside, strict=True)}}

    __eq__ = object.__eq__  # two groups of equal hyperparameters are two groups
    __hash__ = object.__hash__

    def names(self, key: str) -> Sequence[str]:
        """Names of the numbers that an option consists of: of ``betas``, two."""
        return self.spread.get(key, (key,))

    def settable(self, key: str) -> bool:
        """Whether an option is of numbers that the rule or a stage reads."""
        return all(name in self.slot for name in self.names(key)) and not isinstance(self.options[key], bool)

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
        elif value is not self.options[key] and (key in OPERANDS or value != self.options[key]):
            raise ValueError(f"{key}: {self.options[key]!r} was chosen at construction and stays (rule {self.rule.name!r})")

    def _set(self, key: str, value: Any) -> None:
        settable, names = self.settable(key), self.names(key)
        if key in OPERANDS or isinstance(self.options[key], (bool, str)):  # a choice, checked before
            if key in self.slot:
                self.numbers[self.slot[key]] = value
            return
        entries = tuple(value) if key in self.spread and isinstance(value, Iterable) else (value,)
        if len(entries) != len(names):
            check_nesting({key: value})
            raise ValueError(f"{key}: {value!r}, expected {len(names)} values")
        checked = [
            self.check(n, x) if x is None else check_hyperparameter(n, x, self.rule.name)
            for n, x in zip(names, entries, strict=True)
        ]
        entries = tuple(
            x if number is None or (x is None and n in self.fixed) else number
            for n, x, number in zip(names, entries, checked, strict=True)
        )
        check_order({n: number for n, number in zip(names, checked, strict=True) if number is not None})
        self.options[key] = entries if key in self.spread else entries[0]
        if not settable:
            return
        for name, x, number in zip(names, entries, checked, strict=True):
            if number is None:
                function = x.function() if isinstance(x, Schedule) else x
                self.scheduled[name] = (name, function, self.slot[name], *domain(name, self.rule.name))
            else:
                self.scheduled.pop(name, None)
                self.numbers[self.slot[name]] = number

    def check(self, name: str, x: Any) -> float:
        """As `check_number`, for this group's rule, where None may stand for a number that is fixed."""
        if x is None and name in self.fixed:
            return self.fixed[name]
        return check_number(name, x, self.rule.name)

    def number(self, name: str, step: int) -> float:
        """A hyperparameter's value at a step."""
        return self.check(name, self.scheduled[name][1](step)) if name in self.scheduled else float(self.numbers[self.slot[name]])

    def evaluate(self, step: int) -> None:
        """The schedules' values at a step into `numbers`. A schedule may set hyperparameters, its own too: what is set holds."""
        seen: dict[str, Any] = {}
        for _ in range(len(self.slot) + 1):
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
        """All `numbers` by name, with the gradients' scale of a step."""
        values = {name: float(self.numbers[k]) for name, k in self.slot.items()}
        return {**values, "scale": values["scale"] * scale}

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{k!r}: {v!r}' for k, v in self.items())}}}"

    def described(self) -> dict[str, Any]:
        """What a file says of the group: numbers as they are, schedules by their text, other functions only that they are."""

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
