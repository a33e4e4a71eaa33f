#include "models/bench/random_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/quant.h"
#include "models/file/name_index.h"

const int64_t random_model_vae_widths[4] = { 128, 256, 512, 512 };

enum err_code random_model_init(struct random_model *m, struct arena *a, enum dtype type, enum random_weights weights,
                                struct err *err)
{
    *m = (struct random_model){ .arena = a, .type = type, .weights = weights, .state = 1 };
    return arena_alloc(a, RANDOM_MODEL_MAX, sizeof *m->entries, &m->entries, err);
}

static uint64_t next(struct random_model *m)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return m->state;
}

static float uniform(struct random_model *m)
{
    return (float)(next(m) >> 40) / 16777216.0f;
}

/* A positive f32 as a half, rounded towards zero. */
static uint16_t half_of(float f)
{
    uint32_t u;

    if (f < 0x1p-14f)
        return (uint16_t)(f * 0x1p24f);
    memcpy(&u, &f, sizeof u);
    return (uint16_t)((u - (112u << 23)) >> 13);
}

/*
 * The offsets of a block's scale d and of its m or dmin (-1: it has none), and the root mean square of its values for
 * d = 1. The minima are set to 0, so the values of a layout without negative numbers have a mean above 0, which does
 * not matter to a benchmark.
 */
static const struct {
    int d, m;
    float rms;
} blocks[DT_COUNT] = {
    [DT_Q8_0] = { 0, -1, 74 },     [DT_Q4_0] = { 0, -1, 4.6f }, [DT_Q4_1] = { 0, 2, 8.8f },
    [DT_Q5_0] = { 0, -1, 9.2f },   [DT_Q5_1] = { 0, 2, 18 },    [DT_Q2_K] = { 80, 82, 16 },
    [DT_Q3_K] = { 108, -1, 42 },   [DT_Q4_K] = { 0, 2, 320 },   [DT_Q5_K] = { 0, 2, 660 },
    [DT_Q6_K] = { 208, -1, 1400 }, [DT_IQ4_NL] = { 0, -1, 62 }, [DT_IQ4_XS] = { 0, -1, 1150 },
};

static void put_half(char *at, uint16_t h)
{
    memcpy(at, &h, sizeof h);
}

static void fill_blocks(struct random_model *m, enum dtype t, char *data, size_t bytes, float rms)
{
    size_t block = (size_t)dtype_info(t)->block_bytes;
    uint16_t d = half_of(rms / blocks[t].rms);
    uint64_t word = 0;

    for (size_t i = 0; i < bytes; i += sizeof word) {
        word = next(m);
        memcpy(data + i, &word, bytes - i < sizeof word ? bytes - i : sizeof word);
    }
    for (size_t i = 0; i < bytes; i += block) {
        put_half(data + i + blocks[t].d, d);
        if (blocks[t].m >= 0)
            put_half(data + i + blocks[t].m, 0);
    }
}

static void fill_values(struct random_model *m, enum dtype t, char *data, size_t bytes, float rms, float about)
{
    size_t size = (size_t)dtype_info(t)->block_bytes;

    for (size_t i = 0; i < bytes; i += size) {
        float f = about + (2.0f * uniform(m) - 1.0f) * rms * 1.7320508f;

        if (t == DT_F32)
            memcpy(data + i, &f, sizeof f);
        else if (t == DT_BF16)
            put_half(data + i, f32_to_bf16(f));
        else
            put_half(data + i, (uint16_t)(half_of(fabsf(f)) | (f < 0 ? 0x8000 : 0)));
    }
}

static enum err_code make_data(struct random_model *m, struct tensor_entry *e, float rms, float about, struct err *err)
{
    bool shared = m->weights == RANDOM_WEIGHTS_SHARED && e->n_dims == 2;
    char *data = NULL;

    if (shared && m->shared[e->dtype].bytes >= e->bytes) {
        e->data = m->shared[e->dtype].data;
        return ERR_OK;
    }
    TRY(arena_alloc(m->arena, e->bytes, 1, &data, err));
    if (dtype_info(e->dtype)->block_elems > 1)
        fill_blocks(m, e->dtype, data, e->bytes, rms);
    else
        fill_values(m, e->dtype, data, e->bytes, rms, about);
    e->data = data;
    if (shared) {
        m->shared[e->dtype].data = data;
        m->shared[e->dtype].bytes = e->bytes;
    }
    return ERR_OK;
}

enum err_code random_model_add(void *ctx, const char *name, int n_dims, const int64_t *dims, struct err *err)
{
    struct random_model *m = ctx;
    struct tensor_entry *e = &m->entries[m->n_entries];
    int64_t rows = 1, inputs = 1;
    char *copy = NULL;

    if (m->n_entries == RANDOM_MODEL_MAX)
        return err_set(err, ERR_TOO_LARGE, "random model: it has over %d tensors", RANDOM_MODEL_MAX);
    TRY(arena_printf(m->arena, &copy, err, "%s", name));
    *e = (struct tensor_entry){ .name = span_of(copy), .n_dims = n_dims };
    for (int i = 0; i < n_dims; i++) {
        e->dims[i] = dims[i];
        rows *= i < n_dims - 1 ? dims[i] : 1;
        inputs *= i > 0 ? dims[i] : 1;
    }
    e->dtype = n_dims == 1 ? DT_F32 : n_dims > 2 ? DT_BF16 : m->type;
    if (!dtype_row_bytes(e->dtype, dims[n_dims - 1]))
        e->dtype = DT_F32;
    e->bytes = dtype_row_bytes(e->dtype, dims[n_dims - 1]) * (size_t)rows;
    if (n_dims == 1)
        TRY(make_data(m, e, 0.29f, 1.0f, err));
    else
        TRY(make_data(m, e, 1.0f / sqrtf((float)inputs), 0, err));
    m->n_entries++;
    return ERR_OK;
}

enum err_code random_model_finish(struct random_model *m, struct tensor_file *ret, struct err *err)
{
    int twice = -1;

    *ret = (struct tensor_file){ .path = "random weights", .entries = m->entries, .n_entries = m->n_entries };
    TRY(name_index_build(m->arena, m->entries, m->n_entries, sizeof *m->entries, &ret->index, &twice, err));
    if (twice >= 0)
        return err_set(err, ERR_INTERNAL, "random model: tensor '%.*s' occurs twice", SPAN_ARG(m->entries[twice].name));
    return ERR_OK;
}

/* --- the autoencoder --- */

/* The first error is kept and makes later calls do nothing, so that callers need not check each one. */
struct vae_list {
    struct random_model *m;
    enum err_code rc;
    struct err *err;
};

static void add(struct vae_list *l, const char *layer, const char *part, int n_dims, const int64_t *dims)
{
    char name[96];

    (void)snprintf(name, sizeof name, "%s.%s", layer, part);
    if (!l->rc)
        l->rc = random_model_add(l->m, name, n_dims, dims, l->err);
}

static void add_conv(struct vae_list *l, const char *layer, int64_t c_in, int64_t c_out, int64_t side)
{
    add(l, layer, "weight", 4, (int64_t[]){ c_out, c_in, side, side });
    add(l, layer, "bias", 1, &c_out);
}

static void add_norm(struct vae_list *l, const char *layer, int64_t width)
{
    add(l, layer, "weight", 1, &width);
    add(l, layer, "bias", 1, &width);
}

#define LAYER(...) ((void)snprintf(layer, sizeof layer, __VA_ARGS__), layer)

static void add_res(struct vae_list *l, const char *block, int64_t c_in, int64_t c_out)
{
    char layer[80];

    add_norm(l, LAYER("%s.norm1", block), c_in);
    add_conv(l, LAYER("%s.conv1", block), c_in, c_out, 3);
    add_norm(l, LAYER("%s.norm2", block), c_out);
    add_conv(l, LAYER("%s.conv2", block), c_out, c_out, 3);
    if (c_in != c_out)
        add_conv(l, LAYER("%s.nin_shortcut", block), c_in, c_out, 1);
}

static void add_ends(struct vae_list *l, const char *half, int64_t mid, int64_t c_in, int64_t first, int64_t last,
                     int64_t c_out)
{
    static const char *const linears[] = { "q", "k", "v", "proj_out" };
    char layer[64];

    add_conv(l, LAYER("%s.conv_in", half), c_in, first, 3);
    add_res(l, LAYER("%s.mid.block_1", half), mid, mid);
    add_norm(l, LAYER("%s.mid.attn_1.norm", half), mid);
    for (int i = 0; i < 4; i++)
        add_conv(l, LAYER("%s.mid.attn_1.%s", half, linears[i]), mid, mid, 1);
    add_res(l, LAYER("%s.mid.block_2", half), mid, mid);
    add_norm(l, LAYER("%s.norm_out", half), last);
    add_conv(l, LAYER("%s.conv_out", half), last, c_out, 3);
}

enum err_code random_model_add_vae(struct random_model *m, const int64_t widths[4], struct err *err)
{
    struct vae_list l = { m, ERR_OK, err };
    char layer[64];

    for (int level = 0; level < 4; level++) {
        int64_t from = widths[level ? level - 1 : 0], above = widths[level < 3 ? level + 1 : 3], to = widths[level];

        for (int i = 0; i < 2; i++)
            add_res(&l, LAYER("encoder.down.%d.block.%d", level, i), i ? to : from, to);
        if (level < 3)
            add_conv(&l, LAYER("encoder.down.%d.downsample.conv", level), to, to, 3);
        for (int i = 0; i < 3; i++)
            add_res(&l, LAYER("decoder.up.%d.block.%d", level, i), i ? to : above, to);
        if (level > 0)
            add_conv(&l, LAYER("decoder.up.%d.upsample.conv", level), to, to, 3);
    }
    add_ends(&l, "encoder", widths[3], 3, widths[0], widths[3], 32);
    add_ends(&l, "decoder", widths[3], 16, widths[3], widths[0], 3);
    return l.rc;
}
