/*
 * norm.cu - LayerNorm (plain, or with the shift and scale of a modulation) and RMSNorm over the last axis.
 *
 * Maths      layer_norm  y = (x - mean) / sqrt(var + eps) * (w_plus + w[c]) + b[c], biased variance
 *            rms_norm    y = x / sqrt(mean(x^2) + eps) * w[c]
 * Shapes     x, y [rows, cols] f32 or bf16, rows may have gaps; w, b [cols] f32; any cols >= 1
 * Launch     grid (rows), block (256), shared 32 B; one block owns one row
 * Moves      x and y once each: the row (12 KB at 3072 f32) is read again from the first-level cache
 * FLOPs      about 8 a value: bound by memory
 * Numerics   f32 sums of 256 partial sums; the variance in a second pass over the row; rounded once at the store
 * Reference  kernels/plain/norm.c          Test  test_cuda_shim_norm.c, test/gpu/test_ops.c
 * Source     Ba et al. 2016; Zhang & Sennrich 2019; modulation: MODEL.md 2.4
 */
#include "kernels/cuda/gpu/kernel.cuh"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* Visits the columns that the thread owns, four at a time. */
#define FOR_MY_COLUMNS(col, n) for (int64_t col = 4 * (int64_t)threadIdx.x; col < (n); col += 4 * THREADS)

DEVICE float row_sum(const struct rows &x, int64_t row, float *shared)
{
    float sum = 0, v[4];

    FOR_MY_COLUMNS(col, x.n_cols) {
        load4(x, row, col, v);
        sum += (v[0] + v[1]) + (v[2] + v[3]);
    }
    return block_sum(sum, shared);
}

/* The sum of the squared deviations from `centre`. */
DEVICE float row_squares(const struct rows &x, int64_t row, float centre, float *shared)
{
    float sum = 0, v[4];

    FOR_MY_COLUMNS(col, x.n_cols) {
        load4(x, row, col, v);
        for (int i = 0; i < 4; i++)
            if (col + i < x.n_cols)
                sum += (v[i] - centre) * (v[i] - centre);
    }
    return block_sum(sum, shared);
}

static __global__ void __launch_bounds__(THREADS)
    layer_norm(struct rows y, struct rows x, struct rows w, float w_plus, struct rows b, float eps)
{
    DYNAMIC_SHARED(float, shared);
    float n = (float)x.n_cols;

    for (int64_t row = blockIdx.x; row < x.n_rows; row += gridDim.x) {
        float mean = row_sum(x, row, shared) / n;
        float inverse = 1.0f / sqrtf(row_squares(x, row, mean, shared) / n + eps);

        FOR_MY_COLUMNS(col, x.n_cols) {
            float v[4], scale[4] = { 0, 0, 0, 0 }, shift[4] = { 0, 0, 0, 0 };

            load4(x, row, col, v);
            if (w.data)
                load4(w, 0, col, scale);
            if (b.data)
                load4(b, 0, col, shift);
            for (int i = 0; i < 4; i++)
                v[i] = (v[i] - mean) * inverse * (w_plus + scale[i]) + shift[i];
            store4(y, row, col, v);
        }
    }
}

static __global__ void __launch_bounds__(THREADS) rms_norm(struct rows y, struct rows x, struct rows w, float eps)
{
    DYNAMIC_SHARED(float, shared);

    for (int64_t row = blockIdx.x; row < x.n_rows; row += gridDim.x) {
        float inverse = 1.0f / sqrtf(row_squares(x, row, 0, shared) / (float)x.n_cols + eps);

        FOR_MY_COLUMNS(col, x.n_cols) {
            float v[4], scale[4];

            load4(x, row, col, v);
            load4(w, 0, col, scale);
            for (int i = 0; i < 4; i++)
                v[i] = v[i] * inverse * scale[i];
            store4(y, row, col, v);
        }
    }
}

static unsigned n_blocks(const struct tensor *x)
{
    return (unsigned)least(tensor_rows(x), 1 << 30);
}

extern "C" int k_layer_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
                            float eps, cudaStream_t stream)
{
    return LAUNCH(layer_norm, n_blocks(x), THREADS, WARPS * sizeof(float), stream, rows_of(y), rows_of(x), rows_of(w),
                  w ? 0.0f : 1.0f, rows_of(b), eps);
}

extern "C" int k_modulate(struct tensor *y, const struct tensor *x, const struct tensor *shift,
                          const struct tensor *scale, float eps, cudaStream_t stream)
{
    return LAUNCH(layer_norm, n_blocks(x), THREADS, WARPS * sizeof(float), stream, rows_of(y), rows_of(x),
                  rows_of(scale), 1.0f, rows_of(shift), eps);
}

extern "C" int k_rms_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, float eps,
                          cudaStream_t stream)
{
    return LAUNCH(rms_norm, n_blocks(x), THREADS, WARPS * sizeof(float), stream, rows_of(y), rows_of(x), rows_of(w),
                  eps);
}
