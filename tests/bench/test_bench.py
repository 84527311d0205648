"""The benchmark runs every competitor that is here, and what it times is what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastopt import bench
from fastopt.bench import peers, references, rounds, timer, works

REPOSITORY = Path(__file__).parents[2]


def test_a_row_of_every_competitor(tmp_path):
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "fastopt", "bench", "of 100, list", "--rounds", "2", "--json", path]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    written = json.loads(path.read_text())
    ((name, found),) = written["works"].items()
    assert {"date", "processor", "processors", "instruction set", "system", "blas"} < set(written)
    assert written["versions"]["numpy"] == np.__version__
    assert name == "1000 arrays of 100, list" and set(found) == {"fastopt", *bench.WORKS[name].peers} & set(bench.available())
    for peer, result in found.items():
        assert 0 < result["seconds"] < 1 and result["quartiles"][0] <= result["ratio"] <= result["quartiles"][1], peer
    assert found["fastopt"]["ratio"] == 1 and name in out.stdout


def test_an_unknown_work():
    with pytest.raises(ValueError, match="no work's name holds 'sgdd'"):
        bench.bench("sgdd")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["sgdd"], "no work's name holds 'sgdd'"),
        (["--rounds", "0"], "--rounds: 0: expected a whole number from 1 on"),
        (["--threads", "two"], "--threads: two: expected a whole number from 1 on"),
        (["--json", "nowhere/results.json"], "nowhere/results.json"),
        (["--json", "."], "'.'"),
        (["1000 arrays", "--plot", "bench.png"], "none of these works"),
        (["--plot", "bench.xyz"], "'bench.xyz', expected a name that ends in one of"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "run", None)
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_peer_that_fails_is_left_out(capsys):
    pytest.importorskip("pints")
    two, sgd = bench.Work(((3,), (2,)), ("pints", "numpy")), bench.Work(((3,),), ("numpy",), rule="SGD")
    results = bench.run({"two arrays": two, "SGD": sgd}, rounds=1)
    assert set(results["two arrays"]) == {"fastopt", "numpy"} and set(results["SGD"]) == {"fastopt"}
    said = capsys.readouterr().err
    assert "two arrays: left out: bench: pints" in said and "SGD: left out: bench: numpy: KeyError: 'SGD'" in said


COMPLETE = [name for name in bench.available() if bench.PEERS[name].whole]
ADAM_ALONE = (*works.ONE_VECTOR, "functional", "numba", "optax", "keras", "scikit-learn", "thinc", "torch in float32")


def steps_of(peer, work, count):
    """Parameters after some steps of a competitor."""
    step = bench.PEERS[peer].step(work)
    for _ in range(count // step.steps):
        step.run()
    return [np.array(p, np.float64) for p in step.params()]


@pytest.mark.parametrize("peer", [p for p in COMPLETE if p != "DeepSpeed"])  # which compiles itself when it is first used
@pytest.mark.parametrize(
    "rule, dtype, grads", [("Adam", "float32", "mapping"), ("Adam", "float64", "list"), ("RMSprop", "float32", "bound")]
)
def test_competitors_make_the_same_step(peer, rule, dtype, grads, monkeypatch):
    if peer in ADAM_ALONE and rule != "Adam":
        pytest.skip("is timed for Adam alone")
    if peer == "thinc" and dtype != "float32":
        pytest.skip("is for float32 alone")
    monkeypatch.setattr(works, "LEARNING_RATE", 0.01)
    monkeypatch.setattr(peers, "LEARNING_RATE", 0.01)
    loops = peer in ("autograd", "qiskit-algorithms")
    work = bench.Work(((5,),) if peer in works.ONE_VECTOR else ((3, 4), (5,)), rule=rule, grads=grads, dtype=dtype)
    count = 1000 if loops else 5
    start, _ = works.arrays(work)
    found, expected = steps_of(peer, work, count), steps_of("numpy", work, count)
    for p, q, first in zip(found, expected, start, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-5 if dtype == "float32" else 1e-6)  # Keras' rate is float32
        assert (p != first).all()


def test_the_stream_reads_four_and_writes_three():
    if "stream" not in bench.available():
        pytest.skip("needs a C compiler")
    once = references.stream([1000], states=2)
    once()
    once()
    ((g, p, m, v),) = once.__defaults__[0]
    assert (g == 1).all() and (m == 2).all() and (v == 2).all() and (p > 5e-9).all()


def test_what_is_not_installed_is_said_and_its_rows_left_out(monkeypatch):
    monkeypatch.setitem(bench.PEERS, "thinc", peers.Peer(peers.step_of_thinc, "no_such_package"))
    said = []
    works = {"thinc alone": bench.Work(((3,),), ("thinc",)), "both": bench.Work(((3,),), ("thinc", "numpy"))}
    assert set(bench.run(works, rounds=1, write=said.append)) == {"both"}
    assert said[0].endswith("left out: thinc")


def test_a_peer_that_dies_is_left_out_with_what_it_said(capsys, monkeypatch):
    ask = rounds.Competitor.ask
    asked = []

    def dies(self, line):
        asked.append(self.peer)
        if self.peer == "numpy" and asked.count("numpy") == 3:
            self.process.kill()
            self.process.wait()
        return ask(self, line)

    monkeypatch.setattr(rounds.Competitor, "ask", dies)
    into = {}
    bench.run({"one": bench.Work(((3,),), ("numpy", "one thread"))}, rounds=3, into=into)
    assert set(into["one"]) == {"fastopt", "one thread"}
    assert "one: left out: bench: the process of numpy ended with exit status -9" in capsys.readouterr().err


def test_what_packages_print_is_no_answer(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert set(bench.run({"one": bench.Work(((3,),), ("numpy",))}, rounds=1)["one"]) == {"fastopt", "numpy"}


def test_one_slow_step_does_not_decide_how_many_are_timed(monkeypatch):
    class Hindered(timer.Timer):
        calls = 0

        def time(self, warm=0.0):
            self.calls += 1
            return 1.0 if self.calls == 1 else 1e-6

    assert Hindered(bench.Work(((3,),)), "numpy", 0.02).repeats >= 10_000


def test_a_picture_of_the_results(tmp_path):
    found = {"fastopt": {"seconds": 1e-6}, "stream": {"seconds": 1e-7}}
    bench.plot(
        {"10 elements": found, "1e4 elements": found, "a network": found}, str(tmp_path / "bench.png"), "a machine, two threads"
    )
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="no work is named"):
        bench.plot({"a network": found}, str(tmp_path / "none.png"))


def test_the_readme_has_the_figures_of_the_run():
    """Its table and its first lines say what ``docs/performance.json`` does, to two digits or three."""
    found = json.loads((REPOSITORY / "docs" / "performance.json").read_text())["works"]
    text = (REPOSITORY / "README.md").read_text()
    names = {
        "10 elements, gradients bound": "10 elements",
        "1,000": "1000 elements",
        "100,000": "1e5 elements",
        "10,000,000": "1e7 elements",
        "1,000 arrays of 100": "1000 arrays of 100, bound",
        "a network's 6 arrays, 235,146 elements": "network, 6 arrays, 235146",
    }
    peers = ("torch", "optax", "numba", "scikit-learn", "numpy")
    for label, name in names.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
        time, *ratios = (cell.strip() for cell in row.strip("| ").split("|")[1:])
        number, unit = time.split()
        assert float(number) * {"µs": 1e-6, "ms": 1e-3}[unit] == pytest.approx(found[name]["fastopt"]["seconds"], rel=0.05), label
        assert [float(x) for x in ratios] == pytest.approx([found[name][peer]["ratio"] for peer in peers], rel=0.05), label
    headline = re.search(r"torch's fused Adam takes (\S+) times as long at 1,000 elements, (\S+) times at 100,000", text)
    expected = [found[name]["torch"]["ratio"] for name in ("1000 elements", "1e5 elements")]
    assert [float(x) for x in headline.groups()] == pytest.approx(expected, rel=0.05)
