/*
 * Convolutions on the shim: the kernel on tensor cores against the plain backend, and the inputs of each output pixel as
 * rows. Operands of products are rounded to bf16 first, so both sides compute the same products and differ only in the
 * order of f32 sums: up to 9 * 64 products of -1 .. 1 with sums of about 5 give an error of 1e-6.
 */
#include <math.h>

#include "kernels/cuda/gpu/product_kernels.h"
#include "kernels/ops.h"
#include "test/support/shim/shim_case.h"

static const double f32_limit = 1e-6;

struct picture {
    int64_t height, width;
    int c_in, c_out, kh, kw, stride, top, left, bottom, right;
};

/* The operands of a convolution, with the weights in the layout of each side. */
struct conv_case {
    struct tensor x, y, bias, residual, rows; /* rows: the weights [c_out, kh * kw * c_in] bf16 */
    struct conv_weight plain, w;
    struct conv_args args;
};

/* [c_out, c_in, kh, kw] -> [c_out, kh, kw, c_in] */
static struct tensor weights_as_rows(const struct tensor *oihw, const struct picture *p)
{
    int64_t taps = (int64_t)p->kh * p->kw;
    struct tensor rows = sample_2d(DT_BF16, p->c_out, taps * p->c_in, 0);

    for (int64_t o = 0; o < p->c_out; o++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t i = 0; i < p->c_in; i++)
                sample_put(&rows, o, tap * p->c_in + i, sample_at(oihw, o, i * taps + tap));
    return rows;
}

static struct conv_case make_case(const struct picture *p, enum dtype y_type, enum dtype residual_type)
{
    int64_t h = (p->height + p->top + p->bottom - p->kh) / p->stride + 1;
    int64_t w = (p->width + p->left + p->right - p->kw) / p->stride + 1;
    struct conv_weight weight = { .c_out = p->c_out, .c_in = p->c_in, .kh = p->kh, .kw = p->kw };
    struct tensor rounded = sample_2d(DT_BF16, p->c_out, (int64_t)p->c_in * p->kh * p->kw, 0);
    struct tensor oihw = sample_f32(&rounded);
    struct conv_case c = { .x = sample_3d(DT_BF16, p->height, p->width, p->c_in),
                           .y = sample_3d(y_type, h, w, p->c_out),
                           .bias = sample_1d(p->c_out),
                           .residual = sample_3d(residual_type, h, w, p->c_out),
                           .rows = weights_as_rows(&oihw, p),
                           .plain = weight,
                           .w = weight,
                           .args = { p->stride, p->top, p->left, p->bottom, p->right, NULL } };
    struct err err = { 0 };

    c.w.data = c.rows.data;
    CHECK_OK(shim_plain()->ops->conv_weight_load(shim_plain(), oihw.data, &c.plain, &err), err);
    return c;
}

static void conv_case(const struct picture *p, enum dtype y_type, enum dtype residual_type, bool add)
{
    struct conv_case c = make_case(p, y_type, residual_type);
    struct tensor want = shim_twin(&c.y);
    struct err err = { 0 };

    c.args.residual = add ? &c.residual : NULL;
    CHECK_OK(op_conv2d(shim_plain(), &want, &c.x, &c.plain, &c.bias, &c.args, &err), err);
    CHECK(k_conv_mma_fits(&c.x, &c.w));
    ON_SHIM(&c.y, k_conv_mma(out, &c.x, &c.w, &c.bias, &c.args, NULL));
    shim_check_close("conv", &c.y, &want, f32_limit);
    CHECK(sample_done());
}

/* Sides smaller than a block of pixels, of one block and of several with a tail; fewer than eight channels, odd numbers,
 * one block of them and more than one; every number of taps. */
static const struct picture pictures[] = {
    { 1, 1, 32, 8, 1, 1, 1, 0, 0, 0, 0 },     { 1, 1, 32, 8, 3, 3, 1, 1, 1, 1, 1 },
    { 9, 7, 32, 24, 3, 3, 1, 1, 1, 1, 1 },    { 11, 33, 64, 136, 3, 3, 1, 1, 1, 1, 1 },
    { 3, 17, 96, 3, 3, 3, 1, 1, 1, 1, 1 },    { 10, 33, 64, 136, 3, 3, 2, 0, 0, 1, 1 },
    { 9, 7, 96, 24, 3, 3, 2, 0, 0, 1, 1 },    { 18, 5, 64, 32, 3, 3, 2, 1, 1, 1, 1 },
    { 5, 33, 128, 40, 1, 1, 1, 0, 0, 0, 0 },  { 7, 18, 32, 5, 1, 1, 2, 0, 0, 0, 0 },
    { 17, 1, 64, 33, 3, 1, 1, 2, 0, 0, 0 },   { 2, 35, 64, 130, 1, 3, 1, 0, 0, 0, 2 },
    { 6, 19, 128, 12, 1, 2, 1, 0, 1, 0, 0 },  { 12, 12, 32, 129, 2, 2, 1, 1, 0, 0, 1 },
    { 9, 17, 64, 64, 3, 2, 1, 0, 0, 0, 0 },
};

TEST(cuda_shim__conv_on_tensor_cores_agrees_with_the_plain_backend)
{
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        sample_seed(i);
        conv_case(&pictures[i], DT_F32, DT_F32, i % 4 != 0);
        conv_case(&pictures[i], DT_BF16, i % 2 ? DT_F32 : DT_BF16, true);
        if (i % 3 == 0)
            conv_case(&pictures[i], DT_F32, DT_BF16, true);
    }
}

static int conv_over(struct tensor *out, const struct conv_case *c)
{
    struct conv_args args = c->args;

    args.residual = out;
    return k_conv_mma(out, &c->x, &c->w, &c->bias, &args, NULL);
}

/* The result overwrites the residual. */
TEST(cuda_shim__conv_on_tensor_cores_writes_over_its_residual)
{
    static const struct picture p = { 9, 18, 64, 40, 3, 3, 1, 1, 1, 1, 1 };
    struct conv_case c = make_case(&p, DT_F32, DT_F32);
    struct tensor want = shim_twin(&c.y);
    struct err err = { 0 };

    c.args.residual = &c.y;
    CHECK_OK(op_conv2d(shim_plain(), &want, &c.x, &c.plain, &c.bias, &c.args, &err), err);
    ON_SHIM(&c.y, conv_over(out, &c));
    shim_check_close("conv over its residual", &c.y, &want, f32_limit);
    CHECK(sample_done());
}

/* Results at addresses that do not allow access to pairs of values. */
TEST(cuda_shim__conv_on_tensor_cores_takes_results_of_any_alignment)
{
    static const struct picture p = { 9, 7, 32, 6, 3, 3, 1, 1, 1, 1, 1 };

    for (int form = 0; form < 2; form++) {
        enum dtype t = form ? DT_BF16 : DT_F32;
        struct conv_case c = make_case(&p, t, t);
        struct tensor all = sample_1d(1 + tensor_count(&c.y)), want = shim_twin(&c.y);
        struct err err = { 0 };

        c.args.residual = &c.residual;
        CHECK_OK(op_conv2d(shim_plain(), &want, &c.x, &c.plain, &c.bias, &c.args, &err), err);
        c.y.data = (char *)all.data + (form ? 2 : 4);
        CHECK_INT(k_conv_mma(&c.y, &c.x, &c.w, &c.bias, &c.args, NULL), 0);
        shim_check_close("conv", &c.y, &want, f32_limit);
        CHECK(sample_done());
    }
}

/* A NaN pixel and an infinite one reach exactly those outputs whose windows contain them. */
TEST(cuda_shim__conv_on_tensor_cores_propagates_nan_and_infinity)
{
    static const struct picture p = { 10, 20, 64, 9, 3, 3, 1, 1, 1, 1, 1 };
    struct conv_case c = make_case(&p, DT_F32, DT_F32);
    struct tensor want = shim_twin(&c.y);
    struct err err = { 0 };

    sample_put(&c.x, 3 * 20 + 5, 33, NAN);
    sample_put(&c.x, 8 * 20 + 16, 2, INFINITY);
    CHECK_OK(op_conv2d(shim_plain(), &want, &c.x, &c.plain, &c.bias, &c.args, &err), err);
    CHECK_INT(k_conv_mma(&c.y, &c.x, &c.w, &c.bias, &c.args, NULL), 0);
    for (int64_t pixel = 0; pixel < 200; pixel++)
        for (int64_t o = 0; o < 9; o++) {
            float a = sample_at(&c.y, pixel, o), b = sample_at(&want, pixel, o);

            CHECK(isnan(a) == isnan(b) && isinf(a) == isinf(b));
            CHECK(!isinf(a) || a == b);
        }
    CHECK(isnan(sample_at(&c.y, 2 * 20 + 4, 0)) && isinf(sample_at(&c.y, 9 * 20 + 17, 0)));
    CHECK(sample_done());
}

TEST(cuda_shim__conv_on_tensor_cores_reports_which_calls_it_does_not_take)
{
    static const struct picture p = { 3, 3, 32, 8, 3, 3, 1, 1, 1, 1, 1 };
    struct conv_case c = make_case(&p, DT_F32, DT_F32);
    struct tensor x = c.x;
    struct conv_weight w = c.w;

    CHECK(k_conv_mma_fits(&x, &w));
    w.c_in = 16;
    CHECK(!k_conv_mma_fits(&x, &w));
    w = c.w, w.kw = 4;
    CHECK(!k_conv_mma_fits(&x, &w));
    w = c.w, x.dtype = DT_F32;
    CHECK(!k_conv_mma_fits(&x, &w));
    x = c.x, x.data = (char *)x.data + 8;
    CHECK(!k_conv_mma_fits(&x, &w));
    x = c.x, x.dims[0] = x.dims[1] = 1 << 17;
    CHECK(!k_conv_mma_fits(&x, &w));
    CHECK(sample_done());
}

struct window {
    int64_t height, width, channels;
    int kernel, stride, pad_before, pad_after;
};

/* The value that output pixel `p` reads through tap (ky, kx) of channel c; 0 outside the picture. */
static float seen(const struct tensor *x, const struct window *w, int64_t out_width, int64_t p, int ky, int kx,
                  int64_t c)
{
    int64_t row = p / out_width * w->stride + ky - w->pad_before, col = p % out_width * w->stride + kx - w->pad_before;

    return row < 0 || row >= w->height || col < 0 || col >= w->width ? 0 : sample_at(x, row * w->width + col, c);
}

static void conv_rows_case(const struct window *w, enum dtype t)
{
    int64_t out_height = (w->height + w->pad_before + w->pad_after - w->kernel) / w->stride + 1;
    int64_t out_width = (w->width + w->pad_before + w->pad_after - w->kernel) / w->stride + 1;
    int64_t taps = (int64_t)w->kernel * w->kernel, cols = (taps * w->channels + 7) & ~(int64_t)7;
    int64_t first = out_height * out_width / 3, n = out_height * out_width - first;
    struct tensor x = sample_3d(t, w->height, w->width, w->channels), y = sample_2d(DT_BF16, n, cols, 0);
    struct tensor want = shim_twin(&y);
    struct conv_weight weight = { .kh = w->kernel, .kw = w->kernel };
    struct conv_args args = { w->stride, w->pad_before, w->pad_before, w->pad_after, w->pad_after, NULL };

    for (int64_t p = 0; p < n; p++)
        for (int64_t i = 0; i < cols; i++) {
            int tap = (int)(i / w->channels);
            float value = tap < taps ? seen(&x, w, out_width, first + p, tap / w->kernel, tap % w->kernel,
                                            i % w->channels)
                                     : 0;

            sample_put(&want, p, i, value);
        }
    ON_SHIM(&y, k_conv_rows(out, &x, first, out_width, &weight, &args, NULL));
    shim_check_same(&y, &want);
    CHECK(sample_done());
}

TEST(cuda_shim__conv_rows_hold_the_inputs_of_each_output_pixel)
{
    static const struct window windows[] = {
        { 1, 1, 1, 1, 1, 0, 0 },  { 5, 7, 3, 3, 1, 1, 1 },  { 9, 6, 16, 3, 2, 0, 1 },
        { 6, 5, 12, 1, 1, 0, 0 }, { 12, 11, 8, 3, 1, 1, 1 }, { 7, 9, 24, 3, 2, 0, 1 },
    };

    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        sample_seed(i);
        conv_rows_case(&windows[i], DT_F32);
        conv_rows_case(&windows[i], DT_BF16);
    }
}
