/*
 * kernel - the header of all kernel files: CUDA itself or a stand-in for it, matrices of f32 or bf16 as kernels see
 * them, sums over a warp or a block.
 *
 * Kernels check the type of a matrix at each load. The branch goes the same way in the whole launch and costs nothing
 * compared with the memory access, so one kernel serves all mixtures of types.
 */
#ifndef KERNELS_CUDA_GPU_KERNEL_CUH
#define KERNELS_CUDA_GPU_KERNEL_CUH

#ifdef CUDA_SHIM
#include CUDA_SHIM
#else
#include "kernels/cuda/gpu/isa.cuh"
#endif

#include "kernels/cuda/gpu/kernels.h"

/* A tensor seen as rows and columns; data NULL: no tensor. */
struct rows {
    char *data;
    int64_t n_rows, n_cols, stride; /* values */
    bool f32;                       /* false: bf16 */
    bool wide;                      /* four values from a column that is a multiple of 4 take one aligned access */
};

static inline struct rows rows_of(const struct tensor *t)
{
    struct rows r = {};

    if (!t)
        return r;
    r.data = (char *)t->data;
    r.n_rows = tensor_rows(t);
    r.n_cols = tensor_cols(t);
    r.stride = t->row_stride;
    r.f32 = t->dtype == DT_F32;
    r.wide = (uintptr_t)t->data % (r.f32 ? 16 : 8) == 0 && r.n_cols % 4 == 0 && (r.n_rows == 1 || r.stride % 4 == 0);
    return r;
}

static inline int64_t div_up(int64_t n, int64_t d)
{
    return (n + d - 1) / d;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

DEVICE float bf16_low(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}

DEVICE float bf16_high(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

DEVICE float load1(const struct rows &x, int64_t row, int64_t col)
{
    int64_t at = row * x.stride + col;

    return x.f32 ? ((const float *)x.data)[at] : bf16_low(((const uint16_t *)x.data)[at]);
}

DEVICE void store1(const struct rows &y, int64_t row, int64_t col, float value)
{
    int64_t at = row * y.stride + col;

    if (y.f32)
        ((float *)y.data)[at] = value;
    else
        ((uint16_t *)y.data)[at] = (uint16_t)bf16_pair(value, 0);
}

/* Loads columns col .. col+3, col a multiple of 4; zeros from n_cols on. */
DEVICE void load4(const struct rows &x, int64_t row, int64_t col, float v[4])
{
    if (!x.wide) {
        for (int i = 0; i < 4; i++)
            v[i] = col + i < x.n_cols ? load1(x, row, col + i) : 0.0f;
    } else if (x.f32) {
        float4 w = *(const float4 *)((const float *)x.data + row * x.stride + col);

        v[0] = w.x, v[1] = w.y, v[2] = w.z, v[3] = w.w;
    } else {
        uint2 w = *(const uint2 *)((const uint16_t *)x.data + row * x.stride + col);

        v[0] = bf16_low(w.x), v[1] = bf16_high(w.x), v[2] = bf16_low(w.y), v[3] = bf16_high(w.y);
    }
}

/* Stores columns col .. col+3, but none from n_cols on. */
DEVICE void store4(const struct rows &y, int64_t row, int64_t col, const float v[4])
{
    if (!y.wide) {
        for (int i = 0; i < 4; i++)
            if (col + i < y.n_cols)
                store1(y, row, col + i, v[i]);
    } else if (y.f32) {
        *(float4 *)((float *)y.data + row * y.stride + col) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
        uint2 w = make_uint2(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]));

        *(uint2 *)((uint16_t *)y.data + row * y.stride + col) = w;
    }
}

/* Every lane gets the same bits: the sums of a butterfly differ only in the order of two operands. */
DEVICE float warp_sum(float v)
{
    for (int mask = 16; mask; mask >>= 1)
        v += lane_xor(v, mask);
    return v;
}

DEVICE float warp_max(float v)
{
    for (int mask = 16; mask; mask >>= 1)
        v = fmaxf(v, lane_xor(v, mask));
    return v;
}

/*
 * Must be called by all threads of a block of whole warps; `shared` holds one float a warp and may be reused at once.
 */
DEVICE float block_sum(float v, float *shared)
{
    float sum = 0;

    v = warp_sum(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; w++)
        sum += shared[w];
    return sum;
}

DEVICE float block_max(float v, float *shared)
{
    v = warp_max(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; w++)
        v = fmaxf(v, shared[w]);
    return v;
}

#endif
