"""Rendering of rules and stages as CUDA: ``cuda/generated/kernels.cu``. ``cuda/launch.h`` divides the work among threads."""

from __future__ import annotations

from collections.abc import Sequence

from . import c
from .ir import RuleIR

HEAD = "// Generated from optimizers and stages.py by python fastopt/_codegen: edit those files."
TEXT = c.Text("real", kind="template <class real> FO_INLINE")
SCOPES = {"over_array": "FO_ARRAY", "mean_over_array": "FO_ARRAY", "over_group": "FO_GROUP", "over_all": "FO_WHOLE"}
PLACES = {"g": "e->g", "p": "e->p", "u": "e->u", "m": "e->state[k]"}
KERNELS = {"": ("prepare", "step", "sum"), "factored_terms": ("prepare", "step", "sum", "rows", "columns")}
KERNELS["matrix_terms"] = (*KERNELS[""], "write_terms")


def render(rules: Sequence[RuleIR], stages: Sequence[RuleIR]) -> str:
    """Return the text of ``kernels.cu``, for these rules."""
    head = [HEAD, *c.names(stages), '#include "launch.h"']
    parts = [head, ["namespace stage {"], *(formula(s) for s in stages), ["}"], *around(stages)]
    for rule in rules:
        parts += [["namespace rule {", *formula(rule), "}"], kernels(rule)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def sizes(f: RuleIR) -> list[list[str]]:
    """Return a rule's sizes and masks that are not zero."""
    numbers = {"states": len(f.state), "velocity": c.bits(f, "velocity"), "nonnegative": c.bits(f, "nonnegative")}
    numbers |= {"scratch": f.function.tags[2:].index("scratch")} if "scratch" in f.function.tags else {}
    numbers |= {"squares": c.squares(f.sums)}
    listed = ", ".join(f"{name} = {x}" for name, x in numbers.items() if x)
    return [[f"enum {{ {listed} }};"]] if listed else []


def formula(f: RuleIR) -> list[str]:
    """Return a rule or stage: its sizes, the scalars of a step, the terms of its sums, and its arithmetic."""
    doc = [f"// {line}" for line in f.function.doc.splitlines()[:1]]
    inner = [*(sizes(f) if f.is_rule else []), c.scalars("scalars", f.scalars, f)]
    for kind, scalars, function in (("terms", f.terms_scalars, f.terms), ("sums", f.sums_scalars, f.sums)):
        inner += [c.scalars(f"{kind}_scalars", scalars, f)] if scalars else []
        inner += [c.sum_terms(f"{kind}_of", function), adapter(kind, f, function.arrays)] if function else []
    inner += [c.element("update" if f.is_rule else "shape", f, TEXT)]
    lines = [line for part in inner for line in ["", *part]][1:]
    return [
        *doc,
        f"struct {f.name}{' : fo_rule' if f.is_rule else ''} {{",
        *(f"    {line}" if line else "" for line in lines),
        "};",
    ]


def adapter(kind: str, f: RuleIR, arrays: Sequence[str]) -> list[str]:
    """Return the terms of sums for one element."""
    kept = {a: f"*fo_stage_array(a, FO_{a.upper()}, i, e)" for a in arrays if a not in PLACES}
    places = PLACES | ({a: f"e->state[{k}]" for k, a in enumerate(f.state)} if f.is_rule else kept)
    found = [places[a] for a in arrays] if f.is_rule else c.summed(f, places)
    given = ", ".join([*found, "c", "out"])
    where = "" if f.is_rule else "const fo_array *a, int64_t i, "
    return [
        f"template <class real> FO_INLINE void {kind}({where}const fo_element<real> *e, const double *c, double *out)",
        "{",
        f"    {kind}_of({given});",
        "}",
    ]


def around(stages: Sequence[RuleIR]) -> list[list[str]]:
    """Return the stages around a rule for one element, the terms of their sums, and their scalars."""
    shaped = [s.arrays[0] for s in stages]
    first, subtract = shaped.index("u"), len(shaped) - shaped[::-1].index("u")
    head = "(const fo_array *a, const fo_now *now, int64_t i, int last, fo_element<real> *e)"
    before = [f"template <class real> FO_INLINE void before{head}", "{", *shape(stages[:first]), "}"]
    after = ["template <class real>", f"FO_INLINE void after{head.replace('int last', 'int last, int velocity')}", "{"]
    after += [
        *shape(stages[first:subtract]),
        "    if (last < FO_STAGES) return;",
        "    e->p = e->p - e->u;",
        *shape(stages[subtract:]),
        "}",
    ]
    used = [(s, a) for s in stages if s.kind == "averages" for a in s.arrays if a not in PLACES]
    empty = [
        "template <class real>",
        "FO_INLINE void empty_used(const fo_array *a, const fo_now *now, int64_t i, fo_element<real> *e)",
        "{",
    ]
    empty += [f"    if (fo_on(now, {c.number(s)}, FO_STAGES)) *fo_stage_array(a, FO_{a.upper()}, i, e) = 0;" for s, a in used]
    summing = [s for s in stages if s.sums]
    return [
        before,
        after,
        [*empty, "}"],
        switch(
            "template <class real>\n"
            "FO_INLINE void stage_terms(int id, const fo_array *a, int64_t i, const fo_element<real> *e, double *out)",
            [f"case {c.number(s)}: stage::{s.name}::sums(a, i, e, 0, out); break;" for s in summing],
        ),
        switch(
            "FO_INLINE void stage_scalars(int id, const double *sums, const double *h, double *c)",
            [f"case {c.number(s)}: stage::{s.name}::scalars(0, 0, sums, h, c); break;" for s in stages],
        ),
        switch(
            "FO_INLINE int stage_scope(int id)",
            [*(f"case {c.number(s)}: return {SCOPES[s.scope]};" for s in summing), "default: return FO_ARRAY;"],
        ),
        switch(
            "FO_INLINE int stage_squares(int id)",
            [*(f"case {c.number(s)}: return {c.squares(s.sums)};" for s in summing if c.squares(s.sums)), "default: return 0;"],
        ),
    ]


def switch(head: str, cases: Sequence[str]) -> list[str]:
    return [head, "{", "    switch (id) {", *(f"    {case}" for case in cases), "    }", "}"]


def shape(stages: Sequence[RuleIR]) -> list[str]:
    """Return consecutive stages, each under the condition that it is active."""

    def call(s: RuleIR, arguments: str, wide: bool) -> str:
        c64 = f"now->stage_c64[{c.number(s)}]"
        return f"stage::{s.name}::shape({arguments}, {c64 if wide else f'fo_stage_c(now, {c.number(s)}, e)'}, {c64})"

    return c.shape(stages, "real", PLACES, "*fo_stage_array(a, FO_{}, i, e)", call)


def kernels(rule: RuleIR) -> list[str]:
    kinds = KERNELS[rule.terms_scope]
    return [f"FO_KERNEL {rule.name}_{kind}(FO_ARGUMENTS) {{ fo_{kind}<rule::{rule.name}>(plan, x, y, z); }}" for kind in kinds]
