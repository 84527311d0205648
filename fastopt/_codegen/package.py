"""Rules and stages of the package, the files rendered from them, and the headers that those include."""

import ast
import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import cuda, cython, functional, losses, stubs, tables
from .ir import RuleIR, read

PACKAGE = Path(__file__).parents[1]


def optimizers() -> list[Path]:
    """Return the optimizers' files, in their order."""
    return sorted(path for path in (PACKAGE / "optimizers").glob("*.py") if not path.name.startswith("."))


@functools.cache
def formulas() -> tuple[tuple[RuleIR, ...], tuple[RuleIR, ...]]:
    """Return the package's rules, and its stages in their order."""
    rules = [rule for path in optimizers() for rule in read(path)]
    return tuple(rules), tuple(read(PACKAGE / "stages.py"))


def rendered() -> dict[Path, str]:
    """Return the path and text of every generated file."""
    rules, stages = formulas()
    options = PACKAGE / "_optimizer" / "options.py"
    pages = [x for x in (PACKAGE.parent / "README.md", PACKAGE.parent / "docs" / "optimizers.md") if x.exists()]
    return {
        PACKAGE / "_engine" / "generated" / "kernels.pyx": cython.render(rules, stages) + cython.record(sources()),
        PACKAGE / "linear" / "generated" / "losses.pxd": losses.render(losses.read(PACKAGE / "losses.py")),
        PACKAGE / "cuda" / "generated" / "kernels.cu": cuda.render(rules, stages),
        PACKAGE / "functional.py": functional.render(rules),
        PACKAGE / "optimizers" / "__init__.pyi": stubs.render(optimizers(), options),
        **{page: tables.render(page, optimizers(), options) for page in pages},
    }


def sources() -> dict[str, tuple[str, str]]:
    """Return the digests of each file of rules and stages, and of the arithmetic in it, by its path in the package."""
    files = [*optimizers(), PACKAGE / "stages.py", PACKAGE / "losses.py"]
    return {x.relative_to(PACKAGE).as_posix(): (digest(x.read_bytes()), arithmetic(x)) for x in files}


def digest(data: bytes) -> str:
    """Return the SHA-256 of data in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def arithmetic(path: Path) -> str:
    """Return the digest of what the formulas in a file compute, or "" if it has none."""
    found = "\n".join(map(meaning, losses.read(path) if path.name == "losses.py" else read(path)))
    return found and digest(found.encode())


def meaning(x: Any) -> str:
    """Return what a part of a formula computes, as text, without its description and its place in the file."""
    if isinstance(x, ast.AST):
        return ast.unparse(x)
    if isinstance(x, tuple):
        return f"({', '.join(map(meaning, x))})"
    if dataclasses.is_dataclass(x):
        return meaning(tuple(getattr(x, part.name) for part in dataclasses.fields(x) if part.name != "doc"))
    return repr(x)


def inline_headers(text: str) -> str:
    """Return a text with the package's headers in place of their first inclusion."""
    done: set[str] = set()

    def header(found: re.Match[str]) -> str:
        name = found[1]
        if name in done:
            return ""
        done.add(name)
        return paste(next(place / name for place in (PACKAGE / "cuda", PACKAGE / "include") if (place / name).exists()).read_text())

    def paste(part: str) -> str:
        return re.sub(r'^#include "(.*)"\n', header, part, flags=re.MULTILINE)

    return paste(text)


def select_rules(rules: Any, of: Iterable[RuleIR]) -> list[Any]:
    """Return rules as the code generator reads them: by name, or users' own; None selects all."""
    known: dict[str, Any] = {rule.name: rule for rule in of}
    wanted = [*known] if rules is None else list(rules) if isinstance(rules, (list, tuple)) else [rules]
    found = [_chosen(x, known) for x in wanted]
    if len({rule.name for rule in found}) < len(found):
        raise ValueError(f"rules: {[rule.name for rule in found]}, expected each name once")
    return found


def _chosen(rule: Any, known: Mapping[str, Any]) -> Any:
    """Return one rule as the code generator reads it."""
    if isinstance(rule, str):
        if rule not in known:
            raise ValueError(f"rules: {[rule]}, expected among {', '.join(known)}")
        return known[rule]
    if not hasattr(rule, "text"):
        raise TypeError(f"rules: {[rule]}, expected names and what fastopt.rule makes")
    return rule.text
