# Generated from optimizers/ by python fastopt/_codegen: edit those files.
"""Rules as functions, for code that keeps parameters and state itself.

``p, m, v = adam(p, g, m, v, t=t, lr=1e-3)`` returns new arrays; with ``out="inplace"`` the step is in place, and with
``out=(None, m, v)`` the parameter is a new array and state is updated in place. State begins at zero, except for arrays ``z`` and
``p0``, which begin as copies of the parameter. Numbers that a rule carries from step to step, such as NAdam's ``product``, are
returned after the arrays and passed to the next call. Weight decay, clipping and other stages are not included.

What is not written may be a number, a list, or an array of another library such as JAX or PyTorch; what is returned are NumPy's
arrays. Arrays that are not contiguous, or not in one order, are computed in copies.

>>> import numpy as np
>>> sgd(np.ones(2), np.array([1.0, 2.0]), t=1, lr=0.5)
(array([0.5, 0. ]),)
>>> p, m, v = np.ones(2), np.zeros(2), np.zeros(2)
>>> for t in range(1, 4):
...     p, m, v = adam(p, np.array([1.0, 2.0]), m, v, t=t, lr=0.25, beta2=0.99)
>>> p.round(6)
array([0.25, 0.25])
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal

import numpy as np

from ._engine import dispatch
from .optimizers import RULES

__all__ = [
    "adabelief",
    "adadelta",
    "adafactor_vector",
    "adagrad",
    "adam",
    "adamax",
    "adan",
    "ademamix",
    "adopt",
    "adopt_decoupled",
    "amsgrad",
    "asgd",
    "dog",
    "ftrl",
    "lars",
    "lion",
    "momentum",
    "nadam",
    "nesterov",
    "prodigy",
    "prodigy_coupled",
    "radam",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_centered_momentum",
    "rmsprop_momentum",
    "rprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "signsgd",
    "signum",
    "yogi",
]

Out = Literal["inplace"] | Sequence[np.ndarray[Any, Any] | None] | None
Result = tuple[Any, ...]


def _update(name: str) -> Callable[..., Result]:
    return dispatch.update(RULES[name]).step  # type: ignore[no-any-return]


_adabelief = _update("adabelief")


def adabelief(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by AdaBelief (Zhuang et al., 2020, algorithm 2).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, eps_root : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adabelief((p, g, m, v), t, (lr, beta1, beta2, eps, eps_root), out)


_adadelta = _update("adadelta")


def adadelta(
    p: Any, g: Any, v: Any, moved: Any, *, t: int, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-06, out: Out = None
) -> Result:
    """Return new arrays, or those of `out`, updated by Adadelta (Zeiler, 2012, algorithm 1).

    Parameters
    ----------
    p, v, moved : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, rho, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v, moved: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v, moved)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v, moved.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adadelta((p, g, v, moved), t, (lr, rho, eps), out)


_adafactor_vector = _update("adafactor_vector")


def adafactor_vector(
    p: Any,
    g: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.01,
    beta2_decay: float = -0.8,
    eps1: float = 1e-07,
    eps2: float = 0.001,
    d: float = 1.0,
    eps_inside: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Adafactor without factors, for arrays of fewer than two axes (Shazeer and
    Stern, 2018, algorithm 5).

    Parameters
    ----------
    p, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta2_decay, eps1, eps2, d, eps_inside : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adafactor_vector((p, g, v), t, (lr, beta2_decay, eps1, eps2, d, eps_inside), out)


_adagrad = _update("adagrad")


def adagrad(
    p: Any,
    g: Any,
    sum: Any,
    *,
    t: int,
    lr: float = 0.01,
    lr_decay: float = 0.0,
    eps: float = 1e-10,
    eps_inside: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by AdaGrad (Duchi et al., 2011, section 1.1, diagonal).

    Parameters
    ----------
    p, sum : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, lr_decay, eps, eps_inside : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, sum: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, sum)``. Default: new arrays.

    Returns
    -------
    tuple
        p, sum.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adagrad((p, g, sum), t, (lr, lr_decay, eps, eps_inside), out)


_adam = _update("adam")


def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    eps_root: float = 0.0,
    eps_hat: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Adam (Kingma and Ba, 2015, algorithm 1).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, eps_root, eps_hat : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adam((p, g, m, v), t, (lr, beta1, beta2, eps, eps_root, eps_hat), out)


_amsgrad = _update("amsgrad")


def amsgrad(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    vmax: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    eps_root: float = 0.0,
    eps_hat: bool = False,
    max_corrected: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections.

    Parameters
    ----------
    p, m, v, vmax : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, eps_root, eps_hat, max_corrected : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v, vmax: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v, vmax)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v, vmax.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _amsgrad((p, g, m, v, vmax), t, (lr, beta1, beta2, eps, eps_root, eps_hat, max_corrected), out)


_adamax = _update("adamax")


def adamax(
    p: Any,
    g: Any,
    m: Any,
    largest: Any,
    *,
    t: int,
    lr: float = 0.002,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    eps_inside: bool = True,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by AdaMax (Kingma and Ba, 2015, algorithm 2).

    Parameters
    ----------
    p, m, largest : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, eps_inside : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, largest: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, largest)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, largest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adamax((p, g, m, largest), t, (lr, beta1, beta2, eps, eps_inside), out)


_adan = _update("adan")


def adan(
    p: Any,
    g: Any,
    m: Any,
    d: Any,
    v: Any,
    last: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.98,
    beta2: float = 0.92,
    beta3: float = 0.99,
    eps: float = 1e-08,
    eps_root: float = 0.0,
    short_look: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Adan (Xie et al., 2022, algorithm 1, with bias corrections).

    Parameters
    ----------
    p, m, d, v, last : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, beta3, eps, eps_root, short_look : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, d, v, last: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, d, v, last)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, d, v, last.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adan((p, g, m, d, v, last), t, (lr, beta1, beta2, beta3, eps, eps_root, short_look), out)


_ademamix = _update("ademamix")


def ademamix(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    m2: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    beta3: float = 0.9999,
    alpha: float = 5.0,
    warmup: float = 0.0,
    eps: float = 1e-08,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by AdEMAMix (Pagliardini et al., 2024, algorithm 1).

    Parameters
    ----------
    p, m, v, m2 : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, beta3, alpha, warmup, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v, m2: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v, m2)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v, m2.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _ademamix((p, g, m, v, m2), t, (lr, beta1, beta2, beta3, alpha, warmup, eps), out)


_adopt = _update("adopt")


def adopt(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.9999,
    eps: float = 1e-06,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by ADOPT (Taniguchi et al., 2024, algorithm 2).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adopt((p, g, m, v), t, (lr, beta1, beta2, eps), out)


_adopt_decoupled = _update("adopt_decoupled")


def adopt_decoupled(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.9999,
    eps: float = 1e-06,
    weight_decay: float = 0.0,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by ADOPT (Taniguchi et al., 2024, algorithm 2), with decoupled weight decay.

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, weight_decay : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _adopt_decoupled((p, g, m, v), t, (lr, beta1, beta2, eps, weight_decay), out)


_asgd = _update("asgd")


def asgd(
    p: Any,
    g: Any,
    average: Any,
    *,
    t: int,
    eta: float | None = None,
    lr: float = 0.01,
    lambd: float = 0.0001,
    alpha: float = 0.75,
    t0: float = 1000000.0,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou,
    2010).

    Parameters
    ----------
    p, average : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    eta : float
        As the step before returned it; not needed in the first step.
    lr, lambd, alpha, t0 : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, average: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, average)``. Default: new arrays.

    Returns
    -------
    tuple
        p, average, and then eta.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _asgd((p, g, average), t, (lr, lambd, alpha, t0), out, (eta,))


_dog = _update("dog")


def dog(
    p: Any,
    g: Any,
    p0: Any,
    *,
    t: int,
    farthest: float | None = None,
    seen: float | None = None,
    lr: float = 1.0,
    reps_rel: float = 1e-06,
    eps: float = 1e-08,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by DoG, distance over gradients (Ivgi et al., 2023, eq. DoG), for all arrays
    of a group together.

    Parameters
    ----------
    p, p0 : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    farthest, seen : float
        As the step before returned them; not needed in the first step.
    lr, reps_rel, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, p0: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, p0)``. Default: new arrays.

    Returns
    -------
    tuple
        p, p0, and then farthest, seen.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _dog((p, g, p0), t, (lr, reps_rel, eps), out, (farthest, seen))


_ftrl = _update("ftrl")


def ftrl(
    p: Any,
    g: Any,
    z: Any,
    n2: Any,
    *,
    t: int,
    lr: float = 0.01,
    beta: float = 1.0,
    l1: float = 0.0,
    l2: float = 0.0,
    l2_doubled: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1).

    Parameters
    ----------
    p, z, n2 : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta, l1, l2, l2_doubled : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, z, n2: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, z, n2)``. Default: new arrays.

    Returns
    -------
    tuple
        p, z, n2.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _ftrl((p, g, z, n2), t, (lr, beta, l1, l2, l2_doubled), out)


_lars = _update("lars")


def lars(
    p: Any,
    g: Any,
    buf: Any,
    *,
    t: int,
    lr: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by LARS (You et al., 2017, algorithm 1).

    Parameters
    ----------
    p, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum, weight_decay, trust_coefficient, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _lars((p, g, buf), t, (lr, momentum, weight_decay, trust_coefficient, eps), out)


_lion = _update("lion")


def lion(p: Any, g: Any, m: Any, *, t: int, lr: float = 0.0001, beta1: float = 0.9, beta2: float = 0.99, out: Out = None) -> Result:
    """Return new arrays, or those of `out`, updated by Lion (Chen et al., 2023, algorithm 2).

    Parameters
    ----------
    p, m : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2 : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _lion((p, g, m), t, (lr, beta1, beta2), out)


_nadam = _update("nadam")


def nadam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    product: float | None = None,
    lr: float = 0.002,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    momentum_decay: float = 0.004,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by NAdam (Dozat, 2016, algorithm 2).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    product : float
        As the step before returned it; not needed in the first step.
    lr, beta1, beta2, eps, momentum_decay : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v, and then product.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _nadam((p, g, m, v), t, (lr, beta1, beta2, eps, momentum_decay), out, (product,))


_prodigy = _update("prodigy")


def prodigy(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    s: Any,
    p0: Any,
    *,
    t: int,
    d: float | None = None,
    d_max: float | None = None,
    numerator: float | None = None,
    lr: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    d0: float = 1e-06,
    d_coef: float = 1.0,
    growth_rate: float = inf,
    use_bias_correction: bool = False,
    weight_decay: float = 0.0,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with decoupled weight
    decay.

    Parameters
    ----------
    p, m, v, s, p0 : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    d, d_max, numerator : float
        As the step before returned them; not needed in the first step.
    lr, beta1, beta2, eps, d0, d_coef, growth_rate, use_bias_correction, weight_decay : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v, s, p0: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v, s, p0)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v, s, p0, and then d, d_max, numerator.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _prodigy(
        (p, g, m, v, s, p0),
        t,
        (lr, beta1, beta2, eps, d0, d_coef, growth_rate, use_bias_correction, weight_decay),
        out,
        (d, d_max, numerator),
    )


_prodigy_coupled = _update("prodigy_coupled")


def prodigy_coupled(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    s: Any,
    p0: Any,
    *,
    t: int,
    d: float | None = None,
    d_max: float | None = None,
    numerator: float | None = None,
    lr: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    d0: float = 1e-06,
    d_coef: float = 1.0,
    growth_rate: float = inf,
    use_bias_correction: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with weight decay in
    the gradient.

    Parameters
    ----------
    p, m, v, s, p0 : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    d, d_max, numerator : float
        As the step before returned them; not needed in the first step.
    lr, beta1, beta2, eps, d0, d_coef, growth_rate, use_bias_correction : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v, s, p0: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v, s, p0)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v, s, p0, and then d, d_max, numerator.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _prodigy_coupled(
        (p, g, m, v, s, p0),
        t,
        (lr, beta1, beta2, eps, d0, d_coef, growth_rate, use_bias_correction),
        out,
        (d, d_max, numerator),
    )


_radam = _update("radam")


def radam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    eps_hat: bool = True,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by RAdam (Liu et al., 2020, algorithm 2).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps, eps_hat : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _radam((p, g, m, v), t, (lr, beta1, beta2, eps, eps_hat), out)


_rmsprop = _update("rmsprop")


def rmsprop(
    p: Any,
    g: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-08,
    eps_inside: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by RMSprop (Tieleman and Hinton, 2012, lecture 6.5).

    Parameters
    ----------
    p, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, eps_inside : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _rmsprop((p, g, v), t, (lr, alpha, eps, eps_inside), out)


_rmsprop_centered = _update("rmsprop_centered")


def rmsprop_centered(
    p: Any,
    g: Any,
    v: Any,
    mean: Any,
    *,
    t: int,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-08,
    eps_inside: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by RMSprop with the variance (Graves, 2013, eq. 38-45), which rounding must
    not make negative.

    Parameters
    ----------
    p, v, mean : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, eps_inside : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v, mean: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v, mean)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v, mean.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _rmsprop_centered((p, g, v, mean), t, (lr, alpha, eps, eps_inside), out)


_rmsprop_momentum = _update("rmsprop_momentum")


def rmsprop_momentum(
    p: Any,
    g: Any,
    v: Any,
    buf: Any,
    *,
    t: int,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-08,
    momentum: float = 0.9,
    eps_inside: bool = False,
    lr_in_velocity: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by RMSprop with heavy-ball momentum over the scaled gradient.

    Parameters
    ----------
    p, v, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, momentum, eps_inside, lr_in_velocity : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _rmsprop_momentum((p, g, v, buf), t, (lr, alpha, eps, momentum, eps_inside, lr_in_velocity), out)


_rmsprop_centered_momentum = _update("rmsprop_centered_momentum")


def rmsprop_centered_momentum(
    p: Any,
    g: Any,
    v: Any,
    mean: Any,
    buf: Any,
    *,
    t: int,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-08,
    momentum: float = 0.9,
    eps_inside: bool = False,
    lr_in_velocity: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by centered RMSprop with momentum (Graves, 2013, eq. 38-45).

    Parameters
    ----------
    p, v, mean, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, alpha, eps, momentum, eps_inside, lr_in_velocity : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v, mean, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v, mean, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v, mean, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _rmsprop_centered_momentum((p, g, v, mean, buf), t, (lr, alpha, eps, momentum, eps_inside, lr_in_velocity), out)


_rprop = _update("rprop")


def rprop(
    p: Any,
    g: Any,
    last: Any,
    size: Any,
    *,
    t: int,
    lr: float = 0.01,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    step_min: float = 1e-06,
    step_max: float = 50.0,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by resilient backpropagation without backtracking (Riedmiller and Braun, 1993;
    Igel and Huesken, 2000).

    Parameters
    ----------
    p, last, size : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, eta_minus, eta_plus, step_min, step_max : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, last, size: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, last, size)``. Default: new arrays.

    Returns
    -------
    tuple
        p, last, size.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _rprop((p, g, last, size), t, (lr, eta_minus, eta_plus, step_min, step_max), out)


_schedule_free_sgd = _update("schedule_free_sgd")


def schedule_free_sgd(
    p: Any,
    g: Any,
    z: Any,
    *,
    t: int,
    weights: float | None = None,
    highest: float | None = None,
    lr: float = 1.0,
    momentum: float = 0.9,
    warmup: float = 0.0,
    warmup_from_zero: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by schedule-free SGD (Defazio et al., 2024, eq. 3-5), at the points where
    gradients are taken.

    Parameters
    ----------
    p, z : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    weights, highest : float
        As the step before returned them; not needed in the first step.
    lr, momentum, warmup, warmup_from_zero : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, z: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, z)``. Default: new arrays.

    Returns
    -------
    tuple
        p, z, and then weights, highest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _schedule_free_sgd((p, g, z), t, (lr, momentum, warmup, warmup_from_zero), out, (weights, highest))


_schedule_free_adamw = _update("schedule_free_adamw")


def schedule_free_adamw(
    p: Any,
    g: Any,
    v: Any,
    z: Any,
    *,
    t: int,
    weights: float | None = None,
    highest: float | None = None,
    lr: float = 0.0025,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    warmup: float = 0.0,
    warmup_from_zero: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by schedule-free AdamW (Defazio et al., 2024), with the bias correction as in
    the authors' package.

    Parameters
    ----------
    p, v, z : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    weights, highest : float
        As the step before returned them; not needed in the first step.
    lr, beta1, beta2, eps, weight_decay, warmup, warmup_from_zero : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, v, z: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, v, z)``. Default: new arrays.

    Returns
    -------
    tuple
        p, v, z, and then weights, highest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _schedule_free_adamw(
        (p, g, v, z),
        t,
        (lr, beta1, beta2, eps, weight_decay, warmup, warmup_from_zero),
        out,
        (weights, highest),
    )


_sgd = _update("sgd")


def sgd(p: Any, g: Any, *, t: int, lr: float = 0.001, out: Out = None) -> Result:
    """Return new arrays, or those of `out`, updated by stochastic gradient descent (Robbins and Monro, 1951).

    Parameters
    ----------
    p : array_like
        Parameter, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None,)``. Default: new arrays.

    Returns
    -------
    tuple
        p.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _sgd((p, g), t, (lr,), out)


_momentum = _update("momentum")


def momentum(
    p: Any,
    g: Any,
    buf: Any,
    *,
    t: int,
    lr: float = 0.001,
    momentum: float = 0.9,
    dampening: float = 0.0,
    lr_in_velocity: bool = False,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by heavy-ball momentum (Polyak, 1964).

    Parameters
    ----------
    p, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum, dampening, lr_in_velocity : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _momentum((p, g, buf), t, (lr, momentum, dampening, lr_in_velocity), out)


_nesterov = _update("nesterov")


def nesterov(
    p: Any, g: Any, buf: Any, *, t: int, lr: float = 0.001, momentum: float = 0.9, lr_in_velocity: bool = False, out: Out = None
) -> Result:
    """Return new arrays, or those of `out`, updated by Nesterov's momentum in the form of Sutskever et al. (2013).

    Parameters
    ----------
    p, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum, lr_in_velocity : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _nesterov((p, g, buf), t, (lr, momentum, lr_in_velocity), out)


_signsgd = _update("signsgd")


def signsgd(p: Any, g: Any, *, t: int, lr: float = 0.001, out: Out = None) -> Result:
    """Return new arrays, or those of `out`, updated by the sign of the gradient (Bernstein et al., 2018, algorithm 1).

    Parameters
    ----------
    p : array_like
        Parameter, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None,)``. Default: new arrays.

    Returns
    -------
    tuple
        p.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _signsgd((p, g), t, (lr,), out)


_signum = _update("signum")


def signum(p: Any, g: Any, buf: Any, *, t: int, lr: float = 0.001, momentum: float = 0.9, out: Out = None) -> Result:
    """Return new arrays, or those of `out`, updated by the sign of an average of gradients (Bernstein et al., 2018, algorithm 2).

    Parameters
    ----------
    p, buf : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, momentum : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, buf: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, buf)``. Default: new arrays.

    Returns
    -------
    tuple
        p, buf.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _signum((p, g, buf), t, (lr, momentum), out)


_yogi = _update("yogi")


def yogi(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    t: int,
    lr: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 0.001,
    out: Out = None,
) -> Result:
    """Return new arrays, or those of `out`, updated by Yogi (Zaheer et al., 2018, algorithm 2).

    Parameters
    ----------
    p, m, v : array_like
        Parameter and state, of one shape and dtype (float32, float64, complex64, complex128).
    g : array_like
        Gradient, of that shape and any floating (complex) dtype.
    t : int
        Number of the step: 1, 2, ...
    lr, beta1, beta2, eps : float
        Hyperparameters, as the optimizers' classes describe them; switches are True or False.
    out : tuple of ndarray or None, or "inplace", optional
        Arrays for p, m, v: those of the call for a step in place, for which ``"inplace"`` stands, or others;
        None for a new one, as in ``(None, m, v)``. Default: new arrays.

    Returns
    -------
    tuple
        p, m, v.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Nothing has changed.
    """
    return _yogi((p, g, m, v), t, (lr, beta1, beta2, eps), out)
