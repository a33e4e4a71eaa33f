/*
 * low_rank - adds the product of two small matrices to some rows of a large one, without making it.
 *
 *   row o  +=  factor * sum over k of b[o, k] * a[k, :]      k ascending, in f32
 *
 * The same values however the rows are divided into calls, and on every processor. Both matrices stay as a file has
 * them: pieces of them become f32 on the stack (about 320 KiB), so that merging takes no memory that grows with a LoRA.
 * A call for 32 rows or more converts `a` once for 32 rows.
 */
#ifndef MODELS_LAYOUT_LOW_RANK_H
#define MODELS_LAYOUT_LOW_RANK_H

#include "kernels/tensor.h"

enum { LOW_RANK_MAX = 4096 };

struct low_rank {
    enum dtype a_dtype, b_dtype;
    const void *a; /* [rank, cols], any alignment */
    const void *b; /* [rows, rank], any alignment */
    int64_t rank, cols;
    float factor;
};

/* Rows b_row0 .. b_row0 + n - 1 of b, to as many rows of `values`, which are `stride` >= cols values apart. Values from
 * column `cols` on are left alone. */
void low_rank_add(const struct low_rank *m, int64_t b_row0, int64_t n, int64_t stride, float *values);

#endif
