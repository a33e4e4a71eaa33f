/* flux_load - from a directory of tensors to struct flux, by one table of names and sizes for each kind of block. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "models/flux/flux.h"
#include "models/flux/flux_embed.h"
#include "models/flux/flux_rope.h"
#include "models/layout/flux_names.h"
#include "models/layout/network_prefixes.h"
#include "models/weights/weight_depth.h"

enum { NAME_SIZE = 128 };

const struct flux_config flux_fill_config = {
    .in_channels = 384,
    .out_channels = 64,
    .hidden = 3072,
    .mlp = 12288,
    .context = 4096,
    .pooled = 768,
    .head_dim = 128,
    .n_heads = 24,
    .n_double = 19,
    .n_single = 38,
    .guidance = true,
};

/* The sizes that occur in the tables: D is the config's `hidden`, M its `mlp`; D3_M is 3 D + M. */
enum size { SINUSOID, IN, OUT, CONTEXT, POOLED, HEAD, D, D2, D3, D6, M, D_M, D3_M };

static int64_t size_of(const struct flux_config *c, enum size s)
{
    switch (s) {
        /* clang-format off */
    case SINUSOID: return FLUX_SINUSOID;
    case IN: return c->in_channels;
    case OUT: return c->out_channels;
    case CONTEXT: return c->context;
    case POOLED: return c->pooled;
    case HEAD: return c->head_dim;
    case D: return c->hidden;
    case D2: return 2 * c->hidden;
    case D3: return 3 * c->hidden;
    case D6: return 6 * c->hidden;
    case M: return c->mlp;
    case D_M: return c->hidden + c->mlp;
    case D3_M: return 3 * c->hidden + c->mlp;
        /* clang-format on */
    }
    return 0;
}

/* A linear layer (weight [rows, cols] and bias [rows]), or, with cols HEAD, the scale of a QK norm [rows]. */
struct part {
    const char *name;
    size_t offset; /* in the struct that the table is for */
    enum size rows, cols;
    bool modulation; /* read by flux_modulate alone */
};

#define TOP(member, rows, cols)     { #member, offsetof(struct flux, member), rows, cols, false }
#define TOP_MOD(member, rows, cols) { #member, offsetof(struct flux, member), rows, cols, true }
static const struct part top_parts[] = {
    TOP(img_in, D, IN),
    TOP(txt_in, D, CONTEXT),
    TOP_MOD(time_in.in_layer, D, SINUSOID),
    TOP_MOD(time_in.out_layer, D, D),
    TOP_MOD(vector_in.in_layer, D, POOLED),
    TOP_MOD(vector_in.out_layer, D, D),
    { "final_layer.adaLN_modulation.1", offsetof(struct flux, final_mod), D2, D, true },
    { "final_layer.linear", offsetof(struct flux, final_linear), OUT, D, false },
};
static const struct part guidance_parts[] = {
    TOP_MOD(guidance_in.in_layer, D, SINUSOID),
    TOP_MOD(guidance_in.out_layer, D, D),
};

/* clang-format off */
#define STREAM(s, name, member, rows, cols) \
    { #s "_" name, offsetof(struct flux_double_block, s.member), rows, cols, false }
#define STREAM_PARTS(s)                                      \
    { #s "_mod.lin", offsetof(struct flux_double_block, s.mod), D6, D, true }, \
    STREAM(s, "attn.qkv", qkv, D3, D),                       \
    STREAM(s, "attn.norm.query_norm", query_norm, HEAD, HEAD), \
    STREAM(s, "attn.norm.key_norm", key_norm, HEAD, HEAD),   \
    STREAM(s, "attn.proj", proj, D, D),                      \
    STREAM(s, "mlp.0", mlp_0, M, D),                         \
    STREAM(s, "mlp.2", mlp_2, D, M)
/* clang-format on */
static const struct part double_parts[] = { STREAM_PARTS(img), STREAM_PARTS(txt) };

#define SINGLE(name, member, rows, cols) { name, offsetof(struct flux_single_block, member), rows, cols, false }
static const struct part single_parts[] = {
    { "modulation.lin", offsetof(struct flux_single_block, mod), D3, D, true },
    SINGLE("linear1", linear1, D3_M, D),
    SINGLE("norm.query_norm", query_norm, HEAD, HEAD),
    SINGLE("norm.key_norm", key_norm, HEAD, HEAD),
    SINGLE("linear2", linear2, D, D_M),
};

/* A walk over the tables, which calls `part` for each entry with the full name and the place of the part in its struct
 * (`at`; NULL where only names and shapes are wanted). */
struct walk {
    enum err_code (*part)(struct walk *w, const char *name, const struct part *p, void *at, struct err *err);
    const struct flux_config *config;
    struct weight_loader *loader;
    enum flux_in_file in_file;
    flux_visit_fn *visit;
    void *ctx;
};

static enum err_code walk_table(struct walk *w, const char *stem, const struct part *table, size_t n, void *base,
                                struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        char name[NAME_SIZE];

        (void)snprintf(name, sizeof name, "%s%s", stem, table[i].name);
        TRY(w->part(w, name, &table[i], base ? (char *)base + table[i].offset : NULL, err));
    }
    return ERR_OK;
}
#define WALK(w, stem, table, base, err) walk_table(w, stem, table, sizeof(table) / sizeof *(table), base, err)

static enum err_code walk_all(struct walk *w, struct flux *f, struct err *err)
{
    const struct flux_config *c = w->config;
    char stem[NAME_SIZE / 2];

    TRY(WALK(w, "", top_parts, f, err));
    if (c->guidance)
        TRY(WALK(w, "", guidance_parts, f, err));
    for (int i = 0; i < c->n_double; i++) {
        (void)snprintf(stem, sizeof stem, "double_blocks.%d.", i);
        TRY(WALK(w, stem, double_parts, f ? &f->double_blocks[i] : NULL, err));
    }
    for (int i = 0; i < c->n_single; i++) {
        (void)snprintf(stem, sizeof stem, "single_blocks.%d.", i);
        TRY(WALK(w, stem, single_parts, f ? &f->single_blocks[i] : NULL, err));
    }
    return ERR_OK;
}

/* Norm scales are named .scale by BFL and .weight by some converters. */
static enum err_code load_part(struct walk *w, const char *name, const struct part *p, void *at, struct err *err)
{
    int64_t rows = size_of(w->config, p->rows), cols = size_of(w->config, p->cols);
    struct weight_loader loader = *w->loader;
    struct flux_linear *linear = at;

    if (p->cols == HEAD) {
        bool other =
            !weight_set_has(w->loader->set, "%s.scale", name) && weight_set_has(w->loader->set, "%s.weight", name);
        return weights_vector(w->loader, at, rows, err, "%s.%s", name, other ? "weight" : "scale");
    }
    loader.in_file = w->in_file == FLUX_IN_FILE_ALL || (w->in_file == FLUX_IN_FILE_MODULATION && p->modulation);
    loader.is_unused = w->in_file == FLUX_IN_FILE_ALL && !p->modulation;
    TRY(weights_matrix(&loader, &linear->w, rows, cols, err, "%s.weight", name));
    return weights_bias(w->loader, &linear->b, rows, err, "%s.bias", name);
}

static enum err_code describe_part(struct walk *w, const char *name, const struct part *p, void *at, struct err *err)
{
    int64_t shape[2] = { size_of(w->config, p->rows), size_of(w->config, p->cols) };
    char full[NAME_SIZE + 8];

    (void)at;
    (void)snprintf(full, sizeof full, "%s.%s", name, p->cols == HEAD ? "scale" : "weight");
    TRY(w->visit(w->ctx, full, p->cols == HEAD ? 1 : 2, shape, err));
    if (p->cols == HEAD)
        return ERR_OK;
    (void)snprintf(full, sizeof full, "%s.bias", name);
    return w->visit(w->ctx, full, 1, shape, err);
}

enum err_code flux_describe(const struct flux_config *c, flux_visit_fn *visit, void *ctx, struct err *err)
{
    struct walk w = { .part = describe_part, .config = c, .visit = visit, .ctx = ctx };

    return walk_all(&w, NULL, err);
}

/* Whether `name` is a weight or bias of an entry that flux_modulate reads, behind "double_blocks.12." for example. */
static bool is_of_table(const char *name, const char *stem, const struct part *table, size_t n)
{
    if (strncmp(name, stem, strlen(stem)) != 0)
        return false;
    name += strlen(stem);
    if (*stem)
        name += strspn(name, "0123456789.");
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(table[i].name);

        if (table[i].modulation && strncmp(name, table[i].name, len) == 0 && name[len] == '.')
            return true;
    }
    return false;
}
#define IS_OF(name, stem, table) is_of_table(name, stem, table, sizeof(table) / sizeof *(table))

bool flux_is_of_modulation(const char *name)
{
    return IS_OF(name, "", top_parts) || IS_OF(name, "", guidance_parts) ||
           IS_OF(name, "double_blocks.", double_parts) || IS_OF(name, "single_blocks.", single_parts);
}

enum err_code flux_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files, struct err *err)
{
    const char *const *prefixes = network_prefixes(NETWORK_TRANSFORMER);

    if (weight_set_init(ret, files, n_files, prefixes, "x_embedder.weight", NULL) == ERR_OK) {
        ret->rename = flux_names_diffusers;
        return ERR_OK;
    }
    return weight_set_init(ret, files, n_files, prefixes, "img_in.weight", err);
}

/* A matrix's shape; [rows, cols, 1, 1] counts as [rows, cols]. */
static enum err_code shape_of(const struct weight_set *set, const char *name, int64_t *ret_rows, int64_t *ret_cols,
                              struct err *err)
{
    struct weight_source s;

    TRY(weight_set_source(set, name, &s, err));
    if (s.n_dims < 2 || s.dims[0] < 1 || s.dims[1] < 1)
        return err_set(err, ERR_CORRUPT, "transformer: tensor '%s' is not a matrix", name);
    *ret_rows = s.dims[0];
    *ret_cols = s.dims[1];
    return ERR_OK;
}

/* The scale of a QK norm is as long as a head. */
static enum err_code read_head_dim(const struct weight_set *set, struct flux_config *c, struct err *err)
{
    const char *stem = c->n_double ? "double_blocks.0.img_attn" : "single_blocks.0";
    struct weight_source source;
    char name[NAME_SIZE];

    (void)snprintf(name, sizeof name, "%s.norm.query_norm.scale", stem);
    if (!weight_set_has(set, "%s", name))
        (void)snprintf(name, sizeof name, "%s.norm.query_norm.weight", stem);
    if (!weight_set_has(set, "%s", name))
        (void)snprintf(name, sizeof name, "%s.norm.query_norm.scale", stem);
    TRY(weight_set_source(set, name, &source, err));
    if (source.n_dims != 1 || source.dims[0] < 1 || source.dims[0] > c->hidden)
        return err_set(err, ERR_CORRUPT, "transformer: tensor '%s' is not one head long", name);
    c->head_dim = (int)source.dims[0];
    c->n_heads = (int)(c->hidden / c->head_dim);
    return ERR_OK;
}

/* A model without double blocks shows the MLP's width in a single block, whose first matrix holds q, k, v and the MLP's
 * rows. */
static enum err_code read_mlp(const struct weight_set *set, struct flux_config *c, struct err *err)
{
    int64_t ignored = 0, rows = 0;

    if (c->n_double)
        return shape_of(set, "double_blocks.0.img_mlp.0.weight", &c->mlp, &ignored, err);
    TRY(shape_of(set, "single_blocks.0.linear1.weight", &rows, &ignored, err));
    if (rows / 3 <= c->hidden)
        return err_set(err, ERR_CORRUPT, "transformer: tensor 'single_blocks.0.linear1.weight' has no rows for an MLP");
    c->mlp = rows - 3 * c->hidden;
    return ERR_OK;
}

static enum err_code check_config(const struct flux_config *c, struct err *err)
{
    int axes[FLUX_ROPE_AXES];

    if (c->hidden > 1 << 20 || c->mlp > 1 << 22)
        return err_set(err, ERR_UNSUPPORTED, "transformer: width %lld is too large", (long long)c->hidden);
    if (c->n_double > FLUX_MAX_BLOCKS || c->n_single > FLUX_MAX_BLOCKS)
        return err_set(err, ERR_UNSUPPORTED, "transformer: it has over %d blocks of one kind", FLUX_MAX_BLOCKS);
    if ((int64_t)c->n_heads * c->head_dim != c->hidden)
        return err_set(err, ERR_UNSUPPORTED, "transformer: width %lld is not a multiple of the head size %d",
                       (long long)c->hidden, c->head_dim);
    if (!flux_rope_axes(c->head_dim, axes))
        return err_set(err, ERR_UNSUPPORTED, "transformer: head size %d cannot be split into rotary axes", c->head_dim);
    if (c->in_channels < c->out_channels)
        return err_set(err, ERR_UNSUPPORTED, "transformer: %lld input channels are fewer than %lld output channels",
                       (long long)c->in_channels, (long long)c->out_channels);
    return ERR_OK;
}

/* Any tensor of guidance_in counts, so that a file that lost one of them is not taken for schnell. */
static bool has_guidance(const struct weight_set *set)
{
    static const char *const names[] = { "in_layer.weight", "in_layer.bias", "out_layer.weight", "out_layer.bias" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (weight_set_has(set, "guidance_in.%s", names[i]))
            return true;
    return false;
}

enum err_code flux_read_config(const struct weight_set *set, struct flux_config *ret, struct err *err)
{
    struct flux_config c = { 0 };
    int64_t ignored;
    const struct {
        const char *name;
        int64_t *rows, *cols;
    } sources[] = {
        { "img_in.weight", &c.hidden, &c.in_channels },
        { "txt_in.weight", &ignored, &c.context },
        { "vector_in.in_layer.weight", &ignored, &c.pooled },
        { "final_layer.linear.weight", &c.out_channels, &ignored },
    };

    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        TRY(shape_of(set, sources[i].name, sources[i].rows, sources[i].cols, err));
    c.guidance = has_guidance(set);
    c.n_double = weight_depth(set, "double_blocks.", FLUX_MAX_BLOCKS);
    c.n_single = weight_depth(set, "single_blocks.", FLUX_MAX_BLOCKS);
    if (!c.n_double && !c.n_single)
        return err_set(err, ERR_NOT_FOUND, "transformer: it has no blocks");
    TRY(read_head_dim(set, &c, err));
    TRY(read_mlp(set, &c, err));
    TRY(check_config(&c, err));
    *ret = c;
    return ERR_OK;
}

enum err_code flux_require_fill(const struct flux_config *c, struct err *err)
{
    const char *what = c->in_channels == 64    ? c->guidance ? " (FLUX.1-dev, Kontext or Krea)" : " (FLUX.1-schnell)"
                       : c->in_channels == 128 ? " (FLUX.1 Canny or Depth)"
                       : c->in_channels == 196 ? " (Flex.2)"
                                               : "";
    const struct flux_config *fill = &flux_fill_config;

    if (c->in_channels != fill->in_channels || c->out_channels != fill->out_channels)
        return err_set(err, ERR_UNSUPPORTED,
                       "transformer is not FLUX.1-Fill: %lld input and %lld output channels%s, Fill has %lld and %lld",
                       (long long)c->in_channels, (long long)c->out_channels, what, (long long)fill->in_channels,
                       (long long)fill->out_channels);
    if (!c->guidance)
        return err_set(err, ERR_UNSUPPORTED, "transformer is not FLUX.1-Fill: it has no guidance_in");
    return ERR_OK;
}

/* The biases stay aligned, because `row` is a multiple of the head size and so of 8. */
static struct flux_linear rows_of(const struct flux_linear *l, int64_t row, int64_t n)
{
    return (struct flux_linear){ weight_row_view(&l->w, row, n), bias_row_view(&l->b, row, n) };
}

enum err_code flux_load(struct flux *ret, struct weight_loader *l, struct arena *model, struct err *err)
{
    return flux_load_some(ret, l, FLUX_IN_FILE_NONE, model, err);
}

enum err_code flux_load_some(struct flux *ret, struct weight_loader *l, enum flux_in_file in_file, struct arena *model,
                             struct err *err)
{
    struct flux f = { .be = l->be, .modulation_in_file = in_file != FLUX_IN_FILE_NONE };
    struct walk w = { .part = load_part, .config = &f.config, .loader = l, .in_file = in_file };
    const struct flux_config *c = &f.config;

    TRY(flux_read_config(l->set, &f.config, err));
    if (in_file != FLUX_IN_FILE_NONE && !l->be->ops->weight_unload)
        return err_set(err, ERR_UNSUPPORTED, "transformer: the backend '%s' cannot unload weights", l->be->name);
    TRY(arena_alloc(model, (size_t)c->n_double, sizeof *f.double_blocks, &f.double_blocks, err));
    TRY(arena_alloc(model, (size_t)c->n_single, sizeof *f.single_blocks, &f.single_blocks, err));
    TRY(walk_all(&w, &f, err));
    for (int i = 0; i < c->n_single; i++) {
        struct flux_single_block *b = &f.single_blocks[i];

        b->qkv = rows_of(&b->linear1, 0, 3 * c->hidden);
        b->mlp = rows_of(&b->linear1, 3 * c->hidden, c->mlp);
    }
    TRY(weights_finish(l, err));
    *ret = f;
    return ERR_OK;
}
