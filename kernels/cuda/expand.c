/*
 * expand.c - expanding a weight on a stream. A file of its own, because the stand-in for CUDA brings another: its
 * second stream works as late as it may.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu/kernels.h"

cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, void *dst, int64_t n, cudaStream_t stream)
{
    return (cudaError_t)k_dequantise(t, src, DT_BF16, dst, n, stream);
}
