/*
 * flux_double_block - img and txt with weights of their own and one joint attention.
 *
 *   a = mod(x; shift1, scale1)      qkv = W a + b, per stream, into the rows of one joint buffer (txt first)
 *   O = softmax(Q K^T / sqrt(d)) V  over all rows, after the QK norm and the rotation
 *   x += gate1 * proj(O)            x += gate2 * mlp_2(gelu(mlp_0(mod(x; shift2, scale2))))
 *
 * Scratch: a [N, D] throughout; qkv [N, 3D] until attention is done, then in its place y [N, D] and the hidden layer
 * [max(N_txt, N_img), 4D] of one stream at a time.
 */
#include "kernels/ops.h"
#include "models/flux_block.h"

/* One of the two streams: its rows of everything that is joint. */
struct part {
    const struct flux_double_stream *w;
    const struct tensor *rope; /* NULL for text */
    struct flux_mod attn, mlp;
    struct tensor x, a;
};

static enum err_code part_qkv(const struct flux *f, struct part *p, struct tensor *qkv, struct err *err)
{
    enum err_code rc = op_modulate(f->be, &p->a, &p->x, &p->attn.shift, &p->attn.scale, FLUX_NORM_EPS, err);

    if (!rc)
        rc = flux_linear_run(f, qkv, &p->a, &p->w->qkv, ACT_NONE, err);
    if (!rc)
        rc = flux_qk_norm_rope(f, qkv, &p->w->query_norm, &p->w->key_norm, p->rope, err);
    return rc;
}

static enum err_code joint_attention(const struct flux *f, struct part parts[2], struct tensor *a, struct devarena *mem,
                                     struct err *err)
{
    size_t mark = devarena_mark(mem);
    int64_t row = 0;
    struct tensor qkv;
    enum err_code rc = devarena_2d(mem, f->be->act, tensor_rows(a), 3 * f->config.hidden, &qkv, err);

    for (int i = 0; !rc && i < 2; i++) {
        struct tensor rows = tensor_row_view(&qkv, row, tensor_rows(&parts[i].x));

        rc = part_qkv(f, &parts[i], &rows, err);
        row += tensor_rows(&parts[i].x);
    }
    if (!rc)
        rc = flux_attention(f, &qkv, a, err);
    devarena_rewind(mem, mark);
    return rc;
}

static enum err_code part_proj(const struct flux *f, struct part *p, struct tensor *y, struct err *err)
{
    enum err_code rc = flux_linear_run(f, y, &p->a, &p->w->proj, ACT_NONE, err);

    return rc ? rc : op_gate_add(f->be, &p->x, &p->attn.gate, y, err);
}

static enum err_code part_mlp(const struct flux *f, struct part *p, struct tensor *y, struct devarena *mem,
                              struct err *err)
{
    size_t mark = devarena_mark(mem);
    struct tensor hidden;
    enum err_code rc = devarena_2d(mem, f->be->act, tensor_rows(&p->x), f->config.mlp, &hidden, err);

    if (!rc)
        rc = op_modulate(f->be, &p->a, &p->x, &p->mlp.shift, &p->mlp.scale, FLUX_NORM_EPS, err);
    if (!rc)
        rc = flux_linear_run(f, &hidden, &p->a, &p->w->mlp_0, ACT_GELU_TANH, err);
    if (!rc)
        rc = flux_linear_run(f, y, &hidden, &p->w->mlp_2, ACT_NONE, err);
    if (!rc)
        rc = op_gate_add(f->be, &p->x, &p->mlp.gate, y, err);
    devarena_rewind(mem, mark);
    return rc;
}

enum err_code flux_double_block_run(const struct flux *f, const struct flux_job *job, int step,
                                    const struct flux_double_block *b, int64_t mod_col, struct flux_stream *s,
                                    struct devarena *mem, struct err *err)
{
    int64_t n = job->n_txt + job->n_img, hidden = f->config.hidden;
    struct tensor img_rope = tensor_row_view(&job->rope, job->n_txt, job->n_img);
    struct part parts[2] = {
        { .w = &b->txt,
          .x = s->txt,
          .attn = flux_mod_at(f, job, step, mod_col + 6 * hidden),
          .mlp = flux_mod_at(f, job, step, mod_col + 9 * hidden) },
        { .w = &b->img,
          .x = s->img,
          .rope = &img_rope,
          .attn = flux_mod_at(f, job, step, mod_col),
          .mlp = flux_mod_at(f, job, step, mod_col + 3 * hidden) },
    };
    size_t mark = devarena_mark(mem);
    struct tensor a, y;
    enum err_code rc = devarena_2d(mem, f->be->act, n, hidden, &a, err);

    if (rc)
        goto out;
    parts[0].a = tensor_row_view(&a, 0, job->n_txt);
    parts[1].a = tensor_row_view(&a, job->n_txt, job->n_img);
    rc = joint_attention(f, parts, &a, mem, err);
    if (rc)
        goto out;
    rc = devarena_2d(mem, f->be->act, n, hidden, &y, err);
    for (int i = 0; !rc && i < 2; i++) {
        struct tensor rows = tensor_row_view(&y, i ? job->n_txt : 0, tensor_rows(&parts[i].x));

        rc = part_proj(f, &parts[i], &rows, err);
        if (!rc)
            rc = part_mlp(f, &parts[i], &rows, mem, err);
    }
out:
    devarena_rewind(mem, mark);
    return rc;
}
