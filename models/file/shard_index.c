#include "models/file/shard_index.h"

#include <string.h>

#include "kernels/base/json_scan.h"
#include "models/file/name_index.h"

enum { INDEX_MAX_DEPTH = 8, FILE_NAME_MAX = 255 };

bool shard_index_is_name(struct span path, struct span *ret_stem, struct span *ret_variant)
{
    static const char mark[] = ".safetensors.index";
    const size_t n = sizeof mark - 1;
    struct span rest = path;

    if (!span_ends(path, ".json"))
        return false;
    rest.len -= strlen(".json");
    *ret_variant = (struct span){ rest.ptr + rest.len, 0 };
    if (!span_ends(rest, mark)) {
        const char *dot = memrchr(rest.ptr, '.', rest.len);

        if (!dot || (size_t)(dot - rest.ptr) + 1 == rest.len || memchr(dot, '/', (size_t)(rest.ptr + rest.len - dot)))
            return false;
        *ret_variant = (struct span){ dot + 1, rest.len - (size_t)(dot + 1 - rest.ptr) };
        rest.len = (size_t)(dot - rest.ptr);
    }
    if (!span_ends(rest, mark))
        return false;
    *ret_stem = (struct span){ rest.ptr, rest.len - n };
    return true;
}

static bool is_bare_name(struct span name)
{
    return name.len > strlen(".safetensors") && span_ends(name, ".safetensors") && name.ptr[0] != '.' &&
           !memchr(name.ptr, '/', name.len) && !memchr(name.ptr, '\\', name.len);
}

/* The number of the file of this name; n_files: it is not among them. */
static int find_file(const struct shard_index *x, const char *name)
{
    int i = 0;

    while (i < x->n_files && strcmp(x->files[i], name) != 0)
        i++;
    return i;
}

static enum err_code add_file(struct span raw, struct arena *a, struct shard_index *x, struct err *err)
{
    char buf[FILE_NAME_MAX + 1], *name = NULL;
    size_t len = 0;

    if (!json_unescape(raw, buf, sizeof buf, &len) || !is_bare_name((struct span){ buf, len }))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not the name of a safetensors file beside the index",
                       SPAN_ARG(raw));
    if (find_file(x, buf) < x->n_files)
        return ERR_OK;
    if (x->n_files == SHARDS_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "the index lists more than %d shards", SHARDS_MAX_FILES);
    TRY(span_dup(a, (struct span){ buf, len }, &name, err));
    x->files[x->n_files++] = name;
    return ERR_OK;
}

static enum err_code read_weight_map(struct json_scan *s, struct arena *a, struct shard_index *x, struct err *err)
{
    if (json_scan_next(s) != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "weight_map is not an object");
    while (json_scan_next(s) == JSON_KEY) {
        if (json_scan_next(s) != JSON_STRING)
            return err_set(err, ERR_CORRUPT, "weight_map contains a value that is not a file name");
        TRY(add_file(s->raw, a, x, err));
    }
    return ERR_OK;
}

/* Others than tools of today write sizes as 1.2e10; what is no size says nothing. */
static int64_t take_size(struct span raw)
{
    double d = 0;
    int64_t n = 0;

    if (!json_int64(raw, &n) && json_double(raw, &d) && d >= 0 && d <= (double)TENSOR_FILE_MAX_BYTES)
        n = (int64_t)d;
    return n > 0 ? n : 0;
}

static void read_metadata(struct json_scan *s, struct shard_index *x)
{
    enum json_event ev = json_scan_next(s);

    if (ev != JSON_OBJECT) {
        (void)json_scan_skip(s, ev);
        return;
    }
    while (json_scan_next(s) == JSON_KEY) {
        bool is_size = span_is(s->raw, "total_size");

        ev = json_scan_next(s);
        if (is_size && ev == JSON_NUMBER)
            x->total_bytes = take_size(s->raw);
        (void)json_scan_skip(s, ev);
    }
}

static enum err_code check_json(struct span text, struct err *err)
{
    enum err_code rc = json_check(text, INDEX_MAX_DEPTH, err);

    if (rc == ERR_CORRUPT)
        (void)err_prefix(err, "the index is damaged or incomplete; fetch it again");
    return rc;
}

enum err_code shard_index_read(struct span text, struct arena *a, struct shard_index *ret, struct err *err)
{
    struct shard_index x = { .text = text };
    struct json_scan s;

    TRY(check_json(text, err));
    json_scan_init(&s, text);
    if (json_scan_next(&s) != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "the index is not a JSON object; fetch it again");
    while (json_scan_next(&s) == JSON_KEY) {
        if (span_is(s.raw, "weight_map"))
            TRY(read_weight_map(&s, a, &x, err));
        else if (span_is(s.raw, "metadata"))
            read_metadata(&s, &x);
        else
            (void)json_scan_skip(&s, json_scan_next(&s));
    }
    if (!x.n_files)
        return err_set(err, ERR_CORRUPT, "the index has no weight_map that lists files; fetch it again");
    *ret = x;
    return ERR_OK;
}

/* The tensors behind a directory, by name. */
struct unread {
    int *index[SHARDS_MAX_FILES];
};

static bool is_in(const struct tensor_file *f, const int *unread, struct span name)
{
    return tensor_file_find(f, name) ||
           name_index_find(unread, f->entries + f->n_entries, f->n_unread, sizeof *f->entries, name) >= 0;
}

static enum err_code check_weight(const struct shard_index *x, const struct shards *s, const struct unread *u,
                                  struct span name, int file, struct err *err)
{
    int other = 0;

    if (is_in(&s->files[file], u->index[file], name))
        return ERR_OK;
    while (other < s->n_files && !is_in(&s->files[other], u->index[other], name))
        other++;
    if (other < s->n_files)
        return err_set(err, ERR_CORRUPT,
                       "weight '%.*s' is in %s, but the index lists it in %s: fetch the index and its shards again, "
                       "from one place",
                       SPAN_ARG(name), x->files[other], x->files[file]);
    return err_set(err, ERR_CORRUPT,
                   "the index lists weight '%.*s' in %s, but no shard holds it: fetch the index and its shards again, "
                   "from one place",
                   SPAN_ARG(name), x->files[file]);
}

static enum err_code check_weights(const struct shard_index *x, const struct shards *s, const struct unread *u,
                                   struct json_scan *scan, struct err *err)
{
    char name[TENSOR_NAME_MAX + 1], file[FILE_NAME_MAX + 1];
    size_t len = 0, file_len;

    (void)json_scan_next(scan);
    while (json_scan_next(scan) == JSON_KEY) {
        if (!json_unescape(scan->raw, name, sizeof name, &len))
            return err_set(err, ERR_CORRUPT, "a weight's name of more than %d bytes: '%.*s...'", TENSOR_NAME_MAX,
                           SPAN_ARG(scan->raw));
        (void)json_scan_next(scan);
        if (!json_unescape(scan->raw, file, sizeof file, &file_len) || find_file(x, file) >= s->n_files)
            return err_set(err, ERR_INTERNAL, "the index was read differently before");
        TRY(check_weight(x, s, u, (struct span){ name, len }, find_file(x, file), err));
    }
    return ERR_OK;
}

enum err_code shard_index_check(const struct shard_index *x, const struct shards *s, struct arena *a, struct err *err)
{
    ARENA_SCRATCH(a);
    struct json_scan scan;
    struct unread u = { 0 };
    int twice;

    for (int i = 0; i < s->n_files; i++) {
        const struct tensor_file *f = &s->files[i];

        TRY(name_index_build(a, f->entries + f->n_entries, f->n_unread, sizeof *f->entries, &u.index[i], &twice, err));
    }
    json_scan_init(&scan, x->text);
    (void)json_scan_next(&scan);
    while (json_scan_next(&scan) == JSON_KEY) {
        if (span_is(scan.raw, "weight_map"))
            TRY(check_weights(x, s, &u, &scan, err));
        else
            (void)json_scan_skip(&scan, json_scan_next(&scan));
    }
    return ERR_OK;
}
