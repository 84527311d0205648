"""Reading of rules and stages from their source, and checks that NumPy, C and CUDA understand it alike."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .capacity import CARRY, INPUTS, SCALARS, STATES, SUMS
from .subset import (
    COMPARISONS,
    CUSTOM_TAGS,
    ELEMENTWISE,
    IN_SCALARS,
    IN_SCALARS_FUNCTION,
    IN_UPDATE,
    KINDS,
    MATRICES,
    SCOPES,
    TAGS,
    TAKEN,
    RuleError,
)

Named = tuple[tuple[str, ast.expr], ...]


@dataclass(frozen=True)
class Function:
    """Elementwise arithmetic, from arrays and scalars to one or several named values.

    `wide` are the scalars that stay doubles; `squares` the sums whose terms are squared.
    """

    name: str
    doc: str
    arrays: tuple[str, ...]
    tags: tuple[str, ...]
    scalars: tuple[str, ...]
    body: Named
    results: Named
    wide: tuple[str, ...] = ()
    squares: tuple[str, ...] = ()
    returns: str = ""

    @property
    def reduced(self) -> tuple[str, ...]:
        """Names of the numbers that a scalars function takes for the sums; for squares the root and its exponent."""
        return tuple(x for n, _ in self.results for x in ((n, f"{n}_exponent") if n in self.squares else (n,)))

    @property
    def squared_by_f32(self) -> tuple[str, ...]:
        """Squares of arrays or of their differences. Those of floats do not leave the range of doubles."""
        return tuple(name for name, x in self.results if name in self.squares and all(map(self._is_array, _differing(x))))

    def bits(self, names: Collection[str]) -> int:
        """Return the mask of these results."""
        return sum(1 << k for k, (name, _) in enumerate(self.results) if name in names)

    def _is_array(self, x: ast.expr) -> bool:
        return isinstance(x, ast.Name) and x.id in self.arrays and x.id not in dict(self.body)

    @property
    def temporaries(self) -> tuple[str, ...]:
        """Names that are assigned and are not arrays."""
        return tuple(dict.fromkeys(name for name, _ in self.body if name not in self.arrays))


@dataclass(frozen=True)
class Scalars:
    """The scalars of a step: a function of doubles.

    `carry` are the numbers that live from step to step and begin at `initial`; `after` are their next values. `sums` come from a
    `Function` over arrays. `defaults` are those of the hyperparameters ("" without one); with those, a stage changes nothing.
    `limits` are hyperparameters that bound something, `switches` those that are True or False.
    """

    name: str
    carry: tuple[str, ...]
    initial: tuple[str, ...]
    sums: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    defaults: tuple[str, ...]
    body: Named
    values: Named
    after: tuple[ast.expr, ...]
    limits: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleIR:
    """A rule or a stage: an update, the scalars of a step, and the sums and matrix terms that those need, if any."""

    function: Function
    scalars: Scalars
    sums: Function | None
    sums_scalars: Scalars | None
    scope: str
    terms: Function | None = None
    terms_scalars: Scalars | None = None
    terms_scope: str = ""

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def arrays(self) -> tuple[str, ...]:
        return self.function.arrays

    @property
    def is_rule(self) -> bool:
        return self.arrays[:2] == ("p", "g")

    @property
    def kind(self) -> str:
        """One of `KINDS`; "" for a stage that changes its first array."""
        return self.function.returns if self.function.returns in KINDS else ""

    @property
    def is_passive(self) -> bool:
        """True for a stage that only looks at the gradient, and takes it as the next stage does."""
        return self.kind in ("checks", "measures")

    @property
    def is_for_optimizers(self) -> bool:
        """True for a stage that acts over several calls or reports; code without an optimizer object has none."""
        return self.kind in ("accumulates", "averages", "measures")

    @property
    def is_limit(self) -> bool:
        """True for a stage whose first hyperparameter bounds the gradient. Above the range of floats it takes it rounded."""
        return self.arrays == ("g",) and self.scalars.hyperparameters[:1] == self.scalars.limits[:1] != ()

    @property
    def state(self) -> tuple[str, ...]:
        """Arrays of a rule after parameter and gradient."""
        return self.arrays[2:]


def functions_of(path: Path) -> tuple[dict[str, ast.FunctionDef], set[str]]:
    """Return the public functions of a file by name, in its order, and the functions that it imports for them."""
    functions: dict[str, ast.FunctionDef] = {}
    imported: set[str] = set()
    for statement in ast.parse(path.read_text(), str(path)).body:
        match statement:
            case ast.FunctionDef(name=name) if not name.startswith("_"):
                if name in functions:
                    raise RuleError(f"{path}:{statement.lineno}: {name} is already defined")
                functions[name] = statement
            # An alias.
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if other in functions:
                functions[name] = functions[other]
            case ast.ImportFrom(module=str(module), names=names) if module.rpartition(".")[2] in ("arithmetic", "matrices"):
                imported |= {alias.asname or alias.name for alias in names}
    return functions, imported


def read(path: Path) -> list[RuleIR]:
    """Return the rules or stages of a file, in its order."""
    functions, imported = functions_of(path)
    helpers = ("_scalars", "_sums", "_terms")
    reader = Reader(path, functions, imported)
    return [reader.formula(name, function) for name, function in functions.items() if not name.endswith(helpers)]


def read_rule(path: Path, name: str, functions: dict[str, ast.FunctionDef], imported: set[str]) -> RuleIR:
    """Return a rule from its function and ``name_scalars``. `imported`: functions that it knows by name."""
    reader, update = Reader(path, functions, imported), functions[name]
    if [x.arg for x in update.args.args[:2]] != ["p", "g"]:
        raise reader.error(update, "expected a rule of p, g, its state, * and scalars")
    reader.free(update, name)
    for argument in update.args.args:
        if argument.annotation and (tag := ast.unparse(argument.annotation)) not in CUSTOM_TAGS:
            raise reader.error(argument.annotation, f"{tag}: expected one of {', '.join(CUSTOM_TAGS)}, or nothing, of an array")
    return reader.formula(name, update)


class Reader:
    """Reader of the functions of a file.

    Attributes
    ----------
    calls : dict of str
        Functions that an update may call, and the number of their arguments.
    is_double : bool
        Everything is a double, also in NumPy: numbers and scalars may stand alone.
    """

    calls: ClassVar = ELEMENTWISE
    is_double = False

    def __init__(self, path: Path, functions: dict[str, ast.FunctionDef], imported: set[str]) -> None:
        self.path = path
        self.functions = functions
        self.imported = imported
        self.sums = False
        self.wide: set[str] = set()
        self.elements: set[str] = set()
        self.known: set[str] = set()

    def error(self, node: ast.stmt | ast.expr, message: str, allowed: str = "") -> RuleError:
        """Return an error with its place, what is wrong, and what is allowed."""
        return RuleError(f"{self.path}:{node.lineno}: {message}{allowed and '; '}{allowed}")

    def no_array(self, node: ast.expr, what: str) -> RuleError:
        """Return the error of an expression that is the same for all elements."""
        error = self.error(node, f"{what} depends on no array: it belongs in the scalars function")
        error.is_of_scalars = True
        return error

    def formula(self, name: str, update: ast.FunctionDef) -> RuleIR:
        function = self.elementwise(update)
        of_rule = function.arrays[:2] == ("p", "g")
        sums, sums_scalars, scope = self.reduced(f"{name}_sums", function, SCOPES, SUMS)
        terms, terms_scalars, terms_scope = self.reduced(f"{name}_terms", function, MATRICES if of_rule else (), 1)
        prepare = self.functions.get(f"{name}_scalars")
        if prepare is None:
            raise self.error(update, f"{name} has no {name}_scalars")
        scalars = self.numbers(prepare, function, sums.reduced if sums else (), of_rule)
        for other in (sums_scalars, terms_scalars):
            if other and not set(other.hyperparameters) <= set(scalars.hyperparameters):
                raise self.error(prepare, f"{prepare.name} does not take all hyperparameters of {other.name}")
            if other and other.carry != scalars.carry:
                raise self.error(prepare, f"{prepare.name} and {other.name} carry other numbers")
        self.shape(update, function, scalars, of_rule)
        return RuleIR(function, scalars, sums, sums_scalars, scope, terms, terms_scalars, terms_scope)

    def reduced(
        self, name: str, function: Function, scopes: tuple[str, ...], most: int
    ) -> tuple[Function | None, Scalars | None, str]:
        """Return sums or terms with their scalars and scope; None without."""
        node = self.functions.get(name)
        if node is None:
            return None, None, ""
        of_rule = function.arrays[:2] == ("p", "g")
        found = self.elementwise(node)
        scope = _text(node.returns)
        if scope not in scopes:
            raise self.error(node, f"{name} does not say over what it sums, expected -> {' or '.join(scopes)}")
        if of_rule and not set(found.arrays) <= set(function.arrays):
            raise self.error(node, f"{name} takes {found.arrays}, expected some of {function.arrays}")
        if len(found.results) > most:
            raise self.error(node, f"{name} has {len(found.results)} results, expected at most {most}")
        prepare = self.functions.get(f"{name}_scalars")
        if prepare is None and found.scalars:
            raise self.error(node, f"{name} has no {name}_scalars")
        return found, self.numbers(prepare, found, (), of_rule) if prepare else None, scope

    def shape(self, node: ast.FunctionDef, function: Function, scalars: Scalars, of_rule: bool) -> None:
        """Raise if arrays, scalars and results are not those of a rule or stage."""
        limits = (STATES + 2, SCALARS, SCALARS) if of_rule else (INPUTS, INPUTS, INPUTS)
        counts = (len(function.arrays), len(function.scalars), len(scalars.hyperparameters))
        if any(count > limit for count, limit in zip(counts, limits, strict=True)) or len(scalars.carry) > CARRY:
            raise self.error(node, f"has {counts} arrays, scalars and hyperparameters, expected at most {limits}")
        if of_rule and len(function.results) != len(function.arrays) - 1:
            raise self.error(
                node, f"returns {len(function.results)} values, expected the update and {len(function.arrays) - 2} of state"
            )
        if not of_rule and (not function.arrays or len(function.results) != 1 or scalars.carry):
            raise self.error(node, "expected a rule of p, g and its state, or a stage that returns what its first array becomes")
        own = not set(function.arrays) <= {"g", "p", "u", "m"}
        if not of_rule and scalars.hyperparameters and not any(scalars.defaults) and not own:
            raise self.error(node, "expected a stage's hyperparameters with the defaults that change nothing")

    def free(self, node: ast.stmt | ast.expr, name: str) -> None:
        """Raise if a name means something else in the generated code."""
        if name in TAKEN or name.startswith(("fo_", "FO_")) or name.endswith(("_", "_f32", "_f64", "_scalars", "_sums", "_terms")):
            raise self.error(node, f"the name {name} is taken by Python, C, C++ or the generated code, expected another")
        if not name.isascii():
            raise self.error(node, f"the name {name} is not in ASCII, which C asks for")

    def elementwise(self, node: ast.FunctionDef) -> Function:
        """Return an update, or the terms of sums or matrices; raise if it is outside the subset."""
        arrays, tags, scalars = self.arguments(node)
        body, value = self.split(node)
        self.sums = node.name.endswith(("_sums", "_terms"))
        self.wide = _annotated(node, "wide")
        self.elements, self.known = set(arrays), (set(arrays) | set(scalars)) - self.wide
        for name, expression in body:
            self.free(expression, name)
            if name == "p" or name in scalars:
                raise self.error(expression, f"{name} is given and may not be assigned")
            if not self.check(expression):
                raise self.no_array(expression, name)
            self.elements.add(name)
            self.known.add(name)
        results = self.results(value)
        self.check_results(results)
        squares = tuple(name for name, x in results if name and _is_square(x))
        results = tuple((name, x.args[0] if name in squares and isinstance(x, ast.Call) else x) for name, x in results)
        for _, expression in results:
            self.check(expression)
        wide = tuple(name for name in scalars if name in self.wide)
        doc = ast.get_docstring(node) or ""
        return Function(node.name, doc, arrays, tags, scalars, tuple(body), results, wide, squares, _text(node.returns))

    def check_results(self, results: Named) -> None:
        """Raise if a result of an update is the same for all elements; sums may have any."""
        for _, expression in results if not self.sums else ():
            if not self.check(expression):
                raise self.no_array(expression, repr(ast.unparse(expression)))

    def arguments(self, node: ast.FunctionDef) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the names of the arrays of an update, their tags, and the names of its scalars."""
        a = node.args
        if _has_more(node) or a.defaults or (any(a.kw_defaults) and not self.is_double):
            raise self.error(node, f"{node.name} takes more than arrays and, after *, scalars")
        for argument in (*a.args, *a.kwonlyargs):
            self.free(node, argument.arg)
        tags = tuple(_text(x.annotation) for x in a.args)
        if unknown := set(tags) - {*TAGS, ""}:
            raise self.error(node, f"{', '.join(unknown)}: expected one of {', '.join(TAGS)}, or nothing, of an array")
        arrays = tuple(x.arg for x in a.args)
        if "g" in arrays and "p" in arrays and arrays[0] == "p" and arrays[:2] != ("p", "g"):
            raise self.error(node, "expected a rule of p, g, its state, * and scalars")
        return arrays, tags, tuple(x.arg for x in a.kwonlyargs)

    def results(self, value: ast.expr) -> Named:
        match value:
            case ast.Tuple(elts=values):
                return tuple(("", x) for x in values)
            case ast.Dict(keys=keys, values=values):
                return tuple((str(k.value) if isinstance(k, ast.Constant) else "", x) for k, x in zip(keys, values, strict=True))
        return (("", value),)

    def numbers(self, node: ast.FunctionDef, function: Function, sums: tuple[str, ...], of_rule: bool) -> Scalars:
        """Return the scalars of a step; raise if they are outside the subset."""
        carry = self.carried(node, sums, of_rule)
        hyperparameters = tuple(x.arg for x in node.args.kwonlyargs)
        defaults = tuple("" if d is None else ast.unparse(d) for d in node.args.kw_defaults)
        body, value = self.split(node)
        self.known = {*(x.arg for x in node.args.args), *hyperparameters, "inf"}
        for name, expression in body:
            self.free(expression, name)
            self.check_scalar(expression)
            self.known.add(name)
        values, after = self.returned(value, function, tuple(carry))
        kinds = [tuple(h for h in hyperparameters if h in _annotated(node, kind)) for kind in ("limit", "switch")]
        start = tuple(carry.values())
        return Scalars(node.name, tuple(carry), start, sums, hyperparameters, defaults, tuple(body), values, after, *kinds)

    def returned(self, value: ast.expr, function: Function, carry: tuple[str, ...]) -> tuple[Named, tuple[ast.expr, ...]]:
        """Return the scalars that a function returns, and the new carried numbers."""
        dictionary, *after = value.elts if isinstance(value, ast.Tuple) else [value]
        if not isinstance(dictionary, ast.Dict):
            raise self.error(value, "a scalars function returns a dictionary, then the carried numbers")
        values = self.results(dictionary)
        if tuple(name for name, _ in values) != function.scalars:
            raise self.error(dictionary, f"returns {tuple(n for n, _ in values)}, but {function.name} takes {function.scalars}")
        if function.name.endswith(("_sums", "_terms")) and not after:
            after = [ast.copy_location(ast.Name(k, ast.Load()), value) for k in carry]
        if len(after) != len(carry):
            said = f"carries {len(after)} numbers, expected {carry}, which come before * and live from step to step"
            raise self.error(value, said)
        for expression in (*(x for _, x in values), *after):
            self.check_scalar(expression)
        return values, tuple(after)

    def carried(self, node: ast.FunctionDef, sums: tuple[str, ...], of_rule: bool) -> dict[str, str]:
        """Return the first values of the numbers that a scalars function carries; raise for arguments that it cannot have."""
        a = node.args
        if _has_more(node):
            raise self.error(node, f"{node.name} takes more than numbers and, after *, hyperparameters")
        positional = [x.arg for x in a.args]
        if of_rule and positional[:1] != ["t"]:
            raise self.error(node, "expected the scalars of t, * and numbers")
        others = positional[1:] if of_rule else positional
        for name in (*others, *(x.arg for x in a.kwonlyargs)):
            self.free(node, name)
        initial = dict(zip(positional[len(positional) - len(a.defaults) :], map(ast.unparse, a.defaults), strict=True))
        if missing := [name for name in others if name not in sums and name not in initial]:
            raise self.error(node, f"{', '.join(missing)}: neither a sum nor with the value that it begins with")
        return {name: initial[name] for name in others if name not in sums}

    def split(self, function: ast.FunctionDef) -> tuple[list[tuple[str, ast.expr]], ast.expr]:
        """Return a function's assignments, and its results."""
        body: list[tuple[str, ast.expr]] = []
        allowed = IN_SCALARS_FUNCTION if function.name.endswith("_scalars") else IN_UPDATE
        *statements, last = function.body
        if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
            del statements[0]
        for s in statements:
            if not (isinstance(s, ast.Assign) and len(s.targets) == 1 and isinstance(s.targets[0], ast.Name)):
                raise self.error(s, f"{ast.unparse(s)!r} is not 'name = expression'", allowed)
            if isinstance(s.value, ast.Name):
                raise self.error(s, f"{ast.unparse(s)!r} only renames")
            body.append((s.targets[0].id, s.value))
        if not isinstance(last, ast.Return) or last.value is None:
            raise self.error(last, "the last statement is not a return of values", allowed)
        return body, last.value

    def check(self, node: ast.expr, comparison: bool = False) -> bool:
        """Return True if an expression of an update depends on an array; raise if it is outside the subset."""
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
                if not any(depends) and not self.is_double:
                    raise self.no_array(node, repr(ast.unparse(node)))
                return any(depends)
            case ast.Compare(left=x, ops=[op], comparators=[y]) if comparison and isinstance(op, COMPARISONS):
                return any([self.check(x), self.check(y)])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if self.calls.get(name) == len(args):
                self.is_imported(node, name)
                return self.check_call(node, name, args)
        raise self.error(node, f"{ast.unparse(node)!r} is not allowed in an update", IN_UPDATE)

    def check_call(self, node: ast.expr, name: str, args: list[ast.expr]) -> bool:
        """Return True if a call in an update depends on an array; raise if it is outside the subset."""
        if name == "scale_by":
            if not all(isinstance(x, ast.Name) and x.id in self.wide for x in args[1:]):
                raise self.error(node, f"{ast.unparse(node)!r}: the factor and the power of two are not scalars that are wide")
            return self.check(args[0])
        if not (self.sums or self.is_double) and all(isinstance(x, ast.Constant | ast.UnaryOp) for x in args[name == "where" :]):
            said = "is of numbers alone, which are doubles in Python; take one from the scalars"
            raise self.error(node, f"{ast.unparse(node)!r} {said}")
        return any([self.check(x, name == "where" and i == 0) for i, x in enumerate(args)])

    def check_scalar(self, node: ast.expr) -> None:
        """Raise if an expression of a scalars function is outside the subset."""
        parts: list[ast.expr] = []
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                self.check_number(node, number)
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
                if name == "power" and not (isinstance(args[1], ast.Name) and args[1].id == "t" and "t" in self.known):
                    raise self.error(node, f"{ast.unparse(node)!r}: the exponent is not t")
                parts = args
            case _:
                raise self.error(node, f"{ast.unparse(node)!r} is not allowed in a scalars function", IN_SCALARS_FUNCTION)
        for part in parts:
            self.check_scalar(part)

    def check_number(self, node: ast.expr, number: float) -> None:
        """Raise for a whole number that doubles may not hold."""
        if isinstance(number, int) and abs(number) > 2**53:
            raise self.error(node, f"{ast.unparse(node)[:20]}: a whole number of more than 53 bits, expected a float")

    def is_imported(self, node: ast.expr, name: str) -> None:
        """Raise if Python would not know a function that C knows."""
        if name not in self.imported:
            raise self.error(node, f"{name} is not imported from fastopt.arithmetic")


def _text(annotation: ast.expr | None) -> str:
    return ast.unparse(annotation) if annotation else ""


def _has_more(node: ast.FunctionDef) -> bool:
    """Return True if a function has more than plain arguments and keyword arguments."""
    return bool(node.args.posonlyargs or node.args.vararg or node.args.kwarg or node.decorator_list)


def _annotated(node: ast.FunctionDef, annotation: str) -> set[str]:
    """Return the keyword arguments of a function with this annotation."""
    return {x.arg for x in node.args.kwonlyargs if _text(x.annotation) == annotation}


def _differing(node: ast.expr) -> tuple[ast.expr, ...]:
    """Return the two sides of a difference, or the expression alone."""
    return (node.left, node.right) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) else (node,)


def _is_square(node: ast.expr) -> bool:
    """Return True if a term of sums is marked as a square."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "square" and len(node.args) == 1
