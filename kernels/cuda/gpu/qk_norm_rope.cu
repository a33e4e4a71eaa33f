/*
 * qk_norm_rope.cu - RMSNorm of every head of q or k, then the rotation of its adjacent pairs, in place.
 *
 * Maths      u[c] = x[c] / sqrt(mean(x^2) + eps) * scale[c]
 *            y[2i] = u[2i] cos_i - u[2i+1] sin_i,  y[2i+1] = u[2i+1] cos_i + u[2i] sin_i
 * Shapes     x [rows, n_heads * d] f32 or bf16, rows may have gaps (q and k are views of qkv); scale [d] f32;
 *            rope [rows, d] f32 as (cos, sin) pairs, or none: then d may be odd
 * Launch     grid (rows * n_heads / 8), block (256); one warp owns one head, 4 neighbouring values a lane, which holds
 *            whole pairs; the 8 warps of a block are mostly heads of one row and share its part of `rope`
 * Moves      x in and out, rope once a row: at 4608 rows, 24 heads of 128 in bf16: 59 MB
 * Numerics   f32, rounded once at the store
 * Reference  kernels/plain/norm.c          Test  test_cuda_shim_norm.c, test/gpu/test_ops.c
 * Source     MODEL.md 2.4 and 2.8
 */
#include "kernels/cuda/gpu/kernel.cuh"

#include <limits.h>

enum { THREADS = 256, WARPS = THREADS / 32 };

static __global__ void __launch_bounds__(THREADS)
    qk_norm_rope(struct rows x, struct rows scale, struct rows rope, int n_heads, float eps)
{
    unsigned item = blockIdx.x * WARPS + threadIdx.x / 32, row = item / (unsigned)n_heads;
    int64_t d = scale.n_cols;
    int first = 4 * (int)(threadIdx.x % 32);
    struct rows head = x;
    float squares = 0, inverse, v[4], s[4], rotation[4];

    if (row >= x.n_rows)
        return; /* the whole warp */
    head.data += (item - row * (unsigned)n_heads) * d * (x.f32 ? 4 : 2);
    head.n_cols = d;
    head.wide = x.wide && d % 4 == 0;
    for (int64_t c = first; c < d; c += 128) {
        load4(head, row, c, v);
        squares += (v[0] * v[0] + v[1] * v[1]) + (v[2] * v[2] + v[3] * v[3]);
    }
    inverse = 1.0f / sqrtf(warp_sum(squares) / (float)d + eps);
    for (int64_t c = first; c < d; c += 128) {
        load4(head, row, c, v);
        load4(scale, 0, c, s);
        for (int i = 0; i < 4; i++)
            v[i] = v[i] * inverse * s[i];
        if (rope.data) {
            load4(rope, row, c, rotation);
            for (int i = 0; i < 4; i += 2) {
                float a = v[i], b = v[i + 1];

                v[i] = a * rotation[i] - b * rotation[i + 1];
                v[i + 1] = b * rotation[i] + a * rotation[i + 1];
            }
        }
        store4(head, row, c, v);
    }
}

extern "C" int k_qk_norm_rope(struct tensor *x, const struct tensor *scale, const struct tensor *rope, int n_heads,
                              float eps, cudaStream_t stream)
{
    int64_t n_blocks = div_up(tensor_rows(x) * n_heads, WARPS);

    if (n_blocks * WARPS > INT_MAX)
        return cudaErrorInvalidValue;
    return LAUNCH(qk_norm_rope, (unsigned)n_blocks, THREADS, 0, stream, rows_of(x), rows_of(scale), rows_of(rope),
                  n_heads, eps);
}
