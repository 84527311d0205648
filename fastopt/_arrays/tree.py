"""Nesting of parameters: from a tree of dicts and lists to a flat list, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, ValuesView
from typing import Any, NoReturn

import numpy as np

# Levels of nesting; compiled code recurses on the processor's stack.
DEEPEST = 100


class Structure:
    """Keys of a mapping or length of a sequence, with its children; None among them stands for an array."""

    __slots__ = ("children", "is_flat", "keys", "path")

    def __init__(self, keys: tuple[Any, ...] | None, children: list[Structure | None], path: str) -> None:
        self.keys = keys
        self.children = children
        self.is_flat = all(child is None for child in children)
        self.path = path

    def match(self, tree: Any, what: str = "gradients") -> None:
        """Raise if gradients are not nested like this."""
        if (
            tree is None
            or isinstance(tree, (str, bytes, np.ndarray))
            or not hasattr(tree, "__getitem__")
            or (self.keys is not None) != hasattr(tree, "keys")
        ):
            kind = "a sequence" if self.keys is None else "a mapping"
            raise TypeError(f"{what}{self._place()}: {type(tree).__name__}, expected {kind} as for the parameters")
        if len(tree) != len(self.children):
            self.raise_mismatch(tree, what)

    def raise_mismatch(self, tree: Any, what: str = "gradients") -> NoReturn:
        """Raise the error of other keys or another length."""
        if self.keys is None:
            raise ValueError(f"{what}{self._place()}: {len(tree)} entries, expected {len(self.children)}")
        missing = [k for k in self.keys if k not in tree]
        extra = [k for k in tree if k not in self.keys]
        found = [f"{kind} keys {keys}" for kind, keys in (("missing", missing), ("unexpected", extra)) if keys]
        raise ValueError(f"{what}{self._place()}: {', '.join(found)}")

    def _place(self) -> str:
        return f" of {self.path!r}" if self.path else ""


def check_depth(what: str, depth: int) -> None:
    """Raise if something is nested too deeply, or holds itself."""
    if depth > DEEPEST:
        raise ValueError(f"{what}: nested more than {DEEPEST} deep, expected less, and nothing that holds itself")


def check_nesting(options: Mapping[str, Any]) -> None:
    """Raise if options are nested without end, before anything recurses into them."""
    for name, value in options.items():
        waiting = [(value, 0)]
        while waiting:
            x, depth = waiting.pop()
            check_depth(name, depth)
            if isinstance(x, (list, tuple, dict)):
                waiting += [(child, depth + 1) for child in (x.values() if isinstance(x, dict) else x)]


def listed(tree: Any, depth: int = 0) -> Any:
    """Return parameters with lists in place of generators and views such as ``dict.values()``."""
    check_depth("params", depth)
    if isinstance(tree, Mapping):
        return {key: listed(child, depth + 1) for key, child in tree.items()}
    if isinstance(tree, (list, tuple, Iterator, ValuesView)):
        return [listed(child, depth + 1) for child in tree]
    return tree


def flatten(tree: Any, path: str | None = None, depth: int = 0) -> tuple[Structure | None, list[tuple[str, Any]]]:
    """Return the structure of parameters, and the arrays with their names: keys and positions joined by slashes."""
    check_depth("params", depth)
    if isinstance(tree, Mapping):
        keys: tuple[Any, ...] | None = tuple(tree)
        items = list(tree.items())
    elif isinstance(tree, (list, tuple)):
        keys, items = None, list(enumerate(tree))
    else:
        return None, [("0" if path is None else path, tree)]
    children, leaves = [], []
    for key, child in items:
        structure, found = flatten(child, f"{key}" if path is None else f"{path}/{key}", depth + 1)
        children.append(structure)
        leaves += found
    return Structure(keys, children, path or ""), leaves


def unflatten(structure: Structure | None, leaves: Iterator[Any]) -> Any:
    """Return leaves as dicts and lists of this structure."""
    if structure is None:
        return next(leaves)
    values = [unflatten(child, leaves) for child in structure.children]
    return values if structure.keys is None else dict(zip(structure.keys, values, strict=True))


def collect(structure: Structure | None, tree: Any, what: str = "gradients") -> list[Any]:
    """Return gradients in the parameters' order; raise if they are nested otherwise."""
    if structure is None:
        return [tree]
    # None stands for every gradient below a name.
    if tree is None and structure.path:
        return [x for child in structure.children for x in collect(child, None, what)]
    structure.match(tree, what)
    found = []
    for i, child in enumerate(structure.children):
        key = i if structure.keys is None else structure.keys[i]
        if structure.keys is not None and key not in tree:
            structure.raise_mismatch(tree, what)
        found += collect(child, tree[key], what)
    return found
