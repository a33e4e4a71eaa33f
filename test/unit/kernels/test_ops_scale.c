/*
 * The scale of a weight on every CPU backend: products and rows of a table are those of the values multiplied one by
 * one, in f32, and rounded once where the backend wants bf16.
 */
#include <string.h>

#include "kernels/ops.h"
#include "test/support/check.h"
#include "test/support/sample.h"

/* The limits of products in test_ops.c, for sums of 256 values. */
static const struct lane {
    const char *name;
    enum backend_kind kind;
    enum precision precision;
    double limit;
} lanes[] = {
    { "plain f32", BACKEND_PLAIN, PRECISION_F32, 1e-7 },
    { "plain bf16", BACKEND_PLAIN, PRECISION_BF16, 1e-7 },
    { "fast f32", BACKEND_CPU, PRECISION_F32, 1e-6 },
    { "fast bf16", BACKEND_CPU, PRECISION_BF16, 4e-3 },
};
enum { N_LANES = sizeof lanes / sizeof lanes[0] };

/* F32 and BF16 are types that the fast backend reads where they are, if they have no scale. */
static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q8_0, DT_Q4_K };
enum { N_TYPES = sizeof types / sizeof types[0] };

static const float scales[] = { 0, 0.0173f, 112.5f };
enum { N_SCALES = sizeof scales / sizeof scales[0] };

/* Up to four rows of x are multiplied with one row of weights at a time, more with tiles of them. */
enum { FEW = 3, MANY = 19, COLS = 256, ROWS = 47, FIRST = 7, SOME = 33 };

static struct backend *open_lane(int lane)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(lanes[lane].kind, lanes[lane].precision, &be, &err), err);
    return be;
}

static struct weight scaled_weight(enum dtype t, float scale)
{
    struct weight w = sample_weight(t, ROWS, COLS);

    w.scale = scale;
    return w;
}

/* The product of two f32 is exact in double, so that the conversion rounds once. */
static struct tensor multiplied(const struct weight *w)
{
    struct tensor rows = sample_2d(DT_F32, w->rows, w->cols, 0);

    for (int64_t r = 0; r < w->rows; r++) {
        float *row = (float *)rows.data + r * w->cols;

        dequantise_row(w->dtype, (const char *)w->data + (size_t)r * dtype_row_bytes(w->dtype, w->cols), row, w->cols);
        for (int64_t c = 0; c < w->cols && w->scale != 0; c++)
            row[c] = (float)((double)row[c] * w->scale);
    }
    return rows;
}

static void check(int lane, const struct weight *w, const struct tensor *got, const struct tensor *want, double limit)
{
    double rel = sample_rel(got, want);

    limit += got->dtype == DT_BF16 ? 0x1p-8 : 0;
    if (!(rel <= limit))
        test_fail(__FILE__, __LINE__, "%s, %s times %g to %s: relative error %.3g, limit %.3g", lanes[lane].name,
                  dtype_info(w->dtype)->name, (double)w->scale, dtype_info(got->dtype)->name, rel, limit);
}

static void each_weight(void (*fn)(struct backend *be, int lane, const struct weight *w))
{
    for (int lane = 0; lane < N_LANES; lane++) {
        struct backend *be = open_lane(lane);

        for (int i = 0; i < N_TYPES * N_SCALES; i++) {
            struct weight w;

            sample_seed((uint64_t)i);
            w = scaled_weight(types[i / N_SCALES], scales[i % N_SCALES]);
            fn(be, lane, &w);
            CHECK(sample_done());
        }
        backend_close(be);
    }
}

static void product(struct backend *be, int lane, const struct weight *w, enum dtype t, int64_t m)
{
    struct tensor x = sample_2d(t, m, COLS, 3), y = sample_2d(t, m, ROWS, 5), rows = multiplied(w);
    struct tensor want = sample_2d(DT_F32, m, ROWS, 0);
    struct err err = { 0 };

    for (int64_t i = 0; i < m; i++)
        for (int64_t o = 0; o < ROWS; o++) {
            double sum = 0;

            for (int64_t k = 0; k < COLS; k++)
                sum += (double)sample_at(&x, i, k) * sample_at(&rows, o, k);
            sample_put(&want, i, o, (float)sum);
        }
    CHECK_OK(op_linear(be, &y, &x, w, NULL, ACT_NONE, &err), err);
    check(lane, w, &y, &want, lanes[lane].limit);
}

static void products(struct backend *be, int lane, const struct weight *w)
{
    product(be, lane, w, DT_F32, FEW);
    product(be, lane, w, DT_F32, MANY);
    product(be, lane, w, DT_BF16, FEW);
    product(be, lane, w, DT_BF16, MANY);
}

TEST(ops_scale__products_agree_with_sums_of_multiplied_values)
{
    each_weight(products);
}

/* Some rows of the weight, against the same rows in f32, multiplied beforehand. */
static void same_bytes(struct backend *be, int64_t m, const struct weight *w)
{
    struct tensor x = sample_2d(DT_F32, m, COLS, 0), y = sample_2d(DT_F32, m, SOME, 0), want = sample_f32(&y);
    struct tensor rows = multiplied(w);
    struct weight view = weight_row_view(w, FIRST, SOME), before = { .dtype = DT_F32, .rows = SOME, .cols = COLS };
    struct err err = { 0 };

    before.data = (float *)rows.data + FIRST * COLS;
    CHECK_OK(op_linear(be, &y, &x, &view, NULL, ACT_NONE, &err), err);
    CHECK_OK(op_linear(be, &want, &x, &before, NULL, ACT_NONE, &err), err);
    CHECK(memcmp(y.data, want.data, (size_t)tensor_count(&y) * sizeof(float)) == 0);
}

static void views(struct backend *be, int lane, const struct weight *w)
{
    (void)lane;
    same_bytes(be, FEW, w);
    same_bytes(be, MANY, w);
}

TEST(ops_scale__a_view_of_some_rows_gives_the_bytes_of_values_multiplied_beforehand)
{
    each_weight(views);
}

static void table(struct backend *be, int lane, const struct weight *w)
{
    static const int32_t ids[] = { 3, 0, ROWS - 1, 3 };
    struct tensor rows = multiplied(w), y = sample_2d(DT_F32, 4, COLS, 3), want = sample_2d(DT_F32, 4, COLS, 0);
    struct tensor y16 = sample_2d(DT_BF16, 4, COLS, 1);
    struct err err = { 0 };

    for (int64_t r = 0; r < 4; r++)
        memcpy((float *)want.data + r * COLS, (float *)rows.data + ids[r] * COLS, COLS * sizeof(float));
    CHECK_OK(op_embed_rows(be, &y, w, ids, &err), err);
    CHECK_OK(op_embed_rows(be, &y16, w, ids, &err), err);
    check(lane, w, &y, &want, 0);
    for (int64_t i = 0; i < 4 * COLS; i++)
        CHECK_INT(f32_to_bf16(sample_at(&y16, i / COLS, i % COLS)), f32_to_bf16(sample_at(&want, i / COLS, i % COLS)));
}

TEST(ops_scale__rows_of_a_table_are_multiplied_and_rounded_once)
{
    each_weight(table);
}
