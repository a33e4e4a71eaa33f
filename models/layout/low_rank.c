#include "models/layout/low_rank.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "kernels/quant.h"

enum {
    STRIP = 16, /* columns whose sums are in registers */
    GROUP = 4,  /* rows at a time: what is read of `a` serves all of them */
    ROWS = 32,  /* rows for which a panel is converted once */
    PANEL = 256 /* columns, and values of k, at a time; a multiple of every type's block */
};

/* A piece of `a` in strips: a strip holds STRIP columns of all its k, one k after the other. */
struct panel {
    float a[PANEL / STRIP][PANEL][STRIP];
    float b[ROWS][PANEL];
    float sum[ROWS][PANEL];
};

static int64_t least(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static void read_a(const struct low_rank *m, int64_t k0, int64_t n_k, int64_t j0, int64_t n, struct panel *p)
{
    float row[PANEL] = { 0 }; /* zeros behind the last column */

    for (int64_t k = 0; k < n_k; k++) {
        dequantise_columns(m->a_dtype, m->a, m->cols, k0 + k, j0, n, row);
        for (int64_t s = 0; s * STRIP < n; s++)
            memcpy(p->a[s][k], row + s * STRIP, sizeof p->a[s][k]);
    }
}

/* Continues the sums of a group of rows over one strip, in registers. */
INLINE_HOT void sum_strip(struct panel *p, int64_t row0, int64_t strip, int64_t n_k)
{
    float s[GROUP][STRIP];

    for (int g = 0; g < GROUP; g++)
        memcpy(s[g], p->sum[row0 + g] + strip * STRIP, sizeof s[g]);
    for (int64_t k = 0; k < n_k; k++) {
        const float *a = p->a[strip][k];

        for (int j = 0; j < STRIP; j++) {
            s[0][j] += p->b[row0][k] * a[j];
            s[1][j] += p->b[row0 + 1][k] * a[j];
            s[2][j] += p->b[row0 + 2][k] * a[j];
            s[3][j] += p->b[row0 + 3][k] * a[j];
        }
    }
    for (int g = 0; g < GROUP; g++)
        memcpy(p->sum[row0 + g] + strip * STRIP, s[g], sizeof s[g]);
}

/* A group that is not full computes rows whose b is what an earlier one left, and which nobody reads. */
EVERY_PROCESSOR static void sum_panel(struct panel *p, int64_t n_rows, int64_t n_k, int64_t n)
{
    for (int64_t s = 0; s * STRIP < n; s++)
        for (int64_t g = 0; g < n_rows; g += GROUP)
            sum_strip(p, g, s, n_k);
}

EVERY_PROCESSOR static void add_sums(const struct panel *p, int64_t n_rows, int64_t n, float factor, int64_t stride,
                                     float *values)
{
    for (int64_t o = 0; o < n_rows; o++)
        for (int64_t j = 0; j < n; j++)
            values[o * stride + j] += factor * p->sum[o][j];
}

static void add_rows(const struct low_rank *m, int64_t b_row0, int64_t n_rows, int64_t stride, float *values)
{
    struct panel p;

    memset(p.b, 0, sizeof p.b);
    for (int64_t j0 = 0; j0 < m->cols; j0 += PANEL) {
        const int64_t n = least(PANEL, m->cols - j0);

        memset(p.sum, 0, sizeof p.sum);
        for (int64_t k0 = 0; k0 < m->rank; k0 += PANEL) {
            const int64_t n_k = least(PANEL, m->rank - k0);

            read_a(m, k0, n_k, j0, n, &p);
            for (int64_t o = 0; o < n_rows; o++)
                dequantise_columns(m->b_dtype, m->b, m->rank, b_row0 + o, k0, n_k, p.b[o]);
            sum_panel(&p, n_rows, n_k, n);
        }
        add_sums(&p, n_rows, n, m->factor, stride, values + j0);
    }
}

void low_rank_add(const struct low_rank *m, int64_t b_row0, int64_t n, int64_t stride, float *values)
{
    for (int64_t o = 0; o < n; o += ROWS)
        add_rows(m, b_row0 + o, least(ROWS, n - o), stride, values + o * stride);
}
