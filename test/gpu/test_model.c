/*
 * The networks on a CUDA device, compared with the results of the official implementations in f32: every golden set
 * that is present, in both weight modes. The limit is that of bf16 inputs of matrix products: MODEL.md 11.2,
 * rows 14, 15, 20, 22, 23 (official models in bf16 differ by 0.7 to 0.9 % from the same models in f32).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/text/clip_text.h"
#include "models/flux/flux.h"
#include "models/file/shards.h"
#include "models/text/t5_encoder.h"
#include "models/vae/vae.h"
#include "test/gpu/device.h"
#include "test/support/golden.h"
#include "test/support/model.h"

static const double limit = 2e-2;
static const struct rig_kind cuda_kind = { BACKEND_CUDA, PRECISION_DEFAULT, 2e-2 };
static const enum weight_mode modes[] = { WEIGHTS_DEQUANT, WEIGHTS_STREAM };
enum { N_MODES = 2, N_REPEATS = 50 /* or GPU_TEST_REPEATS of the environment */, DRY_TOKENS = 128 };

/* A rig on the device. */
static void open_rig(struct rig *r, enum weight_mode mode)
{
    rig_open(r, &cuda_kind);
    backend_expect_weights(r->be, mode, 0);
}

/* The result of a run of any network, on the host. */
static float *keep(const float *values, size_t n)
{
    float *copy = malloc(n * sizeof *copy);

    CHECK(copy != NULL);
    memcpy(copy, values, n * sizeof *copy);
    return copy;
}

/* --- transformer --- */

struct call {
    struct rig rig;
    struct flux flux;
    const struct tensor_file *file;
    struct flux_inputs in;
    struct tensor cond, prompt, pooled, latents, velocity;
    float sigma;
    struct flux_prepared prepared;
};

static float setting(struct call *c, const char *key)
{
    struct err err = { 0 };
    const char *text = NULL;

    CHECK_OK(tensor_file_metadata(c->file, key, &c->rig.arena, &text, &err), err);
    return strtof(text, NULL);
}

/* Columns [from, from + n) of values [rows, cols]. */
static struct tensor columns(struct call *c, const float *values, int64_t rows, int64_t cols, int64_t from, int64_t n)
{
    float *part = malloc((size_t)(rows * n) * sizeof *part);
    struct tensor t;

    CHECK(part != NULL);
    for (int64_t r = 0; r < rows; r++)
        memcpy(part + r * n, values + r * cols + from, (size_t)n * sizeof *part);
    t = rig_upload(&c->rig, part, rows, n);
    free(part);
    return t;
}

static void read_inputs(struct call *c)
{
    int64_t rows = -1, txt = -1, one = 1, cols = 384, context = c->flux.config.context, width = c->flux.config.pooled;
    const float *tokens = rig_golden(&c->rig, c->file, &rows, &cols, "hidden_states");
    const float *prompt = rig_golden(&c->rig, c->file, &txt, &context, "encoder_hidden_states");
    const float *pooled = rig_golden(&c->rig, c->file, &one, &width, "pooled");
    struct err err = { 0 };
    const char *grid = NULL;

    CHECK_OK(tensor_file_metadata(c->file, "grid", &c->rig.arena, &grid, &err), err);
    CHECK(sscanf(grid, "%dx%d", &c->in.grid_rows, &c->in.grid_cols) == 2);
    c->latents = columns(c, tokens, rows, cols, 0, 64);
    c->cond = columns(c, tokens, rows, cols, 64, 320);
    c->prompt = rig_upload(&c->rig, prompt, txt, context);
    c->pooled = rig_upload(&c->rig, pooled, 1, width);
    c->velocity = rig_upload(&c->rig, tokens, rows, 64);
    c->sigma = setting(c, "sigma");
    c->in.guidance = setting(c, "guidance");
    c->in.cond = &c->cond;
    c->in.prompt_embeds = &c->prompt;
    c->in.pooled = &c->pooled;
    c->in.n_steps = 1;
    c->in.sigmas = &c->sigma;
}

static void open_call_with(struct call *c, const char *set, const char *type, enum weight_mode mode,
                           enum flux_in_file in_file)
{
    const char *model = golden("%s/models/flux1-fill-%s.gguf", set, type);
    struct err err = { 0 };

    *c = (struct call){ 0 };
    open_rig(&c->rig, mode);
    rig_file(&c->rig, 0, model);
    rig_file(&c->rig, 1, golden("%s/cases/transformer.safetensors", set));
    c->file = &c->rig.files[1];
    CHECK_OK(flux_weight_set(&c->rig.set, c->rig.files, 1, &err), err);
    CHECK_OK(flux_load_some(&c->flux, &c->rig.loader, in_file, &c->rig.arena, &err), err);
    read_inputs(c);
    CHECK_OK(flux_prepare(&c->flux, &c->in, &c->rig.request_mem, &c->rig.step_mem, &c->rig.scratch, &c->prepared, &err),
             err);
}

static void open_call(struct call *c, const char *set, const char *type, enum weight_mode mode)
{
    open_call_with(c, set, type, mode, FLUX_IN_FILE_NONE);
}

static void step(struct call *c)
{
    struct err err = { 0 };

    CHECK_OK(flux_step(&c->prepared, 0, &c->latents, &c->velocity, NULL, &c->rig.step_mem, &err), err);
}

/* The velocity of the golden case, checked against it; the caller frees it. */
static float *velocity(const char *set, const char *type, enum weight_mode mode, size_t *ret_n)
{
    struct call c;
    int64_t rows, cols = 64;
    const float *got, *want;
    float *kept;

    open_call(&c, set, type, mode);
    step(&c);
    rows = tensor_rows(&c.velocity);
    got = rig_download(&c.rig, &c.velocity);
    want = rig_golden(&c.rig, c.file, &rows, &cols, "velocity.%s", type);
    (void)printf("  %s %s, %s: %.2e\n", set, type, mode == WEIGHTS_STREAM ? "stream" : "dequant",
                 check_rel(got, want, (size_t)(rows * cols)));
    device_check_values("velocity", got, want, (size_t)(rows * cols), limit);
    *ret_n = (size_t)(rows * cols);
    kept = keep(got, *ret_n);
    rig_close(&c.rig);
    return kept;
}

static void check_set(const char *set, const char *const *types)
{
    for (int i = 0; types[i]; i++) {
        float *results[N_MODES];
        size_t n = 0;

        for (int m = 0; m < N_MODES; m++)
            results[m] = velocity(set, types[i], modes[m], &n);
        CHECK(memcmp(results[0], results[1], n * sizeof **results) == 0);
        free(results[0]);
        free(results[1]);
    }
}

TEST(gpu_model__transformer_gives_the_velocities_of_the_small_set_however_weights_are_kept)
{
    check_set("small", (const char *const[]){ "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", NULL });
}

TEST(gpu_model__transformer_gives_the_velocities_of_the_gguf_set_however_weights_are_kept)
{
    check_set("gguf", (const char *const[]){ "Q8_0", NULL });
}

TEST(gpu_model__transformer_gives_the_velocities_of_the_wide_set_however_weights_are_kept)
{
    check_set("wide", (const char *const[]){ "Q4_K", "Q6_K", "MIX", NULL });
}

TEST(gpu_model__transformer_gives_the_velocities_of_the_comfy_set_however_weights_are_kept)
{
    check_set("comfy", (const char *const[]){ "Q8_0", NULL });
}

static void check_repeats(enum weight_mode mode)
{
    const char *wanted = getenv("GPU_TEST_REPEATS");
    int repeats = wanted ? atoi(wanted) : N_REPEATS;
    struct call c;
    size_t n, before = 0;
    float *first;

    open_call(&c, "small", "Q8_0", mode);
    step(&c);
    n = (size_t)tensor_count(&c.velocity);
    first = keep(rig_download(&c.rig, &c.velocity), n);
    before = device_free_bytes();
    for (int i = 0; i < repeats; i++) {
        struct arena_mark mark = arena_mark(&c.rig.arena);

        step(&c);
        CHECK(memcmp(first, rig_download(&c.rig, &c.velocity), n * sizeof *first) == 0);
        arena_rewind(&c.rig.arena, mark);
    }
    CHECK_INT(device_free_bytes(), before);
    free(first);
    rig_close(&c.rig);
}

TEST(gpu_model__steps_repeat_to_the_byte_and_take_no_more_memory)
{
    for (int m = 0; m < N_MODES; m++)
        check_repeats(modes[m]);
}

/* The table of modulations, computed several times in the same memory. */
static float *modulation(const char *type, enum weight_mode mode, enum flux_in_file in_file, size_t *ret_n)
{
    struct err err = { 0 };
    struct call c;
    size_t before = 0;
    float *kept;

    open_call_with(&c, "small", type, mode, in_file);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(flux_modulate(&c.flux, &c.in, &c.prepared.modulation, &c.rig.step_mem, &c.rig.scratch, &err), err);
        CHECK_OK(c.rig.be->ops->sync(c.rig.be, &err), err);
        if (i == 0)
            before = device_free_bytes();
        CHECK(device_free_bytes() == before);
    }
    *ret_n = (size_t)tensor_count(&c.prepared.modulation);
    kept = keep(rig_download(&c.rig, &c.prepared.modulation), *ret_n);
    rig_close(&c.rig);
    return kept;
}

TEST(gpu_model__modulation_from_the_file_is_the_same_to_the_byte_and_takes_no_more_memory)
{
    static const char *const types[] = { "F32", "BF16", "Q8_0" };

    for (int t = 0; t < 3; t++)
        for (int m = 0; m < N_MODES; m++) {
            size_t n = 0;
            float *want = modulation(types[t], modes[m], FLUX_IN_FILE_NONE, &n);
            float *got = modulation(types[t], modes[m], FLUX_IN_FILE_MODULATION, &n);

            CHECK(memcmp(got, want, n * sizeof *got) == 0);
            free(want);
            free(got);
        }
}

/* --- text encoders --- */

/* The n ids of case i, on the host. */
static const int32_t *ids_of(struct rig *r, int i, const char *encoder, int *ret_n)
{
    char name[32];
    const struct tensor_entry *e;
    struct err err = { 0 };
    int32_t *ids = NULL;

    (void)snprintf(name, sizeof name, "%d.%s_ids", i, encoder);
    e = tensor_file_find(&r->files[1], span_of(name));
    CHECK(e && e->dtype == DT_I32);
    CHECK_OK(arena_alloc(&r->arena, e->bytes, 1, &ids, &err), err);
    memcpy(ids, e->data, e->bytes);
    *ret_n = (int)(e->bytes / sizeof *ids);
    return ids;
}

static void open_text(struct rig *r, const char *set, const char *model, enum weight_mode mode,
                      enum err_code (*join)(struct weight_set *, const struct tensor_file *, int, struct err *))
{
    const char *cases = golden("%s/cases/text.safetensors", set);
    struct shards shards;
    struct err err = { 0 };

    model = golden("%s/models/%s", set, model);
    open_rig(r, mode);
    rig_file(r, 1, cases);
    CHECK_OK(shards_open(model, &r->arena, &shards, &err), err);
    CHECK_OK(join(&r->set, shards.files, shards.n_files, &err), err);
}

static void check_t5(const char *set, const char *model, enum weight_mode mode)
{
    struct err err = { 0 };
    struct t5_encoder t5;
    struct rig r;

    open_text(&r, set, model, mode, t5_weight_set);
    CHECK_OK(t5_load(&t5, &r.loader, &r.arena, &err), err);
    for (int i = 0; rig_has(&r.files[1], "%d.prompt_embeds", i); i++) {
        int n;
        const int32_t *ids = ids_of(&r, i, "t5", &n);
        int64_t rows = n, cols = t5.d_model;
        const float *want = rig_golden(&r, &r.files[1], &rows, &cols, "%d.prompt_embeds", i);
        struct tensor out;

        if (device_is_dry() && n > DRY_TOKENS)
            continue;
        out = rig_upload(&r, want, rows, cols);
        CHECK_OK(t5_encode(&t5, ids, n, &out, &r.step_mem, &err), err);
        device_check_values("T5", rig_download(&r, &out), want, (size_t)(rows * cols), limit);
    }
    rig_close(&r);
}

TEST(gpu_model__t5_gives_the_official_embeddings)
{
    for (int m = 0; m < N_MODES; m++)
        check_t5("small", "text_encoder_2/model.safetensors", modes[m]);
}

TEST(gpu_model__t5_of_a_gguf_gives_the_official_embeddings)
{
    for (int m = 0; m < N_MODES; m++)
        check_t5("gguf", "t5-encoder-Q8_0.gguf", modes[m]);
}

TEST(gpu_model__t5_of_comfy_gives_the_official_embeddings)
{
    for (int m = 0; m < N_MODES; m++)
        check_t5("comfy", "t5-encoder-Q8_0.gguf", modes[m]);
}

static void check_clip(const char *set, const char *model)
{
    struct err err = { 0 };
    struct clip_text clip;
    struct rig r;

    open_text(&r, set, model, WEIGHTS_DEQUANT, clip_weight_set);
    CHECK_OK(clip_load(&clip, &r.loader, &r.arena, &err), err);
    for (int i = 0; rig_has(&r.files[1], "%d.pooled_prompt_embeds", i); i++) {
        int n;
        const int32_t *ids = ids_of(&r, i, "clip", &n);
        int64_t one = 1, cols = clip.width;
        const float *want = rig_golden(&r, &r.files[1], &one, &cols, "%d.pooled_prompt_embeds", i);
        struct tensor pooled = rig_upload(&r, want, 1, cols);

        pooled = tensor_1d(DT_F32, cols, pooled.data);
        CHECK_OK(clip_encode(&clip, ids, n, &pooled, &r.step_mem, &err), err);
        device_check_values("CLIP", rig_download(&r, &pooled), want, (size_t)cols, limit);
    }
    rig_close(&r);
}

TEST(gpu_model__clip_gives_the_official_vector)
{
    check_clip("small", "text_encoder/model.safetensors");
    check_clip("gguf", "clip_l.safetensors");
}

TEST(gpu_model__clip_of_comfy_gives_the_official_vector)
{
    check_clip("comfy", "clip_l.safetensors");
}

/* --- autoencoder --- */

static struct tensor upload_3d(struct rig *r, int64_t h, int64_t w, int64_t c, const float *values)
{
    struct err err = { 0 };
    struct tensor t;

    CHECK_OK(devarena_3d(&r->request_mem, DT_F32, h, w, c, &t, &err), err);
    if (values)
        CHECK_OK(op_upload(r->be, &t, values, &err), err);
    return t;
}

/* [outer, inner] -> [inner, outer] */
static const float *turned(struct rig *r, const float *values, int64_t outer, int64_t inner)
{
    struct err err = { 0 };
    float *t = NULL;

    CHECK_OK(arena_alloc(&r->arena, (size_t)(outer * inner), sizeof *t, &t, &err), err);
    for (int64_t i = 0; i < outer; i++)
        for (int64_t j = 0; j < inner; j++)
            t[j * outer + i] = values[i * inner + j];
    return t;
}

static struct tensor upload_picture(struct rig *r, const struct tensor_file *f)
{
    const struct tensor_entry *e = tensor_file_find(f, span_of("picture"));
    struct err err = { 0 };
    float *values = NULL;

    CHECK(e && e->dtype == DT_U8 && e->n_dims == 3);
    CHECK_OK(arena_alloc(&r->arena, e->bytes, sizeof *values, &values, &err), err);
    for (size_t i = 0; i < e->bytes; i++)
        values[i] = 2.0f * ((float)((const uint8_t *)e->data)[i] / 255.0f) - 1.0f;
    return upload_3d(r, e->dims[0], e->dims[1], 3, values);
}

static void check_encode(struct rig *r, const struct vae *v, const struct tensor *rgb)
{
    int64_t h = rgb->dims[0] / VAE_SCALE, w = rgb->dims[1] / VAE_SCALE, n = h * w * VAE_LATENT, rows = -1, cols = -1;
    struct tensor moments = upload_3d(r, h, w, VAE_MOMENTS, NULL);
    struct err err = { 0 };
    const float *got;

    CHECK_OK(vae_encode(v, rgb, &moments, &r->step_mem, &err), err);
    got = turned(r, rig_download(r, &moments), h * w, VAE_MOMENTS);
    device_check_values("mean", got, rig_golden(r, &r->files[1], &rows, &cols, "mean"), (size_t)n, limit);
    device_check_values("logvar", got + n, rig_golden(r, &r->files[1], &rows, &cols, "logvar"), (size_t)n, limit);
}

static void check_decode(struct rig *r, const struct vae *v, int64_t h, int64_t w)
{
    int64_t rows = -1, cols = -1;
    const float *z = rig_golden(r, &r->files[1], &rows, &cols, "z"), *got;
    struct tensor latents = upload_3d(r, h, w, VAE_LATENT, turned(r, z, VAE_LATENT, h * w));
    struct tensor rgb = upload_3d(r, h * VAE_SCALE, w * VAE_SCALE, 3, NULL);
    struct err err = { 0 };

    CHECK_OK(vae_decode(v, &latents, &rgb, &r->step_mem, &err), err);
    got = turned(r, rig_download(r, &rgb), tensor_rows(&rgb), 3);
    rows = cols = -1;
    device_check_values("decoded", got, rig_golden(r, &r->files[1], &rows, &cols, "decoded"),
                        (size_t)tensor_count(&rgb), limit);
}

static void check_vae(const char *set, const char *size)
{
    const char *model = golden("%s/models/ae.safetensors", set), *of = golden("%s/cases/vae_%s.safetensors", set, size);
    const char *picture = golden("%s/cases/vae_%s.picture.safetensors", set, size);
    struct err err = { 0 };
    struct tensor rgb;
    struct rig r;
    struct vae v;

    open_rig(&r, WEIGHTS_AUTO);
    rig_file(&r, 0, model);
    rig_file(&r, 1, of);
    rig_file(&r, 2, picture);
    CHECK_OK(vae_weight_set(&r.set, r.files, 1, &err), err);
    CHECK_OK(vae_load(&v, &r.loader, &err), err);
    rgb = upload_picture(&r, &r.files[2]);
    check_encode(&r, &v, &rgb);
    check_decode(&r, &v, rgb.dims[0] / VAE_SCALE, rgb.dims[1] / VAE_SCALE);
    rig_close(&r);
}

TEST(gpu_model__vae_encodes_and_decodes_as_the_official_one)
{
    check_vae("small", "40x104");
    check_vae("small", "64x64");
    check_vae("small", "96x80");
    check_vae("gguf", "48x80");
}
