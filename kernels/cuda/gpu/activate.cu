/*
 * activate.cu - the sum, bias and activation after a matrix product whose epilogue lacks them.
 *
 * Maths      y = act(x + add[r, c] + bias[c]); GELU 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)));
 *            quick GELU x / (1 + exp(-1.702 x)); SiLU x / (1 + exp(-x))
 * Shapes     x, add, y [rows, cols], bias [cols], f32 or bf16 in any mixture, rows may have gaps
 * Launch     grid (cols / 1024, rows), block (256), four neighbouring columns a thread
 * Moves      x, add and y once
 * Numerics   f32, rounded once at the store; may run in place
 * Reference  cpu_activation in kernels/plain/cpu.c          Test  test_cuda_shim_product.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"
#include "kernels/cuda/gpu/product_kernels.h"

#include <math.h>

enum { THREADS = 256, MAX_GRID_ROWS = 65535 };

DEVICE float activated(float x, enum activation act)
{
    if (act == ACT_GELU_TANH)
        return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    if (act == ACT_QUICK_GELU)
        return x / (1.0f + expf(-1.702f * x));
    if (act == ACT_SILU)
        return x / (1.0f + expf(-x));
    return x;
}

static __global__ void __launch_bounds__(THREADS)
    activate(struct rows y, struct rows x, struct rows add, struct rows bias, enum activation act)
{
    int64_t col = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
    float b[4] = { 0, 0, 0, 0 };

    if (col >= y.n_cols)
        return;
    if (bias.data)
        load4(bias, 0, col, b);
    for (int64_t row = blockIdx.y; row < y.n_rows; row += gridDim.y) {
        float v[4], s[4] = { 0, 0, 0, 0 };

        load4(x, row, col, v);
        if (add.data)
            load4(add, row, col, s);
        for (int i = 0; i < 4; i++)
            v[i] = activated(v[i] + s[i] + b[i], act);
        store4(y, row, col, v);
    }
}

extern "C" int k_activate(struct tensor *y, const struct tensor *x, const struct tensor *add, const struct tensor *bias,
                          enum activation act, cudaStream_t stream)
{
    dim3 grid((unsigned)div_up(tensor_cols(y), 4 * THREADS), (unsigned)least(tensor_rows(y), MAX_GRID_ROWS));

    return LAUNCH(activate, grid, THREADS, 0, stream, rows_of(y), rows_of(x), rows_of(add), rows_of(bias), act);
}
