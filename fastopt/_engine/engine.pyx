# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Stepper: the plan of an optimizer's arrays, the checks of a step, the walk over all of them and its threads."""

from cpython.dict cimport PyDict_GetItem, PyDict_GetItemWithError, PyDict_Next, PyDict_Size, PyDict_Values
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject, PyTypeObject, Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cython.parallel cimport prange
from libc.math cimport NAN
from libc.stdint cimport int16_t, int64_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
cimport numpy as cnp

from fastopt._engine.chooser cimport AT_ONCE, chooser_t, expect_threads, learn_nothing, measure, measured_t
from fastopt._engine.dlpack cimport data_of, exchange_t, fits, lies_under, tensor_t
from fastopt._engine.encoding cimport size_of
from fastopt._engine.stepper cimport Backend
from fastopt._engine.table cimport (
    ACCUMULATES, ARRAY, AVERAGES, BFLOAT16, BLOCK, CHECK, CHECKS, CLEAR, COLUMNS, EMPTY, END, FLOAT8, FLOAT16, FLOAT32, FLOAT64,
    GRADIENT, GROUP, INPUTS, MEASURES,
    KEPT, LINES, LONGDOUBLE, MATRIX, OWN, RATIOS, ROWS, RULE, RULE_ALONE, SCALARS, STAGE, STAGES, STATES, STRAIGHT, SUBTRACT, SUMS,
    TERMS, TOTALS, UFLOAT8, VERSION, WHOLE, format_t, formula_t, lines_t, is_loose, mark_wide, op_of, op_t, partial_t, scope_t, table_t,
    task_t, view_t,
)

from numpy import zeros

from fastopt._arrays import dtypes, layout, overlap, row_gradient
from fastopt._engine import threads as system
from fastopt import spec
from fastopt.domains import check_order

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    PyTypeObject ARRAY_TYPE "PyArray_Type"
    object array_at "PyArray_NewFromDescr"(PyTypeObject *kind, cnp.PyArray_Descr *dtype, int ndim, const cnp.npy_intp *shape,
                                           const cnp.npy_intp *strides, void *data, int flags, PyObject *base)

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    uint32_t fo_key(uint32_t key, uint32_t number)
    void fo_leave(fo_env caller)
    ctypedef struct fo_total:
        pass
    void fo_total_clear(fo_total *total)
    void fo_total_add_blocks(fo_total *total, const partial_t *blocks, int64_t n, int64_t stride)
    int fo_totals_given(fo_total *totals, int sums, int squares, double n, double *given)

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
    OPS = STAGES + 8  # operations of a group, at most
    GRAIN = 32768  # elements that are worth a thread
    LOGGED = 256  # steps that a row can be behind
    RUN = 4096  # elements of rows that catch up together, or one row
    SPIN = 10000000  # elements that take one thread longer than BLAS's threads go on spinning after a product of matrices
    TINY = 2048  # elements whose step takes no longer than giving the GIL away and back

cdef object TAGGED = dtypes.bfloat16
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


cdef struct plan_t:
    const table_t *table
    task_t *tasks
    Py_ssize_t n, blocks, elements
    int most  # threads; 0: as many as have shown to pay
    bint flush  # subnormals, in the spans
    chooser_t *chooser

cdef enum pass_kind_t:  # what all arrays are walked for
    STEPPING
    SUMMING
    AVERAGING  # of the lines of matrices
    SPREADING  # terms of a rule into its matrices

cdef struct run_t:  # of blocks of sums, that are still to be added
    Py_ssize_t first
    Py_ssize_t end

cdef struct pass_t:
    pass_kind_t kind
    int id  # of the operation whose sums are wanted
    const formula_t *formula  # that has them
    const Py_ssize_t *starts  # of each array, in an index space that is summed block by block
    Py_ssize_t blocks
    partial_t *partials  # as many as it has sums, for each block


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


cdef int choose(const plan_t *plan) noexcept:
    """By how many threads to work; `learn` is to follow."""
    cdef Py_ssize_t parts = 1
    cdef chooser_t *chooser = plan.chooser
    chooser.now = NULL
    if plan.elements < 2 * GRAIN or plan.most == 1 or fo_forked:
        return 1
    parts = min(<Py_ssize_t> (plan.most if plan.most > 0 else available()), plan.elements // GRAIN)
    if parts > 1 and plan.most == 0:
        chooser.now = &chooser.measured[chooser.entered - chooser.left > 1e-6 * AT_ONCE]
        if not chooser.now.parallel:
            return 1
    return <int> parts


cdef void learn(const plan_t *plan) noexcept:
    """What a step took, its checks too, which threads that spin can slow down; where its number of threads was a choice."""
    if plan.chooser.now != NULL:
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


cdef inline bint has_terms(const task_t *task, scope_t scope) noexcept nogil:
    """Whether this step needs terms of matrices, of this kind, of a parameter."""
    return task.active and task.n and task.rule.terms and task.rule.terms_scope == scope


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


cdef void write_down(logged_t *logged, const task_t *task, uint32_t key) noexcept nogil:
    """What this step does, with its scalars."""
    cdef const op_t *op = task.ops
    cdef int k = 0, j
    logged.key = key
    memcpy(logged.c, task.c, task.rule.scalars * sizeof(double))
    while True:
        logged.ops[k] = op[k]
        if op[k].kind == END:
            return
        if op[k].c != NULL and op[k].kind != RULE:
            for j in range(op[k].formula.scalars):
                logged.stage_c[k][j] = (op[k].c + op[k].stride * task.index)[j]
            logged.ops[k].c, logged.ops[k].stride = logged.stage_c[k], 0
        k += 1


cdef void replay(const plan_t *plan, Py_ssize_t i, lagging_t *lagging, bint direct, int64_t now, const int64_t *indices,
                 Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Steps without a gradient for rows that are behind; those that follow one another make them together."""
    cdef task_t task = plan.tasks[i]
    cdef logged_t *logged
    cdef Py_ssize_t n, k, row, place, size = size_of(FLOAT64 if task.p.format == FLOAT64 else FLOAT32)
    cdef int64_t t, done
    task.rows = NULL
    task.g.format, task.g.flat = FLOAT64 if task.p.format == FLOAT64 else FLOAT32, True
    task.direct = direct
    while lo < hi:
        row = indices[lo] if indices != NULL else lo
        done = lagging.done[row]
        n = 1
        while lo + n < hi and (n + 1) * task.row <= RUN and (indices == NULL or indices[lo + n] == row + n) \
                and lagging.done[row + n] == done:
            n += 1
        place = row * task.row
        for t in range(done, now):
            logged = &lagging.log[t % LOGGED]
            task.ops, task.c, task.seed = logged.ops, logged.c, &logged.key
            task.g.data = lagging.zeros - place * size
            plan.table.span(&task, place, place + n * task.row)
        for k in range(n):
            lagging.done[row + k] = now
        lo += n


cdef const formula_t *find(const table_t *table, object formula) except NULL:
    """A rule's kernels, if they were compiled from what its text says now: in this table, or in one of its own."""
    cdef int k
    if formula.capsule is not None:
        table = table_of(formula.capsule)
    for k in range(table.n_rules):
        if table.rules[k].name == <bytes> formula.name.encode():
            check_signature(&table.rules[k], formula)
            return &table.rules[k]
    raise LookupError(f"no kernel of rule {formula.name!r}: build fastopt again")


cdef int check_signature(const formula_t *compiled, object formula) except -1:
    if compiled.signature != <bytes> formula.signature.encode():
        raise LookupError(f"the kernels of {formula.name!r} are of ({compiled.signature.decode()}), not of ({formula.signature}): "
                          f"build fastopt again")
    return 0


cdef const table_t *table_of(object capsule) except NULL:
    cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(capsule, "fastopt.table")
    if table.version != VERSION:
        raise ImportError(f"kernels of version {table.version}, expected {VERSION}: build fastopt again")
    return table


cdef int place_of(const table_t *table, int kind) noexcept:
    """The place of the stage of a kind in the table."""
    cdef int k
    for k in range(table.n_stages):
        if table.stages[k].kind == kind:
            return k
    return -1


cdef format_t format_of(int type_num):
    if type_num == cnp.NPY_USHORT:
        return BFLOAT16
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


cdef struct logged_t:  # a step of one parameter, to be made later for rows that its gradient did not have
    uint32_t key
    double[SCALARS] c
    double[OPS][INPUTS] stage_c
    op_t[OPS] ops

cdef struct lagging_t:  # rows of a parameter that some steps are still to be made for
    Py_ssize_t count  # of its rows
    bint behind  # some row is
    int64_t *done  # steps of each row, if so
    char *zeros  # a gradient for some rows
    Py_ssize_t next  # row that is looked after in the next step
    logged_t[LOGGED] log  # of the last steps, each at its number modulo LOGGED


cdef enum policy_t:  # what a gradient that is infinite or NaN does
    PROPAGATE
    SKIP
    RAISE
    ZERO

POLICIES = ("propagate", "skip", "raise", "zero")

cdef double[2] NOTHING = [0.0, 0.0]  # the gradient of a parameter that has none in the last of several steps


cdef const char *EXCHANGE = "dlpack_exchange_api"


def exchange_of(kind):
    """What tells where a class's tensors lie, or None if it has nothing that is known here."""
    cdef const exchange_t *api
    exchange = getattr(kind, "__dlpack_c_exchange_api__", None)
    if exchange is None:
        return None
    api = <const exchange_t *> PyCapsule_GetPointer(exchange, EXCHANGE)
    return exchange if api.major == 1 and api.look != NULL else None


cdef object over(const tensor_t *x, cnp.ndarray p):
    """An array over a tensor that fits a parameter; it holds nothing."""
    cdef cnp.npy_intp[cnp.NPY_MAXDIMS] strides
    cdef object dtype = TAGGED if cnp.PyArray_TYPE(p) == cnp.NPY_USHORT else <object> cnp.PyArray_DESCR(p)
    cdef int k
    for k in range(x.ndim):
        strides[k] = x.strides[k] * cnp.PyArray_ITEMSIZE(p)
    Py_INCREF(dtype)  # which the array takes over
    return array_at(&ARRAY_TYPE, <cnp.PyArray_Descr *> dtype, x.ndim, cnp.PyArray_DIMS(p), strides,
                    <void *> NOTHING if data_of(x) == NULL else data_of(x), cnp.NPY_ARRAY_WRITEABLE, NULL)


cdef class Plan(Backend):
    """How a step walks these parameters: laid out as a whole, then never changed but for their counts and gradients."""

    cdef plan_t walk
    cdef pass_t update, summing
    cdef chooser_t chooser
    cdef readonly object capsule, structure
    cdef object written  # what a step writes, to be asked where gradients reach into its ranges; or None
    cdef readonly list slots, groups  # of fastopt.base: Parameter, Group
    cdef list arrays  # the parameters' own views, whose shape nobody else can set
    cdef list given  # the same as the caller has them
    cdef list numbers, scheduled  # each group's hyperparameters, and which of them are schedules
    cdef bint stale  # the tasks' gradients are not the bound ones
    cdef list views  # arrays over the last gradients that were tensors, whose memory may be gone: not to be read but after a look
    cdef double *c  # a row of the rule's scalars for each parameter, used where it differs from its neighbour's
    cdef double *kept  # a row of the rule's numbers that live from step to step for each parameter
    cdef double *sums_c  # a row of scalars for the rule's sums for each parameter
    cdef double *stage_c  # a row of the stages' scalars for each group
    cdef double *array_c[STAGES]  # of stages whose sums each array has for itself: a row for each parameter
    cdef double *sums[STAGES + 1]  # of each stage's sums, and of the rule's: TOTALS for each array, each group, or once
    cdef int64_t *t  # steps of each parameter
    cdef bint *active  # has a gradient in this step
    cdef Py_ssize_t n_active
    cdef bint settled  # all have, their counts are a group's, and so are their scalars
    cdef uint32_t key  # of this step's random bits
    cdef bint *pending  # has gradients that were gathered for a step to come
    cdef bint *flat  # nothing of its storage needs decoding
    cdef PyObject **held  # gradients of the step at work, owned
    cdef Py_ssize_t *ints
    cdef Py_ssize_t **orders  # of each parameter's axes, from the slowest to the fastest in memory
    cdef Py_ssize_t *starts[3]  # of each array in the index spaces of sums, by their scope
    cdef Py_ssize_t space[3]  # their blocks
    cdef Py_ssize_t n, n_groups, n_ranges
    cdef uintptr_t *ranges  # written memory: disjoint, sorted pairs of first and one past the last byte
    cdef Py_ssize_t *hint  # where each gradient lay between those in the last step
    cdef double **values  # each group's hyperparameters: the rule's own, then the stages'
    cdef int *group_of  # each parameter's
    cdef Py_ssize_t *firsts  # each group's first parameter with a gradient
    cdef int *inputs  # INPUTS for each stage of each group: which of the values it takes; -1: none
    cdef bint *present  # which stages each group has
    cdef int *scales  # which of each group's values the scale of a step multiplies
    cdef op_t *ops  # each group's operations in this step
    cdef const formula_t **rules  # each group's
    cdef int64_t *staged  # the stages that are on in this step, a bit each, of each group
    cdef int64_t *wanted  # what decides on the operations of a group, a bit each: steps that hold have a stage for it
    cdef int64_t *composed  # the same when they were composed
    cdef int64_t union  # of all groups
    cdef int64_t done  # of all groups in the last step that was made
    cdef double **used  # each group's hyperparameters in that step
    cdef bint stepped  # whether there was one since the layout
    cdef Py_ssize_t *n_values  # how many those are
    cdef int64_t checks  # stages whose sums alone are of interest, a bit each
    cdef int finite_at, hold_at, gather_at
    cdef const formula_t **beside  # each group's rule of arrays that its rule is not for, or NULL
    cdef int *of_beside  # SCALARS for each group: which of the values that rule takes
    cdef double[SCALARS] gathered_h  # those
    cdef const formula_t *summing_rule  # one that needs sums, or NULL; all that do are of one kind
    cdef bint prepares, changes_matrices  # a rule has terms of matrices; which are changed as a whole
    cdef lines_t *lines
    cdef list line_sums  # their memory
    cdef Py_ssize_t chunks  # of all arrays' lines
    cdef policy_t policy
    cdef bint clear, nearest, exact, sparse  # exact: rows without a gradient make their steps later; sparse: some gradient is of rows
    cdef lagging_t **lagging  # of each parameter; NULL: it has no rows that are behind
    cdef unsigned int seed
    cdef int accumulate
    cdef void *owned[80]  # memory of all these
    cdef int n_owned

    def __dealloc__(self):
        cdef Py_ssize_t i
        cdef int k
        for i in range(self.n if self.lagging != NULL else 0):
            if self.lagging[i] != NULL:
                free(self.lagging[i].done)
                free(self.lagging[i].zeros)
                free(self.lagging[i])
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

    def __init__(self, structure, list slots, list groups, object settings, capsule):
        cdef Py_ssize_t i
        cdef const table_t *table = table_of(capsule)
        ranges = overlap.ranges(a for s in slots for _, a in s.written())
        self.n, self.n_groups = len(slots), len(groups)
        self.capsule, self.structure, self.slots, self.groups = capsule, structure, slots, groups
        self.arrays = [s.array for s in slots]
        self.given = [s.given for s in slots]
        self.numbers = [g.numbers for g in groups]
        self.scheduled = [g.scheduled for g in groups]
        self.policy = <policy_t> <int> POLICIES.index(settings.nonfinite)
        self.accumulate, self.clear = settings.accumulate, settings.zero_grads
        self.exact = settings.mode == "exact"
        self.lagging = <lagging_t **> self.own(self.n, sizeof(void *))
        self.nearest, self.seed = settings.rounding == "nearest", settings.seed
        self.finite_at, self.hold_at, self.gather_at = (place_of(table, kind) for kind in (CHECKS, ACCUMULATES, AVERAGES))
        self.checks = <int64_t> (self.policy != ZERO) << self.finite_at
        for i in range(table.n_stages):
            self.checks |= <int64_t> (table.stages[i].kind == MEASURES) << i
        self.c = <double *> self.own(self.n * SCALARS, sizeof(double))
        self.kept = <double *> self.own(self.n * KEPT, sizeof(double))
        self.stage_c = <double *> self.own(self.n_groups * STAGES * INPUTS, sizeof(double))
        self.t = <int64_t *> self.own(self.n, sizeof(int64_t))
        self.pending = <bint *> self.own(self.n, sizeof(bint))
        self.active = <bint *> self.own(self.n, sizeof(bint))
        self.flat = <bint *> self.own(self.n, sizeof(bint))
        self.hint = <Py_ssize_t *> self.own(self.n, sizeof(Py_ssize_t))
        self.held = <PyObject **> self.own(self.n, sizeof(void *))
        self.ranges = <uintptr_t *> self.own(2 * len(ranges), sizeof(uintptr_t))
        self.n_ranges = len(ranges)
        for i in range(self.n_ranges):
            self.ranges[2 * i], self.ranges[2 * i + 1] = ranges[i]
        self.walk = plan_t(table, <task_t *> self.own(self.n, sizeof(task_t)), self.n, 0, 0, min(settings.threads or 0, 1 << 16),
                           settings.flush_subnormals, &self.chooser)
        learn_nothing(&self.chooser)
        self.lay_groups(table)
        self.lay_slots(table)
        self.update = pass_t(STEPPING, 0, NULL, NULL, self.walk.blocks, NULL)

    cpdef enter(self):
        if self.walk.elements >= 2 * GRAIN:
            self.chooser.entered = fo_now()

    cpdef exit(self):
        release(self.held, self.n)

    cpdef take(self, object grads):
        self.stale = True
        collect(self.structure, grads, self.held, 0)
        self.take_held()

    cpdef take_list(self, list grads):
        self.stale = True
        self.hold(grads)
        self.take_held()

    cpdef take_bound(self, list grads):
        if self.stale or self.accumulate > 1:
            self.take_list(grads)
            self.stale = False

    cdef int hold(self, list grads) except -1:
        """Gradients from a list into `held`."""
        cdef Py_ssize_t i
        if len(grads) != self.n:
            raise ValueError(f"{len(grads)} gradients, expected {self.n}")
        for i in range(self.n):
            Py_INCREF(grads[i])
            self.held[i] = <PyObject *> grads[i]
        return 0

    def check_bindable(self, list grads, clears):
        return layout.check_bindable(self.slots, grads, clears)

    def counter(self, Py_ssize_t i):
        cdef int k
        return self.t[i], [self.kept[i * KEPT + k] for k in range(self.walk.tasks[i].rule.kept)], bool(self.pending[i])

    def counters(self):
        cdef Py_ssize_t i
        return [self.counter(i) for i in range(self.n)]

    def set_counter(self, Py_ssize_t i, tuple counted):
        cdef int k
        cdef int64_t t
        cdef bint pending
        cdef double[KEPT] numbers
        t, kept, pending = counted
        for k, x in enumerate(kept):
            numbers[k] = x
        self.settled = False
        self.t[i], self.pending[i] = t, pending
        for k in range(len(kept)):
            self.kept[i * KEPT + k] = numbers[k]

    def set_counters(self, list each):
        cdef Py_ssize_t i
        self.done, self.stepped = 0, False
        for i in range(self.n):
            self.set_counter(i, each[i])
        self.forget()

    def catch_up(self, list rows):
        cdef Py_ssize_t i
        self.check_caught_up()
        for i in range(self.n):
            if rows is None:
                self.catch_up_whole(i)
            elif rows[i] is not None and self.lagging[i] != NULL and self.lagging[i].behind:
                self.catch_up_rows(i, <int64_t *> cnp.PyArray_DATA(rows[i]), 0, cnp.PyArray_SIZE(rows[i]), 1)

    def totals(self, str stage):
        cdef Py_ssize_t i
        cdef int k = list(spec.STAGES).index(stage), j
        if self.sums[k] == NULL or not self.done >> k & 1:
            return None
        entries = self.n if self.walk.table.stages[k].scope == ARRAY else 1
        given = len(spec.STAGES[stage].given)
        return [[self.sums[k][i * TOTALS + j] for j in range(given)] for i in range(entries)]

    def hyperparameters(self):
        cdef Py_ssize_t i, j
        if not self.stepped:
            return None
        return [[self.used[i][j] for j in range(self.n_values[i])] for i in range(self.n_groups)]

    def nonfinite(self):
        cdef Py_ssize_t i
        cdef const double *found = self.sums[self.finite_at]
        return {self.slots[i].name: int(found[i * TOTALS]) for i in range(self.n) if found[i * TOTALS] > 0}

    def over(self, exchange, kind, list params, list grads, other):
        """Arrays over the gradients that tensors are, or None if a parameter is no longer where it was.

        They hold nothing: whoever uses them sees to it that the memory is still there. What is not an own tensor of `kind`, on the
        CPU, of its parameter's real dtype and shape, `other` makes an array of, from its place and itself.
        """
        cdef const exchange_t *api = <const exchange_t *> PyCapsule_GetPointer(exchange, EXCHANGE)
        cdef Py_ssize_t i
        cdef tensor_t x
        cdef cnp.ndarray p
        cdef list arrays = []
        cdef object negated = kind.is_neg  # when it is read, which memory does not say
        if len(params) != self.n or len(grads) != self.n:
            raise ValueError(f"{len(params)} parameters and {len(grads)} gradients, expected {self.n}")
        if self.views is None or len(self.views) != self.n:
            self.views = [None] * self.n
        for i in range(self.n):
            p = <cnp.ndarray> self.arrays[i]
            if not self.look(api, params[i], p, &x) or not lies_under(&x, p):
                return None
            g = grads[i]
            if g is None:
                arrays.append(None)
                continue
            if type(g) is not kind or not self.look(api, g, p, &x) or negated(g):
                arrays.append(other(i, g))
                continue
            if self.views[i] is None or not fits(&x, <cnp.ndarray> self.views[i]) or not lies_under(&x, <cnp.ndarray> self.views[i]):
                self.views[i] = over(&x, p)
            arrays.append(self.views[i])
        return arrays

    cdef bint look(self, const exchange_t *api, object tensor, cnp.ndarray p, tensor_t *x):
        """Whether a tensor can be described, and has a parameter's dtype and shape."""
        try:
            api.look(<void *> tensor, x)
        except Exception:  # it has no memory, or no strides
            return False
        return fits(x, p)

    def expect_threads(self):
        """Be told that the caller computes its gradients with the threads of this process's OpenMP, as PyTorch does."""
        expect_threads(&self.chooser)

    cdef int lay_groups(self, const table_t *table) except -1:
        """Each group's rule and stages, and where they find their hyperparameters."""
        cdef Py_ssize_t i
        cdef double *used
        cdef int k, j
        cdef const formula_t *rule
        self.beside = <const formula_t **> self.own(self.n_groups, sizeof(void *))
        self.of_beside = <int *> self.own(self.n_groups * SCALARS, sizeof(int))
        self.values = <double **> self.own(self.n_groups, sizeof(void *))
        self.used = <double **> self.own(self.n_groups, sizeof(void *))
        self.n_values = <Py_ssize_t *> self.own(self.n_groups, sizeof(Py_ssize_t))
        used = <double *> self.own(sum(map(len, self.numbers)), sizeof(double))
        self.inputs = <int *> self.own(self.n_groups * STAGES * INPUTS, sizeof(int))
        self.present = <bint *> self.own(self.n_groups * STAGES, sizeof(bint))
        self.scales = <int *> self.own(self.n_groups, sizeof(int))
        self.ops = <op_t *> self.own(self.n_groups * OPS, sizeof(op_t))
        self.rules = <const formula_t **> self.own(self.n_groups, sizeof(void *))
        self.staged = <int64_t *> self.own(self.n_groups, sizeof(int64_t))
        self.wanted = <int64_t *> self.own(self.n_groups, sizeof(int64_t))
        self.composed = <int64_t *> self.own(self.n_groups, sizeof(int64_t))
        for i in range(self.n_groups):
            group = self.groups[i]
            self.values[i] = <double *> cnp.PyArray_DATA(self.numbers[i])
            self.scales[i] = group.index["scale"]
            self.n_values[i] = len(self.numbers[i])
            self.used[i] = used
            used += self.n_values[i]
            self.rules[i] = find(table, group.rule)
            self.beside[i] = find(table, group.beside) if group.beside is not None else NULL
            for j, place in enumerate(group.of_beside):
                self.of_beside[i * SCALARS + j] = place
            for k in range(2):
                rule = self.beside[i] if k else self.rules[i]
                if rule != NULL and rule.sums:
                    self.summing_rule = rule
                self.prepares = self.prepares or (rule != NULL and rule.terms)
                self.changes_matrices = self.changes_matrices or (rule != NULL and rule.terms and rule.terms_scope == MATRIX)
            stages = {stage.name: stage for stage in group.stages}
            for k in range(table.n_stages):
                stage = stages.get(table.stages[k].name.decode())
                if stage is None:
                    continue
                check_signature(&table.stages[k], stage)
                self.present[i * STAGES + k] = True
                for j, place in enumerate(group.inputs[stage.name]):
                    self.inputs[(i * STAGES + k) * INPUTS + j] = place
        return 0

    cdef int lay_slots(self, const table_t *table) except -1:
        """Where each parameter's arrays lie, and where it stands in the index spaces of steps and sums."""
        cdef Py_ssize_t i, k, used = 0, place = 0
        cdef uintptr_t first, end
        cdef task_t *task
        cdef int64_t position = 0
        index = {id(g): k for k, g in enumerate(self.groups)}
        self.group_of = <int *> self.own(self.n, sizeof(int))
        self.firsts = <Py_ssize_t *> self.own(self.n_groups, sizeof(Py_ssize_t))
        self.ints = <Py_ssize_t *> self.own(sum(4 * len(s.order) for s in self.slots), sizeof(Py_ssize_t))
        self.lines, self.line_sums = <lines_t *> self.own(self.n, sizeof(lines_t)), []
        self.orders = <Py_ssize_t **> self.own(self.n, sizeof(void *))
        for k in range(3):
            self.starts[k] = <Py_ssize_t *> self.own(self.n, sizeof(Py_ssize_t))
        for i in range(self.n):
            s = self.slots[i]
            task = &self.walk.tasks[i]
            self.group_of[i] = index[id(s.group)]
            task.rule = self.rules[self.group_of[i]] if s.rule is s.group.rule else self.beside[self.group_of[i]]
            task.ops = self.ops + self.group_of[i] * OPS
            task.index, task.nearest, task.seed = i, self.nearest, &self.key
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
            self.flat[i] = task.p.flat and (task.p.format == FLOAT32 or task.p.format == FLOAT64) and s.master is None
            if s.master is not None:
                task.master, task.split = <char *> cnp.PyArray_DATA(s.master), s.master.dtype.kind == "i"
            for k, (name, a) in enumerate(s.rule_state.items()):
                task.state[k] = <char *> cnp.PyArray_DATA(a)
                if s.rule.tags.get(name) in layout.LINES:
                    task.formats[k] = dtypes.LINE_FORMATS[s.rule.tags[name]]
                elif name in s.exponents:
                    task.formats[k] = UFLOAT8 if task.rule.nonnegative >> k & 1 else FLOAT8
                    task.exponents[k] = <int16_t *> cnp.PyArray_DATA(s.exponents[name])
                else:
                    task.formats[k] = format_of(cnp.PyArray_TYPE(a))
                self.flat[i] = self.flat[i] and task.formats[k] == task.p.format
            if task.rule.terms and task.rule.terms_scope == LINES:
                self.lay_lines(i)
            task.plain = s.array.itemsize > 2 and all(a.itemsize > 2 for a in s.rule_state.values())
            for k in range(table.n_own):
                a = s.own.get(table.own[k].decode())
                if a is not None:
                    task.own[k] = <char *> cnp.PyArray_DATA(a)
                    task.constant |= (table.own[k].decode() in s.constant) << k
            if i == 0 or self.group_of[i] != self.group_of[i - 1]:
                place = (place + BLOCK - 1) // BLOCK * BLOCK
            task.first, task.position = self.walk.blocks, position
            self.starts[<int> ARRAY][i], self.starts[<int> GROUP][i], self.starts[<int> WHOLE][i] = task.first * BLOCK, place, position
            task.work, task.row = task.n, task.n // max(<Py_ssize_t> 1, <Py_ssize_t> shape[0])
            self.walk.blocks += (task.n + BLOCK - 1) // BLOCK
            self.walk.elements += task.n
            place += task.n
            position += task.n
        self.space[<int> ARRAY] = self.walk.blocks
        self.space[<int> GROUP] = (place + BLOCK - 1) // BLOCK
        self.space[<int> WHOLE] = (position + BLOCK - 1) // BLOCK
        return 0

    cdef int lay_lines(self, Py_ssize_t i) except -1:
        """The matrices of an array, and how their lines are summed: in chunks of rows that the shape alone decides."""
        cdef lines_t *lines = self.lines + i
        *others, rows_, columns = self.slots[i].array.shape
        lines.rows, lines.columns, lines.matrices = rows_, columns, 1
        for extent in others:
            lines.matrices *= extent
        lines.chunk = layout.rows_per_chunk(rows_, columns)
        lines.chunks = (lines.rows + lines.chunk - 1) // lines.chunk
        lines.first = self.chunks
        self.chunks += lines.chunks * lines.matrices
        memory = zeros(lines.rows * lines.matrices + lines.chunks * lines.matrices * lines.columns)
        self.line_sums.append(memory)
        lines.of_rows = <double *> cnp.PyArray_DATA(memory)
        lines.of_columns = lines.of_rows + lines.rows * lines.matrices
        self.walk.tasks[i].lines = lines
        return 0

    cdef int take_held(self) except -1:
        """Check every gradient in `held`, and point its task to it, in the parameter's order."""
        cdef Py_ssize_t i
        cdef object g
        cdef cnp.ndarray p
        cdef task_t *task
        cdef format_t format
        cdef uintptr_t first, end
        cdef bint sparse = False
        self.settled, self.n_active = False, 0
        for i in range(self.n):
            g = <object> self.held[i]
            task = &self.walk.tasks[i]
            task.active = self.active[i] = g is not None
            self.n_active += task.active
            task.rows = NULL
            if g is None:
                continue
            if type(g) is not cnp.ndarray and row_gradient.is_rows(g):
                self.take_rows(i, g)
                sparse = True
                continue
            p = <cnp.ndarray> self.arrays[i]
            format = task.p.format
            if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, p) \
                    or (format == BFLOAT16 and <PyObject *> cnp.PyArray_DESCR(<cnp.ndarray> g) != <PyObject *> TAGGED):
                g = layout.check_gradient(self.slots[i].name, p, g)
                Py_INCREF(g)
                Py_DECREF(<object> self.held[i])
                self.held[i] = <PyObject *> g
                format = format_of(cnp.PyArray_TYPE(<cnp.ndarray> g))
            lay(&task.g, <cnp.ndarray> g, self.orders[i], format, &first, &end)
            task.direct = self.flat[i] and task.g.flat and format == task.p.format
            self.check_apart(i, g, first, end)
        if sparse or self.sparse:
            self.sparse = sparse
            self.lay_work()
        return 0

    cdef int take_rows(self, Py_ssize_t i, object g) except -1:
        """Check a gradient of rows, and point its task to it."""
        cdef task_t *task = &self.walk.tasks[i]
        cdef cnp.ndarray values, indices
        cdef uintptr_t first
        slot = self.slots[i]
        g = row_gradient.check_rows(slot, g, self.accumulate, self.exact)
        values, indices = g.values, g.indices
        first = <uintptr_t> cnp.PyArray_DATA(values)
        self.check_apart(i, values, first, first + cnp.PyArray_NBYTES(values))
        Py_INCREF(g)
        Py_DECREF(<object> self.held[i])
        self.held[i] = <PyObject *> g
        if self.exact and self.lagging[i] == NULL:
            self.lag(i)
        task.g.data, task.g.format, task.g.flat = <char *> cnp.PyArray_DATA(values), format_of(cnp.PyArray_TYPE(values)), True
        task.direct = self.flat[i] and task.g.format == task.p.format
        task.rows, task.n_rows = <int64_t *> cnp.PyArray_DATA(indices), cnp.PyArray_SIZE(indices)
        return 0

    cdef int lag(self, Py_ssize_t i) except -1:
        """Count each row's steps from now on."""
        cdef task_t *task = &self.walk.tasks[i]
        cdef Py_ssize_t count = self.slots[i].array.shape[0]
        cdef lagging_t *lagging = <lagging_t *> calloc(1, sizeof(lagging_t))
        if lagging != NULL:
            lagging.done = <int64_t *> calloc(count + 1, sizeof(int64_t))
            lagging.zeros = <char *> calloc(max(<Py_ssize_t> RUN, task.row), sizeof(double))
            if lagging.done == NULL or lagging.zeros == NULL:
                free(lagging.done)
                free(lagging.zeros)
                free(lagging)
                lagging = NULL
        if lagging == NULL:
            raise MemoryError(f"steps of the rows of {self.slots[i].name!r}")
        lagging.count = count
        self.lagging[i] = lagging
        return 0

    cdef void lay_work(self) noexcept:
        """Where each parameter stands in the index space of this step."""
        cdef Py_ssize_t i
        cdef task_t *task
        self.walk.blocks = self.walk.elements = 0
        for i in range(self.n):
            task = &self.walk.tasks[i]
            task.work = task.n if task.rows == NULL else task.n_rows * task.row
            task.first = self.walk.blocks
            self.walk.blocks += (task.work + BLOCK - 1) // BLOCK
            self.walk.elements += task.work
        self.update.blocks = self.walk.blocks

    cdef void catch_up_rows(self, Py_ssize_t i, const int64_t *indices, Py_ssize_t lo, Py_ssize_t hi, int parts) noexcept:
        """Make the steps that these rows of a parameter are behind: places lo to hi of `indices`, or without, rows lo to hi."""
        cdef int part
        cdef fo_env env
        with nogil:
            if parts == 1:
                env = fo_enter(self.walk.flush)
                replay(&self.walk, i, self.lagging[i], self.flat[i], self.t[i], indices, lo, hi)
                fo_leave(env)
            else:
                for part in prange(parts, num_threads=parts, schedule="static"):
                    env = fo_enter(self.walk.flush)
                    replay(&self.walk, i, self.lagging[i], self.flat[i], self.t[i], indices, lo + (hi - lo) * part // parts,
                           lo + (hi - lo) * (part + 1) // parts)
                    fo_leave(env)

    cdef void look_after_rows(self, int parts) noexcept:
        """Rows of this step's gradients catch up, and a few more, so that none falls behind the log; then the step is logged.

        Those few come round in less than LOGGED steps.
        """
        cdef Py_ssize_t i, k, last
        cdef const task_t *task
        cdef lagging_t *lagging
        for i in range(self.n):
            task, lagging = &self.walk.tasks[i], self.lagging[i]
            if lagging == NULL or not task.active:
                continue
            if task.rows == NULL:
                self.catch_up_whole(i)
                continue
            if not lagging.behind:
                lagging.behind, lagging.next = True, 0
                for k in range(lagging.count):
                    lagging.done[k] = self.t[i]
            self.catch_up_rows(i, task.rows, 0, task.n_rows, parts)
            last = min(lagging.count, lagging.next + lagging.count // (LOGGED - 1) + 1)
            self.catch_up_rows(i, NULL, lagging.next, last, parts)
            lagging.next = last if last < lagging.count else 0
            write_down(&lagging.log[self.t[i] % LOGGED], task, self.key)
            for k in range(task.n_rows):
                lagging.done[task.rows[k]] = self.t[i] + 1

    cdef void catch_up_whole(self, Py_ssize_t i) noexcept:
        """Make the steps that any row of a parameter is behind."""
        cdef Py_ssize_t most = self.walk.most if self.walk.most > 0 else available()
        if self.lagging[i] != NULL and self.lagging[i].behind:
            most = 1 if fo_forked else min(most, self.walk.tasks[i].n // GRAIN)
            self.catch_up_rows(i, NULL, 0, self.lagging[i].count, <int> max(<Py_ssize_t> 1, most))
            self.lagging[i].behind = False

    cdef int check_caught_up(self) except -1:
        """Refuse to catch up where a parameter that is behind was made read-only."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.lagging[i] != NULL and self.lagging[i].behind and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> self.given[i]):
                raise ValueError(f"parameter {self.slots[i].name!r}: made read-only while rows are behind, expected a writable array")
        return 0

    cdef void forget(self) noexcept:
        """No row is behind: the arrays are others."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.lagging[i] != NULL:
                self.lagging[i].behind = False

    cdef int check_apart(self, Py_ssize_t i, object g, uintptr_t first, uintptr_t end) except -1:
        """Refuse a gradient, of these bytes, that has one in common with what a step writes."""
        if self.walk.tasks[i].n and not self.is_clear(i, first, end):
            if self.written is None:
                self.written = overlap.Written(x for s in self.slots for x in s.written())
            self.written.check_apart(self.slots[i].name, g)
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

    cpdef prepare(self, long long count, double scale, list cleared, bint hold):
        """What can still raise, schedules and memory among it; and the operations of the step."""
        cdef Py_ssize_t i
        cdef int k
        cdef const table_t *table = self.walk.table
        if not hold:
            for i in range(self.n_groups):
                if PyDict_Size(self.scheduled[i]):
                    self.evaluate(i, count)
        for i in range(self.n):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> self.given[i]):
                raise ValueError(f"parameter {self.slots[i].name!r}: made read-only, expected a writable array")
            if cleared is not None and self.active[i] and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> cleared[i]):
                layout.check_clearable(self.slots[i].name, cleared[i])
        self.union = 0
        for i in range(self.n_groups):
            self.union |= self.switch_on(i, scale, cleared is not None, hold)
        if self.union or self.summing_rule != NULL or self.prepares:
            for k in range(table.n_stages):
                if self.union >> k & 1 and table.stages[k].sums:
                    self.make_room(k, &table.stages[k])
            if self.summing_rule != NULL and not hold:
                self.make_room(STAGES, self.summing_rule)
            if self.sums_c == NULL and self.prepares:
                self.sums_c = <double *> self.own(self.n * SCALARS, sizeof(double))
        for i in range(self.n_groups):
            if self.composed[i] != self.wanted[i]:
                self.compose(i, cleared is not None, hold)
                self.composed[i] = self.wanted[i]

    cdef int make_room(self, int id, const formula_t *f) except -1:
        """For sums, when they are first needed."""
        if self.summing.partials == NULL:
            self.summing.partials = <partial_t *> self.own(SUMS * max(self.space[0], self.space[1], self.space[2]), sizeof(partial_t))
        if self.sums[id] == NULL:
            self.sums[id] = <double *> self.own(TOTALS * max(self.n, self.n_groups), sizeof(double))
        if id < STAGES and f.scope == ARRAY and self.array_c[id] == NULL:
            self.array_c[id] = <double *> self.own(self.n * INPUTS, sizeof(double))
        if id == STAGES and self.sums_c == NULL:
            self.sums_c = <double *> self.own(self.n * SCALARS, sizeof(double))
        return 0

    cdef int evaluate(self, Py_ssize_t i, object count) except -1:
        """A group's schedules at this step. One that sets hyperparameters, its own too, leaves the rest to Python."""
        cdef dict scheduled = self.scheduled[i]
        cdef object x
        cdef tuple entry
        cdef double value
        cdef list before = PyDict_Values(scheduled)  # name, function, slot, domain
        for entry in before:
            x = entry[1](count)
            value = x if type(x) is float else NAN
            if not <double> entry[3] <= value <= <double> entry[4]:
                value = self.groups[i].check(entry[0], x)
            if PyDict_GetItem(scheduled, entry[0]) == <PyObject *> entry:
                self.values[i][<Py_ssize_t> entry[2]] = value
        if PyDict_Size(scheduled) == len(before):
            for entry in before:
                if PyDict_GetItem(scheduled, entry[0]) != <PyObject *> entry:
                    break
            else:
                return 0
        self.groups[i].evaluate(count)
        return 0

    cdef int64_t switch_on(self, Py_ssize_t group, double scale, bint clears, bint hold) noexcept:
        """The stages of a group that are not neutral, a bit each."""
        cdef const table_t *table = self.walk.table
        cdef const formula_t *stage
        cdef double h
        cdef int k, j
        cdef bint always
        cdef int64_t staged = 0, loose = 0
        for k in range(self.hold_at + 1 if hold else table.n_stages):
            if not self.present[group * STAGES + k] or (k == self.hold_at and not hold):
                continue
            stage = &table.stages[k]
            always = True
            for j in range(stage.hyperparameters):
                if stage.neutral[j] == stage.neutral[j]:
                    always = False
                    h = self.hyperparameter(group, k, j, scale)
                    staged |= <int64_t> (h != stage.neutral[j]) << k
                    loose |= <int64_t> is_loose(stage, h) << k
            staged |= <int64_t> always << k
        self.staged[group] = staged
        self.wanted[group] = staged | loose << STAGES | (<int64_t> 1 + 2 * clears) << 2 * STAGES
        return staged

    cdef inline double hyperparameter(self, Py_ssize_t group, int stage, int j, double scale) noexcept:
        cdef int place = self.inputs[(group * STAGES + stage) * INPUTS + j]
        return self.values[group][place] * scale if place == self.scales[group] else self.values[group][place]

    cdef void compose(self, Py_ssize_t group, bint clears, bint hold) noexcept:
        """The operations of a group: its stages that are on, around its rule."""
        cdef const table_t *table = self.walk.table
        cdef const formula_t *stage
        cdef op_t *op = self.ops + group * OPS
        cdef int64_t staged = self.staged[group]
        cdef int k, j
        cdef int64_t of_update = (<int64_t> 1 << table.subtract_at) - (<int64_t> 1 << table.rule_at)
        cdef bint early = True, shaped = staged & ~self.checks & of_update != 0
        for k in range(table.n_stages + 1):
            if k == table.rule_at and not hold:
                op[0] = op_of(RULE, STAGES, self.rules[group], self.sums_c, SCALARS if self.sums_c != NULL else 0, False)
                op += 1
            if k == table.subtract_at and shaped:
                op[0] = op_of(SUBTRACT, -1, NULL, NULL, 0, False)
                op += 1
            if k == table.n_stages or not staged >> k & 1:
                continue
            stage = &table.stages[k]
            for j in range(stage.n_arrays):
                early = early and (stage.arrays[j] == GRADIENT or stage.arrays[j] >= OWN)
            op[0] = op_of(STAGE, k, stage, self.stage_c + (group * STAGES + k) * INPUTS, 0, early)
            if stage.sums and stage.scope == ARRAY:
                op.c, op.stride = self.array_c[k], INPUTS
            if self.checks >> k & 1:
                op.kind = CHECK
            op.loose = stage.limits and is_loose(stage, self.hyperparameter(group, k, 0, 1))
            op += 1
            if k == self.gather_at:
                op[0] = op_of(EMPTY, -1, stage, NULL, 0, False)
                op += 1
        if clears:
            op[0] = op_of(CLEAR, -1, NULL, NULL, 0, False)
            op += 1
        op[0] = op_of(END, -1, NULL, NULL, 0, False)
        mark_wide(self.ops + group * OPS)
        if not hold and not clears and not staged >> self.gather_at & 1:
            self.ops[group * OPS].path = RULE_ALONE if staged & ~self.checks == 0 else STRAIGHT

    cdef void sum_up(self, int id, const formula_t *f, int parts) noexcept:
        """The sums of one operation over all arrays, exact sums of blocks that are summed in a fixed order."""
        cdef Py_ssize_t i, into, start, k
        cdef run_t run
        cdef const task_t *task
        cdef fo_total totals[SUMS]
        cdef int j
        self.summing.kind, self.summing.id, self.summing.formula = SUMMING, id, f
        self.summing.starts, self.summing.blocks = self.starts[<int> f.scope], self.space[<int> f.scope]
        go(&self.walk, &self.summing, parts)
        for i in range(self.n):
            task = &self.walk.tasks[i]
            into = self.target(f.scope, i)
            if i == 0 or into != self.target(f.scope, i - 1):
                run.first = run.end = 0
                for j in range(f.sums):
                    fo_total_clear(&totals[j])
            start = self.summing.starts[i]
            if task.active and task.rows == NULL:
                self.add_blocks(totals, &run, start, start + task.n)
            elif task.active:  # others are zeros
                for k in range(task.n_rows if task.row else 0):
                    self.add_blocks(totals, &run, start + task.rows[k] * task.row, start + (task.rows[k] + 1) * task.row)
            if i == self.n - 1 or into != self.target(f.scope, i + 1):
                self.add_run(totals, &run)
                fo_totals_given(totals, f.sums, f.squares, task.work if task.rule.mean and id == STAGES else -1,
                                self.sums[id] + into * TOTALS)

    cdef inline Py_ssize_t target(self, scope_t scope, Py_ssize_t i) noexcept:
        """Where the sums of a parameter are, among those of a scope."""
        return i if scope == ARRAY else self.group_of[i] if scope == GROUP else 0

    cdef void add_blocks(self, fo_total *totals, run_t *run, Py_ssize_t lo, Py_ssize_t hi) noexcept:
        """Add the sums of blocks with places lo to hi, after those before: in runs of blocks that follow one another."""
        cdef Py_ssize_t first = max(run.end, lo // BLOCK), end = (hi + BLOCK - 1) // BLOCK
        if first > run.end:
            self.add_run(totals, run)
            run.first = first
        run.end = max(run.end, end)

    cdef void add_run(self, fo_total *totals, const run_t *run) noexcept:
        cdef int j, count = self.summing.formula.sums
        for j in range(count):
            fo_total_add_blocks(&totals[j], self.summing.partials + run.first * count + j, run.end - run.first, count)

    cdef bint prepare_stage(self, int k, double scale, int parts) noexcept:
        """A stage's scalars, after its sums; whether all gradients are as they should be."""
        cdef const formula_t *stage = &self.walk.table.stages[k]
        cdef double[INPUTS] h
        cdef Py_ssize_t i, group
        cdef int j
        if stage.sums and not (k == self.finite_at and self.policy == ZERO):
            self.sum_up(k, stage, parts)
            if k == self.finite_at:
                for i in range(self.n):
                    if self.sums[k][i * TOTALS] > 0:
                        return False
                return True
        for group in range(self.n_groups):
            if not self.staged[group] >> k & 1:
                continue
            for j in range(stage.hyperparameters):
                h[j] = self.hyperparameter(group, k, j, scale)
            if not stage.sums or stage.scope != ARRAY:
                stage.prepare(0, NULL, self.sums[k], h, self.stage_c + (group * STAGES + k) * INPUTS)
                continue
            for i in range(self.n):
                if self.group_of[i] == group and self.walk.tasks[i].active:
                    stage.prepare(0, NULL, self.sums[k] + i * TOTALS, h, self.array_c[k] + i * INPUTS)
        return True

    cdef void prepare_rules(self, int parts) noexcept:
        """The rules' scalars, after their sums: of each parameter, or as its neighbour's where nothing differs."""
        cdef Py_ssize_t i, last = -1, group = -1
        cdef int k
        cdef task_t *task
        cdef const formula_t *rule
        cdef double *sums = NULL
        cdef double[KEPT] before
        cdef bint same
        if self.summing_rule != NULL:
            for i in range(self.n):
                rule = self.walk.tasks[i].rule
                if rule.sums_prepare != NULL and self.walk.tasks[i].active:
                    rule.sums_prepare(self.t[i] + 1, self.kept + i * KEPT, NULL, self.hyperparameters_of(i), self.sums_c + i * SCALARS)
            self.sum_up(STAGES, self.summing_rule, parts)
        if self.settled:  # each group's scalars lie where they lay
            for group in range(self.n_groups):
                i = self.firsts[group]
                if i < self.n and self.group_of[i] == group:
                    self.walk.tasks[i].rule.prepare(self.t[i] + 1, NULL, NULL, self.hyperparameters_of(i), self.c + i * SCALARS)
            return
        self.settled = self.n_active == self.n and self.summing_rule == NULL
        for i in range(self.n):
            task = &self.walk.tasks[i]
            if not task.active:
                continue
            rule = task.rule
            if self.group_of[i] != group:
                group, last = self.group_of[i], -1
                self.firsts[group] = i
            if rule.sums:
                sums = self.sums[STAGES] + (i if rule.scope == ARRAY else group if rule.scope == GROUP else 0) * TOTALS
            same = last >= 0 and self.t[i] == self.t[last] and rule == self.walk.tasks[last].rule
            same = same and not (rule.sums and rule.scope == ARRAY)
            for k in range(rule.kept):
                same = same and self.kept[i * KEPT + k] == before[k]
            if same:
                task.c = self.walk.tasks[last].c
                for k in range(rule.kept):
                    self.kept[i * KEPT + k] = self.kept[last * KEPT + k]
            else:
                self.settled = self.settled and last == -1 and rule.kept == 0
                last = i
                for k in range(rule.kept):
                    before[k] = self.kept[i * KEPT + k]
                rule.prepare(self.t[i] + 1, self.kept + i * KEPT, sums, self.hyperparameters_of(i), self.c + i * SCALARS)
                task.c = self.c + i * SCALARS
        if self.summing_rule != NULL:
            for i in range(self.n):  # what a group knows together, its arrays without a gradient know too
                rule = self.walk.tasks[i].rule
                if not self.active[i] and rule.sums and rule.scope != ARRAY:
                    last = self.active_in(self.group_of[i])
                    for k in range(rule.kept if last >= 0 else 0):
                        self.kept[i * KEPT + k] = self.kept[last * KEPT + k]

    cdef Py_ssize_t active_in(self, int group) noexcept:
        """The first parameter of a group that has a gradient, or -1."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.group_of[i] == group and self.walk.tasks[i].active:
                return i
        return -1

    cdef inline const double *hyperparameters_of(self, Py_ssize_t i) noexcept:
        """Those of a parameter's rule, in its order."""
        cdef int group = self.group_of[i], k
        if self.walk.tasks[i].rule == self.rules[group]:
            return self.values[group]
        for k in range(self.beside[group].hyperparameters):
            self.gathered_h[k] = self.values[group][self.of_beside[group * SCALARS + k]]
        return self.gathered_h

    cdef int prepare_matrices(self, int parts) except -1:
        """Averages of lines, and matrices that NumPy changes, from the rules' terms; no parameter is changed."""
        cdef Py_ssize_t i
        cdef const formula_t *rule
        cdef bint lines = False, matrices = False
        for i in range(self.n):
            rule = self.walk.tasks[i].rule
            if rule.terms and self.walk.tasks[i].active:
                lines, matrices = lines or rule.terms_scope == LINES, matrices or rule.terms_scope == MATRIX
                if rule.terms_prepare != NULL:
                    rule.terms_prepare(self.t[i] + 1, self.kept + i * KEPT, NULL, self.hyperparameters_of(i), self.sums_c + i * SCALARS)
        if lines:
            self.summing.kind, self.summing.blocks = AVERAGING, self.chunks
            go(&self.walk, &self.summing, parts)
            for i in range(self.n):
                if has_terms(&self.walk.tasks[i], LINES):
                    self.average_lines(i, self.sums_c + i * SCALARS)
        if matrices:
            self.summing.kind, self.summing.blocks = SPREADING, self.walk.blocks
            go(&self.walk, &self.summing, parts)
            for i in range(self.n):
                if has_terms(&self.walk.tasks[i], MATRIX):
                    self.slots[i].change_matrix()
        return 0

    cdef void average_lines(self, Py_ssize_t i, const double *c) noexcept:
        """The newest means over rows and columns into their averages; and those of rows over their mean."""
        cdef task_t *task = &self.walk.tasks[i]
        cdef lines_t *lines = task.lines
        cdef Py_ssize_t k, j, chunk
        cdef double total, w = c[0]
        cdef char *of_rows = NULL
        cdef char *of_columns = NULL
        cdef char *of_ratios = NULL
        cdef bint wide = task.p.format == FLOAT64
        for k in range(task.rule.states):
            if task.formats[k] == ROWS:
                of_rows = task.state[k]
            elif task.formats[k] == COLUMNS:
                of_columns = task.state[k]
            elif task.formats[k] == RATIOS:
                of_ratios = task.state[k]
        for k in range(lines.matrices * lines.rows):
            join(of_rows, k, lines.of_rows[k] / lines.columns, w, wide)
        for k in range(lines.matrices):
            for j in range(lines.columns):
                total = 0
                for chunk in range(k * lines.chunks, (k + 1) * lines.chunks):
                    total = total + lines.of_columns[chunk * lines.columns + j]
                join(of_columns, k * lines.columns + j, total / lines.rows, w, wide)
            total = 0
            for j in range(k * lines.rows, (k + 1) * lines.rows):
                total = total + as_double(of_rows, j, wide)
            total = total / lines.rows
            if total < c[1]:
                total = c[1]
            for j in range(k * lines.rows, (k + 1) * lines.rows):
                join(of_ratios, j, as_double(of_rows, j, wide) / total, 1, wide)

    cpdef int run(self, long long count, double scale, list cleared, bint hold) except -2:
        """Scalars and walk, in a known floating-point environment; then the counts."""
        cdef Py_ssize_t i
        cdef int k, parts
        cdef bint fine = True
        cdef const table_t *table = self.walk.table
        cdef fo_env env
        if self.accumulate > 1:
            for i in range(self.n):
                if self.pending[i] and not hold and not self.active[i]:
                    self.point_to_nothing(i)
        if self.n_active == 0:
            return 0
        self.key = fo_key(fo_key(self.seed, <uint32_t> count), <uint32_t> (count >> 32))
        env = fo_enter(False)
        parts = choose(&self.walk)
        for k in range(table.n_stages + 1):
            if k == table.rule_at and not hold:
                if self.prepares:
                    try:
                        self.prepare_matrices(parts)
                    except BaseException:
                        fo_leave(env)
                        raise
                if self.changes_matrices:
                    self.chooser.now = NULL  # BLAS's time says nothing of threads
                    if self.walk.elements < SPIN:
                        parts = 1
                self.prepare_rules(parts)
                if self.union >> k == 0:
                    break
            if k < table.n_stages and self.union >> k & 1:
                fine = self.prepare_stage(k, scale, parts)
                if not fine:
                    break
        if fine:
            if self.exact:
                self.look_after_rows(parts)
            if self.walk.flush:
                fo_enter(True)
            go(&self.walk, &self.update, parts)
            learn(&self.walk)
        fo_leave(env)
        if not fine:
            return -1
        if self.accumulate > 1:
            for i in range(self.n):
                self.pending[i] = hold and (self.pending[i] or self.active[i])
        if not hold:
            self.done = self.union
            for i in range(self.n):
                self.t[i] += self.active[i]
            for i in range(self.n_groups):
                memcpy(self.used[i], self.values[i], self.n_values[i] * sizeof(double))
            self.stepped = True
        return 1

    cdef void point_to_nothing(self, Py_ssize_t i) noexcept:
        """A gradient of zeros for a parameter that has gathered some and has none now."""
        cdef view_t *g = &self.walk.tasks[i].g
        cdef int k
        g.data, g.format, g.flat = <char *> NOTHING, FLOAT64, False
        for k in range(g.ndim):
            g.strides[k] = 0
        self.walk.tasks[i].active = self.active[i] = True
        self.walk.tasks[i].direct = self.settled = False
        self.n_active += 1


cdef inline void join(char *averages, Py_ssize_t k, double x, double w, bint wide) noexcept:
    """A number into an average, with this weight; into one of floats, or of doubles."""
    x = x if w == 1 else (1 - w) * as_double(averages, k, wide) + w * x
    if wide:
        (<double *> averages)[k] = x
    else:
        (<float *> averages)[k] = <float> x


cdef inline double as_double(const char *numbers, Py_ssize_t k, bint wide) noexcept:
    """One of doubles, or of floats."""
    return (<const double *> numbers)[k] if wide else <double> (<const float *> numbers)[k]


cdef chooser_t[65] CHOOSERS  # of steps without an optimizer, by the bits of their size
cdef Py_ssize_t BITS
for BITS in range(65):
    learn_nothing(&CHOOSERS[BITS])


cdef class Update:
    """A rule's step on arrays of the caller's, without an optimizer. Not a public name: see `fastopt.functional`.

    Parameters
    ----------
    capsule : the kernels' table
    rule : Formula
    """

    cdef object capsule, formula, names, bounds
    cdef const table_t *table
    cdef const formula_t *rule
    cdef int arrays
    cdef double[2][SCALARS] domains
    cdef bint ordered

    def __init__(self, capsule, formula):
        cdef int k
        self.capsule, self.formula, self.names, self.bounds = capsule, formula, list(formula.domains), list(formula.domains.values())
        self.table = table_of(capsule)
        self.rule = find(self.table, formula)
        self.ordered = any(domain.floor for domain in self.bounds)
        self.arrays = self.rule.states + 1
        for k in range(self.rule.hyperparameters):
            self.domains[0][k], self.domains[1][k] = self.bounds[k].low, self.bounds[k].high

    def step(self, tuple given, t, tuple hyperparameters, out, tuple kept=()):
        """From parameter, gradient and state, the new parameter and state: in `out`, or in new arrays; then what is kept."""
        cdef double[SCALARS] h
        cdef double[KEPT] memory
        cdef PyObject *inputs[STATES + 1]
        cdef int64_t number = 0
        cdef int k, order = cnp.NPY_ANYORDER
        cdef object a, p = given[0], g = given[1]
        cdef tuple outputs, work = None
        for k in range(self.arrays):
            inputs[k] = <PyObject *> given[k + (k > 0)]
        if type(t) is int:
            number = PyLong_AsLongLongAndOverflow(t, &k)
        if not 0 < number < MOST_STEPS:
            raise ValueError(f"t: {t!r}, expected the number of this step: 1, 2, ...")
        self.read(hyperparameters, h)
        if self.rule.kept:
            for k, first in enumerate(self.formula.first(kept, t)):
                memory[k] = first
        for k in range(self.arrays):
            a = <object> inputs[k]
            if type(a) is not cnp.ndarray or not alike(<cnp.ndarray> a, <cnp.ndarray> p) or not known(<cnp.ndarray> a):
                layout.check_input(self.formula.state[k - 1] if k else "p", a, p)
        if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, <cnp.ndarray> p):
            g = layout.check_gradient("p", p, g)
        if cnp.PyArray_TYPE(<cnp.ndarray> g) == cnp.PyArray_TYPE(<cnp.ndarray> p):
            order = packed(inputs, self.arrays, <cnp.ndarray> g)
            if order == cnp.NPY_FORTRANORDER and self.rule.sums:
                order = cnp.NPY_ANYORDER  # sums are by position as it is counted
        if out is None:
            outputs = self.copies(inputs, order)
        elif order != cnp.NPY_ANYORDER and in_place(inputs, self.arrays, <cnp.ndarray> g, out):
            outputs = out
        else:
            outputs = layout.check_outputs(self.formula.state, [<object> inputs[k] for k in range(self.arrays)], g, out)
            work = self.copies(inputs, order)
        self.run(outputs if work is None else work, packed_gradient(g, order), number, h, memory)
        if work is not None:
            for to, a in zip(outputs, work):
                to[...] = a
        return outputs + tuple([memory[k] for k in range(self.rule.kept)]) if self.rule.kept else outputs

    cdef int read(self, tuple hyperparameters, double *h) except -1:
        """Numbers in their domains; what is not a float in its own goes through Python, for the error."""
        cdef int k
        cdef object x
        for k in range(self.rule.hyperparameters):
            x = hyperparameters[k]
            if type(x) is float and self.domains[0][k] <= <double> x <= self.domains[1][k]:
                h[k] = x
            else:
                h[k] = self.bounds[k].check(self.names[k], x)
        if self.ordered:
            check_order(self.formula.domains, {name: h[k] for k, name in enumerate(self.names)})
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

    cdef int run(self, tuple arrays, cnp.ndarray g, int64_t t, const double *h, double *kept) except -1:
        """In place, on arrays that follow one another in memory as the gradient does."""
        cdef task_t task
        cdef op_t[2] ops
        cdef plan_t plan
        cdef pass_t update, summing
        cdef chooser_t chooser
        cdef double[SCALARS] c
        cdef double[TOTALS] given
        cdef fo_total totals[SUMS]
        cdef Py_ssize_t start = 0
        cdef cnp.ndarray p = <cnp.ndarray> arrays[0]
        cdef fo_env env
        cdef Py_ssize_t n = cnp.PyArray_SIZE(p), bits
        cdef int k, parts
        cdef partial_t *partials = NULL
        if cnp.PyTypeNum_ISCOMPLEX(cnp.PyArray_TYPE(p)):
            n = 2 * n
        memset(&task, 0, sizeof(task))
        task.p.data, task.p.format, task.p.flat = <char *> cnp.PyArray_DATA(p), format_of(cnp.PyArray_TYPE(p)), True
        task.g.data, task.g.format, task.g.flat = <char *> cnp.PyArray_DATA(g), format_of(cnp.PyArray_TYPE(g)), True
        for k in range(self.rule.states):
            task.state[k], task.formats[k] = <char *> cnp.PyArray_DATA(<cnp.ndarray> arrays[k + 1]), task.p.format
        ops[0], ops[1] = op_of(RULE, STAGES, self.rule, &c[0], 0, False), op_of(END, -1, NULL, NULL, 0, False)
        ops[0].path = RULE_ALONE
        task.rule, task.ops, task.n, task.work, task.active, task.c = self.rule, ops, n, n, True, c
        task.direct = task.g.format == task.p.format
        bits = 0
        while n >> bits:
            bits += 1
        chooser = CHOOSERS[bits]  # not shared while the GIL is released
        chooser.entered = fo_now()
        plan = plan_t(self.table, &task, 1, (n + BLOCK - 1) // BLOCK, n, 0, False, &chooser)
        update = pass_t(STEPPING, 0, NULL, NULL, plan.blocks, NULL)
        if self.rule.sums:
            memory = cnp.PyArray_SimpleNew(1, [(plan.blocks + 1) * self.rule.sums * sizeof(partial_t)], cnp.NPY_UINT8)
            partials = <partial_t *> cnp.PyArray_DATA(memory)
        env = fo_enter(False)
        parts = choose(&plan)
        if self.rule.sums:
            if self.rule.sums_prepare != NULL:
                self.rule.sums_prepare(t, kept, NULL, h, c)
            summing = pass_t(SUMMING, STAGES, self.rule, &start, plan.blocks, partials)
            go(&plan, &summing, parts)
            for k in range(self.rule.sums):
                fo_total_clear(&totals[k])
                fo_total_add_blocks(&totals[k], partials + k, plan.blocks, self.rule.sums)
            fo_totals_given(totals, self.rule.sums, self.rule.squares, n if self.rule.mean else -1, given)
        self.rule.prepare(t, kept, given, h, c)
        go(&plan, &update, parts)
        learn(&plan)
        fo_leave(env)
        CHOOSERS[bits] = chooser
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
