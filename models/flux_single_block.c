/*
 * flux_single_block - one set of weights for the joint stream, attention and MLP side by side on the same input.
 *
 *   a = mod(s; shift, scale)        qkv, mlp = linear1(a), two products over rows of one weight
 *   z = [attention(qkv) | gelu(mlp)]  written in place, side by side
 *   s += gate * linear2(z)
 *
 * Scratch: a [N, D], qkv [N, 3D], z [N, 5D]; linear2's result takes the place of a.
 */
#include "kernels/ops.h"
#include "models/flux_block.h"

static enum err_code attention_and_mlp(const struct flux *f, const struct flux_job *job,
                                       const struct flux_single_block *b, const struct tensor *a, struct tensor *z,
                                       struct devarena *mem, struct err *err)
{
    int64_t hidden = f->config.hidden;
    struct tensor attn = tensor_col_view(z, 0, hidden), mlp = tensor_col_view(z, hidden, f->config.mlp), qkv;
    size_t mark = devarena_mark(mem);
    enum err_code rc = devarena_2d(mem, f->be->act, tensor_rows(a), 3 * hidden, &qkv, err);

    if (!rc)
        rc = flux_linear_run(f, &qkv, a, &b->qkv, ACT_NONE, err);
    if (!rc)
        rc = flux_linear_run(f, &mlp, a, &b->mlp, ACT_GELU_TANH, err);
    if (!rc)
        rc = flux_qk_norm_rope(f, &qkv, &b->query_norm, &b->key_norm, &job->rope, err);
    if (!rc)
        rc = flux_attention(f, &qkv, &attn, err);
    devarena_rewind(mem, mark);
    return rc;
}

enum err_code flux_single_block_run(const struct flux *f, const struct flux_job *job, int step,
                                    const struct flux_single_block *b, int64_t mod_col, struct flux_stream *s,
                                    struct devarena *mem, struct err *err)
{
    int64_t n = job->n_txt + job->n_img, hidden = f->config.hidden;
    struct flux_mod mod = flux_mod_at(f, job, step, mod_col);
    size_t mark = devarena_mark(mem);
    struct tensor a, z;
    enum err_code rc = devarena_2d(mem, f->be->act, n, hidden, &a, err);

    if (!rc)
        rc = devarena_2d(mem, f->be->act, n, hidden + f->config.mlp, &z, err);
    if (!rc)
        rc = op_modulate(f->be, &a, &s->all, &mod.shift, &mod.scale, FLUX_NORM_EPS, err);
    if (!rc)
        rc = attention_and_mlp(f, job, b, &a, &z, mem, err);
    if (!rc)
        rc = flux_linear_run(f, &a, &z, &b->linear2, ACT_NONE, err);
    if (!rc)
        rc = op_gate_add(f->be, &s->all, &mod.gate, &a, err);
    devarena_rewind(mem, mark);
    return rc;
}
