"""Options of every optimizer: one table, from which signatures, checks, stages and docstrings follow."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Any

import numpy as np

from ..domains import Domain
from ..spec import STAGES


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes
    ----------
    name : str
    default : object
        The value that changes nothing.
    doc : str
        What it does, for docstrings.
    stages : tuple of str
        Stages that it switches on.
    is_late : bool
        Its first stage is always there, so that it can be set later.
    is_array : bool
        Its values are arrays of the parameters' shapes, or numbers for all elements.
    choices : tuple
        Values that it may have, where it is a word.
    least : int or None
        Of a whole number.
    """

    name: str
    default: Any
    doc: str
    stages: tuple[str, ...] = ()
    is_late: bool = False
    is_array: bool = False
    choices: tuple[Any, ...] = ()
    least: int | None = field(default=None)

    def is_set(self, value: Any) -> bool:
        """Return whether a value, checked before, is not the one that changes nothing."""
        plain = isinstance(value, (bool, int, float, str))
        return value is not None and not (plain and value == self.default)

    def check(self, value: Any) -> Any:
        """Return an optimizer's option as it is kept, or raise the error that says what is wrong with it."""
        name = self.name
        if self.choices:
            if not (value is None or isinstance(value, str)) or value not in self.choices:
                raise ValueError(f"{name}: {value!r}, expected one of {', '.join(map(repr, self.choices))}")
        elif isinstance(self.default, bool):
            return check_bool(name, value)
        elif self.least is not None:
            if self.default is None and value is None:
                return None
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not self.least <= value < 2**31:
                none = "None or " if self.default is None else ""
                raise ValueError(f"{name}: {value!r}, expected {none}a whole number of at least {self.least}, below 2**31")
            return int(value)
        return value


def check_bool(name: str, value: Any) -> bool:
    """Return True or False, or raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: {value!r}, expected True or False")
    return bool(value)


OF_GROUPS = {
    option.name: option
    for option in (
        Option("maximize", False, "go up the gradient", ("scale",), is_late=True),
        Option(
            "clip_value", math.inf, "the most that an element of the gradient may be", ("clip_value", "unclipped"), is_late=True
        ),
        Option(
            "clip_norm",
            math.inf,
            "the most that the norm of an array's gradient may be; settable later if given at construction",
            ("clip_norm", "unclipped"),
        ),
        Option(
            "clip_global_norm",
            math.inf,
            "the most that the norm of all gradients together may be (of the groups that have it); settable as `clip_norm`",
            ("clip_global_norm", "unclipped"),
        ),
        Option(
            "trust_ratio",
            0.0,
            "this times the ratio of norms of parameter and update scales each array's update (LAMB's; 0: no such)",
            ("trust_ratio",),
        ),
        Option("max_step", math.inf, "the most that an element may move", ("max_step",), is_late=True),
        Option(
            "step_scale",
            None,
            "factors of the update, numbers, arrays as the parameters, or masks; 0 freezes",
            ("step_scale",),
            is_array=True,
        ),
        Option(
            "bounds",
            None,
            "``(low, high)``, each a number, None, or arrays as the parameters; or an object with ``lb`` and ``ub``",
            ("bounds", "release", "moves"),
            is_array=True,
        ),
        Option("ema", 0.0, "decay rate of averages of the parameters, in ``average``", ("ema",)),
    )
}
OF_OPTIMIZERS = {
    option.name: option
    for option in (
        Option(
            "nonfinite",
            "propagate",
            'or ``"skip"`` the step, ``"zero"`` the element, ``"raise"`` FloatingPointError',
            ("finite",),
            choices=("propagate", "skip", "zero", "raise"),
        ),
        Option("accumulate", 1, "gradients whose mean makes one step", ("hold", "gather"), least=1),
        Option("zero_grads", False, "clear bound gradients once they are used or skipped"),
        Option("flush_subnormals", False, "compute with subnormal numbers as zeros"),
        Option(
            "norms",
            False,
            "know the norms of each step for ``report()``, at the cost of another pass",
            ("norms", "unclipped", "moves"),
        ),
        Option(
            "state_dtype",
            None,
            'store the state of float32, float16 and bfloat16 parameters as ``"float32"``, ``"bfloat16"``, ``"float16"`` (from '
            '6e-8 to 65504, which second moments easily leave) or ``"float8"``; None is as the parameter, of float16 '
            "parameters float32",
            choices=(None, "float32", "bfloat16", "float16", "float8"),
        ),
        Option(
            "master",
            None,
            'of those parameters that are bfloat16, keep ``"float32"`` copies, which the next step starts from whatever was '
            'written to the parameters, or, as ``"split"``, the bits that bfloat16 drops',
            choices=(None, "float32", "split"),
        ),
        Option(
            "rounding",
            "stochastic",
            'or ``"nearest"``, of what is stored below float32, with `seed`',
            choices=("stochastic", "nearest"),
        ),
        Option("seed", 0, "of the random bits of stochastic rounding", least=0),
        Option(
            "mode",
            "lazy",
            'a gradient of rows (`RowGradient`) updates those alone; ``"exact"``: all rows become what dense gradients make of '
            "them, once you call `catch_up`; not with what sums over parameters (``norms``, ``trust_ratio``)",
            choices=("lazy", "exact"),
        ),
        Option("threads", None, "at most so many; 1 never starts a pool, None is as many as pay", least=1),
    )
}
OPTIONS = {name: option.default for name, option in OF_GROUPS.items()}
ARRAY_OPTIONS = tuple(name for name, option in OF_GROUPS.items() if option.is_array)
WEIGHT_DECAY_STAGES = tuple(name for name, stage in STAGES.items() if "weight_decay" in stage.hyperparameters)
DOMAINS: dict[str, Domain] = {name: domain for stage in STAGES.values() for name, domain in stage.domains.items()}

Settings = make_dataclass("Settings", [(o.name, Any, field(default=o.default)) for o in OF_OPTIMIZERS.values()], frozen=True)
Settings.__module__ = __name__
Settings.__doc__ = "Options that all groups of an optimizer share, checked."


def check_settings(given: Mapping[str, Any]) -> Any:
    """Return the settings of an optimizer from its constructor's arguments."""
    return Settings(**{name: OF_OPTIMIZERS[name].check(value) for name, value in given.items()})


def stages_of(options: Mapping[str, Any], settings: Any, decay: str | None) -> set[str]:
    """Return the names of the stages that a group has: those that may be set later too, and what was asked for."""
    return {name for name in STAGES if is_present(name, options, settings, decay)}


def is_present(stage: str, options: Mapping[str, Any], settings: Any, decay: str | None) -> bool:
    """Return whether a group has a stage: its optimizer's options all ask for it, and one of its own options, if it has any."""
    if stage in WEIGHT_DECAY_STAGES:
        return stage == decay
    asked = [o.is_set(getattr(settings, o.name)) for o in OF_OPTIMIZERS.values() if stage in o.stages]
    own = [o.is_set(options[o.name]) or (o.is_late and stage == o.stages[0]) for o in OF_GROUPS.values() if stage in o.stages]
    return all(asked) and (any(own) or not own)


COMMON = """convention : {%s}, default "torch"
        Whose formula and defaults these are, where packages differ under one name; Keras' weight decay is decoupled.
    **options
        Of every optimizer, each number also a schedule, and each of the first group's also in a group dict:

%s

        And of the optimizer as a whole:

%s%s

    Raises
    ------
    TypeError, ValueError
        For parameters that cannot be updated in place, and for arguments that do not fit, by name."""


def common_doc(conventions: Sequence[str], whole: bool = False) -> str:
    """Return the part of a docstring that is of every optimizer; `whole`: with what each option does, not its name alone."""
    known = ", ".join(f'"{name}"' for name in conventions)
    tables = (OF_GROUPS.values(), OF_OPTIMIZERS.values())
    if whole:
        return COMMON % (known, *("\n".join(map(listed, table)) for table in tables), "")
    return COMMON % (known, *NAMES, "\n\n        `fastopt.Optimizer` describes them.")


def listed(option: Option) -> str:
    """Return an option as an entry of a list."""
    default = repr(option.default).replace("'", '"')
    return wrapped(f"- ``{option.name}={default}``: {option.doc};", "  ")


def wrapped(text: str, hanging: str) -> str:
    """Return lines of a docstring."""
    return textwrap.fill(text, 124, initial_indent=" " * 8, subsequent_indent=" " * 8 + hanging, break_long_words=False)


NAMES = [wrapped(", ".join(f"``{name}``" for name in table) + ".", "") for table in (OF_GROUPS, OF_OPTIMIZERS)]
