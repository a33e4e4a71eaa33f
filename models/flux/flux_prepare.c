/* flux_prepare - what is constant over the steps of a request: modulations, rotary table, tokens, txt_in of the prompt.
 */
#include "kernels/ops.h"
#include "models/flux/flow_match.h"
#include "models/flux/flux.h"
#include "models/flux/flux_ops.h"
#include "models/flux/flux_rope.h"

static enum err_code check_inputs(const struct flux *f, const struct flux_inputs *in, struct err *err)
{
    const struct flux_config *c = &f->config;
    int64_t n_img = (int64_t)in->grid_rows * in->grid_cols, n_cond = c->in_channels - c->out_channels;

    if (in->grid_rows < 1 || in->grid_cols < 1 || in->grid_rows > FLUX_MAX_GRID || in->grid_cols > FLUX_MAX_GRID)
        return err_set(err, ERR_INVALID, "transformer: a grid of %d x %d tokens is not within 1 .. %d", in->grid_rows,
                       in->grid_cols, FLUX_MAX_GRID);
    if (in->n_steps < 1 || in->n_steps > FLOW_MATCH_MAX_STEPS)
        return err_set(err, ERR_INVALID, "transformer: %d steps are not within 1 .. %d", in->n_steps,
                       FLOW_MATCH_MAX_STEPS);
    if (tensor_cols(in->prompt_embeds) != c->context || tensor_rows(in->prompt_embeds) > FLUX_MAX_TXT)
        return err_set(err, ERR_INVALID, "transformer: prompt_embeds are %lld x %lld, wanted up to %d x %lld",
                       (long long)tensor_rows(in->prompt_embeds), (long long)tensor_cols(in->prompt_embeds),
                       FLUX_MAX_TXT, (long long)c->context);
    if (n_cond ? !in->cond || tensor_rows(in->cond) != n_img || tensor_cols(in->cond) != n_cond : in->cond != NULL)
        return err_set(err, ERR_INVALID, "transformer: it takes %lld conditioning channels for each of %lld tokens",
                       (long long)n_cond, (long long)n_img);
    if (!in->modulation && (!in->sigmas || !in->pooled || tensor_count(in->pooled) != c->pooled))
        return err_set(err, ERR_INVALID, "transformer: it takes sigmas and a pooled vector of %lld values",
                       (long long)c->pooled);
    if (in->modulation && (tensor_rows(in->modulation) != in->n_steps ||
                           tensor_cols(in->modulation) != flux_modulation_cols(c) || in->modulation->dtype != DT_F32))
        return err_set(err, ERR_INVALID, "transformer: the modulation table is not %d x %lld", in->n_steps,
                       (long long)flux_modulation_cols(c));
    return ERR_OK;
}

static enum err_code prepare_modulation(const struct flux *f, const struct flux_inputs *in,
                                        struct devarena *request_mem, struct devarena *step_mem, struct arena *host,
                                        struct tensor *ret, struct err *err)
{
    if (in->modulation) {
        *ret = *in->modulation;
        return ERR_OK;
    }
    TRY(devarena_2d(request_mem, DT_F32, in->n_steps, flux_modulation_cols(&f->config), ret, err));
    return flux_modulate(f, in, ret, step_mem, host, err);
}

static enum err_code prepare_rope(struct flux_prepared *p, const struct flux_inputs *in, struct devarena *request_mem,
                                  struct arena *host, struct err *err)
{
    ARENA_SCRATCH(host);
    const struct flux *f = p->flux;
    int64_t n = p->n_txt + p->n_img;
    int axes[FLUX_ROPE_AXES];
    float *table;

    TRY(devarena_2d(request_mem, DT_F32, n, f->config.head_dim, &p->rope, err));
    if (!f->be->executes)
        return ERR_OK;
    TRY(arena_alloc(host, (size_t)n * (size_t)f->config.head_dim, sizeof *table, &table, err));
    if (!flux_rope_axes(f->config.head_dim, axes))
        return err_set(err, ERR_INTERNAL, "transformer: head size %d was not checked", f->config.head_dim);
    flux_rope_table(table, p->n_txt, in->grid_rows, in->grid_cols, axes);
    return op_upload(f->be, &p->rope, table, err);
}

/* Input tokens with their constant columns filled in. */
static enum err_code prepare_tokens(struct flux_prepared *p, const struct flux_inputs *in, struct devarena *request_mem,
                                    struct err *err)
{
    const struct flux_config *c = &p->flux->config;
    struct backend *be = p->flux->be;
    struct tensor cols;

    TRY(devarena_2d(request_mem, be->act, p->n_img, c->in_channels, &p->tokens, err));
    if (!in->cond)
        return ERR_OK;
    cols = tensor_col_view(&p->tokens, c->out_channels, c->in_channels - c->out_channels);
    return op_copy(be, &cols, in->cond, err);
}

static enum err_code prepare_txt(struct flux_prepared *p, const struct flux_inputs *in, struct devarena *request_mem,
                                 struct devarena *step_mem, struct err *err)
{
    DEVARENA_SCRATCH(step_mem);
    const struct flux *f = p->flux;
    struct tensor x;

    TRY(devarena_2d(request_mem, DT_F32, p->n_txt, f->config.hidden, &p->txt, err));
    TRY(flux_as_act(f, in->prompt_embeds, step_mem, &x, err));
    return flux_linear_run(f, &p->txt, &x, &f->txt_in, ACT_NONE, err);
}

enum err_code flux_prepare(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                           struct devarena *step_mem, struct arena *host, struct flux_prepared *ret, struct err *err)
{
    struct flux_prepared p = { .flux = f, .n_steps = in->n_steps };

    TRY(check_inputs(f, in, err));
    p.n_txt = tensor_rows(in->prompt_embeds);
    p.n_img = (int64_t)in->grid_rows * in->grid_cols;
    TRY(prepare_modulation(f, in, request_mem, step_mem, host, &p.modulation, err));
    TRY(prepare_rope(&p, in, request_mem, host, err));
    TRY(prepare_tokens(&p, in, request_mem, err));
    TRY(prepare_txt(&p, in, request_mem, step_mem, err));
    *ret = p;
    return ERR_OK;
}
