#include "models/fill/prompt_pack.h"

#include <math.h>
#include <stdio.h>

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
        return err_set(err, ERR_NOT_FOUND, "%s: no tensor '%s'", f->path, name);
    if (e->dtype != DT_F32 || e->n_dims != n_dims || e->bytes == 0)
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' is not F32 with %d dimensions", f->path, name, n_dims);
    *ret = e;
    return ERR_OK;
}

static enum err_code find_tensor(const struct tensor_file *f, const char *prefix, const char *name, int n_dims,
                                 const struct tensor_entry **ret, struct err *err)
{
    char full[64];
    enum err_code rc;

    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    rc = find_floats(f, full, n_dims, ret, err);
    if (!rc && !all_finite(*ret))
        rc = err_set(err, ERR_CORRUPT, "%s: tensor '%s' holds NaN or infinity", f->path, full);
    return rc;
}

static enum err_code read_entry(const struct tensor_file *f, const char *prefix, struct arena *a,
                                struct prompt_entry *ret, struct err *err)
{
    const struct tensor_entry *embeds = NULL, *pooled = NULL;
    char key[64];
    enum err_code rc;

    (void)snprintf(key, sizeof key, "%sprompt", prefix);
    rc = tensor_file_metadata(f, key, a, &ret->prompt, err);
    if (!rc)
        rc = find_tensor(f, prefix, "prompt_embeds", 2, &embeds, err);
    if (!rc)
        rc = find_tensor(f, prefix, "pooled_prompt_embeds", 1, &pooled, err);
    if (rc)
        return rc;
    if (embeds->dims[0] > T5_MAX_TOKENS)
        return err_set(err, ERR_TOO_LARGE, "%s: a prompt of %lld tokens", f->path, (long long)embeds->dims[0]);
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
    enum err_code rc;

    (void)snprintf(prefix, sizeof prefix, "schedule.%d.", k);
    rc = find_tensor(f, prefix, "sigmas", 1, &sigmas, err);
    if (!rc)
        rc = find_tensor(f, prefix, "guidance", 1, &guidance, err);
    if (rc)
        return rc;
    if (sigmas->dims[0] > PROMPT_PACK_MAX_STEPS || guidance->dims[0] != 1)
        return err_set(err, ERR_CORRUPT, "%s: schedule %d has %lld steps and %lld guidances", f->path, k,
                       (long long)sigmas->dims[0], (long long)guidance->dims[0]);
    ret->n_steps = (int)sigmas->dims[0];
    ret->sigmas = sigmas->data;
    memcpy(&ret->guidance, guidance->data, sizeof ret->guidance);
    return ERR_OK;
}

/* The tables of one prompt. They are not read through: one has a hundred megabytes, and a NaN fails its job anyway. */
static enum err_code read_tables(const struct tensor_file *f, const char *prefix, struct prompt_pack *p,
                                 struct prompt_entry *e, struct arena *a, struct err *err)
{
    enum err_code rc = arena_alloc(a, (size_t)p->n_schedules, sizeof *e->modulation, &e->modulation, err);

    for (int k = 0; k < p->n_schedules && !rc; k++) {
        const struct tensor_entry *table = NULL;
        char name[64];

        (void)snprintf(name, sizeof name, "%smodulation.%d", prefix, k);
        rc = find_floats(f, name, 2, &table, err);
        if (rc)
            break;
        if (!p->modulation_columns)
            p->modulation_columns = table->dims[1];
        if (table->dims[0] != p->schedules[k].n_steps || table->dims[1] != p->modulation_columns)
            rc = err_set(err, ERR_CORRUPT, "%s: tensor '%s' is [%lld, %lld], should be [%d, %lld]", f->path, name,
                         (long long)table->dims[0], (long long)table->dims[1], p->schedules[k].n_steps,
                         (long long)p->modulation_columns);
        e->modulation[k] = table->data;
    }
    return rc;
}

static enum err_code read_schedules(const struct tensor_file *f, struct prompt_pack *p, struct arena *a,
                                    struct err *err)
{
    char name[64];
    enum err_code rc;

    for (; p->n_schedules < PROMPT_PACK_MAX_SCHEDULES; p->n_schedules++) {
        (void)snprintf(name, sizeof name, "schedule.%d.sigmas", p->n_schedules);
        if (!tensor_file_find(f, span_of(name)))
            break;
    }
    if (!p->n_schedules)
        return ERR_OK;
    rc = tensor_file_metadata(f, "transformer", a, &p->transformer, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)p->n_schedules, sizeof *p->schedules, &p->schedules, err);
    for (int k = 0; k < p->n_schedules && !rc; k++)
        rc = read_schedule(f, k, &p->schedules[k], err);
    return rc;
}

/* --- the file --- */

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
    enum err_code rc = tensor_file_open(path, a, &f, err);

    if (rc)
        return rc;
    p.n_entries = count_entries(&f, &numbered);
    if (!p.n_entries)
        return err_set(err, ERR_NOT_FOUND, "%s: neither 'prompt_embeds' nor '0.prompt_embeds'", path);
    rc = read_schedules(&f, &p, a, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)p.n_entries, sizeof *p.entries, &p.entries, err);
    for (int i = 0; i < p.n_entries && !rc; i++) {
        char prefix[16] = "";

        if (numbered)
            (void)snprintf(prefix, sizeof prefix, "%d.", i);
        rc = read_entry(&f, prefix, a, &p.entries[i], err);
        if (!rc && (p.entries[i].context != p.entries[0].context || p.entries[i].pooled != p.entries[0].pooled))
            rc = err_set(err, ERR_CORRUPT, "%s: prompt %d is of another model than the first", path, i);
        if (!rc && p.n_schedules)
            rc = read_tables(&f, prefix, &p, &p.entries[i], a, err);
    }
    if (!rc)
        *ret = p;
    return rc;
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
