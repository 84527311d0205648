"""Rendering of rules and stages as one file of C99 for programs without Python: ``fastopt.source("c")``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import c, vectors
from .ir import RuleIR

REALS = (("f32", "float", "f", "c"), ("f64", "double", "", "c64"))  # Last: where their scalars are.
HEAD = """\
/* Optimizer steps in C99, of fastopt (fastopt.source("c")): {rules}.

   The functions are those that fastopt.h, below, describes; nothing else is needed but the mathematical library. Compile it with
   -O3 -ffp-contract=off, and it computes the bits that the package computes; -fno-math-errno -fno-trapping-math makes it as fast,
   and -fopenmp gives fastopt_apply threads. With -march=x86-64-v4 and -DFASTOPT_FMA_ROOTS, square roots are computed by FMA, to the
   same bits: faster where the processor's divider is slow. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter" /* A rule need not use everything that it is given. */
#endif
#ifndef FASTOPT_DECLARE
#define FASTOPT_DECLARE
#endif
#include "library.h"
#if defined(FASTOPT_FMA_ROOTS)
#include "vector.h"
#endif
"""
TAIL = """\
static const fo_library fo_kernel_library = {
    sizeof(fo_job), sizeof(fo_array), FO_STAGES, FO_RULE_AT, fo_describe, fo_task, fo_span, fo_sums_of, fo_before, fo_reduce_blocks,
    fo_after, fo_carry};

const fastopt_rule *fastopt_rule_at(int32_t k) { return 0 <= k && k < FO_N_RULES ? &fo_rules[k].shown : NULL; }
const fastopt_stage *fastopt_stage_at(int32_t k) { return 0 <= k && k < FO_N_STAGES ? &fo_stages[k].shown : NULL; }

const fastopt_rule *fastopt_find_rule(const char *name)
{
    for (int32_t k = 0; name && k < FO_N_RULES; k++)
        if (strcmp(fo_rules[k].shown.name, name) == 0) return &fo_rules[k].shown;
    return NULL;
}

const fastopt_stage *fastopt_find_stage(const char *name)
{
    for (int32_t k = 0; name && k < FO_N_STAGES; k++)
        if (strcmp(fo_stages[k].shown.name, name) == 0) return &fo_stages[k].shown;
    return NULL;
}

int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads)
{
#if defined(_OPENMP)
    return fo_apply(&fo_kernel_library, updates, count, threads ? threads : omp_get_max_threads());
#else
    return fo_apply(&fo_kernel_library, updates, count, threads < 0 ? threads : 1);
#endif
}

int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts)
{
    return fo_apply_part(&fo_kernel_library, updates, count, part, parts);
}

const char *fastopt_message(void) { return fo_said; }
"""
GIVEN = {"g": "e->g", "p": "e->p", "u": "e->u", "m": "e->state[k]"}  # Numbers of an element.

Domains = Mapping[str, Sequence[tuple[float, float]]]


def render(rules: Sequence[RuleIR], stages: Sequence[RuleIR], domains: Domains) -> str:
    """Return the file without the headers that it includes. `domains`: of hyperparameters, by rule name or "l2 stage"."""
    rules, stages = [r for r in rules if not r.terms_scope], [s for s in stages if not s.is_for_optimizers]
    shaped = [s.arrays[0] for s in stages]
    first, subtract = shaped.index("u"), len(shaped) - shaped[::-1].index("u")
    parts = [[HEAD.format(rules=", ".join(r.name for r in rules)), *c.names(stages), f"enum {{ FO_RULE_AT = {first} }};"]]
    parts += [formula(s) for s in stages]
    for real in REALS:
        parts += around(stages, first, subtract, real)
    for rule in rules:
        parts += [vectors.kernels(rule)] if vectors.has_kernels(rule) else []
        parts += [formula(rule), *(steps(rule, real) for real in REALS), terms(rule)]
    stage_arrays = c.stage_array_names(stages)
    parts += [table("fo_formula", "fo_rules", "FO_N_RULES", [row(rule, domains[rule.name]) for rule in rules])]
    parts += [
        table(
            "fo_stage",
            "fo_stages",
            "FO_N_STAGES",
            [stage_row(s, k, stage_arrays, domains[f"{s.name} stage"]) for k, s in enumerate(stages)],
        )
    ]
    return "\n\n".join("\n".join(lines) for lines in [*parts, [TAIL.rstrip()]]) + "\n"


def formula(f: RuleIR) -> list[str]:
    """Return a rule: its scalars, the terms of its sums, and its arithmetic in float and in double."""
    parts = [c.scalars(f"{f.name}_scalars", f.scalars, f)]
    parts += [c.scalars(f"{f.name}_sums_scalars", f.sums_scalars, f)] if f.sums_scalars else []
    parts += [c.sum_terms(f"{f.name}_sums", f.sums)] if f.sums else []
    doc = [f"/* {line} */" for line in f.function.doc.splitlines()[:1]]
    for name, real, suffix, _ in REALS:
        parts += [[*(doc if name == "f32" else []), *c.element(f"{f.name}_{name}", f, c.Text(real, suffix))]]
    return [line for part in parts for line in ["", *part]][1:]


def around(stages: Sequence[RuleIR], first: int, subtract: int, real: tuple[str, ...]) -> list[list[str]]:
    """Return the stages around a rule for one element, and the terms of their sums."""
    name = real[0]
    head = f"(const fo_array *a, const fo_now *now, int64_t i, int last, fo_{name} *e)"
    before = [f"FO_INLINE void before_{name}{head}", "{", *shape(stages[:first], real), "}"]
    after = [f"FO_INLINE void after_{name}{head.replace('int last', 'int last, int velocity')}", "{"]
    after += [*shape(stages[first:subtract], real), "    if (last < FO_STAGES) return;", "    e->p = e->p - e->u;"]
    after += [*shape(stages[subtract:], real), "}"]
    summing = [s for s in stages if s.sums and s.kind != "checks"]
    cases = [f"    case {c.number(s)}: {s.name}_sums({', '.join(c.summed(s, GIVEN))}, NULL, out); break;" for s in summing]
    return [
        before,
        after,
        [
            f"FO_INLINE void stage_terms_{name}(int id, const fo_{name} *e, double *out)",
            "{",
            "    switch (id) {",
            *cases,
            "    }",
            "}",
        ],
    ]


def shape(stages: Sequence[RuleIR], real: tuple[str, ...]) -> list[str]:
    """Return consecutive stages, each under the condition that it is active."""

    def call(s: RuleIR, arguments: str, wide: bool) -> str:
        kind, c64 = "f64" if wide else real[0], f"now->stage_c64[{c.number(s)}]"
        return f"{s.name}_{kind}({arguments}, {c64 if wide else f'now->stage_{real[3]}[{c.number(s)}]'}, {c64})"

    return c.shape(stages, real[1], GIVEN, f"*fo_stage_array_{real[0]}(a, FO_{{}}, i)", call)


def steps(f: RuleIR, kind: tuple[str, ...]) -> list[str]:
    """Return a loop over elements that need no decoding, and one over a block of any format."""
    name, real, _, scalars = kind
    arguments = f"{real} *restrict p_, const {real} *restrict g_, char *const *states_, int64_t lo, int64_t n, const {real} *c"
    arguments += ", const double *c64_"
    lines = [f"static void {f.name}_plain_{name}({arguments})", "{"]
    if vectors.has_kernels(f):
        lanes = f"{real}s"
        call = f"fo_run_vectors(fo_{f.name}_{lanes}, p_, g_, states_, {len(f.state)}, lo * (int64_t)sizeof *p_, n, c64_);"
        lines += [f"#if defined(FO_HAS_{lanes.upper()})", f"    {call}", "    return;", "#endif"]
    lines += [f"    {real} *restrict {a}_ = ({real} *)states_[{k}] + lo;" for k, a in enumerate(f.state)]
    lines += ["    for (int64_t i = 0; i < n; i++) {"]
    lines += [f"        {real} state_[] = {{{', '.join(f'{a}_[i]' for a in f.state) or '0'}}};"]
    lines += [f"        p_[i] = p_[i] - {f.name}_{name}(p_[i], g_[i], state_, c, c64_);"]
    lines += [f"        {a}_[i] = state_[{k}];" for k, a in enumerate(f.state)]
    lines += ["    }", *(["    (void)states_, (void)lo;"] if not f.state else []), "}", ""]
    arguments = f"const fo_array *a, const fo_now *now, int64_t lo, int64_t n, fo_{name} *e"
    lines += [f"static void {f.name}_block_{name}({arguments})", "{", "    for (int64_t i = lo; i < lo + n; i++, e++) {"]
    lines += [f"        fo_fetch_{name}(a, now, i, {len(f.state)}, e);", f"        before_{name}(a, now, i, FO_STAGES, e);"]
    lines += [f"        e->u = {f.name}_{name}(e->p, e->g, e->state, now->{scalars}, now->c64);"]
    return [*lines, f"        after_{name}(a, now, i, FO_STAGES, {c.bits(f, 'velocity')}, e);", "    }", "}"]


def terms(f: RuleIR) -> list[str]:
    """Return the terms of the sums of a stage or rule for a block, one sum after another; nothing changes."""
    arguments = "const fo_array *a, const fo_now *now, int64_t lo, int64_t n, int id, const double *c, double *out"
    lines = [f"static void {f.name}_terms({arguments})", "{", "    for (int64_t i = lo; i < lo + n; i++, out++) {"]
    lines += ["        double sums[FO_SUMS] = {0, 0, 0, 0};"]
    for (name, _, _, scalars), condition in zip(reversed(REALS), ("if (a->wide)", "else"), strict=True):
        lines += [
            f"        {condition} {{",
            f"            fo_{name} e;",
            f"            fo_fetch_{name}(a, now, i, {len(f.state)}, &e);",
        ]
        lines += [f"            before_{name}(a, now, i, id, &e);"]
        inner = [f"e.u = {f.name}_{name}(e.p, e.g, e.state, now->{scalars}, now->c64);"]
        inner += [f"after_{name}(a, now, i, id, {c.bits(f, 'velocity')}, &e);", f"stage_terms_{name}(id, &e, sums);"]
        if f.sums:
            places = {"p": "e.p", "g": "e.g"} | {a: f"e.state[{k}]" for k, a in enumerate(f.state)}
            lines += [f"            if (id == FO_STAGES) {f.name}_sums({', '.join(places[a] for a in f.sums.arrays)}, c, sums);"]
            lines += ["            else {", *(f"                {line}" for line in inner), "            }"]
        else:
            lines += [f"            {line}" for line in inner]
        lines += ["        }"]
    lines += ["        for (int j = 0; j < FO_SUMS; j++) out[j * FO_BLOCK] = sums[j];", "    }"]
    return [*lines, *([] if f.sums else ["    (void)c;"]), "}"]


def table(kind: str, name: str, count: str, rows: Sequence[str]) -> list[str]:
    return [f"static const {kind} {name}[] = {{", *(f"    {line}" for line in rows), "};", f"enum {{ {count} = {len(rows)} }};"]


def strings(values: Sequence[str]) -> str:
    listed = ", ".join(f'"{x}"' for x in values)
    return f"(const char *const[]){{{listed}}}" if values else "NULL"


def doubles(values: Sequence[float]) -> str:
    def text(x: float) -> str:
        return "NAN" if x != x else f"{'-' if x < 0 else ''}INFINITY" if abs(x) == float("inf") else repr(float(x))

    return f"(const double[]){{{', '.join(map(text, values))}}}" if values else "NULL"


def value(text: str) -> float:
    return float("nan") if not text else float(text)


def row(f: RuleIR, domains: Sequence[tuple[float, float]]) -> str:
    """Return the row that describes a rule, with its functions."""
    h = f.scalars.hyperparameters
    starts = c.bits(f, "start")
    sums = len(f.sums.results) if f.sums else 0
    shown = [
        "sizeof(fastopt_rule)", "&fo_owner", f'"{f.name}"', str(len(f.state)), str(len(h)), str(len(f.scalars.carry)), str(sums),
        strings(f.state), str(starts), strings(h), doubles([value(x) for x in f.scalars.defaults]),
        doubles([x for x, _ in domains]), doubles([x for _, x in domains]), strings(f.scalars.carry),
        doubles([value(x) for x in f.scalars.initial]),
    ]  # fmt: skip
    of_sums = f"{f.name}_sums_scalars" if f.sums_scalars else "NULL"
    numbers = [str(c.bits(f, "nonnegative")), str(int(f.scope in ("over_group", "over_all"))), str(int(f.scope.startswith("mean")))]
    numbers += [str(c.squares(f.sums))]
    functions = [f"{f.name}_{kind}" for kind in ("plain_f32", "plain_f64", "block_f32", "block_f64", "terms")]
    return f"{{{{{', '.join(shown)}}}, {', '.join([*numbers, f'{f.name}_scalars', of_sums, *functions])}}},"


def stage_row(f: RuleIR, k: int, stage_arrays: Sequence[str], domains: Sequence[tuple[float, float]]) -> str:
    """Return the row that describes a stage, with its functions."""
    h = f.scalars.hyperparameters
    arrays = [a for a in f.arrays if a in stage_arrays]
    sums = len(f.sums.results) if f.sums and f.kind != "checks" else 0
    shown = ["sizeof(fastopt_stage)", "&fo_owner", f'"{f.name}"', str(len(h)), str(len(arrays)), str(sums)]
    shown += [strings(h), doubles([value(x) for x in f.scalars.defaults]), strings(arrays)]
    places = ", ".join(str(stage_arrays.index(a)) for a in arrays) or "0"
    over_all = int(f.scope in ("over_group", "over_all"))
    shown += [doubles([x for x, _ in domains]), doubles([x for _, x in domains])]
    return f"{{{{{', '.join(shown)}}}, {k}, {over_all}, {c.squares(f.sums)}, {int(f.is_limit)}, {{{places}}}, {f.name}_scalars}},"
