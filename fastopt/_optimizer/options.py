"""Options of every optimizer: one table, from which signatures, checks, stages and docstrings are made."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Any

from .._arrays import dtypes
from ..domains import Domain, check_bool, whole
from ..spec import STAGES


@dataclass(frozen=True)
class Option:
    """One option of optimizers.

    Attributes
    ----------
    name : str
    default : object
        The value that has no effect.
    doc : str
        Its description, for docstrings.
    stages : tuple of str
        Stages that it turns on.
    is_late : bool
        Its first stage is always present, so that it can be set later.
    is_array : bool
        Its values are arrays of the parameters' shapes, or numbers for every element.
    choices : tuple
        Allowed values of a string option.
    is_dtype : bool
        Dtypes may stand for the names among its choices.
    least : int or None
        Smallest allowed value of an integer option.
    length : int or None
        Number of integers, if it has several.
    """

    name: str
    default: Any
    doc: str
    stages: tuple[str, ...] = ()
    is_late: bool = False
    is_array: bool = False
    choices: tuple[Any, ...] = ()
    is_dtype: bool = False
    least: int | None = field(default=None)
    length: int | None = None

    def is_set(self, value: Any) -> bool:
        """Return True if a value, checked before, differs from the one without effect."""
        plain = isinstance(value, (bool, int, float, str))
        return value is not None and not (plain and value == self.default)

    def check(self, value: Any) -> Any:
        """Return an optimizer's option as it is stored, or raise."""
        name = self.name
        value = dtypes.name_of(value) if self.is_dtype else value
        if self.choices:
            if not (value is None or isinstance(value, str)) or value not in self.choices:
                raise ValueError(f"{name}: {value!r}, expected one of {', '.join(map(repr, self.choices))}")
        elif isinstance(self.default, bool):
            return check_bool(name, value)
        elif self.least is not None and not (self.default is None and value is None):
            return self.check_integers(value)
        return value

    def check_integers(self, value: Any) -> int | tuple[int, ...]:
        """Return an option of one integer or several as it is stored, or raise."""
        most = 2**31 if self.length is None else 2**62
        entries = (value,) if self.length is None else tuple(value) if isinstance(value, (tuple, list)) else ()
        numbers = tuple(number for x in entries if (number := whole(x)) is not None and (self.least or 0) <= number < most)
        if len(numbers) != (self.length or 1) or len(numbers) != len(entries):
            none = "None or " if self.default is None else ""
            kind = "a whole number" if self.length is None else f"{self.length} whole numbers"
            raise ValueError(
                f"{self.name}: {value!r}, expected {none}{kind} of at least {self.least}, below 2**{most.bit_length() - 1}"
            )
        return numbers[0] if self.length is None else numbers


OF_GROUPS = {
    option.name: option
    for option in (
        Option("maximize", False, "maximize instead of minimizing", ("scale",), is_late=True),
        Option("clip_value", math.inf, "clip each element of the gradient to [-x, x]", ("clip_value", "unclipped"), is_late=True),
        Option(
            "clip_norm",
            math.inf,
            "largest L2 norm of each array's gradient, which is scaled down to it; can be set later if given at construction",
            ("clip_norm", "unclipped"),
        ),
        Option(
            "clip_global_norm",
            math.inf,
            "largest L2 norm of the gradients of all groups that have it, together; can be set later if given at construction",
            ("clip_global_norm", "unclipped"),
        ),
        Option(
            "trust_ratio",
            0.0,
            "scale each array's update to this times the norm of the array, as in LAMB; 0 does not scale",
            ("trust_ratio",),
        ),
        Option("max_step", math.inf, "largest change of an element", ("max_step",), is_late=True),
        Option(
            "step_scale",
            None,
            "factors of the update: a number, or arrays or masks like the parameters; 0 freezes",
            ("step_scale",),
            is_array=True,
        ),
        Option(
            "bounds",
            None,
            "``(low, high)``, each a number, None, or arrays like the parameters; or an object with ``lb`` and ``ub``",
            ("bounds", "release", "moves"),
            is_array=True,
        ),
        Option("ema", 0.0, "decay rate of averages of the parameters, available as ``average``", ("ema",)),
        Option(
            "initial_state",
            None,
            'first values of the rule\'s state by its names, such as ``{"v": 1.0}``: numbers, or numbers and arrays by names of '
            "parameters; ``step`` is the number of steps made before, from which bias corrections go on",
            is_array=True,
        ),
    )
}
OF_OPTIMIZERS = {
    option.name: option
    for option in (
        Option(
            "nonfinite",
            "propagate",
            'what an infinite or NaN gradient does: nothing special, ``"skip"`` the step, ``"zero"`` the element, or ``"raise"`` '
            "FloatingPointError",
            ("finite",),
            choices=("propagate", "skip", "zero", "raise"),
        ),
        Option("accumulate", 1, "number of gradients whose mean makes one step", ("hold", "gather"), least=1),
        Option("zero_grads", False, "zero bound gradients after a step has used or skipped them"),
        Option("flush_subnormals", False, "treat subnormal numbers as zeros"),
        Option(
            "norms",
            False,
            "compute the norms of each step for ``report()``, which costs another pass over memory",
            ("norms", "unclipped", "moves"),
        ),
        Option(
            "state_dtype",
            None,
            'storage of the state of float32, float16 and bfloat16 parameters: ``"float32"``, ``"bfloat16"``, ``"float16"`` (from '
            '6e-8 to 65504, which second moments easily leave) or ``"float8"``; None is the dtype of the parameter, for float16 '
            "parameters float32",
            choices=(None, "float32", "bfloat16", "float16", "float8"),
            is_dtype=True,
        ),
        Option(
            "master",
            None,
            '``"float32"``: keep a float32 copy of bfloat16 parameters, from which each step starts, so that what you write to the '
            'parameters is lost; ``"split"``: keep the 16 bits that bfloat16 drops',
            choices=(None, "float32", "split"),
            is_dtype=True,
        ),
        Option(
            "rounding",
            "stochastic",
            'rounding of formats below float32, with `seed`; or ``"nearest"``',
            choices=("stochastic", "nearest"),
        ),
        Option("seed", 0, "seed of stochastic rounding", least=0),
        Option(
            "mode",
            "lazy",
            'a gradient of rows (`RowGradient`) updates only those; ``"exact"``: all rows get the values that dense gradients '
            "give, after `catch_up`; not with options that sum over parameters (``norms``, ``trust_ratio``)",
            choices=("lazy", "exact"),
        ),
        Option(
            "span",
            None,
            "``(start, stop)``: step these places of packed parameters alone (`pack`), with state for them, and the bits of a step "
            "over all",
            least=0,
            length=2,
        ),
        Option("threads", None, "largest number of threads; 1 never starts a pool, None uses as many as pay", least=1),
    )
}
OPTIONS = {name: option.default for name, option in OF_GROUPS.items()}
# Options of groups that cannot be set unless they were given at construction, or at all.
FIXED = [name for name, option in OF_GROUPS.items() if not option.is_late or isinstance(option.default, bool)]
ARRAY_OPTIONS = tuple(name for name, option in OF_GROUPS.items() if option.is_array)
WEIGHT_DECAY_STAGES = tuple(name for name, stage in STAGES.items() if "weight_decay" in stage.hyperparameters)
DOMAINS: dict[str, Domain] = {name: domain for stage in STAGES.values() for name, domain in stage.domains.items()}

Settings = make_dataclass("Settings", [(o.name, Any, field(default=o.default)) for o in OF_OPTIMIZERS.values()], frozen=True)
Settings.__module__ = __name__
Settings.__doc__ = "Options that all groups of an optimizer share, checked."


def check_settings(given: Mapping[str, Any]) -> Any:
    """Return the settings of an optimizer from the options that were given."""
    return Settings(**{name: OF_OPTIMIZERS[name].check(value) for name, value in given.items()})


def stages_of(options: Mapping[str, Any], settings: Any, decay: str | None) -> frozenset[str]:
    """Return the names of a group's stages: those that are asked for, and those that may be set later."""
    chosen = [o.name for o in OF_GROUPS.values() if o.is_set(options[o.name])]
    chosen += [o.name for o in OF_OPTIMIZERS.values() if o.stages and o.is_set(getattr(settings, o.name))]
    return stages_by(frozenset(chosen), decay)


@functools.cache
def stages_by(chosen: frozenset[str], decay: str | None) -> frozenset[str]:
    """Return the names of the stages that these options, by name, and a stage of weight decay choose."""
    return frozenset(name for name in STAGES if is_present(name, chosen, decay))


def is_present(stage: str, chosen: frozenset[str], decay: str | None) -> bool:
    """Return True if a group has a stage: all of its optimizer options are set, and one of its group options, if it has any."""
    if stage in WEIGHT_DECAY_STAGES:
        return stage == decay
    if not all(o.name in chosen for o in OF_OPTIMIZERS.values() if stage in o.stages):
        return False
    of_groups = [o for o in OF_GROUPS.values() if stage in o.stages]
    return not of_groups or any((o.is_late and stage == o.stages[0]) or o.name in chosen for o in of_groups)
