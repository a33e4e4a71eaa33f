/*
 * Every operation of the CUDA backend against the plain backend, on odd shapes and on those of FLUX.1, with gaps
 * between rows and in both types of activation; each runs twice and must give the same bytes. All outputs are
 * surrounded by guard bytes. The reference keeps its result in f32.
 *
 * Limits of the relative error: 2e-6 for sums of up to a few thousand values in f32 and for the exp, tanh and division
 * of a card, 2 ulp each. Products round both operands to bf16, by 2^-8 at most and 1.6e-3 on average, which is 2.3e-3
 * of the norm of a long sum; their limit is 4e-3, and twice that for short sums. Attention, which rounds p to bf16, has
 * 5e-3. A result in bf16 adds 2^-8 at most.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "test/gpu/device.h"

static const double rest_limit = 2e-6, product_limit = 4e-3, attention_limit = 5e-3;

static const struct form {
    enum dtype x, y;
    int64_t gap_x, gap_y;
} forms[] = {
    { DT_F32, DT_F32, 0, 0 },   { DT_F32, DT_BF16, 8, 16 }, { DT_BF16, DT_F32, 4, 8 },
    { DT_BF16, DT_BF16, 8, 8 }, { DT_BF16, DT_BF16, 3, 5 }, { DT_F32, DT_F32, 1, 3 },
};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

static const struct {
    int64_t rows, cols;
} shapes[] = { { 1, 1 }, { 5, 3 }, { 77, 768 }, { 3, 1021 }, { 512, 4096 }, { 4608, 3072 } };
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* The largest shape is left out on a stand-in: it takes most of the time there, and differs only in size. */
static int n_shapes(void)
{
    return device_is_dry() ? N_SHAPES - 1 : N_SHAPES;
}

static struct tensor as_f32(const struct tensor *t)
{
    return sample_f32(t);
}

/* Runs `call`, an operation on the device that writes *out, twice from the same start; leaves the result in y. */
#define TWICE(y, call)                                                                           \
    do {                                                                                         \
        struct tensor first_ = device_copy(y), second_ = device_copy(y), again_ = twin(y), *out; \
        out = &first_;                                                                           \
        CHECK_OK(call, err);                                                                     \
        out = &second_;                                                                          \
        CHECK_OK(call, err);                                                                     \
        device_fetch(&first_, (y));                                                              \
        device_fetch(&second_, &again_);                                                         \
        device_check_same(#call, (y), &again_);                                                  \
    } while (0)

/* Another tensor with the type, shape and gaps of t. */
static struct tensor twin(const struct tensor *t)
{
    return sample_2d(t->dtype, tensor_rows(t), tensor_cols(t), t->row_stride - tensor_cols(t));
}

static void each_form_and_shape(void (*fn)(const struct form *f, int64_t rows, int64_t cols))
{
    (void)device();
    for (int f = 0; f < N_FORMS; f++)
        for (int s = 0; s < n_shapes(); s++) {
            sample_seed((uint64_t)(10 * f + s));
            fn(&forms[f], shapes[s].rows, shapes[s].cols);
            CHECK(device_done());
        }
}

static void layer_norm_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor w = sample_1d(cols), b = sample_1d(cols), want = as_f32(&y);
    struct tensor dx = device_copy(&x), dw = device_copy(&w), db = device_copy(&b);
    struct err err = { 0 };

    TWICE(&y, op_layer_norm(device(), out, &dx, rows % 2 ? &dw : NULL, &db, 1e-5f, &err));
    CHECK_OK(op_layer_norm(reference(), &want, &x, rows % 2 ? &w : NULL, &b, 1e-5f, &err), err);
    device_check("layer_norm", &y, &want, rest_limit);
}

TEST(cuda__layer_norm)
{
    each_form_and_shape(layer_norm_case);
}

static void modulate_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor shift = sample_1d(cols), scale = sample_1d(cols), want = as_f32(&y);
    struct tensor dx = device_copy(&x), dshift = device_copy(&shift), dscale = device_copy(&scale);
    struct err err = { 0 };

    TWICE(&y, op_modulate(device(), out, &dx, &dshift, &dscale, 1e-6f, &err));
    CHECK_OK(op_modulate(reference(), &want, &x, &shift, &scale, 1e-6f, &err), err);
    device_check("modulate", &y, &want, rest_limit);
}

TEST(cuda__modulate)
{
    each_form_and_shape(modulate_case);
}

static void rms_norm_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor w = sample_1d(cols), want = as_f32(&y);
    struct tensor dx = device_copy(&x), dw = device_copy(&w);
    struct err err = { 0 };

    TWICE(&y, op_rms_norm(device(), out, &dx, &dw, 1e-6f, &err));
    CHECK_OK(op_rms_norm(reference(), &want, &x, &w, 1e-6f, &err), err);
    device_check("rms_norm", &y, &want, rest_limit);
}

TEST(cuda__rms_norm)
{
    each_form_and_shape(rms_norm_case);
}

static void gate_add_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor gate = sample_1d(cols), want = as_f32(&x);
    struct tensor dy = device_copy(&y), dgate = device_copy(&gate);
    struct err err = { 0 };

    TWICE(&x, op_gate_add(device(), out, rows % 2 ? NULL : &dgate, &dy, &err));
    CHECK_OK(op_gate_add(reference(), &want, rows % 2 ? NULL : &gate, &y, &err), err);
    device_check("gate_add", &x, &want, rest_limit);
}

TEST(cuda__gate_add)
{
    each_form_and_shape(gate_add_case);
}

/*
 * y and the result have the form's type of y, as in the blocks. The result must have the same bytes as that of the two
 * separate operations.
 */
static void gate_add_modulate_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor gate = sample_1d(cols), shift = sample_1d(cols), scale = sample_1d(cols), want_x = as_f32(&x);
    struct tensor dgate = device_copy(&gate), dshift = device_copy(&shift), dscale = device_copy(&scale);
    struct tensor dx = device_copy(&x), dx2 = device_copy(&x), dy = device_copy(&y), dy2 = device_copy(&y);
    struct tensor a = twin(&y), a2 = twin(&y), x2 = twin(&x), da = device_copy(&a), want = as_f32(&a);
    const struct gate_modulate_args args = { &gate, &shift, &scale, 1e-6f },
                                    dargs = { &dgate, &dshift, &dscale, 1e-6f };
    struct err err = { 0 };

    CHECK_OK(op_gate_add_modulate(reference(), &want, &want_x, &y, &args, &err), err);
    CHECK_OK(op_gate_add_modulate(device(), &dy2, &dx2, &dy2, &dargs, &err), err);
    device_fetch(&dy2, &a2);
    device_fetch(&dx2, &x2);
    device_check("gate_add_modulate, sum", &x2, &want_x, rest_limit);
    if (f->x == DT_F32) /* otherwise the norm is computed from rounded values */
        device_check("gate_add_modulate", &a2, &want, rest_limit);
    CHECK_OK(op_gate_add(device(), &dx, &dgate, &dy, &err), err);
    CHECK_OK(op_modulate(device(), &da, &dx, &dshift, &dscale, 1e-6f, &err), err);
    device_fetch(&da, &a);
    device_fetch(&dx, &x);
    device_check_same("gate_add_modulate, sum, and gate_add", &x2, &x);
    device_check_same("gate_add_modulate, and modulate", &a2, &a);
}

TEST(cuda__gate_add_modulate)
{
    each_form_and_shape(gate_add_modulate_case);
}

static void mul_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor a = sample_2d(f->x, rows, cols, f->gap_x), b = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor y = sample_2d(f->y, rows, cols, f->gap_x), want = as_f32(&y);
    struct tensor da = device_copy(&a), db = device_copy(&b);
    struct err err = { 0 };

    TWICE(&y, op_mul(device(), out, &da, &db, &err));
    CHECK_OK(op_mul(reference(), &want, &a, &b, &err), err);
    device_check("mul", &y, &want, rest_limit);
}

TEST(cuda__mul)
{
    each_form_and_shape(mul_case);
}

static void silu_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor want = as_f32(&y), dx;
    struct err err = { 0 };

    for (int64_t c = 1; c < cols; c += 3)
        sample_put(&x, 0, c, (float)(200 * sample_uniform())); /* exp(-x) overflows f32 below -88 */
    dx = device_copy(&x);
    TWICE(&y, op_silu(device(), out, &dx, &err));
    CHECK_OK(op_silu(reference(), &want, &x, &err), err);
    device_check("silu", &y, &want, rest_limit);
}

TEST(cuda__silu)
{
    each_form_and_shape(silu_case);
}

static void copy_case(const struct form *f, int64_t rows, int64_t cols)
{
    struct tensor x = sample_2d(f->x, rows, cols, f->gap_x), y = sample_2d(f->y, rows, cols, f->gap_y);
    struct tensor want = sample_2d(f->y, rows, cols, f->gap_y), dx = device_copy(&x);
    struct err err = { 0 };

    TWICE(&y, op_copy(device(), out, &dx, &err));
    CHECK_OK(op_copy(reference(), &want, &x, &err), err);
    device_check_same("copy and its reference", &y, &want);
}

TEST(cuda__copy)
{
    each_form_and_shape(copy_case);
}

TEST(cuda__axpy)
{
    (void)device();
    for (int s = 0; s < n_shapes(); s++) {
        struct tensor x = sample_2d(DT_F32, shapes[s].rows, shapes[s].cols, s % 2);
        struct tensor v = sample_2d(DT_F32, shapes[s].rows, shapes[s].cols, s % 3), want = as_f32(&x);
        struct tensor dv = device_copy(&v);
        struct err err = { 0 };

        TWICE(&x, op_axpy(device(), out, -0.0357f, &dv, &err));
        CHECK_OK(op_axpy(reference(), &want, -0.0357f, &v, &err), err);
        device_check("axpy", &x, &want, rest_limit);
        CHECK(device_done());
    }
}

static void qk_norm_rope_case(const struct form *f, int64_t rows, int n_heads, int64_t d, bool turn)
{
    struct tensor x = sample_2d(f->x, rows, n_heads * d, f->gap_x), want = as_f32(&x);
    struct tensor scale = sample_1d(d), rope = sample_2d(DT_F32, rows, d, 0);
    struct tensor dscale = device_copy(&scale), drope = device_copy(&rope);
    struct err err = { 0 };

    TWICE(&x, op_qk_norm_rope(device(), out, &dscale, turn ? &drope : NULL, n_heads, 1e-6f, &err));
    CHECK_OK(op_qk_norm_rope(reference(), &want, &scale, turn ? &rope : NULL, n_heads, 1e-6f, &err), err);
    device_check("qk_norm_rope", &x, &want, rest_limit);
    CHECK(device_done());
}

TEST(cuda__qk_norm_rope)
{
    (void)device();
    for (int f = 0; f < N_FORMS; f++) {
        sample_seed((uint64_t)f);
        if (!device_is_dry())
            qk_norm_rope_case(&forms[f], 4608, 24, 128, true);
        qk_norm_rope_case(&forms[f], 512, 24, 128, f % 2);
        qk_norm_rope_case(&forms[f], 7, 3, 32, true);
        qk_norm_rope_case(&forms[f], 3, 5, 6, true);
        qk_norm_rope_case(&forms[f], 1, 1, 33, false);
    }
}

static void group_norm_case(enum dtype tx, enum dtype ty, int64_t h, int64_t w, int64_t c, int groups, bool silu)
{
    struct tensor x = sample_3d(tx, h, w, c), y = sample_3d(ty, h, w, c), want = as_f32(&y);
    struct tensor scale = sample_1d(c), shift = sample_1d(c), dx, dscale = device_copy(&scale);
    struct tensor dshift = device_copy(&shift);
    struct group_norm_args args = { groups, 1e-6f, silu ? ACT_SILU : ACT_NONE };
    struct err err = { 0 };

    for (int64_t r = 0; r < h * w; r++)
        for (int64_t i = 0; i < c; i++)
            sample_put(&x, r, i, sample_at(&x, r, i) + 3); /* the VAE has means much larger than the deviation */
    dx = device_copy(&x);
    TWICE(&y, op_group_norm(device(), out, &dx, &dscale, &dshift, &args, &err));
    CHECK_OK(op_group_norm(reference(), &want, &x, &scale, &shift, &args, &err), err);
    device_check("group_norm", &y, &want, 8 * rest_limit);
    CHECK(device_done());
}

TEST(cuda__group_norm)
{
    (void)device();
    sample_seed(1);
    group_norm_case(DT_BF16, DT_BF16, 128, 128, 512, 32, true);
    group_norm_case(DT_BF16, DT_BF16, 256, 512, 128, 32, true);
    group_norm_case(DT_F32, DT_BF16, 96, 128, 256, 32, false);
    group_norm_case(DT_F32, DT_F32, 7, 5, 6, 2, true);
    group_norm_case(DT_F32, DT_F32, 31, 33, 3, 1, false);
    group_norm_case(DT_F32, DT_F32, 1, 1, 64, 32, true);
}

static void upsample_case(enum dtype tx, enum dtype ty, int64_t h, int64_t w, int64_t c)
{
    struct tensor x = sample_3d(tx, h, w, c), y = sample_3d(ty, 2 * h, 2 * w, c), want = sample_3d(ty, 2 * h, 2 * w, c);
    struct tensor dx = device_copy(&x);
    struct err err = { 0 };

    TWICE(&y, op_upsample2x(device(), out, &dx, &err));
    CHECK_OK(op_upsample2x(reference(), &want, &x, &err), err);
    device_check_same("upsample2x and its reference", &y, &want);
    CHECK(device_done());
}

TEST(cuda__upsample2x)
{
    (void)device();
    upsample_case(DT_BF16, DT_BF16, 128, 128, 512);
    upsample_case(DT_F32, DT_BF16, 9, 5, 7);
    upsample_case(DT_BF16, DT_F32, 1, 1, 1);
}

/* Rows of y are independent of each other, so the reference computes only some of them. */
static const struct {
    int64_t first, n;
} some_rows[] = { { 0, 3 }, { 63, 3 }, { 127, 3 }, { -3, 3 } };
enum { N_SOME = sizeof some_rows / sizeof some_rows[0] };

/* Rows [first, first + n) of t, counted from the end when first is negative; false when t has no such rows. */
static bool rows_view(const struct tensor *t, int i, struct tensor *ret)
{
    int64_t rows = tensor_rows(t), first = some_rows[i].first < 0 ? rows + some_rows[i].first : some_rows[i].first;
    int64_t n = some_rows[i].n;

    if (first < 0 || first >= rows)
        return false;
    *ret = tensor_row_view(t, first, n < rows - first ? n : rows - first);
    return true;
}

/* The number of rows for products and attention: n, but few on a stand-in. */
static int64_t rows_here(int64_t n)
{
    const int64_t dry = 136;

    return device_is_dry() && n > dry ? dry : n;
}

struct product {
    enum dtype type;
    int64_t m, n, k;
    enum activation act;
    bool bias;
};

/*
 * The factor by which a limit grows for an output of few values, which may be small differences of large terms: the
 * error of a sum grows with the root mean square of its terms, and so does the size of a sum of uncorrelated terms.
 */
static double cancellation(const struct tensor *y, const struct tensor *x, const struct weight *w)
{
    double terms = 0, norm = 0;
    float row[4096];

    if (tensor_count(y) > 64)
        return 1;
    CHECK(w->cols <= 4096);
    dequantise_weight_row(w, 0, row);
    for (int64_t k = 0; k < w->cols; k++)
        terms += (double)row[k] * row[k] * sample_at(x, 0, k) * sample_at(x, 0, k);
    for (int64_t r = 0; r < tensor_rows(y); r++)
        for (int64_t c = 0; c < tensor_cols(y); c++)
            norm += (double)sample_at(y, r, c) * sample_at(y, r, c);
    return fmax(1, sqrt(terms * (double)tensor_count(y) / norm));
}

static void linear_scaled_case(const struct form *f, const struct product *p, float scale)
{
    const double limit = p->k < 128 ? 2 * product_limit : product_limit;
    struct tensor x = sample_2d(f->x, p->m, p->k, f->gap_x), y = sample_2d(f->y, p->m, p->n, f->gap_y);
    struct tensor b = sample_1d(p->n), dx = device_copy(&x), db = device_copy(&b), some_x, some_y;
    struct bias bias = { .f32 = b }, dbias = { .f32 = db };
    struct weight w = sample_weight(p->type, p->n, p->k), dw;
    struct err err = { 0 };

    w.scale = scale;
    dw = device_weight(&w);
    TWICE(&y, op_linear(device(), out, &dx, &dw, p->bias ? &dbias : NULL, p->act, &err));
    for (int i = 0; i < N_SOME; i++)
        if (rows_view(&x, i, &some_x) && rows_view(&y, i, &some_y)) {
            struct tensor want = as_f32(&some_y);

            CHECK_OK(op_linear(reference(), &want, &some_x, &w, p->bias ? &bias : NULL, p->act, &err), err);
            device_check(dtype_info(p->type)->name, &some_y, &want, limit * cancellation(&want, &some_x, &w));
        }
    CHECK(device_done());
}

static void linear_case(const struct form *f, const struct product *p)
{
    linear_scaled_case(f, p, 0);
}

TEST(cuda__linear_takes_weights_of_every_type)
{
    static const enum dtype types[] = { DT_F32,  DT_F16,  DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q8_0,
                                        DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1,    DT_Q2_K,    DT_Q3_K,
                                        DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL,  DT_IQ4_XS };

    (void)device();
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int f = 0; f < N_FORMS; f++) {
            sample_seed(10 * t + (size_t)f);
            linear_scaled_case(&forms[f], &(struct product){ types[t], 67, 136, 512, ACT_NONE, true },
                               f % 2 ? 0.173f : 0);
        }
}

TEST(cuda__linear_applies_every_activation)
{
    (void)device();
    for (int act = ACT_NONE; act <= ACT_SILU; act++)
        for (int f = 0; f < N_FORMS; f++)
            for (int bias = 0; bias < 2; bias++)
                linear_case(&forms[f], &(struct product){ DT_BF16, 33, 72, 264, (enum activation)act, bias });
}

/* A bias that is rounded when it is loaded, and one that is rounded, or moved, when it is used. */
static void bias_case(enum dtype t, enum activation act, int64_t lead)
{
    struct tensor x = sample_2d(DT_BF16, 33, 264, 0), y = sample_2d(t, 33, 72, 8), again = twin(&y);
    struct tensor b = sample_1d(72 + lead), dx = device_copy(&x), db = device_copy(&b), rounded = sample_1d(72 / 2);
    struct tensor drounded = device_copy(&rounded), first = device_copy(&y), second = device_copy(&y);
    struct bias given = { .f32 = tensor_1d(DT_F32, 72, (float *)db.data + lead) }, kept = given;
    struct weight w = sample_weight(DT_BF16, 72, 264), dw = device_weight(&w);
    struct err err = { 0 };

    kept.bf16 = tensor_1d(DT_BF16, 72, drounded.data);
    CHECK_OK(op_copy(device(), &kept.bf16, &kept.f32, &err), err);
    CHECK_OK(op_linear(device(), &first, &dx, &dw, &given, act, &err), err);
    CHECK_OK(op_linear(device(), &second, &dx, &dw, &kept, act, &err), err);
    device_fetch(&first, &y);
    device_fetch(&second, &again);
    device_check_same("a bias that is kept rounded", &y, &again);
    CHECK(device_done());
}

TEST(cuda__linear_gives_the_same_with_a_bias_that_is_kept_rounded)
{
    (void)device();
    for (int act = ACT_NONE; act <= ACT_SILU; act++)
        for (int64_t lead = 0; lead < 2; lead++) {
            bias_case(DT_BF16, (enum activation)act, lead);
            bias_case(DT_F32, (enum activation)act, lead);
        }
}

TEST(cuda__linear_takes_odd_shapes)
{
    static const struct product products[] = {
        { DT_F32, 1, 1, 1, ACT_NONE, true },     { DT_F32, 5, 7, 33, ACT_SILU, true },
        { DT_BF16, 1, 37, 100, ACT_NONE, true }, { DT_F16, 3, 131, 77, ACT_NONE, false },
        { DT_Q8_0, 1, 1, 32, ACT_NONE, false },  { DT_Q8_0, 129, 65, 96, ACT_GELU_TANH, true },
    };

    (void)device();
    for (size_t p = 0; p < sizeof products / sizeof products[0]; p++)
        for (int f = 0; f < N_FORMS; f++)
            linear_case(&forms[f], &products[p]);
}

TEST(cuda__linear_takes_the_shapes_of_flux_and_its_encoders)
{
    static const struct product products[] = {
        { DT_Q8_0, 4096, 9216, 3072, ACT_NONE, true },   { DT_Q4_K, 4096, 12288, 3072, ACT_GELU_TANH, true },
        { DT_Q8_0, 4608, 3072, 15360, ACT_NONE, true },  { DT_BF16, 4096, 3072, 384, ACT_NONE, true },
        { DT_BF16, 4096, 64, 3072, ACT_NONE, true },     { DT_Q8_0, 512, 10240, 4096, ACT_GELU_TANH, false },
        { DT_F16, 77, 3072, 768, ACT_QUICK_GELU, true }, { DT_Q8_0, 1, 18432, 3072, ACT_NONE, true },
    };

    const int64_t plain_before = device()->refused.plain_runs;

    for (size_t p = 0; p < sizeof products / sizeof products[0]; p++) {
        struct product product = products[p];

        product.m = rows_here(product.m);
        linear_case(&forms[p % 2 ? 3 : 0], &product);
    }
    CHECK_INT(device()->refused.plain_runs, plain_before); /* cuBLASLt has an algorithm for all of them */
}

/* Rows of a weight, as the single blocks use linear1. */
TEST(cuda__linear_takes_rows_of_a_weight)
{
    static const enum dtype types[] = { DT_BF16, DT_Q8_0, DT_Q4_K };

    (void)device();
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        struct tensor x = sample_2d(DT_BF16, 40, 768, 0), y = sample_2d(DT_BF16, 40, 200, 56), want = as_f32(&y);
        struct weight w = sample_weight(types[t], 456, 768), dw = device_weight(&w),
                      part = weight_row_view(&w, 256, 200);
        struct weight dpart = weight_row_view(&dw, 256, 200);
        struct tensor dx = device_copy(&x);
        struct err err = { 0 };

        TWICE(&y, op_linear(device(), out, &dx, &dpart, NULL, ACT_NONE, &err));
        CHECK_OK(op_linear(reference(), &want, &x, &part, NULL, ACT_NONE, &err), err);
        device_check(dtype_info(types[t])->name, &y, &want, product_limit);
        CHECK(device_done());
    }
}

/* A matrix in f32 with the values of w, multiplied with its scale. The product of two f32 is exact in double, so that
 * the conversion rounds once. */
static struct weight multiplied(const struct weight *w)
{
    struct weight f = sample_weight(DT_F32, w->rows, w->cols);

    for (int64_t r = 0; r < w->rows; r++) {
        float *row = (float *)(uintptr_t)f.data + r * w->cols;

        dequantise_row(w->dtype, (const char *)w->data + (size_t)r * dtype_row_bytes(w->dtype, w->cols), row, w->cols);
        for (int64_t c = 0; c < w->cols && w->scale != 0; c++)
            row[c] = (float)((double)row[c] * w->scale);
    }
    return f;
}

/* The product with some rows of a matrix, and rows of it as those of a table. The memory is given back, so that the
 * next matrix of this size gets it, with another scale or none. */
static void compute_with(const struct weight *host, const struct tensor *dx, struct tensor *ret_y,
                         struct tensor *ret_rows)
{
    static const int32_t ids[] = { 455, 0, 7, 455 };
    struct tensor dy = device_copy(ret_y), drows = device_copy(ret_rows);
    struct weight w = device_weight(host), some = weight_row_view(&w, 256, 200);
    const struct weight *first[] = { &w };
    struct err err = { 0 };

    device()->ops->weight_prefetch(device(), first, host->rows % 2);
    CHECK_OK(op_linear(device(), &dy, dx, &some, NULL, ACT_NONE, &err), err);
    CHECK_OK(op_embed_rows(device(), &drows, &w, ids, &err), err);
    device_fetch(&dy, ret_y);
    device_fetch(&drows, ret_rows);
    device()->ops->weight_unload(device(), &w);
}

static void check_scaled(enum dtype t, int64_t rows, float scale)
{
    struct tensor x = sample_2d(DT_BF16, 40, 768, 0), dx = device_copy(&x);
    struct tensor y = sample_2d(DT_F32, 40, 200, 0), got = sample_2d(DT_F32, 4, 768, 0);
    struct tensor want_y = twin(&y), want = twin(&got);
    struct weight w = sample_weight(t, rows, 768), before;

    w.scale = scale;
    before = multiplied(&w);
    compute_with(&w, &dx, &y, &got);
    compute_with(&before, &dx, &want_y, &want);
    device_check_same("a product with a scaled matrix, and with one multiplied beforehand", &y, &want_y);
    device_check_same("rows of a scaled table, and of one multiplied beforehand", &got, &want);
    CHECK(device_done());
}

/* With an even number of rows the matrix is not announced, and expanded on the spot. */
TEST(cuda__a_scale_gives_the_bytes_of_weights_multiplied_beforehand)
{
    static const enum dtype types[] = { DT_F8_E4M3, DT_F8_E5M2, DT_F32, DT_F16, DT_BF16, DT_Q8_0 };
    static const float scales[] = { 0.0173f, 0, 112.5f };

    for (int mode = WEIGHTS_DEQUANT; mode <= WEIGHTS_STREAM; mode++) {
        backend_expect_weights(device(), (enum weight_mode)mode, 0);
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
                for (int64_t rows = 456; rows < 458; rows++)
                    check_scaled(types[t], rows, scales[s]);
    }
    device_close(); /* the ring keeps half a gigabyte */
}

struct heads {
    int64_t n_q, n_k;
    int n_heads, head_dim;
    float scale, q_factor;
    bool causal, bias;
};

/* q, k and v are next to each other in one matrix, as in the models. */
static void attention_case(enum dtype t, enum dtype ty, int64_t gap, const struct heads *h)
{
    int64_t cols = (int64_t)h->n_heads * h->head_dim, max = h->n_q > h->n_k ? h->n_q : h->n_k;
    struct tensor qkv = sample_2d(t, max, 3 * cols, gap), y = sample_2d(ty, h->n_q, cols, gap), dqkv;
    struct tensor bias = sample_2d(DT_F32, h->n_heads, 2 * max - 1, 0), dbias = device_copy(&bias);
    struct tensor part[3], dpart[3];
    struct attention_args args = { h->n_heads, h->head_dim, h->scale, h->causal, h->bias ? &bias : NULL }, dargs = args;
    struct err err = { 0 };

    for (int64_t r = 0; r < max; r++)
        for (int64_t c = 0; c < cols; c++)
            sample_put(&qkv, r, c, h->q_factor * sample_at(&qkv, r, c));
    dqkv = device_copy(&qkv);
    for (int i = 0; i < 3; i++) {
        struct tensor all = tensor_col_view(&qkv, i * cols, cols), dall = tensor_col_view(&dqkv, i * cols, cols);

        part[i] = tensor_row_view(&all, 0, i ? h->n_k : h->n_q);
        dpart[i] = tensor_row_view(&dall, 0, i ? h->n_k : h->n_q);
    }
    dargs.rel_bias = h->bias ? &dbias : NULL;
    TWICE(&y, op_attention(device(), out, &dpart[0], &dpart[1], &dpart[2], &dargs, &err));
    for (int i = 0; i < N_SOME; i++) {
        struct tensor some_q, some_y, want;

        if (!rows_view(&part[0], i, &some_q) || !rows_view(&y, i, &some_y))
            continue;
        if (h->causal || h->bias) { /* the result depends on the number of a row */
            want = as_f32(&y);
            CHECK_OK(op_attention(reference(), &want, &part[0], &part[1], &part[2], &args, &err), err);
            device_check("attention", &y, &want, attention_limit);
            break;
        }
        want = as_f32(&some_y);
        CHECK_OK(op_attention(reference(), &want, &some_q, &part[1], &part[2], &args, &err), err);
        device_check("attention", &some_y, &want, attention_limit);
    }
    CHECK(device_done());
}

static void attention_case_here(int64_t gap, struct heads h)
{
    h.n_q = rows_here(h.n_q);
    h.n_k = rows_here(h.n_k);
    attention_case(DT_BF16, DT_BF16, gap, &h);
}

TEST(cuda__attention_takes_the_shapes_of_flux_and_its_encoders)
{
    backend_use_library(device(), LIBRARY_NEVER);
    attention_case_here(0, (struct heads){ 4608, 4608, 24, 128, 0.08838835f, 1, false, false });
    attention_case_here(64, (struct heads){ 3584, 3584, 24, 128, 0.08838835f, 8, false, false });
    attention_case_here(0, (struct heads){ 512, 512, 64, 64, 1, 1, false, true });
    attention_case_here(0, (struct heads){ 77, 77, 12, 64, 0.125f, 1, true, false });
    attention_case_here(0, (struct heads){ 4096, 4096, 1, 512, 0.04419417f, 1, false, false });
    attention_case_here(0, (struct heads){ 16384, 16384, 1, 512, 0.04419417f, 1, false, false });
    backend_use_library(device(), LIBRARY_AUTO);
}

/* Tested on every card, though AUTO uses cuDNN only where it should be faster. */
TEST(cuda__attention_by_cudnn)
{
    static const struct heads heads[] = {
        { 4608, 4608, 24, 128, 0.08838835f, 1, false, false },
        { 1537, 1537, 24, 128, 0.08838835f, 8, false, false },
        { 528, 528, 24, 128, 0.08838835f, 1, false, false },
        { 1, 1, 1, 128, 0.1f, 1, false, false },
        { 31, 31, 3, 128, 0.1f, 1, false, false },
        { 129, 65, 2, 128, 0.1f, 1, false, false },
        { 100, 300, 2, 64, 0.125f, 1, false, false },
        { 64, 64, 2, 128, 1, 40, false, false },
    };
    const char *words;

    backend_use_library(device(), LIBRARY_ALWAYS);
    words = backend_describe(device());
    if (!strstr(words, "cuDNN")) {
        backend_use_library(device(), LIBRARY_AUTO);
        SKIP(words);
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        sample_seed(i);
        attention_case_here(i % 2 ? 64 : 0, heads[i]);
    }
    CHECK(!strstr(backend_describe(device()), "own kernel")); /* cuDNN had a plan for each */
    backend_use_library(device(), LIBRARY_AUTO);
}

TEST(cuda__attention_takes_odd_shapes)
{
    static const struct heads heads[] = {
        { 1, 1, 1, 128, 0.1f, 1, false, false },    { 31, 31, 3, 128, 0.1f, 1, false, false },
        { 129, 65, 2, 128, 0.1f, 1, false, false }, { 100, 300, 2, 64, 0.125f, 1, false, false },
        { 5, 6, 2, 32, 0.2f, 1, false, false },     { 130, 130, 3, 64, 1, 1, false, true },
        { 33, 33, 2, 40, 0.2f, 1, true, false },    { 17, 40, 1, 200, 0.07f, 1, false, false },
        { 64, 64, 2, 128, 1, 40, false, false },    { 9, 11, 1, 512, 0.05f, 1, false, false },
    };

    backend_use_library(device(), LIBRARY_NEVER);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        sample_seed(i);
        attention_case(DT_BF16, DT_BF16, 0, &heads[i]);
        attention_case(DT_BF16, DT_BF16, 3, &heads[i]);
        attention_case(DT_BF16, DT_F32, 8, &heads[i]);
        attention_case(DT_F32, DT_F32, 0, &heads[i]);
    }
    backend_use_library(device(), LIBRARY_AUTO);
}

/* Weights that were expanded to bf16 when they were loaded are exact up to this rounding. Every other form has a scale.
 */
TEST(cuda__embed_rows)
{
    static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q8_0, DT_Q6_K };
    int32_t ids[600];

    (void)device();
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int f = 0; f < N_FORMS; f++) {
            struct weight w = sample_weight(types[t], 999, 768), dw;
            struct tensor y = sample_2d(forms[f].y, 600, 768, forms[f].gap_y), want = as_f32(&y);
            struct err err = { 0 };

            for (int i = 0; i < 600; i++)
                ids[i] = i * 7 % 999;
            w.scale = f % 2 ? 0.173f : 0;
            dw = device_weight(&w);
            TWICE(&y, op_embed_rows(device(), out, &dw, ids, &err));
            CHECK_OK(op_embed_rows(reference(), &want, &w, ids, &err), err);
            device_check(dtype_info(types[t])->name, &y, &want, 0x1p-8);
            CHECK(device_done());
        }
}

struct picture {
    int64_t h, w;
    int c_in, c_out, kernel, stride, pad_before, pad_after;
    bool residual;
};

static void conv2d_case(enum dtype tx, enum dtype ty, const struct picture *p)
{
    int64_t h = (p->h + p->pad_before + p->pad_after - p->kernel) / p->stride + 1;
    int64_t w = (p->w + p->pad_before + p->pad_after - p->kernel) / p->stride + 1;
    struct tensor x = sample_3d(tx, p->h, p->w, p->c_in), y = sample_3d(ty, h, w, p->c_out), want = as_f32(&y);
    struct tensor bias = sample_1d(p->c_out), residual = sample_3d(ty, h, w, p->c_out);
    struct tensor dx = device_copy(&x), dbias = device_copy(&bias), dresidual = device_copy(&residual);
    struct tensor oihw = sample_2d(DT_F32, p->c_out, (int64_t)p->c_in * p->kernel * p->kernel, 0);
    struct conv_weight cw = { .c_out = p->c_out, .c_in = p->c_in, .kh = p->kernel, .kw = p->kernel }, dcw = cw;
    struct conv_args args = { p->stride, p->pad_before, p->pad_before, p->pad_after, p->pad_after, NULL };
    struct conv_args dargs = args;
    struct err err = { 0 };

    args.residual = p->residual ? &residual : NULL;
    dargs.residual = p->residual ? &dresidual : NULL;
    CHECK_OK(device()->ops->conv_weight_load(device(), oihw.data, &dcw, &err), err);
    CHECK_OK(reference()->ops->conv_weight_load(reference(), oihw.data, &cw, &err), err);
    TWICE(&y, op_conv2d(device(), out, &dx, &dcw, &dbias, &dargs, &err));
    CHECK_OK(op_conv2d(reference(), &want, &x, &cw, &bias, &args, &err), err);
    device_check("conv2d", &y, &want, p->c_in < 16 ? 2 * product_limit : product_limit);
    CHECK(device_done());
}

/* Larger convolutions are computed only with the types of the autoencoder, and not on a stand-in: the reference takes a
 * nanosecond for each multiplication. */
enum { MANY_PRODUCTS = 1 << 30 };

TEST(cuda__conv2d)
{
    static const struct picture pictures[] = {
        { 1, 1, 1, 64, 1, 1, 0, 0, false },       { 5, 7, 3, 5, 3, 1, 1, 1, true },
        { 9, 6, 16, 8, 3, 2, 0, 1, false },       { 33, 31, 12, 20, 1, 1, 0, 0, true },
        { 64, 48, 3, 128, 3, 1, 1, 1, false },    { 64, 64, 128, 3, 3, 1, 1, 1, false },
        { 64, 64, 16, 512, 3, 1, 1, 1, false },   { 64, 64, 512, 512, 3, 1, 1, 1, true },
        { 128, 96, 128, 128, 3, 2, 0, 1, false }, { 64, 64, 256, 512, 1, 1, 0, 0, false },
        { 160, 136, 256, 128, 3, 1, 1, 1, true }, { 19, 37, 64, 136, 3, 1, 1, 1, true },
        { 37, 19, 96, 33, 3, 2, 0, 1, true },     { 16, 17, 64, 24, 1, 2, 0, 0, false },
        { 16, 16, 512, 512, 3, 1, 1, 1, true },   { 256, 256, 128, 128, 3, 1, 1, 1, true },
        { 128, 128, 512, 512, 3, 1, 1, 1, true },
    };

    (void)device();
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        const struct picture *p = &pictures[i];
        bool large = p->h * p->w * p->c_in * p->c_out * p->kernel * p->kernel > MANY_PRODUCTS;

        if (large && device_is_dry())
            continue;
        sample_seed(i);
        if (!large) {
            conv2d_case(DT_BF16, DT_BF16, p);
            conv2d_case(DT_F32, DT_BF16, p);
        }
        conv2d_case(DT_BF16, DT_F32, p);
    }
}
