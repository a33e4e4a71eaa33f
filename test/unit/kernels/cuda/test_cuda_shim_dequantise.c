/*
 * Expansion of every storage type on the shim gives the bits of kernels/quant.c, from and to any address.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/shim/shim_case.h"

static const enum dtype types[] = { DT_F32,  DT_F16,  DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q8_0,
                                    DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1,    DT_Q2_K,    DT_Q3_K,
                                    DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL,  DT_IQ4_XS };
enum { N_TYPES = sizeof types / sizeof types[0] };

/* NaNs need not have the same payload. */
static void check_bits(enum dtype t, const struct tensor *got, const struct tensor *want)
{
    for (int64_t c = 0; c < tensor_cols(want); c++) {
        float g = sample_at(got, 0, c), w = sample_at(want, 0, c);

        if (memcmp(&g, &w, sizeof g) != 0 && !(isnan(g) && isnan(w)))
            test_fail(__FILE__, __LINE__, "%s to %s, value %lld of %lld: %a, want %a", dtype_info(t)->name,
                      dtype_info(got->dtype)->name, (long long)c, (long long)tensor_cols(want), (double)g, (double)w);
    }
}

/* `skew` values before the target. */
static void expand_scaled(enum dtype t, const void *src, int64_t n, float scale, enum dtype to, int64_t skew)
{
    struct weight w = { .dtype = t, .rows = 1, .cols = n, .data = src, .scale = scale };
    struct tensor all = sample_2d(to, 1, n + skew, 1), y = tensor_col_view(&all, skew, n), want = shim_twin(&y);

    if (to == DT_F32)
        dequantise_weight_row(&w, 0, want.data);
    else
        dequantise_weight_row_bf16(&w, 0, want.data);
    CHECK_INT(k_dequantise(t, src, scale, to, y.data, n, NULL), 0);
    check_bits(t, &y, &want);
}

static void expand(enum dtype t, const void *src, int64_t n, enum dtype to, int64_t skew)
{
    expand_scaled(t, src, n, 0, to, skew);
    expand_scaled(t, src, n, 0.0173f, to, skew);
}

static void expand_all_ways(enum dtype t, const void *src, int64_t n)
{
    expand(t, src, n, DT_F32, 0);
    expand(t, src, n, DT_BF16, 0);
    expand(t, src, n, DT_F32, 1);
    expand(t, src, n, DT_BF16, 3);
    CHECK(sample_done());
}

TEST(cuda_shim__dequantise_gives_the_bits_of_the_reference)
{
    for (int i = 0; i < N_TYPES; i++) {
        int64_t block = dtype_info(types[i])->block_elems;
        int64_t counts[] = { block, 5 * block, 2048, 2048 + 3 * block, 3 * 2048 - block, block == 1 ? 2051 : 4096 };

        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            sample_seed((uint64_t)(100 * i) + c);
            struct weight w = sample_weight(types[i], 1, counts[c]);
            size_t bytes = dtype_row_bytes(types[i], counts[c]);
            char *moved = malloc(bytes + 2); /* of the exact size, so that a sanitizer sees a read past its end */

            CHECK(moved);
            memcpy(moved + 2, w.data, bytes);
            expand(types[i], w.data, counts[c], DT_BF16, 0);
            expand(types[i], w.data, counts[c], DT_F32, 1);
            expand_all_ways(types[i], moved + 2, counts[c]);
            free(moved);
        }
    }
}

TEST(cuda_shim__dequantise_takes_every_bit_pattern)
{
    enum { N = 2048, BYTES = N * 4 };
    unsigned char *src = malloc(BYTES);

    CHECK(src);
    for (int i = 0; i < N_TYPES; i++)
        for (int pattern = 0; pattern < 4; pattern++) {
            sample_seed((uint64_t)(10 * i + pattern));
            for (int b = 0; b < BYTES; b++)
                src[b] = pattern == 0 ? 0 : pattern == 1 ? 0xff : (unsigned char)(127.5 + 127.5 * sample_uniform());
            expand_all_ways(types[i], src, N);
        }
    free(src);
}

TEST(cuda_shim__dequantise_refuses_integers)
{
    float out[32] = { 0 };

    CHECK(k_dequantise(DT_I32, out, 0, DT_F32, out, 32, NULL) != 0);
}

static void embed_case(struct weight table, int64_t n, const struct shim_form *f)
{
    struct tensor y = shim_y(f, n, table.cols), want = shim_twin(&y);
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    struct err err = { 0 };

    CHECK(ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)((i * 7 + table.rows - 1) % table.rows);
    CHECK_OK(shim_plain()->ops->embed_rows(shim_plain(), &want, &table, ids, &err), err);
    CHECK_INT(k_embed_rows(&y, &table, ids, NULL), 0);
    shim_check_same(&y, &want);
    free(ids);
}

/* The table as it is, and with a scale. */
static void embed_cases(enum dtype t, int64_t rows, int64_t cols, int64_t n, const struct shim_form *f)
{
    struct weight table = sample_weight(t, rows, cols);

    embed_case(table, n, f);
    table.scale = 0.0173f;
    embed_case(table, n, f);
    CHECK(sample_done());
}

TEST(cuda_shim__embed_rows_gives_the_rows_of_every_type)
{
    for (int i = 0; i < N_TYPES; i++) {
        int64_t block = dtype_info(types[i])->block_elems;

        sample_seed((uint64_t)i);
        embed_cases(types[i], 9, 5 * block, 4, &shim_forms[i % N_SHIM_FORMS]);
        embed_cases(types[i], 3, 2304, 2, &shim_forms[(i + 3) % N_SHIM_FORMS]);
    }
    embed_cases(DT_F16, 11, 37, 1100, &shim_forms[0]); /* more than one launch */
    embed_cases(DT_Q8_0, 11, 32, 513, &shim_forms[4]);
}
