#include "models/flux/flux_ops.h"

#include <math.h>

#include "kernels/ops.h"

enum err_code flux_linear_run(const struct flux *f, struct tensor *y, const struct tensor *x,
                              const struct flux_linear *l, enum activation act, struct err *err)
{
    return op_linear(f->be, y, x, &l->w, &l->b, act, err);
}

enum err_code flux_as_act(const struct flux *f, const struct tensor *x, struct devarena *mem, struct tensor *ret,
                          struct err *err)
{
    struct tensor rows = x->n_dims == 2 ? *x : tensor_as_2d(x, 1, tensor_count(x));

    TRY(devarena_2d(mem, f->be->act, tensor_rows(&rows), tensor_cols(&rows), ret, err));
    return op_copy(f->be, ret, &rows, err);
}

enum err_code flux_qk_norm_rope(const struct flux *f, struct tensor *qkv, const struct tensor *query_norm,
                                const struct tensor *key_norm, const struct tensor *rope, struct err *err)
{
    int64_t hidden = f->config.hidden;
    struct tensor q = tensor_col_view(qkv, 0, hidden), k = tensor_col_view(qkv, hidden, hidden);

    TRY(op_qk_norm_rope(f->be, &q, query_norm, rope, f->config.n_heads, FLUX_NORM_EPS, err));
    return op_qk_norm_rope(f->be, &k, key_norm, rope, f->config.n_heads, FLUX_NORM_EPS, err);
}

enum err_code flux_attention(const struct flux *f, const struct tensor *qkv, struct tensor *out, struct err *err)
{
    int64_t hidden = f->config.hidden;
    struct tensor q = tensor_col_view(qkv, 0, hidden), k = tensor_col_view(qkv, hidden, hidden),
                  v = tensor_col_view(qkv, 2 * hidden, hidden);
    struct attention_args args = { .n_heads = f->config.n_heads,
                                   .head_dim = f->config.head_dim,
                                   .scale = 1.0f / sqrtf((float)f->config.head_dim) };

    return op_attention(f->be, out, &q, &k, &v, &args, err);
}

enum err_code flux_add_and_modulate(const struct flux *f, struct tensor *a, struct tensor *x, const struct tensor *y,
                                    const struct tensor *gate, const struct flux_mod *next, struct err *err)
{
    struct gate_modulate_args args = { gate, &next->shift, &next->scale, FLUX_NORM_EPS };

    return op_gate_add_modulate(f->be, a, x, y, &args, err);
}
