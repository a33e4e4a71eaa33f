#include "models/file/weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mapping.h"
#include "kernels/ops.h"
#include "kernels/quant.h"

enum { NAME_SIZE = TENSOR_NAME_MAX + 1, SHAPE_SIZE = 96, CONV_MAX_SIDE = 1 << 16, MAX_PREFIXES = 15 };

/* In a merged checkpoint, names without it belong to other networks. */
static const char merged_prefix[] = "model.diffusion_model.";

/* fp8 files of this kind keep a factor for each tensor beside it; the values alone are wrong. */
static const char *const scale_suffixes[] = { "scaled_fp8", ".scale_weight", ".weight_scale", ".scale_input" };

static const struct tensor_entry *find_in(const struct tensor_file *const *files, int n_files, const char *prefix,
                                          const char *name)
{
    char full[NAME_SIZE];
    const struct tensor_entry *e = NULL;
    int n = snprintf(full, sizeof full, "%s%s", prefix, name);

    if (n < 0 || (size_t)n >= sizeof full)
        return NULL;
    for (int i = 0; i < n_files && !e; i++)
        e = tensor_file_find(files[i], (struct span){ full, (size_t)n });
    return e;
}

/* The first entry whose name begins and ends so. */
static const struct tensor_entry *find_like(const struct weight_set *ws, const char *prefix, const char *suffix)
{
    for (int f = 0; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries; i++) {
            const struct tensor_entry *e = &ws->files[f]->entries[i];

            if (span_starts(e->name, prefix) && span_ends(e->name, suffix))
                return e;
        }
    return NULL;
}

/* Longest first, those of one length in the order given, and "" last. Returns how many. */
static int order_prefixes(const char *const *given, const char *ret[MAX_PREFIXES + 1])
{
    int n = 0;

    for (int i = 0; given && given[i] && n < MAX_PREFIXES; i++) {
        int at = n++;

        for (; at > 0 && strlen(ret[at - 1]) < strlen(given[i]); at--)
            ret[at] = ret[at - 1];
        ret[at] = given[i];
    }
    ret[n++] = "";
    return n;
}

static const char *find_prefix(const struct weight_set *ws, const char *const *given, const char *probe)
{
    const char *prefixes[MAX_PREFIXES + 1];
    int n = order_prefixes(given, prefixes);

    for (int i = 0; i < n; i++) {
        if (strlen(prefixes[i]) < sizeof ws->prefix && find_in(ws->files, ws->n_files, prefixes[i], probe))
            return prefixes[i];
        if (!strcmp(prefixes[i], merged_prefix) && find_like(ws, merged_prefix, ""))
            return NULL;
    }
    return NULL;
}

static enum err_code check_names_once(const struct weight_set *ws, struct err *err)
{
    for (int f = 1; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries; i++)
            for (int before = 0; before < f; before++)
                if (tensor_file_find(ws->files[before], ws->files[f]->entries[i].name))
                    return err_set(err, ERR_CORRUPT, "tensor '%.*s' is in both %s and %s",
                                   SPAN_ARG(ws->files[f]->entries[i].name), ws->files[before]->path,
                                   ws->files[f]->path);
    return ERR_OK;
}

enum err_code weight_set_init(struct weight_set *ws, const struct tensor_file *files, int n_files,
                              const char *const *prefixes, const char *probe, struct err *err)
{
    struct weight_set set = { .n_files = n_files };
    const struct tensor_entry *scale = NULL;
    const char *prefix;
    enum err_code rc;

    if (n_files < 1 || n_files > WEIGHT_SET_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "weights: %d files, 1 to %d can be joined", n_files, WEIGHT_SET_MAX_FILES);
    for (int i = 0; i < n_files; i++)
        set.files[i] = &files[i];
    rc = check_names_once(&set, err);
    if (rc)
        return rc;
    prefix = find_prefix(&set, prefixes, probe);
    if (!prefix)
        return err_set(err, ERR_NOT_FOUND, "%s: no tensor '%s'", files[0].path, probe);
    for (size_t i = 0; i < sizeof scale_suffixes / sizeof *scale_suffixes && !scale; i++)
        scale = find_like(&set, prefix, scale_suffixes[i]);
    if (scale)
        return err_set(err, ERR_UNSUPPORTED, "%s: scaled fp8 ('%.*s') is not read", files[0].path,
                       SPAN_ARG(scale->name));
    memcpy(set.prefix, prefix, strlen(prefix) + 1);
    *ws = set;
    return ERR_OK;
}

static enum err_code format_name(char name[NAME_SIZE], const char *fmt, va_list ap, struct err *err)
{
    int n = vsnprintf(name, NAME_SIZE, fmt, ap);

    return n >= 0 && n < NAME_SIZE ? ERR_OK : err_set(err, ERR_INTERNAL, "weights: a name is too long");
}

const struct tensor_entry *weight_set_find(const struct weight_set *ws, const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, NULL);
    va_end(ap);
    return rc ? NULL : find_in(ws->files, ws->n_files, ws->prefix, name);
}

/* A shape as text; -1 is written "any". */
static void print_shape(char text[SHAPE_SIZE], int n_dims, const int64_t *dims)
{
    size_t at = 0;

    text[0] = 0;
    for (int i = 0; i < n_dims && at < SHAPE_SIZE; i++)
        at += (size_t)(dims[i] < 0 ? snprintf(text + at, SHAPE_SIZE - at, "%sany", i ? ", " : "")
                                   : snprintf(text + at, SHAPE_SIZE - at, "%s%lld", i ? ", " : "", (long long)dims[i]));
}

static bool same_shape(const struct tensor_entry *e, int n_dims, const int64_t *want)
{
    /* a 1x1 convolution and a matrix are the same thing, whichever of the two is asked for */
    for (int i = 0; i < n_dims || i < e->n_dims; i++) {
        int64_t has = i < e->n_dims ? e->dims[i] : 1, wants = i < n_dims ? want[i] : 1;

        if (has < 1 || (wants >= 0 && has != wants))
            return false;
    }
    return e->n_dims == n_dims || (e->n_dims == 4 && n_dims == 2) || (e->n_dims == 2 && n_dims == 4);
}

/* An entry of floats or blocks with the shape wanted; -1 takes any size. */
static enum err_code need(const struct weight_loader *l, const char *name, int n_dims, const int64_t *want,
                          const struct tensor_entry **ret, struct err *err)
{
    const struct tensor_entry *e = find_in(l->set->files, l->set->n_files, l->set->prefix, name);
    char has_text[SHAPE_SIZE], want_text[SHAPE_SIZE];

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: no tensor '%s%s'", l->set->files[0]->path, l->set->prefix, name);
    if (!same_shape(e, n_dims, want)) {
        print_shape(has_text, e->n_dims, e->dims);
        print_shape(want_text, n_dims, want);
        return err_set(err, ERR_CORRUPT, "tensor '%s%s' is [%s], should be [%s]", l->set->prefix, name, has_text,
                       want_text);
    }
    if (e->dtype == DT_I32 || e->dtype == DT_I64 || e->dtype == DT_U8)
        return err_set(err, ERR_UNSUPPORTED, "tensor '%s%s' holds %s, not weights", l->set->prefix, name,
                       dtype_info(e->dtype)->name);
    *ret = e;
    return ERR_OK;
}

static void count_bytes(const struct weight_loader *l, const struct tensor_entry *e)
{
    if (l->loaded_bytes)
        *l->loaded_bytes += (int64_t)e->bytes;
}

/* The part of the file that holds it, and what comes behind it soon. */
static void read_entry(const struct weight_loader *l, const struct tensor_entry *e)
{
    for (int i = 0; i < l->set->n_files; i++) {
        struct span map = l->set->files[i]->map;

        if ((const char *)e->data >= map.ptr && (const char *)e->data < map.ptr + map.len)
            mapping_read(e->data, e->bytes, map.ptr + map.len);
    }
}

/* All values as f32 in the scratch arena; a NaN or an infinity would poison every picture, so it is refused here. */
static enum err_code expand(const struct weight_loader *l, const struct tensor_entry *e, const char *name, float **ret,
                            struct err *err)
{
    int64_t cols = e->dims[e->n_dims - 1], rows = 1;
    size_t row_bytes = dtype_row_bytes(e->dtype, cols);
    float *values = NULL;
    enum err_code rc;

    for (int i = 0; i < e->n_dims - 1; i++)
        rows *= e->dims[i];
    rc = arena_alloc(l->scratch, (size_t)rows, (size_t)cols * sizeof *values, &values, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++)
        dequantise_row(e->dtype, (const char *)e->data + (size_t)r * row_bytes, values + r * cols, cols);
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite(values[i]))
            return err_set(err, ERR_CORRUPT, "tensor '%s%s' holds NaN or infinity", l->set->prefix, name);
    *ret = values;
    return ERR_OK;
}

enum err_code weights_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols, struct err *err,
                             const char *fmt, ...)
{
    const struct tensor_entry *e = NULL;
    struct weight host;
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    if (!rc)
        rc = need(l, name, 2, (int64_t[]){ rows, cols }, &e, err);
    if (rc)
        return rc;
    host = (struct weight){ .dtype = e->dtype, .rows = e->dims[0], .cols = e->dims[1], .data = e->data };
    if (l->read_now && !l->in_file)
        read_entry(l, e);
    if (l->in_file)
        *ret = host;
    else
        rc = l->be->ops->weight_load(l->be, &host, ret, err);
    if (rc) {
        (void)err_prefix(err, "tensor '%s'", name);
        return rc;
    }
    count_bytes(l, e);
    return ERR_OK;
}

/* Uploads n values of the scratch arena; waits, because the scratch is about to go. */
static enum err_code upload_vector(const struct weight_loader *l, const float *values, int64_t n, struct tensor *ret,
                                   struct err *err)
{
    struct tensor t;
    enum err_code rc = devarena_1d(l->mem, DT_F32, n, &t, err);

    if (!rc)
        rc = l->be->ops->upload(l->be, t.data, values, (size_t)n * sizeof *values, err);
    if (!rc)
        rc = l->be->ops->sync(l->be, err);
    if (!rc)
        *ret = t;
    return rc;
}

static enum err_code load_vector(struct weight_loader *l, struct tensor *ret, int64_t n, const char *name,
                                 struct err *err)
{
    struct arena_mark mark = arena_mark(l->scratch);
    const struct tensor_entry *e = NULL;
    float *values = NULL;
    enum err_code rc = need(l, name, 1, &n, &e, err);

    if (!rc)
        rc = expand(l, e, name, &values, err);
    if (!rc)
        rc = upload_vector(l, values, e->dims[0], ret, err);
    if (!rc)
        count_bytes(l, e);
    arena_rewind(l->scratch, mark);
    return rc;
}

enum err_code weights_vector(struct weight_loader *l, struct tensor *ret, int64_t n, struct err *err, const char *fmt,
                             ...)
{
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    return rc ? rc : load_vector(l, ret, n, name, err);
}

enum err_code weights_bias(struct weight_loader *l, struct bias *ret, int64_t n, struct err *err, const char *fmt, ...)
{
    struct bias b = { 0 };
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    if (!rc)
        rc = load_vector(l, &b.f32, n, name, err);
    if (!rc && l->be->act == DT_BF16)
        rc = devarena_1d(l->mem, DT_BF16, b.f32.dims[0], &b.bf16, err);
    if (!rc && b.bf16.data)
        rc = op_copy(l->be, &b.bf16, &b.f32, err);
    if (!rc)
        *ret = b;
    return rc;
}

static int side_of(const struct tensor_entry *e, int i)
{
    return i < e->n_dims ? (int)e->dims[i] : 1;
}

static enum err_code load_conv(struct weight_loader *l, const struct tensor_entry *e, const char *name,
                               struct conv_weight *ret, struct err *err)
{
    struct conv_weight cw;
    float *values = NULL;
    enum err_code rc;

    for (int i = 0; i < e->n_dims; i++)
        if (e->dims[i] > CONV_MAX_SIDE)
            return err_set(err, ERR_TOO_LARGE, "tensor '%s' has a side of %lld", name, (long long)e->dims[i]);
    cw =
        (struct conv_weight){ .c_out = side_of(e, 0), .c_in = side_of(e, 1), .kh = side_of(e, 2), .kw = side_of(e, 3) };
    rc = expand(l, e, name, &values, err);
    if (!rc)
        rc = l->be->ops->conv_weight_load(l->be, values, &cw, err);
    if (!rc)
        rc = l->be->ops->sync(l->be, err);
    if (!rc)
        *ret = cw;
    return rc;
}

enum err_code weights_conv(struct weight_loader *l, struct conv_weight *ret, int c_out, int c_in, int kh, int kw,
                           struct err *err, const char *fmt, ...)
{
    struct arena_mark mark = arena_mark(l->scratch);
    const struct tensor_entry *e = NULL;
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    if (!rc)
        rc = need(l, name, 4, (int64_t[]){ c_out, c_in, kh, kw }, &e, err);
    if (!rc)
        rc = load_conv(l, e, name, ret, err);
    if (!rc)
        count_bytes(l, e);
    arena_rewind(l->scratch, mark);
    return rc;
}
