/*
 * flux_double_block - img and txt with weights of their own and one joint attention.
 *
 *   a = mod(x; shift1, scale1)      qkv = W a + b, per stream, into the rows of one joint buffer (txt first)
 *   O = softmax(Q K^T / sqrt(d)) V  over all rows, after the QK norm and the rotation
 *   x += gate1 * proj(O)            x += gate2 * mlp_2(gelu(mlp_0(mod(x; shift2, scale2))))
 *
 * The first modulation was applied before the block begins. Each of the two sums is followed by the next modulation in
 * the same operation, so the block leaves a ready for the next block.
 *
 * Scratch, beside a [N, D] of the stream: qkv [N, 3D] until attention is done, then in its place y [N, D] and the
 * hidden layer [max(N_txt, N_img), 4D] of one stream at a time.
 */
#include "models/flux/flux_block.h"
#include "models/flux/flux_modulation.h"

/* One of the two streams: its weights, its modulations, and its rows of the joint tensors. */
struct part {
    const struct flux_double_stream *w;
    const struct tensor *rope;       /* NULL for text */
    struct flux_mod attn, mlp, next; /* next: of the next block */
    struct tensor x, a;
};

static enum err_code part_qkv(const struct flux *f, struct part *p, struct tensor *qkv, struct err *err)
{
    TRY(flux_linear_run(f, qkv, &p->a, &p->w->qkv, ACT_NONE, err));
    return flux_qk_norm_rope(f, qkv, &p->w->query_norm, &p->w->key_norm, p->rope, err);
}

static enum err_code joint_attention(const struct flux *f, struct part parts[2], struct tensor *a, struct devarena *mem,
                                     struct err *err)
{
    DEVARENA_SCRATCH(mem);
    int64_t row = 0;
    struct tensor qkv;

    TRY(devarena_2d(mem, f->be->act, tensor_rows(a), 3 * f->config.hidden, &qkv, err));
    for (int i = 0; i < 2; i++) {
        struct tensor rows = tensor_row_view(&qkv, row, tensor_rows(&parts[i].x));

        TRY(part_qkv(f, &parts[i], &rows, err));
        row += tensor_rows(&parts[i].x);
    }
    return flux_attention(f, &qkv, a, err);
}

static enum err_code part_proj(const struct flux *f, struct part *p, struct tensor *y, struct err *err)
{
    TRY(flux_linear_run(f, y, &p->a, &p->w->proj, ACT_NONE, err));
    return flux_add_and_modulate(f, &p->a, &p->x, y, &p->attn.gate, &p->mlp, err);
}

static enum err_code part_mlp(const struct flux *f, struct part *p, struct tensor *y, struct devarena *mem,
                              struct err *err)
{
    DEVARENA_SCRATCH(mem);
    struct tensor hidden;

    TRY(devarena_2d(mem, f->be->act, tensor_rows(&p->x), f->config.mlp, &hidden, err));
    TRY(flux_linear_run(f, &hidden, &p->a, &p->w->mlp_0, ACT_GELU_TANH, err));
    TRY(flux_linear_run(f, y, &hidden, &p->w->mlp_2, ACT_NONE, err));
    return flux_add_and_modulate(f, &p->a, &p->x, y, &p->mlp.gate, &p->next, err);
}

enum err_code flux_double_block_run(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                                    struct devarena *mem, struct err *err)
{
    DEVARENA_SCRATCH(mem);
    const struct flux *f = p->flux;
    const struct flux_double_block *b = &f->double_blocks[block];
    struct flux_mods attn = flux_first_mods(p, step, block), mlp = flux_second_mods(p, step, block),
                     next = flux_first_mods(p, step, block + 1);
    struct tensor img_rope = tensor_row_view(&p->rope, p->n_txt, p->n_img), y;
    struct part parts[2] = {
        { &b->txt, NULL, attn.txt, mlp.txt, next.txt, s->txt, tensor_row_view(&s->a, 0, p->n_txt) },
        { &b->img, &img_rope, attn.img, mlp.img, next.img, s->img, tensor_row_view(&s->a, p->n_txt, p->n_img) },
    };

    TRY(joint_attention(f, parts, &s->a, mem, err));
    TRY(devarena_2d(mem, f->be->act, tensor_rows(&s->a), f->config.hidden, &y, err));
    for (int i = 0; i < 2; i++) {
        struct tensor rows = tensor_row_view(&y, i ? p->n_txt : 0, tensor_rows(&parts[i].x));

        TRY(part_proj(f, &parts[i], &rows, err));
        TRY(part_mlp(f, &parts[i], &rows, mem, err));
    }
    return ERR_OK;
}
