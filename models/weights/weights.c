#include "models/weights/weights.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mapping.h"
#include "kernels/ops.h"
#include "kernels/quant.h"
#include "models/file/file_map.h"
#include "models/file/proof.h"
#include "models/weights/weight_make.h"

enum { NAME_SIZE = TENSOR_NAME_MAX + 1, SHAPE_SIZE = 96, CONV_MAX_SIDE = 1 << 16 };

static enum err_code format_name(char name[NAME_SIZE], const char *fmt, va_list ap, struct err *err)
{
    int n = vsnprintf(name, NAME_SIZE, fmt, ap);

    return n >= 0 && n < NAME_SIZE ? ERR_OK : err_set(err, ERR_INTERNAL, "weights: a name is too long");
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

static bool same_shape(const struct weight_source *s, int n_dims, const int64_t *want)
{
    /* the weights of a 1x1 convolution may be stored as a matrix, and the other way round */
    for (int i = 0; i < n_dims || i < s->n_dims; i++) {
        int64_t has = i < s->n_dims ? s->dims[i] : 1, wants = i < n_dims ? want[i] : 1;

        if (has < 1 || (wants >= 0 && has != wants))
            return false;
    }
    return s->n_dims == n_dims || (s->n_dims == 4 && n_dims == 2) || (s->n_dims == 2 && n_dims == 4);
}

static const char *path_of(const struct weight_loader *l, const struct weight_source *s)
{
    return weight_set_file_of(l->set, s->pieces[0].entry)->path;
}

/* A tensor of the shape wanted; -1 accepts any size. `name` lives as long as the source. */
static enum err_code need(const struct weight_loader *l, const char *name, int n_dims, const int64_t *want,
                          struct weight_source *ret, struct err *err)
{
    char has_text[SHAPE_SIZE], want_text[SHAPE_SIZE];

    TRY(weight_set_source(l->set, name, ret, err));
    if (!same_shape(ret, n_dims, want)) {
        print_shape(has_text, ret->n_dims, ret->dims);
        print_shape(want_text, n_dims, want);
        return err_set(err, ERR_CORRUPT, "%s: tensor '%.*s' has the shape [%s] instead of [%s]: take another file",
                       path_of(l, ret), SPAN_ARG(ret->pieces[0].entry->name), has_text, want_text);
    }
    return ERR_OK;
}

/* Waits for a tensor's parts of a file that is still arriving. */
static enum err_code await(const struct weight_loader *l, const struct weight_source *s, struct err *err)
{
    for (int i = 0; l->be->executes && i < s->n_pieces; i++)
        TRY(file_map_wait(s->pieces[i].entry->data, s->pieces[i].entry->bytes, err));
    return ERR_OK;
}

/* Refuses what no trained model has. Of a patched matrix it is the file that is looked at. */
static enum err_code prove(const struct weight_loader *l, const struct weight_source *s, struct err *err)
{
    for (int i = 0; l->prove && l->be->executes && i < s->n_pieces; i++)
        TRY(proof_tensor(s->pieces[i].entry, path_of(l, s), err));
    return ERR_OK;
}

/* Counts a tensor as loaded. */
static void take(const struct weight_loader *l, const struct weight_source *s)
{
    int64_t bytes = 0;

    weight_set_take(l->set, s);
    for (int i = 0; i < s->n_pieces; i++)
        bytes += (int64_t)s->pieces[i].entry->bytes;
    if (l->loaded_bytes)
        *l->loaded_bytes += bytes;
    if (l->read_bytes && !l->in_file)
        *l->read_bytes += bytes;
}

/* Reads a tensor's parts of the file into memory, and starts reading what follows them. */
static void read_pieces(const struct weight_loader *l, const struct weight_source *s)
{
    for (int i = 0; i < s->n_pieces; i++) {
        const struct tensor_entry *e = s->pieces[i].entry;
        struct span map = weight_set_file_of(l->set, e)->map;

        mapping_read(e->data, e->bytes, map.ptr + map.len);
    }
}

/* All values as f32 in the scratch arena. NaN and infinity are refused: one of them would spoil every picture. */
static enum err_code expand(const struct weight_loader *l, const struct weight_source *s, float **ret, struct err *err)
{
    const int64_t rows = weight_source_rows(s), cols = weight_source_cols(s);
    float *values = NULL;

    TRY(await(l, s, err));
    TRY(prove(l, s, err));
    TRY(arena_alloc(l->scratch, (size_t)rows, (size_t)cols * sizeof *values, &values, err));
    weight_source_read(s, 0, rows, values);
    if (!values_are_within(values, rows * cols, FLT_MAX))
        return err_set(err, ERR_CORRUPT, "%s: tensor '%.*s' %s", path_of(l, s), SPAN_ARG(s->pieces[0].entry->name),
                       s->n_patches ? "comes to NaN or infinity with the LoRAs merged; take a smaller scale, or "
                                      "other LoRAs"
                                    : "holds NaN or infinity; fetch the file again");
    *ret = values;
    return ERR_OK;
}

/* --- matrices --- */

/* Puts a matrix together in memory, unless nothing but its size counts: on a backend that computes nothing. */
static enum err_code make(struct weight_loader *l, const struct weight_source *s, struct weight *ret, struct arena *a,
                          struct err *err)
{
    void *values = NULL;

    ret->dtype = weight_make_type(s, l->be->act);
    ret->data = s->pieces[0].entry->data;
    if (!l->be->executes || l->is_unused)
        return ERR_OK;
    TRY(weight_make_room(s, ret->dtype, a, &values, err));
    TRY(weight_make(s, ret->dtype, path_of(l, s), l->scratch, values, err));
    ret->data = values;
    return ERR_OK;
}

/* The matrix on the host: in the file, or made. */
static enum err_code load_host(struct weight_loader *l, const struct weight_source *s, struct arena *a,
                               struct weight *ret, struct err *err)
{
    *ret = (struct weight){ .dtype = s->pieces[0].entry->dtype,
                            .rows = weight_source_rows(s),
                            .cols = weight_source_cols(s),
                            .data = s->pieces[0].entry->data };
    TRY(await(l, s, err));
    if (l->read_now && !l->in_file)
        read_pieces(l, s);
    TRY(prove(l, s, err));
    if (!s->plain)
        return make(l, s, ret, a, err);
    ret->scale = s->pieces[0].scale ? s->factor : 0;
    return ERR_OK;
}

/* What has been copied, by a device before weight_load() returns, is not read again. */
static void drop(const struct weight_loader *l, const struct weight_source *s)
{
    for (int i = 0; l->be->executes && i < s->n_pieces; i++)
        file_map_drop(s->pieces[i].entry->data, s->pieces[i].entry->bytes);
}

/* What was made for an upload alone is given back when the upload is done. */
static enum err_code load_source(struct weight_loader *l, const struct weight_source *s, struct weight *ret,
                                 struct err *err)
{
    ARENA_SCRATCH(l->scratch);
    const bool stays = l->in_file || l->be->in_place;
    struct weight host;

    if (!s->plain && stays && !l->made)
        return err_set(err, ERR_INTERNAL, "weights: there is no memory for what is made");
    TRY(load_host(l, s, stays ? l->made : l->scratch, &host, err));
    if (l->in_file) {
        *ret = host;
        return ERR_OK;
    }
    TRY(l->be->ops->weight_load(l->be, &host, ret, err));
    if (!l->be->in_place)
        drop(l, s);
    return s->plain || stays ? ERR_OK : l->be->ops->sync(l->be, err);
}

static enum err_code load_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols,
                                 const char *name, struct err *err)
{
    struct weight_source s;
    enum err_code rc;

    TRY(need(l, name, 2, (int64_t[]){ rows, cols }, &s, err));
    rc = load_source(l, &s, ret, err);
    if (rc) {
        if (err && !strstr(err->msg, name)) /* a backend does not know the names of what it loads */
            (void)err_prefix(err, "tensor '%s'", name);
        return rc;
    }
    take(l, &s);
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
    struct weight_source s;
    float *values = NULL;

    TRY(need(l, name, 1, &n, &s, err));
    TRY(expand(l, &s, &values, err));
    TRY(upload_vector(l, values, s.dims[0], ret, err));
    take(l, &s);
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

static int side_of(const struct weight_source *s, int i)
{
    return i < s->n_dims ? (int)s->dims[i] : 1;
}

static enum err_code load_conv(struct weight_loader *l, struct conv_weight *ret, const int64_t shape[4],
                               const char *name, struct err *err)
{
    ARENA_SCRATCH(l->scratch);
    struct weight_source s;
    struct conv_weight cw;
    float *values = NULL;

    TRY(need(l, name, 4, shape, &s, err));
    for (int i = 0; i < s.n_dims; i++)
        if (s.dims[i] > CONV_MAX_SIDE)
            return err_set(err, ERR_TOO_LARGE, "%s: tensor '%s' has a dimension of %lld; at most %d are supported",
                           path_of(l, &s), name, (long long)s.dims[i], CONV_MAX_SIDE);
    cw = (struct conv_weight){
        .c_out = side_of(&s, 0), .c_in = side_of(&s, 1), .kh = side_of(&s, 2), .kw = side_of(&s, 3)
    };
    TRY(expand(l, &s, &values, err));
    TRY(l->be->ops->conv_weight_load(l->be, values, &cw, err));
    TRY(l->be->ops->sync(l->be, err)); /* the values are gone when the scratch arena is rewound */
    *ret = cw;
    drop(l, &s);
    take(l, &s);
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

enum err_code weights_finish(struct weight_loader *l, struct err *err)
{
    int others = 0;

    TRY(weight_set_check_taken(l->set, &others, err));
    if (l->not_taken)
        *l->not_taken += others;
    return ERR_OK;
}
