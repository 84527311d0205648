"""How many threads pay: learnt by the clock, since what else holds the processors decides it."""

cdef enum:
    FIRST_TRUST = 32
    AT_ONCE = 200  # microseconds from one step to the next in which an adapter may look at a thousand gradients
    QUIET = 6000  # microseconds after which workers that have nothing to do sleep

cdef struct measured_t:  # steps of one size in one situation, in seconds
    double serial
    double ahead  # what parallel steps take
    double quiet  # of serial steps since the last parallel one
    double wait  # of serial steps before parallel is tried again
    double penalty  # that wait, over what parallel lost
    double lost  # by parallel steps since they last were ahead
    double patience  # serial steps' worth of loss
    double most  # serial steps' worth that one step may lose: the rest was somebody else's turn on the processor
    int streak  # parallel steps since a serial one was timed
    int trust  # the longest streak, after which what serial takes is looked at again
    bint trying  # a serial step, to see whether parallel is still ahead
    bint parallel

cdef struct chooser_t:
    measured_t[2] measured  # right after the last step; after the caller did something else
    double entered  # when the caller asked for this step
    double left  # when the last step ended
    measured_t *now  # what this step is to teach; NULL: its threads were no choice


cdef inline void learn_nothing(chooser_t *chooser) noexcept nogil:
    """As it is before the first step.

    Right after a step, threads that slept need some milliseconds to get up to speed, and then pay. After something else of the
    caller's, a matrix product's threads may still hold the processors: a loss is great there, and likely to be met again.
    """
    chooser.measured[0] = measured_t(0, 0, 0, 0, 20, 0, 8, 2, 0, FIRST_TRUST, False, False)
    chooser.measured[1] = measured_t(0, 0, 0, 0.08, 20, 0, 1, 1e9, 0, FIRST_TRUST, False, False)
    chooser.entered = chooser.left = 0
    chooser.now = NULL


cdef inline void expect_threads(chooser_t *chooser) noexcept nogil:
    """Learn that what the caller does between steps uses the same threads, so that they hold no processor then."""
    chooser.measured[1] = chooser.measured[0]


cdef inline void measure(measured_t *m, double seconds) noexcept nogil:
    """Learn from a step: parallel while it is ahead of serial or its losses are small; then wait in proportion to them."""
    if not m.parallel:
        m.quiet += seconds
        if m.serial == 0:
            m.serial = seconds
        else:  # a worker that still spins slows serial steps down: those that come at once can only show that serial is faster
            m.serial = min(seconds, 0.75 * m.serial + 0.25 * seconds if m.quiet > 0.8e-6 * QUIET else m.serial)
        m.wait -= seconds
        if m.trying and m.serial < 1.4 * m.ahead:  # spinning may be all that parallel is ahead by
            m.wait = 1e-6 * QUIET
        m.trying = False
        m.parallel = m.wait <= 0
        return
    m.quiet = 0
    m.ahead = seconds if m.ahead == 0 else min(seconds, 0.75 * m.ahead + 0.25 * seconds)
    m.lost = max(0.0, m.lost + min(seconds - m.serial, m.most * m.serial))
    if m.lost == 0:
        m.penalty = 20
    elif m.lost > m.patience * m.serial:
        m.parallel = False
        m.wait = m.penalty * m.lost
        m.penalty = min(2 * m.penalty, 640.0)
        m.lost = 0
        m.streak, m.trust = 0, FIRST_TRUST
        return
    m.streak += 1
    if m.streak == m.trust:
        m.parallel, m.trying = False, True  # for one step, or for so many that a worker has stopped spinning
        m.streak, m.trust = 0, min(2 * m.trust, 8192)
