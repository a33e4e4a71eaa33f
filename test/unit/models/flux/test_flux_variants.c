/* Transformers that no golden set has: made up from flux_describe, and compared with each other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/quant.h"
#include "models/flux/flux.h"
#include "models/file/name_index.h"
#include "test/support/check.h"
#include "test/support/model.h"

enum { MAX_TENSORS = 512, NAME_SIZE = 96, ROWS = 2, COLS = 3, N_IMG = ROWS * COLS, N_TXT = 4, OUT = 64 };

static const struct flux_config base = {
    .in_channels = 384, .out_channels = OUT, .hidden = 64, .mlp = 256, .context = 48, .pooled = 40, .head_dim = 32,
    .n_heads = 2, .n_double = 2, .n_single = 2, .guidance = true
};

/* How a file is written. */
struct recipe {
    struct flux_config config;
    const char *prefix;
    bool norms_called_weight, bf16, no_guidance_effect, decoys;
};

struct file {
    const struct recipe *recipe;
    struct arena *arena;
    struct tensor_write t[MAX_TENSORS];
    int n;
};

static uint64_t name_hash(const char *name)
{
    uint64_t x = 1469598103934665603u;

    for (; *name; name++)
        x = (x ^ (unsigned char)*name) * 1099511628211u;
    return x;
}

/* A value of -1 .. 1 that depends only on a tensor's name and the place in the tensor, so that two files have the same
 * values where they have the same tensors. */
static float value_at(uint64_t x, int64_t row, int64_t col)
{
    x = (x ^ (uint64_t)row) * 1099511628211u;
    x = (x ^ (uint64_t)col) * 1099511628211u;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    return (float)((double)(x >> 40) / (1 << 23) - 1);
}

/* The factor for a tensor's values. For img_in it does not depend on the width, so that its first columns are the same
 * in every variant. */
static float spread_of(const char *name, int n_dims, const int64_t *dims)
{
    if (n_dims == 1)
        return 0.3f;
    return 1.5f / sqrtf((float)(strcmp(name, "img_in.weight") ? dims[1] : OUT));
}

static void fill_values(const struct recipe *r, const char *name, int n_dims, const int64_t *dims, void *ret)
{
    int64_t cols = n_dims == 2 ? dims[1] : 1;
    uint64_t hash = name_hash(name);
    bool silent = r->no_guidance_effect && !strncmp(name, "guidance_in.out_layer", 21);
    float spread = silent ? 0 : spread_of(name, n_dims, dims);
    float middle = strstr(name, "_norm.scale") ? 1 : 0;

    for (int64_t i = 0; i < dims[0] * cols; i++) {
        uint16_t v = f32_to_bf16(middle + spread * value_at(hash, i / cols, i % cols)); /* the same in both types */

        if (r->bf16)
            ((uint16_t *)ret)[i] = v;
        else
            ((float *)ret)[i] = bf16_to_f32(v);
    }
}

static enum err_code add(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    struct file *f = ctx;
    int64_t n = dims[0] * (n_dims == 2 ? dims[1] : 1);
    const char *scale = f->recipe->norms_called_weight ? strstr(name, ".scale") : NULL;
    enum dtype dtype = f->recipe->bf16 ? DT_BF16 : DT_F32;
    char *full = NULL, *data = NULL;

    CHECK(f->n < MAX_TENSORS);
    CHECK_OK(arena_printf(f->arena, &full, err, "%s%.*s%s", f->recipe->prefix ? f->recipe->prefix : "",
                          scale ? (int)(scale - name) : (int)strlen(name), name, scale ? ".weight" : ""), *err);
    CHECK_OK(arena_alloc(f->arena, (size_t)n, 4, &data, err), *err);
    fill_values(f->recipe, name, n_dims, dims, data);
    f->t[f->n++] = (struct tensor_write){ .name = full, .dtype = dtype, .n_dims = n_dims, .data = data,
                                          .dims = { dims[0], n_dims == 2 ? dims[1] : 0 } };
    if (f->recipe->decoys) { /* of another network: the name without its prefix, and a shape that does not fit */
        f->t[f->n] = f->t[f->n - 1];
        f->t[f->n].name += strlen(f->recipe->prefix);
        f->t[f->n].dims[0] /= 2;
        f->n++;
    }
    return ERR_OK;
}

struct made {
    struct rig rig;
    struct flux flux;
};

static void make(struct made *m, const struct recipe *recipe)
{
    static struct file f;
    char path[] = "/tmp/flux-variant-XXXXXX";
    struct err err = { 0 };
    int fd = mkstemp(path);

    CHECK(fd >= 0 && close(fd) == 0);
    rig_open(&m->rig, &rig_kinds[0]);
    f = (struct file){ .recipe = recipe, .arena = &m->rig.arena };
    CHECK_OK(flux_describe(&recipe->config, add, &f, &err), err);
    CHECK_OK(safetensors_write(path, f.t, f.n, NULL, 0, &err), err);
    rig_file(&m->rig, 0, path);
    CHECK(unlink(path) == 0);
    CHECK_OK(flux_weight_set(&m->rig.set, m->rig.files, 1, &err), err);
    CHECK_OK(flux_load(&m->flux, &m->rig.loader, &m->rig.arena, &err), err);
    CHECK(memcmp(&m->flux.config, &recipe->config, sizeof recipe->config) == 0);
}

/* Seeded values by name, or zeros. */
static struct tensor input(struct made *m, const char *name, int64_t rows, int64_t cols, bool zero)
{
    struct err err = { 0 };
    float *values = NULL;

    CHECK_OK(arena_alloc(&m->rig.arena, (size_t)(rows * cols), sizeof *values, &values, &err), err);
    for (int64_t i = 0; !zero && i < rows * cols; i++)
        values[i] = value_at(name_hash(name), i / cols, i % cols);
    return rig_upload(&m->rig, values, rows, cols);
}

/* The velocity for the same inputs in every variant; the caller closes m->rig afterwards. */
static const float *velocity(struct made *m, const struct recipe *recipe, bool zero_cond)
{
    const float sigma = 0.75f;
    int64_t n_cond;
    struct flux_inputs in = { .grid_rows = ROWS, .grid_cols = COLS, .n_steps = 1, .sigmas = &sigma, .guidance = 3.5f };
    struct tensor prompt, pooled, cond, latents, out;
    struct flux_prepared prepared;
    struct err err = { 0 };

    make(m, recipe);
    prompt = input(m, "prompt", N_TXT, m->flux.config.context, false);
    pooled = input(m, "pooled", 1, m->flux.config.pooled, false);
    latents = input(m, "latents", N_IMG, OUT, false);
    out = input(m, "", N_IMG, OUT, true);
    n_cond = m->flux.config.in_channels - OUT;
    if (n_cond) {
        cond = input(m, "cond", N_IMG, n_cond, zero_cond);
        in.cond = &cond;
    }
    in.prompt_embeds = &prompt;
    in.pooled = &pooled;
    CHECK_OK(flux_prepare(&m->flux, &in, &m->rig.request_mem, &m->rig.step_mem, &m->rig.scratch, &prepared, &err), err);
    CHECK_OK(flux_step(&prepared, 0, &latents, &out, NULL, &m->rig.step_mem, &err), err);
    return rig_download(&m->rig, &out);
}

static void check_same(const struct recipe *a, const struct recipe *b, bool zero_cond, double limit)
{
    struct made x, y;
    const float *got = velocity(&x, a, zero_cond), *want = velocity(&y, b, zero_cond);

    CHECK_REL(got, want, N_IMG * OUT, limit);
    rig_close(&x.rig);
    rig_close(&y.rig);
}

TEST(flux_variants__without_guidance_is_guidance_that_adds_nothing)
{
    struct recipe with = { .config = base, .no_guidance_effect = true }, without = { .config = base };

    without.config.guidance = false;
    check_same(&without, &with, false, 0);
}

TEST(flux_variants__with_64_channels_is_fill_whose_conditioning_is_zero)
{
    struct recipe fill = { .config = base }, dev = { .config = base };

    dev.config.in_channels = OUT;
    check_same(&dev, &fill, true, 1e-6);
}

TEST(flux_variants__prefixes_other_norm_names_and_foreign_tensors_change_nothing)
{
    const struct recipe plain = { .config = base };
    const struct recipe merged = { .config = base, .prefix = "model.diffusion_model.", .norms_called_weight = true,
                                   .decoys = true };
    const struct recipe wrapped = { .config = base, .prefix = "diffusion_model." };

    check_same(&merged, &plain, false, 0);
    check_same(&wrapped, &plain, false, 0);
}

TEST(flux_variants__vectors_may_have_any_type)
{
    const struct recipe f32 = { .config = base }, bf16 = { .config = base, .bf16 = true };

    check_same(&bf16, &f32, false, 1e-6);
}

TEST(flux_variants__any_depth_and_head_count_runs)
{
    static const int shapes[][4] = { { 1, 0, 1, 32 }, { 3, 1, 5, 32 }, { 1, 4, 1, 96 }, { 1, 1, 3, 64 }, { 0, 2, 2, 32 } };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct recipe r = { .config = base };
        const float *v;
        struct made m;

        r.config.n_double = shapes[i][0];
        r.config.n_single = shapes[i][1];
        r.config.n_heads = shapes[i][2];
        r.config.head_dim = shapes[i][3];
        r.config.hidden = r.config.n_heads * r.config.head_dim;
        v = velocity(&m, &r, false);
        for (int k = 0; k < N_IMG * OUT; k++)
            CHECK(v[k] > -1e3f && v[k] < 1e3f && v[k] != 0);
        rig_close(&m.rig);
    }
}

TEST(flux_variants__refuses_heads_that_have_no_rotary_axes)
{
    struct recipe r = { .config = base };
    static struct file f;
    struct err err = { 0 };
    char path[] = "/tmp/flux-variant-XXXXXX";
    int fd = mkstemp(path);
    struct rig rig;
    struct flux flux;

    r.config.head_dim = 16;
    r.config.n_heads = 4;
    CHECK(fd >= 0 && close(fd) == 0);
    rig_open(&rig, &rig_kinds[0]);
    f = (struct file){ .recipe = &r, .arena = &rig.arena };
    CHECK_OK(flux_describe(&r.config, add, &f, &err), err);
    CHECK_OK(safetensors_write(path, f.t, f.n, NULL, 0, &err), err);
    rig_file(&rig, 0, path);
    CHECK(unlink(path) == 0);
    CHECK_OK(flux_weight_set(&rig.set, rig.files, 1, &err), err);
    CHECK_INT(flux_load(&flux, &rig.loader, &rig.arena, &err), ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "head size 16"));
    rig_close(&rig);
}

/* --- the real size, without its 24 GB --- */

/* A directory whose tensors all share the same zeros, which are as many as the largest vector has: matrices are not
 * read. */
struct directory {
    struct arena *arena;
    struct tensor_file file;
    const void *zeros;
};

static enum err_code add_entry(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    struct directory *d = ctx;
    struct tensor_entry *e = &d->file.entries[d->file.n_entries++];
    char *copy = NULL;
    enum err_code rc = span_dup(d->arena, span_of(name), &copy, err);

    *e = (struct tensor_entry){ .name = { copy, strlen(name) }, .dtype = DT_BF16, .n_dims = n_dims,
                                .dims = { dims[0], n_dims == 2 ? dims[1] : 0 }, .data = d->zeros,
                                .bytes = (size_t)(2 * dims[0] * (n_dims == 2 ? dims[1] : 1)) };
    return rc;
}

TEST(flux_variants__real_fill_takes_the_memory_that_its_buffers_add_up_to)
{
    const struct flux_config fill = { .in_channels = 384, .out_channels = 64, .hidden = 3072, .mlp = 12288,
                                      .context = 4096, .pooled = 768, .head_dim = 128, .n_heads = 24, .n_double = 19,
                                      .n_single = 38, .guidance = true };
    const size_t n = 4096 + 512, row = 2 * 3072; /* bytes of one bf16 row */
    struct rig r;
    struct directory d = { .arena = &r.arena };
    struct backend *measuring = NULL;
    struct flux_memory memory = { 0 };
    size_t expected;
    struct flux flux;
    struct err err = { 0 };
    void *zeros = NULL;
    int twice = 0;

    rig_open(&r, &rig_kinds[0]);
    CHECK_OK(backend_measure_open(DT_BF16, &measuring, &err), err);
    CHECK_OK(arena_alloc(&r.arena, 21504, 2, &zeros, &err), err);
    CHECK_OK(arena_alloc(&r.arena, 1024, sizeof *d.file.entries, &d.file.entries, &err), err);
    d.zeros = zeros;
    d.file.path = "made up";
    CHECK_OK(flux_describe(&fill, add_entry, &d, &err), err);
    CHECK_INT(d.file.n_entries, 780); /* MODEL.md 2.1 */
    CHECK_OK(name_index_build(&r.arena, d.file.entries, d.file.n_entries, sizeof *d.file.entries, &d.file.index, &twice,
                              &err), err);
    CHECK_INT(twice, -1);
    devarena_done(&r.weights);
    CHECK_OK(devarena_init(&r.weights, measuring, 0, 1 << 20, &err), err);
    r.loader.be = measuring;
    CHECK_OK(flux_weight_set(&r.set, &d.file, 1, &err), err);
    CHECK_OK(flux_load(&flux, &r.loader, &r.arena, &err), err);
    CHECK_OK(flux_require_fill(&flux.config, &err), err);
    CHECK_OK(flux_measure(&flux, &(struct flux_size){ 64, 64, 512, 28 }, &r.scratch, &memory, &err), err);

    /* the stream in F32, and in a single block: normed input, qkv, and linear2's input */
    expected = n * (2 * row + row + 3 * row + 5 * row);
    CHECK_INT(memory.step_bytes, expected);
    /* tokens, txt in F32, rotary table, and 28 rows of modulations: 344 vectors of 3072 */
    expected = 4096 * 384 * 2 + 512 * 3072 * 4 + n * 128 * 4 + 28 * 344 * (size_t)3072 * 4;
    CHECK(memory.request_bytes >= expected && memory.request_bytes <= expected + 4 * 256);
    devarena_done(&r.weights);
    backend_close(measuring);
    rig_close(&r);
}
