"""State of a torch optimizer over the engine: torch's mapping of mappings, whose writes go to the engine's arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .entry import Entry, Written
from .parameter import TorchParameter, begins_anew

if TYPE_CHECKING:
    from .base import Optimizer


def copied_entry(entry: Any) -> Any:
    """Return a copy of an entry, which may become the state of a parameter that has no memory yet."""
    if not isinstance(entry, Mapping):
        return entry
    return {name: x.clone() if isinstance(x, torch.Tensor) else x for name, x in entry.items()}


class State(Written):
    """State of all parameters that have some, and entries under other keys; reading a missing entry makes an empty one."""

    def __init__(self, owner: Optimizer) -> None:
        super().__init__()
        self.owner = owner
        self.attach_engine()

    def attach_engine(self) -> None:
        """Find the arrays of a new engine."""
        parameters = self.owner._fast._parameters
        self.places = {p: k for k, p in enumerate(self.owner.tensors)}
        for p, entry in super().items():
            if isinstance(entry, Entry) and p not in self.places:
                entry.detach_copy()
        self.parameters = [TorchParameter(parameter, self.owner.names) for parameter in parameters]
        self.steps, self.counted = np.zeros(len(parameters), np.float32), np.zeros(len(parameters), np.float32)
        width = max([len(parameter.number_names) for parameter in self.parameters], default=0)
        self.numbers, self.known = np.zeros((2, len(parameters), width))
        self.incomplete: set[int] = set()  # Entries that may lack state of the engine.
        self.touched: set[int] = set()  # Entries whose tensors were read since the last step.
        for p, entry in list(super().items()):
            if isinstance(entry, Entry) and entry.state is not None:
                entry.place = self.places[p]
                if entry:
                    entry.fill()
                else:
                    self.incomplete.add(entry.place)
            # It was assigned before the parameter was added.
            elif p in self.places and isinstance(entry, Mapping):
                self.adopt(p, entry)

    def adopt(self, p: Any, given: Mapping[Any, Any]) -> None:
        """Make an entry under another key the state of a parameter."""
        super().__delitem__(p)
        try:
            self.replace(p, given)
        except BaseException:
            super().__setitem__(p, given)
            raise

    def detach_all(self, copied: bool) -> None:
        """Become a plain dict of the present state: copied, unless nobody will write to its memory."""
        if copied:
            self.refresh()
        for entry in self.live():
            if copied:
                entry.detach_copy()
            else:
                entry.state = None
        self.places = {}

    def put_others(self, entries: Mapping[Any, Any]) -> None:
        """Put the entries of a checkpoint that are not state of the engine."""
        for key, entry in entries.items():
            if key not in self.places:
                self[key] = copied_entry(entry)
            elif entry:
                known = self.parameters[self.places[key]].known_keys()
                self[key].update({name: x for name, x in entry.items() if name not in known})

    def live(self) -> list[Entry]:
        """Return the entries that the engine has state for, or will have."""
        return [entry for entry in super().values() if isinstance(entry, Entry) and entry.state is not None]

    def renew(self, places: list[int], counters: list[tuple[int, list[float], bool]]) -> None:
        """Show step counts and carried numbers as the engine counts them."""
        self.steps[places] = self.counted[places] = [t for t, _, _ in counters]
        width = self.numbers.shape[1]
        if places and width:
            rows = [self.parameters[place].row(width, *counter) for place, counter in zip(places, counters, strict=True)]
            self.numbers[places] = self.known[places] = rows

    def entry(self, p: Any) -> Entry | None:
        """Return the entry of a parameter, if it has state or was asked for."""
        found, place, fast = super().get(p), self.places[p], self.owner._fast
        self.touched.add(place)
        if fast._settings.mode == "exact":
            fast._catch_up_unless_at_work()
        t, _, pending = counter = fast._backend.counter(place)
        if (found is None or place in self.incomplete) and (t or pending) and self.parameters[place].shown_names():
            self.incomplete.discard(place)
            if found is None:
                found = Entry(state=self, place=place)
                super().__setitem__(p, found)
            found.fill()
        elif found is not None and self.steps[place] == self.counted[place] != np.float32(t):
            self.renew([place], [counter])
        return found

    def refresh(self) -> None:
        """Find the entries of all parameters that have state."""
        for p in self.places:
            self.entry(p)

    def stepped(self, grads: list[Any]) -> None:
        """Show a completed step."""
        if not super().__len__():
            return
        moved = [g is not None for g in grads]
        counted = self.owner._fast._settings.accumulate == 1 and self.owner._fast._settings.nonfinite in (
            "propagate",
            "zero",
            "raise",
        )
        if counted:
            np.copyto(self.steps, np.add(self.counted, 1, out=self.counted, where=np.array(moved) if False in moved else True))
        if counted and not self.incomplete and not self.numbers.size:
            return
        live = [entry.place for entry in self.live()]
        for place in self.incomplete.intersection(live):
            self.entry(self.owner.tensors[place])
        each, _ = self.owner._fast._counters()
        self.renew(live, [each[place] for place in live])

    def pull(self) -> None:
        """Write step counts and carried numbers that users have changed in place to the engine."""
        if not super().__len__():
            return
        changed = (self.steps != self.counted) | (self.numbers != self.known).any(1)
        wanted = self.touched.union(np.flatnonzero(changed).tolist())
        for entry in self.live() if wanted else ():
            if entry.place in wanted:
                entry.pull()
        self.touched.clear()

    def replace(self, p: Any, entry: Any) -> None:
        """Replace a parameter's entry by another one."""
        old = self.entry(p)
        if entry is old and old is not None:
            return
        self.check_mapping(p, entry)
        new = Entry(state=self, place=self.places[p])
        given = {name: x for name, x in entry.items() if not (begins_anew(name, x) and name in new.engine_names())}
        # Check everything before anything is given up.
        new.checked(given)
        if old is not None:
            old.pull()
            new.fill()
            old.detach_copy()
        new.delete_entries({name for name in new if name not in given})
        super().__setitem__(p, new)
        self.incomplete.discard(new.place)
        new.write(given)
        new.take_back(entry, given, {} if old is None else dict(old))
        if not given:
            self.incomplete.add(new.place)

    def check(self, entries: Mapping[Any, Any]) -> None:
        """Raise if one of these cannot be the state of its parameter."""
        for p, entry in entries.items():
            if p in self.places:
                self.check_mapping(p, entry)
                Entry(state=self, place=self.places[p]).checked(dict(entry))

    def check_mapping(self, p: Any, entry: Any) -> None:
        if not isinstance(entry, Mapping):
            raise TypeError(f"state of {self.parameters[self.places[p]].parameter.name!r}: {type(entry).__name__}, expected a dict")

    def __missing__(self, key: Any) -> Any:
        made = Entry(state=self, place=self.places[key]) if key in self.places else {}
        if key in self.places:
            self.incomplete.add(self.places[key])
        super().__setitem__(key, made)
        return made

    def __getitem__(self, key: Any) -> Any:
        if key in self.places:
            self.entry(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        if key in self.places:
            self.entry(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        return (key in self.places and self.entry(key) is not None) or super().__contains__(key)

    def __iter__(self) -> Iterator[Any]:
        self.refresh()
        return super().__iter__()

    def __len__(self) -> int:
        self.refresh()
        return super().__len__()

    def __repr__(self) -> str:
        self.refresh()
        return super().__repr__()

    def __eq__(self, other: object) -> bool:
        self.refresh()
        return super().__eq__(other)

    def keys(self) -> Any:
        self.refresh()
        return super().keys()

    def values(self) -> Any:
        self.refresh()
        return super().values()

    def items(self) -> Any:
        self.refresh()
        return super().items()

    def copy(self) -> Any:
        return dict(self.items())

    def __setitem__(self, key: Any, x: Any) -> None:
        if key in self.places:
            self.replace(key, x)
        else:
            super().__setitem__(key, x)

    def update(self, *given: Any, **named: Any) -> None:
        for key, x in dict(*given, **named).items():
            self[key] = x

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        self.pop(key)

    def pop(self, key: Any, *default: Any) -> Any:
        if key not in self:
            return super().pop(key, *default)
        entry = super().__getitem__(key)
        if isinstance(entry, Entry):
            if entry.state is not None:
                entry.pull()
                emptied = Entry(state=self, place=entry.place)
                emptied.fill()
                entry.detach_copy()
                emptied.clear()
                self.incomplete.discard(entry.place)
            super().__delitem__(key)
            return entry
        return super().pop(key)

    def clear(self) -> None:
        self.refresh()
        for key in list(super().keys()):
            self.pop(key)

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)
