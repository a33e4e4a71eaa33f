#include "models/bench/bench_text.h"

#include "kernels/bench_product.h"
#include "models/bench/bench_rig.h"
#include "models/bench/bench_sustain.h"
#include "models/bench/random_text.h"
#include "models/fill/text_encode.h"

static enum err_code make_up(struct bench_rig *r, const struct bench_text *b, struct err *err)
{
    TRY(random_model_add_t5(&r->made_up, b->t5_layers, err));
    r->made_up.type = DT_BF16;
    TRY(random_model_add_clip(&r->made_up, CLIP_VOCAB, b->clip_layers, err));
    return random_model_finish(&r->made_up, &r->file, err);
}

struct text_rig {
    struct bench_rig rig;
    struct text_encoder encoder; /* without tokenizers */
    struct text_ids ids;
    struct tensor prompt_embeds, pooled;
};

static enum err_code load(struct text_rig *r, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->rig.o->be;
    double begin;

    TRY(t5_weight_set(&r->rig.set, &r->rig.file, 1, err));
    backend_expect_weights(be, r->rig.o->weights, tensor_file_expanded_bytes(&r->rig.file));
    begin = bench_clock();
    TRY(t5_load(&r->encoder.t5, &r->rig.loader, &r->rig.arena, err));
    TRY(clip_weight_set(&r->rig.set, &r->rig.file, 1, err));
    TRY(clip_load(&r->encoder.clip, &r->rig.loader, &r->rig.arena, err));
    TRY(be->ops->sync(be, err));
    bench_keep_since(r->rig.o, f, begin);
    return ERR_OK;
}

/* A text of full length: CLIP's end token is at the last position. */
static void make_ids(struct text_rig *r)
{
    r->ids.n_t5 = r->rig.o->n_txt;
    for (int i = 0; i < r->ids.n_t5; i++)
        r->ids.t5[i] = i * 61 % T5_VOCAB;
    for (int i = 0; i < CLIP_MAX_IDS; i++)
        r->ids.clip[i] = i * 631 % (CLIP_VOCAB - 1);
    r->ids.clip[CLIP_MAX_IDS - 1] = CLIP_VOCAB - 1;
}

static enum err_code take_memory(struct text_rig *r, struct err *err)
{
    struct bench_rig *rig = &r->rig;
    size_t step_bytes = 0, out_bytes = (size_t)(rig->o->n_txt * T5_WIDTH + CLIP_WIDTH) * sizeof(float) + 4096;

    TRY(text_measure(&r->encoder, rig->o->n_txt, &step_bytes, err));
    TRY(devarena_init(&rig->step_mem, rig->o->be, step_bytes, 0, err));
    TRY(devarena_init(&rig->request_mem, rig->o->be, out_bytes, 0, err));
    TRY(devarena_2d(&rig->request_mem, DT_F32, rig->o->n_txt, T5_WIDTH, &r->prompt_embeds, err));
    return devarena_1d(&rig->request_mem, DT_F32, CLIP_WIDTH, &r->pooled, err);
}

static enum err_code run_t5(void *ctx, struct err *err)
{
    struct text_rig *r = ctx;

    return t5_encode(&r->encoder.t5, r->ids.t5, r->ids.n_t5, &r->prompt_embeds, &r->rig.step_mem, err);
}

static enum err_code run_clip(void *ctx, struct err *err)
{
    struct text_rig *r = ctx;

    return clip_encode(&r->encoder.clip, r->ids.clip, CLIP_MAX_IDS, &r->pooled, &r->rig.step_mem, err);
}

/* n tokens through n_layers, of which each has `values` values in its matrices and an attention of `width`. */
static double flop(int n_layers, double n, double values, double width)
{
    return n_layers * (2 * n * values + 4 * n * n * width);
}

static int layers(int all, int max)
{
    return max > 0 && max < all ? max : all;
}

static enum err_code time_text(struct text_rig *r, struct bench_text *b, struct err *err)
{
    const struct bench_options *o = r->rig.o;

    TRY(make_up(&r->rig, b, err));
    TRY(load(r, &b->load, err));
    TRY(take_memory(r, err));
    TRY(bench_rig_product(&r->rig, &b->product, err));
    make_ids(r);
    b->t5.flop = flop(b->t5_layers, o->n_txt, 4.0 * T5_WIDTH * T5_WIDTH + 3.0 * T5_WIDTH * T5_FF, T5_WIDTH);
    b->clip.flop =
        flop(b->clip_layers, CLIP_MAX_IDS, 4.0 * CLIP_WIDTH * CLIP_WIDTH + 2.0 * CLIP_WIDTH * CLIP_MLP, CLIP_WIDTH);
    TRY(bench_sustain(o, &b->t5, run_t5, r, err));
    TRY(bench_sustain(o, &b->clip, run_clip, r, err));
    for (int i = 0; i < r->rig.file.n_entries; i++)
        b->weight_bytes += r->rig.file.entries[i].bytes;
    b->step_bytes = r->rig.step_mem.peak;
    b->device_bytes = (size_t)backend_memory(o->be).used;
    return ERR_OK;
}

enum err_code bench_text(const struct bench_options *o, struct bench_text *ret, struct err *err)
{
    struct bench_text b = { .t5_layers = layers(BENCH_T5_LAYERS, o->max_layers),
                            .clip_layers = layers(BENCH_CLIP_LAYERS, o->max_layers) };
    struct text_rig r = { 0 };
    enum err_code rc = bench_rig_open(&r.rig, o, o->be->in_place ? RANDOM_WEIGHTS_OWN : RANDOM_WEIGHTS_SHARED, err);

    if (rc == ERR_OK)
        rc = time_text(&r, &b, err);
    if (rc == ERR_OK)
        *ret = b;
    bench_rig_close(&r.rig);
    return rc;
}
