/*
 * tile - the layout of bf16 matrices in shared memory for kernels on tensor cores.
 */
#ifndef KERNELS_CUDA_GPU_TILE_CUH
#define KERNELS_CUDA_GPU_TILE_CUH

#include "kernels/cuda/gpu/kernel.cuh"

/*
 * The offset of a group of eight columns (16 bytes) in a tile of D columns a row: 32, 64 or more. The number of the
 * group is xored with bits of the row, so eight neighbouring rows of one column are in eight different groups of banks,
 * whether a row fills half of the 128 bytes of all banks or all of them. Since each bit is xored separately, the
 * columns 16 n further on are at tile_at(row, eight) ^ 16 n; and rows that are eight apart are permuted alike.
 */
template <int D> DEVICE int tile_at(int row, int eight)
{
    return row * D + (eight ^ (D < 64 ? row >> 1 & 3 : row & 7)) * 8;
}

#endif
