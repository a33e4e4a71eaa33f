/*
 * ops.c - operations that launch one of our own kernels: each passes its tensors to the launcher and turns the
 * launcher's status into an error.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu/kernels.h"

/* Turns the status of a launcher into an error. */
static enum err_code launched(int status, const char *what, struct err *err)
{
    return cuda_status((cudaError_t)status, what, err);
}

enum err_code cuda_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, float eps, struct err *err)
{
    return launched(k_layer_norm(y, x, w, b, eps, cuda_of(be)->stream), "layer_norm", err);
}

enum err_code cuda_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                            const struct tensor *scale, float eps, struct err *err)
{
    return launched(k_modulate(y, x, shift, scale, eps, cuda_of(be)->stream), "modulate", err);
}

enum err_code cuda_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                            float eps, struct err *err)
{
    return launched(k_rms_norm(y, x, w, eps, cuda_of(be)->stream), "rms_norm", err);
}

enum err_code cuda_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, const struct group_norm_args *args, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    struct k_scratch scratch = { cuda->workspace, cuda->workspace_bytes };

    return launched(k_group_norm(y, x, w, b, args, scratch, cuda->stream), "group_norm", err);
}

enum err_code cuda_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    return launched(k_qk_norm_rope(x, scale, rope, n_heads, eps, cuda_of(be)->stream), "qk_norm_rope", err);
}

enum err_code cuda_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                            struct err *err)
{
    return launched(k_gate_add(x, gate, y, cuda_of(be)->stream), "gate_add", err);
}

enum err_code cuda_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                     const struct gate_modulate_args *args, struct err *err)
{
    return launched(k_gate_add_modulate(a, x, y, args, cuda_of(be)->stream), "gate_add_modulate", err);
}

enum err_code cuda_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                       struct err *err)
{
    return launched(k_mul(y, a, b, cuda_of(be)->stream), "mul", err);
}

enum err_code cuda_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    return launched(k_silu(y, x, cuda_of(be)->stream), "silu", err);
}

enum err_code cuda_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    return launched(k_axpy(x, a, v, cuda_of(be)->stream), "axpy", err);
}

enum err_code cuda_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    return launched(k_copy(y, x, cuda_of(be)->stream), "copy", err);
}

/* Values pass through bf16, whatever type the table is kept in, so that results do not depend on that type. */
enum err_code cuda_embed_rows(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                              struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    int64_t n = tensor_rows(y), cols = tensor_cols(y), group = (int64_t)(cuda->workspace_bytes / ((size_t)cols * 2));
    struct tensor rows = y->n_dims == 2 ? *y : tensor_as_2d(y, n, cols);

    if (group == 0)
        return err_set(err, ERR_TOO_LARGE, "cuda: a row of %lld values does not fit the workspace", (long long)cols);
    for (int64_t first = 0; first < n; first += group) {
        struct tensor part = tensor_row_view(&rows, first, n - first < group ? n - first : group);
        struct tensor values = tensor_2d(DT_BF16, tensor_rows(&part), cols, cuda->workspace);

        TRY(launched(k_embed_rows(&values, table, ids + first, cuda->stream), "embed_rows", err));
        TRY(cuda_copy(be, &part, &values, err));
    }
    return ERR_OK;
}

enum err_code cuda_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    return launched(k_upsample2x(y, x, cuda_of(be)->stream), "upsample2x", err);
}
