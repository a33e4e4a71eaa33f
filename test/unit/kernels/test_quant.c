#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/quant.h"
#include "models/file/tensor_file.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/sample.h"

enum { MAX_BLOCK = 256 };

/* The table of MODEL.md 3.4: a block of byte[i] = 37 i + 11 with d = 0.5 and m or dmin = 0.25. */
static const struct golden_row {
    enum dtype t;
    int d, m; /* byte offsets of the halves, -1: none */
    double sum, squares;
    struct {
        int at;
        double value;
    } some[9];
    int n_some;
} golden_rows[] = {
    { DT_Q8_0, 0, -1, -88, 47564, { { 0, 42.5 }, { 1, 61 }, { 15, -64 }, { 16, -45.5 }, { 31, -24 } }, 5 },
    { DT_Q4_0, 0, -1, -10.5, 161.25, { { 0, -1.5 }, { 1, 1 }, { 15, -4 }, { 16, -1.5 }, { 31, 0 } }, 5 },
    { DT_Q4_1, 0, 2, 130.5, 695, { { 0, 7.75 }, { 1, 2.25 }, { 15, 5.25 }, { 16, 4.75 }, { 31, 6.25 } }, 5 },
    { DT_Q5_0, 0, -1, 7.5, 656.75, { { 0, 4.5 }, { 1, -1 }, { 15, -6 }, { 16, 7 }, { 31, 0.5 } }, 5 },
    { DT_Q5_1, 0, 2, 260.5, 2824.5, { { 0, 9.75 }, { 1, 12.25 }, { 15, 15.25 }, { 16, 9.75 }, { 31, 2.75 } }, 5 },
    { DT_Q2_K,
      80,
      82,
      1029.5,
      13619,
      { { 0, 16.5 }, { 1, 0 }, { 15, 11 }, { 16, -0.75 }, { 32, 3.75 }, { 127, 21 }, { 128, 3.75 }, { 255, 2.25 } },
      8 },
    { DT_Q3_K,
      108,
      -1,
      479,
      142176.5,
      { { 0, 40.5 }, { 1, -54 }, { 16, -48 }, { 32, -11 }, { 127, 36 }, { 128, 1 }, { 255, 21 } },
      7 },
    { DT_Q4_K,
      0,
      2,
      27220,
      6041305,
      { { 0, 157.75 }, { 1, -12.75 }, { 32, 4 }, { 127, 40.5 }, { 128, 211.5 }, { 255, 24.25 } },
      6 },
    { DT_Q5_K,
      0,
      2,
      58108,
      25707205,
      { { 0, 405.75 }, { 1, -12.75 }, { 32, 56 }, { 127, -1.5 }, { 128, 523.5 }, { 255, 54.25 } },
      6 },
    { DT_Q6_K,
      208,
      -1,
      2306,
      118475065,
      { { 0, -715.5 }, { 1, 848 }, { 32, 115.5 }, { 127, 750 }, { 128, -175.5 }, { 255, -30 } },
      6 },
    { DT_IQ4_NL, 0, -1, -128.5, 33573.25, { { 0, -17.5 }, { 1, 12.5 }, { 15, -63.5 }, { 16, -17.5 }, { 31, 0.5 } }, 5 },
    { DT_IQ4_XS,
      0,
      -1,
      -5502.5,
      60747839.25,
      { { 0, 32.5 }, { 1, -0.5 }, { 32, 227.5 }, { 127, 98 }, { 128, -292.5 }, { 255, -8 } },
      6 },
};
enum { N_GOLDEN = sizeof golden_rows / sizeof golden_rows[0] };

static void golden_block(const struct golden_row *g, uint8_t *block)
{
    for (int i = 0; i < dtype_info(g->t)->block_bytes; i++)
        block[i] = (uint8_t)(37 * i + 11);
    memcpy(block + g->d, (uint16_t[]){ 0x3800 }, 2);
    if (g->m >= 0)
        memcpy(block + g->m, (uint16_t[]){ 0x3400 }, 2);
}

TEST(quant__expands_every_block_layout_to_the_golden_values)
{
    for (int i = 0; i < N_GOLDEN; i++) {
        const struct golden_row *g = &golden_rows[i];
        uint8_t block[MAX_BLOCK];
        float y[MAX_BLOCK];
        double sum = 0, squares = 0;
        int n = dtype_info(g->t)->block_elems;

        golden_block(g, block);
        dequantise_row(g->t, block, y, n);
        for (int j = 0; j < n; j++) {
            sum += y[j];
            squares += (double)y[j] * y[j];
        }
        CHECK(sum == g->sum);
        CHECK(squares == g->squares);
        for (int j = 0; j < g->n_some; j++)
            CHECK(y[g->some[j].at] == (float)g->some[j].value);
    }
}

TEST(quant__expands_rows_of_many_blocks_at_any_alignment)
{
    enum { BLOCKS = 7 };
    static uint8_t row[BLOCKS * MAX_BLOCK + 1];
    static float y[BLOCKS * MAX_BLOCK + 1];
    static uint16_t y16[BLOCKS * MAX_BLOCK + 1];

    for (int i = 0; i < N_GOLDEN; i++) {
        const struct golden_row *g = &golden_rows[i];
        int n = dtype_info(g->t)->block_elems, bytes = dtype_info(g->t)->block_bytes;

        for (int b = 0; b < BLOCKS; b++)
            golden_block(g, row + 1 + b * bytes);
        y[BLOCKS * n] = 1234;
        y16[BLOCKS * n] = 1234;
        dequantise_row(g->t, row + 1, y, BLOCKS * n);
        dequantise_row_bf16(g->t, row + 1, y16, BLOCKS * n);
        for (int j = 0; j < BLOCKS * n; j++) {
            CHECK(y[j] == y[j % n]);
            CHECK_INT(y16[j], f32_to_bf16(y[j]));
        }
        CHECK(y[BLOCKS * n] == 1234 && y16[BLOCKS * n] == 1234);
    }
}

/* Random blocks, expanded by gguf-py: the same bits. */
TEST(quant__expands_the_official_blocks_exactly)
{
    enum { MAX_VALUES = 6144 };
    static float got[MAX_VALUES];
    struct tensor_file f;
    struct arena a;
    struct err err = { 0 };
    int n_types = 0;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(tensor_file_open(golden("common/dequantise.safetensors"), &a, &f, &err), err);
    for (int t = 0; t < DT_COUNT; t++) {
        const char *name = dtype_info((enum dtype)t)->name;
        const struct tensor_entry *raw, *want;
        char *key = NULL;

        CHECK_OK(arena_printf(&a, &key, &err, "%s.raw", name), err);
        raw = tensor_file_find(&f, span_of(key));
        CHECK_OK(arena_printf(&a, &key, &err, "%s.f32", name), err);
        want = tensor_file_find(&f, span_of(key));
        if (!raw || !want)
            continue;
        CHECK(want->dims[0] <= MAX_VALUES);
        CHECK_INT(raw->bytes, dtype_row_bytes((enum dtype)t, want->dims[0]));
        dequantise_row((enum dtype)t, raw->data, got, want->dims[0]);
        if (memcmp(got, want->data, want->bytes) != 0)
            test_fail(__FILE__, __LINE__, "%s differs", name);
        n_types++;
    }
    CHECK_INT(n_types, 14);
    arena_done(&a);
}

TEST(quant__gives_zeros_and_never_fails_on_blocks_of_all_zeros_and_all_ones)
{
    uint8_t block[MAX_BLOCK];
    float y[MAX_BLOCK];

    for (int t = 0; t < DT_COUNT; t++) {
        int n = dtype_info((enum dtype)t)->block_elems;

        memset(block, 0xff, sizeof block);
        dequantise_row((enum dtype)t, block, y, n);
        memset(block, 0, sizeof block);
        dequantise_row((enum dtype)t, block, y, n);
        for (int j = 0; j < n; j++)
            CHECK(y[j] == 0);
    }
}

TEST(quant__reads_every_half_and_every_float8_as_defined)
{
    for (int i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        int exponent = i >> 10 & 31, fraction = i & 1023;
        double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                           : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                          : ldexp(fraction, -24);
        double want = i & 0x8000 ? -magnitude : magnitude;
        float got = f16_to_f32(h), row;

        dequantise_row(DT_F16, &h, &row, 1);
        CHECK(isnan(want) ? isnan(got) && isnan(row) : got == want && row == want);
    }
    for (int i = 0; i < 256; i++) {
        int exponent = i >> 3 & 15, fraction = i & 7;
        double magnitude = (i & 127) == 127 ? NAN : exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
        double want = i & 128 ? -magnitude : magnitude;
        float got = f8_e4m3_to_f32((uint8_t)i);

        CHECK(isnan(want) ? isnan(got) : got == want);
    }
}

/* OCP FP8: E5M2 has the sign, exponent and special values of a half, and the first two bits of its fraction. */
TEST(quant__reads_every_e5m2_as_the_half_of_its_upper_byte)
{
    uint8_t codes[256];
    float row[256], halves[256];
    uint16_t high[256], row_bf16[256];

    for (int i = 0; i < 256; i++) {
        codes[i] = (uint8_t)i;
        high[i] = (uint16_t)(i << 8);
    }
    dequantise_row(DT_F8_E5M2, codes, row, 256);
    dequantise_row_bf16(DT_F8_E5M2, codes, row_bf16, 256);
    dequantise_row(DT_F16, high, halves, 256);
    CHECK(memcmp(row, halves, sizeof row) == 0);
    for (int i = 0; i < 256; i++) {
        int exponent = i >> 2 & 31, fraction = i & 3;
        double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                           : exponent     ? ldexp(4 + fraction, exponent - 17)
                                          : ldexp(fraction, -16);
        double want = i & 128 ? -magnitude : magnitude;

        CHECK(isnan(want) ? isnan(row[i]) : row[i] == want && !signbit(row[i]) == !(i & 128));
        CHECK_INT(row_bf16[i], f32_to_bf16(row[i])); /* two bits of fraction need no rounding */
        CHECK(isnan(want) || bf16_to_f32(row_bf16[i]) == want);
    }
}

/* The product of two f32 is exact in double, so that the conversion rounds once. */
static float times(float value, float scale)
{
    return scale == 0 ? value : (float)((double)value * scale);
}

/* Row 2 of 3, and row 0 of a view that begins there; longer than a step of the expansion to bf16. */
static void scaled_row(enum dtype t, float scale)
{
    enum { N = 2304 };
    static float stored[N], got[2][N];
    static uint16_t got_bf16[2][N];
    struct weight w = sample_weight(t, 3, N), view;

    w.scale = scale;
    view = weight_row_view(&w, 2, 1);
    CHECK(view.scale == scale);
    dequantise_row(t, view.data, stored, N);
    dequantise_weight_row(&w, 2, got[0]);
    dequantise_weight_row(&view, 0, got[1]);
    dequantise_weight_row_bf16(&w, 2, got_bf16[0]);
    dequantise_weight_row_bf16(&view, 0, got_bf16[1]);
    for (int i = 0; i < 2 * N; i++) {
        float want = times(stored[i % N], scale);

        CHECK(got[i / N][i % N] == want);
        CHECK_INT(got_bf16[i / N][i % N], f32_to_bf16(want));
    }
    CHECK(sample_done());
}

TEST(quant__multiplies_the_rows_of_a_weight_with_its_scale)
{
    static const float scales[] = { 0, 1, 0.0173f, 448, 0x1p-40f, -3 };

    for (int t = 0; t < DT_COUNT; t++)
        if (t != DT_I32 && t != DT_I64 && t != DT_U8)
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
                scaled_row((enum dtype)t, scales[s]);
}

TEST(quant__rounds_to_bf16_to_nearest_even)
{
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {
        { 0x3f800000, 0x3f80 }, { 0x3f808000, 0x3f80 }, { 0x3f808001, 0x3f81 }, { 0x3f818000, 0x3f82 },
        { 0xbf807fff, 0xbf80 }, { 0x7f7fffff, 0x7f80 }, { 0x7f800000, 0x7f80 }, { 0xff800000, 0xff80 },
        { 0x00000000, 0x0000 }, { 0x80000000, 0x8000 }, { 0x00008001, 0x0001 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float f;

        memcpy(&f, &cases[i].from, 4);
        CHECK_INT(f32_to_bf16(f), cases[i].to);
    }
    CHECK(isnan(bf16_to_f32(f32_to_bf16(NAN))));
    for (uint32_t u = 0x7f800001; u < 0x80000000; u += 0xffff) {
        float f;

        memcpy(&f, &u, 4);
        CHECK(isnan(bf16_to_f32(f32_to_bf16(f))));
    }
}

TEST(quant__finds_one_value_that_is_out_of_bounds_wherever_it_is)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY, 4.5f, -4.5f };
    float values[37];

    for (int i = 0; i < 37; i++)
        values[i] = i % 2 ? 4 : -4;
    CHECK(values_are_within(values, 37, 4) && values_are_within(values, 0, 0));
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        for (int i = 0; i < 37; i++) {
            const float kept = values[i];

            values[i] = bad[k];
            CHECK(!values_are_within(values, 37, 4));
            CHECK_INT(values_are_within(values, 37, FLT_MAX), k > 2);
            values[i] = kept;
        }
}

TEST(quant__reads_some_columns_of_a_row)
{
    enum { COLS = 64, ROWS = 3, BLOCK = 34 /* of 32 values: a half, and bytes */ };
    unsigned char matrix[ROWS * COLS / 32 * BLOCK];
    float whole[COLS], some[32];

    for (size_t i = 0; i < sizeof matrix; i++)
        matrix[i] = i % BLOCK == 0 ? 0 : i % BLOCK == 1 ? 0x3c : (unsigned char)(37 * i + 11);
    for (int64_t row = 0; row < ROWS; row++) {
        dequantise_row(DT_Q8_0, matrix + row * COLS / 32 * BLOCK, whole, COLS);
        for (int64_t j0 = 0; j0 < COLS; j0 += 32) {
            dequantise_columns(DT_Q8_0, matrix, COLS, row, j0, 32, some);
            CHECK_INT(memcmp(some, whole + j0, sizeof some), 0);
        }
    }
}
