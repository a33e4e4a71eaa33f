/*
 * The kernels around a matrix product on the shim, against the plain backend or the formula: the activation after a
 * product, and a product by plain loops. An exp, a tanh and a division of a few ulp give an error below 1e-6.
 */
#include <math.h>

#include "kernels/cuda/gpu/product_kernels.h"
#include "kernels/ops.h"
#include "test/support/shim/shim_case.h"

static const double f32_limit = 1e-6;

static double activated(double x, enum activation act)
{
    if (act == ACT_GELU_TANH)
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    if (act == ACT_QUICK_GELU)
        return x / (1 + exp(-1.702 * x));
    return act == ACT_SILU ? x / (1 + exp(-x)) : x;
}

static void activate_case(const struct shim_form *f, int64_t rows, int64_t cols, enum activation act, int parts)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), add = shim_y(f, rows, cols);
    struct tensor bias = shim_x(f, 1, cols), want = shim_twin(&y), want_in_place = shim_twin(&x);

    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            double sum = sample_at(&x, r, c);

            sample_put(&want_in_place, r, c, (float)activated(sum, act));
            sum += parts & 1 ? sample_at(&add, r, c) : 0;
            sum += parts & 2 ? sample_at(&bias, 0, c) : 0;
            sample_put(&want, r, c, (float)activated(sum, act));
        }
    ON_SHIM(&y, k_activate(out, &x, parts & 1 ? &add : NULL, parts & 2 ? &bias : NULL, act, NULL));
    shim_check_close("activate", &y, &want, f32_limit);
    ON_SHIM(&x, k_activate(out, out, NULL, NULL, act, NULL));
    shim_check_close("activate in place", &x, &want_in_place, f32_limit);
    CHECK(sample_done());
}

TEST(cuda_shim__activate_adds_a_matrix_and_a_bias_before_every_activation)
{
    for (int f = 0; f < N_SHIM_FORMS; f++)
        for (int act = ACT_NONE; act <= ACT_SILU; act++)
            for (int parts = 0; parts < 4; parts++) {
                sample_seed((uint64_t)(100 * f + 10 * act + parts));
                activate_case(&shim_forms[f], 5, 7, (enum activation)act, parts);
                activate_case(&shim_forms[f], 2, 1028, (enum activation)act, parts);
            }
}

/* The result overwrites the added tensor, as it does with a residual. */
TEST(cuda_shim__activate_writes_over_what_it_adds)
{
    struct tensor x = sample_2d(DT_F32, 3, 12, 4), y = sample_2d(DT_BF16, 3, 12, 8), want = shim_twin(&y);
    struct err err = { 0 };

    CHECK_OK(op_gate_add(shim_plain(), &want, NULL, &x, &err), err);
    ON_SHIM(&y, k_activate(out, &x, out, NULL, ACT_NONE, NULL));
    shim_check_close("activate over the sum", &y, &want, f32_limit);
    CHECK(sample_done());
}

static void product_case(int64_t m, int64_t n, int64_t k, bool transposed, int parts, enum dtype d_type)
{
    struct tensor a = sample_2d(DT_BF16, m, k, 3), d = sample_2d(d_type, m, n, 1);
    struct tensor b = transposed ? sample_2d(DT_BF16, k, n, 5) : sample_2d(DT_BF16, n, k, 5);
    struct tensor add = sample_2d(d_type, m, n, 1), bias = sample_2d(d_type, 1, n, 0), want = shim_twin(&d);
    enum activation act = parts & 4 ? ACT_GELU_TANH : ACT_NONE;
    struct k_product p = { .a = &a,
                           .b = &b,
                           .add = parts & 1 ? &add : NULL,
                           .bias = parts & 2 ? &bias : NULL,
                           .b_transposed = transposed,
                           .gelu_tanh = act == ACT_GELU_TANH };

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = parts & 1 ? sample_at(&add, i, j) : 0;

            for (int64_t s = 0; s < k; s++)
                sum += (double)sample_at(&a, i, s) * (transposed ? sample_at(&b, s, j) : sample_at(&b, j, s));
            sum += parts & 2 ? sample_at(&bias, 0, j) : 0;
            sample_put(&want, i, j, (float)activated(sum, act));
        }
    ON_SHIM(&d, (p.d = out, k_product_plain(&p, NULL)));
    shim_check_close("product", &d, &want, f32_limit);
    CHECK(sample_done());
}

TEST(cuda_shim__plain_product_agrees_with_the_formula)
{
    for (int parts = 0; parts < 8; parts++)
        for (int form = 0; form < 4; form++) {
            sample_seed((uint64_t)(10 * parts + form));
            product_case(1, 1, 1, form & 1, parts, form & 2 ? DT_BF16 : DT_F32);
            product_case(9, 37, 50, form & 1, parts, form & 2 ? DT_BF16 : DT_F32);
        }
}
