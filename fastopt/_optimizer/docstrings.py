"""Docstrings of optimizers, assembled from a class's own arguments, those that many share, and the table of options."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .options import OF_GROUPS, OF_OPTIMIZERS, Option

WIDTH = 100
HEADING = "Parameters\n----------\n"
PARAMS = """params : arrays
    Arrays of any shape, of dtype float32, float64, complex64, complex128, float16 or bfloat16,
    updated in place; nested in mappings and sequences, or a list of group dicts,
    ``[{"params": ..., "lr": ...}, ...]``."""
ARGUMENTS = {
    "lr": "Learning rate: about the largest change of an element in a step, in the parameter's unit. Usual: 1e-4 to 1e-2.",
    "betas": "Decay rates of the averages of the gradient and of its square, in [0, 1). Usual: (0.9, 0.99) to (0.95, 0.9999).",
    "eps": "Added to the root of the second moment, in the gradient's unit; damps tiny gradients. Usual: 1e-16 to 1e-6.",
    "eps_root": "Added to the corrected second moment, inside the root, in the unit of the squared gradient. Usual: 0 to 1e-8.",
    "eps_hat": "Add `eps` before the bias correction of the second moment, not after it.",
    "decoupled_weight_decay": "Decay before the rule, ``p *= 1 - lr * weight_decay``, instead of the L2 penalty.",
    "initial_accumulator_value": "First value of the sum of squared gradients. Usual: 0 to 0.1.",
}
# Classes of ``torch.optim``.
OF_TORCH = {"SGD", "ASGD", "Adadelta", "Adafactor", "Adagrad", "Muon", "RMSprop", "Rprop"}
OF_TORCH |= {"Adam", "AdamW", "Adamax", "NAdam", "RAdam"}
WEIGHT_DECAY = {
    "l2": "L2 penalty: ``weight_decay * p`` is added to the gradient. Usual: 0 to 1e-3.",
    "decoupled": "Decoupled weight decay, before the rule: ``p *= 1 - lr * weight_decay``. Usual: 0 to 0.1.",
    "late_decay": "Decoupled weight decay: ``lr * weight_decay * p`` is part of the update. Usual: 0 to 0.1.",
}
# Names that a subclass declares, which `dir` of an optimizer leaves out.
DECLARATIONS = {
    "arguments",
    "update",
    "rule",
    "conventions",
    "tuple_arguments",
    "choices",
    "option_defaults",
    "unsupported_options",
}
DECLARATIONS |= {"fallback_rule", "uses_fallback", "fallback_names", "weight_decay_stage", "choose_weight_decay", "initial_state"}
DECLARATIONS |= {"constants", "defaults", "minimization_defaults"}
COMMON = """convention : {%s}, default "torch"
%s
**options
    Options of every optimizer. Numbers can be schedules; options of the first list, and the
    arguments above, can differ between groups, or by names of parameters and patterns of them,
    as in ``weight_decay={"embedding": 0.1, "*/bias": 0.0}``: a name comes before the patterns,
    the first that fits counts, and parameters without any keep the default:

%s

    Options of the whole optimizer:

%s%s

Raises
------
TypeError, ValueError
    If parameters cannot be updated in place, or an argument does not fit; the message names it."""


def assemble(cls: Any) -> str | None:
    """Return the docstring of a class with all its arguments.

    Its "Parameters" section has entries ``name``, followed by an indented description, for arguments that others do not share;
    entries with a type (``name : float``) keep it. Docstrings without that section, or with all arguments, stay as they are.
    """
    head, heading, rest = inspect.cleandoc(cls.__doc__ or "").partition(HEADING)
    if not heading or rest.startswith("params"):
        return cls.__doc__  # type: ignore[no-any-return]
    own, blank, tail = rest.partition("\n\n")
    described = {**inherited(cls), **entries(own)}
    cls._described = described
    parts = [PARAMS, *(entry(cls, name, described.get(name, ("", ""))) for name in cls.arguments)]
    is_of_torch = any(base.__name__ in OF_TORCH for base in cls.__mro__)
    return head + heading + "\n".join([*parts, common(["torch", *cls.conventions], is_of_torch=is_of_torch)]) + blank + tail


def of_base(cls: Any) -> str:
    """Return the docstring of the base class, which describes every option."""
    parameters = f"{HEADING}{PARAMS}\n{common(['torch'], whole=True)}"
    return inspect.cleandoc(cls.__doc__).replace("{parameters}", parameters)


def inherited(cls: Any) -> dict[str, tuple[str, str]]:
    """Return the shared descriptions of arguments, and those of the bases of a class: type, and text."""
    found = {name: ("", text) for name, text in {**ARGUMENTS, "weight_decay": WEIGHT_DECAY.get(cls.weight_decay_stage, "")}.items()}
    for base in cls.__mro__[:0:-1]:
        found |= {name: x for name, x in vars(base).get("_described", {}).items() if name not in ("lr", "weight_decay")}
    return found


def entries(section: str) -> dict[str, tuple[str, str]]:
    """Return type and description by name, from the entries of a section."""
    found: dict[str, tuple[str, str]] = {}
    for match in re.finditer(r"^(\w[\w, ]*?)(?: : (.*))?\n((?: +.*\n?)+)", section, re.MULTILINE):
        text = " ".join(match[3].split())
        found |= {name.strip(): (match[2] or "", text) for name in match[1].split(",")}
    return found


def entry(cls: Any, name: str, described: tuple[str, str]) -> str:
    """Return an argument's entry: name, type, default and description."""
    kind, text = described
    default = cls.arguments[name]
    if not kind and name in cls.choices:
        kind = "{" + ", ".join(f'"{x}"' for x in cls.choices[name]) + "}"
    elif not kind and name in cls.tuple_arguments:
        kind = f"{('two', 'three')[len(cls.tuple_arguments[name]) - 2]} floats or schedules"
    elif not kind:
        kind = "bool" if isinstance(default, bool) else f"{type(default).__name__} or schedule"
    text += " `fastopt.lr_find` finds one; see the guide on choosing." if name == "lr" else ""
    return f"{name} : {kind}, default {shown(default)}\n{wrapped(text)}"


def shown(default: Any) -> str:
    """Return a default as text."""
    if isinstance(default, (tuple, list)):
        return f"({', '.join(map(shown, default))})"
    return f"{default:g}" if isinstance(default, float) else repr(default).replace("'", '"')


def common(conventions: Sequence[str], whole: bool = False, is_of_torch: bool = True) -> str:
    """Return the entries of all optimizers; with `whole`, they describe every option."""
    known = ", ".join(f'"{name}"' for name in conventions)
    said = "Package whose formula and defaults to use, if they differ under one name."
    said += " Keras' weight decay is decoupled." if whole or "keras" in conventions else ""
    meaning = wrapped(said if is_of_torch else f'{said} PyTorch lacks this rule: "torch" stands for the reference\'s formula.')
    tables: tuple[Mapping[str, Option], ...] = (OF_GROUPS, OF_OPTIMIZERS)
    if whole:
        return COMMON % (known, meaning, *("\n".join(map(listed, table.values())) for table in tables), "")
    names = (wrapped(", ".join(f"``{name}``" for name in table) + ".") for table in tables)
    return COMMON % (known, meaning, *names, "\n\n    `fastopt.Optimizer` describes them.")


def is_public(name: str) -> bool:
    """Return True for a name of optimizers that users see: no declaration for subclasses, and no internal."""
    return name not in DECLARATIONS and (name[0] != "_" or name.startswith("__"))


def listed(option: Option) -> str:
    """Return an option as an entry of a list."""
    return wrapped(f"- ``{option.name}={shown(option.default)}``: {option.doc};", "  ")


@functools.cache
def wrapped(text: str, hanging: str = "") -> str:
    """Return an indented paragraph."""
    text = re.sub("``.*?``", lambda code: code[0].replace(" ", "\0"), text)  # Code is never broken.
    lines = textwrap.wrap(text, WIDTH - 4, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines).replace("\0", " "), " " * 4)
