# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# Generated from rules.py and stages.py by python fastopt/codegen: edit those files.
"""Everything that touches elements, compiled once per instruction set."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t

from fastopt.engine.formats cimport span
from fastopt.engine.table cimport INPUTS, VERSION, rule_t, stage_t, table_t

ctypedef fused real:
    float
    double

cdef extern from "scalar.h" nogil:
    const char *FO_ISA
    double power "fo_power"(double x, int64_t n)
    float sqrt "fo_sqrtf"(float x)
    double sqrt "fo_sqrt"(double x)
    float fabs "fo_fabsf"(float x)
    double fabs "fo_fabs"(double x)
    float sign "fo_signf"(float x)
    double sign "fo_sign"(double x)
    float copysign "fo_copysignf"(float x, float y)
    double copysign "fo_copysign"(double x, double y)
    float maximum "fo_maximumf"(float x, float y)
    double maximum "fo_maximum"(double x, double y)
    float minimum "fo_minimumf"(float x, float y)
    double minimum "fo_minimum"(double x, double y)
    float where "fo_wheref"(bint c, float x, float y)
    double where "fo_where"(bint c, double x, double y)


cdef void sgd_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0]
    c[0] = lr


cdef inline void sgd(real *restrict p_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """Stochastic gradient descent (Robbins and Monro, 1951)."""
    cdef Py_ssize_t i
    cdef real p, g
    cdef real lr = <real> c[0]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        p_[i] = p - lr * g

cdef void sgd_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    sgd[float](<float *> a[0], <float *> a[1], n, c)

cdef void sgd_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    sgd[double](<double *> a[0], <double *> a[1], n, c)


cdef void momentum_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1], dampening = h[2]
    c[0] = lr
    c[1] = momentum if t > 1 else 0.0  # keep
    c[2] = 1 - dampening if t > 1 else 1.0  # take


cdef inline void momentum(real *restrict p_, const real *restrict g_, real *restrict buf_, Py_ssize_t n,
                          const double *c) noexcept nogil:
    """Heavy-ball momentum (Polyak, 1964)."""
    cdef Py_ssize_t i
    cdef real p, g, buf
    cdef real lr = <real> c[0], keep = <real> c[1], take = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = keep * buf + take * g
        p_[i] = p - lr * buf
        buf_[i] = buf

cdef void momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void nesterov_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], momentum = h[1], dampening = h[2]
    c[0] = lr
    c[1] = momentum if t > 1 else 0.0  # keep
    c[2] = 1 - dampening if t > 1 else 1.0  # take
    c[3] = momentum  # ahead


cdef inline void nesterov(real *restrict p_, const real *restrict g_, real *restrict buf_, Py_ssize_t n,
                          const double *c) noexcept nogil:
    """Nesterov's momentum in the form of Sutskever et al. (2013)."""
    cdef Py_ssize_t i
    cdef real p, g, buf
    cdef real lr = <real> c[0], keep = <real> c[1], take = <real> c[2], ahead = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        buf = buf_[i]
        buf = keep * buf + take * g
        p_[i] = p - lr * (g + ahead * buf)
        buf_[i] = buf

cdef void nesterov_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nesterov[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void nesterov_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    nesterov[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void adam_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3]
    cdef double c2 = sqrt(1 - power(beta2, t))
    c[0] = lr * c2 / (1 - power(beta1, t))  # step_size
    c[1] = 1 - beta1  # w1
    c[2] = 1 - beta2  # w2
    c[3] = eps * c2  # eps


cdef inline void adam(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_, Py_ssize_t n,
                      const double *c) noexcept nogil:
    """Adam (Kingma and Ba, 2015, algorithm 1)."""
    cdef Py_ssize_t i
    cdef real p, g, m, v
    cdef real step_size = <real> c[0], w1 = <real> c[1], w2 = <real> c[2], eps = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        m = m + w1 * (g - m)
        v = v + (w2 * g * g - w2 * v)
        p_[i] = p - step_size * m / (sqrt(v) + eps)
        m_[i] = m
        v_[i] = v

cdef void adam_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adam[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], n, c)

cdef void adam_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adam[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], n, c)


cdef inline void amsgrad(real *restrict p_, const real *restrict g_, real *restrict m_, real *restrict v_,
                         real *restrict vmax_, Py_ssize_t n, const double *c) noexcept nogil:
    """AMSGrad (Reddi et al., 2018, algorithm 2), with Adam's bias corrections."""
    cdef Py_ssize_t i
    cdef real p, g, m, v, vmax
    cdef real step_size = <real> c[0], w1 = <real> c[1], w2 = <real> c[2], eps = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        m = m_[i]
        v = v_[i]
        vmax = vmax_[i]
        m = m + w1 * (g - m)
        v = v + (w2 * g * g - w2 * v)
        vmax = maximum(vmax, v)
        p_[i] = p - step_size * m / (sqrt(vmax) + eps)
        m_[i] = m
        v_[i] = v
        vmax_[i] = vmax

cdef void amsgrad_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    amsgrad[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], n, c)

cdef void amsgrad_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    amsgrad[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4], n, c)


cdef void rmsprop_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], alpha = h[1], eps = h[2]
    c[0] = lr
    c[1] = 1 - alpha  # w
    c[2] = eps


cdef inline void rmsprop(real *restrict p_, const real *restrict g_, real *restrict v_, Py_ssize_t n,
                         const double *c) noexcept nogil:
    """RMSprop (Tieleman and Hinton, 2012, lecture 6.5)."""
    cdef Py_ssize_t i
    cdef real p, g, v
    cdef real lr = <real> c[0], w = <real> c[1], eps = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        v = v + (w * g * g - w * v)
        p_[i] = p - lr * g / (sqrt(v) + eps)
        v_[i] = v

cdef void rmsprop_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void rmsprop_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef inline void rmsprop_centered(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict mean_,
                                  Py_ssize_t n, const double *c) noexcept nogil:
    """RMSprop by the gradient's variance (Graves, 2013, eq. 38-45), which rounding must not turn negative."""
    cdef Py_ssize_t i
    cdef real p, g, v, mean
    cdef real lr = <real> c[0], w = <real> c[1], eps = <real> c[2]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        mean = mean_[i]
        v = v + (w * g * g - w * v)
        mean = mean + w * (g - mean)
        p_[i] = p - lr * g / (sqrt(maximum(v - mean * mean, <real> 0)) + eps)
        v_[i] = v
        mean_[i] = mean

cdef void rmsprop_centered_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], n, c)

cdef void rmsprop_centered_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], n, c)


cdef void rmsprop_momentum_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], alpha = h[1], eps = h[2], momentum = h[3]
    c[0] = lr
    c[1] = 1 - alpha  # w
    c[2] = eps
    c[3] = momentum  # keep


cdef inline void rmsprop_momentum(real *restrict p_, const real *restrict g_, real *restrict v_, real *restrict buf_,
                                  Py_ssize_t n, const double *c) noexcept nogil:
    """RMSprop with heavy-ball momentum over the scaled gradient."""
    cdef Py_ssize_t i
    cdef real p, g, v, buf
    cdef real lr = <real> c[0], w = <real> c[1], eps = <real> c[2], keep = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        buf = buf_[i]
        v = v + (w * g * g - w * v)
        buf = keep * buf + g / (sqrt(v) + eps)
        p_[i] = p - lr * buf
        v_[i] = v
        buf_[i] = buf

cdef void rmsprop_momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], n, c)

cdef void rmsprop_momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], n, c)


cdef inline void rmsprop_centered_momentum(real *restrict p_, const real *restrict g_, real *restrict v_,
                                           real *restrict mean_, real *restrict buf_, Py_ssize_t n,
                                           const double *c) noexcept nogil:
    """RMSprop, centered, with momentum (Graves, 2013, eq. 38-45)."""
    cdef Py_ssize_t i
    cdef real p, g, v, mean, buf
    cdef real lr = <real> c[0], w = <real> c[1], eps = <real> c[2], keep = <real> c[3]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        v = v_[i]
        mean = mean_[i]
        buf = buf_[i]
        v = v + (w * g * g - w * v)
        mean = mean + w * (g - mean)
        buf = keep * buf + g / (sqrt(maximum(v - mean * mean, <real> 0)) + eps)
        p_[i] = p - lr * buf
        v_[i] = v
        mean_[i] = mean
        buf_[i] = buf

cdef void rmsprop_centered_momentum_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered_momentum[float](<float *> a[0], <float *> a[1], <float *> a[2], <float *> a[3], <float *> a[4], n, c)

cdef void rmsprop_centered_momentum_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    rmsprop_centered_momentum[double](<double *> a[0], <double *> a[1], <double *> a[2], <double *> a[3], <double *> a[4], n, c)


cdef void adagrad_scalars(int64_t t, const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], lr_decay = h[1], eps = h[2]
    c[0] = lr / (1 + (t - 1) * lr_decay)  # step_size
    c[1] = eps


cdef inline void adagrad(real *restrict p_, const real *restrict g_, real *restrict sum_, Py_ssize_t n,
                         const double *c) noexcept nogil:
    """AdaGrad (Duchi et al., 2011, section 1.1, diagonal)."""
    cdef Py_ssize_t i
    cdef real p, g, sum
    cdef real step_size = <real> c[0], eps = <real> c[1]
    for i in range(n):
        p = p_[i]
        g = g_[i]
        sum = sum_[i]
        sum = sum + g * g
        p_[i] = p - step_size * g / (sqrt(sum) + eps)
        sum_[i] = sum

cdef void adagrad_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adagrad[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void adagrad_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    adagrad[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void scale_scalars(const double *h, double *c) noexcept nogil:
    cdef double scale = h[0]
    c[0] = scale


cdef inline void scale(real *restrict out_, const real *restrict g_, Py_ssize_t n, const double *c) noexcept nogil:
    """The gradient times a number (loss scaling; maximization)."""
    cdef Py_ssize_t i
    cdef real g
    cdef real scale = <real> c[0]
    for i in range(n):
        g = g_[i]
        out_[i] = scale * g

cdef void scale_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale[float](<float *> a[0], <float *> a[1], n, c)

cdef void scale_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    scale[double](<double *> a[0], <double *> a[1], n, c)


cdef void l2_scalars(const double *h, double *c) noexcept nogil:
    cdef double weight_decay = h[0]
    c[0] = weight_decay


cdef inline void l2(real *restrict out_, const real *restrict g_, const real *restrict p_, Py_ssize_t n,
                    const double *c) noexcept nogil:
    """Gradient of ``weight_decay / 2 * p ** 2``, added to the gradient."""
    cdef Py_ssize_t i
    cdef real g, p
    cdef real weight_decay = <real> c[0]
    for i in range(n):
        g = g_[i]
        p = p_[i]
        out_[i] = g + weight_decay * p

cdef void l2_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    l2[float](<float *> a[0], <float *> a[1], <float *> a[2], n, c)

cdef void l2_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    l2[double](<double *> a[0], <double *> a[1], <double *> a[2], n, c)


cdef void decoupled_scalars(const double *h, double *c) noexcept nogil:
    cdef double lr = h[0], weight_decay = h[1]
    c[0] = 1 - lr * weight_decay  # keep


cdef inline void decoupled(real *restrict p_, Py_ssize_t n, const double *c) noexcept nogil:
    """Decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""
    cdef Py_ssize_t i
    cdef real p
    cdef real keep = <real> c[0]
    for i in range(n):
        p = p_[i]
        p_[i] = keep * p

cdef void decoupled_f32(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    decoupled[float](<float *> a[0], n, c)

cdef void decoupled_f64(void **a, Py_ssize_t n, const double *c) noexcept nogil:
    decoupled[double](<double *> a[0], n, c)


cdef rule_t[10] RULES
cdef stage_t[3] STAGES
cdef double[3][INPUTS] NEUTRAL
RULES[0] = rule_t(b"sgd", 0, 1, 1, sgd_scalars,
                  sgd_f32, sgd_f64)
RULES[1] = rule_t(b"momentum", 1, 3, 3, momentum_scalars,
                  momentum_f32, momentum_f64)
RULES[2] = rule_t(b"nesterov", 1, 3, 4, nesterov_scalars,
                  nesterov_f32, nesterov_f64)
RULES[3] = rule_t(b"adam", 2, 4, 4, adam_scalars,
                  adam_f32, adam_f64)
RULES[4] = rule_t(b"amsgrad", 3, 4, 4, adam_scalars,
                  amsgrad_f32, amsgrad_f64)
RULES[5] = rule_t(b"rmsprop", 1, 3, 3, rmsprop_scalars,
                  rmsprop_f32, rmsprop_f64)
RULES[6] = rule_t(b"rmsprop_centered", 2, 3, 3, rmsprop_scalars,
                  rmsprop_centered_f32, rmsprop_centered_f64)
RULES[7] = rule_t(b"rmsprop_momentum", 2, 4, 4, rmsprop_momentum_scalars,
                  rmsprop_momentum_f32, rmsprop_momentum_f64)
RULES[8] = rule_t(b"rmsprop_centered_momentum", 3, 4, 4, rmsprop_momentum_scalars,
                  rmsprop_centered_momentum_f32, rmsprop_centered_momentum_f64)
RULES[9] = rule_t(b"adagrad", 1, 3, 2, adagrad_scalars,
                  adagrad_f32, adagrad_f64)
NEUTRAL[0][0] = 1
STAGES[0] = stage_t(b"scale", b"g"[0], 1, 1, &NEUTRAL[0][0], scale_scalars, scale_f32, scale_f64)
NEUTRAL[1][0] = 0
STAGES[1] = stage_t(b"l2", b"g"[0], 1, 1, &NEUTRAL[1][0], l2_scalars, l2_f32, l2_f64)
NEUTRAL[2][0] = 1
STAGES[2] = stage_t(b"decoupled", b"p"[0], 2, 1, &NEUTRAL[2][0], decoupled_scalars, decoupled_f32, decoupled_f64)
cdef table_t TABLE_ = table_t(VERSION, FO_ISA, 10, &RULES[0], 3, &STAGES[0], span)
TABLE = PyCapsule_New(&TABLE_, "fastopt.table", NULL)
