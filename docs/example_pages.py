"""Page of the examples: what each says of itself, the picture that it draws, and its program."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = ("line", "digits", "robust", "sparse_text", "ode_fit", "ask_tell")
INTRODUCTION = """# Examples

Whole programs of at most sixty lines, in `examples/`. Further ones need other packages: gradients of autograd, JAX and PyTorch
(`autograd_training.py`), ten thousand fits at once (`many_fits.py`), training on chunks of a file (`chunks.py`), a notebook
(`notebook.ipynb`), and embedding in C, Cython, numba and cffi."""


def part(name: str, folder: Path) -> str:
    """Return the part of the page about an example."""
    path = EXAMPLES / f"{name}.py"
    doc = (ast.get_docstring(ast.parse(path.read_text())) or "").replace("``", "`")
    if not (folder / f"{name}.png").exists():
        subprocess.run([sys.executable, path], cwd=folder, check=True, capture_output=True)
    program = f":::{{dropdown}} {name}.py\n```{{literalinclude}} ../../examples/{name}.py\n```\n:::"
    return f"## {name}\n\n{doc}\n\n![{doc.partition('.')[0]}]({name}.png)\n\n{program}"


def write(folder: Path) -> None:
    """Write the page, and the pictures that are not there yet."""
    folder.mkdir(exist_ok=True)
    text = "\n\n".join([INTRODUCTION, *(part(name, folder) for name in SHOWN)]) + "\n"
    if not (page := folder / "index.md").exists() or page.read_text() != text:
        page.write_text(text)
