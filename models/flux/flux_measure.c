/* flux_measure - the memory of a job, found by running it where nothing is computed. */
#include "models/flux/flux.h"

static enum err_code rehearse(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                              struct devarena *step_mem, struct devarena *other, struct arena *host, struct err *err)
{
    int64_t n_img = (int64_t)in->grid_rows * in->grid_cols;
    struct tensor latents, velocity;
    struct flux_prepared job;
    enum err_code rc = flux_prepare(f, in, request_mem, step_mem, host, &job, err);

    if (!rc)
        rc = devarena_2d(other, DT_F32, n_img, f->config.out_channels, &latents, err);
    if (!rc)
        rc = devarena_2d(other, DT_F32, n_img, f->config.out_channels, &velocity, err);
    return rc ? rc : flux_step(f, &job, 0, &latents, &velocity, NULL, step_mem, err);
}

/* Inputs of the right shapes, without contents. */
static enum err_code make_inputs(const struct flux *f, struct flux_inputs *in, int64_t n_txt, struct tensor t[3],
                                 struct devarena *mem, struct err *err)
{
    const struct flux_config *c = &f->config;
    int64_t n_cond = c->in_channels - c->out_channels;
    enum err_code rc = devarena_2d(mem, DT_F32, n_txt, c->context, &t[0], err);

    if (!rc)
        rc = devarena_1d(mem, DT_F32, c->pooled, &t[1], err);
    if (!rc && n_cond)
        rc = devarena_2d(mem, DT_F32, (int64_t)in->grid_rows * in->grid_cols, n_cond, &t[2], err);
    in->prompt_embeds = &t[0];
    in->pooled = &t[1];
    in->cond = n_cond ? &t[2] : NULL;
    return rc;
}

enum err_code flux_measure(const struct flux *f, int grid_rows, int grid_cols, int64_t n_txt, int n_steps,
                           struct arena *host, size_t *ret_request_bytes, size_t *ret_step_bytes, struct err *err)
{
    struct flux measure = *f;
    struct flux_inputs in = { .grid_rows = grid_rows, .grid_cols = grid_cols, .n_steps = n_steps };
    struct devarena request_mem = { 0 }, step_mem = { 0 }, other = { 0 };
    struct arena_mark mark = arena_mark(host);
    struct tensor tensors[3];
    float *sigmas;
    enum err_code rc;

    if (n_steps < 1 || n_steps > FLUX_MAX_STEPS || n_txt < 1 || n_txt > FLUX_MAX_TXT)
        return err_set(err, ERR_INVALID, "transformer: %d steps, %lld text tokens", n_steps, (long long)n_txt);
    measure.be = NULL;
    rc = arena_alloc(host, (size_t)n_steps, sizeof *sigmas, &sigmas, err);
    if (!rc)
        rc = backend_measure_open(f->be->act, &measure.be, err);
    if (!rc)
        rc = devarena_init(&request_mem, measure.be, BACKEND_MEASURE_PLENTY, 0, err);
    if (!rc)
        rc = devarena_init(&step_mem, measure.be, BACKEND_MEASURE_PLENTY, 0, err);
    if (!rc)
        rc = devarena_init(&other, measure.be, BACKEND_MEASURE_PLENTY, 0, err);
    if (rc)
        goto out;
    in.sigmas = sigmas;
    rc = make_inputs(&measure, &in, n_txt, tensors, &other, err);
    if (!rc)
        rc = rehearse(&measure, &in, &request_mem, &step_mem, &other, host, err);
    if (rc)
        goto out;
    *ret_request_bytes = request_mem.peak;
    *ret_step_bytes = step_mem.peak;
out:
    devarena_done(&other);
    devarena_done(&step_mem);
    devarena_done(&request_mem);
    backend_close(measure.be);
    arena_rewind(host, mark);
    return rc;
}
