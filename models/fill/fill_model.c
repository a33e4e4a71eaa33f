/* fill_model - loading the parts of a folder, and taking the memory of the largest request. */
#include "models/fill/fill_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/file_map.h"
#include "models/fill/model_folder.h"
#include "models/flux/latents.h"

/* Address space; memory is taken as it is touched. */
static const size_t arena_bytes = (size_t)1 << 30, scratch_bytes = (size_t)4 << 30;
enum { WEIGHTS_SLAB_BYTES = 16 << 20 };

enum err_code fill_model_check(const struct fill_options *o, struct err *err)
{
    if (o->max_width < FILL_MIN_SIDE || o->max_width > FILL_MAX_SIDE || o->max_height < FILL_MIN_SIDE ||
        o->max_height > FILL_MAX_SIDE)
        return err_set(err, ERR_INVALID,
                       "fill: a model for pictures of %d x %d pixels is asked for, a side may have %d to %d",
                       o->max_width, o->max_height, FILL_MIN_SIDE, FILL_MAX_SIDE);
    if (o->max_steps < 1 || o->max_steps > FILL_MAX_STEPS)
        return err_set(err, ERR_INVALID, "fill: %d steps are not within 1 .. %d", o->max_steps, FILL_MAX_STEPS);
    if (o->max_t5_len < 1 || o->max_t5_len > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "fill: %d text tokens are not within 1 .. %d", o->max_t5_len, T5_MAX_TOKENS);
    return ERR_OK;
}

/* --- the networks --- */

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
    TRY(model_folder_open(folder, part, &m->arena, shards, err));
    return join(set, shards->files, shards->n_files, err);
}

static enum err_code load_vae(struct fill_model *m, const struct model_folder *folder, const struct weight_loader *l,
                              struct err *err)
{
    struct weight_loader part = *l;
    struct weight_set set;
    struct shards shards;

    part.set = &set;
    TRY(open_part(m, folder, MODEL_VAE, vae_weight_set, &set, &shards, err));
    return vae_load(&m->vae, &part, err);
}

void fill_note(struct fill_notes *n, const char *fmt, ...)
{
    va_list ap;

    if (!n || n->n == FILL_NOTES_MAX)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(n->text[n->n], sizeof n->text[n->n], fmt, ap);
    va_end(ap);
    n->n++;
}

/* Drops the pack's tables when they were made with another transformer, or LoRAs change what they were made of. */
static void check_tables(struct fill_model *m, const struct shards *transformer)
{
    const bool changed = lora_set_touches(&m->loras, flux_is_of_modulation);
    char digest[WEIGHT_DIGEST_SIZE];

    if (!m->pack.n_schedules)
        return;
    weight_digest_with_vectors(transformer, digest);
    if (strcmp(digest, m->pack.transformer) == 0 && !changed)
        return;
    m->pack.n_schedules = 0;
    fill_note(
        m->limits.notes,
        "the modulation tables of the prompt pack are not used, because %s: each job computes them anew, which is "
        "slower; %s",
        changed ? "the LoRAs change the layers that they were made of" : "they were made with another transformer",
        changed ? "merge the LoRAs into a file with `convert --lora`, and make the pack again for that file"
                : "make the pack again with `embed --pack --sizes`");
}

/* A request whose table is in the pack never touches the modulation's weights, so with tables they stay in the file.
 * For other requests they are then uploaded each time. */
static enum flux_in_file modulation_place(const struct fill_model *m)
{
    const bool wanted = m->pack.n_schedules || m->limits.modulation_in_file;

    return wanted && m->be->ops->weight_unload ? FLUX_IN_FILE_MODULATION : FLUX_IN_FILE_NONE;
}

static enum err_code load_transformer(struct fill_model *m, const struct model_folder *folder,
                                      const struct weight_loader *l, struct err *err)
{
    struct weight_loader part = *l;
    struct model_found found;
    struct weight_set set;
    struct shards shards;

    part.set = &set;
    TRY(model_folder_find(folder, MODEL_TRANSFORMER, &m->arena, &found, err));
    TRY(open_part(m, folder, MODEL_TRANSFORMER, flux_weight_set, &set, &shards, err));
    m->transformer = found.path;
    TRY(lora_set_apply(&m->loras, &set, err));
    check_tables(m, &shards);
    TRY(flux_load_some(&m->flux, &part, modulation_place(m), &m->arena, err));
    lora_set_release(&m->loras);
    return flux_require_fill(&m->flux.config, err);
}

static enum err_code load_pack(struct fill_model *m, const char *path, struct err *err)
{
    m->has_pack = true;
    return prompt_pack_open(path, &m->arena, &m->pack, err);
}

/* Raises the limit of text tokens to the length of the pack's longest prompt. */
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

/* The prompt pack, if there is one, and the text encoders. With a pack, T5 may be missing. */
static enum err_code load_text(struct fill_model *m, const struct model_folder *folder, const struct weight_loader *l,
                               struct err *err)
{
    struct model_found t5, pack;
    struct err why = { 0 };
    enum err_code rc = model_folder_find(folder, MODEL_PROMPTS, &m->arena, &pack, &why);

    if (rc && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "%s", why.msg);
    if (rc == ERR_OK)
        TRY(load_pack(m, pack.path, err));
    if (m->has_pack && model_folder_find(folder, MODEL_T5, &m->arena, &t5, NULL) == ERR_NOT_FOUND) {
        make_room_for_pack(m);
        return ERR_OK;
    }
    m->has_encoders = true;
    return text_encoder_load(&m->text, folder, l, &m->arena, err);
}

/* The embeddings made by `what` must have the widths that the transformer takes. */
static enum err_code check_width(const struct fill_model *m, const char *what, int64_t context, int64_t pooled,
                                 struct err *err)
{
    if (context != m->flux.config.context || pooled != m->flux.config.pooled)
        return err_set(err, ERR_CORRUPT,
                       "%s: embeddings of T5 and CLIP are %lld and %lld wide, but the transformer takes %lld and %lld: "
                       "the files are of different models",
                       what, (long long)context, (long long)pooled, (long long)m->flux.config.context,
                       (long long)m->flux.config.pooled);
    return ERR_OK;
}

static enum err_code check_widths(const struct fill_model *m, const char *dir, struct err *err)
{
    const int64_t columns = flux_modulation_cols(&m->flux.config);

    if (m->has_encoders)
        TRY(check_width(m, dir, m->text.t5.d_model, m->text.clip.width, err));
    if (m->has_pack)
        TRY(check_width(m, "prompt pack", m->pack.entries[0].context, m->pack.entries[0].pooled, err));
    if (m->pack.n_schedules && m->pack.modulation_columns != columns)
        return err_set(err, ERR_CORRUPT,
                       "prompt pack: its modulation tables have %lld columns, but the transformer takes %lld: make the "
                       "pack again with `embed --pack --sizes`",
                       (long long)m->pack.modulation_columns, (long long)columns);
    return ERR_OK;
}

/* A transformer with LoRAs is another model than without. */
static void add_loras_to_digest(struct fill_model *m)
{
    char *digest = m->digests[0];
    const size_t n = strlen(digest);

    (void)snprintf(digest + n, WEIGHT_DIGEST_SIZE - n, "%s", m->loras.digest);
}

/* Reads the sizes and digests of all files, and tells the backend how much is going to be loaded: a GPU that is too
 * small for all weights as bf16 would otherwise try to keep them all as bf16. A part that is absent is skipped; whether
 * it is needed is found out when it is loaded. A part that cannot be read is an error, also where no network needs it,
 * because its digest says which results of earlier checks belong to this model. *ret_bytes: of all files. */
static enum err_code survey(struct fill_model *m, const struct model_folder *folder, int64_t *ret_bytes,
                            struct err *err)
{
    ARENA_SCRATCH(&m->scratch);
    static const enum model_part parts[FILL_MODEL_PARTS] = { MODEL_TRANSFORMER, MODEL_VAE, MODEL_T5, MODEL_CLIP };
    int64_t bytes = 0;
    size_t expanded = 0;

    for (int i = 0; i < FILL_MODEL_PARTS; i++) {
        struct err why = { 0 };
        struct shards shards;
        enum err_code rc = model_folder_open(folder, parts[i], &m->scratch, &shards, &why);

        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc)
            return err_set(err, rc, "%s", why.msg);
        bytes += shards_bytes(&shards);
        for (int f = 0; f < shards.n_files; f++)
            expanded += tensor_file_expanded_bytes(&shards.files[f]);
        weight_digest_of_directory(&shards, m->digests[i]);
        m->headers = weight_digest_of_headers(m->headers, &shards);
    }
    add_loras_to_digest(m);
    if (m->limits.loading)
        m->limits.loading->total_bytes = bytes;
    backend_expect_weights(m->be, m->limits.weights, expanded);
    *ret_bytes = bytes;
    return ERR_OK;
}

/* Where weights are used in place, their files are read while the model loads, at the speed of the disk, if memory can
 * hold them; otherwise pages are read at their first use. */
static bool reads_now(struct backend *be, int64_t bytes)
{
    return be->executes && be->in_place && backend_memory(be).available > bytes;
}

/* Reports a missing transformer before gigabytes are read for the other parts. */
static enum err_code find_transformer(struct fill_model *m, const struct model_folder *folder, struct err *err)
{
    ARENA_SCRATCH(&m->scratch);
    struct model_found found;

    return model_folder_find(folder, MODEL_TRANSFORMER, &m->scratch, &found, err);
}

/* The small parts come first, so that a wrong folder is reported early. */
static enum err_code load(struct fill_model *m, const char *dir, struct err *err)
{
    struct model_folder folder = { .dir = dir, .transformer = m->limits.transformer };
    struct weight_loader l = { .be = m->be,
                               .mem = &m->weights,
                               .scratch = &m->scratch,
                               .made = &m->arena,
                               .prove = true,
                               .loaded_bytes = loaded_bytes(m),
                               .read_bytes = m->limits.loading ? &m->limits.loading->read_bytes : NULL,
                               .not_taken = &m->not_taken };
    int64_t bytes = 0;

    TRY(lora_set_open(dir, m->limits.loras, m->limits.n_loras, &m->arena, &m->loras, err));
    TRY(survey(m, &folder, &bytes, err));
    l.read_now = reads_now(m->be, bytes);
    TRY(load_vae(m, &folder, &l, err));
    TRY(find_transformer(m, &folder, err));
    TRY(load_text(m, &folder, &l, err));
    TRY(load_transformer(m, &folder, &l, err));
    if (m->not_taken)
        fill_note(m->limits.notes, "%d tensors of the model files are not used: they belong to other networks",
                  m->not_taken);
    if (m->limits.loading) /* counts headers, and tensors that no network reads, as loaded */
        m->limits.loading->loaded_bytes = m->limits.loading->total_bytes;
    return check_widths(m, dir, err);
}

/* --- the memory of the largest request --- */

/* Fills all of CLIP's positions: a shorter text takes less memory, because CLIP computes no rows after its end. */
static const char long_prompt[] = "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
                                  "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a";

/* The largest request on a copy of the model that runs on the measuring backend. */
static enum err_code rehearse(struct fill_model *rehearsed, struct err *err)
{
    const struct fill_options *max = &rehearsed->limits;
    struct image picture, mask, painted;
    struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &picture, .mask = &mask, .prompt = long_prompt };

    if (!rehearsed->has_encoders)
        r.prompt = rehearsed->longest_prompt->prompt;
    r.width = max->max_width;
    r.height = max->max_height;
    r.steps = max->max_steps;
    r.t5_len = max->max_t5_len;
    TRY(image_new(&rehearsed->scratch, r.width, r.height, 3, &picture, err));
    TRY(image_new(&rehearsed->scratch, r.width, r.height, 1, &mask, err));
    TRY(devarena_init(&rehearsed->mem, rehearsed->be, BACKEND_MEASURE_PLENTY, 0, err));
    return fill_run(rehearsed, &r, &rehearsed->scratch, &painted, err);
}

/* The backend memory of the largest request, measured by the code that will run. */
static enum err_code measure(const struct fill_model *m, size_t *ret, struct err *err)
{
    struct fill_model rehearsed = *m;
    struct backend *measuring;
    enum err_code rc;

    TRY(backend_measure_open(m->be->act, &measuring, err));
    rehearsed.be = rehearsed.flux.be = rehearsed.vae.be = rehearsed.text.t5.be = rehearsed.text.clip.be = measuring;
    rehearsed.mem = (struct devarena){ 0 };
    rc = rehearse(&rehearsed, err);
    *ret = rehearsed.mem.peak;
    devarena_done(&rehearsed.mem);
    backend_close(measuring);
    return rc;
}

static enum err_code take_memory(struct fill_model *m, struct err *err)
{
    ARENA_SCRATCH(&m->scratch);
    const struct flux_size largest = { .grid_rows = m->limits.max_height / TOKEN_SIDE,
                                       .grid_cols = m->limits.max_width / TOKEN_SIDE,
                                       .n_txt = m->limits.max_t5_len,
                                       .n_steps = m->limits.max_steps };
    size_t bytes = 0;

    TRY(flux_measure(&m->flux, &largest, &m->scratch, &m->flux_memory, err));
    TRY(measure(m, &bytes, err));
    return devarena_init(&m->mem, m->be, bytes, 0, err);
}

/* --- the whole --- */

static enum err_code fill_in(struct fill_model *m, const char *dir, struct err *err)
{
    TRY(arena_init(&m->arena, arena_bytes, err));
    TRY(arena_init(&m->scratch, scratch_bytes, err));
    TRY(devarena_init(&m->weights, m->be, 0, WEIGHTS_SLAB_BYTES, err));
    TRY(load(m, dir, err));
    return take_memory(m, err);
}

enum err_code fill_model_load(const char *dir, const struct fill_options *options, struct backend *be,
                              struct fill_model **ret, struct err *err)
{
    struct fill_model *m = calloc(1, sizeof *m);
    enum err_code rc;

    if (!m)
        return err_set(err, ERR_NOMEM, "fill: no memory for the model's record");
    m->be = be;
    m->limits = *options;
    rc = file_map_verdict(fill_in(m, dir, err), err);
    m->limits.transformer = NULL; /* the caller's strings are not kept */
    m->limits.loras = NULL;
    m->limits.loading = NULL;
    m->limits.notes = NULL;
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

void fill_model_digests(const struct fill_model *m, char ret[FILL_DIGESTS_SIZE])
{
    int at = 0;

    _Static_assert(FILL_DIGESTS_SIZE > FILL_MODEL_PARTS * WEIGHT_DIGEST_SIZE, "they fit");
    for (int i = 0; i < FILL_MODEL_PARTS; i++)
        at += snprintf(ret + at, (size_t)(FILL_DIGESTS_SIZE - at), "%s%s", i ? " " : "",
                       *m->digests[i] ? m->digests[i] : "-");
}

const char *fill_model_transformer(const struct fill_model *m)
{
    return m->transformer;
}

const char *fill_model_loras(const struct fill_model *m)
{
    return m->loras.text;
}

const char *fill_model_lora_path(const struct fill_model *m, int i)
{
    return i < m->loras.n ? lora_path(m->loras.loras[i]) : NULL;
}

const char *fill_model_lora_list(const struct fill_model *m)
{
    return m->loras.list;
}
