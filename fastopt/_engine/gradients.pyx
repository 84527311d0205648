# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The gradients of a step: collected from their nesting, checked, and where their tasks find them."""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next, PyDict_Size
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject, PyTypeObject, Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uintptr_t
cimport numpy as cnp

from fastopt._engine.dlpack cimport data_of, exchange_t, fits, lies_under, tensor_t
from fastopt._engine.lazy_rows cimport lag
from fastopt._engine.plan cimport Plan
from fastopt._engine.table cimport BFLOAT16, FLOAT64, format_t, task_t, view_t
from fastopt._engine.views cimport alike, format_of, lay

from fastopt._arrays import dtypes, layout, overlap, row_gradient

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    PyTypeObject ARRAY_TYPE "PyArray_Type"
    object array_at "PyArray_NewFromDescr"(PyTypeObject *kind, cnp.PyArray_Descr *dtype, int ndim, const cnp.npy_intp *shape,
                                           const cnp.npy_intp *strides, void *data, int flags, PyObject *base)

cdef object TAGGED = dtypes.bfloat16
cdef double[2] NOTHING = [0.0, 0.0]  # the gradient of a parameter that has none in the last of several steps


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


cdef int hold_list(Plan plan, list grads) except -1:
    """Gradients from a list into `held`."""
    cdef Py_ssize_t i
    if len(grads) != plan.n:
        raise ValueError(f"{len(grads)} gradients, expected {plan.n}")
    for i in range(plan.n):
        Py_INCREF(grads[i])
        plan.held[i] = <PyObject *> grads[i]
    return 0


cdef int take_held(Plan plan) except -1:
    """Check every gradient in `held`, and point its task to it, in the parameter's order."""
    cdef Py_ssize_t i
    cdef object g
    cdef cnp.ndarray p
    cdef task_t *task
    cdef format_t format
    cdef uintptr_t first, end
    cdef bint sparse = False
    plan.settled, plan.n_active = False, 0
    for i in range(plan.n):
        g = <object> plan.held[i]
        task = &plan.walk.tasks[i]
        task.active = plan.active[i] = g is not None
        plan.n_active += task.active
        task.rows = NULL
        if g is None:
            continue
        if type(g) is not cnp.ndarray and row_gradient.is_rows(g):
            take_rows(plan, i, g)
            sparse = True
            continue
        p = <cnp.ndarray> plan.arrays[i]
        format = task.p.format
        if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, p) \
                or (format == BFLOAT16 and <PyObject *> cnp.PyArray_DESCR(<cnp.ndarray> g) != <PyObject *> TAGGED):
            g = layout.check_gradient(plan.slots[i].name, p, g)
            Py_INCREF(g)
            Py_DECREF(<object> plan.held[i])
            plan.held[i] = <PyObject *> g
            format = format_of(cnp.PyArray_TYPE(<cnp.ndarray> g))
        lay(&task.g, <cnp.ndarray> g, plan.orders[i], format, &first, &end)
        task.direct = plan.flat[i] and task.g.flat and format == task.p.format
        check_apart(plan, i, g, first, end)
    if sparse or plan.sparse:
        plan.sparse = sparse
        plan.lay_work()
    return 0


cdef int take_rows(Plan plan, Py_ssize_t i, object g) except -1:
    """Check a gradient of rows, and point its task to it."""
    cdef task_t *task = &plan.walk.tasks[i]
    cdef cnp.ndarray values, indices
    cdef uintptr_t first
    slot = plan.slots[i]
    g = row_gradient.check_rows(slot, g, plan.accumulate, plan.exact)
    values, indices = g.values, g.indices
    first = <uintptr_t> cnp.PyArray_DATA(values)
    check_apart(plan, i, values, first, first + cnp.PyArray_NBYTES(values))
    Py_INCREF(g)
    Py_DECREF(<object> plan.held[i])
    plan.held[i] = <PyObject *> g
    if plan.exact and plan.lagging[i] == NULL:
        lag(plan, i)
    task.g.data, task.g.format, task.g.flat = <char *> cnp.PyArray_DATA(values), format_of(cnp.PyArray_TYPE(values)), True
    task.direct = plan.flat[i] and task.g.format == task.p.format
    task.rows, task.n_rows = <int64_t *> cnp.PyArray_DATA(indices), cnp.PyArray_SIZE(indices)
    return 0


cdef int check_apart(Plan plan, Py_ssize_t i, object g, uintptr_t first, uintptr_t end) except -1:
    """Refuse a gradient, of these bytes, that has one in common with what a step writes."""
    if plan.walk.tasks[i].n and not is_clear(plan, i, first, end):
        if plan.written is None:
            plan.written = overlap.Written(x for s in plan.slots for x in s.written())
        plan.written.check_apart(plan.slots[i].name, g)
    return 0


cdef bint is_clear(Plan plan, Py_ssize_t i, uintptr_t first, uintptr_t end) noexcept:
    """Whether no written range meets these bytes: between the same two as last time, or found by halving."""
    cdef Py_ssize_t k = plan.hint[i], lo = 0, hi = plan.n_ranges, middle
    if (k == 0 or plan.ranges[2 * k - 1] <= first) and (k == plan.n_ranges or end <= plan.ranges[2 * k]):
        return True
    while lo < hi:
        middle = (lo + hi) // 2
        if plan.ranges[2 * middle + 1] <= first:
            lo = middle + 1
        else:
            hi = middle
    plan.hint[i] = lo
    return lo == plan.n_ranges or end <= plan.ranges[2 * lo]


cdef void point_to_nothing(Plan plan, Py_ssize_t i) noexcept:
    """A gradient of zeros for a parameter that has gathered some and has none now."""
    cdef view_t *g = &plan.walk.tasks[i].g
    cdef int k
    g.data, g.format, g.flat = <char *> NOTHING, FLOAT64, False
    for k in range(g.ndim):
        g.strides[k] = 0
    plan.walk.tasks[i].active = plan.active[i] = True
    plan.walk.tasks[i].direct = plan.settled = False
    plan.n_active += 1


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


cdef list arrays_over(Plan plan, object exchange, object kind, list params, list grads, object other):
    """Arrays over the gradients that tensors are; see `Backend.over`."""
    cdef const exchange_t *api = <const exchange_t *> PyCapsule_GetPointer(exchange, EXCHANGE)
    cdef Py_ssize_t i
    cdef tensor_t x
    cdef cnp.ndarray p
    cdef list arrays = []
    cdef object negated = kind.is_neg  # when it is read, which memory does not say
    if len(params) != plan.n or len(grads) != plan.n:
        raise ValueError(f"{len(params)} parameters and {len(grads)} gradients, expected {plan.n}")
    if plan.views is None or len(plan.views) != plan.n:
        plan.views = [None] * plan.n
    for i in range(plan.n):
        p = <cnp.ndarray> plan.arrays[i]
        if not look(api, params[i], p, &x) or not lies_under(&x, p):
            return None
        g = grads[i]
        if g is None:
            arrays.append(None)
            continue
        if type(g) is not kind or not look(api, g, p, &x) or negated(g):
            arrays.append(other(i, g))
            continue
        if plan.views[i] is None or not fits(&x, <cnp.ndarray> plan.views[i]) or not lies_under(&x, <cnp.ndarray> plan.views[i]):
            plan.views[i] = over(&x, p)
        arrays.append(plan.views[i])
    return arrays


cdef bint look(const exchange_t *api, object tensor, cnp.ndarray p, tensor_t *x):
    """Whether a tensor can be described, and has a parameter's dtype and shape."""
    try:
        api.look(<void *> tensor, x)
    except Exception:  # it has no memory, or no strides
        return False
    return fits(x, p)
