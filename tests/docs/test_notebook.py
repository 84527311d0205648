"""The notebook of the examples runs: tables, pictures, rules that are written, compiled and changed in cells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
PROGRAM = """
import json, sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
(rule,) = [cell for cell in notebook.cells if "@fo.rule" in cell.source]
changed = rule.source.replace("keep * buf + g", "keep * buf + 3 * g")
assert changed != rule.source
compiled = "fo.compile(heavy)\\nv = np.ones(3)\\nfo.optimizer(heavy, v).step(np.ones(3))\\nprint(v)"
notebook.cells += [nbformat.v4.new_code_cell(text) for text in (changed, compiled)]
NotebookClient(notebook, timeout=120).execute()
print(json.dumps([cell.get("outputs", []) for cell in notebook.cells]))
"""


@pytest.mark.full
def test_the_notebook(tmp_path, monkeypatch):
    for name in ("nbclient", "ipykernel", "tqdm", "matplotlib", "Cython"):
        pytest.importorskip(name)
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", PROGRAM, NOTEBOOK], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    *cells, changed, compiled = json.loads(done.stdout.splitlines()[-1])
    data = [output.get("data", {}) for cell in cells for output in cell]
    assert any("<table><caption>AdamW: 2 arrays, 4 elements" in x.get("text/html", "") for x in data)
    assert sum("image/png" in x for x in data) == 1
    text = ["".join(output.get("text", "") for output in cell) for cell in (cells[-1], changed, compiled)]
    assert "buf = keep * buf + g  ->  1.9" in text[0] and "buf = keep * buf + 3 * g  ->  5.7" in text[1]
    assert "[0.85 0.85 0.85]" in text[2]


def test_it_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    assert not [cell for cell in notebook["cells"] if cell.get("outputs")]
