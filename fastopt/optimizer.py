"""Optimizer: parameters and their names, groups of hyperparameters, state, and what saves and copies them."""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from . import files
from .engine import dispatch, layout
from .engine.structure import Structure, flatten, unflatten
from .formula import RULES
from .groups import Group, check_hyperparameter, check_number

FORMAT = 1  # of state_dict() and of files
MOST_STEPS = 2**62


class Parameter:
    """One array with its name, group and state.

    What is worked on is an own view of the array `given`: others may set that one's shape.
    """

    def __init__(self, name: str, given: np.ndarray, group: Group, initial: dict[str, float]) -> None:
        self.name = name
        self.given = given
        self.array = array = np.ndarray.view(given, np.ndarray)
        self.group = group
        self.initial = initial
        self.order = layout.axes(array)
        self.state = {key: layout.zeros_like(array) for key in group.rule.state}
        self.reset()

    def reset(self) -> None:
        for key, a in self.state.items():
            a[...] = complex(1, 1) * self.initial.get(key, 0.0) if a.dtype.kind == "c" else self.initial.get(key, 0.0)

    def written(self) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays that steps write, with what errors call them."""
        yield f"parameter {self.name!r}", self.array
        for key, a in self.state.items():
            yield f"state {key!r} of {self.name!r}", a


def check_parameters(leaves: list[tuple[str, Any]], beside: Sequence[Parameter] = ()) -> dict[str, np.ndarray]:
    """The arrays by name, or the error that says which cannot be optimized, beside those that already are."""
    if not leaves:
        raise ValueError("params: no arrays, expected at least one")
    arrays: dict[str, np.ndarray] = {}
    names = {slot.name for slot in beside}
    for name, a in leaves:
        if name in arrays or name in names:
            raise ValueError(f"params: two parameters have the name {name!r}")
        if "\0" in name:
            raise ValueError(f"params: the name {name!r} holds a null character, which a file's names cannot")
        layout.check_writable(f"parameter {name!r}", a)
        arrays[name] = a
    layout.check_disjoint([*((f"parameter {n!r}", a) for n, a in arrays.items()), *(x for slot in beside for x in slot.written())])
    return arrays


def check_count(what: str, x: Any) -> int:
    """A count of steps as it comes from a file."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or not 0 <= x < MOST_STEPS:
        raise ValueError(f"{what}: {x!r}, expected a whole number of steps")
    return int(x)


def check_kinds(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Refuse entries that are missing or of another kind."""
    for key, kind in expected.items():
        if key not in found or not isinstance(found[key], kind) or (kind is Sequence and isinstance(found[key], str)):
            raise ValueError(f"{what}: {key!r} is {type(found.get(key)).__name__}, expected {kind.__name__}")


def choices_of(cls: type) -> set[str]:
    """Options whose defaults say that they are True or False."""
    signatures = [inspect.signature(c.__init__) for c in cls.__mro__ if "__init__" in vars(c) and c is not object]  # type: ignore[misc]
    return {name for s in signatures for name, p in s.parameters.items() if isinstance(p.default, bool)}


def rebuild(
    cls: type[Optimizer], params: Any, groups: list[tuple[dict[str, Any], dict[str, Any]]], grouped: bool, inside: dict[str, Any]
) -> Optimizer:
    """An optimizer from what pickle keeps: parameters by identity, each group's options at construction and now, and state."""
    optimizer = cls.__new__(cls)
    optimizer.defaults = inside["defaults"]
    optimizer._build(params, [chosen for chosen, _ in groups], inside["threads"], grouped)
    for group, (_, now) in zip(optimizer.groups, groups, strict=True):
        group.update(now)
    optimizer.load_state_dict(inside["saved"], hyperparameters="keep")
    if inside["bound"] is not None:
        optimizer._bind_flat(inside["bound"])
    for name, value in inside["attributes"].items():
        vars(optimizer).setdefault(name, value)
    return optimizer


class Optimizer(dispatch.Stepper):
    """What all optimizers have in common; see each of them for its rule.

    `step` and `bind` are compiled. A call while a step is at work in another thread raises RuntimeError.

    Attributes
    ----------
    spread : mapping
        Of a subclass: options that consist of several hyperparameters, and the names of those.
    stages : sequence of str
        Of a subclass: what happens around its rule, by the names of ``stages.py``.
    """

    spread: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({"betas": ("beta1", "beta2")})
    stages: ClassVar[Sequence[str]] = ("scale", "l2")

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        """The update function that a group's options choose."""
        raise NotImplementedError

    @staticmethod
    def initial(options: Mapping[str, Any]) -> dict[str, float]:
        """First values of state that does not begin at zero."""
        return {}

    def __init__(
        self, params: Any, defaults: dict[str, Any], *, maximize: bool = False, threads: int | None = None, **unknown: Any
    ) -> None:
        self.defaults = {**defaults, "maximize": maximize}
        if unknown:
            known = ", ".join((*self.defaults, "threads"))
            raise TypeError(f"{type(self).__name__}: unknown {', '.join(unknown)}, expected among {known}")
        if isinstance(params, Iterator):
            params = list(params)
        dicts = isinstance(params, Sequence) and [isinstance(g, dict) for g in params]
        if isinstance(params, dict) and "params" in params and set(params) & set(self.defaults):
            raise ValueError("params: one group, expected a list of groups, [{'params': ..., 'lr': ...}, ...]")
        if dicts and any("params" in g or set(g) & set(self.defaults) for g, d in zip(params, dicts, strict=True) if d):
            for k, g in enumerate(params):
                if not dicts[k] or "params" not in g:
                    raise ValueError(f"group {k}: no 'params', expected [{{'params': ..., 'lr': ...}}, ...]")
            self._build([g["params"] for g in params], [self._options(g) for g in params], threads, True)
        else:
            self._build(params, [self.defaults], threads, False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr" and name in vars(self).get("defaults", ()):
            raise AttributeError(f"{name}: set it in the groups, as in optimizer.groups[0][{name!r}] = {value!r}")
        super().__setattr__(name, value)

    def _options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """All options of a group dict."""
        given = {k: v for k, v in group.items() if k != "params"}
        if unknown := set(given) - set(self.defaults):
            raise TypeError(f"group: unknown {', '.join(sorted(unknown))}, expected among {', '.join(self.defaults)}")
        return {**self.defaults, **given}

    def _build(self, params: Any, options: list[dict[str, Any]], threads: int | None, grouped: bool) -> None:
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1):
            raise ValueError(f"threads: {threads!r}, expected None or at least 1")
        self._grouped, self._threads = grouped, None if threads is None else min(int(threads), 2**16)
        structure, leaves = flatten(params)
        arrays = check_parameters(leaves)
        groups = [self._group(o) for o in options]
        slots = [self._slot(name, a, groups[int(name.split("/")[0]) if grouped else 0]) for name, a in arrays.items()]
        with self._alone():
            self._plan(dispatch.TABLE, structure, slots, groups, self._threads or 0)

    def _group(self, options: Mapping[str, Any]) -> Group:
        """Checked before they choose a rule."""
        choices = choices_of(type(self))
        for key, value in options.items():
            if key in choices:
                if not isinstance(value, (bool, np.bool_)):
                    raise TypeError(f"{key}: {value!r}, expected True or False")
            elif key not in self.spread:
                check_hyperparameter(key, value)
        options = {k: bool(v) if isinstance(v, np.bool_) else v for k, v in options.items()}
        return Group(options, self.spread, RULES[self.rule(options).__name__], self.stages)

    def _slot(self, name: str, array: np.ndarray, group: Group) -> Parameter:
        return Parameter(name, array, group, self.initial(group.chosen))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No step begins in here, and this does not begin in a step."""
        self._hold()
        try:
            yield
        finally:
            self._let_go()

    @property
    def params(self) -> Any:
        """The parameters in dicts and lists, nested as they were given (of groups: a list)."""
        return unflatten(self._structure, iter([s.given for s in self._slots]))

    @property
    def groups(self) -> list[Group]:
        """Hyperparameters of each group: a mapping whose numbers and schedules can be set."""
        return list(self._groups)

    @property
    def lr(self) -> float | list[float]:
        """Learning rate of the next step; a list where groups differ. Setting it sets it in every group."""
        rates = [g.number("lr", self.steps) for g in self._groups]
        return rates[0] if len(set(rates)) == 1 else rates

    @lr.setter
    def lr(self, value: Any) -> None:
        check_hyperparameter("lr", value)
        for group in self._groups:
            group["lr"] = value

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """Of each parameter: its step count ``"step"``, and the rule's state as live views."""
        return {
            s.name: {"step": t, **{k: a.view() for k, a in s.state.items()}}
            for s, t in zip(self._slots, self._counts(), strict=True)
        }

    def add_group(self, group: dict[str, Any]) -> None:
        """Add parameters with their own hyperparameters, to an optimizer that was built from groups.

        Gradients that were bound are let go.

        Parameters
        ----------
        group : dict
            ``"params"``, and any of the constructor's arguments that differ from its defaults.

        Raises
        ------
        TypeError, ValueError
            As the constructor; nothing has been changed.
        """
        with self._alone():
            if not self._grouped or self._structure is None:
                raise ValueError("add_group: this optimizer was not built from groups, expected [{'params': ...}, ...]")
            if not isinstance(group, dict) or "params" not in group:
                raise ValueError("add_group: expected a dict with 'params'")
            child, leaves = flatten(group["params"], str(len(self._groups)))
            arrays = check_parameters(leaves, self._slots)
            added = self._group(self._options(group))
            slots = self._slots + [self._slot(name, a, added) for name, a in arrays.items()]
            structure = Structure(None, [*self._structure.children, child], "")
            self._plan(dispatch.TABLE, structure, slots, [*self._groups, added], self._threads or 0)

    def reset(self) -> None:
        """State and step counts as at construction; parameters stay."""
        with self._alone():
            self._set_counts([0] * len(self._slots), 0)
            for slot in self._slots:
                slot.reset()

    def state_dict(self) -> dict[str, Any]:
        """State, step counts and hyperparameters, copied, arrays in C order."""
        with self._alone():
            return self._saved()

    def _saved(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "optimizer": type(self).__name__,
            "steps": self.steps,
            "groups": [{"rule": g.rule.name, **g.described()} for g in self._groups],
            "state": {
                s.name: {"step": t, **{k: np.array(a, order="C") for k, a in s.state.items()}}
                for s, t in zip(self._slots, self._counts(), strict=True)
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], *, hyperparameters: str | None = None) -> None:
        """Take over state, step counts and, where asked, hyperparameters.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict` of an optimizer of the same class, names, shapes and dtypes.
        hyperparameters : {None, "keep", "restore"}
            What to do where they differ: raise, keep this optimizer's, or take the saved ones. Functions other than `schedules`
            cannot be compared, so that they count as different; schedules and choices such as ``maximize`` cannot be restored:
            construct with them and keep.

        Raises
        ------
        ValueError
            If anything does not fit; nothing has been changed.
        """
        with self._alone():
            self._load(state_dict, None, hyperparameters)

    def _load(self, saved: Mapping[str, Any], params: Mapping[str, Any] | None, hyperparameters: str | None) -> None:
        """Everything is checked, then everything is written."""
        if hyperparameters not in (None, "keep", "restore"):
            raise ValueError(f"hyperparameters: {hyperparameters!r}, expected None, 'keep' or 'restore'")
        if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
            raise ValueError(f"state: not of format {FORMAT}, which state_dict and save make")
        check_kinds("state", saved, {"optimizer": str, "steps": object, "groups": Sequence, "state": Mapping})
        if saved["optimizer"] != type(self).__name__:
            raise ValueError(f"state: of {saved['optimizer']}, expected {type(self).__name__}")
        if params is not None:
            self._check_names("parameters of the file", params)
        self._check_names("state", saved["state"])
        check_kinds("state", saved["state"], dict.fromkeys(saved["state"], Mapping))
        check_kinds("groups", dict(enumerate(saved["groups"])), dict.fromkeys(range(len(saved["groups"])), Mapping))
        rules, mine = [g.get("rule") for g in saved["groups"]], [g.rule.name for g in self._groups]
        if rules != mine:
            raise ValueError(f"state: rules {rules}, expected {mine}")
        steps = check_count("steps", saved["steps"])
        counts, writes = [], []
        for slot in self._slots:
            entry = dict(saved["state"][slot.name])
            counts.append(check_count(f"steps of {slot.name!r}", entry.pop("step", None)))
            if set(entry) != set(slot.state):
                raise ValueError(f"state of {slot.name!r}: {sorted(entry)}, expected {sorted(slot.state)}")
            sources = {"": params[slot.name], **entry} if params is not None else entry
            targets = dict(zip(["", *slot.state], slot.written(), strict=True))
            for k, source in sources.items():
                what, target = targets[k]
                writes.append((target, self._fitting(what, target, source)))
            if params is not None and not slot.given.flags.writeable:
                raise ValueError(f"parameter {slot.name!r}: read-only, expected a writable array")
        changes = self._changes(saved["groups"], hyperparameters)
        self._set_counts(counts, steps)
        for target, array in writes:
            target[...] = array
        for group, key, value in changes:
            group[key] = value

    def _check_names(self, what: str, found: Mapping[str, Any]) -> None:
        here = {s.name for s in self._slots}
        if set(found) != here:
            missing, extra = sorted(here - set(found)), sorted(set(found) - here)
            raise ValueError(f"{what}: missing {missing}, unexpected {extra}")

    @staticmethod
    def _fitting(what: str, target: np.ndarray, source: Any) -> np.ndarray:
        """An array that can take the place of `target`; copied where writing others could change it."""
        if not isinstance(source, np.ndarray):
            raise ValueError(f"{what}: {type(source).__name__}, expected a NumPy array")
        if source.shape != target.shape:
            raise ValueError(f"{what}: shape {source.shape}, expected {target.shape}")
        if source.dtype != target.dtype:
            raise ValueError(f"{what}: dtype {source.dtype}, expected {target.dtype}")
        return source if source.base is None and source.flags.owndata else source.copy()

    def _changes(self, saved: Sequence[Mapping[str, Any]], policy: str | None) -> list[tuple[Group, str, Any]]:
        """Hyperparameters to set, checked; an error where they differ and nothing says what to do."""
        changes = []
        for k, (group, theirs) in enumerate(zip(self._groups, saved, strict=True)):
            ours = group.described()
            for key in ours:
                if policy == "keep" or (ours[key] == theirs.get(key) and "callable" not in str(ours[key])):
                    continue
                where = f"{key} of group {k}"
                if policy is None:
                    raise ValueError(f"{where}: saved {theirs.get(key)}, here {ours[key]}; say hyperparameters='keep' or 'restore'")
                if key not in theirs or "schedule" in str(theirs[key]) or not group.settable(key):
                    raise ValueError(
                        f"{where}: {theirs.get(key)} cannot be restored: construct with it and say hyperparameters='keep'"
                    )
                values = theirs[key] if key in group.spread and isinstance(theirs[key], (list, tuple)) else [theirs[key]]
                if len(values) != len(group.names(key)):
                    raise ValueError(f"{where}: {theirs[key]}, expected {len(group.names(key))} values")
                checked = [check_number(name, x) for name, x in zip(group.names(key), values, strict=True)]
                changes.append((group, key, checked if key in group.spread else checked[0]))
        return changes

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write one restart file: parameters, state, step counts, hyperparameters and the user's own values.

        Parameters
        ----------
        path : path
            An ``.npz`` file, without pickle, of this very name. It is written beside, synced and renamed: a crash leaves the old
            file.
        extra : mapping of str, optional
            Arrays, numbers, strings, None, and lists and dicts of them: a NumPy generator's ``bit_generator.state``.

        Raises
        ------
        TypeError
            For extra values that a file without pickle cannot hold; nothing has been written.
        OSError
            Where the system cannot write.
        """
        arrays: dict[str, np.ndarray] = {}
        described = files.packed(dict(extra or {}), "extra", arrays)
        with self._alone():
            saved = self._saved()
            members = {f"state/{n}/{k}": a for n, entry in saved["state"].items() for k, a in entry.items() if k != "step"}
            members |= {f"param/{s.name}": s.array for s in self._slots} | arrays
            state = {n: {"step": entry["step"]} for n, entry in saved["state"].items()}
            files.write(path, {**saved, "state": state, "extra": described}, members)

    def load(self, path: str | os.PathLike[str], *, hyperparameters: str | None = None) -> dict[str, Any]:
        """Read a file of `save` into these parameters, in place, and this optimizer.

        Parameters
        ----------
        path : path
        hyperparameters : {None, "keep", "restore"}
            As in `load_state_dict`.

        Returns
        -------
        dict
            The user's own values.

        Raises
        ------
        ValueError
            If the file does not fit; nothing has been changed.
        """
        meta, arrays = files.read(path)
        check_kinds(f"{path}", meta, {"extra": dict, "state": dict})
        check_kinds(f"{path}, state", meta["state"], dict.fromkeys(meta["state"], dict))
        params, state = {}, meta["state"]
        for member, array in arrays.items():
            kind, _, name = member.partition("/")
            if kind == "state":
                parameter, _, key = name.rpartition("/")
                state.setdefault(parameter, {})[key] = array
            elif kind == "param":
                params[name] = array
        extra: dict[str, Any] = files.unpacked(meta["extra"], arrays)
        with self._alone():
            self._load(meta, params, hyperparameters)
        return extra

    def fingerprint(self) -> str:
        """SHA-256 of parameters, state and step counts in a fixed order: the same on every machine (NaNs are one NaN)."""
        digest = hashlib.sha256()
        with self._alone():
            digest.update(f"{self.steps}\0".encode())
            for slot, t in zip(self._slots, self._counts(), strict=True):
                for key, a in {"": slot.array, **slot.state}.items():
                    digest.update(f"{slot.name}\0{key}\0{t}\0{a.shape}\0".encode())
                    flat = np.array(a, order="C").reshape(-1)
                    flat = flat.view(flat.real.dtype)
                    flat[np.isnan(flat)] = np.nan
                    digest.update(flat.astype(flat.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._alone():
            inside = {"defaults": self.defaults, "threads": self._threads, "saved": self._saved(), "bound": self._bound()}
            inside["attributes"] = {k: v for k, v in vars(self).items() if not hasattr(dispatch.Stepper, k)}
            groups = [(g.chosen, dict(g.options)) for g in self._groups]
            return rebuild, (type(self), self.params, groups, self._grouped, inside)

    def __copy__(self) -> Optimizer:
        """On the same parameters, with its own state."""
        function, arguments = self.__reduce__()
        twin: Optimizer = function(*arguments)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimizer:
        function, (cls, params, groups, grouped, inside) = self.__reduce__()
        params, groups, bound, attributes = copy.deepcopy((params, groups, inside["bound"], inside["attributes"]), memo)
        twin: Optimizer = function(cls, params, groups, grouped, {**inside, "bound": bound, "attributes": attributes})
        return twin

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self._groups[0].items())
        more = f", and {len(self._groups) - 1} more groups" if len(self._groups) > 1 else ""
        size = sum(s.array.size for s in self._slots)
        return f"<{type(self).__name__}({options}){more}: {len(self._slots)} arrays, {size} elements, {self.steps} steps>"
