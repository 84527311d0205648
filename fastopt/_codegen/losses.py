"""Rendering of losses as Cython: a value and a slope each, in double, and a function that chooses one by its place."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .ir import Function, Reader, functions_of
from .subset import ELEMENTWISE, IN_LOSSES

HEAD = '''\
# cython: cdivision=True
# Generated from losses.py by python fastopt/_codegen: edit that file.
"""Losses of one prediction, each with its slope, in double. All functions are inline."""

cdef extern from "scalar.h" nogil:
    DECLARATIONS

cdef struct measured_t:
    double value
    double slope

ctypedef measured_t (*loss_t)(double z, double y, const double *h) noexcept nogil
'''


@dataclass(frozen=True)
class LossIR:
    """A loss: its value and its slope, elementwise functions of ``z`` and ``y``."""

    value: Function
    slope: Function


class _LossReader(Reader):
    """Reader of losses, in which everything is a double: numbers and constants may stand alone."""

    calls: ClassVar = {**ELEMENTWISE, **IN_LOSSES}
    is_double = True


def read(path: Path) -> list[LossIR]:
    """Return the losses of a file, in its order."""
    functions, imported = functions_of(path)
    reader = _LossReader(path, functions, imported)
    return [_loss(reader, name, functions) for name in functions if not name.endswith("_slope")]


def _loss(reader: Reader, name: str, functions: dict[str, ast.FunctionDef]) -> LossIR:
    """Return a loss, or raise if its functions do not fit."""
    node = functions[name]
    if f"{name}_slope" not in functions:
        raise reader.error(node, f"{name} has no {name}_slope")
    value, slope = (reader.elementwise(functions[x]) for x in (name, f"{name}_slope"))
    if (value.arrays, slope.arrays, value.scalars) != (("z", "y"), ("z", "y"), slope.scalars):
        raise reader.error(node, f"{name} and its slope take {value.arrays} and {slope.arrays}, expected z, y, * and constants")
    return LossIR(value, slope)


def render(losses: Sequence[LossIR]) -> str:
    """Return the text of ``losses.pxd``."""
    one = [f'double {name} "fo_{name}"(double x)' for name in ("exp", "log1p", "fabs", "sign", "sqrt")]
    two = [f'double {name} "fo_{name}"(double x, double y)' for name in ("maximum", "minimum", "copysign")]
    three = ['double where "fo_where"(bint c, double x, double y)']
    parts = [HEAD.replace("DECLARATIONS", "\n    ".join([*one, *two, *three]))]
    for loss in losses:
        parts += [_function(loss.value), _function(loss.slope), _both(loss.value.name)]
    lines = ["cdef inline loss_t loss_of(int k) noexcept nogil:", '    """Return the loss at a place of the list."""']
    for k, loss in enumerate(losses[:-1]):
        lines += [f"    if k == {k}:", f"        return {loss.value.name}_both"]
    lines += [f"    return {losses[-1].value.name}_both"]
    return "\n\n".join([*parts, "\n".join(lines) + "\n"])


def _function(function: Function) -> str:
    """Return a value or a slope."""
    names = [f"{name} = h[{k}]" for k, name in enumerate(function.scalars)]
    declared = [*names, *function.temporaries]
    return "\n".join(
        [
            f"cdef inline double {function.name}_of(double z, double y, const double *h) noexcept nogil:",
            f'    """{function.doc.splitlines()[0]}"""',
            *([f"    cdef double {', '.join(declared)}"] if declared else []),
            *(f"    {name} = {_text(x)}" for name, x in function.body),
            f"    return {_text(function.results[0][1])}\n",
        ]
    )


def _both(name: str) -> str:
    """Return the function that computes value and slope."""
    return (
        f"cdef inline measured_t {name}_both(double z, double y, const double *h) noexcept nogil:\n"
        "    cdef measured_t found\n"
        f"    found.value, found.slope = {name}_of(z, y, h), {name}_slope_of(z, y, h)\n"
        "    return found\n"
    )


class _Floats(ast.NodeTransformer):
    """Numbers as doubles: C would divide whole numbers without their fraction."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(float(node.value))  # type: ignore[arg-type]


def _text(expression: ast.expr) -> str:
    copied = ast.parse(ast.unparse(expression), mode="eval").body
    return ast.unparse(ast.fix_missing_locations(_Floats().visit(copied)))
