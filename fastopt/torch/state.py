"""State of a torch optimizer over the engine: torch's mapping of mappings, whose writes go to the engine's arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._arrays.changes import commit
from .._engine.stepper import Counter
from .parameter import TorchParameter, begins_anew

if TYPE_CHECKING:
    from . import Optimizer


class Written(dict[Any, Any]):
    """A dict that writes through its own ``update``, ``[]`` and ``pop`` only."""

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[Any, Any]:
        if not len(self):
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)


class Entry(Written):
    """State of one parameter: live tensors by torch's names, and any other keys of its users.

    An assigned tensor is copied into the engine's array; a deleted one begins anew. The step count is the engine's. A tensor that
    was read from here (not a view of it) shows each step until another is assigned in its place; then it keeps its numbers, as
    torch's tensors do.
    """

    def __init__(self, state: State | None, place: int) -> None:
        super().__init__()
        self.state, self.place = state, place

    def stored(self, name: str) -> Any:
        """Return an entry for internal use. If users read one, they may give its tensor other memory, which is then looked for."""
        return super().__getitem__(name)

    def __getitem__(self, name: Any) -> Any:
        if self.state is not None:
            self.state.touched.add(self.place)
        return super().__getitem__(name)

    def get(self, name: Any, default: Any = None) -> Any:
        if self.state is not None:
            self.state.touched.add(self.place)
        return super().get(name, default)

    def values(self) -> Any:
        return {name: self[name] for name in self}.values()

    def items(self) -> Any:
        return {name: self[name] for name in self}.items()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return tensors over the engine's arrays, made anew."""
        assert self.state is not None
        parameter = self.state.parameters[self.place]
        with torch.inference_mode(False):
            numbers = zip(parameter.number_names, torch.from_numpy(self.state.numbers[self.place]), strict=False)
            arrays = {name: parameter.tensor(name) for name in parameter.arrays}
            return {"step": torch.from_numpy(self.state.steps)[self.place], **dict(numbers), **arrays}

    def fill(self) -> None:
        """Show the engine's arrays; tensors that users have read show them too, even after a new layout."""
        shown = self.tensors()
        for name in shown.keys() & self.keys():
            self.stored(name).data, shown[name] = shown[name], self.stored(name)
        super().update(shown)
        assert self.state is not None
        self.state.renew([self.place], [self.state.owner.fast._backend.counter(self.place)])

    def numbers(self, without: Set[Any] = frozenset()) -> list[float]:
        """Return the numbers that the rule carries, as they are shown here; first values for those that are not."""
        assert self.state is not None
        parameter = self.state.parameters[self.place]
        firsts, now = parameter.parameter.rule.carry.values(), self.state.numbers[self.place].tolist()
        shown = self.keys() - without
        return [x if name in shown else first for name, first, x in zip(parameter.carry, firsts, now, strict=False)]

    def engine_names(self) -> set[str]:
        """Return the names of the engine among these."""
        parameter = self.state.parameters[self.place]  # type: ignore[union-attr]
        return {"step", *parameter.arrays, *parameter.carry}

    def detach(self, names: Set[Any]) -> None:
        """Give tensors that users have read their own copy, before their memory is overwritten."""
        for name, x in self.tensors().items():
            if name in names and name in self:
                self.stored(name).data = self.stored(name).clone()
                super().__setitem__(name, x)

    def checked(self, changed: Mapping[Any, Any]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], tuple[int, list[float], bool]]:
        """Return the writes of entries into arrays, and the new counters; raise if one does not fit."""
        assert self.state is not None
        parameter, (t, _, pending) = self.state.parameters[self.place], self.state.owner.fast._backend.counter(self.place)
        places = {**parameter.widened, **parameter.arrays}
        writes = [w for name in changed if name in places for w in parameter.writes(places[name], changed)]
        # Copies: an entry may share memory with what is overwritten.
        with torch.no_grad():
            writes = [(target, torch.empty_like(target).copy_(x)) for target, x in writes]
        t = parameter.step_of(changed.get("step", int(t or bool(writes))))
        t = t if parameter.has_begun({*self, *changed}) else 0
        numbers = {name: float(x) for name, x in changed.items() if name in parameter.carry}
        return writes, (t, [numbers.get(name, old) for name, old in zip(parameter.carry, self.numbers(), strict=True)], pending)

    def commit(self, writes: Sequence[tuple[torch.Tensor, torch.Tensor]], counted: Counter | None) -> None:
        """Change arrays and counters of the engine, and show the counters."""
        assert self.state is not None
        changes: list[Callable[[], object]] = [partial(target.copy_, x) for target, x in writes]
        changes += self.counting(counted) if counted is not None else []
        self.state.owner.fast._commit(lambda: changes)

    def write(self, changed: Mapping[Any, Any]) -> None:
        """Set entries, all or none."""
        # Another entry has taken its place.
        if self.state is None:
            super().update(changed)
            return
        (self.pull_arrays if "step" in changed else self.pull)()  # An assigned count overrides what users wrote to the tensor.
        names = self.engine_names()
        anew = {name for name, x in changed.items() if begins_anew(name, x) and name in names}
        changed = {name: x for name, x in changed.items() if name not in anew}
        known = names | {name for name in self.state.parameters[self.place].widened if changed.get(name) is not None}
        self.write_engine({name: x for name, x in changed.items() if name in known})
        super().update({name: x for name, x in changed.items() if name not in known})
        self.delete_entries(anew & self.keys())

    def write_engine(self, changed: Mapping[Any, Any]) -> None:
        """Write entries to the engine, all or none, and show them."""
        assert self.state is not None
        changed = {name: x for name, x in changed.items() if not (name in self and x is self.stored(name))}
        writes, counted = self.checked(changed)
        if changed:
            self.detach(changed.keys())
            self.commit(writes, counted)
            self.fill()

    def detach_copy(self) -> None:
        """Keep a copy of the engine's state, which goes on without this entry."""
        if self.state is not None:
            own = dict(self)
            self.detach(self.engine_names())
            self.state = None
            super().update(own)

    def take_back(self, entry: Any, given: Mapping[Any, Any], old: Mapping[Any, Any]) -> None:
        """Show the engine's state by the tensors that did so before, of this entry or of one that was taken out."""
        was_out = isinstance(entry, Entry) and entry.state is None
        for name, shown in self.tensors().items():
            x = given.get(name)
            if name not in self or not isinstance(x, torch.Tensor) or not (was_out or x is old.get(name)):
                continue
            if x.dtype == shown.dtype and x.shape == shown.shape and not x.is_inference():
                x.data = shown
                super().__setitem__(name, x)

    def pull_arrays(self) -> None:
        """Copy tensors whose memory users have replaced, as by ``x.data = y``, and point them to the engine again."""
        assert self.state is not None
        own = self.tensors()
        moved = [name for name in own.keys() & self.keys() if self.stored(name).data_ptr() != own[name].data_ptr()]
        if not moved:
            return
        parameter = self.state.parameters[self.place]
        for name in moved:
            if self.stored(name).is_shared():
                raise ValueError(f"state {name!r} of {parameter.parameter.name!r}: in shared memory, expected the optimizer's own")
        writes, counted = self.checked({name: self.stored(name) for name in moved})
        self.commit(writes, None if parameter.arrays.keys() >= {*moved} else counted)
        for name in moved:
            self.stored(name).data = own[name]

    def pull(self) -> None:
        """Write to the engine what users have changed in place: step count, carried numbers, memory of tensors."""
        assert self.state is not None
        self.pull_arrays()
        fast, place = self.state.owner.fast, self.place
        t, carry, pending = fast._backend.counter(place)
        changed = bool(self) and self.state.steps[place] != self.state.counted[place]
        now = self.state.parameters[place].step_of(float(self.state.steps[place])) if changed else t
        if changed or (self and self.numbers() != carry):
            self.commit([], (now, self.numbers(), pending))

    def delete_entries(self, names: set[Any]) -> None:
        """Delete entries: their arrays begin anew, and after the last one all counters."""
        if self.state is not None and names & self.engine_names() != self.engine_names() & set(self):
            self.pull()
        if self.state is None:
            return commit(self.deleting(names))
        self.detach(names)
        return self.state.owner.fast._commit(self.deleting, names)

    def deleting(self, names: Set[Any]) -> list[Callable[[], object]]:
        """Return the changes that delete entries."""
        removing: list[Callable[[], object]] = [partial(dict.pop, self, name, None) for name in names]
        if self.state is None or not names & self.engine_names():
            return removing
        parameter, left = self.state.parameters[self.place], self.engine_names() & set(self) - names
        t, _, pending = self.state.owner.fast._backend.counter(self.place)
        t = 0 if not left or not parameter.has_begun(left) else t if "step" in left else 1
        resetting = parameter.parameter.resetting({parameter.arrays[name] for name in names if name in parameter.arrays})
        counted = (t, self.numbers(names), pending and bool(left))
        return [*resetting, *removing, *self.counting(counted), partial(self.state.incomplete.add, self.place)]

    def counting(self, counted: Counter) -> list[Callable[[], object]]:
        """Return the changes that set the engine's counters, and show them."""
        assert self.state is not None
        place, fast = self.place, self.state.owner.fast
        return [partial(fast._backend.set_counter, place, counted), partial(self.state.renew, [place], [counted])]

    def __setitem__(self, name: Any, x: Any) -> None:
        self.write({name: x})

    def update(self, *given: Any, **named: Any) -> None:
        self.write(dict(*given, **named))

    def __delitem__(self, name: Any) -> None:
        if name not in self:
            raise KeyError(name)
        self.delete_entries({name})

    def pop(self, name: Any, *default: Any) -> Any:
        if name not in self:
            return super().pop(name, *default)
        x = self.stored(name)
        self.delete_entries({name})
        return x

    def clear(self) -> None:
        self.delete_entries(set(self))

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class State(Written):
    """State of all parameters that have some, and entries under other keys; reading a missing entry makes an empty one."""

    def __init__(self, owner: Optimizer) -> None:
        super().__init__()
        self.owner = owner
        self.attach_engine()

    def attach_engine(self) -> None:
        """Find the arrays of a new engine."""
        parameters = self.owner.fast._parameters
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
                self[key] = entry
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
        found, place, fast = super().get(p), self.places[p], self.owner.fast
        self.touched.add(place)
        if fast._settings.mode == "exact":
            fast._catch_up_unless_at_work()
        t, _, pending = counter = fast._backend.counter(place)
        if (found is None or place in self.incomplete) and (t or pending):
            self.incomplete.discard(place)
            if found is None:
                found = Entry(self, place)
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
        counted = self.owner.fast._settings.accumulate == 1 and self.owner.fast._settings.nonfinite in (
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
        each, _ = self.owner.fast._counters()
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
        new = Entry(self, self.places[p])
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
                Entry(self, self.places[p]).checked(dict(entry))

    def check_mapping(self, p: Any, entry: Any) -> None:
        if not isinstance(entry, Mapping):
            raise TypeError(f"state of {self.parameters[self.places[p]].parameter.name!r}: {type(entry).__name__}, expected a dict")

    def __missing__(self, key: Any) -> Any:
        made = Entry(self, self.places[key]) if key in self.places else {}
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
                emptied = Entry(self, entry.place)
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
