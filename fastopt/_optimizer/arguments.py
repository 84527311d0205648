"""Arguments of optimizers: from the declarations of a class and the call of its constructor to groups of hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from .. import spec
from .._arrays.tree import check_nesting, listed
from ..domains import NONNEGATIVE, Domain, check_bool
from .array_options import initial_values, operands, own_copy
from .by_name import Leaves, by_name, check_options, flat, is_same, split
from .groups import Group, check_hyperparameter, defaults_of, domains_of, of_class
from .names import expected
from .options import ARRAY_OPTIONS, OF_OPTIMIZERS, OPTIONS, check_settings, stages_of
from .parameter import Parameter
from .spans import Pieces, cut


def signature(arguments: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature of a class with these arguments."""
    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    parameters += [kinds(k, kinds.POSITIONAL_OR_KEYWORD, default=x) for k, x in arguments.items()]
    parameters += [kinds("convention", kinds.KEYWORD_ONLY, default="torch"), kinds("options", kinds.VAR_KEYWORD)]
    return inspect.Signature(parameters)


@dataclass(frozen=True)
class Resolved:
    """Arguments of a constructor: defaults of its groups, settings of the optimizer, and its stage of weight decay."""

    defaults: dict[str, Any]
    settings: Any
    weight_decay_stage: str | None


def resolve(cls: Any, positional: Sequence[Any], convention: str, options: dict[str, Any]) -> Resolved:
    """Return the arguments of a constructor call, or raise for those that the class does not have."""
    name = cls.__name__
    check_convention(cls, convention)
    preset = dict(cls.conventions.get(convention, {}))
    decay = preset.pop("weight_decay_stage", cls.weight_decay_stage)
    given = dict(zip(cls.arguments, positional, strict=False))
    if len(positional) > len(cls.arguments) or set(given) & set(options):
        raise TypeError(f"{name}: an argument is given twice, or there are too many; expected params, {', '.join(cls.arguments)}")
    check_nesting({**given, **options})
    given |= {k: options.pop(k) for k in cls.arguments if k in options}
    common = {k: options.pop(k, default) for k, default in {**OPTIONS, **cls.option_defaults}.items()}
    shared = {k: options.pop(k) for k in OF_OPTIMIZERS if k in options}
    chosen = {**cls.arguments, **preset, **given}
    defaults = {**{k: tuple(v) if k in cls.tuple_arguments and isinstance(v, list) else v for k, v in chosen.items()}, **common}
    defaults |= {key: flat(value) for key, value in by_name(defaults).items()}  # Copies, for groups that are added later.
    if options:
        names = (*defaults, "convention", *OF_OPTIMIZERS)
        raise TypeError(f"{name}: {'; '.join(f'unknown {k}, {expected(k, names)}' for k in options)}")
    return Resolved(defaults, check_settings(shared), decay)


def check_convention(cls: Any, convention: Any) -> None:
    """Raise for the name of a package that a class knows no formula of."""
    known = ("torch", *cls.conventions)
    if not isinstance(convention, str) or convention not in known:
        raise ValueError(f"convention: {convention!r}, expected one of {', '.join(map(repr, known))} for {cls.__name__}")


def split_groups(params: Any, defaults: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]] | None]:
    """Return the parameters, and each group's options if they are a list of group dicts (else None)."""
    if isinstance(params, (Iterator, ValuesView)):
        params = list(params)
    check_nesting({"params": params})
    if isinstance(params, dict) and "params" in params and has_options(params, defaults):
        raise ValueError("params: one group, expected a list of groups, [{'params': ..., 'lr': ...}, ...]")
    if not isinstance(params, Sequence) or not any(is_group(x, defaults) for x in params):
        return listed(params), None
    for k, g in enumerate(params):
        if not isinstance(g, dict) or "params" not in g:
            raise ValueError(f"group {k}: no 'params', expected [{{'params': ..., 'lr': ...}}, ...]")
    return [listed(g["params"]) for g in params], [group_options(g, defaults) for g in params]


def is_group(x: Any, defaults: Mapping[str, Any]) -> bool:
    """Return True for a dict that is meant as a group: it has parameters or options."""
    return isinstance(x, dict) and ("params" in x or has_options(x, defaults))


def has_options(x: Mapping[Any, Any], defaults: Mapping[str, Any]) -> bool:
    """Return True if a dict holds options; arrays under their names are parameters."""
    return any(key in defaults and not holds_arrays(value) for key, value in x.items())


def holds_arrays(x: Any) -> bool:
    """Return True for an array with axes, and for dicts and lists of them alone."""
    children = [*x.values()] if isinstance(x, Mapping) else x if isinstance(x, (list, tuple)) else []
    return all(map(holds_arrays, children)) if children else bool(getattr(x, "ndim", 0))


def group_options(group: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group dict, with defaults."""
    given = {k: v for k, v in group.items() if k != "params"}
    check_nesting(given)
    if shared := set(given) & {"convention", *OF_OPTIMIZERS}:
        raise TypeError(f"group: {', '.join(sorted(shared))} is of the optimizer as a whole, expected as its argument")
    if unknown := set(given) - set(defaults):
        raise TypeError(f"group: {'; '.join(f'unknown {k}, {expected(k, defaults)}' for k in given if k in unknown)}")
    return {**defaults, **given}


def make_groups(
    optimizer: Any, given: Sequence[tuple[Mapping[str, Any], str | None, Leaves]], first: int = 0, pieces: Pieces | None = None
) -> tuple[list[Group], list[Parameter]]:
    """Return groups and parameters from the options, path and parameters of each group that was given.

    One with options by names becomes several, in each of which all options are alike. `first` is the number of groups before.
    With `pieces`, there are parameters of those names alone.
    """
    check_options(given, optimizer.defaults, first > 0)
    usual = usual_of(type(optimizer), optimizer._convention)
    groups: list[Group] = []
    parameters: list[Parameter] = []
    for origin, (options, path, leaves) in enumerate(given, first):
        parts = split(options, [optimizer.defaults, usual], path, leaves, partial(kept_option, type(optimizer)))
        made = [make_group(optimizer, part, [leaves[i] for i in places], origin) for part, places in parts]
        known = dict.fromkeys(name for group in made for name in group.state_names)
        arrays = operands(made[0].chosen, path, leaves)
        firsts = initial_values(made[0].chosen["initial_state"], path, leaves, known)
        members = {}
        for group, (_, places) in zip(made, parts, strict=True):
            usual_firsts = optimizer.initial_state(group.chosen)
            for i in [i for i in places if pieces is None or leaves[i][0] in pieces]:
                piece, name = None if pieces is None else pieces[leaves[i][0]], leaves[i][0]
                a, initial, operands_ = cut(piece, leaves[i][1], {**usual_firsts, **firsts[i]}, arrays[i])
                members[i] = Parameter(name, a, group, initial, operands_, optimizer._settings, optimizer._memory, piece)
        check_common(made, members.values())
        groups += made
        parameters += [members[i] for i in sorted(members)]
    return groups, parameters


def check_common(parts: Sequence[Group], members: Iterable[Parameter]) -> None:
    """Raise if parts of a group differ in what must be common to all, since the rule makes one estimate for the group."""
    rule, first = parts[0].rule, parts[0].options
    if not (rule.carry and rule.scope == "over_group"):
        return
    shared = [key for key in first if key not in ("weight_decay", "eps") and {*parts[0].names(key)} <= {*rule.hyperparameters}]
    differing = [key for key in shared if not all(is_same(part.options[key], first[key]) for part in parts)]
    if len({(parameter.first_counter[0], *parameter.first_counter[1]) for parameter in members}) > 1:
        differing.append("initial_state")
    for part in parts:
        part.siblings, part.common = list(parts), shared
    if differing:
        raise ValueError(f"{differing[0]}: differs within a group of which {rule.name} makes one estimate, expected groups")


def usual_of(cls: Any, convention: str) -> dict[str, Any]:
    """Return the defaults of a class in a convention."""
    return {**cls.arguments, **cls.conventions.get(convention, {}), **OPTIONS, **cls.option_defaults}


def make_group(optimizer: Any, options: Mapping[str, Any], leaves: Leaves, origin: int) -> Group:
    """Return a group of an optimizer. Options are checked before they choose a rule."""
    cls: Any = type(optimizer)
    settings = optimizer._settings
    domains = domains_of(cls)
    usual = defaults_of(cls)
    options = {k: x if x is usual.get(k, usual) else checked_option(cls, k, x, domains) for k, x in options.items()}
    for key in cls.unsupported_options:
        if options[key] is not OPTIONS[key] and options[key] != OPTIONS[key]:
            raise ValueError(f"{key}: not supported by {cls.__name__}, which would apply it to only one of its two iterates")
    rule, fallback = spec.of(optimizer.rule(options)), optimizer.fallback_rule(options)
    decay = optimizer.choose_weight_decay(options)
    if options["step_scale"] is not None and decay == "decoupled":
        # An element's own step size applies to its decay too.
        decay = "late_decay"
    return Group(
        cls,
        options,
        rule,
        spec.of(fallback) if fallback else None,
        not optimizer.uses_fallback(options),
        stages_of(options, settings, decay if "weight_decay" in options else None),
        {"accumulate": float(settings.accumulate), **optimizer.constants(options, [a for _, a in leaves])},
        origin,
        tuple(name for name, _ in leaves),
    )


def checked_option(cls: Any, key: str, value: Any, domains: Mapping[str, Domain]) -> Any:
    """Return an option of a group as it is stored, or raise the error that says what it may be."""
    if key in cls.choices:
        words = cls.choices[key]
        value = words[0] if value is None else value
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{key}: {value!r}, expected one of {', '.join(map(repr, words))}")
    elif key in switches_of(cls):
        return check_bool(key, value)
    elif key in ARRAY_OPTIONS:
        return own_copy(value)
    elif key not in cls.tuple_arguments:
        check_hyperparameter(key, value, domains.get(key, NONNEGATIVE))
    return value


def kept_option(cls: Any, key: str, value: Any) -> Any:
    """Return an option of a group as it is kept, or raise: numbers of any type as floats, lists as tuples."""
    domains = domains_of(cls)
    value = checked_option(cls, key, value, domains)
    if key in cls.choices:
        return str(value)
    if key in cls.tuple_arguments and isinstance(value, Iterable):
        names = cls.tuple_arguments[key]
        return tuple(kept_number(x, domains.get(name, NONNEGATIVE), name) for name, x in zip_longest(names, value, fillvalue=key))
    return value if isinstance(value, bool) else kept_number(value, domains.get(key, NONNEGATIVE), key)


def kept_number(x: Any, domain: Domain, name: str) -> Any:
    """Return a number as a float; schedules, and None that stands for a constant, as they are."""
    return x if callable(x) or (x is None and not domain.is_limit) else domain.check(name, x)


@of_class
def switches_of(cls: Any) -> frozenset[str]:
    """Return the options of a class that are True or False."""
    return frozenset(key for key, value in {**cls.arguments, **OPTIONS}.items() if isinstance(value, bool))
