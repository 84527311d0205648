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

cdef struct measured_t:
    double value
    double slope

ctypedef measured_t (*loss_t)(double z, double y, const double *h) noexcept nogil


cdef inline double squared_error_of(double z, double y, const double *h) noexcept nogil:
    """Return ``(z - y)**2``: twice scikit-learn's, as in torch and Keras."""
    return (z - y) * (z - y)


cdef inline double squared_error_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `squared_error`."""
    return 2.0 * (z - y)


cdef inline measured_t squared_error_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = squared_error_of(z, y, h), squared_error_slope_of(z, y, h)
    return found


cdef inline double huber_of(double z, double y, const double *h) noexcept nogil:
    """Return half the square of the error, beyond `delta` a line (Huber, 1964)."""
    cdef double delta = h[0], error
    error = fabs(z - y)
    return where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))


cdef inline double huber_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `huber`."""
    cdef double delta = h[0]
    return minimum(maximum(z - y, -delta), delta)


cdef inline measured_t huber_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = huber_of(z, y, h), huber_slope_of(z, y, h)
    return found


cdef inline double quantile_of(double z, double y, const double *h) noexcept nogil:
    """Return the pinball loss, whose minimum is the `quantile` of the targets (Koenker and Bassett, 1978)."""
    cdef double quantile = h[0]
    return maximum(quantile * (y - z), (1.0 - quantile) * (z - y))


cdef inline double quantile_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `quantile`; at the target that from below."""
    cdef double quantile = h[0]
    return where(z <= y, -quantile, 1.0 - quantile)


cdef inline measured_t quantile_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = quantile_of(z, y, h), quantile_slope_of(z, y, h)
    return found


cdef inline double epsilon_insensitive_of(double z, double y, const double *h) noexcept nogil:
    """Return by how much the error exceeds `epsilon` (Vapnik, 1995)."""
    cdef double epsilon = h[0]
    return maximum(fabs(z - y) - epsilon, 0.0)


cdef inline double epsilon_insensitive_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `epsilon_insensitive`."""
    cdef double epsilon = h[0]
    return where(fabs(z - y) > epsilon, sign(z - y), 0.0)


cdef inline measured_t epsilon_insensitive_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = epsilon_insensitive_of(z, y, h), epsilon_insensitive_slope_of(z, y, h)
    return found


cdef inline double poisson_of(double z, double y, const double *h) noexcept nogil:
    """Return ``exp(z) - y * z``: the deviance of counts of mean ``exp(z)``, but for a constant and a factor of 2."""
    return exp(z) - y * z


cdef inline double poisson_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `poisson`."""
    return exp(z) - y


cdef inline measured_t poisson_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = poisson_of(z, y, h), poisson_slope_of(z, y, h)
    return found


cdef inline double gamma_of(double z, double y, const double *h) noexcept nogil:
    """Return ``z + y * exp(-z)``: the deviance of positive numbers of mean ``exp(z)``, but for a constant and a factor of 2."""
    return z + y * exp(-z)


cdef inline double gamma_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `gamma`."""
    return 1.0 - y * exp(-z)


cdef inline measured_t gamma_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = gamma_of(z, y, h), gamma_slope_of(z, y, h)
    return found


cdef inline double log_loss_of(double z, double y, const double *h) noexcept nogil:
    """Return the logistic loss ``log(1 + exp(z)) - y * z`` of a label 0 or 1, or of a probability between."""
    return log1p(exp(-fabs(z))) + maximum(z, 0.0) - y * z


cdef inline double log_loss_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `log_loss`."""
    cdef double tail
    tail = exp(-fabs(z))
    return where(z < 0.0, tail, 1.0) / (1.0 + tail) - y


cdef inline measured_t log_loss_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = log_loss_of(z, y, h), log_loss_slope_of(z, y, h)
    return found


cdef inline double hinge_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, 1 - y * z)``."""
    return maximum(1.0 - y * z, 0.0)


cdef inline double hinge_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `hinge`."""
    return where(y * z <= 1.0, -y, 0.0)


cdef inline measured_t hinge_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = hinge_of(z, y, h), hinge_slope_of(z, y, h)
    return found


cdef inline double squared_hinge_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, 1 - y * z)**2``."""
    cdef double gap
    gap = maximum(1.0 - y * z, 0.0)
    return gap * gap


cdef inline double squared_hinge_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `squared_hinge`."""
    return -2.0 * y * maximum(1.0 - y * z, 0.0)


cdef inline measured_t squared_hinge_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = squared_hinge_of(z, y, h), squared_hinge_slope_of(z, y, h)
    return found


cdef inline double modified_huber_of(double z, double y, const double *h) noexcept nogil:
    """Return `squared_hinge`, below a margin of -1 a line (Zhang, 2004)."""
    cdef double gap
    gap = maximum(1.0 - y * z, 0.0)
    return where(y * z < -1.0, -4.0 * y * z, gap * gap)


cdef inline double modified_huber_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `modified_huber`."""
    return where(y * z < -1.0, -4.0 * y, -2.0 * y * maximum(1.0 - y * z, 0.0))


cdef inline measured_t modified_huber_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = modified_huber_of(z, y, h), modified_huber_slope_of(z, y, h)
    return found


cdef inline double perceptron_of(double z, double y, const double *h) noexcept nogil:
    """Return ``max(0, -y * z)`` (Rosenblatt, 1958)."""
    return maximum(-y * z, 0.0)


cdef inline double perceptron_slope_of(double z, double y, const double *h) noexcept nogil:
    """Return the slope of `perceptron`."""
    return where(y * z <= 0.0, -y, 0.0)


cdef inline measured_t perceptron_both(double z, double y, const double *h) noexcept nogil:
    cdef measured_t found
    found.value, found.slope = perceptron_of(z, y, h), perceptron_slope_of(z, y, h)
    return found


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
