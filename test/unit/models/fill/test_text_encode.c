#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/fill/text_encode.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"

/* Tokenizers and encoders of a whole folder together: from the prompt to the embeddings. */
struct fixture {
    struct rig rig;
    struct text_encoder encoder;
};

static void fixture_open(struct fixture *f, const char *set, const struct rig_kind *kind)
{
    struct model_folder folder = { .dir = golden("%s/models", set) };
    struct err err = { 0 };

    rig_open(&f->rig, kind);
    rig_file(&f->rig, 0, golden("%s/cases/text.safetensors", set));
    CHECK_OK(text_encoder_load(&f->encoder, &folder, &f->rig.loader, &f->rig.arena, &err), err);
    CHECK_INT(f->rig.scratch.used, 0);
}

static const char *setting(struct fixture *f, int i, const char *key)
{
    struct err err = { 0 };
    const char *text = NULL;
    char name[32];

    (void)snprintf(name, sizeof name, "%d.%s", i, key);
    CHECK_OK(tensor_file_metadata(&f->rig.files[0], name, &f->rig.arena, &text, &err), err);
    return text;
}

static void check_ids(struct fixture *f, int i, const char *encoder, const int32_t *got, int n)
{
    char name[32];
    const struct tensor_entry *e;

    (void)snprintf(name, sizeof name, "%d.%s_ids", i, encoder);
    e = tensor_file_find(&f->rig.files[0], span_of(name));
    CHECK(e && e->dtype == DT_I32);
    CHECK_INT(e->bytes, (size_t)n * sizeof *got);
    CHECK(memcmp(got, e->data, e->bytes) == 0);
}

static void check_prompt(struct fixture *f, int i)
{
    int t5_len = atoi(setting(f, i, "t5_len"));
    int64_t n = t5_len, width = f->encoder.t5.d_model, one = 1, clip_width = f->encoder.clip.width;
    const float *want = rig_golden(&f->rig, &f->rig.files[0], &n, &width, "%d.prompt_embeds", i);
    const float *want_pooled = rig_golden(&f->rig, &f->rig.files[0], &one, &clip_width, "%d.pooled_prompt_embeds", i);
    struct tensor prompt_embeds, pooled, row;
    struct text_ids ids;
    size_t step_bytes = 0;
    struct err err = { 0 };

    CHECK_OK(devarena_2d(&f->rig.request_mem, DT_F32, n, width, &prompt_embeds, &err), err);
    CHECK_OK(devarena_1d(&f->rig.request_mem, DT_F32, clip_width, &pooled, &err), err);
    CHECK_OK(text_tokenize(&f->encoder, span_of(setting(f, i, "prompt")), t5_len, &ids, &f->rig.scratch, &err), err);
    check_ids(f, i, "t5", ids.t5, ids.n_t5);
    check_ids(f, i, "clip", ids.clip, CLIP_MAX_IDS);

    f->rig.step_mem.peak = 0;
    CHECK_OK(text_encode(&f->encoder, &ids, &prompt_embeds, &pooled, &f->rig.step_mem, &err), err);
    row = tensor_as_2d(&pooled, 1, clip_width);
    CHECK_REL(rig_download(&f->rig, &prompt_embeds), want, n * width, 1e-5);
    CHECK_REL(rig_download(&f->rig, &row), want_pooled, clip_width, 1e-5);
    CHECK_OK(text_measure(&f->encoder, t5_len, &step_bytes, &err), err);
    CHECK(f->rig.step_mem.peak <= step_bytes); /* CLIP takes less memory for a short text than for the longest */
}

static void check_set(const char *set)
{
    struct fixture f;

    for (int k = 0; k < 2; k++) {
        fixture_open(&f, set, &rig_kinds[k]);
        for (int i = 0; i < 4; i++)
            check_prompt(&f, i);
        rig_close(&f.rig);
    }
}

TEST(text_encode__takes_prompts_to_the_official_embeddings) { check_set("small"); }
TEST(text_encode__takes_the_vocabulary_inside_a_t5_gguf) { check_set("comfy"); }

TEST(text_encode__refuses_lengths_that_t5_does_not_have)
{
    struct fixture f;
    struct text_ids ids;
    struct err err = { 0 };

    fixture_open(&f, "small", &rig_kinds[0]);
    CHECK_INT(text_tokenize(&f.encoder, SPAN("a"), 0, &ids, &f.rig.scratch, &err), ERR_INVALID);
    CHECK_INT(text_tokenize(&f.encoder, SPAN("a"), T5_MAX_TOKENS + 1, &ids, &f.rig.scratch, &err), ERR_INVALID);
    CHECK_OK(text_tokenize(&f.encoder, SPAN("a"), 1, &ids, &f.rig.scratch, &err), err);
    CHECK_INT(ids.t5[0], f.encoder.t5_tokenizer.eos_id);
    rig_close(&f.rig);
}
