"""The arithmetic: each update rule once, as two pure functions, for Python, for C and for the tests.

``name_scalars`` computes the scalars of step ``t`` (1, 2, ...) from the hyperparameters, in double. ``name`` is elementwise: from a
parameter ``p``, its gradient ``g`` and the rule's state to the update, which the engine subtracts from ``p``, and the new state.
`python fastopt/codegen` renders both as the Cython of ``engine/kernels.pyx`` and says what a rule may contain.
"""

from .arithmetic import maximum, power, sqrt


def sgd_scalars(t, *, lr):
    """Nothing changes from step to step."""
    return {"lr": lr}


def sgd(p, g, *, lr):
    """Stochastic gradient descent (Robbins and Monro, 1951)."""
    return lr * g


def momentum_scalars(t, *, lr, momentum, dampening):
    """The first step starts the buffer with the whole gradient, as torch does."""
    return {
        "lr": lr,
        "keep": momentum if t > 1 else 0.0,
        "take": 1 - dampening if t > 1 else 1.0,
    }


def momentum(p, g, buf, *, lr, keep, take):
    """Heavy-ball momentum (Polyak, 1964)."""
    buf = keep * buf + take * g
    return lr * buf, buf


def nesterov_scalars(t, *, lr, momentum, dampening):
    """As `momentum_scalars`, and the look-ahead's own momentum."""
    return {
        "lr": lr,
        "keep": momentum if t > 1 else 0.0,
        "take": 1 - dampening if t > 1 else 1.0,
        "ahead": momentum,
    }


def nesterov(p, g, buf, *, lr, keep, take, ahead):
    """Nesterov's momentum in the form of Sutskever et al. (2013)."""
    buf = keep * buf + take * g
    return lr * (g + ahead * buf), buf


def adam_scalars(t, *, lr, beta1, beta2, eps):
    """Bias corrections of step t, folded into the step size and eps."""
    c2 = sqrt(1 - power(beta2, t))
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "w2": 1 - beta2,
        "eps": eps * c2,
    }


def adam(p, g, m, v, *, step_size, w1, w2, eps):
    """Adam (Kingma and Ba, 2015, algorithm 1)."""
    m = m + w1 * (g - m)
    v = v + (w2 * g * g - w2 * v)  # not w2 * (g * g - v): g * g overflows float32 at 1e20
    return step_size * m / (sqrt(v) + eps), m, v


amsgrad_scalars = adam_scalars


def amsgrad(p, g, m, v, vmax, *, step_size, w1, w2, eps):
    """AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections."""
    m = m + w1 * (g - m)
    v = v + (w2 * g * g - w2 * v)
    vmax = maximum(vmax, v)
    return step_size * m / (sqrt(vmax) + eps), m, v, vmax


def rmsprop_scalars(t, *, lr, alpha, eps):
    """The weight of the newest squared gradient."""
    return {"lr": lr, "w": 1 - alpha, "eps": eps}


def rmsprop(p, g, v, *, lr, w, eps):
    """RMSprop (Tieleman and Hinton, 2012, lecture 6.5)."""
    v = v + (w * g * g - w * v)
    return lr * g / (sqrt(v) + eps), v


rmsprop_centered_scalars = rmsprop_scalars


def rmsprop_centered(p, g, v, mean, *, lr, w, eps):
    """RMSprop by the gradient's variance (Graves, 2013, eq. 38-45), which rounding must not turn negative."""
    v = v + (w * g * g - w * v)
    mean = mean + w * (g - mean)
    return lr * g / (sqrt(maximum(v - mean * mean, 0)) + eps), v, mean


def rmsprop_momentum_scalars(t, *, lr, alpha, eps, momentum):
    """As `rmsprop_scalars`, with the momentum."""
    return {"lr": lr, "w": 1 - alpha, "eps": eps, "keep": momentum}


def rmsprop_momentum(p, g, v, buf, *, lr, w, eps, keep):
    """RMSprop with heavy-ball momentum over the scaled gradient."""
    v = v + (w * g * g - w * v)
    buf = keep * buf + g / (sqrt(v) + eps)
    return lr * buf, v, buf


rmsprop_centered_momentum_scalars = rmsprop_momentum_scalars


def rmsprop_centered_momentum(p, g, v, mean, buf, *, lr, w, eps, keep):
    """RMSprop, centered, with momentum (Graves, 2013, eq. 38-45)."""
    v = v + (w * g * g - w * v)
    mean = mean + w * (g - mean)
    buf = keep * buf + g / (sqrt(maximum(v - mean * mean, 0)) + eps)
    return lr * buf, v, mean, buf


def adagrad_scalars(t, *, lr, lr_decay, eps):
    """The learning rate falls as 1 / (1 + (t - 1) lr_decay)."""
    return {"step_size": lr / (1 + (t - 1) * lr_decay), "eps": eps}


def adagrad(p, g, sum, *, step_size, eps):
    """AdaGrad (Duchi et al., 2011, section 1.1, diagonal)."""
    sum = sum + g * g
    return step_size * g / (sqrt(sum) + eps), sum
