"""Lookup in tables of kernels: from capsules to rules and stages, whose signatures must be the current ones."""

from cpython.pycapsule cimport PyCapsule_GetPointer

from fastopt._engine.table cimport VERSION, formula_t, table_t


cdef inline const table_t *table_of(object capsule) except NULL:
    cdef const table_t *table = <const table_t *> PyCapsule_GetPointer(capsule, "fastopt.table")
    if table.version != VERSION:
        raise ImportError(f"kernels of version {table.version}, expected {VERSION}: build fastopt again")
    return table


cdef inline int check_signature(const formula_t *compiled, object formula) except -1:
    if compiled.signature != <bytes> formula.signature.encode():
        raise LookupError(f"kernels of {formula.name!r}: signature ({compiled.signature.decode()}), "
                          f"expected ({formula.signature}): build fastopt again")
    return 0


cdef inline const formula_t *find(const table_t *table, object formula) except NULL:
    """Return a rule's kernels, from the package's table or from the rule's own."""
    cdef int k
    if formula.capsule is not None:
        table = table_of(formula.capsule)
    for k in range(table.n_rules):
        if table.rules[k].name == <bytes> formula.name.encode():
            check_signature(&table.rules[k], formula)
            return &table.rules[k]
    raise LookupError(f"no kernel of rule {formula.name!r}: build fastopt again")


cdef inline int place_of(const table_t *table, int kind) noexcept:
    """Return the place of the stage of a kind in the table."""
    cdef int k
    for k in range(table.n_stages):
        if table.stages[k].kind == kind:
            return k
    return -1
