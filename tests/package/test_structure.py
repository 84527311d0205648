"""Structure: files, functions and decisions that fit on a screen, and imports in one direction."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2] / "fastopt"
GENERATED = {"functional.py"}
LONGEST_FILE, LONGEST_FUNCTION, MOST_COMPLEX = 500, 45, 15  # lines, lines without docstring, decisions

# What each room may import at its top from the others; within functions, where it is used, an optional part may be imported too.
LAYERS = {
    "_codegen": set(),
    "_arrays": {"_codegen"},
    "arithmetic": set(),
    "matrices": set(),
    "extras": set(),
    "plot": {"extras"},
    "schedules": {"plot"},
    "_version": set(),
    "domains": {"_arrays"},
    "stages": {"arithmetic", "domains"},
    "spec": {"domains", "stages"},
    "_engine": {"_arrays", "_codegen", "_version", "domains", "extras", "spec"},
    "cuda": {"_arrays", "_codegen", "_engine", "spec"},
    "_optimizer": {"_arrays", "_engine", "arithmetic", "domains", "schedules", "spec"},
    "optimizers": {"_arrays", "_optimizer", "arithmetic", "domains", "matrices", "spec"},
    "functional": {"_engine", "optimizers"},
    "embed": {"spec"},
    "config": {"_engine", "_version"},
    "custom": {"_arrays", "_engine", "_optimizer", "domains", "spec"},
    "testing": {"_arrays", "_engine", "_optimizer", "custom"},
    "torch": {"_arrays", "_engine", "_optimizer", "custom", "optimizers"},
    "mpi": {"_arrays", "_engine", "_optimizer", "domains", "extras"},
    "training": {"_arrays", "_optimizer", "domains", "extras", "plot", "schedules"},
    "gradient": {"_arrays", "domains"},
    "losses": {"arithmetic"},
    "demo": {"extras", "plot"},
    "doctor": {"_engine", "config", "extras", "optimizers"},
    "linear": {"_engine", "_optimizer", "arithmetic", "domains", "extras", "losses", "minimization", "optimizers", "training"},
    "minimization": {
        "_arrays",
        "_codegen",
        "_engine",
        "_optimizer",
        "custom",
        "domains",
        "extras",
        "optimizers",
        "plot",
        "training",
    },
}


def imported(path):
    """Yield the rooms that a file of the package imports at its top."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("fastopt.")):
            base = parts[: len(parts) - node.level] if node.level else ()
            module = [x for x in (node.module or "").removeprefix("fastopt.").split(".") if x]
            names = [[*base, *module]] if module or base else [[alias.name] for alias in node.names]
            yield from {name[0] for name in names if name[0] != parts[0]}


def sources(*suffixes):
    """Return the hand-written files with these suffixes by their path in the package."""
    found = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*")) if path.suffix in suffixes}
    return {name: path.read_text() for name, path in found.items() if name not in GENERATED and "generated/" not in name}


def complexity(function):
    """Count the ways through a function: its branches, loops, handlers, and parts of conditions."""
    one_way = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case, ast.Assert)
    count = 1
    for node in ast.walk(function):
        count += isinstance(node, one_way)
        count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        count += len(node.ifs) if isinstance(node, ast.comprehension) else 0
    return count


def python_functions(text):
    """Yield name, lines and complexity of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
            yield node.name, node.end_lineno - node.lineno + 1 - documented, complexity(node)


def cython_functions(text):
    """Yield name and lines of each function, by indentation."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        found = re.match(r"( *)(?:def|cdef|cpdef)\b(?! class)[^=]*?(\w+)\(", line)
        if not found:
            continue
        end = at
        while end < len(lines) and not lines[end].rstrip().endswith(":"):
            end += 1
        body = end + 1
        deeper = re.compile(rf" {{{len(found[1]) + 1},}}\S|\s*$")
        while body < len(lines) and deeper.match(lines[body]):
            body += 1
        block = "\n".join(lines[end + 1 : body]).rstrip()
        if block:
            block = re.sub(r'^\s*""".*?"""', "", block, count=1, flags=re.DOTALL)
            yield found[2], end - at + 1 + len(block.strip("\n").splitlines())


def c_functions(text):
    """Yield name and lines of each function, by braces in the first column."""
    for found in re.finditer(
        r"^(?!typedef|struct|enum|union|#|/|\})[^\n;{}=]*?(\w+)\([^;{}]*\)\n\{\n.*?^\}", text, re.MULTILINE | re.DOTALL
    ):
        yield found[1], found[0].count("\n") + 1


def long_files():
    tests = {str(path): path.read_text() for path in (ROOT.parent / "tests").rglob("*.py")}
    files = {**sources(".py", ".pyx", ".pxd", ".h", ".cu"), **tests}
    return {name for name, text in files.items() if len(text.splitlines()) > LONGEST_FILE}


def long_functions():
    found = set()
    for suffixes, functions in (((".py",), python_functions), ((".pyx", ".pxd"), cython_functions), ((".h", ".cu"), c_functions)):
        for name, text in sources(*suffixes).items():
            found |= {f"{name}: {f}" for f, lines, *_ in functions(text) if lines > LONGEST_FUNCTION}
    return found


def complex_functions():
    return {
        f"{name}: {f}"
        for name, text in sources(".py").items()
        for f, _, decisions in python_functions(text)
        if decisions > MOST_COMPLEX
    }


def test_files_fit():
    assert not long_files()


def test_functions_fit_on_a_screen():
    assert not long_functions()


def test_functions_decide_little():
    assert not complex_functions()


def test_rooms_import_downward():
    """A room imports from rooms below it alone, and there is no way around."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).with_suffix("").parts[0]
        if room not in ("__init__", "__main__", "bench"):  # these are users of all others
            assert set(imported(path)) <= LAYERS[room], path
    done: set[str] = set()
    while remaining := {room: below - done for room, below in LAYERS.items() if room not in done}:
        ready = {room for room, below in remaining.items() if not below}
        assert ready, f"a circle among {remaining}"
        done |= ready


PYTHON = '''
def f(a):
    """Do.

    More of it.
    """
    if a and not a:
        return [x for x in a if x]
    return 1
'''
CYTHON = '''
cdef class A:
    cdef int f(self,
               int b) noexcept nogil:
        """Do."""
        b = 1

        return b

cdef int b = 2
'''
C = """
typedef struct {
    int a;
} t;

static int f(int a,
             int b)
{
    if (a) {
        b = a;
    }
    return b;
}
"""


def test_what_is_measured():
    assert list(python_functions(PYTHON)) == [("f", 4, 5)]
    assert list(cython_functions(CYTHON)) == [("f", 5)]
    assert list(c_functions(C)) == [("f", 8)]
