"""Schedules: hyperparameters as pure functions of the optimizer's step; the first update is step 0.

A schedule takes a number (fast, without NumPy) or an array of steps and returns the same kind. Past its end it keeps its last
value, and at a boundary it has the next one. `warmup`, `join` and ``schedule * number`` combine them. Any callable of a step can be
used, too.
"""

from typing import TYPE_CHECKING, Any

from .base import Schedule, from_dict

if TYPE_CHECKING:
    from .combined import join, scaled, warmup, warmup_stable_decay
    from .cycles import cosine_restarts, cyclic, one_cycle
    from .decay import (
        constant,
        cosine_decay,
        exponential_decay,
        inverse_scaling,
        inverse_sqrt,
        inverse_time,
        linear_decay,
        multistep,
        piecewise_constant,
        piecewise_linear,
        polynomial_decay,
    )

__all__ = [
    "Schedule",
    "constant",
    "cosine_decay",
    "cosine_restarts",
    "cyclic",
    "exponential_decay",
    "from_dict",
    "inverse_scaling",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "linear_decay",
    "multistep",
    "one_cycle",
    "piecewise_constant",
    "piecewise_linear",
    "polynomial_decay",
    "scaled",
    "warmup",
    "warmup_stable_decay",
]


def __getattr__(name: str) -> Any:
    """Import schedules on first use: making their classes takes longer than all else that fastopt imports."""
    if name in __all__:
        from . import combined, cycles, decay

        for module in (decay, cycles, combined):
            globals().update({key: x for key, x in vars(module).items() if key in __all__})
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
