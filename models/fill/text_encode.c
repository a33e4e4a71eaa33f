#include "models/fill/text_encode.h"

#include "models/fill/tokenizer_folder.h"

/* --- loading --- */

/* Joins the files of a part: t5_weight_set or clip_weight_set. */
typedef enum err_code join_fn(struct weight_set *, const struct tensor_file *, int, struct err *);

/* Opens a part of the folder as `set` and gives it to the loader; `set` must outlive the loading. */
static enum err_code open_part(const struct model_folder *folder, enum model_part part, join_fn *join,
                               struct weight_set *set, struct weight_loader *l, struct arena *model, struct err *err)
{
    struct shards shards;

    l->set = set;
    TRY(model_folder_open(folder, part, model, &shards, err));
    return join(set, shards.files, shards.n_files, err);
}

static enum err_code load_t5(struct text_encoder *e, const struct model_folder *folder, const struct weight_loader *l,
                             struct arena *model, struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;

    TRY(open_part(folder, MODEL_T5, t5_weight_set, &set, &part, model, err));
    TRY(t5_load(&e->t5, &part, model, err));
    return t5_tokenizer_find(&e->t5_tokenizer, folder, model, l->scratch, err);
}

static enum err_code load_clip(struct text_encoder *e, const struct model_folder *folder, const struct weight_loader *l,
                               struct arena *model, struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;

    TRY(open_part(folder, MODEL_CLIP, clip_weight_set, &set, &part, model, err));
    TRY(clip_load(&e->clip, &part, model, err));
    return clip_tokenizer_find(&e->clip_tokenizer, folder, model, l->scratch, err);
}

/* Every id that a tokenizer gives must have a row in its encoder, and both must take the same id for the end of CLIP's
 * text. */
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
        return err_set(err, ERR_UNSUPPORTED, "%s: CLIP has %lld positions, but a prompt takes %d", dir,
                       (long long)e->clip.n_positions, CLIP_MAX_IDS);
    return ERR_OK;
}

enum err_code text_encoder_load(struct text_encoder *ret, const struct model_folder *folder,
                                const struct weight_loader *loader, struct arena *model, struct err *err)
{
    struct text_encoder e = { 0 };

    TRY(load_t5(&e, folder, loader, model, err));
    TRY(load_clip(&e, folder, loader, model, err));
    TRY(check_pairs(&e, folder->dir, err));
    *ret = e;
    return ERR_OK;
}

/* --- running --- */

enum err_code text_tokenize(const struct text_encoder *e, struct span prompt, int t5_len, struct text_ids *ret,
                            struct arena *scratch, struct err *err)
{
    int n = 0;

    if (t5_len < 1 || t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "text: %d positions for T5 are not within 1 .. %d", t5_len, T5_MAX_TOKENS);
    TRY(t5_tokenize(&e->t5_tokenizer, prompt, t5_len, ret->t5, &n, scratch, err));
    t5_pad(&e->t5_tokenizer, ret->t5, n, t5_len);
    ret->n_t5 = t5_len;
    TRY(clip_tokenize(&e->clip_tokenizer, prompt, ret->clip, &n, scratch, err));
    clip_pad(&e->clip_tokenizer, ret->clip, n);
    return ERR_OK;
}

enum err_code text_encode(const struct text_encoder *e, const struct text_ids *ids, struct tensor *prompt_embeds,
                          struct tensor *pooled, struct devarena *step_mem, struct err *err)
{
    TRY(t5_encode(&e->t5, ids->t5, ids->n_t5, prompt_embeds, step_mem, err));
    return clip_encode(&e->clip, ids->clip, CLIP_MAX_IDS, pooled, step_mem, err);
}

/* --- measuring --- */

/* The longest text of t5_len positions, on encoders that run on the measuring backend. */
static enum err_code rehearse(const struct text_encoder *e, int t5_len, struct devarena *out_mem,
                              struct devarena *step_mem, struct err *err)
{
    struct text_ids ids = { .n_t5 = t5_len, .clip[CLIP_MAX_IDS - 1] = (int32_t)e->clip.vocab - 1 };
    struct tensor prompt_embeds, pooled;

    TRY(devarena_init(out_mem, e->t5.be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_init(step_mem, e->t5.be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_2d(out_mem, DT_F32, t5_len, e->t5.d_model, &prompt_embeds, err));
    TRY(devarena_1d(out_mem, DT_F32, e->clip.width, &pooled, err));
    return text_encode(e, &ids, &prompt_embeds, &pooled, step_mem, err);
}

enum err_code text_measure(const struct text_encoder *e, int t5_len, size_t *ret_step_bytes, struct err *err)
{
    struct text_encoder rehearsed = *e;
    struct devarena out_mem = { 0 }, step_mem = { 0 };
    struct backend *be;
    enum err_code rc;

    TRY(backend_measure_open(e->t5.be->act, &be, err));
    rehearsed.t5.be = rehearsed.clip.be = be;
    rc = rehearse(&rehearsed, t5_len, &out_mem, &step_mem, err);
    if (rc == ERR_OK)
        *ret_step_bytes = step_mem.peak;
    devarena_done(&step_mem);
    devarena_done(&out_mem);
    backend_close(be);
    return rc;
}
