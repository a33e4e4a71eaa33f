/*
 * linear by oneDNN, with weights expanded as they are used.
 *
 * A task is one tile of rows of w: a thread expands it into its cache, in the type of products, and multiplies it with
 * all of x. Weights that already have this type, and no scale, are read from the mapping. A product with a handful of
 * rows of x is bound by memory; then each row of w is expanded and used at once.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/row.h"

#include <stdio.h>
#include <string.h>

enum {
    THIN_MAX = 4,     /* with at most this many rows of x, weights are used row by row */
    THIN_ROWS = 16,   /* rows of w in a task in that case */
    TILE_ROWS = 64,   /* rows of w in a task: wide enough for oneDNN, and at K = 12288 still within a cache */
    TILES_MIN = 16,   /* smaller matrices have tiles half as wide, so that more threads find work */
    CHUNK_ROWS = 1024 /* rows of x in one product; bounds the scratch memory for results */
};

struct linear_op {
    const struct fast *f;
    struct tensor *y;
    struct tensor x;
    const struct weight *w;
    const float *bias;
    enum activation act;
    int64_t tile;
    size_t tile_bytes; /* size of the expanded weights at the start of a task's scratch; results follow */
};

static const void *expanded(const struct linear_op *op, int64_t row, int64_t n, char *tile)
{
    const struct weight *w = op->w;
    size_t value = dtype_row_bytes(op->f->products, 1);

    if (w->dtype == op->f->products && w->scale == 0 && (uintptr_t)w->data % value == 0)
        return (const char *)w->data + (size_t)(row * w->cols) * value;
    for (int64_t i = 0; i < n; i++)
        if (op->f->products == DT_BF16)
            dequantise_weight_row_bf16(w, row + i, (uint16_t *)tile + i * w->cols);
        else
            dequantise_weight_row(w, row + i, (float *)tile + i * w->cols);
    return tile;
}

/* Stores rows m0 .. m0 + m of y, the columns of one tile, from a dense result. */
static void put_rows(const struct tensor *y, int64_t m0, int64_t m, enum dtype from, const char *result)
{
    int64_t n = tensor_cols(y);

    for (int64_t r = 0; r < m; r++, result += dtype_row_bytes(from, n))
        if (from == y->dtype)
            memcpy(cpu_row(y, m0 + r), result, dtype_row_bytes(from, n));
        else
            fast_row_done(y, m0 + r, (const float *)result);
}

/* Results go through scratch memory: oneDNN takes its fast path for dense matrices only, and a tile of y has gaps. */
static enum err_code linear_tile(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct linear_op *op = ctx;
    int64_t n0 = i * op->tile, n = op->w->rows - n0 < op->tile ? op->w->rows - n0 : op->tile,
            n_rows = tensor_rows(&op->x);
    struct tensor y = tensor_col_view(op->y, n0, n);
    enum dtype out_type = fast_writes(op->f, y.dtype) ? y.dtype : DT_F32;
    char *result = scratch + op->tile_bytes;
    const void *w = expanded(op, n0, n, scratch);

    for (int64_t m0 = 0; m0 < n_rows; m0 += CHUNK_ROWS) {
        int64_t m = n_rows - m0 < CHUNK_ROWS ? n_rows - m0 : CHUNK_ROWS;
        struct onednn_matmul s = {
            .m = m,
            .n = n,
            .k = op->w->cols,
            .lda = op->x.row_stride,
            .ldb = op->w->cols,
            .ldc = n,
            .in_type = op->f->products,
            .out_type = out_type,
            .b_transposed = true,
            .bias = op->bias != NULL,
            .act = op->act,
        };

        TRY(onednn_matmul(d, &s, cpu_row(&op->x, m0), w, op->bias ? op->bias + n0 : NULL, result, err));
        put_rows(&y, m0, m, out_type, result);
    }
    return ERR_OK;
}

static enum err_code linear_rows(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct linear_op *op = ctx;
    int64_t k = op->w->cols, end = (i + 1) * THIN_ROWS < op->w->rows ? (i + 1) * THIN_ROWS : op->w->rows;
    float *w_row = (float *)scratch;

    (void)d, (void)err;
    for (int64_t o = i * THIN_ROWS; o < end; o++) {
        dequantise_weight_row(op->w, o, w_row);
        for (int64_t m = 0; m < tensor_rows(&op->x); m++) {
            float sum = row_dot((const float *)cpu_row(&op->x, m), w_row, k);

            cpu_store(op->y, m, o, cpu_activation(op->act, (double)sum + (op->bias ? op->bias[o] : 0.0f)));
        }
    }
    return ERR_OK;
}

/* A few rows of x are multiplied in f32, whatever the type of products is. */
static enum err_code linear_thin(struct fast *f, struct linear_op *op, const struct tensor *x, struct err *err)
{
    TRY(cpu_buffer_fit(&f->operands, (size_t)tensor_count(x), sizeof(float), err));
    op->x = tensor_2d(DT_F32, tensor_rows(x), tensor_cols(x), f->operands.p);
    TRY(fast_copy(&f->cpu.base, &op->x, x, err));
    return fast_run(f, linear_rows, op, (op->w->rows + THIN_ROWS - 1) / THIN_ROWS, (size_t)op->w->cols * sizeof(float),
                    err);
}

/* Called at the first product, because `warn` is not set yet while the backend is opened. */
static void warn_once(struct fast *f)
{
    char line[FAST_WHY_MAX + 32];

    if (!f->to_warn || !f->cpu.base.warn)
        return;
    f->to_warn = false;
    (void)snprintf(line, sizeof line, "bf16 was asked for: %s", f->described);
    f->cpu.base.warn(line);
}

enum err_code fast_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                          const struct bias *bias, enum activation act, struct err *err)
{
    struct fast *f = (struct fast *)be;
    int64_t n_rows = tensor_rows(x), chunk = n_rows < CHUNK_ROWS ? n_rows : CHUNK_ROWS;
    struct linear_op op = { .f = f, .y = y, .w = w, .bias = bias ? bias->f32.data : NULL, .act = act };

    warn_once(f);
    if (n_rows <= THIN_MAX)
        return linear_thin(f, &op, x, err);
    TRY(fast_operands(f, 1, &x, &op.x, err));
    op.tile = w->rows >= TILE_ROWS * TILES_MIN ? TILE_ROWS : TILE_ROWS / 2;
    op.tile_bytes = ((size_t)op.tile * dtype_row_bytes(f->products, w->cols) + 63) & ~(size_t)63;
    return fast_run(f, linear_tile, &op, (w->rows + op.tile - 1) / op.tile,
                    op.tile_bytes + (size_t)(chunk * op.tile) * sizeof(float), err);
}
