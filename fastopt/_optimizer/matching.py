"""Matches of saved parameters with those of an optimizer, and reports of what was loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..domains import check_bool
from .by_name import select
from .names import expected

FOR_MISSING = ("raise", "keep", "reset")
FOR_UNEXPECTED = ("raise", "ignore")


@dataclass(frozen=True)
class Choices:
    """Arguments of `Optimizer.load` that say what fits, checked."""

    only: Any = None
    rename: Mapping[str, str] | Callable[[str], str] | None = None
    missing: str = "raise"
    unexpected: str = "raise"
    cast: bool = False

    def __post_init__(self) -> None:
        for name, x, known in (("missing", self.missing, FOR_MISSING), ("unexpected", self.unexpected, FOR_UNEXPECTED)):
            if not isinstance(x, str) or x not in known:
                raise ValueError(f"{name}: {x!r:.60}, expected one of {', '.join(map(repr, known))}")
        if not (self.rename is None or callable(self.rename) or isinstance(self.rename, Mapping)):
            raise TypeError(
                f"rename: {self.rename!r:.60}, expected a dict of names here by saved names, or a function of a saved name"
            )
        check_bool("cast", self.cast)


@dataclass(frozen=True)
class LoadReport:
    """Report of a load, by names of parameters.

    Attributes
    ----------
    taken : dict of str
        Saved names of the parameters whose state, and value if it was a file, were loaded.
    kept : list of str
        Parameters that stay as they were: not selected by ``only``, or not saved.
    reset : list of str
        Parameters that were not saved, whose state began anew.
    ignored : list of str
        Saved parameters, and entries of a parameter's state such as ``"w/averaged"``, that were not loaded.
    begun : list of str
        Entries of a taken parameter's state that were not saved: they were kept, or began anew.
    cast : list of str
        Parameters and entries that had another dtype.
    """

    taken: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    cast: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts and lists of names, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [("here", "saved", ""), *((name, saved, "taken") for name, saved in self.taken.items())]
        for said, names in (("kept", self.kept), ("reset", self.reset), ("not saved", self.begun), ("cast", self.cast)):
            rows += [(name, "", said) for name in names]
        rows += [("", name, "ignored") for name in self.ignored]
        widths = [max(len(row[k]) for row in rows) for k in range(2)]
        return "\n".join(f"{here:{widths[0]}}  {saved:{widths[1]}}  {said}".rstrip() for here, saved, said in rows)


def match(names: Sequence[str], saved: Sequence[str], choices: Choices) -> LoadReport:
    """Return which saved parameters are for which of these, or raise for those that the choices do not allow."""
    source = sources_of(saved, choices.rename)
    wanted = set(names if choices.only is None else select("only", choices.only, names))
    taken = {name: source[name] for name in names if name in wanted and name in source}
    missing = [name for name in names if name in wanted and name not in source]
    unexpected = [name for name in source if name not in set(names)]
    check_complete(missing, unexpected, choices)
    left = [name for name in names if name not in wanted]
    kept, reset = (left, missing) if choices.missing == "reset" else (left + missing, [])
    return LoadReport(taken, kept, reset, sorted({*saved} - {*taken.values()}, key=list(saved).index))


def check_complete(missing: list[str], unexpected: list[str], choices: Choices) -> None:
    """Raise for parameters that were not saved, and saved ones that are not here, unless the choices allow them."""
    absent, extra = missing * (choices.missing == "raise"), unexpected * (choices.unexpected == "raise")
    if absent or extra:
        said = ["missing='keep' or 'reset'"] * bool(absent) + ["unexpected='ignore'"] * bool(extra) + ["rename"]
        raise ValueError(f"state: missing {sorted(absent)}, unexpected {sorted(extra)}; see load's {', '.join(said)}")


def sources_of(saved: Sequence[str], rename: Any) -> dict[str, str]:
    """Return the saved names by what they are called here."""
    if isinstance(rename, Mapping):
        if unknown := [name for name in rename if name not in saved]:
            raise ValueError(f"rename: nothing was saved as {unknown[0]!r}, {expected(unknown[0], saved)}")
        renamed = [rename.get(name, name) for name in saved]
    else:
        renamed = [rename(name) if rename is not None else name for name in saved]
    found: dict[str, str] = {}
    for old, new in zip(saved, renamed, strict=True):
        if not isinstance(new, str):
            raise TypeError(f"rename: {new!r:.60} for {old!r}, expected a name")
        if new in found:
            raise ValueError(f"rename: {found[new]!r} and {old!r} would both be {new!r}, expected one")
        found[new] = old
    return found
