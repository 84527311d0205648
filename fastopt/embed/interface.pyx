# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The C interface: converts updates, described by the structs of ``fastopt.h``, to tasks of the kernels."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset, strcmp

from fastopt._engine.program cimport build_program, is_loose, op_of
from fastopt._engine.table cimport (
    ARRAY, BFLOAT16, CHECKS, END, FLOAT8, FLOAT16, FLOAT32, FLOAT64, INPUTS, CARRY, STAGE_ARRAY, RULE, RULE_ALONE, SCALARS, STAGES,
    UFLOAT8, VERSION, format_t, formula_t, op_t, partial_t, table_t, task_t,
)

from fastopt._engine import dispatch, threads as system
from fastopt import spec

cdef extern from "block.h" nogil:
    uint32_t fo_key(uint32_t key, uint32_t number)

cdef extern from "threads.h" nogil:
    int omp_get_max_threads()
    int fo_forked
    void fo_watch_forks()

cdef extern from "apply.h" nogil:
    enum: FO_JOB
    const char fo_owner
    char *fo_said
    ctypedef struct fo_sums:
        int count, squares, over_all, mean
    ctypedef struct fo_partial:
        pass
    ctypedef struct fo_library:
        size_t job_size, task_size
        int stages, rule_at
        void (*describe)(const fastopt_update *u, void *job) noexcept nogil
        void (*task)(const fastopt_update *u, const void *job, void *task) noexcept nogil
        void (*span)(const void *job, int64_t lo, int64_t hi) noexcept nogil
        fo_sums (*sums)(const void *job, int id) noexcept nogil
        void (*before)(const fastopt_update *u, void *job) noexcept nogil
        void (*reduce_blocks)(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums sums,
                              int64_t lo, int64_t hi, fo_partial *partials) noexcept nogil
        void (*after)(const fastopt_update *u, void *job, int id, const double *totals) noexcept nogil
        const double *(*carry)(const void *job) noexcept nogil
    const fastopt_stage_args *fo_stage_args_at(const fastopt_update *u, int32_t j)
    int32_t fo_apply(const fo_library *library, const fastopt_update *updates, int64_t count, int64_t threads)
    int32_t fo_apply_part(const fo_library *library, const fastopt_update *updates, int64_t count, int32_t part, int32_t parts)

cdef enum:
    OPS = STAGES + 3  # All stages, the rule, the subtraction, the end.
    MOST_RULES = 4096

cdef struct rule_t:  # The public part comes first, so that its address is that of the whole.
    fastopt_rule shown
    const formula_t *formula

cdef struct stage_t:
    fastopt_stage shown
    const formula_t *formula
    int place

cdef struct job_t:  # One update, as the kernels take it.
    task_t task
    const formula_t *rule
    const double *h
    bint has_stages  # At least one of `uses` is not NULL.
    uint32_t key
    op_t[OPS] ops
    const fastopt_stage_args *uses[STAGES]
    double[SCALARS] c
    double[SCALARS] sums_c
    double[STAGES][INPUTS] stage_c
    double[CARRY] carry

cdef const table_t *TABLE = NULL
cdef rule_t *RULE_LIST[MOST_RULES]
cdef stage_t *STAGE_LIST = NULL
cdef int32_t N_RULES = 0
cdef int32_t N_STAGES = 0
cdef int LIMIT = system.limit()
cdef list KEEP = []  # Memory of all names and numbers.
fo_watch_forks()


cdef const fastopt_rule *fastopt_find_rule(const char *name) noexcept nogil:
    """Return a rule by its name, or NULL."""
    cdef int32_t k
    for k in range(N_RULES if name != NULL else 0):
        if strcmp(RULE_LIST[N_RULES - 1 - k].shown.name, name) == 0:
            # The newest rule of a name.
            return &RULE_LIST[N_RULES - 1 - k].shown
    return NULL


cdef const fastopt_rule *fastopt_rule_at(int32_t k) noexcept nogil:
    """Return rule k; NULL after the last."""
    return &RULE_LIST[k].shown if 0 <= k < N_RULES else NULL


cdef const fastopt_stage *fastopt_find_stage(const char *name) noexcept nogil:
    """Return a stage by its name, or NULL."""
    cdef int32_t k
    for k in range(N_STAGES if name != NULL else 0):
        if strcmp(STAGE_LIST[k].shown.name, name) == 0:
            return &STAGE_LIST[k].shown
    return NULL


cdef const fastopt_stage *fastopt_stage_at(int32_t k) noexcept nogil:
    """Return stage k; NULL after the last."""
    return &STAGE_LIST[k].shown if 0 <= k < N_STAGES else NULL


cdef const char *fastopt_message() noexcept nogil:
    """Return the message of this thread's last failed call."""
    return fo_said


cdef inline format_t format_of(int32_t format) noexcept nogil:
    if format == FASTOPT_FLOAT64:
        return FLOAT64
    if format == FASTOPT_BFLOAT16:
        return BFLOAT16
    return FLOAT16 if format == FASTOPT_FLOAT16 else FLOAT8 if format == FASTOPT_FLOAT8 else FLOAT32


cdef void fill(const fastopt_update *u, job_t *job) noexcept nogil:
    """Fill in the task of an update, its program, and the scalars that need no sums."""
    cdef task_t *task = &job.task
    cdef const formula_t *rule = (<const rule_t *> u.rule).formula
    cdef format_t state = format_of(u.state_format)
    cdef int k
    job.rule, job.has_stages = rule, u.n_stages > 0
    job.h = u.hyperparameters if u.hyperparameters != NULL else u.rule.defaults
    job.key = fo_key(fo_key(u.seed, <uint32_t> (u.t - 1)), <uint32_t> ((u.t - 1) >> 32))
    task.n = task.work = u.n
    task.first = task.index = task.n_rows = task.row = 0
    task.scalar_arrays, task.rows, task.factors, task.kept = 0, NULL, NULL, NULL
    task.active, task.rule, task.ops, task.c = True, rule, job.ops, job.c
    task.p.data, task.p.format, task.p.contiguous = <char *> u.param_out, format_of(u.param_format), True
    task.g.data, task.g.format, task.g.contiguous = <char *> u.grad, format_of(u.grad_format), True
    task.master = <char *> u.master if u.master != NULL else <char *> u.low_bits
    task.split = u.low_bits != NULL
    task.position, task.seed, task.nearest = u.position, &job.key, u.nearest
    task.no_decoding = task.g.format == task.p.format and (task.p.format == FLOAT32 or task.p.format == FLOAT64)
    task.no_narrow_storage = task.p.format == FLOAT32 or task.p.format == FLOAT64
    for k in range(rule.states):
        task.state[k], task.exponents[k] = <char *> u.state[k], u.exponents[k]
        task.formats[k] = state
        if u.rule.start_mask >> k & 1:
            task.formats[k] = FLOAT64 if task.p.format == FLOAT64 else FLOAT32
        elif state == FLOAT8 and rule.nonnegative >> k & 1:
            task.formats[k] = UFLOAT8
        task.no_decoding = task.no_decoding and task.formats[k] == task.p.format
        task.no_narrow_storage = task.no_narrow_storage and (task.formats[k] == FLOAT32 or task.formats[k] == FLOAT64)
    if u.carry_in != NULL:
        memcpy(job.carry, u.carry_in, rule.carry * sizeof(double))
    elif rule.carry:
        memcpy(job.carry, u.rule.initial, rule.carry * sizeof(double))
    if u.n_stages:
        memset(job.uses, 0, sizeof(job.uses))
        set_program(u, job)
    else:
        job.ops[0] = op_of(RULE, STAGES, rule, &job.sums_c[0], 0, False)
        job.ops[0].fast_path = RULE_ALONE
        job.ops[1] = op_of(END, -1, NULL, NULL, 0, False)
    if not rule.sums:
        rule.compute_scalars(u.t, job.carry, NULL, job.h, NULL, job.c)


cdef void set_program(const fastopt_update *u, job_t *job) noexcept nogil:
    """Set the program of an update: its stages that are not neutral, around its rule."""
    cdef const fastopt_stage_args *use
    cdef const stage_t *stage
    cdef const formula_t *f
    cdef int64_t on = 0, loose = 0
    cdef int k, j, taken
    for j in range(u.n_stages):
        use = fo_stage_args_at(u, j)
        stage = <const stage_t *> use.stage
        if not is_neutral(stage.formula, use.hyperparameters):
            job.uses[stage.place] = use
    for k in range(TABLE.n_stages):
        if job.uses[k] == NULL:
            continue
        f = &TABLE.stages[k]
        taken = 0
        for j in range(f.n_arrays):
            if f.arrays[j] >= STAGE_ARRAY:
                job.task.stage_arrays[f.arrays[j] - STAGE_ARRAY] = <char *> job.uses[k].arrays[taken]
                taken += 1
        on |= <int64_t> 1 << k
        loose |= <int64_t> is_loose(f, job.uses[k].hyperparameters[0]) << k
        if sums_of(k) == 0:
            f.compute_scalars(0, NULL, NULL, job.uses[k].hyperparameters, NULL, job.stage_c[k])
    build_program(job.ops, TABLE, job.rule, on, 0, loose, False, False, &job.stage_c[0][0], &job.sums_c[0], 0)


cdef bint is_neutral(const formula_t *stage, const double *h) noexcept nogil:
    """Return True if a stage's hyperparameters change nothing."""
    cdef int k
    cdef bint could = False
    for k in range(stage.hyperparameters):
        if stage.neutral[k] == stage.neutral[k]:
            could = True
            if h[k] != stage.neutral[k]:
                return False
    return could


cdef inline int sums_of(int k) noexcept nogil:
    """Return the number of a stage's sums. The check of gradients needs none here: it replaces by zero."""
    return 0 if TABLE.stages[k].kind == CHECKS else TABLE.stages[k].sums


cdef void describe(const fastopt_update *u, void *job) noexcept nogil:
    fill(u, <job_t *> job)


cdef void task_of(const fastopt_update *u, const void *job, void *task) noexcept nogil:
    """Write the task that sums read: parameters that are not copied to `param_out` yet."""
    (<task_t *> task)[0] = (<const job_t *> job).task
    (<task_t *> task).p.data = <char *> u.param_in


cdef void span(const void *job, int64_t lo, int64_t hi) noexcept nogil:
    TABLE.span(&(<const job_t *> job).task, lo, hi)


cdef fo_sums sums(const void *job_pointer, int id) noexcept nogil:
    """Return the sums of an active stage, or of the rule."""
    cdef const job_t *job = <const job_t *> job_pointer
    cdef fo_sums found = fo_sums(0, 0, 0, 0)
    cdef const formula_t *f = job.rule if id == TABLE.n_stages else &TABLE.stages[id]
    if id == TABLE.n_stages or (job.has_stages and job.uses[id] != NULL):
        found.count, found.squares = f.sums if id == TABLE.n_stages else sums_of(id), f.squares
        found.over_all, found.mean = f.scope != ARRAY, f.mean
    return found


cdef void before(const fastopt_update *u, void *job_pointer) noexcept nogil:
    cdef job_t *job = <job_t *> job_pointer
    if job.rule.compute_sums_scalars != NULL:
        job.rule.compute_sums_scalars(u.t, job.carry, NULL, job.h, NULL, job.sums_c)


cdef void reduce_blocks(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums _,
                        int64_t lo, int64_t hi, fo_partial *partials) noexcept nogil:
    cdef const job_t *job = <const job_t *> jobs
    while id == TABLE.n_stages and not job.rule.sums:
        job += 1
    TABLE.reduce_blocks(<const task_t *> tasks, count, <const Py_ssize_t *> starts, STAGES if id == TABLE.n_stages else id,
                        job.rule if id == TABLE.n_stages else &TABLE.stages[id], lo, hi, <partial_t *> partials)


cdef void after(const fastopt_update *u, void *job_pointer, int id, const double *totals) noexcept nogil:
    cdef job_t *job = <job_t *> job_pointer
    if id == TABLE.n_stages:
        job.rule.compute_scalars(u.t, job.carry, totals, job.h, NULL, job.c)
    else:
        TABLE.stages[id].compute_scalars(0, NULL, totals, job.uses[id].hyperparameters, NULL, job.stage_c[id])


cdef const double *carry(const void *job) noexcept nogil:
    return (<const job_t *> job).carry


cdef fo_library LIBRARY
LIBRARY.job_size, LIBRARY.task_size = sizeof(job_t), sizeof(task_t)
LIBRARY.describe, LIBRARY.task, LIBRARY.span, LIBRARY.sums = describe, task_of, span, sums
LIBRARY.before, LIBRARY.reduce_blocks, LIBRARY.after, LIBRARY.carry = before, reduce_blocks, after, carry


cdef int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads) noexcept nogil:
    """Make these updates. Return FASTOPT_OK, or another code if nothing has changed."""
    cdef int64_t most = threads
    if threads == 0 or fo_forked:
        most = 1 if fo_forked else omp_get_max_threads()
        if LIMIT and LIMIT < most:
            most = LIMIT
    return fo_apply(&LIBRARY, updates, count, most)


cdef int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts) noexcept nogil:
    """Make one part of these updates, in this thread."""
    return fo_apply_part(&LIBRARY, updates, count, part, parts)


cdef const char **names(list strings) except NULL:
    """Return C strings that live as long as the module."""
    cdef const char **found = <const char **> calloc(len(strings) + 1, sizeof(char *))
    cdef Py_ssize_t k
    if found == NULL:
        raise MemoryError
    for k, name in enumerate(strings):
        encoded = name.encode()
        KEEP.append(encoded)
        found[k] = <const char *> <char *> encoded
    return found


cdef double *doubles(list values) except NULL:
    cdef double *found = <double *> calloc(len(values) + 1, sizeof(double))
    cdef Py_ssize_t k
    if found == NULL:
        raise MemoryError
    for k, x in enumerate(values):
        found[k] = x
    return found


cdef int add_rule(object formula, const formula_t *compiled) except -1:
    """Add a rule to the public list."""
    global N_RULES
    cdef list h = list(formula.hyperparameters)
    cdef rule_t *rule = <rule_t *> calloc(1, sizeof(rule_t))
    cdef fastopt_rule *shown
    if rule == NULL or N_RULES == MOST_RULES:
        raise MemoryError(f"{N_RULES} rules")
    shown = &rule.shown
    rule.formula = compiled
    shown.size, shown.owner, shown.name = sizeof(fastopt_rule), &fo_owner, names([formula.name])[0]
    shown.n_states, shown.n_hyperparameters = len(formula.state), len(h)
    shown.n_carry, shown.n_sums = len(formula.carry), len(formula.sums)
    shown.states, shown.hyperparameters, shown.carry = names(list(formula.state)), names(h), names(list(formula.carry))
    shown.start_mask = sum(1 << k for k, name in enumerate(formula.state) if formula.tags.get(name) == "start")
    shown.defaults = doubles([NAN if x is None else x for x in formula.hyperparameters.values()])
    shown.lower = doubles([domain.low for domain in formula.domains.values()])
    shown.upper = doubles([domain.high for domain in formula.domains.values()])
    shown.initial = doubles(list(formula.carry.values()))
    RULE_LIST[N_RULES] = rule
    N_RULES += 1
    return 0


def register(formula):
    """Add a user's compiled rule to the public list."""
    cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(formula.capsule, "fastopt.table")
    if table.version != VERSION:
        raise ImportError(f"kernels of version {table.version}, expected {VERSION}: compile the rule again")
    KEEP.append(formula.capsule)
    add_rule(formula, &table.rules[0])


cdef int add_stage(stage_t *stage, object formula, int place) except -1:
    cdef fastopt_stage *shown = &stage.shown
    stage.formula, stage.place = &TABLE.stages[place], place
    shown.size, shown.owner, shown.name = sizeof(fastopt_stage), &fo_owner, names([formula.name])[0]
    shown.n_hyperparameters, shown.n_arrays = len(formula.hyperparameters), len(formula.stage_arrays)
    shown.n_sums = sums_of(place)
    shown.hyperparameters, shown.arrays = names(list(formula.hyperparameters)), names(formula.stage_arrays)
    shown.neutral = doubles([NAN if x is None else x for x in formula.hyperparameters.values()])
    shown.lower = doubles([domain.low for domain in formula.domains.values()])
    shown.upper = doubles([domain.high for domain in formula.domains.values()])
    return 0


cdef int add_all(object capsule) except -1:
    """Add the rules of a table except those of whole matrices, and the stages except those that an optimizer acts on."""
    global TABLE, STAGE_LIST, N_STAGES
    cdef int k
    TABLE = <const table_t *> PyCapsule_GetPointer(capsule, "fastopt.table")
    if TABLE.version != VERSION:
        raise ImportError(f"kernels of version {TABLE.version}, expected {VERSION}: build fastopt again")
    LIBRARY.stages, LIBRARY.rule_at = TABLE.n_stages, TABLE.rule_at
    STAGE_LIST = <stage_t *> calloc(TABLE.n_stages, sizeof(stage_t))
    if STAGE_LIST == NULL:
        raise MemoryError
    for k in range(TABLE.n_rules):
        formula = spec.RULES[TABLE.rules[k].name.decode()]
        if not formula.terms_scope:
            add_rule(formula, &TABLE.rules[k])
    for k in range(TABLE.n_stages):
        formula = spec.STAGES[TABLE.stages[k].name.decode()]
        if not formula.is_for_optimizers:
            add_stage(&STAGE_LIST[N_STAGES], formula, k)
            N_STAGES += 1
    return 0


assert sizeof(job_t) <= FO_JOB
if dispatch.TABLE is None:
    raise ImportError("the C interface needs the compiled engine: this process runs interpreted")
add_all(dispatch.TABLE)

cdef fastopt_interface INTERFACE
INTERFACE.size, INTERFACE.abi = sizeof(fastopt_interface), FASTOPT_ABI
INTERFACE.find_rule, INTERFACE.rule_at = fastopt_find_rule, fastopt_rule_at
INTERFACE.find_stage, INTERFACE.stage_at = fastopt_find_stage, fastopt_stage_at
INTERFACE.apply, INTERFACE.apply_part, INTERFACE.message = fastopt_apply, fastopt_apply_part, fastopt_message
CAPSULE = PyCapsule_New(&INTERFACE, "fastopt.interface", NULL)
