"""Checks of users' rules against the package's promises, and the steps that results are compared with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._arrays.memory import HOST
from ._engine import dispatch
from ._optimizer import Optimizer
from .custom import Rule, compile

SIZES = (1, 7, 256, 1000)


def check_rule(rule: Rule, **hyperparameters: Any) -> None:
    """Check a rule against the package's promises; silence is success.

    Update and state keep the parameter's dtype and shape, and nonnegative state is nonnegative. Elements are independent:
    infinities and NaN stay where they are. Steps with saving and loading in between are the same steps. If the package is compiled,
    so is the rule (`compile`), and its kernel has the bits of its Python, in float32 and float64, on one thread and on several.

    Parameters
    ----------
    rule : Rule
    **hyperparameters
        By the rule's names; those without a default are required.

    Raises
    ------
    AssertionError
        If a promise does not hold.
    TypeError
        If `rule` is not what `fastopt.rule` makes, or a hyperparameter without default is missing.
    RuleError
        If the rule is outside the subset; a SyntaxError that names the line.
    ImportError
        Without Cython and setuptools, if the package itself is compiled.

    Examples
    --------
    >>> import fastopt
    >>> from fastopt.arithmetic import sign
    >>> @fastopt.rule
    ... def vote(p, g, *, lr):
    ...     return lr * sign(g)
    >>> fastopt.testing.check_rule(vote, lr=0.1)  # doctest: +SKIP
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: {rule!r}, expected what fastopt.rule makes")
    if missing := [h for h, default in rule.formula.hyperparameters.items() if default is None and h not in hyperparameters]:
        raise TypeError(f"{rule.__name__}: {', '.join(missing)}: no default, expected {missing[0]}=...")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for dtype in (np.float32, np.float64):
            check_arrays(rule, dtype, hyperparameters)
            check_elements(rule, dtype, hyperparameters)
            check_resume(rule, dtype, hyperparameters)
        if dispatch.TABLE is not None:
            check_kernel(rule, hyperparameters)


def draw(n: int, dtype: Any, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


def made(rule: Rule, p: np.ndarray, hyperparameters: Any, **options: Any) -> Any:
    return rule.Optimizer(p, **hyperparameters, **options)


def bits(a: np.ndarray) -> np.ndarray:
    """Return an array's bits, with one pattern for all NaNs."""
    return np.where(np.isnan(a), np.nan, a).view(f"u{a.itemsize}")


def check_arrays(rule: Rule, dtype: Any, hyperparameters: Any) -> None:
    """Check that update and state are arrays of the parameter's dtype and shape."""
    optimizer = made(rule, draw(5, dtype, 0), hyperparameters)
    group, formula = optimizer.groups[0], rule.formula
    scalars, carry = formula.scalars(group.current_values(1.0), 1, list(formula.carry.values()))
    arrays = [draw(5, dtype, k) for k in range(len(formula.arrays))]
    before = [a.copy() for a in arrays]
    results = formula(scalars, *arrays)
    names = ["the update", *formula.state]
    assert len(results) == len(names), f"{rule.__name__} returns {len(results)} arrays, expected {', '.join(names)}"
    for name, a in zip(names, results, strict=True):
        assert isinstance(a, np.ndarray) and a.dtype == dtype and a.shape == (5,), (
            f"{rule.__name__}: {name} is {a!r}, expected {dtype.__name__}"
        )
    for name, old, new in zip(formula.arrays, before, arrays, strict=True):
        assert np.array_equal(old, new), f"{rule.__name__} changes {name}, which it was given"
    assert len(carry) == len(formula.carry), f"{rule.__name__}: returns {len(carry)} carried numbers, expected {len(formula.carry)}"


def stepped(optimizer: Any, n: int, dtype: Any, first: int, count: int) -> None:
    for k in range(first, first + count):
        optimizer.step(draw(n, dtype, 100 + k))


def check_elements(rule: Rule, dtype: Any, hyperparameters: Any) -> None:
    """Check that elements are independent: parts and reversed arrays make the same steps, and a NaN stays where it is."""
    whole, front, back, turned = (
        draw(300, dtype, 1),
        draw(300, dtype, 1)[:100],
        draw(300, dtype, 1)[100:],
        draw(300, dtype, 1)[::-1].copy(),
    )
    optimizers = [made(rule, p, hyperparameters) for p in (whole, front, back, turned)]
    for k in range(3):
        g = draw(300, dtype, 10 + k)
        for optimizer, part in zip(optimizers, (g, g[:100], g[100:], g[::-1].copy()), strict=True):
            optimizer.step(part)
    same = np.array_equal(bits(whole), bits(np.concatenate([front, back]))) and np.array_equal(
        bits(whole), bits(turned[::-1].copy())
    )
    assert same, f"{rule.__name__}: an element depends on its position or on others, expected independent elements"
    bad, fine = draw(300, dtype, 1), np.arange(300) != 123
    optimizer = made(rule, bad, hyperparameters)
    for k in range(3):
        g = draw(300, dtype, 10 + k)
        g[123] = np.nan
        optimizer.step(g)
    assert np.array_equal(bits(bad[fine]), bits(whole[fine])), f"{rule.__name__}: a NaN in one element changes others"


def check_resume(rule: Rule, dtype: Any, hyperparameters: Any) -> None:
    """Check that steps are the same with saving and loading in between."""
    whole, half = draw(50, dtype, 2), draw(50, dtype, 2)
    optimizer, first, second = (made(rule, p, hyperparameters) for p in (whole, half, half))
    stepped(optimizer, 50, dtype, 0, 4)
    stepped(first, 50, dtype, 0, 2)
    second.load_state_dict(first.state_dict(), hyperparameters="keep")
    stepped(second, 50, dtype, 2, 2)
    for name, tag in rule.formula.tags.items():
        state = optimizer.state["0"][name]
        assert tag != "nonnegative" or (state >= 0).all(), f"{rule.__name__}: {name} is tagged nonnegative, and is {state.min()}"
    assert np.array_equal(bits(whole), bits(half)), (
        f"{rule.__name__}: steps after loading differ, expected all that lives in the state"
    )


def check_kernel(rule: Rule, hyperparameters: Any) -> None:
    """Check that the kernel has the bits of the rule's Python."""
    compile(rule)
    slow = interpreted_class(rule.Optimizer)
    tiny, big = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, big, -big, 1.0])
    for dtype in (np.float32, np.float64):
        pairs = [(draw(n, dtype, 3), [draw(n, dtype, 200 + k) for k in range(3)], 1) for n in SIZES]
        pairs += [(draw(100_000, dtype, 3), [draw(100_000, dtype, 200)] * 2, 2)]
        p, g = (a.ravel().astype(dtype) for a in np.meshgrid(special, special))
        pairs += [(p, [g, g[::-1].copy()], 1)]
        for p, grads, threads in pairs:
            ours, theirs = p.copy(), p.copy()
            compiled, python = made(rule, ours, hyperparameters, threads=threads), slow(theirs, **hyperparameters)
            for g in grads:
                compiled.step(g)
                python.step(g)
            same = np.array_equal(bits(ours), bits(theirs))
            assert same, (
                f"{rule.__name__}: the kernel's bits are not those of its Python, for {p.size} elements of {dtype.__name__}"
            )


def reference_step(optimizer: Any, grads: Any, *, scale: float = 1.0) -> bool:
    """Make one step in the Python of the optimizer's rules and stages, instead of its compiled kernels.

    Parameters, state, counts and files are those that `step` makes, bit for bit; it is many times slower. Bound gradients are
    released, and `report` has nothing of the last step.

    Parameters
    ----------
    optimizer : Optimizer
        Of NumPy arrays.
    grads : object
        Gradients in the structure of the parameters.
    scale : float, default 1
        Factor of the gradients.

    Returns
    -------
    bool
        As of `step`.

    Raises
    ------
    TypeError
        If the optimizer is none, or is of arrays on a device.
    RuntimeError
        If a step of this optimizer is at work, as in its schedules. Nothing has changed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastopt
    >>> from fastopt.testing import reference_step
    >>> fast, slow = fastopt.Adam(np.ones(3)), fastopt.Adam(np.ones(3))
    >>> fast.step(np.ones(3)) and reference_step(slow, np.ones(3))
    True
    >>> fast.fingerprint() == slow.fingerprint()
    True
    """
    if not isinstance(optimizer, Optimizer) or optimizer._memory is not HOST:
        raise TypeError(f"optimizer: {optimizer!r}, expected an optimizer of NumPy arrays")
    use_interpreter(optimizer, True)
    try:
        return optimizer.step(grads, scale=scale)
    finally:
        use_interpreter(optimizer, type(optimizer)._interpreted)


def use_interpreter(optimizer: Any, interpreted: bool) -> None:
    """Change the backend of an optimizer that is not at work; raise RuntimeError within a step."""
    optimizer._exclusively(attach, optimizer, interpreted)


def attach(optimizer: Optimizer, interpreted: bool) -> None:
    """Give an optimizer another backend, within its lock."""
    structure, parameters, groups = optimizer._structure, optimizer._parameters, optimizer._groups
    backend = dispatch.backend(structure, parameters, groups, optimizer._settings, interpreted)
    optimizer._attach(backend, structure, parameters, groups, optimizer._settings)


__all__ = ["check_rule", "reference_step"]


def interpreted_class(cls: Any) -> Any:
    """Return a class of optimizers like this one that runs interpreted."""
    names = {"_interpreted": True, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)
