/* flux_measure - the memory that a request takes, found by running it on the measuring backend. */
#include "models/flux/flow_match.h"
#include "models/flux/flux.h"

/* Inputs of the right shapes, without contents; their tensors are in t. */
static enum err_code make_inputs(const struct flux *f, struct flux_inputs *in, int64_t n_txt, struct tensor t[3],
                                 struct devarena *mem, struct err *err)
{
    const struct flux_config *c = &f->config;
    int64_t n_cond = c->in_channels - c->out_channels;

    TRY(devarena_2d(mem, DT_F32, n_txt, c->context, &t[0], err));
    TRY(devarena_1d(mem, DT_F32, c->pooled, &t[1], err));
    if (n_cond)
        TRY(devarena_2d(mem, DT_F32, (int64_t)in->grid_rows * in->grid_cols, n_cond, &t[2], err));
    in->prompt_embeds = &t[0];
    in->pooled = &t[1];
    in->cond = n_cond ? &t[2] : NULL;
    return ERR_OK;
}

/* The arenas of a request on the measuring backend; `other` holds the tensors that the caller of a request owns. */
struct rehearsal {
    struct devarena request_mem, step_mem, other;
};

static enum err_code rehearse(const struct flux *f, const struct flux_size *size, struct rehearsal *r,
                              struct arena *host, struct err *err)
{
    int64_t n_img = (int64_t)size->grid_rows * size->grid_cols;
    struct flux_inputs in = { .grid_rows = size->grid_rows, .grid_cols = size->grid_cols, .n_steps = size->n_steps };
    struct tensor inputs[3], latents, velocity;
    struct flux_prepared p;
    float *sigmas;

    TRY(arena_alloc(host, (size_t)size->n_steps, sizeof *sigmas, &sigmas, err));
    in.sigmas = sigmas;
    TRY(devarena_init(&r->request_mem, f->be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_init(&r->step_mem, f->be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_init(&r->other, f->be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(make_inputs(f, &in, size->n_txt, inputs, &r->other, err));
    TRY(flux_prepare(f, &in, &r->request_mem, &r->step_mem, host, &p, err));
    TRY(devarena_2d(&r->other, DT_F32, n_img, f->config.out_channels, &latents, err));
    TRY(devarena_2d(&r->other, DT_F32, n_img, f->config.out_channels, &velocity, err));
    return flux_step(&p, 0, &latents, &velocity, NULL, &r->step_mem, err);
}

enum err_code flux_measure(const struct flux *f, const struct flux_size *size, struct arena *host,
                           struct flux_memory *ret, struct err *err)
{
    ARENA_SCRATCH(host);
    struct flux rehearsed = *f;
    struct rehearsal r = { 0 };
    enum err_code rc;

    if (size->n_steps < 1 || size->n_steps > FLOW_MATCH_MAX_STEPS || size->n_txt < 1 || size->n_txt > FLUX_MAX_TXT)
        return err_set(err, ERR_INVALID,
                       "transformer: %d steps and %lld text tokens are not within 1 .. %d and 1 .. %d", size->n_steps,
                       (long long)size->n_txt, FLOW_MATCH_MAX_STEPS, FLUX_MAX_TXT);
    TRY(backend_measure_open(f->be->act, &rehearsed.be, err));
    rc = rehearse(&rehearsed, size, &r, host, err);
    if (rc == ERR_OK)
        *ret = (struct flux_memory){ r.request_mem.peak, r.step_mem.peak };
    devarena_done(&r.other);
    devarena_done(&r.step_mem);
    devarena_done(&r.request_mem);
    backend_close(rehearsed.be);
    return rc;
}
