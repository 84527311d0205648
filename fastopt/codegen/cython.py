"""Writes rules and stages as Cython: a loop for the elements, a C function for the scalars, and the table of both."""

from __future__ import annotations

import ast

from .reader import Function

HEAD = '''\
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# Generated from rules.py and stages.py by python fastopt/codegen: edit those files.
"""Everything that touches elements, compiled once per instruction set."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t

from fastopt.engine.formats cimport span
from fastopt.engine.table cimport INPUTS, VERSION, rule_t, stage_t, table_t

ctypedef fused real:
    float
    double

cdef extern from "scalar.h" nogil:
    const char *FO_ISA
    double power "fo_power"(double x, int64_t n)
    float sqrt "fo_sqrtf"(float x)
    double sqrt "fo_sqrt"(double x)
    float fabs "fo_fabsf"(float x)
    double fabs "fo_fabs"(double x)
    float sign "fo_signf"(float x)
    double sign "fo_sign"(double x)
    float copysign "fo_copysignf"(float x, float y)
    double copysign "fo_copysign"(double x, double y)
    float maximum "fo_maximumf"(float x, float y)
    double maximum "fo_maximum"(double x, double y)
    float minimum "fo_minimumf"(float x, float y)
    double minimum "fo_minimum"(double x, double y)
    float where "fo_wheref"(bint c, float x, float y)
    double where "fo_where"(bint c, double x, double y)
'''


def render(rules: list[Function], stages: list[Function]) -> str:
    """The whole text of ``kernels.pyx``."""
    parts = [HEAD]
    for function in (*rules, *stages):
        of_rule = function in rules
        if function.prepare == f"{function.name}_scalars":
            parts += [_scalars(function, "int64_t t, " if of_rule else "")]
        parts += [_rule(function) if of_rule else _stage(function)]
    if stages:
        parts += [_table(rules, stages)]
    return "\n\n".join(parts)


class _Literals(ast.NodeTransformer):
    """A number in Cython is a C double; in an update it is to be a real."""

    def visit_Constant(self, node: ast.Constant) -> ast.Name:
        return ast.Name(f"<real> {node.value!r}")


def _text(expression: ast.expr) -> str:
    return ast.unparse(ast.fix_missing_locations(_Literals().visit(ast.parse(ast.unparse(expression), mode="eval").body)))


def _unpack(names: tuple[str, ...], source: str, real: str) -> list[str]:
    cast = "<real> " if real == "real" else ""
    return [f"    cdef {real} {', '.join(f'{n} = {cast}{source}[{i}]' for i, n in enumerate(names))}"] if names else []


def _scalars(function: Function, time: str) -> str:
    lines = [f"cdef void {function.prepare}({time}const double *h, double *c) noexcept nogil:"]
    lines += _unpack(function.hyperparameters, "h", "double")
    lines += [f"    cdef double {name} = {ast.unparse(e)}" for name, e in function.scalar_body]
    lines += [
        f"    c[{i}] = {ast.unparse(e)}" + ("" if ast.unparse(e) == name else f"  # {name}")
        for i, (name, e) in enumerate(zip(function.scalars, function.scalar_values, strict=True))
    ]
    return "\n".join(lines) + "\n"


def _loop(function: Function, written: tuple[str, ...], out: list[str], stores: list[str]) -> str:
    """A fused loop, and its two instances with the signature of the table."""
    pointers = [f"{'' if a in written else 'const '}real *restrict {a}_" for a in function.arrays]
    pointers = [f"real *restrict {o}" for o in out] + pointers
    expressions = [*(e for _, e in function.body), *function.returns]
    used = [a for a in function.arrays if a in written[:1] or any(_uses(e, a) for e in expressions)]
    head = f"cdef inline void {function.name}("
    lines = [
        *_wrap(head, [*pointers, "Py_ssize_t n", "const double *c"], ") noexcept nogil:"),
        *(f'    """{line}"""' for line in function.doc.splitlines()[:1]),
        "    cdef Py_ssize_t i",
        f"    cdef real {', '.join((*used, *function.temporaries))}",
        *_unpack(function.scalars, "c", "real"),
        "    for i in range(n):",
        *(f"        {a} = {a}_[i]" for a in used),
        *(f"        {name} = {_text(e)}" for name, e in function.body),
        *(f"        {s}" for s in stores),
    ]
    casts = [f"<{{0}} *> a[{i}]" for i in range(len(pointers))]
    for suffix, real in (("f32", "float"), ("f64", "double")):
        arguments = ", ".join(casts).format(real)
        lines += [
            "",
            f"cdef void {function.name}_{suffix}(void **a, Py_ssize_t n, const double *c) noexcept nogil:",
            f"    {function.name}[{real}]({arguments}, n, c)",
        ]
    return "\n".join(lines) + "\n"


def _wrap(head: str, arguments: list[str], tail: str) -> list[str]:
    """A signature, in lines of at most 120 characters."""
    lines = [head]
    for k, argument in enumerate(arguments):
        piece = argument + (tail if k == len(arguments) - 1 else ",")
        if len(lines[-1]) + len(piece) > 119:
            lines.append(" " * (len(head) - 1))
        lines[-1] += piece if lines[-1].endswith("(") else f" {piece}"
    return lines


def _uses(expression: ast.expr, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(expression))


def _rule(rule: Function) -> str:
    update, *state = rule.returns
    stores = [f"p_[i] = {_text(ast.BinOp(ast.Name('p'), ast.Sub(), update))}"]
    stores += [f"{name}_[i] = {_text(e)}" for name, e in zip(rule.state, state, strict=True)]
    return _loop(rule, ("p", *rule.state), [], stores)


def _stage(stage: Function) -> str:
    """On the gradient into another buffer, since gradients are the caller's; on the parameter in place."""
    (value,) = stage.returns
    if stage.arrays[0] == "g":
        return _loop(stage, (), ["out_"], [f"out_[i] = {_text(value)}"])
    return _loop(stage, ("p",), [], [f"p_[i] = {_text(value)}"])


def _table(rules: list[Function], stages: list[Function]) -> str:
    lines = [
        f"cdef rule_t[{len(rules)}] RULES",
        f"cdef stage_t[{len(stages)}] STAGES",
        f"cdef double[{len(stages)}][INPUTS] NEUTRAL",
    ]
    for i, r in enumerate(rules):
        counts = f"{len(r.state)}, {len(r.hyperparameters)}, {len(r.scalars)}"
        lines.append(f'RULES[{i}] = rule_t(b"{r.name}", {counts}, {r.prepare},')
        lines.append(f"{' ' * len(f'RULES[{i}] = rule_t(')}{r.name}_f32, {r.name}_f64)")
    for i, s in enumerate(stages):
        shapes = f'b"{s.arrays[0]}"[0]'
        counts = f"{shapes}, {len(s.hyperparameters)}, {len(s.scalars)}, &NEUTRAL[{i}][0]"
        lines += [f"NEUTRAL[{i}][{k}] = {x}" for k, x in enumerate(s.neutral)]
        lines.append(f'STAGES[{i}] = stage_t(b"{s.name}", {counts}, {s.prepare}, {s.name}_f32, {s.name}_f64)')
    lines += [
        f"cdef table_t TABLE_ = table_t(VERSION, FO_ISA, {len(rules)}, &RULES[0], {len(stages)}, &STAGES[0], span)",
        'TABLE = PyCapsule_New(&TABLE_, "fastopt.table", NULL)',
    ]
    return "\n".join(lines) + "\n"
