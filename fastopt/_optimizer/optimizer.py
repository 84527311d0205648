"""Optimizer: parameters and their names, groups of hyperparameters, state, and what saves and copies them."""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from .._arrays import overlap
from .._arrays.memory import HOST, Memory
from .._arrays.row_gradient import check_indices
from .._arrays.tree import Structure, collect, flatten, unflatten
from .._engine import dispatch
from .._engine.stepper import FIELDS, Stepper
from . import arguments, checkpoint, display, report, state
from .array_options import clipped_starts, operands
from .checkpoint import check_count
from .groups import Group, check_hyperparameter
from .options import ARRAY_OPTIONS, common_doc
from .parameter import Parameter


class Optimizer(Stepper):
    """Base of all optimizers; see each of them for its rule.

    `step` and `bind` are compiled. A call while a step is at work in another thread raises RuntimeError.

    Parameters
    ----------
    params : arrays
        Parameters, updated in place, nested in mappings and sequences, or a list of group dicts.
    {common}

    Notes
    -----
    A subclass declares itself by these attributes and methods:

    ``arguments``
        Names of its own arguments with torch's defaults; the names of numbers are those of the rule's hyperparameters.
    ``update``, or ``rule(options)``
        Its update function; the one that a group's options choose.
    ``conventions``
        What differs in each other package.
    ``tuple_arguments``, ``choices``
        Arguments that consist of several hyperparameters, with the names of those; string arguments with their allowed values, of
        which None selects the first.
    ``option_defaults``, ``unsupported_options``
        Defaults of options that differ from those of other optimizers; options that would not mean what they say.
    ``fallback_rule(options)``, ``uses_fallback(options)``, ``fallback_names``
        The update function of arrays that the rule is not for; whether it is for all arrays of a group; what its hyperparameters
        are called among the arguments.
    ``weight_decay_stage``, or ``choose_weight_decay(options)``
        Which stage its ``weight_decay`` is ("l2", "decoupled", "late_decay", "proximal"); None where the rule has it.
    ``initial_state(options)``, ``constants(options, arrays)``
        First values of state that does not begin at zero; hyperparameters that stand for words, or for None among several numbers.
    """

    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    tuple_arguments: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({"betas": ("beta1", "beta2")})
    option_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    unsupported_options: ClassVar[Sequence[str]] = ()
    choices: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({})
    fallback_names: ClassVar[Mapping[str, str]] = MappingProxyType({})
    weight_decay_stage: str | None = "l2"
    update: Callable[..., Any]
    _memory: Memory = HOST
    _interpreted: ClassVar[bool] = False  # even where the rule is compiled
    _places: Mapping[str, int] = MappingProxyType({})  # of each name, which parameter it is: they only become more

    def __init_subclass__(cls, **other: Any) -> None:
        """Give a class the signature that its table of arguments says, and its docstring the common parts."""
        super().__init_subclass__(**other)
        cls.__signature__ = arguments.signature(cls.arguments)  # type: ignore[attr-defined]
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{common}", common_doc(["torch", *cls.conventions]))

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the update function that a group's options choose."""
        return self.update

    def fallback_rule(self, options: Mapping[str, Any]) -> Callable[..., Any] | None:
        """Return the update function of arrays that the rule is not for."""
        return None

    def uses_fallback(self, options: Mapping[str, Any]) -> bool:
        """Return whether the fallback is for all arrays of a group."""
        return False

    def choose_weight_decay(self, options: Mapping[str, Any]) -> str | None:
        """Return the stage that a group's ``weight_decay`` is, or None where the rule has it."""
        return "decoupled" if options.get("decoupled_weight_decay") else self.weight_decay_stage

    def initial_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        """Return first values of state that does not begin at zero."""
        return {}

    def constants(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, float]:
        """Return hyperparameters of the rule that stand for words, and for None among several numbers."""
        return {}

    def __init__(self, params: Any, *positional: Any, convention: str = "torch", **options: Any) -> None:
        found = arguments.resolve(type(self), positional, convention, options)
        self._convention = convention
        self.defaults, self._settings, self.weight_decay_stage = found.defaults, found.settings, found.weight_decay_stage
        params, groups = arguments.split_groups(params, self.defaults)
        self._build(params, [self.defaults] if groups is None else groups, groups is not None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr" and name in vars(self).get("defaults", ()):
            raise AttributeError(f"{name}: set it in the groups, as in optimizer.groups[0][{name!r}] = {value!r}")
        super().__setattr__(name, value)

    def _build(self, params: Any, options: list[dict[str, Any]], grouped: bool, start: bool = True) -> None:
        """Lay out parameters and groups. `start`: parameters begin between their bounds."""
        memory = dispatch.memory_of(params)
        structure, given = flatten(params)
        # A second construction waits for no step either: the backend at work must stay.
        with nullcontext() if self._backend is None else self._exclusive(), memory.here():
            self._grouped, self._memory = grouped, memory
            leaves = self._adopted(given)
            check_parameters(leaves, self._memory)
            slots, groups = [], []
            for k, own in enumerate(options):
                members = [x for x in leaves if not grouped or is_of_group(x[0], k)]
                groups.append(arguments.make_group(self, own, [a for _, a in members]))
                slots += self._slots_of(groups[-1], str(k) if grouped else None, members)
            if self._settings.master and not any(slot.master is not None for slot in slots):
                raise ValueError(f"master: {self._settings.master!r} for {slots[0].array.dtype}, expected bfloat16 parameters")
            self._lay_out(structure, slots, groups, given, slots if start else [])

    def _lay_out(
        self,
        structure: Any,
        slots: list[Parameter],
        groups: list[Group],
        given: Sequence[tuple[str, Any]],
        new: Sequence[Parameter],
    ) -> None:
        """Step over these parameters, of which the last were given in this form; new ones begin between their bounds."""
        starts = clipped_starts(new)
        backend = dispatch.backend(structure, slots, groups, self._settings, self._interpreted)
        self._attach(backend, structure, slots, groups, self._settings)
        for slot, (_, a) in zip(slots[len(slots) - len(given) :], given, strict=True):
            slot.caller = a
        for slot, within in starts:
            slot.begin(within)

    def _adopted(self, given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return parameters with their names, those of other libraries as arrays over their memory."""
        return [(name, self._memory.shared(f"parameter {name!r}", a)) for name, a in given]

    def _slots_of(self, group: Group, path: str | None, leaves: Sequence[tuple[str, Any]]) -> list[Parameter]:
        initial = self.initial_state(group.chosen)
        each = operands(group.chosen, path, leaves)
        return [
            Parameter(name, a, group, initial, own, self._settings, self._memory)
            for (name, a), own in zip(leaves, each, strict=True)
        ]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock: no step begins inside, and this does not begin inside a step."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    @property
    def params(self) -> Any:
        """The parameters in dicts and lists, nested as they were given (of groups: a list)."""
        return unflatten(self._structure, iter([s.caller for s in self._slots]))

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
    def state(self) -> state.State:
        """Of each parameter, a mapping of its step count ``"step"``, of numbers that the rule keeps, and of its arrays of state.

        Arrays are live views (``"gathered"``, of ``accumulate=k``, in units of the least power of two that is at least k); what is
        stored in fewer bits is shown as float32, in read-only copies. All can be set, checked and in
        place: ``optimizer.state["w"]["m"] = array``, ``optimizer.state["w"]["step"] = 5`` (`steps` sets all counts at once).
        """
        if len(self._places) != len(self._slots):
            self._places = {slot.name: k for k, slot in enumerate(self._slots)}
        return state.State(self, self._places)

    @property
    def steps(self) -> int:
        """Updates made so far. Setting it sets all parameters' counts too: schedules and bias corrections go on from there."""
        return self._steps()

    @steps.setter
    def steps(self, value: Any) -> None:
        count = check_count("steps", value)
        with self._exclusive():
            self._backend.catch_up(None)
            each, whole = self._counters()
            self._set_counters([(count, kept, pending) for _, kept, pending in each], (count, *whole[1:]))

    @property
    def average(self) -> Any:
        """Averages of the parameters, as nested as those: live views of what ``ema`` keeps; of groups without, the parameters."""
        if not any("averaged" in s.own for s in self._slots) and type(self)._average_of is Optimizer._average_of:
            raise ValueError("average: this optimizer keeps none, expected ema=0.999 or the like at construction")
        self._catch_up_unless_at_work()
        return unflatten(self._structure, iter([self._average_of(s) for s in self._slots]))

    def _catch_up_unless_at_work(self) -> None:
        """Catch up before something is read, unless a schedule reads it in the middle of a step."""
        if not self._at_work():
            with self._exclusive():
                self._backend.catch_up(None)

    def _average_of(self, slot: Parameter) -> Any:
        return slot.own["averaged"].view() if "averaged" in slot.own else slot.caller

    def report(self) -> dict[str, Any]:
        """Return what the last step that was made did.

        Returns
        -------
        dict
            ``steps``; ``skipped``, the steps not made because of ``nonfinite="skip"``; ``groups``, a dict for each: ``lr``;
            ``clipped``, whether ``clip_norm`` or ``clip_global_norm`` shortened a gradient; ``at_bounds``, elements that lie on a
            bound now; with ``norms=True`` the ``gradient_norm`` that the rule was given (after clipping and L2), the
            ``unclipped_norm`` before that (where clipping was asked for at construction; else None), the ``update_norm`` of what
            the parameters moved by (between their bounds) and the ``update_ratio``, that over the parameters' norm before the
            step. What is not known, and the ratio to a norm of 0, is None.
        """
        self._catch_up_unless_at_work()
        return report.report(self)

    def explain(self, name: str, index: Any, grad: float) -> None:
        """Print every intermediate of one element's next step: the rule's own lines, and the stages around it.

        Nothing is changed. Where elements are stored below 32 bits, what the step computes before it rounds is shown; where a stage
        needs sums over arrays, as clipping by norms does, a line says that the rest is as if it changed nothing.

        Parameters
        ----------
        name : str
            Of the parameter.
        index : int or tuple of int
            Of the element.
        grad : float
            Its gradient.

        Raises
        ------
        TypeError
            For a name that is no text.
        KeyError, IndexError
            For a parameter or an element that there is not.
        ValueError
            For a rule that sums over arrays, and for complex parameters.
        """
        from . import explain

        explain.explain(self, name, index, grad)

    def catch_up(self, rows: Any = None) -> None:
        """Make the steps that rows without a gradient are behind (``mode="exact"``): call it before you read or write them.

        Saving, `state_dict`, copies, `load_state_dict`, `reset`, `fingerprint`, `average` and `report` do so for all rows.

        Parameters
        ----------
        rows : as the parameters, optional
            The rows that you are going to use, array_like of int for each parameter, None for one of which you use none:
            ``catch_up({"table": [3, 41], "bias": None})``. Without, all rows of all parameters.

        Raises
        ------
        TypeError, ValueError
            For rows that are not there, and those nested otherwise than the parameters.
        """
        with self._exclusive():
            if rows is None:
                self._backend.catch_up(None)
                return
            found = collect(self._structure, rows, "rows")
            self._backend.catch_up(
                [None if x is None else check_indices(s.name, s.array, x) for s, x in zip(self._slots, found, strict=True)]
            )

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
        with self._exclusive():
            if not self._grouped or self._structure is None:
                raise ValueError("add_group: this optimizer was not built from groups, expected [{'params': ...}, ...]")
            if not isinstance(group, dict) or "params" not in group:
                raise ValueError("add_group: expected a dict with 'params'")
            child, given = flatten(group["params"], str(len(self._groups)))
            leaves = self._adopted(given)
            check_parameters(leaves, self._memory, self._slots)
            added = arguments.make_group(self, arguments.group_options(group, self.defaults), [a for _, a in leaves])
            new = self._slots_of(added, str(len(self._groups)), leaves)
            structure = Structure(None, [*self._structure.children, child], "")
            self._lay_out(structure, self._slots + new, [*self._groups, added], given, new)

    def reset(self) -> None:
        """Set state and step counts as at construction; parameters stay."""
        with self._exclusive():
            self._backend.catch_up(None)
            self._set_counters([(0, list(s.rule.kept.values()), False) for s in self._slots], (0, 0, 0))
            for slot in self._slots:
                slot.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return state, step counts and hyperparameters, copied, arrays in C order."""
        with self._exclusive():
            return checkpoint.state_of(self)

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
        checkpoint.load_state(self, state_dict, None, hyperparameters)

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
        checkpoint.save(self, path, extra)

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
        return checkpoint.load(self, path, hyperparameters)

    def fingerprint(self) -> str:
        """Return SHA-256 of parameters, state and step counts in a fixed order: the same on every machine (NaNs are one NaN)."""
        return checkpoint.fingerprint(self)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._exclusive():
            state = {
                "params": self.params,
                "grouped": self._grouped,
                "groups": [(g.chosen, dict(g.options)) for g in self._groups],
                "saved": checkpoint.state_of(self),
                "bound": self._bound_list(),
                "attributes": {k: v for k, v in vars(self).items() if k not in FIELDS and k not in ("_places", "_memory")},
            }
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["attributes"])
        params = dispatch.memory_of(state["params"]).own(state["params"])
        self._build(params, [chosen for chosen, _ in state["groups"]], state["grouped"], start=False)
        for group, (_, now) in zip(self.groups, state["groups"], strict=True):
            group.update({k: x for k, x in now.items() if k not in ARRAY_OPTIONS})
        self.load_state_dict(state["saved"], hyperparameters="keep")
        if state["bound"] is not None:
            self._bind_list(self._memory.own(state["bound"]) if self._settings.zero_grads else state["bound"])

    def __dir__(self) -> list[str]:
        """Return what users may use: neither what subclasses declare nor what the package keeps for itself."""
        return [name for name in super().__dir__() if name not in DECLARATIONS and (name[0] != "_" or name.startswith("__"))]

    def __repr__(self) -> str:
        return display.text(self)

    def _repr_html_(self) -> str:
        return display.html(self)


Optimizer.__doc__ = (Optimizer.__doc__ or "").replace("{common}", common_doc(["torch"], whole=True))
DECLARATIONS = {
    "arguments",
    "update",
    "rule",
    "conventions",
    "tuple_arguments",
    "choices",
    "option_defaults",
    "unsupported_options",
}
DECLARATIONS |= {"fallback_rule", "uses_fallback", "fallback_names", "weight_decay_stage", "choose_weight_decay", "initial_state"}
DECLARATIONS |= {"constants", "defaults"}


def check_parameters(leaves: list[tuple[str, Any]], memory: Memory, existing: Sequence[Parameter] = ()) -> None:
    """Raise if one of these cannot be optimized, together with those that already are."""
    if not leaves:
        raise ValueError("params: no arrays, expected at least one")
    arrays: dict[str, np.ndarray] = {}
    names = {slot.name for slot in existing}
    for name, a in leaves:
        if name in arrays or name in names:
            raise ValueError(f"params: two parameters have the name {name!r}")
        if "\0" in name or (not name.isprintable() and "\ud800" <= max(name) <= "\udfff"):
            raise ValueError(f"params: the name {name!r} holds a null character or half a character, which a file's names cannot")
        memory.check(f"parameter {name!r}", a)
        arrays[name] = a
    written = [*((f"parameter {n!r}", a) for n, a in arrays.items()), *(x for slot in existing for x in slot.written())]
    overlap.check_disjoint((what, memory.located(a)) for what, a in written)


def is_of_group(name: str, k: int) -> bool:
    """Return whether a parameter's name is that of one in group `k`."""
    return name.split("/")[0] == str(k)
