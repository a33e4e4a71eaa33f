#include "worker/local/convert_notes.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"
#include "worker/base/log.h"
#include "worker/push/printable.h"

#define KEY "inpaint.convert."

static struct gguf_write_pair *add(struct convert_notes *n, const char *key)
{
    struct gguf_write_pair *p = &n->pairs[n->n];

    assert(n->n < CONVERT_NOTES_MAX);
    n->n++;
    *p = (struct gguf_write_pair){ .key = key };
    return p;
}

static void add_text(struct convert_notes *n, const char *key, const char *text)
{
    struct gguf_write_pair *p = add(n, key);

    p->type = GGUF_WRITE_TEXT;
    p->text = text;
}

/* An array of n_texts texts, for the caller to fill in. */
static enum err_code add_texts(struct convert_notes *n, const char *key, int n_texts, struct arena *a,
                               const char ***ret, struct err *err)
{
    const char **texts = NULL;
    struct gguf_write_pair *p;

    TRY(arena_alloc(a, (size_t)n_texts, sizeof *texts, &texts, err));
    p = add(n, key);
    p->type = GGUF_WRITE_TEXTS;
    p->texts = *ret = texts;
    p->n_texts = n_texts;
    return ERR_OK;
}

/* Names and digests of the last n_files paths. */
static enum err_code add_files(struct convert_notes *n, const char *key, const char *digest_key, int n_files,
                               struct arena *a, struct err *err)
{
    const char **names = NULL, **digests = NULL;

    TRY(add_texts(n, key, n_files, a, &names, err));
    TRY(add_texts(n, digest_key, n_files, a, &digests, err));
    for (int i = 0; i < n_files; i++) {
        int file = n->n_paths - n_files + i;
        char *name = NULL;

        TRY(printable_escape(span_of(file_short_name(n->paths[file])), a, &name, err));
        names[i] = name;
        memset(n->digests[file], '0', FILE_DIGEST_SIZE - 1);
        digests[i] = n->digests[file];
    }
    return ERR_OK;
}

static enum err_code add_keeps(struct convert_notes *n, const struct convert_types *t, struct arena *a, struct err *err)
{
    const char **texts = NULL;

    if (!t->n_keeps)
        return ERR_OK;
    TRY(add_texts(n, KEY "keep", t->n_keeps, a, &texts, err));
    for (int i = 0; i < t->n_keeps; i++) {
        char *text = NULL;

        TRY(arena_printf(a, &text, err, "%s=%s", t->keeps[i].part, dtype_info(t->keeps[i].type)->name));
        texts[i] = text;
    }
    return ERR_OK;
}

static enum err_code add_loras(struct convert_notes *n, const struct convert_made_of *m, struct arena *a,
                               struct err *err)
{
    const char **scales = NULL;

    if (!m->n_loras)
        return ERR_OK;
    for (int i = 0; i < m->n_loras; i++)
        n->paths[n->n_paths++] = m->loras[i].path;
    TRY(add_files(n, KEY "loras", KEY "loras.sha256", m->n_loras, a, err));
    TRY(add_texts(n, KEY "loras.scale", m->n_loras, a, &scales, err));
    for (int i = 0; i < m->n_loras; i++) {
        char *text = NULL;

        TRY(arena_printf(a, &text, err, "%.9g", m->loras[i].scale));
        scales[i] = text;
    }
    return ERR_OK;
}

enum err_code convert_notes_make(const struct convert_made_of *m, struct arena *a, struct convert_notes *ret,
                                 struct err *err)
{
    struct convert_notes n = { 0 };
    char *program = NULL;

    TRY(arena_printf(a, &program, err, "inpaint-worker %s", log_version()));
    TRY(arena_alloc(a, CONVERT_NOTES_FILES, sizeof *n.digests, &n.digests, err));
    add_text(&n, KEY "program", program);
    add_text(&n, KEY "type", dtype_info(m->types->type)->name);
    TRY(add_keeps(&n, m->types, a, err));
    for (int i = 0; i < m->inputs->n_files; i++)
        n.paths[n.n_paths++] = m->inputs->files[i].path;
    TRY(add_files(&n, KEY "inputs", KEY "inputs.sha256", m->inputs->n_files, a, err));
    TRY(add_loras(&n, m, a, err));
    *ret = n;
    return ERR_OK;
}

int64_t convert_notes_bytes(const struct convert_notes *n)
{
    int64_t bytes = 0;
    struct stat st;

    for (int i = 0; i < n->n_paths; i++)
        if (stat(n->paths[i], &st) == 0)
            bytes += st.st_size;
    return bytes;
}

enum err_code convert_notes_digest(struct convert_notes *n, int file, const struct file_digest_watch *watch,
                                   char text[VERDICT_TEXT_SIZE], struct err *err)
{
    int64_t bytes = 0;

    TRY(file_digest(n->paths[file], watch, n->digests[file], &bytes, err));
    if (model_file_judge(n->paths[file], bytes, n->digests[file], text) == VERDICT_WRONG)
        return err_set(err, ERR_CORRUPT, "%s", text);
    return ERR_OK;
}
