"""Optimizers for PyTorch: each class here is a ``torch.optim.Optimizer`` that steps with fastopt's engine on the CPU.

``fastopt.torch.Adam`` and the others have the names of fastopt's optimizers; `optimizer` makes one of a class, or of a user's rule.
Learning rate schedulers, closures, hooks, parameter groups and checkpoints are torch's own. Checkpoints can be exchanged with
torch's optimizer of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import torch  # noqa: F401 - the error says what it is for
except ImportError as error:
    raise ImportError("fastopt.torch needs PyTorch: pip install torch") from error

from .. import optimizers
from .._optimizer.optimizer import Optimizer as Fast
from ..custom import Rule
from .arguments import docstring, signature
from .base import Optimizer


def optimizer(cls: Any, params: Any, **options: Any) -> Optimizer:
    """Return a ``torch.optim.Optimizer`` that steps with an optimizer of fastopt, on the CPU.

    Parameters
    ----------
    cls : class or Rule
        ``fastopt.Adam``, ..., or a user's rule.
    params : iterable
        Tensors, named tensors or group dicts, as for torch's optimizers: dense, on the CPU, of dtype float32, float64, bfloat16,
        float16 or complex. Updated in place.
    **options
        The arguments of `cls`. ``param_groups`` has those that groups may differ in. ``foreach=True`` and ``fused=True``, which
        choose an implementation of torch's, are ignored with a warning; ``capturable`` and ``differentiable`` are refused.

    Returns
    -------
    Optimizer
        Of the class with the name of `cls` in this module. With ``param_groups``, which torch's schedulers set, and ``state`` and
        ``state_dict()`` by torch's names: checkpoints can be exchanged with torch's optimizer of the same name. ``.fast`` is the
        optimizer of fastopt, with ``report()``, ``average`` and ``explain()``; it calls parameters ``"0/0"``, ... (group and
        place), or by their names.

    Raises
    ------
    TypeError, ValueError
        As `cls`, and for tensors on other devices or with other layouts.

    Notes
    -----
    With ``zero_grad(set_to_none=False)``, gradients stay in place and a step need not check each again. Sparse gradients of rows
    (``nn.Embedding(sparse=True)``) update those rows only. In checkpoints, state in 8 bits has the names of fastopt, so that torch
    does not take its codes for numbers.

    Examples
    --------
    >>> import torch, fastopt as fo
    >>> model = torch.nn.Linear(2, 1)
    >>> opt = fo.torch.AdamW(model.parameters(), lr=1e-2)  # The same as fo.torch.optimizer(fo.AdamW, ...).
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
    return class_of(made)(params, **options)  # type: ignore[no-any-return]


def class_of(cls: Any) -> Any:
    """Return the torch optimizer of an optimizer of fastopt, a subclass of those of its bases; the class keeps it."""
    if "_torch" in vars(cls):
        return cls._torch
    bases = tuple(class_of(base) for base in cls.__bases__ if issubclass(base, Fast) and base is not Fast) or (Optimizer,)
    cls._torch = type(cls.__name__, bases, {"cls": cls, "__doc__": docstring(cls), "__module__": __name__})
    cls._torch.__signature__ = signature(cls)
    return cls._torch


def blank(cls: type) -> Any:
    """Return a torch optimizer without content: of this class, or of the one that an optimizer of fastopt has."""
    made = cls if issubclass(cls, Optimizer) else class_of(cls)
    return made.__new__(made)


if TYPE_CHECKING:

    def __getattr__(name: str) -> type[Optimizer]: ...


# Each of fastopt's optimizers, under its name.
CLASSES = {name: class_of(getattr(optimizers, name)) for name in optimizers.__all__}
globals().update(CLASSES)
__all__ = ["Optimizer", "optimizer", *CLASSES]
