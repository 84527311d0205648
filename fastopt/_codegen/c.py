"""Rendering of rules and stages as C for one element, which C++ and CUDA read too."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Mapping, Sequence

from .ir import Function, RuleIR, Scalars

WIDTH = 132
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
BINDS = {ast.Add: 2, ast.Sub: 2, ast.Mult: 3, ast.Div: 3}  # Tighter than comparisons (1) and choices (0).


class Text:
    """Expressions in C: of reals in an update, of doubles in a scalars function."""

    def __init__(self, real: str, suffix: str = "", kind: str = "FO_INLINE") -> None:
        self.real, self.suffix, self.kind = real, suffix, kind

    def __call__(self, node: ast.expr, binds: int = 0) -> str:
        """Return an expression, in parentheses if what surrounds it binds tighter."""
        match node:
            case ast.Name(id="inf"):
                return "INFINITY"
            case ast.Name(id="t"):
                return "(double)t"
            case ast.Name(id=name):
                return name
            case ast.Constant(value=int() | float() as value):
                return self.number(value)
            case ast.UnaryOp(operand=x):
                return self.enclosed(f"-{self(x, 4)}", 4, binds)
            case ast.BinOp(left=x, op=op, right=y):
                own = BINDS[type(op)]
                return self.enclosed(f"{self(x, own)} {OPERATORS[type(op)]} {self(y, own + 1)}", own, binds)
            case ast.Compare(left=x, ops=[op], comparators=[y]):
                counted = isinstance(x, ast.Name) and x.id == "t" and isinstance(y, ast.Constant)
                left, right = ("t", f"{ast.unparse(y)}") if counted else (self(x, 2), self(y, 2))
                return self.enclosed(f"{left} {OPERATORS[type(op)]} {right}", 1, binds)
            case ast.IfExp(test=test, body=x, orelse=y):
                return self.enclosed(f"{self(test, 1)} ? {self(x, 1)} : {self(y)}", 0, binds)
            case ast.Call(func=ast.Name(id="power"), args=[x, _]):
                return f"fo_power({self(x)}, t)"
            case ast.Call(func=ast.Name(id=name), args=args):
                return f"fo_{name}{self.suffix}({', '.join(self(x) for x in args)})"
        raise AssertionError(ast.dump(node))

    def number(self, value: float) -> str:
        text = repr(float(value))
        return text if self.real == "double" else f"({self.real}){text}"

    @staticmethod
    def enclosed(text: str, own: int, binds: int) -> str:
        return f"({text})" if own < binds else text


DOUBLES = Text("double")


def scalars(name: str, s: Scalars, f: RuleIR) -> list[str]:
    """Return the scalars of a step as a function of doubles: carried numbers, sums, hyperparameters."""
    before = s.name.endswith(("_sums_scalars", "_terms_scalars"))
    expressions = [e for _, e in (*s.body, *s.values)] + ([] if before else list(s.after))
    lines = [f"FO_INLINE void {name}(int64_t t, double *carry, const double *sums, const double *h, double *c)", "{"]
    for names, source, places in (
        (s.carry, "carry", s.carry),
        (s.sums, "sums", s.sums),
        (s.hyperparameters, "h", f.scalars.hyperparameters),
    ):
        used = [n for n in names if any(uses(e, n) for e in expressions)]
        lines += declared("double", [f"{n} = {source}[{places.index(n)}]" for n in used])
    known = {*s.carry, *s.sums, *s.hyperparameters}
    for name, e in s.body:
        lines += [f"    {'' if name in known else 'double '}{name} = {DOUBLES(e)};"]
        known.add(name)
    lines += [f"    c[{i}] = {DOUBLES(e)};" + ("" if DOUBLES(e) == n else f" /* {n} */") for i, (n, e) in enumerate(s.values)]
    if not before:
        lines += [f"    carry[{i}] = {DOUBLES(e)}; /* {n} */" for i, (n, e) in enumerate(zip(s.carry, s.after, strict=True))]
    return [*lines, "}"]


def sum_terms(name: str, function: Function) -> list[str]:
    """Return the terms of each sum, in double for arrays of any precision."""
    expressions = [e for _, e in (*function.body, *function.results)]
    used = [n for n in function.scalars if any(uses(e, n) for e in expressions)]
    arguments = ", ".join([*(f"double {a}" for a in function.arrays), "const double *c", "double *out"])
    lines = [f"FO_INLINE void {name}({arguments})", "{"]
    lines += declared("const double", [f"{n} = c[{function.scalars.index(n)}]" for n in used])
    lines += assignments(function, DOUBLES, function.arrays)
    lines += [f"    out[{i}] = {DOUBLES(e)}; /* {n} */" for i, (n, e) in enumerate(function.results)]
    return [*lines, "}"]


def element(name: str, f: RuleIR, text: Text) -> list[str]:
    """Return a rule: from an element to its update, its state in place. Or a stage: the new value of its first array.

    Scalars are in ``c``, in the precision of the arrays, and in ``c64_``, in double.
    """
    function, real, written = f.function, text.real, changed(f)
    _, value = function.results[0]
    given = [f"{real} p", f"{real} g", f"{real} *state_"] if f.is_rule else [f"{real} {a}" for a in f.arrays]
    lines = [f"{text.kind} {real} {name}({', '.join([*given, f'const {real} *c', 'const double *c64_'])})", "{"]
    lines += element_scalars(function, real)
    read = [*(e for _, e in function.body), value, *written.values()]
    lines += declared(
        real, [f"{a} = state_[{k}]" for k, a in enumerate(f.state if f.is_rule else ()) if any(uses(e, a) for e in read)]
    )
    lines += assignments(function, text, f.arrays)
    if written:
        lines += [f"    const {real} update = {text(value)};"]
        lines += [f"    state_[{f.state.index(a)}] = {text(e)};" for a, e in written.items()]
        return [*lines, "    return update;", "}"]
    return [*lines, f"    return {text(value)};", "}"]


def changed(f: RuleIR) -> dict[str, ast.expr]:
    """Return the new values of a rule's state, without the arrays that it only reads."""
    assigned = {n for n, _ in f.function.body}
    return {a: e for a, (_, e) in zip(f.state, f.function.results[1:], strict=False) if a in assigned or ast.unparse(e) != a}


def element_scalars(function: Function, real: str) -> list[str]:
    """Return declarations of an element's scalars, some of which are doubles."""
    lines = declared(f"const {real}", [f"{n} = c[{i}]" for i, n in enumerate(function.scalars) if n not in function.wide])
    return lines + declared("const double", [f"{n} = c64_[{i}]" for i, n in enumerate(function.scalars) if n in function.wide])


def assignments(function: Function, text: Text, given: Sequence[str]) -> list[str]:
    """Return the statements of a function; a new name is declared where it is first assigned."""
    lines, known = [], set(given)
    for name, e in function.body:
        lines += [f"    {'' if name in known else f'{text.real} '}{name} = {text(e)};"]
        known.add(name)
    return lines


def uses(expression: ast.expr, name: str) -> bool:
    """Return True if an expression has a name."""
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(expression))


def declared(kind: str, values: Sequence[str]) -> list[str]:
    """Return declarations, wrapped."""
    lines: list[str] = []
    for value in values:
        if lines and len(lines[-1]) + len(value) < WIDTH - 4:
            lines[-1] = f"{lines[-1][:-1]}, {value};"
        else:
            lines += [f"    {kind} {value};"]
    return lines


def squares(function: Function | None) -> int:
    """Return the mask of the sums of squares."""
    return function.bits(function.squares) if function else 0


def shape(
    stages: Sequence[RuleIR], real: str, places: Mapping[str, str], stage_array: str, call: Callable[[RuleIR, str, bool], str]
) -> list[str]:
    """Return consecutive stages, each under the condition that it is active.

    Stages that need the gradient only change it in double, as ``e->w``, if it is stored so or the next active one takes it so;
    before any other stage it is rounded. The check for non-finite elements takes it rounded, unless the next active stage
    continues. `call` writes a stage's call from its arguments, in double or not.
    """
    of_gradient = [s.arrays == ("g",) for s in stages]
    lines = ["    int wide = now->format == FO_FLOAT64;"] if any(of_gradient) else []
    for k, s in enumerate(stages):
        on = f"fo_on(now, {number(s)}, last)"
        if of_gradient[k]:
            if s.is_limit:
                lines += where_on(f"{number(s)} <= last && now->on >> ({number(s)} + 32) & 1", f"e->w = ({real})e->w, wide = 0;")
            if s.is_passive:
                lines += where_on(f"{number(s)} <= last && !{goes_on(stages[k + 1 :])}", f"e->w = ({real})e->w, wide = 0;")
            lines += [f"    if ({on}) {{"]
            more, c64 = goes_on(stages[k + 1 :]), f"now->stage_c64[{number(s)}]"
            lines += broken(f"        const int next = {more if more == '0' else f'(wide || !({exact(s, c64=c64)})) && {more}'};")
            lines += where_on("wide || next", f"e->w = {call(s, 'e->w', True)};", "    ")
            lines += broken(f"        else e->w = {call(s, f'({real})e->w', False)};")
            lines += ["        wide = next;", "    }"]
            if not any(of_gradient[k + 1 : k + 2]):
                lines += [f"    e->g = ({real})e->w;"]
            continue
        arguments = [places.get(a) or stage_array.replace("{}", a.upper()) for a in s.arrays]
        text = f"{arguments[0]} = {call(s, ', '.join(arguments), False)};"
        if s.arrays[0] == "m":
            lines += [
                f"    for (int k = 0; k < FO_STATES && {on}; k++)",
                *(f"    {x}" for x in where_on("velocity >> k & 1", text)),
            ]
        else:
            lines += where_on(on, f"{'wide = 0, e->w = ' if s.arrays[0] == 'g' and any(of_gradient[k:]) else ''}{text}")
    return lines


def where_on(condition: str, text: str, indent: str = "") -> list[str]:
    """Return a statement under a condition, wrapped."""
    lines = [f"{indent}    if ({condition}) {text}"]
    if len(lines[0]) > WIDTH - 12:
        lines = [f"{indent}    if ({condition})", f"{indent}        {text}"]
    return [part for line in lines for part in broken(line)]


def broken(line: str) -> list[str]:
    """Return a line in two if it is too long."""
    if len(line) <= WIDTH - 4:
        return [line]
    at = line.rindex(" ", 0, WIDTH - 4)
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return [line[:at], *broken(indent + line[at + 1 :])]


def exact(s: RuleIR, both: str = " && ", always: str = "1", c64: str = "c") -> str:
    """Return a condition: a stage that needs the gradient only leaves floats without rounding."""
    names = s.function.scalars
    if s.function.wide:
        return f"fo_is_exact({', '.join(f'{c64}[{names.index(n)}]' for n in s.function.wide)})"
    return both.join(f"fo_is_float({c64}[{k}])" for k in range(len(names))) or always


def goes_on(after: Sequence[RuleIR]) -> str:
    """Return a condition: one of the next stages takes the gradient in double."""
    wide = [s for s in after if s.arrays == ("g",) and not s.is_passive]
    if not wide:
        return "0"
    narrow = [s for s in after[: after.index(wide[0])] if "g" in s.arrays and not s.is_passive]
    on, others = (" | ".join(f"1u << {number(s)}" for s in x) for x in (wide, narrow))
    return f"(!(now->on & ({others})) && fo_goes_on(now, {on}))" if narrow else f"fo_goes_on(now, {on})"


def summed(s: RuleIR, places: Mapping[str, str]) -> list[str]:
    """Return the terms that a stage sums, for one element."""
    assert s.sums
    return ["e->w"] if s.arrays == ("g",) else [places[a] for a in s.sums.arrays]


def number(s: RuleIR) -> str:
    return f"FO_{s.name.upper()}"


def bits(f: RuleIR, tag: str) -> int:
    """Return the mask of the states that have a tag."""
    return sum(1 << k for k, found in enumerate(f.function.tags[2:]) if found == tag)


def stage_array_names(stages: Sequence[RuleIR]) -> list[str]:
    """Return the names of the arrays that stages keep."""
    return list(dict.fromkeys(a for s in stages for a in s.arrays if a not in ("g", "p", "u", "m")))


def names(stages: Sequence[RuleIR]) -> list[str]:
    """Return the numbers of the stages, and of the arrays that they keep."""
    lines = []
    for listed in ([s.name for s in stages], stage_array_names(stages)):
        lines += textwrap.wrap(f"enum {{ {', '.join(f'FO_{n.upper()}' for n in listed)} }};", WIDTH - 4, subsequent_indent="    ")
    return lines
