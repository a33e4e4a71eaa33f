#include <stdio.h>
#include <string.h>

#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"

static const struct { const char *set, *t5, *clip; } sets[] = {
    { "small", "text_encoder_2/model.safetensors", "text_encoder/model.safetensors" },
    { "comfy", "t5-encoder-Q8_0.gguf", "clip_l.safetensors" },
};
enum { SMALL, COMFY, N_CASES = 4, MAX_IDS = T5_MAX_TOKENS };

/* Limits of MODEL.md 11.2, rows 14 and 15. */
static const double f32_limit = 1e-5, t5_bf16_limit = 2e-2, clip_bf16_limit = 1e-2;

static bool is_f32(const struct rig *r)
{
    return r->be->act == DT_F32;
}

static int read_ids(struct rig *r, const char *encoder, int i, int32_t ids[MAX_IDS])
{
    char name[32];
    const struct tensor_entry *e;

    (void)snprintf(name, sizeof name, "%d.%s_ids", i, encoder);
    e = tensor_file_find(&r->files[1], span_of(name));
    CHECK(e && e->dtype == DT_I32 && e->n_dims == 1 && e->dims[0] <= MAX_IDS);
    memcpy(ids, e->data, e->bytes);
    return (int)e->dims[0];
}

static void open_set(struct rig *r, int set, const char *model, const struct rig_kind *kind)
{
    rig_open(r, kind);
    rig_file(r, 0, golden("%s/models/%s", sets[set].set, model));
    rig_file(r, 1, golden("%s/cases/text.safetensors", sets[set].set));
}

static void load_t5(struct rig *r, int set, struct t5_encoder *t5, const struct rig_kind *kind)
{
    struct err err = { 0 };

    open_set(r, set, sets[set].t5, kind);
    CHECK_OK(t5_weight_set(&r->set, r->files, 1, &err), err);
    CHECK_OK(t5_load(t5, &r->loader, &r->arena, &err), err);
}

static void load_clip(struct rig *r, int set, struct clip_text *clip, const struct rig_kind *kind)
{
    struct err err = { 0 };

    open_set(r, set, sets[set].clip, kind);
    CHECK_OK(clip_weight_set(&r->set, r->files, 1, &err), err);
    CHECK_OK(clip_load(clip, &r->loader, &r->arena, &err), err);
}

static void check_t5(int set, const struct rig_kind *kind)
{
    struct t5_encoder t5;
    struct rig r;

    load_t5(&r, set, &t5, kind);
    for (int i = 0; i < N_CASES; i++) {
        int32_t ids[MAX_IDS];
        int64_t n = read_ids(&r, "t5", i, ids), width = t5.d_model;
        const float *want = rig_golden(&r, &r.files[1], &n, &width, "%d.prompt_embeds", i), *got;
        double limit = is_f32(&r) ? f32_limit : t5_bf16_limit;
        struct err err = { 0 };
        struct tensor out;

        CHECK_OK(devarena_2d(&r.request_mem, DT_F32, n, width, &out, &err), err);
        CHECK_OK(t5_encode(&t5, ids, (int)n, &out, &r.step_mem, &err), err);
        CHECK_INT(r.step_mem.used, 0);
        got = rig_download(&r, &out);
        CHECK_REL(got, want, n * width, limit);
        for (int64_t row = 0; row < n; row++)
            CHECK_REL(got + row * width, want + row * width, width, is_f32(&r) ? limit : 2 * limit);
    }
    rig_close(&r);
}

static void check_clip(int set, const struct rig_kind *kind)
{
    struct clip_text clip;
    struct rig r;

    load_clip(&r, set, &clip, kind);
    for (int i = 0; i < N_CASES; i++) {
        int32_t ids[MAX_IDS];
        int n = read_ids(&r, "clip", i, ids);
        int64_t one = 1, width = clip.width;
        const float *want = rig_golden(&r, &r.files[1], &one, &width, "%d.pooled_prompt_embeds", i);
        struct err err = { 0 };
        struct tensor pooled;

        CHECK_OK(devarena_1d(&r.request_mem, DT_F32, width, &pooled, &err), err);
        CHECK_OK(clip_encode(&clip, ids, n, &pooled, &r.step_mem, &err), err);
        CHECK_INT(r.step_mem.used, 0);
        pooled = tensor_as_2d(&pooled, 1, width);
        CHECK_REL(rig_download(&r, &pooled), want, width, is_f32(&r) ? f32_limit : clip_bf16_limit);
    }
    rig_close(&r);
}

TEST(t5_encoder__gives_the_official_rows_from_safetensors)
{
    for (int k = 0; k < N_RIG_KINDS; k++)
        check_t5(SMALL, &rig_kinds[k]);
}

TEST(t5_encoder__gives_the_official_rows_from_gguf)
{
    for (int k = 0; k < N_RIG_KINDS; k++)
        check_t5(COMFY, &rig_kinds[k]);
}

TEST(clip_text__gives_the_official_vector_without_a_prefix)
{
    for (int k = 0; k < N_RIG_KINDS; k++)
        check_clip(SMALL, &rig_kinds[k]);
}

TEST(clip_text__gives_the_official_vector_with_a_prefix)
{
    for (int k = 0; k < N_RIG_KINDS; k++)
        check_clip(COMFY, &rig_kinds[k]);
}

/* MODEL.md 5.3, row by row. */
TEST(t5_encoder__sorts_distances_into_the_published_buckets)
{
    static const struct { int from, to, bucket; } want[] = {
        { 8, 11, 8 }, { 12, 15, 9 }, { 16, 22, 10 }, { 23, 31, 11 }, { 32, 45, 12 }, { 46, 63, 13 }, { 64, 90, 14 },
        { 91, 511, 15 },
    };

    for (int a = 0; a < 8; a++) {
        CHECK_INT(t5_bucket(-a), a);
        CHECK_INT(t5_bucket(a), a ? 16 + a : 0);
    }
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        for (int a = want[i].from; a <= want[i].to; a++) {
            CHECK_INT(t5_bucket(-a), want[i].bucket);
            CHECK_INT(t5_bucket(a), 16 + want[i].bucket);
        }
    }
}

/* --- what must be refused --- */

TEST(t5_encoder__refuses_ids_out_of_range)
{
    int32_t ids[MAX_IDS + 1] = { 0 };
    struct t5_encoder t5;
    struct err err = { 0 };
    struct tensor out;
    struct rig r;

    load_t5(&r, SMALL, &t5, &rig_kinds[0]);
    CHECK_OK(devarena_2d(&r.request_mem, DT_F32, 2, t5.d_model, &out, &err), err);
    CHECK_INT(t5_encode(&t5, ids, 0, &out, &r.step_mem, &err), ERR_INVALID);
    CHECK_INT(t5_encode(&t5, ids, MAX_IDS + 1, &out, &r.step_mem, NULL), ERR_INVALID);
    CHECK_INT(t5_encode(&t5, ids, 3, &out, &r.step_mem, NULL), ERR_INVALID); /* out has two rows */
    ids[1] = (int32_t)t5.vocab;
    CHECK_INT(t5_encode(&t5, ids, 2, &out, &r.step_mem, NULL), ERR_INVALID);
    ids[1] = -1;
    CHECK_INT(t5_encode(&t5, ids, 2, &out, &r.step_mem, NULL), ERR_INVALID);
    CHECK_INT(r.step_mem.used, 0);
    rig_close(&r);
}

TEST(clip_text__refuses_ids_without_an_end)
{
    int32_t ids[MAX_IDS] = { 0 };
    struct clip_text clip;
    struct err err = { 0 };
    struct tensor pooled;
    struct rig r;

    load_clip(&r, SMALL, &clip, &rig_kinds[0]);
    CHECK_OK(devarena_1d(&r.request_mem, DT_F32, clip.width, &pooled, &err), err);
    CHECK_INT(clip_encode(&clip, ids, 77, &pooled, &r.step_mem, &err), ERR_INVALID);
    ids[0] = (int32_t)clip.vocab - 1;
    CHECK_INT(clip_encode(&clip, ids, 78, &pooled, &r.step_mem, NULL), ERR_INVALID);
    CHECK_INT(clip_encode(&clip, ids, 0, &pooled, &r.step_mem, NULL), ERR_INVALID);
    ids[0] = (int32_t)clip.vocab;
    ids[1] = (int32_t)clip.vocab - 1;
    CHECK_INT(clip_encode(&clip, ids, 2, &pooled, &r.step_mem, NULL), ERR_INVALID);
    rig_close(&r);
}

static enum err_code load_either(struct rig *r, bool t5, struct err *err)
{
    struct arena_mark mark = arena_mark(&r->arena);
    struct t5_encoder encoder;
    struct clip_text clip;
    enum err_code rc = (t5 ? t5_weight_set : clip_weight_set)(&r->set, r->files, 1, err);

    if (!rc)
        rc = t5 ? t5_load(&encoder, &r->loader, &r->arena, err) : clip_load(&clip, &r->loader, &r->arena, err);
    arena_rewind(&r->arena, mark);
    return rc;
}

/* Whether the message names the tensor; a message may leave the prefix out. */
static bool names_tensor(const struct err *err, struct span name)
{
    char text[TENSOR_NAME_MAX + 1];
    const char *tail = text;

    (void)snprintf(text, sizeof text, "%.*s", (int)name.len, name.ptr);
    if (!strncmp(text, "text_model.", 11))
        tail += 11;
    return strstr(err->msg, tail) != NULL;
}

static void check_missing(int set, bool t5)
{
    struct rig r;

    open_set(&r, set, t5 ? sets[set].t5 : sets[set].clip, &rig_kinds[0]);
    for (int i = 0; i < r.files[0].n_entries; i++) {
        struct span name = r.files[0].entries[i].name;
        struct err err = { 0 };

        r.files[0].entries[i].name.len--; /* the shorter name sorts in the same place */
        CHECK(load_either(&r, t5, &err) != ERR_OK);
        /* when the embedding is missing, a T5 reports its other name */
        CHECK(names_tensor(&err, name) || (t5 && span_is(name, "shared.weight") && strstr(err.msg, "embed_tokens")));
        r.files[0].entries[i].name = name;
    }
    rig_close(&r);
}

TEST(t5_encoder__names_a_tensor_that_is_missing)
{
    check_missing(SMALL, true);
    check_missing(COMFY, true);
}

TEST(clip_text__names_a_tensor_that_is_missing)
{
    check_missing(SMALL, false);
    check_missing(COMFY, false);
}
