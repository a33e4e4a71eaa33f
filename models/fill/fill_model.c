/* fill_model - opening a folder, and the memory of the largest request. */
#include "models/fill/fill_model.h"

#include <stdlib.h>
#include <string.h>

#include "models/fill/fill_memory.h"
#include "models/flux/latents.h"
#include "models/fill/model_folder.h"

/* Address space; it becomes memory where it is touched. */
static const size_t arena_bytes = (size_t)1 << 30, scratch_bytes = (size_t)4 << 30;
enum { WEIGHTS_SLAB_BYTES = 16 << 20 };

static enum err_code check_limits(const struct fill_options *o, struct err *err)
{
    if (o->max_width < FILL_MIN_SIDE || o->max_width > FILL_MAX_SIDE || o->max_height < FILL_MIN_SIDE ||
        o->max_height > FILL_MAX_SIDE)
        return err_set(err, ERR_INVALID, "fill: %d x %d pixels, a side has %d to %d", o->max_width, o->max_height,
                       FILL_MIN_SIDE, FILL_MAX_SIDE);
    if (o->max_steps < 1 || o->max_steps > FILL_MAX_STEPS || o->max_t5_len < 1 || o->max_t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "fill: %d steps, %d text tokens", o->max_steps, o->max_t5_len);
    return ERR_OK;
}

static _Atomic int64_t *loaded_bytes(const struct fill_model *m)
{
    return m->limits.loading ? &m->limits.loading->loaded_bytes : NULL;
}

/* Opens a part of the folder and joins its files. */
static enum err_code open_part(struct fill_model *m, const struct model_folder *folder, enum model_part part,
                               enum err_code (*join)(struct weight_set *, const struct tensor_file *, int,
                                                     struct err *),
                               struct weight_set *set, struct shards *shards, struct err *err)
{
    enum err_code rc = model_folder_open(folder, part, &m->arena, shards, err);

    return rc ? rc : join(set, shards->files, shards->n_files, err);
}

static enum err_code load_vae(struct fill_model *m, const struct model_folder *folder, const struct weight_loader *l,
                              struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;
    struct shards shards;
    enum err_code rc = open_part(m, folder, MODEL_VAE, vae_weight_set, &set, &shards, err);

    part.set = &set;
    return rc ? rc : vae_load(&m->vae, &part, err);
}

/* Tables of another transformer are none. */
static void join_tables(struct fill_model *m, const struct shards *transformer)
{
    char digest[WEIGHT_DIGEST_SIZE];

    if (!m->pack.n_schedules)
        return;
    weight_digest_with_vectors(transformer, digest);
    if (strcmp(digest, m->pack.transformer) != 0)
        m->pack.n_schedules = 0;
}

/* Jobs that a table is there for never touch the modulation's weights, so they stay in the file; for other jobs they
 * are uploaded meanwhile. */
static enum flux_in_file modulation_place(const struct fill_model *m)
{
    const bool wanted = m->pack.n_schedules || m->limits.modulation_in_file;

    return wanted && m->be->ops->weight_unload ? FLUX_IN_FILE_MODULATION : FLUX_IN_FILE_NONE;
}

static enum err_code load_transformer(struct fill_model *m, const struct model_folder *folder,
                                      const struct weight_loader *l, struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;
    struct shards shards;
    enum err_code rc = open_part(m, folder, MODEL_TRANSFORMER, flux_weight_set, &set, &shards, err);

    part.set = &set;
    if (rc)
        return rc;
    m->transformer = shards.files[0].path;
    join_tables(m, &shards);
    rc = flux_load_some(&m->flux, &part, modulation_place(m), &m->arena, err);
    return rc ? rc : flux_require_fill(&m->flux.config, err);
}

static enum err_code load_pack(struct fill_model *m, const char *path, struct err *err)
{
    m->has_pack = true;
    return prompt_pack_open(path, &m->arena, &m->pack, err);
}

/* Its prompts have the lengths that they have, so there is room for the longest. */
static void make_room_for_pack(struct fill_model *m)
{
    for (int i = 0; i < m->pack.n_entries; i++) {
        const struct prompt_entry *e = &m->pack.entries[i];

        if (!i || e->t5_len > m->longest_prompt->t5_len)
            m->longest_prompt = e;
        if (e->t5_len > m->limits.max_t5_len)
            m->limits.max_t5_len = (int)e->t5_len;
    }
}

/* The prompt pack, if there is one, and the text encoders; where there is no T5 the pack is enough. */
static enum err_code load_text(struct fill_model *m, const struct model_folder *folder, const struct weight_loader *l,
                               struct err *err)
{
    struct model_found t5, pack;
    enum err_code rc = ERR_OK;

    if (model_folder_find(folder, MODEL_PROMPTS, &m->arena, &pack, NULL) == ERR_OK)
        rc = load_pack(m, pack.path, err);
    if (rc)
        return rc;
    if (m->has_pack && model_folder_find(folder, MODEL_T5, &m->arena, &t5, NULL) == ERR_NOT_FOUND) {
        make_room_for_pack(m);
        return ERR_OK;
    }
    m->has_encoders = true;
    return text_encoder_load(&m->text, folder, l, &m->arena, err);
}

/* What encodes the prompt feeds this transformer. */
static enum err_code check_width(const struct fill_model *m, const char *what, int64_t context, int64_t pooled,
                                 struct err *err)
{
    if (context != m->flux.config.context || pooled != m->flux.config.pooled)
        return err_set(err, ERR_CORRUPT, "%s: T5 and CLIP are %lld and %lld wide, the transformer takes %lld and %lld",
                       what, (long long)context, (long long)pooled, (long long)m->flux.config.context,
                       (long long)m->flux.config.pooled);
    return ERR_OK;
}

static enum err_code check_widths(const struct fill_model *m, const char *dir, struct err *err)
{
    enum err_code rc = ERR_OK;

    if (m->has_encoders)
        rc = check_width(m, dir, m->text.t5.d_model, m->text.clip.width, err);
    if (!rc && m->has_pack)
        rc = check_width(m, "prompt pack", m->pack.entries[0].context, m->pack.entries[0].pooled, err);
    if (!rc && m->pack.n_schedules && m->pack.modulation_columns != flux_modulation_cols(&m->flux.config))
        rc = err_set(err, ERR_CORRUPT, "prompt pack: tables of %lld columns, the transformer has %lld",
                     (long long)m->pack.modulation_columns, (long long)flux_modulation_cols(&m->flux.config));
    return rc;
}

/* Sizes and digests of all files, and to the backend what is going to be loaded: without that a GPU that is too small
 * for all weights as bf16 would try to keep them so. What cannot be opened will tell so when it is loaded. */
static int64_t survey(struct fill_model *m, const struct model_folder *folder)
{
    static const enum model_part parts[FILL_MODEL_PARTS] = { MODEL_TRANSFORMER, MODEL_VAE, MODEL_T5, MODEL_CLIP };
    struct arena_mark mark = arena_mark(&m->scratch);
    int64_t bytes = 0;
    size_t expanded = 0;

    for (int i = 0; i < FILL_MODEL_PARTS; i++) {
        struct shards shards;

        if (model_folder_open(folder, parts[i], &m->scratch, &shards, NULL))
            continue;
        bytes += shards_bytes(&shards);
        for (int f = 0; f < shards.n_files; f++)
            expanded += tensor_file_expanded_bytes(&shards.files[f]);
        weight_digest_of_directory(&shards, m->digests[i]);
    }
    arena_rewind(&m->scratch, mark);
    if (m->limits.loading)
        m->limits.loading->total_bytes = bytes;
    backend_expect_weights(m->be, m->limits.weights, expanded);
    return bytes;
}

/* Files that are used in place are read while the model loads, at the speed of the disk, if memory can hold them. */
static bool reads_now(struct backend *be, int64_t bytes)
{
    return be->executes && be->in_place && backend_memory(be).available > bytes;
}

/* A name that is in no folder is told before gigabytes are read for the other parts. */
static enum err_code find_transformer(struct fill_model *m, const struct model_folder *folder, struct err *err)
{
    struct arena_mark mark = arena_mark(&m->scratch);
    struct model_found found;
    enum err_code rc = model_folder_find(folder, MODEL_TRANSFORMER, &m->scratch, &found, err);

    arena_rewind(&m->scratch, mark);
    return rc;
}

/* What is small comes first, so that a wrong folder is told soon. */
static enum err_code load(struct fill_model *m, const char *dir, struct err *err)
{
    struct model_folder folder = { .dir = dir, .transformer = m->limits.transformer };
    struct weight_loader l = {
        .be = m->be, .mem = &m->weights, .scratch = &m->scratch, .loaded_bytes = loaded_bytes(m)
    };
    enum err_code rc = fill_memory_choose(&folder, &m->limits, m->be, &m->arena, err);

    if (rc)
        return rc;
    l.read_now = reads_now(m->be, survey(m, &folder));
    rc = load_vae(m, &folder, &l, err);
    if (!rc)
        rc = find_transformer(m, &folder, err);
    if (!rc)
        rc = load_text(m, &folder, &l, err);
    if (!rc)
        rc = load_transformer(m, &folder, &l, err);
    if (!rc && m->limits.loading) /* headers, and what no network wants, count as well */
        m->limits.loading->loaded_bytes = m->limits.loading->total_bytes;
    return rc ? rc : check_widths(m, dir, err);
}

/* More than CLIP's positions: it computes no rows behind a text's end. */
static const char long_prompt[] = "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
                                  "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a";

/* Runs the largest request on the measuring backend: the very code that will run, and nothing else, says what it takes.
 */
static enum err_code rehearse(const struct fill_model *m, struct backend *measuring, size_t *ret, struct err *err)
{
    struct fill_model measure = *m;
    struct image picture, mask, painted;
    struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &picture, .mask = &mask, .prompt = long_prompt };
    enum err_code rc;

    measure.be = measure.flux.be = measure.vae.be = measure.text.t5.be = measure.text.clip.be = measuring;
    measure.mem = (struct devarena){ 0 };
    if (!m->has_encoders)
        r.prompt = m->longest_prompt->prompt;
    r.width = m->limits.max_width;
    r.height = m->limits.max_height;
    r.steps = m->limits.max_steps;
    r.t5_len = m->limits.max_t5_len;
    rc = image_new(&measure.scratch, r.width, r.height, 3, &picture, err);
    if (!rc)
        rc = image_new(&measure.scratch, r.width, r.height, 1, &mask, err);
    if (!rc)
        rc = devarena_init(&measure.mem, measuring, BACKEND_MEASURE_PLENTY, 0, err);
    if (!rc)
        rc = fill_run(&measure, &r, &measure.scratch, &painted, err);
    *ret = measure.mem.peak;
    devarena_done(&measure.mem);
    return rc;
}

static enum err_code take_memory(struct fill_model *m, struct err *err)
{
    struct arena_mark mark = arena_mark(&m->scratch);
    struct backend *measuring = NULL;
    size_t bytes = 0;
    enum err_code rc = flux_measure(&m->flux, m->limits.max_height / TOKEN_SIDE, m->limits.max_width / TOKEN_SIDE,
                                    m->limits.max_t5_len, m->limits.max_steps, &m->scratch, &m->flux_job_bytes,
                                    &m->flux_step_bytes, err);

    if (!rc)
        rc = backend_measure_open(m->be->act, &measuring, err);
    if (!rc)
        rc = rehearse(m, measuring, &bytes, err);
    backend_close(measuring);
    arena_rewind(&m->scratch, mark);
    return rc ? rc : devarena_init(&m->mem, m->be, bytes, 0, err);
}

enum err_code fill_model_open(const char *dir, const struct fill_options *options, struct backend *be,
                              struct fill_model **ret, struct err *err)
{
    struct fill_model *m;
    enum err_code rc = check_limits(options, err);

    if (rc)
        return rc;
    m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, ERR_NOMEM, "fill: no memory for the model's record");
    m->be = be;
    m->limits = *options;
    rc = arena_init(&m->arena, arena_bytes, err);
    if (!rc)
        rc = arena_init(&m->scratch, scratch_bytes, err);
    if (!rc)
        rc = devarena_init(&m->weights, be, 0, WEIGHTS_SLAB_BYTES, err);
    if (!rc)
        rc = load(m, dir, err);
    if (!rc)
        rc = take_memory(m, err);
    m->limits.transformer = NULL; /* the caller's strings are not kept */
    m->limits.loading = NULL;
    if (rc)
        fill_model_close(m);
    else
        *ret = m;
    return rc;
}

void fill_model_close(struct fill_model *m)
{
    if (!m)
        return;
    devarena_done(&m->mem);
    devarena_done(&m->weights);
    arena_done(&m->scratch);
    arena_done(&m->arena);
    free(m);
}

const char *fill_model_prompt(const struct fill_model *m, const char *wanted)
{
    return !m->has_encoders && !prompt_pack_find(&m->pack, wanted) ? m->pack.entries[0].prompt : wanted;
}

const char *fill_model_transformer(const struct fill_model *m)
{
    return m->transformer;
}

size_t fill_model_job_bytes(const struct fill_model *m)
{
    return m->mem.total;
}
