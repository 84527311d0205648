"""Formulas of rules as MathML, from the Python that defines them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any
from xml.sax.saxutils import escape

GREEK = dict(alpha="α", beta="β", delta="δ", eps="ε", eta="η", gamma="γ", lambd="λ", rho="ρ", tau="τ")
OPERATORS = {ast.Add: ("+", 1), ast.Sub: ("−", 1), ast.Mult: ("·", 2)}
COMPARED = {ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.Eq: "=", ast.NotEq: "≠"}
APPLY = "\u2061"  # Function application, which is not visible.
ATOM = 4


def name_of(name: str) -> str:
    """Return a name: Greek where it is, a number at its end as an index."""
    letters, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
    found = f"<mi>{GREEK.get(letters, letters)}</mi>"
    return f"<msub>{found}<mn>{digits}</mn></msub>" if digits else found


def fenced(text: str) -> str:
    return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"


def called(name: str, *arguments: str) -> str:
    return f"<mrow><mi>{name}</mi><mo>{APPLY}</mo>{fenced('<mo>,</mo>'.join(arguments))}</mrow>"


def cases(condition: str, yes: str, no: str) -> str:
    """Return a choice between two values."""
    if_, else_ = "<mtext>if&#160;</mtext>", "<mtext>else</mtext>"
    rows = [f"<mtr><mtd>{x}</mtd><mtd>{when}</mtd></mtr>" for x, when in ((yes, if_ + condition), (no, else_))]
    return f"<mrow><mo form='prefix' stretchy='true'>{{</mo><mtable columnalign='left'>{''.join(rows)}</mtable></mrow>"


def rendered(node: ast.expr, least: int = 0) -> str:
    """Return an expression, in parentheses where it binds less than `least`."""
    text, binds = expression(node)
    return fenced(text) if binds < least else text


def expression(node: ast.expr) -> tuple[str, int]:
    """Return an expression, and how strongly its outermost operation binds."""
    match node:
        case ast.Name(id=name):
            return name_of(name), ATOM
        case ast.Constant(value=value):
            return f"<mn>{value:.10g}</mn>", ATOM
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            return f"<mfrac><mrow>{rendered(a)}</mrow><mrow>{rendered(b)}</mrow></mfrac>", ATOM
        case ast.BinOp(left=a, op=op, right=b):
            sign, binds = OPERATORS[type(op)]
            return f"<mrow>{rendered(a, binds)}<mo>{sign}</mo>{rendered(b, binds + 1)}</mrow>", binds
        case ast.UnaryOp(op=ast.USub(), operand=a):
            return f"<mrow><mo>−</mo>{rendered(a, 2)}</mrow>", 1
        case ast.Compare(left=a, ops=[op], comparators=[b]):
            return f"<mrow>{rendered(a, 1)}<mo>{escape(COMPARED[type(op)])}</mo>{rendered(b, 1)}</mrow>", 0
        case ast.IfExp(test=c, body=x, orelse=y):
            return cases(condition(c), rendered(x), rendered(y)), 0
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return call(name, arguments), ATOM
    raise TypeError(f"{ast.unparse(node)}: no formula for {type(node).__name__}")


def condition(node: ast.expr) -> str:
    """Return a condition; a switch is on."""
    return rendered(node) if not isinstance(node, ast.Name) else f"<mrow>{name_of(node.id)}<mo>≠</mo><mn>0</mn></mrow>"


def call(name: str, arguments: list[ast.expr]) -> str:
    """Return a call of a function of rules."""
    if name == "sqrt":
        return f"<msqrt>{rendered(arguments[0])}</msqrt>"
    if name == "power":
        return f"<msup>{rendered(arguments[0], ATOM)}<mrow>{rendered(arguments[1])}</mrow></msup>"
    if name == "square":
        return f"<msup>{rendered(arguments[0], ATOM)}<mn>2</mn></msup>"
    if name == "where":
        return cases(condition(arguments[0]), rendered(arguments[1]), rendered(arguments[2]))
    short = {"maximum": "max", "minimum": "min", "fabs": "abs"}
    return called(short.get(name, name), *map(rendered, arguments))


def statements(function: Callable[..., Any]) -> ast.FunctionDef:
    """Return a function as it is written."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    return node


def lines(function: Callable[..., Any]) -> Iterator[tuple[str, ast.expr, bool]]:
    """Yield the assignments of a function, by name, and with True what it returns; a rule subtracts it from ``p``."""
    node = statements(function)
    names = [a.arg for a in node.args.args]
    for line in node.body:
        if isinstance(line, ast.Assign):
            (target,) = line.targets
            yield ast.unparse(target), line.value, False
        elif isinstance(line, ast.Return):
            values = line.value.elts if isinstance(line.value, ast.Tuple) else [line.value]
            first, rest = values[0], values[1:]
            if isinstance(first, ast.Dict):
                yield from ((key.value, x, True) for key, x in zip(first.keys, first.values, strict=True))  # type: ignore
                carried = [n for n, default in zip(names[::-1], node.args.defaults[::-1], strict=False)][::-1]
                yield from ((name, x, True) for name, x in zip(carried, rest, strict=False))
            else:
                yield "p", ast.BinOp(ast.Name("p"), ast.Sub(), first), True
                yield from ((name, x, True) for name, x in zip(names[2:], rest, strict=True))


def table(function: Callable[..., Any]) -> str:
    """Return the lines of a function as a table of HTML; results of which one needs another's old value are marked."""
    found = [line for line in lines(function) if not (isinstance(line[1], ast.Name) and line[1].id == line[0])]
    results = [line for line in found if line[2]]
    used = [{node.id for node in ast.walk(x) if isinstance(node, ast.Name)} for _, x, _ in results]
    together = any(name in later for k, (name, _, _) in enumerate(results) for later in used[k + 1 :])
    rows = [
        f"<tr><td><math display='inline'>{name_of(name)}</math></td><td>←</td>"
        f"<td><math display='inline' displaystyle='true'>{rendered(x)}</math></td></tr>"
        for name, x, _ in found
    ]
    if together:
        rows.insert(len(found) - len(results), "<tr><td colspan='3'>and at once, from the values before:</td></tr>")
    return f"<table class='formula'><tbody>{''.join(rows)}</tbody></table>"
