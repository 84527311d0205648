# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Stepper: the plan of an optimizer's arrays, the checks of a step, the walk over all of them and its threads."""

from cpython.dict cimport PyDict_GetItem, PyDict_GetItemWithError, PyDict_Next, PyDict_Size, PyDict_Values
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cython.parallel cimport prange
from libc.math cimport NAN
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
cimport numpy as cnp

from fastopt.engine.formats cimport size_of
from fastopt.engine.table cimport (
    BLOCK, FLOAT16, FLOAT32, FLOAT64, INPUTS, LONGDOUBLE, SCALARS, STAGES, STATES, VERSION, format_t, rule_t, stage_t,
    table_t, task_t, view_t,
)

from fastopt.engine import layout, threads as system

cnp.import_array()

cdef extern from "scalar.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter()
    void fo_leave(fo_env caller)

cdef extern from * nogil:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FO_OPENMP 1
    #else
    #define FO_OPENMP 0
    #define omp_get_max_threads() 1
    #endif

    #if defined(_WIN32)
    #include <windows.h>
    static double fo_now(void)
    {
        LARGE_INTEGER t, f;
        QueryPerformanceCounter(&t);
        QueryPerformanceFrequency(&f);
        return (double)t.QuadPart / (double)f.QuadPart;
    }
    static int fo_forked = 0;
    static void fo_watch_forks(void) {}
    #else
    #include <pthread.h>
    #include <time.h>
    static double fo_now(void)
    {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    /* A forked child has the pool's memory without its threads, whoever filled the pool: it stays serial. */
    static int fo_forked = 0;
    static void fo_child(void) { fo_forked = 1; }
    static void fo_watch_forks(void) { pthread_atfork(0, 0, fo_child); }
    #endif

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
    const bint FO_OPENMP
    const char *FO_COMPILER
    int omp_get_max_threads()
    double fo_now()
    int fo_forked
    void fo_watch_forks()
    int fo_level()

cdef enum:
    GRAIN = 32768  # elements that are worth a thread
    TINY = 2048  # elements whose step takes no longer than giving the GIL away and back

cdef int64_t MOST_STEPS = 1LL << 62  # that a parameter may have made
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


cdef int available() noexcept nogil:
    """OpenMP's limit, which threadpoolctl sets for the calling thread, under the system's own."""
    cdef int n = omp_get_max_threads()
    return n if LIMIT == 0 or n < LIMIT else LIMIT


cdef struct measured_t:  # steps of one size in one situation, in seconds
    double serial
    double wait  # of serial steps before parallel is tried again
    double penalty  # that wait, over what parallel lost
    double lost  # by parallel steps since they last were ahead
    double patience  # serial steps' worth of loss
    double most  # serial steps' worth that one step may lose: the rest was somebody else's turn on the processor
    int streak  # parallel steps since a serial one was timed
    int trust  # the longest streak, after which what serial takes is looked at again
    bint parallel

cdef struct chooser_t:
    measured_t[2] measured  # right after the last step; after the caller did something else
    double entered  # when the caller asked for this step
    double left  # when the last step ended

cdef struct plan_t:
    const table_t *table
    task_t *tasks
    Py_ssize_t n, blocks, elements
    int most  # threads; 0: as many as have shown to pay
    chooser_t *chooser


cdef void learn_nothing(chooser_t *chooser) noexcept nogil:
    """As it is before the first step.

    Right after a step, threads that slept need some milliseconds to get up to speed, and then pay. After something else of the
    caller's, a matrix product's threads may still hold the processors: a loss is great there, and likely to be met again.
    """
    chooser.measured[0] = measured_t(0, 0, 20, 0, 8, 2, 0, 16, False)
    chooser.measured[1] = measured_t(0, 0.08, 20, 0, 1, 1e9, 0, 16, False)
    chooser.entered = chooser.left = 0


cdef void measure(measured_t *m, double seconds) noexcept nogil:
    """Learn from a step: parallel while it is ahead of serial or its losses are small; then wait in proportion to them."""
    if not m.parallel:
        m.serial = seconds if m.serial == 0 else min(seconds, 0.75 * m.serial + 0.25 * seconds)
        m.wait -= seconds
        m.parallel = m.wait <= 0
        return
    m.lost = max(0.0, m.lost + min(seconds - m.serial, m.most * m.serial))
    if m.lost == 0:
        m.penalty = 20
    elif m.lost > m.patience * m.serial:
        m.parallel = False
        m.wait = m.penalty * m.lost
        m.penalty = min(2 * m.penalty, 640.0)
        m.lost = 0
        m.streak, m.trust = 0, 16
        return
    m.streak += 1
    if m.streak == m.trust:
        m.parallel = False  # for one step
        m.streak, m.trust = 0, min(2 * m.trust, 512)


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


cdef void go(const plan_t *plan) noexcept:
    """Walk all arrays, by as many threads as have shown to pay."""
    cdef Py_ssize_t part, parts = 1
    cdef double begin = 0
    cdef fo_env env
    cdef measured_t *m = NULL
    if plan.elements < TINY:
        walk(plan, 0, plan.blocks)
        return
    if plan.elements >= 2 * GRAIN and plan.most != 1 and not fo_forked:
        parts = plan.most if plan.most > 0 else available()
        parts = min(parts, plan.elements // GRAIN)
    if parts > 1 and plan.most == 0:
        begin = fo_now()
        m = &plan.chooser.measured[plan.chooser.entered - plan.chooser.left > 5e-5]
        if not m.parallel:
            parts = 1
    with nogil:
        if parts == 1:
            walk(plan, 0, plan.blocks)
        else:
            for part in prange(parts, num_threads=<int> parts, schedule="static"):
                env = fo_enter()
                walk(plan, plan.blocks * part // parts, plan.blocks * (part + 1) // parts)
                fo_leave(env)
    if m != NULL:
        plan.chooser.left = fo_now()
        measure(m, plan.chooser.left - begin)


cdef void walk(const plan_t *plan, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Blocks lo to hi of the index space of all arrays."""
    cdef Py_ssize_t i = 0, end = plan.n, middle
    cdef const task_t *task
    while end - i > 1:
        middle = (i + end) // 2
        if plan.tasks[middle].first <= lo:
            i = middle
        else:
            end = middle
    while i < plan.n and plan.tasks[i].first < hi:
        task = &plan.tasks[i]
        if task.active and task.n:
            plan.table.span(plan.table, task, max(<Py_ssize_t> 0, lo - task.first) * BLOCK, min(task.n, (hi - task.first) * BLOCK))
        i += 1


cdef const rule_t *find(const table_t *table, str name) except NULL:
    cdef int k
    for k in range(table.n_rules):
        if table.rules[k].name == <bytes> name.encode():
            return &table.rules[k]
    raise LookupError(f"no kernel of rule {name!r}: build fastopt again")


cdef const table_t *table_of(object capsule) except NULL:
    cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(capsule, "fastopt.table")
    if table.version != VERSION:
        raise ImportError(f"kernels of version {table.version}, expected {VERSION}: build fastopt again")
    return table


cdef format_t format_of(int type_num):
    if type_num == cnp.NPY_FLOAT16:
        return FLOAT16
    if type_num in (cnp.NPY_FLOAT, cnp.NPY_CFLOAT):
        return FLOAT32
    return FLOAT64 if type_num in (cnp.NPY_DOUBLE, cnp.NPY_CDOUBLE) else LONGDOUBLE


cdef Py_ssize_t collect(object structure, object tree, PyObject **out, Py_ssize_t k) except -1:
    """Gradients in the order of the parameters into `out`, owned; returns where the next go."""
    cdef Py_ssize_t i, n, place = 0
    cdef object item, child
    cdef tuple keys
    cdef list children
    cdef PyObject *key
    cdef PyObject *found
    if structure is None:
        Py_INCREF(tree)
        out[k] = <PyObject *> tree
        return k + 1
    keys, children = structure.keys, structure.children
    n = len(children)
    if tree is None and structure.path:  # of all that it holds
        for i in range(n):
            k = collect(children[i], None, out, k)
        return k
    if type(tree) is not dict or keys is None or PyDict_Size(tree) != n:
        structure.match(tree)
    for i in range(n):
        if keys is None:
            if type(tree) is list:
                if i >= len(<list> tree):  # something shortened it
                    structure.refuse(tree)
                item = (<list> tree)[i]
            else:
                item = tree[i]
        elif type(tree) is dict:
            if not PyDict_Next(tree, &place, &key, &found) or key != <PyObject *> keys[i]:  # another order
                found = PyDict_GetItemWithError(tree, keys[i])
            if found == NULL:
                structure.refuse(tree)
            item = <object> found
        else:
            if keys[i] not in tree:
                structure.refuse(tree)
            item = tree[keys[i]]
        child = children[i]
        if child is None:
            Py_INCREF(item)
            out[k] = <PyObject *> item
            k += 1
        else:
            k = collect(child, item, out, k)
    return k


cdef void release(PyObject **objects, Py_ssize_t n) noexcept:
    """Let go of objects; what runs then finds none of them here."""
    cdef Py_ssize_t i
    cdef PyObject *last
    for i in range(n):
        last = objects[i]
        objects[i] = NULL
        if last != NULL:
            Py_DECREF(<object> last)


cdef void lay(view_t *v, cnp.ndarray a, const Py_ssize_t *order, format_t format, uintptr_t *first, uintptr_t *end) noexcept:
    """A view of an array in this order of its axes, and where its bytes begin and end.

    The axis after the last is that of a complex number's two reals, and of the one element of a 0-d array.
    """
    cdef int ndim = cnp.PyArray_NDIM(a), k
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(a)
    cdef Py_ssize_t size = size_of(format), expected = size, low = 0, high = size
    v.data = <char *> cnp.PyArray_DATA(a)
    v.format = format
    v.flat = <uintptr_t> v.data % size == 0
    for k in range(v.ndim - 1, -1, -1):
        v.strides[k] = size if order[k] == ndim else strides[order[k]]
        if v.shape[k] != 1:
            v.flat = v.flat and v.strides[k] == expected
            expected *= v.shape[k]
            if v.strides[k] < 0:
                low += (v.shape[k] - 1) * v.strides[k]
            else:
                high += (v.shape[k] - 1) * v.strides[k]
    first[0] = <uintptr_t> (v.data + low)
    end[0] = <uintptr_t> (v.data + high)


cdef class Plan:
    """How a step walks these parameters: laid out as a whole, then never changed but for their counts and gradients."""

    cdef plan_t walk
    cdef chooser_t chooser
    cdef readonly object capsule, structure
    cdef readonly list slots, groups  # of fastopt.optimizer: Parameter, Group
    cdef list arrays  # the parameters' own views, whose shape nobody else can set
    cdef list given  # the same as the caller has them
    cdef list numbers, scheduled  # each group's hyperparameters, and which of them are schedules
    cdef list fixed  # gradients bound, or None
    cdef double *c  # a row of the rule's scalars for each parameter, used where its step count differs from its neighbour's
    cdef double *stage_c  # a row of the stages' scalars for each group
    cdef int64_t *t  # steps of each parameter
    cdef PyObject **held  # gradients of the step at work, owned
    cdef Py_ssize_t *ints
    cdef Py_ssize_t **orders  # of each parameter's axes, from the slowest to the fastest in memory
    cdef Py_ssize_t n, n_ranges
    cdef uintptr_t *ranges  # written memory: disjoint, sorted pairs of first and one past the last byte
    cdef Py_ssize_t *hint  # where each gradient lay between those in the last step
    cdef double **values  # each group's hyperparameters: the rule's own, then the stages'
    cdef int *group_of  # each parameter's
    cdef int *inputs  # INPUTS for each stage of each group: which of the values it takes; -1: the group has no such stage
    cdef int *scales  # which of each group's values the scale of a step multiplies
    cdef void *owned[16]  # memory of all these
    cdef int n_owned

    def __dealloc__(self):
        cdef int k
        for k in range(self.n_owned):
            free(self.owned[k])

    cdef void *own(self, Py_ssize_t count, Py_ssize_t size) except NULL:
        """Zeroed memory that lives as long as the plan."""
        cdef void *memory = calloc(count + 1, size)
        if memory == NULL:
            raise MemoryError("the plan of the optimizer's arrays")
        self.owned[self.n_owned] = memory
        self.n_owned += 1
        return memory

    def __init__(self, capsule, structure, list slots, list groups, int threads):
        cdef Py_ssize_t i, j, k, n = len(slots), used = 0
        cdef uintptr_t first, end
        cdef task_t *task
        cdef const table_t *table = table_of(capsule)
        ranges = layout.ranges(a for s in slots for _, a in s.written())
        index = {id(g): k for k, g in enumerate(groups)}
        self.n = n
        self.capsule, self.structure, self.slots, self.groups = capsule, structure, slots, groups
        self.arrays = [s.array for s in slots]
        self.given = [s.given for s in slots]
        self.numbers = [g.numbers for g in groups]
        self.scheduled = [g.scheduled for g in groups]
        self.c = <double *> self.own(n * SCALARS, sizeof(double))
        self.stage_c = <double *> self.own(len(groups) * STAGES * INPUTS, sizeof(double))
        self.t = <int64_t *> self.own(n, sizeof(int64_t))
        self.hint = <Py_ssize_t *> self.own(n, sizeof(Py_ssize_t))
        self.ints = <Py_ssize_t *> self.own(sum(4 * len(s.order) for s in slots), sizeof(Py_ssize_t))
        self.orders = <Py_ssize_t **> self.own(n, sizeof(void *))
        self.values = <double **> self.own(len(groups), sizeof(void *))
        self.group_of = <int *> self.own(n, sizeof(int))
        self.inputs = <int *> self.own(len(groups) * STAGES * INPUTS, sizeof(int))
        self.scales = <int *> self.own(len(groups), sizeof(int))
        self.ranges = <uintptr_t *> self.own(2 * len(ranges), sizeof(uintptr_t))
        self.held = <PyObject **> self.own(n, sizeof(void *))
        self.walk = plan_t(table, <task_t *> self.own(n, sizeof(task_t)), n, 0, 0, threads, &self.chooser)
        learn_nothing(&self.chooser)
        self.n_ranges = len(ranges)
        for i in range(self.n_ranges):
            self.ranges[2 * i], self.ranges[2 * i + 1] = ranges[i]
        for i in range(len(groups)):
            self.values[i] = <double *> cnp.PyArray_DATA(self.numbers[i])
            for k in range(STAGES):
                taken = groups[i].inputs.get(table.stages[k].name.decode(), ()) if k < table.n_stages else ()
                for j in range(INPUTS):
                    self.inputs[(i * STAGES + k) * INPUTS + j] = taken[j] if j < len(taken) else -1
            self.scales[i] = groups[i].slot["scale"]
        for i in range(n):
            s = slots[i]
            task = &self.walk.tasks[i]
            self.group_of[i] = index[id(s.group)]
            task.rule = find(table, s.group.rule.name)
            task.p.ndim = task.g.ndim = len(s.order)
            task.p.shape = task.g.shape = self.ints + used
            task.p.strides = task.p.shape + task.p.ndim
            task.g.strides = task.p.strides + task.p.ndim
            self.orders[i] = task.g.strides + task.p.ndim
            used += 4 * task.p.ndim
            shape, _, _ = layout.reals(s.array)
            task.n = 1
            for k in range(task.p.ndim):
                self.orders[i][k] = s.order[k]
                task.p.shape[k] = shape[s.order[k]]
                task.n *= task.p.shape[k]
            lay(&task.p, s.array, self.orders[i], format_of(cnp.PyArray_TYPE(s.array)), &first, &end)
            for k, a in enumerate(s.state.values()):
                task.state[k] = <char *> cnp.PyArray_DATA(a)
            task.first = self.walk.blocks
            self.walk.blocks += (task.n + BLOCK - 1) // BLOCK
            self.walk.elements += task.n

    cdef int take(self) except -1:
        """Check every gradient in `held`, and point its task to it, in the parameter's order."""
        cdef Py_ssize_t i
        cdef object g
        cdef cnp.ndarray p
        cdef task_t *task
        cdef format_t format
        cdef uintptr_t first, end
        for i in range(self.n):
            g = <object> self.held[i]
            task = &self.walk.tasks[i]
            task.active = g is not None
            if g is None:
                continue
            p = <cnp.ndarray> self.arrays[i]
            format = task.p.format
            if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, p):
                g = layout.check_gradient(self.slots[i].name, p, g)
                Py_INCREF(g)
                Py_DECREF(<object> self.held[i])
                self.held[i] = <PyObject *> g
                format = format_of(cnp.PyArray_TYPE(<cnp.ndarray> g))
            lay(&task.g, <cnp.ndarray> g, self.orders[i], format, &first, &end)
            if task.n and not self.is_clear(i, first, end):
                for s in self.slots:
                    layout.check_apart(self.slots[i].name, g, s.written())
        return 0

    cdef bint is_clear(self, Py_ssize_t i, uintptr_t first, uintptr_t end) noexcept:
        """Whether no written range meets these bytes: between the same two as last time, or found by halving."""
        cdef Py_ssize_t k = self.hint[i], lo = 0, hi = self.n_ranges, middle
        if (k == 0 or self.ranges[2 * k - 1] <= first) and (k == self.n_ranges or end <= self.ranges[2 * k]):
            return True
        while lo < hi:
            middle = (lo + hi) // 2
            if self.ranges[2 * middle + 1] <= first:
                lo = middle + 1
            else:
                hi = middle
        self.hint[i] = lo
        return lo == self.n_ranges or end <= self.ranges[2 * lo]

    cdef int check(self, object count) except -1:
        """What can still raise, schedules among it."""
        cdef Py_ssize_t i
        for i in range(len(self.scheduled)):
            if PyDict_Size(self.scheduled[i]):
                self.evaluate(i, count)
        for i in range(self.n):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> self.given[i]):
                raise ValueError(f"parameter {self.slots[i].name!r}: made read-only, expected a writable array")
        return 0

    cdef int evaluate(self, Py_ssize_t i, object count) except -1:
        """A group's schedules at this step. A schedule may set hyperparameters, its own too: what is set holds."""
        cdef dict scheduled = self.scheduled[i]
        cdef object x
        cdef tuple entry
        cdef double value
        for entry in PyDict_Values(scheduled):  # name, function, slot, domain
            x = entry[1](count)
            value = x if type(x) is float else NAN
            if not <double> entry[3] <= value < <double> entry[4]:
                value = self.groups[i].check(entry[0], x)
            if PyDict_GetItem(scheduled, entry[0]) == <PyObject *> entry:
                self.values[i][<Py_ssize_t> entry[2]] = value
        return 0

    cdef void prepare(self, double scale) noexcept:
        """All scalars of the step."""
        cdef Py_ssize_t i, group = -1
        cdef int staged = 0
        cdef int64_t t = 0
        cdef task_t *task
        cdef double *row = NULL
        for i in range(self.n):
            task = &self.walk.tasks[i]
            if not task.active:
                continue
            if self.group_of[i] != group:
                group = self.group_of[i]
                staged = self.prepare_stages(group, scale)
                row = NULL
            if row == NULL or self.t[i] != t:
                t = self.t[i]
                row = self.c + i * SCALARS
                task.rule.prepare(t + 1, self.values[group], row)
            task.c = row
            task.staged = staged
            task.stage_c = self.stage_c + group * STAGES * INPUTS

    cdef int prepare_stages(self, Py_ssize_t group, double scale) noexcept:
        """A group's scalars of stages; returns those that are not neutral, a bit each."""
        cdef const table_t *table = self.walk.table
        cdef const stage_t *stage
        cdef const int *taken
        cdef double *c
        cdef double[INPUTS] h
        cdef int k, j, staged = 0
        for k in range(table.n_stages):
            stage = &table.stages[k]
            taken = self.inputs + (group * STAGES + k) * INPUTS
            if taken[0] == -1:
                continue
            for j in range(stage.hyperparameters):
                h[j] = self.values[group][taken[j]]
                if taken[j] == self.scales[group]:
                    h[j] = h[j] * scale
            c = self.stage_c + (group * STAGES + k) * INPUTS
            stage.prepare(h, c)
            for j in range(stage.scalars):
                if c[j] != stage.neutral[j]:
                    staged |= 1 << k
        return staged

    cdef bint advance(self, double scale) noexcept:
        """The scalars and the walk, in a known floating-point environment; then the counts. Whether anything had a gradient."""
        cdef Py_ssize_t i
        cdef bint updated = False
        cdef fo_env env = fo_enter()
        self.prepare(scale)
        go(&self.walk)
        fo_leave(env)
        for i in range(self.n):
            self.t[i] += self.walk.tasks[i].active
            updated |= self.walk.tasks[i].active
        return updated


cdef class Stepper:
    """One step over all arrays: what can raise comes before the first write. Not a public name: see `Optimizer`."""

    cdef Plan plan
    cdef int64_t count  # steps of the optimizer
    cdef bint busy, stale  # stale: the tasks' gradients are not the bound ones

    def _plan(self, capsule, structure, list slots, list groups, int threads):
        """Lay out the walk over these parameters; the counts of steps of those that were there stay."""
        cdef Plan plan = Plan(capsule, structure, slots, groups, threads)
        cdef Py_ssize_t i
        if self.plan is not None:
            for i in range(min(plan.n, self.plan.n)):
                plan.t[i] = self.plan.t[i]
        self.plan = plan

    cdef Plan planned(self):
        if self.plan is None:
            raise RuntimeError("this optimizer has no parameters: its constructor has not run")
        return self.plan

    @property
    def _structure(self):
        return self.planned().structure

    @property
    def _slots(self):
        return self.planned().slots

    @property
    def _groups(self):
        return self.planned().groups

    @property
    def steps(self):
        """Updates made so far."""
        return self.count

    def _at_work(self):
        """Whether a step is being made, or something else that none may interrupt."""
        return self.busy

    def _hold(self):
        """No step until `_let_go`."""
        if self.busy:
            raise RuntimeError("this optimizer is at work: in another thread, or in a step that calls what you passed")
        self.busy = True

    def _let_go(self):
        self.busy = False

    def _counts(self):
        return [self.planned().t[i] for i in range(self.planned().n)]

    def _set_counts(self, list counts, int64_t steps):
        cdef Py_ssize_t i
        cdef int64_t t
        if len(counts) != self.planned().n:
            raise ValueError(f"{len(counts)} counts, expected {self.plan.n}")
        for i in range(self.plan.n):
            t = counts[i]
            self.plan.t[i] = t
        self.count = steps

    cdef int begin(self) except -1:
        if self.busy:
            self._hold()
        self.planned()
        self.busy = True
        if self.plan.walk.elements >= 2 * GRAIN:
            self.plan.chooser.entered = fo_now()
        return 0

    def bind(self, grads):
        """Fix gradient buffers, so that ``step()`` alone reads them.

        Parameters
        ----------
        grads : as the parameters
            Arrays that stay the caller's to fill; None leaves a parameter alone.

        Raises
        ------
        TypeError, ValueError
            As `step`; and TypeError for what is not an array, since its later values could not be seen.
        """
        self.begin()
        try:
            collect(self.plan.structure, grads, self.plan.held, 0)
            self.fix()
        finally:
            release(self.plan.held, self.plan.n)
            self.busy = False

    def _bind_flat(self, list grads):
        """`bind`, from gradients in a list."""
        self.begin()
        try:
            self.hold(grads)
            self.fix()
        finally:
            release(self.plan.held, self.plan.n)
            self.busy = False

    cdef int hold(self, list grads) except -1:
        """Gradients from a list into `held`."""
        cdef Py_ssize_t i
        if len(grads) != self.plan.n:
            raise ValueError(f"{len(grads)} gradients, expected {self.plan.n}")
        for i in range(self.plan.n):
            Py_INCREF(grads[i])
            self.plan.held[i] = <PyObject *> grads[i]
        return 0

    cdef int fix(self) except -1:
        """The gradients in `held` become the bound ones."""
        cdef Py_ssize_t i
        for i in range(self.plan.n):
            if not isinstance(<object> self.plan.held[i], (cnp.ndarray, type(None))):
                kind = type(<object> self.plan.held[i]).__name__
                raise TypeError(f"gradient of {self.plan.slots[i].name!r}: {kind}, expected a NumPy array to bind")
        self.stale = True
        self.plan.take()
        self.plan.fixed = [<object> self.plan.held[i] for i in range(self.plan.n)]
        self.stale = False
        return 0

    def _bound(self):
        """The bound gradients in a list, or None."""
        return None if self.planned().fixed is None else list(self.plan.fixed)

    def step(self, grads=None, *, double scale=1.0):
        """Update the parameters in place.

        Parameters
        ----------
        grads : as the parameters, optional
            Gradients in the structure of the parameters (groups: one entry each): arrays of any real floating dtype (complex
            for complex parameters), strides and alignment, read-only or not; a float for a 0-d parameter; None leaves a
            parameter and its step count alone. Without, the gradients of `bind` are read.
        scale : float, default 1.0
            Multiplies the gradients (1 over a loss scale).

        Returns
        -------
        bool
            Whether a parameter was updated: False where no parameter has a gradient, which does not count as a step.

        Notes
        -----
        The GIL is released while arrays are worked on, but for a few microseconds' work (less than 2048 elements).

        Raises
        ------
        TypeError, ValueError
            For gradients, a scale or hyperparameters that do not fit; nothing has been changed.
        RuntimeError
            If the optimizer is in the middle of a step in another thread.
        """
        cdef Plan plan
        cdef bint updated
        self.begin()
        plan = self.plan
        try:
            if grads is not None:
                self.stale = True
                collect(plan.structure, grads, plan.held, 0)
                plan.take()
            elif plan.fixed is None:
                raise ValueError("step() without gradients, expected step(grads), or bind(grads) before")
            elif self.stale:
                self.hold(plan.fixed)
                plan.take()
                self.stale = False
            if not -1e300 < scale < 1e300:
                raise ValueError(f"scale: {scale}, expected a finite number")
            plan.check(self.count)
            updated = plan.advance(scale)
            self.count += updated
        finally:
            release(plan.held, plan.n)
            self.busy = False
        return bool(updated)


cdef chooser_t[64] CHOOSERS  # of steps without an optimizer, by the bits of their size
cdef Py_ssize_t BITS
for BITS in range(64):
    learn_nothing(&CHOOSERS[BITS])


cdef class Update:
    """A rule's step on arrays of the caller's, without an optimizer. Not a public name: see `fastopt.functional`.

    Parameters
    ----------
    capsule : the kernels' table
    rule : Formula
    domains : list of pairs of float
        Of each hyperparameter, half open.
    check : function
        What makes a float of a hyperparameter or raises.
    """

    cdef object capsule, formula, check
    cdef const table_t *table
    cdef const rule_t *rule
    cdef int arrays
    cdef double[2][SCALARS] domains

    def __init__(self, capsule, formula, domains, check):
        cdef int k
        self.capsule, self.formula, self.check = capsule, formula, check
        self.table = table_of(capsule)
        self.rule = find(self.table, formula.name)
        self.arrays = self.rule.states + 1
        for k in range(self.rule.hyperparameters):
            self.domains[0][k], self.domains[1][k] = domains[k]

    def step(self, tuple given, t, tuple hyperparameters, out):
        """From parameter, gradient and state, the new parameter and state: in `out`, or in new arrays."""
        cdef double[SCALARS] h, c
        cdef PyObject *inputs[STATES + 1]
        cdef int64_t number = 0
        cdef int k, order = cnp.NPY_ANYORDER
        cdef object a, p = given[0], g = given[1]
        cdef tuple outputs
        for k in range(self.arrays):
            inputs[k] = <PyObject *> given[k + (k > 0)]
        if type(t) is int:
            number = PyLong_AsLongLongAndOverflow(t, &k)
        if not 0 < number < MOST_STEPS:
            raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
        self.read(hyperparameters, h)
        for k in range(self.arrays):
            a = <object> inputs[k]
            if type(a) is not cnp.ndarray or not alike(<cnp.ndarray> a, <cnp.ndarray> p) or not known(<cnp.ndarray> a):
                layout.check_input(self.formula.state[k - 1] if k else "p", a, p)
        if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, <cnp.ndarray> p):
            g = layout.check_gradient("p", p, g)
        if cnp.PyArray_TYPE(<cnp.ndarray> g) == cnp.PyArray_TYPE(<cnp.ndarray> p):
            order = packed(inputs, self.arrays, <cnp.ndarray> g)
        if out is None:
            outputs = self.copies(inputs, order)
        elif order != cnp.NPY_ANYORDER and in_place(inputs, self.arrays, <cnp.ndarray> g, out):
            outputs = out
        else:
            outputs = layout.check_outputs(self.formula.state, [<object> inputs[k] for k in range(self.arrays)], g, out)
            work = self.copies(inputs, order)
            self.run(work, packed_gradient(g, order), number, h, c)
            for to, a in zip(outputs, work):
                to[...] = a
            return outputs
        self.run(outputs, packed_gradient(g, order), number, h, c)
        return outputs

    cdef int read(self, tuple hyperparameters, double *h) except -1:
        """Numbers in their domains; what is not a float in its own goes through Python, for the error."""
        cdef int k
        cdef object x
        for k in range(self.rule.hyperparameters):
            x = hyperparameters[k]
            if type(x) is float and self.domains[0][k] <= <double> x < self.domains[1][k]:
                h[k] = x
            else:
                h[k] = self.check(self.formula.hyperparameters[k], x)
        return 0

    cdef tuple copies(self, PyObject **inputs, int order):
        cdef int k
        cdef tuple made = PyTuple_New(self.arrays)
        cdef object a
        for k in range(self.arrays):
            a = cnp.PyArray_NewCopy(<cnp.ndarray> inputs[k], <cnp.NPY_ORDER> max(order, <int> cnp.NPY_CORDER))
            Py_INCREF(a)
            PyTuple_SET_ITEM(made, k, a)
        return made

    cdef int run(self, tuple arrays, cnp.ndarray g, int64_t t, const double *h, double *c) except -1:
        """In place, on arrays that follow one another in memory as the gradient does."""
        cdef task_t task
        cdef plan_t plan
        cdef cnp.ndarray p = <cnp.ndarray> arrays[0]
        cdef fo_env env
        cdef Py_ssize_t n = cnp.PyArray_SIZE(p), bits
        cdef int k
        if cnp.PyTypeNum_ISCOMPLEX(cnp.PyArray_TYPE(p)):
            n = 2 * n
        task.p.data, task.p.format, task.p.flat = <char *> cnp.PyArray_DATA(p), format_of(cnp.PyArray_TYPE(p)), True
        task.g.data, task.g.format, task.g.flat = <char *> cnp.PyArray_DATA(g), format_of(cnp.PyArray_TYPE(g)), True
        for k in range(self.rule.states):
            task.state[k] = <char *> cnp.PyArray_DATA(<cnp.ndarray> arrays[k + 1])
        task.rule, task.n, task.first, task.active, task.c, task.staged = self.rule, n, 0, True, c, 0
        bits = 0
        while n >> bits:
            bits += 1
        CHOOSERS[bits].entered = fo_now()
        plan = plan_t(self.table, &task, 1, (n + BLOCK - 1) // BLOCK, n, 0, &CHOOSERS[bits])
        env = fo_enter()
        self.rule.prepare(t, h, c)
        go(&plan)
        fo_leave(env)
        return 0


cdef inline bint alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    """The same native dtype and shape."""
    return cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(b) and same_shape(a, b) and cnp.PyArray_ISNOTSWAPPED(a)


cdef bint known(cnp.ndarray a) noexcept:
    """Whether there is a kernel for its dtype."""
    return cnp.PyArray_TYPE(a) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE)


cdef bint in_place(PyObject **inputs, int n, cnp.ndarray g, object out) noexcept:
    """Whether `out` is these very arrays, which are packed, writable, and no two of them and the gradient overlap."""
    cdef int j, k
    cdef cnp.ndarray a, b
    if type(out) is not tuple or len(<tuple> out) != n:
        return False
    for k in range(n):
        a = <cnp.ndarray> inputs[k]
        if <PyObject *> (<tuple> out)[k] != inputs[k] or not cnp.PyArray_ISWRITEABLE(a):
            return False
        for j in range(k + 1, n + 1):
            b = <cnp.ndarray> inputs[j] if j < n else g
            if cnp.PyArray_BYTES(a) < cnp.PyArray_BYTES(b) + cnp.PyArray_NBYTES(b) \
                    and cnp.PyArray_BYTES(b) < cnp.PyArray_BYTES(a) + cnp.PyArray_NBYTES(a):
                return False
    return True


cdef int packed(PyObject **arrays, int n, cnp.ndarray g) noexcept:
    """The order in which all of these, aligned, follow one another in memory, the gradient too; else NPY_ANYORDER."""
    cdef int flags = cnp.PyArray_FLAGS(g), k
    for k in range(n):
        flags &= cnp.PyArray_FLAGS(<cnp.ndarray> arrays[k])
    if flags & cnp.NPY_ARRAY_ALIGNED:
        if flags & cnp.NPY_ARRAY_C_CONTIGUOUS:
            return cnp.NPY_CORDER
        if flags & cnp.NPY_ARRAY_F_CONTIGUOUS:
            return cnp.NPY_FORTRANORDER
    return cnp.NPY_ANYORDER


cdef cnp.ndarray packed_gradient(object g, int order):
    """The gradient in this order: as it is, or a copy in C order."""
    return g if order != cnp.NPY_ANYORDER else layout.packed(g)


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int k
    if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for k in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, k) != cnp.PyArray_DIM(b, k):
            return False
    return True
