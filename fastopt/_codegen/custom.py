"""Reading of a user's rule from the source of its functions."""

from __future__ import annotations

import ast
import copy
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import ir, lift, subset
from .ir import RuleIR
from .subset import RuleError

FUNCTIONS = (*subset.ELEMENTWISE, *subset.IN_SCALARS, "inf", *subset.TAGS)


def read(function: Callable[..., Any], scalars: Callable[..., Any] | None) -> tuple[RuleIR, dict[str, Any] | None]:
    """Return a rule from its update function and its scalars function; without that, the scalars are its hyperparameters.

    Returns
    -------
    text : RuleIR
    functions : dict of str, or None
        Both functions, if arithmetic of scalars was lifted from one to the other.
    """
    name = function.__name__
    path, update, prepare = definitions(function, scalars)
    parts = ((update, function), (prepare, scalars or function))
    known = {n for n in FUNCTIONS if all(knows(like, n) for node, like in parts if n in lift.names_in(node, ast.Load))}
    written = {node.name: copy.deepcopy(node) for node, _ in parts}
    lifted = lift.lift(update, prepare, {n for n in known if knows(scalars or function, n)})
    try:
        found = ir.read_rule(path, name, {name: update, prepare.name: prepare}, known)
    except RuleError as error:
        raise (error_of(path, name, written, known) or error) from None
    return found, {node.name: lift.function_of(node, like) for node, like in parts} if lifted else None


def definitions(function: Callable[..., Any], scalars: Callable[..., Any] | None) -> tuple[Path, ast.FunctionDef, ast.FunctionDef]:
    """Return the file of a rule, its update and its scalars function."""
    from ..spec import RULES

    name = function.__name__
    path, update = definition(function)
    if name in RULES:
        raise RuleError(f"{path}:{update.lineno}: {name} is a rule of the package, expected another name")
    prepare = default_scalars(update) if scalars is None else definition(scalars)[1]
    prepare.name = f"{name}_scalars"
    return path, update, prepare


def error_of(path: Path, name: str, written: dict[str, ast.FunctionDef], known: set[str]) -> RuleError | None:
    """Return the error of a rule as the user wrote it; None if it is of what lifting mends."""
    try:
        ir.read_rule(path, name, written, known)
    except RuleError as error:
        return None if error.is_of_scalars else error
    return None


def knows(function: Callable[..., Any], name: str) -> bool:
    """Return True if a function finds a function of fastopt's arithmetic under its name."""
    from .. import arithmetic

    return function.__globals__.get(name) is getattr(arithmetic, name)


def definition(function: Callable[..., Any]) -> tuple[Path, ast.FunctionDef]:
    """Return a function as the code generator reads it, with the line numbers of its file."""
    try:
        lines, first = inspect.getsourcelines(function)
        path = inspect.getsourcefile(function) or "?"
        (node,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        name = function.__qualname__
        where = "define it with def in a file or a notebook"
        raise RuleError(f"{name}: its source cannot be read ({error}): {where}") from None
    if not isinstance(node, ast.FunctionDef):
        raise RuleError(f"{path}:{first}: expected a function that def defines")
    ast.increment_lineno(node, first - 1)
    node.decorator_list = []
    for argument in node.args.args:
        if isinstance(argument.annotation, ast.Attribute):
            argument.annotation = ast.copy_location(ast.Name(argument.annotation.attr, ast.Load()), argument.annotation)
    return Path(path), node


def source(function: Callable[..., Any]) -> str:
    """Return the text of a function without decorators and indentation."""
    return ast.unparse(definition(function)[1]) + "\n"


def default_scalars(update: ast.FunctionDef) -> ast.FunctionDef:
    """Return the scalars of a rule without a scalars function: its hyperparameters, whose defaults the update may have."""
    names = [x.arg for x in update.args.kwonlyargs]
    defaults = update.args.kw_defaults
    update.args.kw_defaults = [None] * len(names)
    listed, pairs = ", ".join(names), ", ".join(f"{n!r}: {n}" for n in names)
    stars = "*, " if names else ""
    text = f"def {update.name}_scalars(t, {stars}{listed}):\n    return {{{pairs}}}"
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef)
    node.args.kw_defaults = list(defaults)
    for child in ast.walk(node):
        ast.copy_location(child, update)
    return node


def label(text: RuleIR) -> str:
    """Return a rule's name with a digest of everything that it computes, for files of state."""
    # `ast.dump` differs between versions of Python.
    parts = [ast.unparse(x) for _, x in (*text.function.body, *text.function.results, *text.scalars.body, *text.scalars.values)]
    parts += [*map(ast.unparse, text.scalars.after), *text.arrays, *text.function.scalars, *text.scalars.initial]
    return f"{text.name} {hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
