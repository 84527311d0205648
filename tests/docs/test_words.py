"""Docstrings describe every argument and begin with a verb or a noun; one idea has one name."""

import ast
import inspect
import math
import re
from pathlib import Path

import pytest

import fastopt as fo

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "fastopt"
SOURCES = sorted(
    path
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.h")]
    if "generated" not in path.parts
)
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# Earlier names of what has another now.
NAMES = [
    "slot",
    "slots",
    "lay_slots",
    "of_beside",
    "aside",
    "switch_on",
    "compose",
    "settled",
    "point_to_nothing",
    "write_down",
    "look_after_rows",
    "pasted",
    "handed_on",
    "OwnOptimizer",
    "kept_in",
    "kept_out",
    "fastopt_use",
    "add_up",
    "lagging_t",
    "lines_t",
    "everybodys",
    "values_now",
    "summands",
    "over_lines",
    "over_matrix",
    "SPREADING",
    "AVERAGING",
    "check_apart",
    "lay_work",
    "let_go",
    "fo_refuse",
    "fo_walk",
    "fo_sum_up",
    "gather_at",
    "tell_gradients",
    "refuse_pairs",
    "everybodys",
    "beside_",
    "spread_",
    "own_rules",
    "stretch",
    "straight",
    "over_terms",
    "lagging",
]
PHRASES = ("of its own", "that very", "as it lies", "is told", "are told", "looks after")
OPENINGS = "What|Whether|Of|Where|As|Those|How"


def docstrings(path):
    """Yield the line number and first line of each docstring of a file."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and (text := ast.get_docstring(node)):
                yield getattr(node, "lineno", 1), text.partition("\n")[0]
    else:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := re.match(r'\s*(?:"""|/\*\*? )(.+)', line):
                yield number, found[1]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_words_of_a_file(path):
    text = path.read_text()
    found = [f"{number}: {line}" for number, line in docstrings(path) if re.match(rf"({OPENINGS})\b", line)]
    found += [f"{name} is named otherwise now" for name in NAMES if re.search(rf"\b_?{name}\b", text)]
    found += [f"{phrase!r}: say it plainly" for phrase in PHRASES if phrase in text]
    assert not found, "\n".join([str(path), *found])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_words_of_a_page(path):
    assert [phrase for phrase in (*PHRASES, "beside") if phrase in path.read_text()] == []


MODULES = [fo, fo.embed, fo.functional, fo.schedules, fo.training, fo.testing, fo.cuda, fo.torch, fo.mpi]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in getattr(module, "__all__", dir(module))
    if callable(getattr(module, name)) and getattr(module, name).__module__.startswith("fastopt") and not name.startswith("_")
}


def members(thing):
    """Yield an object and, of a class, the public methods that it defines."""
    yield thing
    if inspect.isclass(thing):
        yield from (x for name, x in vars(thing).items() if inspect.isfunction(x) and not name.startswith("_"))


@pytest.mark.parametrize("name", PUBLIC)
def test_sections_of_public_docstrings_have_entries(name):
    for thing in members(PUBLIC[name]):
        doc = inspect.getdoc(thing)
        assert doc, thing
        for heading in ("Parameters", "Returns", "Raises"):
            section = re.search(rf"^{heading}\n-+\n((?:.+\n|\n(?=    ))+)", doc + "\n", re.MULTILINE)
            if section:
                entries = [line for line in section[1].splitlines() if line and not line.startswith(" ")]
                assert entries and not section[1].startswith(" "), (thing, heading)
                assert not [x for x in entries if x.endswith(".")], (thing, heading, entries)


@pytest.mark.parametrize("name", fo.optimizers.__all__)
def test_a_docstring_describes_every_argument(name):
    doc = inspect.getdoc(getattr(fo, name))
    section = doc.split("Parameters\n----------\n")[1].split("\n\n")[0]
    described = dict(re.findall(r"^(\w+) : .*?(?:default (.*?))?\n    \S", section, re.MULTILINE))
    for argument, parameter in inspect.signature(getattr(fo, name)).parameters.items():
        if argument != "options":
            assert argument in described, argument
            if parameter.default not in (inspect.Parameter.empty, None):
                assert eval(described[argument], {"inf": math.inf}) == parameter.default, argument
    for argument, default in getattr(fo, name).arguments.items():
        if not isinstance(default, (bool, str)):
            text = re.search(rf"^{argument} : .*\n((?:    .*\n)+)", section + "\n", re.MULTILINE)[1]
            assert re.search(r"Usual:\s", text), argument
    for heading in ("Notes", "References", "Examples"):
        assert f"\n{heading}\n{'-' * len(heading)}\n" in doc
    references = doc.split("References\n----------\n")[1].split("\n\n")[0]
    assert re.search(r"doi:|arXiv:|https://", references), references
