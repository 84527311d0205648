"""Structure that the loops over rows of linear models read and write: for their driver and for each instruction set's loops."""

from libc.stdint cimport int64_t

from fastopt._engine.plain cimport pace_t, plain_t

cdef enum:
    PARAMETERS = 2  # Coefficients and intercepts.
    SOFTMAX = -1  # In place of the place of a loss.
    AHEAD = 6  # Rows to prefetch ahead.

cdef enum mode_t:
    DENSE  # Rows are dense.
    EXACT  # Sparse rows; each step updates all columns.
    TOUCHED  # Sparse rows; each step updates the columns of its batch.
    SCALED  # Sparse rows and plain gradient descent: columns of the batch, the others by a common factor and threshold.

cdef struct work_t:
    mode_t mode
    bint is_double  # Numbers of the rows, parameters and gradients.
    bint is_plain  # The rule of all parameters subtracts the learning rate, which they share, times the gradient, and nothing else.
    # Rows of `columns` numbers; sparse ones from `starts[i]` to `starts[i + 1]`, at increasing places.
    const char *x
    const int64_t *starts
    const char *places
    bint wide_places  # int64, not int32.
    const double *targets  # `outputs` for each row; its class for SOFTMAX.
    const double *weights  # Of the rows; NULL: 1.
    const int64_t *order  # NULL: as they are.
    int64_t rows, size, at  # Rows, those of a batch, those of this epoch so far.
    Py_ssize_t columns, outputs
    # The loss, with the factors of its penalties.
    int loss
    const double *constants
    double alpha, l1
    double total  # Sum of the rows' values in this epoch, with the penalty of the squares.
    # Parameters and gradients: `outputs` rows of coefficients, and an intercept each (NULL: none).
    char *coef
    char *intercept
    char *coef_gradient
    char *intercept_gradient
    double *slopes  # Of the rows of a batch, for each output: first predictions, then slopes.
    # The steps: those so far, their parameters (of coefficients, of intercepts) and hyperparameters that schedules give.
    int64_t steps
    int count
    bint shared  # Their scalars are equal.
    plain_t[PARAMETERS] plain
    int64_t[PARAMETERS] first  # Step of each parameter before the first one.
    int scheduled
    double **places_of_scheduled
    const double *scheduled_values  # A row for each step.
    # For TOUCHED: a column's parameter and state together; marks, and the batch's columns with their gradients and states.
    int states
    char *table
    int64_t *marks
    int64_t *touched
    char *gathered
    # For SCALED: the factor and threshold of all columns, in units of the stored numbers; those that each column has had.
    double scale, threshold
    double *thresholds
    double squares  # Sum of the squares of the stored numbers.
    const double *norms  # Of the rows: sum of squares.
    double *products  # Of a row with the stored numbers, for each output.

ctypedef int64_t (*run_t)(work_t *work, pace_t *pace, int64_t most) noexcept nogil  # Returns the number of steps made.
