#include "models/file/shards.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/file/gguf.h"
#include "models/file/shard_index.h"

/* How files are opened. */
struct opening {
    const char *path;
    bool survey;
    struct arena *a;
};

static enum err_code open_file(const struct opening *o, const char *path, struct tensor_file *ret, struct err *err)
{
    return (o->survey ? tensor_file_survey : tensor_file_open)(path, o->a, ret, err);
}

/* A file that `path` names as another of the same model. */
static enum err_code open_other(const struct opening *o, const char *other, struct tensor_file *ret, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = open_file(o, other, ret, &why);

    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "%s needs %s, which is not beside it: fetch that file too", o->path,
                       file_short_name(other));
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

static int64_t missing_bytes(const struct shards *s)
{
    int64_t bytes = 0;

    for (int i = 0; i < s->n_files; i++)
        bytes += s->files[i].missing_bytes;
    return bytes;
}

/* --- an index --- */

static enum err_code open_listed(const struct opening *o, const struct shard_index *x, struct shards *ret,
                                 struct err *err)
{
    int folder = (int)(file_short_name(o->path) - o->path);
    struct shards s = { .n_files = x->n_files };

    TRY(arena_alloc(o->a, (size_t)s.n_files, sizeof *s.files, &s.files, err));
    for (int i = 0; i < s.n_files; i++) {
        char *path = NULL;

        TRY(arena_printf(o->a, &path, err, "%.*s%s", folder, o->path, x->files[i]));
        TRY(open_other(o, path, &s.files[i], err));
        if (s.files[i].gguf)
            return err_set(err, ERR_UNSUPPORTED, "%s is GGUF, but an index lists safetensors: open the file itself",
                           path);
    }
    *ret = s;
    return ERR_OK;
}

/* Files that are whole by their own headers and less than what the index says are not those of the index. */
static enum err_code compare_total(const struct opening *o, const struct shard_index *x, struct shards *s,
                                   struct err *err)
{
    int64_t bytes = shards_bytes(s);

    s->missing_bytes = missing_bytes(s);
    if (x->total_bytes <= bytes)
        return ERR_OK;
    if (!o->survey)
        return err_set(err, ERR_CORRUPT,
                       "%s lists weights of %lld bytes, but its shards have %lld together: they are unfinished or not "
                       "those of this index; fetch them again",
                       o->path, (long long)x->total_bytes, (long long)bytes);
    if (x->total_bytes - bytes > s->missing_bytes)
        s->missing_bytes = x->total_bytes - bytes;
    return ERR_OK;
}

static enum err_code open_indexed(const struct opening *o, struct shards *ret, struct err *err)
{
    struct shard_index x = { 0 };
    struct span text = { 0 };
    enum err_code rc;

    TRY(file_read(o->path, SHARDS_MAX_INDEX_BYTES, o->a, &text, err));
    rc = shard_index_read(text, o->a, &x, err);
    if (rc) {
        (void)err_prefix(err, "%s", o->path);
        return rc;
    }
    TRY(open_listed(o, &x, ret, err));
    rc = shard_index_check(&x, ret, o->a, err);
    if (rc) {
        (void)err_prefix(err, "%s", o->path);
        return rc;
    }
    return compare_total(o, &x, ret, err);
}

/* --- a split GGUF file --- */

enum { SUFFIX_SIZE = 32 };

struct split {
    int64_t no, count, tensors; /* tensors: of all parts; -1: not said */
};

static void print_suffix(const struct split *s, int64_t no, char ret[SUFFIX_SIZE])
{
    (void)snprintf(ret, SUFFIX_SIZE, "-%05d-of-%05d.gguf", (int)no + 1, (int)s->count);
}

/* *ret: count 1 for a file that is not split. */
static enum err_code read_split(const struct tensor_file *f, struct split *ret, struct err *err)
{
    struct split s = { 0, 1, -1 };

    if (!gguf_find(f->gguf, "split.count")) {
        *ret = s;
        return ERR_OK;
    }
    if (!gguf_int(f->gguf, "split.count", &s.count) || (s.count > 1 && !gguf_int(f->gguf, "split.no", &s.no)))
        return err_set(err, ERR_CORRUPT, "%s: split.count or split.no is not a whole number; fetch it again", f->path);
    s.count = s.count == 0 ? 1 : s.count; /* so gguf-split writes when it has joined the parts */
    if (s.count < 1 || s.no < 0 || s.no >= s.count)
        return err_set(err, ERR_CORRUPT, "%s: split.no is %lld and split.count %lld; fetch it again", f->path,
                       (long long)s.no, (long long)s.count);
    if (s.count > SHARDS_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "%s is one of %lld parts; at most %d are read: join them with gguf-split",
                       f->path, (long long)s.count, SHARDS_MAX_FILES);
    (void)gguf_int(f->gguf, "split.tensors.count", &s.tensors);
    *ret = s;
    return ERR_OK;
}

/* *ret_stem: the length of the path without the suffix of the first part. */
static enum err_code find_stem(const char *path, const struct split *s, int *ret_stem, struct err *err)
{
    char suffix[SUFFIX_SIZE], first[SUFFIX_SIZE];
    bool named;

    print_suffix(s, s->no, suffix);
    print_suffix(s, 0, first);
    named = span_ends(span_of(path), suffix);
    *ret_stem = named ? (int)(strlen(path) - strlen(suffix)) : 0;
    if (s->no && named)
        return err_set(err, ERR_INVALID, "%s is part %d of %d of a split file: name the first part, %.*s%s", path,
                       (int)s->no + 1, (int)s->count, *ret_stem - (int)(file_short_name(path) - path),
                       file_short_name(path), first);
    if (s->no)
        return err_set(err, ERR_INVALID,
                       "%s is part %d of %d of a split file: name the first part, whose name ends in %s", path,
                       (int)s->no + 1, (int)s->count, first);
    if (!named)
        return err_set(err, ERR_INVALID,
                       "%s is part 1 of %d of a split file, but its name does not end in %s, so that the other parts "
                       "cannot be found: give all parts the names they were published with",
                       path, (int)s->count, first);
    return ERR_OK;
}

static enum err_code check_part(const struct tensor_file *f, const struct split *want, int no, struct err *err)
{
    struct split s = { 0 };

    TRY(read_split(f, &s, err));
    if (s.no != no || s.count != want->count)
        return err_set(err, ERR_CORRUPT,
                       "%s says in its metadata that it is part %d of %d, and not the one of its name; fetch it again",
                       f->path, (int)s.no + 1, (int)s.count);
    return ERR_OK;
}

static enum err_code check_tensors(const struct shards *s, const struct split *split, struct err *err)
{
    int64_t n = 0;

    for (int i = 0; i < s->n_files; i++)
        n += s->files[i].n_entries;
    if (split->tensors >= 0 && n != split->tensors)
        return err_set(err, ERR_CORRUPT,
                       "%s and the other parts have %lld tensors together, but split.tensors.count is %lld: fetch all "
                       "parts again, from one place",
                       s->files[0].path, (long long)n, (long long)split->tensors);
    return ERR_OK;
}

/* The shapes of all parts' tensors are in the first one's metadata. */
static enum err_code restore_shapes(const struct opening *o, const struct shards *s, int i, struct err *err)
{
    enum err_code rc = gguf_restore_shapes(s->files[0].gguf, o->survey, &s->files[i], err);

    if (rc)
        (void)err_prefix(err, "%s", s->files[i].path);
    return rc;
}

/* s->files[0] is open. */
static enum err_code open_parts(const struct opening *o, const struct split *split, struct shards *s, struct err *err)
{
    int stem = 0;

    TRY(find_stem(o->path, split, &stem, err));
    for (int i = 1; i < s->n_files; i++) {
        char suffix[SUFFIX_SIZE], *path = NULL;

        print_suffix(split, i, suffix);
        TRY(arena_printf(o->a, &path, err, "%.*s%s", stem, o->path, suffix));
        TRY(open_other(o, path, &s->files[i], err));
        TRY(check_part(&s->files[i], split, i, err));
        TRY(restore_shapes(o, s, i, err));
    }
    return check_tensors(s, split, err);
}

static enum err_code open_named(const struct opening *o, struct shards *ret, struct err *err)
{
    struct tensor_file first = { 0 };
    struct split split = { 0 };
    struct shards s = { 0 };

    TRY(open_file(o, o->path, &first, err));
    TRY(read_split(&first, &split, err));
    s.n_files = (int)split.count;
    TRY(arena_alloc(o->a, (size_t)s.n_files, sizeof *s.files, &s.files, err));
    s.files[0] = first;
    if (s.n_files > 1)
        TRY(open_parts(o, &split, &s, err));
    s.missing_bytes = missing_bytes(&s);
    *ret = s;
    return ERR_OK;
}

bool shards_is_index(const char *path)
{
    struct span stem, variant;

    return span_ends(span_of(path), ".index.json") || shard_index_is_name(span_of(path), &stem, &variant);
}

static enum err_code open_all(const struct opening *o, struct shards *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(o->a);
    enum err_code rc = shards_is_index(o->path) ? open_indexed(o, ret, err) : open_named(o, ret, err);

    if (rc)
        arena_rewind(o->a, mark);
    return rc;
}

enum err_code shards_open(const char *path, struct arena *a, struct shards *ret, struct err *err)
{
    return open_all(&(struct opening){ path, false, a }, ret, err);
}

enum err_code shards_survey(const char *path, struct arena *a, struct shards *ret, struct err *err)
{
    return open_all(&(struct opening){ path, true, a }, ret, err);
}

int64_t shards_bytes(const struct shards *s)
{
    int64_t bytes = 0;

    for (int i = 0; i < s->n_files; i++)
        bytes += (int64_t)s->files[i].map.len;
    return bytes;
}
