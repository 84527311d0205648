"""Reads rules and stages from their source and checks that they keep to what NumPy, C and CUDA understand alike."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .capacity import INPUTS, KEPT, SCALARS, STATES, SUMS

ELEMENTWISE = {"sqrt": 1, "fabs": 1, "sign": 1, "copysign": 2, "maximum": 2, "minimum": 2, "where": 3, "scale_by": 3}
IN_SCALARS = {"sqrt": 1, "exp": 1, "log": 1, "power": 2, "ldexp": 2, "ceil_log2": 1, "scale_factor": 2, "scale_power": 2}
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
SCOPES = ("over_array", "mean_over_array", "over_group", "over_all")
MATRICES = ("over_lines", "over_matrix")  # scopes of terms
KINDS = ("checks", "accumulates", "averages", "measures")  # of stages, but for those that shape an array
TAGS = ("velocity", "nonnegative", "start", "scratch", "of_rows", "of_columns", "of_ratios")
OWN_TAGS = TAGS[:3]  # of users' own rules
TAKEN = {
    *(
        "a",
        "c",
        "h",
        "i",
        "n",
        "out",
        "real",
        "float",
        "double",
        "int",
        "t",
        "span",
        "update",
        "kept",
        "sums",
        "INFINITY",
        "NAN",
        "NULL",
    ),
    *(*IN_SCALARS, *ELEMENTWISE, *keyword.kwlist),
    *(
        "auto",
        "case",
        "char",
        "const",
        "default",
        "do",
        "enum",
        "extern",
        "goto",
        "long",
        "register",
        "restrict",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "bool",
        "catch",
        "delete",
        "explicit",
        "export",
        "friend",
        "inline",
        "mutable",
        "namespace",
        "new",
        "operator",
        "private",
        "protected",
        "public",
        "template",
        "this",
        "throw",
        "typename",
        "using",
        "virtual",
    ),
}  # here, in Python, C, C++
ALLOWED = (
    "an update may use assignments of new values to plain names, + - * /, "
    f"{', '.join(ELEMENTWISE)}, comparisons as the first argument of where, numbers, and one return; "
    "a scalars function + - * /, sqrt, exp, log, power(x, t), x if c else y, and a dictionary to return"
)

Named = tuple[tuple[str, ast.expr], ...]


class RuleError(SyntaxError):
    """A rule outside the subset; the message names the file, the line and what is allowed."""


@dataclass(frozen=True)
class Function:
    """Elementwise arithmetic: from arrays and scalars to one or several values, of which sums have names.

    `wide` are the scalars that stay doubles; `squares` the names of sums whose terms are to be squared.
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
    def given(self) -> tuple[str, ...]:
        """Names of the numbers that a scalars function is given of sums; of squares the root and its exponent."""
        return tuple(x for n, _ in self.results for x in ((n, f"{n}_exponent") if n in self.squares else (n,)))

    @property
    def squared_by_f32(self) -> tuple[str, ...]:
        """Return those squares whose terms are arrays or their differences: of floats, none leaves the range of doubles."""
        return tuple(name for name, x in self.results if name in self.squares and all(map(self._is_array, _differing(x))))

    def bits(self, names: Collection[str]) -> int:
        """Return the places of these results, a bit each."""
        return sum(1 << k for k, (name, _) in enumerate(self.results) if name in names)

    def _is_array(self, x: ast.expr) -> bool:
        return isinstance(x, ast.Name) and x.id in self.arrays and x.id not in dict(self.body)

    @property
    def temporaries(self) -> tuple[str, ...]:
        """Names that are assigned and no array's."""
        return tuple(dict.fromkeys(name for name, _ in self.body if name not in self.arrays))


@dataclass(frozen=True)
class Scalars:
    """The numbers of a step: a function of doubles.

    `kept` live from step to step and begin at `initial`; `sums` come from a `Function` over arrays. `defaults` are those of the
    hyperparameters ("" where there is none); of a stage they change nothing. `after` is what is kept for the next step.
    `limits` are hyperparameters that bound something.
    """

    name: str
    kept: tuple[str, ...]
    initial: tuple[str, ...]
    sums: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    defaults: tuple[str, ...]
    body: Named
    values: Named
    after: tuple[ast.expr, ...]
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Formula:
    """A rule or a stage: an update, the scalars of a step, and maybe sums that those need, after terms of matrices."""

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
        """One of `KINDS`, or "" of a stage that shapes its first array."""
        return self.function.returns if self.function.returns in KINDS else ""

    @property
    def is_passive(self) -> bool:
        """True of a stage that takes the gradient as the next one does, since it makes nothing of it."""
        return self.kind in ("checks", "measures")

    @property
    def is_for_optimizers(self) -> bool:
        """True of a stage that acts over several calls or reports, which code without an optimizer object does not."""
        return self.kind in ("accumulates", "averages", "measures")

    @property
    def is_limit(self) -> bool:
        """True of a stage that bounds the gradient by its first hyperparameter; by more than floats hold, it takes it rounded."""
        return self.arrays == ("g",) and self.scalars.hyperparameters[:1] == self.scalars.limits[:1] != ()

    @property
    def state(self) -> tuple[str, ...]:
        """Arrays of a rule after the parameter and its gradient."""
        return self.arrays[2:]


def read(path: Path) -> list[Formula]:
    """Return every rule or stage of a file, in its order."""
    functions: dict[str, ast.FunctionDef] = {}
    imported: set[str] = set()
    for statement in ast.parse(path.read_text(), str(path)).body:
        match statement:
            case ast.FunctionDef(name=name) if not name.startswith("_"):
                if name in functions:
                    raise RuleError(f"{path}:{statement.lineno}: {name} is already defined")
                functions[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if other in functions:  # the same again
                functions[name] = functions[other]
            case ast.ImportFrom(module=str(module), names=names) if module.rpartition(".")[2] in ("arithmetic", "matrices"):
                imported |= {alias.asname or alias.name for alias in names}
    helpers = ("_scalars", "_sums", "_terms")
    return [
        _Reader(path, functions, imported).formula(name, function)
        for name, function in functions.items()
        if not name.endswith(helpers)
    ]


def read_rule(path: Path, name: str, functions: dict[str, ast.FunctionDef], imported: set[str]) -> Formula:
    """Return one rule of its function and ``name_scalars``. `imported`: the functions that it knows by their names."""
    reader, update = _Reader(path, functions, imported), functions[name]
    if [x.arg for x in update.args.args[:2]] != ["p", "g"]:
        raise reader.error(update, "expected a rule of p, g, its state, * and scalars")
    reader.free(update, name)
    for argument in update.args.args:
        if argument.annotation and (tag := ast.unparse(argument.annotation)) not in OWN_TAGS:
            raise reader.error(argument.annotation, f"{tag}: expected one of {', '.join(OWN_TAGS)}, or nothing, of an array")
    return reader.formula(name, update)


class _Reader:
    def __init__(self, path: Path, functions: dict[str, ast.FunctionDef], imported: set[str]) -> None:
        self.path = path
        self.functions = functions
        self.imported = imported
        self.sums = False
        self.wide: set[str] = set()
        self.elements: set[str] = set()
        self.known: set[str] = set()

    def error(self, node: ast.stmt | ast.expr, message: str) -> RuleError:
        """Return where it is, what is wrong, and what is allowed."""
        return RuleError(f"{self.path}:{node.lineno}: {message}; {ALLOWED}")

    def formula(self, name: str, update: ast.FunctionDef) -> Formula:
        function = self.elementwise(update)
        of_rule = function.arrays[:2] == ("p", "g")
        sums, sums_scalars, scope = self.reduced(f"{name}_sums", function, SCOPES, SUMS)
        terms, terms_scalars, terms_scope = self.reduced(f"{name}_terms", function, MATRICES if of_rule else (), 1)
        prepare = self.functions.get(f"{name}_scalars")
        if prepare is None:
            raise self.error(update, f"{name} has no {name}_scalars")
        scalars = self.numbers(prepare, function, sums.given if sums else (), of_rule)
        for other in (sums_scalars, terms_scalars):
            if other and not set(other.hyperparameters) <= set(scalars.hyperparameters):
                raise self.error(prepare, f"{prepare.name} does not take all hyperparameters of {other.name}")
            if other and other.kept != scalars.kept:
                raise self.error(prepare, f"{prepare.name} and {other.name} keep other numbers")
        self.shape(update, function, scalars, of_rule)
        return Formula(function, scalars, sums, sums_scalars, scope, terms, terms_scalars, terms_scope)

    def reduced(
        self, name: str, function: Function, scopes: tuple[str, ...], most: int
    ) -> tuple[Function | None, Scalars | None, str]:
        """Return what is summed over arrays, or made of matrices, with its scalars and its scope; None where there is no such."""
        node = self.functions.get(name)
        if node is None:
            return None, None, ""
        of_rule = function.arrays[:2] == ("p", "g")
        found = self.elementwise(node)
        scope = ast.unparse(node.returns) if node.returns else ""
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
        """Raise if the arrays, scalars and results are not those of a rule or of a stage."""
        limits = (STATES + 2, SCALARS, SCALARS) if of_rule else (INPUTS, INPUTS, INPUTS)
        counts = (len(function.arrays), len(function.scalars), len(scalars.hyperparameters))
        if any(count > limit for count, limit in zip(counts, limits, strict=True)) or len(scalars.kept) > KEPT:
            raise self.error(node, f"has {counts} arrays, scalars and hyperparameters, expected at most {limits}")
        if of_rule and len(function.results) != len(function.arrays) - 1:
            raise self.error(
                node, f"returns {len(function.results)} values, expected the update and {len(function.arrays) - 2} of state"
            )
        if not of_rule and (not function.arrays or len(function.results) != 1 or scalars.kept):
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
        a = node.args
        if a.posonlyargs or a.vararg or a.kwarg or a.defaults or any(a.kw_defaults) or node.decorator_list:
            raise self.error(node, f"{node.name} takes more than arrays and, after *, scalars")
        for argument in (*a.args, *a.kwonlyargs):
            self.free(node, argument.arg)
        tags = tuple(ast.unparse(x.annotation) if x.annotation else "" for x in a.args)
        if unknown := set(tags) - {*TAGS, ""}:
            raise self.error(node, f"{', '.join(unknown)}: expected one of {', '.join(TAGS)}, or nothing, of an array")
        arrays, scalars = tuple(x.arg for x in a.args), tuple(x.arg for x in a.kwonlyargs)
        if "g" in arrays and "p" in arrays and arrays[0] == "p" and arrays[:2] != ("p", "g"):
            raise self.error(node, "expected a rule of p, g, its state, * and scalars")
        body, value = self.split(node)
        self.sums = node.name.endswith(("_sums", "_terms"))
        self.wide = {x.arg for x in a.kwonlyargs if x.annotation and ast.unparse(x.annotation) == "wide"}
        self.elements, self.known = set(arrays), (set(arrays) | set(scalars)) - self.wide
        for name, expression in body:
            self.free(expression, name)
            if name == "p" or name in scalars:
                raise self.error(expression, f"{name} is given and may not be assigned")
            if not self.check(expression):
                raise self.error(expression, f"{name} depends on no array: it belongs in the scalars function")
            self.elements.add(name)
            self.known.add(name)
        results = self.results(value)
        squares = tuple(name for name, x in results if name and _is_square(x))
        results = tuple((name, x.args[0] if name in squares and isinstance(x, ast.Call) else x) for name, x in results)
        for _, expression in results:
            self.check(expression)
        wide = tuple(name for name in scalars if name in self.wide)
        returns = ast.unparse(node.returns) if node.returns else ""
        return Function(
            node.name, ast.get_docstring(node) or "", arrays, tags, scalars, tuple(body), results, wide, squares, returns
        )

    def results(self, value: ast.expr) -> Named:
        match value:
            case ast.Tuple(elts=values):
                return tuple(("", x) for x in values)
            case ast.Dict(keys=keys, values=values):
                return tuple((str(k.value) if isinstance(k, ast.Constant) else "", x) for k, x in zip(keys, values, strict=True))
        return (("", value),)

    def numbers(self, node: ast.FunctionDef, function: Function, sums: tuple[str, ...], of_rule: bool) -> Scalars:
        a = node.args
        if a.posonlyargs or a.vararg or a.kwarg or node.decorator_list:
            raise self.error(node, f"{node.name} takes more than numbers and, after *, hyperparameters")
        positional = [x.arg for x in a.args]
        if of_rule and positional[:1] != ["t"]:
            raise self.error(node, "expected the scalars of t, * and numbers")
        others = positional[1:] if of_rule else positional
        for name in (*others, *(x.arg for x in a.kwonlyargs)):
            self.free(node, name)
        kept = tuple(name for name in others if name not in sums)
        initial = dict(zip(positional[len(positional) - len(a.defaults) :], map(ast.unparse, a.defaults), strict=True))
        if missing := [name for name in kept if name not in initial]:
            raise self.error(node, f"{', '.join(missing)}: neither a sum nor with the value that it begins with")
        hyperparameters = tuple(x.arg for x in a.kwonlyargs)
        defaults = tuple("" if d is None else ast.unparse(d) for d in a.kw_defaults)
        body, value = self.split(node)
        self.known = {*positional, *hyperparameters, "inf"}
        for name, expression in body:
            self.free(expression, name)
            self.check_scalar(expression)
            self.known.add(name)
        dictionary, *after = value.elts if isinstance(value, ast.Tuple) else [value]
        if not isinstance(dictionary, ast.Dict):
            raise self.error(value, "a scalars function returns a dictionary, then what is kept")
        values = self.results(dictionary)
        if tuple(name for name, _ in values) != function.scalars:
            raise self.error(dictionary, f"returns {tuple(n for n, _ in values)}, but {function.name} takes {function.scalars}")
        if function.name.endswith(("_sums", "_terms")) and not after:
            after = [ast.copy_location(ast.Name(k, ast.Load()), value) for k in kept]
        if len(after) != len(kept):
            raise self.error(
                value, f"keeps {len(after)} numbers, but was given {kept}, which come before *, and so live from step to step"
            )
        for expression in (*(x for _, x in values), *after):
            self.check_scalar(expression)
        start = tuple(initial[name] for name in kept)
        limits = tuple(x.arg for x in a.kwonlyargs if x.annotation and ast.unparse(x.annotation) == "limit")
        return Scalars(node.name, kept, start, sums, hyperparameters, defaults, tuple(body), values, tuple(after), limits)

    def split(self, function: ast.FunctionDef) -> tuple[list[tuple[str, ast.expr]], ast.expr]:
        """Return a function's assignments, and what it returns."""
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
        """Return whether an expression of an update depends on an array; an error where it is outside the subset."""
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
                if name == "scale_by":
                    if not all(isinstance(x, ast.Name) and x.id in self.wide for x in args[1:]):
                        raise self.error(
                            node, f"{ast.unparse(node)!r}: the factor and the power of two are not scalars that are wide"
                        )
                    return self.check(args[0])
                if not self.sums and all(isinstance(x, ast.Constant | ast.UnaryOp) for x in args[name == "where" :]):
                    raise self.error(
                        node, f"{ast.unparse(node)!r} is of numbers alone, which are doubles in Python; take one from the scalars"
                    )
                return any([self.check(x, name == "where" and i == 0) for i, x in enumerate(args)])
        raise self.error(node, f"{ast.unparse(node)!r} is not allowed in an update")

    def check_scalar(self, node: ast.expr) -> None:
        """Raise if an expression of a scalars function is outside the subset."""
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
                if name == "power" and not (isinstance(args[1], ast.Name) and args[1].id == "t" and "t" in self.known):
                    raise self.error(node, f"{ast.unparse(node)!r}: the exponent is not t")
                parts = args
            case _:
                raise self.error(node, f"{ast.unparse(node)!r} is not allowed in a scalars function")
        for part in parts:
            self.check_scalar(part)

    def is_imported(self, node: ast.expr, name: str) -> None:
        """Raise if Python would not know a function that C knows."""
        if name not in self.imported:
            raise self.error(node, f"{name} is not imported from fastopt.arithmetic")


def _differing(node: ast.expr) -> tuple[ast.expr, ...]:
    """Return the two sides of a difference, or the expression alone."""
    return (node.left, node.right) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) else (node,)


def _is_square(node: ast.expr) -> bool:
    """Return whether a term of sums is marked as one whose square is summed."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "square" and len(node.args) == 1
