"""Files of rules and stages: whether the kernels were compiled from the text that they have now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def changed(compiled: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the files whose arithmetic is not what was compiled; words and declarations of classes may differ.

    Parameters
    ----------
    compiled : mapping of str
        Digests of each file and of its arithmetic, which `_codegen.package.sources` gives.
    """
    new = [name for name in names() if name not in compiled]
    other = [name for name, (digest, _) in compiled.items() if digest_of(name) not in ("", digest)]
    return [name for name in (*other, *new) if arithmetic_of(name) != compiled.get(name, ("", ""))[1]]


def names() -> list[str]:
    """Return the files of rules, stages and losses, as paths below the package; none if it was installed without."""
    try:
        found = [f"optimizers/{name}" for name in sorted(os.listdir(os.path.join(PACKAGE, "optimizers")))]
    except OSError:
        return []
    return [name for name in (*found, "stages.py", "losses.py") if name.endswith(".py") and "/." not in name]


def digest_of(name: str) -> str:
    """Return the digest of a file, or "" if there is none."""
    try:
        with open(os.path.join(PACKAGE, name), "rb") as opened:
            return hashlib.sha256(opened.read()).hexdigest()
    except OSError:
        return ""


def arithmetic_of(name: str) -> str:
    """Return the digest of the arithmetic in a file: "" if it has none that can be read, "?" if the code generator refuses it."""
    from .._codegen import package

    try:
        return package.arithmetic(package.PACKAGE / name)
    except (SyntaxError, ValueError):
        return "?"
    except OSError:
        return ""
