"""Optimizers for PyTorch: `optimizer` gives a ``torch.optim.Optimizer`` whose steps fastopt's engine makes on the CPU.

Learning rate schedulers, closures, hooks, parameter groups and checkpoints are torch's own; checkpoints go both ways between it and
torch's optimizer of the same name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError("fastopt.torch needs PyTorch: pip install torch") from error

from .._arrays import layout
from .._arrays.row_gradient import RowGradient
from .._engine import dispatch
from .._engine.interpreted import InterpretedBackend
from .._optimizer.checkpoint import ceil_log2, check_unit
from .._optimizer.optimizer import Optimizer as Fast
from .._optimizer.options import OPTIONS
from ..custom import Rule
from .slot import NAMES, OPTIONAL, hand_on
from .state import Entry, State

EXCHANGE: Any = None  # what tells where tensors lie without an object for each; torch has it from 2.10 on
if dispatch.ISA != dispatch.INTERPRETED:
    from .._engine.gradients import exchange_of

    EXCHANGE = exchange_of(torch.Tensor)


def laid(tensors: list[Any]) -> list[tuple[Any, ...]]:
    """Return where tensors are, and how their numbers are laid out there."""
    return [(t.data_ptr(), t.shape, t.stride(), t.dtype, t.is_conj(), t.is_neg()) for t in tensors]


class Optimizer(torch.optim.Optimizer):  # type: ignore[misc]
    """A torch optimizer over one of fastopt's; see `optimizer`, which makes it.

    Attributes
    ----------
    fast : fastopt.Optimizer
        What makes the steps: for its ``report()``, ``average``, ``fingerprint()``.
    """

    fast: Fast
    param_groups: list[dict[str, Any]]

    def __init__(self, cls: type[Fast], params: Any, options: Mapping[str, Any]) -> None:
        if options.get("zero_grads"):
            raise ValueError("zero_grads: gradients are torch's, expected zero_grad(set_to_none=False)")
        preset = {k: x for k, x in cls.conventions.get(options.get("convention", "torch"), {}).items() if k in cls.arguments}
        of_groups = {k: x for k, x in options.items() if k in cls.arguments or k in OPTIONS}
        self.cls, self.whole = cls, {k: x for k, x in options.items() if k not in of_groups}
        self.names = next((NAMES[c.__name__] for c in cls.__mro__ if c.__name__ in NAMES), {})
        self.loading: dict[str, Any] | None = None
        super().__init__(params, {**cls.arguments, **preset, "maximize": False, **of_groups})
        self._build()
        self._state = State(self)

    def _params(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def _build(self) -> None:
        """Build the engine's optimizer for these groups."""
        known = self.known = {*self.cls.arguments, *OPTIONS}
        groups = []
        for group in self.param_groups:
            names = group.get("param_names")
            params = dict(zip(names, group["params"], strict=True)) if names else list(group["params"])
            groups.append({"params": params, **{k: number(x) for k, x in group.items() if k in known}})
        self.fast = self.cls(groups, **self.whole)
        if not isinstance(self.fast._backend, InterpretedBackend):
            self.fast._backend.expect_threads()
        self.tensors = self._params()
        self.keys = [[k for k in group if k in known] for group in self.param_groups]
        self.told = [[number(group[k]) for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]
        # the interpreted engine looks at arrays; a complex tensor may be conjugated and not say so in memory
        compiled = not isinstance(self.fast._backend, InterpretedBackend)
        self.exchange = EXCHANGE if compiled and not any(p.is_complex() for p in self.tensors) else None
        self.laid = [] if self.exchange else laid(self.tensors)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; what lives between steps stays."""
        before = list(self.param_groups)
        super().add_param_group(param_group)
        if hasattr(self, "fast"):
            try:
                self._rebuild()
            except BaseException:
                self.param_groups[:] = before
                raise

    def _rebuild(self) -> None:
        """Build again with other groups, choices, or places in memory: state and counts of parameters that were there stay."""
        self._state.pull()
        self.fast.catch_up()
        each, whole = self.fast._counters()
        before = {id(p): (slot, counted) for p, slot, counted in zip(self.tensors, self.fast._slots, each, strict=True)}
        kept = dict(vars(self))
        try:
            self._build()
            now, _ = self.fast._counters()
            for k, (p, slot) in enumerate(zip(self.tensors, self.fast._slots, strict=True)):
                old, (t, numbers, pending) = before.get(id(p), (None, now[k]))
                if old is not None:
                    hand_on(old, slot)
                now[k] = (t, numbers if len(numbers) == len(now[k][1]) else now[k][1], pending)
            self.fast._set_counters(now, whole)
        except BaseException:
            self.__dict__.update(kept)
            raise
        self._state.lay()

    @property
    def state(self) -> State:
        """Of each parameter that has had a gradient, its state by torch's names, live; all of it can be set, and hold other keys.

        What is written is copied into the engine's arrays at once, so that later steps do not change a tensor that was assigned.
        A tensor that was taken from here shows each step, until another is written in its place.
        """
        return self._state

    @state.setter
    def state(self, entries: Mapping[Any, Any]) -> None:
        if hasattr(self, "_state") and entries is not self._state:
            self._state.pull()
            given, state = dict(entries), State(self)
            state.check(given)
            self._state.leave(copied=True)
            self._state = state
            for key in [key for key in state if key not in given]:
                del state[key]
            state.update(given)

    def _take(self, entries: Mapping[Any, Any], counts: Mapping[str, Any] | None = None) -> None:
        """Take over state, all or nothing; parameters without begin anew. `counts`: those of `_counts`."""
        state = State(self)
        each, writes, begins = [], [], []
        pending = (counts or {}).get("pending", [False] * len(self.tensors))
        for p, named, waits in zip(self.tensors, state.slots, pending, strict=True):
            entry, slot = entries.get(p) or {}, named.slot
            first = [entry.get(self.names.get(key, key), entry.get(key)) for key in slot.rule.state if key in slot.state]
            known = {"step", "mu", *OPTIONAL, *slot.state, *named.kept}
            known |= {self.names.get(key, key) for key in slot.rule.state}
            others = [key for key, x in entry.items() if isinstance(x, torch.Tensor) and key not in known]
            if others and all(x is None for x in first):
                raise ValueError(
                    f"state of {slot.name!r}: {', '.join(others)}, which is another optimizer's, not of {self.cls.__name__}"
                )
            begun = bool(entry) and not (first and all(x is None for x in first))
            t = int(entry.get("step", 1)) if begun else 0
            numbers = {key: entry.get(self.names.get(key, key)) if begun else None for key in slot.rule.kept}
            kept = [initial if (x := numbers[key]) is None else float(x) for key, initial in slot.rule.kept.items()]
            each.append((t, kept, bool(waits)))
            for key in slot.state if begun else ():
                writes += named.writes(key, entry)
            if not begun:
                begins.append(slot)
        whole = (counts or {}).get("whole", (max((t for t, _, _ in each), default=0), 0, 0))
        unit = check_unit((counts or {}).get("gathered_unit", 0)) - ceil_log2(self.fast._settings.accumulate)
        for slot in begins:
            slot.reset()
        self.fast._set_counters(each, tuple(map(int, whole)))  # type: ignore[arg-type]
        with torch.no_grad():
            for target, x in writes:
                target.copy_(x)
        for named in state.slots:
            if unit and whole[1] and "gathered" in named.slot.own:
                named.slot.own["gathered"] *= named.slot.real.type(2.0**unit)
        if hasattr(self, "_state"):
            self._state.leave(copied=False)  # the engine that it showed is gone
        self._state = state
        own = {"step", "mu", *OPTIONAL}
        for key, entry in entries.items():
            if key not in state.places:
                state[key] = entry
            elif entry:
                slot = state.slots[state.places[key]]
                names = own | slot.engine_keys()
                state[key].update({name: x for name, x in entry.items() if name not in names})

    def _counts(self) -> dict[str, Any]:
        """Return what is counted of the optimizer as a whole, and for whom gradients wait."""
        each, whole = self.fast._counters()
        unit = ceil_log2(self.fast._settings.accumulate)
        return {"whole": list(whole), "pending": [bool(pending) for _, _, pending in each], "gathered_unit": unit}

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state, and under ``"fastopt"`` what is counted too."""
        self._sync()
        self.fast.catch_up()
        found: dict[str, Any] = super().state_dict()
        state = {k: dict(x) if isinstance(x, dict) else x for k, x in found["state"].items()}
        return {**found, "state": state, "fastopt": self._counts()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint of this, or of torch's optimizer of the same name.

        Parameters
        ----------
        state_dict : dict
            From ``state_dict()``. Options that its groups do not have stay as they are here.

        Raises
        ------
        ValueError
            For other groups, and for state that does not fit; nothing has been changed.
        """
        captured: dict[str, Any] = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, given: captured.update(given))  # torch casts what it hands on
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
        self.fast.catch_up()
        state = {p: {k: copied(x) for k, x in e.items()} if isinstance(e, Entry) else e for p, e in self.state.items()}
        own = {"cls": self.cls, "whole": self.whole, "names": dict(self.names), "loading": None, "counts": self._counts()}
        return {"defaults": self.defaults, "state": state, "param_groups": self.param_groups, **own}

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
            entries = {p: loading["state"].get(k) for p, k in zip(self._params(), saved, strict=True)}
            entries |= {k: x for k, x in loading["state"].items() if k not in saved}
            counts = loading.get("fastopt")
        self._build()
        self._take(entries, counts)

    def _sync(self) -> None:
        """Tell the engine what was changed in the groups, and of counts in place, since the last step."""
        self._state.pull()
        if self._is_of_others():
            self._rebuild()
            return
        changes = [
            (i, fast, key, x)
            for i, (group, keys, told, fast) in enumerate(
                zip(self.param_groups, self.keys, self.told, self.fast.groups, strict=True)
            )
            for key, old in zip(keys, told, strict=True)
            if not ((x := number(group[key])) is old or x == old)
        ]
        if not all(fast.settable(key) for _, fast, key, _ in changes):  # a choice, such as whether there is a momentum
            self._rebuild()
        elif changes:
            self._set(changes)

    def _is_of_others(self) -> bool:
        """Return whether the groups have other parameters or options than the engine."""
        params = self._params()
        if len(params) != len(self.tensors) or not all(map(operator.is_, params, self.tensors)):
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
        self.told = [[number(group[k]) for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients, in place.

        Parameters
        ----------
        closure : function, optional
            Evaluates the model again and returns the loss.

        Returns
        -------
        loss
            What `closure` returned; None without.

        Raises
        ------
        TypeError, ValueError
            For parameters that are not dense ones on the CPU, gradients that are not on the CPU, and hyperparameters that do not
            fit; nothing has been changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._sync()
        grads = [p.grad for p in self.tensors]
        arrays = self._arrays(grads)
        self.fast._step_list(arrays)
        self._state.stepped(grads)
        # a graph that saved the old values may not go on with the new
        torch.autograd.graph.increment_version([p for p, g in zip(self.tensors, grads, strict=True) if g is not None])
        return loss

    def _arrays(self, grads: list[Any]) -> list[Any]:
        """Return arrays over the gradients, after a look at where the parameters are.

        None of the gradients is held, so that whoever lets go of them has their memory back.
        """
        if self.exchange:
            arrays: list[Any] | None = self.fast._backend.over(self.exchange, torch.Tensor, self.tensors, grads, self._array_of)
            if arrays is not None:
                return arrays
        if self.exchange or laid(self.tensors) != self.laid:
            self._rebuild()
        return [self._array_of(k, g) for k, g in enumerate(grads)]

    def _array_of(self, k: int, g: Any) -> Any:
        """Return a gradient as an array over its memory, one of rows as `RowGradient`."""
        if g is None:
            return None
        what = f"gradient of {self.fast._slots[k].name!r}"
        if g.layout == torch.sparse_coo and g.sparse_dim() == 1:
            g = g.coalesce()
            return RowGradient(g.indices()[0].numpy(), layout.of_torch(what, g.values()))
        return layout.of_torch(what, g.detach().resolve_conj().resolve_neg())


def copied(x: Any) -> Any:
    return x.clone() if isinstance(x, torch.Tensor) else x


def number(x: Any) -> Any:
    """Return a hyperparameter without torch: a learning rate may be a tensor."""
    if isinstance(x, torch.Tensor):
        return float(x)
    return tuple(map(number, x)) if isinstance(x, (tuple, list)) else x


def optimizer(cls: Any, params: Any, **options: Any) -> Optimizer:
    """Return a ``torch.optim.Optimizer`` whose steps are those of one of fastopt's classes, on the CPU.

    Parameters
    ----------
    cls : class or Rule
        ``fastopt.Adam``, ..., or a rule of one's own.
    params : iterable
        Tensors, named tensors, or group dicts, as torch's optimizers take: dense, on the CPU, of float32, float64, bfloat16,
        float16 or complex numbers. They are updated where they are.
    **options
        All that `cls` takes, by its names. ``param_groups`` holds those that groups may differ in. What says how torch computes
        (``foreach``, ``fused``, ``capturable``, ``differentiable``) is not among them.

    Returns
    -------
    Optimizer
        With ``param_groups``, which torch's schedulers set; ``state`` and ``state_dict()`` by torch's names: a checkpoint of
        torch's optimizer of the same name can be loaded, and its can be loaded there. ``.fast`` is fastopt's optimizer, with
        ``report()``, ``average``, ``explain()``; parameters are called ``"0/0"``, ... there, group and place, or by their names.

    Raises
    ------
    TypeError, ValueError
        As `cls`, and for tensors of other devices and layouts.

    Notes
    -----
    Where ``zero_grad(set_to_none=False)`` keeps the gradients, a step need not look at each anew. Sparse gradients of rows
    (``nn.Embedding(sparse=True)``) update those rows alone. State in 8 bits has fastopt's names in checkpoints, so that torch does
    not take it for numbers.

    Examples
    --------
    >>> import torch, fastopt as fo
    >>> model = torch.nn.Linear(2, 1)
    >>> opt = fo.torch.optimizer(fo.AdamW, model.parameters(), lr=1e-2)
    >>> schedule = torch.optim.lr_scheduler.StepLR(opt, 10)
    >>> model(torch.ones(4, 2)).square().mean().backward()
    >>> opt.step()
    >>> schedule.step()
    >>> sorted(opt.state[model.bias])
    ['exp_avg', 'exp_avg_sq', 'step']
    """
    made = cls.Optimizer if isinstance(cls, Rule) else cls
    if not (isinstance(made, type) and issubclass(made, Fast)):
        raise TypeError(f"cls: {cls!r}, expected a class of fastopt's optimizers, or a rule")
    cls = made
    return Optimizer(cls, params, options)


__all__ = ["Optimizer", "optimizer"]
