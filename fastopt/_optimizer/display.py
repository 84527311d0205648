"""Representations of an optimizer: what differs from the defaults, and its size."""

from __future__ import annotations

from typing import Any

from .groups import Group
from .options import OF_OPTIMIZERS, OPTIONS


def text(optimizer: Any) -> str:
    """Return one line: options that differ from the defaults, number of arrays, elements and steps."""
    options = ", ".join(f"{k}={v!r}" for k, v in differing(optimizer, optimizer._groups[0]).items())
    more = f", and {len(optimizer._groups) - 1} more" if len(optimizer._groups) > 1 else ""
    return f"<{type(optimizer).__name__}({options}){more}: {size_of(optimizer)}>"


def html(optimizer: Any) -> str:
    """Return a table for notebooks: a row for each group, with what differs from the defaults in bold."""
    import html as markup  # Slow to import, for notebooks alone.

    head = f"<caption>{markup.escape(type(optimizer).__name__)}: {size_of(optimizer)}</caption>"
    shown = [*optimizer.arguments, *(k for k in OPTIONS if any(k in differing(optimizer, g) for g in optimizer._groups))]
    rows = ["".join(f"<th>{markup.escape(k)}</th>" for k in ("parameters", *shown))]
    for group in optimizer._groups:
        other, names = differing(optimizer, group), group.parameters
        entries = [(", ".join(names[:3]) + ", ..." * (len(names) > 3), False)]
        entries += [(repr(group[k]), k in other) for k in shown]
        rows += ["".join(f"<td>{'<b>' * bold}{markup.escape(x)}{'</b>' * bold}</td>" for x, bold in entries)]
    return f"<table>{head}{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def differing(optimizer: Any, group: Group) -> dict[str, Any]:
    """Return the options of a group and of the optimizer that differ from the defaults of the class."""
    defaults = {**OPTIONS, **optimizer.option_defaults, **optimizer.arguments}
    found = {k: v for k, v in group.items() if not is_same(v, defaults[k])}
    of_all = {name: getattr(optimizer._settings, name) for name in OF_OPTIMIZERS}
    found |= {name: x for name, x in of_all.items() if OF_OPTIMIZERS[name].is_set(x)}
    return found | ({"convention": optimizer._convention} if optimizer._convention != "torch" else {})


def is_same(x: Any, default: Any) -> bool:
    """Return True if an option equals its default: a number, a string, or a tuple of them."""
    if isinstance(x, tuple) and isinstance(default, tuple):
        return len(x) == len(default) and all(map(is_same, x, default))
    return x is default or (isinstance(x, (bool, int, float, str)) and bool(x == default))


def size_of(optimizer: Any) -> str:
    """Return the number of arrays, elements and steps as text."""
    size = sum(s.array.size for s in optimizer._parameters)
    return f"{len(optimizer._parameters)} arrays, {size} elements, {optimizer.steps} steps"
