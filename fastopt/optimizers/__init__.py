"""The optimizers, one file each: the rule's arithmetic, and the class with its names, defaults and conventions.

A rule is a few pure functions, for Python, for C and for the tests. ``name_scalars`` computes the scalars of step ``t`` (1, 2,
...) from the hyperparameters, in double; arguments after ``t`` that have a first value live from step to step, and are returned
after the dictionary. ``name`` is elementwise: from a parameter ``p``, its gradient ``g`` and the rule's state to the update,
which the engine subtracts from ``p``, and the new state. Where a rule needs sums over arrays, ``name_sums`` says of what, and
``name_scalars`` takes them after ``t``; of a sum of ``square(x)`` the exact norm, as ``name * 2**name_exponent``, and `scale_by`
multiplies by such a pair within range. A rule of matrices has ``name_terms``, which are averaged over rows and columns, or which
``name_matrix`` changes as a whole, before the sums. `python fastopt/_codegen` renders all of it, as the Cython of
``_engine/generated/kernels.pyx`` and as CUDA, and says what a rule may contain.

The classes take ``params``: an array of float32, float64, complex64, complex128, float16 or bfloat16, which is updated in place;
a sequence or mapping of such arrays, nested; or a list of group dicts, ``{"params": ..., "lr": ...}``. Hyperparameters are
numbers, or schedules: functions of the step (0, 1, ...) that give a number. Names, defaults and formulas are torch's, or else the
paper's.
"""

import importlib
import pkgutil

from .._optimizer import Optimizer
from ..spec import RULES, formulas

__all__ = []
for _, _name, _ in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
    _module = importlib.import_module(f"{__name__}.{_name}")
    RULES.update(formulas(_module))
    for _name, _class in vars(_module).items():
        if isinstance(_class, type) and issubclass(_class, Optimizer) and _class.__module__ == _module.__name__:
            globals()[_name] = _class
            __all__ += [_name]
