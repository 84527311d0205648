"""Rendering of ``optimizers/__init__.pyi``: signatures for type checkers and editors, from the tables of arguments and options."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEAD = '''\
# Generated from optimizers/ and _optimizer/options.py by python fastopt/_codegen: edit those files.
from collections.abc import Callable
from math import inf
from typing import Any, Literal, SupportsFloat, TypeAlias, TypedDict, Unpack

from .._optimizer import Optimizer
from ..spec import RULES as RULES

Number: TypeAlias = SupportsFloat | Callable[[int], float]  # or a schedule

class Options(TypedDict, total=False):
    """Options of every optimizer."""

'''
TABLES = ("arguments", "conventions", "tuple_arguments", "choices")


@dataclass
class Declared:
    """Declarations of a class: its base, the first line of its docstring, and its tables, as expressions."""

    name: str
    base: str
    summary: str
    tables: dict[str, ast.Dict] = field(default_factory=dict)


def render(optimizers: Sequence[Path], options: Path) -> str:
    """Return the text of ``optimizers/__init__.pyi``."""
    classes = {found.name: found for path in optimizers for found in declared(path)}
    lines = [f"    {name}: {kind}" for name, kind in option_types(options)]
    parts = [HEAD + "\n".join(lines)]
    parts += [constructor(found, classes) for found in classes.values()]
    names = "".join(f'    "{name}",\n' for name in classes)
    return "\n\n".join([*parts, f"__all__ = [\n{names}]"]) + "\n"


def declared(path: Path) -> Iterator[Declared]:
    """Yield the public classes of a file."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            tables = {}
            for statement in node.body:
                match statement:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as value) if name in TABLES:
                        tables[name] = value
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            yield Declared(node.name, ast.unparse(node.bases[0]), summary, tables)


def table(found: Declared, name: str, classes: Mapping[str, Declared]) -> dict[str, ast.expr]:
    """Return a table of a class, or of its nearest base that has one, with the tables that it unpacks."""
    if name not in found.tables:
        return table(classes[found.base], name, classes) if found.base in classes else {}
    entries: dict[str, ast.expr] = {}
    for key, value in zip(found.tables[name].keys, found.tables[name].values, strict=True):
        if isinstance(key, ast.Constant):
            entries[str(key.value)] = value
        else:  # ``**Other.arguments``
            entries |= table(classes[ast.unparse(value).removesuffix(f".{name}")], name, classes)
    return entries


def constructor(found: Declared, classes: Mapping[str, Declared]) -> str:
    """Return the declaration of a class with its constructor."""
    words = table(found, "choices", classes)
    lines = [
        f"class {found.name}({found.base}):",
        f'    """{found.summary}"""',
        "    def __init__(",
        "        self,",
        "        params: Any,",
    ]
    for name, default in table(found, "arguments", classes).items():
        lines += [f"        {name}: {argument_type(default, words.get(name))} = {ast.unparse(default)},"]
    conventions = ", ".join(f'"{name}"' for name in ("torch", *table(found, "conventions", classes)))
    lines += [
        "        *,",
        f'        convention: Literal[{conventions}] = "torch",',
        "        **options: Unpack[Options],",
        "    ) -> None: ...",
    ]
    return "\n".join(lines)


def argument_type(default: ast.expr, words: ast.expr | None = None) -> str:
    """Return the type of an argument, from its default and its allowed values."""
    match default:
        case _ if words is not None:
            return f"Literal[{ast.unparse(words).strip('()')}] | None"
        case ast.Constant(value=bool()):
            return "bool"
        case ast.Constant(value=None):
            return "Number | None"
        case ast.Tuple(elts=elements):
            parts = ["Number | None" if argument_type(x) == "Number | None" else "Number" for x in elements]
            return f"tuple[{', '.join(parts)}] | list[Any]"
    return "Number"


def option_types(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and type of each option in the tables of a file."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Option":
            name, default = call.args[0], call.args[1]
            said = {k.arg: k.value for k in call.keywords}
            if "choices" in said:
                kind = f"Literal[{ast.unparse(said['choices']).strip('()')}]"
            elif "is_array" in said:
                kind = "Any"
            elif "least" in said:
                number = f"tuple[{', '.join(['int'] * ast.literal_eval(said['length']))}]" if "length" in said else "int"
                kind = f"{number} | None" if ast.unparse(default) == "None" else number
            else:
                kind = "bool" if isinstance(default, ast.Constant) and isinstance(default.value, bool) else "Number | None"
            yield ast.literal_eval(name), kind
