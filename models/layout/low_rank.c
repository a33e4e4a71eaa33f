#include "models/layout/low_rank.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "kernels/quant.h"

enum { STRIP = LOW_RANK_STRIP, GROUP = 4 /* rows at a time: what is read of `a` serves all of them */ };

static int64_t n_strips(int64_t cols)
{
    return (cols + STRIP - 1) / STRIP;
}

int64_t low_rank_strip_values(int64_t rank, int64_t cols)
{
    return n_strips(cols) * STRIP * rank;
}

void low_rank_put(float *strips, int64_t rank, int64_t k, int64_t j0, int64_t n, const float *values)
{
    for (int64_t j = 0; j < n; j += STRIP)
        memcpy(strips + (j0 + j) * rank + k * STRIP, values + j,
               (size_t)(n - j < STRIP ? n - j : STRIP) * sizeof *values);
}

/* The sums of a group over one strip, in registers; c holds the group's rows of b. */
INLINE_HOT void sum_strip(float sum[GROUP][STRIP], const float *strip, const float c[GROUP][LOW_RANK_MAX], int64_t rank)
{
    float s0[STRIP] = { 0 }, s1[STRIP] = { 0 }, s2[STRIP] = { 0 }, s3[STRIP] = { 0 };

    for (int64_t k = 0; k < rank; k++) {
        const float *a = strip + k * STRIP;

        for (int j = 0; j < STRIP; j++) {
            s0[j] += c[0][k] * a[j];
            s1[j] += c[1][k] * a[j];
            s2[j] += c[2][k] * a[j];
            s3[j] += c[3][k] * a[j];
        }
    }
    memcpy(sum[0], s0, sizeof s0);
    memcpy(sum[1], s1, sizeof s1);
    memcpy(sum[2], s2, sizeof s2);
    memcpy(sum[3], s3, sizeof s3);
}

EVERY_PROCESSOR static void add_group(const struct low_rank *m, const float c[GROUP][LOW_RANK_MAX], int64_t n_rows,
                                      int64_t stride, float *values)
{
    float sum[GROUP][STRIP];

    for (int64_t j0 = 0; j0 < m->cols; j0 += STRIP) {
        int64_t n = m->cols - j0 < STRIP ? m->cols - j0 : STRIP;

        sum_strip(sum, m->a + j0 * m->rank, c, m->rank);
        for (int64_t g = 0; g < n_rows; g++)
            for (int64_t j = 0; j < n; j++)
                values[g * stride + j0 + j] += m->factor * sum[g][j];
    }
}

void low_rank_add(const struct low_rank *m, int64_t b_row0, int64_t n, int64_t stride, float *values)
{
    size_t row_bytes = dtype_row_bytes(m->b_dtype, m->rank);
    float c[GROUP][LOW_RANK_MAX]; /* 64 KiB; a group that is not full leaves rows as they were, and does not add them */

    for (int64_t g = 0; g < GROUP; g++)
        memset(c[g], 0, (size_t)m->rank * sizeof **c);
    for (int64_t o = 0; o < n; o += GROUP) {
        int64_t n_rows = n - o < GROUP ? n - o : GROUP;

        for (int64_t g = 0; g < n_rows; g++)
            dequantise_row(m->b_dtype, (const char *)m->b + (size_t)(b_row0 + o + g) * row_bytes, c[g], m->rank);
        add_group(m, c, n_rows, stride, values + o * stride);
    }
}
