/* flux_step - one call of the network: img_in, the double blocks, the single blocks, the final layer. */
#include "kernels/ops.h"
#include "models/flux/flux.h"
#include "models/flux/flux_block.h"
#include "models/flux/flux_modulation.h"

enum err_code flux_stream_alloc(const struct flux_prepared *p, struct devarena *mem, struct flux_stream *ret,
                                struct err *err)
{
    int64_t n = p->n_txt + p->n_img, hidden = p->flux->config.hidden;

    TRY(devarena_2d(mem, DT_F32, n, hidden, &ret->all, err));
    ret->txt = tensor_row_view(&ret->all, 0, p->n_txt);
    ret->img = tensor_row_view(&ret->all, p->n_txt, p->n_img);
    return devarena_2d(mem, p->flux->be->act, n, hidden, &ret->a, err);
}

/* In the order of use: a device that is short of memory expands matrices in this order, and expands a matrix twice that
 * is used out of order. */
int flux_block_weights(const struct flux *f, int block, const struct weight *ret[FLUX_BLOCK_MAX_WEIGHTS])
{
    int n = 0;

    if (block < f->config.n_double) {
        const struct flux_double_block *b = &f->double_blocks[block];

        ret[n++] = &b->txt.qkv.w;
        ret[n++] = &b->img.qkv.w;
        for (int i = 0; i < 2; i++) {
            const struct flux_double_stream *s = i ? &b->img : &b->txt;

            ret[n++] = &s->proj.w;
            ret[n++] = &s->mlp_0.w;
            ret[n++] = &s->mlp_2.w;
        }
    } else {
        const struct flux_single_block *b = &f->single_blocks[block - f->config.n_double];

        ret[n++] = &b->linear1.w;
        ret[n++] = &b->linear2.w;
    }
    return n;
}

void flux_prefetch_block(const struct flux *f, int block)
{
    const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];
    int n = flux_block_weights(f, block % (f->config.n_double + f->config.n_single), list);

    f->be->ops->weight_prefetch(f->be, list, n);
}

enum err_code flux_enter_block(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                               struct err *err)
{
    struct backend *be = p->flux->be;
    struct flux_mods m = flux_first_mods(p, step, block);
    struct tensor txt = tensor_row_view(&s->a, 0, p->n_txt), img = tensor_row_view(&s->a, p->n_txt, p->n_img);

    TRY(op_modulate(be, &txt, &s->txt, &m.txt.shift, &m.txt.scale, FLUX_NORM_EPS, err));
    return op_modulate(be, &img, &s->img, &m.img.shift, &m.img.scale, FLUX_NORM_EPS, err);
}

enum err_code flux_run_block(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                             struct devarena *step_mem, struct err *err)
{
    return block < p->flux->config.n_double ? flux_double_block_run(p, step, block, s, step_mem, err)
                                            : flux_single_block_run(p, step, block, s, step_mem, err);
}

static enum err_code run_blocks(const struct flux_prepared *p, int step, struct flux_stream *s,
                                const struct flux_tap *tap, struct devarena *step_mem, struct err *err)
{
    int n_double = p->flux->config.n_double, n_blocks = n_double + p->flux->config.n_single;

    for (int i = 0; i < n_blocks; i++) {
        bool single = i >= n_double;
        int index = single ? i - n_double : i;

        flux_prefetch_block(p->flux, i + 1);
        if (flux_run_block(p, step, i, s, step_mem, err))
            return err_prefix(err, "%s_blocks.%d", single ? "single" : "double", index);
        if (tap)
            TRY(tap->fn(tap->ctx, single ? "single" : "double", index, s, err));
    }
    return ERR_OK;
}

/* The streams at the first block: the prompt's rows, and img_in of latents and conditioning. */
static enum err_code enter(const struct flux_prepared *p, int step, const struct tensor *latents, struct flux_stream *s,
                           struct err *err)
{
    const struct flux *f = p->flux;
    struct tensor columns = tensor_col_view(&p->tokens, 0, f->config.out_channels);

    TRY(op_copy(f->be, &s->txt, &p->txt, err));
    TRY(op_copy(f->be, &columns, latents, err));
    TRY(flux_linear_run(f, &s->img, &p->tokens, &f->img_in, ACT_NONE, err));
    return flux_enter_block(p, step, 0, s, err);
}

/* The product of the final layer; its modulation was applied with the last block's sum. */
static enum err_code leave(const struct flux_prepared *p, const struct flux_stream *s, struct tensor *velocity,
                           struct err *err)
{
    struct tensor img = tensor_row_view(&s->a, p->n_txt, p->n_img);

    return flux_linear_run(p->flux, velocity, &img, &p->flux->final_linear, ACT_NONE, err);
}

enum err_code flux_step(const struct flux_prepared *p, int step, const struct tensor *latents, struct tensor *velocity,
                        const struct flux_tap *tap, struct devarena *step_mem, struct err *err)
{
    DEVARENA_SCRATCH(step_mem);
    struct flux_stream s;

    if (step < 0 || step >= p->n_steps)
        return err_set(err, ERR_INVALID, "transformer: step %d does not exist, the request has %d", step, p->n_steps);
    flux_prefetch_block(p->flux, 0);
    TRY(flux_stream_alloc(p, step_mem, &s, err));
    TRY(enter(p, step, latents, &s, err));
    TRY(run_blocks(p, step, &s, tap, step_mem, err));
    return leave(p, &s, velocity, err);
}
