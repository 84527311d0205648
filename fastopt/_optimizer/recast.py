"""Saved arrays in other storage formats than an optimizer's: numbers from one format to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import dtypes
from .parameter import Parameter
from .state import as_numbers

EXPONENTS = "_exponents"


def recast(parameter: Parameter, saved: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return saved arrays in the storage formats of a parameter, and what they were and are, by name; "" is the parameter.

    Entries that the parameter does not have stay as they are.
    """
    found, changed = dict(saved), {}
    if is_other_value(parameter, saved):
        found |= value_of(parameter, found)
        changed[""] = f"{shown_format(saved, '', 'master')} to {shown_format(found, '', 'master')}"
    for key in parameter.state_names:
        if key == "master" or key not in saved or is_alike(parameter, key, saved):
            continue
        numbers = decoded(parameter, key, saved)
        found.pop(key + EXPONENTS, None)
        codes, *exponents = parameter.encoded(key, numbers)
        found |= {key: codes, **({key + EXPONENTS: exponents[0]} if exponents else {})}
        changed[key] = f"{shown_format(saved, key)} to {shown_format(found, key)}"
    if "master" not in parameter.state:
        found.pop("master", None)
    return found, changed


def shown_format(arrays: Mapping[str, Any], *keys: str) -> str:
    """Return the formats of those of these arrays that there are."""
    names = {dtypes.BFLOAT16: "bfloat16", dtypes.FLOAT8: "float8", np.dtype(np.int16): "16 bits"}
    return " and ".join(names.get(arrays[key].dtype, arrays[key].dtype.name) for key in keys if key in arrays) or "nothing"


def is_alike(parameter: Parameter, key: str, saved: Mapping[str, Any]) -> bool:
    """Return True for an array of state that was saved in its present format."""
    is_float8 = key in parameter.exponents
    return saved[key].dtype == parameter.state[key].dtype and (key + EXPONENTS in saved) == is_float8


def is_other_value(parameter: Parameter, saved: Mapping[str, Any]) -> bool:
    """Return True if the parameter, or what is kept with it for its precision, was saved in another format."""
    masters = [None if a is None else a.dtype for a in (saved.get("master"), parameter.master)]
    return masters[0] != masters[1] or ("" in saved and saved[""].dtype != parameter.array.dtype)


def value_of(parameter: Parameter, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameter, and its master, in their formats."""
    what = f"parameter {parameter.name!r}"
    value = as_numbers(what, saved_value(what, parameter, saved), parameter.array.shape, parameter.real)
    found: dict[str, Any] = {}
    if parameter.master is not None and parameter.master.dtype == np.int16:
        found[""], found["master"] = (x.reshape(value.shape) for x in dtypes.split(value))
    else:
        found[""] = dtypes.narrowed(value, parameter.array.dtype).reshape(value.shape)
        if parameter.master is not None:
            found["master"] = value
    if np.isinf(dtypes.widened(found[""])).any() and np.isfinite(value).all():
        raise ValueError(f"{what}: numbers beyond the range of its dtype, expected others")
    if "" not in saved:
        own = found.pop("")
        if "master" in found and not np.array_equal(own, parameter.memory.host(parameter.array)):
            raise ValueError(f"{what}: the saved 'master' is of another parameter, expected a file, which has both")
    return found


def saved_value(what: str, parameter: Parameter, saved: Mapping[str, Any]) -> Any:
    """Return the saved parameter as numbers, with all the precision that was kept; without it, the one that is here."""
    master = saved.get("master")
    if "" in saved or (master is not None and master.dtype == np.float32):
        return decoded_value(saved)
    if master is not None:
        raise ValueError(f"{what}: the saved 'master' is the low bits of a parameter that is not in this state, expected a file")
    return parameter.memory.host(parameter.memory.widened(parameter.array))


def decoded_value(saved: Mapping[str, Any]) -> Any:
    """Return a saved parameter in the dtype that rules compute in, from its master if there is one."""
    master = saved.get("master")
    if master is None:
        return dtypes.widened(saved[""])
    return master if master.dtype == np.float32 else dtypes.joined(saved[""], master)


def decoded(parameter: Parameter, key: str, saved: Mapping[str, Any]) -> Any:
    """Return an array of state as numbers."""
    a = saved[key]
    if key + EXPONENTS in saved:
        return dtypes.widened8(a.reshape(-1), saved[key + EXPONENTS], parameter.unsigned(key)).reshape(a.shape)
    return dtypes.widened(a)
