#include "models/fill/prompt_pack_make.h"

#include <string.h>

#include "kernels/ops.h"
#include "models/weights/weight_digest.h"
#include "models/fill/text_encode.h"
#include "models/flux/flow_match.h"
#include "models/flux/flux.h"
#include "models/flux/latents.h"

/* Address space: tables of a hundred megabytes for each prompt and schedule are kept until they are written. */
static const size_t arena_bytes = (size_t)256 << 30, scratch_bytes = (size_t)1 << 30;
enum { SLAB_BYTES = 64 << 20, TENSORS_OF_PROMPT = 2, TENSORS_OF_SCHEDULE = 2, PAIRS_OF_FILE = 1 };

struct schedule {
    int64_t n_img;
    float sigmas[FLOW_MATCH_MAX_STEPS + 1];
};

struct maker {
    const struct pack_options *o;
    struct backend *be;
    struct arena arena, scratch;
    struct devarena weights, outputs, step_mem;
    struct text_encoder encoder;
    struct flux flux;
    char digest[WEIGHT_DIGEST_SIZE];
    struct schedule *schedules;
    int n_schedules;
    float **pooled; /* [n_prompts] host copies, for the tables */
    struct tensor_write *tensors;
    struct metadata_pair *pairs;
    int n_tensors, n_pairs;
};

static void progress(const struct maker *m, const char *what, int done)
{
    if (m->o->progress)
        m->o->progress(m->o->ctx, what, done, m->o->n_prompts);
}

static enum err_code check(const struct pack_options *o, struct err *err)
{
    if (o->n_prompts < 1 || o->n_prompts > PROMPT_PACK_MAX || o->n_sizes > PROMPT_PACK_MAX_SCHEDULES)
        return err_set(err, ERR_INVALID,
                       "prompt pack: %d prompts and %d sizes are asked for, allowed are 1 .. %d and 0 .. %d",
                       o->n_prompts, o->n_sizes, PROMPT_PACK_MAX, PROMPT_PACK_MAX_SCHEDULES);
    if (o->t5_len < 1 || o->t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "prompt pack: %d text tokens are not within 1 .. %d", o->t5_len,
                       T5_MAX_TOKENS);
    if (o->n_sizes && (o->steps < 1 || o->steps > FLOW_MATCH_MAX_STEPS || !(o->guidance >= 0)))
        return err_set(err, ERR_INVALID, "prompt pack: %d steps are not within 1 .. %d, or guidance %g is negative",
                       o->steps, FLOW_MATCH_MAX_STEPS, (double)o->guidance);
    return ERR_OK;
}

/* --- what is written --- */

/* Adds a pair of metadata; with i >= 0 the key is "i.key". */
static enum err_code add_pair(struct maker *m, const char *value, const char *key, int i, struct err *err)
{
    char *name = NULL;

    if (i < 0)
        TRY(arena_printf(&m->arena, &name, err, "%s", key));
    else
        TRY(arena_printf(&m->arena, &name, err, "%d.%s", i, key));
    m->pairs[m->n_pairs++] = (struct metadata_pair){ name, value };
    return ERR_OK;
}

/* Adds a tensor [rows, cols], or with n_dims 1 [rows], whose values the caller writes to *ret. */
static enum err_code add_floats(struct maker *m, const char *name, int n_dims, int64_t rows, int64_t cols, float **ret,
                                struct err *err)
{
    struct tensor_write t = { .name = name, .dtype = DT_F32, .n_dims = n_dims, .dims = { rows, cols } };
    float *values = NULL;

    TRY(arena_alloc(&m->arena, (size_t)rows * (size_t)cols, sizeof *values, &values, err));
    if (n_dims == 1)
        t.dims[1] = 0;
    t.data = *ret = values;
    m->tensors[m->n_tensors++] = t;
    return ERR_OK;
}

static enum err_code take_room(struct maker *m, struct err *err)
{
    size_t prompts = (size_t)m->o->n_prompts, sizes = (size_t)m->o->n_sizes;
    size_t n_tensors = prompts * (TENSORS_OF_PROMPT + sizes) + TENSORS_OF_SCHEDULE * sizes;

    TRY(arena_alloc(&m->arena, n_tensors, sizeof *m->tensors, &m->tensors, err));
    TRY(arena_alloc(&m->arena, prompts + PAIRS_OF_FILE, sizeof *m->pairs, &m->pairs, err));
    TRY(arena_alloc(&m->arena, prompts, sizeof *m->pooled, &m->pooled, err));
    if (sizes)
        TRY(arena_alloc(&m->arena, sizes, sizeof *m->schedules, &m->schedules, err));
    return ERR_OK;
}

/* --- embeddings --- */

static enum err_code encode(struct maker *m, const char *prompt, struct tensor *embeds, struct tensor *pooled,
                            struct err *err)
{
    struct text_ids ids;

    TRY(text_tokenize(&m->encoder, span_of(prompt), m->o->t5_len, &ids, &m->scratch, err));
    return text_encode(&m->encoder, &ids, embeds, pooled, &m->step_mem, err);
}

static enum err_code add_prompt(struct maker *m, int i, struct tensor *embeds, struct tensor *pooled, struct err *err)
{
    char *name = NULL, *pooled_name = NULL;
    float *values = NULL;

    if (encode(m, m->o->prompts[i], embeds, pooled, err))
        return err_prefix(err, "prompt %d", i + 1);
    TRY(arena_printf(&m->arena, &name, err, "%d.prompt_embeds", i));
    TRY(add_floats(m, name, 2, tensor_rows(embeds), tensor_cols(embeds), &values, err));
    TRY(op_download(m->be, values, embeds, err));
    TRY(arena_printf(&m->arena, &pooled_name, err, "%d.pooled_prompt_embeds", i));
    TRY(add_floats(m, pooled_name, 1, tensor_count(pooled), 1, &m->pooled[i], err));
    TRY(op_download(m->be, m->pooled[i], pooled, err));
    return add_pair(m, m->o->prompts[i], "prompt", i, err);
}

static enum err_code make_embeddings(struct maker *m, struct err *err)
{
    const struct model_folder folder = { .dir = m->o->dir };
    const struct weight_loader l = {
        .be = m->be, .mem = &m->weights, .scratch = &m->scratch, .made = &m->arena, .prove = true
    };
    struct tensor embeds, pooled;
    size_t step_bytes = 0;

    TRY(text_encoder_load(&m->encoder, &folder, &l, &m->arena, err));
    TRY(text_measure(&m->encoder, m->o->t5_len, &step_bytes, err));
    TRY(devarena_init(&m->step_mem, m->be, step_bytes, 0, err));
    TRY(devarena_2d(&m->outputs, DT_F32, m->o->t5_len, m->encoder.t5.d_model, &embeds, err));
    TRY(devarena_1d(&m->outputs, DT_F32, m->encoder.clip.width, &pooled, err));
    for (int i = 0; i < m->o->n_prompts; i++) {
        progress(m, "text", i);
        TRY(add_prompt(m, i, &embeds, &pooled, err));
    }
    progress(m, "text", m->o->n_prompts);
    devarena_done(&m->step_mem);
    return ERR_OK;
}

/* --- modulation --- */

static enum err_code add_schedule(struct maker *m, const struct pack_size *size, struct err *err)
{
    int64_t n_img = (int64_t)(size->width / TOKEN_SIDE) * (size->height / TOKEN_SIDE);
    struct schedule *s = &m->schedules[m->n_schedules];
    char *name = NULL, *guidance_name = NULL;
    float *values = NULL;

    for (int i = 0; i < m->n_schedules; i++)
        if (m->schedules[i].n_img == n_img)
            return ERR_OK;
    TRY(flow_match_sigmas(m->o->steps, n_img, s->sigmas, err));
    TRY(arena_printf(&m->arena, &name, err, "schedule.%d.sigmas", m->n_schedules));
    TRY(add_floats(m, name, 1, m->o->steps, 1, &values, err));
    memcpy(values, s->sigmas, (size_t)m->o->steps * sizeof *values);
    TRY(arena_printf(&m->arena, &guidance_name, err, "schedule.%d.guidance", m->n_schedules));
    TRY(add_floats(m, guidance_name, 1, 1, 1, &values, err));
    *values = m->o->guidance;
    s->n_img = n_img;
    m->n_schedules++;
    return ERR_OK;
}

/* Where the backend can unload weights, a matrix is on it only while it is used. */
static enum err_code load_transformer(struct maker *m, struct err *err)
{
    const struct model_folder folder = { .dir = m->o->dir, .transformer = m->o->transformer };
    struct weight_loader l = {
        .be = m->be, .mem = &m->weights, .scratch = &m->scratch, .made = &m->arena, .prove = true
    };
    struct weight_set set;
    enum flux_in_file in_file = m->be->ops->weight_unload ? FLUX_IN_FILE_ALL : FLUX_IN_FILE_NONE;
    struct shards shards;

    l.set = &set;
    TRY(model_folder_open(&folder, MODEL_TRANSFORMER, &m->arena, &shards, err));
    TRY(flux_weight_set(&set, shards.files, shards.n_files, err));
    TRY(flux_load_some(&m->flux, &l, in_file, &m->arena, err));
    weight_digest_with_vectors(&shards, m->digest);
    return ERR_OK;
}

static enum err_code add_table(struct maker *m, int i, int k, const struct tensor *pooled, struct tensor *table,
                               struct err *err)
{
    const struct flux_inputs in = {
        .n_steps = m->o->steps, .sigmas = m->schedules[k].sigmas, .guidance = m->o->guidance, .pooled = pooled
    };
    char *name = NULL;
    float *values = NULL;

    TRY(flux_modulate(&m->flux, &in, table, &m->step_mem, &m->scratch, err));
    TRY(arena_printf(&m->arena, &name, err, "%d.modulation.%d", i, k));
    TRY(add_floats(m, name, 2, tensor_rows(table), tensor_cols(table), &values, err));
    return op_download(m->be, values, table, err);
}

static enum err_code add_tables(struct maker *m, int i, struct tensor *pooled, struct tensor *table, struct err *err)
{
    TRY(op_upload(m->be, pooled, m->pooled[i], err));
    for (int k = 0; k < m->n_schedules; k++)
        TRY(add_table(m, i, k, pooled, table, err));
    return ERR_OK;
}

static enum err_code make_tables(struct maker *m, struct err *err)
{
    const struct flux_size smallest = { .grid_rows = 1, .grid_cols = 1, .n_txt = 1, .n_steps = m->o->steps };
    const struct flux_config *c = &m->flux.config;
    struct flux_memory memory;
    struct tensor pooled, table;

    TRY(load_transformer(m, err));
    if (c->pooled != m->encoder.clip.width)
        return err_set(err, ERR_CORRUPT, "%s: CLIP's embeddings are %lld wide, but the transformer takes %lld",
                       m->o->dir, (long long)m->encoder.clip.width, (long long)c->pooled);
    for (int i = 0; i < m->o->n_sizes; i++)
        TRY(add_schedule(m, &m->o->sizes[i], err));
    TRY(flux_measure(&m->flux, &smallest, &m->scratch, &memory, err));
    TRY(devarena_init(&m->step_mem, m->be, memory.step_bytes, 0, err));
    TRY(devarena_1d(&m->outputs, DT_F32, c->pooled, &pooled, err));
    TRY(devarena_2d(&m->outputs, DT_F32, m->o->steps, flux_modulation_cols(c), &table, err));
    for (int i = 0; i < m->o->n_prompts; i++) {
        progress(m, "modulation", i);
        TRY(add_tables(m, i, &pooled, &table, err));
    }
    progress(m, "modulation", m->o->n_prompts);
    return add_pair(m, m->digest, "transformer", -1, err);
}

/* --- the whole --- */

static enum err_code make(struct maker *m, const char *path, struct err *err)
{
    TRY(arena_init(&m->arena, arena_bytes, err));
    TRY(arena_init(&m->scratch, scratch_bytes, err));
    TRY(devarena_init(&m->weights, m->be, 0, SLAB_BYTES, err));
    TRY(devarena_init(&m->outputs, m->be, 0, SLAB_BYTES, err));
    TRY(take_room(m, err));
    TRY(make_embeddings(m, err));
    if (m->o->n_sizes)
        TRY(make_tables(m, err));
    return safetensors_write(path, m->tensors, m->n_tensors, m->pairs, m->n_pairs, err);
}

enum err_code prompt_pack_make(const struct pack_options *options, struct backend *be, const char *path,
                               struct err *err)
{
    struct maker m = { .o = options, .be = be };
    enum err_code rc;

    TRY(check(options, err));
    rc = make(&m, path, err);
    devarena_done(&m.step_mem);
    devarena_done(&m.outputs);
    devarena_done(&m.weights);
    arena_done(&m.scratch);
    arena_done(&m.arena);
    return rc;
}
