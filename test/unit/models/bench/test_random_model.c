#include "models/bench/random_model.h"

#include <math.h>

#include "kernels/quant.h"
#include "models/bench/bench.h"
#include "models/flux/flux.h"
#include "models/vae/vae.h"
#include "test/support/check.h"

static const enum dtype matrix_types[] = { DT_F32,  DT_F16,  DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1,   DT_Q5_0,  DT_Q5_1,
                                           DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS };
enum { N_TYPES = sizeof matrix_types / sizeof matrix_types[0] };

/* Otherwise a benchmark would end in infinities or subnormals. The root mean square is within a factor of two of 1 /
 * sqrt(columns), where the layout can hold negative values. */
TEST(random_model__makes_matrices_of_every_type_whose_products_keep_their_size)
{
    enum { ROWS = 64, COLS = 512 };
    static float row[COLS];

    for (int i = 0; i < N_TYPES; i++) {
        struct random_model m;
        struct tensor_file f;
        struct arena a;
        struct err err = { 0 };
        double square = 0;

        CHECK_OK(arena_init(&a, 16 << 20, &err), err);
        CHECK_OK(random_model_init(&m, &a, matrix_types[i], RANDOM_WEIGHTS_OWN, &err), err);
        CHECK_OK(random_model_add(&m, "w", 2, (int64_t[]){ ROWS, COLS }, &err), err);
        CHECK_OK(random_model_finish(&m, &f, &err), err);
        CHECK(tensor_file_find(&f, SPAN("w")) == &f.entries[0]);
        CHECK_INT(f.entries[0].dtype, matrix_types[i]);
        for (int r = 0; r < ROWS; r++) {
            dequantise_row(matrix_types[i], (const char *)f.entries[0].data + (size_t)r * (f.entries[0].bytes / ROWS),
                           row, COLS);
            for (int c = 0; c < COLS; c++)
                square += (double)row[c] * row[c] / ROWS;
        }
        if (!(square > 0.25 && square < 4))
            test_fail(__FILE__, __LINE__, "%s: mean square of a product %g", dtype_info(matrix_types[i])->name, square);
        arena_done(&a);
    }
}

TEST(random_model__describes_an_autoencoder_that_loads)
{
    static const int64_t widths[4] = { 32, 32, 64, 64 };
    struct random_model m;
    struct tensor_file f;
    struct weight_set set;
    struct weight_loader loader = { .set = &set };
    struct devarena weights;
    struct arena a, scratch;
    struct vae vae;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(arena_init(&scratch, 64 << 20, &err), err);
    CHECK_OK(random_model_init(&m, &a, DT_F32, RANDOM_WEIGHTS_OWN, &err), err);
    CHECK_OK(random_model_add_vae(&m, widths, &err), err);
    CHECK_OK(random_model_finish(&m, &f, &err), err);
    CHECK_INT(f.n_entries, 240); /* the real autoencoder has four shortcuts, this one two: 244 less two weights and two biases */
    CHECK_OK(backend_measure_open(DT_F32, &loader.be, &err), err);
    loader.mem = &weights;
    loader.scratch = &scratch;
    CHECK_OK(devarena_init(&weights, loader.be, 0, 1 << 20, &err), err);
    CHECK_OK(vae_weight_set(&set, &f, 1, &err), err);
    CHECK_OK(vae_load(&vae, &loader, &err), err);
    devarena_done(&weights);
    backend_close(loader.be);
    arena_done(&scratch);
    arena_done(&a);
}

/* On the measuring backend, where the real sizes take no time except for making random weights. */
TEST(bench__runs_the_whole_transformer_of_the_real_size_on_the_measuring_backend)
{
    struct bench_options o = { .quant = DT_Q8_0, .width = 1024, .height = 1024, .n_txt = 512, .repeats = 1 };
    struct bench_step step;
    struct err err = { 0 };

    CHECK_OK(backend_measure_open(DT_BF16, &o.be, &err), err);
    CHECK_OK(bench_step(&o, &step, &err), err);
    CHECK(fabs(step.step.flop - 74.4e12) < 0.4e12); /* MODEL.md 9.2 and 9.4; the modulations are not part of a step */
    CHECK(fabs((double)step.weight_bytes - 12.66e9) < 0.1e9);
    backend_close(o.be);
}
