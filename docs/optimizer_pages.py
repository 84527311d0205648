"""Pages of the optimizers, written from their classes: formulas, arguments, conventions, references, and a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import formulas
import numpy as np
from matplotlib.figure import Figure
from numpydoc.docscrape import NumpyDocString

import fastopt as fo
from fastopt import spec

STEPS = 200
RATES = np.geomspace(1e-4, 10, 26)
INTRODUCTION = """# Optimizers

A page for each class, written from its code: the formula that is compiled, arguments and usual values, the formulas of other
packages, references, and its path. [Choosing](../choosing.md) says which to try first; [options](../optimizers.md) are those that
all of them have.

:::{toctree}
:maxdepth: 1

NAMES
:::
"""


def valley(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a narrow quadratic valley and its gradient."""
    return float(0.5 * (x[0] ** 2 + 25 * x[1] ** 2)), np.array([x[0], 25 * x[1]])


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return Rosenbrock's function, whose valley is bent, and its gradient."""
    bend = x[1] - x[0] ** 2
    return float((1 - x[0]) ** 2 + 10 * bend**2), np.array([-2 * (1 - x[0]) - 40 * x[0] * bend, 20 * bend])


SURFACES = {  # Function, start, minimum, limits of both axes.
    "a narrow valley": (valley, (-4.0, 1.0), (0.0, 0.0), (-5.0, 2.0), (-1.5, 1.5)),
    "Rosenbrock's valley": (rosenbrock, (-1.2, 1.0), (1.0, 1.0), (-2.0, 2.0), (-1.0, 3.0)),
}


def path_of(cls: Any, fun: Any, start: tuple[float, float], lr: float) -> np.ndarray:
    """Return the points of a run, until it leaves what is drawn."""
    p = np.array(start)
    optimizer, points = cls(p, lr=lr), [p.copy()]
    for _ in range(STEPS):
        optimizer.step(fun(p)[1])
        if not np.abs(p).max() < 20:
            break
        points.append(p.copy())
    return np.array(points)


def best_path(cls: Any, surface: tuple[Any, ...]) -> tuple[float, np.ndarray]:
    """Return the learning rate whose last point is lowest, and its path."""
    fun, start = surface[:2]
    paths = {lr: path_of(cls, fun, start, float(lr)) for lr in RATES}
    whole = {lr: path for lr, path in paths.items() if len(path) == STEPS + 1}
    lr = min(whole, key=lambda lr: fun(whole[lr][-1])[0])
    return float(lr), whole[lr]


def draw(cls: Any, file: Path) -> None:
    """Draw the best paths of an optimizer over both surfaces."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, surface) in zip(figure.subplots(1, 2), SURFACES.items(), strict=True):
        fun, _, minimum, across, up = surface
        x, y = np.meshgrid(np.linspace(*across, 200), np.linspace(*up, 200))
        heights = [[fun(np.array(point))[0] for point in zip(*row, strict=True)] for row in zip(x, y, strict=True)]
        axes.contour(x, y, heights, np.geomspace(0.05, 500, 14), colors="0.75", linewidths=0.7)
        lr, path = best_path(cls, surface)
        axes.plot(*path.T, ".-", color="#0072b2", markersize=3, linewidth=1)
        axes.plot(*minimum, "*", color="#d55e00", markersize=10)
        axes.set(title=f"{name}, lr={lr:.2g}", xlim=across, ylim=up)
    figure.savefig(file, dpi=110)


def rules_of(cls: Any) -> list[Any]:
    """Return the rules of the file of a class, in its order."""
    return [rule for rule in spec.RULES.values() if rule.function.__module__ == cls.__module__]


def formula_of(rule: Any) -> str:
    """Return the part of a page about a rule."""
    scalars, doc = rule._scalars, (rule.function.__doc__ or "").splitlines()[0]
    parts = [f"### {rule.name}", doc, "In every step *t* = 1, 2, …:", formulas.table(scalars)]
    for sums, of_sums in ((rule._terms, rule._terms_scalars), (rule._sums, rule._sums_scalars)):
        if sums is not None:
            parts += ["Sums over elements, before that, of:", *(formulas.table(f) for f in (of_sums, sums) if f)]
    return "\n\n".join([*parts, "For every element *p* with gradient *g*:", formulas.table(rule.function)])


def linked(text: str) -> str:
    """Return references with links."""
    text = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    text = re.sub(r"doi:(10\.[^\s;,]+[^\s;,.])", r"[doi:\1](https://doi.org/\1)", text)
    return re.sub(r"(?<![(\w])(https://[^\s;,]+[^\s;,.])", r"<\1>", text)


def markdown(lines: list[str]) -> str:
    """Return lines of a docstring as Markdown."""
    return linked("\n".join(lines)).replace("``", "`")


def arguments_of(cls: Any, doc: Any) -> str:
    """Return the table of a class's arguments."""
    said = {name: " ".join(x.strip() for x in found.desc) for found in doc["Parameters"] for name in found.name.split(", ")}
    rows = [f"| `{name}` | `{x!r}` | {markdown([said.get(name, '')])} |" for name, x in cls.arguments.items()]
    return "\n".join(["| argument | default | |", "|---|---|---|", *rows])


def conventions_of(cls: Any) -> str:
    """Return the table of formulas and defaults of other packages."""
    if not cls.conventions:
        return ""
    rows = [
        f"| `{name}` | {', '.join(f'`{k}={x!r}`' for k, x in found.items()) or 'the same'} |"
        for name, found in cls.conventions.items()
    ]
    said = f'`{cls.__name__}(params, convention="{next(iter(cls.conventions))}")` takes what differs there.'
    return "\n".join(["## Conventions of other packages", "", said, "", "| package | |", "|---|---|", *rows])


def page(name: str) -> str:
    """Return the page of an optimizer."""
    cls = getattr(fo, name)
    doc = NumpyDocString(cls.__doc__)
    parts = [f"# {name}", " ".join(doc["Summary"]).replace("``", "`"), markdown(doc["Notes"])]
    parts += [f"![Paths of {name}: {STEPS} steps over two surfaces, with their minimum]({name}.png)"]
    parts += [
        f"{STEPS} steps from the same starts, with that learning rate of {len(RATES)} that ends lowest; a star is the minimum."
    ]
    parts += ["## Arguments", arguments_of(cls, doc), "Further [options](../optimizers.md) are those of every optimizer."]
    parts += ["## Formula", "As the code has it, from which everything is compiled.", *map(formula_of, rules_of(cls))]
    parts += [conventions_of(cls), "## References", markdown(doc["References"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(folder: Path) -> None:
    """Write all pages and their pictures."""
    folder.mkdir(exist_ok=True)
    (folder / "index.md").write_text(INTRODUCTION.replace("NAMES", "\n".join(fo.optimizers.__all__)))
    for name in fo.optimizers.__all__:
        text, file = page(name), folder / f"{name}.md"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        if not (picture := folder / f"{name}.png").exists():
            draw(getattr(fo, name), picture)
