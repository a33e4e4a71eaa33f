#include "models/file/safetensors.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "kernels/base/out_file.h"
#include "models/file/file_map.h"
#include "models/file/name_index.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as the file stores them");

enum { LENGTH_BYTES = 8, TYPE_NAME_MAX = 32 };

/* Types of the format. dtype -1: not read; its tensors are checked for size and place all the same. */
static const struct {
    const char *name;
    int bytes, dtype;
} types[] = {
    { "F32", 4, DT_F32 }, { "F16", 2, DT_F16 }, { "BF16", 2, DT_BF16 }, { "F8_E4M3", 1, DT_F8_E4M3 },
    { "I32", 4, DT_I32 }, { "I64", 8, DT_I64 }, { "U8", 1, DT_U8 },     { "F8_E5M2", 1, DT_F8_E5M2 },
    { "I8", 1, -1 },      { "BOOL", 1, -1 },    { "I16", 2, -1 },       { "U16", 2, -1 },
    { "U32", 4, -1 },     { "U64", 8, -1 },     { "F64", 8, -1 },
};
enum { N_TYPES = sizeof types / sizeof *types };

/* One tensor as the header describes it; begin and end count from the start of the buffer. */
struct header_entry {
    struct tensor_entry e;
    int value_bytes; /* 0: a type of which only the name is known */
    int64_t begin, end;
    bool has_dtype, has_shape, has_offsets;
};

static enum err_code broken(struct span name, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "safetensors: tensor '%.*s': %s", SPAN_ARG(name), what);
}

/* The number that the scanner has just read, if it is a whole one and not negative. */
static bool take_size(const struct json_scan *s, enum json_event ev, int64_t *ret)
{
    return ev == JSON_NUMBER && json_int64(s->raw, ret) && *ret >= 0;
}

/* How the header is read: where it goes, and whether what cannot be used is listed all the same. */
struct reading {
    bool survey;
    struct arena *a;
    struct tensor_file *f;
};

static bool is_word(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f)
            return false;
    return true;
}

/* A type that is not in the table. */
static enum err_code take_unknown_type(const struct reading *r, struct span name, struct header_entry *h,
                                       struct err *err)
{
    char *copy = NULL;

    if (!r->survey)
        return err_set(err, ERR_UNSUPPORTED, "safetensors: tensor '%.*s' has the unknown type '%.*s'",
                       SPAN_ARG(h->e.name), SPAN_ARG(name));
    if (name.len == 0 || name.len > TYPE_NAME_MAX || !is_word(name))
        return err_set(err, ERR_CORRUPT,
                       "safetensors: tensor '%.*s': a type has a name of 1 to %d letters, digits and other visible "
                       "characters of ASCII",
                       SPAN_ARG(h->e.name), TYPE_NAME_MAX);
    TRY(span_dup(r->a, name, &copy, err));
    h->e.type_name = copy;
    return ERR_OK;
}

static enum err_code read_dtype(const struct reading *r, struct json_scan *s, struct header_entry *h, struct err *err)
{
    int i = 0;

    if (json_scan_next(s) != JSON_STRING)
        return broken(h->e.name, "dtype is not a string", err);
    h->has_dtype = true;
    h->e.dtype = DT_COUNT;
    while (i < N_TYPES && !span_is(s->raw, types[i].name))
        i++;
    if (i == N_TYPES)
        return take_unknown_type(r, s->raw, h, err);
    h->value_bytes = types[i].bytes;
    h->e.type_name = types[i].name;
    if (types[i].dtype >= 0)
        h->e.dtype = (enum dtype)types[i].dtype;
    return ERR_OK;
}

static enum err_code read_shape(struct json_scan *s, struct header_entry *h, struct err *err)
{
    enum json_event ev;

    if (json_scan_next(s) != JSON_ARRAY)
        return broken(h->e.name, "shape is not a list", err);
    while ((ev = json_scan_next(s)) != JSON_ARRAY_END) {
        if (h->e.n_dims == TENSOR_FILE_MAX_DIMS)
            return err_set(err, ERR_CORRUPT, "safetensors: tensor '%.*s': more than %d dimensions", SPAN_ARG(h->e.name),
                           TENSOR_FILE_MAX_DIMS);
        if (!take_size(s, ev, &h->e.dims[h->e.n_dims++]))
            return broken(h->e.name, "a dimension is not a size", err);
    }
    h->has_shape = true;
    return ERR_OK;
}

static enum err_code read_offsets(struct json_scan *s, struct header_entry *h, struct err *err)
{
    if (json_scan_next(s) != JSON_ARRAY || !take_size(s, json_scan_next(s), &h->begin) ||
        !take_size(s, json_scan_next(s), &h->end) || json_scan_next(s) != JSON_ARRAY_END)
        return broken(h->e.name, "data_offsets is not a pair of sizes", err);
    if (h->end < h->begin)
        return broken(h->e.name, "data_offsets ends before it begins", err);
    h->has_offsets = true;
    return ERR_OK;
}

/* Shape times type must be the length of the range; of an unknown type, no more is known than the range. */
static enum err_code size_tensor(struct header_entry *h, struct err *err)
{
    int64_t bytes = h->value_bytes ? h->value_bytes : 1;
    bool overflow = false;

    for (int i = 0; i < h->e.n_dims && !overflow; i++)
        overflow = __builtin_mul_overflow(bytes, h->e.dims[i], &bytes);
    if (overflow)
        return broken(h->e.name, "its size overflows", err);
    if (h->value_bytes && bytes != h->end - h->begin)
        return broken(h->e.name, "data_offsets does not fit shape and type", err);
    h->e.bytes = (size_t)(h->end - h->begin);
    return ERR_OK;
}

static enum err_code read_tensor(const struct reading *r, struct json_scan *s, struct header_entry *h, struct err *err)
{
    if (json_scan_next(s) != JSON_OBJECT)
        return broken(h->e.name, "its description is not an object", err);
    while (json_scan_next(s) == JSON_KEY) {
        if (span_is(s->raw, "dtype"))
            TRY(read_dtype(r, s, h, err));
        else if (span_is(s->raw, "shape"))
            TRY(read_shape(s, h, err));
        else if (span_is(s->raw, "data_offsets"))
            TRY(read_offsets(s, h, err));
        else if (!json_scan_skip(s, json_scan_next(s)))
            return broken(h->e.name, "a field of its description is damaged", err);
    }
    if (!(h->has_dtype && h->has_shape && h->has_offsets))
        return broken(h->e.name, "dtype, shape or data_offsets is missing", err);
    return size_tensor(h, err);
}

static enum err_code read_name(const struct json_scan *s, struct arena *a, struct span *ret, struct err *err)
{
    char buf[TENSOR_NAME_MAX + 1], *name = NULL;
    size_t len;

    if (!json_unescape(s->raw, buf, sizeof buf, &len))
        return err_set(err, ERR_TOO_LARGE, "safetensors: a tensor name of more than %d bytes: '%.*s...'",
                       TENSOR_NAME_MAX, SPAN_ARG(s->raw));
    TRY(span_dup(a, (struct span){ buf, len }, &name, err));
    *ret = (struct span){ name, len };
    return ERR_OK;
}

/* An object of strings. Its text is kept; tensor_file_metadata() looks values up in it. */
static enum err_code read_metadata(struct json_scan *s, struct tensor_file *f, struct err *err)
{
    enum json_event ev = json_scan_next(s);
    size_t start = s->at - 1;

    if (ev != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "safetensors: __metadata__ is not an object");
    while (json_scan_next(s) == JSON_KEY)
        if (json_scan_next(s) != JSON_STRING)
            return err_set(err, ERR_CORRUPT, "safetensors: a value of __metadata__ is not a string");
    f->metadata = (struct span){ s->text.ptr + start, s->at - start };
    return ERR_OK;
}

static bool is_metadata(const struct json_scan *s)
{
    char buf[sizeof "__metadata__"];
    size_t len;

    return json_unescape(s->raw, buf, sizeof buf, &len) && strcmp(buf, "__metadata__") == 0;
}

/* Counts the tensors, so that no more memory is taken than they need. The text is known to be JSON. */
static enum err_code count_tensors(struct span header, int *ret_n, struct err *err)
{
    struct json_scan s;
    int n = 0;

    json_scan_init(&s, header);
    if (json_scan_next(&s) != JSON_OBJECT)
        return err_set(err, ERR_CORRUPT, "safetensors: the header is not an object");
    while (json_scan_next(&s) == JSON_KEY) {
        n += !is_metadata(&s);
        if (n > TENSOR_FILE_MAX_TENSORS)
            return err_set(err, ERR_TOO_LARGE, "safetensors: more than %d tensors", TENSOR_FILE_MAX_TENSORS);
        if (!json_scan_skip(&s, json_scan_next(&s)))
            return err_set(err, ERR_CORRUPT, "safetensors: the header is damaged");
    }
    *ret_n = n;
    return ERR_OK;
}

static enum err_code read_header(const struct reading *r, struct span header, struct header_entry *h, struct err *err)
{
    struct json_scan s;

    json_scan_init(&s, header);
    (void)json_scan_next(&s);
    while (json_scan_next(&s) == JSON_KEY) {
        if (is_metadata(&s)) {
            TRY(read_metadata(&s, r->f, err));
            continue;
        }
        TRY(read_name(&s, r->a, &h->e.name, err));
        TRY(read_tensor(r, &s, h++, err));
    }
    return ERR_OK;
}

static int compare_places(const void *x, const void *y, void *entries)
{
    const struct header_entry *a = (struct header_entry *)entries + *(const int *)x;
    const struct header_entry *b = (struct header_entry *)entries + *(const int *)y;

    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return (a->end > b->end) - (a->end < b->end);
}

/* The ranges tile the buffer: no hole, no overlap, nothing after the last. To survey, the end of the buffer may be
 * missing. */
static enum err_code check_tiling(const struct reading *r, struct header_entry *h, int n, int *order,
                                  size_t buffer_bytes, struct err *err)
{
    int64_t end = 0;

    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, compare_places, h);
    for (int i = 0; i < n; i++) {
        const struct header_entry *e = &h[order[i]];

        if (e->begin != end)
            return broken(e->e.name, e->begin < end ? "it overlaps another" : "there is a hole before its data", err);
        end = e->end;
    }
    if (r->survey && (uint64_t)end > buffer_bytes && end <= TENSOR_FILE_MAX_BYTES)
        r->f->missing_bytes = end - (int64_t)buffer_bytes;
    else if ((uint64_t)end != buffer_bytes)
        return err_set(err, ERR_CORRUPT, "safetensors: the tensors take %" PRId64 " bytes, the file has %zu", end,
                       buffer_bytes);
    return ERR_OK;
}

/* Copies the entries to the directory: those that can be read, and behind it the others; to survey, all into it. */
static enum err_code make_directory(const struct reading *r, const struct header_entry *h, int n, struct span buffer,
                                    struct err *err)
{
    struct tensor_file *f = r->f;
    int twice, unread = 0;

    TRY(arena_alloc(r->a, (size_t)n, sizeof *f->entries, &f->entries, err));
    for (int i = 0; i < n; i++)
        f->n_entries += r->survey || h[i].e.dtype != DT_COUNT;
    f->n_unread = n - f->n_entries;
    for (int i = 0, readable = 0; i < n; i++) {
        bool listed = r->survey || h[i].e.dtype != DT_COUNT;
        struct tensor_entry *e = &f->entries[listed ? readable++ : f->n_entries + unread++];

        *e = h[i].e;
        e->data = (size_t)h[i].end <= buffer.len ? buffer.ptr + h[i].begin : NULL;
    }
    TRY(name_index_build(r->a, f->entries, f->n_entries, sizeof *f->entries, &f->index, &twice, err));
    if (twice >= 0) /* json_check() has refused such a header already; the index must not depend on that */
        return broken(f->entries[twice].name, "it comes twice", err);
    return ERR_OK;
}

/* The header's text; the rest of the file is the buffer. */
static enum err_code find_header(struct span map, struct span *ret, struct err *err)
{
    uint64_t n;

    if (map.len < LENGTH_BYTES)
        return err_set(err, ERR_CORRUPT, "safetensors: the file ends in its header length");
    memcpy(&n, map.ptr, LENGTH_BYTES);
    if (n > SAFETENSORS_MAX_HEADER_BYTES)
        return err_set(err, ERR_TOO_LARGE, "safetensors: a header of %" PRIu64 " bytes; at most %d are allowed", n,
                       SAFETENSORS_MAX_HEADER_BYTES);
    if (n > map.len - LENGTH_BYTES)
        return err_set(err, ERR_CORRUPT, "safetensors: a header of %" PRIu64 " bytes in a file of %zu", n, map.len);
    if (n == 0 || map.ptr[LENGTH_BYTES] != '{')
        return err_set(err, ERR_CORRUPT, "safetensors: the header does not begin with '{'");
    *ret = (struct span){ map.ptr + LENGTH_BYTES, (size_t)n };
    return ERR_OK;
}

static enum err_code check_json(struct span header, struct err *err)
{
    enum err_code rc = json_check(header, SAFETENSORS_MAX_DEPTH, err);

    if (rc)
        (void)err_prefix(err, "safetensors header");
    return rc;
}

/* h and order: room for n + 1 */
static enum err_code read_tensors(const struct reading *r, struct span header, struct header_entry *h, int *order,
                                  int n, struct err *err)
{
    const char *start = header.ptr + header.len;
    struct span buffer = { start, r->f->map.len - (size_t)(start - r->f->map.ptr) };

    TRY(read_header(r, header, h, err));
    TRY(check_tiling(r, h, n, order, buffer.len, err));
    return make_directory(r, h, n, buffer, err);
}

static enum err_code read_file(struct span map, bool survey, struct arena *a, struct tensor_file *ret, struct err *err)
{
    struct tensor_file f = { .path = ret->path, .map = map };
    const struct reading r = { survey, a, &f };
    struct header_entry *h = NULL;
    struct span header = { 0 };
    int *order = NULL, n = 0;
    enum err_code rc;

    TRY(find_header(map, &header, err));
    TRY(check_json(header, err));
    TRY(count_tensors(header, &n, err));
    h = calloc((size_t)n + 1, sizeof *h);
    order = calloc((size_t)n + 1, sizeof *order);
    rc = h && order ? read_tensors(&r, header, h, order, n, err)
                    : err_set(err, ERR_NOMEM, "safetensors: no memory for %d tensors", n);
    if (!rc)
        *ret = f;
    free(h);
    free(order);
    return rc;
}

enum err_code safetensors_parse(struct span map, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return read_file(map, false, a, ret, err);
}

enum err_code safetensors_survey(struct span map, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return read_file(map, true, a, ret, err);
}

enum err_code tensor_file_metadata(const struct tensor_file *f, const char *key, struct arena *a, const char **ret,
                                   struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    struct json_scan s;
    char *buf = NULL;
    size_t len;
    bool found = false;

    TRY(arena_alloc(a, f->metadata.len + 1, 1, &buf, err)); /* unescaped text is never longer */
    json_scan_init(&s, f->metadata);
    (void)json_scan_next(&s);
    while (!found && json_scan_next(&s) == JSON_KEY) {
        found =
            json_unescape(s.raw, buf, f->metadata.len + 1, &len) && span_eq((struct span){ buf, len }, span_of(key));
        (void)json_scan_next(&s);
    }
    if (found && json_unescape(s.raw, buf, f->metadata.len + 1, &len)) {
        *ret = buf;
        return ERR_OK;
    }
    arena_rewind(a, mark);
    return err_set(err, ERR_NOT_FOUND, "%s: the metadata has no entry '%s'", f->path ? f->path : "safetensors", key);
}

static void put_string(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            (void)fprintf(out, "\\%c", *p);
        else if (*p < 0x20)
            (void)fprintf(out, "\\u%04x", *p);
        else
            (void)fputc(*p, out);
    }
    (void)fputc('"', out);
}

static void put_metadata(FILE *out, const struct metadata_pair *metadata, int n)
{
    (void)fputs("\"__metadata__\":{", out);
    for (int i = 0; i < n; i++) {
        if (i)
            (void)fputc(',', out);
        put_string(out, metadata[i].key);
        (void)fputc(':', out);
        put_string(out, metadata[i].value);
    }
    (void)fputc('}', out);
}

static const char *type_name(enum dtype t)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].dtype == (int)t)
            return types[i].name;
    return NULL;
}

static enum err_code written_bytes(const struct tensor_write *t, size_t *ret, struct err *err)
{
    size_t bytes = type_name(t->dtype) ? (size_t)dtype_info(t->dtype)->block_bytes : 0;

    if (!bytes || t->n_dims < 0 || t->n_dims > TENSOR_FILE_MAX_DIMS)
        return err_set(err, ERR_INVALID,
                       "safetensors: tensor '%s' cannot be written: its type or rank is not supported", t->name);
    for (int i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0 || __builtin_mul_overflow(bytes, (size_t)t->dims[i], &bytes))
            return err_set(err, ERR_INVALID, "safetensors: tensor '%s' cannot be written: its size is not possible",
                           t->name);
    *ret = bytes;
    return ERR_OK;
}

static enum err_code put_tensors(FILE *out, const struct tensor_write *tensors, int n, struct err *err)
{
    size_t at = 0, bytes;

    for (int i = 0; i < n; i++) {
        const struct tensor_write *t = &tensors[i];

        TRY(written_bytes(t, &bytes, err));
        if (i)
            (void)fputc(',', out);
        put_string(out, t->name);
        (void)fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", type_name(t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            (void)fprintf(out, "%s%" PRId64, d ? "," : "", t->dims[d]);
        (void)fprintf(out, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    return ERR_OK;
}

/* Padded so that the data begins at a multiple of 8. */
static enum err_code put_header(FILE *out, const struct tensor_write *tensors, int n_tensors,
                                const struct metadata_pair *metadata, int n_metadata, struct err *err)
{
    (void)fputc('{', out);
    if (n_metadata)
        put_metadata(out, metadata, n_metadata);
    if (n_metadata && n_tensors)
        (void)fputc(',', out);
    TRY(put_tensors(out, tensors, n_tensors, err));
    (void)fputc('}', out);
    while (ftell(out) % 8)
        (void)fputc(' ', out);
    return ferror(out) ? err_set(err, ERR_NOMEM, "safetensors: no memory for a header") : ERR_OK;
}

/* What the reader would refuse must not be written. */
static enum err_code check_header(struct span text, struct err *err)
{
    if (text.len > SAFETENSORS_MAX_HEADER_BYTES)
        return err_set(err, ERR_INVALID, "safetensors: a header of %zu bytes; at most %d are allowed", text.len,
                       SAFETENSORS_MAX_HEADER_BYTES);
    return json_check(text, SAFETENSORS_MAX_DEPTH, err) ? ERR_INVALID : ERR_OK;
}

static enum err_code put_data(struct out_file *out, const struct tensor_write *tensors, int n, struct err *err)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        TRY(written_bytes(&tensors[i], &bytes, err));
        out_file_write(out, tensors[i].data, bytes);
    }
    return ERR_OK;
}

static enum err_code write_file(const char *path, struct span header, const struct tensor_write *tensors, int n,
                                struct err *err)
{
    struct out_file *out = NULL;
    uint64_t stored_len = header.len;
    enum err_code rc;

    TRY(check_header(header, err));
    TRY(out_file_open(&out, path, err));
    out_file_write(out, &stored_len, sizeof stored_len);
    out_file_write(out, header.ptr, header.len);
    rc = file_map_verdict(put_data(out, tensors, n, err), err); /* the values may come from a file that was lost */
    return out_file_close(out, rc ? OUT_FILE_DISCARD : OUT_FILE_KEEP, err) && !rc ? ERR_IO : rc;
}

enum err_code safetensors_write(const char *path, const struct tensor_write *tensors, int n_tensors,
                                const struct metadata_pair *metadata, int n_metadata, struct err *err)
{
    char *header = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&header, &len);
    enum err_code rc;

    if (!out)
        return err_set(err, ERR_NOMEM, "safetensors: no memory for a header");
    rc = put_header(out, tensors, n_tensors, metadata, n_metadata, err);
    if (fclose(out) && !rc)
        rc = err_set(err, ERR_NOMEM, "safetensors: no memory for a header");
    if (!rc)
        rc = write_file(path, (struct span){ header, len }, tensors, n_tensors, err);
    free(header);
    return rc;
}
