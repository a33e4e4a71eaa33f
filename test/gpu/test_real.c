/*
 * The networks at the sizes of FLUX.1-Fill, with random weights: one block of each kind and the autoencoder, compared
 * with the plain backend on a small picture; and on a picture of 1024 x 1024, where no value may be NaN or infinite,
 * and two runs and both weight modes must give the same bytes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/flux/flux.h"
#include "models/bench/random_model.h"
#include "models/vae/vae.h"
#include "test/gpu/device.h"

/* The limit of test_model.c for bf16 inputs of matrix products, though there it holds for all 57 blocks. */
static const double limit = 2e-2;
static const size_t address_space = (size_t)16 << 30;
enum { SCRATCH_BYTES = 256 << 20, SLAB_BYTES = 64 << 20, N_STREAMS = 3, SIDE = 1024 /* pixels */, N_TXT = 512 };

/* --- weights and memory --- */

struct made {
    struct arena arena;
    struct random_model model;
    struct tensor_file file;
};

/* One block of each kind. */
static void make_flux(struct made *m, enum dtype type)
{
    struct flux_config config = flux_fill_config;
    struct err err = { 0 };

    config.n_double = config.n_single = 1;
    *m = (struct made){ 0 };
    CHECK_OK(arena_init(&m->arena, address_space, &err), err);
    CHECK_OK(random_model_init(&m->model, &m->arena, type, RANDOM_WEIGHTS_OWN, &err), err);
    CHECK_OK(flux_describe(&config, random_model_add, &m->model, &err), err);
    CHECK_OK(random_model_finish(&m->model, &m->file, &err), err);
}

static void make_vae(struct made *m)
{
    struct err err = { 0 };

    *m = (struct made){ 0 };
    CHECK_OK(arena_init(&m->arena, address_space, &err), err);
    CHECK_OK(random_model_init(&m->model, &m->arena, DT_BF16, RANDOM_WEIGHTS_OWN, &err), err);
    CHECK_OK(random_model_add_vae(&m->model, random_model_vae_widths, &err), err);
    CHECK_OK(random_model_finish(&m->model, &m->file, &err), err);
}

struct bench {
    struct backend *be;
    struct arena arena, scratch;
    struct devarena weights, request, step;
    struct weight_set set;
    struct weight_loader loader;
};

static void open_bench(struct bench *b, enum backend_kind kind, enum precision precision, enum weight_mode mode)
{
    struct err err = { 0 };

    *b = (struct bench){ 0 };
    CHECK_OK(backend_open(kind, precision, &b->be, &err), err);
    CHECK_OK(arena_init(&b->arena, address_space, &err), err);
    CHECK_OK(arena_init(&b->scratch, SCRATCH_BYTES, &err), err);
    CHECK_OK(devarena_init(&b->weights, b->be, 0, SLAB_BYTES, &err), err);
    b->be->warn = device_say;
    backend_expect_weights(b->be, mode, 0);
    b->loader = (struct weight_loader){
        .set = &b->set, .be = b->be, .mem = &b->weights, .scratch = &b->scratch, .made = &b->arena
    };
}

/* These are the shapes of the real model: cuBLASLt must have an algorithm for each of them, if only in parts. */
static void check_products(const struct bench *b)
{
    if (b->be->refused.plain_runs)
        test_fail(__FILE__, __LINE__, "%lld products were computed by plain loops, because cuBLASLt refused them",
                  (long long)b->be->refused.plain_runs);
}

static void close_bench(struct bench *b)
{
    check_products(b);
    devarena_done(&b->step);
    devarena_done(&b->request);
    devarena_done(&b->weights);
    backend_close(b->be);
    arena_done(&b->scratch);
    arena_done(&b->arena);
}

/* Values of -1 .. 1 that depend only on the seed. */
static struct tensor input(struct bench *b, int n_dims, const int64_t *dims, uint64_t seed)
{
    struct err err = { 0 };
    float *values = NULL;
    void *data = NULL;
    int64_t n = 1;

    for (int i = 0; i < n_dims; i++)
        n *= dims[i];
    CHECK_OK(arena_alloc(&b->arena, (size_t)n, sizeof *values, &values, &err), err);
    sample_seed(seed);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)sample_uniform();
    CHECK_OK(devarena_alloc(&b->request, (size_t)n * sizeof *values, &data, &err), err);
    CHECK_OK(b->be->ops->upload(b->be, data, values, (size_t)n * sizeof *values, &err), err);
    return tensor_make(DT_F32, n_dims, dims, data);
}

/* The result of a run on the host; runs that are compared have one shape. */
struct result {
    const char *name;
    int64_t rows, cols;
    float *values;
};

static void take(struct bench *b, struct result *r, const char *name, const struct tensor *t)
{
    size_t bytes = (size_t)tensor_count(t) * sizeof *r->values;
    struct err err = { 0 };

    free(r->values);
    *r = (struct result){ name, tensor_rows(t), tensor_cols(t), malloc(bytes) };
    CHECK(r->values != NULL);
    CHECK_OK(b->be->ops->download(b->be, r->values, t->data, bytes, &err), err);
}

static struct tensor as_tensor(const struct result *r)
{
    return tensor_2d(DT_F32, r->rows, r->cols, r->values);
}

static void check_results(const char *what, const struct result *got, const struct result *want, int n)
{
    for (int i = 0; i < n; i++) {
        struct tensor g = as_tensor(&got[i]), w = as_tensor(&want[i]);
        char name[96];

        (void)snprintf(name, sizeof name, "%s: %s", what, want[i].name);
        (void)printf("  %s [%lld, %lld]: %.2e\n", name, (long long)want[i].rows, (long long)want[i].cols,
                     sample_rel(&g, &w));
        device_check(name, &g, &w, limit);
    }
}

static void check_same(const struct result *a, const struct result *b, int n)
{
    for (int i = 0; i < n; i++) {
        struct tensor x = as_tensor(&a[i]), y = as_tensor(&b[i]);

        device_check_same(a[i].name, &x, &y);
    }
}

static void check_finite(const struct result *r, int n)
{
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < r[i].rows * r[i].cols; k++)
            if (!isfinite(r[i].values[k]))
                test_fail(__FILE__, __LINE__, "%s [%lld, %lld]: value %lld is %g", r[i].name, (long long)r[i].rows,
                          (long long)r[i].cols, (long long)k, (double)r[i].values[k]);
}

static void drop(struct result *r, int n)
{
    for (int i = 0; i < n; i++)
        free(r[i].values);
}

/* --- blocks --- */

struct size {
    int rows, cols, n_txt; /* tokens */
};

struct call {
    struct bench *b;
    struct flux flux;
    struct flux_prepared prepared;
    struct tensor cond, prompt, pooled, latents, velocity;
    struct result *results; /* [N_STREAMS] */
};

static enum err_code tap(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err)
{
    struct call *c = ctx;

    (void)index, (void)err;
    if (!strcmp(kind, "double"))
        take(c->b, &c->results[0], "double block", &s->all);
    else
        take(c->b, &c->results[1], "single block", &s->all);
    return ERR_OK;
}

static void open_call(struct call *c, struct bench *b, const struct made *m, const struct size *size)
{
    static const float sigma = 0.7f;
    int64_t n = (int64_t)size->rows * size->cols;
    struct flux_inputs in = { .grid_rows = size->rows,
                              .grid_cols = size->cols,
                              .cond = &c->cond,
                              .prompt_embeds = &c->prompt,
                              .pooled = &c->pooled,
                              .n_steps = 1,
                              .sigmas = &sigma,
                              .guidance = 30 };
    const struct flux_size measured = { size->rows, size->cols, size->n_txt, .n_steps = 1 };
    struct flux_memory memory = { 0 };
    size_t input_bytes = (size_t)(n * 512 + size->n_txt * 4096 + 65536) * sizeof(float);
    struct err err = { 0 };

    *c = (struct call){ .b = b };
    CHECK_OK(flux_weight_set(&b->set, &m->file, 1, &err), err);
    CHECK_OK(flux_load(&c->flux, &b->loader, &b->arena, &err), err);
    CHECK_OK(flux_measure(&c->flux, &measured, &b->scratch, &memory, &err), err);
    CHECK_OK(devarena_init(&b->request, b->be, memory.request_bytes + input_bytes, 0, &err), err);
    CHECK_OK(devarena_init(&b->step, b->be, memory.step_bytes, 0, &err), err);
    c->cond = input(b, 2, (int64_t[]){ n, 320 }, 1);
    c->prompt = input(b, 2, (int64_t[]){ size->n_txt, 4096 }, 2);
    c->pooled = input(b, 1, (int64_t[]){ 768 }, 3);
    c->latents = input(b, 2, (int64_t[]){ n, 64 }, 4);
    c->velocity = input(b, 2, (int64_t[]){ n, 64 }, 5);
    CHECK_OK(flux_prepare(&c->flux, &in, &b->request, &b->step, &b->scratch, &c->prepared, &err), err);
}

static void step(struct call *c, struct result results[N_STREAMS])
{
    struct flux_tap taps = { tap, c };
    struct err err = { 0 };

    c->results = results;
    CHECK_OK(flux_step(&c->prepared, 0, &c->latents, &c->velocity, &taps, &c->b->step, &err), err);
    take(c->b, &results[2], "velocity", &c->velocity);
}

/* Two steps on the device must give the same bytes. */
static void run_on_device(const struct made *m, const struct size *size, enum weight_mode mode, enum library_use use,
                          struct result results[N_STREAMS])
{
    struct result again[N_STREAMS] = { 0 };
    struct bench b;
    struct call c;

    open_bench(&b, BACKEND_CUDA, PRECISION_DEFAULT, mode);
    backend_use_library(b.be, use);
    open_call(&c, &b, m, size);
    step(&c, results);
    step(&c, again);
    check_finite(results, N_STREAMS);
    check_same(results, again, N_STREAMS);
    drop(again, N_STREAMS);
    close_bench(&b);
}

static void check_blocks(enum dtype type, const struct size *size)
{
    struct result want[N_STREAMS] = { 0 }, got[N_STREAMS] = { 0 };
    struct made m;
    struct bench b;
    struct call c;

    make_flux(&m, type);
    open_bench(&b, BACKEND_PLAIN, PRECISION_F32, WEIGHTS_AUTO);
    open_call(&c, &b, &m, size);
    step(&c, want);
    close_bench(&b);
    run_on_device(&m, size, WEIGHTS_STREAM, LIBRARY_NEVER, got);
    check_results(dtype_info(type)->name, got, want, N_STREAMS);
    drop(want, N_STREAMS);
    drop(got, N_STREAMS);
    arena_done(&m.arena);
}

TEST(gpu_real__blocks_of_12b_sizes_compute_what_the_plain_backend_does)
{
    const struct size size = device_is_dry() ? (struct size){ 3, 4, 5 } : (struct size){ 11, 13, 50 };

    check_blocks(DT_Q8_0, &size);
    if (!device_is_dry())
        check_blocks(DT_Q4_K, &size);
}

/* With cuDNN, where it is installed, the result is nearly that of our own kernel: two independent implementations. */
TEST(gpu_real__blocks_over_a_whole_picture_are_finite_and_the_same_however_weights_are_kept)
{
    const struct size size = { SIDE / 16, SIDE / 16, N_TXT };
    struct result stored[N_STREAMS] = { 0 }, expanded[N_STREAMS] = { 0 }, library[N_STREAMS] = { 0 };
    struct made m;

    if (device_is_dry())
        SKIP("4608 tokens take hours on a stand-in");
    make_flux(&m, DT_Q8_0);
    run_on_device(&m, &size, WEIGHTS_STREAM, LIBRARY_NEVER, stored);
    run_on_device(&m, &size, WEIGHTS_DEQUANT, LIBRARY_NEVER, expanded);
    run_on_device(&m, &size, WEIGHTS_DEQUANT, LIBRARY_ALWAYS, library);
    check_same(stored, expanded, N_STREAMS);
    check_results("with cuDNN", library, expanded, N_STREAMS);
    drop(library, N_STREAMS);
    drop(stored, N_STREAMS);
    drop(expanded, N_STREAMS);
    arena_done(&m.arena);
}

/* --- autoencoder --- */

/* Encodes a picture to moments, and decodes latents to a picture. */
static void run_vae(struct bench *b, const struct made *m, int height, int width, int n_runs,
                    struct result results[][2])
{
    int64_t h = height / VAE_SCALE, w = width / VAE_SCALE;
    struct tensor rgb, z, moments, decoded;
    struct err err = { 0 };
    size_t step_bytes = 0;
    struct vae vae;

    CHECK_OK(vae_weight_set(&b->set, &m->file, 1, &err), err);
    CHECK_OK(vae_load(&vae, &b->loader, &err), err);
    CHECK_OK(vae_measure(&vae, height, width, &step_bytes, &err), err);
    CHECK_OK(devarena_init(&b->step, b->be, step_bytes, 0, &err), err);
    CHECK_OK(devarena_init(&b->request, b->be, (size_t)(7 * height * width + 64 * h * w) * sizeof(float), 0, &err),
             err);
    rgb = input(b, 3, (int64_t[]){ height, width, 3 }, 1);
    z = input(b, 3, (int64_t[]){ h, w, VAE_LATENT }, 2);
    moments = input(b, 3, (int64_t[]){ h, w, VAE_MOMENTS }, 3);
    decoded = input(b, 3, (int64_t[]){ height, width, 3 }, 4);
    for (int i = 0; i < n_runs; i++) {
        CHECK_OK(vae_encode(&vae, &rgb, &moments, &b->step, &err), err);
        CHECK_OK(vae_decode(&vae, &z, &decoded, &b->step, &err), err);
        take(b, &results[i][0], "encoded", &moments);
        take(b, &results[i][1], "decoded", &decoded);
    }
}

TEST(gpu_real__autoencoder_of_real_widths_computes_what_the_plain_backend_does)
{
    int height = device_is_dry() ? 16 : 48, width = device_is_dry() ? 24 : 72;
    struct result want[1][2] = { 0 }, got[1][2] = { 0 };
    struct made m;
    struct bench b;

    make_vae(&m);
    open_bench(&b, BACKEND_PLAIN, PRECISION_F32, WEIGHTS_AUTO);
    run_vae(&b, &m, height, width, 1, want);
    close_bench(&b);
    open_bench(&b, BACKEND_CUDA, PRECISION_DEFAULT, WEIGHTS_AUTO);
    run_vae(&b, &m, height, width, 1, got);
    close_bench(&b);
    check_results("autoencoder", got[0], want[0], 2);
    drop(want[0], 2);
    drop(got[0], 2);
    arena_done(&m.arena);
}

TEST(gpu_real__autoencoder_of_a_whole_picture_is_finite_and_the_same_again)
{
    struct result results[2][2] = { 0 };
    struct made m;
    struct bench b;

    if (device_is_dry())
        SKIP("1024 x 1024 pixels take hours on a stand-in");
    make_vae(&m);
    open_bench(&b, BACKEND_CUDA, PRECISION_DEFAULT, WEIGHTS_AUTO);
    run_vae(&b, &m, SIDE, SIDE, 2, results);
    close_bench(&b);
    check_finite(results[0], 2);
    check_same(results[0], results[1], 2);
    drop(results[0], 2);
    drop(results[1], 2);
    arena_done(&m.arena);
}
