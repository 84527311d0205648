"""Rendering of rules with a square root as kernels of vectors, in C: `vector.h` has their loop and their functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import c
from .ir import RuleIR

USUAL = ("", "nonnegative", "velocity")  # Tags of arrays that are stored as the state's dtype says.
WIDTHS = (("floats", "float"), ("doubles", "double"))


class VectorText(c.Text):
    """Expressions of vectors: numbers are repeated in each lane."""

    def __init__(self, lanes: str, real: str = "") -> None:
        super().__init__(real or f"fo_{lanes}", f"_{lanes}")

    def number(self, value: float) -> str:
        return f"fo_number{self.suffix}({float(value)!r})"


def has_kernels(rule: RuleIR) -> bool:
    """Return True for a rule whose update takes a square root, which vectors take without the processor's divider."""
    function = rule.function
    expressions = [e for _, e in (*function.body, *function.results)]
    return rule.is_rule and not function.wide and any(c.uses(e, "sqrt") for e in expressions)


def has_narrow_kernels(rule: RuleIR) -> bool:
    """Return True for a rule whose state may be stored in bfloat16 and nothing else."""
    return bool(rule.is_rule and rule.state and not rule.function.wide and not any(x not in USUAL for x in rule.function.tags))


def render(rules: Sequence[RuleIR]) -> str:
    """Return declarations of the vector kernels of rules, over their text in C."""
    lines = ['#include "vector.h"']
    for rule in filter(has_kernels, rules):
        lines += kernels(rule)
    lines += [
        "#if defined(FO_HAS_FLOATS)",
        *(line for rule in filter(has_narrow_kernels, rules) for line in narrow(rule)),
        "#endif",
    ]
    text = [f"    {line}" for line in ['"""', *lines, '"""']]
    return "\n".join(["cdef extern from *:", *text, *declared(rules)]) + "\n"


def kernels(rule: RuleIR) -> list[str]:
    """Return a rule's kernels of floats and of doubles, each where there are such vectors."""
    lines = []
    for lanes, number in WIDTHS:
        sizes = f"{len(rule.state)}, {written(rule)}, {len(rule.function.scalars) or 1}"
        kernel = f"FO_VECTOR_KERNEL({rule.name}, {lanes}, {number}, {sizes})"
        lines += [f"#if defined(FO_HAS_{lanes.upper()})", *element(rule, VectorText(lanes)), kernel, "#endif"]
    return lines


def narrow(rule: RuleIR) -> list[str]:
    """Return a rule's kernels of floats whose state, or everything, is stored in bfloat16."""
    sizes = f"{len(rule.state)}, {written(rule)}, {c.bits(rule, 'nonnegative')}, {len(rule.function.scalars) or 1}"
    return [*element(rule, VectorText("narrow", "fo_floats")), *(f"FO_BF16_KERNEL({rule.name}, {sizes}, {k})" for k in range(2))]


def element(rule: RuleIR, text: VectorText) -> list[str]:
    """Return the function that updates the numbers of a vector."""
    lines = c.element(f"fo_{rule.name}_of{text.suffix}", rule, text)
    return [part for line in lines for part in c.broken(line)]


def written(rule: RuleIR) -> int:
    """Return the mask of the state that a rule changes."""
    return sum(1 << k for k, a in enumerate(rule.state) if a in c.changed(rule))


def declared(rules: Sequence[RuleIR]) -> Iterator[str]:
    """Yield declarations in Cython; where there are no vectors, they are NULL."""
    for rule in filter(has_kernels, rules):
        for lanes, _ in WIDTHS:
            yield f'    kernel_t {rule.name}_{lanes} "FO_OF_{lanes.upper()}(fo_{rule.name}_{lanes})"'
    for rule in filter(has_narrow_kernels, rules):
        for k in range(2):
            yield f'    narrow_kernel_t {rule.name}_bf16_{k} "FO_OF_FLOATS(fo_{rule.name}_bf16_{k})"'
