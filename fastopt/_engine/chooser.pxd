"""Choice of the number of threads, learnt from the durations of steps.

What else runs on the processors decides whether threads pay, and it changes: no model knows it in advance.
"""

cdef enum:
    FIRST_TRUST = 32  # Parallel steps, at first, before serial is timed again,
    SELDOM = 10  # and no fewer than take this many times as long as a serial step.
    BRIEF = 200  # Microseconds; so short a step does not repay the waking of a thread,
    FIRST_WAIT = 10000  # so that parallel is first tried after this many.
    AT_ONCE = 200  # Microseconds; a shorter gap counts as no work between steps.
    QUIET = 6000  # Microseconds after which idle workers sleep.
    TURN = 10000  # Microseconds of other processes' turns that parallel may lose before it makes up for them.
    LONGEST = 150000  # Microseconds of serial steps, after which parallel is tried again,
    SHARE = 5  # or this many times what it lost, if that is longer.
    GLANCE = 4000  # Microseconds between looks at other processes, while they hold the processors,
    GLANCES = 250  # after so many of which it is tried nevertheless.

cdef struct measured_t:  # Steps of one size in one situation; durations in seconds.
    double serial  # Of a serial step.
    double parallel_time  # Of a parallel step.
    double serial_since  # Total of serial steps since the last parallel one.
    double first_wait  # Total of serial steps before parallel is first tried, if they are short.
    double wait  # Total of serial steps before parallel is tried again.
    double penalty  # That wait, divided by what parallel lost.
    double lost  # By parallel steps since they were last ahead; a step counts at most `most`.
    double debt  # The same with what other processes took; a step counts at most two turns.
    double patience  # Loss that ends parallel, in serial steps.
    double most  # Loss that one step can count, in serial steps: the rest was another process's turn.
    int streak  # Parallel steps since a serial one was timed.
    int trust  # Longest streak, after which serial is timed again.
    int glances  # At other processes, since parallel was last tried.
    bint wary  # Parallel has lost, and not been ahead since.
    bint trying  # The next serial step only checks whether parallel is still ahead.
    bint parallel

cdef struct chooser_t:
    measured_t[2] measured  # Right after the last step; after the caller did something else.
    double entered  # When the caller asked for this step.
    double left  # When the last step ended.
    measured_t *now  # The estimate that this step updates; NULL: its threads were not a choice.


cdef inline void reset_estimates(chooser_t *chooser) noexcept nogil:
    """Reset to the state before the first step.

    Right after a step, sleeping threads need some milliseconds to get up to speed, and then pay. After other work of the caller,
    the threads of a matrix product may still hold the processors: a loss is large there, and likely to be met again.
    """
    chooser.measured[0] = measured_t(0, 0, 0, 1e-6 * FIRST_WAIT, 0, 20, 0, 0, 8, 2, 0, FIRST_TRUST, 0, False, False, False)
    chooser.measured[1] = measured_t(0, 0, 0, 1e-6 * FIRST_WAIT, 0.08, 20, 0, 0, 1, 1e9, 0, FIRST_TRUST, 0, False, False, False)
    chooser.entered = chooser.left = 0
    chooser.now = NULL


cdef inline void expect_threads(chooser_t *chooser) noexcept nogil:
    """Expect that the caller uses the same threads between steps, so that they are awake and hold no processor then."""
    chooser.measured[0].first_wait = 0
    chooser.measured[1] = chooser.measured[0]


cdef inline void update_estimate(measured_t *m, double seconds) noexcept nogil:
    """Update from a step: stay parallel while it is ahead or loses little; else wait in proportion to the loss."""
    if not m.parallel:
        m.serial_since += seconds
        if m.serial == 0:
            m.serial = seconds
            if seconds < 1e-6 * BRIEF:
                m.wait = max(m.wait, m.first_wait)
        # A spinning worker slows serial steps down: steps that follow at once can only show that serial is faster.
        else:
            m.serial = min(seconds, 0.75 * m.serial + 0.25 * seconds if m.serial_since > 0.8e-6 * QUIET else m.serial)
        m.wait -= seconds
        # Spinning may be all that parallel is ahead by.
        if m.trying and m.serial < 1.4 * m.parallel_time:
            m.wait = 1e-6 * QUIET
        m.trying = False
        m.parallel = m.wait <= 0
        return
    m.serial_since = 0
    m.glances = 0
    m.parallel_time = seconds if m.parallel_time == 0 else min(seconds, 0.75 * m.parallel_time + 0.25 * seconds)
    m.debt = max(0.0, m.debt + min(seconds - m.serial, 2e-6 * TURN))
    m.lost = max(0.0, m.lost + min(seconds - m.serial, m.most * m.serial))
    # A try costs a few steps or a turn, and the next follows soon enough to find a processor that is free again.
    if m.lost > m.patience * m.serial or m.debt > 3 * m.serial + 1e-6 * TURN:
        m.parallel, m.wary = False, True
        m.lost = max(m.lost, m.debt)
        m.wait = min(m.penalty * m.lost, max(1e-6 * LONGEST, SHARE * m.lost))
        m.penalty = min(2 * m.penalty, 640.0)
        m.lost = m.debt = 0
        m.streak, m.trust = 0, FIRST_TRUST
        return
    if m.lost == 0:
        m.penalty, m.wary = 20, False
    m.streak += 1
    if m.streak >= m.trust and m.streak * m.parallel_time > SELDOM * m.serial:
        # For one step, or for as many as a worker needs to stop spinning.
        m.parallel, m.trying = False, True
        m.streak, m.trust = 0, min(2 * m.trust, 8192)


cdef inline bint is_retry(const measured_t *m) noexcept nogil:
    """Return True if this step is to be parallel again after a loss, and may be put off.

    Others may be busy beside processors that this process has to itself: without a loss, they do not matter.
    """
    return m.parallel and m.streak == 0 and m.wary and m.glances < GLANCES


cdef inline void postpone(measured_t *m) noexcept nogil:
    """Put off a parallel step that would meet other processes on its processors."""
    m.parallel = False
    m.wait = 1e-6 * GLANCE
    m.glances += 1
