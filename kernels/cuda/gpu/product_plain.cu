/*
 * product_plain.cu - a matrix product of any shape, stride and alignment, for what cuBLASLt has no algorithm for.
 *
 * Maths      d[i, j] = act(sum_k a[i, k] b[j, k] + add[i, j] + bias[j]); transposed: b[k, j]
 * Shapes     a, b bf16, d, add, bias f32 or bf16; rows may have gaps
 * Launch     grid over the values of d, block (256), one value a thread
 * Moves      a and b for every value of d, from the caches: slower than tensor cores by orders of magnitude
 * Numerics   f32 sums in the order of k, rounded once at the store
 * Reference  kernels/plain/linear.c          Test  test_cuda_shim_product.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"
#include "kernels/cuda/gpu/product_kernels.h"

#include <math.h>

enum { THREADS = 256, MAX_BLOCKS = 1 << 30 };

struct operands {
    struct rows d, a, b, add, bias;
    bool b_transposed, gelu_tanh;
};

DEVICE float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

static __global__ void __launch_bounds__(THREADS) product(struct operands p)
{
    int64_t n = p.d.n_rows * p.d.n_cols, step = (int64_t)gridDim.x * THREADS;

    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < n; at += step) {
        int64_t i = at / p.d.n_cols, j = at % p.d.n_cols;
        float sum = 0;

        for (int64_t k = 0; k < p.a.n_cols; k++)
            sum = fmaf(load1(p.a, i, k), p.b_transposed ? load1(p.b, k, j) : load1(p.b, j, k), sum);
        if (p.add.data)
            sum += load1(p.add, i, j);
        if (p.bias.data)
            sum += load1(p.bias, 0, j);
        store1(p.d, i, j, p.gelu_tanh ? gelu_tanh(sum) : sum);
    }
}

extern "C" int k_product_plain(const struct k_product *p, cudaStream_t stream)
{
    struct operands o = { rows_of(p->d),    rows_of(p->a),   rows_of(p->b), rows_of(p->add),
                          rows_of(p->bias), p->b_transposed, p->gelu_tanh };

    return LAUNCH(product, (unsigned)least(div_up(tensor_count(p->d), THREADS), MAX_BLOCKS), THREADS, 0, stream, o);
}
