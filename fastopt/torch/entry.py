"""Entries of a torch optimizer's state: dicts whose writes go to the engine's arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from .._arrays.changes import commit
from .._engine.stepper import Counter
from .parameter import begins_anew

if TYPE_CHECKING:
    from .state import State


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

    def __init__(self, given: Mapping[Any, Any] = MappingProxyType({}), *, state: State | None = None, place: int = -1) -> None:
        super().__init__(given)
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
            count = {"step": torch.from_numpy(self.state.steps)[self.place]} if parameter.has_step else {}
            return {**count, **dict(numbers), **arrays}

    def fill(self) -> None:
        """Show the engine's arrays; tensors that users have read show them too, even after a new layout."""
        shown = self.tensors()
        for name in shown.keys() & self.keys():
            self.stored(name).data, shown[name] = shown[name], self.stored(name)
        super().update(shown)
        assert self.state is not None
        self.state.renew([self.place], [self.state.owner._fast._backend.counter(self.place)])

    def numbers(self, without: Set[Any] = frozenset()) -> list[float]:
        """Return the numbers that the rule carries, as they are shown here; first values for those that are not."""
        assert self.state is not None
        parameter = self.state.parameters[self.place]
        firsts, now = parameter.parameter.first_counter[1], self.state.numbers[self.place].tolist()
        shown = self.keys() - without
        return [x if name in shown else first for name, first, x in zip(parameter.carry, firsts, now, strict=False)]

    def engine_names(self) -> set[str]:
        """Return the names of the engine among these."""
        return self.state.parameters[self.place].shown_names()  # type: ignore[union-attr]

    def detach(self, names: Set[Any]) -> None:
        """Give tensors that users have read their own copy, before their memory is overwritten."""
        for name, x in self.tensors().items():
            if name in names and name in self:
                self.stored(name).data = self.stored(name).clone()
                super().__setitem__(name, x)

    def checked(self, changed: Mapping[Any, Any]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], tuple[int, list[float], bool]]:
        """Return the writes of entries into arrays, and the new counters; raise if one does not fit."""
        assert self.state is not None
        parameter, (t, _, pending) = self.state.parameters[self.place], self.state.owner._fast._backend.counter(self.place)
        places = {**parameter.widened, **parameter.arrays}
        writes = [w for name in changed if name in places for w in parameter.writes(places[name], changed)]
        # Copies: an entry may share memory with what is overwritten.
        with torch.no_grad():
            writes = [(target, torch.empty_like(target).copy_(x)) for target, x in writes]
        t = parameter.step_of(changed.get("step", int(t or bool(writes))))
        t = t if parameter.has_begun({*self, *changed}) else parameter.parameter.first_counter[0]
        numbers = {name: float(x) for name, x in changed.items() if name in parameter.carry}
        return writes, (t, [numbers.get(name, old) for name, old in zip(parameter.carry, self.numbers(), strict=True)], pending)

    def commit(self, writes: Sequence[tuple[torch.Tensor, torch.Tensor]], counted: Counter | None) -> None:
        """Change arrays and counters of the engine, and show the counters."""
        assert self.state is not None
        changes: list[Callable[[], object]] = [partial(target.copy_, x) for target, x in writes]
        changes += self.counting(counted) if counted is not None else []
        self.state.owner._fast._commit(lambda: changes)

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
        fast, place = self.state.owner._fast, self.place
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
        return self.state.owner._fast._commit(self.deleting, names)

    def deleting(self, names: Set[Any]) -> list[Callable[[], object]]:
        """Return the changes that delete entries."""
        removing: list[Callable[[], object]] = [partial(dict.pop, self, name, None) for name in names]
        if self.state is None or not names & self.engine_names():
            return removing
        parameter, left = self.state.parameters[self.place], self.engine_names() & set(self) - names
        t, _, pending = self.state.owner._fast._backend.counter(self.place)
        first = parameter.parameter.first_counter[0]
        begun = t if "step" in left or not parameter.has_step else first + 1
        t = begun if left and parameter.has_begun(left) else first
        resetting = parameter.parameter.resetting({parameter.arrays[name] for name in names if name in parameter.arrays})
        counted = (t, self.numbers(names), pending and bool(left))
        return [*resetting, *removing, *self.counting(counted), partial(self.state.incomplete.add, self.place)]

    def counting(self, counted: Counter) -> list[Callable[[], object]]:
        """Return the changes that set the engine's counters, and show them."""
        assert self.state is not None
        place, fast = self.place, self.state.owner._fast
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
