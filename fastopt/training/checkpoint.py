"""Checkpoints: when and where a loop writes its restart files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..domains import is_real, whole

PLACE = re.compile(r"\{\w*\}")


@dataclass
class Checkpoint:
    """Restart files of a loop: how often they are written, and how many are kept.

    Parameters
    ----------
    path : path
        The file; with ``{}`` or ``{epoch}`` in its name, in place of which a number is written, one file for each checkpoint: that
        of iterations of `fastopt.minimize`, or of the last epoch of `fit`, counted from 1.
    every : int, optional
        Iterations, or epochs of `fit`, from one file to the next; 1 if `seconds` is not given.
    seconds : float, optional
        Seconds from one file to the next; then `fit` writes within epochs too. With `every` whichever comes first.
    keep : int, default 1
        Number of files that are kept, the newest ones; more than one needs ``{}`` in the path.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """

    path: str | os.PathLike[str]
    every: int | None = None
    seconds: float | None = None
    keep: int = 1
    _last: int = field(default=0, init=False, repr=False, compare=False)
    _time: float = field(default=0.0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name = os.path.basename(os.fsdecode(self.path))
        for what, x in (("every", 1 if self.every is None else self.every), ("keep", self.keep)):
            if (number := whole(x)) is None or number < 1:
                raise ValueError(f"{what}: {x!r}, expected a whole number of at least 1")
        if self.seconds is not None and not (is_real(self.seconds) and self.seconds >= 0):
            raise ValueError(f"seconds: {self.seconds!r}, expected a number of at least 0")
        if len(PLACE.findall(name)) > 1 or (self.keep > 1 and not PLACE.search(name)):
            raise ValueError(f"path: {name!r} with keep={self.keep}, expected one {{}} in the name, for the number of iterations")
        self._time = time.perf_counter()

    @classmethod
    def of(cls, given: Any, seconds: float | None = None) -> Checkpoint | None:
        """Return the checkpoint that an argument says, a path or a checkpoint; None for None."""
        if given is None or isinstance(given, Checkpoint):
            return given
        if not isinstance(given, (str, os.PathLike)):
            raise TypeError(f"checkpoint: {given!r:.60}, expected a path or a Checkpoint")
        return cls(given, seconds=seconds)

    def files(self) -> list[Path]:
        """Return the files that are there, the newest last."""
        path = Path(os.fsdecode(self.path))
        before, _, after = PLACE.sub("\0", path.name).partition("\0")
        if before == path.name:
            return [path] if path.exists() else []
        pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        found = [(int(match[1]), other) for other in path.parent.glob("*") if (match := pattern.fullmatch(other.name))]
        return [other for _, other in sorted(found)]

    def newest(self) -> Path:
        """Return the newest file."""
        return self.files()[-1]

    def begin(self, resume: bool) -> bool:
        """Begin a run; return True if it goes on from a file, raise if there is one that it must not replace."""
        if not Path(os.fsdecode(self.path)).resolve().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: {self.path}, expected a path in a folder that exists")
        found = self.files()
        if found and not resume:
            raise FileExistsError(f"checkpoint: {found[-1]} is there, expected resume=True to go on, or another path to begin anew")
        self._last, self._time = 0, time.perf_counter()
        return bool(found)

    def go_on(self, count: int) -> None:
        """Count on from a run that was loaded after so many iterations."""
        self._last = count

    def pause(self) -> float:
        """Return the seconds until the next file can be due."""
        if self.seconds is None or self.every is not None:
            return 0.0
        return max(0.0, self._time + self.seconds - time.perf_counter())

    def is_due(self, count: int | None = None) -> bool:
        """Return True if a file is due: after so many iterations, or without them by the time alone."""
        if self.seconds is not None and time.perf_counter() - self._time >= self.seconds:
            return True
        every = self.every or (1 if self.seconds is None else None)
        return count is not None and every is not None and count - self._last >= every

    def write(self, save: Callable[[Path], object], count: int) -> None:
        """Write a file by ``save(path)``, and remove those that are too many."""
        path = Path(os.fsdecode(self.path))
        save(path.with_name(PLACE.sub(str(count), path.name)))
        self._last, self._time = count, time.perf_counter()
        for old in self.files()[: -self.keep]:
            old.unlink(missing_ok=True)


def is_function(x: Any) -> bool:
    """Return True for a saved hyperparameter that is, or holds, a function."""
    return x == {"schedule": "callable"} or (isinstance(x, list) and any(map(is_function, x)))


def check_settings(path: str, saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise if settings differ from those of the run that was saved."""
    differing = [name for name, mine in here.items() if name not in saved or not equal(saved[name], mine)]
    if differing:
        found = "; ".join(f"{name}: saved {saved.get(name)!r:.60}, here {here[name]!r:.60}" for name in differing)
        raise ValueError(f"{path}: {found}; expected the same, or another file")


def equal(a: Any, b: Any) -> bool:
    """Return True for equal numbers, strings or arrays."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(np.all(a == b))
