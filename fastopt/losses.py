"""Losses of one prediction ``z`` for one target ``y``, and their slopes by ``z``.

Each is a pair of pure functions, which the code generator renders for compiled epochs; in Python they take numbers or arrays of
doubles, with the same bits. Constants are keyword arguments. Labels of the losses of margins are -1 and 1, of `log_loss` 0 and 1.
"""

from .arithmetic import exp, fabs, log1p, maximum, minimum, sign, where


def squared_error(z, y):
    """Return ``(z - y)**2``: twice scikit-learn's, as in torch and Keras."""
    return (z - y) * (z - y)


def squared_error_slope(z, y):
    """Return the slope of `squared_error`."""
    return 2 * (z - y)


def huber(z, y, *, delta=1.0):
    """Return half the square of the error, beyond `delta` a line (Huber, 1964)."""
    error = fabs(z - y)
    return where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))


def huber_slope(z, y, *, delta=1.0):
    """Return the slope of `huber`."""
    return minimum(maximum(z - y, -delta), delta)


def quantile(z, y, *, quantile=0.5):
    """Return the pinball loss, whose minimum is the `quantile` of the targets (Koenker and Bassett, 1978)."""
    return maximum(quantile * (y - z), (1 - quantile) * (z - y))


def quantile_slope(z, y, *, quantile=0.5):
    """Return the slope of `quantile`; at the target that from below."""
    return where(z <= y, -quantile, 1 - quantile)


def epsilon_insensitive(z, y, *, epsilon=0.1):
    """Return by how much the error exceeds `epsilon` (Vapnik, 1995)."""
    return maximum(fabs(z - y) - epsilon, 0)


def epsilon_insensitive_slope(z, y, *, epsilon=0.1):
    """Return the slope of `epsilon_insensitive`."""
    return where(fabs(z - y) > epsilon, sign(z - y), 0)


def poisson(z, y):
    """Return ``exp(z) - y * z``: the deviance of counts of mean ``exp(z)``, but for a constant and a factor of 2."""
    return exp(z) - y * z


def poisson_slope(z, y):
    """Return the slope of `poisson`."""
    return exp(z) - y


def gamma(z, y):
    """Return ``z + y * exp(-z)``: the deviance of positive numbers of mean ``exp(z)``, but for a constant and a factor of 2."""
    return z + y * exp(-z)


def gamma_slope(z, y):
    """Return the slope of `gamma`."""
    return 1 - y * exp(-z)


def log_loss(z, y):
    """Return the logistic loss ``log(1 + exp(z)) - y * z`` of a label 0 or 1, or of a probability between."""
    return log1p(exp(-fabs(z))) + maximum(z, 0) - y * z


def log_loss_slope(z, y):
    """Return the slope of `log_loss`."""
    tail = exp(-fabs(z))
    return where(z < 0, tail, 1) / (1 + tail) - y


def hinge(z, y):
    """Return ``max(0, 1 - y * z)``."""
    return maximum(1 - y * z, 0)


def hinge_slope(z, y):
    """Return the slope of `hinge`."""
    return where(y * z <= 1, -y, 0)


def squared_hinge(z, y):
    """Return ``max(0, 1 - y * z)**2``."""
    gap = maximum(1 - y * z, 0)
    return gap * gap


def squared_hinge_slope(z, y):
    """Return the slope of `squared_hinge`."""
    return -2 * y * maximum(1 - y * z, 0)


def modified_huber(z, y):
    """Return `squared_hinge`, below a margin of -1 a line (Zhang, 2004)."""
    gap = maximum(1 - y * z, 0)
    return where(y * z < -1, -4 * y * z, gap * gap)


def modified_huber_slope(z, y):
    """Return the slope of `modified_huber`."""
    return where(y * z < -1, -4 * y, -2 * y * maximum(1 - y * z, 0))


def perceptron(z, y):
    """Return ``max(0, -y * z)`` (Rosenblatt, 1958)."""
    return maximum(-y * z, 0)


def perceptron_slope(z, y):
    """Return the slope of `perceptron`."""
    return where(y * z <= 0, -y, 0)


__all__ = [name for name in globals() if f"{name.removesuffix('_slope')}_slope" in globals()]
