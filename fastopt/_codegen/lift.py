"""Lifting of arithmetic of scalars alone from a user's update to its scalars function, which computes in double."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def lift(update: ast.FunctionDef, prepare: ast.FunctionDef) -> bool:
    """Move expressions of scalars and numbers alone, such as ``1 - beta``, between two functions. Return True if there are any.

    What cannot be moved stays, for the error that says so.
    """
    dictionary, names = returned(prepare), [x.arg for x in update.args.kwonlyargs]
    if [ast.unparse(key) for key in dictionary.keys if key] != [*map(repr, names)]:
        return False
    lifter = Lifter(update, dict(zip(names, dictionary.values, strict=True)))
    update.body = [*filter(None, map(lifter.visit, update.body))]
    if lifter.names:
        pass_scalars(update, dictionary, lifter.values)
    return bool(lifter.names)


def pass_scalars(update: ast.FunctionDef, dictionary: ast.Dict, values: Mapping[str, ast.expr]) -> None:
    """Make an update take those of the scalars that it uses, and the scalars function return them."""
    used = {x.id for statement in update.body for x in ast.walk(statement) if isinstance(x, ast.Name)}
    left = {name: x for name, x in values.items() if name in used}
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


class Lifter(ast.NodeTransformer):
    """Changes an update's statements; `values` are the scalars, with those that are lifted.

    Parameters
    ----------
    update : FunctionDef
    values : mapping of str
        What the scalars function returns.
    """

    def __init__(self, update: ast.FunctionDef, values: Mapping[str, ast.expr]) -> None:
        self.values, self.names = dict(values), dict[str, str]()
        stored = [x.id for x in ast.walk(update) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)]
        given = {*values, *(x.arg for x in update.args.args)}
        self.once = {name for name in stored if stored.count(name) == 1} - given
        self.taken = {*given, *stored}

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Make a name that stands for scalars alone a scalar."""
        (target, *others) = node.targets
        if not others and isinstance(target, ast.Name) and target.id in self.once and self.is_liftable(node.value):
            self.values[target.id] = self.inlined(node.value)
            self.names[target.id] = target.id
            return None
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.expr) -> Any:
        """Replace the largest expressions of scalars alone by new scalars."""
        if not self.is_liftable(node):
            return self.generic_visit(node)
        value = self.inlined(node)
        name = self.names.setdefault(ast.unparse(value), self.name_for(node))
        self.values[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    visit_Call = visit_BinOp

    def is_liftable(self, node: ast.expr) -> bool:
        """Return True for arithmetic of scalars and numbers; a name or number alone is none."""
        match node:
            case ast.BinOp(op=op, left=x, right=y) if isinstance(op, OPERATORS):
                return self.is_of_scalars(x) and self.is_of_scalars(y)
            case ast.Call(func=ast.Name(id="sqrt"), args=[x], keywords=[]):
                return self.is_of_scalars(x)
        return False

    def is_of_scalars(self, node: ast.expr) -> bool:
        """Return True for an expression of scalars and numbers alone."""
        match node:
            case ast.Name(id=name):
                return name in self.values
            case ast.Constant(value=int() | float() as number):
                return not isinstance(number, bool)
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return self.is_of_scalars(x)
        return self.is_liftable(node)

    def inlined(self, node: ast.expr) -> ast.expr:
        """Return an expression in terms of the scalars function, with the scalars' own expressions for their names."""
        values = self.values

        class Inline(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return ast.copy_location(copy.deepcopy(values[node.id]), node) if node.id in values else node

        found: ast.expr = Inline().visit(copy.deepcopy(node))
        return found

    def name_for(self, node: ast.expr) -> str:
        """Return a free name that says which scalar an expression begins from."""
        stem = next((x.id for x in ast.walk(node) if isinstance(x, ast.Name) and x.id in self.values), "number")
        return next(name for k in range(1, 1000) if (name := f"{stem}_{k}") not in self.taken | {*self.values})


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
