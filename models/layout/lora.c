#include "models/layout/lora.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/file.h"
#include "kernels/base/mapping.h"
#include "kernels/base/processor.h"
#include "kernels/quant.h"
#include "models/file/file_map.h"
#include "models/file/name_index.h"
#include "models/layout/lora_alpha.h"
#include "models/layout/lora_layer.h"
#include "models/layout/low_rank.h"

enum {
    MAX_SIDE = 1 << 22,
    NAME_SIZE = FLUX_MODULE_MAX + 9,
    DIGEST_SIZE = 40,
    STRIP_VALUES = 1024,
    CONTROL_INPUTS = 128,
    CRC_PIECE_BYTES = 16 << 20
};
static const double most_alpha = 1e6;

enum kind { LOW_RANK, WHOLE, VECTOR };

/* What is added to some rows of one tensor of the network. */
struct part {
    enum kind kind;
    int number;       /* among all parts, in the order of the layers */
    const char *name; /* the network's: "img_in.weight" */
    const struct lora_layer *layer;
    int64_t row0, rows, src0; /* rows of the tensor; the first of them in what is added */
    int64_t cols;
    struct low_rank product;      /* LOW_RANK */
    const struct tensor_entry *e; /* WHOLE: [rows, cols] */
    const float *values;          /* VECTOR */
    float factor;
};

/* The parts of one tensor follow one another. */
struct target {
    struct span name; /* first, for name_index.h */
    int first, n;
};

struct lora {
    struct tensor_file file; /* its path without the folder, for messages */
    bool mapped;             /* the file's bytes can be read from the disk again */
    const char *path;
    double scale;
    struct lora_layer *layers;
    int n_layers;
    struct part *parts;
    int n_parts, room;
    struct target *targets;
    int n_targets, *index;
    struct lora_settings settings;
    char digest[DIGEST_SIZE];
};

static enum err_code damaged(const struct lora *l, const struct tensor_entry *e, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: tensor '%.*s' %s; fetch the file again", l->file.path, SPAN_ARG(e->name),
                   what);
}

static enum err_code check_matrix(const struct lora *l, const struct tensor_entry *e, struct err *err)
{
    if (e->n_dims > 2)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: '%.*s' has %d dimensions, as in LoRAs of convolutions; FLUX.1 has matrices only",
                       l->file.path, SPAN_ARG(e->name), e->n_dims);
    if (e->n_dims != 2 || e->dims[0] < 1 || e->dims[1] < 1)
        return damaged(l, e, "is not a matrix", err);
    if (e->dims[0] > MAX_SIDE || e->dims[1] > MAX_SIDE)
        return err_set(err, ERR_TOO_LARGE, "%s: tensor '%.*s' is [%" PRId64 ", %" PRId64 "]; at most %d are allowed",
                       l->file.path, SPAN_ARG(e->name), e->dims[0], e->dims[1], MAX_SIDE);
    if (dtype_is_integer(e->dtype))
        return damaged(l, e, "has whole numbers; F32, F16, BF16 and fp8 are read", err);
    return ERR_OK;
}

static enum err_code check_vector(const struct lora *l, const struct tensor_entry *e, struct err *err)
{
    if (e->n_dims != 1 || e->dims[0] < 1 || e->dims[0] > MAX_SIDE)
        return damaged(l, e, "is not a vector", err);
    return dtype_is_integer(e->dtype) ? damaged(l, e, "has whole numbers; F32, F16, BF16 and fp8 are read", err)
                                      : ERR_OK;
}

static enum err_code check_finite(const struct lora *l, const struct tensor_entry *e, struct err *err)
{
    bool good = true;
    int64_t rows = e->n_dims == 2 ? e->dims[0] : 1, cols = e->dims[e->n_dims - 1];

    for (int64_t o = 0; o < rows; o++)
        for (int64_t j = 0; j < cols; j += STRIP_VALUES) {
            float v[STRIP_VALUES];
            int64_t n = cols - j < STRIP_VALUES ? cols - j : STRIP_VALUES;

            dequantise_columns(e->dtype, e->data, cols, o, j, n, v);
            good = values_are_within(v, n, FLT_MAX) && good;
        }
    return good ? ERR_OK : damaged(l, e, "holds NaN or infinity", err);
}

/* --- from layers to parts --- */

static struct part *new_part(struct lora *l, const struct lora_layer *layer, enum kind kind, const char *name)
{
    struct part *p = &l->parts[l->n_parts++];

    *p = (struct part){ .kind = kind, .number = l->n_parts, .name = name, .layer = layer };
    return p;
}

/* Puts the last part's rows where BFL's matrix has them. `hidden` are the rows of q, k and v each. */
static void place(struct lora *l, int64_t rows, int64_t hidden)
{
    struct part *p = &l->parts[l->n_parts - 1];
    const struct flux_module *m = &p->layer->key.module;

    p->row0 = m->n_pieces > 1 ? m->piece * hidden : 0;
    p->rows = rows;
    if (m->halves_swapped) {
        struct part *second = &l->parts[l->n_parts++];

        p->rows = rows / 2;
        *second = *p;
        p->src0 = rows / 2;
        second->row0 += rows / 2;
    }
}

static bool is_one_value(const struct tensor_entry *e)
{
    bool one = true;

    for (int i = 0; i < e->n_dims; i++)
        one = one && e->dims[i] == 1;
    return one;
}

/* The first value of a tensor of any type. */
static double number_in(const struct tensor_entry *e)
{
    int64_t wide;
    int32_t word;
    float f = 0;

    switch (e->dtype) {
    case DT_I64:
        memcpy(&wide, e->data, sizeof wide);
        return (double)wide;
    case DT_I32:
        memcpy(&word, e->data, sizeof word);
        return word;
    case DT_U8:
        return *(const uint8_t *)e->data;
    default:
        dequantise_row(e->dtype, e->data, &f, 1);
        return (double)f;
    }
}

static enum err_code read_alpha(const struct lora *l, const struct lora_layer *layer, int64_t rank, double *ret,
                                struct err *err)
{
    const struct tensor_entry *e = layer->entries[LORA_ALPHA];
    double alpha = l->settings.found ? lora_settings_alpha(&l->settings, layer->key.path) : (double)rank;

    if (e && !is_one_value(e))
        return damaged(l, e, "is not one number", err);
    if (e && l->settings.found)
        return damaged(l, e, "gives an alpha, and the file's settings of PEFT another", err);
    if (e)
        alpha = number_in(e);
    if (!(fabs(alpha) <= most_alpha))
        return err_set(err, ERR_CORRUPT, "%s: layer '%.*s' has the alpha %g; at most %g is allowed", l->file.path,
                       SPAN_ARG(layer->key.layer), alpha, most_alpha);
    *ret = alpha;
    return ERR_OK;
}

/* scale * alpha / r */
static enum err_code read_factor(const struct lora *l, const struct lora_layer *layer, int64_t rank, float *ret,
                                 struct err *err)
{
    double alpha = 0;

    TRY(read_alpha(l, layer, rank, &alpha, err));
    *ret = (float)(l->scale * alpha / (l->settings.rslora ? sqrt((double)rank) : (double)rank));
    return ERR_OK;
}

static enum err_code check_pair(const struct lora *l, const struct lora_layer *layer, struct err *err)
{
    const struct tensor_entry *a = layer->entries[LORA_A], *b = layer->entries[LORA_B];

    if (!a || !b)
        return err_set(err, ERR_CORRUPT, "%s: layer '%.*s' has no %s matrix; fetch the file again", l->file.path,
                       SPAN_ARG(layer->key.layer), a ? "up (B)" : "down (A)");
    TRY(check_matrix(l, a, err));
    TRY(check_matrix(l, b, err));
    if (a->dims[0] != b->dims[1])
        return err_set(err, ERR_CORRUPT,
                       "%s: layer '%.*s': down is [%" PRId64 ", %" PRId64 "] and up [%" PRId64 ", %" PRId64
                       "], so that their ranks differ; fetch the file again",
                       l->file.path, SPAN_ARG(layer->key.layer), a->dims[0], a->dims[1], b->dims[0], b->dims[1]);
    if (a->dims[0] > LOW_RANK_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: layer '%.*s' has the rank %" PRId64 "; at most %d is allowed",
                       l->file.path, SPAN_ARG(layer->key.layer), a->dims[0], LOW_RANK_MAX);
    TRY(check_finite(l, a, err));
    return check_finite(l, b, err);
}

static enum err_code check_halves(const struct lora *l, const struct lora_layer *layer, const struct tensor_entry *e,
                                  struct err *err)
{
    return layer->key.module.halves_swapped && e->dims[0] % 2 ? damaged(l, e, "has no two halves of rows", err)
                                                              : ERR_OK;
}

static enum err_code add_product(struct lora *l, const struct lora_layer *layer, const char *name, struct err *err)
{
    const struct tensor_entry *down = layer->entries[LORA_A], *up = layer->entries[LORA_B];
    struct part *p;

    TRY(check_pair(l, layer, err));
    TRY(check_halves(l, layer, up, err));
    p = new_part(l, layer, LOW_RANK, name);
    p->cols = down->dims[1];
    p->product = (struct low_rank){ .a_dtype = down->dtype,
                                    .b_dtype = up->dtype,
                                    .a = down->data,
                                    .b = up->data,
                                    .rank = down->dims[0],
                                    .cols = down->dims[1] };
    TRY(read_factor(l, layer, p->product.rank, &p->product.factor, err));
    place(l, up->dims[0], p->cols);
    return ERR_OK;
}

static enum err_code add_whole(struct lora *l, const struct lora_layer *layer, const char *name, struct err *err)
{
    const struct tensor_entry *e = layer->entries[LORA_DIFF];
    struct part *p;

    TRY(check_matrix(l, e, err));
    TRY(check_halves(l, layer, e, err));
    TRY(check_finite(l, e, err));
    p = new_part(l, layer, WHOLE, name);
    p->cols = e->dims[1];
    p->e = e;
    p->factor = (float)l->scale;
    place(l, e->dims[0], p->cols);
    return ERR_OK;
}

/* The inputs of a layer, by its matrices; 0: it has none. */
static int64_t inputs_of(const struct lora_layer *layer)
{
    const struct tensor_entry *e = layer->entries[LORA_A] ? layer->entries[LORA_A] : layer->entries[LORA_DIFF];

    return e && e->n_dims == 2 ? e->dims[1] : 0;
}

static enum err_code add_vector(struct lora *l, const struct lora_layer *layer, enum lora_role role, const char *name,
                                struct arena *a, struct err *err)
{
    const struct tensor_entry *e = layer->entries[role];
    const struct flux_module *m = &layer->key.module;
    float *values = NULL, factor = (float)l->scale;
    struct part *p;

    TRY(check_vector(l, e, err));
    TRY(check_halves(l, layer, e, err));
    if (m->piece == 3 && !inputs_of(layer))
        return damaged(l, e, "is without a matrix, so that its place among the layer's rows is not known", err);
    if (role == LORA_B_BIAS) {
        if (!layer->entries[LORA_B])
            return damaged(l, e, "is without its up matrix (B)", err);
        TRY(read_factor(l, layer, layer->entries[LORA_B]->dims[1], &factor, err));
    }
    TRY(check_finite(l, e, err));
    TRY(arena_alloc(a, (size_t)e->dims[0], sizeof *values, &values, err));
    dequantise_row(e->dtype, e->data, values, e->dims[0]);
    p = new_part(l, layer, VECTOR, name);
    p->cols = 1;
    p->values = values;
    p->factor = factor;
    place(l, e->dims[0], m->piece == 3 ? inputs_of(layer) : e->dims[0]);
    return ERR_OK;
}

static enum err_code add_layer(struct lora *l, const struct lora_layer *layer, struct arena *a, struct err *err)
{
    char *weight = NULL, *bias = NULL;

    TRY(arena_printf(a, &weight, err, "%s.weight", layer->key.module.name));
    TRY(arena_printf(a, &bias, err, "%s.bias", layer->key.module.name));
    if (layer->entries[LORA_A] || layer->entries[LORA_B] || layer->entries[LORA_ALPHA])
        TRY(add_product(l, layer, weight, err));
    if (layer->entries[LORA_DIFF])
        TRY(add_whole(l, layer, weight, err));
    if (layer->entries[LORA_B_BIAS])
        TRY(add_vector(l, layer, LORA_B_BIAS, bias, a, err));
    if (layer->entries[LORA_DIFF_B])
        TRY(add_vector(l, layer, LORA_DIFF_B, bias, a, err));
    return ERR_OK;
}

/* By name, kind and place, so that sums are always made in the same order. */
static int compare_parts(const void *x, const void *y)
{
    const struct part *a = x, *b = y;
    int order = strcmp(a->name, b->name);

    if (order)
        return order;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->row0 != b->row0)
        return a->row0 < b->row0 ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

static enum err_code make_targets(struct lora *l, struct arena *a, struct err *err)
{
    int twice = -1;

    qsort(l->parts, (size_t)l->n_parts, sizeof *l->parts, compare_parts);
    TRY(arena_alloc(a, (size_t)l->n_parts, sizeof *l->targets, &l->targets, err));
    for (int i = 0; i < l->n_parts; i++) {
        const struct part *p = &l->parts[i], *before = i ? p - 1 : NULL;

        if (before && !strcmp(before->name, p->name)) {
            if (before->layer != p->layer && before->kind == p->kind && before->row0 + before->rows > p->row0)
                return err_set(err, ERR_CORRUPT, "%s: layers '%.*s' and '%.*s' are the same layer or overlap",
                               l->file.path, SPAN_ARG(before->layer->key.layer), SPAN_ARG(p->layer->key.layer));
            l->targets[l->n_targets - 1].n++;
            continue;
        }
        l->targets[l->n_targets++] = (struct target){ .name = span_of(p->name), .first = i, .n = 1 };
    }
    return name_index_build(a, l->targets, l->n_targets, sizeof *l->targets, &l->index, &twice, err);
}

void lora_release(const struct lora *l)
{
    if (l->mapped)
        mapping_release(l->file.map.ptr, l->file.map.len);
}

/* The file's pages are given back as they are read: people merge LoRAs where there is little memory. */
static uint32_t crc_of_file(const struct lora *l)
{
    uint32_t crc = 0;

    for (size_t at = 0, n; at < l->file.map.len; at += n) {
        n = l->file.map.len - at < CRC_PIECE_BYTES ? l->file.map.len - at : CRC_PIECE_BYTES;
        crc = crc32c(crc, l->file.map.ptr + at, n);
        if (l->mapped)
            mapping_release(l->file.map.ptr + at, n);
    }
    return crc;
}

/* Of the file, and of the settings that lie beside it. */
static void make_digest(struct lora *l)
{
    uint32_t crc = crc_of_file(l);

    crc = crc32c(crc, l->settings.config.ptr, l->settings.config.len);
    (void)snprintf(l->digest, sizeof l->digest, "%zu-%08" PRIx32, l->file.map.len, crc);
}

/* Everything after the directory, which is in l->file. path: NULL if it is in memory only. */
static enum err_code read_file(struct lora *l, const char *path, struct arena *a, struct err *err)
{
    TRY(lora_layers_read(&l->file, a, &l->layers, &l->n_layers, err));
    TRY(lora_settings_read(&l->file, path, a, &l->settings, err));
    /* at most one part for each tensor and one for the other half of its rows */
    TRY(arena_alloc(a, 2 * (size_t)l->file.n_entries, sizeof *l->parts, &l->parts, err));
    for (int i = 0; i < l->n_layers; i++) {
        TRY(add_layer(l, &l->layers[i], a, err));
        lora_release(l);
    }
    TRY(make_targets(l, a, err));
    make_digest(l);
    return file_map_check(err);
}

static enum err_code new_lora(const char *path, double scale, struct arena *a, struct lora **ret, struct err *err)
{
    struct lora *l = NULL;
    char *copy = NULL;

    if (!isfinite(scale))
        return err_set(err, ERR_INVALID, "%s: its scale is not a finite number", path);
    TRY(arena_alloc(a, 1, sizeof *l, &l, err));
    TRY(span_dup(a, span_of(path), &copy, err));
    l->scale = scale;
    l->path = copy;
    *ret = l;
    return ERR_OK;
}

enum err_code lora_open(const char *path, double scale, struct arena *a, const struct lora **ret, struct err *err)
{
    struct lora *l = NULL;

    TRY(new_lora(path, scale, a, &l, err));
    TRY(tensor_file_open(l->path, a, &l->file, err));
    l->mapped = true;
    l->file.path = file_short_name(l->path);
    TRY(read_file(l, l->path, a, err));
    *ret = l;
    return ERR_OK;
}

enum err_code lora_parse(const char *path, struct span map, double scale, struct arena *a, const struct lora **ret,
                         struct err *err)
{
    struct lora *l = NULL;

    TRY(new_lora(path, scale, a, &l, err));
    TRY(tensor_file_parse(l->path, map, a, &l->file, err));
    l->file.path = file_short_name(l->path);
    TRY(read_file(l, NULL, a, err));
    *ret = l;
    return ERR_OK;
}

/* --- against a network --- */

/* The rows that a layer must have, of a matrix [rows, cols]. */
static int64_t rows_wanted(const struct lora_layer *layer, int64_t rows, int64_t hidden)
{
    const struct flux_module *m = &layer->key.module;

    if (layer->key.attention_only)
        return 3 * hidden;
    if (m->n_pieces == 1)
        return rows;
    return m->piece < 3 ? hidden : rows - 3 * hidden;
}

enum misfit { FITS, ABSENT, COLS, ROWS, CONTROL };

struct fit {
    enum misfit why;
    int64_t has, wants;
};

static int64_t rows_in(const struct lora_layer *layer, enum lora_role role)
{
    return layer->entries[role] ? layer->entries[role]->dims[0] : -1;
}

static struct fit check_rows(const struct lora_layer *layer, int64_t rows, int64_t cols)
{
    static const enum lora_role with_rows[] = { LORA_B, LORA_B_BIAS, LORA_DIFF, LORA_DIFF_B };
    int64_t wants = rows_wanted(layer, rows, cols);

    for (size_t i = 0; i < sizeof with_rows / sizeof *with_rows; i++) {
        int64_t has = rows_in(layer, with_rows[i]);

        if (has >= 0 && has != wants)
            return (struct fit){ ROWS, has, wants };
    }
    return (struct fit){ FITS, 0, 0 };
}

static struct fit check_layer(const struct lora_layer *layer, lora_shape_fn *shape, const void *ctx)
{
    enum { DEV_INPUTS = 64 };
    bool img_in = !strcmp(layer->key.module.name, "img_in");
    int64_t rows = 0, cols = 0, bias_rows = 0, ignored = 0, has = inputs_of(layer);
    char name[NAME_SIZE];

    (void)snprintf(name, sizeof name, "%s.weight", layer->key.module.name);
    if (!shape(ctx, name, &rows, &cols))
        return (struct fit){ ABSENT, 0, 0 };
    (void)snprintf(name, sizeof name, "%s.bias", layer->key.module.name);
    if ((layer->entries[LORA_B_BIAS] || layer->entries[LORA_DIFF_B]) &&
        (!shape(ctx, name, &bias_rows, &ignored) || bias_rows != rows))
        return (struct fit){ ABSENT, 0, 0 };
    if (layer->entries[LORA_A] && layer->entries[LORA_DIFF] && layer->entries[LORA_DIFF]->dims[1] != has)
        return (struct fit){ COLS, layer->entries[LORA_DIFF]->dims[1], cols };
    if (has && has != cols) {
        if (img_in && has == CONTROL_INPUTS)
            return (struct fit){ CONTROL, has, cols };
        if (!img_in || has != DEV_INPUTS || cols < has)
            return (struct fit){ COLS, has, cols };
    }
    return check_rows(layer, rows, cols);
}

static enum err_code misfit(const struct lora *l, const struct lora_layer *layer, int n_fit, struct fit fit,
                            struct err *err)
{
    char why[96] = "is not in it";

    if (fit.why == CONTROL)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: layer '%.*s' has %d inputs, as control LoRAs (Canny, Depth) have; FLUX.1-Fill's has %" PRId64
            ". Take a LoRA for FLUX.1-dev or Fill",
            l->file.path, SPAN_ARG(layer->key.layer), CONTROL_INPUTS, fit.wants);
    if (fit.why != ABSENT)
        (void)snprintf(why, sizeof why, "has %" PRId64 " %s, the transformer's has %" PRId64, fit.has,
                       fit.why == COLS ? "inputs" : "outputs", fit.wants);
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: %d of its %d layers fit this transformer; '%.*s' %s. Take a LoRA for FLUX.1-dev or Fill",
                   l->file.path, n_fit, l->n_layers, SPAN_ARG(layer->key.layer), why);
}

enum err_code lora_check(const struct lora *l, lora_shape_fn *shape, const void *ctx, struct err *err)
{
    const struct lora_layer *example = NULL;
    struct fit why = { 0 };
    int n_fit = 0;

    for (int i = 0; i < l->n_layers; i++) {
        struct fit fit = check_layer(&l->layers[i], shape, ctx);

        n_fit += fit.why == FITS;
        if (fit.why != FITS && (!example || (fit.why == CONTROL && why.why != CONTROL))) {
            example = &l->layers[i];
            why = fit;
        }
    }
    return example ? misfit(l, example, n_fit, why, err) : ERR_OK;
}

/* --- as a patch --- */

static const struct target *find(const struct lora *l, const char *name)
{
    int i = name_index_find(l->index, l->targets, l->n_targets, sizeof *l->targets, span_of(name));

    return i < 0 ? NULL : &l->targets[i];
}

static bool touches(const void *ctx, const char *name)
{
    return find(ctx, name) != NULL;
}

EVERY_PROCESSOR static void add_scaled(float *values, const float *v, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++)
        values[i] += factor * v[i];
}

static void add_row(const struct part *p, int64_t src, float *values)
{
    for (int64_t j = 0; j < p->cols; j += STRIP_VALUES) {
        float v[STRIP_VALUES];
        int64_t n = p->cols - j < STRIP_VALUES ? p->cols - j : STRIP_VALUES;

        dequantise_columns(p->e->dtype, p->e->data, p->cols, src, j, n, v);
        add_scaled(values + j, v, n, p->factor);
    }
}

/* The rows that a part and a call have in common. */
static void add_part(const struct part *p, int64_t row0, int64_t n, int64_t cols, float *values)
{
    int64_t begin = p->row0 > row0 ? p->row0 : row0;
    int64_t end = p->row0 + p->rows < row0 + n ? p->row0 + p->rows : row0 + n;
    int64_t src = begin - p->row0 + p->src0;

    if (begin >= end || p->cols > cols)
        return;
    values += (begin - row0) * cols;
    if (p->kind == LOW_RANK)
        low_rank_add(&p->product, src, end - begin, cols, values);
    else if (p->kind == VECTOR)
        add_scaled(values, p->values + src, end - begin, p->factor);
    else
        for (int64_t o = begin; o < end; o++)
            add_row(p, src + o - begin, values + (o - begin) * cols);
}

static void add(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *values)
{
    const struct lora *l = ctx;
    const struct target *t = find(l, name);

    for (int i = 0; t && i < t->n; i++)
        add_part(&l->parts[t->first + i], row0, n, cols, values);
}

struct weight_patch lora_patch(const struct lora *l)
{
    return (struct weight_patch){ .ctx = l, .touches = touches, .add = add };
}

const char *lora_path(const struct lora *l)
{
    return l->path;
}

const char *lora_digest(const struct lora *l)
{
    return l->digest;
}

int lora_layers(const struct lora *l)
{
    return l->n_layers;
}

bool lora_touches(const struct lora *l, bool (*holds)(const char *name))
{
    for (int i = 0; i < l->n_parts; i++)
        if (holds(l->parts[i].name))
            return true;
    return false;
}
