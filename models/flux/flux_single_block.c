/*
 * flux_single_block - one set of weights for the joint stream, attention and MLP side by side on the same input.
 *
 *   a = mod(s; shift, scale)        qkv, mlp = linear1(a), two products over rows of one weight
 *   z = [attention(qkv) | gelu(mlp)]  written in place, side by side
 *   s += gate * linear2(z)
 *
 * The modulation was applied before the block begins; the sum is followed by the next block's modulation in the same
 * operation.
 *
 * Scratch, beside a [N, D] of the stream: qkv [N, 3D], z [N, 5D]. linear2's result takes the place of a, and then the
 * next block's a takes the place of that result.
 */
#include "models/flux/flux_block.h"
#include "models/flux/flux_modulation.h"

static enum err_code attention_and_mlp(const struct flux_prepared *p, const struct flux_single_block *b,
                                       const struct tensor *a, struct tensor *z, struct devarena *mem, struct err *err)
{
    DEVARENA_SCRATCH(mem);
    const struct flux *f = p->flux;
    int64_t hidden = f->config.hidden;
    struct tensor attn = tensor_col_view(z, 0, hidden), mlp = tensor_col_view(z, hidden, f->config.mlp), qkv;

    TRY(devarena_2d(mem, f->be->act, tensor_rows(a), 3 * hidden, &qkv, err));
    TRY(flux_linear_run(f, &qkv, a, &b->qkv, ACT_NONE, err));
    TRY(flux_linear_run(f, &mlp, a, &b->mlp, ACT_GELU_TANH, err));
    TRY(flux_qk_norm_rope(f, &qkv, &b->query_norm, &b->key_norm, &p->rope, err));
    return flux_attention(f, &qkv, &attn, err);
}

enum err_code flux_single_block_run(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                                    struct devarena *mem, struct err *err)
{
    DEVARENA_SCRATCH(mem);
    const struct flux *f = p->flux;
    const struct flux_single_block *b = &f->single_blocks[block - f->config.n_double];
    struct flux_mod mod = flux_first_mods(p, step, block).img, next = flux_first_mods(p, step, block + 1).img;
    struct tensor z;

    TRY(devarena_2d(mem, f->be->act, tensor_rows(&s->a), f->config.hidden + f->config.mlp, &z, err));
    TRY(attention_and_mlp(p, b, &s->a, &z, mem, err));
    TRY(flux_linear_run(f, &s->a, &z, &b->linear2, ACT_NONE, err));
    return flux_add_and_modulate(f, &s->a, &s->all, &s->a, &mod.gate, &next, err);
}
