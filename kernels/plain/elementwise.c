/*
 * elementwise - operations that touch each value once: sums, products, SiLU, copies, rows of a table.
 */
#include "kernels/plain/cpu.h"
#include "kernels/plain/plain.h"

enum err_code plain_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                             struct err *err)
{
    const float *g = gate ? gate->data : NULL;
    int64_t n_rows = tensor_rows(x), n_cols = tensor_cols(x);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(x, r, c, cpu_load(x, r, c) + (g ? (double)g[c] : 1.0) * cpu_load(y, r, c));
    return ERR_OK;
}

enum err_code plain_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                        struct err *err)
{
    int64_t n_rows = tensor_rows(y), n_cols = tensor_cols(y);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c, cpu_load(a, r, c) * cpu_load(b, r, c));
    return ERR_OK;
}

enum err_code plain_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    int64_t n_rows = tensor_rows(y), n_cols = tensor_cols(y);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c, cpu_activation(ACT_SILU, cpu_load(x, r, c)));
    return ERR_OK;
}

enum err_code plain_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    int64_t n_rows = tensor_rows(x), n_cols = tensor_cols(x);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(x, r, c, cpu_load(x, r, c) + (double)a * cpu_load(v, r, c));
    return ERR_OK;
}

enum err_code plain_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    int64_t n_rows = tensor_rows(y), n_cols = tensor_cols(y);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c, cpu_load(x, r, c));
    return ERR_OK;
}

enum err_code plain_embed_rows(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                               struct err *err)
{
    (void)be, (void)err;
    for (int64_t r = 0; r < tensor_rows(y); r++)
        if (y->dtype == DT_F32)
            dequantise_weight_row(table, ids[r], (float *)cpu_row(y, r));
        else
            dequantise_weight_row_bf16(table, ids[r], (uint16_t *)cpu_row(y, r));
    return ERR_OK;
}
