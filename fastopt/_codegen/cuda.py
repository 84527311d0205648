"""Writes rules and stages as CUDA: ``cuda/generated/kernels.cu``. How threads share the work is in ``cuda/launch.h``."""

from __future__ import annotations

from collections.abc import Sequence

from . import c
from .ir import Formula

HEAD = "// Generated from optimizers and stages.py by python fastopt/_codegen: edit those files."
TEXT = c.Text("real", kind="template <class real> FO_INLINE")
SCOPES = {"over_array": "FO_ARRAY", "mean_over_array": "FO_ARRAY", "over_group": "FO_GROUP", "over_all": "FO_WHOLE"}
PLACES = {"g": "e->g", "p": "e->p", "u": "e->u", "m": "e->state[k]"}
KERNELS = {"": ("prepare", "step", "sum"), "over_lines": ("prepare", "step", "sum", "rows", "columns")}
KERNELS["over_matrix"] = (*KERNELS[""], "spread")


def render(rules: Sequence[Formula], stages: Sequence[Formula]) -> str:
    """Return the whole text of ``kernels.cu``, or of as many rules of it."""
    head = [HEAD, *c.names(stages), '#include "launch.h"']
    parts = [head, ["namespace stage {"], *(formula(s) for s in stages), ["}"], *around(stages)]
    for rule in rules:
        parts += [["namespace rule {", *formula(rule), "}"], kernels(rule)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def formula(f: Formula) -> list[str]:
    """Return a rule or a stage: its numbers, the scalars of a step, what is summed, and the arithmetic of an element."""
    doc = [f"// {line}" for line in f.function.doc.splitlines()[:1]]
    inner: list[list[str]] = []
    if f.is_rule:
        numbers = {"states": len(f.state), "velocity": c.bits(f, "velocity"), "nonnegative": c.bits(f, "nonnegative")}
        numbers |= {"scratch": f.function.tags[2:].index("scratch")} if "scratch" in f.function.tags else {}
        numbers |= {"squares": c.squares(f.sums)}
        inner += (
            [[f"enum {{ {', '.join(f'{name} = {x}' for name, x in numbers.items() if x)} }};"]] if any(numbers.values()) else []
        )
    inner += [c.scalars("scalars", f.scalars, f)]
    for kind, scalars, function in (("terms", f.terms_scalars, f.terms), ("sums", f.sums_scalars, f.sums)):
        inner += [c.scalars(f"{kind}_scalars", scalars, f)] if scalars else []
        inner += [c.summands(f"{kind}_of", function), adapter(kind, f, function.arrays)] if function else []
    inner += [c.element("update" if f.is_rule else "shape", f, TEXT)]
    lines = [line for part in inner for line in ["", *part]][1:]
    return [
        *doc,
        f"struct {f.name}{' : fo_rule' if f.is_rule else ''} {{",
        *(f"    {line}" if line else "" for line in lines),
        "};",
    ]


def adapter(kind: str, f: Formula, arrays: Sequence[str]) -> list[str]:
    """Return what is summed, of an element."""
    own = {a: f"*fo_own(a, FO_{a.upper()}, i, e)" for a in arrays if a not in PLACES}
    places = PLACES | ({a: f"e->state[{k}]" for k, a in enumerate(f.state)} if f.is_rule else own)
    found = [places[a] for a in arrays] if f.is_rule else c.summed(f, places)
    given = ", ".join([*found, "c", "out"])
    where = "" if f.is_rule else "const fo_array *a, int64_t i, "
    return [
        f"template <class real> FO_INLINE void {kind}({where}const fo_element<real> *e, const double *c, double *out)",
        "{",
        f"    {kind}_of({given});",
        "}",
    ]


def around(stages: Sequence[Formula]) -> list[list[str]]:
    """Return what is done with an element around its rule, what is summed of it, and the scalars of that."""
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
    empty += [f"    if (fo_on(now, {c.number(s)}, FO_STAGES)) *fo_own(a, FO_{a.upper()}, i, e) = 0;" for s, a in used]
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


def shape(stages: Sequence[Formula]) -> list[str]:
    """Return each stage, where it is on."""

    def call(s: Formula, arguments: str, wide: bool) -> str:
        c64 = f"now->stage_c64[{c.number(s)}]"
        return f"stage::{s.name}::shape({arguments}, {c64 if wide else f'fo_stage_c(now, {c.number(s)}, e)'}, {c64})"

    return c.shape(stages, "real", PLACES, "*fo_own(a, FO_{}, i, e)", call)


def kernels(rule: Formula) -> list[str]:
    kinds = KERNELS[rule.terms_scope]
    return [f"FO_KERNEL {rule.name}_{kind}(FO_ARGUMENTS) {{ fo_{kind}<rule::{rule.name}>(plan, x, y, z); }}" for kind in kinds]
