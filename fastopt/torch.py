"""Optimizers for PyTorch: `optimizer` gives a ``torch.optim.Optimizer`` whose steps fastopt's engine makes on the CPU.

Learning rate schedulers, closures, hooks, parameter groups and checkpoints are torch's own; checkpoints go both ways between it and
torch's optimizer of the same name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError("fastopt.torch needs PyTorch: pip install torch") from error
import numpy as np

from .base import OPTIONS
from .base import Optimizer as Fast
from .engine import dispatch, interpreted, layout
from .engine.rows import RowGradient
from .engine.storage import narrowed8
from .own import Rule

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
EXCHANGE: Any = None  # what tells where tensors lie without an object for each; torch has it from 2.10 on
if dispatch.ISA != dispatch.INTERPRETED:
    from .engine.engine import exchange_of

    EXCHANGE = exchange_of(torch.Tensor)
AXES = {"row_var": -1, "col_var": -2}  # that torch keeps, of length 1


def laid(tensors: list[Any]) -> list[tuple[Any, ...]]:
    """Where tensors are, and how their numbers are laid out there."""
    return [(t.data_ptr(), t.shape, t.stride(), t.dtype, t.is_conj(), t.is_neg()) for t in tensors]


def tensor_of(a: np.ndarray) -> torch.Tensor:
    """A tensor over the memory of state; bfloat16 is stored in uint16."""
    if a.dtype == np.uint16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


class Entry(dict[str, Any]):
    """State of one parameter; what is assigned to a name is taken over."""

    def __init__(self, owner: Optimizer, p: Any, entry: dict[str, Any]) -> None:
        super().__init__(entry)
        self.owner, self.p = owner, p

    def __setitem__(self, name: str, x: Any) -> None:
        super().__setitem__(name, x)
        self.owner.state[self.p] = dict(self)


class State(MutableMapping[Any, dict[str, Any]]):
    """State of each parameter that has had a gradient, by torch's names; tensors are live, but for ``"step"``."""

    def __init__(self, owner: Optimizer) -> None:
        self.owner = owner

    def _started(self) -> dict[Any, tuple[int, Any]]:
        """Of parameters that have had a gradient: their places, and what is counted of them."""
        counted = zip(self.owner.tensors, self.owner.fast._counters()[0], strict=True)
        return {p: (k, numbers) for k, (p, numbers) in enumerate(counted) if numbers[0] or numbers[2]}

    def __getitem__(self, p: Any) -> dict[str, Any]:
        found = self._started().get(p)
        return Entry(self.owner, p, {} if found is None else self.owner._entry(*found))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._started())

    def __len__(self) -> int:
        return len(self._started())

    def __contains__(self, p: object) -> bool:
        return p in self._started()

    def items(self) -> Any:
        return [(p, self.owner._entry(*found)) for p, found in self._started().items()]

    def __setitem__(self, p: Any, entry: dict[str, Any]) -> None:
        self.owner._take({**dict(self.items()), p: entry})

    def __delitem__(self, p: Any) -> None:
        self.owner._take({q: entry for q, entry in self.items() if q is not p})


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

    def _params(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def _build(self) -> None:
        """The engine's optimizer for these groups."""
        known = self.known = {*self.cls.arguments, *OPTIONS}
        groups = []
        for group in self.param_groups:
            names = group.get("param_names")
            params = dict(zip(names, group["params"], strict=True)) if names else list(group["params"])
            groups.append({"params": params, **{k: number(x) for k, x in group.items() if k in known}})
        self.fast = self.cls(groups, **self.whole)
        if not isinstance(self.fast, interpreted.Stepper):
            self.fast._expect_threads()
        self.tensors = self._params()
        self.keys = [[k for k in group if k in known] for group in self.param_groups]
        self.told = [[number(group[k]) for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]
        # the interpreted engine looks at arrays; a complex tensor may be conjugated and not say so in memory
        compiled = not isinstance(self.fast, interpreted.Stepper)
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
        """With other groups, choices, or places in memory: state and counts of parameters that were there stay."""
        self.fast.catch_up()
        each, whole = self.fast._counters()
        before = {id(p): (slot.state, counted) for p, slot, counted in zip(self.tensors, self.fast._slots, each, strict=True)}
        kept = dict(vars(self))
        try:
            self._build()
            now, _ = self.fast._counters()
            for k, (p, slot) in enumerate(zip(self.tensors, self.fast._slots, strict=True)):
                state, (t, numbers, pending) = before.get(id(p), ({}, now[k]))
                for key in slot.state.keys() & state.keys():
                    if slot.state[key].shape != state[key].shape:
                        now_of, then = slot.state[key].shape, state[key].shape
                        raise ValueError(
                            f"parameter {slot.name!r}: shape {now_of}, expected {then}, as when the optimizer was made"
                        )
                    slot.state[key][...] = state[key]
                now[k] = (t, numbers if len(numbers) == len(now[k][1]) else now[k][1], pending)
            self.fast._set_counters(now, whole)
        except BaseException:
            self.__dict__.update(kept)
            raise

    @property
    def state(self) -> State:
        """Of each parameter that has had a gradient, its state by torch's names; tensors are live, but for ``"step"``."""
        return State(self)

    @state.setter
    def state(self, entries: Mapping[Any, Any]) -> None:
        if hasattr(self, "fast"):
            self._take(entries)

    def _name(self, slot: Any, key: str) -> str:
        """What a state is called: 8-bit floats, which torch would take for numbers, as here."""
        return key if key in slot.exponents else self.names.get(key, key)

    def _entry(self, place: int, counted: tuple[int, list[float], bool]) -> dict[str, Any]:
        slot, (t, kept, _) = self.fast._slots[place], counted
        entry: dict[str, Any] = {"step": torch.tensor(float(t))}
        for key, a in slot.state.items():
            name = self._name(slot, key)
            x = tensor_of(a)
            entry[name] = x.unsqueeze(AXES[name]) if name in AXES else x
        for key, value in zip(slot.rule.kept, kept, strict=True):
            entry[self.names.get(key, key)] = torch.tensor(value, dtype=torch.float64)
        if "eta" in entry:  # torch's ASGD keeps this too, which follows from the step
            entry["mu"] = torch.tensor(1 / max(1.0, t - slot.group.number("t0", t)))
        return entry

    def _take(self, entries: Mapping[Any, Any], counts: Mapping[str, Any] | None = None) -> None:
        """Take over state, all or nothing; parameters without begin anew. `counts`: those of `_counts`."""
        each, writes = [], []
        pending = (counts or {}).get("pending", [False] * len(self.tensors))
        for p, slot, waits in zip(self.tensors, self.fast._slots, pending, strict=True):
            entry = entries.get(p) or {}
            first = [entry.get(self.names.get(key, key), entry.get(key)) for key in slot.rule.state if key in slot.state]
            known = {"step", "mu", "master", "averaged", "gathered", *slot.state}
            known |= {self.names.get(key, key) for key in (*slot.rule.state, *slot.rule.kept)}
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
            for key, a in slot.state.items() if begun else ():
                writes += self._writes(slot, key, a, entry)
        whole = (counts or {}).get("whole", (max((t for t, _, _ in each), default=0), 0, 0))
        self.fast.reset()
        self.fast._set_counters(each, tuple(map(int, whole)))
        with torch.no_grad():
            for target, x in writes:
                target.copy_(x)

    def _writes(self, slot: Any, key: str, a: np.ndarray, entry: Mapping[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What of an entry is to be written into one array of state, or the error that says why it does not fit."""
        target, x = tensor_of(a), entry.get(self._name(slot, key))
        named = f"state {self.names.get(key, key)!r} of {slot.name!r}"
        if x is None and key in slot.exponents and isinstance(entry.get(self.names.get(key, key)), torch.Tensor):
            wide = entry[self.names.get(key, key)]  # torch's, to be stored in 8 bits
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
        if x is None and key.removesuffix("_exponents") in slot.exponents and f"{key.removesuffix('_exponents')}" not in entry:
            return []  # written with the codes
        if x is None and key in ("averaged", "gathered", "master"):
            return []  # of another optimizer, which has none
        if not isinstance(x, torch.Tensor) or x.numel() != target.numel():
            told = "nothing" if x is None else f"shape {tuple(getattr(x, 'shape', ()))}"
            raise ValueError(f"{named}: {told}, expected a tensor of shape {tuple(target.shape)}")
        numeric = target.is_floating_point() or target.is_complex()
        if numeric != (x.is_floating_point() or x.is_complex()) or (not numeric and x.dtype != target.dtype):
            raise ValueError(f"{named}: {x.dtype}, expected {target.dtype}: state_dtype and master as they were saved")
        return [(target, x.reshape(target.shape))]

    def _counts(self) -> dict[str, Any]:
        """What is counted of the optimizer as a whole, and for whom gradients wait."""
        each, whole = self.fast._counters()
        return {"whole": list(whole), "pending": [bool(pending) for _, _, pending in each]}

    def state_dict(self) -> dict[str, Any]:
        """As torch's, and under ``"fastopt"`` what is counted beside it."""
        self.fast.catch_up()
        found: dict[str, Any] = super().state_dict()
        return {**found, "fastopt": self._counts()}

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
        self.fast.catch_up()
        state = {p: {k: copied(x) for k, x in entry.items()} for p, entry in self.state.items()}
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
            counts = loading.get("fastopt")
        self._build()
        self._take(entries, counts)

    def _sync(self) -> None:
        """Tell the engine what was changed in the groups since the last step."""
        params, known = self._params(), self.known
        others = len(params) != len(self.tensors) or not all(map(operator.is_, params, self.tensors))
        others = others or len(self.param_groups) != len(self.keys)
        if others or any(
            k in known and k not in keys for group, keys in zip(self.param_groups, self.keys, strict=True) for k in group
        ):
            self._rebuild()
            return
        done: list[tuple[Any, str, Any]] = []
        for i, (group, keys, told, fast) in enumerate(zip(self.param_groups, self.keys, self.told, self.fast.groups, strict=True)):
            for k, key in enumerate(keys):
                x = number(group[key])
                if x is told[k] or x == told[k]:
                    continue
                if not fast.settable(key):  # a choice, such as whether there is a momentum
                    self._rebuild()
                    return
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
        if done:
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
        self.fast._step_flat(arrays)
        # a graph that saved the old values may not go on with the new
        torch.autograd.graph.increment_version([p for p, g in zip(self.tensors, grads, strict=True) if g is not None])
        return loss

    def _arrays(self, grads: list[Any]) -> list[Any]:
        """Arrays over the gradients, after a look at where the parameters are.

        None of the gradients is held, so that whoever lets go of them has their memory back.
        """
        if self.exchange:
            arrays: list[Any] | None = self.fast._over(self.exchange, torch.Tensor, self.tensors, grads, self._array_of)
            if arrays is not None:
                return arrays
        if self.exchange or laid(self.tensors) != self.laid:
            self._rebuild()
        return [self._array_of(k, g) for k, g in enumerate(grads)]

    def _array_of(self, k: int, g: Any) -> Any:
        """A gradient as an array over its memory, one of rows as `RowGradient`."""
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
    """A hyperparameter without torch: a learning rate may be a tensor."""
    if isinstance(x, torch.Tensor):
        return float(x)
    return tuple(map(number, x)) if isinstance(x, (tuple, list)) else x


def optimizer(cls: Any, params: Any, **options: Any) -> Optimizer:
    """A ``torch.optim.Optimizer`` whose steps are those of one of fastopt's classes, on the CPU.

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
