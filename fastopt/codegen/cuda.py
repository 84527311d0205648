"""Writes rules and stages as CUDA: ``cuda/kernels.cu``. How threads share the work is in ``cuda/launch.h``."""

from __future__ import annotations

from collections.abc import Sequence

from . import c
from .reader import Formula

HEAD = "// Generated from rules.py and stages.py by python fastopt/codegen: edit those files."
TEXT = c.Text("real", kind="template <class real> FO_INLINE")
SCOPES = {"over_array": "FO_ARRAY", "mean_over_array": "FO_ARRAY", "over_group": "FO_GROUP", "over_all": "FO_WHOLE"}
PLACES = {"g": "e->g", "p": "e->p", "u": "e->u", "m": "e->state[k]"}
KERNELS = {"": ("prepare", "step", "sum"), "over_lines": ("prepare", "step", "sum", "rows", "columns")}
KERNELS["over_matrix"] = (*KERNELS[""], "spread")


def render(rules: Sequence[Formula], stages: Sequence[Formula]) -> str:
    """The whole text of ``kernels.cu``, or of as many rules of it."""
    head = [HEAD, *c.names(stages), '#include "launch.h"']
    parts = [head, ["namespace stage {"], *(formula(s) for s in stages), ["}"], *around(stages)]
    for rule in rules:
        parts += [["namespace rule {", *formula(rule), "}"], kernels(rule)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def formula(f: Formula) -> list[str]:
    """A rule or a stage: its numbers, the scalars of a step, what is summed, and the arithmetic of an element."""
    doc = [f"// {line}" for line in f.function.doc.splitlines()[:1]]
    inner: list[list[str]] = []
    if f.is_rule:
        numbers = {"states": len(f.state), "velocity": c.bits(f, "velocity"), "nonnegative": c.bits(f, "nonnegative")}
        numbers |= {"scratch": f.function.tags[2:].index("scratch")} if "scratch" in f.function.tags else {}
        numbers |= {"mean": 1} if f.scope.startswith("mean") else {}
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
    """What is summed, of an element."""
    places = PLACES | ({a: f"e->state[{k}]" for k, a in enumerate(f.state)} if f.is_rule else {})
    given = ", ".join([*(places[a] for a in arrays), "c", "out"])
    return [
        f"template <class real> FO_INLINE void {kind}(const fo_element<real> *e, const double *c, double *out)",
        "{",
        f"    {kind}_of({given});",
        "}",
    ]


def around(stages: Sequence[Formula]) -> list[list[str]]:
    """What is done with an element around its rule, what is summed of it, and the scalars of that."""
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
    summing = [s for s in stages if s.sums]
    return [
        before,
        after,
        switch(
            "template <class real> FO_INLINE void stage_terms(int id, const fo_element<real> *e, double *out)",
            [f"case {number(s)}: stage::{s.name}::sums(e, 0, out); break;" for s in summing],
        ),
        switch(
            "FO_INLINE void stage_scalars(int id, const double *sums, const double *h, double *c)",
            [f"case {number(s)}: stage::{s.name}::scalars(0, 0, sums, h, c); break;" for s in stages],
        ),
        switch(
            "FO_INLINE int stage_scope(int id)",
            [*(f"case {number(s)}: return {SCOPES[s.scope]};" for s in summing), "default: return FO_ARRAY;"],
        ),
    ]


def number(s: Formula) -> str:
    return f"FO_{s.name.upper()}"


def switch(head: str, cases: Sequence[str]) -> list[str]:
    return [head, "{", "    switch (id) {", *(f"    {case}" for case in cases), "    }", "}"]


def shape(stages: Sequence[Formula]) -> list[str]:
    """Each stage, where it is on."""
    lines = []
    for s in stages:
        places = [PLACES.get(a) or f"*fo_own(a, FO_{a.upper()}, i, e)" for a in s.arrays]
        value = f"stage::{s.name}::shape({', '.join(places)}, fo_stage_c(now, {number(s)}, e));"
        if s.arrays[0] == "m":
            lines += [f"    for (int k = 0; k < FO_STATES && fo_on(now, {number(s)}, last); k++)", "        if (velocity >> k & 1)"]
            lines += [f"            {places[0]} =", f"                {value}"]
        else:
            lines += [f"    if (fo_on(now, {number(s)}, last))", f"        {places[0]} = {value}"]
    return lines


def kernels(rule: Formula) -> list[str]:
    kinds = KERNELS[rule.terms_scope]
    return [f"FO_KERNEL {rule.name}_{kind}(FO_ARGUMENTS) {{ fo_{kind}<rule::{rule.name}>(plan, x, y, z); }}" for kind in kinds]
