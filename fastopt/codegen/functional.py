"""Writes each rule as a Python function of arrays: ``fastopt/functional.py``."""

from __future__ import annotations

from .reader import Function

WIDTH = 132
HEAD = '''\
# Generated from rules.py by python fastopt/codegen: edit that file.
"""Each rule without an optimizer object, for code that owns its parameters' state.

``p, m, v = adam(p, g, m, v, t=t, lr=1e-3, ...)`` gives new arrays; with ``out=(p, m, v)`` the step is made in place. The state
begins at zero. Arrays that do not follow one another in memory, or not in one order, are worked on in copies.

>>> import numpy as np
>>> sgd(np.ones(2), np.array([1.0, 2.0]), t=1, lr=0.5)
(array([0.5, 0. ]),)
"""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from .engine import dispatch
from .formula import RULES
from .groups import check_number, domain

Array = NDArray[Any]
Arrays = tuple[Array, ...]


def _update(name: str) -> Callable[..., Arrays]:
    rule = RULES[name]
    return dispatch.Update(dispatch.TABLE, rule, [domain(n) for n in rule.hyperparameters], check_number).step
'''


def render(rules: list[Function]) -> str:
    """The whole text of ``functional.py``."""
    names = ", ".join(f'"{name}"' for name in sorted(rule.name for rule in rules))
    listed = f"__all__ = [{names}]\n"
    if len(listed) > WIDTH + 1:
        listed = "__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(rule.name for rule in rules)) + "]\n"
    return "\n\n".join([HEAD.replace("\nArray = ", f"\n{listed}\nArray = "), *(_function(rule) for rule in rules)])


def _function(rule: Function) -> str:
    results = ", ".join(("p", *rule.state))
    numbers = ", ".join(rule.hyperparameters)
    signature = _signature(
        f"def {rule.name}(",
        ["p: Array", "g: Any", *(f"{s}: Array" for s in rule.state), "*", "t: int"]
        + [f"{h}: float" for h in rule.hyperparameters]
        + ["out: Arrays | None = None"],
        ") -> Arrays:",
    )
    given = ", ".join(("p", "g", *rule.state))
    return f'''\
_{rule.name} = _update("{rule.name}")


{signature}
    """{rule.doc.splitlines()[0]}

    Parameters
    ----------
    {results} : ndarray
        Parameter{" and state" if rule.state else ""}, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    {numbers} : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write {results}: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        {results}.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _{rule.name}(({given}), t, ({numbers}{"," if len(rule.hyperparameters) == 1 else ""}), out)
'''


def _signature(head: str, arguments: list[str], tail: str) -> str:
    """On one line, on an own line, or a line each."""
    listed = ", ".join(arguments)
    if len(head + listed + tail) <= WIDTH:
        return head + listed + tail
    if len(listed) + 4 <= WIDTH:
        return f"{head}\n    {listed}\n{tail}"
    return "\n".join([head, *(f"    {a}," for a in arguments), tail])
