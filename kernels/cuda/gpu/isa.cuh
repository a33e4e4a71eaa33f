/*
 * isa - the few instructions and language forms of CUDA that the kernels use beyond plain C++, one name each.
 * With CUDA_SHIM defined, kernel.cuh includes the file it names instead, which defines the same names on a processor.
 *
 * PTX ISA 8.2, sections of the instructions named; all exist from sm_80 on.
 */
#ifndef KERNELS_CUDA_GPU_ISA_CUH
#define KERNELS_CUDA_GPU_ISA_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#define DEVICE static __device__ __forceinline__

/* A loop whose variable is an index into arrays that the compiler keeps in registers. */
#define UNROLLED(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

/* Queues kernel<<<...>>>(arguments); the value is a cudaError_t as int. */
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    (kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), (int)cudaGetLastError())

/* Must come before the launch of a kernel that takes more than 48 KiB of shared memory. */
#define ALLOW_SHARED(kernel, bytes) \
    ((int)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)))

/* The launch's shared memory as an array, 16-byte aligned. */
#define DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
    type *name = reinterpret_cast<type *>(dynamic_shared)

/* Two f32 rounded to nearest even, `low` in the low half. cvt.rn.bf16x2.f32 takes the high half first. */
DEVICE uint32_t bf16_pair(float low, float high)
{
    uint32_t pair;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

DEVICE float half_value(uint16_t bits)
{
    float value;

    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

/* 2^x within 2 ulp; subnormal results are 0. */
DEVICE float exp2_fast(float x)
{
    float value;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

/* `value` of the lane whose number differs in the bits of `mask`; all 32 lanes must call it. */
DEVICE float lane_xor(float value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

/* Makes the compiler treat x as a new value, so that it computes expressions of x here and not ahead of a loop. */
DEVICE void forget(int &x)
{
    asm volatile("" : "+r"(x));
}

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Starts an asynchronous copy of 16 bytes to shared memory, or zeros unless `wanted`; addresses are 16-byte aligned. */
DEVICE void copy_async_16(void *shared, const void *global, bool wanted)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(wanted ? 16 : 0)
                 : "memory");
}

/* Waits for the thread's copies so far. The thread may then read them, and the block after a barrier. */
DEVICE void copy_async_wait()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* Ends a group of the thread's copies; the group may be empty. */
DEVICE void copy_async_group()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Like copy_async_wait, for all groups but the last N_LAST. */
template <int N_LAST> DEVICE void copy_async_wait_but()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N_LAST) : "memory");
}

/*
 * Four 8x8 matrices of 16-bit values from shared memory: lane 8m + r gives the address of row r of matrix m (16 bytes,
 * aligned). ret[m] holds row lane/4, columns 2(lane%4) and the next; transposed: rows 2(lane%4) and the next, column
 * lane/4.
 */
DEVICE void load_matrices(uint32_t ret[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(ret[0]), "=r"(ret[1]), "=r"(ret[2]), "=r"(ret[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE void load_matrices_transposed(uint32_t ret[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(ret[0]), "=r"(ret[1]), "=r"(ret[2]), "=r"(ret[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/*
 * sum[16x8] += a[16x16] b[16x8], bf16 products summed in f32. With g = lane/4 and t = 2(lane%4), each pair two values:
 *   a: row g columns t, row g+8 columns t, row g columns t+8, row g+8 columns t+8
 *   b: rows t of column g, rows t+8 of column g
 *   sum: row g columns t, t+1, row g+8 columns t, t+1
 */
DEVICE void matrix_product(float sum[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
