"""The C interface: headers, addresses of its functions, and the kernels as one file of C."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import RULES, STAGES, Spec

STATES, ARRAYS = 6, 2  # As in include/fastopt.h.
FORMATS = ("float32", "float64", "bfloat16", "float16", "float8")  # By their numbers in C.


def _struct(**fields: Any) -> np.dtype:
    return np.dtype([(name, *x) if isinstance(x, tuple) else (name, x) for name, x in fields.items()], align=True)


STAGE_ARGS = _struct(size="u8", stage="u8", hyperparameters="u8", arrays=("u8", ARRAYS))
UPDATE = _struct(
    size="u8", rule="u8", n="i8", t="i8", param_format="i4", grad_format="i4", state_format="i4", nearest="i4", param_in="u8",
    param_out="u8", grad="u8", state=("u8", STATES), exponents=("u8", STATES), master="u8", low_bits="u8", hyperparameters="u8",
    carry_in="u8", carry_out="u8", stages="u8", n_stages="i4", seed="u4", position="i8",
)  # fmt: skip


def get_include() -> str:
    """Return the folder of ``fastopt.h``, for C compilers. Cython finds ``cimport fastopt`` without it.

    Returns
    -------
    str
    """
    return str(Path(__file__).parents[1] / "include")


def declarations() -> str:
    """Return the declarations of ``fastopt.h`` without comments and preprocessor lines, for cffi's ``cdef``.

    Returns
    -------
    str
    """
    text = Path(get_include(), "fastopt.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"#if defined\((__cplusplus|FASTOPT_DECLARE)\).*?#endif", "", text, flags=re.DOTALL)
    text = re.sub(r"FASTOPT_(?:STATES|ARRAYS)(?=\])", lambda found: str({"STATES": STATES, "ARRAYS": ARRAYS}[found[0][8:]]), text)
    return re.sub(r"^(#.*)?\n", "", text, flags=re.MULTILINE)


def source(language: str, rules: Any = None) -> str:
    """Return the kernels as one source file, for programs without Python.

    Parameters
    ----------
    language : {"c", "cuda"}
        C99, with the functions of ``fastopt.h``; or CUDA, see `fastopt.cuda.source`.
    rules : str, Rule, or sequence of them, optional
        Names of rules (``"adam"``), as in `functional`, and users' rules. Default: all rules of the package.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the language or a rule does not exist, or (in C) the rule works on whole matrices.
    TypeError
        If a rule is neither a name nor what `fastopt.rule` makes.

    Notes
    -----
    Compile the C with ``-O3 -ffp-contract=off -fno-math-errno -fno-trapping-math``, and ``-fopenmp`` for threads: the bits are
    those of the package. All storage formats and stages are included, except for stages that an optimizer acts on (accumulation,
    norms for a report; non-finite elements can only be replaced by zero).

    Examples
    --------
    >>> "int32_t fastopt_apply(" in source("c", "adam")
    True
    """
    from .._codegen import c_library as c
    from .._codegen.package import formulas, inline_headers, select_rules

    if language == "cuda":
        from .. import cuda

        return cuda.source(rules)
    if language != "c":
        raise ValueError(f"language: {language!r}, expected 'c' or 'cuda'")
    known, stages = formulas()
    given = rules if isinstance(rules, (list, tuple)) else [rules]
    specs = RULES | {x.formula.name: x.formula for x in given if hasattr(x, "formula")}
    wanted = select_rules(rules, [rule for rule in known if not rule.terms_scope])
    domains = {rule.name: intervals(specs[rule.name]) for rule in wanted}
    domains |= {f"{stage.name} stage": intervals(STAGES[stage.name]) for stage in stages}
    return inline_headers(c.render(wanted, stages, domains))


def intervals(formula: Spec) -> list[tuple[float, float]]:
    """Return the closed range of each hyperparameter, as C checks it."""
    return [(domain.low, domain.high) for domain in formula.domains.values()]


def _interface() -> Any:
    from . import interface

    return interface


def rules() -> dict[str, dict[str, Any]]:
    """Return the rules for ``fastopt_find_rule``, with the order of their arrays and numbers.

    Returns
    -------
    dict
        By name: ``"states"``, names of arrays; ``"hyperparameters"``, with their defaults; ``"carry"``, numbers that live from
        step to step, with their first values. Optimizers are rules with stages: AdamW is "adam" with the stage "decoupled".

    Examples
    --------
    >>> rules()["adam"]["states"]
    ['m', 'v']
    """
    return {
        name: {"states": list(rule.state), "hyperparameters": dict(rule.hyperparameters), "carry": dict(rule.carry)}
        for name, rule in RULES.items()
        if not rule.terms_scope
    }


def stages() -> dict[str, dict[str, Any]]:
    """Return the stages for ``fastopt_find_stage``, with the order of their numbers and arrays.

    Returns
    -------
    dict
        By name, in the order in which they run, with the rule before "late_decay": ``"hyperparameters"``, with values that change
        nothing (None: any); ``"arrays"``, those that the stage keeps. A stage of an update is an entry of an array of dtype
        `STAGE_ARGS`: its ``size``, and the addresses of the stage, of its hyperparameters as float64, and of its arrays.

    Examples
    --------
    >>> stages()["decoupled"]["hyperparameters"]
    {'lr': None, 'weight_decay': 0.0}
    """
    return {
        name: {"hyperparameters": dict(stage.hyperparameters), "arrays": list(stage.stage_arrays)}
        for name, stage in STAGES.items()
        if not stage.is_for_optimizers
    }


def find_rule(name: str) -> int:
    """Return the address of a rule's ``fastopt_rule``.

    Parameters
    ----------
    name : str
        As in `functional`.

    Returns
    -------
    int
        Address, valid as long as the process lives.

    Raises
    ------
    ValueError
        If there is no such rule.
    ImportError
        If this process runs without the compiled engine.
    """
    return _found("rule", name)


def find_stage(name: str) -> int:
    """Return the address of a stage's ``fastopt_stage``.

    Parameters
    ----------
    name : str
        Such as "l2" or "clip_norm"; `stages` has all.

    Returns
    -------
    int
        Address, valid as long as the process lives.

    Raises
    ------
    ValueError
        If there is no such stage.
    ImportError
        If this process runs without the compiled engine.
    """
    return _found("stage", name)


def _found(kind: str, name: str) -> int:
    find = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(addresses()[f"fastopt_find_{kind}"])
    found: int | None = find(name.encode() if isinstance(name, str) else b"")
    if found is None:
        raise ValueError(f"{kind}: {name!r}, which fastopt does not have")
    return found


def addresses() -> dict[str, int]:
    """Return the addresses of the functions of ``fastopt.h`` by name, for ctypes, cffi, numba and other callers of C.

    ``"fastopt_interface"`` is the address of the struct that holds all of them.

    Returns
    -------
    dict of str to int

    Raises
    ------
    ImportError
        If this process runs without the compiled engine.

    Examples
    --------
    >>> sorted(addresses())[:2]
    ['fastopt_apply', 'fastopt_apply_part']
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    functions = {key: pointer(x, name(x)) for key, x in _interface().__pyx_capi__.items()}
    return {**functions, "fastopt_interface": pointer(capsule(), b"fastopt.interface")}


def capsule() -> Any:
    """Return the capsule "fastopt.interface", a ``fastopt_interface`` with all functions of ``fastopt.h``, for C extensions.

    Returns
    -------
    PyCapsule

    Raises
    ------
    ImportError
        If this process runs without the compiled engine.
    """
    return _interface().CAPSULE


def updates(count: int) -> np.ndarray:
    """Return an array of `count` updates, ``fastopt_update`` in C, filled with zeros except for their sizes.

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray of a structured dtype, shape (count,)
        Pointers are unsigned integers: an array's is ``a.ctypes.data``. Whatever they point to, keep it alive.

    Examples
    --------
    >>> import numpy as np
    >>> p, g, m, v = np.ones(3), np.array([1.0, 2.0, -1.0]), np.zeros(3), np.zeros(3)
    >>> steps = updates(1)
    >>> steps["rule"], steps["n"], steps["t"] = find_rule("adam"), 3, 1
    >>> steps["param_format"] = steps["grad_format"] = steps["state_format"] = FORMATS.index("float64")
    >>> steps["param_in"] = steps["param_out"] = p.ctypes.data
    >>> steps["grad"], steps["state"][0, :2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
    >>> apply = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)(addresses()["fastopt_apply"])
    >>> apply(steps.ctypes.data, 1, 1)
    0
    >>> p.round(6)
    array([0.999, 0.999, 1.001])
    """
    made = np.zeros(count, UPDATE)
    made["size"] = UPDATE.itemsize
    return made
