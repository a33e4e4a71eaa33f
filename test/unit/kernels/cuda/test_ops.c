/*
 * Every operation on every CPU backend against the formula in double, on odd shapes, with gaps between rows and in
 * both types of activation.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/ops.h"
#include "test/support/check.h"
#include "test/support/sample.h"

/*
 * Limits of the relative error. Plain sums in double, so that only the rounding of the result to f32 remains, at most
 * 2^-24 = 6e-8. Fast f32 sums up to a few thousand products in f32, in many lanes: errors of about 2^-24 each, growing
 * with the root of the length. Fast bf16 rounds both operands of a product, by 2^-8 = 3.9e-3 each at most; over long sums
 * that averages out to 2.3e-3. A result in bf16 adds 2^-8 at most.
 */
static const struct lane {
    const char *name;
    enum backend_kind kind;
    enum precision precision;
    double products, rest;
} lanes[] = {
    { "plain f32", BACKEND_PLAIN, PRECISION_F32, 1e-7, 1e-7 },
    { "fast f32", BACKEND_CPU, PRECISION_F32, 2e-6, 1e-6 },
    { "fast bf16", BACKEND_CPU, PRECISION_BF16, 8e-3, 1e-6 },
};
enum { N_LANES = sizeof lanes / sizeof lanes[0] };

static const struct form {
    enum dtype x, y;
    int64_t gap_x, gap_y;
} forms[] = {
    { DT_F32, DT_F32, 0, 0 },  { DT_F32, DT_F32, 3, 5 },   { DT_F32, DT_BF16, 2, 0 },
    { DT_BF16, DT_F32, 0, 1 }, { DT_BF16, DT_BF16, 7, 9 },
};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

static void check_result(const char *op, const struct lane *lane, const struct tensor *got, const struct tensor *want,
                         double limit)
{
    double rel = sample_rel(got, want), rounding = got->dtype == DT_BF16 ? 0x1p-8 : 0;

    if (!(rel <= limit + rounding))
        test_fail(__FILE__, __LINE__, "%s, %s, %s: relative error %.3g, limit %.3g", op, lane->name,
                  dtype_info(got->dtype)->name, rel, limit + rounding);
}

static struct backend *open_lane(const struct lane *lane)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(lane->kind, lane->precision, &be, &err), err);
    return be;
}

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static struct tensor zeros_like(const struct tensor *t)
{
    struct tensor z = sample_f32(t);

    memset(z.data, 0, (size_t)tensor_count(&z) * sizeof(float));
    return z;
}

/* Runs fn on every backend and form. */
static void on_all(void (*fn)(struct backend *, const struct lane *, const struct form *))
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);

        for (int f = 0; f < N_FORMS; f++) {
            sample_seed((uint64_t)(100 * l + f));
            fn(be, &lanes[l], &forms[f]);
            CHECK(sample_done());
        }
        backend_close(be);
    }
}

static double activated(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))));
    case ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

struct linear_case {
    enum dtype weights;
    int64_t m, n, k;
    enum activation act;
    bool with_bias;
};

static void linear_case(struct backend *be, const struct lane *lane, const struct form *f, const struct linear_case *c)
{
    int64_t m = c->m, n = c->n, k = c->k;
    enum dtype wt = c->weights;
    struct tensor x = sample_2d(f->x, m, k, f->gap_x), y = sample_2d(f->y, m, n, f->gap_y), b = sample_1d(n);
    struct bias bias = { .f32 = b };
    struct weight w = sample_weight(wt, n, k);
    struct tensor want = zeros_like(&y), rows = sample_2d(DT_F32, n, k, 0);
    struct err err = { 0 };

    for (int64_t o = 0; o < n; o++)
        dequantise_row(wt, (const char *)w.data + (size_t)o * dtype_row_bytes(wt, k), (float *)rows.data + o * k, k);
    for (int64_t i = 0; i < m; i++)
        for (int64_t o = 0; o < n; o++) {
            double sum = c->with_bias ? sample_at(&b, 0, o) : 0;

            for (int64_t j = 0; j < k; j++)
                sum += (double)sample_at(&x, i, j) * sample_at(&rows, o, j);
            sample_put(&want, i, o, (float)activated(c->act, sum));
        }
    CHECK_OK(op_linear(be, &y, &x, &w, c->with_bias ? &bias : NULL, c->act, &err), err);
    check_result("linear", lane, &y, &want, k < 64 ? lane->products : lane->products / 2);
}

static void linear_odd(struct backend *be, const struct lane *lane, const struct form *f)
{
    for (int act = ACT_NONE; act <= ACT_SILU; act++)
        linear_case(be, lane, f, &(struct linear_case){ DT_F32, 5, 7, 33, (enum activation)act, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_F16, 1, 37, 100, ACT_NONE, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_BF16, 67, 131, 77, ACT_NONE, false });
    linear_case(be, lane, f, &(struct linear_case){ DT_F8_E4M3, 3, 1, 1, ACT_NONE, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_F8_E5M2, 19, 45, 77, ACT_NONE, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_Q8_0, 1, 1, 32, ACT_NONE, false });
}

TEST(ops__linear_agrees_with_the_formula_on_odd_shapes)
{
    on_all(linear_odd);
}

static void linear_types(struct backend *be, const struct lane *lane, const struct form *f)
{
    static const enum dtype types[] = { DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1,   DT_Q2_K,
                                        DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        linear_case(be, lane, f, &(struct linear_case){ types[i], i % 2 ? 1 : 19, 45, 512, ACT_NONE, true });
}

TEST(ops__linear_takes_weights_of_every_type)
{
    on_all(linear_types);
}

/* More rows than any tile of weights or of activations holds. */
static void linear_large(struct backend *be, const struct lane *lane, const struct form *f)
{
    linear_case(be, lane, f, &(struct linear_case){ DT_Q8_0, 70, 1100, 96, ACT_GELU_TANH, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_F32, 2, 1031, 1056, ACT_NONE, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_Q8_0, 9, 70, 15360, ACT_NONE, true }); /* linear2, the longest sum of FLUX */
    linear_case(be, lane, f, &(struct linear_case){ DT_Q4_K, 1, 33, 12288, ACT_SILU, true });
    linear_case(be, lane, f, &(struct linear_case){ DT_BF16, 1100, 5, 48, ACT_NONE, true });
}

TEST(ops__linear_agrees_with_the_formula_over_several_tiles_and_at_real_lengths)
{
    on_all(linear_large);
}

TEST(ops__linear_takes_a_view_of_some_rows_of_a_weight)
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);
        struct tensor x = sample_2d(DT_F32, 4, 64, 0), whole = sample_2d(DT_F32, 4, 30, 0);
        struct tensor part = sample_2d(DT_F32, 4, 11, 0), want = tensor_col_view(&whole, 7, 11);
        struct weight w = sample_weight(DT_Q5_0, 30, 64), view = weight_row_view(&w, 7, 11);
        struct err err = { 0 };

        CHECK_OK(op_linear(be, &whole, &x, &w, NULL, ACT_NONE, &err), err);
        CHECK_OK(op_linear(be, &part, &x, &view, NULL, ACT_NONE, &err), err);
        check_result("view", &lanes[l], &part, &want, 1e-6);
        CHECK(sample_done());
        backend_close(be);
    }
}

struct attention_case {
    int64_t n_q, n_k;
    int n_heads, head_dim;
    bool causal, biased;
    float scale;
};

static void attention_reference(const struct tensor *want, const struct tensor *q, const struct tensor *k,
                                const struct tensor *v, const struct tensor *bias, const struct attention_case *c)
{
    static double p[4096];

    for (int h = 0; h < c->n_heads; h++)
        for (int64_t i = 0; i < c->n_q; i++) {
            int64_t n = c->causal && i + 1 < c->n_k ? i + 1 : c->n_k, c0 = (int64_t)h * c->head_dim;
            double max = -1e300, sum = 0;

            for (int64_t j = 0; j < n; j++) {
                p[j] = 0;
                for (int64_t d = 0; d < c->head_dim; d++)
                    p[j] += (double)sample_at(q, i, c0 + d) * sample_at(k, j, c0 + d);
                p[j] *= c->scale;
                if (c->biased)
                    p[j] += sample_at(bias, h, j - i + tensor_cols(bias) / 2);
                max = fmax(max, p[j]);
            }
            for (int64_t j = 0; j < n; j++)
                sum += p[j] = exp(p[j] - max);
            for (int64_t d = 0; d < c->head_dim; d++) {
                double value = 0;

                for (int64_t j = 0; j < n; j++)
                    value += p[j] / sum * sample_at(v, j, c0 + d);
                sample_put(want, i, c0 + d, (float)value);
            }
        }
}

static void attention_check(struct backend *be, const struct lane *lane, const struct form *f,
                            const struct attention_case *c)
{
    int64_t cols = (int64_t)c->n_heads * c->head_dim, max = c->n_q > c->n_k ? c->n_q : c->n_k;
    struct tensor q = sample_2d(f->x, c->n_q, cols, f->gap_x), k = sample_2d(f->x, c->n_k, cols, f->gap_y);
    struct tensor v = sample_2d(f->x, c->n_k, cols, f->gap_x), out = sample_2d(f->y, c->n_q, cols, f->gap_y);
    struct tensor bias = sample_2d(DT_F32, c->n_heads, 2 * (max + 3) - 1, 0), want = zeros_like(&out);
    struct attention_args args = { c->n_heads, c->head_dim, c->scale, c->causal, c->biased ? &bias : NULL };
    struct err err = { 0 };

    attention_reference(&want, &q, &k, &v, &bias, c);
    CHECK_OK(op_attention(be, &out, &q, &k, &v, &args, &err), err);
    /* values of both signs average out, so the error grows relative to the result */
    check_result("attention", lane, &out, &want, 3 * lane->products);
}

static void attention_odd(struct backend *be, const struct lane *lane, const struct form *f)
{
    static const struct attention_case cases[] = {
        { 1, 1, 1, 1, false, false, 1 },        { 7, 7, 3, 5, false, false, 0.4f },
        { 31, 31, 2, 32, true, false, 0.2f },   { 33, 33, 2, 64, false, true, 1 },
        { 12, 45, 1, 128, false, false, 0.1f }, { 9, 9, 2, 16, true, true, 0.3f },
        { 77, 77, 2, 64, true, false, 0.1f },   { 5, 70, 2, 8, true, true, 0.3f },
        { 70, 5, 2, 8, true, true, 0.3f },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        attention_check(be, lane, f, &cases[i]);
}

TEST(ops__attention_agrees_with_the_formula_on_odd_shapes)
{
    on_all(attention_odd);
}

static void attention_large(struct backend *be, const struct lane *lane, const struct form *f)
{
    attention_check(be, lane, f, &(struct attention_case){ 300, 1100, 1, 32, false, false, 0.2f });
    attention_check(be, lane, f, &(struct attention_case){ 300, 300, 2, 16, true, true, 0.2f });
    attention_check(be, lane, f, &(struct attention_case){ 65, 130, 1, 512, false, false, 0.05f });
}

TEST(ops__attention_agrees_with_the_formula_over_several_tiles)
{
    on_all(attention_large);
}

/* Logits near +-400, where exp overflows unless the largest is subtracted: each query attends to one key. */
TEST(ops__attention_handles_large_logits)
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);
        struct tensor q = sample_2d(DT_F32, 40, 32, 0), v = sample_2d(DT_F32, 40, 32, 0);
        struct tensor k = sample_2d(DT_F32, 40, 32, 0), out = sample_2d(DT_F32, 40, 32, 0), want;
        struct attention_args args = { 1, 32, 100, false, NULL };
        struct err err = { 0 };

        for (int64_t i = 0; i < 40; i++)
            for (int64_t c = 0; c < 32;
                 c++) { /* forty rows of signs, all different: numbers in base two, inverted twice */
                float sign = (i >> c % 8 & 1) ? 1 : -1;

                sample_put(&q, i, c, sign);
                sample_put(&k, i, c, sign);
            }
        want = v;
        CHECK_OK(op_attention(be, &out, &q, &k, &v, &args, &err), err);
        check_result("large logits", &lanes[l], &out, &want, lanes[l].products);
        CHECK(sample_done());
        backend_close(be);
    }
}

static void norms(struct backend *be, const struct lane *lane, const struct form *f)
{
    enum { ROWS = 5, COLS = 77 };
    struct tensor x = sample_2d(f->x, ROWS, COLS, f->gap_x), y = sample_2d(f->y, ROWS, COLS, f->gap_y);
    struct tensor w = sample_1d(COLS), b = sample_1d(COLS);
    struct tensor ln = zeros_like(&y), plain = zeros_like(&y), mod = zeros_like(&y), rms = zeros_like(&y);
    struct err err = { 0 };
    double eps = 1e-3;

    for (int64_t r = 0; r < ROWS; r++) {
        double mean = 0, var = 0, square = 0;

        for (int64_t c = 0; c < COLS; c++)
            mean += sample_at(&x, r, c) / COLS;
        for (int64_t c = 0; c < COLS; c++) {
            var += pow(sample_at(&x, r, c) - mean, 2) / COLS;
            square += pow(sample_at(&x, r, c), 2) / COLS;
        }
        for (int64_t c = 0; c < COLS; c++) {
            double n = (sample_at(&x, r, c) - mean) / sqrt(var + eps), wc = sample_at(&w, 0, c),
                   bc = sample_at(&b, 0, c);

            sample_put(&plain, r, c, (float)n);
            sample_put(&ln, r, c, (float)(n * wc + bc));
            sample_put(&mod, r, c, (float)(n * (1 + wc) + bc));
            sample_put(&rms, r, c, (float)(sample_at(&x, r, c) / sqrt(square + eps) * wc));
        }
    }
    CHECK_OK(op_layer_norm(be, &y, &x, &w, &b, (float)eps, &err), err);
    check_result("layer_norm", lane, &y, &ln, lane->rest);
    CHECK_OK(op_layer_norm(be, &y, &x, NULL, NULL, (float)eps, &err), err);
    check_result("layer_norm without parameters", lane, &y, &plain, lane->rest);
    CHECK_OK(op_modulate(be, &y, &x, &b, &w, (float)eps, &err), err);
    check_result("modulate", lane, &y, &mod, lane->rest);
    CHECK_OK(op_rms_norm(be, &y, &x, &w, (float)eps, &err), err);
    check_result("rms_norm", lane, &y, &rms, lane->rest);
    CHECK_OK(op_rms_norm(be, &x, &x, &w, (float)eps, &err), err);
    if (x.dtype == DT_F32)
        check_result("rms_norm in place", lane, &x, &rms, lane->rest);
}

TEST(ops__norms_agree_with_the_formula)
{
    on_all(norms);
}

/* On one backend: it agrees with the formula, gives the bytes of the two operations it joins, and may write over y. */
static void gate_add_modulate(struct backend *be, const struct lane *lane, const struct form *f)
{
    enum { ROWS = 19, COLS = 77 };
    struct tensor x = sample_2d(f->x, ROWS, COLS, f->gap_x), y = sample_2d(f->y, ROWS, COLS, f->gap_y);
    struct tensor gate = sample_1d(COLS), shift = sample_1d(COLS), scale = sample_1d(COLS);
    struct tensor a = sample_2d(f->y, ROWS, COLS, f->gap_y), x2 = sample_2d(f->x, ROWS, COLS, 1);
    struct tensor a2 = sample_2d(f->y, ROWS, COLS, 0), sum = zeros_like(&x), want = zeros_like(&a);
    struct gate_modulate_args args = { &gate, &shift, &scale, 1e-3f };
    struct err err = { 0 };

    for (int64_t r = 0; r < ROWS; r++) {
        double mean = 0, var = 0;

        for (int64_t c = 0; c < COLS; c++) {
            double s = sample_at(&x, r, c) + (double)sample_at(&gate, 0, c) * sample_at(&y, r, c);

            sample_put(&x2, r, c, sample_at(&x, r, c));
            sample_put(&sum, r, c, f->x == DT_BF16 ? bf16_to_f32(f32_to_bf16((float)s)) : (float)s);
            mean += sample_at(&sum, r, c) / COLS;
        }
        for (int64_t c = 0; c < COLS; c++)
            var += pow(sample_at(&sum, r, c) - mean, 2) / COLS;
        for (int64_t c = 0; c < COLS; c++)
            sample_put(&want, r, c, (float)((sample_at(&sum, r, c) - mean) / sqrt(var + 1e-3f) *
                                            (1 + sample_at(&scale, 0, c)) + sample_at(&shift, 0, c)));
    }
    CHECK_OK(op_gate_add(be, &x2, &gate, &y, &err), err);
    CHECK_OK(op_modulate(be, &a2, &x2, &shift, &scale, 1e-3f, &err), err);
    CHECK_OK(op_gate_add_modulate(be, &a, &x, &y, &args, &err), err);
    check_result("gate_add_modulate, sum", lane, &x, &sum, lane->rest);
    check_result("gate_add_modulate", lane, &a, &want, lane->rest);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < COLS; c++)
            CHECK(sample_at(&x, r, c) == sample_at(&x2, r, c) && sample_at(&a, r, c) == sample_at(&a2, r, c));
    CHECK_OK(op_gate_add(be, &x2, &gate, &y, &err), err);
    CHECK_OK(op_modulate(be, &a2, &x2, &shift, &scale, 1e-3f, &err), err);
    CHECK_OK(op_gate_add_modulate(be, &y, &x, &y, &args, &err), err);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < COLS; c++)
            CHECK(sample_at(&x, r, c) == sample_at(&x2, r, c) && sample_at(&y, r, c) == sample_at(&a2, r, c));
}

TEST(ops__gate_add_modulate_equals_the_two_operations_that_it_joins)
{
    on_all(gate_add_modulate);
}

/* The mean is a thousand times the deviation: E[x^2] - mean^2 in f32 would lose all digits. */
TEST(ops__layer_norm_keeps_a_small_deviation_beside_a_large_mean)
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);
        struct tensor x = sample_2d(DT_F32, 2, 515, 0), y = sample_2d(DT_F32, 2, 515, 0), want = zeros_like(&y);
        struct err err = { 0 };

        for (int64_t r = 0; r < 2; r++) {
            double mean = 0, var = 0;

            for (int64_t c = 0; c < 515; c++) {
                sample_put(&x, r, c, 1000 + sample_at(&x, r, c));
                mean += sample_at(&x, r, c) / 515.0;
            }
            for (int64_t c = 0; c < 515; c++)
                var += pow(sample_at(&x, r, c) - mean, 2) / 515;
            for (int64_t c = 0; c < 515; c++)
                sample_put(&want, r, c, (float)((sample_at(&x, r, c) - mean) / sqrt(var + 1e-6)));
        }
        CHECK_OK(op_layer_norm(be, &y, &x, NULL, NULL, 1e-6f, &err), err);
        check_result("large mean", &lanes[l], &y, &want, 1e-4); /* one f32 step of the mean is 6e-5 */
        CHECK(sample_done());
        backend_close(be);
    }
}

TEST(ops__a_nan_goes_through_norms_and_attention_without_hanging_and_stays_in_its_row)
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);
        struct tensor x = sample_2d(DT_F32, 3, 64, 0), y = sample_2d(DT_F32, 3, 64, 0), w = sample_1d(64);
        struct attention_args args = { 1, 64, 0.1f, false, NULL };
        struct tensor k = sample_2d(DT_F32, 3, 64, 0), v = sample_2d(DT_F32, 3, 64, 0);
        struct gate_modulate_args gated = { &w, &w, &w, 1e-6f };
        struct err err = { 0 };

        sample_put(&x, 1, 5, NAN);
        for (int op = 0; op < 5; op++) {
            enum err_code rc = op == 0   ? op_layer_norm(be, &y, &x, &w, NULL, 1e-6f, &err)
                               : op == 1 ? op_rms_norm(be, &y, &x, &w, 1e-6f, &err)
                               : op == 2 ? op_modulate(be, &y, &x, &w, &w, 1e-6f, &err)
                               : op == 3 ? op_attention(be, &y, &x, &k, &v, &args, &err)
                                         : op_gate_add_modulate(be, &y, &k, &x, &gated, &err);
            CHECK_OK(rc, err);
            CHECK(isnan(sample_at(&y, 1, 63)));
            CHECK(!isnan(sample_at(&y, 0, 5)) && !isnan(sample_at(&y, 2, 63)));
        }
        CHECK(sample_done());
        backend_close(be);
    }
}

static void group_norm_case(struct backend *be, const struct lane *lane, const struct form *f, int64_t height,
                            int64_t width, int64_t group, const struct group_norm_args *args)
{
    int64_t cols = group * args->n_groups, n = height * width;
    struct tensor x = sample_3d(f->x, height, width, cols), y = sample_3d(f->y, height, width, cols);
    struct tensor w = sample_1d(cols), b = sample_1d(cols), want = zeros_like(&y);
    struct err err = { 0 };

    for (int64_t c0 = 0; c0 < cols; c0 += group) {
        double mean = 0, var = 0, count = (double)(n * group);

        for (int64_t i = 0; i < n * group; i++)
            mean += sample_at(&x, i / group, c0 + i % group) / count;
        for (int64_t i = 0; i < n * group; i++)
            var += pow(sample_at(&x, i / group, c0 + i % group) - mean, 2) / count;
        for (int64_t i = 0; i < n * group; i++) {
            int64_t r = i / group, c = c0 + i % group;
            double value = (sample_at(&x, r, c) - mean) / sqrt(var + 1e-6) * sample_at(&w, 0, c) + sample_at(&b, 0, c);

            sample_put(&want, r, c, (float)activated(args->act, value));
        }
    }
    CHECK_OK(op_group_norm(be, &y, &x, &w, &b, args, &err), err);
    check_result("group_norm", lane, &y, &want, lane->rest);
}

static void group_norms(struct backend *be, const struct lane *lane, const struct form *f)
{
    group_norm_case(be, lane, f, 5, 3, 2, &(struct group_norm_args){ 3, 1e-6f, ACT_NONE });
    group_norm_case(be, lane, f, 1, 1, 4, &(struct group_norm_args){ 32, 1e-6f, ACT_SILU });
    group_norm_case(be, lane, f, 19, 13, 1, &(struct group_norm_args){ 32, 1e-6f, ACT_SILU });
    group_norm_case(be, lane, f, 33, 65, 3, &(struct group_norm_args){ 2, 1e-6f, ACT_NONE });
}

TEST(ops__group_norm_agrees_with_the_formula)
{
    on_all(group_norms);
}

static void qk_norm_rope(struct backend *be, const struct lane *lane, const struct form *f)
{
    enum { ROWS = 5, HEADS = 3, D = 12 };
    struct tensor scale = sample_1d(D), rope = sample_2d(DT_F32, ROWS, D, f->gap_y);
    struct err err = { 0 };

    for (int turned = 0; turned < 2; turned++) {
        struct tensor x = sample_2d(f->x, ROWS, HEADS * D, f->gap_x), want = zeros_like(&x);

        for (int64_t i = 0; i < ROWS * HEADS; i++) {
            int64_t r = i / HEADS, c0 = i % HEADS * D;
            double square = 0, n[D];

            for (int64_t c = 0; c < D; c++)
                square += pow(sample_at(&x, r, c0 + c), 2) / D;
            for (int64_t c = 0; c < D; c++)
                n[c] = sample_at(&x, r, c0 + c) / sqrt(square + 1e-6) * sample_at(&scale, 0, c);
            for (int64_t c = 0; c < D; c += 2) {
                double cosine = turned ? sample_at(&rope, r, c) : 1, sine = turned ? sample_at(&rope, r, c + 1) : 0;

                sample_put(&want, r, c0 + c, (float)(n[c] * cosine - n[c + 1] * sine));
                sample_put(&want, r, c0 + c + 1, (float)(n[c + 1] * cosine + n[c] * sine));
            }
        }
        CHECK_OK(op_qk_norm_rope(be, &x, &scale, turned ? &rope : NULL, HEADS, 1e-6f, &err), err);
        check_result("qk_norm_rope", lane, &x, &want, lane->rest);
    }
}

TEST(ops__qk_norm_rope_agrees_with_the_formula)
{
    on_all(qk_norm_rope);
}

static void elementwise(struct backend *be, const struct lane *lane, const struct form *f)
{
    enum { ROWS = 3, COLS = 37 };
    struct tensor a = sample_2d(f->x, ROWS, COLS, f->gap_x), b = sample_2d(f->y, ROWS, COLS, f->gap_y);
    struct tensor y = sample_2d(f->y, ROWS, COLS, f->gap_y), gate = sample_1d(COLS);
    struct tensor sum = zeros_like(&y), gated = zeros_like(&y), product = zeros_like(&y), silu = zeros_like(&y);
    struct tensor same = sample_f32(&a), scaled = zeros_like(&y), to = sample_f32(&y), from = sample_f32(&a);
    struct tensor x = sample_2d(f->y, ROWS, COLS, f->gap_y), x2 = sample_2d(f->y, ROWS, COLS, 1);
    struct err err = { 0 };

    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < COLS; c++) {
            double va = sample_at(&a, r, c), vb = sample_at(&b, r, c);

            sample_put(&x, r, c, (float)vb);
            sample_put(&x2, r, c, (float)vb);
            sample_put(&sum, r, c, (float)(vb + va));
            sample_put(&gated, r, c, (float)(vb + va * sample_at(&gate, 0, c)));
            sample_put(&product, r, c, (float)(va * vb));
            sample_put(&silu, r, c, (float)activated(ACT_SILU, va));
            sample_put(&scaled, r, c, (float)(sample_at(&to, r, c) - 0.3f * va));
        }
    CHECK_OK(op_gate_add(be, &x, NULL, &a, &err), err);
    check_result("add", lane, &x, &sum, lane->rest);
    CHECK_OK(op_gate_add(be, &x2, &gate, &a, &err), err);
    check_result("gate_add", lane, &x2, &gated, lane->rest);
    CHECK_OK(op_mul(be, &y, &a, &b, &err), err);
    check_result("mul", lane, &y, &product, lane->rest);
    CHECK_OK(op_mul(be, &b, &a, &b, &err), err);
    check_result("mul in place", lane, &b, &product, lane->rest);
    CHECK_OK(op_silu(be, &y, &a, &err), err);
    check_result("silu", lane, &y, &silu, lane->rest);
    CHECK_OK(op_copy(be, &y, &a, &err), err);
    check_result("copy", lane, &y, &same, 0);
    CHECK_OK(op_axpy(be, &to, -0.3f, &from, &err), err);
    check_result("axpy", lane, &to, &scaled, lane->rest);
}

TEST(ops__elementwise_operations_agree_with_the_formula)
{
    on_all(elementwise);
}

static void embed_rows(struct backend *be, const struct lane *lane, const struct form *f)
{
    static const int32_t ids[] = { 3, 0, 8, 3, 1 };
    struct weight table = sample_weight(DT_Q4_1, 9, 96);
    struct tensor y = sample_2d(f->y, 5, 96, f->gap_y), want = zeros_like(&y);
    struct err err = { 0 };

    for (int64_t r = 0; r < 5; r++)
        dequantise_row(DT_Q4_1, (const char *)table.data + (size_t)ids[r] * dtype_row_bytes(DT_Q4_1, 96),
                       (float *)want.data + r * 96, 96);
    CHECK_OK(op_embed_rows(be, &y, &table, ids, &err), err);
    check_result("embed_rows", lane, &y, &want, 0);
}

TEST(ops__embed_rows_copies_the_named_rows)
{
    on_all(embed_rows);
}

struct conv_case {
    int64_t height, width;
    int c_in, c_out, kernel, stride, top, left, bottom, right;
    bool residual;
};

static void conv_check(struct backend *be, const struct lane *lane, const struct form *f, const struct conv_case *c)
{
    int64_t h = (c->height + c->top + c->bottom - c->kernel) / c->stride + 1;
    int64_t w = (c->width + c->left + c->right - c->kernel) / c->stride + 1, taps = c->kernel * c->kernel;
    struct tensor x = sample_3d(f->x, c->height, c->width, c->c_in), y = sample_3d(f->y, h, w, c->c_out);
    struct tensor oihw = sample_2d(DT_F32, c->c_out, c->c_in * taps, 0), bias = sample_1d(c->c_out);
    struct tensor residual = sample_3d(f->y, h, w, c->c_out), want = zeros_like(&y);
    struct conv_weight cw = { .c_out = c->c_out, .c_in = c->c_in, .kh = c->kernel, .kw = c->kernel };
    struct conv_args args = { c->stride, c->top, c->left, c->bottom, c->right, c->residual ? &residual : NULL };
    struct err err = { 0 };

    for (int64_t p = 0; p < h * w; p++)
        for (int64_t o = 0; o < c->c_out; o++) {
            double sum = sample_at(&bias, 0, o) + (c->residual ? sample_at(&residual, p, o) : 0);

            for (int64_t t = 0; t < taps; t++) {
                int64_t yy = p / w * c->stride + t / c->kernel - c->top,
                        xx = p % w * c->stride + t % c->kernel - c->left;

                if (yy >= 0 && yy < c->height && xx >= 0 && xx < c->width)
                    for (int64_t i = 0; i < c->c_in; i++)
                        sum += (double)sample_at(&x, yy * c->width + xx, i) * sample_at(&oihw, o, i * taps + t);
            }
            sample_put(&want, p, o, (float)sum);
        }
    CHECK_OK(be->ops->conv_weight_load(be, oihw.data, &cw, &err), err);
    CHECK_OK(op_conv2d(be, &y, &x, &cw, &bias, &args, &err), err);
    check_result("conv2d", lane, &y, &want, lane->products);
    if (c->residual) {
        CHECK_OK(op_conv2d(be, &residual, &x, &cw, &bias, &args, &err), err);
        check_result("conv2d onto its residual", lane, &residual, &want, lane->products);
    }
}

static void convs(struct backend *be, const struct lane *lane, const struct form *f)
{
    static const struct conv_case cases[] = {
        { 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, false },   { 5, 6, 3, 7, 3, 1, 1, 1, 1, 1, false },
        { 5, 6, 4, 4, 3, 1, 1, 1, 1, 1, true },    { 9, 7, 5, 3, 3, 2, 0, 0, 1, 1, false },
        { 8, 10, 33, 17, 3, 2, 0, 0, 1, 1, true }, { 6, 3, 20, 40, 1, 1, 0, 0, 0, 0, true },
        { 7, 5, 32, 3, 3, 1, 1, 1, 1, 1, false },  { 30, 41, 16, 32, 3, 1, 1, 1, 1, 1, true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        conv_check(be, lane, f, &cases[i]);
}

TEST(ops__conv2d_agrees_with_the_formula)
{
    on_all(convs);
}

/* One pixel is set, at each of the sixteen places: exactly the windows that contain it must change. */
TEST(ops__conv2d_with_stride_two_reads_the_window_from_its_top_left_corner)
{
    for (int l = 0; l < N_LANES; l++) {
        struct backend *be = open_lane(&lanes[l]);
        struct tensor x = sample_3d(DT_F32, 4, 4, 1), y = sample_3d(DT_F32, 2, 2, 1), bias = sample_1d(1);
        struct conv_weight cw = { .c_out = 1, .c_in = 1, .kh = 3, .kw = 3 };
        struct conv_args args = { .stride = 2, .pad_bottom = 1, .pad_right = 1 };
        float taps[9];
        struct err err = { 0 };

        for (int i = 0; i < 9; i++)
            taps[i] = (float)(i + 1);
        sample_put(&bias, 0, 0, 0);
        CHECK_OK(be->ops->conv_weight_load(be, taps, &cw, &err), err);
        for (int64_t at = 0; at < 16; at++) {
            memset(x.data, 0, 16 * sizeof(float));
            sample_put(&x, at, 0, 1);
            CHECK_OK(op_conv2d(be, &y, &x, &cw, &bias, &args, &err), err);
            for (int64_t p = 0; p < 4; p++) {
                int64_t dy = at / 4 - p / 2 * 2, dx = at % 4 - p % 2 * 2;
                bool seen = dy >= 0 && dy < 3 && dx >= 0 && dx < 3;

                CHECK(sample_at(&y, p, 0) == (seen ? taps[dy * 3 + dx] : 0));
            }
        }
        CHECK(sample_done());
        backend_close(be);
    }
}

static void upsample2x(struct backend *be, const struct lane *lane, const struct form *f)
{
    struct tensor x = sample_3d(f->x, 3, 5, 7), y = sample_3d(f->y, 6, 10, 7), want = zeros_like(&y);
    struct err err = { 0 };

    for (int64_t p = 0; p < 60; p++)
        for (int64_t c = 0; c < 7; c++)
            sample_put(&want, p, c, sample_at(&x, p / 10 / 2 * 5 + p % 10 / 2, c));
    CHECK_OK(op_upsample2x(be, &y, &x, &err), err);
    check_result("upsample2x", lane, &y, &want, 0);
}

TEST(ops__upsample2x_repeats_every_pixel_four_times)
{
    on_all(upsample2x);
}

TEST(ops__upload_and_download_move_dense_tensors)
{
    struct backend *be = open_lane(&lanes[0]);
    struct tensor x = sample_2d(DT_F32, 3, 5, 0), y = sample_2d(DT_F32, 3, 5, 0);
    struct tensor gap = sample_2d(DT_F32, 3, 5, 1);
    struct err err = { 0 };

    CHECK_OK(op_upload(be, &y, x.data, &err), err);
    CHECK_NEAR((const float *)y.data, (const float *)x.data, 15, 0, 0);
    memset(x.data, 0, 60);
    CHECK_OK(op_download(be, x.data, &y, &err), err);
    CHECK_NEAR((const float *)x.data, (const float *)y.data, 15, 0, 0);
    CHECK_INT(op_upload(be, &gap, x.data, NULL), ERR_INVALID);
    CHECK_INT(op_download(be, x.data, &gap, NULL), ERR_INVALID);
    CHECK(sample_done());
    backend_close(be);
}

/* The time between two marks is that of the work between them, and a mark can be set again. */
static void marks(const struct lane *lane)
{
    struct backend *be = open_lane(lane);
    double first = -1, both = -1, wall = now_ms();
    struct err err = { 0 };

    CHECK_OK(be->ops->mark(be, 0, &err), err);
    (void)usleep(3000);
    CHECK_OK(be->ops->mark(be, BACKEND_MARKS - 1, &err), err);
    CHECK_OK(be->ops->elapsed(be, 0, BACKEND_MARKS - 1, &first, &err), err);
    (void)usleep(2000);
    CHECK_OK(be->ops->mark(be, BACKEND_MARKS - 1, &err), err);
    CHECK_OK(be->ops->elapsed(be, 0, BACKEND_MARKS - 1, &both, &err), err);
    wall = now_ms() - wall;
    CHECK(first >= 3 && both >= first + 2 && both <= wall);
    backend_close(be);
}

TEST(ops__marks_measure_the_time_between_them)
{
    for (int i = 0; i < N_LANES; i++)
        marks(&lanes[i]);
}
