/*
 * The element-wise CUDA kernels on the shim, against the plain backend. One operation in f32, or an exp and a division
 * of a few ulp, gives an error below 3e-7; copies are exact.
 */
#include "kernels/ops.h"
#include "test/support/shim/shim_case.h"

static const double f32_limit = 3e-7;

/* Wider than a block, narrow with many rows, single values. */
static const struct {
    int64_t rows, cols;
} shapes[] = { { 1, 1 }, { 7, 5 }, { 70, 3 }, { 3, 1500 }, { 2, 1028 }, { 33, 64 }, { 1, 2049 } };
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void each_case(void (*fn)(const struct shim_form *f, int64_t rows, int64_t cols))
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int s = 0; s < N_SHAPES; s++) {
            sample_seed((uint64_t)(10 * f + s));
            fn(&shim_forms[f], shapes[s].rows, shapes[s].cols);
            CHECK(sample_done());
        }
}

static void gate_add_case(const struct shim_form *f, int64_t rows, int64_t cols)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), want = shim_twin(&x), gate = sample_1d(cols);
    struct tensor *g = rows % 2 ? &gate : NULL;
    struct err err = { 0 };

    CHECK_OK(op_gate_add(shim_plain(), &want, g, &y, &err), err);
    ON_SHIM(&x, k_gate_add(out, g, &y, NULL));
    shim_check_close("gate_add", &x, &want, f32_limit);
}

TEST(cuda_shim__gate_add_agrees_with_plain)
{
    each_case(gate_add_case);
}

static void mul_case(const struct shim_form *f, int64_t rows, int64_t cols)
{
    struct tensor a = shim_x(f, rows, cols), b = shim_y(f, rows, cols), y = shim_y(f, rows, cols);
    struct tensor want = shim_twin(&y);
    struct err err = { 0 };

    CHECK_OK(op_mul(shim_plain(), &want, &a, &b, &err), err);
    ON_SHIM(&y, k_mul(out, &a, &b, NULL));
    shim_check_close("mul", &y, &want, f32_limit);
    want = shim_twin(&a);
    CHECK_OK(op_mul(shim_plain(), &want, &a, &b, &err), err);
    ON_SHIM(&a, k_mul(out, out, &b, NULL));
    shim_check_close("mul in place", &a, &want, f32_limit);
}

TEST(cuda_shim__mul_agrees_with_plain_and_runs_in_place)
{
    each_case(mul_case);
}

static void silu_case(const struct shim_form *f, int64_t rows, int64_t cols)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), want = shim_twin(&y);
    struct err err = { 0 };

    for (int64_t c = 1; c < cols; c += 5)
        sample_put(&x, 0, c, (float)(200 * sample_uniform())); /* exp(-x) overflows f32 below -88 */
    CHECK_OK(op_silu(shim_plain(), &want, &x, &err), err);
    ON_SHIM(&y, k_silu(out, &x, NULL));
    shim_check_close("silu", &y, &want, f32_limit);
}

TEST(cuda_shim__silu_agrees_with_plain)
{
    each_case(silu_case);
}

static void copy_case(const struct shim_form *f, int64_t rows, int64_t cols)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), want = shim_twin(&y);
    struct err err = { 0 };

    CHECK_OK(op_copy(shim_plain(), &want, &x, &err), err);
    ON_SHIM(&y, k_copy(out, &x, NULL));
    shim_check_same(&y, &want);
}

TEST(cuda_shim__copy_is_exact)
{
    each_case(copy_case);
}

TEST(cuda_shim__copy_reaches_every_row_of_a_tall_matrix)
{
    struct shim_form f = { DT_F32, DT_BF16, 1, 1, 0 }; /* more rows than a grid has */

    copy_case(&f, 300000, 2);
    CHECK(sample_done());
}

TEST(cuda_shim__axpy_agrees_with_plain)
{
    for (int s = 0; s < N_SHAPES; s++) {
        struct tensor x = sample_2d(DT_F32, shapes[s].rows, shapes[s].cols, s % 3);
        struct tensor v = sample_2d(DT_F32, shapes[s].rows, shapes[s].cols, s % 2), want = shim_twin(&x);
        struct err err = { 0 };

        CHECK_OK(op_axpy(shim_plain(), &want, -0.03125f, &v, &err), err);
        ON_SHIM(&x, k_axpy(out, -0.03125f, &v, NULL));
        shim_check_close("axpy", &x, &want, f32_limit);
        CHECK(sample_done());
    }
}

static void upsample_case(enum dtype tx, enum dtype ty, int64_t h, int64_t w, int64_t c)
{
    struct tensor x = sample_3d(tx, h, w, c), y = sample_3d(ty, 2 * h, 2 * w, c), want = shim_twin(&y);
    struct err err = { 0 };

    CHECK_OK(op_upsample2x(shim_plain(), &want, &x, &err), err);
    ON_SHIM(&y, k_upsample2x(out, &x, NULL));
    shim_check_same(&y, &want);
    CHECK(sample_done());
}

TEST(cuda_shim__upsample2x_is_exact)
{
    upsample_case(DT_F32, DT_F32, 3, 5, 16);
    upsample_case(DT_BF16, DT_BF16, 5, 2, 128);
    upsample_case(DT_F32, DT_BF16, 1, 1, 1);
    upsample_case(DT_BF16, DT_F32, 4, 9, 7);
    upsample_case(DT_BF16, DT_BF16, 2, 70, 512);
}
