"""The optimizers, one short class each: names, defaults and formulas are torch's, or else the paper's.

All take ``params``: an array of float32, float64, complex64, complex128, float16 or bfloat16, which is updated in place; a sequence
or mapping of such arrays, nested; or a list of group dicts, ``{"params": ..., "lr": ...}``. Hyperparameters are numbers, or
schedules: functions of the step (0, 1, ...) that give a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, ClassVar

import numpy as np

from . import rules
from .base import Optimizer, Parameter
from .engine import layout
from .groups import check_number


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's momentum.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    momentum : float or schedule, default 0
        Weight of the buffer; 0 at construction keeps no buffer.
    dampening : float or schedule, default 0
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    nesterov : bool, default False
        Needs a momentum and no dampening.
    lr_in_velocity : bool, default False
        The buffer holds steps, not gradients, which differs where the learning rate changes (Keras).
    {common}

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
    >>> SGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "lr_in_velocity": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-2, "lr_in_velocity": True, "decay": "decoupled"},
        "optax": {},
    }

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        if options["nesterov"]:
            if options["momentum"] == 0 or options["dampening"] != 0:
                raise ValueError("nesterov: expected a momentum and no dampening")
            return rules.nesterov
        return rules.sgd if options["momentum"] == 0 else rules.momentum


class SignSGD(Optimizer):
    """The sign of the gradient, or with momentum (Signum) of its average.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    momentum : float or schedule, default 0
        Decay rate of the average, below 1; 0 at construction keeps none.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``p -= lr * sign(g)``; Signum: ``buf = momentum * buf + (1 - momentum) * g``, ``p -= lr * sign(buf)``.

    References
    ----------
    Bernstein et al., "signSGD", 2018, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> SignSGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.signsgd if options["momentum"] == 0 else rules.signum


class Lion(Optimizer):
    """Lion: the sign of an interpolation between gradient and momentum.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-4
    betas : pair of float or schedule, default (0.9, 0.99)
        The momentum's share in the update, and its decay rate.
    weight_decay : float or schedule, default 0
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    {common}

    Notes
    -----
    ``p -= lr * sign(beta1 * m + (1 - beta1) * g)``, ``m = beta2 * m + (1 - beta2) * g``.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Lion(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"keras": {"lr": 1e-3}, "optax": {"weight_decay": 1e-3}}
    decay = "decoupled"
    update = staticmethod(rules.lion)


class Adam(Optimizer):
    """Adam, and AMSGrad.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    amsgrad : bool, default False
        Divide by the largest second moment so far.
    eps_root : float or schedule, default 0
        Added to the corrected second moment, inside of the root.
    eps_hat : bool, default False
        Add `eps` to the root of the second moment before, not after its bias correction (Keras; "epsilon hat" in the paper).
    max_corrected : bool, default False
        AMSGrad's maximum is over bias-corrected moments (optax).
    {common}

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g * g``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t) + eps_root) + eps)``.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 1; Reddi et al., "On the convergence of Adam and beyond", 2018, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adam(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "amsgrad": False,
        "eps_root": 0.0,
        "eps_hat": False,
        "max_corrected": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"eps": 1e-7, "eps_hat": True, "decay": "decoupled"},
        "optax": {"max_corrected": True},
    }

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.amsgrad if options["amsgrad"] else rules.adam


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 1e-2
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    amsgrad : bool, default False
        Divide by the largest second moment so far.
    eps_root : float or schedule, default 0
        Added to the corrected second moment, inside of the root.
    eps_hat : bool, default False
        Add `eps` to the root of the second moment before, not after its bias correction (Keras; "epsilon hat" in the paper).
    max_corrected : bool, default False
        AMSGrad's maximum is over bias-corrected moments (optax).
    {common}

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

    arguments: ClassVar[Mapping[str, Any]] = {**Adam.arguments, "weight_decay": 1e-2}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay": 4e-3},
        "optax": {"max_corrected": True, "weight_decay": 1e-4},
    }
    decay = "decoupled"


class LAMB(Optimizer):
    """LAMB: Adam whose update of each array is as long as the array, times the learning rate.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-6
    weight_decay : float or schedule, default 0
        Decoupled, and inside of the ratio.
    eps_root, eps_hat : as `Adam`
    {common}

    Notes
    -----
    With Adam's update ``u`` before its learning rate: ``r = u + weight_decay * p``, ``p -= lr * norm(p) / norm(r) * r``; where a
    norm is zero, without the ratio. The option ``trust_ratio`` is 1.

    References
    ----------
    You et al., "Large batch optimization for deep learning", 2020, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> LAMB(w, lr=0.5, eps=0).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "eps_root": 0.0,
        "eps_hat": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}
    usual: ClassVar[Mapping[str, Any]] = {"trust_ratio": 1.0}
    decay = "late_decay"
    update = staticmethod(rules.adam)


class Adamax(Optimizer):
    """AdaMax: Adam by the largest gradient so far.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 2e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and the rate at which the largest is forgotten.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    eps_inside : bool, default True
        Add `eps` to each gradient's magnitude; else to the largest (Keras).
    {common}

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``largest = max(beta2 * largest, |g| + eps)``,
    ``p -= lr / (1 - beta1 ** t) * m / largest``.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adamax(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "eps_inside": True,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_inside": False, "decay": "decoupled"},
        "optax": {},
    }
    update = staticmethod(rules.adamax)


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 2e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    momentum_decay : float or schedule, default 4e-3
        How fast the momentum's schedule goes to its end; infinite: it is there (optax).
    decoupled_weight_decay : bool, default False
        Decay before the rule, ``p *= 1 - lr * weight_decay``.
    {common}

    Notes
    -----
    ``mu_t = beta1 * (1 - 0.96 ** (t * momentum_decay) / 2)``, ``product`` of all so far; Adam's ``m``, ``v``;
    ``p -= lr * ((1 - mu_t) / (1 - product) * g + mu_t1 / (1 - product * mu_t1) * m) / (sqrt(v / (1 - beta2 ** t)) + eps)``.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> NAdam(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.471774, 1.528226])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0, "decay": "decoupled"},
        "optax": {"lr": 1e-3, "momentum_decay": inf},
    }
    update = staticmethod(rules.nadam)


class RAdam(Optimizer):
    """RAdam: Adam that adapts once the variance of its step size is known.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    decoupled_weight_decay : bool, default False
        Decay before the rule, ``p *= 1 - lr * weight_decay``.
    eps_hat : bool, default True
        Add `eps` to the root of the second moment before its bias correction; else after (optax).
    {common}

    Notes
    -----
    ``r_inf = 2 / (1 - beta2) - 1``, ``r = r_inf - 2 * t * beta2 ** t / (1 - beta2 ** t)``; Adam's ``m``, ``v``; up to ``r = 5``
    ``p -= lr * m / (1 - beta1 ** t)``, then Adam's step times
    ``sqrt((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r))``.

    References
    ----------
    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> RAdam(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "eps_hat": True,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {"eps_hat": False}}
    update = staticmethod(rules.radam)


class AdaBelief(Optimizer):
    """AdaBelief: Adam by the gradient's distance from its average.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of of the squared distance.
    eps : float or schedule, default 1e-16
    weight_decay : float or schedule, default 0
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    eps_root : float or schedule, default 1e-16
        Added to the average of squares in each step.
    {common}

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * (g - m) ** 2 + eps_root``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps)``. Defaults are optax's.

    References
    ----------
    Zhuang et al., "AdaBelief optimizer", 2020, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdaBelief(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.444444, 1.555556])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-16,
        "weight_decay": 0.0,
        "eps_root": 1e-16,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}
    decay = "decoupled"
    update = staticmethod(rules.adabelief)


class Yogi(Optimizer):
    """Yogi: Adam whose second moment grows and falls at the same pace.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-3
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    initial_accumulator_value : float, default 1e-6
        Where both averages begin.
    {common}

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v -= (1 - beta2) * sign(v - g * g) * g * g``,
    ``p -= lr * m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps)``. Defaults are optax's.

    References
    ----------
    Zaheer et al., "Adaptive methods for nonconvex optimization", 2018, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Yogi(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.500744, 1.499685])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "betas": (0.9, 0.999),
        "eps": 1e-3,
        "weight_decay": 0.0,
        "initial_accumulator_value": 1e-6,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}
    update = staticmethod(rules.yogi)

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return dict.fromkeys(("m", "v"), start_of(options))


class Adan(Optimizer):
    """Adan: Nesterov's momentum by differences of gradients.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : three of float or schedule, default (0.98, 0.92, 0.99)
        Decay rates of the averages of the gradient, of its change, and of the square of both together.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        Decoupled, of the parameter as it will be: ``(p - update) / (1 + lr * weight_decay)``.
    no_prox : bool, default False
        Before the rule instead, ``p *= 1 - lr * weight_decay``.
    eps_root : float or schedule, default 0
        Added to the corrected second moment, inside of the root.
    short_look : bool, default False
        The look-ahead is ``1 - beta2`` of the difference, not ``beta2`` (optax).
    {common}

    Notes
    -----
    ``d`` averages ``g - g_before``, ``v`` the square of ``g + beta2 * (g - g_before)``, ``m`` the gradient; all are corrected for
    their start, and ``p -= lr * (m + beta2 * d) / (sqrt(v) + eps)``.

    References
    ----------
    Xie et al., "Adan", 2022, algorithm 1, whose betas are one minus these, and the authors' code for the bias corrections.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adan(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.98, 0.92, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "no_prox": False,
        "eps_root": 0.0,
        "short_look": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {"no_prox": True, "eps_root": 1e-8, "short_look": True}}
    spread: ClassVar[Mapping[str, Any]] = {"betas": ("beta1", "beta2", "beta3")}
    decay = "proximal"
    update = staticmethod(rules.adan)

    def decay_stage(self, options: Mapping[str, Any]) -> str | None:
        return "decoupled" if options["no_prox"] else self.decay


class ADOPT(Optimizer):
    """ADOPT: Adam whose second moment does not hold the newest gradient.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : pair of float or schedule, default (0.9, 0.9999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-6
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    decoupled_weight_decay : bool, default False
        ``lr * weight_decay * p`` is part of the update instead.
    {common}

    Notes
    -----
    The first step only sets ``v = g * g``, and leaves the parameter as it is. Then
    ``c = clip(g / max(sqrt(v), eps), (t - 1) ** 0.25)``,
    ``m = beta1 * m + (1 - beta1) * c``, ``p -= lr * m``, ``v = beta2 * v + (1 - beta2) * g * g``.

    References
    ----------
    Taniguchi et al., "ADOPT", 2024, algorithm 2, and the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ADOPT(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([1., 1.])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.9999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
    }

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.adopt_decoupled if options["decoupled_weight_decay"] else rules.adopt

    def decay_stage(self, options: Mapping[str, Any]) -> str | None:
        return None if options["decoupled_weight_decay"] else self.decay


class AdEMAMix(Optimizer):
    """AdEMAMix: Adam with a fast and a slow average of the gradient.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    betas : three of float or schedule, default (0.9, 0.999, 0.9999)
        Decay rates of the fast average, of the square's, and of the slow one.
    alpha : float or schedule, default 5
        The slow average's weight.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    warmup : float or schedule, default 0
        Steps over which `alpha` and the slow average's half-life grow to their values.
    {common}

    Notes
    -----
    ``p -= lr * (m / (1 - beta1 ** t) + alpha * m2) / (sqrt(v / (1 - beta2 ** t)) + eps)``.

    References
    ----------
    Pagliardini, Ablin and Grangier, "The AdEMAMix optimizer", 2024, algorithm 1 and eq. 4.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> AdEMAMix(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.49975, 1.50025])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999, 0.9999),
        "alpha": 5.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {}}
    spread: ClassVar[Mapping[str, Any]] = {"betas": ("beta1", "beta2", "beta3")}
    decay = "decoupled"
    update = staticmethod(rules.ademamix)


class RMSprop(Optimizer):
    """RMSprop: plain, centered, with momentum, or both.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    alpha : float or schedule, default 0.99
        Decay rate of the squared gradient's average.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    momentum : float or schedule, default 0
        Weight of the buffer; 0 at construction keeps no buffer.
    centered : bool, default False
        Divide by the standard deviation, not by the root mean square.
    eps_inside : bool, default False
        Add `eps` inside of the root (Keras, optax).
    lr_in_velocity : bool, default False
        As `SGD`'s (Keras, optax).
    {common}

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
    >>> w.round(6)
    array([0., 2.])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
        "eps_inside": False,
        "lr_in_velocity": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_inside": True, "lr_in_velocity": True, "decay": "decoupled"},
        "optax": {"alpha": 0.9, "eps_inside": True, "lr_in_velocity": True},
    }

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        if options["momentum"] == 0:
            return rules.rmsprop_centered if options["centered"] else rules.rmsprop
        return rules.rmsprop_centered_momentum if options["centered"] else rules.rmsprop_momentum


class Adagrad(Optimizer):
    """AdaGrad, diagonal.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    lr_decay : float or schedule, default 0
        The learning rate of step t is ``lr / (1 + (t - 1) * lr_decay)``.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    initial_accumulator_value : float, default 0
        Where the sum of squared gradients begins.
    eps : float or schedule, default 1e-10
    eps_inside : bool, default False
        Add `eps` inside of the root (Keras, optax).
    {common}

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
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "lr_decay": 0.0,
        "weight_decay": 0.0,
        "initial_accumulator_value": 0.0,
        "eps": 1e-10,
        "eps_inside": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True, "decay": "decoupled"},
        "optax": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
    }
    update = staticmethod(rules.adagrad)

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": start_of(options)}


class Adadelta(Optimizer):
    """Adadelta: steps in the units of the parameter.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    rho : float or schedule, default 0.9
        Decay rate of the averages of squared gradients and of squared steps.
    eps : float or schedule, default 1e-6
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``v = rho * v + (1 - rho) * g * g``, ``delta = sqrt(moved + eps) / sqrt(v + eps) * g``,
    ``moved = rho * moved + (1 - rho) * delta * delta``, ``p -= lr * delta``.

    References
    ----------
    Zeiler, "ADADELTA", 2012, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Adadelta(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.996838, 1.003162])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "decay": "decoupled"},
        "optax": {},
    }
    update = staticmethod(rules.adadelta)


class Rprop(Optimizer):
    """Resilient backpropagation: step sizes by the signs of gradients, which must be exact ones.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
        The first step's size.
    etas : pair of float or schedule, default (0.5, 1.2)
        What a step size is multiplied by where the sign has changed, and where it has not.
    step_sizes : pair of float or schedule, default (1e-6, 50)
        The least and the greatest step.
    {common}

    Notes
    -----
    ``p -= sign(g) * size``; where the sign has changed, the parameter stays for a step.

    References
    ----------
    Riedmiller and Braun, 1993; Igel and Huesken, "Improving the Rprop learning algorithm", 2000, iRprop-.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Rprop(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}
    spread: ClassVar[Mapping[str, Any]] = {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")}
    decay = None

    update = staticmethod(rules.rprop)


class ASGD(Optimizer):
    """Averaged stochastic gradient descent; the averages are in ``average``.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    lambd : float or schedule, default 1e-4
        Decay of the parameter, and of the learning rate.
    alpha : float or schedule, default 0.75
        Power of the learning rate's decay.
    t0 : float or schedule, default 1e6
        The step after which averages begin; before, they are the parameters.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``eta_t = lr / (1 + lambd * lr * (t - 1)) ** alpha``, ``p = p * (1 - lambd * eta_t) - eta_t * g``,
    ``average += (p - average) / max(1, t - 1 - t0)``.

    References
    ----------
    Polyak and Juditsky, 1992; Bottou, "Large-scale machine learning with stochastic gradient descent", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ASGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.49995, 1.99995])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0}
    update = staticmethod(rules.asgd)

    def _average_of(self, slot: Parameter) -> Any:
        return slot.shown("average")


class FTRL(Optimizer):
    """FTRL-proximal: follow the regularized leader, with exact zeros.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
    beta : float or schedule, default 1
    l1, l2 : float or schedule, default 0
        Penalties of the absolute value and of half the square.
    initial_accumulator_value : float, default 0
        Where the sum of squared gradients begins.
    l2_doubled : bool, default False
        `l2` is of the square, not of half of it (Keras).
    {common}

    Notes
    -----
    ``n2 += g * g``, ``z += g - (sqrt(n2) - sqrt(n2_before)) / lr * p``, then ``p = 0`` where ``|z| <= l1``, else
    ``p = (sign(z) * l1 - z) / ((beta + sqrt(n2)) / lr + l2)``. The parameter begins where it is; the paper's begins at 0.

    References
    ----------
    McMahan et al., "Ad click prediction", 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> FTRL(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.25, 1.  ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "beta": 1.0,
        "l1": 0.0,
        "l2": 0.0,
        "initial_accumulator_value": 0.0,
        "l2_doubled": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "beta": 0.0, "initial_accumulator_value": 0.1, "l2_doubled": True},
    }
    decay = None
    update = staticmethod(rules.ftrl)

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"n2": start_of(options)}


class ScheduleFreeSGD(Optimizer):
    """Schedule-free SGD: no schedule, no horizon; evaluate at ``average``.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    momentum : float or schedule, default 0.9
        The average's share in the point where gradients are taken.
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    warmup : float or schedule, default 0
        Steps over which the learning rate grows to its value.
    warmup_from_zero : bool, default False
        Step ``t`` has the rate of ``t - 1`` steps of warm-up, 0 in the first; its weight in the average is that of ``t`` (optax).
    {common}

    Notes
    -----
    The parameters are the points ``y`` where gradients are taken: ``z -= lr * g``, ``x += c * (z - x)``,
    ``y = momentum * x + (1 - momentum) * z``, ``c`` the share of the squares of the largest learning rates so far. ``average``
    gives ``x``, the result, as new arrays.

    References
    ----------
    Defazio et al., "The road less scheduled", 2024, eq. 3-5, and the authors' package, schedulefree.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ScheduleFreeSGD(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 2. ])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "warmup_from_zero": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {"warmup_from_zero": True}}
    share: ClassVar[str] = "momentum"  # which hyperparameter is the average's in the point where gradients are taken
    refuses: ClassVar[Sequence[str]] = ("step_scale", "max_step", "trust_ratio", "bounds")
    update: Callable[..., Any] = staticmethod(rules.schedule_free_sgd)

    def _average_of(self, slot: Parameter) -> Any:
        """Where the average is, from where gradients are taken."""
        share = slot.group.number(self.share, max(self.steps - 1, 0))
        if share == 0:
            raise ValueError(f"average: unknown where {self.share} is 0")
        z, y = slot.rule_state["z"], slot.value()
        return slot.memory.array(z + (y - z) / share, slot.real)


class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-free AdamW: no schedule, no horizon; evaluate at ``average``.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 2.5e-3
    betas : pair of float or schedule, default (0.9, 0.999)
        The average's share in the point where gradients are taken, and the decay rate of the squared gradient's average.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        Decoupled, at the point where gradients are taken.
    warmup : float or schedule, default 0
        Steps over which the learning rate grows to its value.
    warmup_from_zero : bool, default False
        As of `ScheduleFreeSGD`.
    {common}

    Notes
    -----
    As `ScheduleFreeSGD`, with ``g / (sqrt(v / (1 - beta2 ** t)) + eps) + weight_decay * y`` in the place of ``g``.

    References
    ----------
    Defazio et al., "The road less scheduled", 2024, and the authors' package, schedulefree, since its version 1.3: the bias
    correction of ``v`` is not in the learning rate, as it is in the paper's algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> ScheduleFreeAdamW(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.5, 1.5])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 2.5e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "warmup_from_zero": False,
    }
    decay = None
    share = "beta1"
    update = staticmethod(rules.schedule_free_adamw)


class LARS(Optimizer):
    """LARS: momentum, with a learning rate of each array's own.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    momentum : float or schedule, default 0.9
    weight_decay : float or schedule, default 0
        L2 penalty, part of the ratio.
    trust_coefficient : float or schedule, default 1e-3
        The ratio's weight.
    eps : float or schedule, default 0
    {common}

    Notes
    -----
    ``ratio = trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p) + eps)``, 1 where a norm is zero;
    ``buf = momentum * buf + lr * ratio * (g + weight_decay * p)``, ``p -= buf``.

    References
    ----------
    You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> LARS(w, lr=0.5).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999684, 1.000632])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "trust_coefficient": 1e-3,
        "eps": 0.0,
    }
    decay = None
    update = staticmethod(rules.lars)


class DoG(Optimizer):
    """DoG: the learning rate is the distance gone so far over the root of all squared gradients.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    reps_rel : float or schedule, default 1e-6
        The first step's length, over one more than the parameters' norm.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        L2 penalty, added to the gradient.
    {common}

    Notes
    -----
    ``p -= lr * far / sqrt(sum of norm(g) ** 2 + eps) * g``, ``far`` the largest ``norm(p - p_start)`` so far; norms are over all
    arrays of a group. Evaluate at an average: the option ``ema``.

    References
    ----------
    Ivgi, Hinder and Carmon, "DoG is SGD's best friend", 2023, eq. DoG and section 5.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> DoG(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999999, 1.000002])
    """

    arguments: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "reps_rel": 1e-6, "eps": 1e-8, "weight_decay": 0.0}
    update = staticmethod(rules.dog)


class Prodigy(Optimizer):
    """Prodigy: Adam whose learning rate is an estimate of the distance to the solution.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1
    betas : pair of float or schedule, default (0.9, 0.999)
        Decay rates of the averages of the gradient and of its square.
    eps : float or schedule, default 1e-8
    weight_decay : float or schedule, default 0
        Decoupled, times the learning rate that was found.
    decoupled_weight_decay : bool, default True
        If not, an L2 penalty, added to the gradient.
    d0 : float or schedule, default 1e-6
        The first estimate.
    d_coef : float or schedule, default 1
        Weight of later estimates.
    growth_rate : float or schedule, default infinite
        The most that an estimate may grow by in a step.
    use_bias_correction : bool, default False
        Adam's, in the learning rate.
    {common}

    Notes
    -----
    The estimate ``d`` is kept, for all arrays of a group together, in ``state[name]["d"]``.

    References
    ----------
    Mishchenko and Defazio, "Prodigy", 2024, algorithm 4, and the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones(2)
    >>> Prodigy(w, lr=1).step(np.array([1.0, -2.0]))
    True
    >>> w.round(6)
    array([0.999997, 1.000003])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1.0,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": True,
        "d0": 1e-6,
        "d_coef": 1.0,
        "growth_rate": inf,
        "use_bias_correction": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"optax": {"use_bias_correction": True}}

    def rule(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.prodigy if options["decoupled_weight_decay"] else rules.prodigy_coupled

    def decay_stage(self, options: Mapping[str, Any]) -> str | None:
        return None if options["decoupled_weight_decay"] else self.decay


class Adafactor(Optimizer):
    """Adafactor: steps relative to the parameter's size, by second moments of rows and columns.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-2
        The largest relative step.
    beta2_decay : float or schedule, default -0.8
        The newest squares have the weight ``t ** beta2_decay``; at most 0.
    eps : pair of float or schedule, default (None, 1e-3)
        The least root of a second moment, None is the machine epsilon (the largest, where a group has several dtypes); and the
        least size of a parameter.
    d : float or schedule, default 1
        The longest update, as root mean square; at least 1.
    weight_decay : float or schedule, default 0
        Decoupled: ``lr * weight_decay * p`` is part of the update.
    eps_inside : bool, default False
        The first of `eps`, which is to be small then, 1e-30, is added to each squared gradient (Keras, and the paper).
    {common}

    Notes
    -----
    ``rho = min(lr, 1 / sqrt(t))``, ``w = t ** beta2_decay``. Matrices, of the last two axes, average the means of ``g * g`` over
    their rows and columns, ``row`` and ``col``, with ``w`` as the newest's weight: ``v = row * col / mean(row)``; arrays of fewer
    axes average ``g * g``. ``u = g / sqrt(v)``, ``p -= max(rms(p), eps2) * rho * u / max(1, rms(u) / d)``.
    State of rows and columns has the parameter's precision (float32 for 16 bits), whatever the `state_dtype`.

    References
    ----------
    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018, algorithms 4 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones((1, 2))
    >>> Adafactor(w, lr=0.5).step(np.array([[1.0, -2.0]]))
    True
    >>> w.round(6)
    array([[0.5, 1.5]])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "beta2_decay": -0.8,
        "eps": (None, 1e-3),
        "d": 1.0,
        "weight_decay": 0.0,
        "eps_inside": False,
    }
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "keras": {"lr": 1e-3, "eps": (1e-30, 1e-3), "eps_inside": True, "decay": "decoupled"},
    }
    spread: ClassVar[Mapping[str, Sequence[str]]] = {"eps": ("eps1", "eps2")}
    decay = "late_decay"
    update = staticmethod(rules.adafactor)

    def beside(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.adafactor_vector

    def fixed(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, float]:
        return {"eps1": max((float(np.finfo(layout.working_dtype(self._memory.view(a))).eps) for a in arrays), default=0.0)}


class Muon(Optimizer):
    """Muon: momentum whose matrices are orthogonalized; AdamW for arrays that have not two axes.

    Parameters
    ----------
    params : arrays
        Updated in place; nested in mappings and sequences, or a list of group dicts.
    lr : float or schedule, default 1e-3
    weight_decay : float or schedule, default 0.1
        Decoupled: before the rule, ``p *= 1 - lr * weight_decay``.
    momentum : float or schedule, default 0.95
        Decay rate of the average of the gradient.
    nesterov : bool, default True
        Orthogonalize the average's look-ahead, ``momentum * buf + (1 - momentum) * g``.
    ns_coefficients : three of float or schedule, default (3.4445, -4.775, 2.0315)
        Coefficients of the quintic polynomial that brings singular values near 1.
    eps : float or schedule, default 1e-7
        Matrices are divided by their norm before, or by this where that is smaller.
    ns_steps : int or schedule, default 5
        How often the polynomial is applied.
    adjust_lr_fn : {"original", "match_rms_adamw", None}, default "original"
        The update's length, of a matrix of shape (m, n): ``sqrt(max(1, m / n))``, or as long as AdamW's, ``0.2 * sqrt(max(m, n))``.
    betas : pair of float or schedule, default (0.9, 0.999)
        AdamW's decay rates.
    adam_eps : float or schedule, default 1e-8
        AdamW's `eps`.
    orthogonalize : bool, default True
        False, as in the group dict of embeddings and of a last layer: AdamW for all arrays.
    {common}

    Notes
    -----
    ``buf = momentum * buf + (1 - momentum) * g``, ``p -= lr * length * orthogonalized(buf)``. Products of matrices are NumPy's, in
    the parameter's precision (float32 for 16 bits), so that bits depend on its BLAS and how many threads that has; torch computes
    them in bfloat16. They take memory for three matrices in each step. The kernel of a convolution has four axes: give its view
    ``k.reshape(len(k), -1)`` as the parameter.

    References
    ----------
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; Liu et al., "Muon is scalable for LLM
    training", 2025, eq. 4.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.zeros((2, 2))
    >>> Muon(w, lr=0.5, ns_coefficients=(1.5, -0.5, 0), ns_steps=20).step(np.array([[1.0, 0.0], [0.0, -2.0]]))
    True
    >>> w.round(6)
    array([[-0.5,  0. ],
           [ 0. ,  0.5]])
    """

    arguments: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "ns_coefficients": (3.4445, -4.775, 2.0315),
        "eps": 1e-7,
        "ns_steps": 5,
        "adjust_lr_fn": "original",
        "betas": (0.9, 0.999),
        "adam_eps": 1e-8,
        "orthogonalize": True,
    }
    spread: ClassVar[Mapping[str, Sequence[str]]] = {"betas": ("beta1", "beta2"), "ns_coefficients": ("ns1", "ns2", "ns3")}
    words: ClassVar[Mapping[str, Sequence[str]]] = {"adjust_lr_fn": ("original", "match_rms_adamw")}
    renamed: ClassVar[Mapping[str, str]] = {"eps": "adam_eps"}
    decay = "decoupled"
    update = staticmethod(rules.muon)

    def beside(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        return rules.adam

    def aside(self, options: Mapping[str, Any]) -> bool:
        return not options["orthogonalize"]

    def fixed(self, options: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, float]:
        return {"match_rms": float(options["adjust_lr_fn"] == "match_rms_adamw")}


def start_of(options: Mapping[str, Any]) -> float:
    """Where an accumulator begins: a number, no schedule."""
    return check_number("initial_accumulator_value", options["initial_accumulator_value"])
