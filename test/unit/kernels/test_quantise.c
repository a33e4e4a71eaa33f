#include "kernels/quantise.h"

#include <math.h>
#include <string.h>

#include "kernels/quant.h"
#include "models/file/tensor_file.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/sample.h"

enum { MAX_BYTES_A_VALUE = 4, GUARD = 0xa5 };

/* Relative rms error on normal values, as measured with the official quantisers on four million of them. */
static const struct figure {
    enum dtype t;
    double error;
} figures[] = {
    { DT_F32, 0 },         { DT_F16, 0.00020765 }, { DT_BF16, 0.0016617 }, { DT_Q8_0, 0.0053539 },
    { DT_Q5_1, 0.037845 }, { DT_Q5_0, 0.042694 },  { DT_Q4_1, 0.078214 },  { DT_Q4_0, 0.085946 }, { DT_Q6_K, 0.017734 }, { DT_Q5_K, 0.036113 }, { DT_Q4_K, 0.071333 }, { DT_Q3_K, 0.150975 }, { DT_Q2_K, 0.296706 },
};
enum { N_TYPES = sizeof figures / sizeof figures[0] };

static float float_of(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static void fill_normal(float *x, int n)
{
    for (int i = 0; i < n; i++) {
        double u = fabs(sample_uniform()) + 1e-12;

        x[i] = (float)(sqrt(-2 * log(u)) * cos(M_PI * sample_uniform()));
    }
}

static uint16_t half_of(float f)
{
    uint16_t h;

    quantise_row(DT_F16, &f, &h, 1);
    return h;
}

TEST(quantise__gives_the_bytes_of_the_official_quantisers)
{
    enum { MAX_VALUES = 4096 };
    static uint8_t got[MAX_VALUES * MAX_BYTES_A_VALUE];
    const struct tensor_entry *values;
    struct tensor_file f;
    struct arena a;
    struct err err = { 0 };
    int n_types = 0;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(tensor_file_open(golden("common/quantise.safetensors"), &a, &f, &err), err);
    values = tensor_file_find(&f, span_of("values"));
    CHECK(values && values->dims[0] <= MAX_VALUES);
    for (int i = 0; i < N_TYPES; i++) {
        const struct tensor_entry *want = tensor_file_find(&f, span_of(dtype_info(figures[i].t)->name));
        int bytes = dtype_info(figures[i].t)->block_bytes;

        if (!want)
            continue;
        CHECK_INT(want->bytes, dtype_row_bytes(figures[i].t, values->dims[0]));
        quantise_row(figures[i].t, values->data, got, values->dims[0]);
        for (size_t at = 0; at < want->bytes; at++)
            if (got[at] != ((const uint8_t *)want->data)[at])
                test_fail(__FILE__, __LINE__, "%s differs in byte %zu of block %zu", dtype_info(figures[i].t)->name,
                          at % (size_t)bytes, at / (size_t)bytes);
        n_types++;
    }
    CHECK_INT(n_types, N_TYPES - 1); /* F32 is a copy */
    arena_done(&a);
}

/* Rows of every number of blocks up to a few vectors' worth: each block is what it is alone, and nothing else is written. */
TEST(quantise__writes_rows_of_any_length_block_by_block)
{
    enum { MAX_BLOCKS = 67, MAX_VALUES = MAX_BLOCKS * 256 };
    static float x[MAX_VALUES + 1];
    static uint8_t row[MAX_VALUES * MAX_BYTES_A_VALUE + 3], alone[1024];

    sample_seed(1);
    fill_normal(x, MAX_VALUES + 1);
    for (int i = 0; i < N_TYPES; i++) {
        enum dtype t = figures[i].t;
        int elems = dtype_info(t)->block_elems, bytes = dtype_info(t)->block_bytes;

        for (int n = 1; n <= (elems == 256 ? 5 : MAX_BLOCKS); n++) {
            uint8_t *dst = row + (elems == 1 ? 2 : 1); /* halves at an even address, blocks at an odd one */

            memset(row, GUARD, sizeof row);
            quantise_row(t, x + 1, t == DT_F32 ? row : dst, (int64_t)n * elems);
            dst = t == DT_F32 ? row : dst;
            for (int b = 0; b < n; b++) {
                quantise_row(t, x + 1 + b * elems, alone, elems);
                CHECK(memcmp(dst + b * bytes, alone, (size_t)bytes) == 0);
            }
            CHECK_INT(dst[n * bytes], GUARD);
            CHECK(dst == row || dst[-1] == GUARD);
        }
    }
}

TEST(quantise__gives_back_the_blocks_that_were_expanded)
{
    enum { N = 1 << 14 };
    static float x[N], y[N];
    static uint8_t first[N * MAX_BYTES_A_VALUE], second[N * MAX_BYTES_A_VALUE];

    sample_seed(2);
    fill_normal(x, N);
    for (int i = 0; i < N_TYPES; i++) {
        enum dtype t = figures[i].t;

        if (dtype_info(t)->block_elems == 256)
            continue; /* whose scales are searched for, not computed */
        quantise_row(t, x, first, N);
        dequantise_row(t, first, y, N);
        quantise_row(t, y, second, N);
        if (memcmp(first, second, dtype_row_bytes(t, N)) != 0)
            test_fail(__FILE__, __LINE__, "%s differs", dtype_info(t)->name);
    }
}

TEST(quantise__errs_on_normal_values_as_much_as_is_known)
{
    enum { N = 1 << 17 };
    static float x[N], y[N];
    static uint8_t q[N * MAX_BYTES_A_VALUE];

    sample_seed(3);
    fill_normal(x, N);
    for (int i = 0; i < N_TYPES; i++) {
        double want = figures[i].error, got;

        quantise_row(figures[i].t, x, q, N);
        dequantise_row(figures[i].t, q, y, N);
        got = check_rel(y, x, N);
        if (!(fabs(got - want) <= 0.02 * want))
            test_fail(__FILE__, __LINE__, "%s: relative error %.6g, want %.6g", dtype_info(figures[i].t)->name, got, want);
    }
}

/* Every half, the middle of it and the next one, and the floats next to that middle. */
TEST(quantise__rounds_to_halves_nearest_even)
{
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float this = f16_to_f32((uint16_t)h), next = h == 0x7bff ? 65536 : f16_to_f32((uint16_t)(h + 1));
        float middle = (float)(((double)this + next) / 2);

        CHECK_INT(half_of(this), h);
        CHECK_INT(half_of(-this), h | 0x8000);
        CHECK_INT(half_of(middle), h + (h & 1));
        CHECK_INT(half_of(nextafterf(middle, 0)), h);
        CHECK_INT(half_of(nextafterf(middle, INFINITY)), h + 1);
        CHECK_INT(half_of(-middle), (h + (h & 1)) | 0x8000);
    }
    CHECK_INT(half_of(float_of(1)), 0);
    CHECK_INT(half_of(-float_of(0x007fffff)), 0x8000);
    CHECK_INT(half_of(3e38F), 0x7c00);
    CHECK_INT(half_of(-INFINITY), 0xfc00);
    CHECK(isnan(f16_to_f32(half_of(NAN))));
}

/* ggml starts at zero and takes the first of equal values, so zeros alone have a negative scale in Q4_0 and Q5_0, and
 * the minimum of Q4_1 and Q5_1 has the sign of the first zero. */
TEST(quantise__gives_zero_the_sign_that_ggml_gives_it)
{
    static const struct {
        float first, others;
        uint16_t scale, min;
    } cases[] = { { 0.0F, 0.0F, 0x8000, 0 },
                  { -0.0F, -0.0F, 0x8000, 0x8000 },
                  { 0.0F, -0.0F, 0x8000, 0 },
                  { -0.0F, 0.0F, 0x8000, 0x8000 },
                  { -0.0F, 8.0F, 0xbc00, 0x8000 } };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float x[32];
        uint16_t q4_0[9], q4_1[10], q5_0[11], q5_1[12];

        for (int j = 0; j < 32; j++)
            x[j] = j < 3 ? cases[i].first : cases[i].others;
        quantise_row(DT_Q4_0, x, q4_0, 32);
        quantise_row(DT_Q5_0, x, q5_0, 32);
        quantise_row(DT_Q4_1, x, q4_1, 32);
        quantise_row(DT_Q5_1, x, q5_1, 32);
        CHECK_INT(q4_0[0], cases[i].scale);
        CHECK_INT(q5_0[0], cases[i].others == 8 ? 0xb800 : cases[i].scale);
        CHECK_INT(q4_1[1], cases[i].min);
        CHECK_INT(q5_1[1], cases[i].min);
    }
}

/* Two extremes of either sign: the first one decides the sign of the scale. */
TEST(quantise__takes_the_first_of_two_extremes)
{
    float x[32] = { 0 };
    uint16_t q[9];

    for (int first = 0; first < 31; first++) {
        memset(x, 0, sizeof x);
        x[first] = first % 2 ? 16 : -16;
        x[31] = -x[first];
        quantise_row(DT_Q4_0, x, q, 32);
        CHECK_INT(q[0], first % 2 ? 0xc000 : 0x4000);
    }
}

/* Values whose scale is less than any half: the inverse of the scale may be infinite, and the block is zeros. */
TEST(quantise__makes_zeros_of_values_that_are_next_to_nothing)
{
    static const float magnitudes[] = { 1e-45F, 3e-44F, 2e-43F, 1e-40F, 1e-38F, 1e-30F, 2e-8F };
    float x[256], y[256];
    uint8_t q[1024];

    for (int i = 0; i < N_TYPES; i++)
        for (size_t m = 0; m < sizeof magnitudes / sizeof magnitudes[0]; m++) {
            enum dtype t = figures[i].t;

            for (int j = 0; j < 256; j++)
                x[j] = j % 3 ? (j % 2 ? magnitudes[m] : -magnitudes[m]) : 0;
            quantise_row(t, x, q, 256);
            dequantise_row(t, q, y, 256);
            for (int j = 0; j < 256; j++)
                CHECK(t == DT_F32 || t == DT_BF16 || y[j] == 0);
        }
}

/* The caller refuses such rows; here only the block that holds the value may suffer. */
TEST(quantise__lets_nan_and_infinity_spoil_no_other_block)
{
    static const uint32_t bad[] = { 0x7fc00000, 0xffc00000, 0x7f800001, 0x7f800000, 0xff800000, 0x7f7fffff, 0xff7fffff };
    static float x[3 * 256];
    uint8_t good[3 * 1024], got[3 * 1024];

    sample_seed(4);
    for (int i = 0; i < N_TYPES; i++)
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            enum dtype t = figures[i].t;
            int elems = dtype_info(t)->block_elems, bytes = dtype_info(t)->block_bytes;

            fill_normal(x, 3 * elems);
            quantise_row(t, x, good, 3 * elems);
            x[elems] = float_of(bad[k]);
            x[2 * elems - 1] = float_of(bad[(k + 3) % (sizeof bad / sizeof bad[0])]);
            quantise_row(t, x, got, 3 * elems);
            CHECK(memcmp(got, good, (size_t)bytes) == 0);
            CHECK(memcmp(got + 2 * bytes, good + 2 * bytes, (size_t)bytes) == 0);
            for (int j = 0; j < 3 * elems; j++) /* nothing but such values */
                x[j] = float_of(bad[k]);
            quantise_row(t, x, got, 3 * elems);
        }
}

TEST(quantise__knows_the_types_that_it_supports)
{
    for (int t = 0; t <= DT_COUNT; t++) {
        bool listed = false;

        for (int i = 0; i < N_TYPES; i++)
            listed = listed || (int)figures[i].t == t;
        CHECK_INT(quantise_supports((enum dtype)t), listed);
    }
}

TEST(tensor__finds_a_type_by_its_name_in_either_case)
{
    static const char *const unknown[] = { "", "Q8", "Q8_0 ", " Q8_0", "Q4_K_M", "Q8_00", "FP16", "float32" };
    enum dtype t;

    for (int i = 0; i < DT_COUNT; i++)
        CHECK(dtype_from_name(dtype_info((enum dtype)i)->name, &t) && (int)t == i);
    CHECK(dtype_from_name("q8_0", &t) && t == DT_Q8_0);
    CHECK(dtype_from_name("bF16", &t) && t == DT_BF16);
    CHECK(dtype_from_name("q6_k", &t) && t == DT_Q6_K);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        CHECK(!dtype_from_name(unknown[i], &t));
}
