"""Optimizer: parameters and their names, groups of hyperparameters, state, and the files that hold them."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar

import numpy as np

from . import stages
from .engine import dispatch, layout
from .engine.engine import Stepper, Structure

FORMAT = 1  # of state_dict() and of files
DOMAINS = {  # of hyperparameters, half open
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "alpha": (0.0, 1.0),
    "dampening": (-np.inf, np.inf),
}
POSITIVE = (0.0, np.inf)  # of all others
STAGES = [f for name, f in vars(stages).items() if inspect.isfunction(f) and not name.endswith("_scalars")]


def inputs(function: FunctionType) -> list[str]:
    """Hyperparameters of a rule or stage: the keyword-only arguments of its scalars function."""
    scalars = function.__globals__[f"{function.__name__}_scalars"]
    return [p.name for p in inspect.signature(scalars).parameters.values() if p.kind is p.KEYWORD_ONLY]


class Rule:
    """What an update function's signature says: its name, hyperparameters and state."""

    def __init__(self, update: FunctionType) -> None:
        self.name = update.__name__
        self.hyperparameters = inputs(update)
        arguments = inspect.signature(update).parameters.values()
        self.state = [p.name for p in arguments if p.kind is p.POSITIONAL_OR_KEYWORD][2:]


def check_number(name: str, x: Any) -> float:
    """The hyperparameter as a float, or the error that says what it may be."""
    try:
        if isinstance(x, (str, bytes, bool, np.bool_)):
            raise TypeError
        value = float(x)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: {x!r}, expected a number or a schedule") from None
    low, high = DOMAINS.get(name, POSITIVE)
    if not low <= value < high:
        raise ValueError(f"{name}: {value}, expected {low:g} <= {name} < {high:g}")
    return value


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some parameters: numbers or schedules, set at any time, and choices fixed at construction.

    Their numbers lie in `numbers`, which the engine reads at each step.
    """

    def __init__(self, options: dict[str, Any], spread: Mapping[str, Sequence[str]], rule: Rule, decay: str) -> None:
        self.rule = rule
        names = [*rule.hyperparameters, "weight_decay", "scale"]
        self.slot = {name: k for k, name in enumerate(names)}
        self.domains = {name: DOMAINS.get(name, POSITIVE) for name in names}
        self.numbers = np.zeros(len(names))
        self.numbers[self.slot["scale"]] = -1.0 if options["maximize"] else 1.0
        self.inputs = {f.__name__: tuple(self.slot[n] for n in inputs(f)) for f in STAGES if f.__name__ in ("scale", decay)}
        self.spread = spread
        self.options: dict[str, Any] = dict(options)
        self.scheduled: dict[str, Callable[[int], float]] = {}
        for key in options:
            if self.settable(key):
                self[key] = options[key]

    def slots(self, key: str) -> Sequence[str]:
        return self.spread.get(key, (key,))

    def settable(self, key: str) -> bool:
        return all(name in self.slot for name in self.slots(key))

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key}: a hyperparameter cannot be deleted")

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.options:
            raise ValueError(f"{key}: no such hyperparameter, expected one of {', '.join(self.options)}")
        if not self.settable(key):
            if value == self.options[key]:
                return
            raise ValueError(f"{key}: {self.options[key]!r} chose the rule {self.rule.name!r} at construction and stays")
        names = self.slots(key)
        entries = tuple(value) if key in self.spread else (value,)
        if len(entries) != len(names):
            raise ValueError(f"{key}: {value!r}, expected {len(names)} values")
        checked = [None if callable(x) else check_number(n, x) for n, x in zip(names, entries, strict=True)]
        self.options[key] = entries if key in self.spread else value
        for name, x, number in zip(names, entries, checked, strict=True):
            self.scheduled.pop(name, None)
            if number is None:
                self.scheduled[name] = x
            else:
                self.numbers[self.slot[name]] = number

    check = staticmethod(check_number)

    def number(self, name: str, step: int) -> float:
        """A hyperparameter's value at a step."""
        return check_number(name, self.scheduled[name](step)) if name in self.scheduled else float(self.numbers[self.slot[name]])

    def described(self) -> dict[str, Any]:
        """What a file says of the group: numbers as they are, schedules by their text."""

        def text(x: Any) -> Any:
            if isinstance(x, tuple):
                return [text(y) for y in x]
            if callable(x):
                return {"schedule": repr(x) if type(x).__module__ == "fastopt.schedules" else "callable"}
            return x if isinstance(x, bool) else float(x)

        return {key: text(self.options[key]) for key in self.options}


class Parameter:
    """One array with its name, group and state."""

    def __init__(self, name: str, array: np.ndarray, group: Group, initial: dict[str, float]) -> None:
        self.name = name
        self.array = array
        self.group = group
        self.initial = initial
        self.order = layout.axes(array)
        self.state = {key: layout.zeros_like(array) for key in group.rule.state}
        self.reset()

    def reset(self) -> None:
        for key, a in self.state.items():
            a[...] = complex(1, 1) * self.initial.get(key, 0.0) if a.dtype.kind == "c" else self.initial.get(key, 0.0)


def flatten(tree: Any, path: str = "") -> tuple[Structure | None, list[tuple[str, Any]]]:
    """The nesting of arrays, mappings and sequences, and its arrays with their names: keys and positions joined by slashes."""
    if isinstance(tree, Mapping):
        keys: tuple[Any, ...] | None = tuple(tree)
        items = list(tree.items())
    elif isinstance(tree, (list, tuple)):
        keys, items = None, list(enumerate(tree))
    else:
        return None, [(path or "0", tree)]
    children, leaves = [], []
    for key, child in items:
        structure, found = flatten(child, f"{path}/{key}" if path else f"{key}")
        children.append(structure)
        leaves += found
    return Structure(keys, children, path), leaves


def rebuild(cls: type[Optimizer], structure: Any, groups: list[dict[str, Any]], threads: int | None) -> Optimizer:
    """An optimizer from what pickle keeps: parameters by identity, hyperparameters of every group."""
    optimizer = cls.__new__(cls)
    optimizer._build(structure, groups, threads)
    return optimizer


class Optimizer(Stepper):
    """What all optimizers have in common; see each of them for its rule.

    A subclass names its rule and its hyperparameters' defaults; `step` and `bind` are compiled.
    """

    spread: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({"betas": ("beta1", "beta2")})
    decay: ClassVar[str] = "l2"

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        """The update function that a group's options choose."""
        raise NotImplementedError

    @staticmethod
    def initial(options: Mapping[str, Any]) -> dict[str, float]:
        """First values of state that does not begin at zero."""
        return {}

    def __init__(self, params: Any, defaults: dict[str, Any], *, maximize: bool = False, threads: int | None = None) -> None:
        self.defaults = {**defaults, "maximize": maximize}
        if isinstance(params, Sequence) and params and all(isinstance(g, dict) and "params" in g for g in params):
            groups = [{**self.defaults, **self._known(g)} for g in params]
            self._build([g["params"] for g in params], groups, threads, grouped=True)
        else:
            if isinstance(params, Iterator):
                params = list(params)
            self._build(params, [dict(self.defaults)], threads)

    def _known(self, group: dict[str, Any]) -> dict[str, Any]:
        given = {k: v for k, v in group.items() if k != "params"}
        if unknown := set(given) - set(self.defaults):
            raise ValueError(f"group: unknown {', '.join(sorted(unknown))}, expected among {', '.join(self.defaults)}")
        return given

    def _build(self, params: Any, options: list[dict[str, Any]], threads: int | None, grouped: bool | None = None) -> None:
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads: {threads!r}, expected None or at least 1")
        grouped = len(options) > 1 if grouped is None else grouped
        self.defaults = getattr(self, "defaults", dict(options[0]))
        self._params, self._grouped, self._threads = params, grouped, threads
        structure, leaves = flatten(params)
        if not leaves:
            raise ValueError("params: no arrays, expected at least one")
        names = [name for name, _ in leaves]
        if len(set(names)) < len(names):
            raise ValueError(f"params: two parameters have the name {max(names, key=names.count)!r}")
        arrays = [layout.check_parameter(name, a) for name, a in leaves]
        layout.check_disjoint(names, arrays)
        groups = [self._group(o) for o in options]
        owner = [int(name.split("/")[0]) if grouped else 0 for name in names]
        old = {slot.name: slot for slot in getattr(self, "_slots", [])}
        slots = [
            old.get(n) or Parameter(n, a, groups[k], self.initial(groups[k])) for n, a, k in zip(names, arrays, owner, strict=True)
        ]
        self._install(structure, slots, groups)

    def _group(self, options: dict[str, Any]) -> Group:
        options = {k: tuple(v) if k in self.spread else v for k, v in options.items()}
        for key, value in options.items():
            for name, x in zip(self.spread.get(key, (key,)), value if key in self.spread else (value,), strict=True):
                if not callable(x) and not isinstance(x, bool):
                    check_number(name, x)
        return Group(options, self.spread, Rule(self.rule(options)), self.decay)  # type: ignore[arg-type]

    def _install(self, structure: Structure | None, slots: list[Parameter], groups: list[Group]) -> None:
        self._plan(dispatch.TABLE, structure, slots, groups, self._threads or 0)
        self._slots, self._groups = slots, groups

    @property
    def params(self) -> Any:
        """The parameters as they were given (of groups: a list)."""
        return self._params

    @property
    def groups(self) -> list[Group]:
        """Hyperparameters of each group: a mapping whose numbers and schedules can be set."""
        return self._groups

    @property
    def lr(self) -> float | list[float]:
        """Learning rate of the next step; a list where groups differ. Setting it sets it in every group."""
        rates = [g.number("lr", self.steps) for g in self._groups]
        return rates[0] if len(set(rates)) == 1 else rates

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self._groups:
            group["lr"] = value

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """Of each parameter: its step count ``"step"``, and the rule's state as live views."""
        return {s.name: {"step": t, **s.state} for s, t in zip(self._slots, self._counts(), strict=True)}

    def add_group(self, group: dict[str, Any]) -> None:
        """Add parameters with their own hyperparameters, to an optimizer that was built from groups.

        Parameters
        ----------
        group : dict
            ``"params"``, and any of the constructor's arguments that differ from its defaults.
        """
        if not self._grouped:
            raise ValueError("add_group: this optimizer was not built from groups, expected [{'params': ...}, ...]")
        if not isinstance(group, dict) or "params" not in group:
            raise ValueError("add_group: expected a dict with 'params'")
        options = [dict(g.options) for g in self._groups] + [{**self.defaults, **self._known(group)}]
        params = [*self._params, group["params"]]
        structure, leaves = flatten(params)
        arrays = [layout.check_parameter(name, a) for name, a in leaves]
        layout.check_disjoint([name for name, _ in leaves], arrays)
        added = self._group(options[-1])
        slots = self._slots + [
            Parameter(n, a, added, self.initial(added)) for n, a in [(n, a) for n, a in leaves][len(self._slots) :]
        ]
        self._install(structure, slots, [*self._groups, added])
        self._params = params

    def reset(self) -> None:
        """State and step counts as at construction; parameters stay."""
        self._set_counts([0] * len(self._slots), 0)
        for slot in self._slots:
            slot.reset()

    def state_dict(self) -> dict[str, Any]:
        """State, step counts and hyperparameters, copied, arrays in C order."""
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
            What to do where they differ: raise, keep this optimizer's, or take the saved ones.

        Raises
        ------
        ValueError
            If anything does not fit; nothing has been changed.
        """
        self._load(state_dict, None, hyperparameters)

    def _load(self, saved: Mapping[str, Any], params: Mapping[str, np.ndarray] | None, hyperparameters: str | None) -> None:
        if hyperparameters not in (None, "keep", "restore"):
            raise ValueError(f"hyperparameters: {hyperparameters!r}, expected None, 'keep' or 'restore'")
        if saved.get("format") != FORMAT:
            raise ValueError(f"state: format {saved.get('format')!r}, expected {FORMAT}")
        if saved["optimizer"] != type(self).__name__:
            raise ValueError(f"state: of {saved['optimizer']}, expected {type(self).__name__}")
        here = [s.name for s in self._slots]
        if set(saved["state"]) != set(here):
            missing, extra = sorted(set(here) - set(saved["state"])), sorted(set(saved["state"]) - set(here))
            raise ValueError(f"state: missing parameters {missing}, unexpected parameters {extra}")
        rules, mine = [g["rule"] for g in saved["groups"]], [g.rule.name for g in self._groups]
        if rules != mine:
            raise ValueError(f"state: rules {rules}, expected {mine}")
        writes = []
        for slot in self._slots:
            entry = saved["state"][slot.name]
            found = {k: v for k, v in entry.items() if k != "step"}
            if set(found) != set(slot.state):
                raise ValueError(f"state of {slot.name!r}: {sorted(found)}, expected {sorted(slot.state)}")
            targets = [(f"state {k!r} of {slot.name!r}", slot.state[k], found[k]) for k in slot.state]
            if params is not None:
                targets.append((f"parameter {slot.name!r}", slot.array, params[slot.name]))
            for what, target, array in targets:
                if array.shape != target.shape:
                    raise ValueError(f"{what}: shape {array.shape}, expected {target.shape}")
                if array.dtype != target.dtype:
                    raise ValueError(f"{what}: dtype {array.dtype}, expected {target.dtype}")
                writes.append((target, array))
        changes = self._changes(saved["groups"], hyperparameters)
        self._set_counts([saved["state"][name]["step"] for name in here], saved["steps"])
        for target, array in writes:
            target[...] = array
        for group, key, value in changes:
            group[key] = value

    def _changes(self, saved: Sequence[Mapping[str, Any]], policy: str | None) -> list[tuple[Group, str, Any]]:
        """Hyperparameters to set, checked; an error where they differ and nothing says what to do."""
        changes = []
        for k, (group, theirs) in enumerate(zip(self._groups, saved, strict=True)):
            ours = group.described()
            for key in ours:
                if ours[key] == theirs.get(key) or policy == "keep":
                    continue
                where = f"{key} of group {k}"
                if policy is None:
                    raise ValueError(f"{where}: saved {theirs.get(key)}, here {ours[key]}; say hyperparameters='keep' or 'restore'")
                if "schedule" in str(theirs[key]) or not group.settable(key):
                    raise ValueError(f"{where}: {theirs[key]} cannot be restored: construct with it and say hyperparameters='keep'")
                values = theirs[key] if isinstance(theirs[key], list) else [theirs[key]]
                for name, x in zip(group.slots(key), values, strict=True):
                    check_number(name, x)
                changes.append((group, key, theirs[key]))
        return changes

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write one restart file: parameters, state, step counts, hyperparameters and the user's own values.

        Parameters
        ----------
        path : path
            An ``.npz`` file, without pickle. It is written beside, synced and renamed: a crash leaves the old file.
        extra : mapping of str, optional
            Arrays, and whatever JSON holds: numbers, strings, lists, a NumPy generator's ``bit_generator.state``.
        """
        extra = dict(extra or {})
        arrays = {k: v for k, v in extra.items() if isinstance(v, np.ndarray)}
        for k, a in arrays.items():
            if a.dtype.hasobject:
                raise TypeError(f"extra {k!r}: dtype {a.dtype}, expected an array without Python objects")
        saved = self.state_dict()
        members = {f"state/{n}/{k}": a for n, entry in saved["state"].items() for k, a in entry.items() if k != "step"}
        members |= {f"param/{s.name}": s.array for s in self._slots} | {f"extra/{k}": a for k, a in arrays.items()}
        meta = {
            **saved,
            "state": {n: {"step": entry["step"]} for n, entry in saved["state"].items()},
            "extra": {k: v.item() if isinstance(v, np.generic) else v for k, v in extra.items() if k not in arrays},
        }
        try:
            text = json.dumps(meta)
        except TypeError as error:
            raise TypeError(f"extra: {error}, expected arrays, numbers, strings, and lists and dicts of them") from None
        path = Path(path)
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                    archive.writestr("fastopt.json", text)
                    for name, a in members.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, np.array(a, order="C", copy=None), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(path.parent, os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

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
        with zipfile.ZipFile(path) as archive:
            if "fastopt.json" not in archive.namelist():
                raise ValueError(f"{path}: not a file of fastopt's save")
            meta = json.loads(archive.read("fastopt.json"))
            params, extra = {}, dict(meta["extra"])
            for member in archive.namelist():
                kind, _, name = member.removesuffix(".npy").partition("/")
                if kind not in ("state", "param", "extra"):
                    continue
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                if kind == "state":
                    parameter, _, key = name.rpartition("/")
                    meta["state"][parameter][key] = array
                elif kind == "param":
                    params[name] = array
                else:
                    extra[name] = array
        self._load(meta, params, hyperparameters)
        return extra

    def fingerprint(self) -> str:
        """SHA-256 of parameters, state and step counts in a fixed order: the same on every machine (NaNs are one NaN)."""
        digest = hashlib.sha256()
        for slot, t in zip(self._slots, self._counts(), strict=True):
            for key, a in {"": slot.array, **slot.state}.items():
                digest.update(f"{slot.name}\0{key}\0{t}\0{a.shape}\0".encode())
                flat = np.array(a, order="C").reshape(-1)
                flat = flat.view(flat.real.dtype)
                flat[np.isnan(flat)] = np.nan
                digest.update(flat.astype(flat.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        groups = [dict(g.options) for g in self._groups]
        inside: dict[str, Any] = {
            "defaults": self.defaults,
            "saved": self.state_dict(),
            "bound": self._bound(),
            "grouped": self._grouped,
        }
        return rebuild, (type(self), self._params, groups, self._threads), inside

    def __setstate__(self, inside: dict[str, Any]) -> None:
        self.defaults = inside["defaults"]
        self._grouped = inside["grouped"]
        self.load_state_dict(inside["saved"], hyperparameters="keep")
        if inside["bound"] is not None:
            self._bind_flat(inside["bound"])

    def __copy__(self) -> Optimizer:
        """On the same parameters, with its own state."""
        function, arguments, inside = self.__reduce__()
        twin: Optimizer = function(*arguments)
        twin.__setstate__(inside)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimizer:
        function, (cls, params, groups, threads), inside = self.__reduce__()
        twin: Optimizer = function(cls, copy.deepcopy(params, memo), groups, threads)
        twin.__setstate__({**inside, "bound": copy.deepcopy(inside["bound"], memo)})
        return twin

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self._groups[0].items())
        more = f", and {len(self._groups) - 1} more groups" if len(self._groups) > 1 else ""
        size = sum(s.array.size for s in self._slots)
        return f"<{type(self).__name__}({options}){more}: {len(self._slots)} arrays, {size} elements, {self.steps} steps>"
