"""Custom rules for tests, in a module where pickle finds them."""

import fastopt as fo
from fastopt.arithmetic import fabs, maximum, minimum, nonnegative, power, sqrt, velocity


@fo.rule
def again(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, root):
    """Adam, as the package has it."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return step_size * m / (sqrt(v + root) + eps), m, v


@again.scalars
def _(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0):
    correct = 1 - power(beta2, t)
    c2 = sqrt(correct)
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps * c2,
        "root": eps_root * correct,
    }


@fo.rule
def average(p, g, m, *, lr, w=0.1):
    m = m + w * (g - m)
    return lr * m, m


@fo.rule
def clipped(p, g, *, lr, weight_decay=0.0):
    """Descend by limited steps, with a weight decay of any sign."""
    g = minimum(maximum(g + weight_decay * p, -lr), lr)
    return lr * g


@fo.rule
def counting(p, g, *, lr):
    """A number lives from step to step."""
    return lr * g


@counting.scalars
def _(t, total=0, *, lr=0.1):
    total = total + t
    return {"lr": lr / total}, total


@fo.rule
def falling(p, g, m: nonnegative, *, lr=0.1):
    """A tag that is not true."""
    m = m - g
    return lr * m, m


@fo.rule
def lifted(p, g, m, v, *, lr, beta=0.9, beta2=0.999):
    keep = 1 - beta
    m = beta * m + keep * g
    v = beta2 * v + (1 - beta2) * (g * g) + (1 - beta2) * 0.5 * g
    return lr / (1 + beta2) * m / (sqrt(fabs(v)) + 2 * sqrt(lr)), m, v


@fo.rule
def lifted_twin(p, g, m, v, *, beta, beta2, keep, w, z, step, eps):
    m = beta * m + keep * g
    v = beta2 * v + w * (g * g) + z * g
    return step * m / (sqrt(fabs(v)) + eps), m, v


@lifted_twin.scalars
def _(t, *, lr, beta=0.9, beta2=0.999):
    return {
        "beta": beta,
        "beta2": beta2,
        "keep": 1 - beta,
        "w": 1 - beta2,
        "z": (1 - beta2) * 0.5,
        "step": lr / (1 + beta2),
        "eps": 2 * sqrt(lr),
    }


@fo.rule
def lifted_other(p, g, *, w):
    return (w * (1 - w) + sqrt(w)) * (1 / 2) * g * (3 / 2 + 1 / 2)


@lifted_other.scalars
def _(t, *, lr=0.1):
    return {"w": lr / t}
