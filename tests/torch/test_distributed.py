"""Several processes: torch's data parallelism and divided state over gloo, and resumption by another number of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without its distributed package")

SUPPORT = Path(__file__).parents[1] / "support"
SCRIPT = SUPPORT / "distributed_run.py"


def test_two_processes(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 0 and found.stdout.count("done") == 2, found.stdout + found.stderr[-4000:]
    # One process goes on from the checkpoint of two.
    code = f"""
import sys; sys.argv[1:] = [{str(tmp_path)!r}]; sys.path.insert(0, {str(SUPPORT)!r})
import torch, fastopt as fo, distributed_run as run
saved = torch.load(run.FOLDER / "zero.pt", weights_only=True)
net = run.model()
net.load_state_dict(saved["net"])
optimizer = fo.torch.AdamW(net.parameters(), lr=0.01)
optimizer.load_state_dict(saved["optimizer"])
run.train(net, optimizer, 3, 3)
torch.testing.assert_close(run.values(net), torch.load(run.FOLDER / "resumed.pt"), rtol=1e-5, atol=1e-6)
"""
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert alone.returncode == 0, alone.stderr[-4000:]
