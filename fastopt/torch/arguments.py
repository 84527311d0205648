"""Arguments of torch optimizers: torch's order, and what chooses among torch's implementations."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .. import optimizers
from .._optimizer.array_options import find_caller
from .._optimizer.optimizer import Optimizer as Fast

# Arguments of torch's classes that choose an implementation: what steps do is the same, or is something else.
IGNORED = ("foreach", "fused")
REFUSED = {
    "capturable": "records steps in a CUDA graph",
    "differentiable": "records steps for autograd",
}
DECOUPLED = "decoupled_weight_decay"
DOC = """{first}

A ``torch.optim.Optimizer`` on the CPU that steps with `fastopt.{name}`, whose arguments and options it has; the first ones can be
given by position{like}.

Parameters
----------
params : iterable
    Tensors, named tensors or group dicts, as for torch's optimizers: dense, on the CPU, of dtype float32, float64, bfloat16,
    float16 or complex. Updated in place.
*positional, **options
    As `fastopt.{name}`; ``foreach=True`` and ``fused=True`` are ignored with a warning, ``capturable`` and ``differentiable``
    are refused.

Raises
------
TypeError, ValueError
    As `fastopt.{name}`, and for tensors on other devices or with other layouts.

See Also
--------
fastopt.torch.optimizer : The same for a class or a rule of one's own.
"""


def order(cls: type[Fast]) -> list[str]:
    """Return the names of a class's arguments by position, after the parameters: torch's if it has a class of that name."""
    theirs = getattr(torch.optim, cls.__name__, None)
    if getattr(optimizers, cls.__name__, None) is not cls or not isinstance(theirs, type):
        return list(cls.arguments)
    parameters = inspect.signature(theirs).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]


def signature(cls: type[Fast]) -> inspect.Signature:
    """Return the signature of the torch optimizer of a class: arguments that have no place in torch's order by name alone."""
    places, (params, *rest) = order(cls), inspect.signature(cls).parameters.values()
    named = [p if p.name in places or p.kind is p.VAR_KEYWORD else p.replace(kind=p.KEYWORD_ONLY) for p in rest]
    return inspect.Signature([params, *sorted(named, key=lambda p: (p.kind, places.index(p.name) if p.name in places else 0))])


def docstring(cls: type[Fast]) -> str:
    """Return the docstring of the torch optimizer of a class."""
    like = f", in the order of ``torch.optim.{cls.__name__}``" if order(cls) != list(cls.arguments) else ""
    return DOC.format(first=(inspect.getdoc(cls) or cls.__name__).partition("\n")[0], name=cls.__name__, like=like)


def arguments(cls: type[Fast], positional: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call, by name, without what chooses an implementation; raise for what fastopt does not do."""
    names = order(cls)
    given = dict(zip(names, positional, strict=False))
    if len(positional) > len(names) or given.keys() & options.keys():
        raise TypeError(f"{cls.__name__}: an argument is given twice, or there are too many; expected params, {', '.join(names)}")
    given |= options
    check_implementation(given)
    check_decoupled(cls, given)
    dropped = (*IGNORED, *REFUSED, *([] if DECOUPLED in cls.arguments else [DECOUPLED]))
    return {name: x for name, x in given.items() if name not in dropped}


def check_decoupled(cls: type[Fast], options: Mapping[str, Any]) -> None:
    """Raise if options, of a call or of a checkpoint, ask for another weight decay than a class of torch's has."""
    if DECOUPLED in cls.arguments or not options.get(DECOUPLED) or not options.get("weight_decay"):
        return
    if cls.weight_decay_stage != "decoupled":
        raise ValueError(f"{DECOUPLED}: of another optimizer than {cls.__name__}, expected fastopt.torch.AdamW for it")


def check_implementation(options: Mapping[str, Any]) -> None:
    """Warn of options that choose an implementation of torch's; raise for those that change what a step does."""
    for name, said in REFUSED.items():
        if options.get(name):
            raise ValueError(f"{name}: {said}, which fastopt does not, expected False, or torch's own optimizer")
    if ignored := [name for name in IGNORED if options.get(name)]:
        said = f"{', '.join(ignored)}: ignored, since fastopt has one implementation for all tensors"
        warnings.warn(said, UserWarning, stacklevel=find_caller())
