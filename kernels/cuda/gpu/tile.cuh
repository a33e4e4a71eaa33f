/*
 * tile - how kernels on tensor cores lay matrices of bf16 in shared memory.
 */
#ifndef KERNELS_CUDA_GPU_TILE_CUH
#define KERNELS_CUDA_GPU_TILE_CUH

#include "kernels/cuda/gpu/kernel.cuh"

/*
 * Where eight columns (16 bytes) of a row of a tile lie, D columns a row: 32, 64 or more. The number of the eight is
 * turned by bits of the row: eight neighbouring rows of one column then lie in eight different groups of banks, whether
 * a row is half of the 128 bytes of all banks or all of them. Each bit is turned for itself, so 16 n columns further on
 * lies tile_at(row, eight) ^ 16 n; and eight rows further on all is turned alike.
 */
template <int D> DEVICE int tile_at(int row, int eight)
{
    return row * D + (eight ^ (D < 64 ? row >> 1 & 3 : row & 7)) * 8;
}

#endif
