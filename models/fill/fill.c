#include "models/fill/fill.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/fill/fill_model.h"
#include "models/flux/flow_match.h"
#include "models/image/resize.h"
#include "models/flux/latents.h"
#include "models/vae/pixels.h"
#include "models/fill/torch_rng.h"

enum { COND_TOKEN = LATENT_TOKEN + MASK_TOKEN };

/* Marks of the backend. The end of a step is looked at while the next one runs, beside the end before it. */
enum { N_STEP_MARKS = 3 };
enum { MARK_START, MARK_TEXT, MARK_ENCODED, MARK_PREPARED, MARK_END, MARK_STEP };
_Static_assert(MARK_STEP + N_STEP_MARKS <= BACKEND_MARKS, "the backend has as many");

static const double guidance_max = 1000;

/* One request on its way. Host memory is from the request's arena, backend memory from the model's. */
struct job {
    struct fill_model *m;
    const struct fill_request *r;
    struct arena *a;
    struct err *err;
    int64_t width, height; /* pixels, floored */
    int64_t h, w, n_img;   /* latents, tokens */
    float sigmas[FILL_MAX_STEPS + 1];
    int start; /* first step that is run */
    struct torch_rng rng;
    float *picture;                   /* [H, W, 3], -1 .. 1 */
    uint8_t *mask;                    /* [H, W], 1 = repaint */
    float *latents;                   /* [N, 64], packed; after each step what the backend has */
    const struct prompt_entry *known; /* the pack's, or NULL */
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
        return err_set(err, ERR_INVALID, "fill: %d x %d pixels, a side has %d to %d", r->width, r->height,
                       FILL_MIN_SIDE, FILL_MAX_SIDE);
    if (r->steps < 1 || r->steps > FILL_MAX_STEPS || r->t5_len < 1 || r->t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "fill: %d steps, %d text tokens", r->steps, r->t5_len);
    if (!(r->guidance >= 0 && r->guidance <= guidance_max))
        return err_set(err, ERR_INVALID, "fill: guidance %g is not within 0 .. %g", r->guidance, guidance_max);
    if ((int64_t)r->width * r->height > (int64_t)max->max_width * max->max_height || r->steps > max->max_steps ||
        r->t5_len > max->max_t5_len)
        return err_set(
            err, ERR_TOO_LARGE, "fill: %d x %d pixels, %d steps, %d text tokens; the model is open for %d x %d, %d, %d",
            r->width, r->height, r->steps, r->t5_len, max->max_width, max->max_height, max->max_steps, max->max_t5_len);
    return ERR_OK;
}

static enum err_code check_finite(const float *v, int64_t n, const char *what, struct err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return err_set(err, ERR_NUMERIC, "fill: %s hold NaN or infinity", what);
    return ERR_OK;
}

static enum err_code check_cancelled(const struct job *j)
{
    if (j->r->cancelled && j->r->cancelled(j->r->ctx))
        return err_set(j->err, ERR_CANCELLED, "fill: cancelled");
    return ERR_OK;
}

static void progress(const struct job *j, enum fill_phase phase, int done, int total)
{
    if (j->r->progress)
        j->r->progress(j->r->ctx, phase, done, total);
}

static enum err_code set_mark(const struct job *j, int slot)
{
    return j->m->be->ops->mark(j->m->be, slot, j->err);
}

/* Waits for `to`. */
static enum err_code elapsed(const struct job *j, int from, int to, double *ret_ms)
{
    return j->m->be->ops->elapsed(j->m->be, from, to, ret_ms, j->err);
}

static enum err_code dump(const struct job *j, const char *name, int n_dims, const int64_t *dims, const float *data)
{
    const struct fill_dump *d = j->r->dump;

    return d ? d->fn(d->ctx, name, n_dims, dims, data, j->err) : ERR_OK;
}

static enum err_code dump_rows(const struct job *j, const char *name, int64_t rows, int64_t cols, const float *data)
{
    return dump(j, name, 2, (int64_t[]){ rows, cols }, data);
}

static enum err_code floats(const struct job *j, int64_t n, float **ret)
{
    return arena_alloc(j->a, (size_t)n, sizeof **ret, ret, j->err);
}

/* --- 1. picture and mask --- */

static enum err_code load_picture(struct job *j)
{
    struct image rgb, resized;

    TRY(floats(j, j->height * j->width * 3, &j->picture));
    TRY(image_to_rgb(j->a, j->r->picture, &rgb, j->err));
    TRY(image_resize(j->a, &rgb, (int)j->width, (int)j->height, &resized, j->err));
    pixels_to_vae(&resized, j->picture);
    return ERR_OK;
}

/* Resized in the mask's own mode, then made grey: of three channels each is resampled by itself. */
static enum err_code load_mask(struct job *j)
{
    struct image resized;

    TRY(arena_alloc(j->a, (size_t)(j->height * j->width), 1, &j->mask, j->err));
    TRY(image_resize(j->a, j->r->mask, (int)j->width, (int)j->height, &resized, j->err));
    latents_binarise_mask(&resized, j->mask);
    return ERR_OK;
}

/* --- 2. what is constant over the steps --- */

/* Room for the embeddings of a prompt of n tokens. */
static enum err_code take_embeds(struct job *j, int64_t n)
{
    const struct flux_config *c = &j->m->flux.config;

    TRY(devarena_2d(&j->m->mem, DT_F32, n, c->context, &j->prompt_embeds, j->err));
    return devarena_1d(&j->m->mem, DT_F32, c->pooled, &j->pooled, j->err);
}

static enum err_code take_known_prompt(struct job *j)
{
    const struct prompt_entry *e = j->known;

    TRY(take_embeds(j, e->t5_len));
    TRY(op_upload(j->m->be, &j->prompt_embeds, e->prompt_embeds, j->err));
    return op_upload(j->m->be, &j->pooled, e->pooled_embeds, j->err);
}

static enum err_code encode_prompt(struct job *j)
{
    struct devarena *mem = &j->m->mem;
    struct err text_err = { 0 };
    struct text_ids ids;
    size_t mark;

    if (text_tokenize(&j->m->text, span_of(j->r->prompt), j->r->t5_len, &ids, j->a, &text_err))
        return err_set(j->err, text_err.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROMPT, "%s", text_err.msg);
    TRY(take_embeds(j, j->r->t5_len));
    mark = devarena_mark(mem);
    TRY(text_encode(&j->m->text, &ids, &j->prompt_embeds, &j->pooled, mem, j->err));
    devarena_rewind(mem, mark);
    return ERR_OK;
}

/* From the pack where it has the prompt at the length wanted; without encoders its length is what counts. */
static enum err_code read_prompt(struct job *j)
{
    const struct fill_model *m = j->m;

    j->known = prompt_pack_find(&m->pack, j->r->prompt);
    if (!m->has_encoders && !j->known)
        return err_set(j->err, ERR_PROMPT, "fill: the prompt is none of the %d in the pack", m->pack.n_entries);
    if (m->has_encoders && j->known && j->known->t5_len != j->r->t5_len)
        j->known = NULL;
    return j->known ? take_known_prompt(j) : encode_prompt(j);
}

static enum err_code dump_embeds(struct job *j)
{
    int64_t rows = tensor_rows(&j->prompt_embeds), cols = tensor_cols(&j->prompt_embeds);
    float *host;

    if (!j->r->dump)
        return ERR_OK;
    TRY(floats(j, rows * cols, &host));
    TRY(op_download(j->m->be, host, &j->prompt_embeds, j->err));
    TRY(dump_rows(j, "prompt_embeds", rows, cols, host));
    cols = tensor_cols(&j->pooled);
    TRY(floats(j, cols, &host));
    TRY(op_download(j->m->be, host, &j->pooled, j->err));
    return dump(j, "pooled_prompt_embeds", 1, &cols, host);
}

/* z [h, w, 16] = mean, or mean + std * normals, of moments [h, w, 32]; the normals are drawn as [16, h, w]. */
static enum err_code take_posterior(struct job *j, const float *moments, float *z)
{
    int64_t n = j->h * j->w;
    float *normals;

    for (int64_t i = 0; i < n; i++)
        memcpy(z + i * VAE_LATENT, moments + i * VAE_MOMENTS, VAE_LATENT * sizeof *z);
    if (j->r->posterior == FILL_POSTERIOR_MEAN)
        return ERR_OK;
    TRY(floats(j, n * VAE_LATENT, &normals));
    torch_rng_normals(&j->rng, normals, (size_t)(n * VAE_LATENT));
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < VAE_LATENT; c++) {
            float logvar = fminf(fmaxf(moments[i * VAE_MOMENTS + VAE_LATENT + c], -30), 20);

            z[i * VAE_LATENT + c] += expf(0.5f * logvar) * normals[c * n + i];
        }
    return ERR_OK;
}

/* Scaled latents of rgb [H, W, 3], packed into rows `stride` apart. */
static enum err_code encode_picture(struct job *j, const float *rgb, float *packed, int64_t stride)
{
    struct arena_mark host_mark = arena_mark(j->a);
    struct devarena *mem = &j->m->mem;
    size_t mark = devarena_mark(mem);
    struct tensor pixels, moments;
    float *host, *z;

    TRY(floats(j, j->h * j->w * VAE_MOMENTS, &host));
    TRY(floats(j, j->h * j->w * VAE_LATENT, &z));
    TRY(devarena_3d(mem, DT_F32, j->height, j->width, 3, &pixels, j->err));
    TRY(devarena_3d(mem, DT_F32, j->h, j->w, VAE_MOMENTS, &moments, j->err));
    TRY(op_upload(j->m->be, &pixels, rgb, j->err));
    TRY(vae_encode(&j->m->vae, &pixels, &moments, mem, j->err));
    TRY(op_download(j->m->be, host, &moments, j->err));
    TRY(check_finite(host, j->h * j->w * VAE_MOMENTS, "the encoded picture's moments", j->err));
    TRY(take_posterior(j, host, z));
    latents_scale(z, j->h * j->w * VAE_LATENT);
    latents_pack(z, j->h, j->w, packed, stride);
    devarena_rewind(mem, mark);
    arena_rewind(j->a, host_mark);
    return ERR_OK;
}

/* noise [N, 64], packed */
static enum err_code make_noise(struct job *j, float *packed)
{
    int64_t n = j->h * j->w * VAE_LATENT;
    struct arena_mark mark = arena_mark(j->a);
    float *drawn, *z;

    TRY(floats(j, n, &drawn));
    TRY(floats(j, n, &z));
    if (!j->r->noise)
        torch_rng_normals(&j->rng, drawn, (size_t)n);
    latents_from_chw(j->r->noise ? j->r->noise : drawn, j->h, j->w, z);
    latents_pack(z, j->h, j->w, packed, LATENT_TOKEN);
    arena_rewind(j->a, mark);
    return check_finite(packed, n, "the noise", j->err);
}

/*
 * Draws A, noise (B). The latents of the whole picture matter only with strength < 1; a sampled posterior draws for
 * them all the same, unless the noise is given.
 */
static enum err_code start_latents(struct job *j)
{
    int64_t n = j->n_img * LATENT_TOKEN;
    float sigma = j->sigmas[j->start], *picture_latents = NULL;

    TRY(floats(j, n, &j->latents));
    if (j->start > 0) {
        TRY(floats(j, n, &picture_latents));
        TRY(encode_picture(j, j->picture, picture_latents, LATENT_TOKEN));
    } else if (j->r->posterior == FILL_POSTERIOR_SAMPLE && !j->r->noise)
        torch_rng_discard_normals(&j->rng, (size_t)n);
    TRY(make_noise(j, j->latents));
    for (int64_t i = 0; i < n && picture_latents; i++)
        j->latents[i] = sigma * j->latents[i] + (1.0f - sigma) * picture_latents[i];
    return ERR_OK;
}

/* Makes the hole mid-grey; the picture itself is not needed any more. */
static void cut_hole(struct job *j)
{
    for (int64_t i = 0; i < j->height * j->width; i++)
        for (int c = 0; c < 3 && j->mask[i]; c++)
            j->picture[3 * i + c] = 0;
}

/* Rows of the masked latents and the mask, side by side as the transformer takes them. */
static enum err_code make_cond(struct job *j)
{
    float *cond, *part;

    TRY(floats(j, j->n_img * COND_TOKEN, &cond));
    TRY(devarena_2d(&j->m->mem, DT_F32, j->n_img, COND_TOKEN, &j->cond, j->err));
    cut_hole(j);
    TRY(encode_picture(j, j->picture, cond, COND_TOKEN));
    latents_pack_mask(j->mask, j->h / 2, j->w / 2, cond + LATENT_TOKEN, COND_TOKEN);
    TRY(op_upload(j->m->be, &j->cond, cond, j->err));
    if (!j->r->dump)
        return ERR_OK;
    TRY(floats(j, j->n_img * MASK_TOKEN, &part));
    for (int64_t i = 0; i < j->n_img; i++)
        memcpy(part + i * LATENT_TOKEN, cond + i * COND_TOKEN, LATENT_TOKEN * sizeof *part);
    TRY(dump_rows(j, "masked_latents", j->n_img, LATENT_TOKEN, part));
    for (int64_t i = 0; i < j->n_img; i++)
        memcpy(part + i * MASK_TOKEN, cond + i * COND_TOKEN + LATENT_TOKEN, MASK_TOKEN * sizeof *part);
    return dump_rows(j, "mask", j->n_img, MASK_TOKEN, part);
}

/* --- 3. the loop --- */

static int step_mark(int i)
{
    return i < 0 ? MARK_PREPARED : MARK_STEP + i % N_STEP_MARKS;
}

/* Step `i` of those that are run: latents += (sigma_{i+1} - sigma_i) * velocity. */
static enum err_code start_step(struct job *j, const struct flux_prepared *flux_prepared, int i,
                                struct tensor *velocity, struct devarena *step_mem)
{
    const float *sigma = &j->sigmas[j->start + i];

    TRY(check_cancelled(j));
    TRY(flux_step(&j->m->flux, flux_prepared, i, &j->latents_on_backend, velocity, NULL, step_mem, j->err));
    TRY(op_axpy(j->m->be, &j->latents_on_backend, sigma[1] - sigma[0], velocity, j->err));
    return set_mark(j, step_mark(i));
}

/* What the steps so far have made. */
static enum err_code take_latents(struct job *j, int step)
{
    char name[32];

    TRY(op_download(j->m->be, j->latents, &j->latents_on_backend, j->err));
    (void)snprintf(name, sizeof name, "latents_%d", step);
    TRY(check_finite(j->latents, j->n_img * LATENT_TOKEN, name, j->err));
    return dump_rows(j, name, j->n_img, LATENT_TOKEN, j->latents);
}

/* Waits for the end of step `i`; what is behind it goes on. */
static enum err_code end_step(struct job *j, int i)
{
    struct fill_timings *t = &j->timings;
    double ms = 0;

    TRY(elapsed(j, step_mark(i - 1), step_mark(i), &ms));
    t->steps += ms;
    t->slowest_step = fmax(t->slowest_step, ms);
    t->n_steps++;
    return ERR_OK;
}

/*
 * A device that runs behind is one step ahead of what is told: it never waits for the host, and a step that is one too
 * many when the job is cancelled is all that is lost. NaN stays NaN, so its latents are looked at once, at the end.
 */
static enum err_code run_steps(struct job *j, const struct flux_prepared *flux_prepared, struct tensor *velocity,
                               struct devarena *step_mem)
{
    int n = flux_prepared->n_steps, ahead = j->m->be->runs_behind && !j->r->dump ? 1 : 0;

    progress(j, FILL_PHASE_DENOISE, 0, n);
    for (int i = 0; i < n + ahead; i++) {
        int ended = i - ahead;

        if (i < n)
            TRY(start_step(j, flux_prepared, i, velocity, step_mem));
        if (ended < 0)
            continue;
        TRY(end_step(j, ended));
        if (!ahead || ended == n - 1)
            TRY(take_latents(j, ended));
        progress(j, FILL_PHASE_DENOISE, ended + 1, n);
    }
    return elapsed(j, MARK_ENCODED, MARK_PREPARED, &j->timings.prepare);
}

/* The modulation table of the pack, if it has one for this job; it takes the place of the one that would be made. */
static enum err_code take_known_table(struct job *j, struct flux_inputs *in, struct tensor *table, struct devarena *mem)
{
    const void *known =
        j->known ? prompt_pack_modulation(&j->m->pack, j->known, in->sigmas, in->n_steps, in->guidance) : NULL;

    if (!known)
        return ERR_OK;
    TRY(devarena_2d(mem, DT_F32, in->n_steps, j->m->pack.modulation_columns, table, j->err));
    TRY(op_upload(j->m->be, table, known, j->err));
    in->modulation = table;
    return ERR_OK;
}

static enum err_code denoise(struct job *j)
{
    struct devarena *mem = &j->m->mem, request_mem, step_mem;
    int n_steps = j->r->steps - j->start;
    struct flux_inputs in = {
        .grid_rows = (int)(j->h / 2),
        .grid_cols = (int)(j->w / 2),
        .cond = &j->cond,
        .prompt_embeds = &j->prompt_embeds,
        .pooled = &j->pooled,
        .n_steps = n_steps,
        .sigmas = j->sigmas + j->start,
        .guidance = (float)j->r->guidance,
    };
    struct flux_prepared flux_prepared;
    struct tensor velocity, table;

    TRY(check_cancelled(j));
    TRY(devarena_2d(mem, DT_F32, j->n_img, LATENT_TOKEN, &j->latents_on_backend, j->err));
    TRY(devarena_2d(mem, DT_F32, j->n_img, LATENT_TOKEN, &velocity, j->err));
    TRY(devarena_carve(mem, j->m->flux_job_bytes, &request_mem, j->err));
    TRY(devarena_carve(mem, j->m->flux_step_bytes, &step_mem, j->err));
    TRY(op_upload(j->m->be, &j->latents_on_backend, j->latents, j->err));
    TRY(take_known_table(j, &in, &table, &request_mem));
    j->timings.rereads_modulation = j->m->flux.modulation_in_file && !in.modulation;
    TRY(flux_prepare(&j->m->flux, &in, &request_mem, &step_mem, j->a, &flux_prepared, j->err));
    TRY(set_mark(j, MARK_PREPARED));
    return run_steps(j, &flux_prepared, &velocity, &step_mem);
}

/* --- 4. pixels --- */

static enum err_code decode_latents(struct job *j, float *rgb)
{
    struct devarena *mem = &j->m->mem;
    struct tensor latents, pixels;
    float *z;

    TRY(floats(j, j->h * j->w * VAE_LATENT, &z));
    latents_unpack(j->latents, LATENT_TOKEN, j->h, j->w, z);
    latents_unscale(z, j->h * j->w * VAE_LATENT);
    TRY(devarena_3d(mem, DT_F32, j->h, j->w, VAE_LATENT, &latents, j->err));
    TRY(devarena_3d(mem, DT_F32, j->height, j->width, 3, &pixels, j->err));
    TRY(op_upload(j->m->be, &latents, z, j->err));
    TRY(vae_decode(&j->m->vae, &latents, &pixels, mem, j->err));
    TRY(op_download(j->m->be, rgb, &pixels, j->err));
    return check_finite(rgb, j->height * j->width * 3, "the decoded pixels", j->err);
}

static enum err_code paint(struct job *j, struct image *ret)
{
    int64_t n = j->height * j->width * 3;
    float *rgb;

    TRY(floats(j, n, &rgb));
    TRY(decode_latents(j, rgb));
    pixels_from_vae(rgb, n);
    pixels_to_bytes(rgb, n, ret->pixels);
    return dump(j, "image_f32", 3, (int64_t[]){ j->height, j->width, 3 }, rgb);
}

/* --- the whole --- */

/* The prompt comes first: a device may be at it while the host resizes the picture. */
static enum err_code encode(struct job *j)
{
    progress(j, FILL_PHASE_ENCODE, 0, 1);
    TRY(check_cancelled(j));
    TRY(set_mark(j, MARK_START));
    TRY(read_prompt(j));
    TRY(set_mark(j, MARK_TEXT));
    TRY(dump_embeds(j));
    TRY(check_cancelled(j));
    TRY(load_picture(j));
    TRY(load_mask(j));
    TRY(start_latents(j));
    TRY(make_cond(j));
    TRY(set_mark(j, MARK_ENCODED));
    TRY(elapsed(j, MARK_START, MARK_TEXT, &j->timings.text));
    TRY(elapsed(j, MARK_TEXT, MARK_ENCODED, &j->timings.encode));
    progress(j, FILL_PHASE_ENCODE, 1, 1);
    return ERR_OK;
}

static enum err_code decode(struct job *j, struct image *ret)
{
    progress(j, FILL_PHASE_DECODE, 0, 1);
    TRY(check_cancelled(j));
    TRY(paint(j, ret));
    TRY(set_mark(j, MARK_END));
    TRY(elapsed(j, step_mark(j->timings.n_steps - 1), MARK_END, &j->timings.decode));
    progress(j, FILL_PHASE_DECODE, 1, 1);
    return ERR_OK;
}

static enum err_code run(struct job *j, struct image *ret)
{
    size_t mem_mark;

    TRY(encode(j));
    mem_mark = devarena_mark(&j->m->mem);
    TRY(denoise(j));
    devarena_rewind(&j->m->mem, mem_mark);
    return decode(j, ret);
}

enum err_code fill_run(struct fill_model *m, const struct fill_request *r, struct arena *a, struct image *ret,
                       struct err *err)
{
    struct job j = { .m = m, .r = r, .a = a, .err = err };
    size_t mem_mark = devarena_mark(&m->mem);
    struct arena_mark mark;
    struct image painted;
    enum err_code rc = check_request(m, r, err);

    if (rc)
        return rc;
    j.height = r->height - r->height % TOKEN_SIDE;
    j.width = r->width - r->width % TOKEN_SIDE;
    j.h = j.height / LATENT_SCALE;
    j.w = j.width / LATENT_SCALE;
    j.n_img = j.h * j.w / 4;
    torch_rng_seed(&j.rng, r->seed);
    rc = flow_match_sigmas(r->steps, j.n_img, j.sigmas, err);
    if (!rc)
        rc = flow_match_start(r->steps, r->strength, &j.start, err);
    if (!rc)
        rc = image_new(a, (int)j.width, (int)j.height, 3, &painted, err);
    if (rc)
        return rc;
    mark = arena_mark(a);
    rc = run(&j, &painted);
    devarena_rewind(&m->mem, mem_mark);
    arena_rewind(a, mark);
    if (r->timings)
        *r->timings = j.timings;
    if (!rc)
        *ret = painted;
    return rc;
}
