/*
 * The norms of the CUDA backend on the shim, against the plain backend. Sums of n values in f32, in 256 lanes, have
 * errors of about 2^-24 each, growing with the root of n/256; 1e-6 holds for all sizes here.
 */
#include <math.h>

#include "kernels/ops.h"
#include "test/support/shim/shim_case.h"

static const double f32_limit = 1e-6;

static const struct {
    int64_t rows, cols;
} shapes[] = { { 1, 1 }, { 3, 3 }, { 2, 64 }, { 5, 100 }, { 2, 1021 }, { 1, 1024 }, { 2, 3072 } };
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* Moves values away from 0, like those of the residual streams: a variance from the mean of squares would be wrong. */
static void lift(struct tensor *x)
{
    for (int64_t r = 0; r < tensor_rows(x); r++)
        for (int64_t c = 0; c < tensor_cols(x); c++)
            sample_put(x, r, c, sample_at(x, r, c) + 30.0f);
}

static void layer_norm_case(const struct shim_form *f, int64_t rows, int64_t cols, bool with_w, bool with_b)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), want = shim_twin(&y);
    struct tensor w = sample_1d(cols), b = sample_1d(cols), *pw = with_w ? &w : NULL, *pb = with_b ? &b : NULL;
    struct err err = { 0 };

    lift(&x);
    CHECK_OK(op_layer_norm(shim_plain(), &want, &x, pw, pb, 1e-5f, &err), err);
    ON_SHIM(&y, k_layer_norm(out, &x, pw, pb, 1e-5f, NULL));
    /*
     * With means near 30 the deviations lose five bits. A row of one value has no deviation: it becomes its shift, or
     * 0.
     */
    if (cols > 1 || with_b)
        shim_check_close("layer_norm", &y, &want, 32 * f32_limit);
    CHECK(sample_done());
}

TEST(cuda_shim__layer_norm_agrees_with_plain)
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int s = 0; s < N_SHAPES; s++) {
            sample_seed((uint64_t)(10 * f + s));
            layer_norm_case(&shim_forms[f], shapes[s].rows, shapes[s].cols, f % 2 == 0, f % 3 != 1);
        }
}

TEST(cuda_shim__modulate_agrees_with_plain)
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int s = 0; s < N_SHAPES; s++) {
            int64_t rows = shapes[s].rows, cols = shapes[s].cols;
            struct tensor x = shim_x(&shim_forms[f], rows, cols), y = shim_y(&shim_forms[f], rows, cols);
            struct tensor want = shim_twin(&y), shift = sample_1d(cols), scale = sample_1d(cols);
            struct err err = { 0 };

            CHECK_OK(op_modulate(shim_plain(), &want, &x, &shift, &scale, 1e-6f, &err), err);
            ON_SHIM(&y, k_modulate(out, &x, &shift, &scale, 1e-6f, NULL));
            shim_check_close("modulate", &y, &want, f32_limit);
            CHECK(sample_done());
        }
}

/* Runs the kernel on x and, with its threads in reverse order, on a twin of x; returns the launches of one run. */
static long gate_add_modulate_run(const struct shim_form *f, int64_t rows, int64_t cols, bool in_place)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), a = shim_twin(&y), back, back_y, *to = &a;
    struct tensor gate = sample_1d(cols), shift = sample_1d(cols), scale = sample_1d(cols), want, want_x, sum, mod;
    const struct gate_modulate_args args = { &gate, &shift, &scale, 1e-6f };
    struct err err = { 0 };
    long launches;

    lift(&x);
    back = shim_twin(&x), back_y = shim_twin(&y), want_x = shim_twin(&x), want = shim_twin(&a);
    sum = shim_twin(&x), mod = shim_twin(&a);
    CHECK_OK(op_gate_add_modulate(shim_plain(), &want, &want_x, &y, &args, &err), err);
    CHECK_INT(k_gate_add(&sum, &gate, &y, NULL), 0);
    CHECK_INT(k_modulate(&mod, &sum, &shift, &scale, 1e-6f, NULL), 0);
    if (in_place)
        to = &y;
    cuda_shim_backwards(true);
    CHECK_INT(k_gate_add_modulate(&back_y, &back, in_place ? &back_y : &y, &args, NULL), 0);
    cuda_shim_backwards(false);
    launches = cuda_shim_launches;
    CHECK_INT(k_gate_add_modulate(to, &x, &y, &args, NULL), 0);
    launches = cuda_shim_launches - launches;
    shim_check_same(&back, &x);
    shim_check_same(&back_y, to);
    shim_check_same(&sum, &x);
    shim_check_same(&mod, to);
    shim_check_close("gate_add_modulate, sum", &x, &want_x, f32_limit);
    if (cols > 1)
        shim_check_close("gate_add_modulate", to, &want, 32 * f32_limit);
    CHECK(sample_done());
    return launches;
}

TEST(cuda_shim__gate_add_modulate_gives_the_bytes_of_the_two_kernels_that_it_joins)
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int s = 0; s < N_SHAPES; s++) {
            sample_seed((uint64_t)(10 * f + s));
            (void)gate_add_modulate_run(&shim_forms[f], shapes[s].rows, shapes[s].cols, s % 2);
        }
}

/* The shapes of the transformer's blocks take one kernel; rows that do not fit its registers, or that cannot be read four
 * values at a time, take two. */
TEST(cuda_shim__gate_add_modulate_is_one_kernel_where_the_transformer_uses_it)
{
    const struct shim_form blocks = { DT_F32, DT_BF16, 0, 0, 0 }, gaps = { DT_F32, DT_BF16, 8, 4, 0 },
                           odd = { DT_F32, DT_BF16, 3, 0, 0 }, f32 = { DT_F32, DT_F32, 0, 0, 0 };

    sample_seed(1);
    CHECK_INT(gate_add_modulate_run(&blocks, 5, 3072, true), 1);
    CHECK_INT(gate_add_modulate_run(&blocks, 3, 3072, false), 1);
    CHECK_INT(gate_add_modulate_run(&blocks, 3, 128, true), 1);
    CHECK_INT(gate_add_modulate_run(&gaps, 2, 4096, false), 1);
    CHECK_INT(gate_add_modulate_run(&gaps, 2, 1028, true), 1);
    CHECK_INT(gate_add_modulate_run(&blocks, 2, 4100, true), 2);
    CHECK_INT(gate_add_modulate_run(&odd, 2, 3072, false), 2);
    CHECK_INT(gate_add_modulate_run(&blocks, 2, 1021, false), 2);
    CHECK_INT(gate_add_modulate_run(&f32, 2, 3072, true), 2);
}

TEST(cuda_shim__rms_norm_agrees_with_plain_and_runs_in_place)
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int s = 0; s < N_SHAPES; s++) {
            int64_t rows = shapes[s].rows, cols = shapes[s].cols;
            struct tensor x = shim_x(&shim_forms[f], rows, cols), y = shim_y(&shim_forms[f], rows, cols);
            struct tensor want = shim_twin(&y), w = sample_1d(cols);
            struct err err = { 0 };

            CHECK_OK(op_rms_norm(shim_plain(), &want, &x, &w, 1e-6f, &err), err);
            ON_SHIM(&y, k_rms_norm(out, &x, &w, 1e-6f, NULL));
            shim_check_close("rms_norm", &y, &want, f32_limit);
            want = shim_twin(&x);
            CHECK_OK(op_rms_norm(shim_plain(), &want, &x, &w, 1e-6f, &err), err);
            ON_SHIM(&x, k_rms_norm(out, out, &w, 1e-6f, NULL));
            shim_check_close("rms_norm in place", &x, &want, f32_limit);
            CHECK(sample_done());
        }
}

static void qk_norm_rope_case(const struct shim_form *f, int64_t rows, int n_heads, int64_t d, bool rotate)
{
    struct tensor x = shim_x(f, rows, n_heads * d), want = shim_twin(&x);
    struct tensor scale = sample_1d(d), rope = sample_2d(DT_F32, rows, d, f->gap_x), *turn = rotate ? &rope : NULL;
    struct err err = { 0 };

    CHECK_OK(op_qk_norm_rope(shim_plain(), &want, &scale, turn, n_heads, 1e-6f, &err), err);
    ON_SHIM(&x, k_qk_norm_rope(out, &scale, turn, n_heads, 1e-6f, NULL));
    shim_check_close("qk_norm_rope", &x, &want, f32_limit);
    CHECK(sample_done());
}

TEST(cuda_shim__qk_norm_rope_agrees_with_plain)
{
    for (int f = 0; f < N_SHIM_FORMS; f++) {
        const struct shim_form *form = &shim_forms[f];

        sample_seed((uint64_t)f);
        qk_norm_rope_case(form, 3, 24, 128, true);
        qk_norm_rope_case(form, 5, 3, 32, true);
        qk_norm_rope_case(form, 1, 1, 2, true);
        qk_norm_rope_case(form, 2, 5, 6, true);
        qk_norm_rope_case(form, 2, 3, 300, true);
        qk_norm_rope_case(form, 4, 2, 33, false);
        qk_norm_rope_case(form, 2, 2, 128, false);
    }
}

struct group_norm_case {
    enum dtype x, y;
    int64_t h, w, c;
    int groups;
    bool silu;
    size_t scratch_bytes; /* 0: as much as the kernel can use */
};

static void group_norm_case(const struct group_norm_case *g)
{
    struct tensor x = sample_3d(g->x, g->h, g->w, g->c), y = sample_3d(g->y, g->h, g->w, g->c), want = shim_twin(&y);
    struct tensor scale = sample_1d(g->c), shift = sample_1d(g->c);
    size_t bytes = g->scratch_bytes ? g->scratch_bytes : k_group_norm_scratch(&x);
    struct k_scratch memory = { sample_1d((int64_t)(bytes / sizeof(float))).data, bytes };
    struct group_norm_args args = { g->groups, 1e-6f, g->silu ? ACT_SILU : ACT_NONE };
    struct err err = { 0 };

    lift(&x);
    CHECK_OK(op_group_norm(shim_plain(), &want, &x, &scale, &shift, &args, &err), err);
    ON_SHIM(&y, k_group_norm(out, &x, &scale, &shift, &args, memory, NULL));
    shim_check_close("group_norm", &y, &want, 32 * f32_limit);
    if (g->x == g->y) {
        ON_SHIM(&x, k_group_norm(out, out, &scale, &shift, &args, memory, NULL));
        shim_check_close("group_norm in place", &x, &want, 32 * f32_limit);
    }
    CHECK(sample_done());
}

TEST(cuda_shim__group_norm_agrees_with_plain)
{
    static const struct group_norm_case cases[] = {
        { DT_F32, DT_F32, 9, 15, 128, 32, true, 0 },
        { DT_BF16, DT_BF16, 16, 8, 64, 32, false, 0 },
        { DT_F32, DT_BF16, 7, 5, 512, 32, true, 0 },
        { DT_BF16, DT_F32, 3, 3, 6, 2, true, 0 },
        { DT_F32, DT_F32, 40, 30, 3, 1, false, 0 },
        { DT_F32, DT_F32, 2, 3, 1, 1, false, 0 },
        { DT_F32, DT_F32, 2, 2, 1100, 4, true, 0 },
        { DT_F32, DT_F32, 1, 1, 40, 4, false, 0 },
        { DT_BF16, DT_F32, 65, 64, 40, 1, false, 0 },
    };

    sample_seed(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        group_norm_case(&cases[i]);
}

TEST(cuda_shim__group_norm_works_with_less_scratch)
{
    struct group_norm_args args = { .n_groups = 8, .eps = 1e-6f };
    struct tensor x;

    group_norm_case(&(struct group_norm_case){ DT_F32, DT_F32, 40, 30, 32, 8, true, 2 * 32 * 8 });
    group_norm_case(&(struct group_norm_case){ DT_F32, DT_F32, 40, 30, 32, 8, true, 7 * 32 * 8 });
    x = sample_3d(DT_F32, 4, 4, 32);
    CHECK(k_group_norm(&x, &x, &x, &x, &args, (struct k_scratch){ x.data, 2 * 32 * 8 - 1 }, NULL) != 0);
    CHECK(sample_done());
}
