"""What was generated and compiled: not stale, three modules that are three, packed loops; the subset's errors."""

import ast
import ctypes
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import same

import fastopt
from fastopt import arithmetic
from fastopt._codegen import capacity, cython, ir, package
from fastopt._engine import dispatch, passes

ENGINE = Path(fastopt.__file__).parent / "_engine"
REPOSITORY = Path(__file__).parents[2]


def test_the_rendered_file_is_not_stale():
    assert all(path.read_text() == text for path, text in package.rendered().items())
    subprocess.run([sys.executable, REPOSITORY / "fastopt" / "_codegen", "--check"], check=True)


def test_modules_are_what_their_names_say():
    for isa in dispatch.available():
        assert passes.isa(dispatch.load(isa)) == isa
    for isa, module in dispatch.MODULES.items():
        for path in ENGINE.glob(f"{module}.*.so"):  # those that this processor cannot load too
            text = path.read_bytes()
            assert {i for i, m in dispatch.MODULES.items() if f"PyInit_{m}".encode() in text} == {isa}
            assert {i for i in dispatch.MODULES if i.encode() + b"\0" in text} == {isa}
    found = {m for m in dispatch.MODULES.values() if list(ENGINE.glob(f"{m}.*.so"))}
    assert found == ({*dispatch.MODULES.values()} if os.uname().machine == "x86_64" else {"kernels_baseline"})


def test_isa_by_environment():
    def run(isa):
        code = "from fastopt._engine import dispatch, passes; print(passes.isa(dispatch.TABLE))"
        return subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTOPT_ISA": isa}, capture_output=True, text=True)

    for isa in dispatch.MODULES:
        out = run(isa)
        if isa in dispatch.available():
            assert out.stdout.strip() == isa
        else:
            assert out.returncode and f"FASTOPT_ISA={isa}: " in out.stderr
    assert "unknown, expected one of" in run("sse9").stderr


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package with what is compiled, to change."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(Path(fastopt.__file__).parent, folder / "fastopt", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "is_stale"),
    [
        ("optimizers/adam.py", '"""', '"""In other words. ', False),
        ("optimizers/adam.py", "    m = m", "    # A remark.\n    m = m", False),
        ("optimizers/adam.py", "1 - beta1", "1.5 - beta1", True),
        ("optimizers/muon.py", "* ", "* 2 * ", True),
        ("stages.py", "share * (", "2 * share * (", True),
        (
            "optimizers/new.py",
            "",
            "def new_scalars(t, *, lr=1):\n    return {'lr': lr}\n\ndef new(p, g, *, lr):\n    return lr * g\n",
            True,
        ),
        ("optimizers/new.py", "", "VALUE = 3\n", False),
        ("optimizers/.#adam.py", "", "not Python at all", False),
        ("optimizers/._adam.py", "", "\x00", False),
    ],
)
def test_kernels_of_another_text_are_not_used(copied, file, old, new, is_stale):
    path = copied / "fastopt" / file
    text = path.read_text() if path.exists() else ""
    assert old in text
    path.write_text(text.replace(old, new, 1))

    def run(**environment):
        clean = {k: x for k, x in os.environ.items() if not k.startswith("FASTOPT_")}
        code = "from fastopt._engine import dispatch; print(dispatch.ISA)"
        environment = {**clean, "PYTHONPATH": str(copied), **environment}
        return subprocess.run([sys.executable, "-c", code], env=environment, cwd=copied, capture_output=True, text=True, timeout=99)

    try:
        found, named = run(), run(FASTOPT_ISA="baseline")
    finally:
        path.write_text(text) if text else path.unlink()
    if is_stale:
        assert found.stdout == "numpy\n" and f"compiled before {file} changed; run python fastopt/_codegen" in found.stderr
        assert named.returncode and f"RuntimeError: FASTOPT_ISA=baseline: compiled before {file} changed" in named.stderr
    else:
        assert (found.stdout, found.stderr, named.stdout) == (f"{dispatch.available()[0]}\n", "", "baseline\n")


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.parametrize("module", dispatch.MODULES.values())
def test_every_loop_is_packed(module):
    (path,) = ENGINE.glob(f"{module}.*.so")
    if os.uname().machine != "x86_64":
        pytest.skip("reads x86-64 mnemonics")
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    functions = dict(re.findall(r"<(\w+)>:\n(.*?)(?:\n\n|\Z)", text, re.S))
    for formula in itertools.chain(*package.formulas()):
        for name, function in {
            formula.name: formula.function,
            f"{formula.name}_sums": formula.sums,
            f"{formula.name}_terms": formula.terms,
        }.items():
            if function is None or all(isinstance(x, ast.Name) for _, x in function.results):  # it computes nothing
                continue
            for suffix, packed in (("f32", "pd" if name.endswith(("_sums", "_terms")) else "ps"), ("f64", "pd")):
                bodies = [body for symbol, body in functions.items() if re.search(rf"_\d+{module}_{name}_{suffix}$", symbol)]
                assert bodies, f"{name}_{suffix} is not in the table of symbols"
                found = any(re.search(rf"(mul|add|sub|div|min|max|cmp\w*){packed}\s", body) for body in bodies)
                assert found or (name, module) in SCALAR, f"{name}_{suffix} is not vectorised"


SCALAR = {  # gcc 12 finds selects too dear without SSE 4.1; those of norms round to odd, where nothing is fused
    (name, "kernels_baseline") for name in ("rprop", "clip_norm", "clip_global_norm")
}


IMPORTS = "from fastopt.arithmetic import minimum, power, sign, sqrt, where\n\n\n"
GOOD = "def r_scalars(t, *, lr):\n    return {'lr': lr}\n\n\n"
SCALED = "def r(p, g, *, lr):\n    return lr * g\n"
MANY = ", ".join(f"x{k}" for k in range(9))
BAD = {
    "'g += g' is not 'name = expression'": GOOD + "def r(p, g, *, lr):\n    g += g\n    return lr * g\n",
    "only renames": GOOD + "def r(p, g, *, lr):\n    x = g\n    return lr * x\n",
    "not allowed in an update": GOOD + "def r(p, g, *, lr):\n    return lr * exp(g)\n",
    "belongs in the scalars function": GOOD + "def r(p, g, *, lr):\n    x = lr * lr\n    return x * g\n",
    "may not be assigned": GOOD + "def r(p, g, *, lr):\n    p = p * g\n    return lr * p\n",
    "last statement is not a return": GOOD + "def r(p, g, *, lr):\n    x = lr * g\n",
    "returns 1 values, expected the update and 1 of state": GOOD + "def r(p, g, m, *, lr):\n    return lr * g\n",
    "'for i in g:": GOOD + "def r(p, g, *, lr):\n    for i in g: pass\n    return lr * g\n",
    "the name c is taken": GOOD + "def r(p, g, *, lr):\n    c = lr * g\n    return c + g\n",
    "the name n is taken": GOOD + "def r(p, g, n, *, lr):\n    return lr * g, n + g\n",
    "the name double is taken": GOOD + "def r(p, g, double, *, lr):\n    return lr * g, double + g\n",
    "the name x_ is taken": GOOD + "def r(p, g, *, lr):\n    x_ = lr * g\n    return x_ + g\n",
    "at most (8, 12, 12)": GOOD + f"def r(p, g, {MANY}, *, lr):\n    return lr * g, {MANY}\n",
    "the name t is taken": GOOD + "def r(w, g, *, lr):\n    return lr * g\n",
    "expected a rule of p, g": GOOD + "def r(p, m, g, *, lr):\n    return lr * g, m\n",
    "is of numbers alone": GOOD + "def r(p, g, *, lr):\n    return lr * sqrt(2) * g\n",
    "neither a sum nor": "def r_scalars(t, k, *, lr):\n    return {'lr': lr}, k\n\n\n" + SCALED,
    "does not say over what it sums": GOOD + "def r_sums(g):\n    return {'x': g}\n\n\n" + SCALED,
    "carries 0 numbers": "def r_scalars(t, k=0, *, lr):\n    return {'lr': lr}\n\n\n" + SCALED,
    "expected one of velocity": GOOD + "def r(p, g, m: speed, *, lr):\n    return lr * g, m\n",
    "takes more than arrays": GOOD + "def r(p, g, *rest, lr):\n    return lr * g\n",
    "r takes more than": GOOD + "@staticmethod\n" + SCALED,
    "with the defaults that change nothing": "def r_scalars(*, x):\n    return {'x': x}\n\n\ndef r(g, *, x):\n    return x * g\n",
    "'g in lr' is not allowed": GOOD + "def r(p, g, *, lr):\n    return where(g in lr, g, p)\n",
    "the exponent is not t": "def r_scalars(t, *, lr):\n    return {'lr': power(lr, 0.5)}\n\n\n" + SCALED,
    "maximum is not imported": GOOD + "def r(p, g, *, lr):\n    return lr * maximum(g, p)\n",
    "r is already defined": GOOD + SCALED + SCALED,
    "has no r_scalars": SCALED,
    "not allowed in a scalars function": "def r_scalars(t, *, lr):\n    return {'lr': lr ** 2}\n\n\n" + SCALED,
    "returns ('x',), but r takes ('lr',)": "def r_scalars(t, *, lr):\n    return {'x': lr}\n\n\n" + SCALED,
}


@pytest.mark.parametrize("message", BAD)
def test_rules_outside_the_subset(message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(IMPORTS + BAD[message])
    with pytest.raises(ir.RuleError) as info:
        ir.read(path)
    assert re.search(r"mine.py:\d+: ", str(info.value)) and message in str(info.value)
    grammar = re.search("not allowed|is not 'name|not a return", str(info.value))
    assert bool(grammar) == bool(re.search("; an? (update|scalars function) may use", str(info.value)))


def test_the_reader_accepts_the_rest(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        IMPORTS + GOOD + "def r(p, g, m, *, lr):\n    m = where(m > 0.5, minimum(g, m), -g)\n    return lr * sign(m), m\n"
    )
    assert "<real> 0.5" in cython.render(ir.read(path), [])


def test_sizes_are_read_from_the_header():
    found = capacity.read((REPOSITORY / "fastopt" / "include" / "capacity.h").read_text())
    assert found["FO_TOTALS"] == 2 * found["FO_SUMS"] and found["FO_TERMS"] == found["FO_STAGES"] + 1
    assert (found["FO_FLOAT8"], found["FO_RATIOS"], found["FO_ARRAY"], found["FO_MATRIX"]) == (0, 9, 0, 4)
    assert len(ir.read(REPOSITORY / "fastopt" / "stages.py")) <= capacity.STAGES
    with pytest.raises(AttributeError, match=r"capacity.h has no FO_NONE"):
        _ = capacity.NONE


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_sizes_are_those_of_c(tmp_path):
    header = REPOSITORY / "fastopt" / "include" / "capacity.h"
    found = capacity.read(header.read_text())
    text = f'#include "{header}"\n' + "".join(f'_Static_assert({name} == {x}, "{name}");\n' for name, x in found.items())
    (tmp_path / "sizes.c").write_text(text)
    subprocess.run(["cc", "-std=c11", "-fsyntax-only", tmp_path / "sizes.c"], check=True)


TWINS = {"sqrt": 1, "fabs": 1, "sign": 1, "copysign": 2, "maximum": 2, "minimum": 2}


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_functions_have_the_same_bits_in_c_and_numpy(dtype, tmp_path):
    real, suffix = np.dtype(dtype.replace("float", "f4").replace("double", "f8")), "f" if dtype == "float" else ""
    loops = "".join(
        f"void t_{name}({dtype} *o, const {dtype} *x, const {dtype} *y, long n)"
        f" {{ for (long i = 0; i < n; i++) o[i] = fo_{name}{suffix}(x[i]{', y[i]' if count == 2 else ''}); }}\n"
        for name, count in TWINS.items()
    )
    loops += f"void t_where({dtype} *o, const {dtype} *x, const {dtype} *y, long n)"
    loops += f" {{ for (long i = 0; i < n; i++) o[i] = fo_where{suffix}(x[i] > y[i], x[i], y[i]); }}\n"
    loops += "void t_power(double *o, const double *x, long t, long n) { for (long i = 0; i < n; i++) o[i] = fo_power(x[i], t); }\n"
    (tmp_path / "twins.c").write_text('#include "block.h"\n' + loops)
    flags = [
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-I",
        ENGINE.parent / "include",
    ]
    subprocess.run(["cc", *flags, tmp_path / "twins.c", "-o", tmp_path / "twins.so", "-lm"], check=True)
    library = ctypes.CDLL(str(tmp_path / "twins.so"))
    tiny = np.finfo(real).smallest_subnormal
    values = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, tiny, -tiny, np.finfo(real).max], real)
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(values, values))
    pointer = ctypes.c_void_p
    with np.errstate(all="ignore"):
        for name in (*TWINS, "where"):
            out = np.empty_like(x)
            getattr(library, f"t_{name}")(
                pointer(out.ctypes.data), pointer(x.ctypes.data), pointer(y.ctypes.data), ctypes.c_long(x.size)
            )
            arguments = (x > y, x, y) if name == "where" else (x, y)[: TWINS[name]]
            expected = getattr(arithmetic, name)(*arguments)
            assert same(out, np.asarray(expected, real)), name
        bases = np.array([0.0, 0.9, 0.999, 0.5, 1.0, 1e-300])
        for t in (0, 1, 2, 3, 1000, 12345):
            out = np.empty_like(bases)
            library.t_power(pointer(out.ctypes.data), pointer(bases.ctypes.data), ctypes.c_long(t), ctypes.c_long(bases.size))
            assert same(out, np.array([arithmetic.power(float(b), t) for b in bases])), t
