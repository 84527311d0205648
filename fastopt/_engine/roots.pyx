# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Choice between a rule's kernels, of numbers or of vectors: their bits are the same, their time depends on the processor.

Kernels of numbers leave square roots to the divider, those of vectors compute them by FMA.
"""

from fastopt._engine.table cimport SCALARS, STATES, UPDATE, formula_t, kernel_t, table_t
from fastopt._engine.tables cimport table_of

cdef extern from "block.h" nogil:
    ctypedef int fo_env
    fo_env fo_enter(int flush)
    void fo_leave(fo_env caller)

cdef extern from "threads.h" nogil:
    double fo_now()

cdef enum:
    N = 256  # Elements of a timing: with their state, less than the nearest cache holds.
    CALLS = 8  # In a timing.
    ROUNDS = 5

WAYS = ("fma", "divider")  # Of taking square roots.


def select(capsule, way=None):
    """Put kernels in use: those that the processor runs faster, or those of one way of taking square roots."""
    cdef table_t *table = <table_t *> table_of(capsule)
    cdef formula_t *rule
    cdef kernel_t *used
    cdef fo_env env = fo_enter(False)
    cdef int i, k
    try:
        for i in range(table.n_rules):
            rule = <formula_t *> &table.rules[i]
            for k in range(2):
                used = &rule.f64 if k else &rule.f32
                used[0] = rule.numbers[k]
                if rule.vectors[k] != NULL and (way == "fma" or way is None and is_faster(rule, k)):
                    used[0] = rule.vectors[k]
    finally:
        fo_leave(env)


def selected(capsule):
    """Return the names of the rules with vectors, each with its way of taking square roots in float32 and in float64."""
    cdef const table_t *table = table_of(capsule)
    cdef const formula_t *rule
    cdef int i
    found = {}
    for i in range(table.n_rules):
        rule = &table.rules[i]
        if rule.vectors[0] != NULL or rule.vectors[1] != NULL:
            found[rule.name.decode()] = (WAYS[rule.f32 == rule.numbers[0]], WAYS[rule.f64 == rule.numbers[1]])
    return found


cdef bint is_faster(const formula_t *rule, int precision) noexcept:
    """Return True if a rule's kernel of vectors takes less time than that of numbers."""
    cdef double least[2]
    cdef double taken
    cdef int way, _
    least[0] = least[1] = 1e9
    for _ in range(ROUNDS):
        for way in range(2):
            taken = time_of(rule.vectors[precision] if way else rule.numbers[precision], precision)
            least[way] = min(least[way], taken)
    return least[1] < 0.98 * least[0]


cdef double time_of(kernel_t kernel, int precision) noexcept:
    """Return the seconds that a kernel takes, on numbers of which no root is unusual."""
    cdef double doubles[STATES + 2][N]
    cdef float floats[STATES + 2][N]
    cdef double c[SCALARS]
    cdef void *arrays[UPDATE + 1]
    cdef double start
    cdef int i, k, _
    arrays[UPDATE] = NULL
    for k in range(SCALARS):
        c[k] = 0.5
    for k in range(STATES + 2):
        for i in range(N):
            doubles[k][i] = floats[k][i] = 0.25
        arrays[k] = <void *> doubles[k] if precision else <void *> floats[k]
    start = fo_now()
    for _ in range(CALLS):
        kernel(arrays, N, c)
    return fo_now() - start
