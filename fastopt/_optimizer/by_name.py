"""Names of parameters: options for each, and selections of some, by exact names or by patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .._arrays.tree import flatten, listed
from ..domains import NONNEGATIVE
from .options import ARRAY_OPTIONS

Leaves = Sequence[tuple[str, Any]]
Part = tuple[dict[str, Any], list[int]]  # Options, and places of the parameters that have them.


def no_decay(params: Any, others: float | None = None) -> dict[str, float]:
    """Return the weight decay of the usual split: 0 for biases, gains and other arrays of less than two axes.

    Parameters
    ----------
    params : nested like the parameters
        Arrays, as for an optimizer; of one group, if it has several.
    others : float, optional
        The decay of all other parameters. Default: the optimizer's own.

    Returns
    -------
    dict of str
        For ``weight_decay``: 0.0 by the names of those arrays, and `others` for the pattern ``"*"``.

    Raises
    ------
    TypeError, ValueError
        If `others` is not a number, or parameters are nested without end.

    Examples
    --------
    >>> import fastopt as fo, numpy as np
    >>> params = {"weight": np.zeros((3, 2)), "bias": np.zeros(2)}
    >>> fo.no_decay(params, 0.1)
    {'bias': 0.0, '*': 0.1}
    >>> optimizer = fo.AdamW(params, weight_decay=fo.no_decay(params, 0.1))
    """
    found = {name: 0.0 for name, a in flatten(listed(params))[1] if np.ndim(a) < 2}
    return found if others is None else {**found, "*": NONNEGATIVE.check("others", others)}


def flat(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return values by names and patterns, from mappings nested like the parameters."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        nested = flat(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{key}/{name}" if name else f"{key}": x for name, x in nested.items()}
    return found


def is_pattern(key: str) -> bool:
    """Return True for a key that may match names other than itself."""
    return any(c in key for c in "*?[")


def ways_of(name: str, path: str | None) -> tuple[str, ...]:
    """Return what a parameter may be called: its name, first without the beginning that it has in a group."""
    return (name,) if path is None else (name.removeprefix(f"{path}/"), name)


def keys_of(keys: Iterable[str], names: Sequence[str], path: str | None = None) -> dict[str, str]:
    """Return the key of each parameter that has one: its name, or else the first pattern that matches it.

    A key that is the name of a parameter is no pattern. `path` is what names begin with in a group; keys may have or omit it.
    """
    known = dict.fromkeys(keys)
    ways = {name: ways_of(name, path) for name in names}
    exact = {way for each in ways.values() for way in each}
    patterns = [key for key in known if is_pattern(key) and key not in exact]
    found: dict[str, str] = {}
    for name, each in ways.items():
        matching = (key for key in patterns if any(fnmatchcase(way, key) for way in each))
        key = next((way for way in each if way in known), None) or next(matching, None)
        if key is not None:
            found[name] = key
    return found


def check_keys(what: str, keys: Iterable[str], groups: Sequence[tuple[Sequence[str], str | None]]) -> None:
    """Raise for keys that no parameter of any group has, and for patterns behind another that has all of theirs.

    Groups are names with what they begin with.
    """
    given = list(keys)
    found = [key for names, path in groups for key in keys_of(given, names, path).items()]
    for key in dict.fromkeys(given).keys() - {key for _, key in found}:
        fitting = {name for names, path in groups for name in keys_of([key], names, path)}
        others = [other for name, other in found if name in fitting and is_pattern(other)]
        if others:
            raise ValueError(f"{what}: {key!r} comes after {others[0]!r}, which has all of its parameters; expected before it")
        if not fitting:
            names = [name for names, _ in groups for name in names]
            raise ValueError(f"{what}: no parameter has the name {key!r}, {suggested(key, names)}")


def suggested(key: str, names: Sequence[str]) -> str:
    """Return the part of an error that says which names there are, or which is probably meant."""
    import difflib

    folders = dict.fromkeys(f"{name[:k]}/*" for name in names for k in range(len(name)) if name[k] == "/")
    close = difflib.get_close_matches(key, [*names, *folders], 1, 0.7)
    if f"{key.rstrip('/')}/*" in folders:
        close = [f"{key.rstrip('/')}/*"]
    some = ", ".join(map(repr, names[:5])) + ", ..." * (len(names) > 5)
    return f"did you mean {close[0]!r}?" if close else f"expected some of {some}"


def select(what: str, patterns: Any, names: Sequence[str]) -> list[str]:
    """Return the names that a name, a pattern or a list of them selects; raise for one that selects none."""
    given = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(x, str) for x in given):
        raise TypeError(f"{what}: {patterns!r:.60}, expected names or patterns of them, such as ['encoder/*']")
    if not given:
        raise ValueError(f"{what}: {patterns!r}, expected some names or patterns")
    check_keys(what, given, [(names, None)])
    return list(keys_of(given, names))


def by_name(options: Mapping[str, Any]) -> dict[str, Mapping[Any, Any]]:
    """Return those options that are given by names of parameters; options of arrays have their own form."""
    return {key: value for key, value in options.items() if isinstance(value, Mapping) and key not in ARRAY_OPTIONS}


def mappings_of(options: Mapping[str, Any]) -> list[tuple[str, Mapping[Any, Any]]]:
    """Return all that options give by names of parameters, with what it is called in errors."""
    found: list[tuple[str, Any]] = list(by_name(options).items())
    found.append(("step_scale", options["step_scale"]))
    if isinstance(options["bounds"], tuple) and len(options["bounds"]) == 2:
        found += zip(("bounds, low", "bounds, high"), options["bounds"], strict=True)
    if isinstance(options["initial_state"], Mapping):
        found += [(f"initial_state, {key}", value) for key, value in options["initial_state"].items()]
    return [(what, value) for what, value in found if isinstance(value, Mapping)]


def check_options(groups: Sequence[tuple[Mapping[str, Any], str | None, Leaves]], usual: Mapping[str, Any], added: bool) -> None:
    """Raise for options by names that no parameter has, in the groups that have these options.

    The `usual` ones, of the constructor, need not have any in a group that is `added`.
    """
    passed = {id(value) for _, value in mappings_of(usual)} if added else set()
    seen: dict[tuple[str, int], tuple[Mapping[Any, Any], list[tuple[Sequence[str], str | None]]]] = {}
    for options, path, leaves in groups:
        behind = {key: usual.get(key) for key in by_name(options)}  # What names that a group does not mention fall back on.
        for what, value in [*mappings_of(options), *by_name({k: x for k, x in behind.items() if x is not options[k]}).items()]:
            _, of_groups = seen.setdefault((what, id(value)), (value, []))
            of_groups.append(([name for name, _ in leaves], path))
    for (what, _), (value, of_groups) in seen.items():
        if id(value) not in passed:
            check_keys(what, dict(flatten(value)[1]) if "," in what or what == "step_scale" else flat(value), of_groups)


def split(
    options: Mapping[str, Any],
    chain: Sequence[Mapping[str, Any]],
    path: str | None,
    leaves: Leaves,
    kept: Callable[[str, Any], Any],
) -> list[Part]:
    """Return the parts of a group in which all options are alike, with the places of their parameters.

    Parameters that an option by names does not mention have the value of the first mapping in `chain` that has one for them.
    `kept` returns an option as an optimizer keeps it, so that equal ones can be recognised.
    """
    names = [name for name, _ in leaves]
    values = {key: values_of(key, [options, *chain], path, names) for key in by_name(options)}
    parts: list[Part] = []
    for place in range(len(leaves)):
        chosen = {key: kept(key, each[place]) for key, each in values.items()}
        part = next((places for other, places in parts if all(is_same(x, other[key]) for key, x in chosen.items())), None)
        if part is None:
            part = []
            parts.append(({**options, **chosen}, part))
        part.append(place)
    return parts or [({**options, **{key: chain[-1][key] for key in values}}, [])]


def values_of(key: str, chain: Sequence[Mapping[str, Any]], path: str | None, names: Sequence[str]) -> list[Any]:
    """Return an option of each parameter, from the first of these options that have one for it; the last have all."""
    found: dict[str, Any] = {}
    for options in chain:
        value = options[key]
        given = flat(value) if isinstance(value, Mapping) else None
        of_names = dict.fromkeys(names, value) if given is None else {n: given[k] for n, k in keys_of(given, names, path).items()}
        found = {**of_names, **found}
        if given is None:
            break
    return [found[name] for name in names]


def joined(parts: Sequence[tuple[Mapping[str, Any], Sequence[str]]]) -> dict[str, Any]:
    """Return the options of a group from its parts, with the names of their parameters in it; the inverse of `split`."""
    first, _ = parts[0]
    differing = [key for key in first if key not in ARRAY_OPTIONS and not all(is_same(o[key], first[key]) for o, _ in parts)]
    return {**first, **{key: {name: options[key] for options, names in parts for name in names} for key in differing}}


def is_same(x: Any, y: Any) -> bool:
    """Return True for options that no step can tell apart: numbers, words, and tuples of them by value."""
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(is_same, x, y))
    plain = (bool, int, float, str)
    return x is y or (isinstance(x, plain) and isinstance(y, plain) and type(x) is type(y) and x == y)
