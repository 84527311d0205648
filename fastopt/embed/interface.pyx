# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The C interface: updates that a caller describes in the structs of fastopt.h, as the kernels want them."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset, strcmp

from fastopt._engine.program cimport build_program, is_loose, op_of
from fastopt._engine.table cimport (
    ARRAY, BFLOAT16, CHECKS, END, FLOAT8, FLOAT16, FLOAT32, FLOAT64, INPUTS, KEPT, OWN, RULE, RULE_ALONE, SCALARS, STAGES,
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
        int count, squares, whole, mean
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
        void (*add_up)(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums sums, int64_t lo,
                       int64_t hi, fo_partial *partials) noexcept nogil
        void (*after)(const fastopt_update *u, void *job, int id, const double *totals) noexcept nogil
        const double *(*kept)(const void *job) noexcept nogil
    const fastopt_use *fo_use_at(const fastopt_update *u, int32_t j)
    int32_t fo_apply(const fo_library *library, const fastopt_update *updates, int64_t count, int64_t threads)
    int32_t fo_apply_part(const fo_library *library, const fastopt_update *updates, int64_t count, int32_t part, int32_t parts)

cdef enum:
    OPS = STAGES + 2
    MOST_RULES = 4096

cdef struct rule_t:  # what is shown of a rule comes first
    fastopt_rule shown
    const formula_t *formula

cdef struct stage_t:
    fastopt_stage shown
    const formula_t *formula
    int place

cdef struct job_t:  # one update as the kernels want it
    task_t task
    const formula_t *rule
    const double *h
    bint staged  # some of `uses` are not NULL
    uint32_t key
    op_t[OPS] ops
    const fastopt_use *uses[STAGES]
    double[SCALARS] c
    double[SCALARS] sums_c
    double[STAGES][INPUTS] stage_c
    double[KEPT] kept

cdef const table_t *TABLE = NULL
cdef rule_t *RULE_LIST[MOST_RULES]
cdef stage_t *STAGE_LIST = NULL
cdef int32_t N_RULES = 0
cdef int32_t N_STAGES = 0
cdef int LIMIT = system.limit()
cdef list KEEP = []  # the memory of all names and numbers
fo_watch_forks()


cdef const fastopt_rule *fastopt_find_rule(const char *name) noexcept nogil:
    """A rule by its name, or NULL."""
    cdef int32_t k
    for k in range(N_RULES if name != NULL else 0):
        if strcmp(RULE_LIST[N_RULES - 1 - k].shown.name, name) == 0:
            return &RULE_LIST[N_RULES - 1 - k].shown  # the last of a name
    return NULL


cdef const fastopt_rule *fastopt_rule_at(int32_t k) noexcept nogil:
    """One rule after another; NULL after the last."""
    return &RULE_LIST[k].shown if 0 <= k < N_RULES else NULL


cdef const fastopt_stage *fastopt_find_stage(const char *name) noexcept nogil:
    """A stage by its name, or NULL."""
    cdef int32_t k
    for k in range(N_STAGES if name != NULL else 0):
        if strcmp(STAGE_LIST[k].shown.name, name) == 0:
            return &STAGE_LIST[k].shown
    return NULL


cdef const fastopt_stage *fastopt_stage_at(int32_t k) noexcept nogil:
    """One stage after another; NULL after the last."""
    return &STAGE_LIST[k].shown if 0 <= k < N_STAGES else NULL


cdef const char *fastopt_message() noexcept nogil:
    """What was wrong in this thread's last call that returned a code."""
    return fo_said


cdef inline format_t format_of(int32_t format) noexcept nogil:
    if format == FASTOPT_FLOAT64:
        return FLOAT64
    if format == FASTOPT_BFLOAT16:
        return BFLOAT16
    return FLOAT16 if format == FASTOPT_FLOAT16 else FLOAT8 if format == FASTOPT_FLOAT8 else FLOAT32


cdef void fill(const fastopt_update *u, job_t *job) noexcept nogil:
    """The task of an update, its operations, and those of their scalars that need no sums."""
    cdef task_t *task = &job.task
    cdef const formula_t *rule = (<const rule_t *> u.rule).formula
    cdef format_t state = format_of(u.state_format)
    cdef int k
    job.rule, job.staged = rule, u.n_stages > 0
    job.h = u.hyperparameters if u.hyperparameters != NULL else u.rule.defaults
    job.key = fo_key(fo_key(u.seed, <uint32_t> (u.t - 1)), <uint32_t> ((u.t - 1) >> 32))
    task.n = task.work = u.n
    task.first = task.index = task.n_rows = task.row = 0
    task.constant, task.rows, task.lines = 0, NULL, NULL
    task.active, task.rule, task.ops, task.c = True, rule, job.ops, job.c
    task.p.data, task.p.format, task.p.flat = <char *> u.param_out, format_of(u.param_format), True
    task.g.data, task.g.format, task.g.flat = <char *> u.grad, format_of(u.grad_format), True
    task.master = <char *> u.master if u.master != NULL else <char *> u.low
    task.split = u.low != NULL
    task.position, task.seed, task.nearest = u.position, &job.key, u.nearest
    task.direct = task.g.format == task.p.format and (task.p.format == FLOAT32 or task.p.format == FLOAT64)
    task.plain = task.p.format == FLOAT32 or task.p.format == FLOAT64
    for k in range(rule.states):
        task.state[k], task.exponents[k] = <char *> u.state[k], u.exponents[k]
        task.formats[k] = state
        if u.rule.starts >> k & 1:
            task.formats[k] = FLOAT64 if task.p.format == FLOAT64 else FLOAT32
        elif state == FLOAT8 and rule.nonnegative >> k & 1:
            task.formats[k] = UFLOAT8
        task.direct = task.direct and task.formats[k] == task.p.format
        task.plain = task.plain and (task.formats[k] == FLOAT32 or task.formats[k] == FLOAT64)
    if u.kept_in != NULL:
        memcpy(job.kept, u.kept_in, rule.kept * sizeof(double))
    elif rule.kept:
        memcpy(job.kept, u.rule.initial, rule.kept * sizeof(double))
    if u.n_stages:
        memset(job.uses, 0, sizeof(job.uses))
        compose(u, job)
    else:
        job.ops[0] = op_of(RULE, STAGES, rule, &job.sums_c[0], 0, False)
        job.ops[0].path = RULE_ALONE
        job.ops[1] = op_of(END, -1, NULL, NULL, 0, False)
    if not rule.sums:
        rule.prepare(u.t, job.kept, NULL, job.h, job.c)


cdef void compose(const fastopt_update *u, job_t *job) noexcept nogil:
    """The operations of an update: its stages that are not neutral, around its rule."""
    cdef const fastopt_use *use
    cdef const stage_t *stage
    cdef const formula_t *f
    cdef int64_t on = 0, loose = 0
    cdef int k, j, own
    for j in range(u.n_stages):
        use = fo_use_at(u, j)
        stage = <const stage_t *> use.stage
        if not is_neutral(stage.formula, use.hyperparameters):
            job.uses[stage.place] = use
    for k in range(TABLE.n_stages):
        if job.uses[k] == NULL:
            continue
        f = &TABLE.stages[k]
        own = 0
        for j in range(f.n_arrays):
            if f.arrays[j] >= OWN:
                job.task.own[f.arrays[j] - OWN] = <char *> job.uses[k].arrays[own]
                own += 1
        on |= <int64_t> 1 << k
        loose |= <int64_t> is_loose(f, job.uses[k].hyperparameters[0]) << k
        if sums_of(k) == 0:
            f.prepare(0, NULL, NULL, job.uses[k].hyperparameters, job.stage_c[k])
    build_program(job.ops, TABLE, job.rule, on, 0, loose, False, False, &job.stage_c[0][0], &job.sums_c[0], 0)


cdef bint is_neutral(const formula_t *stage, const double *h) noexcept nogil:
    """Whether a stage's hyperparameters are those that change nothing; not where none could."""
    cdef int k
    cdef bint could = False
    for k in range(stage.hyperparameters):
        if stage.neutral[k] == stage.neutral[k]:
            could = True
            if h[k] != stage.neutral[k]:
                return False
    return could


cdef inline int sums_of(int k) noexcept nogil:
    """Sums that a stage needs: what is not finite becomes zero without."""
    return 0 if TABLE.stages[k].kind == CHECKS else TABLE.stages[k].sums


cdef void describe(const fastopt_update *u, void *job) noexcept nogil:
    fill(u, <job_t *> job)


cdef void task_of(const fastopt_update *u, const void *job, void *task) noexcept nogil:
    """What sums read: the parameter is not yet where it is to be."""
    (<task_t *> task)[0] = (<const job_t *> job).task
    (<task_t *> task).p.data = <char *> u.param_in


cdef void span(const void *job, int64_t lo, int64_t hi) noexcept nogil:
    TABLE.span(&(<const job_t *> job).task, lo, hi)


cdef fo_sums sums(const void *given, int id) noexcept nogil:
    """What an update sums of a stage that is on, or of its rule."""
    cdef const job_t *job = <const job_t *> given
    cdef fo_sums found = fo_sums(0, 0, 0, 0)
    cdef const formula_t *f = job.rule if id == TABLE.n_stages else &TABLE.stages[id]
    if id == TABLE.n_stages or (job.staged and job.uses[id] != NULL):
        found.count, found.squares = f.sums if id == TABLE.n_stages else sums_of(id), f.squares
        found.whole, found.mean = f.scope != ARRAY, f.mean
    return found


cdef void before(const fastopt_update *u, void *given) noexcept nogil:
    cdef job_t *job = <job_t *> given
    if job.rule.sums_prepare != NULL:
        job.rule.sums_prepare(u.t, job.kept, NULL, job.h, job.sums_c)


cdef void add_up(const void *jobs, const void *tasks, int64_t count, const ptrdiff_t *starts, int id, fo_sums _, int64_t lo,
                 int64_t hi, fo_partial *partials) noexcept nogil:
    cdef const job_t *job = <const job_t *> jobs
    while id == TABLE.n_stages and not job.rule.sums:
        job += 1
    TABLE.add_up(<const task_t *> tasks, count, <const Py_ssize_t *> starts, STAGES if id == TABLE.n_stages else id,
                 job.rule if id == TABLE.n_stages else &TABLE.stages[id], lo, hi, <partial_t *> partials)


cdef void after(const fastopt_update *u, void *given, int id, const double *totals) noexcept nogil:
    cdef job_t *job = <job_t *> given
    if id == TABLE.n_stages:
        job.rule.prepare(u.t, job.kept, totals, job.h, job.c)
    else:
        TABLE.stages[id].prepare(0, NULL, totals, job.uses[id].hyperparameters, job.stage_c[id])


cdef const double *kept(const void *job) noexcept nogil:
    return (<const job_t *> job).kept


cdef fo_library LIBRARY
LIBRARY.job_size, LIBRARY.task_size = sizeof(job_t), sizeof(task_t)
LIBRARY.describe, LIBRARY.task, LIBRARY.span, LIBRARY.sums = describe, task_of, span, sums
LIBRARY.before, LIBRARY.add_up, LIBRARY.after, LIBRARY.kept = before, add_up, after, kept


cdef int32_t fastopt_apply(const fastopt_update *updates, int64_t count, int32_t threads) noexcept nogil:
    """Make these steps. Returns FASTOPT_OK, or another code, and then nothing has been changed."""
    cdef int64_t most = threads
    if threads == 0 or fo_forked:
        most = 1 if fo_forked else omp_get_max_threads()
        if LIMIT and LIMIT < most:
            most = LIMIT
    return fo_apply(&LIBRARY, updates, count, most)


cdef int32_t fastopt_apply_part(const fastopt_update *updates, int64_t count, int32_t part, int32_t parts) noexcept nogil:
    """Make one of so many parts of these steps, in this thread."""
    return fo_apply_part(&LIBRARY, updates, count, part, parts)


cdef const char **names(list given) except NULL:
    """Strings that live as long as the module."""
    cdef const char **found = <const char **> calloc(len(given) + 1, sizeof(char *))
    cdef Py_ssize_t k
    if found == NULL:
        raise MemoryError
    for k, name in enumerate(given):
        encoded = name.encode()
        KEEP.append(encoded)
        found[k] = <const char *> <char *> encoded
    return found


cdef double *numbers(list given) except NULL:
    cdef double *found = <double *> calloc(len(given) + 1, sizeof(double))
    cdef Py_ssize_t k
    if found == NULL:
        raise MemoryError
    for k, x in enumerate(given):
        found[k] = x
    return found


cdef int show_rule(object formula, const formula_t *compiled) except -1:
    """Add a rule to those that are shown."""
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
    shown.n_kept, shown.n_sums = len(formula.kept), len(formula.sums)
    shown.states, shown.hyperparameters, shown.kept = names(list(formula.state)), names(h), names(list(formula.kept))
    shown.starts = sum(1 << k for k, name in enumerate(formula.state) if formula.tags.get(name) == "start")
    shown.defaults = numbers([NAN if x is None else x for x in formula.hyperparameters.values()])
    shown.least = numbers([domain.low for domain in formula.domains.values()])
    shown.greatest = numbers([domain.high for domain in formula.domains.values()])
    shown.initial = numbers(list(formula.kept.values()))
    RULE_LIST[N_RULES] = rule
    N_RULES += 1
    return 0


def register(formula):
    """Show a rule that was compiled by itself."""
    cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(formula.capsule, "fastopt.table")
    if table.version != VERSION:
        raise ImportError(f"kernels of version {table.version}, expected {VERSION}: compile the rule again")
    KEEP.append(formula.capsule)
    show_rule(formula, &table.rules[0])


cdef int show_stage(stage_t *stage, object formula, int place) except -1:
    cdef fastopt_stage *shown = &stage.shown
    stage.formula, stage.place = &TABLE.stages[place], place
    shown.size, shown.owner, shown.name = sizeof(fastopt_stage), &fo_owner, names([formula.name])[0]
    shown.n_hyperparameters, shown.n_arrays, shown.n_sums = len(formula.hyperparameters), len(formula.own), sums_of(place)
    shown.hyperparameters, shown.arrays = names(list(formula.hyperparameters)), names(formula.own)
    shown.neutral = numbers([NAN if x is None else x for x in formula.hyperparameters.values()])
    shown.least = numbers([domain.low for domain in formula.domains.values()])
    shown.greatest = numbers([domain.high for domain in formula.domains.values()])
    return 0


cdef int show_all(object capsule) except -1:
    """What this table has: all rules but those of whole matrices, all stages but those that an optimizer acts on."""
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
            show_rule(formula, &TABLE.rules[k])
    for k in range(TABLE.n_stages):
        formula = spec.STAGES[TABLE.stages[k].name.decode()]
        if not formula.is_for_optimizers:
            show_stage(&STAGE_LIST[N_STAGES], formula, k)
            N_STAGES += 1
    return 0


assert sizeof(job_t) <= FO_JOB
if dispatch.TABLE is None:
    raise ImportError("the C interface needs the compiled engine: this process runs interpreted")
show_all(dispatch.TABLE)

cdef fastopt_interface INTERFACE
INTERFACE.size, INTERFACE.abi = sizeof(fastopt_interface), FASTOPT_ABI
INTERFACE.find_rule, INTERFACE.rule_at = fastopt_find_rule, fastopt_rule_at
INTERFACE.find_stage, INTERFACE.stage_at = fastopt_find_stage, fastopt_stage_at
INTERFACE.apply, INTERFACE.apply_part, INTERFACE.message = fastopt_apply, fastopt_apply_part, fastopt_message
CAPSULE = PyCapsule_New(&INTERFACE, "fastopt.interface", NULL)
