"""Users' rules: written like those in ``optimizers``, interpreted at once, compiled on request."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import hashlib
import importlib
import inspect
import linecache
import operator
import warnings
from collections.abc import Callable, Iterator, ValuesView
from typing import Any

from . import spec
from ._arrays.memory import HOST
from ._engine import dispatch
from ._optimizer import Optimizer
from ._optimizer.array_options import find_caller
from ._optimizer.options import OF_OPTIMIZERS, OPTIONS
from .domains import FINITE, NONNEGATIVE, Domain

RESERVED = {*OPTIONS, *OF_OPTIMIZERS, *(h for s in spec.STAGES.values() for h in s.hyperparameters)}
RESERVED = (RESERVED | {"params", "convention", "options", "decoupled_weight_decay"}) - {"lr", "weight_decay"}


class Rule:
    """An update rule of a user; made by `rule`.

    Calling it calls the function that it was made from.

    Attributes
    ----------
    formula : Spec
        The rule as optimizers use it.
    text : RuleIR
        The rule as the code generator reads it.
    Optimizer : class
        The class of optimizers with this rule.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not inspect.isfunction(function):
            raise TypeError(f"rule: {function!r}, expected a function")
        functools.update_wrapper(self, function)
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.function = function
        self._scalars: Callable[..., Any] | None = None

    def __call__(self, *arrays: Any, **scalars: Any) -> Any:
        return self.function(*arrays, **scalars)

    def __repr__(self) -> str:
        # Only a rule in use has one; reading the source here could raise.
        found = vars(self).get("formula")
        if found is None:
            return f"<rule {self.__name__}>"
        return f"<rule {self.__name__}({', '.join(found.arrays)}), {'interpreted' if found.capsule is None else 'compiled'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by module and name, with the text for processes that cannot import it."""
        from ._codegen import custom

        texts = [custom.source(f) for f in (self.function, self._scalars) if f is not None]
        compiled = "formula" in vars(self) and self.formula.capsule is not None
        return revived_rule, (self.__module__, self.__qualname__, texts, compiled)

    def __copy__(self) -> Rule:
        return self

    def __deepcopy__(self, _: Any) -> Rule:
        return self

    def scalars(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Set the function that computes the scalars of step ``t``; a decorator.

        Parameters
        ----------
        function : callable
            Takes ``t`` (1, 2, ...); numbers that it carries from step to step, with their first values; and by keyword the
            hyperparameters, with or without defaults. It returns a dictionary of the update's scalars, and after it the carried
            numbers for the next step.

        Returns
        -------
        function

        Raises
        ------
        RuntimeError
            If the rule has been used already.
        """
        if "formula" in vars(self):
            raise RuntimeError(f"{self.__name__}.scalars: this rule is already in use")
        self._scalars = function
        return function

    @functools.cached_property
    def _read(self) -> tuple[Any, dict[str, Any] | None]:
        from ._codegen import custom

        return custom.read(self.function, self._scalars)

    @property
    def text(self) -> Any:
        """The rule as the code generator reads it; raises RuleError if it is outside the subset."""
        return self._read[0]

    @functools.cached_property
    def formula(self) -> spec.Spec:
        """The rule as optimizers use it."""
        # An error in the source is reported first.
        text, lifted = self._read
        scalars = self._scalars or without_change(self.function)
        found = spec.Spec(self.__name__, lifted or {self.__name__: self.function, f"{self.__name__}_scalars": scalars})
        from ._codegen import custom
        from ._codegen.subset import RuleError

        found.text, found.label = text, custom.label(text)
        for name in found.hyperparameters:
            if name in RESERVED:
                raise RuleError(
                    f"{self.__name__}: the hyperparameter {name} would be an option of every optimizer, expected another name"
                )
        annotated = inspect.signature(scalars).parameters
        for name in found.hyperparameters:
            if annotated[name].annotation is inspect.Parameter.empty:
                found.domains[name] = usual_domain(name)
        return found

    @functools.cached_property
    def Optimizer(self) -> Any:
        """The class of optimizers with this rule, under a name that pickle finds."""
        arguments: dict[str, Any] = dict(self.formula.hyperparameters)
        decay = "l2"
        if "weight_decay" in arguments:
            decay = ""  # The rule has its own.
        else:
            arguments["weight_decay"] = 0.0
            arguments |= {"decoupled_weight_decay": False} if "lr" in arguments else {}
        doc = f"{(self.__doc__ or self.__name__).strip()}\n\nAn optimizer of a user's own rule; see `fastopt.optimizer`."
        said = {"arguments": arguments, "update": self, "weight_decay_stage": decay, "__doc__": doc, "__module__": self.__module__}
        return type(self.__name__, (CustomOptimizer,), {**said, "__qualname__": f"{self.__qualname__}.Optimizer"})


def usual_domain(name: str) -> Domain:
    """Return the domain of a hyperparameter without annotation: the one that the package's rules agree on for its name."""
    if name in ("lr", "eps", "weight_decay"):
        return NONNEGATIVE
    found = {rule.domains[name] for rule in spec.RULES.values() if name in rule.domains} - {NONNEGATIVE}
    return found.pop() if len(found) == 1 else Domain(-FINITE, FINITE)


class CustomOptimizer(Optimizer):
    """Base of the optimizers of users' rules."""

    def __init__(self, params: Any, *positional: Any, **options: Any) -> None:
        super().__init__(params, *positional, **options)
        rule: Any = type(self).update
        if rule.formula.capsule is None and dispatch.TABLE is not None and self._memory is HOST and not self._interpreted:
            said = f"{rule.__name__} runs interpreted: right, but slow; fastopt.compile({rule.__name__}) makes a kernel"
            warnings.warn(said, RuntimeWarning, stacklevel=find_caller())

    def __reduce__(self) -> tuple[Any, ...]:
        return revived, (type(self).update,), super().__reduce__()[2]


@functools.cache
def rule_of(texts: tuple[str, ...], module: str, qualname: str) -> Rule:
    """Return a rule of these texts, the same one in the whole process."""
    from . import arithmetic, domains
    from ._codegen import custom

    space: dict[str, Any] = {"__name__": module, **{name: getattr(arithmetic, name) for name in custom.FUNCTIONS}}
    space |= {name: getattr(domains, name) for name in domains.__all__}
    functions = []
    for text in texts:
        file = f"<rule {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
        # So that its source can be read again.
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(builtins.compile(text, file, "exec"), space)
        functions.append(space[ast.parse(text).body[0].name])  # type: ignore[attr-defined]
    made = Rule(functions[0])
    made.__module__, made.__qualname__ = module, qualname
    if len(functions) > 1:
        made.scalars(functions[1])
    return made


def revived_rule(module: str, qualname: str, texts: list[str], compiled: bool) -> Rule:
    """Return the rule that a module has under this name with this text, or a new one of the text; compiled if it was.

    Like pickle itself, this runs what the pickle says: load none that you do not trust.
    """
    from ._codegen import custom

    try:
        found = operator.attrgetter(qualname)(importlib.import_module(module))
        if not isinstance(found, Rule) or [custom.source(f) for f in (found.function, found._scalars) if f is not None] != texts:
            raise AttributeError(qualname)
    except (ImportError, AttributeError):
        found = rule_of(tuple(texts), module, qualname)
    if compiled:
        # Otherwise it runs interpreted.
        with contextlib.suppress(ImportError, RuntimeError):
            compile(found)
    return found


def revived(rule: Rule) -> Any:
    """Return an optimizer without state, for pickle."""
    return rule.Optimizer.__new__(rule.Optimizer)


def without_change(update: Callable[..., Any]) -> Callable[..., Any]:
    """Return a scalars function that returns the hyperparameters unchanged."""

    def scalars(t: int, **hyperparameters: float) -> dict[str, float]:
        return hyperparameters

    kinds = inspect.Parameter
    parameters = [p for p in inspect.signature(update).parameters.values() if p.kind is p.KEYWORD_ONLY]
    scalars.__signature__ = inspect.Signature([kinds("t", kinds.POSITIONAL_OR_KEYWORD), *parameters])  # type: ignore[attr-defined]
    return scalars


def rule(function: Callable[..., Any]) -> Rule:
    """Make an update rule from a function; a decorator.

    Parameters
    ----------
    function : callable
        Takes the parameter ``p``, its gradient ``g`` and the rule's state, each an element or an array, and scalars by keyword.
        Returns the update, which is subtracted from ``p``, and the new state. State begins at zero. The scalars are the
        hyperparameters, with or without defaults, unless ``scalars`` computes them. The source is read, and errors in it are
        raised, when the rule is first used.

    Returns
    -------
    Rule

    See Also
    --------
    optimizer : Updates parameters with it.
    compile : Makes a kernel of it.
    testing.check_rule : Tests it.

    Notes
    -----
    A rule is limited to what Python, C and CUDA understand alike: assignments of new values to plain names (no ``+=``),
    ``+ - * /`` (``g * g`` for ``g ** 2``), comparisons as the first argument of ``where``, and these functions of
    `fastopt.arithmetic` by their plain names: ``sqrt, fabs, sign, copysign, maximum, minimum, where``; in scalars also ``exp, log,
    power(x, t)`` and ``a if c else b``. Arithmetic of scalars alone, such as ``1 - beta``, is moved to the scalars function, which
    computes in double. Reserved are names of Python, C, C++ and the generated code (``a c h i n t out sums update``, ...), names of
    the package's rules, and for hyperparameters names of options. Tags of state: ``v: nonnegative`` (no sign when stored in 8
    bits), ``m: velocity`` (stops at a bound), ``z: start`` (begins as the parameter). Domains of hyperparameters, from
    `fastopt.domains`: ``beta: fraction = 0.9``. Files identify a rule by its name and by what it computes.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> from fastopt.arithmetic import power, sign
    >>> @fo.rule
    ... def vote(p, g, m, *, step, w):
    ...     m = m + w * (g - m)
    ...     return step * sign(m), m
    >>> @vote.scalars
    ... def _(t, *, lr=0.1, beta=0.9):
    ...     return {"step": lr * (1 - power(beta, t)), "w": 1 - beta}
    >>> w = np.ones(2)
    >>> fo.optimizer(vote, w, beta=0.5).step(np.array([1.0, -2.0]))  # doctest: +SKIP
    True
    """
    return Rule(function)


def optimizer(rule: Rule, params: Any, **options: Any) -> Optimizer:
    """Return an optimizer with a user's rule.

    Parameters
    ----------
    rule : Rule
        From `rule`; interpreted, with a warning, until `compile` has made a kernel.
    params : arrays
        As for every optimizer.
    **options
        The rule's hyperparameters, numbers or schedules; ``weight_decay=0`` (L2, added to the gradient; with
        ``decoupled_weight_decay=True`` before the rule, if it has a learning rate ``lr``); and options of every optimizer.

    Returns
    -------
    Optimizer
        An instance of ``rule.Optimizer``.

    Raises
    ------
    RuleError
        If the rule is outside the subset; a SyntaxError that names the line.
    TypeError, ValueError
        As for every optimizer, and for missing hyperparameters.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: {rule!r}, expected what fastopt.rule makes")
    made = rule.Optimizer
    missing = [h for h, default in rule.formula.hyperparameters.items() if default is None and h not in options]
    if isinstance(params, (Iterator, ValuesView)):
        params = list(params)
    grouped = isinstance(params, (list, tuple)) and any(isinstance(x, dict) and "params" in x for x in params)
    if missing and not grouped:
        unknown = [k for k in options if k not in made.arguments and k not in RESERVED]
        hint = f"; {', '.join(unknown)}: unknown, or is {rule.__name__}.scalars missing?" if unknown else ""
        raise TypeError(f"{rule.__name__}: {', '.join(missing)}: no default, expected {missing[0]}=...{hint}")
    return made(params, **options)  # type: ignore[no-any-return]


def compile(rule: Rule) -> Rule:
    """Compile a rule: optimizers that are made afterwards use its kernel.

    Parameters
    ----------
    rule : Rule

    Returns
    -------
    Rule
        The same rule.

    Raises
    ------
    TypeError
        If it is not what `rule` makes.
    RuleError
        If the rule is outside the subset; a SyntaxError that names the line.
    ImportError
        Without Cython and setuptools (``pip install 'fastopt[compile]'``).
    RuntimeError
        If the package itself runs interpreted, or the compiler fails, with its output.

    Notes
    -----
    Compiling takes some seconds, once: the kernel is kept in the user's cache folder (``FASTOPT_CACHE_DIR``), under a digest of the
    rule's text, all versions, and the flags. The C interface and ``fastopt.source`` know the rule as well.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: {rule!r}, expected what fastopt.rule makes")
    if rule.formula.capsule is None:
        if dispatch.TABLE is None:
            raise RuntimeError("compile: this process runs interpreted, without the compiled engine")
        from ._engine import compile as compiler

        rule.formula.capsule = compiler.table([rule.text])
        compiler.register(rule.formula)
    return rule


__all__ = ["Rule", "compile", "optimizer", "rule"]
