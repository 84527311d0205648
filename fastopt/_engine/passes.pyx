# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Passes over all arrays: the choice of threads, and the walk of each."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange

from fastopt._engine.chooser cimport AT_ONCE, chooser_t, learn_nothing, measure, measured_t
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
    void fo_watch_forks()

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
    TINY = 2048  # elements whose step takes no longer than giving the GIL away and back

cdef int LIMIT = system.limit()
fo_watch_forks()


def openmp():
    """Whether the build found OpenMP."""
    return bool(FO_OPENMP)


def compiler():
    """Version of the compiler that built the engine, in its own words."""
    return (<bytes> FO_COMPILER).decode()


def processor():
    """Instruction sets that this processor has, the best first."""
    return ["x86-64-v4", "x86-64-v3", "baseline"][2 - fo_level():]


def threads():
    """Threads that a step may use now, in this thread of Python."""
    return available()


def isa(table):
    """What the compiler was told to compile a table's module for."""
    return (<const table_t *> PyCapsule_GetPointer(table, "fastopt.table")).isa.decode()


def simulate(serial, parallel, int steps, bint other):
    """Which steps would be parallel, and what all would take.

    Parameters
    ----------
    serial, parallel : functions
        Seconds of step 0, 1, ... by one thread and by several.
    steps : int
    other : bool
        Whether the caller does something else between steps.

    Returns
    -------
    list of bool, float
    """
    cdef chooser_t chooser
    cdef measured_t *m = &chooser.measured[other]
    cdef double seconds, total = 0
    cdef int k
    chosen = []
    learn_nothing(&chooser)
    for k in range(steps):
        chosen.append(bool(m.parallel))
        seconds = parallel(k) if m.parallel else serial(k)
        measure(m, seconds)
        total += seconds
    return chosen, total


cdef int available() noexcept nogil:
    """OpenMP's limit, which threadpoolctl sets for the calling thread, under the system's own."""
    cdef int n = omp_get_max_threads()
    return n if LIMIT == 0 or n < LIMIT else LIMIT


cdef int choose_among(const plan_t *plan) noexcept:
    """By how many threads to work on arrays that are large enough for several."""
    cdef Py_ssize_t parts
    cdef chooser_t *chooser = plan.chooser
    if fo_forked:
        return 1
    parts = min(<Py_ssize_t> (plan.most if plan.most > 0 else available()), plan.elements // GRAIN)
    if parts > 1 and plan.most == 0:
        chooser.now = &chooser.measured[chooser.entered - chooser.left > 1e-6 * AT_ONCE]
        if not chooser.now.parallel:
            return 1
    return <int> parts


cdef void stop_timer(const plan_t *plan) noexcept:
    """Record what a step took whose number of threads was a choice."""
    plan.chooser.left = fo_now()
    measure(plan.chooser.now, plan.chooser.left - plan.chooser.entered)


cdef void go(const plan_t *plan, const pass_t *what, int parts) noexcept:
    """Walk all arrays by so many threads."""
    cdef int part
    cdef fo_env env
    if what.blocks * BLOCK < TINY:
        walk(plan, what, 0, what.blocks)
        return
    with nogil:
        if parts == 1:
            walk(plan, what, 0, what.blocks)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                env = fo_enter(plan.flush and what.kind == STEPPING)
                walk(plan, what, what.blocks * part // parts, what.blocks * (part + 1) // parts)
                fo_leave(env)


cdef void walk(const plan_t *plan, const pass_t *what, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Blocks lo to hi of the index space of all arrays, or of that of sums."""
    cdef Py_ssize_t i = 0, end = plan.n, middle
    cdef const task_t *task
    if what.kind == AVERAGING:
        for i in range(plan.n):
            task = &plan.tasks[i]
            if has_terms(task, LINES):
                end = task.lines.first + task.lines.chunks * task.lines.matrices
                plan.table.lines_of(task, max(lo, task.lines.first) - task.lines.first, min(hi, end) - task.lines.first, TERMS)
        return
    if what.kind == SUMMING:
        plan.table.add_up(plan.tasks, plan.n, what.starts, what.id, what.formula, lo, hi, what.partials)
        return
    while end - i > 1:
        middle = (i + end) // 2
        if plan.tasks[middle].first <= lo:
            i = middle
        else:
            end = middle
    while i < plan.n and plan.tasks[i].first < hi:
        task = &plan.tasks[i]
        if what.kind == SPREADING:
            if has_terms(task, MATRIX):
                plan.table.spread(task, max(<Py_ssize_t> 0, lo - task.first) * BLOCK, min(task.work, (hi - task.first) * BLOCK), TERMS)
        elif task.active and task.work:
            plan.table.span(task, max(<Py_ssize_t> 0, lo - task.first) * BLOCK, min(task.work, (hi - task.first) * BLOCK))
        i += 1
