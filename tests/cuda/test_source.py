"""The text of the kernels: it compiles for real architectures, and its structs are those of Python."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import standin
from cuda_tools import need_nvrtc, run

import fastopt as fo
from fastopt.cuda import compiler, tables
from fastopt.spec import RULES, STAGES

HERE = Path(standin.__file__).parent
ARCHITECTURES = ["sm_70", "sm_80", "sm_90", "sm_100"]


@pytest.mark.parametrize("target", ARCHITECTURES)
def test_every_kernel_compiles(target):
    need_nvrtc(target)
    names = list(RULES)
    parts = names[::2], names[1::2]
    texts = [compiler.source(part) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(lambda text: compiler.compiled(text, target), texts))
    for code, part in zip(halves, parts, strict=True):
        for name in part:
            for kind in ("step", "sum", "prepare"):
                assert f"{name}_{kind}".encode() in code
    machine = halves[0] + halves[1]
    assert machine.startswith(b"\x7fELF")


def test_structs_are_those_of_c(tmp_path):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    structs = {"fo_array": tables.ARRAY, "fo_step_args": tables.STEP_ARGS, "fo_plan": tables.PLAN}
    lines = [f'#include "{HERE / "shim.h"}"', compiler.source([]), "#include <stdio.h>", "int main() {"]
    expected = []
    for name, dtype in structs.items():
        lines += [f'printf("{name} %zu\\n", sizeof({name}));']
        expected += [f"{name} {dtype.itemsize}"]
        for field, (_, offset) in ((f, dtype.fields[f][:2]) for f in dtype.names):
            lines += [f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));']
            expected += [f"{name}.{field} {offset}"]
    for k, name in enumerate(STAGES):
        lines += [f'printf("{name} %d\\n", FO_{name.upper()});']
        expected += [f"{name} {k}"]
    (tmp_path / "structs.cpp").write_text("\n".join([*lines, "}"]))
    subprocess.run(["g++", "-std=c++17", "-w", tmp_path / "structs.cpp", "-o", tmp_path / "structs"], check=True)
    assert subprocess.run([tmp_path / "structs"], capture_output=True, text=True, check=True).stdout.split("\n")[:-1] == expected


MUTATIONS = [
    (r"v = keep \* v \+ w2 \* g \* g;", "v = keep * v + w2 * (g * g);", "adam"),
    (r"m = m \+ w1 \* \(g - m\);", "m = m + w1 * g - w1 * m;", "adam"),
    (r"e->p = e->p - e->u;", "e->p = e->p - e->u * (real)1.0000001;", "adam"),
    (r"x = x \+ lane\[i\];", "x = lane[i] + x + 1e-300;", None),
    (r"c\[1\] = 1.0 - beta1;", "c[1] = (1.0 - beta1) * (1.0 + 1e-7);", "adam"),
]


@pytest.mark.parametrize(("line", "other", "rule"), [m for m in MUTATIONS if m[2]])
def test_a_mutated_line_of_arithmetic_is_noticed(line, other, rule, monkeypatch, tmp_path):
    """The comparison of bits can fail: one line of the text is changed."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    text = compiler.source(rule)
    assert re.search(line, text)
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tables, "source", lambda _: re.sub(line, other, text))
    compiler.kernels.cache_clear()
    with standin.installed() as cupy, pytest.raises(AssertionError):
        run(cupy, "adam", shapes={"matrix": (30, 41), "vector": (700,)})
    compiler.kernels.cache_clear()


def test_source_is_whole():
    text = fo.cuda.source()
    assert '#include "' not in text and all(f"FO_KERNEL {name}_step" in text for name in RULES)
    assert fo.cuda.source("adam") == fo.cuda.source(["adam"]) and "FO_KERNEL sgd_step" not in fo.cuda.source("adam")
    with pytest.raises(ValueError, match="rules: \\['adamm'\\], expected among adabelief"):
        fo.cuda.source("adamm")
    committed = (Path(fo.__file__).parent / "cuda" / "generated" / "kernels.cu").read_text()
    assert committed.splitlines()[-1] == text.splitlines()[-1]


def test_architectures():
    choose = compiler.architecture
    assert choose((75, 80, 86, 90), "86") == "sm_86" and choose((75, 80, 90), "89") == "sm_80"
    assert choose((75, 80, 90), "100") == "compute_90"
    with pytest.raises(RuntimeError, match=r"from 7\.5 on; the device has 7\.0"):
        choose((75, 80), "70")
