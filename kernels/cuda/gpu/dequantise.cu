/*
 * dequantise.cu - weights of any storage type to bf16 or f32.
 *
 * Maths      by type, MODEL.md 3.4; times scale, unless it is 0
 * Shapes     src n values in blocks; dst [n]
 * Launch     grid (n / 2048), block (256), shared 2048 values as stored (2176 B for Q8_0, at most 8 KB)
 * Moves      Q8_0 to bf16: 1.06 + 2 bytes a value; the largest matrix of FLUX (21504 x 3072) 202 MB
 * Numerics   the f32 value of the reference, bit for bit, rounded once when dst is bf16
 * Reference  kernels/quant.c          Test  test_cuda_shim_dequantise.c, test/gpu/test_ops.c
 * Source     ggml block formats; OCP FP8 (E4M3, E5M2)
 */
#include "kernels/cuda/gpu/dequantise.cuh"
#include "kernels/cuda/gpu/kernel.cuh"

template <enum dtype T>
static __global__ void __launch_bounds__(TILE_THREADS) dequantise(struct rows dst, const uint8_t *src, float scale)
{
    DYNAMIC_SHARED(uint8_t, shared);

    expand_tile<T>(dst, 0, src, scale, blockIdx.x, shared);
}

template <enum dtype T>
static int dequantise_launch(const struct rows &dst, const void *src, float scale, cudaStream_t stream)
{
    return LAUNCH(dequantise<T>, (unsigned)div_up(dst.n_cols, TILE_VALUES), TILE_THREADS, (size_t)layout<T>::TILE_BYTES,
                  stream, dst, (const uint8_t *)src, scale);
}

extern "C" int k_dequantise(enum dtype t, const void *src, float scale, enum dtype dst_type, void *dst, int64_t n,
                            cudaStream_t stream)
{
    struct tensor values = tensor_1d(dst_type, n, dst);
    struct rows row = rows_of(&values);

    switch (t) {
#define X(id, eight) \
    case id:         \
        return dequantise_launch<id>(row, src, scale, stream);
        LAYOUTS(X)
#undef X
    default:
        return cudaErrorInvalidValue;
    }
}
