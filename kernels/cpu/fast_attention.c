/*
 * attention in tiles: a task computes TILE_Q queries of one head, and goes over the keys in tiles of TILE_K.
 *
 * For each tile of keys, a matrix product gives the scores, the softmax so far is corrected for a larger maximum, and
 * the product with the values is added. So a thread holds one tile of scores, however many tokens there are.
 * Heads are first copied to dense matrices of their own, because oneDNN takes its fast path for those only.
 * Source: Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022 (FlashAttention).
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/row.h"

#include <math.h>
#include <string.h>

enum { TILE_Q = 128, TILE_K = 512 };

struct attention_op {
    const struct fast *f;
    const struct tensor *given[3]; /* q, k, v */
    char *heads[3];                /* q, k, v in the type of products, [n_heads, rows, head_dim] */
    struct tensor *out;
    const struct attention_args *args;
    int64_t n_q, n_k, n_q_tiles;
};

/* The state of one task; out, max and sum have an entry for each query of the tile. */
struct attention_tile {
    int64_t head, q0, n_q;
    float *scores;  /* [TILE_Q, TILE_K] */
    uint16_t *bf16; /* the scores rounded, where products take bf16 */
    float *out;     /* [TILE_Q, head_dim] */
    float max[TILE_Q], sum[TILE_Q];
};

static size_t scratch_bytes(const struct attention_args *args)
{
    return sizeof(struct attention_tile) + TILE_Q * TILE_K * (sizeof(float) + sizeof(uint16_t)) +
           TILE_Q * (size_t)args->head_dim * sizeof(float);
}

static struct attention_tile *tile_start(const struct attention_op *op, char *scratch, int64_t i)
{
    struct attention_tile *t = (struct attention_tile *)scratch;

    t->scores = (float *)(t + 1);
    t->bf16 = (uint16_t *)(t->scores + TILE_Q * TILE_K);
    t->out = (float *)(t->bf16 + TILE_Q * TILE_K);
    t->head = i / op->n_q_tiles;
    t->q0 = i % op->n_q_tiles * TILE_Q;
    t->n_q = op->n_q - t->q0 < TILE_Q ? op->n_q - t->q0 : TILE_Q;
    for (int64_t r = 0; r < t->n_q; r++) {
        t->max[r] = -INFINITY;
        t->sum[r] = 0;
    }
    return t;
}

/* Adds n scores to a row's softmax: they become exponentials in place, the earlier sum and output are rescaled to the
 * new maximum, and the sum of the exponentials is added. */
static void add_piece(const struct attention_op *op, struct attention_tile *t, int64_t r, float *row, int64_t n,
                      const float *bias, bool first)
{
    float before = t->max[r], sum = row_exp_piece(row, n, op->args->scale, bias, &t->max[r]), factor;

    if (first) {
        t->sum[r] = sum;
        return;
    }
    factor = row_exp(before - t->max[r]);
    t->sum[r] = t->sum[r] * factor + sum;
    if (factor != 1.0f)
        row_scale(t->out + r * op->args->head_dim, factor, op->args->head_dim);
}

/* Turns the scores of row r with keys k0 .. k0 + n_k into probabilities that are not yet divided by their sum; 0 for
 * keys that the mask hides. */
static void soften_row(const struct attention_op *op, struct attention_tile *t, int64_t r, int64_t k0, int64_t n_k)
{
    const struct tensor *bias = op->args->rel_bias;
    const float *bias_row = NULL;
    float *row = t->scores + r * n_k;
    int64_t i = t->q0 + r, n = op->args->causal && i + 1 - k0 < n_k ? i + 1 - k0 : n_k;

    if (bias)
        bias_row = (const float *)bias->data + t->head * tensor_cols(bias) + tensor_cols(bias) / 2 + k0 - i;
    n = n > 0 ? n : 0;
    if (n > 0)
        add_piece(op, t, r, row, n, bias_row, k0 == 0);
    memset(row + n, 0, (size_t)(n_k - n) * sizeof(float));
    if (op->f->products == DT_BF16)
        dequantise_row_bf16(DT_F32, row, t->bf16 + r * n_k, n_k);
}

/* Row `row` of a head of q (0), k (1) or v (2). */
static const char *head_row(const struct attention_op *op, int operand, int64_t head, int64_t row)
{
    int64_t n = operand == 0 ? op->n_q : op->n_k;

    return op->heads[operand] + (size_t)(head * n + row) * dtype_row_bytes(op->f->products, op->args->head_dim);
}

static enum err_code add_keys(const struct attention_op *op, struct attention_tile *t, struct onednn *d, int64_t k0,
                              int64_t n_k, struct err *err)
{
    int64_t width = op->args->head_dim;
    struct onednn_matmul scores = {
        .m = t->n_q,
        .n = n_k,
        .k = width,
        .lda = width,
        .ldb = width,
        .ldc = n_k,
        .in_type = op->f->products,
        .out_type = DT_F32,
        .b_transposed = true,
    };
    struct onednn_matmul values = {
        .m = t->n_q,
        .n = width,
        .k = n_k,
        .lda = n_k,
        .ldb = width,
        .ldc = width,
        .in_type = op->f->products,
        .out_type = DT_F32,
        .accumulate = k0 > 0,
    };
    const void *probabilities = op->f->products == DT_BF16 ? (void *)t->bf16 : (void *)t->scores;
    enum err_code rc =
        onednn_matmul(d, &scores, head_row(op, 0, t->head, t->q0), head_row(op, 1, t->head, k0), NULL, t->scores, err);

    if (rc)
        return rc;
    for (int64_t r = 0; r < t->n_q; r++)
        soften_row(op, t, r, k0, n_k);
    return onednn_matmul(d, &values, probabilities, head_row(op, 2, t->head, k0), NULL, t->out, err);
}

static enum err_code attention_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct attention_op *op = ctx;
    struct attention_tile *t = tile_start(op, scratch, i);
    int64_t n_keys = op->n_k, width = op->args->head_dim;
    struct tensor out = tensor_col_view(op->out, t->head * width, width);

    if (op->args->causal && n_keys > t->q0 + t->n_q)
        n_keys = t->q0 + t->n_q;
    for (int64_t k0 = 0; k0 < n_keys; k0 += TILE_K)
        TRY(add_keys(op, t, d, k0, n_keys - k0 < TILE_K ? n_keys - k0 : TILE_K, err));
    for (int64_t r = 0; r < t->n_q; r++) {
        float *row = fast_row_out(&out, t->q0 + r, t->out + r * width);

        row_affine(row, t->out + r * width, 0, 1.0f / t->sum[r], NULL, NULL, width);
        fast_row_done(&out, t->q0 + r, row);
    }
    return ERR_OK;
}

/* Copies one head of one operand. */
static enum err_code lay_out(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct attention_op *op = ctx;
    int operand = (int)(i / op->args->n_heads);
    int64_t head = i % op->args->n_heads, width = op->args->head_dim;
    struct tensor from = tensor_col_view(op->given[operand], head * width, width);
    struct tensor to = tensor_2d(op->f->products, tensor_rows(&from), width, (void *)head_row(op, operand, head, 0));

    (void)d, (void)scratch, (void)err;
    for (int64_t r = 0; r < tensor_rows(&from); r++)
        fast_row_copy(&to, &from, r);
    return ERR_OK;
}

enum err_code fast_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                             const struct tensor *v, const struct attention_args *args, struct err *err)
{
    struct fast *f = (struct fast *)be;
    struct attention_op op = { .f = f,
                               .given = { q, k, v },
                               .out = out,
                               .args = args,
                               .n_q = tensor_rows(q),
                               .n_k = tensor_rows(k),
                               .n_q_tiles = (tensor_rows(q) + TILE_Q - 1) / TILE_Q };
    size_t row = dtype_row_bytes(f->products, tensor_cols(q));
    enum err_code rc = cpu_buffer_fit(&f->operands, (size_t)(op.n_q + 2 * op.n_k), row, err);

    if (rc)
        return rc;
    op.heads[0] = f->operands.p;
    op.heads[1] = op.heads[0] + (size_t)op.n_q * row;
    op.heads[2] = op.heads[1] + (size_t)op.n_k * row;
    rc = fast_run(f, lay_out, &op, 3 * (int64_t)args->n_heads, 0, err);
    return rc ? rc : fast_run(f, attention_task, &op, args->n_heads * op.n_q_tiles, scratch_bytes(args), err);
}
