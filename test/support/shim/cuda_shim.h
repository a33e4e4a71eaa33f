/*
 * cuda_shim - CUDA kernels on a processor, thread by thread: the names of kernels/cuda/gpu/isa.cuh, in C++.
 *
 * Kernel files are compiled with -DCUDA_SHIM naming this file. A launch runs at once, block after block. The threads of
 * a block are coroutines, and one warp after another runs until it ends or waits at a barrier of the block, so that a
 * race always has the same outcome, the most extreme one. cuda_shim_backwards() reverses the order; a result that
 * changes with it shows a missing barrier.
 *
 * It is stricter than a card: shared memory starts as NaN and ends at a guard, every thread must reach every barrier,
 * and the target of an asynchronous copy is NaN until the copy has been waited for. It cannot show a missing barrier if
 * both orders happen to be right, nor alignment (UBSan does), nor speed.
 */
#ifndef TEST_SUPPORT_SHIM_CUDA_SHIM_H
#define TEST_SUPPORT_SHIM_CUDA_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
void cuda_shim_backwards(bool backwards);
extern long cuda_shim_launches; /* kernels launched so far */
#ifdef __cplusplus
}

#include <math.h>
#include <string.h>

#define DEVICE         static inline
#define UNROLLED(i, n) for (int i = 0; i < (n); i++)
#define __global__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static inline float2 make_float2(float x, float y)
{
    return { x, y };
}

static inline float4 make_float4(float x, float y, float z, float w)
{
    return { x, y, z, w };
}

static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return { x, y };
}

static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return { x, y, z, w };
}

enum { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* Runs thread(context) for every thread of the grid; a cudaError_t. */
int cuda_shim_run(dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(void *context), void *context);
void *cuda_shim_shared(void);
int cuda_shim_allow_shared(size_t bytes);

template <class F> int cuda_shim_launch(dim3 grid, dim3 block, size_t shared_bytes, F thread)
{
    cuda_shim_launches++;
    return cuda_shim_run(grid, block, shared_bytes, [](void *f) { (*(F *)f)(); }, &thread);
}

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    ((void)(stream), cuda_shim_launch((grid), (block), (shared_bytes), [=] { kernel(__VA_ARGS__); }))
#define ALLOW_SHARED(kernel, bytes) cuda_shim_allow_shared(bytes)
#define DYNAMIC_SHARED(type, name)  type *name = (type *)cuda_shim_shared()

void __syncthreads(void);
void __syncwarp(void);

/* Called by all lanes of a warp; the last lane to arrive runs work() on the operands of all lanes, in order. */
void cuda_shim_warp(void *mine, void (*work)(void *const lanes[32]));

static inline uint32_t __float_as_uint(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float __uint_as_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float __fmul_rn(float a, float b)
{
    return a * b;
}

static inline void forget(int &) {}

uint32_t bf16_pair(float low, float high);
float half_value(uint16_t bits);
float exp2_fast(float x);
float lane_xor(float value, int mask);
void copy_async_16(void *shared, const void *global, bool wanted);
void copy_async_wait(void);
void copy_async_group(void);
void cuda_shim_wait_but(int n_last);
template <int N_LAST> static inline void copy_async_wait_but()
{
    cuda_shim_wait_but(N_LAST);
}
void load_matrices(uint32_t ret[4], const void *row);
void load_matrices_transposed(uint32_t ret[4], const void *row);
void matrix_product(float sum[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
#endif

#endif
