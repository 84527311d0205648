"""Explanation of one element's next step: the lines of its rule and stages, with their numbers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import arithmetic
from .._arrays.memory import HOST
from .._engine.oracle import Work
from .._engine.program import program

FUNCTIONS = {
    name: getattr(arithmetic, name)
    for name in ("sqrt", "fabs", "sign", "copysign", "maximum", "minimum", "where", "inf", "scale_by")
}


def explain(optimizer: Any, name: Any, index: Any, grad: float) -> None:
    """Print the lines of an element; see `Optimizer.explain`."""
    optimizer._backend.catch_up(None)
    parameter = find_parameter(optimizer, name)
    found = list(lines(optimizer, parameter, place_of_element(parameter, index), float(grad)))
    each, (_, gathered, _) = optimizer._counters()
    step = each[optimizer._parameters.index(parameter)][0] + 1
    more = optimizer._settings.accumulate > 1 and gathered + 1 < optimizer._settings.accumulate
    note = ", as if this were the last gradient of it" if more else ""
    print(f"{name}[{index}], step {step} of {type(optimizer).__name__}{note}")
    for text, value in found:
        between = "  ->  " if " = " in text else " = "
        print(f"  {text}" if value is None else f"  {text}{between}{value}")


def find_parameter(optimizer: Any, name: Any) -> Any:
    """Return the parameter of this name, or raise if it cannot be explained."""
    parameters = {s.name: s for s in optimizer._parameters}
    known = ", ".join(map(repr, parameters))
    if not isinstance(name, str):
        raise TypeError(f"name: {type(name).__name__}, expected one of {known}")
    if name not in parameters:
        raise KeyError(f"{name!r}: no such parameter, expected one of {known}")
    parameter = parameters[name]
    if parameter.array.dtype.kind == "c" or parameter.memory is not HOST:
        raise ValueError(f"explain: parameter {name!r} is complex or on a device, expected real numbers in NumPy's memory")
    return parameter


def place_of_element(parameter: Any, index: Any) -> int:
    """Return the place of an element in the parameter's order of axes."""
    shape, walked = parameter.array.shape, [k for k in parameter.order if k < parameter.array.ndim]
    places = np.arange(parameter.array.size).reshape([shape[k] for k in walked]).transpose(np.argsort(walked))
    place = places[index if shape else ()]
    if np.ndim(place):
        raise IndexError(f"{index!r}: not one element of {parameter.name!r}, whose shape is {shape}")
    return int(place)


def lines(optimizer: Any, parameter: Any, place: int, grad: float) -> Iterator[tuple[str, Any]]:
    """Yield text and value of everything that is computed for the element at this place."""
    from .._codegen.package import formulas

    texts = {f.name: f for of in formulas() for f in of}
    (t, carry, _) = optimizer._counters()[0][optimizer._parameters.index(parameter)]
    for group in optimizer._groups:
        group.evaluate(optimizer.steps)
    values = parameter.group.current_values(1.0)
    whole = Work(parameter, t, carry, np.zeros(parameter.array.shape, parameter.real), values, 0)
    real = whole.real.type
    element = {name: real(a[place]) for name, a in whole.arrays.items()}
    element["g"] = real(grad)
    for name in ("p", "g", *parameter.rule.state):
        yield name, element[name]
    for op in program(parameter.group.stages, values, optimizer._settings.nonfinite, False):
        if op.kind == "rule":
            yield from of_rule(parameter, texts, element, values, t, carry)
        elif op.kind == "subtract":
            element["p"] = element["p"] - element["u"]
            yield "p = p - update", element["p"]
        elif op.kind == "stage" and op.stage is not None:
            yield from of_stage(op.stage, texts[op.stage.name], element, values, parameter, op.gives_wide)


def of_rule(parameter: Any, texts: Any, element: dict[str, Any], values: Any, t: int, carry: Any) -> Iterator[tuple[str, Any]]:
    rule, text = parameter.rule, parameter.rule.text or texts[parameter.rule.name]
    if rule.sums or rule.terms_scope:
        raise ValueError(f"explain: {rule.name} needs sums over whole arrays, which one element does not show")
    scalars, _ = rule.scalars(parameter.group.values_of(rule, values), t + 1, carry)
    real = type(element["p"])
    names = dict(element)
    for name, x in scalars.items():
        names[name] = np.float64(x) if name in rule.wide else real(x)
        yield name, names[name]
    with np.errstate(all="ignore"):
        for name, expression in text.function.body:
            names[name] = real(evaluated(expression, names))
            yield f"{name} = {ast.unparse(expression)}", names[name]
        (_, update), *state = text.function.results
        element["u"] = real(evaluated(update, names))
        yield f"update = {ast.unparse(update)}", element["u"]
        for name, (_, expression) in zip(rule.state, state, strict=True):
            element[name] = real(evaluated(expression, names))
            if ast.unparse(expression) != name:
                yield f"{name} = {ast.unparse(expression)}", element[name]


def of_stage(
    stage: Any, text: Any, element: dict[str, Any], values: Any, parameter: Any, gives_wide: bool
) -> Iterator[tuple[str, Any]]:
    shaped = stage.arrays[0]
    if stage.sums and stage.kind != "checks":
        yield f"{stage.name}: depends on whole arrays; what follows is as if it changed nothing", None
        return
    scalars, _ = stage.scalars(values, sums=dict.fromkeys(stage.reduced, 0.0))
    real = type(element["p"])
    # In double, if the next stage takes it so.
    if stage.of_gradient:
        real = np.float64 if gives_wide and (type(element["g"]) is np.float64 or not stage.exact(scalars)) else type(element["p"])
    numbers = {name: np.float64(x) if name in stage.wide else real(x) for name, x in scalars.items()}
    for name, x in numbers.items():
        yield f"{name} [{stage.name}]", x
    for name in stage.stage_arrays:
        yield f"{name} [{stage.name}]", element[name]
    states = [key for key, tag in parameter.rule.tags.items() if tag == "velocity"] if shaped == "m" else [shaped]
    ((_, expression),) = text.function.results
    for state in states:
        names = {**element, **numbers, shaped: element[state]}
        with np.errstate(all="ignore"):
            element[state] = real(evaluated(expression, names))
        yield f"{readable(state)} = {readable(ast.unparse(expression))}  [{stage.name}]", element[state]


def evaluated(expression: ast.expr, names: dict[str, Any]) -> Any:
    """Return the value of a rule's expression, where all numbers have one dtype."""
    real = type(names["p"])

    class Reals(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.copy_location(ast.Call(ast.Name("real_", ast.Load()), [node], []), node)

    tree = ast.Expression(Reals().visit(ast.parse(ast.unparse(expression), mode="eval").body))
    return eval(compile(ast.fix_missing_locations(tree), "rule", "eval"), {**FUNCTIONS, "real_": real}, names)


def readable(text: str) -> str:
    """Return a stage's text with the name that the update has in a rule's lines."""
    return re.sub(r"\bu\b", "update", text)
