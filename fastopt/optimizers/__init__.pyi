# Generated from optimizers/ and _optimizer/options.py by python fastopt/_codegen: edit those files.
from collections.abc import Callable
from math import inf
from typing import Any, Literal, SupportsFloat, TypeAlias, TypedDict, Unpack

from .._optimizer import Optimizer
from ..spec import RULES as RULES

Number: TypeAlias = SupportsFloat | Callable[[int], float]  # or a schedule

class Options(TypedDict, total=False):
    """Options of every optimizer."""

    maximize: bool
    clip_value: Number | None
    clip_norm: Number | None
    clip_global_norm: Number | None
    trust_ratio: Number | None
    max_step: Number | None
    step_scale: Any
    bounds: Any
    ema: Number | None
    initial_state: Any
    nonfinite: Literal['propagate', 'skip', 'zero', 'raise']
    accumulate: int
    zero_grads: bool
    flush_subnormals: bool
    norms: bool
    state_dtype: Literal[None, 'float32', 'bfloat16', 'float16', 'float8']
    master: Literal[None, 'float32', 'split']
    rounding: Literal['stochastic', 'nearest']
    seed: int
    mode: Literal['lazy', 'exact']
    span: tuple[int, int] | None
    threads: int | None

class AdaBelief(Optimizer):
    """AdaBelief: Adam with the gradient's distance from its average instead of its square."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-16,
        weight_decay: Number = 0.0,
        eps_root: Number = 1e-16,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adadelta(Optimizer):
    """Adadelta: steps in the units of the parameter."""
    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        rho: Number = 0.9,
        eps: Number = 1e-06,
        weight_decay: Number = 0.0,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adafactor(Optimizer):
    """Adafactor: steps relative to the parameter's size, with second moments of rows and columns."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        beta2_decay: Number = -0.8,
        eps: tuple[Number | None, Number] | list[Any] = (None, 0.001),
        d: Number = 1.0,
        weight_decay: Number = 0.0,
        eps_inside: bool = False,
        *,
        convention: Literal["torch", "keras"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adagrad(Optimizer):
    """AdaGrad, diagonal: learning rates that fall with the sum of squared gradients."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        lr_decay: Number = 0.0,
        weight_decay: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        eps: Number = 1e-10,
        eps_inside: bool = False,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adam(Optimizer):
    """Adam, and AMSGrad: steps by averages of the gradient and of its square."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        amsgrad: bool = False,
        eps_root: Number = 0.0,
        eps_hat: bool = False,
        max_corrected: bool = False,
        uncorrected: bool = False,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adamax(Optimizer):
    """AdaMax: Adam with the largest magnitude so far instead of the second moment."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.002,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        eps_inside: bool = True,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class AdamW(Adam):
    """Adam with decoupled weight decay."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.01,
        amsgrad: bool = False,
        eps_root: Number = 0.0,
        eps_hat: bool = False,
        max_corrected: bool = False,
        uncorrected: bool = False,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Adan(Optimizer):
    """Adan: Adam with Nesterov's momentum from changes of the gradient."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number, Number] | list[Any] = (0.98, 0.92, 0.99),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        no_prox: bool = False,
        eps_root: Number = 0.0,
        short_look: bool = False,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class AdEMAMix(Optimizer):
    """AdEMAMix: Adam with a fast and a slow average of the gradient."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number, Number] | list[Any] = (0.9, 0.999, 0.9999),
        alpha: Number = 5.0,
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        warmup: Number = 0.0,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class ADOPT(Optimizer):
    """ADOPT: Adam with a second moment that excludes the newest gradient."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.9999),
        eps: Number = 1e-06,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class ASGD(Optimizer):
    """Averaged stochastic gradient descent; the averages are in ``average``."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        lambd: Number = 0.0001,
        alpha: Number = 0.75,
        t0: Number = 1000000.0,
        weight_decay: Number = 0.0,
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class DoG(Optimizer):
    """DoG: the learning rate is the distance so far, divided by the root of all squared gradients."""
    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        reps_rel: Number = 1e-06,
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class FTRL(Optimizer):
    """FTRL-proximal: follow the regularized leader, with exact zeros."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        beta: Number = 1.0,
        l1: Number = 0.0,
        l2: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        l2_doubled: bool = False,
        *,
        convention: Literal["torch", "keras"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class LAMB(Optimizer):
    """LAMB: Adam with updates scaled to the norm of each array, times the learning rate."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-06,
        weight_decay: Number = 0.0,
        eps_root: Number = 0.0,
        eps_hat: bool = False,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class LARS(Optimizer):
    """LARS: momentum, with learning rates scaled to the norm of each array."""
    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        momentum: Number = 0.9,
        weight_decay: Number = 0.0,
        trust_coefficient: Number = 0.001,
        eps: Number = 0.0,
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Lion(Optimizer):
    """Lion: the sign of an interpolation between gradient and momentum."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.0001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.99),
        weight_decay: Number = 0.0,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Muon(Optimizer):
    """Muon: momentum of matrices, orthogonalized; AdamW for arrays without exactly two axes."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        weight_decay: Number = 0.1,
        momentum: Number = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[Number, Number, Number] | list[Any] = (3.4445, -4.775, 2.0315),
        eps: Number = 1e-07,
        ns_steps: Number = 5,
        adjust_lr_fn: Literal['original', 'match_rms_adamw'] | None = 'original',
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        adam_eps: Number = 1e-08,
        orthogonalize: bool = True,
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.002,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        momentum_decay: Number = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Prodigy(Optimizer):
    """Prodigy: Adam with a learning rate from an estimate of the distance to the solution."""
    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = True,
        d0: Number = 1e-06,
        d_coef: Number = 1.0,
        growth_rate: Number = inf,
        use_bias_correction: bool = False,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class RAdam(Optimizer):
    """RAdam: Adam that adapts once the variance of its second moment is tractable."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = False,
        eps_hat: bool = True,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class RMSprop(Optimizer):
    """RMSprop: steps by the root mean square of recent gradients; centered, with momentum, or both."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        alpha: Number = 0.99,
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
        centered: bool = False,
        eps_inside: bool = False,
        lr_in_velocity: bool = False,
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Rprop(Optimizer):
    """Resilient backpropagation: step sizes by the signs of gradients, which must be free of noise."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        etas: tuple[Number, Number] | list[Any] = (0.5, 1.2),
        step_sizes: tuple[Number, Number] | list[Any] = (1e-06, 50.0),
        *,
        convention: Literal["torch"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class ScheduleFreeSGD(Optimizer):
    """Schedule-free SGD: no schedule, no horizon; evaluate at ``average``."""
    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        momentum: Number = 0.9,
        weight_decay: Number = 0.0,
        warmup: Number = 0.0,
        warmup_from_zero: bool = False,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-free AdamW: no schedule, no horizon; evaluate at ``average``."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.0025,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 1e-08,
        weight_decay: Number = 0.0,
        warmup: Number = 0.0,
        warmup_from_zero: bool = False,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's momentum."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        momentum: Number = 0.0,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        nesterov: bool = False,
        lr_in_velocity: bool = False,
        first_step: Literal['whole', 'damped'] | None = 'whole',
        *,
        convention: Literal["torch", "keras", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class SignSGD(Optimizer):
    """SignSGD: steps by the sign of the gradient, or with momentum (Signum) of its average."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.001,
        momentum: Number = 0.0,
        weight_decay: Number = 0.0,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

class Yogi(Optimizer):
    """Yogi: Adam with a second moment that grows and falls at the same pace."""
    def __init__(
        self,
        params: Any,
        lr: Number = 0.01,
        betas: tuple[Number, Number] | list[Any] = (0.9, 0.999),
        eps: Number = 0.001,
        weight_decay: Number = 0.0,
        initial_accumulator_value: Number = 1e-06,
        *,
        convention: Literal["torch", "optax"] = "torch",
        **options: Unpack[Options],
    ) -> None: ...

__all__ = [
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adamax",
    "AdamW",
    "Adan",
    "AdEMAMix",
    "ADOPT",
    "ASGD",
    "DoG",
    "FTRL",
    "LAMB",
    "LARS",
    "Lion",
    "Muon",
    "NAdam",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeSGD",
    "ScheduleFreeAdamW",
    "SGD",
    "SignSGD",
    "Yogi",
]
