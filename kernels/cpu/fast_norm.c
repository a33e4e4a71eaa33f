/*
 * norms over rows in f32 vector code, and GroupNorm over a picture in pieces of rows. Variances are sums of squared
 * deviations from the mean, never a difference of large numbers.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/row.h"

#include <math.h>
#include <string.h>

enum norm_kind { NORM_LAYER, NORM_MODULATE, NORM_RMS };

struct norm_op {
    struct tensor *y;
    const struct tensor *x;
    enum norm_kind kind;
    const float *w, *b; /* NORM_MODULATE: scale and shift */
    float eps;
};

enum { ROWS_A_TASK = 8 };

static void norm_row(const struct norm_op *op, int64_t row, float *tmp)
{
    int64_t n = tensor_cols(op->x);
    const float *x = cpu_row_load(op->x, row, tmp);
    float *y = fast_row_out(op->y, row, tmp + n);
    float mean = op->kind == NORM_RMS ? 0 : row_sum(x, n) / (float)n;
    float factor = 1.0f / sqrtf(row_square_sum(x, mean, n) / (float)n + op->eps);

    if (op->kind == NORM_MODULATE)
        row_modulate(y, x, mean, factor, op->w, op->b, n);
    else
        row_affine(y, x, mean, factor, op->w, op->b, n);
    fast_row_done(op->y, row, y);
}

static enum err_code norm_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct norm_op *op = ctx;
    int64_t n_rows = tensor_rows(op->x);

    (void)d, (void)err;
    for (int64_t r = i * ROWS_A_TASK; r < (i + 1) * ROWS_A_TASK && r < n_rows; r++)
        norm_row(op, r, (float *)scratch);
    return ERR_OK;
}

static enum err_code norm(struct backend *be, const struct norm_op *op, struct err *err)
{
    return fast_run((struct fast *)be, norm_task, op, (tensor_rows(op->x) + ROWS_A_TASK - 1) / ROWS_A_TASK,
                    2 * (size_t)tensor_cols(op->x) * sizeof(float), err);
}

enum err_code fast_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, float eps, struct err *err)
{
    struct norm_op op = { y, x, NORM_LAYER, w ? w->data : NULL, b ? b->data : NULL, eps };

    return norm(be, &op, err);
}

enum err_code fast_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                            const struct tensor *scale, float eps, struct err *err)
{
    struct norm_op op = { y, x, NORM_MODULATE, scale->data, shift->data, eps };

    return norm(be, &op, err);
}

/* A gated sum into x, and the norm of x that follows. */
struct gate_op {
    struct norm_op norm;
    struct tensor *x;
    const struct tensor *y;
    const float *gate;
};

/* The sum is computed in x itself or, where x is bf16, in tmp. */
static void add_row(const struct gate_op *op, int64_t row, float *tmp)
{
    int64_t n = tensor_cols(op->x);
    float *x = fast_row_out(op->x, row, tmp);

    (void)cpu_row_load(op->x, row, tmp);
    row_add_gated(x, op->gate, cpu_row_load(op->y, row, tmp + n), n);
    fast_row_done(op->x, row, x);
}

static enum err_code gate_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct gate_op *op = ctx;
    int64_t n_rows = tensor_rows(op->x);

    (void)d, (void)err;
    for (int64_t r = i * ROWS_A_TASK; r < (i + 1) * ROWS_A_TASK && r < n_rows; r++) {
        add_row(op, r, (float *)scratch);
        norm_row(&op->norm, r, (float *)scratch);
    }
    return ERR_OK;
}

enum err_code fast_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                     const struct gate_modulate_args *args, struct err *err)
{
    struct gate_op op = { .norm = { a, x, NORM_MODULATE, args->scale->data, args->shift->data, args->eps },
                          .x = x,
                          .y = y,
                          .gate = args->gate->data };

    return fast_run((struct fast *)be, gate_task, &op, (tensor_rows(x) + ROWS_A_TASK - 1) / ROWS_A_TASK,
                    2 * (size_t)tensor_cols(x) * sizeof(float), err);
}

enum err_code fast_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                            float eps, struct err *err)
{
    struct norm_op op = { y, x, NORM_RMS, w->data, NULL, eps };

    return norm(be, &op, err);
}

struct head_op {
    struct tensor *x;
    const float *scale;
    const struct tensor *rope;
    int n_heads;
    float eps;
};

static enum err_code head_task(const void *ctx, struct onednn *onednn, char *scratch, int64_t row, struct err *err)
{
    const struct head_op *op = ctx;
    int64_t n = tensor_cols(op->x), d = n / op->n_heads;
    const float *from = cpu_row_load(op->x, row, (float *)scratch);
    float *to = fast_row_out(op->x, row, (float *)scratch);

    (void)onednn, (void)err;
    for (int64_t c0 = 0; c0 < n; c0 += d) {
        float factor = 1.0f / sqrtf(row_square_sum(from + c0, 0, d) / (float)d + op->eps);

        row_affine(to + c0, from + c0, 0, factor, op->scale, NULL, d);
        if (op->rope)
            row_rotate_pairs(to + c0, (const float *)cpu_row(op->rope, row), d);
    }
    fast_row_done(op->x, row, to);
    return ERR_OK;
}

enum err_code fast_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    struct head_op op = { x, scale->data, rope, n_heads, eps };

    return fast_run((struct fast *)be, head_task, &op, tensor_rows(x), (size_t)tensor_cols(x) * sizeof(float), err);
}

/*
 * GroupNorm reads the picture once for the moments of each channel, in pieces of PIECE pixels joined in double, and
 * once more to normalise.
 */
enum { PIECE = 32, STRIPES_MAX = 256 /* enough for many threads; joining them takes time, too */ };

struct group_op {
    struct tensor *y;
    const struct tensor *x;
    const float *w, *b;
    const struct group_norm_args *args;
    int64_t n_stripes;
    double *moments;      /* [n_stripes, 2, channels]: means, then sums of squared deviations */
    float *mean, *factor; /* [channels] */
};

static int64_t stripe_start(const struct group_op *op, int64_t i)
{
    return tensor_rows(op->x) * i / op->n_stripes;
}

/* Joins n_rows <= PIECE pixels from p on to the moments of the `count` pixels before. scratch holds their rows in f32,
 * means and sums of squares. */
static void add_piece(const struct group_op *op, int64_t p, int n_rows, int64_t count, double *moments, float *scratch)
{
    int64_t n = tensor_cols(op->x);
    float *mean = scratch + PIECE * n, *square_sum = mean + n;
    const float *rows[PIECE];

    memset(mean, 0, 2 * (size_t)n * sizeof *mean);
    for (int r = 0; r < n_rows; r++) {
        rows[r] = cpu_row_load(op->x, p + r, scratch + r * n);
        row_add_scaled(mean, 1.0f, rows[r], n);
    }
    row_scale(mean, 1.0f / (float)n_rows, n);
    for (int r = 0; r < n_rows; r++)
        row_add_squares(square_sum, rows[r], mean, n);
    row_join_moments(moments, moments + n, (double)count, mean, square_sum, n_rows, n);
}

static enum err_code moments_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct group_op *op = ctx;
    int64_t n = tensor_cols(op->x), start = stripe_start(op, i), end = stripe_start(op, i + 1);
    double *moments = op->moments + i * 2 * n;

    (void)d, (void)err;
    memset(moments, 0, 2 * (size_t)n * sizeof *moments);
    for (int64_t p = start; p < end; p += PIECE)
        add_piece(op, p, end - p < PIECE ? (int)(end - p) : PIECE, p - start, moments, (float *)scratch);
    return ERR_OK;
}

/* Joins the moments of all stripes and channels of a group. */
static void group_moments(const struct group_op *op, int64_t g)
{
    int64_t n = tensor_cols(op->x), group = n / op->args->n_groups;
    double count = 0, mean = 0, square_sum = 0, factor;

    for (int64_t i = 0; i < op->n_stripes; i++)
        for (int64_t c = g * group; c < (g + 1) * group; c++) {
            double rows = (double)(stripe_start(op, i + 1) - stripe_start(op, i));
            double delta = op->moments[i * 2 * n + c] - mean;

            if (rows == 0)
                continue;
            square_sum += op->moments[(i * 2 + 1) * n + c] + delta * delta * count * rows / (count + rows);
            mean += delta * rows / (count + rows);
            count += rows;
        }
    factor = 1.0 / sqrt(square_sum / count + op->args->eps);
    for (int64_t c = g * group; c < (g + 1) * group; c++) {
        op->mean[c] = (float)mean;
        op->factor[c] = (float)(factor * op->w[c]);
    }
}

static enum err_code group_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct group_op *op = ctx;
    int64_t n = tensor_cols(op->x);
    float *tmp = (float *)scratch;

    (void)d, (void)err;
    for (int64_t p = stripe_start(op, i); p < stripe_start(op, i + 1); p++) {
        const float *x = cpu_row_load(op->x, p, tmp);
        float *y = fast_row_out(op->y, p, tmp + n);

        row_affine_channels(y, x, op->mean, op->factor, op->b, n);
        if (op->args->act == ACT_SILU)
            row_silu(y, y, n);
        fast_row_done(op->y, p, y);
    }
    return ERR_OK;
}

enum err_code fast_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, const struct group_norm_args *args, struct err *err)
{
    struct fast *f = (struct fast *)be;
    int64_t n = tensor_cols(x);
    size_t moments_bytes, row_bytes = (size_t)n * sizeof(float);
    struct group_op op = { .y = y, .x = x, .w = w->data, .b = b->data, .args = args };
    enum err_code rc;

    op.n_stripes = (tensor_rows(x) + PIECE - 1) / PIECE;
    if (op.n_stripes > STRIPES_MAX)
        op.n_stripes = STRIPES_MAX;
    moments_bytes = (size_t)(op.n_stripes * 2 * n) * sizeof(double);
    rc = cpu_buffer_fit(&f->operands, 1, moments_bytes + 2 * row_bytes, err);
    if (rc)
        return rc;
    op.moments = (double *)f->operands.p;
    op.mean = (float *)(f->operands.p + moments_bytes);
    op.factor = op.mean + n;
    rc = fast_run(f, moments_task, &op, op.n_stripes, (PIECE + 2) * row_bytes, err);
    if (rc)
        return rc;
    for (int64_t g = 0; g < args->n_groups; g++)
        group_moments(&op, g);
    return fast_run(f, group_task, &op, op.n_stripes, 2 * row_bytes, err);
}
