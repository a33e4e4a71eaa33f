#include "models/prompt_pack.h"

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

static enum err_code find_tensor(const struct tensor_file *f, const char *prefix, const char *name, int n_dims,
                                 const struct tensor_entry **ret, struct err *err)
{
    char full[64];
    const struct tensor_entry *e;

    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    e = tensor_file_find(f, span_of(full));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: no tensor '%s'", f->path, full);
    if (e->dtype != DT_F32 || e->n_dims != n_dims || e->bytes == 0)
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' is not F32 with %d dimensions", f->path, full, n_dims);
    if (!all_finite(e))
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' holds NaN or infinity", f->path, full);
    *ret = e;
    return ERR_OK;
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
    if (embeds->dims[0] > PROMPT_PACK_MAX_TOKENS)
        return err_set(err, ERR_TOO_LARGE, "%s: a prompt of %lld tokens", f->path, (long long)embeds->dims[0]);
    ret->t5_len = embeds->dims[0];
    ret->context = embeds->dims[1];
    ret->pooled = pooled->dims[0];
    ret->prompt_embeds = embeds->data;
    ret->pooled_embeds = pooled->data;
    return ERR_OK;
}

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
    rc = arena_alloc(a, (size_t)p.n_entries, sizeof *p.entries, &p.entries, err);
    for (int i = 0; i < p.n_entries && !rc; i++) {
        char prefix[16] = "";

        if (numbered)
            (void)snprintf(prefix, sizeof prefix, "%d.", i);
        rc = read_entry(&f, prefix, a, &p.entries[i], err);
        if (!rc && (p.entries[i].context != p.entries[0].context || p.entries[i].pooled != p.entries[0].pooled))
            rc = err_set(err, ERR_CORRUPT, "%s: prompt %d is of another model than the first", path, i);
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
