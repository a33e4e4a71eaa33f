/*
 * linear.c - y = act(x w' + bias) by cuBLASLt.
 *
 * An F32 x is rounded to bf16 in the workspace. GELU with a BF16 result is part of the product; other activations are
 * applied to an f32 result, which is kept in the workspace if y is BF16, so that there is one rounding. Both copies go
 * through the workspace in groups of rows. A product of no rows computes nothing, but its weight is expanded all the
 * same, so that expanding can be measured alone.
 */
#include "kernels/cuda/product.h"
#include "kernels/cuda/gpu/product_kernels.h"

enum { ROWS_STEP = 128 /* rows of a group: whole tiles of the product */ };

struct linear {
    struct cuda *cuda;
    struct cuda_product product; /* without the members that depend on the rows */
    bool convert_x, f32_result;
    enum activation act; /* to be applied to the f32 result, or to y in place */
    char *x_rows, *results;
};

/* The number of rows that fit the workspace from `at` on; 0: not even one. */
static int64_t divide_workspace(struct linear *l, char *at, int64_t m)
{
    size_t left = l->cuda->workspace_bytes - (size_t)(at - (char *)l->cuda->workspace);
    size_t x_bytes = l->convert_x ? (size_t)l->product.k * 2 : 0,
           y_bytes = l->f32_result ? (size_t)l->product.n * 4 : 0;
    int64_t fits = x_bytes + y_bytes ? (int64_t)(left / (x_bytes + y_bytes)) : m;

    if (fits > ROWS_STEP)
        fits -= fits % ROWS_STEP; /* keeps both parts aligned, too */
    if (fits > m)
        fits = m;
    l->x_rows = at;
    l->results = at + ((x_bytes * (size_t)fits + 255) & ~(size_t)255);
    return fits;
}

static enum err_code run_rows(const struct linear *l, const struct tensor *y, const struct tensor *x, struct err *err)
{
    struct cuda_product p = l->product;
    struct tensor x_rows = tensor_2d(DT_BF16, x->dims[0], p.k, l->x_rows);
    struct tensor y_rows = *y, result = tensor_2d(DT_F32, y->dims[0], p.n, l->results);

    p.m = x->dims[0];
    p.a = l->convert_x ? x_rows.data : x->data;
    p.a_stride = l->convert_x ? p.k : x->row_stride;
    p.d = l->f32_result ? result.data : y->data;
    p.d_stride = l->f32_result ? p.n : y->row_stride;
    if (l->convert_x)
        TRY(cuda_copy(&l->cuda->base, &x_rows, x, err));
    TRY(cuda_product_run(l->cuda, &p, err));
    if (l->act == ACT_NONE)
        return ERR_OK;
    return cuda_status(
        (cudaError_t)k_activate(&y_rows, l->f32_result ? &result : y, NULL, NULL, l->act, l->cuda->stream),
        "activation", err);
}

/* A tensor of any rank as a matrix; only tensors of rank 2 may have gaps. */
static struct tensor matrix(const struct tensor *t)
{
    return t->n_dims == 2 ? *t : tensor_as_2d(t, tensor_rows(t), tensor_cols(t));
}

enum err_code cuda_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                          const struct bias *bias, enum activation act, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    bool gelu = act == ACT_GELU_TANH && y->dtype == DT_BF16;
    struct linear l = { .cuda = cuda, .convert_x = x->dtype == DT_F32, .act = gelu ? ACT_NONE : act };
    struct tensor xs = matrix(x), ys = matrix(y);
    char *at = cuda->workspace;
    int64_t m = xs.dims[0], group;

    l.f32_result = l.act != ACT_NONE && y->dtype == DT_BF16;
    l.product = (struct cuda_product){
        .n = w->rows, .k = w->cols, .b_stride = w->cols, .gelu_tanh = gelu, .d_type = l.f32_result ? DT_F32 : y->dtype
    };
    if (bias && (size_t)w->rows * 4 + 256 > cuda->workspace_bytes / 2)
        return err_set(err, ERR_TOO_LARGE, "cuda: a product of %lld columns does not fit the workspace",
                       (long long)w->rows);
    TRY(cuda_product_bias(cuda, bias, l.product.d_type, &at, &l.product.bias, err));
    group = divide_workspace(&l, at, m);
    if (!group && m)
        return err_set(err, ERR_TOO_LARGE, "cuda: a product with %lld by %lld weights does not fit the workspace",
                       (long long)w->rows, (long long)w->cols);
    TRY(cuda_weight_bf16(be, w, &l.product.b, err));
    for (int64_t row = 0; row < m; row += group) {
        int64_t n = m - row < group ? m - row : group;
        struct tensor x_part = tensor_row_view(&xs, row, n), y_part = tensor_row_view(&ys, row, n);

        TRY(run_rows(&l, &y_part, &x_part, err));
    }
    return ERR_OK;
}
