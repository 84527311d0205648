"""What happens around any rule, written and rendered like a rule.

A stage returns what its first array becomes: the gradient ``g`` before the rule, the parameter ``p`` in place before or after it,
the update ``u`` between the rule and its subtraction, ``m``, each state of the rule that is tagged ``velocity``, or an array of
the stage's own, of the parameter's shape. Stages run in the order of this file: the rule runs before the first that shapes ``u``,
and the update is subtracted after the last.

The defaults of its hyperparameters are the values that change nothing: a stage whose hyperparameters all have them is skipped,
never multiplied in. A stage without such is on where an optimizer has it.
"""

from .arithmetic import inf, maximum, minimum, over_all, over_array, sqrt, where


def scale_scalars(*, scale=1):
    """Minus one, for a function to maximize, is in the scale."""
    return {"scale": scale}


def scale(g, *, scale):
    """The gradient times a number (loss scaling; maximization)."""
    return scale * g


def finite_sums(g) -> over_array:
    """Elements that are infinite or NaN."""
    return {"bad": where(g - g == 0, 0, 1)}


def finite_scalars(bad):
    """How many there are is for the engine to act on."""
    return {}


def finite(g):
    """Zero for what is infinite or NaN."""
    return where(g - g == 0, g, 0)


def hold_scalars():
    """Nothing to compute."""
    return {}


def hold(gathered, g):
    """The gradients so far and this one, for a step that comes later."""
    return gathered + g


def gather_scalars(*, accumulate=1):
    """Each of the gradients' share in their mean."""
    return {"share": 1 / accumulate}


def gather(g, gathered, *, share):
    """The mean of the gradients so far and this one."""
    return share * (gathered + g)


def clip_value_scalars(*, clip_value=inf):
    """The bound itself."""
    return {"most": clip_value}


def clip_value(g, *, most):
    """Each element of the gradient between ``-most`` and ``most``."""
    return minimum(maximum(g, -most), most)


def clip_norm_sums(g) -> over_array:
    """Squares, whose sum is that of the norm."""
    return {"squares": g * g}


def clip_norm_scalars(squares, *, clip_norm=inf):
    """What shortens the gradient to the norm, where it is longer."""
    norm = sqrt(squares)
    return {"shrink": clip_norm / norm if norm > clip_norm else 1.0}


def clip_norm(g, *, shrink):
    """An array's gradient, at most so long (Pascanu et al., 2013)."""
    return shrink * g


def clip_global_norm_sums(g) -> over_all:
    """Squares, whose sum is that of the norm."""
    return {"squares": g * g}


def clip_global_norm_scalars(squares, *, clip_global_norm=inf):
    """What shortens all gradients together to the norm, where they are longer."""
    norm = sqrt(squares)
    return {"shrink": clip_global_norm / norm if norm > clip_global_norm else 1.0}


def clip_global_norm(g, *, shrink):
    """All arrays' gradients, together at most so long (Pascanu et al., 2013)."""
    return shrink * g


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


def trust_ratio_sums(u, p) -> over_array:
    """Squares of both, for their norms."""
    return {"updates": u * u, "params": p * p}


def trust_ratio_scalars(updates, params, *, lr, trust_ratio=0):
    """The learning rate times norm of parameter over norm of update; where one of them is zero, nothing."""
    ratio = trust_ratio * lr * sqrt(params) / sqrt(updates) if updates > 0 else 1.0
    return {"ratio": ratio if params > 0 else 1.0}


def trust_ratio(u, *, ratio):
    """An update as long as its parameter, times the learning rate (You et al., 2020, "LAMB", algorithm 2)."""
    return ratio * u


def step_scale_scalars():
    """Each element has its own."""
    return {}


def step_scale(u, factor):
    """A learning rate of each element's own; where it is zero, the parameter stays as it is."""
    return where(factor == 0, 0, factor * u)


def max_step_scalars(*, max_step=inf):
    """The bound itself."""
    return {"most": max_step}


def max_step(u, *, most):
    """Each element of the update between ``-most`` and ``most``."""
    return minimum(maximum(u, -most), most)


def norms_sums(g, u, p) -> over_array:
    """Squares of all three, for a report."""
    return {"grads": g * g, "updates": u * u, "params": p * p}


def norms_scalars(grads, updates, params):
    """Norms are for the report alone."""
    return {}


def norms(u):
    """Changes nothing: its sums alone are of interest."""
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


def ema_scalars(*, ema):
    """The newest parameter's share."""
    return {"share": 1 - ema}


def ema(averaged, p, *, share):
    """An exponential moving average of the parameter (Polyak and Juditsky, 1992, for its use)."""
    return averaged + share * (p - averaged)
