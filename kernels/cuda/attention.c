/*
 * attention.c - which kernels compute attention: cuDNN's where it is used (attention_library.c), our flash kernel, two
 * matrix products with a softmax between them, or the kernel that takes any shape.
 *
 * The products are for the VAE, whose one head is as wide as the network (512), too wide for the registers of a flash
 * kernel. They take a group of queries at a time, with f32 logits and bf16 weights in the workspace; at 16384 pixels a
 * group has about 600 queries.
 */
#include "kernels/cuda/attention_library.h"
#include "kernels/cuda/gpu/kernels.h"
#include "kernels/cuda/product.h"

enum { GROUP_STEP = 64 };

struct head {
    struct tensor q, k, v, out; /* views [tokens, head_dim] */
    float scale;
};

static enum err_code run_group(struct cuda *cuda, const struct head *h, int64_t first, int64_t n, char *workspace,
                               int64_t group, struct err *err)
{
    int64_t keys = h->k.dims[0], dim = h->k.dims[1], stride = (keys + 7) & ~(int64_t)7;
    struct tensor logits = tensor_2d(DT_F32, n, keys, workspace);
    struct tensor weights = tensor_2d(DT_BF16, n, keys, workspace + group * stride * 4);
    struct tensor q = tensor_row_view(&h->q, first, n), out = tensor_row_view(&h->out, first, n);
    struct cuda_product qk = { .m = n,
                               .n = keys,
                               .k = dim,
                               .a_stride = q.row_stride,
                               .b_stride = h->k.row_stride,
                               .d_stride = stride,
                               .a = q.data,
                               .b = h->k.data,
                               .d = logits.data,
                               .d_type = DT_F32 };
    struct cuda_product pv = { .m = n,
                               .n = dim,
                               .k = keys,
                               .a_stride = stride,
                               .b_stride = h->v.row_stride,
                               .d_stride = out.row_stride,
                               .a = weights.data,
                               .b = h->v.data,
                               .d = out.data,
                               .d_type = out.dtype,
                               .b_transposed = true };

    logits.row_stride = weights.row_stride = stride;
    TRY(cuda_product_run(cuda, &qk, err));
    TRY(cuda_status((cudaError_t)k_softmax_rows(&weights, &logits, h->scale, cuda->stream), "softmax", err));
    return cuda_product_run(cuda, &pv, err);
}

static enum err_code run_head(struct cuda *cuda, const struct head *h, struct err *err)
{
    int64_t queries = h->q.dims[0], stride = (h->k.dims[0] + 7) & ~(int64_t)7;
    int64_t group = (int64_t)(cuda->workspace_bytes / (size_t)(stride * 6));

    if (group > GROUP_STEP)
        group -= group % GROUP_STEP;
    if (group < 1)
        return err_set(err, ERR_TOO_LARGE, "cuda: attention over %lld tokens does not fit the workspace",
                       (long long)h->k.dims[0]);
    for (int64_t first = 0; first < queries; first += group)
        TRY(run_group(cuda, h, first, queries - first < group ? queries - first : group, cuda->workspace, group, err));
    return ERR_OK;
}

static enum err_code run_heads(struct cuda *cuda, struct tensor *out, const struct tensor *q, const struct tensor *k,
                               const struct tensor *v, const struct attention_args *args, struct err *err)
{
    for (int i = 0; i < args->n_heads; i++) {
        int64_t at = (int64_t)i * args->head_dim;
        struct head h = { .q = tensor_col_view(q, at, args->head_dim),
                          .k = tensor_col_view(k, at, args->head_dim),
                          .v = tensor_col_view(v, at, args->head_dim),
                          .out = tensor_col_view(out, at, args->head_dim),
                          .scale = args->scale };

        TRY(run_head(cuda, &h, err));
    }
    return ERR_OK;
}

/* Whether the heads are wider than the flash kernel takes, as in the VAE. */
static bool is_wide(const struct tensor *q, const struct attention_args *args)
{
    return q->dtype == DT_BF16 && args->head_dim > 128 && !args->causal && !args->rel_bias;
}

enum err_code cuda_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                             const struct tensor *v, const struct attention_args *args, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    struct attention_call call = { out, q, k, v, args };
    bool done = false;
    int status;

    TRY(cuda_attention_library_run(cuda, &call, &done, err));
    if (done)
        return ERR_OK;
    if (is_wide(q, args))
        return run_heads(cuda, out, q, k, v, args, err);
    if (args->head_dim > K_ATTENTION_MAX_DIM)
        return err_set(err, ERR_UNSUPPORTED, "cuda: attention heads of %d values, at most %d are supported",
                       args->head_dim, (int)K_ATTENTION_MAX_DIM);
    status = k_attention_flash_fits(out, q, k, v, args) ? k_attention_flash(out, q, k, v, args, cuda->stream)
                                                        : k_attention_plain(out, q, k, v, args, cuda->stream);
    return cuda_status((cudaError_t)status, "attention", err);
}
