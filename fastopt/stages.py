"""Stages: what happens around any rule, written and rendered like a rule.

A stage returns what its first array becomes: the gradient ``g`` before the rule, the parameter ``p`` in place before or after it,
the update ``u`` between the rule and its subtraction, ``m``, each state of the rule that is tagged ``velocity``, or an array of
the stage's own, of the parameter's shape. Stages run in the order of this file: the rule runs before the first that shapes ``u``,
and the update is subtracted after the last.

The defaults of its hyperparameters are the values that change nothing: a stage whose hyperparameters all have them is skipped,
never multiplied in. A stage without such is on where an optimizer has it.

What a stage is for, if not for what it returns, says the annotation of that: it `checks` gradients, `accumulates` them in calls
that make no step, `averages` them in the call that does, or `measures` something for a report, under the names of its sums.

Stages that need nothing but the gradient are computed in double, one after another, and what they give is rounded to the
parameter's precision once: a gradient of more range or precision is shaped before it is rounded.
"""

from .arithmetic import (
    accumulates,
    averages,
    ceil_log2,
    checks,
    inf,
    ldexp,
    maximum,
    measures,
    minimum,
    over_all,
    over_array,
    scale_by,
    scale_factor,
    scale_power,
    square,
    start,
    where,
    wide,
)
from .domains import fraction, limit, real


def scale_scalars(*, scale: real = 1):
    """Minus one, for a function to maximize, is in the scale."""
    return {"scale": scale, "shift": 1}


def scale(g, *, scale: wide, shift: wide):
    """The gradient times a number (loss scaling; maximization)."""
    return scale_by(g, scale, shift)


def finite_sums(g) -> over_array:
    """Elements that are infinite or NaN."""
    return {"bad": where(g - g == 0, 0, 1)}


def finite_scalars(bad):
    """How many there are is for the engine to act on."""
    return {}


def finite(g) -> checks:
    """Zero for what is infinite or NaN."""
    return where(g - g == 0, g, 0)


def hold_scalars(*, accumulate=1):
    """A power of two, by which the sum of as many finite gradients stays finite; only subnormal ones lose bits."""
    return {"part": ldexp(1, -ceil_log2(accumulate))}


def hold(gathered, g, *, part) -> accumulates:
    """The gradients so far and this one, for a step that comes later."""
    return gathered + part * g


def gather_scalars(*, accumulate=1):
    """Each of the gradients' share in their mean, over that power of two."""
    return {"part": ldexp(1, -ceil_log2(accumulate)), "share": ldexp(1 / accumulate, ceil_log2(accumulate))}


def gather(g, gathered, *, part, share) -> averages:
    """The mean of the gradients so far and this one."""
    return share * (gathered + part * g)


def unclipped_sums(g) -> over_array:
    """The gradient before it is clipped, for a report."""
    return {"unclipped_norm": square(g)}


def unclipped_scalars(unclipped_norm, unclipped_norm_exponent):
    """The norm is for the report alone."""
    return {}


def unclipped(g) -> measures:
    """Changes nothing: its sum alone is of interest."""
    return g


def clip_value_scalars(*, clip_value: limit = inf):
    """The bound itself."""
    return {"most": clip_value}


def clip_value(g, *, most):
    """Each element of the gradient between ``-most`` and ``most``."""
    return where(g > most, most, where(g < -most, -most, g))


def clip_norm_sums(g) -> over_array:
    """The gradient, whose norm it is."""
    return {"norm": square(g)}


def clip_norm_scalars(norm, norm_exponent, *, clip_norm: limit = inf):
    """What shortens the gradient to the norm, unless it is no longer: of a norm that is NaN, NaN, as torch's."""
    length = ldexp(norm, norm_exponent)
    return {
        "shrink": 1.0 if length <= clip_norm else scale_factor(clip_norm / norm, -norm_exponent),
        "shift": 1.0 if length <= clip_norm else scale_power(clip_norm / norm, -norm_exponent),
    }


def clip_norm(g, *, shrink: wide, shift: wide):
    """An array's gradient, at most so long (Pascanu et al., 2013)."""
    return scale_by(g, shrink, shift)


def clip_global_norm_sums(g) -> over_all:
    """All gradients, whose norm it is."""
    return {"norm": square(g)}


def clip_global_norm_scalars(norm, norm_exponent, *, clip_global_norm: limit = inf):
    """What shortens all gradients together to the norm, as `clip_norm_scalars`."""
    length = ldexp(norm, norm_exponent)
    return {
        "shrink": 1.0 if length <= clip_global_norm else scale_factor(clip_global_norm / norm, -norm_exponent),
        "shift": 1.0 if length <= clip_global_norm else scale_power(clip_global_norm / norm, -norm_exponent),
    }


def clip_global_norm(g, *, shrink: wide, shift: wide):
    """All arrays' gradients, together at most so long (Pascanu et al., 2013)."""
    return scale_by(g, shrink, shift)


def l2_scalars(*, weight_decay=0):
    """The decay itself."""
    return {"weight_decay": weight_decay}


def l2(g, p, *, weight_decay):
    """Gradient of ``weight_decay / 2 * p ** 2``, added to the gradient."""
    return g + weight_decay * p


def decoupled_scalars(*, lr, weight_decay=0):
    """What one step leaves of the parameter."""
    return {"keep": 1 - lr * weight_decay}


def decoupled(p, *, keep):
    """Decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""
    return keep * p


def late_decay_scalars(*, lr, weight_decay=0):
    """The learning rate is in the update already, and is not in the decay."""
    return {"decay": lr * weight_decay}


def late_decay(u, p, *, decay):
    """Decoupled weight decay as part of the update, which the trust ratio and each element's own step size shape with it."""
    return u + decay * p


def proximal_scalars(*, lr, weight_decay=0):
    """The learning rate is in the update already, and is not in the decay."""
    return {"decay": lr * weight_decay, "shorter": 1 / (1 + lr * weight_decay)}


def proximal(u, p, *, decay, shorter):
    """Weight decay of the parameter as it will be: ``(p - u) / (1 + lr * weight_decay)`` (Xie et al., 2022, algorithm 1)."""
    return shorter * (u + decay * p)


def trust_ratio_sums(u, p) -> over_array:
    """Both, for their norms."""
    return {"step": square(u), "param": square(p)}


def trust_ratio_scalars(step, step_exponent, param, param_exponent, *, lr, trust_ratio=0):
    """The learning rate times norm of parameter over norm of update; where one of them is zero, nothing."""
    ratio = 1.0 if step == 0 else trust_ratio * lr * param / step
    exponent = 0.0 if step == 0 else param_exponent - step_exponent
    return {
        "ratio": 1.0 if param == 0 else scale_factor(ratio, exponent),
        "shift": 1.0 if param == 0 else scale_power(ratio, exponent),
    }


def trust_ratio(u, *, ratio: wide, shift: wide):
    """An update as long as its parameter, times the learning rate (You et al., 2020, "LAMB", algorithm 2)."""
    return scale_by(u, ratio, shift)


def step_scale_scalars():
    """Each element has its own."""
    return {}


def step_scale(u, factor):
    """A learning rate of each element's own; where it is zero, the parameter stays as it is."""
    return where(factor == 0, 0, factor * u)


def max_step_scalars(*, max_step: limit = inf):
    """The bound itself."""
    return {"most": max_step}


def max_step(u, *, most):
    """Each element of the update between ``-most`` and ``most``."""
    return minimum(maximum(u, -most), most)


def norms_sums(g, u, p) -> over_array:
    """All three, for a report."""
    return {"gradient_norm": square(g), "update_norm": square(u), "parameter_norm": square(p)}


def norms_scalars(
    gradient_norm, gradient_norm_exponent, update_norm, update_norm_exponent, parameter_norm, parameter_norm_exponent
):
    """Norms are for the report alone."""
    return {}


def norms(u) -> measures:
    """Changes nothing: its sums alone are of interest."""
    return u


def moves_sums(u, p, low, high) -> over_array:
    """What the parameter moves by between its bounds, for a report."""
    return {"update_norm": square(p - minimum(maximum(p - u, low), high))}


def moves_scalars(update_norm, update_norm_exponent):
    """The norm is for the report alone."""
    return {}


def moves(u) -> measures:
    """Changes nothing: its sum alone is of interest."""
    return u


def bounds_scalars():
    """Bounds are arrays."""
    return {}


def bounds(p, low, high):
    """The parameter between its bounds (Bertsekas, 1976, projection)."""
    return minimum(maximum(p, low), high)


def release_scalars():
    """Bounds are arrays."""
    return {}


def release(m, p, low, high):
    """No velocity towards a bound that has stopped the parameter: it would stay there when the gradient has turned."""
    return where(p <= low, minimum(m, 0), where(p >= high, maximum(m, 0), m))


def ema_scalars(*, ema: fraction):
    """The newest parameter's share."""
    return {"share": 1 - ema}


def ema(averaged: start, p, *, share):
    """An exponential moving average of the parameter (Polyak and Juditsky, 1992, for its use)."""
    return averaged + share * (p - averaged)
