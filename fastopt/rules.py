"""The arithmetic: each update rule once, as pure functions, for Python, for C and for the tests.

``name_scalars`` computes the scalars of step ``t`` (1, 2, ...) from the hyperparameters, in double; arguments after ``t`` that have
a first value live from step to step, and are returned after the dictionary. ``name`` is elementwise: from a parameter ``p``, its
gradient ``g`` and the rule's state to the update, which the engine subtracts from ``p``, and the new state. Where a rule needs sums
over arrays, ``name_sums`` says of what, and ``name_scalars`` takes them after ``t``; of a sum of ``square(x)`` the exact norm, as
``name * 2**name_exponent``, and `scale_by` multiplies by such a pair within range. A rule of matrices has ``name_terms``, which
are averaged over rows and columns, or which ``name_matrix`` changes as a whole, before the sums.
`python fastopt/codegen` renders all of it as the Cython of ``engine/kernels.pyx`` and says what a rule may contain.
"""

from .arithmetic import (
    copysign,
    exp,
    fabs,
    inf,
    ldexp,
    log,
    maximum,
    mean_over_array,
    minimum,
    nonnegative,
    of_columns,
    of_ratios,
    of_rows,
    over_array,
    over_group,
    over_lines,
    over_matrix,
    power,
    scale_by,
    scale_factor,
    scale_power,
    scratch,
    sign,
    sqrt,
    square,
    start,
    velocity,
    where,
    wide,
)
from .matrices import newton_schulz


def sgd_scalars(t, *, lr=1e-3):
    """Nothing changes from step to step."""
    return {"lr": lr}


def sgd(p, g, *, lr):
    """Stochastic gradient descent (Robbins and Monro, 1951)."""
    return lr * g


def momentum_scalars(t, *, lr=1e-3, momentum=0.9, dampening=0, lr_in_velocity=0):
    """The first step starts the buffer with the whole gradient, as torch does."""
    take = 1 - dampening if t > 1 else 1.0
    return {
        "lr": 1.0 if lr_in_velocity else lr,
        "keep": momentum if t > 1 else 0.0,
        "take": take * lr if lr_in_velocity else take,
    }


def momentum(p, g, buf: velocity, *, lr, keep, take):
    """Heavy-ball momentum (Polyak, 1964)."""
    buf = keep * buf + take * g
    return lr * buf, buf


def nesterov_scalars(t, *, lr=1e-3, momentum=0.9, lr_in_velocity=0):
    """As `momentum_scalars`, and the look-ahead's weights."""
    return {
        "keep": momentum if t > 1 else 0.0,
        "take": lr if lr_in_velocity else 1.0,
        "lr": lr,
        "ahead": momentum if lr_in_velocity else lr * momentum,
    }


def nesterov(p, g, buf: velocity, *, keep, take, lr, ahead):
    """Nesterov's momentum in the form of Sutskever et al. (2013)."""
    buf = keep * buf + take * g
    return lr * g + ahead * buf, buf


def signsgd_scalars(t, *, lr=1e-3):
    """Nothing changes from step to step."""
    return {"lr": lr}


def signsgd(p, g, *, lr):
    """Sign of the gradient (Bernstein et al., 2018, algorithm 1)."""
    return lr * sign(g)


def signum_scalars(t, *, lr=1e-3, momentum=0.9):
    """The newest gradient's weight."""
    return {"lr": lr, "w": 1 - momentum}


def signum(p, g, buf: velocity, *, lr, w):
    """Sign of an average of gradients (Bernstein et al., 2018, algorithm 2)."""
    buf = buf + w * (g - buf)
    return lr * sign(buf), buf


def lion_scalars(t, *, lr=1e-4, beta1=0.9, beta2=0.99):
    """Weights of the gradient in the update, and in the average."""
    return {"lr": lr, "w1": 1 - beta1, "w2": 1 - beta2}


def lion(p, g, m: velocity, *, lr, w1, w2):
    """Lion (Chen et al., 2023, algorithm 2)."""
    direction = m + w1 * (g - m)
    return lr * sign(direction), m + w2 * (g - m)


def adam_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0, eps_hat=0):
    """Bias corrections of step t, folded into the step size and eps, but for an eps "hat" (section 2, last lines)."""
    correct = 1 - power(beta2, t)
    c2 = sqrt(correct)
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps if eps_hat else eps * c2,
        "root": eps_root * correct,
    }


def adam(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, root):
    """Adam (Kingma and Ba, 2015, algorithm 1)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g  # not w2 * (g * g): that overflows float32 at 1e20
    return step_size * m / (sqrt(v + root) + eps), m, v


def amsgrad_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0, eps_hat=0, max_corrected=0):
    """As Adam's, but for a maximum over corrected moments, which leaves nothing to correct later."""
    correct = 1 - power(beta2, t)
    c2 = 1.0 if max_corrected else sqrt(correct)
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "seen": 1 / correct if max_corrected else 1.0,
        "eps": eps if eps_hat else eps * c2,
        "root": eps_root * c2 * c2,
    }


def amsgrad(p, g, m: velocity, v: nonnegative, vmax: nonnegative, *, step_size, w1, keep, w2, seen, eps, root):
    """AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    vmax = maximum(vmax, seen * v)
    return step_size * m / (sqrt(vmax + root) + eps), m, v, vmax


def adamax_scalars(t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_inside=1):
    """Bias correction of the first moment; eps joins each gradient's magnitude, or the largest one's."""
    return {
        "step_size": lr / (1 - power(beta1, t)),
        "w": 1 - beta1,
        "keep": beta2,
        "inner": eps if eps_inside else 0.0,
        "outer": 0.0 if eps_inside else eps,
    }


def adamax(p, g, m: velocity, largest: nonnegative, *, step_size, w, keep, inner, outer):
    """AdaMax (Kingma and Ba, 2015, algorithm 2)."""
    m = m + w * (g - m)
    largest = maximum(keep * largest, fabs(g) + inner)
    return step_size * m / (largest + outer), m, largest


def nadam_scalars(t, product=1, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3):
    """The momentum's schedule, ``0.96 ** (t * momentum_decay)``, and the product of its values so far."""
    now = beta1 * (1 - 0.5 * exp(t * momentum_decay * log(0.96)))
    ahead = beta1 * (1 - 0.5 * exp((t + 1) * momentum_decay * log(0.96)))
    product = product * now
    c2 = sqrt(1 - power(beta2, t))
    return {
        "of_g": lr * c2 * (1 - now) / (1 - product),
        "of_m": lr * c2 * ahead / (1 - product * ahead),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps * c2,
    }, product


def nadam(p, g, m: velocity, v: nonnegative, *, of_g, of_m, w1, keep, w2, eps):
    """NAdam (Dozat, 2016, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return (of_g * g + of_m * m) / (sqrt(v) + eps), m, v


def radam_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_hat=1):
    """The rectification, where the variance of the second moment is tractable; else neither counts."""
    correct = 1 - power(beta2, t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * power(beta2, t) / correct
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    step_size = lr / (1 - power(beta1, t))
    return {
        "step_size": step_size * sqrt(rectified * correct) if length > 5 else step_size,
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "eps": eps if eps_hat else eps * sqrt(correct),
        "adapt": 1.0 if length > 5 else 0.0,
    }


def radam(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, eps, adapt):
    """RAdam (Liu et al., 2020, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * g * g
    return step_size * m / where(adapt > 0, sqrt(v) + eps, 1), m, v


def adabelief_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16, eps_root=1e-16):
    """Bias corrections of step t, folded into the step size and eps."""
    c2 = sqrt(1 - power(beta2, t))
    return {
        "step_size": lr * c2 / (1 - power(beta1, t)),
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "root": eps_root,
        "eps": eps * c2,
    }


def adabelief(p, g, m: velocity, v: nonnegative, *, step_size, w1, keep, w2, root, eps):
    """AdaBelief (Zhuang et al., 2020, algorithm 2)."""
    m = m + w1 * (g - m)
    v = keep * v + w2 * (g - m) * (g - m) + root
    return step_size * m / (sqrt(v) + eps), m, v


def yogi_scalars(t, *, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3):
    """Bias corrections of step t, folded into the step size and eps."""
    c2 = sqrt(1 - power(beta2, t))
    return {"step_size": lr * c2 / (1 - power(beta1, t)), "w1": 1 - beta1, "w2": 1 - beta2, "eps": eps * c2}


def yogi(p, g, m: velocity, v: nonnegative, *, step_size, w1, w2, eps):
    """Yogi (Zaheer et al., 2018, algorithm 2)."""
    m = m + w1 * (g - m)
    v = v - w2 * g * g * sign(v - g * g)
    return step_size * m / (sqrt(v) + eps), m, v


def adan_scalars(t, *, lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, eps_root=0, short_look=0):
    """Bias corrections of step t; the first gradient has no difference to one before."""
    correct = 1 - power(beta3, t)
    c3 = sqrt(correct)
    step_size = lr * c3
    ahead = 1 - beta2 if short_look else beta2
    return {
        "of_m": step_size / (1 - power(beta1, t)),
        "of_d": step_size * ahead / (1 - power(beta2, t)),
        "w1": 1 - beta1,
        "w2": 1 - beta2,
        "ahead": ahead,
        "keep": beta3,
        "w3": 1 - beta3,
        "eps": eps * c3,
        "root": eps_root * correct,
        "before": 1.0 if t > 1 else 0.0,
    }


def adan(p, g, m: velocity, d: velocity, v: nonnegative, last, *, of_m, of_d, w1, w2, ahead, keep, w3, eps, root, before):
    """Adan (Xie et al., 2022, algorithm 1, with bias corrections)."""
    change = where(before > 0, g - last, 0)
    look = g + ahead * change
    m = m + w1 * (g - m)
    d = d + w2 * (change - d)
    v = keep * v + w3 * look * look
    return (of_m * m + of_d * d) / (sqrt(v + root) + eps), m, d, v, g


def adopt_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6):
    """The first step only starts the second moment; the bound of later ones is ``(t - 1) ** 0.25``."""
    return {
        "lr": lr if t > 1 else 0.0,
        "w1": 1 - beta1 if t > 1 else 0.0,
        "keep": beta2 if t > 1 else 0.0,
        "w2": 1 - beta2 if t > 1 else 1.0,
        "eps": eps,
        "most": sqrt(sqrt(t - 1)),
    }


def adopt(p, g, m: velocity, v: nonnegative, *, lr, w1, keep, w2, eps, most):
    """ADOPT (Taniguchi et al., 2024, algorithm 2)."""
    scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
    m = m + w1 * (scaled - m)
    v = keep * v + w2 * g * g
    return lr * m, m, v


def adopt_decoupled_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6, weight_decay=0):
    """As `adopt_scalars`; the first step does not decay either."""
    return {
        "lr": lr if t > 1 else 0.0,
        "w1": 1 - beta1 if t > 1 else 0.0,
        "keep": beta2 if t > 1 else 0.0,
        "w2": 1 - beta2 if t > 1 else 1.0,
        "eps": eps,
        "most": sqrt(sqrt(t - 1)),
        "decay": lr * weight_decay if t > 1 else 0.0,
    }


def adopt_decoupled(p, g, m: velocity, v: nonnegative, *, lr, w1, keep, w2, eps, most, decay):
    """ADOPT (Taniguchi et al., 2024, algorithm 2) with decoupled weight decay."""
    scaled = minimum(maximum(g / maximum(sqrt(v), eps), -most), most)
    m = m + w1 * (scaled - m)
    v = keep * v + w2 * g * g
    return lr * m + decay * p, m, v


def ademamix_scalars(t, *, lr=1e-3, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5, warmup=0, eps=1e-8):
    """Over the first `warmup` steps alpha grows evenly, and so does the half-life of the slow average (eq. 4)."""
    part = t / warmup if t < warmup else 1.0
    fast = log(beta1)
    slow = log(beta3)
    now = exp(fast * slow / ((1 - part) * slow + part * fast)) if part < 1 else beta3
    c2 = sqrt(1 - power(beta2, t))
    return {
        "fast": lr * c2 / (1 - power(beta1, t)),
        "slow": lr * c2 * alpha * part,
        "w1": 1 - beta1,
        "keep": beta2,
        "w2": 1 - beta2,
        "w3": 1 - (now if now < beta3 else beta3),
        "eps": eps * c2,
    }


def ademamix(p, g, m: velocity, v: nonnegative, m2: velocity, *, fast, slow, w1, keep, w2, w3, eps):
    """AdEMAMix (Pagliardini et al., 2024, algorithm 1)."""
    m = m + w1 * (g - m)
    m2 = m2 + w3 * (g - m2)
    v = keep * v + w2 * g * g
    return (fast * m + slow * m2) / (sqrt(v) + eps), m, v, m2


def rmsprop_scalars(t, *, lr=1e-2, alpha=0.99, eps=1e-8, eps_inside=0):
    """The weight of the newest squared gradient; eps beside the root, or inside of it."""
    return {
        "lr": lr,
        "keep": alpha,
        "w": 1 - alpha,
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
    }


def rmsprop(p, g, v: nonnegative, *, lr, keep, w, root, eps):
    """RMSprop (Tieleman and Hinton, 2012, lecture 6.5)."""
    v = keep * v + w * g * g
    return lr * g / (sqrt(v + root) + eps), v


rmsprop_centered_scalars = rmsprop_scalars


def rmsprop_centered(p, g, v: nonnegative, mean, *, lr, keep, w, root, eps):
    """RMSprop by the gradient's variance (Graves, 2013, eq. 38-45), which rounding must not turn negative."""
    v = keep * v + w * g * g
    mean = mean + w * (g - mean)
    return lr * g / (sqrt(maximum(v - mean * mean, 0) + root) + eps), v, mean


def rmsprop_momentum_scalars(t, *, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.9, eps_inside=0, lr_in_velocity=0):
    """As `rmsprop_scalars`, with the momentum, which holds the learning rate or does not."""
    return {
        "lr": 1.0 if lr_in_velocity else lr,
        "keep": alpha,
        "w": 1 - alpha,
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
        "roll": momentum,
        "take": lr if lr_in_velocity else 1.0,
    }


def rmsprop_momentum(p, g, v: nonnegative, buf: velocity, *, lr, keep, w, root, eps, roll, take):
    """RMSprop with heavy-ball momentum over the scaled gradient."""
    v = keep * v + w * g * g
    buf = roll * buf + take * g / (sqrt(v + root) + eps)
    return lr * buf, v, buf


rmsprop_centered_momentum_scalars = rmsprop_momentum_scalars


def rmsprop_centered_momentum(p, g, v: nonnegative, mean, buf: velocity, *, lr, keep, w, root, eps, roll, take):
    """RMSprop, centered, with momentum (Graves, 2013, eq. 38-45)."""
    v = keep * v + w * g * g
    mean = mean + w * (g - mean)
    buf = roll * buf + take * g / (sqrt(maximum(v - mean * mean, 0) + root) + eps)
    return lr * buf, v, mean, buf


def adagrad_scalars(t, *, lr=1e-2, lr_decay=0, eps=1e-10, eps_inside=0):
    """The learning rate falls as 1 / (1 + (t - 1) lr_decay)."""
    return {
        "step_size": lr / (1 + (t - 1) * lr_decay),
        "root": eps if eps_inside else 0.0,
        "eps": 0.0 if eps_inside else eps,
    }


def adagrad(p, g, sum: nonnegative, *, step_size, root, eps):
    """AdaGrad (Duchi et al., 2011, section 1.1, diagonal)."""
    sum = sum + g * g
    return step_size * g / (sqrt(sum + root) + eps), sum


def adadelta_scalars(t, *, lr=1, rho=0.9, eps=1e-6):
    """Nothing changes from step to step."""
    return {"lr": lr, "keep": rho, "w": 1 - rho, "eps": eps}


def adadelta(p, g, v: nonnegative, moved: nonnegative, *, lr, keep, w, eps):
    """Adadelta (Zeiler, 2012, algorithm 1)."""
    v = keep * v + w * g * g
    delta = sqrt(moved + eps) / sqrt(v + eps) * g
    moved = keep * moved + w * delta * delta
    return lr * delta, v, moved


def rprop_scalars(t, *, lr=1e-2, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50):
    """The first step's size is the learning rate."""
    return {
        "start": lr if t == 1 else 0.0,
        "down": eta_minus,
        "up": eta_plus,
        "least": step_min,
        "most": step_max,
    }


def rprop(p, g, last, size: nonnegative, *, start, down, up, least, most):
    """Resilient backpropagation, without weight-backtracking (Riedmiller and Braun, 1993; Igel and Huesken, 2000)."""
    agree = sign(g) * last
    factor = where(agree > 0, up, 1) * where(agree < 0, down, 1)
    size = minimum(maximum(factor * maximum(size, start), least), most)
    last = where(agree < 0, 0, g)
    return size * sign(last), last, size


def asgd_scalars(t, eta=0, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6):
    """Each step's learning rate is fixed by the one before; the average begins after step t0."""
    now = lr if t == 1 else eta
    after = lr / exp(alpha * log(1 + lambd * lr * t))
    return {
        "lr": now,
        "decay": lambd * now,
        "share": 1 / (t - 1 - t0) if t - 1 - t0 > 1 else 1.0,
    }, after


def asgd(p, g, average, *, lr, decay, share):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992; Bottou, 2010)."""
    move = decay * p + lr * g
    average = average + share * (p - move - average)
    return move, average


def ftrl_scalars(t, *, lr=1e-2, beta=1, l1=0, l2=0, l2_doubled=0):
    """Nothing changes from step to step."""
    return {"rate": 1 / lr, "beta": beta / lr, "l1": l1, "l2": 2 * l2 if l2_doubled else l2}


def ftrl(p, g, z, n2: nonnegative, *, rate, beta, l1, l2):
    """FTRL-proximal, per coordinate (McMahan et al., 2013, algorithm 1)."""
    before = sqrt(n2)
    n2 = n2 + g * g
    after = sqrt(n2)
    z = z + g - rate * (after - before) * p
    target = where(fabs(z) > l1, (copysign(l1, z) - z) / (rate * after + beta + l2), 0)
    return p - target, z, n2


def schedule_free_sgd_scalars(t, weights=0, highest=0, *, lr=1, momentum=0.9, warmup=0, warmup_from_zero=0):
    """The newest point's share in the average: squares of the largest learning rates so far (eq. 23, with r = 0)."""
    full = lr * t / warmup if t < warmup else lr
    rate = (lr * (t - 1) / warmup if t - 1 < warmup else lr) if warmup_from_zero else full
    top = full if full > highest else highest
    total = weights + top * top
    share = top * top / total if total > 0 else 0.0
    return {"lr": rate, "share": share, "of_g": rate * (1 - momentum * (1 - share))}, total, top


def schedule_free_sgd(p, g, z: start, *, lr, share, of_g):
    """Schedule-free SGD (Defazio et al., 2024, eq. 3-5), at the points where gradients are taken."""
    return share * (p - z) + of_g * g, z - lr * g


def schedule_free_adamw_scalars(
    t,
    weights=0,
    highest=0,
    *,
    lr=2.5e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0,
    warmup=0,
    warmup_from_zero=0,
):
    """As `schedule_free_sgd_scalars`, with the second moment's bias correction; the decay is in the gradient's place."""
    correct = sqrt(1 - power(beta2, t))
    full = lr * t / warmup if t < warmup else lr
    rate = (lr * (t - 1) / warmup if t - 1 < warmup else lr) if warmup_from_zero else full
    top = full if full > highest else highest
    total = weights + top * top
    share = top * top / total if total > 0 else 0.0
    return (
        {
            "lr": rate,
            "share": share,
            "of_d": rate * (1 - beta1 * (1 - share)),
            "correct": correct,
            "keep": beta2,
            "w2": 1 - beta2,
            "eps": eps * correct,
            "decay": weight_decay,
        },
        total,
        top,
    )


def schedule_free_adamw(p, g, v: nonnegative, z: start, *, lr, share, of_d, correct, keep, w2, eps, decay):
    """Schedule-free AdamW (Defazio et al., 2024, as in the authors' package, whose bias correction is not in the learning rate)."""
    v = keep * v + w2 * g * g
    direction = correct * g / (sqrt(v) + eps) + decay * p
    return share * (p - z) + of_d * direction, v, z - lr * direction


def lars_sums(p, g) -> over_array:
    """Both, for their norms."""
    return {"param": square(p), "grad": square(g)}


def lars_scalars(
    t, param, param_exponent, grad, grad_exponent, *, lr=1, momentum=0.9, weight_decay=0, trust_coefficient=1e-3, eps=0
):
    """The array's own learning rate; where a norm is zero, the common one."""
    decayed = param_exponent if weight_decay > 0 else grad_exponent
    most = decayed if decayed > grad_exponent else grad_exponent
    least = 0.0 if eps > 0 else most
    top = most if most > least else least
    length = ldexp(grad, grad_exponent - top) + weight_decay * ldexp(param, decayed - top) + ldexp(eps, -top)
    both = grad * param
    return {
        "lr": lr,
        "keep": momentum,
        "ratio": 1.0 if both == 0 else scale_factor(trust_coefficient * param / length, param_exponent - top),
        "shift": 1.0 if both == 0 else scale_power(trust_coefficient * param / length, param_exponent - top),
        "decay": weight_decay,
    }


def lars(p, g, buf: velocity, *, lr, keep, ratio: wide, shift: wide, decay):
    """LARS (You et al., 2017, algorithm 1)."""
    buf = keep * buf + lr * scale_by(g + decay * p, ratio, shift)
    return buf, buf


def dog_sums(p, g, p0) -> over_group:
    """Squares of the gradient, and for their norms the way from the start and the parameter."""
    return {"grads": g * g, "way": square(p - p0), "param": square(p)}


def dog_scalars(t, grads, way, way_exponent, param, param_exponent, farthest=0, seen=0, *, lr=1, reps_rel=1e-6, eps=1e-8):
    """The farthest way so far over the root of all squared gradients so far."""
    first = reps_rel * (1 + ldexp(param, param_exponent))
    far = farthest if farthest > 0 else first
    far_now = ldexp(way, way_exponent) if ldexp(way, way_exponent) > far else far
    total = (seen if farthest > 0 else eps) + grads
    return {"lr": lr * far_now / sqrt(total), "shift": 1}, far_now, total


def dog(p, g, p0: start, *, lr: wide, shift: wide):
    """DoG, distance over gradients (Ivgi et al., 2023, eq. DoG), for all arrays of a group together."""
    return scale_by(g, lr, shift), p0


def prodigy_sums_scalars(t, d=0, d_max=0, numerator=0, *, lr, beta1, beta2, d0, use_bias_correction):
    """Weights of the newest gradient in the distances' sums."""
    now = d if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    return {"keep3": sqrt(beta2), "push": now / d0 * dlr}


def prodigy_sums(p, g, s, p0, *, keep3, push) -> over_group:
    """The gradient along the way from the start, and the length of the gradients' sum."""
    return {"along": g * (p0 - p), "length": fabs(keep3 * s + push * g)}


def prodigy_scalars(
    t,
    along,
    length,
    d=0,
    d_max=0,
    numerator=0,
    *,
    lr=1,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    d0=1e-6,
    d_coef=1,
    growth_rate=inf,
    use_bias_correction=0,
    weight_decay=0,
):
    """The distance's estimate, which sets the learning rate (algorithm 4)."""
    now = d if d > 0 else d0
    top = d_max if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    total = sqrt(beta2) * numerator + now / d0 * dlr * along
    found = d_coef * total / length if length > 0 else now
    raised = (found if found > now else now) if now == d0 else now
    most = found if found > top else top
    after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    return (
        {
            "lr": dlr if length > 0 else 0.0,
            "keep1": beta1,
            "w1": now * (1 - beta1),
            "keep2": beta2,
            "w2": now * now * (1 - beta2),
            "keep3": sqrt(beta2),
            "push": now / d0 * dlr,
            "eps": after * eps,
            "decay": dlr * weight_decay if length > 0 else 0.0,
        },
        after,
        most,
        total,
    )


def prodigy(p, g, m: velocity, v: nonnegative, s, p0: start, *, lr, keep1, w1, keep2, w2, keep3, push, eps, decay):
    """Prodigy (Mishchenko and Defazio, 2024, algorithm 4), with decoupled weight decay."""
    m = keep1 * m + w1 * g
    v = keep2 * v + w2 * g * g
    s = keep3 * s + push * g
    return lr * m / (sqrt(v) + eps) + decay * p, m, v, s, p0


prodigy_coupled_sums_scalars = prodigy_sums_scalars
prodigy_coupled_sums = prodigy_sums


def prodigy_coupled_scalars(
    t,
    along,
    length,
    d=0,
    d_max=0,
    numerator=0,
    *,
    lr=1,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    d0=1e-6,
    d_coef=1,
    growth_rate=inf,
    use_bias_correction=0,
):
    """As `prodigy_scalars`."""
    now = d if d > 0 else d0
    top = d_max if d > 0 else d0
    dlr = now * lr * (sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) if use_bias_correction else 1.0)
    total = sqrt(beta2) * numerator + now / d0 * dlr * along
    found = d_coef * total / length if length > 0 else now
    raised = (found if found > now else now) if now == d0 else now
    most = found if found > top else top
    after = (most if most < raised * growth_rate else raised * growth_rate) if length > 0 else now
    return (
        {
            "lr": dlr if length > 0 else 0.0,
            "keep1": beta1,
            "w1": now * (1 - beta1),
            "keep2": beta2,
            "w2": now * now * (1 - beta2),
            "keep3": sqrt(beta2),
            "push": now / d0 * dlr,
            "eps": after * eps,
        },
        after,
        most,
        total,
    )


def prodigy_coupled(p, g, m: velocity, v: nonnegative, s, p0: start, *, lr, keep1, w1, keep2, w2, keep3, push, eps):
    """Prodigy (Mishchenko and Defazio, 2024, algorithm 4), whose weight decay is in the gradient."""
    m = keep1 * m + w1 * g
    v = keep2 * v + w2 * g * g
    s = keep3 * s + push * g
    return lr * m / (sqrt(v) + eps), m, v, s, p0


def adafactor_terms_scalars(t, *, beta2_decay, eps1, eps_inside):
    """The newest squares' weight (section 7.2)."""
    return {"w": exp(beta2_decay * log(t)), "least": 0.0 if eps_inside else eps1, "more": eps1 if eps_inside else 0.0}


def adafactor_terms(g, *, w, least, more) -> over_lines:
    """Squares, whose means over rows and over columns are averaged."""
    return {"squares": g * g + more}


def adafactor_sums_scalars(t, *, eps1, eps_inside):
    """What keeps the second moment above zero, where nothing has been added to squares."""
    return {"floor": 0.0 if eps_inside else eps1 * eps1}


def adafactor_sums(p, g, col, ratio, *, floor) -> mean_over_array:
    """Squares of the update before its size is known, and the parameter, for its size."""
    return {"param": square(p), "updates": g * g / maximum(ratio * col, floor)}


def adafactor_scalars(t, param, param_exponent, updates, *, lr=1e-2, beta2_decay=-0.8, eps1=1e-7, eps2=1e-3, d=1, eps_inside=0):
    """The relative step size times the parameter's size, over what the update is too long (algorithm 4)."""
    rate = lr if lr < 1 / sqrt(t) else 1 / sqrt(t)
    size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    length = sqrt(updates) / d
    return {
        "step_size": rate * size / (1.0 if length <= 1 else length),
        "floor": 0.0 if eps_inside else eps1 * eps1,
    }


def adafactor(p, g, row: of_rows, col: of_columns, ratio: of_ratios, *, step_size, floor):
    """Adafactor (Shazeer and Stern, 2018, algorithm 4): the second moment by its rows and columns."""
    return step_size * g / sqrt(maximum(ratio * col, floor)), row, col, ratio


def adafactor_vector_sums_scalars(t, *, beta2_decay, eps1, eps_inside):
    """As the rule's own."""
    w = exp(beta2_decay * log(t))
    return {"keep": 1 - w, "w": w, "more": w * eps1 if eps_inside else 0.0, "floor": 0.0 if eps_inside else eps1 * eps1}


def adafactor_vector_sums(p, g, v, *, keep, w, more, floor) -> mean_over_array:
    """As `adafactor_sums`, with the second moment as it will be."""
    v = keep * v + w * g * g + more
    return {"param": square(p), "updates": g * g / maximum(v, floor)}


def adafactor_vector_scalars(
    t, param, param_exponent, updates, *, lr=1e-2, beta2_decay=-0.8, eps1=1e-7, eps2=1e-3, d=1, eps_inside=0
):
    """As `adafactor_scalars`, and the newest square's weight."""
    rate = lr if lr < 1 / sqrt(t) else 1 / sqrt(t)
    size = eps2 if ldexp(param, param_exponent) <= eps2 else ldexp(param, param_exponent)
    length = sqrt(updates) / d
    w = exp(beta2_decay * log(t))
    return {
        "step_size": rate * size / (1.0 if length <= 1 else length),
        "keep": 1 - w,
        "w": w,
        "more": w * eps1 if eps_inside else 0.0,
        "floor": 0.0 if eps_inside else eps1 * eps1,
    }


def adafactor_vector(p, g, v: nonnegative, *, step_size, keep, w, more, floor):
    """Adafactor where there are no rows and columns (Shazeer and Stern, 2018, algorithm 5)."""
    v = keep * v + w * g * g + more
    return step_size * g / sqrt(maximum(v, floor)), v


muon_matrix = newton_schulz


def muon_terms_scalars(t, *, momentum, nesterov):
    """Weights of the gradient in the average, and of both in what is orthogonalized."""
    return {"w": 1 - momentum, "of_buf": momentum if nesterov else 1.0, "of_g": 1 - momentum if nesterov else 0.0}


def muon_terms(g, buf, *, w, of_buf, of_g) -> over_matrix:
    """The average, or Nesterov's look-ahead."""
    return {"direction": of_buf * (buf + w * (g - buf)) + of_g * g}


def muon_scalars(t, *, lr=1e-3, momentum=0.95, nesterov=1, ns1=3.4445, ns2=-4.775, ns3=2.0315, eps=1e-7, ns_steps=5, match_rms=0):
    """The newest gradient's weight; the other numbers are for the terms and the matrix."""
    return {"lr": lr, "w": 1 - momentum}


def muon(p, g, buf: velocity, o: scratch, *, lr, w):
    """Muon (Jordan et al., 2024): momentum whose matrix has been orthogonalized."""
    return lr * o, buf + w * (g - buf), o
