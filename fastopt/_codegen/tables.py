"""Rendering of the tables in the README and in ``docs/``, between markers, from classes and options."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from .stubs import Declared, declared, table


def render(page: Path, optimizers: Sequence[Path], options: Path) -> str:
    """Return the text of a page with its marked tables up to date."""
    classes = {found.name: found for path in optimizers for found in declared(path)}
    tables = {
        "names": ", ".join(f"`{name}`" for name in classes),
        "optimizers": "\n".join(["| class | | arguments | conventions |", "|---|---|---|---|", *rows(classes)]),
        "options": "\n".join(["| option | default | |", "|---|---|---|", *option_rows(options)]),
    }

    def insert(found: re.Match[str]) -> str:
        return f"{found[1]}\n{tables[found[2]]}\n{found[3]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?(<!-- end -->)", insert, page.read_text(), flags=re.DOTALL)


def rows(classes: dict[str, Declared]) -> list[str]:
    """Return a row for each optimizer."""
    lines = []
    for name, found in classes.items():
        arguments = ", ".join(f"`{k}={ast.unparse(x)}`" for k, x in table(found, "arguments", classes).items())
        conventions = ", ".join(table(found, "conventions", classes))
        summary = found.summary.replace("``", "`").split(": ", 1)[-1]
        lines.append(f"| `{name}` | {summary[0].upper()}{summary[1:]} | {arguments} | {conventions} |")
    return lines


def option_rows(path: Path) -> list[str]:
    """Return a row for each option in the tables of a file."""

    def plain(text: str) -> str:
        return text.replace("``", "`").removeprefix("math.")

    calls = [x for x in ast.walk(ast.parse(path.read_text())) if isinstance(x, ast.Call) and ast.unparse(x.func) == "Option"]
    return [
        f"| `{ast.literal_eval(name)}` | `{plain(ast.unparse(default))}` | {plain(ast.literal_eval(doc))} |"
        for name, default, doc in ([*call.args[:3]] for call in calls)
    ]
