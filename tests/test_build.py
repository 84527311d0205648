"""What was generated and compiled: not stale, three modules that are three, packed loops; the subset's errors."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastopt
from fastopt import codegen
from fastopt.engine import dispatch, engine

ENGINE = Path(fastopt.__file__).parent / "engine"
REPOSITORY = Path(__file__).parents[1]


def test_the_rendered_file_is_not_stale():
    assert all(path.read_text() == text for path, text in codegen.rendered().items())
    subprocess.run([sys.executable, REPOSITORY / "fastopt" / "codegen", "--check"], check=True)


def test_modules_are_what_their_names_say():
    for isa in dispatch.available():
        assert engine.isa(dispatch.load(isa)) == isa
    for isa, module in dispatch.MODULES.items():
        for path in ENGINE.glob(f"{module}.*.so"):  # those that this processor cannot load too
            text = path.read_bytes()
            assert {i for i, m in dispatch.MODULES.items() if f"PyInit_{m}".encode() in text} == {isa}
            assert {i for i in dispatch.MODULES if i.encode() + b"\0" in text} == {isa}
    found = {m for m in dispatch.MODULES.values() if list(ENGINE.glob(f"{m}.*.so"))}
    assert found == ({*dispatch.MODULES.values()} if os.uname().machine == "x86_64" else {"kernels_baseline"})


def test_isa_by_environment():
    def run(isa):
        code = "from fastopt.engine import dispatch, engine; print(engine.isa(dispatch.TABLE))"
        return subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTOPT_ISA": isa}, capture_output=True, text=True)

    for isa in dispatch.MODULES:
        out = run(isa)
        if isa in dispatch.available():
            assert out.stdout.strip() == isa
        else:
            assert out.returncode and f"FASTOPT_ISA={isa}: " in out.stderr
    assert "unknown, expected one of" in run("sse9").stderr


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.parametrize("module", dispatch.MODULES.values())
def test_every_loop_is_packed(module):
    (path,) = ENGINE.glob(f"{module}.*.so")
    if os.uname().machine != "x86_64":
        pytest.skip("reads x86-64 mnemonics")
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    functions = dict(re.findall(r"<(\w+)>:\n(.*?)(?:\n\n|\Z)", text, re.S))
    for rule in codegen.read(REPOSITORY / "fastopt" / "rules.py") + codegen.read(REPOSITORY / "fastopt" / "stages.py"):
        for suffix, packed in (("f32", "mulps"), ("f64", "mulpd")):
            bodies = [body for name, body in functions.items() if re.search(rf"_\d+{module}_{rule.name}_{suffix}$", name)]
            assert bodies, f"{rule.name}_{suffix} is not in the table of symbols"
            assert any(packed in body for body in bodies), f"{rule.name}_{suffix} is not vectorised"


GOOD = "def r_scalars(t, *, lr):\n    return {'lr': lr}\n\n\n"
BAD = {
    "x += 1": "def r(p, g, *, lr):\n    g += g\n    return lr * g\n",
    "only renames": "def r(p, g, *, lr):\n    x = g\n    return lr * x\n",
    "not allowed in an update": "def r(p, g, *, lr):\n    return lr * exp(g)\n",
    "belongs in the scalars function": "def r(p, g, *, lr):\n    x = lr * lr\n    return x * g\n",
    "may not be assigned": "def r(p, g, *, lr):\n    p = p * g\n    return lr * p\n",
    "last statement is not a return": "def r(p, g, *, lr):\n    x = lr * g\n",
    "returns 1 values, expected the update and 1 of state": "def r(p, g, m, *, lr):\n    return lr * g\n",
    "is not 'name = expression'": "def r(p, g, *, lr):\n    for i in g: pass\n    return lr * g\n",
}


@pytest.mark.parametrize("message", BAD)
def test_rules_outside_the_subset(message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD + BAD[message])
    with pytest.raises(codegen.RuleError) as info:
        codegen.read(path)
    assert re.search(r"mine.py:\d+: ", str(info.value)) and "an update may use" in str(info.value)
    assert message in str(info.value) or message == "x += 1"


def test_the_reader_accepts_the_rest(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD + "def r(p, g, m, *, lr):\n    m = where(m > 0.5, minimum(g, m), -g)\n    return lr * sign(m), m\n")
    assert "<real> 0.5" in codegen.cython.render(codegen.read(path), [])
