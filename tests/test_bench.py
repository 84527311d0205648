"""The benchmark runs every competitor that is here, and what it times is what it says."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fastopt import bench


def test_a_row_of_every_competitor(tmp_path):
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "fastopt", "bench", "of 100, list", "--rounds", "2", "--json", path]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    ((name, found),) = json.loads(path.read_text()).items()
    assert name == "1000 arrays of 100, list" and set(found) == {"fastopt", *bench.WORKS[name].peers} & set(bench.available())
    for peer, result in found.items():
        assert 0 < result["seconds"] < 1 and result["quartiles"][0] <= result["ratio"] <= result["quartiles"][1], peer
    assert found["fastopt"]["ratio"] == 1 and name in out.stdout


def test_an_unknown_work():
    with pytest.raises(ValueError, match="no work's name holds 'sgdd'"):
        bench.bench("sgdd")


@pytest.mark.parametrize("rule", ["Adam", "RMSprop"])
@pytest.mark.parametrize("grads", ["bound", "list", "mapping"])
def test_competitors_make_the_same_step(rule, grads, monkeypatch):
    monkeypatch.setattr(bench, "LEARNING_RATE", 0.01)
    work = bench.Work(((3, 4), (5,)), rule=rule, grads=grads)
    seen, draw = [], bench.arrays

    def arrays(work):
        seen.append(draw(work))
        return seen[-1]

    monkeypatch.setattr(bench, "arrays", arrays)
    peers = [peer for peer in bench.available() if peer not in ("stream", "float32")]
    for peer in peers:
        step = bench.PEERS[peer](work)
        for _ in range(5):
            step()
    start, _ = draw(work)
    for params, _ in seen:
        for p, first, q in zip(params, seen[0][0], start, strict=True):
            np.testing.assert_allclose(p, first, rtol=1e-4)
            assert (p != q).all()


def test_the_stream_reads_four_and_writes_three():
    if "stream" not in bench.available():
        pytest.skip("needs a C compiler")
    step = bench.step_of_stream(bench.Work(((1000,),)))
    ((p, g, m, v),) = step.__defaults__[0]
    before = p.copy()
    step()
    step()
    np.testing.assert_allclose(m, 2 * g)
    np.testing.assert_allclose(v, -2 * g)
    assert (p != before).any()
