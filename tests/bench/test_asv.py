"""The benchmarks' configuration says what it means, the suite covers what there is, and the dashboard draws."""

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastopt as fo

SUITE = Path(__file__).parents[2] / "asv_bench"
if not SUITE.exists():
    pytest.skip("the suite is not part of an installation", allow_module_level=True)


NAMES = (
    "ratios.OfStream.track_time",
    "ratios.OfStreamInParallel.track_time",
    "steps.BySize.time_step",
    "memory.Peak.peakmem_steps",
    "files.Network.track_file_bytes",
)


def test_every_name_of_the_configuration_is_one_of_asvs():
    config = pytest.importorskip("asv.config")
    text = re.sub(r"^\s*//.*$", "", (SUITE / "asv.conf.json").read_text(), flags=re.MULTILINE)
    named = json.loads(text)
    known = {*vars(config.Config()), "version", "build_cache_size"}
    assert set(named) <= known
    assert named.pop("version") == config.Config.api_version
    assert set(named["matrix"]) <= {"req", "env", "env_nobuild"}
    for regex, threshold in named["regressions_thresholds"].items():
        assert re.compile(regex) and 0 < threshold < 1
    matching = [[t for r, t in named["regressions_thresholds"].items() if re.match(r, name)] for name in NAMES]
    assert matching == [[0.2], [0.3], [0.3], [0.02], [0.02]]


def benchmarks():
    """Yield the file, the class and the functions that take its parameters, for each class of benchmarks."""
    for path in sorted((SUITE / "benchmarks").glob("*.py")):
        for cls in ast.parse(path.read_text()).body:
            own = isinstance(cls, ast.ClassDef) and {ast.unparse(base) for base in cls.bases} <= {"_Steps"}
            if own and not cls.name.startswith("_"):
                functions = [f for f in cls.body if isinstance(f, ast.FunctionDef)]
                yield path.stem, cls, [f for f in functions if re.match("(time|timeraw|peakmem|track)_|make$|setup$", f.name)]


def test_parameters_have_names():
    found = list(benchmarks())
    assert {area for area, _, _ in found} == {p.stem for p in (SUITE / "benchmarks").glob("*.py")} - {
        "__init__",
        "common",
        "own_rule",
    }
    for area, cls, functions in found:
        values = {t.id: n.value for n in cls.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        names = ast.literal_eval(values["param_names"]) if "param_names" in values else ()
        assert functions and ("params" in values) == bool(names), f"{area}.{cls.name}"
        assert {len(f.args.args) - 1 for f in functions} == {len(names)}, f"{area}.{cls.name}"


def test_what_is_documented_is_what_is_checked():
    sys.path.insert(0, str(SUITE))
    try:
        import check
    finally:
        sys.path.remove(str(SUITE))
    contributing = (SUITE.parent / "CONTRIBUTING.md").read_text()
    assert f"asv continuous --factor={check.FACTOR} --bench={check.WATCHED} " in contributing
    assert (Path(fo.__file__).parent / "_engine" / "stepper.py").read_text().count(check.STEP) == 1


def test_the_dashboard_draws(tmp_path):
    pytest.importorskip("asv")
    if shutil.which("chromium") is None or shutil.which("npm") is None:
        pytest.skip("needs chromium and npm")
    counted = subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=SUITE, capture_output=True, text=True)
    if counted.returncode or int(counted.stdout) < 12:
        pytest.skip("needs a history of twelve commits")
    command = [sys.executable, SUITE / "check.py", "dashboard", "--pictures", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p.name for p in tmp_path.glob("*.png")} == {"list.png", "graph.png", "regressions.png"}


@pytest.fixture(scope="module")
def peers():
    """The peers' report."""
    return runpy.run_path(str(SUITE / "peers" / "__main__.py"))


def results_of(peers, ratio):
    """Results in which every peer takes so many times as long."""
    works = {name: work for _, section in peers["SECTIONS"].values() for name, work in section.items()}
    found = {"seconds": 1e-6, "ratio": ratio, "quartiles": [0.98 * ratio, 1.02 * ratio]}
    ours = {"seconds": 1e-6, "ratio": 1.0, "quartiles": [1.0, 1.0]}
    return {name: {"fastopt": ours} | dict.fromkeys(work.peers, found) for name, work in works.items()}


def test_goals_are_of_what_is_timed(peers):
    results = results_of(peers, 1e3)
    for goal in peers["GOALS"]:
        assert goal.peer in results[goal.work], goal
        assert goal.found(results)[1] == "yes" and bool(goal.least) != bool(goal.most), goal
        assert goal.found(results_of(peers, 1e-3))[1] == "no", goal
        assert goal.found(results_of(peers, 1 / goal.most if goal.most else goal.least))[1] == "noise", goal


@pytest.mark.parametrize(
    "ratio, said", [(0.5, "torch takes 0.5 (0.49-0.51) of the time"), (1.05, "torch, 1.05 (1.03-1.07)"), (3.0, None)]
)
def test_the_report_tells_losses_and_ties(peers, ratio, said):
    about = {
        "date": "2026-01-01",
        "processor": "P",
        "processors": 2,
        "system": "S",
        "instruction set": "I",
        "blas": "B",
        "versions": {"torch": "2"},
    }
    page = "\n".join(peers["report"]({**about, "rounds": 3, "threads": 2, "works": results_of(peers, ratio)}))
    listed = page[page.index("## Ties and losses") : page.index("## Goals")]
    assert listed.count("- none") == (2 if said is None else 1)
    assert said is None or said in listed
    assert "not reached: " in page  # those that should take 60 times as long
    for title, (text, works) in peers["SECTIONS"].items():
        assert f"## {title}\n\n{text}" in page and all(f"\n| {name} | 1.00 µs |" in page for name in works)
