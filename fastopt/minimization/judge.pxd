# cython: language_level=3
"""The judge: what is asked after every evaluation of an objective, by loops in Python and compiled ones alike."""

from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastopt._engine.stepper cimport Stepper

cdef enum reason_t:  # Why a minimisation ends, in the order of `criteria.REASONS`.
    GO_ON
    NONFINITE
    GRADIENT
    TARGET
    STALLED
    STILL
    ITERATIONS
    EVALUATIONS
    NO_PROGRESS

cdef struct criteria_t:  # NaN switches a tolerance off; laid out as `criteria.CRITERIA`.
    double gtol, ftol, xtol, target
    double maxiter, maxfun
    double share  # 1 / patience.
    int64_t patience

cdef struct progress_t:  # Of one run; laid out as `criteria.PROGRESS`.
    double fun, best, first  # The last value, the lowest, and the first one.
    double norm  # Largest element of the last projected gradient.
    double total, before  # Mean of the values of this window so far, and of the window before; NaN without one.
    int64_t counted  # Values in this window.
    int64_t still  # Steps in a row that moved by at most `xtol`.
    int64_t judged  # Steps before the point that was judged last; -1: none.
    int64_t reason


cdef inline floating projected(floating x, floating g, floating low, floating high) noexcept nogil:
    """Return what a step along the gradient moves an element by, at most, between its bounds."""
    cdef floating moved = x - high if g < x - high else g
    return x - low if moved > x - low else moved


cdef inline bint measure(progress_t *progress, Py_ssize_t n, const floating *x, const floating *g, const floating *low,
                         const floating *high) noexcept nogil:
    """Set the norm of the projected gradient; return False if the gradient is not finite."""
    cdef Py_ssize_t i
    cdef floating size, largest = 0, sum = 0
    for i in range(n):
        size = g[i] if low == NULL else projected(x[i], g[i], low[i], high[i])
        size = -size if size < 0 else size
        largest = size if size > largest else largest
        sum = sum + (g[i] - g[i])
    progress.norm = largest
    return sum == 0


cdef inline bint has_moved(Py_ssize_t n, const floating *x, floating *previous, double tolerance) noexcept nogil:
    """Return True if an element has moved by more than a tolerance; keep the point as the previous one."""
    cdef Py_ssize_t i
    cdef bint moved = False
    for i in range(n):
        moved = moved or not -tolerance <= <double> x[i] - <double> previous[i] <= tolerance
        previous[i] = x[i]
    return moved


cdef inline bint has_stalled(const criteria_t *criteria, progress_t *progress) noexcept nogil:
    """Return True if the mean of a window of values that just ended is not below the mean of the one before."""
    cdef double mean, size
    cdef bint stalled
    progress.total += progress.fun * criteria.share
    progress.counted += 1
    if progress.counted < criteria.patience:
        return False
    mean = progress.total
    size = -mean if mean < 0 else mean
    stalled = mean >= progress.before - criteria.ftol * (size if size > 1 else 1)
    progress.before, progress.total, progress.counted = mean, 0, 0
    return stalled


cdef inline bint has_fallen(const criteria_t *criteria, const progress_t *progress) noexcept nogil:
    """Return True if some value is below the first one by the tolerance."""
    cdef double size = -progress.first if progress.first < 0 else progress.first
    return progress.best < progress.first - criteria.ftol * (size if size > 1 else 1)


cdef inline reason_t verdict(const criteria_t *criteria, progress_t *progress, Py_ssize_t n, const floating *x, const floating *g,
                             const floating *low, const floating *high, floating *previous, double fun, int64_t nit,
                             double nfev) noexcept nogil:
    """Return why the run ends at this point, if it does.

    `low` and `high`, and `previous`, the point that was judged before, may be NULL. The caller keeps the point as the best one if
    `progress.best` has become less.
    """
    cdef bint stalled
    if progress.judged < 0:
        progress.first = fun
    progress.fun, progress.judged = fun, nit
    if not measure(progress, n, x, g, low, high) or fun - fun != 0:
        return NONFINITE
    if fun < progress.best:
        progress.best = fun
    if previous != NULL:
        progress.still = 0 if has_moved(n, x, previous, criteria.xtol) or nit == 0 else progress.still + 1
    stalled = has_stalled(criteria, progress)
    if progress.norm <= criteria.gtol:
        return GRADIENT
    if fun <= criteria.target:
        return TARGET
    if stalled:
        return STALLED if has_fallen(criteria, progress) else NO_PROGRESS
    if previous != NULL and progress.still >= criteria.patience:
        return STILL
    if nit >= criteria.maxiter:
        return ITERATIONS
    return EVALUATIONS if nfev >= criteria.maxfun else GO_ON


cdef class Judge:
    cdef readonly Stepper optimizer
    cdef readonly object x, jac, gradient, best_x, best_jac, previous, progress
    cdef object criteria, box
    cdef const criteria_t *limits
    cdef progress_t *now
    # Memory of the arrays; NULL for those that are not used.
    cdef char *at_x
    cdef char *at_gradient
    cdef char *at_jac
    cdef char *at_best_x
    cdef char *at_best_jac
    cdef char *at_previous
    cdef const char *lower
    cdef const char *upper
    cdef Py_ssize_t n
    cdef int kind
    cdef bint is_scaled

    cdef bint fits(self, object jac) noexcept


cdef inline void look(Judge judge, const floating *x, double value, int64_t nit, double nfev) noexcept nogil:
    """Judge the point, whose gradient has been written, and keep it if it is the best."""
    cdef double best = judge.now.best
    cdef Py_ssize_t size = judge.n * sizeof(floating)
    judge.now.reason = verdict(judge.limits, judge.now, judge.n, x, <const floating *> judge.at_gradient,
                               <const floating *> judge.lower, <const floating *> judge.upper, <floating *> judge.at_previous,
                               value, nit, nfev)
    if judge.now.best < best:
        memcpy(judge.at_best_x, x, size)
        memcpy(judge.at_best_jac, judge.at_jac, size)
