/* Sums of a rule, its matrix terms, and the averages of their rows and columns. */
#ifndef FASTOPT_SUMS_H
#define FASTOPT_SUMS_H

template <class Rule, class real> FO_INLINE void fo_terms_in(const fo_array *a, const fo_now *now, int64_t i, int id, const double
   *c, double *out)
{
    fo_element<real> e;
    fo_fetch(a, now, i, Rule::states, &e);
    before(a, now, i, id, &e);
    if (id == FO_STAGES) Rule::sums(&e, c, out);
    else if (id == FO_TERMS) Rule::terms(&e, c, out);
    else {
        fo_update<Rule>(a, now, i, id, &e);
        stage_terms(id, a, i, &e, out);
    }
}

/* Compute the terms of the sums of operation `id` for an element of parameter k, without changing it. */
template <class Rule> FO_INLINE void fo_terms(const fo_plan *plan, int64_t k, int64_t i, int id, double *out)
{
    const fo_array *a = plan->arrays + k;
    fo_now now = fo_now_of(plan, k);
    if (!fo_has(plan->args + k, i, &now)) return;
    if (a->wide) fo_terms_in<Rule, double>(a, &now, i, id, plan->sums_c + k * FO_SCALARS, out);
    else fo_terms_in<Rule, float>(a, &now, i, id, plan->sums_c + k * FO_SCALARS, out);
}

/* Compute the sums of each block for operation `x`, in the index space of scope `y`, for parameters of rule `z`. */
template <class Rule> FO_INLINE void fo_sum(FO_ARGUMENTS)
{
    for (int64_t block = blockIdx.x; block < plan->spaces[y]; block += gridDim.x) {
        const int64_t place = block * FO_BLOCK + threadIdx.x, k = fo_find_place(plan, (int)y, place);
        const fo_array *a = plan->arrays + k;
        const int64_t i = place - a->starts[y];
        double terms[FO_SUMS] = {0, 0, 0, 0};
        if (y == FO_ARRAY && a->rule != z) continue;
        if (i < a->n && a->rule == z && plan->args[k].active && (x >= FO_STAGES || plan->args[k].summed >> x & 1))
            fo_terms<Rule>(plan, k, i, (int)x, terms);
        fo_fold_block(terms, x == FO_STAGES ? Rule::squares : stage_squares((int)x), plan->partials + block * FO_SUMS);
    }
}

/* Write the matrix terms of blocks `x` to `y` to the rule's scratch array. */
template <class Rule> FO_INLINE void fo_write_terms(FO_ARGUMENTS)
{
    for (int64_t block = x + blockIdx.x; block < y; block += gridDim.x) {
        int64_t i;
        const int64_t k = fo_find(plan, block, &i);
        const fo_array *a = plan->arrays + k;
        double terms[FO_SUMS];
        if (i >= a->n || !plan->args[k].active) continue;
        fo_terms<Rule>(plan, k, i, FO_TERMS, terms);
        fo_join(a, Rule::scratch, i, terms[0], 1);
    }
}

/* Sum the terms of each row of parameter `x`. */
template <class Rule> FO_INLINE void fo_rows(FO_ARGUMENTS)
{
    __shared__ fo_partial sums[FO_SUMS];
    const fo_array *a = plan->arrays + x;
    for (int64_t row = blockIdx.x; row < a->n / a->columns; row += gridDim.x) {
        double total = 0;
        for (int64_t first = 0; first < a->columns; first += FO_BLOCK) {
            const int64_t column = first + threadIdx.x;
            double terms[FO_SUMS] = {0, 0, 0, 0};
            if (column < a->columns) fo_terms<Rule>(plan, x, row * a->columns + column, FO_TERMS, terms);
            fo_fold_block(terms, 0, sums);
            if (threadIdx.x == 0) total = total + sums[0].sum;
        }
        if (threadIdx.x == 0) a->row_sums[row] = total;
    }
}

/* Sum the terms of each column of each chunk of rows of parameter `x`. */
template <class Rule> FO_INLINE void fo_columns(FO_ARGUMENTS)
{
    const fo_array *a = plan->arrays + x;
    const int64_t chunks = (a->rows + a->chunk - 1) / a->chunk, rows = a->n / a->columns,
        count = rows / a->rows * chunks * a->columns;
    for (int64_t j = blockIdx.x * (int64_t)FO_BLOCK + threadIdx.x; j < count; j += gridDim.x * (int64_t)FO_BLOCK) {
        const int64_t column = j % a->columns, chunk = j / a->columns % chunks, matrix = j / a->columns / chunks;
        const int64_t end = (chunk + 1) * a->chunk < a->rows ? (chunk + 1) * a->chunk : a->rows;
        double total = 0, terms[FO_SUMS];
        for (int64_t row = chunk * a->chunk; row < end; row++) {
            fo_terms<Rule>(plan, x, (matrix * a->rows + row) * a->columns + column, FO_TERMS, terms);
            total = total + terms[0];
        }
        a->row_sums[rows + j] = total;
    }
}

/* Update the averages of row and column means of parameter `x`. */
FO_KERNEL average_lines(FO_ARGUMENTS)
{
    const fo_array *a = plan->arrays + x;
    const int64_t chunks = (a->rows + a->chunk - 1) / a->chunk, rows = a->n / a->columns, columns = rows / a->rows * a->columns;
    for (int64_t j = blockIdx.x * (int64_t)FO_BLOCK + threadIdx.x; j < rows + columns; j += gridDim.x * (int64_t)FO_BLOCK) {
        const int64_t line = j < rows ? j : j - rows;
        double total = j < rows ? a->row_sums[j] : 0;
        for (int64_t chunk = 0; chunk < chunks && j >= rows; chunk++)
            total = total + a->row_sums[rows + (line / a->columns * chunks + chunk) * a->columns + line % a->columns];
        for (int k = 0; k < FO_STATES; k++)
            if (a->formats[k] == (j < rows ? FO_ROWS : FO_COLUMNS))
                fo_join(a, k, line, total / (double)(j < rows ? a->columns : a->rows), plan->sums_c[x * FO_SCALARS]);
    }
}

/* Divide the row averages of parameter `x` by their mean over the matrix. */
FO_KERNEL divide_rows(FO_ARGUMENTS)
{
    __shared__ double mean;
    const fo_array *a = plan->arrays + x;
    int row_factor = 0, row_ratio = 0;
    for (int k = 0; k < FO_STATES; k++) {
        row_factor = a->formats[k] == FO_ROWS ? k : row_factor;
        row_ratio = a->formats[k] == FO_RATIOS ? k : row_ratio;
    }
    for (int64_t matrix = blockIdx.x; matrix < a->n / (a->rows * a->columns); matrix += gridDim.x) {
        __syncthreads();
        if (threadIdx.x == 0) {
            double total = 0;
            for (int64_t j = matrix * a->rows; j < (matrix + 1) * a->rows; j++) total = total + fo_average(a, row_factor, j);
            total = total / (double)a->rows;
            mean = total < plan->sums_c[x * FO_SCALARS + 1] ? plan->sums_c[x * FO_SCALARS + 1] : total;
        }
        __syncthreads();
        for (int64_t j = matrix * a->rows + threadIdx.x; j < (matrix + 1) * a->rows; j += FO_BLOCK)
            fo_join(a, row_ratio, j, fo_average(a, row_factor, j) / mean, 1);
    }
}

#endif
