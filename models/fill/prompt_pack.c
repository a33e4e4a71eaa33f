#include "models/fill/prompt_pack.h"

#include <math.h>
#include <stdio.h>

#include "models/file/proof.h"
#include "models/flux/flow_match.h"
#include "models/text/text_limits.h"

static bool all_finite(const struct tensor_entry *e)
{
    for (size_t i = 0; i < e->bytes / sizeof(float); i++) {
        float v;

        memcpy(&v, (const char *)e->data + i * sizeof v, sizeof v);
        if (!isfinite(v))
            return false;
    }
    return true;
}

static enum err_code find_floats(const struct tensor_file *f, const char *name, int n_dims,
                                 const struct tensor_entry **ret, struct err *err)
{
    const struct tensor_entry *e = tensor_file_find(f, span_of(name));

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor '%s'", f->path, name);
    if (e->dtype != DT_F32 || e->n_dims != n_dims || e->bytes == 0)
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' is not F32 with %d dimensions", f->path, name, n_dims);
    *ret = e;
    return ERR_OK;
}

static enum err_code find_tensor(const struct tensor_file *f, const char *prefix, const char *name, int n_dims,
                                 const struct tensor_entry **ret, struct err *err)
{
    char full[64];

    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    TRY(find_floats(f, full, n_dims, ret, err));
    if (!all_finite(*ret))
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' holds NaN or infinity", f->path, full);
    return ERR_OK;
}

static enum err_code read_entry(const struct tensor_file *f, const char *prefix, struct arena *a,
                                struct prompt_entry *ret, struct err *err)
{
    const struct tensor_entry *embeds = NULL, *pooled = NULL;
    char key[64];

    (void)snprintf(key, sizeof key, "%sprompt", prefix);
    TRY(tensor_file_metadata(f, key, a, &ret->prompt, err));
    TRY(find_tensor(f, prefix, "prompt_embeds", 2, &embeds, err));
    TRY(find_tensor(f, prefix, "pooled_prompt_embeds", 1, &pooled, err));
    TRY(proof_factor(embeds, f->path, err));
    if (embeds->dims[0] > T5_MAX_TOKENS)
        return err_set(err, ERR_TOO_LARGE, "%s: a prompt has %lld tokens, at most %d are allowed", f->path,
                       (long long)embeds->dims[0], T5_MAX_TOKENS);
    ret->t5_len = embeds->dims[0];
    ret->context = embeds->dims[1];
    ret->pooled = pooled->dims[0];
    ret->prompt_embeds = embeds->data;
    ret->pooled_embeds = pooled->data;
    return ERR_OK;
}

/* --- schedules --- */

static enum err_code read_schedule(const struct tensor_file *f, int k, struct prompt_schedule *ret, struct err *err)
{
    const struct tensor_entry *sigmas = NULL, *guidance = NULL;
    char prefix[32];

    (void)snprintf(prefix, sizeof prefix, "schedule.%d.", k);
    TRY(find_tensor(f, prefix, "sigmas", 1, &sigmas, err));
    TRY(find_tensor(f, prefix, "guidance", 1, &guidance, err));
    if (sigmas->dims[0] > FLOW_MATCH_MAX_STEPS || guidance->dims[0] != 1)
        return err_set(err, ERR_CORRUPT,
                       "%s: schedule %d has %lld steps and %lld values of guidance, allowed are up to %d and one",
                       f->path, k, (long long)sigmas->dims[0], (long long)guidance->dims[0], FLOW_MATCH_MAX_STEPS);
    ret->n_steps = (int)sigmas->dims[0];
    ret->sigmas = sigmas->data;
    memcpy(&ret->guidance, guidance->data, sizeof ret->guidance);
    return ERR_OK;
}

/* The tables of one prompt. Their values are not checked: a table is a hundred megabytes, and a NaN in it fails the
 * request that uses it. */
static enum err_code read_tables(const struct tensor_file *f, const char *prefix, struct prompt_pack *p,
                                 struct prompt_entry *e, struct arena *a, struct err *err)
{
    TRY(arena_alloc(a, (size_t)p->n_schedules, sizeof *e->modulation, &e->modulation, err));
    for (int k = 0; k < p->n_schedules; k++) {
        const struct tensor_entry *table = NULL;
        char name[64];

        (void)snprintf(name, sizeof name, "%smodulation.%d", prefix, k);
        TRY(find_floats(f, name, 2, &table, err));
        if (!p->modulation_columns)
            p->modulation_columns = table->dims[1];
        if (table->dims[0] != p->schedules[k].n_steps || table->dims[1] != p->modulation_columns)
            return err_set(err, ERR_CORRUPT, "%s: tensor '%s' is [%lld, %lld], should be [%d, %lld]", f->path, name,
                           (long long)table->dims[0], (long long)table->dims[1], p->schedules[k].n_steps,
                           (long long)p->modulation_columns);
        e->modulation[k] = table->data;
    }
    return ERR_OK;
}

static enum err_code read_schedules(const struct tensor_file *f, struct prompt_pack *p, struct arena *a,
                                    struct err *err)
{
    char name[64];

    for (; p->n_schedules < PROMPT_PACK_MAX_SCHEDULES; p->n_schedules++) {
        (void)snprintf(name, sizeof name, "schedule.%d.sigmas", p->n_schedules);
        if (!tensor_file_find(f, span_of(name)))
            break;
    }
    if (!p->n_schedules)
        return ERR_OK;
    TRY(tensor_file_metadata(f, "transformer", a, &p->transformer, err));
    TRY(arena_alloc(a, (size_t)p->n_schedules, sizeof *p->schedules, &p->schedules, err));
    for (int k = 0; k < p->n_schedules; k++)
        TRY(read_schedule(f, k, &p->schedules[k], err));
    return ERR_OK;
}

/* --- the file --- */

/* *ret_numbered: names and keys begin with a prompt's number. */
static int count_entries(const struct tensor_file *f, bool *ret_numbered)
{
    char name[64];
    int n = 0;

    *ret_numbered = !tensor_file_find(f, SPAN("prompt_embeds"));
    if (!*ret_numbered)
        return 1;
    for (; n < PROMPT_PACK_MAX; n++) {
        (void)snprintf(name, sizeof name, "%d.prompt_embeds", n);
        if (!tensor_file_find(f, span_of(name)))
            break;
    }
    return n;
}

enum err_code prompt_pack_open(const char *path, struct arena *a, struct prompt_pack *ret, struct err *err)
{
    struct prompt_pack p = { 0 };
    struct tensor_file f;
    bool numbered = false;

    TRY(tensor_file_open(path, a, &f, err));
    TRY(proof_end_of_factors(&f, err));
    p.n_entries = count_entries(&f, &numbered);
    if (!p.n_entries)
        return err_set(err, ERR_NOT_FOUND,
                       "%s: it is not a prompt pack: there is no tensor 'prompt_embeds' or '0.prompt_embeds'", path);
    TRY(read_schedules(&f, &p, a, err));
    TRY(arena_alloc(a, (size_t)p.n_entries, sizeof *p.entries, &p.entries, err));
    for (int i = 0; i < p.n_entries; i++) {
        char prefix[16] = "";

        if (numbered)
            (void)snprintf(prefix, sizeof prefix, "%d.", i);
        TRY(read_entry(&f, prefix, a, &p.entries[i], err));
        if (p.entries[i].context != p.entries[0].context || p.entries[i].pooled != p.entries[0].pooled)
            return err_set(err, ERR_CORRUPT, "%s: embeddings of prompt %d are not as wide as those of the first prompt",
                           path, i);
        if (p.n_schedules)
            TRY(read_tables(&f, prefix, &p, &p.entries[i], a, err));
    }
    *ret = p;
    return ERR_OK;
}

const struct prompt_entry *prompt_pack_find(const struct prompt_pack *p, const char *prompt)
{
    for (int i = 0; i < p->n_entries; i++)
        if (!strcmp(p->entries[i].prompt, prompt))
            return &p->entries[i];
    return NULL;
}

const void *prompt_pack_modulation(const struct prompt_pack *p, const struct prompt_entry *e, const float *sigmas,
                                   int n_steps, float guidance)
{
    for (int k = 0; k < p->n_schedules; k++) {
        const struct prompt_schedule *s = &p->schedules[k];

        if (s->n_steps == n_steps && s->guidance == guidance &&
            !memcmp(s->sigmas, sigmas, (size_t)n_steps * sizeof *sigmas))
            return e->modulation[k];
    }
    return NULL;
}
