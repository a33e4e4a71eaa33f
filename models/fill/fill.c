#include "models/fill/fill.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/file/file_map.h"
#include "models/fill/fill_model.h"
#include "models/fill/torch_rng.h"
#include "models/flux/flow_match.h"
#include "models/flux/latents.h"
#include "models/image/resize.h"
#include "models/vae/pixels.h"

enum { COND_TOKEN = LATENT_TOKEN + MASK_TOKEN };

/* The backend's marks. A step is timed while the next step runs, so three ends of steps must be kept at a time. */
enum { N_STEP_MARKS = 3 };
enum { MARK_START, MARK_TEXT, MARK_ENCODED, MARK_PREPARED, MARK_END, MARK_STEP };
_Static_assert(MARK_STEP + N_STEP_MARKS <= BACKEND_MARKS, "the backend has enough marks");

/* A request in progress. Host memory comes from the caller's arena, backend memory from the model's. */
struct request {
    struct fill_model *m;
    const struct fill_request *r;
    struct arena *a;
    struct err *err;
    int64_t width, height; /* pixels, floored to whole tokens */
    int64_t h, w, n_img;   /* latents, tokens */
    float sigmas[FLOW_MATCH_MAX_STEPS + 1];
    int start; /* first step that is run */
    struct torch_rng rng;
    float *picture;                   /* [H, W, 3], -1 .. 1 */
    uint8_t *mask;                    /* [H, W], 1 = repaint */
    float *latents;                   /* [N, 64], packed: the noise, then the downloaded latents_on_backend */
    const struct prompt_entry *known; /* the prompt's entry in the pack, or NULL */
    struct tensor prompt_embeds, pooled, cond, latents_on_backend; /* cond [N, 320]: masked latents, mask */
    struct fill_timings timings;
};

const char *fill_phase_name(enum fill_phase p)
{
    static const char *const names[] = { "encode", "denoise", "decode" };

    return names[p];
}

/* --- checks, and talking to the caller --- */

static enum err_code check_request(const struct fill_model *m, const struct fill_request *r, struct err *err)
{
    const struct fill_options *max = &m->limits;

    if (r->width < FILL_MIN_SIDE || r->height < FILL_MIN_SIDE || r->width > FILL_MAX_SIDE || r->height > FILL_MAX_SIDE)
        return err_set(err, ERR_INVALID, "fill: a picture of %d x %d pixels is asked for, a side may have %d to %d",
                       r->width, r->height, FILL_MIN_SIDE, FILL_MAX_SIDE);
    if (r->steps < 1 || r->steps > FILL_MAX_STEPS)
        return err_set(err, ERR_INVALID, "fill: %d steps are not within 1 .. %d", r->steps, FILL_MAX_STEPS);
    if (r->t5_len < 1 || r->t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "fill: %d text tokens are not within 1 .. %d", r->t5_len, T5_MAX_TOKENS);
    if (!(r->guidance >= 0 && r->guidance <= FILL_MAX_GUIDANCE))
        return err_set(err, ERR_INVALID, "fill: guidance %g is not within 0 .. %d", r->guidance, FILL_MAX_GUIDANCE);
    if ((int64_t)r->width * r->height > (int64_t)max->max_width * max->max_height || r->steps > max->max_steps ||
        r->t5_len > max->max_t5_len)
        return err_set(err, ERR_TOO_LARGE,
                       "fill: %d x %d pixels, %d steps and %d text tokens are more than the model was opened for: "
                       "%d x %d, %d and %d",
                       r->width, r->height, r->steps, r->t5_len, max->max_width, max->max_height, max->max_steps,
                       max->max_t5_len);
    return ERR_OK;
}

static enum err_code check_finite(const float *v, int64_t n, const char *what, struct err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return err_set(err, ERR_NUMERIC, "fill: %s hold NaN or infinity", what);
    return ERR_OK;
}

/* Between two steps: ends a request that is not wanted any more, or whose weights have been lost. */
static enum err_code check_going_on(const struct request *q)
{
    TRY(file_map_check(q->err));
    if (q->r->cancelled && q->r->cancelled(q->r->ctx))
        return err_set(q->err, ERR_CANCELLED, "fill: cancelled");
    return ERR_OK;
}

static void progress(const struct request *q, enum fill_phase phase, int done, int total)
{
    if (q->r->progress)
        q->r->progress(q->r->ctx, phase, done, total);
}

static enum err_code set_mark(const struct request *q, int slot)
{
    return q->m->be->ops->mark(q->m->be, slot, q->err);
}

/* Waits until the work before mark `to` is done. */
static enum err_code elapsed(const struct request *q, int from, int to, double *ret_ms)
{
    return q->m->be->ops->elapsed(q->m->be, from, to, ret_ms, q->err);
}

static enum err_code dump(const struct request *q, const char *name, int n_dims, const int64_t *dims, const float *data)
{
    const struct fill_dump *d = q->r->dump;

    return d ? d->fn(d->ctx, name, n_dims, dims, data, q->err) : ERR_OK;
}

static enum err_code dump_rows(const struct request *q, const char *name, int64_t rows, int64_t cols, const float *data)
{
    return dump(q, name, 2, (int64_t[]){ rows, cols }, data);
}

static enum err_code floats(const struct request *q, int64_t n, float **ret)
{
    return arena_alloc(q->a, (size_t)n, sizeof **ret, ret, q->err);
}

/* --- 1. picture and mask --- */

static enum err_code load_picture(struct request *q)
{
    struct image rgb, resized;

    TRY(floats(q, q->height * q->width * 3, &q->picture));
    TRY(image_to_rgb(q->a, q->r->picture, &rgb, q->err));
    TRY(image_resize(q->a, &rgb, (int)q->width, (int)q->height, &resized, q->err));
    pixels_to_vae(&resized, q->picture);
    return ERR_OK;
}

/* Resizes in the mask's own mode and thresholds afterwards, so the channels of an RGB mask are resampled one by one. */
static enum err_code load_mask(struct request *q)
{
    struct image resized;

    TRY(arena_alloc(q->a, (size_t)(q->height * q->width), 1, &q->mask, q->err));
    TRY(image_resize(q->a, q->r->mask, (int)q->width, (int)q->height, &resized, q->err));
    latents_binarise_mask(&resized, q->mask);
    return ERR_OK;
}

/* --- 2. what is constant over the steps --- */

/* Takes memory for the embeddings of a prompt of n tokens. */
static enum err_code take_embeds(struct request *q, int64_t n)
{
    const struct flux_config *c = &q->m->flux.config;

    TRY(devarena_2d(&q->m->mem, DT_F32, n, c->context, &q->prompt_embeds, q->err));
    return devarena_1d(&q->m->mem, DT_F32, c->pooled, &q->pooled, q->err);
}

static enum err_code take_known_prompt(struct request *q)
{
    const struct prompt_entry *e = q->known;

    TRY(take_embeds(q, e->t5_len));
    TRY(op_upload(q->m->be, &q->prompt_embeds, e->prompt_embeds, q->err));
    return op_upload(q->m->be, &q->pooled, e->pooled_embeds, q->err);
}

static enum err_code encode_prompt(struct request *q)
{
    struct devarena *mem = &q->m->mem;
    struct err text_err = { 0 };
    struct text_ids ids;

    if (text_tokenize(&q->m->text, span_of(q->r->prompt), q->r->t5_len, &ids, q->a, &text_err))
        return err_set(q->err, text_err.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROMPT, "%s", text_err.msg);
    TRY(take_embeds(q, q->r->t5_len));
    return text_encode(&q->m->text, &ids, &q->prompt_embeds, &q->pooled, mem, q->err);
}

/* From the pack, where it has the prompt at the length asked for; without encoders the pack's length is taken. */
static enum err_code read_prompt(struct request *q)
{
    const struct fill_model *m = q->m;

    q->known = prompt_pack_find(&m->pack, q->r->prompt);
    if (!m->has_encoders && !q->known)
        return err_set(q->err, ERR_PROMPT,
                       "fill: the prompt is not one of the %d in the prompt pack, and there are no text encoders",
                       m->pack.n_entries);
    if (m->has_encoders && q->known && q->known->t5_len != q->r->t5_len)
        q->known = NULL;
    return q->known ? take_known_prompt(q) : encode_prompt(q);
}

static enum err_code dump_embeds(struct request *q)
{
    int64_t rows = tensor_rows(&q->prompt_embeds), cols = tensor_cols(&q->prompt_embeds);
    float *host;

    if (!q->r->dump)
        return ERR_OK;
    TRY(floats(q, rows * cols, &host));
    TRY(op_download(q->m->be, host, &q->prompt_embeds, q->err));
    TRY(dump_rows(q, "prompt_embeds", rows, cols, host));
    cols = tensor_cols(&q->pooled);
    TRY(floats(q, cols, &host));
    TRY(op_download(q->m->be, host, &q->pooled, q->err));
    return dump(q, "pooled_prompt_embeds", 1, &cols, host);
}

/* z [h, w, 16] = mean, or mean + std * normals, of the moments [h, w, 32]. The normals are drawn as [16, h, w]. */
static enum err_code take_posterior(struct request *q, const float *moments, float *z)
{
    int64_t n = q->h * q->w;
    float *normals;

    for (int64_t i = 0; i < n; i++)
        memcpy(z + i * VAE_LATENT, moments + i * VAE_MOMENTS, VAE_LATENT * sizeof *z);
    if (q->r->posterior == FILL_POSTERIOR_MEAN)
        return ERR_OK;
    TRY(floats(q, n * VAE_LATENT, &normals));
    torch_rng_normals(&q->rng, normals, (size_t)(n * VAE_LATENT));
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < VAE_LATENT; c++) {
            float logvar = fminf(fmaxf(moments[i * VAE_MOMENTS + VAE_LATENT + c], -30), 20);

            z[i * VAE_LATENT + c] += expf(0.5f * logvar) * normals[c * n + i];
        }
    return ERR_OK;
}

/* The scaled latents of rgb [H, W, 3], packed into rows `stride` values apart. */
static enum err_code encode_picture(struct request *q, const float *rgb, float *packed, int64_t stride)
{
    struct devarena *mem = &q->m->mem;
    ARENA_SCRATCH(q->a);
    DEVARENA_SCRATCH(mem);
    struct tensor pixels, moments;
    float *host, *z;

    TRY(floats(q, q->h * q->w * VAE_MOMENTS, &host));
    TRY(floats(q, q->h * q->w * VAE_LATENT, &z));
    TRY(devarena_3d(mem, DT_F32, q->height, q->width, 3, &pixels, q->err));
    TRY(devarena_3d(mem, DT_F32, q->h, q->w, VAE_MOMENTS, &moments, q->err));
    TRY(op_upload(q->m->be, &pixels, rgb, q->err));
    TRY(vae_encode(&q->m->vae, &pixels, &moments, mem, q->err));
    TRY(op_download(q->m->be, host, &moments, q->err));
    TRY(check_finite(host, q->h * q->w * VAE_MOMENTS, "the encoded picture's moments", q->err));
    TRY(take_posterior(q, host, z));
    latents_scale(z, q->h * q->w * VAE_LATENT);
    latents_pack(z, q->h, q->w, packed, stride);
    return ERR_OK;
}

/* packed [N, 64] = the noise that was given, or noise that is drawn. */
static enum err_code make_noise(struct request *q, float *packed)
{
    ARENA_SCRATCH(q->a);
    int64_t n = q->h * q->w * VAE_LATENT;
    float *drawn, *z;

    TRY(floats(q, n, &drawn));
    TRY(floats(q, n, &z));
    if (!q->r->noise)
        torch_rng_normals(&q->rng, drawn, (size_t)n);
    latents_from_chw(q->r->noise ? q->r->noise : drawn, q->h, q->w, z);
    latents_pack(z, q->h, q->w, packed, LATENT_TOKEN);
    return check_finite(packed, n, "the noise", q->err);
}

/*
 * The order of the draws is diffusers': first the posterior of the whole picture, then the noise. The latents of the
 * whole picture matter only with strength < 1, but a sampled posterior draws for them in any case, unless the noise is
 * given.
 */
static enum err_code start_latents(struct request *q)
{
    int64_t n = q->n_img * LATENT_TOKEN;
    float sigma = q->sigmas[q->start], *picture_latents = NULL;

    TRY(floats(q, n, &q->latents));
    if (q->start > 0) {
        TRY(floats(q, n, &picture_latents));
        TRY(encode_picture(q, q->picture, picture_latents, LATENT_TOKEN));
    } else if (q->r->posterior == FILL_POSTERIOR_SAMPLE && !q->r->noise)
        torch_rng_discard_normals(&q->rng, (size_t)n);
    TRY(make_noise(q, q->latents));
    for (int64_t i = 0; i < n && picture_latents; i++)
        q->latents[i] = sigma * q->latents[i] + (1.0f - sigma) * picture_latents[i];
    return ERR_OK;
}

/* Makes the hole mid-grey, in place: the picture itself is not needed any more. */
static void cut_hole(struct request *q)
{
    for (int64_t i = 0; i < q->height * q->width; i++)
        for (int c = 0; c < 3 && q->mask[i]; c++)
            q->picture[3 * i + c] = 0;
}

/* Rows of the masked latents and the mask, side by side as the transformer takes them. */
static enum err_code make_cond(struct request *q)
{
    float *cond, *part;

    TRY(floats(q, q->n_img * COND_TOKEN, &cond));
    TRY(devarena_2d(&q->m->mem, DT_F32, q->n_img, COND_TOKEN, &q->cond, q->err));
    cut_hole(q);
    TRY(encode_picture(q, q->picture, cond, COND_TOKEN));
    latents_pack_mask(q->mask, q->h / 2, q->w / 2, cond + LATENT_TOKEN, COND_TOKEN);
    TRY(op_upload(q->m->be, &q->cond, cond, q->err));
    if (!q->r->dump)
        return ERR_OK;
    TRY(floats(q, q->n_img * MASK_TOKEN, &part));
    for (int64_t i = 0; i < q->n_img; i++)
        memcpy(part + i * LATENT_TOKEN, cond + i * COND_TOKEN, LATENT_TOKEN * sizeof *part);
    TRY(dump_rows(q, "masked_latents", q->n_img, LATENT_TOKEN, part));
    for (int64_t i = 0; i < q->n_img; i++)
        memcpy(part + i * MASK_TOKEN, cond + i * COND_TOKEN + LATENT_TOKEN, MASK_TOKEN * sizeof *part);
    return dump_rows(q, "mask", q->n_img, MASK_TOKEN, part);
}

/* --- 3. the loop --- */

static int step_mark(int i)
{
    return i < 0 ? MARK_PREPARED : MARK_STEP + i % N_STEP_MARKS;
}

/* Queues step `i`, counted from the first that is run: latents += (sigma_{i+1} - sigma_i) * velocity. */
static enum err_code start_step(struct request *q, const struct flux_prepared *prepared, int i, struct tensor *velocity,
                                struct devarena *step_mem)
{
    const float *sigma = &q->sigmas[q->start + i];

    TRY(check_going_on(q));
    TRY(flux_step(prepared, i, &q->latents_on_backend, velocity, NULL, step_mem, q->err));
    TRY(op_axpy(q->m->be, &q->latents_on_backend, sigma[1] - sigma[0], velocity, q->err));
    return set_mark(q, step_mark(i));
}

/* Downloads the latents after `step`. */
static enum err_code take_latents(struct request *q, int step)
{
    char name[32];

    TRY(op_download(q->m->be, q->latents, &q->latents_on_backend, q->err));
    (void)snprintf(name, sizeof name, "latents_%d", step);
    TRY(check_finite(q->latents, q->n_img * LATENT_TOKEN, name, q->err));
    return dump_rows(q, name, q->n_img, LATENT_TOKEN, q->latents);
}

/* Waits for the end of step `i` and times it; work queued after the step goes on. */
static enum err_code end_step(struct request *q, int i)
{
    struct fill_timings *t = &q->timings;
    double ms = 0;

    TRY(elapsed(q, step_mark(i - 1), step_mark(i), &ms));
    t->steps += ms;
    t->slowest_step = fmax(t->slowest_step, ms);
    t->n_steps++;
    return ERR_OK;
}

/*
 * On a device that runs behind, one step is queued ahead of the step whose end is reported: the device never waits for
 * the host, and a cancelled request computes one step too many at most. NaN stays NaN, so there the latents are checked
 * once, at the end.
 */
static enum err_code run_steps(struct request *q, const struct flux_prepared *prepared, struct tensor *velocity,
                               struct devarena *step_mem)
{
    int n = prepared->n_steps, ahead = q->m->be->runs_behind && !q->r->dump ? 1 : 0;

    progress(q, FILL_PHASE_DENOISE, 0, n);
    for (int i = 0; i < n + ahead; i++) {
        int ended = i - ahead;

        if (i < n)
            TRY(start_step(q, prepared, i, velocity, step_mem));
        if (ended < 0)
            continue;
        TRY(end_step(q, ended));
        if (!ahead || ended == n - 1)
            TRY(take_latents(q, ended));
        progress(q, FILL_PHASE_DENOISE, ended + 1, n);
    }
    return elapsed(q, MARK_ENCODED, MARK_PREPARED, &q->timings.prepare);
}

/* If the pack has a modulation table for this request, `in` takes it, and flux_prepare computes none. */
static enum err_code take_known_table(struct request *q, struct flux_inputs *in, struct tensor *table,
                                      struct devarena *mem)
{
    const void *known =
        q->known ? prompt_pack_modulation(&q->m->pack, q->known, in->sigmas, in->n_steps, in->guidance) : NULL;

    if (!known)
        return ERR_OK;
    TRY(devarena_2d(mem, DT_F32, in->n_steps, q->m->pack.modulation_columns, table, q->err));
    TRY(op_upload(q->m->be, table, known, q->err));
    in->modulation = table;
    return ERR_OK;
}

static enum err_code denoise(struct request *q)
{
    struct devarena *mem = &q->m->mem, request_mem, step_mem;
    DEVARENA_SCRATCH(mem);
    int n_steps = q->r->steps - q->start;
    struct flux_inputs in = {
        .grid_rows = (int)(q->h / 2),
        .grid_cols = (int)(q->w / 2),
        .cond = &q->cond,
        .prompt_embeds = &q->prompt_embeds,
        .pooled = &q->pooled,
        .n_steps = n_steps,
        .sigmas = q->sigmas + q->start,
        .guidance = (float)q->r->guidance,
    };
    struct flux_prepared prepared;
    struct tensor velocity, table;

    TRY(check_going_on(q));
    TRY(devarena_2d(mem, DT_F32, q->n_img, LATENT_TOKEN, &q->latents_on_backend, q->err));
    TRY(devarena_2d(mem, DT_F32, q->n_img, LATENT_TOKEN, &velocity, q->err));
    TRY(devarena_carve(mem, q->m->flux_memory.request_bytes, &request_mem, q->err));
    TRY(devarena_carve(mem, q->m->flux_memory.step_bytes, &step_mem, q->err));
    TRY(op_upload(q->m->be, &q->latents_on_backend, q->latents, q->err));
    TRY(take_known_table(q, &in, &table, &request_mem));
    q->timings.rereads_modulation = q->m->flux.modulation_in_file && !in.modulation;
    TRY(flux_prepare(&q->m->flux, &in, &request_mem, &step_mem, q->a, &prepared, q->err));
    TRY(set_mark(q, MARK_PREPARED));
    return run_steps(q, &prepared, &velocity, &step_mem);
}

/* --- 4. pixels --- */

static enum err_code decode_latents(struct request *q, float *rgb)
{
    struct devarena *mem = &q->m->mem;
    struct tensor latents, pixels;
    float *z;

    TRY(floats(q, q->h * q->w * VAE_LATENT, &z));
    latents_unpack(q->latents, LATENT_TOKEN, q->h, q->w, z);
    latents_unscale(z, q->h * q->w * VAE_LATENT);
    TRY(devarena_3d(mem, DT_F32, q->h, q->w, VAE_LATENT, &latents, q->err));
    TRY(devarena_3d(mem, DT_F32, q->height, q->width, 3, &pixels, q->err));
    TRY(op_upload(q->m->be, &latents, z, q->err));
    TRY(vae_decode(&q->m->vae, &latents, &pixels, mem, q->err));
    TRY(op_download(q->m->be, rgb, &pixels, q->err));
    return check_finite(rgb, q->height * q->width * 3, "the decoded pixels", q->err);
}

static enum err_code make_pixels(struct request *q, struct image *ret)
{
    int64_t n = q->height * q->width * 3;
    float *rgb;

    TRY(floats(q, n, &rgb));
    TRY(decode_latents(q, rgb));
    pixels_from_vae(rgb, n);
    pixels_to_bytes(rgb, n, ret->pixels);
    return dump(q, "image_f32", 3, (int64_t[]){ q->height, q->width, 3 }, rgb);
}

/* --- the whole --- */

/* The prompt comes first: a device may encode it while the host resizes the picture. */
static enum err_code encode(struct request *q)
{
    progress(q, FILL_PHASE_ENCODE, 0, 1);
    TRY(check_going_on(q));
    TRY(set_mark(q, MARK_START));
    TRY(read_prompt(q));
    TRY(set_mark(q, MARK_TEXT));
    TRY(dump_embeds(q));
    TRY(check_going_on(q));
    TRY(load_picture(q));
    TRY(load_mask(q));
    TRY(start_latents(q));
    TRY(make_cond(q));
    TRY(set_mark(q, MARK_ENCODED));
    TRY(elapsed(q, MARK_START, MARK_TEXT, &q->timings.text));
    TRY(elapsed(q, MARK_TEXT, MARK_ENCODED, &q->timings.encode));
    progress(q, FILL_PHASE_ENCODE, 1, 1);
    return ERR_OK;
}

static enum err_code decode(struct request *q, struct image *ret)
{
    progress(q, FILL_PHASE_DECODE, 0, 1);
    TRY(check_going_on(q));
    TRY(make_pixels(q, ret));
    TRY(set_mark(q, MARK_END));
    TRY(elapsed(q, step_mark(q->timings.n_steps - 1), MARK_END, &q->timings.decode));
    progress(q, FILL_PHASE_DECODE, 1, 1);
    return ERR_OK;
}

static enum err_code run(struct request *q, struct image *ret)
{
    ARENA_SCRATCH(q->a);
    DEVARENA_SCRATCH(&q->m->mem);

    TRY(encode(q));
    TRY(denoise(q));
    return decode(q, ret);
}

enum err_code fill_run(struct fill_model *m, const struct fill_request *r, struct arena *a, struct image *ret,
                       struct err *err)
{
    struct request q = { .m = m, .r = r, .a = a, .err = err };
    struct image painted;
    enum err_code rc;

    TRY(check_request(m, r, err));
    q.height = r->height - r->height % TOKEN_SIDE;
    q.width = r->width - r->width % TOKEN_SIDE;
    q.h = q.height / VAE_SCALE;
    q.w = q.width / VAE_SCALE;
    q.n_img = q.h * q.w / 4;
    torch_rng_seed(&q.rng, r->seed);
    TRY(flow_match_sigmas(r->steps, q.n_img, q.sigmas, err));
    TRY(flow_match_start(r->steps, r->strength, &q.start, err));
    TRY(image_new(a, (int)q.width, (int)q.height, 3, &painted, err));
    rc = file_map_verdict(run(&q, &painted), err); /* zeros in the place of lost weights give a picture, too */
    if (r->timings)
        *r->timings = q.timings;
    if (rc == ERR_OK)
        *ret = painted;
    return rc;
}
