"""Parameters of the engine by torch's names: where the arrays of their state are, and how numbers are written there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch

from .._arrays.dtypes import narrowed8
from .._optimizer.checkpoint import check_count

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
    """Return a tensor over the memory of state; bfloat16 is stored in uint16."""
    if a.dtype == np.uint16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


def begins_anew(name: Any, x: Any) -> bool:
    """Return True if an entry is torch's word for a momentum that is still to begin."""
    return x is None and name == "momentum_buffer"


def hand_on(old: Any, new: Any) -> None:
    """Give a parameter that was laid out anew the state that it had, in other numbers where its dtype is another."""
    for key in new.state.keys() & old.state.keys():
        a, b = old.state[key], new.state[key]
        if a.shape != b.shape:
            raise ValueError(f"parameter {new.name!r}: shape {b.shape}, expected {a.shape}, as when the optimizer was made")
        if a.dtype == b.dtype:
            b[...] = a
        elif key != "master":  # which begins as the parameter
            new.put(key, new.encoded(key, old.shown(key)))


class Slot:
    """One parameter of the engine by torch's names: where each array of its state is, and how numbers are written there."""

    def __init__(self, slot: Any, names: Mapping[str, str]) -> None:
        self.slot, self.torch_names = slot, names
        self.arrays = {self.name(key): key for key in slot.state}
        self.kept = {names.get(key, key): key for key in slot.rule.kept}
        self.number_names = [*self.kept, *(["mu"] if "eta" in self.kept else [])]  # of torch's ASGD, which follows from the step
        self.widened = {names.get(key, key): key for key in slot.exponents}  # what torch calls what is stored in 8 bits here

    def name(self, key: str) -> str:
        """Return what a state is called: 8-bit floats, which torch would take for numbers, as here."""
        return key if key in self.slot.exponents else self.torch_names.get(key, key)

    def engine_keys(self) -> set[str]:
        """Return names under which the engine has something, its own and torch's."""
        return {*self.arrays, *self.kept, *self.slot.state, *(self.torch_names.get(key, key) for key in self.slot.rule.state)}

    def has_begun(self, names: Set[Any]) -> bool:
        """Return False if an entry of these names lacks the momentum that is all its state: that begins with a whole gradient."""
        of_rule = {self.name(key) for key in self.slot.rule.state} & self.arrays.keys()
        return "momentum_buffer" not in of_rule or not names.isdisjoint(of_rule)

    def row(self, width: int, t: int, kept: list[float], _: bool) -> list[float]:
        """Return the numbers that are shown, and zeros for those that other rules have more."""
        factor = [1 / max(1.0, t - self.slot.group.number("t0", t))] if "mu" in self.number_names else []
        return [*kept, *factor, *[0.0] * (width - len(self.number_names))]

    def tensor(self, name: str) -> torch.Tensor:
        """Return a live view of an array of state."""
        x = tensor_of(self.slot.state[self.arrays[name]])
        return x.unsqueeze(AXES[name]) if name in AXES else x

    def step_of(self, x: Any) -> int:
        """Return a step count, given as a number or, as torch's, as a tensor of a float."""
        x = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
        return check_count(f"step of {self.slot.name!r}", int(x) if isinstance(x, float) and x.is_integer() else x)

    def narrowed(self, key: str, named: str, wide: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return what is to be written of torch's numbers into an array of 8-bit floats and its exponents."""
        slot = self.slot
        target = tensor_of(slot.state[key])
        if wide.numel() != target.numel() or not wide.is_floating_point():
            raise ValueError(f"{named}: {wide.dtype} of shape {tuple(wide.shape)}, expected numbers of shape {tuple(target.shape)}")
        flat = wide.detach().float().reshape(target.shape).numpy().reshape(-1)  # in C order, as 8-bit floats are walked
        codes, exponents = narrowed8(flat, slot.rule.tags.get(key) == "nonnegative")
        return [
            (target, torch.from_numpy(codes).reshape(target.shape)),
            (torch.from_numpy(slot.exponents[key]), torch.from_numpy(exponents)),
        ]

    def writes(self, key: str, entry: Mapping[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return what of an entry is to be written into one array of state, or the error that says why it does not fit."""
        slot, names = self.slot, self.torch_names
        target, x = tensor_of(slot.state[key]), entry.get(self.name(key))
        named = f"state {names.get(key, key)!r} of {slot.name!r}"
        wide = entry.get(names.get(key, key))
        if x is None and key in slot.exponents and isinstance(wide, torch.Tensor):
            return self.narrowed(key, named, wide)
        if x is None and key.removesuffix("_exponents") in slot.exponents and key.removesuffix("_exponents") not in entry:
            return []  # written with the codes
        if x is None and key in OPTIONAL:
            return []  # of another optimizer, which has none
        if not isinstance(x, torch.Tensor) or x.numel() != target.numel():
            told = "nothing" if x is None else f"shape {tuple(getattr(x, 'shape', ()))}"
            raise ValueError(f"{named}: {told}, expected a tensor of shape {tuple(target.shape)}")
        check_kind(named, x, target)
        return [(target, x.reshape(target.shape))]


def check_kind(named: str, x: torch.Tensor, target: torch.Tensor) -> None:
    """Raise if a tensor has no numbers, or other ones than an array of state."""
    numeric = target.is_floating_point() or target.is_complex()
    lost = x.is_meta or (x.is_complex() and not target.is_complex())
    if lost or numeric != (x.is_floating_point() or x.is_complex()) or (not numeric and x.dtype != target.dtype):
        raise ValueError(f"{named}: {x.dtype}, expected {target.dtype}: state_dtype and master as they were saved")
