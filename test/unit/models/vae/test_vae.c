#include "models/vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/flux/latents.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"
#include "test/support/pictures.h"

/* Limits on relative errors: f32 rounding over some forty layers (reached: 2e-6); bf16 keeps 8 bits of every
 * activation. */
static double limit_of(const struct rig_kind *kind)
{
    return kind->precision == PRECISION_F32 ? 1e-5 : 3e-2;
}

static void open_vae(struct rig *r, struct vae *v, const struct rig_kind *kind, const char *path)
{
    struct err err = { 0 };

    rig_open(r, kind);
    rig_file(r, 0, path);
    CHECK_OK(vae_weight_set(&r->set, r->files, 1, &err), err);
    CHECK_OK(vae_load(v, &r->loader, &err), err);
}

static struct tensor device_3d(struct rig *r, int64_t h, int64_t w, int64_t c, const float *values)
{
    struct err err = { 0 };
    struct tensor t;

    CHECK_OK(devarena_3d(&r->request_mem, DT_F32, h, w, c, &t, &err), err);
    if (values)
        CHECK_OK(op_upload(r->be, &t, values, &err), err);
    return t;
}

static float *floats(struct rig *r, int64_t n)
{
    struct err err = { 0 };
    float *p = NULL;

    CHECK_OK(arena_alloc(&r->arena, (size_t)n, sizeof *p, &p, &err), err);
    return p;
}

/* [h, w, c] -> [c, h, w], for any c */
static const float *channels_first(struct rig *r, const float *hwc, int64_t h, int64_t w, int64_t c)
{
    float *chw = floats(r, h * w * c);

    for (int64_t i = 0; i < h * w; i++)
        for (int64_t k = 0; k < c; k++)
            chw[k * h * w + i] = hwc[i * c + k];
    return chw;
}

static void check_encode(struct rig *r, const struct vae *v, const struct tensor_file *f, const char *png, double limit)
{
    struct tensor rgb, moments;
    struct image picture;
    struct err err = { 0 };
    int64_t h, w, rows = -1, cols = -1;
    const float *got, *want;
    float *values;

    picture_from_png(&r->arena, png, &picture);
    h = picture.height / VAE_SCALE;
    w = picture.width / VAE_SCALE;
    values = floats(r, (int64_t)image_bytes(&picture));
    for (size_t i = 0; i < image_bytes(&picture); i++)
        values[i] = 2.0f * ((float)picture.pixels[i] / 255.0f) - 1.0f;
    rgb = device_3d(r, picture.height, picture.width, 3, values);
    moments = device_3d(r, h, w, VAE_MOMENTS, NULL);
    CHECK_OK(vae_encode(v, &rgb, &moments, &r->step_mem, &err), err);
    got = channels_first(r, rig_download(r, &moments), h, w, VAE_MOMENTS);
    want = rig_golden(r, f, &rows, &cols, "mean");
    CHECK_REL(got, want, (size_t)(h * w * VAE_LATENT), limit);
    want = rig_golden(r, f, &rows, &cols, "logvar"); /* no value reaches the clamp */
    CHECK_REL(got + h * w * VAE_LATENT, want, (size_t)(h * w * VAE_LATENT), limit);
}

static void check_decode(struct rig *r, const struct vae *v, const struct tensor_file *f, int64_t h, int64_t w,
                         double limit)
{
    int64_t rows = VAE_LATENT * h, cols = w, out_rows = 3 * VAE_SCALE * h, out_cols = VAE_SCALE * w;
    const float *want = rig_golden(r, f, &out_rows, &out_cols, "decoded");
    float *values = floats(r, VAE_LATENT * h * w);
    struct err err = { 0 };
    struct tensor z, rgb;

    latents_from_chw(rig_golden(r, f, &rows, &cols, "z"), h, w, values);
    z = device_3d(r, h, w, VAE_LATENT, values);
    rgb = device_3d(r, VAE_SCALE * h, VAE_SCALE * w, 3, NULL);
    CHECK_OK(vae_decode(v, &z, &rgb, &r->step_mem, &err), err);
    CHECK_REL(channels_first(r, rig_download(r, &rgb), VAE_SCALE * h, VAE_SCALE * w, 3), want,
              (size_t)(3 * VAE_SCALE * h * VAE_SCALE * w), limit);
}

static void check_case(const char *set, int width, int height, const struct rig_kind *kind)
{
    const char *model = golden("%s/models/ae.safetensors", set);
    struct vae v;
    struct rig r;

    open_vae(&r, &v, kind, model);
    rig_file(&r, 1, golden("%s/cases/vae_%dx%d.safetensors", set, width, height));
    check_encode(&r, &v, &r.files[1], golden("%s/cases/vae_%dx%d.png", set, width, height), limit_of(kind));
    check_decode(&r, &v, &r.files[1], height / VAE_SCALE, width / VAE_SCALE, limit_of(kind));
    CHECK_INT(devarena_mark(&r.step_mem), 0);
    rig_close(&r);
}

TEST(vae__official_numbers_of_odd_latent_sides_on_every_backend)
{
    for (int i = 0; i < N_RIG_KINDS; i++)
        check_case("small", 40, 104, &rig_kinds[i]);
}

TEST(vae__official_numbers_of_other_sizes)
{
    check_case("small", 64, 64, &rig_kinds[1]);
    check_case("small", 96, 80, &rig_kinds[1]);
    check_case("small", 96, 80, &rig_kinds[3]);
}

TEST(vae__official_numbers_of_an_f16_file_with_other_widths)
{
    check_case("comfy", 48, 80, &rig_kinds[1]);
    check_case("comfy", 48, 80, &rig_kinds[3]);
}

TEST(vae__measures_what_it_takes)
{
    struct tensor z, rgb, moments;
    size_t bytes = 0;
    struct err err = { 0 };
    struct vae v;
    struct rig r;

    open_vae(&r, &v, &rig_kinds[1], golden("small/models/ae.safetensors"));
    z = device_3d(&r, 5, 3, VAE_LATENT, floats(&r, 5 * 3 * VAE_LATENT));
    rgb = device_3d(&r, 40, 24, 3, floats(&r, 40 * 24 * 3));
    moments = device_3d(&r, 5, 3, VAE_MOMENTS, NULL);
    CHECK_OK(vae_measure(&v, 40, 24, &bytes, &err), err);
    for (int i = 0; i < 2; i++) { /* the second time takes no more */
        CHECK_OK(vae_encode(&v, &rgb, &moments, &r.step_mem, &err), err);
        CHECK_OK(vae_decode(&v, &z, &rgb, &r.step_mem, &err), err);
        CHECK_INT(r.step_mem.peak, bytes);
        CHECK_INT(r.step_mem.used, 0);
    }
    CHECK(vae_measure(&v, 40, 25, &bytes, NULL) == ERR_INVALID);
    CHECK(vae_measure(&v, 0, 24, &bytes, NULL) == ERR_INVALID);
    rig_close(&r);
}

/* The peak is at the decoder's finest level: the picture with the channels of the level before, its normalised copy
 * (whose slot later holds results of fewer channels), and one result. */
TEST(vae__holds_three_large_activations_at_most)
{
    const int64_t n_pixels = 1024 * 1024, wide = 32, narrow = 32;

    for (int i = 1; i < N_RIG_KINDS; i += 2) {
        int64_t act_bytes = rig_kinds[i].precision == PRECISION_F32 ? 4 : 2;
        struct err err = { 0 };
        size_t bytes = 0;
        struct vae v;
        struct rig r;

        open_vae(&r, &v, &rig_kinds[i], golden("small/models/ae.safetensors"));
        CHECK_INT(v.decoder.levels[2].resample.w.c_out, wide);
        CHECK_INT(v.decoder.levels[3].res[0].conv1.w.c_out, narrow);
        CHECK_OK(vae_measure(&v, 1024, 1024, &bytes, &err), err);
        CHECK_INT(bytes,
                  (4 * wide + (act_bytes * wide > 4 * narrow ? act_bytes * wide : 4 * narrow) + 4 * narrow) * n_pixels);
        rig_close(&r);
    }
}

TEST(vae__refuses_shapes_that_do_not_fit)
{
    struct tensor rgb, moments, z;
    struct vae v;
    struct rig r;

    open_vae(&r, &v, &rig_kinds[1], golden("small/models/ae.safetensors"));
    rgb = device_3d(&r, 16, 24, 3, NULL);
    moments = device_3d(&r, 2, 4, VAE_MOMENTS, NULL);
    z = device_3d(&r, 3, 2, VAE_LATENT, NULL);
    CHECK(vae_encode(&v, &rgb, &moments, &r.step_mem, NULL) == ERR_INVALID);
    CHECK(vae_encode(&v, &rgb, &z, &r.step_mem, NULL) == ERR_INVALID);
    CHECK(vae_encode(&v, &z, &moments, &r.step_mem, NULL) == ERR_INVALID);
    CHECK(vae_decode(&v, &z, &rgb, &r.step_mem, NULL) == ERR_INVALID);
    CHECK(vae_decode(&v, &moments, &rgb, &r.step_mem, NULL) == ERR_INVALID);
    rig_close(&r);
}

/* --- other names for the same tensors --- */

struct renaming {
    const char *from, *to; /* '#' stands for a digit, which is copied; '~' in `to` for 3 minus the digit */
};

static const struct renaming diffusers[] = {
    { "encoder.down.#.block.#.nin_shortcut", "encoder.down_blocks.#.resnets.#.conv_shortcut" },
    { "encoder.down.#.block.#", "encoder.down_blocks.#.resnets.#" },
    { "encoder.down.#.downsample", "encoder.down_blocks.#.downsamplers.0" },
    { "decoder.up.#.block.#.nin_shortcut", "decoder.up_blocks.~.resnets.#.conv_shortcut" },
    { "decoder.up.#.block.#", "decoder.up_blocks.~.resnets.#" },
    { "decoder.up.#.upsample", "decoder.up_blocks.~.upsamplers.0" },
    { "encoder.mid.block_1", "encoder.mid_block.resnets.0" },
    { "encoder.mid.block_2", "encoder.mid_block.resnets.1" },
    { "decoder.mid.block_1", "decoder.mid_block.resnets.0" },
    { "decoder.mid.block_2", "decoder.mid_block.resnets.1" },
    { "encoder.norm_out", "encoder.conv_norm_out" },
    { "decoder.norm_out", "decoder.conv_norm_out" },
    { "encoder.mid.attn_1.norm", "encoder.mid_block.attentions.0.group_norm" },
    { "decoder.mid.attn_1.norm", "decoder.mid_block.attentions.0.group_norm" },
};
static const struct renaming attention_new[] = {
    { "encoder.mid.attn_1.q", "encoder.mid_block.attentions.0.to_q" },
    { "encoder.mid.attn_1.k", "encoder.mid_block.attentions.0.to_k" },
    { "encoder.mid.attn_1.v", "encoder.mid_block.attentions.0.to_v" },
    { "encoder.mid.attn_1.proj_out", "encoder.mid_block.attentions.0.to_out.0" },
    { "decoder.mid.attn_1.q", "decoder.mid_block.attentions.0.to_q" },
    { "decoder.mid.attn_1.k", "decoder.mid_block.attentions.0.to_k" },
    { "decoder.mid.attn_1.v", "decoder.mid_block.attentions.0.to_v" },
    { "decoder.mid.attn_1.proj_out", "decoder.mid_block.attentions.0.to_out.0" },
};
static const struct renaming attention_old[] = {
    { "encoder.mid.attn_1.q", "encoder.mid_block.attentions.0.query" },
    { "encoder.mid.attn_1.k", "encoder.mid_block.attentions.0.key" },
    { "encoder.mid.attn_1.v", "encoder.mid_block.attentions.0.value" },
    { "encoder.mid.attn_1.proj_out", "encoder.mid_block.attentions.0.proj_attn" },
    { "decoder.mid.attn_1.q", "decoder.mid_block.attentions.0.query" },
    { "decoder.mid.attn_1.k", "decoder.mid_block.attentions.0.key" },
    { "decoder.mid.attn_1.v", "decoder.mid_block.attentions.0.value" },
    { "decoder.mid.attn_1.proj_out", "decoder.mid_block.attentions.0.proj_attn" },
};

/* Writes `name` to buf with its front, which must match `from`, replaced; false when it does not match. */
static bool rename_front(const struct renaming *rule, struct span name, const char *prefix, char *buf, size_t size)
{
    int digits[4], n_digits = 0, at = snprintf(buf, size, "%s", prefix);
    size_t i = 0, d = 0;

    for (; rule->from[i]; i++) {
        if (i >= name.len ||
            (rule->from[i] == '#' ? name.ptr[i] < '0' || name.ptr[i] > '9' : name.ptr[i] != rule->from[i]))
            return false;
        if (rule->from[i] == '#')
            digits[n_digits++] = name.ptr[i] - '0';
    }
    if (i < name.len && name.ptr[i] != '.')
        return false;
    for (const char *p = rule->to; *p; p++) {
        if (*p == '#' || *p == '~') {
            buf[at++] = (char)('0' + (*p == '~' ? 3 - digits[d] : digits[d]));
            d++;
        } else
            buf[at++] = *p;
    }
    (void)snprintf(buf + at, size - (size_t)at, "%.*s", (int)(name.len - i), name.ptr + i);
    return true;
}

struct variant {
    const char *prefix;
    const struct renaming *attention; /* NULL: BFL names */
    int n_attention;
    const char *without; /* a tensor left out, by the end of its new name */
    const char *with;    /* a tensor added */
};

/* Writes the golden VAE under other names; attention matrices lose their two last dimensions in diffusers' files. */
static const char *write_variant(struct rig *r, const struct tensor_file *f, const struct variant *v)
{
    struct tensor_write *t;
    struct err err = { 0 };
    const char *path = temp_path("variant.safetensors");
    int n = 0;

    CHECK_OK(arena_alloc(&r->arena, (size_t)f->n_entries + 1, sizeof *t, &t, &err), err);
    for (int i = 0; i < f->n_entries; i++) {
        const struct tensor_entry *e = &f->entries[i];
        char buf[256], *name;
        bool done = false, matrix = false;

        for (size_t k = 0; k < sizeof diffusers / sizeof *diffusers && v->attention && !done; k++)
            done = rename_front(&diffusers[k], e->name, v->prefix, buf, sizeof buf);
        for (int k = 0; k < v->n_attention && !done; k++)
            done = matrix = rename_front(&v->attention[k], e->name, v->prefix, buf, sizeof buf);
        if (!done)
            (void)snprintf(buf, sizeof buf, "%s%.*s", v->prefix, SPAN_ARG(e->name));
        if (v->without && span_ends(span_of(buf), v->without))
            continue;
        CHECK_OK(arena_printf(&r->arena, &name, &err, "%s", buf), err);
        t[n] = (struct tensor_write){ .name = name, .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        memcpy(t[n].dims, e->dims, sizeof e->dims);
        if (matrix && e->n_dims == 4)
            t[n].n_dims = 2;
        n++;
    }
    if (v->with) {
        t[n] = t[0];
        t[n++].name = v->with;
    }
    CHECK_OK(safetensors_write(path, t, n, NULL, 0, &err), err);
    return path;
}

#define N_OF(list) ((int)(sizeof(list) / sizeof *(list)))

TEST(vae__reads_every_family_of_names_and_prefixes)
{
    const struct variant variants[] = {
        { "first_stage_model.", NULL, 0, NULL, NULL },
        { "vae.", NULL, 0, NULL, NULL },
        { "", attention_new, N_OF(attention_new), NULL, NULL },
        { "", attention_old, N_OF(attention_old), NULL, NULL },
        { "vae.", attention_new, N_OF(attention_new), NULL, NULL },
    };

    for (int i = 0; i < N_OF(variants); i++) {
        struct err err = { 0 };
        struct vae v;
        struct rig r;

        rig_open(&r, &rig_kinds[1]);
        rig_file(&r, 0, golden("small/models/ae.safetensors"));
        rig_file(&r, 2, write_variant(&r, &r.files[0], &variants[i]));
        CHECK_OK(vae_weight_set(&r.set, &r.files[2], 1, &err), err);
        CHECK_OK(vae_load(&v, &r.loader, &err), err);
        rig_file(&r, 1, golden("small/cases/vae_64x64.safetensors"));
        check_encode(&r, &v, &r.files[1], golden("small/cases/vae_64x64.png"), 1e-5);
        check_decode(&r, &v, &r.files[1], 8, 8, 1e-5);
        rig_close(&r);
    }
}

TEST(vae__refuses_files_of_another_network)
{
    const struct {
        struct variant v;
        enum err_code want;
        const char *says;
    } cases[] = {
        { { "", NULL, 0, "decoder.mid.attn_1.q.weight", NULL }, ERR_NOT_FOUND, "AutoencoderKL" },
        { { "", NULL, 0, "encoder.down.2.block.0.nin_shortcut.weight", NULL }, ERR_NOT_FOUND, "nin_shortcut" },
        { { "", NULL, 0, "decoder.up.0.block.0.norm1.bias", NULL }, ERR_NOT_FOUND, "decoder.up.0.block.0.norm1.bias" },
        { { "", NULL, 0, NULL, "post_quant_conv.weight" }, ERR_UNSUPPORTED, "quant_conv" },
    };

    for (int i = 0; i < N_OF(cases); i++) {
        struct err err = { 0 };
        enum err_code rc;
        struct vae v;
        struct rig r;

        rig_open(&r, &rig_kinds[1]);
        rig_file(&r, 0, golden("small/models/ae.safetensors"));
        rig_file(&r, 2, write_variant(&r, &r.files[0], &cases[i].v));
        rc = vae_weight_set(&r.set, &r.files[2], 1, &err);
        if (!rc)
            rc = vae_load(&v, &r.loader, &err);
        CHECK_INT(rc, cases[i].want);
        if (!strstr(err.msg, cases[i].says))
            test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", err.msg, cases[i].says);
        rig_close(&r);
    }
}
