#include "models/file/weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mapping.h"
#include "kernels/ops.h"
#include "kernels/quant.h"

enum { NAME_SIZE = TENSOR_NAME_MAX + 1, SHAPE_SIZE = 96, CONV_MAX_SIDE = 1 << 16, MAX_PREFIXES = 15 };

/* Where any tensor of a file has this prefix, the file is a merged checkpoint: other names belong to other networks. */
static const char merged_prefix[] = "model.diffusion_model.";

/* An fp8 file with tensors of these names keeps each tensor's scale separately; without it the values are wrong. */
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

/* The first entry whose name has this prefix and this suffix; NULL: none. */
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

/* Longest first, equally long ones in the order given, "" last. Returns their number. */
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

    if (n_files < 1 || n_files > SHARDS_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "weights: %d files; 1 to %d can be joined", n_files, SHARDS_MAX_FILES);
    for (int i = 0; i < n_files; i++)
        set.files[i] = &files[i];
    TRY(check_names_once(&set, err));
    prefix = find_prefix(&set, prefixes, probe);
    if (!prefix)
        return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s' is missing; is this the right file?", files[0].path, probe);
    for (size_t i = 0; i < sizeof scale_suffixes / sizeof *scale_suffixes && !scale; i++)
        scale = find_like(&set, prefix, scale_suffixes[i]);
    if (scale)
        return err_set(err, ERR_UNSUPPORTED, "%s: scaled fp8 ('%.*s') is not supported; use a BF16, F16 or GGUF file",
                       files[0].path, SPAN_ARG(scale->name));
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

/* Writes a shape as text, with "any" for -1. */
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
    /* the weights of a 1x1 convolution may be stored as a matrix, and the other way round */
    for (int i = 0; i < n_dims || i < e->n_dims; i++) {
        int64_t has = i < e->n_dims ? e->dims[i] : 1, wants = i < n_dims ? want[i] : 1;

        if (has < 1 || (wants >= 0 && has != wants))
            return false;
    }
    return e->n_dims == n_dims || (e->n_dims == 4 && n_dims == 2) || (e->n_dims == 2 && n_dims == 4);
}

/* The file that holds an entry of the set. */
static const struct tensor_file *file_of(const struct weight_set *ws, const struct tensor_entry *e)
{
    for (int i = 1; i < ws->n_files; i++)
        if (e >= ws->files[i]->entries && e < ws->files[i]->entries + ws->files[i]->n_entries)
            return ws->files[i];
    return ws->files[0];
}

/* An entry of floats or blocks with the shape wanted; -1 accepts any size. */
static enum err_code need(const struct weight_loader *l, const char *name, int n_dims, const int64_t *want,
                          const struct tensor_entry **ret, struct err *err)
{
    const struct weight_set *ws = l->set;
    const struct tensor_entry *e = find_in(ws->files, ws->n_files, ws->prefix, name);
    char has_text[SHAPE_SIZE], want_text[SHAPE_SIZE];

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s%s' is missing; is this the right file?", ws->files[0]->path,
                       ws->prefix, name);
    if (!same_shape(e, n_dims, want)) {
        print_shape(has_text, e->n_dims, e->dims);
        print_shape(want_text, n_dims, want);
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s%s' has the shape [%s] instead of [%s]", file_of(ws, e)->path,
                       ws->prefix, name, has_text, want_text);
    }
    if (e->dtype == DT_I32 || e->dtype == DT_I64 || e->dtype == DT_U8)
        return err_set(err, ERR_UNSUPPORTED, "%s: tensor '%s%s' holds %s values, which cannot be weights",
                       file_of(ws, e)->path, ws->prefix, name, dtype_info(e->dtype)->name);
    *ret = e;
    return ERR_OK;
}

static void count_bytes(const struct weight_loader *l, const struct tensor_entry *e)
{
    if (l->loaded_bytes)
        *l->loaded_bytes += (int64_t)e->bytes;
}

/* Reads a tensor's part of the file into memory, and starts reading what follows it. */
static void read_entry(const struct weight_loader *l, const struct tensor_entry *e)
{
    struct span map = file_of(l->set, e)->map;

    mapping_read(e->data, e->bytes, map.ptr + map.len);
}

/* All values as f32 in the scratch arena. NaN and infinity are refused: one of them would spoil every picture. */
static enum err_code expand(const struct weight_loader *l, const struct tensor_entry *e, const char *name, float **ret,
                            struct err *err)
{
    int64_t cols = e->dims[e->n_dims - 1], rows = 1;
    size_t row_bytes = dtype_row_bytes(e->dtype, cols);
    float *values = NULL;

    for (int i = 0; i < e->n_dims - 1; i++)
        rows *= e->dims[i];
    TRY(arena_alloc(l->scratch, (size_t)rows, (size_t)cols * sizeof *values, &values, err));
    for (int64_t r = 0; r < rows; r++)
        dequantise_row(e->dtype, (const char *)e->data + (size_t)r * row_bytes, values + r * cols, cols);
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite(values[i]))
            return err_set(err, ERR_CORRUPT, "%s: tensor '%s%s' holds NaN or infinity; fetch the file again",
                           file_of(l->set, e)->path, l->set->prefix, name);
    *ret = values;
    return ERR_OK;
}

static enum err_code load_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols,
                                 const char *name, struct err *err)
{
    const struct tensor_entry *e = NULL;
    struct weight host;
    enum err_code rc = ERR_OK;

    TRY(need(l, name, 2, (int64_t[]){ rows, cols }, &e, err));
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

enum err_code weights_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols, struct err *err,
                             const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    return rc ? rc : load_matrix(l, ret, rows, cols, name, err);
}

/* Uploads n values of the scratch arena; waits, because they are gone when the scratch arena is rewound. */
static enum err_code upload_vector(const struct weight_loader *l, const float *values, int64_t n, struct tensor *ret,
                                   struct err *err)
{
    struct tensor t;

    TRY(devarena_1d(l->mem, DT_F32, n, &t, err));
    TRY(l->be->ops->upload(l->be, t.data, values, (size_t)n * sizeof *values, err));
    TRY(l->be->ops->sync(l->be, err));
    *ret = t;
    return ERR_OK;
}

static enum err_code load_vector(struct weight_loader *l, struct tensor *ret, int64_t n, const char *name,
                                 struct err *err)
{
    ARENA_SCRATCH(l->scratch);
    const struct tensor_entry *e = NULL;
    float *values = NULL;

    TRY(need(l, name, 1, &n, &e, err));
    TRY(expand(l, e, name, &values, err));
    TRY(upload_vector(l, values, e->dims[0], ret, err));
    count_bytes(l, e);
    return ERR_OK;
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

static enum err_code load_bias(struct weight_loader *l, struct bias *ret, int64_t n, const char *name, struct err *err)
{
    struct bias b = { 0 };

    TRY(load_vector(l, &b.f32, n, name, err));
    if (l->be->act == DT_BF16)
        TRY(devarena_1d(l->mem, DT_BF16, b.f32.dims[0], &b.bf16, err));
    if (b.bf16.data)
        TRY(op_copy(l->be, &b.bf16, &b.f32, err));
    *ret = b;
    return ERR_OK;
}

enum err_code weights_bias(struct weight_loader *l, struct bias *ret, int64_t n, struct err *err, const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    return rc ? rc : load_bias(l, ret, n, name, err);
}

static int side_of(const struct tensor_entry *e, int i)
{
    return i < e->n_dims ? (int)e->dims[i] : 1;
}

static enum err_code load_conv(struct weight_loader *l, struct conv_weight *ret, const int64_t shape[4],
                               const char *name, struct err *err)
{
    ARENA_SCRATCH(l->scratch);
    const struct tensor_entry *e = NULL;
    struct conv_weight cw;
    float *values = NULL;

    TRY(need(l, name, 4, shape, &e, err));
    for (int i = 0; i < e->n_dims; i++)
        if (e->dims[i] > CONV_MAX_SIDE)
            return err_set(err, ERR_TOO_LARGE, "%s: tensor '%s' has a dimension of %lld; at most %d are supported",
                           file_of(l->set, e)->path, name, (long long)e->dims[i], CONV_MAX_SIDE);
    cw =
        (struct conv_weight){ .c_out = side_of(e, 0), .c_in = side_of(e, 1), .kh = side_of(e, 2), .kw = side_of(e, 3) };
    TRY(expand(l, e, name, &values, err));
    TRY(l->be->ops->conv_weight_load(l->be, values, &cw, err));
    TRY(l->be->ops->sync(l->be, err)); /* the values are gone when the scratch arena is rewound */
    *ret = cw;
    count_bytes(l, e);
    return ERR_OK;
}

enum err_code weights_conv(struct weight_loader *l, struct conv_weight *ret, const int64_t shape[4], struct err *err,
                           const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list ap;
    enum err_code rc;

    va_start(ap, fmt);
    rc = format_name(name, fmt, ap, err);
    va_end(ap);
    return rc ? rc : load_conv(l, ret, shape, name, err);
}
