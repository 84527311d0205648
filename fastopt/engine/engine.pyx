# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False
"""Stepper: the plan of an optimizer's arrays, the checks of a step, the walk over all of them and its threads."""

from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
cimport numpy as cnp

from fastopt.engine.table cimport (
    BLOCK, FLOAT16, FLOAT32, FLOAT64, LONGDOUBLE, SCALARS, STAGES, VERSION, format_t, rule_t, table_t, task_t, view_t,
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


cdef struct measured_t:  # one plan's steps in one situation, in seconds
    double serial
    double wait  # before parallel is tried again
    double penalty
    int losses
    bint parallel


cdef void measure(measured_t *m, double seconds) noexcept nogil:
    """Learn from a step: parallel only while it is faster than serial was; after a loss, wait in proportion to it."""
    if not m.parallel:
        m.serial = seconds if m.serial == 0 else min(seconds, 0.75 * m.serial + 0.25 * seconds)
        m.wait -= seconds
        m.parallel = m.wait <= 0
    elif seconds < m.serial:
        m.losses = 0
        m.penalty = 20
    else:
        m.losses += 1
        if m.losses > 1 or seconds > 4 * m.serial:
            m.parallel = False
            m.wait = m.penalty * (seconds - m.serial)
            m.penalty = min(2 * m.penalty, 640.0)
            m.losses = 0


cdef format_t format_of(int type_num):
    if type_num == cnp.NPY_FLOAT16:
        return FLOAT16
    if type_num in (cnp.NPY_FLOAT, cnp.NPY_CFLOAT):
        return FLOAT32
    return FLOAT64 if type_num in (cnp.NPY_DOUBLE, cnp.NPY_CDOUBLE) else LONGDOUBLE


cdef class Structure:
    """How parameters are nested: the keys of a mapping or the length of a sequence; None among the children is an array."""

    cdef readonly tuple keys
    cdef readonly list children
    cdef readonly str path

    def __init__(self, keys, children, path):
        self.keys, self.children, self.path = keys, children, path

    cdef Py_ssize_t collect(self, object tree, PyObject **out, Py_ssize_t k) except -1:
        """Gradients of this part into `out`, borrowed from `tree`; returns where the next go."""
        cdef Py_ssize_t i, n = len(self.children)
        cdef object child, item
        cdef PyObject *found
        cdef bint is_dict = type(tree) is dict
        if tree is None or isinstance(tree, (str, bytes, cnp.ndarray)) or not hasattr(tree, "__getitem__") \
                or (self.keys is not None) != hasattr(tree, "keys"):
            kind = "a sequence" if self.keys is None else "a mapping"
            raise TypeError(f"gradients{self.place()}: {type(tree).__name__}, expected {kind} as for the parameters")
        if len(tree) != n:
            self.refuse(tree)
        for i in range(n):
            child = self.children[i]
            if self.keys is None:
                item = tree[i]
            elif is_dict:
                found = PyDict_GetItem(tree, self.keys[i])
                if found == NULL:
                    self.refuse(tree)
                item = <object> found
            else:
                if self.keys[i] not in tree:
                    self.refuse(tree)
                item = tree[self.keys[i]]
            if child is None:
                Py_INCREF(item)
                out[k] = <PyObject *> item
                k += 1
            else:
                k = (<Structure> child).collect(item, out, k)
        return k

    cdef str place(self):
        return f" of {self.path!r}" if self.path else ""

    cdef object refuse(self, object tree):
        """The error of a structure that differs."""
        if self.keys is None:
            raise ValueError(f"gradients{self.place()}: {len(tree)} entries, expected {len(self.children)}")
        missing = [k for k in self.keys if k not in tree]
        extra = [k for k in tree if k not in self.keys]
        raise ValueError(f"gradients{self.place()}: missing keys {missing}, unexpected keys {extra}")


cdef class Stepper:
    """One step over all arrays: what can raise comes before the first write. Not a public name: see `Optimizer`."""

    cdef const table_t *table
    cdef object capsule
    cdef list slots, groups  # of fastopt.optimizer: Parameter, Group
    cdef list arrays  # the parameters' own
    cdef list scheduled  # each group's schedules, a dict
    cdef Structure structure
    cdef task_t *tasks
    cdef double *c  # a row of the rule's scalars for each parameter, used where its step count differs from its neighbour's
    cdef double *stage_c  # a row of the stages' scalars for each group
    cdef int64_t *t  # steps of each parameter
    cdef int64_t count  # steps of the optimizer
    cdef PyObject **held  # gradients of the step at work, owned
    cdef PyObject **fixed  # gradients bound, owned
    cdef Py_ssize_t *ints
    cdef Py_ssize_t n, blocks, elements
    cdef Py_ssize_t n_ranges
    cdef uintptr_t *ranges  # written memory: disjoint, sorted pairs of first and one past the last byte
    cdef Py_ssize_t *hint  # where each gradient lay between those in the last step
    cdef const double **values  # each group's hyperparameters: the rule's own, then the stages'
    cdef int *group_of  # each parameter's
    cdef int *inputs  # two for each stage of each group: which of the values it takes; -1: the group has no such stage
    cdef void *owned[16]  # memory of all these
    cdef int n_owned
    cdef bint busy, bound, stale  # stale: the tasks' gradients are not the bound ones
    cdef int most
    cdef measured_t[2] measured  # right after the last step; after the caller did something else
    cdef double left  # when the last step ended

    def __dealloc__(self):
        self.clear()

    cdef void clear(self) noexcept:
        """Give back the plan's memory and the gradients it holds."""
        cdef int k
        self.release(self.held)
        self.release(self.fixed)
        for k in range(self.n_owned):
            free(self.owned[k])
        self.n_owned = 0
        self.held = self.fixed = NULL
        self.t = NULL

    cdef void *own(self, Py_ssize_t count, Py_ssize_t size) except NULL:
        """Zeroed memory that lives as long as the plan."""
        cdef void *memory = calloc(count + 1, size)
        if memory == NULL:
            raise MemoryError("the plan of the optimizer's arrays")
        self.owned[self.n_owned] = memory
        self.n_owned += 1
        return memory

    cdef void release(self, PyObject **objects) noexcept:
        cdef Py_ssize_t i
        if objects != NULL:
            for i in range(self.n):
                if objects[i] != NULL:
                    Py_DECREF(<object> objects[i])
                    objects[i] = NULL

    def _plan(self, capsule, Structure structure, list slots, list groups, int threads):
        """Lay out the walk over these parameters; their counts of steps stay."""
        cdef Py_ssize_t i, j, k, n = len(slots), used = 0
        cdef task_t *task
        cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(capsule, "fastopt.table")
        if table.version != VERSION:
            raise ImportError(f"kernels of version {table.version}, expected {VERSION}: build fastopt again")
        self.refuse_busy()
        counts = [self.t[i] for i in range(self.n)] if self.t != NULL else []
        self.clear()
        self.table, self.capsule = table, capsule
        self.structure, self.slots, self.groups, self.most = structure, slots, groups, threads
        self.n, self.blocks, self.elements, self.bound = n, 0, 0, False
        self.tasks = <task_t *> self.own(n, sizeof(task_t))
        self.c = <double *> self.own(n * SCALARS, sizeof(double))
        self.stage_c = <double *> self.own(len(groups) * STAGES, sizeof(double))
        self.t = <int64_t *> self.own(n, sizeof(int64_t))
        self.held = <PyObject **> self.own(n, sizeof(void *))
        self.fixed = <PyObject **> self.own(n, sizeof(void *))
        self.hint = <Py_ssize_t *> self.own(n, sizeof(Py_ssize_t))
        self.ints = <Py_ssize_t *> self.own(sum(3 * len(s.order) for s in slots) + 1, sizeof(Py_ssize_t))
        self.values = <const double **> self.own(len(groups), sizeof(void *))
        self.group_of = <int *> self.own(n, sizeof(int))
        self.inputs = <int *> self.own(len(groups) * STAGES * 2, sizeof(int))
        spans = sorted(layout.extent(a) for s in slots for a in (s.array, *s.state.values()) if a.size)
        self.ranges = <uintptr_t *> self.own(2 * len(spans) + 1, sizeof(uintptr_t))
        for i in range(len(counts)):
            self.t[i] = counts[i]
        self.n_ranges = 0
        for lo, hi in spans:
            if self.n_ranges and lo < self.ranges[2 * self.n_ranges - 1]:
                self.ranges[2 * self.n_ranges - 1] = max(hi, self.ranges[2 * self.n_ranges - 1])
            else:
                self.ranges[2 * self.n_ranges] = lo
                self.ranges[2 * self.n_ranges + 1] = hi
                self.n_ranges += 1
        for i in range(len(groups)):
            self.values[i] = <const double *> cnp.PyArray_DATA(groups[i].numbers)
            for k in range(STAGES):
                taken = groups[i].inputs.get(table.stages[k].name.decode(), ()) if k < table.n_stages else ()
                for j in range(2):
                    self.inputs[(i * STAGES + k) * 2 + j] = taken[j] if j < len(taken) else -1
        self.arrays = [s.array for s in slots]
        self.scheduled = [g.scheduled for g in groups]
        for i in range(n):
            s = slots[i]
            self.group_of[i] = groups.index(s.group)
            task = &self.tasks[i]
            shape, strides, _ = layout.reals(s.array)
            task.p.data = <char *> cnp.PyArray_DATA(s.array)
            task.p.format = format_of(cnp.PyArray_TYPE(s.array))
            task.p.flat = layout.is_flat(s.array, s.order)
            task.p.ndim = task.g.ndim = len(s.order)
            task.p.shape = task.g.shape = self.ints + used
            task.p.strides = task.p.shape + task.p.ndim
            task.g.strides = task.p.strides + task.p.ndim
            used += 3 * task.p.ndim
            task.n = 1
            for k in range(task.p.ndim):
                task.p.shape[k] = shape[s.order[k]]
                task.p.strides[k] = strides[s.order[k]]
                task.n *= task.p.shape[k]
            for k, a in enumerate(s.state.values()):
                task.state[k] = <char *> cnp.PyArray_DATA(a)
            task.rule = self.find(s.group.rule)
            task.first = self.blocks
            self.blocks += (task.n + BLOCK - 1) // BLOCK
            self.elements += task.n
        for k in range(2):
            self.measured[k] = measured_t(0, 0, 20, 0, False)
        self.measured[1].wait = 0.08

    cdef const rule_t *find(self, rule) except NULL:
        cdef int k
        for k in range(self.table.n_rules):
            if self.table.rules[k].name == <bytes> rule.name.encode():
                return &self.table.rules[k]
        raise LookupError(f"no kernel of rule {rule.name!r}: build fastopt again")

    @property
    def steps(self):
        """Updates made so far."""
        return self.count

    def _at_work(self):
        """Whether another thread is in the middle of a step."""
        return self.busy

    def _counts(self):
        return [self.t[i] for i in range(self.n)]

    def _set_counts(self, counts, steps):
        cdef Py_ssize_t i
        self.refuse_busy()
        for i in range(self.n):
            self.t[i] = counts[i]
        self.count = steps

    cdef int refuse_busy(self) except -1:
        if self.busy:
            raise RuntimeError("this optimizer is in the middle of a step, in another thread or in a schedule that it calls")
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
        self.refuse_busy()
        self.busy = True
        try:
            self.collect(grads)
            self.fix()
        finally:
            self.release(self.held)
            self.busy = False

    def _bind_flat(self, list grads):
        """`bind`, from gradients in a list."""
        cdef Py_ssize_t i
        for i in range(self.n):
            Py_INCREF(grads[i])
            self.held[i] = <PyObject *> <object> grads[i]
        try:
            self.fix()
        finally:
            self.release(self.held)

    cdef int fix(self) except -1:
        """The gradients in `held` become the bound ones."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if not isinstance(<object> self.held[i], (cnp.ndarray, type(None))):
                kind = type(<object> self.held[i]).__name__
                raise TypeError(f"gradient of {self.slots[i].name!r}: {kind}, expected a NumPy array to bind")
        self.take()
        self.release(self.fixed)
        memcpy(self.fixed, self.held, self.n * sizeof(void *))
        for i in range(self.n):
            self.held[i] = NULL
        self.bound = True
        return 0

    def _bound(self):
        """The bound gradients in a list, or None."""
        return [<object> self.fixed[i] for i in range(self.n)] if self.bound else None

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
            Whether the parameters were updated: True.

        Raises
        ------
        TypeError, ValueError
            For gradients, a scale or hyperparameters that do not fit; nothing has been changed.
        RuntimeError
            If the optimizer is in the middle of a step in another thread.
        """
        self.refuse_busy()
        self.busy = True
        try:
            if grads is not None:
                self.collect(grads)
                self.take()
            elif not self.bound:
                raise ValueError("step() without gradients, expected step(grads), or bind(grads) before")
            elif self.stale:
                self.retake()
            self.prepare(scale)
            self.run()
        finally:
            self.busy = False
            if grads is not None:
                self.release(self.held)
                self.stale = True
        return True

    cdef int retake(self) except -1:
        """The bound gradients again, after a step with others."""
        cdef Py_ssize_t i
        for i in range(self.n):
            Py_INCREF(<object> self.fixed[i])
            self.held[i] = self.fixed[i]
        try:
            self.take()
        finally:
            self.release(self.held)
        return 0

    cdef int collect(self, grads) except -1:
        try:
            if self.structure is None:
                Py_INCREF(grads)
                self.held[0] = <PyObject *> grads
            else:
                self.structure.collect(grads, self.held, 0)
        except BaseException:
            self.release(self.held)
            raise
        return 0

    cdef int take(self) except -1:
        """Check every gradient in `held`, and point its task to it."""
        cdef Py_ssize_t i
        cdef object g
        cdef cnp.ndarray p
        self.stale = True
        try:
            for i in range(self.n):
                g = <object> self.held[i]
                self.tasks[i].active = g is not None
                if g is None:
                    continue
                p = <cnp.ndarray> self.arrays[i]
                if type(g) is not cnp.ndarray or cnp.PyArray_TYPE(<cnp.ndarray> g) != cnp.PyArray_TYPE(p) \
                        or not same_shape(<cnp.ndarray> g, p) or not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> g):
                    g = layout.check_gradient(self.slots[i].name, p, g)
                    Py_INCREF(g)
                    Py_DECREF(<object> self.held[i])
                    self.held[i] = <PyObject *> g
                self.point(i, <cnp.ndarray> g)
        except BaseException:
            self.release(self.held)
            raise
        self.stale = False
        return 0

    cdef int point(self, Py_ssize_t i, cnp.ndarray g) except -1:
        """One task to its gradient: where it lies, in the parameter's order, and that nothing written overlaps it."""
        cdef task_t *task = &self.tasks[i]
        cdef view_t *v = &task.g
        cdef int ndim = cnp.PyArray_NDIM(g), k, axis
        cdef Py_ssize_t size, expected, low = 0, high
        cdef uintptr_t first
        cdef list order
        v.data = <char *> cnp.PyArray_DATA(g)
        v.format = format_of(cnp.PyArray_TYPE(g))
        size = cnp.PyArray_ITEMSIZE(g) // (1 + cnp.PyTypeNum_ISCOMPLEX(cnp.PyArray_TYPE(g)))
        expected = high = size
        v.flat = True
        if v.ndim == 1 and ndim == 1:
            v.strides[0] = cnp.PyArray_STRIDES(g)[0]
        elif v.ndim:
            order = self.slots[i].order
            for k in range(v.ndim):
                axis = order[k]
                v.strides[k] = size if axis == ndim else cnp.PyArray_STRIDES(g)[axis]
        for k in range(v.ndim - 1, -1, -1):
            if v.shape[k] != 1:
                v.flat = v.flat and v.strides[k] == expected
                expected *= v.shape[k]
                if v.strides[k] < 0:
                    low += (v.shape[k] - 1) * v.strides[k]
                else:
                    high += (v.shape[k] - 1) * v.strides[k]
        if <uintptr_t> v.data % size:
            v.flat = False
        if task.n == 0:
            return 0
        first = <uintptr_t> (v.data + low)
        if not self.is_clear(i, first, first + <uintptr_t> (high - low)):
            for s in self.slots:
                for name, a in (("parameter", s.array), *s.state.items()):
                    if layout.share(g, a):
                        what = f"{name} {s.name!r}" if name == "parameter" else f"state {name!r} of {s.name!r}"
                        raise ValueError(f"gradient of {self.slots[i].name!r}: shares memory with {what}")
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

    cdef int prepare(self, double scale) except -1:
        """All scalars of the step: schedules are Python, then plain C in a known floating-point environment."""
        cdef Py_ssize_t i, group = -1
        cdef int k, j, staged = 0
        cdef int64_t t = -1
        cdef task_t *task
        cdef double *row = NULL
        cdef const double *h = NULL
        cdef double *stages = NULL
        cdef double[STAGES] inputs
        cdef fo_env env
        if not -1e300 < scale < 1e300:
            raise ValueError(f"scale: {scale}, expected a finite number")
        for i in range(len(self.scheduled)):
            if PyDict_Size(self.scheduled[i]):
                self.evaluate(i)
        env = fo_enter()
        for i in range(self.n):
            task = &self.tasks[i]
            if not task.active:
                continue
            if self.group_of[i] != group:
                group = self.group_of[i]
                h = self.values[group]
                stages = self.stage_c + group * STAGES
                staged = 0
                t = -1
                for k in range(self.table.n_stages):
                    if self.inputs[(group * STAGES + k) * 2] == -1:
                        continue
                    for j in range(self.table.stages[k].hyperparameters):
                        inputs[j] = h[self.inputs[(group * STAGES + k) * 2 + j]]
                    if k == 0:
                        inputs[0] = inputs[0] * scale
                    self.table.stages[k].prepare(inputs, stages + k)
                    if stages[k] != self.table.stages[k].neutral:
                        staged |= 1 << k
            if self.t[i] != t:
                t = self.t[i]
                row = self.c + i * SCALARS
                task.rule.prepare(t + 1, h, row)
            task.c = row
            task.staged = staged
            task.stage_c = stages
        fo_leave(env)
        return 0

    cdef int evaluate(self, Py_ssize_t i) except -1:
        """A group's schedules at this step; what is not a plain float in its range goes through Python, for the error."""
        cdef object group = self.groups[i], slots = group.slot, x
        cdef dict domains = group.domains
        cdef double value
        cdef tuple domain
        for name, schedule in (<dict> self.scheduled[i]).items():
            x = schedule(self.count)
            domain = domains[name]
            if type(x) is float and <double> domain[0] <= <double> x < <double> domain[1]:
                value = x
            else:
                value = group.check(name, x)
            (<double *> self.values[i])[<Py_ssize_t> slots[name]] = value
        return 0

    cdef int run(self) except -1:
        """Walk all arrays, by as many threads as have shown to pay, and count the step."""
        cdef Py_ssize_t i, part, parts = 1
        cdef double begin
        cdef measured_t *m = NULL
        if self.elements >= 2 * GRAIN and self.most != 1 and not fo_forked:
            parts = self.most if self.most > 0 else available()
            parts = min(parts, self.elements // GRAIN)
        if parts > 1:
            begin = fo_now()
            if self.most == 0:
                m = &self.measured[begin - self.left > 5e-5]
                if not m.parallel:
                    parts = 1
        with nogil:
            if parts == 1:
                self.walk(0, self.blocks)
            else:
                for part in prange(parts, num_threads=<int> parts, schedule="static"):
                    self.walk(self.blocks * part // parts, self.blocks * (part + 1) // parts)
        if m != NULL:
            self.left = fo_now()
            measure(m, self.left - begin)
        for i in range(self.n):
            self.t[i] += self.tasks[i].active
        self.count += 1
        return 0

    cdef void walk(self, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
        """Blocks lo to hi of the index space of all arrays."""
        cdef Py_ssize_t i = 0, end = self.n, middle
        cdef const task_t *task
        cdef fo_env env = fo_enter()
        while end - i > 1:
            middle = (i + end) // 2
            if self.tasks[middle].first <= lo:
                i = middle
            else:
                end = middle
        while i < self.n and self.tasks[i].first < hi:
            task = &self.tasks[i]
            if task.active and task.n:
                self.table.span(self.table, task, max(<Py_ssize_t> 0, lo - task.first) * BLOCK, min(task.n, (hi - task.first) * BLOCK))
            i += 1
        fo_leave(env)


cdef bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int k
    if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for k in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, k) != cnp.PyArray_DIM(b, k):
            return False
    return True
