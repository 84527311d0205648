"""Rendering of rules and stages as Cython: a loop over elements, a C function for the scalars, and the table of both."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping, Sequence

from . import c, vectors
from .ir import Function, RuleIR, Scalars

HEAD = '''\
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# Generated from optimizers/ and stages.py by python fastopt/_codegen: edit those files.
"""Loops over elements, compiled once for each instruction set."""

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t

IMPORTS

ctypedef fused real:
    float
    double
MIXED
cdef extern from "powers.h" nogil:
    double power "fo_power_kept"(fo_powers_t *all, int place, double x, int64_t n)
cdef extern from "block.h" nogil:
    const char *FO_ISA
    double power "fo_power"(double x, int64_t n)
    double exp "fo_exp"(double x)
    double log "fo_log"(double x)
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
    float scale_by "fo_scale_byf"(float x, double factor, double power)
    double scale_by "fo_scale_by"(double x, double factor, double power)
    double ldexp "fo_ldexp"(double x, double n)
    double ceil_log2 "fo_ceil_log2"(double x)
    double scale_factor "fo_scale_factor"(double x, double n)
    double scale_power "fo_scale_power"(double x, double n)
    bint fo_is_exact(double factor, double shift)
    bint fo_is_float(double x)
'''
MIXED = """
ctypedef fused source:
    float
    double

ctypedef fused target:
    float
    double
"""
WHOLE = """\
from fastopt._engine.span cimport reduce_blocks, write_factors, span, write_terms
from fastopt._engine.table cimport (
    ACCUMULATES, ARRAY, AVERAGES, BLOCK, CHECKS, GRADIENT, GROUP, INPUTS, LINES, MATRIX, MEASURES, PARAMETER, STAGE_ARRAY,
    TRANSFORMS, UPDATE, VELOCITY, VERSION, WHOLE, describe, describe_mixed, describe_narrow, describe_rule, describe_squares,
    describe_stage, describe_sums, describe_terms, describe_vectors, fo_powers_t, formula_t, kernel_t, narrow_kernel_t, table_t,
)"""
RULES_ALONE = """\
from fastopt._engine.table cimport (
    ARRAY, GROUP, UPDATE, VERSION, WHOLE, describe, describe_narrow, describe_rule, describe_squares, describe_sums,
    describe_vectors, fo_powers_t, formula_t, kernel_t, narrow_kernel_t, table_t,
)"""
SCOPES = {"over_array": "ARRAY", "mean_over_array": "ARRAY", "over_group": "GROUP", "over_all": "WHOLE"}
TERMS = {"factored_terms": "LINES", "matrix_terms": "MATRIX"}
SHARED_ARRAYS = {"g": "GRADIENT", "p": "PARAMETER", "u": "UPDATE", "m": "VELOCITY"}  # A stage's arrays that it does not keep.


def render(rules: Sequence[RuleIR], stages: Sequence[RuleIR]) -> str:
    """Return the text of ``kernels.pyx``; without stages, of a module with users' rules."""
    parts = [HEAD.replace("IMPORTS", WHOLE if stages else RULES_ALONE).replace("MIXED", MIXED if stages else "")]
    parts += [vectors.render(rules)]
    for formula in (*rules, *stages):
        if formula.scalars.name == f"{formula.name}_scalars":
            parts += [_scalars(formula.scalars, formula)]
        for kind, scalars, function in (
            ("terms", formula.terms_scalars, formula.terms),
            ("sums", formula.sums_scalars, formula.sums),
        ):
            if scalars and scalars.name == f"{formula.name}_{kind}_scalars":
                parts += [_scalars(scalars, formula)]
            if function:
                parts += [_sum_terms(f"{formula.name}_{kind}", function, formula)]
        parts += [_rule(formula) if formula.is_rule else _stage(formula)]
    parts += [_table(rules, stages)]
    return "\n\n".join(parts)


def signature(formula: RuleIR) -> str:
    """Return all names of a rule or stage that the engine passes by position."""
    scalars, sums, terms = formula.scalars, formula.sums, formula.terms
    parts = [formula.arrays, formula.function.scalars, scalars.carry, scalars.hyperparameters]
    parts += [sums.arrays, sums.reduced, (formula.scope,)] if sums else []
    parts += [terms.arrays, (formula.terms_scope,)] if terms else []
    return " | ".join(" ".join(names) for names in parts)


class _Literals(ast.NodeTransformer):
    """Casts of literals: a number in Cython is a C int or double, in an update it must be a real."""

    def __init__(self, real: str = "real") -> None:
        self.real = real

    def visit_Constant(self, node: ast.Constant) -> ast.Name:
        return ast.Name(f"<{self.real}> {node.value!r}")


class _Doubles(ast.NodeTransformer):
    """Numbers of a scalars function as doubles; the step is counted in 64 bits, and is a double unless it is an exponent.

    Parts of a hyperparameter's powers are kept from step to step, at its place among `hyperparameters`.
    """

    def __init__(self, hyperparameters: tuple[str, ...]) -> None:
        self.hyperparameters = hyperparameters

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "power":
            base = node.args[0]
            if isinstance(base, ast.Name) and base.id in self.hyperparameters:
                place = ast.Constant(self.hyperparameters.index(base.id))
                return ast.Call(ast.Name("power"), [ast.Name("k_"), place, *node.args], [])
            node.args[0] = self.visit(base)
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        # C would divide whole numbers without their fraction.
        return ast.Constant(float(node.value)) if isinstance(node.value, int) else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return (
            node if isinstance(node.left, ast.Name) and isinstance(node.comparators[0], ast.Constant) else self.generic_visit(node)
        )

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("<double> t" if node.id == "t" else "INFINITY" if node.id == "inf" else node.id)


def _text(expression: ast.expr, transformer: ast.NodeTransformer | None) -> str:
    copied = ast.parse(ast.unparse(expression), mode="eval").body
    return ast.unparse(ast.fix_missing_locations(transformer.visit(copied)) if transformer else copied)


def _numbers(function: Function, real: str = "real") -> list[str]:
    """Return declarations of an update's scalars, some of which are doubles for arrays of any precision."""
    narrow = tuple(n for n in function.scalars if n not in function.wide)
    return _unpack(narrow, "c", real, function.scalars) + _unpack(function.wide, "c", "double", function.scalars)


def _unpack(names: tuple[str, ...], source: str, real: str, places: tuple[str, ...] = ()) -> list[str]:
    """Return declarations of numbers, at their own places or at those in a longer list."""
    cast = "<real> " if real == "real" else ""
    values = [f"{n} = {cast}{source}[{(places or names).index(n)}]" for n in names]
    lines = [f"    cdef {real} "] if names else []
    for value in values:
        if len(lines[-1]) + len(value) > 118:
            lines += [f"    cdef {real} "]
        lines[-1] += ("" if lines[-1].endswith(f"{real} ") else ", ") + value
    return lines


def _scalars(scalars: Scalars, formula: RuleIR) -> str:
    time = "int64_t t, " if formula.is_rule else "int64_t _, "
    head = f"cdef void {scalars.name}("
    lines = [f"{head}{time}double *carry, const double *sums, const double *h, fo_powers_t *k_,"]
    lines += [f"{' ' * len(head)}double *c) noexcept nogil:"]
    expressions = [*(e for _, e in scalars.body), *(e for _, e in scalars.values)]
    before = scalars.name.endswith(("_sums_scalars", "_terms_scalars"))
    expressions += () if before else scalars.after
    for names, source in ((scalars.carry, "carry"), (scalars.sums, "sums"), (scalars.hyperparameters, "h")):
        used = tuple(n for n in names if any(c.uses(e, n) for e in expressions))
        lines += _unpack(used, source, "double", formula.scalars.hyperparameters if source == "h" else names)
    doubles = _Doubles(formula.scalars.hyperparameters)
    lines += _assignments(scalars, doubles)
    for i, (name, e) in enumerate(scalars.values):
        text = _text(e, doubles)
        lines += [f"    c[{i}] = {text}" + ("" if text == name else f"  # {name}")]
    for i, (name, e) in enumerate(zip(scalars.carry, scalars.after, strict=True)):
        if not before:
            lines += [f"    carry[{i}] = {_text(e, doubles)}  # {name}"]
    return "\n".join([*lines, *(["    pass"] if len(lines) == 2 else [])]) + "\n"


def _assignments(scalars: Scalars, doubles: _Doubles) -> list[str]:
    """Return assignments; new names are declared, others are assigned again."""
    known = {*scalars.carry, *scalars.sums, *scalars.hyperparameters}
    lines = [f"    cdef double {name} = {_text(e, doubles)}" for name, e in scalars.body if name not in known]
    return lines + [f"    {name} = {_text(e, doubles)}" for name, e in scalars.body if name in known]


def _loop(function: Function, name: str, pointers: list[str], scalars: list[str], real: str, stores: list[str]) -> str:
    """Return a fused loop, and its two instances with the signature of the table."""
    text, literals = " ".join(stores), _Literals(real)
    used = _used(function, text, real)
    declared = [*used, *function.temporaries, *(["update"] if "update" in text else [])]
    lines = [
        *_wrap(f"cdef inline void {name}(", [*pointers, "Py_ssize_t n", "const double *c"], ") noexcept nogil:"),
        *(f'    """{line}"""' for line in function.doc.splitlines()[:1]),
        "    cdef Py_ssize_t i",
        *([f"    cdef {real} {', '.join(declared)}"] if declared else []),
        *scalars,
        "    for i in range(n):",
        *(f"        {a} = {a}_[i]" for a in used),
        *(f"        {n} = {_text(e, literals)}" for n, e in function.body),
        *(f"        {s}" for s in stores),
    ]
    return "\n".join(lines) + "\n"


def _used(function: Function, text: str, real: str) -> list[str]:
    """Return the arrays that a loop with these stores reads."""
    expressions = [e for _, e in function.body] + [e for _, e in function.results if _text(e, _Literals(real)) in text]
    return [a for a in function.arrays if any(c.uses(e, a) for e in expressions) or (a == "p" and "p_[i] = p" in text)]


def _instances(name: str, arguments: list[str]) -> str:
    lines = []
    for suffix, real in (("f32", "float"), ("f64", "double")):
        given = ", ".join(arguments).replace("real", real)
        lines += [f"cdef void {name}_{suffix}(void **a, Py_ssize_t n, const double *c) noexcept nogil:"]
        lines += [*_wrap(f"    {name}[{real}](", [*given.split(", "), "n", "c"], ")"), ""]
    return "\n".join(lines[:-1]) + "\n"


def _wrap(head: str, arguments: list[str], tail: str) -> list[str]:
    """Return a signature, in lines of at most 120 characters."""
    lines = [head]
    for k, argument in enumerate(arguments):
        piece = argument + (tail if k == len(arguments) - 1 else ",")
        if len(lines[-1]) + len(piece) > 119:
            lines.append(" " * (len(head) - 1))
        lines[-1] += piece if lines[-1].endswith("(") else f" {piece}"
    return lines


def _cast(k: int | str) -> str:
    return f"<real *> a[{k}]"


def _rule(rule: RuleIR) -> str:
    """Return a rule's kernels: they subtract the update, or store it if a stage will change it (u_ is not NULL)."""
    function, written = rule.function, c.changed(rule)
    _, update = function.results[0]
    stores = [f"update = {_text(update, _Literals())}", "if u_ is NULL:", "    p_[i] = p - update", "else:", "    u_[i] = update"]
    stores += [f"{a}_[i] = {_text(e, _Literals())}" for a, e in written.items()]
    pointers = [f"{'' if a == 'p' or a in written else 'const '}real *restrict {a}_" for a in rule.arrays] + ["real *restrict u_"]
    loop = _loop(function, rule.name, pointers, _numbers(function), "real", stores)
    return loop + "\n" + _instances(rule.name, [_cast(k) for k in (*range(len(rule.arrays)), "UPDATE")])


def _stage(stage: RuleIR) -> str:
    """Return a stage's kernels: in place, except for the gradient, which is the caller's and goes to another buffer."""
    function = stage.function
    ((_, value),) = function.results
    shaped = stage.arrays[0]
    out = ["out"] if shaped == "g" else []
    target = "out" if out else shaped
    read = [a for a in stage.arrays if a != shaped or out]
    written = f"{target}_[i] = {_text(value, _Literals())}"
    pointers = [f"real *restrict {target}_", *(f"const real *restrict {a}_" for a in read)]
    loop = _loop(function, stage.name, pointers, _numbers(function), "real", [written])
    text = loop + "\n" + _instances(stage.name, [_cast(k) for k in range(len(pointers))])
    return text + "\n" + _mixed(stage) if stage.arrays == ("g",) else text


def _mixed(stage: RuleIR) -> str:
    """Return the kernels of a stage that needs the gradient only, in double, from or to a block of floats."""
    function = stage.function
    ((_, value),) = function.results
    pointers = ["target *restrict out_", "const source *restrict g_"]
    written = f"out_[i] = <target> ({_text(value, _Literals('double'))})"
    lines = [_loop(function, f"{stage.name}_mixed", pointers, _numbers(function, "double"), "double", [written])]
    for kind, given, made in (("widen", "float", "double"), ("narrow", "double", "float")):
        head = f"cdef void {stage.name}_{kind}(void **a, Py_ssize_t n, const double *c) noexcept nogil:"
        lines += [f"{head}\n    {stage.name}_mixed[{made}, {given}](<{made} *> a[0], <{given} *> a[1], n, c)\n"]
    lines += [f"cdef bint {stage.name}_exact(const double *c) noexcept nogil:\n    return {c.exact(stage, ' and ', 'True')}\n"]
    return "\n".join(lines)


def _sum_terms(name: str, function: Function, formula: RuleIR) -> str:
    """Return the terms of each sum, in double, one block after another."""
    places = ["i", "BLOCK + i", *(f"{k} * BLOCK + i" for k in range(2, len(function.results)))]
    stores = []
    for place, (n, e) in zip(places, function.results, strict=False):
        text = _text(e, _Literals("double"))
        if n in function.squared_by_f32:
            side = text if isinstance(e, ast.Name) else f"({text})"
            stores += ["if real is float:", f"    out_[{place}] = {side} * {side}", "else:", f"    out_[{place}] = {text}"]
        else:
            stores += [f"out_[{place}] = {text}"]
    pointers = ["double *restrict out_", *(f"const real *restrict {a}_" for a in function.arrays)]
    expressions = [e for _, e in (*function.body, *function.results)]
    used = tuple(n for n in function.scalars if any(c.uses(e, n) for e in expressions))
    loop = _loop(function, name, pointers, _unpack(used, "c", "double", function.scalars), "double", stores)
    given = [formula.arrays.index(a) for a in function.arrays] if formula.is_rule else list(range(len(function.arrays)))
    return loop + "\n" + _instances(name, ["<double *> a[UPDATE]", *(_cast(k) for k in given)])


def _codes(arrays: Sequence[str], stage_arrays: Sequence[str]) -> str:
    """Return the places of a stage's arrays, as a C array; empty if it takes none by number."""
    return ", ".join(SHARED_ARRAYS[a] if a in SHARED_ARRAYS else f"STAGE_ARRAY + {stage_arrays.index(a)}" for a in arrays)


def _row(name: str, to: str, *values: object) -> list[str]:
    """Return a call that fills part of a row."""
    return _wrap(f"{name}(", [f"&{to}", *map(str, values)], ")")


def _common(f: RuleIR, to: str) -> list[str]:
    """Return the part of a row that rules and stages share, and the terms before their sums."""
    said = [f'b"{part}"' for part in textwrap.wrap(signature(f), 90, drop_whitespace=False)]
    counts = [len(f.scalars.hyperparameters), len(f.function.scalars), len(f.scalars.carry)]
    text = said[0] if len(said) == 1 else "(" + f"\n{' ' * 10}".join(said) + ")"
    lines = _row("describe", to, f'b"{f.name}"', text, f.scalars.name, f"{f.name}_f32", f"{f.name}_f64", *counts)
    if f.terms:
        prepare = f.terms_scalars.name if f.terms_scalars else "NULL"
        lines += _row("describe_terms", to, TERMS[f.terms_scope], f"{f.name}_terms_f32", f"{f.name}_terms_f64", prepare)
    return lines


def _sums_row(f: RuleIR, to: str, arrays: str) -> list[str]:
    """Return the part of a row about sums."""
    if f.sums is None:
        return []
    kernels = (f"{f.name}_sums_f32", f"{f.name}_sums_f64", f.sums_scalars.name if f.sums_scalars else "NULL")
    squares = [f.sums.bits(names) for names in (f.sums.squares, f.sums.squared_by_f32)]
    taken = (len(f.sums.arrays), f"[{arrays}]") if arrays else (0, "NULL")
    scope = (len(f.sums.results), SCOPES[f.scope], f.scope.startswith("mean"))
    lines = _row("describe_sums", to, *scope, *kernels, *squares, *taken)
    places = {a: str(k) for k, a in enumerate(f.arrays)} if f.is_rule else {a: x for a, x in SHARED_ARRAYS.items() if a != "m"}
    squared = [places.get(ast.unparse(e)) for n, e in f.sums.results if n in f.sums.squares]
    plain = not f.sums.body and len(squared) == len(f.sums.results) and all(squared)
    return lines + (_row("describe_squares", to, f"[{', '.join(map(str, squared))}]") if plain else [])


def _rule_row(f: RuleIR, to: str) -> list[str]:
    """Return the calls that fill the row of a rule."""
    tagged = [c.bits(f, tag) for tag in ("velocity", "nonnegative", "scratch")]
    lines = [*_common(f, to), *_row("describe_rule", to, len(f.state), *tagged), *_sums_row(f, to, "")]
    lines += _row("describe_vectors", to, f"{f.name}_floats", f"{f.name}_doubles") if vectors.has_kernels(f) else []
    return lines + (_row("describe_narrow", to, f"{f.name}_bf16_0", f"{f.name}_bf16_1") if vectors.has_narrow_kernels(f) else [])


def _stage_row(f: RuleIR, to: str, k: int, stage_arrays: Sequence[str]) -> list[str]:
    """Return the calls that fill the row of a stage."""
    lines = _common(f, to)
    defaults = [x.replace("inf", "INFINITY") or "NAN" for x in f.scalars.defaults]
    lines += [f"NEUTRAL[{k}][{j}] = {x}" for j, x in enumerate(defaults)]
    codes = f"[{_codes(f.arrays, stage_arrays)}]"
    lines += _row("describe_stage", to, f.kind.upper() or "TRANSFORMS", f"&NEUTRAL[{k}][0]", len(f.arrays), codes)
    if f.arrays == ("g",):
        mixed = [f"{f.name}_{kind}" for kind in ("widen", "narrow", "exact")]
        lines += _row("describe_mixed", to, *mixed, f.is_passive, f.is_limit)
    return lines + _sums_row(f, to, _codes(f.sums.arrays, stage_arrays) if f.sums else "")


def record(files: Mapping[str, tuple[str, str]]) -> str:
    """Return the digests of the files that the text was rendered from, by which an import knows whether they have changed."""
    rows = [f'    "{name}":\n        ("{own}",\n         "{arithmetic}"),' for name, (own, arithmetic) in files.items()]
    return "\n".join(["", "SOURCES = {", *rows, "}", ""])


def _table(rules: Sequence[RuleIR], stages: Sequence[RuleIR]) -> str:
    """Return the tables of rules and stages, and the capsule that gives them to the engine."""
    stage_arrays = c.stage_array_names(stages)
    lines = [f"cdef formula_t[{len(rules)}] RULES"]
    if stages:
        lines += [f"cdef formula_t[{len(stages)}] STAGES", f"cdef double[{len(stages)}][INPUTS] NEUTRAL"]
        lines += [f"cdef const char *STAGE_ARRAY_NAMES[{len(stage_arrays)}]"]
        lines += [f'STAGE_ARRAY_NAMES[{k}] = b"{name}"' for k, name in enumerate(stage_arrays)]
    for k, f in enumerate(rules):
        lines += ["", *_rule_row(f, f"RULES[{k}]")]
    for k, f in enumerate(stages):
        lines += ["", *_stage_row(f, f"STAGES[{k}]", k, stage_arrays)]
    lines += ["", "cdef table_t TABLE_"]
    lines += [f"TABLE_.version, TABLE_.isa, TABLE_.n_rules, TABLE_.rules = VERSION, FO_ISA, {len(rules)}, &RULES[0]"]
    if stages:
        shaped = [s.arrays[0] for s in stages]
        first, last = shaped.index("u"), len(shaped) - shaped[::-1].index("u")
        lines += [
            "TABLE_.span, TABLE_.reduce_blocks = span, reduce_blocks",
            "TABLE_.write_terms, TABLE_.write_factors = write_terms, write_factors",
        ]
        lines += [
            f"TABLE_.n_stages, TABLE_.stages, TABLE_.rule_at, TABLE_.subtract_at = {len(stages)}, &STAGES[0], {first}, {last}"
        ]
        lines += [f"TABLE_.n_stage_arrays, TABLE_.stage_arrays = {len(stage_arrays)}, &STAGE_ARRAY_NAMES[0]"]
    lines += ['TABLE = PyCapsule_New(&TABLE_, "fastopt.table", NULL)']
    return "\n".join(lines) + "\n"
