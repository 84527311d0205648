"""Lifting of arithmetic of scalars alone from a user's update to its scalars function, which computes in double."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection
from types import FunctionType
from typing import Any

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def lift(update: ast.FunctionDef, prepare: ast.FunctionDef, functions: Collection[str]) -> bool:
    """Move expressions of scalars and numbers alone, such as ``1 - beta``, between two functions. Return True if there are any.

    What cannot be moved stays, for the error that says so.

    Parameters
    ----------
    update, prepare : FunctionDef
        The update and its scalars function; changed in place.
    functions : collection of str
        Functions that both know.
    """
    dictionary, names = returned(prepare), [x.arg for x in update.args.kwonlyargs]
    if [ast.unparse(key) for key in dictionary.keys if key] != [*map(repr, names)]:
        return False
    lifter = Lifter(update, prepare, dict(zip(names, dictionary.values, strict=True)), "sqrt" in functions)
    update.body = [*filter(None, map(lifter.moved, update.body))]
    if lifter.statements:
        pass_scalars(update, dictionary, lifter)
        prepare.body[-1:-1] = lifter.statements
    return bool(lifter.statements)


def pass_scalars(update: ast.FunctionDef, dictionary: ast.Dict, lifter: Lifter) -> None:
    """Make an update take those of the scalars that it uses, and the scalars function return them."""
    used = {x.id for statement in update.body for x in ast.walk(statement) if isinstance(x, ast.Name)}
    left = {name: x for name, x in lifter.scalars.items() if name in used}
    given = {x.arg: x for x in update.args.kwonlyargs}
    update.args.kwonlyargs = [given.get(name) or ast.copy_location(ast.arg(name), update) for name in left]
    update.args.kw_defaults = [None] * len(left)
    dictionary.keys = [ast.copy_location(ast.Constant(name), dictionary) for name in left]
    dictionary.values = list(left.values())


def returned(prepare: ast.FunctionDef) -> ast.Dict:
    """Return the dictionary that a scalars function returns, perhaps with carried numbers; an empty one if it does not."""
    match prepare.body[-1]:
        case ast.Return(value=ast.Dict() as found) | ast.Return(value=ast.Tuple(elts=[ast.Dict() as found, *_])):
            return found
    return ast.Dict([], [])


def names_in(node: ast.AST, kind: type[ast.expr_context]) -> list[str]:
    """Return the names that are read or assigned in a part of a function."""
    return [x.id for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, kind)]


class Lifter(ast.NodeTransformer):
    """Changes an update's statements, one after another.

    Attributes
    ----------
    scalars : dict of str
        What the scalars function is to return.
    statements : list of Assign
        What it is to compute before that.
    """

    def __init__(self, update: ast.FunctionDef, prepare: ast.FunctionDef, scalars: dict[str, ast.expr], has_sqrt: bool) -> None:
        self.scalars, self.statements, self.has_sqrt = scalars, list[ast.stmt](), has_sqrt
        stored = names_in(update, ast.Store)
        given = {*scalars, *(x.arg for x in update.args.args)}
        self.once = {name for name in stored if stored.count(name) == 1} - given
        self.read: set[str] = set()
        arguments = (*prepare.args.args, *prepare.args.kwonlyargs)
        self.taken = {*given, *stored, *names_in(prepare, ast.Store), *names_in(prepare, ast.Load), *(x.arg for x in arguments)}
        self.made: dict[str, str] = {}

    def moved(self, node: ast.stmt) -> ast.stmt | None:
        """Return a statement without what was moved; None if that is all of it."""
        self.read |= {*names_in(node, ast.Load)}
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if self.is_of_scalars(value):
                if isinstance(value, ast.Name) or name not in self.once - self.read:
                    return node
                self.scalars[name] = self.computed(value, name)
                return None
            case ast.Return(value=ast.Tuple(elts=results)) if any(map(self.is_liftable, results)):
                return node
            case ast.Return(value=ast.expr() as result) if self.is_liftable(result):
                return node
            case ast.Assign(targets=[ast.Name()]) | ast.Return():
                changed: ast.stmt = self.generic_visit(node)  # type: ignore[assignment]
                return changed
        return node

    def visit_BinOp(self, node: ast.expr) -> Any:
        """Replace the largest expressions of scalars alone by new scalars."""
        if not self.is_liftable(node):
            return self.generic_visit(node)
        value = self.computed(node, "of_" + next((name for name in names_in(node, ast.Load) if name in self.scalars), "number"))
        self.scalars[value.id] = value
        return ast.copy_location(ast.Name(value.id, ast.Load()), node)

    visit_Call = visit_BinOp

    def is_liftable(self, node: ast.expr) -> bool:
        """Return True for arithmetic of scalars and numbers; a name or number alone is none."""
        match node:
            case ast.BinOp(op=op, left=x, right=y) if isinstance(op, OPERATORS):
                return self.is_of_scalars(x) and self.is_of_scalars(y)
            case ast.Call(func=ast.Name(id="sqrt"), args=[x], keywords=[]):
                return self.has_sqrt and self.is_of_scalars(x)
        return False

    def is_of_scalars(self, node: ast.expr) -> bool:
        """Return True for an expression of scalars and numbers alone."""
        match node:
            case ast.Name(id=name):
                return name in self.scalars
            case ast.Constant(value=int() | float() as number):
                return not isinstance(number, bool)
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return self.is_of_scalars(x)
        return self.is_liftable(node)

    def computed(self, node: ast.expr, name: str) -> ast.Name:
        """Return the name that an expression of scalars has in the scalars function, which computes it once."""
        renamed = copy.deepcopy(node)
        for x in ast.walk(renamed):
            if isinstance(x, ast.Name) and x.id in self.scalars:
                x.id = self.local(x.id)
        text = ast.unparse(renamed)
        if text not in self.made:
            self.made[text] = self.assigned(name, renamed)
        return ast.copy_location(ast.Name(self.made[text], ast.Load()), node)

    def local(self, name: str) -> str:
        """Return the name that a scalar of the update has in the scalars function."""
        value = self.scalars[name]
        if not isinstance(value, ast.Name):
            value = self.scalars[name] = ast.copy_location(ast.Name(self.assigned(name, value), ast.Load()), value)
        return value.id

    def assigned(self, name: str, value: ast.expr) -> str:
        """Add an assignment to the scalars function; return its name, which is free there and in the update."""
        free = next(x for x in (name, *(f"{name}_{k}" for k in range(2, 1000))) if x not in self.taken)
        self.taken.add(free)
        self.statements.append(ast.copy_location(ast.Assign([ast.Name(free, ast.Store())], value), value))
        return free


def function_of(node: ast.FunctionDef, like: Callable[..., Any]) -> FunctionType:
    """Return a changed function, with the names, defaults and annotations of the one that it was."""
    bare = copy.deepcopy(node)
    for argument in (*bare.args.args, *bare.args.kwonlyargs):
        argument.annotation = None
    bare.returns, bare.args.defaults = None, []
    bare.args.kw_defaults = [None] * len(bare.args.kwonlyargs)
    space: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(ast.Module([bare], [])), f"<rule {node.name}>", "exec"), like.__globals__, space)
    made: FunctionType = space[node.name]
    made.__defaults__, made.__kwdefaults__ = like.__defaults__, like.__kwdefaults__
    made.__annotations__, made.__doc__ = like.__annotations__, like.__doc__
    return made
