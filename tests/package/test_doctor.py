"""The command line, and the check of an installation."""

import json
import re
import subprocess
import sys

import pytest

import fastopt as fo
from fastopt import doctor, extras


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "fastopt", *arguments], capture_output=True, text=True, **options)


def test_commands():
    assert run("--version").stdout == f"fastopt {fo.__version__}\n"
    assert all(re.search(rf"^    {name} +\w", run("--help").stdout, re.MULTILINE) for name in ("demo", "info", "doctor", "bench"))
    assert "--rounds" in run("bench", "--help").stdout and "--no-plot" in run("demo", "--help").stdout
    refused = run("examine")
    assert refused.returncode == 2 and "invalid choice: 'examine'" in refused.stderr


def test_doctor():
    out = run("doctor")
    assert out.returncode == 0 and re.search(r"^bits: +right for \d+ cases, in \d\.\d s$", out.stdout, re.MULTILINE)
    assert f"numpy: {' ' * 10}" in out.stdout and re.search(r"^blas: +\S+ \d", out.stdout, re.MULTILINE)


def test_doctor_finds_wrong_bits(tmp_path, monkeypatch, capsys):
    table = json.loads(doctor.FINGERPRINTS.read_text())
    assert set(table) == set(doctor.fingerprints())
    table["Adam float32"] = "0" * 16
    (tmp_path / "table.json").write_text(json.dumps(table))
    monkeypatch.setattr(doctor, "FINGERPRINTS", tmp_path / "table.json")
    assert doctor.examine() == 1 and "WRONG for Adam float32" in capsys.readouterr().out


def test_without_blas(monkeypatch):
    monkeypatch.setattr(doctor.np, "show_config", lambda mode: {})
    assert doctor.blas().startswith("unknown")


def test_errors_name_extras(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "plot", ("Pictures", "no_such_module"))
    said = r"plot needs Pictures: pip install 'fastopt\[plot\]', or in a checkout pip install -e '\.\[plot\]'"
    with pytest.raises(ImportError, match=said):
        extras.imported("plot", "plot")


def test_extras_are_those_of_the_package():
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((doctor.FINGERPRINTS.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.EXTRAS) == set(declared) - {"test", "peers", "docs", "bench", "lint"}
