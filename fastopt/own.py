"""Users' own rules: written as those of ``rules.py``, interpreted at once, compiled on request."""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import inspect
import subprocess
import sys
import sysconfig
import textwrap
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import arithmetic, cache, formula
from .base import Optimizer
from .codegen import PACKAGE, RuleError, cython, reader
from .engine import dispatch, flags, interpreted
from .groups import DOMAINS, FINITE

FUNCTIONS = (*reader.ELEMENTWISE, *reader.IN_SCALARS, "inf", *reader.TAGS)


class Rule:
    """An update rule of a user's own; see `rule`, which makes it.

    It can be called as the function that it was made of.

    Attributes
    ----------
    formula : Formula
        What its signature says.
    text : codegen.Formula
        What its source says.
    Optimizer : class
        The class of optimizers with this rule.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not inspect.isfunction(function):
            raise TypeError(f"rule: {function!r}, expected a function")
        functools.update_wrapper(self, function)
        self.function = function
        self._scalars: Callable[..., Any] | None = None

    def __call__(self, *arrays: Any, **scalars: Any) -> Any:
        return self.function(*arrays, **scalars)

    def __repr__(self) -> str:
        how = "interpreted" if self.formula.capsule is None else "compiled"
        return f"<rule {self.__name__}({', '.join(self.formula.arrays)}), {how}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # it is what its module calls so

    def scalars(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the scalars of step ``t`` are; a decorator.

        Parameters
        ----------
        function
            Of ``t`` (1, 2, ...), of numbers that live from step to step with what they begin at, and by keyword of the
            hyperparameters, with defaults where they have any. It returns a dictionary of the update's scalars, and after it those
            numbers for the next step.

        Returns
        -------
        function
        """
        if "formula" in vars(self):
            raise RuntimeError(f"{self.__name__}.scalars: this rule is already in use")
        self._scalars = function
        return function

    @functools.cached_property
    def text(self) -> Any:
        """The rule as the code generator reads it; RuleError where it cannot."""
        name = self.__name__
        path, update = definition(self.function)
        functions = {name: update}
        if self._scalars is not None:
            _, functions[f"{name}_scalars"] = definition(self._scalars)
            functions[f"{name}_scalars"].name = f"{name}_scalars"
        else:
            functions[f"{name}_scalars"] = handed_on(update)
        spaces = [f.__globals__ for f in (self.function, self._scalars) if f is not None]
        names = {n for n in FUNCTIONS if any(space.get(n) is getattr(arithmetic, n) for space in spaces)}
        return reader.read_rule(path, name, functions, names)

    @functools.cached_property
    def formula(self) -> formula.Formula:
        """What the optimizer takes from the rule."""
        text = self.text  # an error in the source comes first
        scalars = self._scalars if self._scalars is not None else without_change(self.function)
        found = formula.Formula(self.__name__, {self.__name__: self.function, f"{self.__name__}_scalars": scalars})
        found.text = text
        for name in found.hyperparameters:
            if name not in DOMAINS and name not in ("lr", "eps", "weight_decay"):
                DOMAINS.setdefault(f"{self.__name__} {name}", (-FINITE, FINITE))
        return found

    @functools.cached_property
    def Optimizer(self) -> Any:  # noqa: N802
        """The class of optimizers with this rule; pickle finds it here."""
        arguments: dict[str, Any] = dict(self.formula.hyperparameters)
        decay = "l2"
        if "weight_decay" in arguments:
            decay = ""  # of the rule's own
        else:
            arguments["weight_decay"] = 0.0
            arguments |= {"decoupled_weight_decay": False} if "lr" in arguments else {}
        doc = f"{(self.__doc__ or self.__name__).strip()}\n\nAn optimizer of a user's own rule; see `fastopt.optimizer`."
        said = {"arguments": arguments, "update": self, "decay": decay, "__doc__": doc, "__module__": self.__module__}
        return type(self.__name__, (OwnOptimizer,), {**said, "__qualname__": f"{self.__qualname__}.Optimizer"})


class OwnOptimizer(Optimizer):
    """What optimizers of users' own rules have in common."""

    @classmethod
    def _class_for(cls, params: Any) -> Any:
        found = super()._class_for(params)
        if found is not cls or issubclass(cls, interpreted.Stepper) or params is None:
            return found
        if cls.update.formula.capsule is None:
            name = cls.__name__
            warnings.warn(
                f"{name} runs interpreted: right, but slow; fastopt.compile({name}) makes a kernel", RuntimeWarning, stacklevel=4
            )
            return interpreted_class(cls)
        return cls

    def __reduce__(self) -> tuple[Any, ...]:
        state: dict[str, Any] = super().__reduce__()[2]
        attributes = {k: x for k, x in state["attributes"].items() if not hasattr(interpreted.Stepper, k)}
        return revived, (type(self).update, isinstance(self, interpreted.Stepper)), {**state, "attributes": attributes}


@functools.cache
def interpreted_class(cls: Any) -> Any:
    """A class of optimizers whose steps are interpreted."""
    return type(cls.__name__, (interpreted.Stepper, cls), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


def revived(rule: Rule, slow: bool) -> Any:
    """An optimizer that is still to be given its state; compiled, if the rule now is."""
    made = rule.Optimizer
    if slow and rule.formula.capsule is None and not issubclass(made, interpreted.Stepper):
        made = interpreted_class(made)
    return made.__new__(made)


def definition(function: Callable[..., Any]) -> tuple[Path, ast.FunctionDef]:
    """A function as the code generator reads one, at its lines of its file."""
    try:
        lines, first = inspect.getsourcelines(function)
        path = inspect.getsourcefile(function) or "?"
        (node,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        name = function.__qualname__
        raise RuleError(
            f"{name}: its source cannot be read ({error}): define it with def in a file or a notebook; {reader.ALLOWED}"
        ) from None
    if not isinstance(node, ast.FunctionDef):
        raise RuleError(f"{path}:{first}: expected a function that def defines; {reader.ALLOWED}")
    ast.increment_lineno(node, first - 1)
    node.decorator_list = []
    for argument in node.args.args:
        if isinstance(argument.annotation, ast.Attribute):
            argument.annotation = ast.copy_location(ast.Name(argument.annotation.attr, ast.Load()), argument.annotation)
    return Path(path), node


def handed_on(update: ast.FunctionDef) -> ast.FunctionDef:
    """The scalars of a rule that says nothing of them: its hyperparameters, whose defaults the update may have."""
    names = [x.arg for x in update.args.kwonlyargs]
    defaults = update.args.kw_defaults
    update.args.kw_defaults = [None] * len(names)
    text = f"def {update.name}_scalars(t, {'*, ' if names else ''}{', '.join(names)}):\n    return {{{', '.join(f'{n!r}: {n}' for n in names)}}}"
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef)
    node.args.kw_defaults = list(defaults)
    for child in ast.walk(node):
        ast.copy_location(child, update)
    return node


def without_change(update: Callable[..., Any]) -> Callable[..., Any]:
    """As `handed_on`, to be called."""

    def scalars(t: int, **hyperparameters: float) -> Mapping[str, float]:
        return hyperparameters

    kinds = inspect.Parameter
    parameters = [p for p in inspect.signature(update).parameters.values() if p.kind is p.KEYWORD_ONLY]
    scalars.__signature__ = inspect.Signature([kinds("t", kinds.POSITIONAL_OR_KEYWORD), *parameters])  # type: ignore[attr-defined]
    return scalars


def rule(function: Callable[..., Any]) -> Rule:
    """Make an update rule of a function; a decorator.

    Parameters
    ----------
    function
        Of the parameter ``p``, its gradient ``g`` and the rule's state, each one element or array of them, and by keyword of
        scalars. It returns the update, which is subtracted from ``p``, and the new state. State begins at zero. Scalars are the
        hyperparameters, with defaults or without, unless ``scalars`` says what they are in each step.

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
    A rule keeps to what Python, C and CUDA understand alike: assignments of new values to plain names, ``+ - * /``, comparisons as
    the first argument of ``where``, and the functions of `fastopt.arithmetic` (``sqrt, fabs, sign, copysign, maximum, minimum,
    where``; in scalars also ``exp, log, power``). There are tags for its state, too: ``v: nonnegative``, ``m: velocity`` (stops at a
    bound), ``z: start`` (begins as the parameter).

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
    """An optimizer of a rule of one's own.

    Parameters
    ----------
    rule : Rule
        From `rule`, interpreted with a warning until `compile` has made a kernel of it.
    params : arrays
        As all optimizers take them.
    **options
        The rule's hyperparameters by their names, numbers or schedules; ``weight_decay=0`` (L2, added to the gradient; with
        ``decoupled_weight_decay=True`` before the rule, where it has a learning rate ``lr``); and what every optimizer takes.

    Returns
    -------
    Optimizer
        Of the class ``rule.Optimizer``.

    Raises
    ------
    RuleError
        A SyntaxError, for a rule that does not keep to what is allowed; it names the line.
    TypeError, ValueError
        As all optimizers, and for hyperparameters that are missing.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: {rule!r}, expected what fastopt.rule makes")
    made = rule.Optimizer
    missing = [h for h, default in rule.formula.hyperparameters.items() if default is None and h not in options]
    if missing and not isinstance(params, list):
        raise TypeError(f"{rule.__name__}: {', '.join(missing)}: no default, expected {missing[0]}=...")
    return made(params, **options)  # type: ignore[no-any-return]


def compile(rule: Rule) -> Rule:
    """Make a kernel of a rule: optimizers that are made from then on use it.

    Parameters
    ----------
    rule : Rule

    Returns
    -------
    Rule
        The same.

    Raises
    ------
    RuleError
        A SyntaxError, for a rule that does not keep to what is allowed; it names the line.
    ImportError
        Without Cython and setuptools (``pip install 'fastopt[compile]'``).
    RuntimeError
        Where nothing was compiled in this installation, and for a compiler that fails, with what it said.

    Notes
    -----
    It takes some seconds, once: what was made is kept in the user's cache folder (``FASTOPT_CACHE_DIR`` names another), by the rule's
    text, the versions of everything, and the flags. The C interface and ``fastopt.source`` know the rule too.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: {rule!r}, expected what fastopt.rule makes")
    if rule.formula.capsule is None:
        if dispatch.TABLE is None:
            raise RuntimeError("compile: this process runs interpreted, without the compiled engine")
        rule.formula.capsule = built(cython.render([rule.text], [])).TABLE
        register(rule)
    return rule


def register(rule: Rule) -> None:
    """Let the C interface find a rule."""
    from .engine import interface

    interface.register(rule.formula)


def built(text: str) -> Any:
    """The module of a text in Cython, from the cache or compiled."""
    try:
        import Cython
        import setuptools
    except ImportError as error:
        raise ImportError(f"compile needs Cython and setuptools: pip install 'fastopt[compile]' ({error})") from error
    from . import __version__

    options = [*flags.UNIX, *flags.ISAS.get(dispatch.ISA, [])] if sys.platform != "win32" else []
    headers = [
        path.read_text()
        for path in (PACKAGE / "engine" / "table.pxd", PACKAGE / "include" / "scalar.h", PACKAGE / "include" / "block.h")
    ]
    versions = [__version__, Cython.__version__, setuptools.__version__, sys.version, str(sysconfig.get_config_var("CC"))]
    name = f"fastopt_rule_{cache.key(text, *headers, *versions, *options)}"
    path = cache.file(f"{name}{importlib.machinery.EXTENSION_SUFFIXES[0]}", lambda folder: compiled(name, text, options, folder))
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


SETUP = """\
from Cython.Build import cythonize
from setuptools import Extension, setup
module = Extension({name!r}, [{name!r} + ".pyx"], include_dirs=[{include!r}], extra_compile_args={options!r})
setup(name={name!r}, ext_modules=cythonize([module], include_path=[{package!r}], quiet=True), packages=[], py_modules=[])
"""


def compiled(name: str, text: str, options: list[str], folder: Path) -> Path:
    """The extension module, compiled in a folder; by another process, since compilers' settings are global."""
    (folder / f"{name}.pyx").write_text(text)
    said = {"name": name, "include": str(PACKAGE / "include"), "options": options, "package": str(PACKAGE.parent)}
    (folder / "setup.py").write_text(SETUP.format(**said))
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, capture_output=True, text=True, check=False
    )
    found = [path for suffix in importlib.machinery.EXTENSION_SUFFIXES for path in folder.glob(f"{name}*{suffix}")]
    if done.returncode or not found:
        raise RuntimeError(f"compile: the compiler failed:\n{done.stdout}\n{done.stderr}")
    return found[0]


__all__ = ["Rule", "compile", "optimizer", "rule"]
