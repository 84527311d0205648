"""Rendering of each rule as a Python function of arrays: ``fastopt/functional.py``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .ir import RuleIR

WIDTH = 132
HEAD = '''\
# Generated from optimizers/ by python fastopt/_codegen: edit those files.
"""Rules as functions, for code that keeps parameters and state itself.

``p, m, v = adam(p, g, m, v, t=t, lr=1e-3)`` returns new arrays; with ``out="inplace"`` the step is in place, and with
``out=(None, m, v)`` the parameter is a new array and state is updated in place. State begins at zero, except for arrays ``z`` and
``p0``, which begin as copies of the parameter. Numbers that a rule carries from step to step, such as NAdam's ``product``, are
returned after the arrays and passed to the next call. Weight decay, clipping and other stages are not included.

What is not written may be a number, a list, or an array of another library such as JAX or PyTorch; what is returned are NumPy's
arrays. Arrays that are not contiguous, or not in one order, are computed in copies.

>>> import numpy as np
>>> sgd(np.ones(2), np.array([1.0, 2.0]), t=1, lr=0.5)
(array([0.5, 0. ]),)
>>> p, m, v = np.ones(2), np.zeros(2), np.zeros(2)
>>> for t in range(1, 4):
...     p, m, v = adam(p, np.array([1.0, 2.0]), m, v, t=t, lr=0.25, beta2=0.99)
>>> p.round(6)
array([0.25, 0.25])
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal

import numpy as np

from ._engine import dispatch
from .optimizers import RULES

Out = Literal["inplace"] | Sequence[np.ndarray[Any, Any] | None] | None
Result = tuple[Any, ...]


def _update(name: str) -> Callable[..., Result]:
    return dispatch.update(RULES[name]).step  # type: ignore[no-any-return]
'''


def render(rules: Sequence[RuleIR]) -> str:
    """Return the text of ``functional.py``."""
    # Matrix terms need state of other shapes.
    rules = [rule for rule in rules if not rule.terms]
    names = ", ".join(f'"{name}"' for name in sorted(rule.name for rule in rules))
    listed = f"__all__ = [{names}]\n"
    if len(listed) > WIDTH + 1:
        listed = "__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(rule.name for rule in rules)) + "]\n"
    return "\n\n".join([HEAD.replace("\nOut = ", f"\n{listed}\nOut = "), *(_function(rule) for rule in rules)])


def _function(rule: RuleIR) -> str:
    scalars = rule.scalars
    numbers = zip(scalars.hyperparameters, scalars.defaults, strict=True)
    signature = _signature(
        f"def {rule.name}(",
        ["p: Any", "g: Any", *(f"{s}: Any" for s in rule.state), "*", "t: int"]
        + [f"{k}: float | None = None" for k in scalars.carry]
        + [_hyperparameter(h, d, h in scalars.switches) for h, d in numbers]
        + ["out: Out = None"],
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


def _hyperparameter(name: str, default: str, is_switch: bool) -> str:
    if is_switch:
        return f"{name}: bool = {default != '0'}"
    return f"{name}: float = {float(default) if default != 'inf' else default}"


def _docstring(rule: RuleIR) -> str:
    results, carry = ", ".join(("p", *rule.state)), ", ".join(rule.scalars.carry)
    them = "it" if len(rule.scalars.carry) == 1 else "them"
    carried = f"    {carry} : float\n        As the step before returned {them}; not needed in the first step.\n" if carry else ""
    first = ", ".join(["None", *rule.state]) + "," * (not rule.state)
    summary = rule.function.doc.splitlines()[0].replace("Update by", "Return new arrays, or those of `out`, updated by", 1)
    return f"""{indented(summary)}

    Parameters
    ----------
    {results} : array_like
        Parameter{" and state" if rule.state else ""}, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
{carried}    {", ".join(rule.scalars.hyperparameters)} : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for {results}: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``({first})``. Default: new arrays.

    Returns
    -------
    tuple
        {results}{f", and then {carry}" if carry else ""}.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed."""


def indented(text: str) -> str:
    """Return the paragraph that a docstring of a function begins with."""
    return "\n    ".join(textwrap.wrap(text, WIDTH - 8, break_on_hyphens=False))


def _call(rule: RuleIR, given: str) -> str:
    parts = [f"({given})", "t", _tuple(rule.scalars.hyperparameters), "out"]
    parts += [_tuple(rule.scalars.carry)] if rule.scalars.carry else []
    line = f"    return _{rule.name}({', '.join(parts)})"
    return line if len(line) <= WIDTH else "\n".join([f"    return _{rule.name}(", *(f"        {x}," for x in parts), "    )"])


def _tuple(names: tuple[str, ...]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _signature(head: str, arguments: list[str], tail: str) -> str:
    """Return a signature on the current line, on the next, or with a line for each argument."""
    listed = ", ".join(arguments)
    if len(head + listed + tail) <= WIDTH:
        return head + listed + tail
    if len(listed) + 4 <= WIDTH:
        return f"{head}\n    {listed}\n{tail}"
    return "\n".join([head, *(f"    {a}," for a in arguments), tail])
