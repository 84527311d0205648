# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Gradients of a step: collected from their nesting, checked, and described to the kernels.

Everything here runs before a step writes anything, and in every step: a call with arrays that match their parameters makes no
new Python object.
"""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next, PyDict_Size
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject, PyTypeObject, Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uintptr_t
cimport numpy as cnp

from fastopt._engine.dlpack cimport data_of, exchange_t, matches, shares_memory, tensor_t
from fastopt._engine.lazy_rows cimport begin_lazy_rows
from fastopt._engine.plan cimport Plan
from fastopt._engine.table cimport BFLOAT16, FLOAT64, format_t, task_t, view_t
from fastopt._engine.views cimport alike, describe_view, format_of, same_shape

from fastopt._arrays import dtypes, layout, overlap, row_gradient

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    PyTypeObject ARRAY_TYPE "PyArray_Type"
    object array_at "PyArray_NewFromDescr"(PyTypeObject *kind, cnp.PyArray_Descr *dtype, int ndim, const cnp.npy_intp *shape,
                                           const cnp.npy_intp *strides, void *data, int flags, PyObject *base)

cdef object TAGGED = dtypes.bfloat16
cdef double[2] ZERO = [0.0, 0.0]  # Gradient of a parameter that has accumulated some and has none now.


cdef Py_ssize_t collect(object structure, object tree, PyObject **out, Py_ssize_t k) except -1:
    """Store new references to the gradients in the parameters' order in `out`; return the next free place."""
    cdef Py_ssize_t i = 0, n
    cdef object item, child
    cdef tuple keys
    cdef list children
    if structure is None:
        Py_INCREF(tree)
        out[k] = <PyObject *> tree
        return k + 1
    keys, children = structure.keys, structure.children
    n = len(children)
    if tree is None and structure.path:  # None stands for every gradient below a name.
        for i in range(n):
            k = collect(children[i], None, out, k)
        return k
    if type(tree) is not dict or keys is None or PyDict_Size(tree) != n:
        structure.match(tree)
    elif structure.is_flat:
        i = collect_in_order(tree, keys, out + k)
        k += i
    for i in range(i, n):
        item = item_of(structure, tree, keys, i)
        child = children[i]
        if child is None:
            Py_INCREF(item)
            out[k] = <PyObject *> item
            k += 1
        else:
            k = collect(child, item, out, k)
    return k


cdef object item_of(object structure, object tree, tuple keys, Py_ssize_t i):
    """Return the gradient, or the gradients, at a place of the structure."""
    cdef PyObject *found
    if keys is None:
        if type(tree) is not list:
            return tree[i]
        if i >= len(<list> tree):  # A gradient's method may shorten the list that is being read.
            structure.raise_mismatch(tree)
        return (<list> tree)[i]
    if type(tree) is dict:
        found = PyDict_GetItemWithError(tree, keys[i])
        if found == NULL:
            structure.raise_mismatch(tree)
        return <object> found
    if keys[i] not in tree:
        structure.raise_mismatch(tree)
    return tree[keys[i]]


cdef inline bint is_same_name(object a, object b) noexcept:
    return type(a) is str and type(b) is str and <str> a == <str> b


cdef Py_ssize_t collect_in_order(dict tree, tuple keys, PyObject **out) noexcept:
    """Store new references to the values of a dict until a key is another; return how many."""
    cdef Py_ssize_t i = 0, place = 0
    cdef PyObject *key
    cdef PyObject *found
    while PyDict_Next(tree, &place, &key, &found) and (key == <PyObject *> keys[i] or is_same_name(<object> key, keys[i])):
        Py_INCREF(<object> found)
        out[i] = found
        i += 1
    return i


cdef void release(PyObject **objects, Py_ssize_t n) noexcept:
    """Drop references. A destructor that runs Python code finds the array emptied already."""
    cdef Py_ssize_t i
    cdef PyObject *last
    for i in range(n):
        last = objects[i]
        objects[i] = NULL
        if last != NULL:
            Py_DECREF(<object> last)


cdef int stash_list(Plan plan, list grads) except -1:
    """Store references to the gradients of a list."""
    cdef Py_ssize_t i
    if len(grads) != plan.n:
        raise ValueError(f"{len(grads)} gradients, expected {plan.n}")
    for i in range(plan.n):
        Py_INCREF(grads[i])
        plan.stashed[i] = <PyObject *> grads[i]
    return 0


cdef int set_stashed(Plan plan) except -1:
    """Check every gradient, and describe it to its task in the order of the parameter's axes."""
    cdef Py_ssize_t i
    cdef object g
    cdef cnp.ndarray p
    cdef task_t *task
    cdef format_t format
    cdef uintptr_t first, end
    cdef bint sparse = False
    plan.scalars_shared, plan.n_active = False, 0
    for i in range(plan.n):
        g = <object> plan.stashed[i]
        task = &plan.core.tasks[i]
        task.active = plan.active[i] = g is not None
        plan.n_active += task.active
        task.rows = NULL
        if g is None:
            continue
        p = <cnp.ndarray> plan.arrays[i]
        if task.packed and type(g) is cnp.ndarray and is_packed(<cnp.ndarray> g, p):
            task.g.data = <char *> cnp.PyArray_DATA(<cnp.ndarray> g)
            task.no_decoding = plan.contiguous[i]
            first = <uintptr_t> task.g.data
            check_no_overlap(plan, i, g, first, first + cnp.PyArray_NBYTES(<cnp.ndarray> g))
            continue
        task.packed = False
        if type(g) is not cnp.ndarray and row_gradient.is_rows(g):
            set_rows(plan, i, g)
            sparse = True
            continue
        format = task.p.format
        if type(g) is not cnp.ndarray or not alike(<cnp.ndarray> g, p) \
                or (format == BFLOAT16 and <PyObject *> cnp.PyArray_DESCR(<cnp.ndarray> g) != <PyObject *> TAGGED):
            g = layout.check_gradient(plan.parameters[i].name, p, g)
            Py_INCREF(g)
            Py_DECREF(<object> plan.stashed[i])
            plan.stashed[i] = <PyObject *> g
            format = format_of(cnp.PyArray_TYPE(<cnp.ndarray> g))
        describe_view(&task.g, <cnp.ndarray> g, plan.orders[i], format, &first, &end)
        task.no_decoding = plan.contiguous[i] and task.g.contiguous and format == task.p.format
        task.packed = task.g.contiguous and task.p.format != BFLOAT16 and is_packed(<cnp.ndarray> g, p)
        check_no_overlap(plan, i, g, first, end)
    if sparse or plan.sparse:
        plan.sparse = sparse
        plan.layout_step()
    return 0


cdef inline bint is_packed(cnp.ndarray g, cnp.ndarray p) noexcept:
    """Return True if both arrays have one dtype, shape and C order."""
    cdef int flags = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    return cnp.PyArray_DESCR(g) == cnp.PyArray_DESCR(p) and cnp.PyArray_FLAGS(g) & cnp.PyArray_FLAGS(p) & flags == flags \
        and same_shape(g, p)


cdef int set_rows(Plan plan, Py_ssize_t i, object g) except -1:
    """Check a gradient of rows, and describe it to its task."""
    cdef task_t *task = &plan.core.tasks[i]
    cdef cnp.ndarray values, indices
    cdef uintptr_t first
    parameter = plan.parameters[i]
    g = row_gradient.check_rows(parameter, g, plan.accumulate, plan.exact)
    values, indices = g.values, g.indices
    first = <uintptr_t> cnp.PyArray_DATA(values)
    check_no_overlap(plan, i, values, first, first + cnp.PyArray_NBYTES(values))
    Py_INCREF(g)
    Py_DECREF(<object> plan.stashed[i])
    plan.stashed[i] = <PyObject *> g
    if plan.exact and plan.lazy_rows[i] == NULL:
        begin_lazy_rows(plan, i)
    task.g.data, task.g.format, task.g.contiguous = <char *> cnp.PyArray_DATA(values), format_of(cnp.PyArray_TYPE(values)), True
    task.no_decoding = plan.contiguous[i] and task.g.format == task.p.format
    task.rows, task.n_rows = <int64_t *> cnp.PyArray_DATA(indices), cnp.PyArray_SIZE(indices)
    return 0


cdef int check_no_overlap(Plan plan, Py_ssize_t i, object g, uintptr_t first, uintptr_t end) except -1:
    """Raise if a gradient shares one of these bytes with what a step writes."""
    if plan.core.tasks[i].n and not is_disjoint(plan, i, first, end):
        if plan.written is None:
            plan.written = overlap.Written(x for s in plan.parameters for x in s.written())
        plan.written.check_no_overlap(plan.parameters[i].name, g)
    return 0


cdef bint is_disjoint(Plan plan, Py_ssize_t i, uintptr_t first, uintptr_t end) noexcept:
    """Return True if no written range overlaps these bytes.

    The gap of the last step is tried first: gradients mostly stay where they are. Otherwise bisect.
    """
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


cdef void use_zero_gradient(Plan plan, Py_ssize_t i) noexcept:
    """Use a zero gradient for a parameter that has accumulated some and has none now."""
    cdef view_t *g = &plan.core.tasks[i].g
    cdef int k
    g.data, g.format, g.contiguous = <char *> ZERO, FLOAT64, False
    plan.core.tasks[i].packed = False
    for k in range(g.ndim):
        g.strides[k] = 0
    plan.core.tasks[i].active = plan.active[i] = True
    plan.core.tasks[i].no_decoding = plan.scalars_shared = False
    plan.n_active += 1


cdef const char *EXCHANGE = "dlpack_exchange_api"


def exchange_of(kind):
    """Return the capsule that describes a class's tensors, or None if its version is not supported."""
    cdef const exchange_t *api
    exchange = getattr(kind, "__dlpack_c_exchange_api__", None)
    if exchange is None:
        return None
    api = <const exchange_t *> PyCapsule_GetPointer(exchange, EXCHANGE)
    return exchange if api.major == 1 and api.describe != NULL else None


cdef object over(const tensor_t *x, cnp.ndarray p):
    """Return an array over the memory of a tensor that matches a parameter. It holds no reference."""
    cdef cnp.npy_intp[cnp.NPY_MAXDIMS] strides
    cdef object dtype = TAGGED if cnp.PyArray_TYPE(p) == cnp.NPY_USHORT else <object> cnp.PyArray_DESCR(p)
    cdef int k
    for k in range(x.ndim):
        strides[k] = x.strides[k] * cnp.PyArray_ITEMSIZE(p)
    # PyArray_NewFromDescr steals a reference to the dtype.
    Py_INCREF(dtype)
    return array_at(&ARRAY_TYPE, <cnp.PyArray_Descr *> dtype, x.ndim, cnp.PyArray_DIMS(p), strides,
                    <void *> ZERO if data_of(x) == NULL else data_of(x), cnp.NPY_ARRAY_WRITEABLE, NULL)


cdef list arrays_over(Plan plan, object exchange, object kind, list params, list grads, object other):
    """Return arrays over the gradients of tensors; see `Backend.over`."""
    cdef const exchange_t *api = <const exchange_t *> PyCapsule_GetPointer(exchange, EXCHANGE)
    cdef Py_ssize_t i
    cdef tensor_t x
    cdef cnp.ndarray p
    cdef list arrays = []
    # Tensors negate lazily on reading, which their memory does not show.
    cdef object negated = kind.is_neg
    if len(params) != plan.n or len(grads) != plan.n:
        raise ValueError(f"{len(params)} parameters and {len(grads)} gradients, expected {plan.n}")
    if plan.views is None or len(plan.views) != plan.n:
        plan.views = [None] * plan.n
    for i in range(plan.n):
        p = <cnp.ndarray> plan.arrays[i]
        if not can_describe(api, params[i], p, &x) or not shares_memory(&x, p):
            return None
        g = grads[i]
        if g is None:
            arrays.append(None)
            continue
        if type(g) is not kind or not can_describe(api, g, p, &x) or negated(g):
            arrays.append(other(i, g))
            continue
        view = plan.views[i]
        if view is None or not matches(&x, <cnp.ndarray> view) or not shares_memory(&x, <cnp.ndarray> view):
            view = plan.views[i] = over(&x, p)
        arrays.append(view)
    return arrays


cdef bint can_describe(const exchange_t *api, object tensor, cnp.ndarray p, tensor_t *x):
    """Return True if a tensor can be described and has the parameter's dtype and shape."""
    try:
        api.describe(<void *> tensor, x)
    except Exception:  # No memory, or no strides.
        return False
    return matches(x, p)
