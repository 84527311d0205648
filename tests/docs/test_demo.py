"""The main job, the mini-batch loop, and the documentation's examples."""

import doctest
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo
from fastopt import demo
from fastopt._optimizer.options import OPTIONS, check_settings

REPOSITORY = Path(__file__).parents[2]


def by_demo(*arguments, cwd):
    """Return what the demo prints."""
    program = [sys.executable, "-m", "fastopt", *arguments]
    return subprocess.run(program, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_the_worked_example(tmp_path):
    out = by_demo(cwd=tmp_path)
    assert "loss 0.24810966, weight 1.96846751, bias 1.11107554" in out
    above = {name: float(x) for name, x in re.findall(r"^(\S.*?)\s+0\.\d{6}\s+(\S+)%", out, re.M)}
    ways = [above.pop(name) for name in ("own loop, SGD", "minimize, Adam", "LinearRegressor, SGD")]
    assert len(above) == 8 and max(above.values()) < 1 and above["SGD"] < 0.5
    assert ways[0] == ways[2] == above["SGD"] and ways[1] == 0
    table = (REPOSITORY / "README.md").read_text().split("## Worked example")[1].split("##")[0]
    told = [float(x) for x in re.findall(r"\| (\d\.\d\d) % \|", table)]
    np.testing.assert_allclose(told, list(above.values()), atol=0.0051)


def test_the_demo_replaces_its_own_pictures_only(tmp_path):
    pytest.importorskip("matplotlib")
    curves = {"a": np.array([0.1, 0.01])}
    for name in ("a.png", "a.svg", "a.pdf"):
        for _ in range(2):
            assert demo.draw(curves, tmp_path / name) == f"loss curves: {tmp_path / name}"
    (tmp_path / "b.png").write_bytes(b"another's")
    assert "is there, and not by python -m fastopt" in demo.draw(curves, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == b"another's"
    assert "is there, and not by python -m fastopt" in demo.draw(curves, tmp_path / "b")  # matplotlib would add .png
    assert demo.draw(curves, tmp_path / "d") == f"loss curves: {tmp_path / 'd.png'}" and (tmp_path / "d.png").exists()
    assert "cannot be written" in demo.draw(curves, tmp_path / "nowhere" / "c.png")
    assert "cannot be written (Format 'xyz' is not supported" in demo.draw(curves, tmp_path / "c.xyz")
    assert "loss curves" not in by_demo("--no-plot", cwd=tmp_path) and not (tmp_path / demo.PICTURE).exists()


def test_info():
    out = subprocess.run([sys.executable, "-m", "fastopt", "info"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"instruction set: +(x86-64-v[34]|baseline)", out) and "openmp" in out


def test_importing_needs_numpy_alone():
    others = ("scipy", "sklearn", "tqdm", "matplotlib", "torch", "Cython")
    code = f"import sys, fastopt; print(' '.join(m for m in {others} if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


MINIMIZATION = sorted(
    {getattr(fo, name).__module__ for name in ("Minimizer", "check_gradient", "lr_find", "minimize", "minimize_many", "pack")}
)
OPTIMIZERS = sorted({getattr(fo, name).__module__ for name in fo.optimizers.__all__})
LOOPS = ["linear.classifier", "linear.objective", "linear.regressor", "training.callbacks", "training.plateau"]
SCHEDULES = sorted({getattr(fo.schedules, name).__module__ for name in fo.schedules.__all__})


@pytest.mark.parametrize(
    "module",
    [
        fo.training,
        fo.functional,
        fo.embed,
        fo.plot,
        fo.testing,
        fo.torch,
        *(importlib.import_module(f"fastopt.{name}") for name in LOOPS),
        *(sys.modules[name] for name in MINIMIZATION + OPTIMIZERS + SCHEDULES),
    ],
)
def test_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_docs(page, tmp_path):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for name in set(re.findall(r"(?:import|from) (torch|keras|jax|optax|sklearn|scipy|tensorboard)\b", code)):
            pytest.importorskip(name)
        (tmp_path / "example.py").write_text(code)  # rules are read from their source
        environment = {**os.environ, "FASTOPT_CACHE_DIR": str(tmp_path), "KERAS_BACKEND": "numpy"}
        subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True, env=environment)


GENERATED = ("optimizers/", "examples/index.md")  # Pages that the site alone has.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_the_docs(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        if "://" not in path and not path.startswith(GENERATED):
            target = page.parent / path if path else page
            assert target.exists(), link
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in [x.lower().replace(" ", "-") for x in headings], link


def test_the_docs_list_every_optimizer_with_its_arguments():
    text = (REPOSITORY / "docs" / "optimizers.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (`lr=.*) \| (.*) \|$", text, re.MULTILINE)
    assert [name for name, *_ in rows] == fo.optimizers.__all__
    for name, arguments, conventions in rows:
        signature = inspect.signature(getattr(fo, name)).parameters.values()
        expected = [f"`{x.name}={x.default!r}`" for x in signature if x.name not in ("params", "convention", "options")]
        assert ", ".join(expected) == arguments
        assert conventions.split(", ") == ([*getattr(fo, name).conventions] or [""])
    options = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", text, re.MULTILINE)
    defaults = {**OPTIONS, **vars(check_settings({}))}
    assert {name: default.strip("'") for name, default in options} == {k: str(x) for k, x in defaults.items()}
    names = ", ".join(f"`{name}`" for name in fo.optimizers.__all__)
    assert f"\n{names}\n" in (REPOSITORY / "README.md").read_text()


def test_fit_refuses():
    optimizer = fo.SGD(np.zeros(1))
    for data, options in [
        ((np.ones(2), np.ones(3)), {}),
        (np.ones(0), {}),
        (np.ones(2), {"epochs": 0}),
        (np.ones(2), {"batch_size": 0}),
    ]:
        with pytest.raises(ValueError, match="expected"):
            fo.training.fit(lambda p, *x: (0.0, np.zeros(1)), optimizer.params, data, optimizer, **options)
    with pytest.raises(ValueError, match="not the arrays that the optimizer updates"):
        fo.training.fit(lambda p, *x: (0.0, np.zeros(1)), np.zeros(1), np.ones(2), optimizer)
    with pytest.raises(TypeError, match="expected an optimizer"):
        fo.training.fit(lambda p, *x: (0.0, np.zeros(1)), np.zeros(1), np.ones(2), fo.SGD)
    assert optimizer.steps == 0


def test_digits(tmp_path):
    pytest.importorskip("sklearn")
    program = [sys.executable, REPOSITORY / "examples" / "digits.py", "Adam"]
    out = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    found = {name: float(x) for name, x in re.findall(r"^(\S.*?)  +loss .*accuracy (\S+)%", out, re.M)}
    assert found["64-64-10 network"] >= 97 and found["softmax regression"] > 90
