"""Rendering of rules with a square root as kernels of vectors, in C: `vector.h` has their loop and their functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import c
from .ir import RuleIR

WIDTHS = (("floats", "float"), ("doubles", "double"))


class VectorText(c.Text):
    """Expressions of vectors: numbers are repeated in each lane."""

    def __init__(self, lanes: str) -> None:
        super().__init__(f"fo_{lanes}", f"_{lanes}")

    def number(self, value: float) -> str:
        return f"fo_number{self.suffix}({float(value)!r})"


def has_kernels(rule: RuleIR) -> bool:
    """Return True for a rule whose update takes a square root, which vectors take without the processor's divider."""
    function = rule.function
    expressions = [e for _, e in (*function.body, *function.results)]
    return rule.is_rule and not function.wide and any(c.uses(e, "sqrt") for e in expressions)


def render(rules: Sequence[RuleIR]) -> str:
    """Return declarations of the vector kernels of rules, over their text in C."""
    lines = ['#include "vector.h"']
    for rule in filter(has_kernels, rules):
        lines += kernels(rule)
    text = [f"    {line}" for line in ['"""', *lines, '"""']]
    return "\n".join(["cdef extern from *:", *text, *declared(rules)]) + "\n"


def kernels(rule: RuleIR) -> list[str]:
    """Return a rule's kernels of floats and of doubles, each where there are such vectors."""
    lines = []
    written = sum(1 << k for k, a in enumerate(rule.state) if a in c.changed(rule))
    for lanes, number in WIDTHS:
        lines += [f"#if defined(FO_HAS_{lanes.upper()})"]
        text = c.element(f"fo_{rule.name}_of_{lanes}", rule, VectorText(lanes))
        lines += [part for line in text for part in c.broken(line)]
        sizes = f"{len(rule.state) or 1}, {written}, {len(rule.function.scalars) or 1}"
        lines += [f"FO_VECTOR_KERNEL({rule.name}, {lanes}, {number}, {sizes})", "#endif"]
    return lines


def declared(rules: Sequence[RuleIR]) -> Iterator[str]:
    """Yield declarations in Cython; where there are no vectors, they are NULL."""
    for rule in filter(has_kernels, rules):
        for lanes, _ in WIDTHS:
            yield f'    kernel_t {rule.name}_{lanes} "FO_OF_{lanes.upper()}(fo_{rule.name}_{lanes})"'
