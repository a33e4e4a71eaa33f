/*
 * softmax_rows.cu - softmax over the columns of a matrix of logits, for attention by two matrix products.
 *
 * Maths      y[r, c] = exp(scale * x[r, c] - m) / sum_c exp(scale * x[r, c] - m), m the largest of scale * x[r, :]
 * Shapes     x, y [rows, cols] f32 or bf16, rows may have gaps; the same tensor to run in place
 * Launch     grid (rows), block (256), shared 32 B; one block owns one row
 * Moves      x and y once; rows of up to 100 KB are read again from the first-level cache
 * Numerics   f32; a NaN in a row reaches all of the row
 * Reference  kernels/plain/attention.c          Test  test_cuda_shim_attention.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"

#include <math.h>

enum { THREADS = 256, WARPS = THREADS / 32 };

static __global__ void __launch_bounds__(THREADS) softmax_rows(struct rows y, struct rows x, float scale)
{
    DYNAMIC_SHARED(float, shared);
    int64_t first = 4 * (int64_t)threadIdx.x, step = 4 * THREADS;

    for (int64_t row = blockIdx.x; row < x.n_rows; row += gridDim.x) {
        float largest = -INFINITY, sum = 0, v[4];

        for (int64_t col = first; col < x.n_cols; col += step) {
            load4(x, row, col, v);
            for (int i = 0; i < 4; i++)
                largest = col + i < x.n_cols ? fmaxf(largest, scale * v[i]) : largest;
        }
        largest = block_max(largest, shared);
        for (int64_t col = first; col < x.n_cols; col += step) {
            load4(x, row, col, v);
            for (int i = 0; i < 4; i++)
                sum += col + i < x.n_cols ? expf(scale * v[i] - largest) : 0.0f;
        }
        sum = block_sum(sum, shared);
        for (int64_t col = first; col < x.n_cols; col += step) {
            load4(x, row, col, v);
            for (int i = 0; i < 4; i++)
                v[i] = expf(scale * v[i] - largest) / sum;
            store4(y, row, col, v);
        }
    }
}

extern "C" int k_softmax_rows(struct tensor *y, const struct tensor *x, float scale, cudaStream_t stream)
{
    return LAUNCH(softmax_rows, (unsigned)least(tensor_rows(x), 1 << 30), THREADS, WARPS * sizeof(float), stream,
                  rows_of(y), rows_of(x), scale);
}
