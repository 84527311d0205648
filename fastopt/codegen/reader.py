"""Reads rules and stages from their source and checks that they keep to what NumPy, C and CUDA understand alike."""

from __future__ import annotations

import ast
import keyword
from dataclasses import dataclass
from pathlib import Path

ELEMENTWISE = {"sqrt": 1, "fabs": 1, "sign": 1, "copysign": 2, "maximum": 2, "minimum": 2, "where": 3}
IN_SCALARS = {"sqrt": 1, "power": 2}
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
STATES, SCALARS, STAGES, INPUTS = 6, 8, 8, 4  # as in engine/table.pxd
TAKEN = {"a", "c", "h", "i", "n", "out", "real", "float", "double", "int", "t", "span", "power", *ELEMENTWISE, *keyword.kwlist}
ALLOWED = (
    "an update may use assignments of new values to plain names, + - * /, "
    f"{', '.join(ELEMENTWISE)}, comparisons as the first argument of where, numbers, and one return; "
    "a scalars function + - * /, sqrt, power(x, t), x if c else y, and a dictionary to return"
)


class RuleError(SyntaxError):
    """A rule outside the subset; the message names the file, the line and what is allowed."""


@dataclass(frozen=True)
class Function:
    """One rule or stage, as names and expressions."""

    name: str
    prepare: str
    doc: str
    arrays: tuple[str, ...]
    scalars: tuple[str, ...]
    temporaries: tuple[str, ...]
    body: tuple[tuple[str, ast.expr], ...]
    returns: tuple[ast.expr, ...]
    neutral: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    scalar_body: tuple[tuple[str, ast.expr], ...]
    scalar_values: tuple[ast.expr, ...]

    @property
    def state(self) -> tuple[str, ...]:
        """Names of a rule's state: the arrays after the parameter and its gradient."""
        return self.arrays[2:]


def read(path: Path) -> list[Function]:
    """Every rule or stage of a file, in its order."""
    functions: dict[str, ast.FunctionDef] = {}
    imported: set[str] = set()
    for statement in ast.parse(path.read_text(), str(path)).body:
        match statement:
            case ast.FunctionDef(name=name):
                if name in functions:
                    raise RuleError(f"{path}:{statement.lineno}: {name} is already defined")
                functions[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if other in functions:  # the same scalars
                functions[name] = functions[other]
            case ast.ImportFrom(names=names):
                imported |= {alias.asname or alias.name for alias in names}
    return [
        _Reader(path, function, functions.get(f"{name}_scalars"), imported).function()
        for name, function in functions.items()
        if not name.endswith("_scalars")
    ]


class _Reader:
    def __init__(self, path: Path, update: ast.FunctionDef, scalars: ast.FunctionDef | None, imported: set[str]) -> None:
        self.path = path
        self.update = update
        self.imported = imported
        if scalars is None:
            raise self.error(update, f"{update.name} has no {update.name}_scalars")
        self.prepare = scalars
        self.of_rule = bool(scalars.args.args)

    def signatures(self) -> None:
        """An error where the two functions' arguments are not those of a rule or of a stage."""
        for function in (self.update, self.prepare):
            a = function.args
            if a.posonlyargs or a.vararg or a.kwarg or a.defaults or function.decorator_list:
                raise self.error(function, f"{function.name} takes more than arrays and, after *, scalars")
            for argument in (*a.args, *a.kwonlyargs):
                if argument.arg != "t" or function is self.update:
                    self.free(function, argument.arg)
        arrays = [a.arg for a in self.update.args.args]
        neutral = [d for d in self.update.args.kw_defaults if d is not None]
        limits = (STATES + 2, SCALARS, SCALARS) if self.of_rule else (2, INPUTS, INPUTS)
        counts = (len(arrays), len(self.update.args.kwonlyargs), len(self.prepare.args.kwonlyargs))
        if any(count > limit for count, limit in zip(counts, limits, strict=True)):
            raise self.error(self.update, f"has {counts} arrays, scalars and hyperparameters, expected at most {limits}")
        if self.of_rule and (arrays[:2] != ["p", "g"] or neutral or [a.arg for a in self.prepare.args.args] != ["t"]):
            raise self.error(self.update, "expected a rule of p, g, its state, * and scalars, and those of t, * and numbers")
        if not self.of_rule and (arrays not in (["g"], ["p"], ["g", "p"]) or len(neutral) != counts[1]):
            raise self.error(self.update, "expected a stage of g, of p, or of g and p, *, and scalars with neutral defaults")

    def free(self, node: ast.stmt | ast.expr, name: str) -> None:
        """An error where a name means something else in the generated code."""
        if name in TAKEN or name.endswith(("_", "_f32", "_f64", "_scalars")):
            raise self.error(node, f"the name {name} is taken")

    def error(self, node: ast.stmt | ast.expr, message: str) -> RuleError:
        return RuleError(f"{self.path}:{node.lineno}: {message}; {ALLOWED}")

    def function(self) -> Function:
        self.signatures()
        arrays = tuple(a.arg for a in self.update.args.args)
        scalars = tuple(a.arg for a in self.update.args.kwonlyargs)
        hyperparameters = tuple(a.arg for a in self.prepare.args.kwonlyargs)
        body, value = self.split(self.update)
        self.elements, self.known = set(arrays), set(arrays) | set(scalars)
        for name, expression in body:
            self.free(expression, name)
            if name == "p" or name in scalars:
                raise self.error(expression, f"{name} is given and may not be assigned")
            if not self.check(expression):
                raise self.error(expression, f"{name} depends on no array: it belongs in the scalars function")
            self.elements.add(name)
            self.known.add(name)
        returns = tuple(value.elts) if isinstance(value, ast.Tuple) else (value,)
        for expression in returns:
            self.check(expression)
        if self.of_rule and len(returns) != len(arrays) - 1:
            raise self.error(value, f"returns {len(returns)} values, expected the update and {len(arrays) - 2} of state")
        scalar_body, dictionary = self.split(self.prepare)
        self.known = {"t", *hyperparameters} if self.of_rule else {*hyperparameters}
        for name, expression in scalar_body:
            self.free(expression, name)
            self.check_scalar(expression)
            self.known.add(name)
        if not isinstance(dictionary, ast.Dict):
            raise self.error(dictionary, "a scalars function returns a dictionary")
        keys = tuple(k.value if isinstance(k, ast.Constant) else None for k in dictionary.keys)
        if keys != scalars:
            raise self.error(dictionary, f"returns {keys}, but {self.update.name} takes {scalars}")
        for expression in dictionary.values:
            self.check_scalar(expression)
        return Function(
            name=self.update.name,
            prepare=self.prepare.name,
            doc=ast.get_docstring(self.update) or "",
            arrays=arrays,
            scalars=scalars,
            temporaries=tuple(dict.fromkeys(n for n, _ in body if n not in arrays)),
            body=tuple(body),
            returns=returns,
            neutral=tuple(ast.unparse(d) for d in self.update.args.kw_defaults if d is not None),
            hyperparameters=hyperparameters,
            scalar_body=tuple(scalar_body),
            scalar_values=tuple(dictionary.values),
        )

    def split(self, function: ast.FunctionDef) -> tuple[list[tuple[str, ast.expr]], ast.expr]:
        """Its assignments, and what it returns."""
        body: list[tuple[str, ast.expr]] = []
        *statements, last = function.body
        if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
            del statements[0]
        for s in statements:
            if not (isinstance(s, ast.Assign) and len(s.targets) == 1 and isinstance(s.targets[0], ast.Name)):
                raise self.error(s, f"{ast.unparse(s)!r} is not 'name = expression'")
            if isinstance(s.value, ast.Name):
                raise self.error(s, f"{ast.unparse(s)!r} only renames")
            body.append((s.targets[0].id, s.value))
        if not isinstance(last, ast.Return) or last.value is None:
            raise self.error(last, "the last statement is not a return of values")
        return body, last.value

    def check(self, node: ast.expr, comparison: bool = False) -> bool:
        """Whether an expression of an update depends on an array; an error where it is outside the subset."""
        match node:
            case ast.Name(id=name) if name in self.known:
                return name in self.elements
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float()):
                return False
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return self.check(x)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=x, right=y):
                depends = [self.check(x), self.check(y)]
                if not any(depends):
                    raise self.error(node, f"{ast.unparse(node)!r} depends on no array: it belongs in the scalars function")
                return True
            case ast.Compare(left=x, ops=[op], comparators=[y]) if comparison and isinstance(op, COMPARISONS):
                return any([self.check(x), self.check(y)])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if ELEMENTWISE.get(name) == len(args):
                self.is_imported(node, name)
                return any([self.check(x, name == "where" and i == 0) for i, x in enumerate(args)])
        raise self.error(node, f"{ast.unparse(node)!r} is not allowed in an update")

    def check_scalar(self, node: ast.expr) -> None:
        """An error where an expression of a scalars function is outside the subset."""
        parts: list[ast.expr] = []
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                pass
            case ast.Name(id=name) if name in self.known:
                pass
            case ast.UnaryOp(op=ast.USub(), operand=x):
                parts = [x]
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=x, right=y):
                parts = [x, y]
            case ast.Compare(left=x, ops=[op], comparators=[y]) if isinstance(op, COMPARISONS):
                parts = [x, y]
            case ast.IfExp(test=c, body=x, orelse=y):
                parts = [c, x, y]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if IN_SCALARS.get(name) == len(args):
                self.is_imported(node, name)
                if name == "power" and not (isinstance(args[1], ast.Name) and args[1].id == "t" and self.of_rule):
                    raise self.error(node, f"{ast.unparse(node)!r}: the exponent is not t")
                parts = args
            case _:
                raise self.error(node, f"{ast.unparse(node)!r} is not allowed in a scalars function")
        for part in parts:
            self.check_scalar(part)

    def is_imported(self, node: ast.expr, name: str) -> None:
        """An error where Python would not know a function that C knows."""
        if name not in self.imported:
            raise self.error(node, f"{name} is not imported from fastopt.arithmetic")
