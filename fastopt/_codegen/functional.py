"""Writes each rule as a Python function of arrays: ``fastopt/functional.py``."""

from __future__ import annotations

from collections.abc import Sequence

from .ir import Formula

WIDTH = 132
HEAD = '''\
# Generated from optimizers by python fastopt/_codegen: edit those files.
"""Each rule of elements without an optimizer object, for code that owns its parameters' state.

``p, m, v = adam(p, g, m, v, t=t, lr=1e-3)`` gives new arrays; with ``out=(p, m, v)`` the step is made in place. The state begins at
zero, but for arrays called ``z`` and ``p0``, which begin as copies of the parameter. Numbers that live from step to step, such as
NAdam's ``product``, are given and returned after the arrays. What is around a rule in an optimizer (weight decay, clipping, ...) is
not here. Arrays that do not follow one another in memory, or not in one order, are worked on in copies.

>>> import numpy as np
>>> sgd(np.ones(2), np.array([1.0, 2.0]), t=1, lr=0.5)
(array([0.5, 0. ]),)
>>> p, m, v = np.ones(2), np.zeros(2), np.zeros(2)
>>> for t in range(1, 4):
...     p, m, v = adam(p, np.array([1.0, 2.0]), m, v, t=t, lr=0.25, beta2=0.99)
>>> p.round(6)
array([0.25, 0.25])
"""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ._engine import dispatch
from .optimizers import RULES

Array = np.ndarray[Any, Any]
Result = tuple[Any, ...]


def _update(name: str) -> Callable[..., Result]:
    return dispatch.update(RULES[name]).step  # type: ignore[no-any-return]
'''


def render(rules: Sequence[Formula]) -> str:
    """Return the whole text of ``functional.py``."""
    rules = [rule for rule in rules if not rule.terms]  # whose state is of other shapes
    names = ", ".join(f'"{name}"' for name in sorted(rule.name for rule in rules))
    listed = f"__all__ = [{names}]\n"
    if len(listed) > WIDTH + 1:
        listed = "__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(rule.name for rule in rules)) + "]\n"
    return "\n\n".join([HEAD.replace("\nArray = ", f"\n{listed}\nArray = "), *(_function(rule) for rule in rules)])


def _function(rule: Formula) -> str:
    scalars = rule.scalars
    numbers = zip(scalars.hyperparameters, scalars.defaults, strict=True)
    signature = _signature(
        f"def {rule.name}(",
        ["p: Array", "g: Any", *(f"{s}: Array" for s in rule.state), "*", "t: int"]
        + [f"{k}: float | None = None" for k in scalars.kept]
        + [f"{h}: float = {float(d) if d != 'inf' else d}" for h, d in numbers]
        + ["out: tuple[Array, ...] | None = None"],
        ") -> Result:",
    )
    call = _call(rule, ", ".join(("p", "g", *rule.state)))
    return f'''\
_{rule.name} = _update("{rule.name}")


{signature}
    """{_docstring(rule)}
    """
{call}
'''


def _docstring(rule: Formula) -> str:
    results, kept = ", ".join(("p", *rule.state)), ", ".join(rule.scalars.kept)
    them = "it" if len(rule.scalars.kept) == 1 else "them"
    of_kept = f"    {kept} : float\n        As the step before returned {them}; not needed in the first.\n" if kept else ""
    return f"""{rule.function.doc.splitlines()[0]}

    Parameters
    ----------
    {results} : ndarray
        Parameter{" and state" if rule.state else ""}, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
{of_kept}    {", ".join(rule.scalars.hyperparameters)} : float
        Hyperparameters, as the optimizers' classes describe them; switches are 0 or 1.
    out : tuple of ndarray, optional
        Where to write {results}: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple
        {results}{f", and then {kept}" if kept else ""}.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed."""


def _call(rule: Formula, given: str) -> str:
    parts = [f"({given})", "t", _tuple(rule.scalars.hyperparameters), "out"]
    parts += [_tuple(rule.scalars.kept)] if rule.scalars.kept else []
    line = f"    return _{rule.name}({', '.join(parts)})"
    return line if len(line) <= WIDTH else "\n".join([f"    return _{rule.name}(", *(f"        {x}," for x in parts), "    )"])


def _tuple(names: tuple[str, ...]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _signature(head: str, arguments: list[str], tail: str) -> str:
    """Return a signature on one line, on an own line, or a line each."""
    listed = ", ".join(arguments)
    if len(head + listed + tail) <= WIDTH:
        return head + listed + tail
    if len(listed) + 4 <= WIDTH:
        return f"{head}\n    {listed}\n{tail}"
    return "\n".join([head, *(f"    {a}," for a in arguments), tail])
