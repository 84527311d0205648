"""The optimizers, one short class each: names, defaults and formulas are torch's.

All take

- ``params``: an array of float32, float64, complex64 or complex128, which is updated in place; a sequence or mapping of such
  arrays, nested; or a list of group dicts, ``{"params": ..., "lr": ...}``;
- hyperparameters: numbers, or schedules, functions of the step (0, 1, ...) that give a number. ``betas`` and ``alpha`` are at
  least 0 and below 1, ``dampening`` is any number, all others are finite and not negative;
- ``maximize`` (bool, default False): go up the gradient;
- ``threads`` (int or None): at most so many; 1 never starts a pool; None: as many as pay.

They raise TypeError or ValueError, naming the argument or parameter, for what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import rules
from .groups import check_number
from .optimizer import Optimizer

Number = float | Callable[[int], float]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's momentum.

    Parameters
    ----------
    params : arrays
        float32, float64, complex64 or complex128, updated in place.
    lr : float or schedule, default 1e-3
    momentum : float or schedule, default 0
        Weight of the buffer; 0 keeps no buffer.
    dampening : float or schedule, default 0
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    nesterov : bool, default False
        Needs a momentum and no dampening.
    **options
        ``maximize`` (bool, default False), ``threads`` (int, default None: as many as pay).

    Raises
    ------
    TypeError, ValueError
        For parameters that cannot be updated in place, and for hyperparameters outside of their domains.

    Notes
    -----
    ``buf = momentum * buf + (1 - dampening) * g`` (the first: ``g``), ``p -= lr * buf``;
    Nesterov: ``p -= lr * (g + momentum * buf)``.

    References
    ----------
    Robbins and Monro, 1951; Polyak, 1964; Sutskever et al., 2013.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SGD(w, lr=0.5).step(np.array([1.0, 2.0]))
    True
    >>> w
    array([0.5, 0. ])
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        momentum: Number = 0.0,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults, **options)

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        if options["nesterov"]:
            if options["momentum"] == 0 or options["dampening"] != 0:
                raise ValueError("nesterov: expected a momentum and no dampening")
            return rules.nesterov
        return rules.sgd if options["momentum"] == 0 else rules.momentum


class Adam(Optimizer):
    """Adam, and AMSGrad.

    Parameters
    ----------
    params : arrays
        float32, float64, complex64 or complex128, updated in place.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the first and second moment.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    amsgrad : bool, default False
        Divide by the largest second moment so far.
    **options
        ``maximize`` (bool, default False), ``threads`` (int, default None: as many as pay).

    Raises
    ------
    TypeError, ValueError
        For parameters that cannot be updated in place, and for hyperparameters outside of their domains.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g * g``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps)``.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 1; Reddi et al., "On the convergence of Adam and beyond", 2018, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adam(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0.5, 1.5])
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults, **options)

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.amsgrad if options["amsgrad"] else rules.adam


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, **options
        As `Adam`.
    weight_decay : float or schedule, default 1e-2
        Before the rule, ``p *= 1 - lr * weight_decay``.

    Notes
    -----
    As `Adam`, whose moments do not see the decay.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdamW(w, lr=0.5, weight_decay=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0.25, 1.25])
    """

    stages = ("scale", "decoupled")

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)


class RMSprop(Optimizer):
    """RMSprop: plain, centered, with momentum, or both.

    Parameters
    ----------
    params : arrays
        float32, float64, complex64 or complex128, updated in place.
    lr : float or schedule, default 1e-2
    alpha : float or schedule, default 0.99
        Decay rate of the squared gradient's average.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    momentum : float or schedule, default 0
        Weight of the buffer; 0 keeps no buffer.
    centered : bool, default False
        Divide by the standard deviation, not by the root mean square.
    **options
        ``maximize`` (bool, default False), ``threads`` (int, default None: as many as pay).

    Raises
    ------
    TypeError, ValueError
        For parameters that cannot be updated in place, and for hyperparameters outside of their domains.

    Notes
    -----
    ``v = alpha * v + (1 - alpha) * g * g``, ``p -= lr * g / (sqrt(v) + eps)``. Centered: ``mean = alpha * mean + (1 - alpha) * g``,
    and ``v - mean * mean``, at least 0, in the place of ``v``. With momentum: ``buf = momentum * buf + g / (sqrt(v) + eps)``,
    ``p -= lr * buf``.

    References
    ----------
    Tieleman and Hinton, 2012, lecture 6.5; Graves, "Generating sequences with recurrent neural networks", 2013, eq. 38-45.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> RMSprop(w, lr=0.5, alpha=0.75, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0., 2.])
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-2,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
        centered: bool = False,
        **options: Any,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(params, defaults, **options)

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        if options["momentum"] == 0:
            return rules.rmsprop_centered if options["centered"] else rules.rmsprop
        return rules.rmsprop_centered_momentum if options["centered"] else rules.rmsprop_momentum


class Adagrad(Optimizer):
    """AdaGrad, diagonal.

    Parameters
    ----------
    params : arrays
        float32, float64, complex64 or complex128, updated in place.
    lr : float or schedule, default 1e-2
    lr_decay : float or schedule, default 0
        The learning rate of step t is ``lr / (1 + (t - 1) * lr_decay)``.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    initial_accumulator_value : float, default 0
        Where the sum of squared gradients begins.
    eps : float or schedule, default 1e-10
    **options
        ``maximize`` (bool, default False), ``threads`` (int, default None: as many as pay).

    Raises
    ------
    TypeError, ValueError
        For parameters that cannot be updated in place, and for hyperparameters outside of their domains.

    Notes
    -----
    ``sum`` begins at ``initial_accumulator_value``; ``sum += g * g``,
    ``p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)`` at step t = 1, 2, ...

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011, section 1.1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adagrad(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w
    array([0.5, 1.5])
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-2,
        lr_decay: Number = 0.0,
        weight_decay: Number = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: Number = 1e-10,
        **options: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults, **options)

    @staticmethod
    def rule(options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.adagrad

    @staticmethod
    def initial(options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": check_number("initial_accumulator_value", options["initial_accumulator_value"])}
