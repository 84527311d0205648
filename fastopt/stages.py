"""Stages: operations around every rule, written and rendered like rules.

A stage returns the new value of its first array: the gradient ``g`` before the rule; the parameter ``p``, in place, before or after
it; the update ``u``, between the rule and its subtraction; ``m``, each state of the rule that is a ``velocity``; or an array that
the stage keeps, of the parameter's shape. Stages run in the order of this file: the rule runs before the first stage of ``u``, and
the update is subtracted after the last.

With the defaults of its hyperparameters, a stage changes nothing: it is then skipped, never multiplied in. A stage without
hyperparameters runs if its optimizer has it.

The return annotation says what else a stage is for: it `checks` gradients; it `accumulates` them in calls that make no step, or
`averages` them in the call that does; it `measures` something for a report, under the names of its sums.

Stages that need the gradient only are computed in double, one after another, and rounded to the parameter's precision once: a
gradient of more range or precision is changed before it is rounded.
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
    """Return the scale, which is negative for a function to maximize."""
    return {"scale": scale, "shift": 1}


def scale(g, *, scale: wide, shift: wide):
    """Scale the gradient (loss scaling, maximization)."""
    return scale_by(g, scale, shift)


def finite_sums(g) -> over_array:
    """Count elements that are infinite or NaN."""
    return {"bad": where(g - g == 0, 0, 1)}


def finite_scalars(bad):
    """Return nothing: the engine acts on the count."""
    return {}


def finite(g) -> checks:
    """Replace infinities and NaN by zero."""
    return where(g - g == 0, g, 0)


def hold_scalars(*, accumulate=1):
    """Return a power of two that keeps the sum of all gradients finite; only subnormal ones lose bits."""
    return {"part": ldexp(1, -ceil_log2(accumulate))}


def hold(gathered, g, *, part) -> accumulates:
    """Add this gradient to those of earlier calls."""
    return gathered + part * g


def gather_scalars(*, accumulate=1):
    """Return the power of two of `hold`, and the gradients' share in their mean divided by it."""
    return {"part": ldexp(1, -ceil_log2(accumulate)), "share": ldexp(1 / accumulate, ceil_log2(accumulate))}


def gather(g, gathered, *, part, share) -> averages:
    """Return the mean of the accumulated gradients and this one."""
    return share * (gathered + part * g)


def unclipped_sums(g) -> over_array:
    """Sum the squares of the gradient before clipping."""
    return {"unclipped_norm": square(g)}


def unclipped_scalars(unclipped_norm, unclipped_norm_exponent):
    """Return nothing: the norm is for the report."""
    return {}


def unclipped(g) -> measures:
    """Change nothing: the sum is for the report."""
    return g


def clip_value_scalars(*, clip_value: limit = inf):
    """Return the bound."""
    return {"most": clip_value}


def clip_value(g, *, most):
    """Clip each element of the gradient to ``[-most, most]``."""
    return where(g > most, most, where(g < -most, -most, g))


def clip_norm_sums(g) -> over_array:
    """Sum the squares of the gradient."""
    return {"norm": square(g)}


def clip_norm_scalars(norm, norm_exponent, *, clip_norm: limit = inf):
    """Return the factor that shortens the gradient to the bound, or 1. A norm of NaN gives NaN, as in torch."""
    length = ldexp(norm, norm_exponent)
    return {
        "shrink": 1.0 if length <= clip_norm else scale_factor(clip_norm / norm, -norm_exponent),
        "shift": 1.0 if length <= clip_norm else scale_power(clip_norm / norm, -norm_exponent),
    }


def clip_norm(g, *, shrink: wide, shift: wide):
    """Clip the norm of an array's gradient (Pascanu et al., 2013)."""
    return scale_by(g, shrink, shift)


def clip_global_norm_sums(g) -> over_all:
    """Sum the squares of all gradients."""
    return {"norm": square(g)}


def clip_global_norm_scalars(norm, norm_exponent, *, clip_global_norm: limit = inf):
    """Return the factor that shortens all gradients together to the bound, as `clip_norm_scalars`."""
    length = ldexp(norm, norm_exponent)
    return {
        "shrink": 1.0 if length <= clip_global_norm else scale_factor(clip_global_norm / norm, -norm_exponent),
        "shift": 1.0 if length <= clip_global_norm else scale_power(clip_global_norm / norm, -norm_exponent),
    }


def clip_global_norm(g, *, shrink: wide, shift: wide):
    """Clip the common norm of all gradients (Pascanu et al., 2013)."""
    return scale_by(g, shrink, shift)


def l2_scalars(*, weight_decay=0):
    """Return the weight decay."""
    return {"weight_decay": weight_decay}


def l2(g, p, *, weight_decay):
    """Add the gradient of ``weight_decay / 2 * p**2`` to the gradient."""
    return g + weight_decay * p


def decoupled_scalars(*, lr, weight_decay=0):
    """Return the part of the parameter that one step leaves."""
    return {"keep": 1 - lr * weight_decay}


def decoupled(p, *, keep):
    """Apply decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""
    return keep * p


def late_decay_scalars(*, lr, weight_decay=0):
    """Return the part of the parameter that one step removes."""
    return {"decay": lr * weight_decay}


def late_decay(u, p, *, decay):
    """Apply decoupled weight decay as part of the update, so that trust ratio and step sizes of elements scale it too."""
    return u + decay * p


def proximal_scalars(*, lr, weight_decay=0):
    """Return lr * weight_decay, and the factor of the proximal step."""
    return {"decay": lr * weight_decay, "shorter": 1 / (1 + lr * weight_decay)}


def proximal(u, p, *, decay, shorter):
    """Decay the parameter after its update: ``(p - u) / (1 + lr * weight_decay)`` (Xie et al., 2022, algorithm 1)."""
    return shorter * (u + decay * p)


def trust_ratio_sums(u, p) -> over_array:
    """Sum the squares of update and parameter."""
    return {"step": square(u), "param": square(p)}


def trust_ratio_scalars(step, step_exponent, param, param_exponent, *, lr, trust_ratio=0):
    """Return the learning rate times the parameter's norm over the update's; no scaling if one of them is zero."""
    ratio = 1.0 if step == 0 else trust_ratio * lr * param / step
    exponent = 0.0 if step == 0 else param_exponent - step_exponent
    return {
        "ratio": 1.0 if param == 0 else scale_factor(ratio, exponent),
        "shift": 1.0 if param == 0 else scale_power(ratio, exponent),
    }


def trust_ratio(u, *, ratio: wide, shift: wide):
    """Scale the update to the parameter's norm, times the learning rate (You et al., 2020, "LAMB", algorithm 2)."""
    return scale_by(u, ratio, shift)


def step_scale_scalars():
    """Return nothing: each element has its own factor."""
    return {}


def step_scale(u, factor):
    """Scale each element of the update; a factor of zero keeps the parameter as it is."""
    return where(factor == 0, 0, factor * u)


def max_step_scalars(*, max_step: limit = inf):
    """Return the bound."""
    return {"most": max_step}


def max_step(u, *, most):
    """Clip each element of the update to ``[-most, most]``."""
    return minimum(maximum(u, -most), most)


def norms_sums(g, u, p) -> over_array:
    """Sum the squares of gradient, update and parameter."""
    return {"gradient_norm": square(g), "update_norm": square(u), "parameter_norm": square(p)}


def norms_scalars(
    gradient_norm, gradient_norm_exponent, update_norm, update_norm_exponent, parameter_norm, parameter_norm_exponent
):
    """Return nothing: the norms are for the report."""
    return {}


def norms(u) -> measures:
    """Change nothing: the sums are for the report."""
    return u


def moves_sums(u, p, low, high) -> over_array:
    """Sum the squares of the parameter's movement between its bounds."""
    return {"update_norm": square(p - minimum(maximum(p - u, low), high))}


def moves_scalars(update_norm, update_norm_exponent):
    """Return nothing: the norm is for the report."""
    return {}


def moves(u) -> measures:
    """Change nothing: the sum is for the report."""
    return u


def bounds_scalars():
    """Return nothing: bounds are arrays."""
    return {}


def bounds(p, low, high):
    """Project the parameter onto its bounds (Bertsekas, 1976)."""
    return minimum(maximum(p, low), high)


def release_scalars():
    """Return nothing: bounds are arrays."""
    return {}


def release(m, p, low, high):
    """Drop velocity towards a bound that has stopped the parameter, so that it leaves as soon as the gradient turns."""
    return where(p <= low, minimum(m, 0), where(p >= high, maximum(m, 0), m))


def ema_scalars(*, ema: fraction):
    """Return the weight of the newest parameter."""
    return {"share": 1 - ema}


def ema(averaged: start, p, *, share):
    """Update the exponential moving average of the parameter (Polyak and Juditsky, 1992)."""
    return averaged + share * (p - averaged)
