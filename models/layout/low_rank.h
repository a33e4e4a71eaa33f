/*
 * low_rank - adds the product of two small matrices to some rows of a large one, without making it.
 *
 *   row o  +=  factor * sum over k of b[o, k] * a[k, :]      k ascending, in f32
 *
 * The same values however the rows are divided into calls, and on every processor.
 */
#ifndef MODELS_LAYOUT_LOW_RANK_H
#define MODELS_LAYOUT_LOW_RANK_H

#include "kernels/tensor.h"

enum { LOW_RANK_MAX = 4096, LOW_RANK_STRIP = 16 };

struct low_rank {
    const float *a; /* [rank, cols] in strips: low_rank_strips() */
    enum dtype b_dtype;
    const void *b; /* [rows, rank], any alignment */
    int64_t rank, cols;
    float factor;
};

/* How many values the strips of a matrix [rank, cols] take, and where columns j0 .. j0 + n - 1 of its row k go in them.
 * A strip holds LOW_RANK_STRIP columns of all rows, one row after the other; j0 begins one. The caller has filled all
 * of it with zeros, which stay behind the last column. */
int64_t low_rank_strip_values(int64_t rank, int64_t cols);
void low_rank_put(float *strips, int64_t rank, int64_t k, int64_t j0, int64_t n, const float *values);

/* Rows b_row0 .. b_row0 + n - 1 of b, to as many rows of `values`, which are `stride` >= cols values apart. Values from
 * column `cols` on are left alone. */
void low_rank_add(const struct low_rank *m, int64_t b_row0, int64_t n, int64_t stride, float *values);

#endif
