/*
 * upsample2x.cu - nearest neighbour, twice the size.
 *
 * Maths      y[i, j, c] = x[i/2, j/2, c]
 * Shapes     x [H, W, C], y [2H, 2W, C], f32 or bf16, dense; any C >= 1
 * Launch     grid (along a row of x, rows of x), block (256); four channels of a pixel of x a thread, which writes them
 *            to four pixels of y; a block loops over rows where there are more than a grid may have
 * Moves      x and y once
 * Reference  kernels/plain/conv.c          Test  test_cuda_shim_elementwise.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"

#include <limits.h>

enum { THREADS = 256, MAX_GRID_ROWS = 65535 };

/* x and y as [pixels, C]. */
static __global__ void __launch_bounds__(THREADS)
    upsample2x(struct rows y, struct rows x, int64_t width, int64_t height)
{
    unsigned n_chunks = (unsigned)((x.n_cols + 3) / 4), i = blockIdx.x * THREADS + threadIdx.x;
    unsigned across = i / n_chunks, col = (i - across * n_chunks) * 4;
    float v[4];

    if (across >= width)
        return;
    for (int64_t down = blockIdx.y; down < height; down += gridDim.y) {
        int64_t to = 4 * down * width + 2 * across;

        load4(x, down * width + across, col, v);
        store4(y, to, col, v);
        store4(y, to + 1, col, v);
        store4(y, to + 2 * width, col, v);
        store4(y, to + 2 * width + 1, col, v);
    }
}

extern "C" int k_upsample2x(struct tensor *y, const struct tensor *x, cudaStream_t stream)
{
    int64_t height = x->dims[0], width = x->dims[1], n_chunks = div_up(x->dims[2], 4);
    dim3 grid((unsigned)div_up(width * n_chunks, THREADS), (unsigned)least(height, MAX_GRID_ROWS));

    if (width * n_chunks > INT_MAX)
        return cudaErrorInvalidValue;
    return LAUNCH(upsample2x, grid, THREADS, 0, stream, rows_of(y), rows_of(x), width, height);
}
