/*
 * elementwise.cu - operations that touch each value once: scaled sums, products, SiLU, copies.
 *
 * Maths      gate_add x += gate[c] * y;  axpy x += a * v;  mul y = a * b;  silu y = x / (1 + exp(-x));  copy y = x
 * Shapes     [rows, cols], f32 or bf16 in any mixture, rows may have gaps; gate [cols] f32
 * Launch     block of 256 threads as columns x rows, four neighbouring columns a thread; grid over both, rows looped.
 *            Tensors without gaps, if there is no gate, are one long row, so that narrow matrices fill the warps
 * Moves      each operand once; the gate (12 KB) stays in the caches
 * Numerics   f32, one fused multiply-add in the sums, rounded once at the store; may run in place
 * Reference  kernels/plain/elementwise.c          Test  test_cuda_shim_elementwise.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"

enum { THREADS = 256, MAX_GRID_ROWS = 65535 };
enum map { SCALED_SUM, PRODUCT, SILU, COPY };

template <enum map M> DEVICE float map_value(float a, float b, float g)
{
    if (M == SCALED_SUM)
        return fmaf(g, b, a);
    if (M == PRODUCT)
        return a * b;
    if (M == SILU)
        return a / (1.0f + expf(-a));
    return a;
}

template <enum map M>
static __global__ void __launch_bounds__(THREADS)
    map_rows(struct rows y, struct rows a, struct rows b, struct rows gate, float factor)
{
    int64_t col = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    float g[4] = { factor, factor, factor, factor };

    if (col >= y.n_cols)
        return;
    if (gate.data)
        load4(gate, 0, col, g);
    for (int64_t row = (int64_t)blockIdx.y * blockDim.y + threadIdx.y; row < y.n_rows;
         row += (int64_t)gridDim.y * blockDim.y) {
        float u[4], v[4] = { 0, 0, 0, 0 };

        load4(a, row, col, u);
        if (b.data)
            load4(b, row, col, v);
        for (int i = 0; i < 4; i++)
            u[i] = map_value<M>(u[i], v[i], g[i]);
        store4(y, row, col, u);
    }
}

/* A dense tensor as one row of all its values. */
static struct rows one_row(const struct tensor *t)
{
    struct tensor row;

    if (!t)
        return rows_of(NULL);
    row = tensor_1d(t->dtype, tensor_count(t), t->data);
    return rows_of(&row);
}

template <enum map M>
static int map_launch(struct tensor *y, const struct tensor *a, const struct tensor *b, const struct tensor *gate,
                      float factor, cudaStream_t stream)
{
    bool flat = !gate && tensor_is_dense(y) && tensor_is_dense(a) && (!b || tensor_is_dense(b));
    struct rows ry = flat ? one_row(y) : rows_of(y);
    unsigned width = THREADS;

    while (width > 1 && width / 2 * 4 >= ry.n_cols)
        width /= 2;
    dim3 block(width, THREADS / width);
    dim3 grid((unsigned)div_up(ry.n_cols, 4 * (int64_t)width),
              (unsigned)least(div_up(ry.n_rows, block.y), MAX_GRID_ROWS));
    return LAUNCH(map_rows<M>, grid, block, 0, stream, ry, flat ? one_row(a) : rows_of(a),
                  flat ? one_row(b) : rows_of(b), rows_of(gate), factor);
}

extern "C" int k_gate_add(struct tensor *x, const struct tensor *gate, const struct tensor *y, cudaStream_t stream)
{
    return map_launch<SCALED_SUM>(x, x, y, gate, 1.0f, stream);
}

extern "C" int k_axpy(struct tensor *x, float a, const struct tensor *v, cudaStream_t stream)
{
    return map_launch<SCALED_SUM>(x, x, v, NULL, a, stream);
}

extern "C" int k_mul(struct tensor *y, const struct tensor *a, const struct tensor *b, cudaStream_t stream)
{
    return map_launch<PRODUCT>(y, a, b, NULL, 1.0f, stream);
}

extern "C" int k_silu(struct tensor *y, const struct tensor *x, cudaStream_t stream)
{
    return map_launch<SILU>(y, x, NULL, NULL, 1.0f, stream);
}

extern "C" int k_copy(struct tensor *y, const struct tensor *x, cudaStream_t stream)
{
    return map_launch<COPY>(y, x, NULL, NULL, 1.0f, stream);
}
