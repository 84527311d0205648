"""What type checkers know of the optimizers: each mistake is found, and nothing else."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fastopt as fo

pytest.importorskip("mypy")

RIGHT = """
import numpy as np
import fastopt as fo

p = np.ones(2)
fo.Adam(p, 1e-3, (0.9, 0.99), clip_norm=1.0, nonfinite="skip", threads=None)
fo.SGD([{"params": p}], np.float32(0.1), momentum=0.9, convention="keras", bounds=(0, 1))
fo.Lion({"w": p}, lr=lambda step: 0.1 / (1 + step)).groups[0]["lr"] = 0.1
fo.AdamW(p, lr=1e-3, betas=(0.9, 0.99), amsgrad=True)
fo.Muon(p, adjust_lr_fn="match_rms_adamw", ns_coefficients=[1.5, -0.5, 0])
done: bool = fo.Adafactor(p, eps=(None, 1e-3)).step(p, scale=0.5)
"""
WRONG = {
    "fo.Adam(p, learning_rate=1e-3)": 'Unexpected keyword argument "learning_rate"',
    "fo.Adam(p, amsgard=True)": 'did you mean "amsgrad"',
    'fo.Adam(p, lr="fast")': 'Argument "lr" to "Adam" has incompatible type "str"',
    'fo.Adam(p, nonfinite="jump")': 'Argument "nonfinite" to "Adam" has incompatible type',
    'fo.Muon(p, adjust_lr_fn="length")': 'Argument "adjust_lr_fn" to "Muon" has incompatible type',
    'fo.SGD(p, convention="caffe")': 'Argument "convention" to "SGD" has incompatible type',
}


def test_mistakes_in_arguments_are_found(tmp_path):
    file = tmp_path / "user.py"
    file.write_text(RIGHT + "\n".join(WRONG) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "--cache-dir", str(tmp_path), str(file)]
    environment = {"MYPYPATH": str(Path(fo.__file__).parents[1]), "PATH": ""}
    out = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    first = RIGHT.count("\n") + 1
    found = [line for line in out.splitlines() if ": error: " in line]
    assert len(found) == len(WRONG), out
    for k, (line, message) in enumerate(zip(found, WRONG.values(), strict=True)):
        assert line.startswith(f"user.py:{first + k}: ") and message in line


def test_signatures_of_the_stub_are_those_of_the_classes():
    file = Path(fo.optimizers.__file__).with_suffix(".pyi")
    classes = {node.name: node.body[1] for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}
    for name in fo.optimizers.__all__:
        arguments = classes[name].args
        named = dict(zip([x.arg for x in arguments.args][2:], map(ast.unparse, arguments.defaults), strict=True))
        expected = {
            k: repr(x.default)
            for k, x in inspect.signature(getattr(fo, name)).parameters.items()
            if k not in ("params", "convention", "options")
        }
        assert named == expected, name
