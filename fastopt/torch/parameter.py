"""Parameters of the engine with torch's names for their state, and conversions between both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch

from .._arrays.changes import commit
from .._arrays.dtypes import narrowed8
from .._optimizer.checkpoint import check_count

MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq", "vmax": "max_exp_avg_sq", "product": "mu_product"}
# Of state, by class: its name in torch.
NAMES: Mapping[str, Mapping[str, str]] = {
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
STEPLESS = ("sgd", "momentum", "nesterov", "muon")  # Rules whose state has no step count in torch.
# Factors of Adafactor that have an axis of length 1 in torch.
AXES = {"row_var": -1, "col_var": -2}
# State of options, which other optimizers lack.
OPTIONAL = ("averaged", "gathered", "master")


def tensor_of(a: np.ndarray) -> torch.Tensor:
    """Return a tensor over the memory of state; bfloat16 is stored in uint16."""
    if a.dtype == np.uint16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


def begins_anew(name: Any, x: Any) -> bool:
    """Return True if an entry is torch's mark of a momentum that has not begun."""
    return x is None and name == "momentum_buffer"


def write_all(writes: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy new values into tensors of state."""
    with torch.no_grad():
        for target, x in writes:
            target.copy_(x)


def hand_on(old: Any, new: Any) -> None:
    """Copy a parameter's state to its successor after a new layout, converted if its dtype differs."""
    for key in new.state.keys() & old.state.keys():
        a, b = old.state[key], new.state[key]
        if a.shape != b.shape:
            raise ValueError(f"parameter {new.name!r}: shape {b.shape}, expected {a.shape}, as when the optimizer was made")
        if a.dtype == b.dtype:
            b[...] = a
        # The master copy begins as the parameter.
        elif key != "master":
            commit(new.writes(key, old.shown(key)))


class TorchParameter:
    """A parameter of the engine with torch's names for its state."""

    def __init__(self, parameter: Any, names: Mapping[str, str]) -> None:
        self.parameter, self.torch_names, self.has_step = parameter, names, parameter.rule.label not in STEPLESS
        self.arrays = {self.name(key): key for key in parameter.state}
        self.carry = {names.get(key, key): key for key in parameter.rule.carry}
        # torch's ASGD has mu, which follows from the step.
        self.number_names = [*self.carry, *(["mu"] if "eta" in self.carry else [])]
        # torch's names of state that is stored in 8 bits.
        self.widened = {names.get(key, key): key for key in parameter.exponents}

    def name(self, key: str) -> str:
        """Return the name of state in checkpoints; 8-bit codes have the engine's, so that torch does not read them as numbers."""
        return key if key in self.parameter.exponents else self.torch_names.get(key, key)

    def engine_keys(self) -> set[str]:
        """Return all names under which the engine has state, its own and torch's."""
        return {
            *self.arrays,
            *self.carry,
            *self.parameter.state,
            *(self.torch_names.get(key, key) for key in self.parameter.rule.state),
        }

    def shown_names(self) -> set[str]:
        """Return the names of entries that the engine has."""
        return {*self.arrays, *self.carry, *(["step"] if self.has_step else [])}

    def has_begun(self, names: Set[Any]) -> bool:
        """Return False if these names lack the momentum, which then begins with a whole gradient."""
        of_rule = {self.name(key) for key in self.parameter.rule.state} & self.arrays.keys()
        return "momentum_buffer" not in of_rule or not names.isdisjoint(of_rule)

    def has_state(self, entry: Mapping[Any, Any], cls: str) -> bool:
        """Return False if an entry lacks the rule's state; raise if it has that of another class of optimizers only."""
        rule, live = self.parameter.rule, self.parameter.state
        lacks = all(entry.get(self.torch_names.get(key, key), entry.get(key)) is None for key in rule.state if key in live)
        known = {*self.known_keys(), *self.torch_names.values()}  # A momentum that was set to 0 leaves its buffer.
        others = [key for key, x in entry.items() if isinstance(x, torch.Tensor) and key not in known]
        if others and lacks:
            raise ValueError(f"state of {self.parameter.name!r}: {', '.join(others)}, which is another optimizer's, not of {cls}")
        return bool(entry) and not (lacks and any(key in live for key in rule.state))

    def known_keys(self) -> set[str]:
        """Return all names that entries of this parameter may have for state."""
        return {"step", "mu", *OPTIONAL, *self.engine_keys()}

    def row(self, width: int, t: int, carry: list[float], _: bool) -> list[float]:
        """Return the numbers to show, padded with zeros for those that other rules have."""
        factor = [1 / max(1.0, t - self.parameter.group.number("t0", t))] if "mu" in self.number_names else []
        return [*carry, *factor, *[0.0] * (width - len(self.number_names))]

    def tensor(self, name: str) -> torch.Tensor:
        """Return a live view of an array of state."""
        x = tensor_of(self.parameter.state[self.arrays[name]])
        return x.unsqueeze(AXES[name]) if name in AXES else x

    def step_of(self, x: Any) -> int:
        """Return a step count, which may be a tensor of a float, as torch has it."""
        x = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
        return check_count(f"step of {self.parameter.name!r}", int(x) if isinstance(x, float) and x.is_integer() else x)

    def narrowed(self, key: str, named: str, wide: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the writes of torch's numbers into 8-bit codes and their exponents."""
        parameter = self.parameter
        target = tensor_of(parameter.state[key])
        if wide.numel() != target.numel() or not wide.is_floating_point():
            raise ValueError(f"{named}: {wide.dtype} of shape {tuple(wide.shape)}, expected numbers of shape {tuple(target.shape)}")
        # In C order, which is the order of 8-bit arrays.
        flat = wide.detach().float().reshape(target.shape).numpy().reshape(-1)
        codes, exponents = narrowed8(flat, parameter.rule.tags.get(key) == "nonnegative")
        return [
            (target, torch.from_numpy(codes).reshape(target.shape)),
            (torch.from_numpy(parameter.exponents[key]), torch.from_numpy(exponents)),
        ]

    def writes(self, key: str, entry: Mapping[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the writes of an entry into one array of state, or raise if it does not fit."""
        parameter, names = self.parameter, self.torch_names
        target, x = tensor_of(parameter.state[key]), entry.get(self.name(key))
        named = f"state {names.get(key, key)!r} of {parameter.name!r}"
        wide = entry.get(names.get(key, key))
        if x is None and key in parameter.exponents and isinstance(wide, torch.Tensor):
            return self.narrowed(key, named, wide)
        if x is None and key.removesuffix("_exponents") in parameter.exponents and key.removesuffix("_exponents") not in entry:
            return []  # Written with the codes.
        if x is None and key in OPTIONAL:
            return []  # Of another optimizer, which has none.
        if not isinstance(x, torch.Tensor) or x.numel() != target.numel():
            found = "nothing" if x is None else f"shape {tuple(getattr(x, 'shape', ()))}"
            raise ValueError(f"{named}: {found}, expected a tensor of shape {tuple(target.shape)}")
        check_kind(named, x, target)
        return [(target, x.reshape(target.shape))]


def check_kind(named: str, x: torch.Tensor, target: torch.Tensor) -> None:
    """Raise unless a tensor's dtype can be stored in an array of state."""
    numeric = target.is_floating_point() or target.is_complex()
    lost = x.is_meta or (x.is_complex() and not target.is_complex())
    if lost or numeric != (x.is_floating_point() or x.is_complex()) or (not numeric and x.dtype != target.dtype):
        raise ValueError(f"{named}: {x.dtype}, expected {target.dtype}: state_dtype and master as they were saved")
