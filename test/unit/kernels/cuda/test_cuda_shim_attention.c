/*
 * Attention of the CUDA backend on the shim, against the plain backend: both kernels, with gaps between rows, numbers of
 * queries and keys that leave a tail, large logits, T5's bias, NaN.
 */
#include <math.h>
#include <string.h>

#include "kernels/ops.h"
#include "test/support/shim/shim_case.h"

/* Sums of 512 products and of 300 weighted rows in f32. */
static const double plain_limit = 1e-6;
/* p rounded to bf16, by 2^-8 at most and 1.6e-3 on average, apart from the rounding of the result. */
static const double flash_limit = 0x1p-8;

struct shape {
    int n_q, n_k, n_heads, head_dim;
    bool causal, bias;
    float scale;
};

static void check_attention(const char *what, const struct tensor *got, const struct tensor *want, double limit)
{
    double rel = sample_rel(got, want), rounding = got->dtype == DT_BF16 ? 0x1p-9 : 0;

    if (!(rel <= limit + rounding))
        test_fail(__FILE__, __LINE__, "%s, %s [%lld, %lld]: relative error %.3g", what, dtype_info(got->dtype)->name,
                  (long long)tensor_rows(got), (long long)tensor_cols(got), rel);
}

static void plain_case(const struct shim_form *f, const struct shape *s)
{
    int64_t cols = (int64_t)s->n_heads * s->head_dim, max = s->n_q > s->n_k ? s->n_q : s->n_k;
    struct tensor q = shim_x(f, s->n_q, cols), k = shim_x(f, s->n_k, cols), v = shim_x(f, s->n_k, cols);
    struct tensor y = shim_y(f, s->n_q, cols), want = shim_twin(&y),
                  bias = sample_2d(DT_F32, s->n_heads, 2 * max + 3, 0);
    struct attention_args args = { s->n_heads, s->head_dim, s->scale, s->causal, s->bias ? &bias : NULL };
    struct err err = { 0 };

    CHECK_OK(op_attention(shim_plain(), &want, &q, &k, &v, &args, &err), err);
    ON_SHIM(&y, k_attention_plain(out, &q, &k, &v, &args, NULL));
    check_attention("plain", &y, &want, plain_limit);
    CHECK(sample_done());
}

TEST(cuda_shim__plain_attention_takes_every_shape)
{
    static const struct shape shapes[] = {
        { 1, 1, 1, 32, false, false, 1 },       { 7, 9, 3, 64, false, false, 0.125f },
        { 13, 13, 2, 64, true, false, 0.125f }, { 5, 6, 2, 33, false, true, 1 },
        { 6, 30, 1, 512, false, false, 0.05f }, { 9, 9, 2, 200, true, true, 0.1f },
        { 3, 17, 2, 128, false, false, 0.09f }, { 4, 3, 5, 2, false, false, -2 },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int f = 0; f < N_SHIM_FORMS; f++) {
            sample_seed(100 * i + (size_t)f);
            plain_case(&shim_forms[f], &shapes[i]);
        }
}

TEST(cuda_shim__plain_attention_refuses_larger_heads)
{
    struct tensor x = sample_2d(DT_F32, 1, 513, 0);
    struct attention_args args = { 1, 513, 1, false, NULL };

    CHECK(k_attention_plain(&x, &x, &x, &x, &args, NULL) != 0);
    CHECK(sample_done());
}

/* q, k and v are next to each other in one matrix, as in the models. */
static void flash_case(const struct shape *s, double q_factor)
{
    int64_t cols = (int64_t)s->n_heads * s->head_dim, max = s->n_q > s->n_k ? s->n_q : s->n_k;
    struct tensor qkv = sample_2d(DT_BF16, max, 3 * cols, 8), whole = sample_2d(DT_BF16, s->n_q, 2 * cols, 0);
    struct tensor q = tensor_col_view(&qkv, 0, cols), k = tensor_col_view(&qkv, cols, cols);
    struct tensor v = tensor_col_view(&qkv, 2 * cols, cols), y = tensor_col_view(&whole, cols, cols);
    struct tensor want = shim_twin(&y), bias = sample_2d(DT_F32, s->n_heads, 2 * max - 1, 0);
    struct attention_args args = { s->n_heads, s->head_dim, s->scale, false, s->bias ? &bias : NULL };
    struct err err = { 0 };

    q = tensor_row_view(&q, 0, s->n_q);
    k = tensor_row_view(&k, max - s->n_k, s->n_k);
    v = tensor_row_view(&v, max - s->n_k, s->n_k);
    for (int64_t r = 0; r < s->n_q; r++)
        for (int64_t c = 0; c < cols; c++)
            sample_put(&q, r, c, (float)(q_factor * sample_at(&q, r, c)));
    CHECK(k_attention_flash_fits(&y, &q, &k, &v, &args));
    CHECK_OK(op_attention(shim_plain(), &want, &q, &k, &v, &args, &err), err);
    ON_SHIM(&y, k_attention_flash(out, &q, &k, &v, &args, NULL));
    check_attention("flash", &y, &want, flash_limit);
    for (int64_t r = 0; r < s->n_q; r++) { /* each row is compared alone, so that the others do not hide its error */
        struct tensor row = tensor_row_view(&y, r, 1), want_row = tensor_row_view(&want, r, 1);

        check_attention("a row of flash", &row, &want_row, 4 * flash_limit);
    }
    CHECK(sample_done());
}

TEST(cuda_shim__flash_attention_agrees_with_plain)
{
    static const struct shape shapes[] = {
        { 1, 1, 1, 128, false, false, 0.088f },  { 31, 33, 2, 128, false, false, 0.088f },
        { 130, 70, 1, 128, false, false, 0.5f }, { 5, 64, 3, 64, false, false, 0.125f },
        { 129, 129, 2, 64, false, true, 1 },     { 40, 100, 1, 128, false, true, 0.088f },
        { 3, 200, 1, 64, false, false, 0.125f },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        sample_seed(i);
        flash_case(&shapes[i], 1);
    }
}

TEST(cuda_shim__flash_attention_handles_large_logits)
{
    struct shape s = { 40, 90, 1, 128, false, false, 1 };

    sample_seed(7);
    flash_case(&s, 10); /* logits of about +-30 and more: one key gets nearly all the weight */
    sample_seed(8);
    flash_case(&s, 1000); /* exp of these logits would overflow */
}

TEST(cuda_shim__flash_attention_spreads_nan_over_its_row_alone)
{
    struct tensor q = sample_2d(DT_BF16, 20, 64, 0), k = sample_2d(DT_BF16, 40, 64, 0),
                  v = sample_2d(DT_BF16, 40, 64, 0);
    struct tensor y = sample_2d(DT_BF16, 20, 64, 0);
    struct attention_args args = { 1, 64, 1, false, NULL };

    sample_put(&q, 11, 5, NAN);
    CHECK_INT(k_attention_flash(&y, &q, &k, &v, &args, NULL), 0);
    for (int64_t r = 0; r < 20; r++)
        for (int64_t c = 0; c < 64; c++)
            CHECK(isnan(sample_at(&y, r, c)) == (r == 11));
    CHECK(sample_done());
}

TEST(cuda_shim__flash_attention_reports_which_calls_it_does_not_take)
{
    struct tensor x = sample_2d(DT_BF16, 4, 136, 0), f32 = sample_2d(DT_F32, 4, 136, 0);
    struct tensor good = tensor_col_view(&x, 8, 128), odd = tensor_col_view(&x, 4, 128), narrow = x;
    struct attention_args args = { 1, 128, 1, false, NULL }, causal = { 1, 128, 1, true, NULL };
    struct attention_args negative = { 1, 128, -1, false, NULL }, other = { 2, 32, 1, false, NULL };
    struct attention_args not_a_number = { 1, 128, NAN, false, NULL };

    narrow.row_stride = 132;
    CHECK(k_attention_flash_fits(&good, &good, &good, &good, &args));
    CHECK(!k_attention_flash_fits(&good, &good, &good, &good, &causal));
    CHECK(!k_attention_flash_fits(&good, &good, &good, &good, &negative));
    CHECK(!k_attention_flash_fits(&good, &good, &good, &good, &not_a_number));
    CHECK(!k_attention_flash_fits(&good, &good, &good, &good, &other));
    CHECK(!k_attention_flash_fits(&odd, &good, &good, &good, &args));
    CHECK(!k_attention_flash_fits(&good, &good, &good, &narrow, &args));
    CHECK(!k_attention_flash_fits(&f32, &good, &good, &good, &args));
    CHECK(sample_done());
}

static void softmax_case(const struct shim_form *f, int64_t rows, int64_t cols)
{
    struct tensor x = shim_x(f, rows, cols), y = shim_y(f, rows, cols), want = shim_twin(&y);

    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;

        for (int64_t c = 0; c < cols; c++) {
            sample_put(&x, r, c, 40 * sample_at(&x, r, c) + 500);
            sum += exp(2.0 * sample_at(&x, r, c) - 1080);
        }
        for (int64_t c = 0; c < cols; c++)
            sample_put(&want, r, c, (float)(exp(2.0 * sample_at(&x, r, c) - 1080) / sum));
    }
    ON_SHIM(&y, k_softmax_rows(out, &x, 2, NULL));
    check_attention("softmax", &y, &want, 1e-4); /* a logit of 1080 is known to 2^-14 */
    CHECK(sample_done());
}

TEST(cuda_shim__softmax_rows_agrees_with_the_formula)
{
    for (int f = 0; f < N_SHIM_FORMS; f++) {
        sample_seed((uint64_t)f);
        softmax_case(&shim_forms[f], 3, 1);
        softmax_case(&shim_forms[f], 2, 70);
        softmax_case(&shim_forms[f], 2, 1500);
    }
}
