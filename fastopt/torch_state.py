"""The ``state`` of a torch optimizer over the engine: torch's mapping of mappings, whose writes go into the engine's arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .base import check_count
from .engine.storage import narrowed8

if TYPE_CHECKING:
    from .torch import Optimizer

MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq", "vmax": "max_exp_avg_sq", "product": "mu_product"}
NAMES: Mapping[str, Mapping[str, str]] = {  # of state, by class: what torch calls it
    "SGD": {"buf": "momentum_buffer"},
    **{name: MOMENTS for name in ("Adam", "NAdam", "RAdam")},
    "Adamax": {"m": "exp_avg", "largest": "exp_inf"},
    "Adadelta": {"v": "square_avg", "moved": "acc_delta"},
    "RMSprop": {"v": "square_avg", "mean": "grad_avg", "buf": "momentum_buffer"},
    "Rprop": {"last": "prev", "size": "step_size"},
    "ASGD": {"average": "ax"},
    "Adafactor": {"row": "row_var", "col": "col_var", "v": "variance"},
    "Muon": {"buf": "momentum_buffer"},
}
AXES = {"row_var": -1, "col_var": -2}  # that torch keeps, of length 1
OPTIONAL = ("averaged", "gathered", "master")  # of options, which other optimizers do not have


def tensor_of(a: np.ndarray) -> torch.Tensor:
    """A tensor over the memory of state; bfloat16 is stored in uint16."""
    if a.dtype == np.uint16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


def begins_anew(name: Any, x: Any) -> bool:
    """Whether an entry is torch's word for a momentum that is still to begin."""
    return x is None and name == "momentum_buffer"


class Slot:
    """One parameter of the engine by torch's names: where each array of its state is, and how numbers are written there."""

    def __init__(self, slot: Any, names: Mapping[str, str]) -> None:
        self.slot, self.torch_names = slot, names
        self.arrays = {self.name(key): key for key in slot.state}
        self.kept = {names.get(key, key): key for key in slot.rule.kept}

    def name(self, key: str) -> str:
        """What a state is called: 8-bit floats, which torch would take for numbers, as here."""
        return key if key in self.slot.exponents else self.torch_names.get(key, key)

    def engine_keys(self) -> set[str]:
        """Names under which the engine has something, its own and torch's."""
        return {*self.arrays, *self.kept, *self.slot.state, *(self.torch_names.get(key, key) for key in self.slot.rule.state)}

    def has_begun(self, names: Set[Any]) -> bool:
        """Return False if an entry of these names lacks the momentum that is all its state: that begins with a whole gradient."""
        of_rule = {self.name(key) for key in self.slot.rule.state} & self.arrays.keys()
        return "momentum_buffer" not in of_rule or not names.isdisjoint(of_rule)

    def tensor(self, name: str) -> torch.Tensor:
        """A live view of an array of state."""
        x = tensor_of(self.slot.state[self.arrays[name]])
        return x.unsqueeze(AXES[name]) if name in AXES else x

    def step_of(self, x: Any) -> int:
        """A step count, given as a number or, as torch's, as a tensor of a float."""
        x = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
        return check_count(f"step of {self.slot.name!r}", int(x) if isinstance(x, float) and x.is_integer() else x)

    def writes(self, key: str, entry: Mapping[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What of an entry is to be written into one array of state, or the error that says why it does not fit."""
        slot, names = self.slot, self.torch_names
        target, x = tensor_of(slot.state[key]), entry.get(self.name(key))
        named = f"state {names.get(key, key)!r} of {slot.name!r}"
        if x is None and key in slot.exponents and isinstance(entry.get(names.get(key, key)), torch.Tensor):
            wide = entry[names.get(key, key)]  # torch's, to be stored in 8 bits
            if wide.numel() != target.numel() or not wide.is_floating_point():
                raise ValueError(
                    f"{named}: {wide.dtype} of shape {tuple(wide.shape)}, expected numbers of shape {tuple(target.shape)}"
                )
            flat = wide.detach().float().reshape(target.shape).numpy().reshape(-1)  # in C order, as 8-bit floats are walked
            codes, exponents = narrowed8(flat, slot.rule.tags.get(key) == "nonnegative")
            return [
                (target, torch.from_numpy(codes).reshape(target.shape)),
                (torch.from_numpy(slot.exponents[key]), torch.from_numpy(exponents)),
            ]
        if x is None and key.removesuffix("_exponents") in slot.exponents and key.removesuffix("_exponents") not in entry:
            return []  # written with the codes
        if x is None and key in OPTIONAL:
            return []  # of another optimizer, which has none
        if not isinstance(x, torch.Tensor) or x.numel() != target.numel():
            told = "nothing" if x is None else f"shape {tuple(getattr(x, 'shape', ()))}"
            raise ValueError(f"{named}: {told}, expected a tensor of shape {tuple(target.shape)}")
        numeric = target.is_floating_point() or target.is_complex()
        lost = x.is_meta or (x.is_complex() and not target.is_complex())  # what has no numbers, or more than there is room for
        if lost or numeric != (x.is_floating_point() or x.is_complex()) or (not numeric and x.dtype != target.dtype):
            raise ValueError(f"{named}: {x.dtype}, expected {target.dtype}: state_dtype and master as they were saved")
        return [(target, x.reshape(target.shape))]


class Written(dict[Any, Any]):
    """A dict whose ways of writing all go through its own ``update``, ``[]`` and ``pop``."""

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
    """State of one parameter: live tensors by torch's names, and whatever else its users put there.

    An array that is set is copied into the engine's, one that is deleted begins anew; the step count is that of the engine. Whoever
    took a tensor from here, not a view of it, sees each step in it, until another takes its place: then it keeps its numbers, as
    torch's do.
    """

    def __init__(self, state: State | None, place: int) -> None:
        super().__init__()
        self.state, self.place = state, place

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the engine has in memory, seen anew."""
        assert self.state is not None
        slot = self.state.slots[self.place]
        return {"step": torch.from_numpy(self.state.steps)[self.place], **{name: slot.tensor(name) for name in slot.arrays}}

    def fill(self) -> None:
        """Show what the engine has; tensors that were taken look at it too, wherever it is by now."""
        shown = self.tensors()
        for name in shown.keys() & self.keys():
            self[name].data, shown[name] = shown[name], self[name]
        super().update(shown)
        self.renew()

    def renew(self) -> None:
        """Show the step count and the numbers that the rule keeps, as they are now."""
        assert self.state is not None
        slot, (t, kept, _) = self.state.slots[self.place], self.state.owner.fast._counter(self.place)
        self.state.count(self.place, t)
        for name, x in zip(slot.kept, kept, strict=True):
            if name in self:
                self[name].fill_(x)
            else:
                super().__setitem__(name, torch.tensor(x, dtype=torch.float64))
        if "eta" in slot.kept:  # torch's ASGD keeps this too, which follows from the step
            super().__setitem__("mu", torch.tensor(1 / max(1.0, t - slot.slot.group.number("t0", t))))

    def numbers(self) -> list[float]:
        """The numbers that the rule keeps, as they are here."""
        assert self.state is not None
        slot = self.state.slots[self.place]
        return [
            float(self[name]) if name in self else first
            for name, first in zip(slot.kept, slot.slot.rule.kept.values(), strict=True)
        ]

    def engine_names(self) -> set[str]:
        """What of this the engine has."""
        assert self.state is not None
        slot = self.state.slots[self.place]
        return {"step", *slot.arrays, *slot.kept}

    def detach(self, names: Set[Any]) -> None:
        """Let those who took these tensors keep their numbers, whatever is written where they looked."""
        for name, x in self.tensors().items():
            if name in names and name in self:
                self[name].data = self[name].clone()
                super().__setitem__(name, x)
        assert self.state is not None
        for name in names & self.state.slots[self.place].kept.keys() & self.keys():
            super().__setitem__(name, self[name].clone())

    def checked(self, changed: Mapping[Any, Any]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], tuple[int, list[float], bool]]:
        """What entries write into arrays, and what is counted then; or the error that says why one does not fit."""
        assert self.state is not None
        slot, (t, _, pending) = self.state.slots[self.place], self.state.owner.fast._counter(self.place)
        writes = [w for name in changed if name in slot.arrays for w in slot.writes(slot.arrays[name], changed)]
        with torch.no_grad():  # copies: what is written may lie in what is written over
            writes = [(target, torch.empty_like(target).copy_(x)) for target, x in writes]
        t = slot.step_of(changed.get("step", int(t or bool(writes))))
        t = t if slot.has_begun({*self, *changed}) else 0
        numbers = {name: float(x) for name, x in changed.items() if name in slot.kept}
        return writes, (t, [numbers.get(name, old) for name, old in zip(slot.kept, self.numbers(), strict=True)], pending)

    def write(self, changed: Mapping[Any, Any]) -> None:
        """Take over entries, all or none."""
        if self.state is None:  # another one has taken its place
            super().update(changed)
            return
        fast = self.state.owner.fast
        if "step" not in changed:
            self.pull()
        anew = {name for name, x in changed.items() if begins_anew(name, x) and name in self.engine_names()}
        changed = {name: x for name, x in changed.items() if name not in anew}
        of_engine = {name: x for name, x in changed.items() if name in self.engine_names() and x is not self.get(name, self)}
        writes, counted = self.checked(of_engine)
        if of_engine:
            with fast._alone(), torch.no_grad():
                fast._catch_up()
                self.detach(of_engine.keys())
                for target, x in writes:
                    target.copy_(x)
                fast._set_counter(self.place, counted)
        super().update({name: x for name, x in changed.items() if name not in self.engine_names()})
        if of_engine:
            self.fill()
        self.forget(anew & self.keys())

    def leave(self) -> None:
        """Keep as one's own what the engine has, which goes on without this entry."""
        if self.state is not None:
            own = dict(self)
            self.detach(self.engine_names())
            self.state = None
            super().update(own)

    def pull(self) -> None:
        """Take over a step count, and numbers that the rule keeps, that were changed in place."""
        assert self.state is not None
        fast, place = self.state.owner.fast, self.place
        t, kept, pending = fast._counter(place)
        changed = bool(self) and self.state.steps[place] != self.state.counted[place]
        now = self.state.slots[place].step_of(float(self.state.steps[place])) if changed else t
        if changed or (self and self.numbers() != kept):
            with fast._alone():
                fast._catch_up()
                fast._set_counter(place, (now, self.numbers(), pending))
            self.state.count(place, now)

    def forget(self, names: set[Any]) -> None:
        """Let entries go: arrays begin anew, and with the last of them all that is counted."""
        if self.state is not None and names & self.engine_names() != self.engine_names() & set(self):
            self.pull()
        if self.state is not None:
            self.detach(names)
        for name in names:
            super().pop(name)
        if self.state is None or not names & self.engine_names():
            return
        slot, fast = self.state.slots[self.place], self.state.owner.fast
        left = self.engine_names() & set(self)
        t, _, pending = fast._counter(self.place)
        with fast._alone():
            fast._catch_up()
            slot.slot.reset({slot.arrays[name] for name in names if name in slot.arrays})
            t = 0 if not left or not slot.has_begun(left) else t if "step" in left else 1
            fast._set_counter(self.place, (t, self.numbers(), pending and bool(left)))
        self.state.count(self.place, t)
        self.state.incomplete.add(self.place)

    def __setitem__(self, name: Any, x: Any) -> None:
        self.write({name: x})

    def update(self, *given: Any, **named: Any) -> None:
        self.write(dict(*given, **named))

    def __delitem__(self, name: Any) -> None:
        if name not in self:
            raise KeyError(name)
        self.forget({name})

    def pop(self, name: Any, *default: Any) -> Any:
        if name not in self:
            return super().pop(name, *default)
        x = self[name]
        self.forget({name})
        return x

    def clear(self) -> None:
        self.forget(set(self))

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class State(Written):
    """State of each parameter that has some, and what is put under other keys; what is asked for begins empty, as torch's does."""

    def __init__(self, owner: Optimizer) -> None:
        super().__init__()
        self.owner = owner
        self.lay()

    def lay(self) -> None:
        """Find the engine's arrays, which are new."""
        slots = self.owner.fast._slots
        self.places = {p: k for k, p in enumerate(self.owner.tensors)}
        for p, entry in super().items():
            if isinstance(entry, Entry) and p not in self.places:
                entry.leave()
        self.slots = [Slot(slot, self.owner.names) for slot in slots]
        self.steps, self.counted = np.zeros(len(slots), np.float32), np.zeros(len(slots), np.float32)
        self.incomplete: set[int] = set()  # entries that may lack what the engine has
        for p, entry in list(super().items()):
            if isinstance(entry, Entry) and entry.state is not None:
                entry.place = self.places[p]
                if entry:
                    entry.fill()
                else:
                    self.incomplete.add(entry.place)
            elif p in self.places and isinstance(entry, Mapping):  # given before the parameter was
                self.adopt(p, entry)

    def adopt(self, p: Any, given: Mapping[Any, Any]) -> None:
        """Make what was put under a key that was no parameter's the state of one."""
        super().__delitem__(p)
        try:
            self.replace(p, given)
        except BaseException:
            super().__setitem__(p, given)
            raise

    def live(self) -> list[Entry]:
        """Entries that the engine has something of, or will have."""
        return [entry for entry in super().values() if isinstance(entry, Entry) and entry.state is not None]

    def count(self, place: int, t: int) -> None:
        """Show a step count."""
        self.steps[place] = self.counted[place] = t

    def entry(self, p: Any) -> Entry | None:
        """The entry of a parameter, if it has state or was asked for."""
        found = super().get(p)
        if found is None or self.places[p] in self.incomplete:
            t, _, pending = self.owner.fast._counter(self.places[p])
            if t or pending:
                self.incomplete.discard(self.places[p])
                if found is None:
                    found = Entry(self, self.places[p])
                    super().__setitem__(p, found)
                found.fill()
        return found

    def look(self) -> None:
        """Find the entries of all parameters that have state by now."""
        for p in self.places:
            self.entry(p)

    def stepped(self, grads: list[Any]) -> None:
        """Show a step that was made."""
        if not super().__len__():
            return
        moved = True if None not in grads else np.array([g is not None for g in grads])
        counted = self.owner.fast._settings.accumulate == 1 and self.owner.fast._settings.nonfinite in (
            "propagate",
            "zero",
            "raise",
        )
        if counted:
            np.copyto(self.steps, np.add(self.counted, 1, out=self.counted, where=moved))
        for entry in self.live():
            if entry.place in self.incomplete:
                self.entry(self.owner.tensors[entry.place])
            elif self.slots[entry.place].kept or not counted:
                entry.renew()

    def pull(self) -> None:
        """Take over step counts, and numbers that rules keep, that were changed in place."""
        if not super().__len__():
            return
        changed = set(np.flatnonzero(self.steps != self.counted).tolist())
        for entry in self.live():
            if entry.place in changed or self.slots[entry.place].kept:
                entry.pull()

    def replace(self, p: Any, entry: Any) -> None:
        """Put another entry in the place of a parameter's."""
        old = self.entry(p)
        if entry is old and old is not None:
            return
        if not isinstance(entry, Mapping):
            raise TypeError(f"state of {self.slots[self.places[p]].slot.name!r}: {type(entry).__name__}, expected a dict")
        new = Entry(self, self.places[p])
        given = {name: x for name, x in entry.items() if not (begins_anew(name, x) and name in new.engine_names())}
        new.checked(given)  # all of it, before anything is let go
        if old is not None:
            old.pull()
            new.fill()
            old.leave()
        new.forget({name for name in new if name not in given})
        super().__setitem__(p, new)
        self.incomplete.discard(new.place)
        new.write(given)
        if not given:
            self.incomplete.add(new.place)

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
        self.look()
        return super().__iter__()

    def __len__(self) -> int:
        self.look()
        return super().__len__()

    def __repr__(self) -> str:
        self.look()
        return super().__repr__()

    def __eq__(self, other: object) -> bool:
        self.look()
        return super().__eq__(other)

    def keys(self) -> Any:
        self.look()
        return super().keys()

    def values(self) -> Any:
        self.look()
        return super().values()

    def items(self) -> Any:
        self.look()
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
                entry.leave()
                emptied.clear()
                self.incomplete.discard(entry.place)
            super().__delitem__(key)
            return entry
        return super().pop(key)

    def clear(self) -> None:
        self.look()
        for key in list(super().keys()):
            self.pop(key)

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)
