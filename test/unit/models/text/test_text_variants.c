/* The forms in which T5 and CLIP files are published: the same numbers under other names, in other types, in shards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/quant.h"
#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"

enum { MAX_TENSORS = 128, N_IDS = 6 };

static const char t5_path[] = "small/models/text_encoder_2/model.safetensors";
static const char clip_path[] = "small/models/text_encoder/model.safetensors";

struct spelling {
    const char *prefix;        /* in front of every name */
    const char *from, *to;     /* one tensor gets another name */
    const char *twice;         /* a second name under which that tensor is written, too */
    const char *extra;         /* a tensor that is not used */
    bool f32;                  /* all values are written as F32 */
    int n_files;               /* number of shards; 0: one file */
};

/* Writes the tensors of files[0] in this form, and opens the result as files[1], and [2] where there are two shards. */
static void respell(struct rig *r, const struct spelling *s)
{
    static struct tensor_write t[2][MAX_TENSORS];
    int n[2] = { 0 }, n_files = s->n_files ? s->n_files : 1;
    struct err err = { 0 };

    for (int i = 0; i < r->files[0].n_entries; i++) {
        const struct tensor_entry *e = &r->files[0].entries[i];
        struct tensor_write w = { .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        bool renamed = s->from && span_is(e->name, s->from);
        int k = i % n_files;
        char *name = NULL;
        float *values = NULL;

        CHECK(n[k] + 3 < MAX_TENSORS);
        memcpy(w.dims, e->dims, sizeof w.dims);
        CHECK_OK(arena_printf(&r->arena, &name, &err, "%s%.*s", s->prefix ? s->prefix : "",
                              renamed ? (int)strlen(s->to) : (int)e->name.len, renamed ? s->to : e->name.ptr), err);
        if (s->f32) {
            int64_t count = (int64_t)(e->bytes / (size_t)dtype_info(e->dtype)->block_bytes);

            CHECK_OK(arena_alloc(&r->arena, (size_t)count, sizeof *values, &values, &err), err);
            dequantise_row(e->dtype, e->data, values, count);
            w.dtype = DT_F32;
            w.data = values;
        }
        w.name = name;
        t[k][n[k]++] = w;
        if (renamed && s->twice) {
            w.name = s->twice;
            t[k][n[k]++] = w;
        }
        if (s->extra && i == 0) {
            w.name = s->extra;
            t[k][n[k]++] = w;
        }
    }
    for (int k = 0; k < n_files; k++) {
        char path[] = "/tmp/text-variant-XXXXXX";
        int fd = mkstemp(path);

        CHECK(fd >= 0 && close(fd) == 0);
        CHECK_OK(safetensors_write(path, t[k], n[k], NULL, 0, &err), err);
        rig_file(r, 1 + k, path);
        CHECK(unlink(path) == 0);
    }
}

static const float *t5_rows(struct rig *r, const struct tensor_file *files, int n_files, int64_t *ret_n)
{
    static const int32_t ids[N_IDS] = { 3, 9, 42, 1, 0, 0 };
    struct t5_encoder t5;
    struct err err = { 0 };
    struct tensor out;

    CHECK_OK(t5_weight_set(&r->set, files, n_files, &err), err);
    CHECK_OK(t5_load(&t5, &r->loader, &r->arena, &err), err);
    CHECK_OK(devarena_2d(&r->request_mem, DT_F32, N_IDS, t5.d_model, &out, &err), err);
    CHECK_OK(t5_encode(&t5, ids, N_IDS, &out, &r->step_mem, &err), err);
    *ret_n = tensor_count(&out);
    return rig_download(r, &out);
}

static const float *clip_row(struct rig *r, const struct tensor_file *files, int n_files, int64_t *ret_n)
{
    struct clip_text clip;
    struct err err = { 0 };
    int32_t ids[3] = { 5, 77 };
    struct tensor out, row;

    CHECK_OK(clip_weight_set(&r->set, files, n_files, &err), err);
    CHECK_OK(clip_load(&clip, &r->loader, &r->arena, &err), err);
    ids[2] = (int32_t)clip.vocab - 1;
    CHECK_OK(devarena_1d(&r->request_mem, DT_F32, clip.width, &out, &err), err);
    CHECK_OK(clip_encode(&clip, ids, 3, &out, &r->step_mem, &err), err);
    row = tensor_as_2d(&out, 1, clip.width);
    *ret_n = clip.width;
    return rig_download(r, &row);
}

typedef const float *encode_fn(struct rig *r, const struct tensor_file *files, int n_files, int64_t *ret_n);

static void check_spelling(const char *golden_path, encode_fn *encode, const struct spelling *s)
{
    const float *want, *got;
    int64_t n, n_want;
    struct rig r;

    rig_open(&r, &rig_kinds[0]);
    rig_file(&r, 0, golden("%s", golden_path));
    want = encode(&r, &r.files[0], 1, &n_want);
    respell(&r, s);
    got = encode(&r, &r.files[1], s->n_files ? s->n_files : 1, &n);
    CHECK_INT(n, n_want);
    CHECK_REL(got, want, n, 0);
    rig_close(&r);
}

TEST(t5_encoder__takes_every_name_of_the_word_table)
{
    check_spelling(t5_path, t5_rows,
                   &(struct spelling){ .from = "shared.weight", .to = "encoder.embed_tokens.weight" });
    check_spelling(t5_path, t5_rows, &(struct spelling){ .from = "shared.weight", .to = "shared.weight",
                                                         .twice = "encoder.embed_tokens.weight" });
}

TEST(t5_encoder__takes_prefixes_shards_other_types_and_a_decoder_besides)
{
    check_spelling(t5_path, t5_rows, &(struct spelling){ .prefix = "text_encoders.t5xxl.transformer." });
    check_spelling(t5_path, t5_rows, &(struct spelling){ .n_files = 2 });
    check_spelling(t5_path, t5_rows, &(struct spelling){ .f32 = true });
    check_spelling(t5_path, t5_rows,
                   &(struct spelling){ .extra = "decoder.block.0.layer.0.SelfAttention.q.weight" });
}

TEST(clip_text__takes_prefixes_and_ignores_the_image_encoder)
{
    check_spelling(clip_path, clip_row, &(struct spelling){ .prefix = "text_model." });
    check_spelling(clip_path, clip_row, &(struct spelling){ .prefix = "cond_stage_model.transformer.text_model." });
    check_spelling(clip_path, clip_row, &(struct spelling){ .extra = "vision_model.encoder.layers.90.mlp.fc1.weight" });
    check_spelling(clip_path, clip_row, &(struct spelling){ .extra = "text_projection.weight" });
    check_spelling(clip_path, clip_row, &(struct spelling){ .n_files = 2 });
}
