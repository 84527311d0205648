# cython: cdivision=True
# Generated from losses.py by python fastopt/_codegen: edit that file.
"""Losses of one prediction, each with its slope, in double. All functions are inline."""

cdef extern from "scalar.h" nogil:
    double exp "fo_exp"(double x)
    double log1p "fo_log1p"(double x)
    double fabs "fo_fabs"(double x)
    double sign "fo_sign"(double x)
    double sqrt "fo_sqrt"(double x)
    double maximum "fo_maximum"(double x, double y)
    double minimum "fo_minimum"(double x, double y)
    double copysign "fo_copysign"(double x, double y)
    double where "fo_where"(bint c, double x, double y)

ctypedef void (*loss_t)(double z, double y, const double *h, double *value, double *slope) noexcept nogil


cdef inline double squared_error_of(double z, double y, const double *h) noexcept nogil:
    """Return ``(z - y)**2``: twice scikit-learn's, as in torch and Keras."""
    return (z - y) * (z - y)


cdef inline double squared_error_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `squared_error`."""
    return 2.0 * (z - y)


cdef inline void squared_error_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = squared_error_of(z, y, h)
    slope[0] = squared_error_slope_of(z, y, h)


cdef inline double huber_of(double z, double y, const double *h) noexcept nogil:
    """Return half the square of the error, beyond `delta` a line (Huber, 1964)."""
    cdef double delta = h[0], error
    error = fabs(z - y)
    return where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))


cdef inline double huber_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `huber`."""
    cdef double delta = h[0]
    return minimum(maximum(z - y, -delta), delta)


cdef inline void huber_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = huber_of(z, y, h)
    slope[0] = huber_slope_of(z, y, h)


cdef inline double quantile_of(double z, double y, const double *h) noexcept nogil:
    """Return the pinball loss, whose minimum is the `quantile` of the targets (Koenker and Bassett, 1978)."""
    cdef double quantile = h[0]
    return maximum(quantile * (y - z), (1.0 - quantile) * (z - y))


cdef inline double quantile_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `quantile`; at the target that from below."""
    cdef double quantile = h[0]
    return where(z <= y, -quantile, 1.0 - quantile)


cdef inline void quantile_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = quantile_of(z, y, h)
    slope[0] = quantile_slope_of(z, y, h)


cdef inline double epsilon_insensitive_of(double z, double y, const double *h) noexcept nogil:
    """Return by how much the error exceeds `epsilon` (Vapnik, 1995)."""
    cdef double epsilon = h[0]
    return maximum(fabs(z - y) - epsilon, 0.0)


cdef inline double epsilon_insensitive_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `epsilon_insensitive`."""
    cdef double epsilon = h[0]
    return where(fabs(z - y) > epsilon, sign(z - y), 0.0)


cdef inline void epsilon_insensitive_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = epsilon_insensitive_of(z, y, h)
    slope[0] = epsilon_insensitive_slope_of(z, y, h)


cdef inline double poisson_of(double z, double y, const double *h) noexcept nogil:
    """Return ``exp(z) - y * z``: the deviance of counts of mean ``exp(z)``, but for a constant and a factor of 2."""
    return exp(z) - y * z


cdef inline double poisson_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `poisson`."""
    return exp(z) - y


cdef inline void poisson_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = poisson_of(z, y, h)
    slope[0] = poisson_slope_of(z, y, h)


cdef inline double gamma_of(double z, double y, const double *h) noexcept nogil:
    """Return ``z + y * exp(-z)``: the deviance of positive numbers of mean ``exp(z)``, but for a constant and a factor of 2."""
    return z + y * exp(-z)


cdef inline double gamma_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `gamma`."""
    return 1.0 - y * exp(-z)


cdef inline void gamma_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = gamma_of(z, y, h)
    slope[0] = gamma_slope_of(z, y, h)


cdef inline double log_loss_of(double z, double y, const double *h) noexcept nogil:
    """Return the logistic loss ``log(1 + exp(z)) - y * z`` of a label 0 or 1, or of a probability between."""
    return log1p(exp(-fabs(z))) + maximum(z, 0.0) - y * z


cdef inline double log_loss_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `log_loss`."""
    cdef double tail
    tail = exp(-fabs(z))
    return where(z < 0.0, tail, 1.0) / (1.0 + tail) - y


cdef inline void log_loss_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = log_loss_of(z, y, h)
    slope[0] = log_loss_slope_of(z, y, h)


cdef inline double hinge_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, 1 - y * z)``."""
    return maximum(1.0 - y * z, 0.0)


cdef inline double hinge_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `hinge`."""
    return where(y * z <= 1.0, -y, 0.0)


cdef inline void hinge_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = hinge_of(z, y, h)
    slope[0] = hinge_slope_of(z, y, h)


cdef inline double squared_hinge_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, 1 - y * z)**2``."""
    cdef double gap
    gap = maximum(1.0 - y * z, 0.0)
    return gap * gap


cdef inline double squared_hinge_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `squared_hinge`."""
    return -2.0 * y * maximum(1.0 - y * z, 0.0)


cdef inline void squared_hinge_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = squared_hinge_of(z, y, h)
    slope[0] = squared_hinge_slope_of(z, y, h)


cdef inline double modified_huber_of(double z, double y, const double *h) noexcept nogil:
    """Return `squared_hinge`, below a margin of -1 a line (Zhang, 2004)."""
    cdef double gap
    gap = maximum(1.0 - y * z, 0.0)
    return where(y * z < -1.0, -4.0 * y * z, gap * gap)


cdef inline double modified_huber_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `modified_huber`."""
    return where(y * z < -1.0, -4.0 * y, -2.0 * y * maximum(1.0 - y * z, 0.0))


cdef inline void modified_huber_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = modified_huber_of(z, y, h)
    slope[0] = modified_huber_slope_of(z, y, h)


cdef inline double perceptron_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, -y * z)`` (Rosenblatt, 1958)."""
    return maximum(-y * z, 0.0)


cdef inline double perceptron_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `perceptron`."""
    return where(y * z <= 0.0, -y, 0.0)


cdef inline void perceptron_both(double z, double y, const double *h, double *value, double *slope) noexcept nogil:
    value[0] = perceptron_of(z, y, h)
    slope[0] = perceptron_slope_of(z, y, h)


cdef inline loss_t loss_of(int k) noexcept nogil:
    """Return the loss at a place of the list."""
    if k == 0:
        return squared_error_both
    if k == 1:
        return huber_both
    if k == 2:
        return quantile_both
    if k == 3:
        return epsilon_insensitive_both
    if k == 4:
        return poisson_both
    if k == 5:
        return gamma_both
    if k == 6:
        return log_loss_both
    if k == 7:
        return hinge_both
    if k == 8:
        return squared_hinge_both
    if k == 9:
        return modified_huber_both
    return perceptron_both
