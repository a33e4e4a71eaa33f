#include "models/fill/model_folder.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/flux/flux.h"
#include "models/file/gguf.h"
#include "models/text/t5_encoder.h"

/* Says whether opened files are the part wanted: ERR_NOT_FOUND when they are something else altogether. */
typedef enum err_code accept_fn(const struct shards *s, struct err *err);

/* What a search has found so far. */
struct search {
    const struct model_folder *folder;
    struct arena *a;
    accept_fn *accept;
    int64_t max_bytes; /* 0: any */
    const char *best;
    int64_t best_bytes;
    struct err refusal; /* why the first file that looked right cannot be used */
};

struct names {
    const char *names[MODEL_FOLDER_MAX_FILES];
    int n;
};

static const struct {
    const char *name, *looked_for;
} parts[MODEL_PART_COUNT] = {
    [MODEL_TRANSFORMER] = { "transformer", "*.gguf of architecture flux, *.safetensors with BFL names" },
    [MODEL_VAE] = { "VAE", "ae.safetensors, vae/diffusion_pytorch_model.safetensors" },
    [MODEL_CLIP] = { "CLIP-L", "text_encoder/model.safetensors, clip_l.safetensors" },
    [MODEL_T5] = { "T5", "text_encoder_2/model*.safetensors, t5xxl*.safetensors, a T5 encoder *.gguf" },
    [MODEL_CLIP_TOKENIZER] = { "CLIP tokenizer", "tokenizer/vocab.json with tokenizer/merges.txt" },
    [MODEL_T5_TOKENIZER] = { "T5 tokenizer",
                             "tokenizer_2/tokenizer.json, tokenizer_2/spiece.model, a T5 *.gguf with a vocabulary" },
    [MODEL_PROMPTS] = { "prompt pack", "prompts.safetensors" },
};

const char *model_part_name(enum model_part part)
{
    return (unsigned)part < MODEL_PART_COUNT ? parts[part].name : "?";
}

/* --- files --- */

static enum err_code path_in(const struct model_folder *f, struct arena *a, const char *name, const char **ret,
                             struct err *err)
{
    char *path = NULL;
    enum err_code rc = arena_printf(a, &path, err, "%s/%s", f->dir, name);

    if (!rc)
        *ret = path;
    return rc;
}

/* The path of the first name that is there; *ret NULL when none is. */
static enum err_code first_of(const struct model_folder *f, struct arena *a, const char *const *names, const char **ret,
                              struct err *err)
{
    enum err_code rc = ERR_OK;

    *ret = NULL;
    for (; *names && !*ret && !rc; names++) {
        const char *path = NULL;

        rc = path_in(f, a, *names, &path, err);
        if (!rc && access(path, F_OK) == 0)
            *ret = path;
    }
    return rc;
}

static int compare_names(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Names in dir/sub that begin and end so, sorted. A folder that is not there has none. */
static enum err_code list(const struct model_folder *f, struct arena *a, const char *sub, const char *start,
                          const char *end, struct names *ret, struct err *err)
{
    const char *path = NULL;
    struct dirent *entry;
    DIR *dir;
    enum err_code rc = path_in(f, a, sub, &path, err);

    ret->n = 0;
    dir = rc ? NULL : opendir(path);
    while (!rc && dir && (entry = readdir(dir))) {
        struct span name = span_of(entry->d_name);
        char *copy = NULL;

        if (name.ptr[0] == '.' || !span_starts(name, start) || !span_ends(name, end))
            continue;
        if (ret->n == MODEL_FOLDER_MAX_FILES)
            rc = err_set(err, ERR_TOO_LARGE, "%s: more than %d files", path, MODEL_FOLDER_MAX_FILES);
        else
            rc = arena_printf(a, &copy, err, "%s%s%s", sub, *sub ? "/" : "", entry->d_name);
        if (!rc)
            ret->names[ret->n++] = copy;
    }
    if (dir)
        (void)closedir(dir);
    if (!rc)
        qsort(ret->names, (size_t)ret->n, sizeof *ret->names, compare_names);
    return rc;
}

/* "...-00001-of-00002.safetensors": only its index says what it is a part of. */
static bool is_shard(const char *name)
{
    static const char form[] = "-00000-of-00000.safetensors";
    size_t n = strlen(name), form_len = sizeof form - 1;

    if (n < form_len)
        return false;
    for (size_t i = 0; i < form_len; i++) {
        char c = name[n - form_len + i];

        if (form[i] == '0' ? c < '0' || c > '9' : c != form[i])
            return false;
    }
    return true;
}

/* --- choosing by content --- */

static enum err_code not_this(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "something else");
}

static bool has_architecture(const struct shards *s, struct span *ret)
{
    return gguf_string(s->files[0].gguf, "general.architecture", ret);
}

static enum err_code accept_transformer(const struct shards *s, struct err *err)
{
    struct span architecture = SPAN("");
    bool named = has_architecture(s, &architecture), is_flux = named && span_is(architecture, "flux");
    struct weight_set set;
    enum err_code rc;

    if (named && !is_flux && !span_is(architecture, "pig") && !span_is(architecture, "cow"))
        return not_this(err);
    rc = flux_weight_set(&set, s->files, s->n_files, err);
    return rc == ERR_NOT_FOUND && is_flux ? ERR_UNSUPPORTED : rc;
}

static enum err_code accept_t5(const struct shards *s, struct err *err)
{
    struct span architecture;
    struct weight_set set;

    if (has_architecture(s, &architecture) && !span_is(architecture, "t5encoder") && !span_is(architecture, "t5"))
        return not_this(err);
    return t5_weight_set(&set, s->files, s->n_files, err);
}

static enum err_code accept_t5_vocabulary(const struct shards *s, struct err *err)
{
    enum err_code rc = accept_t5(s, err);

    return rc || gguf_find(s->files[0].gguf, "tokenizer.ggml.tokens") ? rc : not_this(err);
}

/* Opens a file for its verdict alone; a refusal is kept, since a better file may follow. */
static enum err_code consider(struct search *s, const char *name, struct err *err)
{
    struct arena_mark mark;
    struct shards opened;
    struct err why = { 0 };
    const char *path = NULL;
    int64_t bytes = 0;
    enum err_code rc = path_in(s->folder, s->a, name, &path, err);

    if (rc)
        return rc;
    mark = arena_mark(s->a);
    rc = shards_open(path, s->a, &opened, &why);
    if (!rc) {
        rc = s->accept(&opened, &why);
        bytes = shards_bytes(&opened);
        arena_rewind(s->a, mark);
        if (rc == ERR_NOT_FOUND)
            return ERR_OK;
        if (rc && !strstr(why.msg, name))
            (void)err_prefix(&why, "%s", name);
    }
    if (!rc && s->max_bytes && bytes > s->max_bytes)
        rc = err_set(&why, ERR_TOO_LARGE, "%s: %.2f GB are over the %.2f GB that fit", name, (double)bytes / 1e9,
                     (double)s->max_bytes / 1e9);
    if (rc && !s->refusal.code) {
        s->refusal = why;
        s->refusal.code = rc;
    }
    if (!rc && bytes > s->best_bytes) {
        s->best = path;
        s->best_bytes = bytes;
    }
    return ERR_OK;
}

/* Considers every file in dir/sub of that form, shards aside. */
static enum err_code consider_all(struct search *s, const char *sub, const char *start, const char *end,
                                  struct err *err)
{
    struct names found;
    enum err_code rc = s->best ? ERR_OK : list(s->folder, s->a, sub, start, end, &found, err);

    if (rc || s->best)
        return rc;
    for (int i = 0; i < found.n && !rc; i++)
        if (!is_shard(found.names[i]))
            rc = consider(s, found.names[i], err);
    return rc;
}

/* The answer of a search, or why there is none. */
static enum err_code conclude(const struct search *s, enum model_part part, enum model_kind kind,
                              struct model_found *ret, struct err *err)
{
    const char *dir = s->folder->dir;

    if (s->best) {
        *ret = (struct model_found){ .kind = kind, .path = s->best };
        return ERR_OK;
    }
    if (s->refusal.code)
        return err_set(err, s->refusal.code, "%s: no usable %s: %s (looked for %s)", dir, parts[part].name,
                       s->refusal.msg, parts[part].looked_for);
    return err_set(err, ERR_NOT_FOUND, "%s: no %s (looked for %s)", dir, parts[part].name, parts[part].looked_for);
}

/* --- parts --- */

/* A transformer chosen by name is not held to the limit: somebody wants this one. */
static enum err_code named_transformer(struct search *s, struct err *err)
{
    const char *name = s->folder->transformer, *const forms[] = { name, NULL };
    char *with_end = NULL;
    struct model_folder here = *s->folder;
    struct shards opened;
    struct arena_mark mark;
    enum err_code rc = arena_printf(s->a, &with_end, err, "%s.gguf", name);

    if (name[0] == '/')
        here.dir = ""; /* an absolute path stays one */
    else if (strchr(name, '/'))
        here.dir = ".";
    if (!rc)
        rc = first_of(&here, s->a, forms, &s->best, err);
    if (!rc && !s->best)
        rc = first_of(&here, s->a, (const char *[]){ with_end, NULL }, &s->best, err);
    if (!rc && !s->best)
        rc = err_set(err, ERR_NOT_FOUND, "%s: no transformer '%s'", s->folder->dir, name);
    if (rc)
        return rc;
    mark = arena_mark(s->a);
    rc = shards_open(s->best, s->a, &opened, err);
    if (rc)
        return rc;
    rc = s->accept(&opened, err);
    arena_rewind(s->a, mark);
    if (rc)
        (void)err_prefix(err, "%s", name);
    return rc;
}

static enum err_code find_transformer(const struct model_folder *f, struct arena *a, struct model_found *ret,
                                      struct err *err)
{
    struct search s = { .folder = f, .a = a, .accept = accept_transformer, .max_bytes = f->max_transformer_bytes };
    enum err_code rc;

    if (f->transformer && *f->transformer && strcmp(f->transformer, "auto") != 0) {
        rc = named_transformer(&s, err);
        return rc ? rc : conclude(&s, MODEL_TRANSFORMER, MODEL_WEIGHTS, ret, err);
    }
    rc = consider_all(&s, "", "", ".gguf", err);
    if (!rc)
        rc = consider_all(&s, "", "", ".safetensors", err);
    if (!rc)
        rc = consider_all(&s, "", "", ".safetensors.index.json", err);
    return rc ? rc : conclude(&s, MODEL_TRANSFORMER, MODEL_WEIGHTS, ret, err);
}

static enum err_code find_t5(const struct model_folder *f, struct arena *a, struct model_found *ret, struct err *err)
{
    static const char *const plain[] = { "text_encoder_2/model.safetensors",
                                         "text_encoder_2/model.safetensors.index.json", NULL };
    struct search s = { .folder = f, .a = a, .accept = accept_t5 };
    enum err_code rc = first_of(f, a, plain, &s.best, err);

    if (!rc)
        rc = consider_all(&s, "text_encoder_2", "model", ".safetensors", err);
    if (!rc)
        rc = consider_all(&s, "", "t5xxl", ".safetensors", err);
    if (!rc)
        rc = consider_all(&s, "", "", ".gguf", err);
    return rc ? rc : conclude(&s, MODEL_T5, MODEL_WEIGHTS, ret, err);
}

static enum err_code find_t5_tokenizer(const struct model_folder *f, struct arena *a, struct model_found *ret,
                                       struct err *err)
{
    static const struct {
        const char *names[2];
        enum model_kind kind;
    } files[] = {
        { { "tokenizer_2/tokenizer.json", NULL }, MODEL_TOKENIZER_JSON },
        { { "tokenizer_2/spiece.model", NULL }, MODEL_SPIECE },
    };
    struct search s = { .folder = f, .a = a, .accept = accept_t5_vocabulary };
    enum err_code rc;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        rc = first_of(f, a, files[i].names, &s.best, err);
        if (rc || s.best)
            return rc ? rc : conclude(&s, MODEL_T5_TOKENIZER, files[i].kind, ret, err);
    }
    rc = consider_all(&s, "", "", ".gguf", err);
    return rc ? rc : conclude(&s, MODEL_T5_TOKENIZER, MODEL_GGUF_VOCABULARY, ret, err);
}

static enum err_code find_clip_tokenizer(const struct model_folder *f, struct arena *a, struct model_found *ret,
                                         struct err *err)
{
    static const char *const vocab[] = { "tokenizer/vocab.json", NULL };
    static const char *const merges[] = { "tokenizer/merges.txt", NULL };
    struct search s = { .folder = f, .a = a };
    struct model_found found = { .kind = MODEL_VOCAB_MERGES };
    enum err_code rc = first_of(f, a, vocab, &found.path, err);

    if (!rc)
        rc = first_of(f, a, merges, &found.path_2, err);
    if (!rc && !(found.path && found.path_2))
        rc = conclude(&s, MODEL_CLIP_TOKENIZER, found.kind, ret, err);
    else if (!rc)
        *ret = found;
    return rc;
}

/* Parts that are one of two files. */
static enum err_code find_file(const struct model_folder *f, enum model_part part, struct arena *a,
                               struct model_found *ret, struct err *err)
{
    static const char *const files[MODEL_PART_COUNT][3] = {
        [MODEL_VAE] = { "ae.safetensors", "vae/diffusion_pytorch_model.safetensors" },
        [MODEL_CLIP] = { "text_encoder/model.safetensors", "clip_l.safetensors" },
        [MODEL_PROMPTS] = { "prompts.safetensors" },
    };
    struct search s = { .folder = f, .a = a };
    enum err_code rc = first_of(f, a, files[part], &s.best, err);

    return rc ? rc : conclude(&s, part, MODEL_WEIGHTS, ret, err);
}

enum err_code model_folder_find(const struct model_folder *f, enum model_part part, struct arena *a,
                                struct model_found *ret, struct err *err)
{
    if (access(f->dir, R_OK | X_OK) != 0)
        return err_set(err, ERR_NOT_FOUND, "model folder %s: %m", f->dir);
    switch (part) {
    case MODEL_TRANSFORMER:
        return find_transformer(f, a, ret, err);
    case MODEL_T5:
        return find_t5(f, a, ret, err);
    case MODEL_T5_TOKENIZER:
        return find_t5_tokenizer(f, a, ret, err);
    case MODEL_CLIP_TOKENIZER:
        return find_clip_tokenizer(f, a, ret, err);
    case MODEL_VAE:
    case MODEL_CLIP:
    case MODEL_PROMPTS:
        return find_file(f, part, a, ret, err);
    case MODEL_PART_COUNT:
        break;
    }
    return err_set(err, ERR_INVALID, "model folder: no such part");
}

enum err_code model_folder_open(const struct model_folder *f, enum model_part part, struct arena *a, struct shards *ret,
                                struct err *err)
{
    struct model_found found = { 0 };
    enum err_code rc = model_folder_find(f, part, a, &found, err);

    if (rc)
        return rc;
    if (found.kind != MODEL_WEIGHTS)
        return err_set(err, ERR_INVALID, "%s is not made of tensors", model_part_name(part));
    return shards_open(found.path, a, ret, err);
}
