# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Passes over all arrays: choice of the thread count, and the loop over blocks.

Blocks have a fixed size and threads take contiguous ranges of them, so results do not depend on the number of threads.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange

from fastopt._engine.chooser cimport (
    AT_ONCE, QUIET, chooser_t, is_retry, measured_t, postpone, reset_estimates, update_estimate,
)
from fastopt._engine.table cimport BLOCK, LINES, MATRIX, TERMS, table_t, task_t

from fastopt._engine import threads as system

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    const bint FO_OPENMP
    int omp_get_max_threads()
    double fo_now()
    int fo_forked
    bint fo_is_busy(int parts, int own)
    void fo_watch_forks()

# What the compiler and the processor can do: 2 is x86-64-v4, 1 is x86-64-v3, 0 the baseline.
cdef extern from * nogil:
    """
    #if defined(__GNUC__) && defined(__x86_64__)
    static int fo_level(void)
    {
        __builtin_cpu_init();
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
              && __builtin_cpu_supports("bmi2")))
            return 0;
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")
               && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
    }
    #else
    static int fo_level(void) { return 0; }
    #endif

    #if defined(__VERSION__)
    #define FO_COMPILER __VERSION__
    #else
    #define FO_COMPILER "unknown"
    #endif
    """
    const char *FO_COMPILER
    int fo_level()

cdef enum:
    TINY = 2048  # Elements: below this, a step is shorter than releasing and taking the GIL.

cdef int LIMIT = system.limit()
cdef double worked = 0  # When the last pass on several threads ended,
cdef int workers = 0  # and how many others than the caller's it had.
fo_watch_forks()


def openmp():
    """Return True if the build found OpenMP."""
    return bool(FO_OPENMP)


def compiler():
    """Return the version string of the compiler that built the engine."""
    return (<bytes> FO_COMPILER).decode()


def processor():
    """Return the instruction sets of this processor, best first."""
    return ["x86-64-v4", "x86-64-v3", "baseline"][2 - fo_level():]


def threads():
    """Return the number of threads that a step may use, called from this Python thread."""
    return available()


def busy(int parts):
    """Return True if other processes hold processors that this many threads would need; False if the system does not say."""
    return bool(is_busy(parts))


def isa(table):
    """Return the instruction set that a table's module was compiled for."""
    return (<const table_t *> PyCapsule_GetPointer(table, "fastopt.table")).isa.decode()


def simulate(serial, parallel, int steps, bint other):
    """Replay the choice of threads on given durations: which steps run in parallel, and the total time.

    Parameters
    ----------
    serial, parallel : functions
        Seconds of step 0, 1, ... on one thread and on several.
    steps : int
    other : bool
        The caller does something else between steps.

    Returns
    -------
    parallel : list of bool
        One entry per step.
    total : float
        Seconds.
    """
    cdef chooser_t chooser
    cdef measured_t *m = &chooser.measured[other]
    cdef double seconds, total = 0
    cdef int k
    chosen = []
    reset_estimates(&chooser)
    for k in range(steps):
        chosen.append(bool(m.parallel))
        seconds = parallel(k) if m.parallel else serial(k)
        update_estimate(m, seconds)
        total += seconds
    return chosen, total


cdef int available() noexcept nogil:
    """Return OpenMP's limit, which threadpoolctl sets per calling thread, capped by the system's."""
    cdef int n = omp_get_max_threads()
    return n if LIMIT == 0 or n < LIMIT else LIMIT


cdef int choose_parallel(const plan_t *plan) noexcept:
    """Return the number of threads for arrays that are large enough for several."""
    cdef Py_ssize_t parts
    cdef chooser_t *chooser = plan.chooser
    # OpenMP's threads do not survive a fork.
    if fo_forked:
        return 1
    parts = min(<Py_ssize_t> (plan.most if plan.most > 0 else available()), max(2, plan.elements // GRAIN))
    if parts > 1 and plan.most == 0:
        # A caller that computes between steps leaves cold caches and spinning threads: both cases are measured apart.
        chooser.now = &chooser.measured[chooser.entered - chooser.left > 1e-6 * AT_ONCE]
        if is_retry(chooser.now) and is_busy(<int> parts):
            postpone(chooser.now)
        if not chooser.now.parallel:
            return 1
    return <int> parts


cdef bint is_busy(int parts) noexcept:
    """Return True if other processes hold the processors; workers of this one may still spin after their last pass."""
    return fo_is_busy(parts, workers if fo_now() - worked < 1e-6 * QUIET else 0)


cdef void record_time(const plan_t *plan) noexcept:
    """Record the duration of a step whose thread count was chosen automatically."""
    plan.chooser.left = fo_now()
    update_estimate(plan.chooser.now, plan.chooser.left - plan.chooser.entered)


cdef void run_pass(const plan_t *plan, const pass_t *what, int parts) noexcept:
    """Run a pass over all blocks with this many threads."""
    global worked, workers
    cdef int part
    cdef fo_env env
    if what.blocks * BLOCK < TINY:
        run_blocks(plan, what, 0, what.blocks)
        return
    with nogil:
        if parts == 1:
            run_blocks(plan, what, 0, what.blocks)
        else:
            # A static schedule gives each thread the same blocks in every step, hence warm caches.
            for part in prange(parts, num_threads=parts, schedule="static"):
                env = fo_enter(plan.flush and what.kind == PASS_STEP)
                run_blocks(plan, what, what.blocks * part // parts, what.blocks * (part + 1) // parts)
                fo_leave(env)
    if parts > 1:
        worked, workers = fo_now(), parts - 1


cdef void run_blocks(const plan_t *plan, const pass_t *what, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Run a pass over blocks `lo` to `hi` of its index space."""
    cdef Py_ssize_t i = 0, end = plan.n, middle, first
    cdef const task_t *task
    if what.kind == PASS_FACTORS:
        for i in range(plan.n):
            task = &plan.tasks[i]
            if has_terms(task, LINES):
                first = task.factors.first
                end = first + task.factors.chunks * task.factors.matrices
                plan.table.write_factors(task, max(lo, first) - first, min(hi, end) - first, TERMS)
        return
    if what.kind == PASS_SUMS:
        plan.table.reduce_blocks(plan.tasks, plan.n, what.starts, what.id, what.formula, lo, hi, what.partials)
        return
    # Bisect for the parameter that holds block `lo`.
    while end - i > 1:
        middle = (i + end) // 2
        if plan.tasks[middle].first <= lo:
            i = middle
        else:
            end = middle
    while i < plan.n and plan.tasks[i].first < hi:
        task = &plan.tasks[i]
        first, end = max(<Py_ssize_t> 0, lo - task.first) * BLOCK, min(task.work, (hi - task.first) * BLOCK)
        if what.kind == PASS_TERMS:
            if has_terms(task, MATRIX):
                plan.table.write_terms(task, first, end, TERMS)
        elif task.active and task.work:
            plan.table.span(task, first, end)
        i += 1
