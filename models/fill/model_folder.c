#include "models/fill/model_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/file/gguf.h"
#include "models/flux/flux.h"
#include "models/text/t5_encoder.h"

/* Says whether opened files are the part that is searched for: ERR_NOT_FOUND when they are something else altogether.
 */
typedef enum err_code accept_fn(const struct shards *s, struct err *err);

/* A search for one part, and the best file so far. */
struct search {
    const struct model_folder *folder;
    struct arena *a;
    accept_fn *accept;
    int64_t max_bytes; /* 0: any */
    const char *best;
    int64_t best_bytes;
    struct err refusal;    /* why the first candidate cannot be used */
    struct err unread;     /* why the largest of those that cannot be read cannot be read */
    int64_t unread_bytes;  /* its size */
    const char *too_large; /* the name of the largest that is over max_bytes; NULL: none */
    int64_t too_large_bytes;
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

    TRY(arena_printf(a, &path, err, "%s/%s", f->dir, name));
    *ret = path;
    return ERR_OK;
}

/* Whether there is such a file. A link whose target is missing is there: opening it says what is wrong with it. */
static enum err_code exists(const char *path, bool *ret, struct err *err)
{
    struct stat st;

    *ret = lstat(path, &st) == 0;
    if (*ret || errno == ENOENT || errno == ENOTDIR)
        return ERR_OK;
    return err_set(err, ERR_IO, "%s: %m", path);
}

/* The path of the first name that exists; *ret NULL when none exists. */
static enum err_code first_of(const struct model_folder *f, struct arena *a, const char *const *names, const char **ret,
                              struct err *err)
{
    *ret = NULL;
    for (; *names && !*ret; names++) {
        const char *path = NULL;
        bool there = false;

        TRY(path_in(f, a, *names, &path, err));
        TRY(exists(path, &there, err));
        if (there)
            *ret = path;
    }
    return ERR_OK;
}

static int compare_names(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Files of a subfolder ("" for the folder itself) whose names begin and end like this. */
struct pattern {
    const char *sub, *start, *end;
};

static enum err_code read_names(DIR *dir, const struct pattern *p, struct arena *a, struct names *ret, struct err *err)
{
    const struct dirent *entry;

    while (errno = 0, (entry = readdir(dir))) {
        struct span name = span_of(entry->d_name);
        char *copy = NULL;

        if (name.ptr[0] == '.' || !span_starts(name, p->start) || !span_ends(name, p->end))
            continue;
        if (ret->n == MODEL_FOLDER_MAX_FILES)
            return err_set(err, ERR_TOO_LARGE, "more than %d files are named '%s*%s'", MODEL_FOLDER_MAX_FILES, p->start,
                           p->end);
        TRY(arena_printf(a, &copy, err, "%s%s%s", p->sub, *p->sub ? "/" : "", entry->d_name));
        ret->names[ret->n++] = copy;
    }
    return errno ? err_set(err, ERR_IO, "the folder cannot be read to its end: %m") : ERR_OK;
}

/* The names that match, sorted. A folder that does not exist has none. */
static enum err_code list(const struct model_folder *f, const struct pattern *p, struct arena *a, struct names *ret,
                          struct err *err)
{
    const char *path = NULL;
    DIR *dir;
    enum err_code rc;

    ret->n = 0;
    TRY(path_in(f, a, p->sub, &path, err));
    dir = opendir(path);
    if (!dir && (errno == ENOENT || errno == ENOTDIR))
        return ERR_OK;
    if (!dir)
        return err_set(err, ERR_IO, "%s: the folder cannot be read: %m", path);
    rc = read_names(dir, p, a, ret, err);
    (void)closedir(dir);
    if (rc)
        (void)err_prefix(err, "%s", path);
    else
        qsort(ret->names, (size_t)ret->n, sizeof *ret->names, compare_names);
    return rc;
}

/* A shard, "...-00001-of-00002.safetensors", cannot be used alone: only the index says what it is a part of. */
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
    return err_set(err, ERR_NOT_FOUND, "the file is something else");
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

/* Opens a file to see whether it is the part and fits; nothing of it stays open. */
static enum err_code judge(const struct search *s, const char *name, const char *path, int64_t *ret_bytes,
                           struct err *err)
{
    ARENA_SCRATCH(s->a);
    struct shards opened;
    enum err_code rc;

    TRY(shards_open(path, s->a, &opened, err));
    rc = s->accept(&opened, err);
    if (rc && rc != ERR_NOT_FOUND && !strstr(err->msg, name))
        (void)err_prefix(err, "%s", name);
    *ret_bytes = shards_bytes(&opened);
    if (rc || !s->max_bytes || *ret_bytes <= s->max_bytes)
        return rc;
    return err_set(err, ERR_TOO_LARGE, "%s: %.2f GB are over the %.2f GB that fit", name, (double)*ret_bytes / 1e9,
                   (double)s->max_bytes / 1e9);
}

/* Whether this means that nobody knows what the file is, rather than that it is of no use here. */
static bool is_unreadable(enum err_code rc, int64_t opened_bytes)
{
    return rc && (opened_bytes < 0 || rc == ERR_IO || rc == ERR_CORRUPT || rc == ERR_NOMEM);
}

/* How large a file that cannot be read is; more than any other where that is unknown, as of one that is cut off. */
static int64_t size_of(const char *path, enum err_code rc)
{
    struct stat st;
    bool known = rc != ERR_CORRUPT && !span_ends(span_of(path), ".index.json") && stat(path, &st) == 0;

    return known ? (int64_t)st.st_size : INT64_MAX;
}

static void keep_unread(struct search *s, const char *path, enum err_code rc, const struct err *why)
{
    int64_t bytes = size_of(path, rc);

    if ((s->max_bytes && bytes > s->max_bytes && bytes < INT64_MAX) || bytes <= s->unread_bytes)
        return;
    s->unread = *why;
    s->unread.code = rc;
    s->unread_bytes = bytes;
}

static void keep_refusal(struct search *s, const char *name, enum err_code rc, int64_t bytes, const struct err *why)
{
    if (!s->refusal.code) {
        s->refusal = *why;
        s->refusal.code = rc;
    }
    if (rc == ERR_TOO_LARGE && bytes > s->too_large_bytes) {
        s->too_large = name;
        s->too_large_bytes = bytes;
    }
}

/* Takes a file if it is the best so far. A refusal is kept, because a better file may follow. */
static enum err_code consider(struct search *s, const char *name, struct err *err)
{
    struct err why = { 0 };
    const char *path = NULL;
    int64_t bytes = -1; /* -1: the file could not be opened */
    enum err_code rc;

    TRY(path_in(s->folder, s->a, name, &path, err));
    rc = judge(s, name, path, &bytes, &why);
    if (rc == ERR_NOT_FOUND && bytes >= 0)
        return ERR_OK;
    if (rc == ERR_NOT_FOUND) /* the folder lists it, or its index does: it is not absent */
        rc = ERR_IO;
    if (rc)
        keep_refusal(s, name, rc, bytes, &why);
    if (is_unreadable(rc, bytes))
        keep_unread(s, path, rc, &why);
    if (rc == ERR_OK && bytes > s->best_bytes) {
        s->best = path;
        s->best_bytes = bytes;
    }
    return ERR_OK;
}

/* Considers every file that matches, except for shards, unless the search has found one already. */
static enum err_code consider_all(struct search *s, const struct pattern *p, struct err *err)
{
    struct names found;

    if (s->best)
        return ERR_OK;
    TRY(list(s->folder, p, s->a, &found, err));
    for (int i = 0; i < found.n; i++)
        if (!is_shard(found.names[i]))
            TRY(consider(s, found.names[i], err));
    return ERR_OK;
}

static const struct pattern all_gguf = { "", "", ".gguf" };

/*
 * A file that cannot be read might be the part, and a larger file would be taken instead of the best one. To go on with
 * the best one would change what the model computes, without a word, because of a disk that failed once.
 */
static enum err_code might_be_better(const struct search *s, enum model_part part, struct err *err)
{
    return err_set(err, s->unread.code,
                   "%s: it may be the %s, and larger than %s: fetch it again, take it out of the folder, or name the "
                   "one to take",
                   s->unread.msg, parts[part].name, file_short_name(s->best));
}

/* The result of a search, or the reason why there is none. */
static enum err_code conclude(const struct search *s, enum model_part part, enum model_kind kind,
                              struct model_found *ret, struct err *err)
{
    const char *dir = s->folder->dir;

    if (s->best && s->unread_bytes > s->best_bytes)
        return might_be_better(s, part, err);
    if (s->best) {
        *ret = (struct model_found){ .kind = kind, .path = s->best, .too_large = s->too_large };
        return ERR_OK;
    }
    if (s->refusal.code)
        return err_set(err, s->refusal.code, "%s: no %s that can be used: %s (looked for %s)", dir, parts[part].name,
                       s->refusal.msg, parts[part].looked_for);
    return err_set(err, ERR_NOT_FOUND, "%s: no %s (looked for %s)", dir, parts[part].name, parts[part].looked_for);
}

/* --- parts --- */

/* A transformer chosen by name is not held to the limit of bytes. */
static enum err_code named_transformer(struct search *s, struct err *err)
{
    const char *name = s->folder->transformer;
    char *with_end = NULL;
    struct model_folder here = *s->folder;

    TRY(arena_printf(s->a, &with_end, err, "%s.gguf", name));
    if (name[0] == '/')
        here.dir = ""; /* keeps an absolute path absolute */
    else if (strchr(name, '/'))
        here.dir = ".";
    TRY(first_of(&here, s->a, (const char *[]){ name, with_end, NULL }, &s->best, err));
    if (!s->best)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no transformer '%s'", s->folder->dir, name);
    return ERR_OK;
}

static enum err_code accept_named(const struct search *s, struct err *err)
{
    ARENA_SCRATCH(s->a);
    struct shards opened;
    enum err_code rc;

    TRY(shards_open(s->best, s->a, &opened, err));
    rc = s->accept(&opened, err);
    if (rc)
        (void)err_prefix(err, "%s", s->folder->transformer);
    return rc;
}

static enum err_code find_transformer(const struct model_folder *f, struct arena *a, struct model_found *ret,
                                      struct err *err)
{
    struct search s = { .folder = f, .a = a, .accept = accept_transformer, .max_bytes = f->max_transformer_bytes };

    if (f->transformer && *f->transformer && strcmp(f->transformer, "auto") != 0) {
        TRY(named_transformer(&s, err));
        TRY(accept_named(&s, err));
    } else {
        TRY(consider_all(&s, &all_gguf, err));
        TRY(consider_all(&s, &(struct pattern){ "", "", ".safetensors" }, err));
        TRY(consider_all(&s, &(struct pattern){ "", "", ".safetensors.index.json" }, err));
    }
    return conclude(&s, MODEL_TRANSFORMER, MODEL_WEIGHTS, ret, err);
}

static enum err_code find_t5(const struct model_folder *f, struct arena *a, struct model_found *ret, struct err *err)
{
    static const char *const plain[] = { "text_encoder_2/model.safetensors",
                                         "text_encoder_2/model.safetensors.index.json", NULL };
    struct search s = { .folder = f, .a = a, .accept = accept_t5 };

    TRY(first_of(f, a, plain, &s.best, err));
    TRY(consider_all(&s, &(struct pattern){ "text_encoder_2", "model", ".safetensors" }, err));
    TRY(consider_all(&s, &(struct pattern){ "", "t5xxl", ".safetensors" }, err));
    TRY(consider_all(&s, &all_gguf, err));
    return conclude(&s, MODEL_T5, MODEL_WEIGHTS, ret, err);
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

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        TRY(first_of(f, a, files[i].names, &s.best, err));
        if (s.best)
            return conclude(&s, MODEL_T5_TOKENIZER, files[i].kind, ret, err);
    }
    TRY(consider_all(&s, &all_gguf, err));
    return conclude(&s, MODEL_T5_TOKENIZER, MODEL_GGUF_VOCABULARY, ret, err);
}

static enum err_code find_clip_tokenizer(const struct model_folder *f, struct arena *a, struct model_found *ret,
                                         struct err *err)
{
    static const char *const vocab[] = { "tokenizer/vocab.json", NULL };
    static const char *const merges[] = { "tokenizer/merges.txt", NULL };
    struct search s = { .folder = f, .a = a };
    struct model_found found = { .kind = MODEL_VOCAB_MERGES };

    TRY(first_of(f, a, vocab, &found.path, err));
    TRY(first_of(f, a, merges, &found.path_2, err));
    if (!found.path || !found.path_2)
        return conclude(&s, MODEL_CLIP_TOKENIZER, found.kind, ret, err);
    *ret = found;
    return ERR_OK;
}

/* The parts that are known by the names of their files alone. */
static enum err_code find_file(const struct model_folder *f, enum model_part part, struct arena *a,
                               struct model_found *ret, struct err *err)
{
    static const char *const files[MODEL_PART_COUNT][3] = {
        [MODEL_VAE] = { "ae.safetensors", "vae/diffusion_pytorch_model.safetensors" },
        [MODEL_CLIP] = { "text_encoder/model.safetensors", "clip_l.safetensors" },
        [MODEL_PROMPTS] = { "prompts.safetensors" },
    };
    struct search s = { .folder = f, .a = a };

    TRY(first_of(f, a, files[part], &s.best, err));
    return conclude(&s, part, MODEL_WEIGHTS, ret, err);
}

enum err_code model_folder_find(const struct model_folder *f, enum model_part part, struct arena *a,
                                struct model_found *ret, struct err *err)
{
    if (access(f->dir, R_OK | X_OK) != 0)
        return err_set(err, ERR_NOT_FOUND, "the model folder %s cannot be read: %m", f->dir);
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

    TRY(model_folder_find(f, part, a, &found, err));
    if (found.kind != MODEL_WEIGHTS)
        return err_set(err, ERR_INVALID, "%s is not made of tensors", model_part_name(part));
    return shards_open(found.path, a, ret, err);
}
