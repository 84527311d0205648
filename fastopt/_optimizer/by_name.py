"""Names of parameters: options for each, and selections of some, by exact names or by patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .._arrays.tree import flatten, listed
from ..domains import NONNEGATIVE
from .options import ARRAY_OPTIONS

Leaves = Sequence[tuple[str, Any]]


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


def flat(given: Mapping[Any, Any], path: str = "") -> dict[str, Any]:
    """Return values by names and patterns, from mappings nested like the parameters."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{path}{key}"
        found |= flat(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
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
    known = list(keys)
    exact = {way for name in names for way in ways_of(name, path)}
    patterns = [key for key in known if is_pattern(key) and key not in exact]
    found: dict[str, str] = {}
    for name in names:
        ways = ways_of(name, path)
        matching = (key for key in patterns if any(fnmatchcase(way, key) for way in ways))
        key = next((way for way in ways if way in known), None) or next(matching, None)
        if key is not None:
            found[name] = key
    return found


def check_keys(what: str, keys: Iterable[str], groups: Iterable[tuple[Sequence[str], str | None]]) -> None:
    """Raise for keys that no parameter of any group has; groups are names with what they begin with."""
    unused = set(keys)
    known: list[str] = []
    for names, path in groups:
        known += names
        unused -= {key for key in unused if keys_of([key], names, path)}
    if unused:
        some = ", ".join(map(repr, known[:5])) + ", ..." * (len(known) > 5)
        raise ValueError(f"{what}: no parameter has the name {', '.join(map(repr, sorted(unused)))}, expected some of {some}")


def select(what: str, patterns: Any, names: Sequence[str]) -> list[str]:
    """Return the names that a name, a pattern or a list of them selects; raise for one that selects none."""
    given = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(x, str) for x in given):
        raise TypeError(f"{what}: {patterns!r:.60}, expected names or patterns of them, such as ['encoder/*']")
    check_keys(what, given, [(names, None)])
    return list(keys_of(given, names))


def by_name(options: Mapping[str, Any]) -> dict[str, Mapping[Any, Any]]:
    """Return those options that are given by names of parameters; options of arrays have their own form."""
    return {key: value for key, value in options.items() if isinstance(value, Mapping) and key not in ARRAY_OPTIONS}


def check_options(groups: Sequence[tuple[Mapping[str, Any], str | None, Leaves]]) -> None:
    """Raise for options by names that no parameter has, in the groups that have these options."""
    seen: dict[tuple[str, int], tuple[Mapping[Any, Any], list[tuple[Sequence[str], str | None]]]] = {}
    for options, path, leaves in groups:
        for key, value in by_name(options).items():
            _, of_groups = seen.setdefault((key, id(value)), (value, []))
            of_groups.append(([name for name, _ in leaves], path))
    for (key, _), (value, of_groups) in seen.items():
        check_keys(key, flat(value), of_groups)


def split(
    options: Mapping[str, Any], usual: Mapping[str, Any], path: str | None, leaves: Leaves
) -> list[tuple[dict[str, Any], list[int]]]:
    """Return the parts of a group in which all options are alike, with the places of their parameters.

    `usual` has the values of parameters that an option by names does not mention.
    """
    named = {key: flat(value) for key, value in by_name(options).items()}
    places_of = {key: keys_of(values, [name for name, _ in leaves], path) for key, values in named.items()}
    parts: list[tuple[dict[str, Any], list[int]]] = []
    for place, (name, _) in enumerate(leaves):
        chosen = {key: values[places_of[key][name]] if name in places_of[key] else usual[key] for key, values in named.items()}
        part = next((places for other, places in parts if all(is_same(x, other[key]) for key, x in chosen.items())), None)
        if part is None:
            part = []
            parts.append(({**options, **chosen}, part))
        part.append(place)
    return parts or [({**options, **{key: usual[key] for key in named}}, [])]


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
