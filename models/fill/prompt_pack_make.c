#include "models/fill/prompt_pack_make.h"

#include <string.h>

#include "kernels/ops.h"
#include "models/flux/flow_match.h"
#include "models/flux/flux.h"
#include "models/flux/latents.h"
#include "models/fill/text_encode.h"
#include "models/file/weight_digest.h"

/* Address space; tables of a hundred megabytes for each prompt and schedule are kept until they are written. */
static const size_t arena_bytes = (size_t)256 << 30, scratch_bytes = (size_t)1 << 30;
enum { SLAB_BYTES = 64 << 20, TENSORS_OF_PROMPT = 2, TENSORS_OF_SCHEDULE = 2, PAIRS_BEFORE_PROMPTS = 1 };

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

static enum err_code check(const struct pack_options *o, struct err *err)
{
    if (o->n_prompts < 1 || o->n_prompts > PROMPT_PACK_MAX || o->n_sizes > PROMPT_PACK_MAX_SCHEDULES)
        return err_set(err, ERR_INVALID, "prompt pack: %d prompts and %d sizes, up to %d and %d", o->n_prompts,
                       o->n_sizes, PROMPT_PACK_MAX, PROMPT_PACK_MAX_SCHEDULES);
    if (o->t5_len < 1 || o->t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "prompt pack: %d text tokens", o->t5_len);
    if (o->n_sizes && (o->steps < 1 || o->steps > PROMPT_PACK_MAX_STEPS || !(o->guidance >= 0)))
        return err_set(err, ERR_INVALID, "prompt pack: %d steps, guidance %g", o->steps, (double)o->guidance);
    return ERR_OK;
}

/* --- what is written --- */

static enum err_code add_pair(struct maker *m, const char *value, const char *key, int i, struct err *err)
{
    char *name = NULL;
    enum err_code rc =
        i < 0 ? arena_printf(&m->arena, &name, err, "%s", key) : arena_printf(&m->arena, &name, err, "%d.%s", i, key);

    if (!rc)
        m->pairs[m->n_pairs++] = (struct metadata_pair){ name, value };
    return rc;
}

static enum err_code add_floats(struct maker *m, const char *name, int n_dims, int64_t rows, int64_t cols, float **ret,
                                struct err *err)
{
    struct tensor_write t = { .name = name, .dtype = DT_F32, .n_dims = n_dims, .dims = { rows, cols } };
    float *values = NULL;
    enum err_code rc = arena_alloc(&m->arena, (size_t)rows * (size_t)cols, sizeof *values, &values, err);

    if (rc)
        return rc;
    if (n_dims == 1)
        t.dims[1] = 0;
    t.data = *ret = values;
    m->tensors[m->n_tensors++] = t;
    return ERR_OK;
}

static enum err_code take_room(struct maker *m, struct err *err)
{
    size_t prompts = (size_t)m->o->n_prompts, sizes = (size_t)m->o->n_sizes;
    enum err_code rc = arena_alloc(&m->arena, prompts * (TENSORS_OF_PROMPT + sizes) + TENSORS_OF_SCHEDULE * sizes,
                                   sizeof *m->tensors, &m->tensors, err);

    if (!rc)
        rc = arena_alloc(&m->arena, prompts + PAIRS_BEFORE_PROMPTS, sizeof *m->pairs, &m->pairs, err);
    if (!rc)
        rc = arena_alloc(&m->arena, prompts, sizeof *m->pooled, &m->pooled, err);
    if (!rc && sizes)
        rc = arena_alloc(&m->arena, sizes, sizeof *m->schedules, &m->schedules, err);
    return rc;
}

/* --- embeddings --- */

static enum err_code encode(struct maker *m, const char *prompt, struct tensor *embeds, struct tensor *pooled,
                            struct err *err)
{
    struct text_ids ids;
    enum err_code rc = text_tokenize(&m->encoder, span_of(prompt), m->o->t5_len, &ids, &m->scratch, err);

    return rc ? rc : text_encode(&m->encoder, &ids, embeds, pooled, &m->step_mem, err);
}

static enum err_code add_prompt(struct maker *m, int i, struct tensor *embeds, struct tensor *pooled, struct err *err)
{
    char *name = NULL, *pooled_name = NULL;
    float *values = NULL;
    enum err_code rc = encode(m, m->o->prompts[i], embeds, pooled, err);

    if (rc)
        return err_prefix(err, "prompt %d", i + 1);
    rc = arena_printf(&m->arena, &name, err, "%d.prompt_embeds", i);
    if (!rc)
        rc = add_floats(m, name, 2, tensor_rows(embeds), tensor_cols(embeds), &values, err);
    if (!rc)
        rc = op_download(m->be, values, embeds, err);
    if (!rc)
        rc = arena_printf(&m->arena, &pooled_name, err, "%d.pooled_prompt_embeds", i);
    if (!rc)
        rc = add_floats(m, pooled_name, 1, tensor_count(pooled), 1, &m->pooled[i], err);
    if (!rc)
        rc = op_download(m->be, m->pooled[i], pooled, err);
    return rc ? rc : add_pair(m, m->o->prompts[i], "prompt", i, err);
}

static enum err_code make_embeddings(struct maker *m, struct err *err)
{
    const struct model_folder folder = { .dir = m->o->dir };
    const struct weight_loader l = { .be = m->be, .mem = &m->weights, .scratch = &m->scratch };
    struct tensor embeds, pooled;
    size_t step_bytes = 0;
    enum err_code rc = text_encoder_load(&m->encoder, &folder, &l, &m->arena, err);

    if (!rc)
        rc = text_measure(&m->encoder, m->o->t5_len, &step_bytes, err);
    if (!rc)
        rc = devarena_init(&m->step_mem, m->be, step_bytes, 0, err);
    if (!rc)
        rc = devarena_2d(&m->outputs, DT_F32, m->o->t5_len, m->encoder.t5.d_model, &embeds, err);
    if (!rc)
        rc = devarena_1d(&m->outputs, DT_F32, m->encoder.clip.width, &pooled, err);
    for (int i = 0; i < m->o->n_prompts && !rc; i++)
        rc = add_prompt(m, i, &embeds, &pooled, err);
    devarena_done(&m->step_mem);
    return rc;
}

/* --- modulation --- */

static enum err_code add_schedule(struct maker *m, const struct pack_size *size, struct err *err)
{
    int64_t n_img = (int64_t)(size->width / TOKEN_SIDE) * (size->height / TOKEN_SIDE);
    struct schedule *s = &m->schedules[m->n_schedules];
    char *name = NULL, *guidance_name = NULL;
    float *values = NULL;
    enum err_code rc;

    for (int i = 0; i < m->n_schedules; i++)
        if (m->schedules[i].n_img == n_img)
            return ERR_OK;
    rc = flow_match_sigmas(m->o->steps, n_img, s->sigmas, err);
    if (!rc)
        rc = arena_printf(&m->arena, &name, err, "schedule.%d.sigmas", m->n_schedules);
    if (!rc)
        rc = add_floats(m, name, 1, m->o->steps, 1, &values, err);
    if (rc)
        return rc;
    memcpy(values, s->sigmas, (size_t)m->o->steps * sizeof *values);
    rc = arena_printf(&m->arena, &guidance_name, err, "schedule.%d.guidance", m->n_schedules);
    if (!rc)
        rc = add_floats(m, guidance_name, 1, 1, 1, &values, err);
    if (rc)
        return rc;
    *values = m->o->guidance;
    s->n_img = n_img;
    m->n_schedules++;
    return ERR_OK;
}

/* No matrix goes to the backend but for the moment in which it is used. */
static enum err_code load_transformer(struct maker *m, struct err *err)
{
    const struct model_folder folder = { .dir = m->o->dir, .transformer = m->o->transformer };
    struct weight_loader l = { .be = m->be, .mem = &m->weights, .scratch = &m->scratch };
    struct weight_set set;
    struct shards shards;
    enum err_code rc = model_folder_open(&folder, MODEL_TRANSFORMER, &m->arena, &shards, err);

    l.set = &set;
    if (!rc)
        rc = flux_weight_set(&set, shards.files, shards.n_files, err);
    if (!rc)
        rc = flux_load_some(&m->flux, &l, m->be->ops->weight_unload ? FLUX_IN_FILE_ALL : FLUX_IN_FILE_NONE, &m->arena,
                            err);
    if (!rc)
        weight_digest_with_vectors(&shards, m->digest);
    return rc;
}

static enum err_code add_table(struct maker *m, int i, int k, const struct tensor *pooled, struct tensor *table,
                               struct err *err)
{
    const struct flux_inputs in = {
        .n_steps = m->o->steps, .sigmas = m->schedules[k].sigmas, .guidance = m->o->guidance, .pooled = pooled
    };
    char *name = NULL;
    float *values = NULL;
    enum err_code rc = flux_modulate(&m->flux, &in, table, &m->step_mem, &m->scratch, err);

    if (!rc)
        rc = arena_printf(&m->arena, &name, err, "%d.modulation.%d", i, k);
    if (!rc)
        rc = add_floats(m, name, 2, tensor_rows(table), tensor_cols(table), &values, err);
    return rc ? rc : op_download(m->be, values, table, err);
}

static enum err_code add_tables(struct maker *m, int i, struct tensor *pooled, struct tensor *table, struct err *err)
{
    enum err_code rc = op_upload(m->be, pooled, m->pooled[i], err);

    for (int k = 0; k < m->n_schedules && !rc; k++)
        rc = add_table(m, i, k, pooled, table, err);
    return rc;
}

static enum err_code make_tables(struct maker *m, struct err *err)
{
    const struct flux_config *c = &m->flux.config;
    struct tensor pooled, table;
    size_t job_bytes, step_bytes = 0;
    enum err_code rc = load_transformer(m, err);

    if (!rc && c->pooled != m->encoder.clip.width)
        rc = err_set(err, ERR_CORRUPT, "%s: CLIP is %lld wide, the transformer takes %lld", m->o->dir,
                     (long long)m->encoder.clip.width, (long long)c->pooled);
    for (int i = 0; i < m->o->n_sizes && !rc; i++)
        rc = add_schedule(m, &m->o->sizes[i], err);
    if (!rc)
        rc = flux_measure(&m->flux, 1, 1, 1, m->o->steps, &m->scratch, &job_bytes, &step_bytes, err);
    if (!rc)
        rc = devarena_init(&m->step_mem, m->be, step_bytes, 0, err);
    if (!rc)
        rc = devarena_1d(&m->outputs, DT_F32, c->pooled, &pooled, err);
    if (!rc)
        rc = devarena_2d(&m->outputs, DT_F32, m->o->steps, flux_modulation_cols(c), &table, err);
    for (int i = 0; i < m->o->n_prompts && !rc; i++)
        rc = add_tables(m, i, &pooled, &table, err);
    return rc ? rc : add_pair(m, m->digest, "transformer", -1, err);
}

enum err_code prompt_pack_make(const struct pack_options *options, struct backend *be, const char *path,
                               struct err *err)
{
    struct maker m = { .o = options, .be = be };
    enum err_code rc = check(options, err);

    if (rc)
        return rc;
    rc = arena_init(&m.arena, arena_bytes, err);
    if (!rc)
        rc = arena_init(&m.scratch, scratch_bytes, err);
    if (!rc)
        rc = devarena_init(&m.weights, be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = devarena_init(&m.outputs, be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = take_room(&m, err);
    if (!rc)
        rc = make_embeddings(&m, err);
    if (!rc && options->n_sizes)
        rc = make_tables(&m, err);
    if (!rc)
        rc = safetensors_write(path, m.tensors, m.n_tensors, m.pairs, m.n_pairs, err);
    devarena_done(&m.step_mem);
    devarena_done(&m.outputs);
    devarena_done(&m.weights);
    arena_done(&m.scratch);
    arena_done(&m.arena);
    return rc;
}
