"""The subset of Python that rules and stages are written in: what NumPy, C and CUDA compute alike."""

from __future__ import annotations

import ast
import keyword

ELEMENTWISE = {"sqrt": 1, "fabs": 1, "sign": 1, "copysign": 2, "maximum": 2, "minimum": 2, "where": 3, "scale_by": 3}
IN_LOSSES = {"exp": 1, "log1p": 1}  # Further ones, in double.
IN_SCALARS = {"sqrt": 1, "exp": 1, "log": 1, "power": 2, "ldexp": 2, "ceil_log2": 1, "scale_factor": 2, "scale_power": 2}
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
SCOPES = ("over_array", "mean_over_array", "over_group", "over_all")
MATRICES = ("factored_terms", "matrix_terms")  # Scopes of terms.
KINDS = ("checks", "accumulates", "averages", "measures")  # Kinds of stages; the others change an array.
TAGS = ("velocity", "nonnegative", "start", "scratch", "of_rows", "of_columns", "of_ratios")
CUSTOM_TAGS = TAGS[:3]  # Tags that users' rules may have.
# Names that mean something else in C, C++ or the generated code; a rule cannot use them, nor Python's keywords.
RESERVED = """
a c h i n out real float double int t span update carry sums INFINITY NAN NULL auto case char const default do enum
extern goto long register restrict short signed sizeof static struct switch typedef union unsigned void volatile bool
catch delete explicit export friend inline mutable namespace new operator private protected public template this throw
typename using virtual
"""
TAKEN = {*IN_SCALARS, *ELEMENTWISE, *keyword.kwlist, *RESERVED.split()}
# What errors say is allowed.
IN_UPDATE = (
    "an update may use assignments of new values to plain names, + - * /, "
    f"{', '.join(ELEMENTWISE)}, comparisons as the first argument of where, numbers, and one return"
)
IN_SCALARS_FUNCTION = (
    "a scalars function may use assignments to plain names, + - * /, sqrt, exp, log, power(x, t), x if c else y, "
    "and a dictionary to return"
)


class RuleError(SyntaxError):
    """A rule outside the subset. The message names the file, the line and what is allowed.

    Attributes
    ----------
    is_of_scalars : bool
        It is about a part of an update that depends on no array.
    """

    is_of_scalars = False
