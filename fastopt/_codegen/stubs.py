"""Writes what type checkers are told of the optimizers, which are found in their files when the package is imported."""

import ast
from collections.abc import Sequence
from pathlib import Path


def render(paths: Sequence[Path]) -> str:
    """Return the text of ``optimizers/__init__.pyi``: each public class, from its own file."""
    found: dict[str, list[str]] = {}
    for path in paths:
        classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        if classes:
            found[path.stem] = classes
    lines = ["# Generated from optimizers by python fastopt/_codegen: edit those files."]
    lines += ["from ..spec import RULES as RULES"]
    lines += [f"from .{module} import {name} as {name}" for module, names in found.items() for name in names]
    return "\n".join([*lines, "", "__all__: list[str]", ""])
