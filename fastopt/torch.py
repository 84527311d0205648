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
from .engine import layout
from .engine.rows import RowGradient

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
DTYPE = operator.attrgetter("dtype")
AXES = {"row_var": -1, "col_var": -2}  # that torch keeps, of length 1


def tensor_of(a: np.ndarray) -> torch.Tensor:
    """A tensor over the memory of state; bfloat16 is stored in uint16."""
    if a.dtype == np.uint16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


class State(MutableMapping[Any, dict[str, Any]]):
    """State of each parameter that has made a step, by torch's names: tensors over the engine's memory, made when asked for."""

    def __init__(self, owner: Optimizer) -> None:
        self.owner = owner

    def _started(self) -> dict[Any, tuple[int, Any]]:
        """Of parameters that have made a step: their places, and what is counted of them."""
        owner = self.owner
        counted = zip(owner.tensors, owner.fast._counters()[0], strict=True)
        return {p: (k, numbers) for k, (p, numbers) in enumerate(counted) if numbers[0]}

    def __getitem__(self, p: Any) -> dict[str, Any]:
        found = self._started().get(p)
        return {} if found is None else self.owner._entry(*found)

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
        preset = {k: x for k, x in cls.conventions.get(options.get("convention", "torch"), {}).items() if k in cls.arguments}
        of_groups = {k: x for k, x in options.items() if k in cls.arguments or k in OPTIONS}
        self.cls, self.whole = cls, {k: x for k, x in options.items() if k not in of_groups}
        self.names = next((NAMES[c.__name__] for c in cls.__mro__ if c.__name__ in NAMES), {})
        self.loading: dict[str, Any] | None = None
        super().__init__(params, {**cls.arguments, **preset, "maximize": False, **of_groups})
        self._build()

    def _build(self) -> None:
        """The engine's optimizer for these groups."""
        known = {*self.cls.arguments, *OPTIONS}
        groups = []
        for group in self.param_groups:
            names = group.get("param_names")
            params = dict(zip(names, group["params"], strict=True)) if names else list(group["params"])
            groups.append({"params": params, **{k: number(x) for k, x in group.items() if k in known}})
        self.fast = self.cls(groups, **self.whole)
        self.tensors = [p for group in self.param_groups for p in group["params"]]
        self.at = list(map(torch.Tensor.data_ptr, self.tensors))
        self.keys = [[k for k in group if k in known] for group in self.param_groups]
        self.told = [[group[k] for k in keys] for group, keys in zip(self.param_groups, self.keys, strict=True)]
        self.dtypes = list(map(DTYPE, self.tensors))
        # the interpreted engine looks at arrays; a complex tensor may be conjugated and not say so in memory
        self.plain = hasattr(self.fast, "_bind_at") and not any(d.is_complex for d in self.dtypes)
        self.bound: list[int] = []  # where the gradients of the last step were

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; the state of parameters that were there stays."""
        super().add_param_group(param_group)
        if hasattr(self, "fast"):
            self._rebuild()

    def _rebuild(self) -> None:
        """With other groups, or where parameters are elsewhere in memory: all that lives between steps stays."""
        state = {p: {k: copied(x) for k, x in entry.items()} for p, entry in self.state.items()}
        self._build()
        self._take(state)

    @property
    def state(self) -> State:
        """Of each parameter that has made a step, its state by torch's names; tensors are live."""
        return State(self)

    @state.setter
    def state(self, entries: Mapping[Any, Any]) -> None:
        if hasattr(self, "fast"):
            self._take(entries)

    def _entry(self, place: int, counted: tuple[int, list[float], bool]) -> dict[str, Any]:
        slot, (t, kept, _) = self.fast._slots[place], counted
        entry: dict[str, Any] = {"step": torch.tensor(float(t))}
        for key, a in slot.state.items():
            name = self.names.get(key, key)
            x = tensor_of(a)
            entry[name] = x.unsqueeze(AXES[name]) if name in AXES else x
        for key, value in zip(slot.rule.kept, kept, strict=True):
            entry[self.names.get(key, key)] = torch.tensor(value, dtype=torch.float64)
        if "eta" in entry:  # torch's ASGD keeps this too, which follows from the step
            entry["mu"] = torch.tensor(1 / max(1.0, t - slot.group.number("t0", t)))
        return entry

    def _take(self, entries: Mapping[Any, Any]) -> None:
        """Take over state, all or nothing; parameters without begin anew."""
        each, writes = [], []
        for p, slot in zip(self.tensors, self.fast._slots, strict=True):
            entry = entries.get(p) or {}
            first = [entry.get(self.names.get(key, key), entry.get(key)) for key in slot.rule.state if key in slot.state]
            begun = bool(entry) and not (first and all(x is None for x in first))
            t = int(entry.get("step", 1)) if begun else 0
            numbers = {key: entry.get(self.names.get(key, key)) if begun else None for key in slot.rule.kept}
            kept = [initial if (x := numbers[key]) is None else float(x) for key, initial in slot.rule.kept.items()]
            each.append((t, kept, False))
            for key, a in slot.state.items() if begun else ():
                name, target = self.names.get(key, key), tensor_of(a)
                x = entry.get(name, entry.get(key))
                if x is None and key in ("averaged", "gathered", "master"):
                    continue  # of another optimizer, which has none
                if not isinstance(x, torch.Tensor) or x.numel() != target.numel():
                    told = "nothing" if x is None else f"shape {tuple(getattr(x, 'shape', ()))}"
                    raise ValueError(f"state {name!r} of {slot.name!r}: {told}, expected a tensor of shape {tuple(target.shape)}")
                writes.append((target, x))
        self.fast.reset()
        self.fast._set_counters(each, (max((t for t, _, _ in each), default=0), 0, 0))
        with torch.no_grad():
            for target, x in writes:
                target.copy_(x.reshape(target.shape))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint of this, or of torch's optimizer of the same name.

        Parameters
        ----------
        state_dict : dict
            From ``state_dict()``.

        Raises
        ------
        ValueError
            For other groups, and for state that does not fit.
        """
        captured: dict[str, Any] = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, given: captured.update(given))  # torch casts what it hands on
        self.loading = captured
        before = self.param_groups
        try:
            super().load_state_dict(state_dict)
        except BaseException:
            self.param_groups = before
            raise
        finally:
            handle.remove()
            self.loading = None

    def __getstate__(self) -> dict[str, Any]:
        state = {p: {k: copied(x) for k, x in entry.items()} for p, entry in self.state.items()}
        own = {"cls": self.cls, "whole": self.whole, "names": dict(self.names), "loading": None}
        return {"defaults": self.defaults, "state": state, "param_groups": self.param_groups, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        entries = state["state"]
        super().__setstate__({k: x for k, x in state.items() if k != "state"})
        before = vars(self).get("fast")
        if self.loading is not None:
            saved = [k for group in self.loading["param_groups"] for k in group["params"]]
            tensors = [p for group in self.param_groups for p in group["params"]]
            entries = {p: self.loading["state"].get(k) for p, k in zip(tensors, saved, strict=True)}
        try:
            self._build()
            self._take(entries)
        except BaseException:
            if before is not None:
                self.fast = before
            raise

    def _sync(self) -> None:
        """Tell the engine what was changed since the last step: hyperparameters, and where parameters are."""
        for group, keys, told, fast in zip(self.param_groups, self.keys, self.told, self.fast.groups, strict=True):
            for k, key in enumerate(keys):
                x = group[key]
                if x is not told[k] or isinstance(x, torch.Tensor):
                    fast[key] = number(x)
                    told[k] = x
        if list(map(torch.Tensor.data_ptr, self.tensors)) != self.at:
            self._rebuild()

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
            For parameters that are not dense ones on the CPU, and gradients that are not on the CPU; nothing has been changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._sync()
        grads = [p.grad for p in self.tensors]
        at = self._addresses(grads) if self.plain else None
        if at is None:
            self.bound = []
            self.fast.step(self._nested(iter([None if g is None else array_of(g) for g in grads])))
        else:
            if at != self.bound:
                self.bound = []
                self.fast._bind_at(at)
                self.bound = at
            self.fast.step()
        return loss

    def _addresses(self, grads: list[Any]) -> list[int] | None:
        """Where gradients lie, 0 for none; None unless all are in C order and of their parameters' dtypes.

        None of them is held, so that whoever lets go of gradients has their memory back.
        """
        held, dtypes = grads, self.dtypes
        try:
            at = list(map(torch.Tensor.data_ptr, held))
        except TypeError:  # None is among them
            held = [g for g in grads if g is not None]
            dtypes = [d for d, g in zip(dtypes, grads, strict=True) if g is not None]
            if any(g.layout is not torch.strided for g in held):
                return None
            at = list(map(torch.Tensor.data_ptr, held))
        except RuntimeError:  # a sparse one is
            return None
        if (
            list(map(DTYPE, held)) != dtypes
            or not all(map(torch.Tensor.is_contiguous, held))
            or any(map(torch.Tensor.is_neg, held))
        ):
            return None
        found = iter(at)
        return at if held is grads else [0 if g is None else next(found) for g in grads]

    def _nested(self, found: Iterator[Any]) -> list[Any]:
        """Gradients as the engine's groups are."""
        nested: list[Any] = []
        for group in self.param_groups:
            names = group.get("param_names")
            values = [next(found) for _ in group["params"]]
            nested.append(dict(zip(names, values, strict=True)) if names else values)
        return nested


def array_of(g: Any) -> Any:
    """A gradient as an array over its memory, one of rows as `RowGradient`."""
    if g.dtype is not torch.bfloat16 and g.layout is torch.strided and not g.requires_grad:
        try:
            return g.numpy()
        except (TypeError, RuntimeError):  # the error is for `of_torch` to say
            pass
    if g.layout == torch.sparse_coo and g.sparse_dim() == 1:
        g = g.coalesce()
        return RowGradient(g.indices()[0].numpy(), layout.of_torch("gradient", g.values()))
    return layout.of_torch("gradient", g)


def copied(x: Any) -> Any:
    return x.clone() if isinstance(x, torch.Tensor) else x


def number(x: Any) -> Any:
    """A hyperparameter without torch: a learning rate may be a tensor."""
    if isinstance(x, torch.Tensor):
        return float(x)
    return tuple(map(number, x)) if isinstance(x, (tuple, list)) else x


def optimizer(cls: type[Fast], params: Any, **options: Any) -> Optimizer:
    """A ``torch.optim.Optimizer`` whose steps are those of one of fastopt's classes, on the CPU.

    Parameters
    ----------
    cls : class
        ``fastopt.Adam``, ...
    params : iterable
        Tensors, named tensors, or group dicts, as torch's optimizers take: dense, on the CPU, of float32, float64, bfloat16,
        float16 or complex numbers. They are updated where they are.
    **options
        All that `cls` takes, by its names, which are torch's. ``param_groups`` holds those that groups may differ in.

    Returns
    -------
    Optimizer
        With ``param_groups``, which torch's schedulers set; ``state`` and ``state_dict()`` by torch's names: a checkpoint of
        torch's optimizer of the same name can be loaded, and its can be loaded there. ``.fast`` is fastopt's optimizer.

    Raises
    ------
    TypeError, ValueError
        As `cls`, and for tensors of other devices and layouts.

    Notes
    -----
    Where ``zero_grad(set_to_none=False)`` keeps the gradients' memory, a step need not look at each anew. Sparse gradients of rows
    (``nn.Embedding(sparse=True)``) update those rows alone.

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
    if not (isinstance(cls, type) and issubclass(cls, Fast)):
        raise TypeError(f"cls: {cls!r}, expected a class of fastopt's optimizers")
    return Optimizer(cls, params, options)


__all__ = ["Optimizer", "optimizer"]
