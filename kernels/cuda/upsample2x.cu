/*
 * upsample2x.cu - nearest neighbour, twice the size.
 *
 * Maths      y[i, j, c] = x[i/2, j/2, c]
 * Shapes     x [H, W, C], y [2H, 2W, C], f32 or bf16, dense; any C >= 1
 * Launch     grid (along a row of y, rows of y), block (256); four channels a thread, more rows than a grid has in turn
 * Moves      x once from memory (its second reading comes from cache), y once
 * Reference  kernels/cpu/conv.c          Test  test_cuda_shim_elementwise.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/kernel.cuh"

enum { THREADS = 256, MAX_GRID_ROWS = 65535 };

/* x and y as [pixels, C]. */
static __global__ void __launch_bounds__(THREADS)
    upsample2x(struct rows y, struct rows x, int64_t width, int64_t height)
{
    int64_t n_chunks = (x.n_cols + 3) / 4, i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t across = i / n_chunks, col = i % n_chunks * 4;
    float v[4];

    if (across >= 2 * width)
        return;
    for (int64_t down = blockIdx.y; down < 2 * height; down += gridDim.y) {
        load4(x, down / 2 * width + across / 2, col, v);
        store4(y, down * 2 * width + across, col, v);
    }
}

extern "C" int k_upsample2x(struct tensor *y, const struct tensor *x, cudaStream_t stream)
{
    int64_t height = x->dims[0], width = x->dims[1], n_chunks = div_up(x->dims[2], 4);
    dim3 grid((unsigned)div_up(2 * width * n_chunks, THREADS), (unsigned)least(2 * height, MAX_GRID_ROWS));

    return LAUNCH(upsample2x, grid, THREADS, 0, stream, rows_of(y), rows_of(x), width, height);
}
