"""The site builds without a warning; formulas on it compute what the rules compute."""

import ast
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fastopt import arithmetic, spec

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import formulas  # noqa: E402

LETTERS = {greek: latin for latin, greek in formulas.GREEK.items()}
BINDS = {"+": 1, "−": 1, "·": 2, "<": 0, "≤": 0, ">": 0, "≥": 0, "=": 0, "≠": 0}
FUNCTIONS = {"max": max, "min": min, "abs": abs, "sign": np.sign, "log": math.log, "exp": math.exp}
FUNCTIONS |= {
    name: getattr(arithmetic, name) for name in ("ldexp", "ceil_log2", "copysign", "scale_by", "scale_factor", "scale_power")
}


def name_in(element):
    """Return the name that an identifier shows."""
    if element.tag == "mi":
        return LETTERS.get(element.text, element.text)
    letters, digits = element
    return name_in(letters) + digits.text


def tokens(element):
    """Yield what a reader sees, from left to right: rows of MathML show nothing of themselves."""
    if element.tag == "mrow" and element[0].text == "{":
        yield "cases", element[1]
    elif element.tag in ("mrow", "mtd"):
        for child in element:
            yield from tokens(child)
    elif element.tag != "mtext":
        yield (element.text, None) if element.tag == "mo" else ("", element)


def value(element, names):
    """Return the value of an element, by the usual rules of precedence."""
    items = list(tokens(element))
    found = parsed(items, names, 0)
    assert not items
    return found


def parsed(items, names, least):
    """Return the value of the longest expression at the beginning whose operators bind at least so strongly."""
    left = operand(items, names)
    while items and items[0][0] in BINDS and BINDS[items[0][0]] >= least:
        sign, _ = items.pop(0)
        right = parsed(items, names, BINDS[sign] + 1)
        left = {
            "+": lambda a, b: a + b,
            "−": lambda a, b: a - b,
            "·": lambda a, b: a * b,
            "<": lambda a, b: a < b,
            "≤": lambda a, b: a <= b,
            ">": lambda a, b: a > b,
            "≥": lambda a, b: a >= b,
            "=": lambda a, b: a == b,
            "≠": lambda a, b: a != b,
        }[sign](left, right)
    return left


def operand(items, names):
    """Return the value of the first operand."""
    sign, element = items.pop(0)
    if sign == "−":
        return -parsed(items, names, 2)
    if sign == "(":
        found = parsed(items, names, 0)
        assert items.pop(0)[0] == ")"
        return found
    if sign == "cases":
        (yes, condition), (no, _) = element
        return value(yes if value(condition, names) else no, names)
    if items and items[0][0] == formulas.APPLY:
        del items[:2]
        arguments = [parsed(items, names, 0)]
        while items.pop(0)[0] == ",":
            arguments.append(parsed(items, names, 0))
        return FUNCTIONS[name_in(element)](*arguments)
    if element.tag == "mn":
        return float(element.text)
    if element.tag == "mfrac":
        return value(element[0], names) / value(element[1], names)
    if element.tag == "msqrt":
        return math.sqrt(value(element[0], names))
    if element.tag == "msup":
        return value(element[0], names) ** value(element[1], names)
    return names[name_in(element)]


def shown(function, names):
    """Return all values of a function's formula, in its order."""
    names, results = dict(names), {}
    for name, expression, is_result in formulas.lines(function):
        text = formulas.rendered(expression).replace("&#160;", " ")
        found = value(ElementTree.fromstring(f"<mrow>{text}</mrow>"), names)
        (results if is_result else names)[name] = found
    return results


def drawn(names, seed):
    """Return numbers for names, positive and below one half, as decay rates are."""
    random = np.random.default_rng(seed)
    return {name: x for name, x in zip(names, random.uniform(0.1, 0.5, len(names)), strict=True)}


FUNCTIONS_OF_RULES = [
    pytest.param(function, id=function.__name__)
    for rule in spec.RULES.values()
    for function in (rule._scalars, rule.function, rule._sums, rule._sums_scalars, rule._terms_scalars)
    if function is not None
]


@pytest.mark.parametrize("function", FUNCTIONS_OF_RULES)
def test_formulas_compute_what_rules_compute(function, monkeypatch):
    if "square" in function.__globals__:  # Sums square it themselves, exactly.
        monkeypatch.setitem(function.__globals__, "square", lambda x: x * x)
    parameters = inspect.signature(function).parameters
    for seed in range(5):
        names = drawn(parameters, seed)
        names |= {name: float(seed % 2) for name in parameters if name in SWITCHES}
        names |= {"t": 1 + seed} if "t" in parameters else {}
        result = function(**names)
        found = shown(function, names)
        values = result if isinstance(result, tuple) else (result,)
        if isinstance(values[0], dict):
            for name, x in values[0].items():
                assert found[name] == pytest.approx(x, rel=1e-12), name
        else:
            assert found["p"] == pytest.approx(names["p"] - values[0], rel=1e-12)


SWITCHES = ("eps_hat", "max_corrected", "eps_inside", "lr_in_velocity", "use_bias_correction", "warmup_from_zero", "nesterov")


def test_parentheses_are_kept():
    for text in ("a * (b + c)", "a - (b - c)", "-(a + b)", "power(a + b, c)", "a / (b * c)", "(a - b) * c - a * b", "a * -b"):
        names = {"a": 0.5, "b": 0.25, "c": 3.0, "power": pow}
        tree = ElementTree.fromstring(f"<mrow>{formulas.rendered(ast.parse(text, mode='eval').body)}</mrow>")
        assert value(tree, names) == pytest.approx(eval(text, names))


@pytest.mark.full
def test_the_site_builds(tmp_path):
    """Without warnings; each picture of its pages is there and has a text for those who do not see it."""
    pytest.importorskip("sphinx")
    pytest.importorskip("pydata_sphinx_theme")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-E", "-b", "html", "-d", tmp_path / "trees", DOCS, tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        for tag in re.findall(r"<img [^>]*>", page.read_text()):
            source = re.search(r'src="([^"]+)"', tag)[1]
            assert (page.parent / source).exists() and re.search(r'alt="[^"]+"', tag), tag
