"""Optimizer: the base class of all optimizers."""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from .._arrays.changes import commit
from .._arrays.memory import HOST, Memory
from .._arrays.row_gradient import check_indices
from .._arrays.tree import Structure, collect, flatten, listed, unflatten
from .._engine import dispatch
from .._engine.stepper import Stepper
from . import arguments, checkpoint, copies, display, docstrings, loading, matching, names, report, spans, state
from .array_options import clipped_starts
from .checkpoint import check_count
from .groups import Group, check_hyperparameter, groups_with_lr
from .options import FIXED, OF_OPTIMIZERS
from .parameter import Parameter, check_master, check_parameters, is_of_group


class Optimizer(Stepper):
    """Base class of all optimizers, which document their own rules.

    `step` and `bind` are compiled. Calling them while another thread is in a step raises RuntimeError.

    {parameters}

    Notes
    -----
    A subclass declares itself by class attributes and methods:

    ``arguments``
        Its own arguments with torch's defaults. Numbers have the names of the rule's hyperparameters.
    ``update``, or ``rule(options)``
        Its update function, or the one that a group's options choose.
    ``conventions``, ``minimization_defaults``
        Defaults that differ in other packages, and in `fastopt.minimize`.
    ``tuple_arguments``, ``choices``
        Arguments that hold several hyperparameters, with the names of those. String arguments with their allowed values, where
        None selects the first.
    ``option_defaults``, ``unsupported_options``
        Options with other defaults; options that the optimizer refuses.
    ``fallback_rule(options)``, ``uses_fallback(options)``, ``fallback_names``
        The update function of arrays that the rule does not accept; True if a group uses it for every array; the arguments that
        set its hyperparameters.
    ``weight_decay_stage``, or ``choose_weight_decay(options)``
        The stage that applies ``weight_decay`` ("l2", "decoupled", "late_decay", "proximal"); None if the rule has it.
    ``initial_state(options)``, ``constants(options, arrays)``
        First values of state that does not begin at zero. Hyperparameters that a string argument, or None, stands for.
    """

    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    minimization_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    tuple_arguments: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({"betas": ("beta1", "beta2")})
    option_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    unsupported_options: ClassVar[Sequence[str]] = ()
    choices: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({})
    fallback_names: ClassVar[Mapping[str, str]] = MappingProxyType({})
    weight_decay_stage: str | None = "l2"
    update: Callable[..., Any]
    last_load: matching.LoadReport | None = None
    _memory: Memory = HOST
    # Run interpreted even if the rule is compiled.
    _interpreted: ClassVar[bool] = False
    # Places of the parameters by name, for `state`; they only ever become more.
    _places: Mapping[str, int] = MappingProxyType({})

    def __init_subclass__(cls, **other: Any) -> None:
        """Give a subclass the signature of its arguments, and its docstring the common parts."""
        super().__init_subclass__(**other)
        cls.__signature__ = arguments.signature(cls.arguments)  # type: ignore[attr-defined]
        cls.__doc__ = docstrings.assemble(cls)

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the update function that a group's options choose."""
        return self.update

    def fallback_rule(self, options: Mapping[str, Any]) -> Callable[..., Any] | None:
        """Return the update function of arrays that the rule does not accept."""
        return None

    def uses_fallback(self, options: Mapping[str, Any]) -> bool:
        """Return True if a group uses the fallback for every array."""
        return False

    def choose_weight_decay(self, options: Mapping[str, Any]) -> str | None:
        """Return the stage of a group's ``weight_decay``, or None if the rule has it."""
        return "decoupled" if options.get("decoupled_weight_decay") else self.weight_decay_stage

    def initial_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        """Return first values of state that does not begin at zero."""
        return {}

    def constants(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, float]:
        """Return hyperparameters of the rule that a string argument, or None, stands for."""
        return {}

    def __init__(self, params: Any, *positional: Any, convention: str = "torch", **options: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: a base class, expected a subclass such as fastopt.Adam, or fastopt.optimizer(rule, params)")
        found = arguments.resolve(type(self), positional, convention, options)
        params, groups = arguments.split_groups(params, found.defaults)
        before, backend = dict(vars(self)), self._backend
        try:
            self._convention = convention
            self.defaults, self._settings, self.weight_decay_stage = found.defaults, found.settings, found.weight_decay_stage
            self._build(params, [self.defaults] if groups is None else groups, groups is not None)
        except BaseException:
            # A second construction that fails leaves the first.
            if self._backend is backend:
                vars(self).update(before)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        is_new = name[:1] != "_" and "defaults" in vars(self) and name not in vars(self) and not hasattr(type(self), name)
        if is_new and (hint := names.place_of(name, value, self.defaults, OF_OPTIMIZERS, FIXED)):
            raise AttributeError(f"{name}: nothing would read this attribute; {hint}")
        super().__setattr__(name, value)

    def _build(self, params: Any, options: list[dict[str, Any]], grouped: bool, start: bool = True) -> None:
        """Lay out parameters and groups; with `start`, move parameters between their bounds."""
        # A second construction must not begin within a step either: the backend at work has to stay.
        if self._backend is None:
            self._lay_out_all(params, options, grouped, start)
        else:
            self._exclusively(self._lay_out_all, params, options, grouped, start)

    def _lay_out_all(self, params: Any, options: list[dict[str, Any]], grouped: bool, start: bool) -> None:
        tree, pieces = spans.opened(params, self._settings)
        memory = dispatch.memory_of(tree)
        structure, given = flatten(tree)
        with memory.device_context():
            self._grouped, self._memory, self._packed = grouped, memory, None if pieces is None else params
            leaves = self._adopted(given)
            check_parameters(leaves, self._memory)
            members = [[x for x in leaves if not grouped or is_of_group(x[0], k)] for k in range(len(options))]
            paths = [str(k) if grouped else None for k in range(len(options))]
            groups, parameters = arguments.make_groups(self, list(zip(options, paths, members, strict=True)), 0, pieces)
            if pieces is not None:
                structure, given = spans.laid_out(params, pieces, parameters, self._settings.span)
            check_master(parameters, self._settings)
            self._lay_out(structure, parameters, groups, given, parameters if start else [])

    def _lay_out(
        self,
        structure: Any,
        parameters: list[Parameter],
        groups: list[Group],
        given: Sequence[tuple[str, Any]],
        new: Sequence[Parameter],
    ) -> None:
        """Use these parameters, of which the last ones were `given`, in this form; move the new ones between their bounds."""
        starts = [change for parameter, within in clipped_starts(new) for change in parameter.beginning(within)]
        backend = dispatch.backend(structure, parameters, groups, self._settings, self._interpreted)
        for parameter, (_, a) in zip(parameters[len(parameters) - len(given) :], given, strict=True):
            parameter.original = a
        commit([partial(self._attach, backend, structure, parameters, groups, self._settings), *starts])

    def _adopted(self, given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return parameters by name, those of other libraries as arrays over their memory."""
        return [(name, self._memory.shared(f"parameter {name!r}", a)) for name, a in given]

    @property
    def params(self) -> Any:
        """The parameters, in dicts and lists nested as they were given (groups: a list)."""
        return unflatten(self._structure, iter([s.original for s in self._parameters]))

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """First element of each parameter, in C order, that is stepped, and the one after the last, by name."""
        return {s.name: s.span for s in self._parameters}

    @property
    def groups(self) -> list[Group]:
        """Groups of hyperparameters: mappings whose numbers and schedules can be set."""
        return list(self._groups)

    @property
    def lr(self) -> float | list[float]:
        """Learning rate of the next step; a list if groups differ. Assigning sets it in every group."""
        rates = [g.number("lr", self.steps) for g in groups_with_lr(self)]
        return rates[0] if len(set(rates)) == 1 else rates

    @lr.setter
    def lr(self, value: Any) -> None:
        check_hyperparameter("lr", value)
        commit([change for group in groups_with_lr(self) for change in group.changes("lr", value)])

    @property
    def state(self) -> state.State:
        """State by parameter name: a mapping with the step count ``"step"``, the rule's carried numbers, and its arrays.

        Arrays are live views; those stored in fewer bits are read-only copies in float32. ``"gathered"``, with ``accumulate=k``, is
        in units of the smallest power of two that is at least k. Every entry can be set in place, and shape and dtype are checked:
        ``optimizer.state["w"]["m"] = array``, ``optimizer.state["w"]["step"] = 5`` (`steps` sets all counts at once).
        """
        if len(self._places) != len(self._parameters):
            self._places = {parameter.name: k for k, parameter in enumerate(self._parameters)}
        return state.State(self, self._places)

    @property
    def steps(self) -> int:
        """Number of updates so far. Assigning sets every parameter's count, from which schedules and bias corrections go on."""
        return self._steps()

    @steps.setter
    def steps(self, value: Any) -> None:
        self._commit(self._counting_from, check_count("steps", value))

    def _counting_from(self, count: int) -> list[Callable[[], object]]:
        """Return the change that sets all counts of steps."""
        each, (_, gathered, skipped) = self._counters()
        firsts = (s.first_counter[0] for s in self._parameters)
        counted: Any = [(first + count, carry, pending) for first, (_, carry, pending) in zip(firsts, each, strict=True)]
        return [partial(self._set_counters, counted, (count, gathered, skipped))]

    @property
    def average(self) -> Any:
        """Averages of the parameters, in their structure: live views of ``ema``'s arrays; parameters of groups without ``ema``."""
        if not any("averaged" in s.stage_arrays for s in self._parameters) and type(self)._average_of is Optimizer._average_of:
            raise ValueError("average: this optimizer keeps none, expected ema=0.999 or the like at construction")
        self._catch_up_unless_at_work()
        return unflatten(self._structure, iter([self._average_of(s) for s in self._parameters]))

    def _catch_up_unless_at_work(self) -> None:
        """Make the steps that rows are behind before something is read, unless a schedule reads it within a step."""
        if not self._at_work():
            self._exclusively(self._backend.catch_up, None)

    def _average_of(self, parameter: Parameter) -> Any:
        return parameter.stage_arrays["averaged"].view() if "averaged" in parameter.stage_arrays else parameter.original

    def report(self, *, flat: bool = False, per_parameter: bool = False) -> dict[str, Any]:
        """Return a summary of the last completed step.

        Parameters
        ----------
        flat : bool, default False
            One level, for tables and logs: Python's numbers by name, without what is unknown. Names of several groups begin with
            the group's number, as in ``"0/lr"``, those of parameters with theirs, as in ``"w/update_norm"``.
        per_parameter : bool, default False
            Add ``parameters``: the norms of each, by name.

        Returns
        -------
        dict
            ``steps``; ``skipped``, the steps that ``nonfinite="skip"`` left out; ``groups``, a dict for each: ``lr``;
            ``clipped``, True if ``clip_norm`` or ``clip_global_norm`` shortened a gradient; ``at_bounds``, the number of elements
            on a bound. With ``norms=True`` also ``gradient_norm``, as the rule takes it (after clipping and L2);
            ``unclipped_norm``, before that (None unless clipping was asked for at construction); ``update_norm``, of the
            parameters' movement (between their bounds); ``update_ratio``, that over the parameters' norm before the step. Unknown
            values, and a ratio to a norm of 0, are None.
        """
        self._catch_up_unless_at_work()
        return report.report(self, flat, per_parameter)

    def explain(self, name: str, index: Any, grad: float) -> None:
        """Print every intermediate of one element's next step: the lines of its rule, and the stages around it.

        Parameters and state keep their values; rows that are behind are caught up, and schedules are evaluated. Values are shown
        before they are rounded to less than 32 bits. A stage that needs sums over arrays, such as clipping by norm, is shown as if
        it changed nothing, with a note.

        Parameters
        ----------
        name : str
            Name of the parameter.
        index : int or tuple of int
            Place of the element.
        grad : float
            Its gradient.

        Raises
        ------
        TypeError
            If the name is not a string.
        KeyError, IndexError
            If there is no such parameter or element.
        ValueError
            If the rule sums over arrays, or the parameter is complex or on a device.
        """
        from . import explain

        self._exclusively(explain.explain, self, name, index, grad)

    def catch_up(self, rows: Any = None) -> None:
        """Make the steps that rows without a gradient are behind (``mode="exact"``). Call it before you read or write them.

        `save`, `state_dict`, copies, `load`, `load_state_dict`, `reset`, `fingerprint`, `state`, `average`, `report`, `explain` and
        `add_group` call it for all rows, as does setting `steps`.

        Parameters
        ----------
        rows : nested like the parameters, optional
            Row numbers for each parameter, array_like of int, or None for no row: ``catch_up({"table": [3, 41], "bias": None})``.
            Default: all rows of all parameters.

        Raises
        ------
        TypeError, ValueError
            If a row does not exist, or the rows are not nested like the parameters.
        """
        self._exclusively(self._catch_up, rows)

    def _catch_up(self, rows: Any) -> None:
        found: Any = None
        if rows is not None:
            each = zip(self._parameters, collect(self._structure, rows, "rows"), strict=True)
            found = [None if x is None else check_indices(s.name, s.array, x) for s, x in each]
        self._backend.catch_up(found)

    def add_group(self, group: dict[str, Any]) -> None:
        """Add parameters with their own hyperparameters to an optimizer that was built from groups.

        Bound gradients are released.

        Parameters
        ----------
        group : dict
            ``"params"``, and those arguments of the constructor that differ from its defaults.

        Raises
        ------
        TypeError, ValueError
            As the constructor. Nothing has changed.
        """
        self._exclusively(self._add_group, group)

    def _add_group(self, group: Any) -> None:
        if not self._grouped or self._structure is None:
            raise ValueError("add_group: this optimizer was not built from groups, expected [{'params': ...}, ...]")
        if not isinstance(group, dict) or "params" not in group:
            raise ValueError("add_group: expected a dict with 'params'")
        origin = len(self._structure.children)
        child, given = flatten(listed(group["params"]), str(origin))
        leaves = self._adopted(given)
        check_parameters(leaves, self._memory, self._parameters)
        options = arguments.group_options(group, self.defaults)
        added, new = arguments.make_groups(self, [(options, str(origin), leaves)], origin)
        structure = Structure(None, [*self._structure.children, child], "")
        self._lay_out(structure, self._parameters + new, [*self._groups, *added], given, new)

    def reset(self) -> None:
        """Reset state and step counts to those of a new optimizer; parameters stay as they are."""
        self._commit(self._resetting)

    def _resetting(self) -> list[Callable[[], object]]:
        first: Any = [s.first_counter for s in self._parameters]
        writes = [change for parameter in self._parameters for change in parameter.resetting()]
        return [partial(self._set_counters, first, (0, 0, 0)), *writes]

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of state, step counts and hyperparameters; arrays in C order.

        Returns
        -------
        dict
            ``"state"`` (by parameter and entry), ``"groups"``, ``"steps"``, ``"settings"`` and what `load_state_dict` checks:
            plain numbers, strings and arrays. Parameters are not in it.
        """
        return self._exclusively(checkpoint.state_of, self)  # type: ignore[no-any-return]

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        *,
        hyperparameters: str | Mapping[str, str] | None = None,
        only: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | Callable[[str], str] | None = None,
        missing: str | Mapping[str, Any] = "raise",
        unexpected: str | Sequence[str] = "raise",
        cast: bool = False,
    ) -> None:
        """Load state, step counts and, if asked, hyperparameters.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict` of an optimizer of the same class, with the same names, shapes and dtypes, or as the others allow.
        hyperparameters : {None, "keep", "restore"} or dict of them by name
            What to do if hyperparameters, or settings such as ``nonfinite``, differ: raise, keep this optimizer's, or restore the
            saved ones; for all, or for some alone, as in ``{"lr": "keep"}``. Functions other than `schedules` cannot be compared,
            so they count as different. They, and choices such as ``maximize``, cannot be restored: construct with them, and keep.
        only, rename, missing, unexpected, cast
            As in `load`.

        Raises
        ------
        TypeError, ValueError
            If anything does not fit. Nothing has changed.
        """
        choices = matching.Choices(only, rename, missing, unexpected, cast)
        loading.load_state(self, state_dict, None, hyperparameters, choices)

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a restart file: parameters, state, step counts, hyperparameters and the user's own values.

        Parameters
        ----------
        path : path
            An ``.npz`` file without pickle, under exactly this name. A temporary file is written next to it, synced and renamed, so
            a crash leaves the old file.
        extra : mapping of str, optional
            Arrays, numbers, strings, None, and lists and dicts of them, such as a NumPy generator's ``bit_generator.state``.

        Raises
        ------
        TypeError, ValueError
            If `extra` has values that a file without pickle cannot hold. Nothing has been written.
        OSError
            If the system cannot write.
        """
        self._exclusively(checkpoint.save, self, path, extra)

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        hyperparameters: str | Mapping[str, str] | None = None,
        only: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | Callable[[str], str] | None = None,
        missing: str | Mapping[str, Any] = "raise",
        unexpected: str | Sequence[str] = "raise",
        cast: bool = False,
    ) -> dict[str, Any]:
        """Load a file of `save` into these parameters, in place, and into this optimizer: all of it, or what fits.

        `last_load` says afterwards what was taken, kept, reset and ignored.

        Parameters
        ----------
        path : path
        hyperparameters : {None, "keep", "restore"} or dict
            As in `load_state_dict`; compared for groups of which a parameter is loaded.
        only : str or sequence of str, optional
            Names of parameters here, or patterns such as ``"encoder/*"``: only those are loaded. All else, and the optimizer's
            counts and settings, stay as they are.
        rename : dict or function of a str, optional
            Names here by saved names, or a function that returns one; names that a dict lacks are the same.
        missing : {"raise", "keep", "reset"} or dict of these by names or patterns
            Treatment of a parameter, or an array of its state, that was not saved: an error, it stays as it is, or its state begins
            anew. So does a parameter of another shape, if `unexpected` allows for it.
        unexpected : {"raise", "ignore"} or sequence of str
            Treatment of a saved parameter, or an array of state, that is not here; or the saved names, or patterns, to ignore.
        cast : bool
            Convert arrays of other dtypes and storage formats, to nearest.

        Returns
        -------
        dict
            The user's own values (``extra``).

        Raises
        ------
        TypeError, ValueError
            If the file does not fit. Nothing has changed.
        OSError
            If it cannot be read.
        """
        return loading.load(self, path, hyperparameters, matching.Choices(only, rename, missing, unexpected, cast))

    def fingerprint(self) -> str:
        """Return the SHA-256 of parameters, state and step counts, which is the same on every machine (all NaNs are equal).

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return self._exclusively(checkpoint.fingerprint, self)  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self._exclusively(copies.pickled, self)  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        copies.unpickle(self, state)

    def __dir__(self) -> list[str]:
        """Return the public names: neither declarations for subclasses nor internals."""
        return [name for name in super().__dir__() if docstrings.is_public(name)]

    def __repr__(self) -> str:
        return display.text(self)

    def _repr_html_(self) -> str:
        return display.html(self)


Optimizer.__doc__ = docstrings.of_base(Optimizer)
