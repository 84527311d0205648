"""The base class of torch optimizers over the engine."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

import torch

from .._arrays import layout
from .._arrays.changes import commit
from .._arrays.row_gradient import RowGradient
from .._engine import dispatch
from .._engine.interpreted import InterpretedBackend
from .._engine.stepper import Counter
from .._optimizer.by_name import by_name
from .._optimizer.checkpoint import ceil_log2
from .._optimizer.loading import check_unit
from .._optimizer.optimizer import Optimizer as Fast
from .._optimizer.options import OPTIONS
from .arguments import arguments, check_decoupled, check_implementation
from .entry import Entry
from .parameter import NAMES, TorchParameter, hand_on, write_all
from .state import State

is_lazy = torch.nn.parameter.is_lazy
# Describes tensors in C, without an object for each; torch has it from 2.10 on.
EXCHANGE: Any = None
if dispatch.ISA != dispatch.INTERPRETED:
    from .._engine.gradients import exchange_of

    EXCHANGE = exchange_of(torch.Tensor)


def storage_signature(tensors: list[Any]) -> list[tuple[Any, ...]]:
    """Return address, dtype, shape and strides of tensors."""
    return [(t.data_ptr(), t.shape, t.stride(), t.dtype, t.is_conj(), t.is_neg()) for t in tensors]


class Optimizer(torch.optim.Optimizer):  # type: ignore[misc]
    """A torch optimizer over an optimizer of fastopt: the base of those here, and of what `optimizer` makes."""

    __module__ = "fastopt.torch"
    cls: ClassVar[type[Fast]]
    param_groups: list[dict[str, Any]]

    def __init__(self, params: Any, *positional: Any, **options: Any) -> None:
        if not hasattr(type(self), "cls"):
            raise TypeError("Optimizer: a base class, expected a class such as fastopt.torch.Adam, or optimizer(rule, ...)")
        cls = self.cls
        options = arguments(cls, positional, options)
        if options.get("zero_grads"):
            raise ValueError("zero_grads: gradients are torch's, expected zero_grad(set_to_none=False)")
        preset = {k: x for k, x in cls.conventions.get(options.get("convention", "torch"), {}).items() if k in cls.arguments}
        of_groups = {k: x for k, x in options.items() if k in cls.arguments or k in OPTIONS}
        self.settings = {k: x for k, x in options.items() if k not in of_groups}
        self.names = next((NAMES[c.__name__] for c in cls.__mro__ if c.__name__ in NAMES), {})
        self.loading: dict[str, Any] | None = None
        super().__init__(params, {**cls.arguments, **preset, "maximize": False, **of_groups})
        self._build()
        self._state = State(self)

    @property
    def fast(self) -> Fast:
        """The optimizer of fastopt that makes the steps, with ``report()``, ``average`` and ``fingerprint()``."""
        if not self._fast._at_work():
            self._sync()
        return self._fast

    def _members(self) -> list[dict[str, Any]]:
        """Return the tensors of each group by name: each once, and those of lazy modules from their first use on."""
        found: list[dict[str, Any]] = []
        seen: set[int] = set()
        for group in self.param_groups:
            names = group.get("param_names") or []
            found.append({})
            for k, p in enumerate(group["params"]):
                name = names[k] if k < len(names) else str(k)
                if id(p) not in seen and not is_lazy(p):
                    # Two networks may have the same names.
                    while name in found[-1]:
                        name += f"#{k}"
                    found[-1][name] = p
                    seen.add(id(p))
        if not seen:
            found[0]["nothing"] = torch.empty(0, dtype=torch.bfloat16 if self.settings.get("master") else torch.float32)
        return found

    def _build(self) -> None:
        """Build the engine's optimizer for the current groups."""
        known = self.known = {*self.cls.arguments, *OPTIONS}
        members = self._members()
        options = [options_of(self.cls, group, known) for group in self.param_groups]
        groups = [{"params": params, **chosen} for params, chosen in zip(members, options, strict=True)]
        self._fast = self.cls(groups, **self.settings)
        if not isinstance(self._fast._backend, InterpretedBackend):
            self._fast._backend.expect_threads()
        self.tensors = [p for params in members for p in params.values()]
        self.given = [p for group in self.param_groups for p in group["params"]]
        self.lazy = [p for p in self.given if is_lazy(p)]
        self._note_groups()

    def _note_groups(self) -> None:
        """Note the options of the groups that the engine has, and how it gets its gradients."""
        known = self.known
        self.keys = [[k for k in group if k in known] for group in self.param_groups]
        self.synced = [[number(group[k]) for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]
        # The interpreted backend sees arrays: a complex tensor may be conjugated without its memory showing it.
        compiled = not isinstance(self._fast._backend, InterpretedBackend)
        self.exchange = EXCHANGE if compiled and not any(p.is_complex() for p in self.tensors) else None
        self.signature = [] if self.exchange else storage_signature(self.tensors)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch does; existing state stays.

        Parameters
        ----------
        param_group : dict
            ``"params"``, and hyperparameters and options that differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            If the group does not fit. Nothing has changed.
        """
        check_implementation(param_group)
        before = list(self.param_groups)
        super().add_param_group(param_group)
        if hasattr(self, "_fast"):
            try:
                self._rebuild()
            except BaseException:
                self.param_groups[:] = before
                raise

    def _rebuild(self) -> None:
        """Build again for other groups, choices or addresses; existing parameters keep their state and counts."""
        self._state.pull()
        staying = {id(p) for group in self.param_groups for p in group["params"]}
        for p in self.tensors:
            if id(p) not in staying:
                self._state.entry(p)  # Its state goes on without the engine.
        self._fast.catch_up()
        each, overall = self._fast._counters()
        before = {
            id(p): (parameter, counted) for p, parameter, counted in zip(self.tensors, self._fast._parameters, each, strict=True)
        }
        attributes = dict(vars(self))
        try:
            self._build()
            now, _ = self._fast._counters()
            for k, (p, parameter) in enumerate(zip(self.tensors, self._fast._parameters, strict=True)):
                old, (t, numbers, pending) = before.get(id(p), (None, now[k]))
                if old is not None:
                    hand_on(old, parameter)
                now[k] = (parameter.counted(t), numbers if len(numbers) == len(now[k][1]) else now[k][1], pending)
            self._fast._set_counters(now, overall)
        except BaseException:
            self.__dict__.update(attributes)
            raise
        self._state.attach_engine()

    @property
    def state(self) -> State:
        """State of each parameter that has had a gradient, live, by torch's names; entries can be set, and may have other keys.

        An assigned tensor is copied into the engine's arrays, so that later steps do not change it. A tensor that was read from
        here shows each step until another is assigned in its place.
        """
        return self._state

    @state.setter
    def state(self, entries: Mapping[Any, Any]) -> None:
        if hasattr(self, "_state") and entries is not self._state:
            self._state.pull()
            given, state = dict(entries), State(self)
            state.check(given)
            self._state.detach_all(copied=True)
            self._state = state
            for key in [key for key in state if key not in given]:
                del state[key]
            state.update(given)

    def _load_entries(self, entries: Mapping[Any, Any], counts: Mapping[str, Any] | None = None) -> None:
        """Load state, all or nothing; parameters without an entry begin anew. `counts` is from `_counts`."""
        state, counts = State(self), counts or {}
        found = [
            self._read(named, entries.get(p) or {}, bool(waits), int(t))
            for p, named, waits, t in zip(self.tensors, state.parameters, *self._counted(counts), strict=True)
        ]
        overall = counts.get("whole", (max((t for (t, _, _), _, _ in found), default=0), 0, 0))
        unit = check_unit(counts.get("gathered_unit", 0)) - ceil_log2(self._fast._settings.accumulate)
        anew = [named.parameter for named, (_, _, has_begun) in zip(state.parameters, found, strict=True) if not has_begun]
        commit([change for parameter in anew for change in parameter.resetting()])
        self._fast._set_counters([counter for counter, _, _ in found], tuple(map(int, overall)))  # type: ignore[arg-type]
        write_all([x for _, writes, _ in found for x in writes])
        if unit and overall[1]:
            scale_gathered(self._fast._parameters, 2.0**unit)
        if hasattr(self, "_state"):
            # The engine that it showed is gone.
            self._state.detach_all(copied=False)
        self._state = state
        state.put_others(entries)

    def _counted(self, counts: Mapping[str, Any]) -> tuple[list[Any], list[int]]:
        """Return which parameters have gathered gradients, and their steps; none if other tensors had memory then."""
        none = [0] * len(self.tensors)
        known = counts if len(counts.get("pending", ())) == len(self.tensors) else {}
        return known.get("pending", none), known.get("steps", none)

    def _read(self, named: TorchParameter, entry: Mapping[Any, Any], waits: bool, count: int) -> tuple[Counter, list[Any], bool]:
        """Return the counters and writes of an entry, and False if its state is still to begin; raise if it does not fit.

        `count` is the number of steps if the entry does not say it.
        """
        parameter, writes = named.parameter, []
        has_begun = named.has_state(entry, self.cls.__name__)
        numbers = {key: entry.get(self.names.get(key, key)) if has_begun else None for key in parameter.rule.carry}
        firsts = zip(parameter.rule.carry, parameter.first_counter[1], strict=True)
        carry = [first if (x := numbers[key]) is None else float(x) for key, first in firsts]
        for key in parameter.state if has_begun else ():
            writes += named.writes(key, entry)
        t = parameter.counted(int(entry.get("step", count or 1))) if has_begun else parameter.first_counter[0]
        t = count if not (has_begun or named.has_step or named.arrays) else t
        return (t, carry, waits), writes, has_begun

    def _counts(self) -> dict[str, Any]:
        """Return the counts of the whole optimizer, and which parameters have accumulated gradients."""
        each, overall = self._fast._counters()
        unit = ceil_log2(self._fast._settings.accumulate)
        pending = [bool(pending) for _, _, pending in each]
        return {"whole": list(overall), "steps": [t for t, _, _ in each], "pending": pending, "gathered_unit": unit}

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state, and counts under ``"fastopt"``.

        Returns
        -------
        dict
            ``"state"`` and ``"param_groups"``, which torch's optimizer of the same name can load, and ``"fastopt"``.
        """
        self._sync()
        self._fast.catch_up()
        found: dict[str, Any] = super().state_dict()
        state = {k: dict(x) if isinstance(x, dict) else x for k, x in found["state"].items()}
        return {**found, "state": state, "fastopt": self._counts()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this optimizer, or of torch's optimizer of the same name.

        Parameters
        ----------
        state_dict : dict
            From ``state_dict()``. Options that its groups lack stay as they are.

        Raises
        ------
        ValueError
            If groups or state do not fit. Nothing has changed.
        """
        captured: dict[str, Any] = {}
        # torch casts the state that it passes on: take it before.
        handle = self.register_load_state_dict_pre_hook(lambda _, given: captured.update(given))
        self.loading = captured
        before = dict(vars(self))
        try:
            super().load_state_dict(state_dict)
        except BaseException:
            self.__dict__.update(before)
            raise
        finally:
            handle.remove()
            self.loading = None

    def __getstate__(self) -> dict[str, Any]:
        self._sync()
        self._fast.catch_up()
        state = {p: {k: copied(x) for k, x in e.items()} if isinstance(e, Entry) else e for p, e in self.state.items()}
        own = {"settings": self.settings, "names": dict(self.names), "loading": None}
        own["counts"] = self._counts()
        return {"defaults": self.defaults, "state": state, "param_groups": self.param_groups, **own}

    def __reduce__(self) -> tuple[Any, ...]:
        from . import blank, class_of

        made = type(self)
        return blank, (self.cls if made is class_of(self.cls) else made,), self.__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        entries, counts = state["state"], state.get("counts")
        loading = vars(self).get("loading")
        before = self.param_groups if loading is not None else []
        super().__setstate__({k: x for k, x in state.items() if k not in ("state", "counts")})
        if loading is not None:
            for group, old in zip(self.param_groups, before, strict=True):
                for key, x in old.items():
                    group.setdefault(key, x)
            saved = [k for group in loading["param_groups"] for k in group["params"]]
            given = zip((p for group in self.param_groups for p in group["params"]), saved, strict=True)
            entries = {p: loading["state"][k] for p, k in given if k in loading["state"]}
            entries |= {k: x for k, x in loading["state"].items() if k not in saved}
            counts = loading.get("fastopt")
        self._build()
        self._load_entries(entries, counts)

    def _sync(self) -> None:
        """Update the engine with what has changed in the groups, and in counts, since the last step."""
        self._state.pull()
        if self._groups_changed():
            self._rebuild()
            return
        changes = [
            (i, fast, key, x)
            for i, (group, keys, synced, fast) in enumerate(
                zip(self.param_groups, self.keys, self.synced, self._fast.groups, strict=True)
            )
            for key, old in zip(keys, synced, strict=True)
            if not ((x := number(group[key])) is old or x == old)
        ]
        # A choice, such as whether there is a momentum, needs another engine.
        if not all(fast.settable(key) for _, fast, key, _ in changes):
            self._rebuild()
        elif changes:
            self._set(changes)

    def _groups_changed(self) -> bool:
        """Return True if the groups have other parameters or options than the engine."""
        given = [p for group in self.param_groups for p in group["params"]]
        if len(given) != len(self.given) or not all(map(operator.is_, given, self.given)) or not all(map(is_lazy, self.lazy)):
            return True
        return len(self.param_groups) != len(self.keys) or any(
            k in self.known and k not in keys for group, keys in zip(self.param_groups, self.keys, strict=True) for k in group
        )

    def _set(self, changes: list[tuple[int, Any, str, Any]]) -> None:
        """Set hyperparameters of the engine, all or none."""
        done: list[tuple[Any, str, Any]] = []
        for i, fast, key, x in changes:
            try:
                old = fast[key]
                fast[key] = x
                done.append((fast, key, old))
            except BaseException as error:
                for of_fast, name, old in reversed(done):
                    of_fast[name] = old
                if isinstance(error, (TypeError, ValueError)):
                    raise type(error)(f"param_groups[{i}]: {error}") from None
                raise
        self.synced = [[number(group[k]) for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients, in place.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.

        Returns
        -------
        loss
            The result of `closure`; None without.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not dense or not on the CPU, a gradient is not on the CPU, or a hyperparameter does not fit.
            Nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._sync()
        grads = [p.grad for p in self.tensors]
        arrays = self._arrays(grads)
        self._fast._step_list(arrays)
        self._state.stepped(grads)
        # Autograd must notice that saved values have changed.
        torch.autograd.graph.increment_version([p for p, g in zip(self.tensors, grads, strict=True) if g is not None])
        return loss

    def _arrays(self, grads: list[Any]) -> list[Any]:
        """Return arrays over the gradients, after checking the parameters' addresses.

        No gradient is kept, so that its memory is free once the caller drops it.
        """
        if self.exchange:
            arrays: list[Any] | None = self._fast._backend.over(self.exchange, torch.Tensor, self.tensors, grads, self._array_of)
            if arrays is not None:
                return arrays
        if self.exchange or storage_signature(self.tensors) != self.signature:
            self._rebuild()
        return [self._array_of(k, g) for k, g in enumerate(grads)]

    def _array_of(self, k: int, g: Any) -> Any:
        """Return a gradient as an array over its memory; one of rows as a `RowGradient`."""
        if g is None:
            return None
        what = f"gradient of {self._fast._parameters[k].name!r}"
        if g.layout == torch.sparse_coo and g.sparse_dim() == 1:
            g = g.coalesce()
            return RowGradient(g.indices()[0].numpy(), layout.of_torch(what, g.values()))
        return layout.of_torch(what, g.detach().resolve_conj().resolve_neg())


def scale_gathered(parameters: Iterable[Any], factor: float) -> None:
    """Multiply accumulated gradients, whose unit depends on the number that makes a step."""
    for parameter in parameters:
        if "gathered" in parameter.stage_arrays:
            parameter.stage_arrays["gathered"] *= parameter.real.type(factor)


def copied(x: Any) -> Any:
    return x.clone() if isinstance(x, torch.Tensor) else x


def number(x: Any) -> Any:
    """Return a hyperparameter without torch: a learning rate may be a tensor."""
    if isinstance(x, torch.Tensor):
        return float(x)
    return tuple(map(number, x)) if isinstance(x, (tuple, list)) else x


def options_of(cls: type[Fast], group: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the options of a group that fastopt knows, without torch; raise for those by names of parameters."""
    check_decoupled(cls, group)
    found = {k: number(x) for k, x in group.items() if k in known}
    if named := by_name(found):
        raise TypeError(f"{min(named)}: a dict of values by name, expected groups, which torch's optimizers have for that")
    return found
