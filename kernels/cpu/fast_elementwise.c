/*
 * elementwise operations, row by row in f32 vector code.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/row.h"

/* An operation on rows: y = fn(a, b), or y = fn(y, a). fn gets pointers to one row of each in f32. */
struct row_op {
    void (*fn)(const struct row_op *op, float *y, const float *a, const float *b, int64_t n);
    struct tensor *y;
    const struct tensor *a, *b; /* b may be NULL */
    const float *gate;
    float factor;
};

static enum err_code row_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct row_op *op = ctx;
    int64_t n = tensor_cols(op->y), n_task = fast_rows_a_task(n), end = (i + 1) * n_task, n_rows = tensor_rows(op->y);
    float *tmp = (float *)scratch;

    (void)d, (void)err;
    for (int64_t r = i * n_task; r < end && r < n_rows; r++) {
        float *y = fast_row_out(op->y, r, tmp);

        op->fn(op, y, cpu_row_load(op->a, r, tmp + n), op->b ? cpu_row_load(op->b, r, tmp + 2 * n) : NULL, n);
        fast_row_done(op->y, r, y);
    }
    return ERR_OK;
}

static enum err_code on_rows(struct backend *be, const struct row_op *op, struct err *err)
{
    return fast_run((struct fast *)be, row_task, op, fast_n_tasks(op->y),
                    3 * (size_t)tensor_cols(op->y) * sizeof(float), err);
}

static void start_from(float *y, const float *x, int64_t n)
{
    if (y != x)
        memcpy(y, x, (size_t)n * sizeof *y);
}

static void add_gated(const struct row_op *op, float *y, const float *a, const float *b, int64_t n)
{
    start_from(y, b, n);
    if (op->gate)
        row_add_gated(y, op->gate, a, n);
    else
        row_add_scaled(y, 1.0f, a, n);
}

static void add_scaled(const struct row_op *op, float *y, const float *a, const float *b, int64_t n)
{
    start_from(y, b, n);
    row_add_scaled(y, op->factor, a, n);
}

static void multiply(const struct row_op *op, float *y, const float *a, const float *b, int64_t n)
{
    (void)op;
    row_mul(y, a, b, n);
}

static void silu(const struct row_op *op, float *y, const float *a, const float *b, int64_t n)
{
    (void)op, (void)b;
    row_silu(y, a, n);
}

enum err_code fast_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                            struct err *err)
{
    struct row_op op = { .fn = add_gated, .y = x, .a = y, .b = x, .gate = gate ? gate->data : NULL };

    return on_rows(be, &op, err);
}

enum err_code fast_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    struct row_op op = { .fn = add_scaled, .y = x, .a = v, .b = x, .factor = a };

    return on_rows(be, &op, err);
}

enum err_code fast_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                       struct err *err)
{
    struct row_op op = { .fn = multiply, .y = y, .a = a, .b = b };

    return on_rows(be, &op, err);
}

enum err_code fast_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    struct row_op op = { .fn = silu, .y = y, .a = x };

    return on_rows(be, &op, err);
}
