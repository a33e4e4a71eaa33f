/*
 * expand.c - expanding a weight on a stream. It is a file of its own because the stand-in for CUDA (test/gpu/dry)
 * replaces this function by one that delays the work on the second stream.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu/kernels.h"

cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, float scale, void *dst, int64_t n, cudaStream_t stream)
{
    return (cudaError_t)k_dequantise(t, src, scale, DT_BF16, dst, n, stream);
}
