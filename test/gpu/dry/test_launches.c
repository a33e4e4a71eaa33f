/*
 * The work that the host queues for a step: kernels and products of a transformer with one head, whose operations take
 * the same code paths as those of the real model. The numbers in test/bench/RESULTS.md are counted here.
 */
#include "models/flux/flux.h"
#include "models/bench/random_model.h"
#include "test/gpu/device.h"
#include "test/gpu/dry/fake_cuda.h"
#include "test/support/shim/cuda_shim.h"

enum { ROWS = 2, COLS = 3, N_IMG = ROWS * COLS, N_TXT = 5 };

struct made_up {
    struct arena arena, scratch;
    struct backend *be;
    struct devarena weights, request_mem, step_mem;
    struct random_model model;
    struct tensor_file file;
    struct weight_set set;
    struct flux flux;
    struct flux_prepared prepared;
    struct tensor cond, prompt, pooled, latents, velocity;
};

static void load(struct made_up *m, int n_double, int n_single, enum weight_mode mode)
{
    const struct flux_config config = one_head(n_double, n_single);
    struct weight_loader l = { .set = &m->set, .mem = &m->weights, .scratch = &m->scratch, .made = &m->arena };
    struct err err = { 0 };

    *m = (struct made_up){ 0 };
    CHECK_OK(arena_init(&m->arena, 64 << 20, &err), err);
    CHECK_OK(arena_init(&m->scratch, 64 << 20, &err), err);
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &m->be, &err), err);
    l.be = m->be;
    CHECK_OK(devarena_init(&m->weights, m->be, 0, 1 << 20, &err), err);
    CHECK_OK(devarena_init(&m->request_mem, m->be, 16 << 20, 0, &err), err);
    CHECK_OK(devarena_init(&m->step_mem, m->be, 16 << 20, 0, &err), err);
    CHECK_OK(random_model_init(&m->model, &m->arena, DT_Q8_0, RANDOM_WEIGHTS_SHARED, &err), err);
    CHECK_OK(flux_describe(&config, random_model_add, &m->model, &err), err);
    CHECK_OK(random_model_finish(&m->model, &m->file, &err), err);
    CHECK_OK(flux_weight_set(&m->set, &m->file, 1, &err), err);
    backend_expect_weights(m->be, mode, 0);
    CHECK_OK(flux_load(&m->flux, &l, &m->arena, &err), err);
}

static void prepare(struct made_up *m)
{
    static const float sigmas[] = { 1, 0.5f };
    struct flux_inputs in = { .grid_rows = ROWS,
                              .grid_cols = COLS,
                              .cond = &m->cond,
                              .prompt_embeds = &m->prompt,
                              .pooled = &m->pooled,
                              .n_steps = 2,
                              .sigmas = sigmas,
                              .guidance = 30 };
    struct err err = { 0 };

    CHECK_OK(devarena_2d(&m->request_mem, DT_F32, N_IMG, 320, &m->cond, &err), err);
    CHECK_OK(devarena_2d(&m->request_mem, DT_F32, N_TXT, 256, &m->prompt, &err), err);
    CHECK_OK(devarena_1d(&m->request_mem, DT_F32, 256, &m->pooled, &err), err);
    CHECK_OK(devarena_2d(&m->request_mem, DT_F32, N_IMG, 64, &m->latents, &err), err);
    CHECK_OK(devarena_2d(&m->request_mem, DT_F32, N_IMG, 64, &m->velocity, &err), err);
    CHECK_OK(flux_prepare(&m->flux, &in, &m->request_mem, &m->step_mem, &m->scratch, &m->prepared, &err), err);
}

static void close_all(struct made_up *m)
{
    devarena_done(&m->step_mem);
    devarena_done(&m->request_mem);
    devarena_done(&m->weights);
    backend_close(m->be);
    arena_done(&m->scratch);
    arena_done(&m->arena);
}

/* Counts the second of two steps, with the Euler step: by then the ring knows the order. */
static int launches(int n_double, int n_single, enum weight_mode mode)
{
    struct err err = { 0 };
    struct made_up m;
    long n = 0;

    (void)device();
    load(&m, n_double, n_single, mode);
    prepare(&m);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(m.be->ops->sync(m.be, &err), err);
        n = cuda_shim_launches + fake_cublaslt_products();
        CHECK_OK(flux_step(&m.prepared, i, &m.latents, &m.velocity, NULL, &m.step_mem, &err), err);
        CHECK_OK(op_axpy(m.be, &m.latents, -0.5f, &m.velocity, &err), err);
        CHECK_OK(m.be->ops->sync(m.be, &err), err);
    }
    n = cuda_shim_launches + fake_cublaslt_products() - n;
    close_all(&m);
    return (int)n;
}

TEST(dry_launches__a_step_launches_the_recorded_number_of_kernels)
{
    int least = launches(1, 1, WEIGHTS_DEQUANT), of_double = launches(2, 1, WEIGHTS_DEQUANT) - least,
        of_single = launches(1, 2, WEIGHTS_DEQUANT) - least, rest = least - of_double - of_single;

    CHECK_INT(of_double, 17);
    CHECK_INT(of_single, 7);
    CHECK_INT(19 * of_double + 38 * of_single + rest, 596);
    /* one more kernel for each matrix: those of the blocks, img_in and the final layer */
    CHECK_INT(launches(1, 1, WEIGHTS_STREAM), least + 8 + 2 + 2);
}
