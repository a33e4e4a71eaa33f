#include "models/fill/text_encode.h"

#include <string.h>

#include "models/fill/tokenizer_folder.h"

/* --- loading --- */

typedef enum err_code join_fn(struct weight_set *, const struct tensor_file *, int, struct err *);

/* Opens a part of the folder and gives it to the loader as `set`, which must outlive the loading. */
static enum err_code open_part(const struct model_folder *folder, enum model_part part, join_fn *join,
                               struct weight_set *set, struct weight_loader *l, struct arena *model, struct err *err)
{
    struct shards shards;
    enum err_code rc = model_folder_open(folder, part, model, &shards, err);

    if (!rc)
        rc = join(set, shards.files, shards.n_files, err);
    l->set = set;
    return rc;
}

static enum err_code load_t5(struct text_encoder *e, const struct model_folder *folder, const struct weight_loader *l,
                             struct arena *model, struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;
    enum err_code rc = open_part(folder, MODEL_T5, t5_weight_set, &set, &part, model, err);

    if (!rc)
        rc = t5_load(&e->t5, &part, model, err);
    return rc ? rc : t5_tokenizer_find(&e->t5_tokenizer, folder, model, l->scratch, err);
}

static enum err_code load_clip(struct text_encoder *e, const struct model_folder *folder, const struct weight_loader *l,
                               struct arena *model, struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;
    enum err_code rc = open_part(folder, MODEL_CLIP, clip_weight_set, &set, &part, model, err);

    if (!rc)
        rc = clip_load(&e->clip, &part, model, err);
    return rc ? rc : clip_tokenizer_find(&e->clip_tokenizer, folder, model, l->scratch, err);
}

/* Every id that a tokenizer can give has a row, and both agree on where CLIP's text ends. */
static enum err_code check_pairs(const struct text_encoder *e, const char *dir, struct err *err)
{
    int32_t end = e->clip_tokenizer.vocab.special_id[CLIP_END];

    if (e->t5_tokenizer.max_id >= e->t5.vocab)
        return err_set(err, ERR_CORRUPT, "%s: the T5 tokenizer gives ids up to %d, the encoder has %lld rows", dir,
                       (int)e->t5_tokenizer.max_id, (long long)e->t5.vocab);
    if (end != e->clip.vocab - 1)
        return err_set(err, ERR_CORRUPT, "%s: the CLIP tokenizer ends texts with id %d, the encoder with %lld", dir,
                       (int)end, (long long)e->clip.vocab - 1);
    if (e->clip.n_positions < CLIP_MAX_IDS)
        return err_set(err, ERR_UNSUPPORTED, "%s: CLIP has %lld positions, wanted %d", dir,
                       (long long)e->clip.n_positions, CLIP_MAX_IDS);
    return ERR_OK;
}

enum err_code text_encoder_load(struct text_encoder *ret, const struct model_folder *folder,
                                const struct weight_loader *loader, struct arena *model, struct err *err)
{
    struct weight_loader l = *loader;
    struct text_encoder e = { 0 };
    enum err_code rc = load_t5(&e, folder, &l, model, err);

    if (!rc)
        rc = load_clip(&e, folder, &l, model, err);
    if (!rc)
        rc = check_pairs(&e, folder->dir, err);
    if (!rc)
        *ret = e;
    return rc;
}

/* --- running --- */

enum err_code text_tokenize(const struct text_encoder *e, struct span prompt, int t5_len, struct text_ids *ret,
                            struct arena *scratch, struct err *err)
{
    int n = 0;
    enum err_code rc;

    if (t5_len < 1 || t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "text: %d positions for T5 are not within 1 .. %d", t5_len, T5_MAX_TOKENS);
    rc = t5_tokenize(&e->t5_tokenizer, prompt, t5_len, ret->t5, &n, scratch, err);
    if (rc)
        return rc;
    t5_pad(&e->t5_tokenizer, ret->t5, n, t5_len);
    ret->n_t5 = t5_len;
    rc = clip_tokenize(&e->clip_tokenizer, prompt, ret->clip, &n, scratch, err);
    if (!rc)
        clip_pad(&e->clip_tokenizer, ret->clip, n);
    return rc;
}

enum err_code text_encode(const struct text_encoder *e, const struct text_ids *ids, struct tensor *prompt_embeds,
                          struct tensor *pooled, struct devarena *step_mem, struct err *err)
{
    enum err_code rc = t5_encode(&e->t5, ids->t5, ids->n_t5, prompt_embeds, step_mem, err);

    return rc ? rc : clip_encode(&e->clip, ids->clip, CLIP_MAX_IDS, pooled, step_mem, err);
}

/* --- measuring --- */

static enum err_code rehearse(const struct text_encoder *e, const struct text_ids *ids, struct devarena *out_mem,
                              struct devarena *step_mem, struct err *err)
{
    struct tensor prompt_embeds, pooled;
    enum err_code rc = devarena_2d(out_mem, DT_F32, ids->n_t5, e->t5.d_model, &prompt_embeds, err);

    if (!rc)
        rc = devarena_1d(out_mem, DT_F32, e->clip.width, &pooled, err);
    return rc ? rc : text_encode(e, ids, &prompt_embeds, &pooled, step_mem, err);
}

enum err_code text_measure(const struct text_encoder *e, int t5_len, size_t *ret_step_bytes, struct err *err)
{
    struct text_encoder measure = *e;
    struct text_ids ids = { .n_t5 = t5_len };
    struct devarena out_mem = { 0 }, step_mem = { 0 };
    struct backend *be = NULL;
    enum err_code rc = backend_measure_open(e->t5.be->act, &be, err);

    if (!rc)
        rc = devarena_init(&out_mem, be, BACKEND_MEASURE_PLENTY, 0, err);
    if (!rc)
        rc = devarena_init(&step_mem, be, BACKEND_MEASURE_PLENTY, 0, err);
    if (rc)
        goto out;
    measure.t5.be = measure.clip.be = be;
    ids.clip[CLIP_MAX_IDS - 1] = (int32_t)e->clip.vocab - 1; /* the longest text */
    rc = rehearse(&measure, &ids, &out_mem, &step_mem, err);
    if (!rc)
        *ret_step_bytes = step_mem.peak;
out:
    devarena_done(&step_mem);
    devarena_done(&out_mem);
    backend_close(be);
    return rc;
}
