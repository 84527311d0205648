# Generated from rules.py by python fastopt/codegen: edit that file.
"""Each rule without an optimizer object, for code that owns its parameters' state.

``p, m, v = adam(p, g, m, v, t=t, lr=1e-3, ...)`` gives new arrays; with ``out=(p, m, v)`` the step is made in place. The state
begins at zero. Arrays that do not follow one another in memory, or not in one order, are worked on in copies.

>>> import numpy as np
>>> sgd(np.ones(2), np.array([1.0, 2.0]), t=1, lr=0.5)
(array([0.5, 0. ]),)
"""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from .engine import dispatch
from .formula import RULES
from .groups import check_number, domain

__all__ = [
    "adagrad",
    "adam",
    "amsgrad",
    "momentum",
    "nesterov",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_centered_momentum",
    "rmsprop_momentum",
    "sgd",
]

Array = NDArray[Any]
Arrays = tuple[Array, ...]


def _update(name: str) -> Callable[..., Arrays]:
    rule = RULES[name]
    return dispatch.Update(dispatch.TABLE, rule, [domain(n) for n in rule.hyperparameters], check_number).step


_sgd = _update("sgd")


def sgd(p: Array, g: Any, *, t: int, lr: float, out: Arrays | None = None) -> Arrays:
    """Stochastic gradient descent (Robbins and Monro, 1951).

    Parameters
    ----------
    p : ndarray
        Parameter, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _sgd((p, g), t, (lr,), out)


_momentum = _update("momentum")


def momentum(
    p: Array, g: Any, buf: Array, *, t: int, lr: float, momentum: float, dampening: float, out: Arrays | None = None
) -> Arrays:
    """Heavy-ball momentum (Polyak, 1964).

    Parameters
    ----------
    p, buf : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum, dampening : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, buf: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, buf.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _momentum((p, g, buf), t, (lr, momentum, dampening), out)


_nesterov = _update("nesterov")


def nesterov(
    p: Array, g: Any, buf: Array, *, t: int, lr: float, momentum: float, dampening: float, out: Arrays | None = None
) -> Arrays:
    """Nesterov's momentum in the form of Sutskever et al. (2013).

    Parameters
    ----------
    p, buf : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum, dampening : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, buf: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, buf.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _nesterov((p, g, buf), t, (lr, momentum, dampening), out)


_adam = _update("adam")


def adam(
    p: Array, g: Any, m: Array, v: Array, *, t: int, lr: float, beta1: float, beta2: float, eps: float, out: Arrays | None = None
) -> Arrays:
    """Adam (Kingma and Ba, 2015, algorithm 1).

    Parameters
    ----------
    p, m, v : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, m, v: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _adam((p, g, m, v), t, (lr, beta1, beta2, eps), out)


_amsgrad = _update("amsgrad")


def amsgrad(
    p: Array,
    g: Any,
    m: Array,
    v: Array,
    vmax: Array,
    *,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    out: Arrays | None = None,
) -> Arrays:
    """AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections.

    Parameters
    ----------
    p, m, v, vmax : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, m, v, vmax: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, m, v, vmax.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _amsgrad((p, g, m, v, vmax), t, (lr, beta1, beta2, eps), out)


_rmsprop = _update("rmsprop")


def rmsprop(p: Array, g: Any, v: Array, *, t: int, lr: float, alpha: float, eps: float, out: Arrays | None = None) -> Arrays:
    """RMSprop (Tieleman and Hinton, 2012, lecture 6.5).

    Parameters
    ----------
    p, v : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, v: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, v.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _rmsprop((p, g, v), t, (lr, alpha, eps), out)


_rmsprop_centered = _update("rmsprop_centered")


def rmsprop_centered(
    p: Array, g: Any, v: Array, mean: Array, *, t: int, lr: float, alpha: float, eps: float, out: Arrays | None = None
) -> Arrays:
    """RMSprop by the gradient's variance (Graves, 2013, eq. 38-45), which rounding must not turn negative.

    Parameters
    ----------
    p, v, mean : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, v, mean: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, v, mean.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _rmsprop_centered((p, g, v, mean), t, (lr, alpha, eps), out)


_rmsprop_momentum = _update("rmsprop_momentum")


def rmsprop_momentum(
    p: Array,
    g: Any,
    v: Array,
    buf: Array,
    *,
    t: int,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    out: Arrays | None = None,
) -> Arrays:
    """RMSprop with heavy-ball momentum over the scaled gradient.

    Parameters
    ----------
    p, v, buf : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, momentum : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, v, buf: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, v, buf.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _rmsprop_momentum((p, g, v, buf), t, (lr, alpha, eps, momentum), out)


_rmsprop_centered_momentum = _update("rmsprop_centered_momentum")


def rmsprop_centered_momentum(
    p: Array,
    g: Any,
    v: Array,
    mean: Array,
    buf: Array,
    *,
    t: int,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    out: Arrays | None = None,
) -> Arrays:
    """RMSprop, centered, with momentum (Graves, 2013, eq. 38-45).

    Parameters
    ----------
    p, v, mean, buf : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, momentum : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, v, mean, buf: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, v, mean, buf.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _rmsprop_centered_momentum((p, g, v, mean, buf), t, (lr, alpha, eps, momentum), out)


_adagrad = _update("adagrad")


def adagrad(p: Array, g: Any, sum: Array, *, t: int, lr: float, lr_decay: float, eps: float, out: Arrays | None = None) -> Arrays:
    """AdaGrad (Duchi et al., 2011, section 1.1, diagonal).

    Parameters
    ----------
    p, sum : ndarray
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, lr_decay, eps : float
        Hyperparameters, as the classes in ``optimizers.py`` describe them.
    out : tuple of ndarray, optional
        Where to write p, sum: the same arrays for a step in place, or others; new ones without.

    Returns
    -------
    tuple of ndarray
        p, sum.

    Raises
    ------
    TypeError, ValueError
        For what does not fit; nothing has been changed.
    """
    return _adagrad((p, g, sum), t, (lr, lr_decay, eps), out)
