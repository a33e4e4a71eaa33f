#include "models/convert/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/json_scan.h"

enum { VERSION = 3, ALIGNMENT = 32, MAX_FILE_BITS = 62 };

struct gguf_writer {
    struct out_file *out; /* NULL: the bytes are only counted */
    struct gguf_listener listener;
    int64_t at; /* bytes written */
    const struct gguf_outline *outline;
    int tensor;   /* the one that is being written */
    int64_t left; /* bytes that it still lacks */
};

/* --- what the reader would refuse --- */

static bool is_utf8(const char *text)
{
    for (struct span s = span_of(text); s.len;) {
        size_t n = json_utf8_length(s);

        if (!n)
            return false;
        s.ptr += n;
        s.len -= n;
    }
    return true;
}

static enum err_code check_name(const char *what, const char *name, size_t max, struct err *err)
{
    size_t len = strlen(name);

    if (len < 1 || len > max)
        return err_set(err, ERR_INVALID, "GGUF: the %s '%.60s' is %zu bytes long; 1 to %zu can be stored", what, name,
                       len, max);
    return is_utf8(name) ? ERR_OK : err_set(err, ERR_INVALID, "GGUF: the %s '%.60s' is not UTF-8", what, name);
}

static enum err_code check_text(const char *key, const char *text, struct err *err)
{
    if (!is_utf8(text))
        return err_set(err, ERR_INVALID, "GGUF: the value of the key '%.60s' is not UTF-8", key);
    return ERR_OK;
}

static enum err_code check_pair(const struct gguf_outline *o, int i, struct err *err)
{
    const struct gguf_write_pair *p = &o->pairs[i];

    TRY(check_name("key", p->key, GGUF_MAX_KEY_BYTES, err));
    for (int before = 0; before < i; before++)
        if (!strcmp(o->pairs[before].key, p->key))
            return err_set(err, ERR_INVALID, "GGUF: the key '%.60s' is there twice", p->key);
    if (p->type == GGUF_WRITE_TEXT)
        TRY(check_text(p->key, p->text, err));
    for (int k = 0; p->type == GGUF_WRITE_TEXTS && k < p->n_texts; k++)
        TRY(check_text(p->key, p->texts[k], err));
    return ERR_OK;
}

static bool can_store(enum dtype t)
{
    return t < DT_COUNT && t != DT_F8_E4M3 && t != DT_F8_E5M2 && !dtype_is_integer(t);
}

/* 0 where the shape cannot be stored. */
static int64_t bytes_of(const struct gguf_write_tensor *t)
{
    int64_t bytes = 0;

    if (!can_store(t->dtype) || t->n_dims < 1 || t->n_dims > GGUF_WRITE_MAX_DIMS)
        return 0;
    bytes = (int64_t)dtype_row_bytes(t->dtype, t->dims[t->n_dims - 1]);
    for (int i = 0; i < t->n_dims - 1; i++)
        if (t->dims[i] < 1 || __builtin_mul_overflow(bytes, t->dims[i], &bytes))
            return 0;
    return bytes > 0 && bytes >> MAX_FILE_BITS == 0 ? bytes : 0;
}

static enum err_code check_tensor(const struct gguf_outline *o, int i, struct err *err)
{
    const struct gguf_write_tensor *t = &o->tensors[i];

    TRY(check_name("tensor name", t->name, GGUF_MAX_NAME_BYTES, err));
    for (int before = 0; before < i; before++)
        if (!strcmp(o->tensors[before].name, t->name))
            return err_set(err, ERR_INVALID, "GGUF: the tensor '%s' is there twice", t->name);
    if (bytes_of(t) == 0)
        return err_set(err, ERR_INVALID, "GGUF: the tensor '%s' has a type or a shape that cannot be stored", t->name);
    return ERR_OK;
}

static enum err_code check_outline(const struct gguf_outline *o, struct err *err)
{
    if (o->n_pairs > GGUF_MAX_PAIRS || o->n_tensors > TENSOR_FILE_MAX_TENSORS)
        return err_set(err, ERR_INVALID, "GGUF: %d keys and %d tensors are more than can be stored", o->n_pairs,
                       o->n_tensors);
    for (int i = 0; i < o->n_pairs; i++)
        TRY(check_pair(o, i, err));
    for (int i = 0; i < o->n_tensors; i++)
        TRY(check_tensor(o, i, err));
    return ERR_OK;
}

/* --- bytes --- */

static void put(struct gguf_writer *w, const void *bytes, size_t n)
{
    if (w->out)
        out_file_write(w->out, bytes, n);
    if (w->listener.fn)
        w->listener.fn(w->listener.ctx, bytes, n);
    w->at += (int64_t)n;
}

static void put_u32(struct gguf_writer *w, uint32_t v)
{
    put(w, &v, sizeof v);
}

static void put_u64(struct gguf_writer *w, uint64_t v)
{
    put(w, &v, sizeof v);
}

static void put_text(struct gguf_writer *w, const char *text)
{
    put_u64(w, strlen(text));
    put(w, text, strlen(text));
}

static void put_padding(struct gguf_writer *w)
{
    static const char zeros[ALIGNMENT] = { 0 };

    put(w, zeros, (size_t)(-w->at & (ALIGNMENT - 1)));
}

static void put_pair(struct gguf_writer *w, const struct gguf_write_pair *p)
{
    put_text(w, p->key);
    switch (p->type) {
    case GGUF_WRITE_NUMBER:
        put_u32(w, GGUF_U32);
        put_u32(w, p->number);
        break;
    case GGUF_WRITE_TEXT:
        put_u32(w, GGUF_STRING);
        put_text(w, p->text);
        break;
    case GGUF_WRITE_TEXTS:
        put_u32(w, GGUF_ARRAY);
        put_u32(w, GGUF_STRING);
        put_u64(w, (uint64_t)p->n_texts);
        for (int i = 0; i < p->n_texts; i++)
            put_text(w, p->texts[i]);
        break;
    }
}

static int64_t padded(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) & ~(int64_t)(ALIGNMENT - 1);
}

/* Everything before the data. */
static void put_head(struct gguf_writer *w)
{
    const struct gguf_outline *o = w->outline;
    int64_t offset = 0;

    put(w, "GGUF", 4);
    put_u32(w, VERSION);
    put_u64(w, (uint64_t)o->n_tensors);
    put_u64(w, (uint64_t)o->n_pairs);
    for (int i = 0; i < o->n_pairs; i++)
        put_pair(w, &o->pairs[i]);
    for (const struct gguf_write_tensor *t = o->tensors; t < o->tensors + o->n_tensors; t++) {
        put_text(w, t->name);
        put_u32(w, (uint32_t)t->n_dims);
        for (int d = t->n_dims - 1; d >= 0; d--)
            put_u64(w, (uint64_t)t->dims[d]);
        put_u32(w, gguf_tensor_type(t->dtype));
        put_u64(w, (uint64_t)offset);
        offset += padded(bytes_of(t));
    }
    put_padding(w);
}

enum err_code gguf_outline_bytes(const struct gguf_outline *o, int64_t *ret, struct err *err)
{
    struct gguf_writer counter = { .outline = o };

    TRY(check_outline(o, err));
    put_head(&counter);
    for (int i = 0; i < o->n_tensors; i++)
        if (__builtin_add_overflow(counter.at, padded(bytes_of(&o->tensors[i])), &counter.at))
            return err_set(err, ERR_INVALID, "GGUF: the tensors are too large for a file");
    *ret = counter.at;
    return ERR_OK;
}

/* --- the file --- */

/* The next tensor is the one to write. */
static void begin_tensor(struct gguf_writer *w, int i)
{
    w->tensor = i;
    w->left = i < w->outline->n_tensors ? bytes_of(&w->outline->tensors[i]) : 0;
}

enum err_code gguf_write_open(struct gguf_writer **ret, const char *path, const struct gguf_outline *o,
                              struct gguf_listener listener, struct err *err)
{
    struct gguf_writer *w = NULL;
    int64_t bytes = 0;
    enum err_code rc;

    TRY(gguf_outline_bytes(o, &bytes, err));
    w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ERR_NOMEM, "%s: no memory to write it", path);
    w->outline = o;
    w->listener = listener;
    rc = out_file_open(&w->out, path, err);
    if (rc) {
        free(w);
        return rc;
    }
    put_head(w);
    begin_tensor(w, 0);
    *ret = w;
    return ERR_OK;
}

enum err_code gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes, struct err *err)
{
    for (const char *at = data; bytes > 0;) {
        size_t n = (size_t)w->left < bytes ? (size_t)w->left : bytes;

        if (w->tensor == w->outline->n_tensors)
            return err_set(err, ERR_INTERNAL, "GGUF: there are more data than the tensors take");
        put(w, at, n);
        w->left -= (int64_t)n;
        at += n;
        bytes -= n;
        if (w->left == 0) {
            put_padding(w);
            begin_tensor(w, w->tensor + 1);
        }
    }
    return out_file_check(w->out, err);
}

enum err_code gguf_write_close(struct gguf_writer *w, enum out_file_end end, struct err *err)
{
    bool whole = w->tensor == w->outline->n_tensors;
    enum err_code rc = out_file_check(w->out, err), closed;

    if (!rc && end == OUT_FILE_KEEP && !whole)
        rc = err_set(err, ERR_INTERNAL, "GGUF: the data of the tensor '%s' are missing",
                     w->outline->tensors[w->tensor].name);
    closed = out_file_close(w->out, rc ? OUT_FILE_DISCARD : end, err);
    free(w);
    return rc ? rc : closed;
}
