#include "models/file/shards.h"

#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/json_scan.h"

enum { INDEX_MAX_DEPTH = 8 };

static bool is_bare_name(struct span name)
{
    return name.len > strlen(".safetensors") && span_ends(name, ".safetensors") && name.ptr[0] != '.' &&
           !memchr(name.ptr, '/', name.len) && !memchr(name.ptr, '\\', name.len);
}

/* Adds the name unless it is in the list already; names[i] are from the arena. */
static enum err_code add_name(struct span raw, struct arena *a, const char **names, int *n, struct err *err)
{
    char buf[256], *name = NULL;
    size_t len = 0;

    if (!json_unescape(raw, buf, sizeof buf, &len) || !is_bare_name((struct span){ buf, len }))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not the name of a safetensors file beside the index",
                       SPAN_ARG(raw));
    for (int i = 0; i < *n; i++)
        if (strcmp(names[i], buf) == 0)
            return ERR_OK;
    if (*n == SHARDS_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "the index lists more than %d shards", SHARDS_MAX_FILES);
    TRY(span_dup(a, (struct span){ buf, len }, &name, err));
    names[(*n)++] = name;
    return ERR_OK;
}

static enum err_code read_weight_map(struct json_scan *s, struct arena *a, const char **names, int *n, struct err *err)
{
    if (json_scan_next(s) != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "weight_map is not an object");
    while (json_scan_next(s) == JSON_KEY) {
        if (json_scan_next(s) != JSON_STRING)
            return err_set(err, ERR_CORRUPT, "weight_map contains a value that is not a file name");
        TRY(add_name(s->raw, a, names, n, err));
    }
    return ERR_OK;
}

static enum err_code read_index(struct span text, struct arena *a, const char **names, int *n, struct err *err)
{
    struct json_scan s;

    TRY(json_check(text, INDEX_MAX_DEPTH, err));
    json_scan_init(&s, text);
    if (json_scan_next(&s) != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "the index is not an object");
    *n = 0;
    while (json_scan_next(&s) == JSON_KEY) {
        if (span_is(s.raw, "weight_map"))
            TRY(read_weight_map(&s, a, names, n, err));
        else
            (void)json_scan_skip(&s, json_scan_next(&s));
    }
    return *n ? ERR_OK : err_set(err, ERR_CORRUPT, "the index lists no file");
}

static enum err_code open_one(const char *path, struct arena *a, struct shards *ret, struct err *err)
{
    struct shards s = { .n_files = 1 };

    TRY(arena_alloc(a, 1, sizeof *s.files, &s.files, err));
    TRY(tensor_file_open(path, a, s.files, err));
    *ret = s;
    return ERR_OK;
}

static enum err_code open_all(const char *index, const char *const *names, int n, struct arena *a, struct shards *ret,
                              struct err *err)
{
    const char *slash = strrchr(index, '/');
    int folder = slash ? (int)(slash - index + 1) : 0;
    struct shards s = { .n_files = n };

    TRY(arena_alloc(a, (size_t)n, sizeof *s.files, &s.files, err));
    for (int i = 0; i < n; i++) {
        char *path = NULL;

        TRY(arena_printf(a, &path, err, "%.*s%s", folder, index, names[i]));
        TRY(tensor_file_open(path, a, &s.files[i], err));
    }
    *ret = s;
    return ERR_OK;
}

static enum err_code open_indexed(const char *index, struct arena *a, struct shards *ret, struct err *err)
{
    const char *names[SHARDS_MAX_FILES];
    struct span text = { 0 };
    enum err_code rc;
    int n = 0;

    TRY(file_read(index, SHARDS_MAX_INDEX_BYTES, a, &text, err));
    rc = read_index(text, a, names, &n, err);
    if (rc) {
        (void)err_prefix(err, "%s", index);
        return rc;
    }
    return open_all(index, names, n, a, ret, err);
}

enum err_code shards_open(const char *path, struct arena *a, struct shards *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    bool indexed = span_ends(span_of(path), ".index.json");
    enum err_code rc = indexed ? open_indexed(path, a, ret, err) : open_one(path, a, ret, err);

    if (rc)
        arena_rewind(a, mark);
    return rc;
}

int64_t shards_bytes(const struct shards *s)
{
    int64_t bytes = 0;

    for (int i = 0; i < s->n_files; i++)
        bytes += (int64_t)s->files[i].map.len;
    return bytes;
}
