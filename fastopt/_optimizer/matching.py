"""Matches of saved parameters with those of an optimizer, and reports of what was loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..domains import check_bool
from .by_name import check_keys, flat, is_pattern, keys_of, select
from .names import expected

FOR_MISSING = ("raise", "keep", "reset")
FOR_UNEXPECTED = ("raise", "ignore")


@dataclass(frozen=True)
class Choices:
    """Arguments of `Optimizer.load` that say what fits, checked."""

    only: Any = None
    rename: Mapping[str, str] | Callable[[str], str] | None = None
    missing: Any = "raise"
    unexpected: Any = "raise"
    cast: bool = False

    def __post_init__(self) -> None:
        check_words("missing", flat(self.missing).values() if isinstance(self.missing, Mapping) else [self.missing], FOR_MISSING)
        check_words("unexpected", [] if isinstance(self.unexpected, (list, tuple)) else [self.unexpected], FOR_UNEXPECTED)
        if not (self.rename is None or callable(self.rename) or isinstance(self.rename, Mapping)):
            raise TypeError(f"rename: {self.rename!r:.60}, expected a dict of names by saved names, or a function of a saved name")
        check_bool("cast", self.cast)

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Return the parameters that are to be loaded."""
        return list(names) if self.only is None else select("only", self.only, names)

    def for_missing(self, names: Sequence[str]) -> dict[str, str]:
        """Return what each parameter does if it was not saved."""
        if not isinstance(self.missing, Mapping):
            return dict.fromkeys(names, self.missing)
        given = flat(self.missing)
        check_keys("missing", given, [(names, None)])
        return {**dict.fromkeys(names, "raise"), **{name: given[key] for name, key in keys_of(given, names).items()}}

    def refused(self, source: Mapping[str, str], names: Sequence[str], extra: set[str]) -> list[str]:
        """Return what is saved under names that are not here, and may not be; with `only`, nobody asks for it."""
        here = set(names)
        return [name for name, old in source.items() if name not in here and old not in extra and self.only is None]

    def ignored(self, saved: Sequence[str]) -> set[str]:
        """Return the saved names that may be without a parameter here."""
        if isinstance(self.unexpected, str):
            return set(saved if self.unexpected == "ignore" else ())
        return set(select("unexpected", self.unexpected, saved))


def check_words(name: str, given: Iterable[Any], known: Sequence[str]) -> None:
    """Raise for what is none of these words."""
    for x in given:
        if not isinstance(x, str) or x not in known:
            raise ValueError(f"{name}: {x!r:.60}, expected one of {', '.join(map(repr, known))}, also by names or patterns")


@dataclass
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
        Saved parameters that were not loaded, and entries of the state of one that was, such as ``"w/averaged"``.
    not_saved : list of str
        Entries of a taken parameter's state that were not saved: they were kept, or began anew.
    cast : dict of str
        Dtypes, then and now, of parameters and entries that were converted.
    hyperparameters : dict of str
        Those that differed, such as ``"lr of group 0"``: "kept" or "restored".
    steps : int
        The optimizer's count of steps afterwards.
    """

    taken: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    not_saved: list[str] = field(default_factory=list)
    cast: dict[str, str] = field(default_factory=dict)
    hyperparameters: dict[str, str] = field(default_factory=dict)
    steps: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists and numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [("here", "saved", ""), *((name, saved, "; ".join(self._of(name))) for name, saved in self.taken.items())]
        rows += [(name, "", said) for said, names in (("kept", self.kept), ("reset", self.reset)) for name in names]
        rows += [("", name, "ignored") for name in self.ignored if name.rpartition("/")[0] not in self.taken]
        widths = [max(len(row[k]) for row in rows) for k in range(2)]
        lines = [f"{here:{widths[0]}}  {saved:{widths[1]}}  {said}".rstrip() for here, saved, said in rows]
        return "\n".join([*lines, *(f"{name}: {said}" for name, said in self.hyperparameters.items()), f"steps: {self.steps}"])

    def _of(self, name: str) -> Iterator[str]:
        """Yield what happened to a taken parameter."""
        yield f"taken, {self.cast[name]}" if name in self.cast else "taken"
        entries: dict[str, list[str]] = {}
        said = [*self.cast.items(), *((x, "not saved") for x in self.not_saved), *((x, "ignored") for x in self.ignored)]
        for entry, what in said:
            if entry.rpartition("/")[0] == name and entry not in self.taken:
                entries.setdefault(what, []).append(entry.rpartition("/")[2])
        yield from (f"{', '.join(keys)}: {what}" for what, keys in entries.items())


def match(names: Sequence[str], saved: Sequence[str], choices: Choices, fits: Callable[[str, str], bool]) -> LoadReport:
    """Return which saved parameters are for which of these, or raise for those that the choices do not allow.

    `fits` says whether the saved one has the shape of the one here; if not, both are without the other where the choices allow it.
    """
    source = sources_of(saved, choices.rename, dict.fromkeys(names))
    wanted = choices.wanted(names)
    missing, extra = choices.for_missing(names), choices.ignored(saved)
    both = {name: source[name] for name in wanted if name in source}
    optional = {name for name, old in both.items() if missing[name] != "raise" and old in extra}
    taken = {name: old for name, old in both.items() if name not in optional or fits(name, old)}
    return completed(
        LoadReport(taken), names, saved, [x for x in wanted if x not in taken], missing, choices.refused(source, names, extra)
    )


def completed(
    report: LoadReport,
    names: Sequence[str],
    saved: Sequence[str],
    absent: list[str],
    missing: Mapping[str, str],
    refused: list[str],
) -> LoadReport:
    """Return the report with what happens to all parameters that are not loaded, or raise if that is not allowed."""
    check_complete([x for x in absent if missing[x] == "raise"], refused)
    if not report.taken and names:
        raise ValueError(f"state: no name here, {some(names)}, is among the saved ones, {some(saved)}; see load's rename")
    report.reset, loaded = [name for name in absent if missing[name] == "reset"], set(report.taken.values())
    begun = {*report.taken, *report.reset}
    report.kept, report.ignored = [x for x in names if x not in begun], [x for x in saved if x not in loaded]
    return report


def check_complete(absent: list[str], unexpected: list[str]) -> None:
    """Raise for parameters that were not saved, and for saved ones that are not here."""
    if absent or unexpected:
        said = [f"missing {sorted(absent)}"] * bool(absent) + [f"unexpected {sorted(unexpected)}"] * bool(unexpected)
        ways = ["missing='keep' or 'reset'"] * bool(absent) + ["unexpected='ignore'"] * bool(unexpected) + ["rename"]
        raise ValueError(f"state: {', '.join(said)}; see load's {', '.join(ways)}")


def some(names: Sequence[str]) -> str:
    """Return the first of some names."""
    return ", ".join(map(repr, names[:3])) + ", ..." * (len(names) > 3)


def sources_of(saved: Sequence[str], rename: Any, here: Mapping[str, Any]) -> dict[str, str]:
    """Return the saved names by what they are called here."""
    if isinstance(rename, Mapping):
        check_rename(rename, dict.fromkeys(saved), here)
    renamed = [rename.get(name, name) if isinstance(rename, Mapping) else rename(name) if rename else name for name in saved]
    found: dict[str, str] = {}
    for old, new in zip(saved, renamed, strict=True):
        if not isinstance(new, str):
            raise TypeError(f"rename: {new!r:.60} for {old!r}, expected a name")
        if new in found:
            raise ValueError(f"rename: {found[new]!r} and {old!r} would both be {new!r}, expected one")
        found[new] = old
    return found


def check_rename(rename: Mapping[Any, Any], saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise for a saved name that is none, and for a new name that no parameter has."""
    for old, new in rename.items():
        if old not in saved:
            hint = "expected whole names, or a function such as lambda name: name.replace('enc/', 'encoder/')"
            raise ValueError(f"rename: nothing was saved as {old!r}, {hint if is_pattern(str(old)) else expected(old, saved)}")
        if isinstance(new, str) and new not in here:
            raise ValueError(f"rename: no parameter has the name {new!r}, {expected(new, here)}")
